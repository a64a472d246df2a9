/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A release in a file of its own below /run, so that it outlives the daemon and not the host. */

#include "lib/release.h"

#include <errno.h>
#include <glib/gstdio.h>

#define GROUP "Release"

/** @by, @reason: any text of one line. To be freed with release_free(). */
Release *release_new(guint64 until, int id, const char *by, const char *reason)
{
    Release *release = g_new0(Release, 1);

    release->until = until;
    release->id = id;
    release->by = g_strdup(by);
    release->reason = g_strdup(reason);
    return release;
}

Release *release_free(Release *release)
{
    if (release == NULL)
        return NULL;
    g_free(release->by);
    g_free(release->reason);
    g_free(release);
    return NULL;
}

/** Writes it, swapped in whole, with the folder that it is in. Returns: false with a GFileError. */
bool release_save(const Release *release, const char *path, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *folder = g_path_get_dirname(path);

    if (g_mkdir_with_parents(folder, 0700) != 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", folder, g_strerror(errno));
        return false;
    }
    g_key_file_set_uint64(file, GROUP, "Until", release->until);
    g_key_file_set_integer(file, GROUP, "Id", release->id);
    g_key_file_set_string(file, GROUP, "By", release->by);
    g_key_file_set_string(file, GROUP, "Reason", release->reason);
    return g_key_file_save_to_file(file, path, error);
}

/** Returns: to be freed with release_free(), or NULL if there is none, or one that is damaged: then the guest is guarded. */
Release *release_load(const char *path)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) error = NULL;

    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL))
        return NULL;
    guint64 until = g_key_file_get_uint64(file, GROUP, "Until", &error);
    int id = error == NULL ? g_key_file_get_integer(file, GROUP, "Id", &error) : -1;
    g_autofree char *by = error == NULL ? g_key_file_get_string(file, GROUP, "By", &error) : NULL;
    g_autofree char *reason = error == NULL ? g_key_file_get_string(file, GROUP, "Reason", &error) : NULL;
    return error == NULL ? release_new(until, id, by, reason) : NULL;
}
