/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How commands are found, and their options and arguments read. */

#include "ctl/verbs.h"

#include "ctl/pager.h"
#include "ctl/table.h"
#include "lib/duration.h"
#include "lib/key-file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *verbs_root;
char *verbs_bus;
char *verbs_connect;
GPtrArray *verbs_hosts;
bool verbs_ask_password;
bool verbs_pager;
bool verbs_thread_left;

/* One of several --host, each of which may be a list. */
static gboolean add_hosts(const char *option G_GNUC_UNUSED, const char *value, gpointer data G_GNUC_UNUSED,
                          GError **error)
{
    g_auto(GStrv) names = g_strsplit(value, ",", -1);

    /* Such as a variable that is not set: not this host all the same. */
    if (names[0] == NULL) {
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "-H takes a host, and has none");
        return FALSE;
    }
    for (gsize i = 0; names[i] != NULL; i++) {
        /* ssh would take the second for an option. */
        if (*names[i] == '\0' || *names[i] == '-') {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "'%s' is no host", value);
            return FALSE;
        }
        g_ptr_array_add(verbs_hosts, g_strdup(names[i]));
    }
    return TRUE;
}

const GOptionEntry verbs_host_options[] = {
    {"host", 'H', 0, G_OPTION_ARG_CALLBACK, add_hosts, "Ask virtnestd on HOST through ssh; may be given several times",
     "HOST"},
    {NULL, 0, 0, 0, NULL, NULL, NULL},
};

/** Says on stderr what went wrong, with nothing in it that a terminal would obey. Returns: STATUS_FAILED. */
int verb_fail(const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list arguments;

    va_start(arguments, format);
    message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *printable = table_printable(message);
    (void)fprintf(stderr, "virtnestctl: %s\n", printable);
    return STATUS_FAILED;
}

/** Says how a command was to be called, and where to read on. Returns: STATUS_USAGE */
int verb_misused(const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list arguments;

    va_start(arguments, format);
    message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *printable = table_printable(message);
    (void)fprintf(stderr, "virtnestctl: %s\nTry `%s --help`.\n", printable, g_get_prgname());
    return STATUS_USAGE;
}

/**
 * A domain as a word of a command line that is offered for pasting. Whoever names a domain is not to have a say in what the
 * command does: a name that a shell or an option parser would read otherwise is quoted, or gives way to the UUID.
 * Returns: to be freed with g_free().
 */
char *verbs_domain_word(const char *name, const char *uuid)
{
    if (*name == '-' || *name == '\0')
        return g_strdup(uuid);
    if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == strlen(name))
        return g_strdup(name);
    return g_shell_quote(name);
}

/** Returns: the one of @words that was probably meant, or NULL. */
const char *verbs_nearest(const char *word, const char *const *words)
{
    return key_file_nearest(word, words);
}

static int unknown_verb(const Verb *verbs, const char *parent, const char *word)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const Verb *verb = verbs; verb->name != NULL; verb++)
        g_ptr_array_add(names, (gpointer)verb->name);
    g_ptr_array_add(names, NULL);
    const char *meant = verbs_nearest(word, (const char *const *)names->pdata);
    (void)fprintf(stderr, "virtnestctl: unknown command '%s%s%s'%s%s%s\nTry `virtnestctl --help`.\n",
                  parent != NULL ? parent : "", parent != NULL ? " " : "", word,
                  meant != NULL ? "; did you mean '" : "", meant != NULL ? meant : "", meant != NULL ? "'?" : "");
    return STATUS_USAGE;
}

/**
 * Runs the one of some commands that the first argument names.
 * @verbs: ended by one without a name
 * @parent: the command that these are commands of; NULL: they are the program's, and without one it is the first
 */
int verbs_run(const Verb *verbs, const char *parent, int argc, char **argv)
{
    /* As systemctl and loginctl do. */
    if (argc < 2 && parent == NULL) {
        char *first[] = {argv[0], (char *)verbs->name, NULL};
        return verbs_run(verbs, NULL, 2, first);
    }
    if (argc < 2) {
        (void)fprintf(stderr, "virtnestctl: %s what? Try `virtnestctl --help`.\n", parent);
        return STATUS_USAGE;
    }
    if (parent != NULL && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        g_autofree char *summary = verbs_summary(verbs);
        printf("Usage:\n  %s COMMAND ...\n\n%s\n", g_get_prgname(), summary);
        return STATUS_DONE;
    }
    for (const Verb *verb = verbs; verb->name != NULL; verb++)
        if (strcmp(verb->name, argv[1]) == 0) {
            g_autofree char *program = g_strdup_printf("%s %s", g_get_prgname(), verb->name);
            g_set_prgname(program);
            return verb->run(verb, argc - 1, argv + 1);
        }
    return unknown_verb(verbs, parent, argv[1]);
}

/** Returns: a line for each command, to be freed with g_free(). */
char *verbs_summary(const Verb *verbs)
{
    GString *out = g_string_new("Commands:");

    for (const Verb *verb = verbs; verb->name != NULL; verb++) {
        g_autofree char *usage = g_strdup_printf("%s %s", verb->name, verb->arguments);
        g_string_append_printf(out, "\n  %-30s %s", usage, verb->help);
    }
    return g_string_free(out, FALSE);
}

/* GOption leaves "--" where it is if what follows looks like an option, such as a domain whose name begins so. */
static void drop_dashes(int *argc, char **argv)
{
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--") != 0)
            continue;
        memmove(argv + i, argv + i + 1, (size_t)(*argc - i) * sizeof(*argv));
        (*argc)--;
        return;
    }
}

/**
 * Reads a command's options, and counts its arguments.
 * @most: -1 for any number
 * @argc, @argv: what is left are the arguments, with the command's name before them
 * Returns: false after saying what is wrong: the status is STATUS_USAGE.
 */
bool verb_parse(const Verb *verb, const GOptionEntry *options, int least, int most, int *argc, char ***argv)
{
    gboolean no_pager = FALSE;
    /* It is listed before the command, and taken behind it as well. */
    const GOptionEntry hidden[] = {
        {"no-pager", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_NONE, &no_pager, "", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(verb->arguments);
    g_autoptr(GError) error = NULL;

    g_option_context_set_summary(context, verb->help);
    if (options != NULL)
        g_option_context_add_main_entries(context, options, NULL);
    if (verb->reach != VERB_HERE)
        g_option_context_add_main_entries(context, verbs_host_options, NULL);
    g_option_context_add_main_entries(context, hidden, NULL);
    if (!g_option_context_parse(context, argc, argv, &error)) {
        (void)verb_misused("%s", error->message);
        return false;
    }
    drop_dashes(argc, *argv);
    if (no_pager)
        verbs_pager = false;
    const char *problem = verbs_hosts->len == 0              ? NULL
                          : verb->reach == VERB_HERE         ? "that works on this host alone: no --host"
                          : strcmp(verbs_bus, "system") != 0 ? "--host and --bus do not go together"
                          : verbs_hosts->len > 1 && verb->reach == VERB_ONE_HOST ? VERBS_ONE_HOST
                                                                                 : NULL;
    if (problem != NULL) {
        (void)verb_misused("%s", problem);
        return false;
    }
    if (*argc - 1 >= least && (most < 0 || *argc - 1 <= most))
        return true;
    (void)verb_misused("%s takes %s%s", verb->name, *verb->arguments != '\0' ? "" : "no arguments", verb->arguments);
    return false;
}

/** Reads the time span that an option takes. Returns: false after saying that it is none. */
bool verb_parse_time(const char *option, const char *text, guint64 *ret_usec)
{
    if (duration_parse(text, ret_usec))
        return true;
    (void)verb_misused("%s=%s: takes a time span such as 30s, 10min or 1h", option, text);
    return false;
}

/** For a command that takes a domain or, as an option, @all of them. Returns: false after saying so. */
bool verb_check_all(const Verb *verb, int argc, bool all)
{
    if ((argc > 1) != all)
        return true;
    (void)verb_misused("%s takes a domain or --all", verb->name);
    return false;
}

/** Is standard output a terminal that wants colours? SYSTEMD_COLORS wins, as with systemctl(1). */
bool verbs_colours(void)
{
    static const char *const off[] = {"0", "no", "n", "false", "f", "off", NULL};
    const char *wish = g_getenv("SYSTEMD_COLORS");

    if (wish != NULL && *wish != '\0')
        return !g_strv_contains(off, wish);
    return pager_is_terminal() && g_getenv("NO_COLOR") == NULL && g_strcmp0(g_getenv("TERM"), "dumb") != 0;
}
