/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

bool module_load(const char *root, const char *module, const char *const *options, GError **error);
bool module_unload(const char *root, const char *module, GError **error);
