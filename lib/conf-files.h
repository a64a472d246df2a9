/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

GStrv conf_files_folders(const char *root);
bool conf_files_names(const char *root, const char *folder, const char *suffix, GHashTable **ret_names, GError **error);
bool conf_files_list(const char *root, const char *folder, const char *suffix, GPtrArray **ret_paths, GError **error);
char *conf_files_find(const char *root, const char *name);
bool conf_files_list_all(const char *root, GPtrArray **ret_paths, GError **error);
GStrv conf_files_watched(const char *root);
bool conf_files_concern(const char *root, const char *path);
