/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * GFileMonitor watches a folder with inotify, but polls every four seconds for one that does not exist. So for each
 * folder that is missing the nearest parent that is there is watched, and the watch moves down as folders appear.
 */

#include "daemon/watch.h"

#include "daemon/log.h"
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <stdbool.h>
#include <string.h>

/* Configuration management writes many files in a row: one report for the burst. */
#define SETTLE_MS 200

typedef struct WatchFolder {
    Watch *watch;
    char *folder;
    char *watched; /* the folder, or its nearest parent */
    dev_t device;  /* and which one it was: another may have taken its name */
    ino_t inode;
    GFileMonitor *monitor;
} WatchFolder;

struct Watch {
    GPtrArray *folders;
    WatchConcerns concerns;
    GSourceFunc on_change;
    gpointer data;
    guint timer;
};

static bool folder_arm(WatchFolder *self);

static void folder_disarm(WatchFolder *self)
{
    if (self->monitor != NULL) {
        g_signal_handlers_disconnect_by_data(self->monitor, self);
        (void)g_file_monitor_cancel(self->monitor);
    }
    g_clear_object(&self->monitor);
    g_clear_pointer(&self->watched, g_free);
}

static gboolean on_settled(gpointer data)
{
    Watch *watch = data;

    watch->timer = 0;
    (void)watch->on_change(watch->data);
    return G_SOURCE_REMOVE;
}

static void watch_changed(Watch *watch)
{
    if (watch->timer == 0)
        watch->timer = g_timeout_add(SETTLE_MS, on_settled, watch);
}

static bool is_concerned(const Watch *watch, GFile *file)
{
    g_autofree char *path = file != NULL ? g_file_get_path(file) : NULL;

    return path != NULL && watch->concerns(path, watch->data);
}

static void on_monitor_event(GFileMonitor *monitor G_GNUC_UNUSED, GFile *file, GFile *other,
                             GFileMonitorEvent event G_GNUC_UNUSED, gpointer data)
{
    WatchFolder *self = data;
    Watch *watch = self->watch;
    /* What happens in a parent counts only if it brings a folder nearer. */
    bool changed =
        strcmp(self->watched, self->folder) == 0 && (is_concerned(watch, file) || is_concerned(watch, other));

    /* A parent that was exchanged takes others with it. */
    for (guint i = 0; i < watch->folders->len; i++)
        changed |= folder_arm(watch->folders->pdata[i]);
    if (changed)
        watch_changed(watch);
}

static char *nearest_folder(const char *folder)
{
    g_autofree char *path = g_strdup(folder);

    while (!g_file_test(path, G_FILE_TEST_IS_DIR)) {
        char *parent = g_path_get_dirname(path);
        if (strcmp(parent, path) == 0)
            return parent;
        g_free(path);
        path = parent;
    }
    return g_steal_pointer(&path);
}

/* Returns: whether another folder is watched than before. */
static bool folder_arm(WatchFolder *self)
{
    bool changed = false;

    /* A folder that is made while its parent's watch is being set up would be missed: look until it stands still. */
    for (;;) {
        g_autofree char *nearest = nearest_folder(self->folder);
        GStatBuf status = {0};
        (void)g_stat(nearest, &status);
        if (self->monitor != NULL && g_strcmp0(nearest, self->watched) == 0 && status.st_dev == self->device &&
            status.st_ino == self->inode && !g_file_monitor_is_cancelled(self->monitor))
            return changed;
        changed = true;
        folder_disarm(self);
        g_autoptr(GFile) file = g_file_new_for_path(nearest);
        g_autoptr(GError) error = NULL;
        self->monitor = g_file_monitor_directory(file, G_FILE_MONITOR_WATCH_MOVES, NULL, &error);
        self->watched = g_steal_pointer(&nearest);
        self->device = status.st_dev;
        self->inode = status.st_ino;
        if (self->monitor == NULL) {
            log_write(G_LOG_LEVEL_WARNING, (LogSubject){0}, "cannot watch %s: %s; send SIGHUP after a change",
                      self->watched, error->message);
            return changed;
        }
        g_signal_connect(self->monitor, "changed", G_CALLBACK(on_monitor_event), self);
    }
}

static void folder_free(gpointer data)
{
    WatchFolder *self = data;

    folder_disarm(self);
    g_free(self->folder);
    g_free(self);
}

/**
 * @concerns: asked of each file in them that changes
 * @on_change: called on the main thread once a burst of changes is over; what it returns is ignored
 * Returns: to be freed with watch_free().
 */
Watch *watch_new(const char *const *folders, WatchConcerns concerns, GSourceFunc on_change, gpointer data)
{
    Watch *watch = g_new0(Watch, 1);

    watch->folders = g_ptr_array_new_with_free_func(folder_free);
    watch->concerns = concerns;
    watch->on_change = on_change;
    watch->data = data;
    for (gsize i = 0; folders[i] != NULL; i++) {
        WatchFolder *folder = g_new0(WatchFolder, 1);
        folder->watch = watch;
        folder->folder = g_strdup(folders[i]);
        g_ptr_array_add(watch->folders, folder);
        (void)folder_arm(folder);
    }
    return watch;
}

Watch *watch_free(Watch *watch)
{
    if (watch == NULL)
        return NULL;
    g_clear_handle_id(&watch->timer, g_source_remove);
    g_clear_pointer(&watch->folders, g_ptr_array_unref);
    g_free(watch);
    return NULL;
}
