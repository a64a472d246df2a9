/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How commands are found, and their options and arguments read. */

#include "ctl/verbs.h"

#include "lib/key-file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *verbs_root;
char *verbs_bus;
char *verbs_connect;
bool verbs_ask_password;

/** Says on stderr what went wrong. Returns: STATUS_FAILED. */
int verb_fail(const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list arguments;

    va_start(arguments, format);
    message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "virtnestctl: %s\n", message);
    return STATUS_FAILED;
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
 * @parent: the command that these are commands of, or NULL
 */
int verbs_run(const Verb *verbs, const char *parent, int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "virtnestctl: %s%swhat? Try `virtnestctl --help`.\n", parent != NULL ? parent : "",
                      parent != NULL ? " " : "");
        return STATUS_USAGE;
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

/**
 * Reads a command's options, and counts its arguments.
 * @most: -1 for any number
 * @argc, @argv: what is left are the arguments, with the command's name before them
 * Returns: false after saying what is wrong: the status is STATUS_USAGE.
 */
bool verb_parse(const Verb *verb, const GOptionEntry *options, int least, int most, int *argc, char ***argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new(verb->arguments);
    g_autoptr(GError) error = NULL;
    const char *program = g_get_prgname();

    g_option_context_set_summary(context, verb->help);
    if (options != NULL)
        g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, argc, argv, &error)) {
        (void)fprintf(stderr, "virtnestctl: %s\nTry `%s --help`.\n", error->message, program);
        return false;
    }
    if (*argc - 1 >= least && (most < 0 || *argc - 1 <= most))
        return true;
    (void)fprintf(stderr, "virtnestctl: %s takes %s%s\nTry `%s --help`.\n", verb->name,
                  *verb->arguments != '\0' ? "" : "no arguments", verb->arguments, program);
    return false;
}

/** Is standard output a terminal that wants colours? */
bool verbs_colours(void)
{
    return isatty(STDOUT_FILENO) && g_getenv("NO_COLOR") == NULL && g_strcmp0(g_getenv("TERM"), "dumb") != 0;
}
