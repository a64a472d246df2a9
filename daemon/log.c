/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/log.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

/* As sd-daemon(3) and org.freedesktop.LogControl1(5) name them. */
static const char *const level_names[] = {
    [LOG_EMERG] = "emerg",     [LOG_ALERT] = "alert",   [LOG_CRIT] = "crit", [LOG_ERR] = "err",
    [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice", [LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};

typedef enum {
    TARGET_AUTO, /* to the journal if stderr leads there, otherwise to stderr */
    TARGET_JOURNAL,
    TARGET_CONSOLE,
    TARGET_NULL,
} Target;

static const char *const target_names[] = {
    [TARGET_AUTO] = "auto",
    [TARGET_JOURNAL] = "journal",
    [TARGET_CONSOLE] = "console",
    [TARGET_NULL] = "null",
};

static bool stderr_is_journal;
/* Both are set on the main thread and read on any; atomic. With LOG_INFO G_MESSAGES_DEBUG counts as well. */
static int max_level = LOG_INFO;
static int target = TARGET_AUTO;

static int priority_of(GLogLevelFlags level)
{
    switch (level & G_LOG_LEVEL_MASK) {
    case G_LOG_LEVEL_ERROR:
        return 2;
    case G_LOG_LEVEL_CRITICAL:
        return 3;
    case G_LOG_LEVEL_WARNING:
        return 4;
    case G_LOG_LEVEL_MESSAGE:
        return 5;
    case G_LOG_LEVEL_INFO:
        return 6;
    default:
        return 7;
    }
}

/* Structured to the journal if stderr leads there, otherwise to stderr with the prefixes of sd-daemon(3). */
static GLogWriterOutput write_message(GLogLevelFlags level, const GLogField *fields, gsize n_fields,
                                      gpointer data G_GNUC_UNUSED)
{
    int priority = priority_of(level);

    int most = g_atomic_int_get(&max_level), where = g_atomic_int_get(&target);

    if (where == TARGET_NULL || (priority > most && !(priority == LOG_DEBUG && most == LOG_INFO &&
                                                      !g_log_writer_default_would_drop(level, G_LOG_DOMAIN))))
        return G_LOG_WRITER_HANDLED;
    if ((where == TARGET_JOURNAL || (where == TARGET_AUTO && stderr_is_journal)) &&
        g_log_writer_journald(level, fields, n_fields, NULL) == G_LOG_WRITER_HANDLED)
        return G_LOG_WRITER_HANDLED;
    for (gsize i = 0; i < n_fields; i++)
        if (strcmp(fields[i].key, "MESSAGE") == 0) {
            /* Each line would count as a message, with a prefix of its own: an operator's reason may have some. */
            g_autofree char *line = g_strdelimit(g_strdup(fields[i].value), "\n", ' ');
            (void)fprintf(stderr, "<%d>%s\n", priority, line);
        }
    return G_LOG_WRITER_HANDLED;
}

/* libvirt writes each error to stderr on its own; here the caller who handles it decides. */
static void ignore_libvirt_error(void *data G_GNUC_UNUSED, virErrorPtr error G_GNUC_UNUSED)
{
}

/** Sends all messages, GLib's own too, to the journal or to stderr. To be called once, before any thread. */
void log_setup(void)
{
    stderr_is_journal = g_log_writer_is_journald(fileno(stderr));
    g_log_set_writer_func(write_message, NULL, NULL);
    virSetErrorFunc(NULL, ignore_libvirt_error);
}

/* Returns: the index of a word, or -1. */
static int find_word(const char *const *words, gsize n, const char *word)
{
    for (gsize i = 0; i < n; i++)
        if (strcmp(words[i], word) == 0)
            return (int)i;
    return -1;
}

/** Logs nothing that is less important than @level, a name as syslog(3) has them. Returns: whether there is such a level. */
bool log_set_level(const char *level)
{
    int number = find_word(level_names, G_N_ELEMENTS(level_names), level);

    if (number >= 0)
        g_atomic_int_set(&max_level, number);
    return number >= 0;
}

const char *log_level(void)
{
    return level_names[g_atomic_int_get(&max_level)];
}

/** @name: auto, journal, console or null. Returns: whether it is one of these. */
bool log_set_target(const char *name)
{
    int number = find_word(target_names, G_N_ELEMENTS(target_names), name);

    if (number >= 0)
        g_atomic_int_set(&target, number);
    return number >= 0;
}

const char *log_target(void)
{
    return target_names[g_atomic_int_get(&target)];
}

/*
 * journalctl shows a message that has control characters as "blob data", and a terminal obeys them. Names and reasons are whatever
 * somebody chose; to hide what was logged of them is not for them to choose.
 */
static char *make_readable(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *readable = g_string_sized_new(strlen(valid));

    for (const char *p = valid; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (g_unichar_iscntrl(c) && c != '\n' && c != '\t')
            g_string_append_c(readable, '?');
        else
            g_string_append_unichar(readable, c);
    }
    return g_string_free(readable, FALSE);
}

/** Logs one line, with the subject as journal fields MESSAGE_ID and VIRTNEST_*. */
void log_write(GLogLevelFlags level, LogSubject subject, const char *format, ...)
{
    g_autofree char *text = NULL;
    char priority[] = {(char)('0' + priority_of(level)), '\0'};
    gsize n_policies = subject.policies != NULL ? g_strv_length((char **)subject.policies) : 0;
    g_autofree GLogField *fields = g_new(GLogField, 9 + n_policies);
    gsize n = 0;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *message = make_readable(text);

    fields[n++] = (GLogField){"MESSAGE", message, -1};
    fields[n++] = (GLogField){"PRIORITY", priority, -1};
    fields[n++] = (GLogField){"SYSLOG_IDENTIFIER", LOG_IDENTIFIER, -1};
    if (subject.message_id != NULL)
        fields[n++] = (GLogField){"MESSAGE_ID", subject.message_id, -1};
    if (subject.domain != NULL)
        fields[n++] = (GLogField){"VIRTNEST_DOMAIN", subject.domain, -1};
    if (subject.uuid != NULL)
        fields[n++] = (GLogField){"VIRTNEST_UUID", subject.uuid, -1};
    if (subject.policy != NULL)
        fields[n++] = (GLogField){"VIRTNEST_POLICY", subject.policy, -1};
    for (gsize i = 0; i < n_policies; i++)
        fields[n++] = (GLogField){"VIRTNEST_POLICY", subject.policies[i], -1};
    if (subject.check != NULL)
        fields[n++] = (GLogField){"VIRTNEST_CHECK", subject.check, -1};
    if (subject.by != NULL)
        fields[n++] = (GLogField){"VIRTNEST_BY", subject.by, -1};
    g_log_structured_array(level, fields, n);
}
