/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* Tells when something changes in any of some folders, those included that do not exist yet. */
typedef struct Watch Watch;

Watch *watch_new(const char *const *folders, GSourceFunc on_change, gpointer data);
Watch *watch_free(Watch *watch);
