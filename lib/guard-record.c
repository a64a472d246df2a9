/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is left for the next daemon of each guest that has, or may have, a blocker: a file named after its UUID, with
 * libvirt's number of the run, and behind it, on a line of its own, the policy whose [Match] took it, if one did.
 */

#include "lib/guard-record.h"

#include "lib/tag.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

static char *record_path(const char *folder, const char *uuid)
{
    return g_build_filename(folder, uuid, NULL);
}

/**
 * @matched_by: nullable
 * Returns: false with an error of G_FILE_ERROR.
 */
bool guard_record_write(const char *folder, const char *uuid, int run, const char *matched_by, GError **error)
{
    g_autofree char *path = record_path(folder, uuid);
    g_autofree char *text =
        matched_by != NULL ? g_strdup_printf("%d\n%s\n", run, matched_by) : g_strdup_printf("%d\n", run);

    if (g_mkdir_with_parents(folder, 0700) == 0)
        return g_file_set_contents(path, text, -1, error);
    int number = errno;
    g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(number), "%s: %s", folder, g_strerror(number));
    return false;
}

void guard_record_remove(const char *folder, const char *uuid)
{
    g_autofree char *path = record_path(folder, uuid);

    (void)g_unlink(path);
}

/** Is there one of this run of the guest? */
bool guard_record_fits(const char *folder, const char *uuid, int run)
{
    g_autofree char *path = record_path(folder, uuid), *text = NULL;
    gint64 number = -1;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return false;
    text[strcspn(text, "\n")] = '\0';
    return g_ascii_string_to_signed(text, 10, -1, G_MAXINT32, &number, NULL) && number == run;
}

/** Returns: the name of the policy whose [Match] took the guest, to be freed with g_free(), or NULL. */
char *guard_record_match(const char *folder, const char *uuid)
{
    g_autofree char *path = record_path(folder, uuid), *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    g_auto(GStrv) lines = g_strsplit(text, "\n", 3);
    return g_strv_length(lines) > 1 && tag_policy_name_is_valid(lines[1]) ? g_strdup(lines[1]) : NULL;
}

/**
 * Takes away the records of domains that are gone.
 * @is_known: is there a domain of that UUID?
 */
void guard_record_sweep(const char *folder, bool (*is_known)(const char *uuid, gpointer data), gpointer data)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        if (!is_known(name, data))
            guard_record_remove(folder, name);
}
