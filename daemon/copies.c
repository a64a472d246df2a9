/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /var/lib/virtnest/definitions/UUID.TIME.xml, for an admin who wants one back with `virsh define`. TIME is in
 * microseconds since 1970, so that names sort by age. The newest few of each domain stay, and those of the domains that
 * were rewritten last. They hold graphics passwords: root alone may read them. They are not synced to disk one by one:
 * what an untag needs is in the definition itself.
 *
 * What is in the folder is read once and then known, so that a rewrite costs the writing of one file.
 */

#include "daemon/copies.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define DOMAINS_MAX 4096
#define UUID_LENGTH 36

struct Copies {
    char *folder;
    GMutex lock;       /* of what follows */
    GHashTable *times; /* UUID -> GArray of the times of its copies, oldest first; NULL until the folder was read */
    guint64 last;      /* the newest time given out, so that no two are the same */
};

static void times_unref(gpointer times)
{
    g_array_unref(times);
}

/** @folder: made when it is needed, for root alone. To be freed with copies_free(). */
Copies *copies_new(const char *folder)
{
    Copies *copies = g_new0(Copies, 1);

    copies->folder = g_strdup(folder);
    g_mutex_init(&copies->lock);
    return copies;
}

Copies *copies_free(Copies *copies)
{
    if (copies == NULL)
        return NULL;
    g_clear_pointer(&copies->times, g_hash_table_unref);
    g_mutex_clear(&copies->lock);
    g_free(copies->folder);
    g_free(copies);
    return NULL;
}

static char *copy_path(const Copies *copies, const char *uuid, guint64 time)
{
    return g_strdup_printf("%s/%s.%" G_GUINT64_FORMAT ".xml", copies->folder, uuid, time);
}

static int time_compare(gconstpointer a, gconstpointer b)
{
    const guint64 *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static GArray *times_of(Copies *copies, const char *uuid)
{
    GArray *times = g_hash_table_lookup(copies->times, uuid);

    if (times == NULL) {
        times = g_array_new(FALSE, FALSE, sizeof(guint64));
        g_hash_table_insert(copies->times, g_strdup(uuid), times);
    }
    return times;
}

static bool set_error(GError **error, int number, const char *path)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(number),
                "cannot keep a copy of the definition in %s: %s; nothing is rewritten without one", path,
                g_strerror(number));
    return false;
}

/* Reads the folder, once. Files with other names are somebody else's. */
static bool copies_scan(Copies *copies, GError **error)
{
    const char *name;
    GHashTableIter iter;
    gpointer times;

    if (copies->times != NULL)
        return true;
    if (g_mkdir_with_parents(copies->folder, 0700) != 0)
        return set_error(error, errno, copies->folder);
    g_autoptr(GDir) dir = g_dir_open(copies->folder, 0, NULL);
    if (dir == NULL)
        return set_error(error, errno, copies->folder);

    copies->times = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, times_unref);
    while ((name = g_dir_read_name(dir)) != NULL) {
        char *end = NULL;
        if (strlen(name) <= UUID_LENGTH + 1 || name[UUID_LENGTH] != '.')
            continue;
        guint64 time = g_ascii_strtoull(name + UUID_LENGTH + 1, &end, 10);
        if (end == name + UUID_LENGTH + 1 || strcmp(end, ".xml") != 0)
            continue;
        g_autofree char *uuid = g_strndup(name, UUID_LENGTH);
        g_array_append_val(times_of(copies, uuid), time);
        copies->last = MAX(copies->last, time);
    }
    g_hash_table_iter_init(&iter, copies->times);
    while (g_hash_table_iter_next(&iter, NULL, &times))
        g_array_sort(times, time_compare);
    return true;
}

/* A domain that was undefined long ago leaves its copies behind: those rewritten longest ago go when there are many. */
static void limit_domains(Copies *copies, GPtrArray *doomed)
{
    while (g_hash_table_size(copies->times) > DOMAINS_MAX) {
        GHashTableIter iter;
        gpointer key, value;
        const char *oldest = NULL;
        guint64 oldest_time = G_MAXUINT64;

        g_hash_table_iter_init(&iter, copies->times);
        while (g_hash_table_iter_next(&iter, &key, &value)) {
            const GArray *times = value;
            guint64 newest = times->len > 0 ? g_array_index(times, guint64, times->len - 1) : 0;
            if (newest < oldest_time) {
                oldest_time = newest;
                oldest = key;
            }
        }
        const GArray *times = g_hash_table_lookup(copies->times, oldest);
        for (guint i = 0; i < times->len; i++)
            g_ptr_array_add(doomed, copy_path(copies, oldest, g_array_index(times, guint64, i)));
        g_hash_table_remove(copies->times, oldest);
    }
}

/*
 * Gives out a name for one more copy.
 * @ret_newest: the path of the domain's newest copy so far, or NULL
 */
static char *copies_next(Copies *copies, const char *uuid, char **ret_newest, guint64 *ret_time, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&copies->lock);

    if (!copies_scan(copies, error))
        return NULL;
    const GArray *times = times_of(copies, uuid);
    if (times->len > 0)
        *ret_newest = copy_path(copies, uuid, g_array_index(times, guint64, times->len - 1));
    *ret_time = copies->last = MAX((guint64)g_get_real_time(), copies->last + 1);
    return copy_path(copies, uuid, *ret_time);
}

/* Takes a copy that was written into the index, and names those that have to make place for it. */
static void copies_enter(Copies *copies, const char *uuid, guint64 time, unsigned keep, GPtrArray *doomed)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&copies->lock);
    GArray *times;

    if (copies->times == NULL)
        return;
    times = times_of(copies, uuid);
    g_array_append_val(times, time);
    while (times->len > keep) {
        g_ptr_array_add(doomed, copy_path(copies, uuid, g_array_index(times, guint64, 0)));
        g_array_remove_index(times, 0);
    }
    limit_domains(copies, doomed);
}

/* Somebody removed the folder: what was known of it is not true any more. */
static void copies_forget(Copies *copies)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&copies->lock);

    g_clear_pointer(&copies->times, g_hash_table_unref);
}

static bool holds(const char *path, const char *text)
{
    g_autofree char *content = NULL;

    return path != NULL && g_file_get_contents(path, &content, NULL, NULL) && strcmp(content, text) == 0;
}

static bool write_file(const char *path, const char *text, GError **error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    gsize length = strlen(text);

    while (fd >= 0 && length > 0) {
        ssize_t n = write(fd, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        text += n;
        length -= (gsize)n;
    }
    int number = errno;
    if (fd >= 0 && close(fd) != 0 && length == 0) {
        number = errno;
        length = 1;
    }
    if (fd >= 0 && length == 0)
        return true;
    (void)g_unlink(path);
    return set_error(error, number, path);
}

/**
 * Keeps one definition. One that is the same as the domain's newest copy is kept already: a rewrite that fails and is
 * tried again must not push out the older ones.
 * @keep: how many of this domain stay, this one included; 0 keeps none
 * Returns: false with a GIOError; the message names the path.
 */
bool copies_save(Copies *copies, const char *uuid, const char *xml, unsigned keep, GError **error)
{
    g_autoptr(GPtrArray) doomed = g_ptr_array_new_with_free_func(g_free);

    if (keep == 0)
        return true;
    for (bool again = false;; again = true) {
        g_autofree char *newest = NULL;
        g_autoptr(GError) cause = NULL;
        guint64 time = 0;
        g_autofree char *path = copies_next(copies, uuid, &newest, &time, error);
        if (path == NULL)
            return false;
        if (holds(newest, xml))
            return true;
        if (write_file(path, xml, &cause)) {
            copies_enter(copies, uuid, time, keep, doomed);
            break;
        }
        if (again || !g_error_matches(cause, G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
        copies_forget(copies);
    }
    for (guint i = 0; i < doomed->len; i++)
        (void)g_unlink(doomed->pdata[i]);
    return true;
}
