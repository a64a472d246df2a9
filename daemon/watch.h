/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Tells when something changes in any of some folders, those included that do not exist yet. */
typedef struct Watch Watch;

/* Does a change of that file matter? */
typedef bool (*WatchConcerns)(const char *path, gpointer data);

Watch *watch_new(const char *const *folders, WatchConcerns concerns, GSourceFunc on_change, gpointer data);
Watch *watch_free(Watch *watch);
