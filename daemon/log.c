/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/log.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool stderr_is_journal;

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

    if (priority > 6 && g_log_writer_default_would_drop(level, G_LOG_DOMAIN))
        return G_LOG_WRITER_HANDLED;
    if (stderr_is_journal && g_log_writer_journald(level, fields, n_fields, NULL) == G_LOG_WRITER_HANDLED)
        return G_LOG_WRITER_HANDLED;
    for (gsize i = 0; i < n_fields; i++)
        if (strcmp(fields[i].key, "MESSAGE") == 0)
            (void)fprintf(stderr, "<%d>%s\n", priority, (const char *)fields[i].value);
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

/** Logs one line, with the subject as journal fields MESSAGE_ID and VIRTNEST_*. */
void log_write(GLogLevelFlags level, LogSubject subject, const char *format, ...)
{
    g_autofree char *message = NULL;
    char priority[] = {(char)('0' + priority_of(level)), '\0'};
    GLogField fields[7];
    gsize n = 0;
    va_list arguments;

    va_start(arguments, format);
    message = g_strdup_vprintf(format, arguments);
    va_end(arguments);

    fields[n++] = (GLogField){"MESSAGE", message, -1};
    fields[n++] = (GLogField){"PRIORITY", priority, -1};
    if (subject.message_id != NULL)
        fields[n++] = (GLogField){"MESSAGE_ID", subject.message_id, -1};
    if (subject.domain != NULL)
        fields[n++] = (GLogField){"VIRTNEST_DOMAIN", subject.domain, -1};
    if (subject.uuid != NULL)
        fields[n++] = (GLogField){"VIRTNEST_UUID", subject.uuid, -1};
    if (subject.policy != NULL)
        fields[n++] = (GLogField){"VIRTNEST_POLICY", subject.policy, -1};
    if (subject.check != NULL)
        fields[n++] = (GLogField){"VIRTNEST_CHECK", subject.check, -1};
    g_log_structured_array(level, fields, n);
}
