/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* A key that a configuration file may set. */
typedef struct KeySpec {
    const char *group;
    const char *key;
} KeySpec;

/* One INI file. Every message about it begins with "PATH:LINE: ", as a compiler's do. */
typedef struct KeyFile KeyFile;

KeyFile *key_file_load(const char *path, GError **error);
KeyFile *key_file_free(KeyFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KeyFile, key_file_free)

const char *key_file_nearest(const char *word, const char *const *words);
const char *key_file_path(const KeyFile *file);
void key_file_find_unknown(const KeyFile *file, const KeySpec *specs, gsize n_specs, GPtrArray *problems);
void key_file_set_error(const KeyFile *file, const char *group, const char *key, const char *accepts, GError **error);

bool key_file_has_key(const KeyFile *file, const char *group, const char *key);
const char *key_file_value(const KeyFile *file, const char *group, const char *key);
char *key_file_string(const KeyFile *file, const char *group, const char *key);
bool key_file_choice(const KeyFile *file, const char *group, const char *key, const char *const *choices, int *choice,
                     GError **error);
GStrv key_file_list(const KeyFile *file, const char *group, const char *key);
bool key_file_boolean(const KeyFile *file, const char *group, const char *key, bool *value, GError **error);
bool key_file_duration(const KeyFile *file, const char *group, const char *key, guint64 minimum, guint64 maximum,
                       guint64 *usec, GError **error);
bool key_file_integer(const KeyFile *file, const char *group, const char *key, int minimum, int maximum, int *value,
                      GError **error);
bool key_file_unsigned(const KeyFile *file, const char *group, const char *key, unsigned maximum, unsigned *value,
                       GError **error);
