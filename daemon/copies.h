/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* The definitions from before each rewrite, in a folder. Any thread. */
typedef struct Copies Copies;

Copies *copies_new(const char *folder);
Copies *copies_free(Copies *copies);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Copies, copies_free)

bool copies_save(Copies *copies, const char *uuid, const char *xml, unsigned keep, GError **error);
