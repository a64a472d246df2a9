/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* A domain to choose from. */
typedef struct PickItem {
    const char *name;
    const char *uuid;
} PickItem;

char *pick_describe_unsynced(const char *connection_error);
int pick_domain(const char *text, const PickItem *items, gsize n_items, const char *incomplete, char **ret_problem);
