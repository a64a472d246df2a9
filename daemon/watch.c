/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * GFileMonitor watches a folder with inotify, but polls every four seconds for one that does not exist. So for each
 * folder that is missing the nearest parent that is there is watched, and the watch moves down as folders appear.
 */

#include "daemon/watch.h"

#include <gio/gio.h>
#include <stdbool.h>
#include <string.h>

/* Configuration management writes many files in a row: one report for the burst. */
#define SETTLE_MS 200

typedef struct WatchFolder {
    Watch *watch;
    char *folder;
    char *watched; /* the folder, or its nearest parent */
    GFileMonitor *monitor;
} WatchFolder;

struct Watch {
    GPtrArray *folders;
    GSourceFunc on_change;
    gpointer data;
    guint timer;
};

static void folder_arm(WatchFolder *self);

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

static void on_monitor_event(GFileMonitor *monitor G_GNUC_UNUSED, GFile *file G_GNUC_UNUSED, GFile *other G_GNUC_UNUSED,
                             GFileMonitorEvent event G_GNUC_UNUSED, gpointer data)
{
    WatchFolder *self = data;
    g_autofree char *before = g_strdup(self->watched);
    bool at_folder = strcmp(before, self->folder) == 0;

    folder_arm(self);
    /* What happens in a parent counts only if it brings the folder nearer. */
    if (at_folder || g_strcmp0(before, self->watched) != 0)
        watch_changed(self->watch);
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

static void folder_arm(WatchFolder *self)
{
    /* A folder that is made while its parent's watch is being set up would be missed: look until it stands still. */
    for (;;) {
        g_autofree char *nearest = nearest_folder(self->folder);
        if (self->monitor != NULL && g_strcmp0(nearest, self->watched) == 0 &&
            !g_file_monitor_is_cancelled(self->monitor))
            return;
        folder_disarm(self);
        g_autoptr(GFile) file = g_file_new_for_path(nearest);
        g_autoptr(GError) error = NULL;
        self->monitor = g_file_monitor_directory(file, G_FILE_MONITOR_WATCH_MOVES, NULL, &error);
        if (self->monitor == NULL) {
            g_warning("cannot watch %s: %s; send SIGHUP after a change", nearest, error->message);
            return;
        }
        self->watched = g_steal_pointer(&nearest);
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
 * @on_change: called on the main thread once a burst of changes is over; what it returns is ignored
 * Returns: to be freed with watch_free().
 */
Watch *watch_new(const char *const *folders, GSourceFunc on_change, gpointer data)
{
    Watch *watch = g_new0(Watch, 1);

    watch->folders = g_ptr_array_new_with_free_func(folder_free);
    watch->on_change = on_change;
    watch->data = data;
    for (gsize i = 0; folders[i] != NULL; i++) {
        WatchFolder *folder = g_new0(WatchFolder, 1);
        folder->watch = watch;
        folder->folder = g_strdup(folders[i]);
        g_ptr_array_add(watch->folders, folder);
        folder_arm(folder);
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
