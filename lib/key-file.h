/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* A key that a configuration file may set. */
typedef struct KeySpec {
    const char *group;
    const char *key;
} KeySpec;

GKeyFile *key_file_load(const char *path, GError **error);
char *key_file_unknown(GKeyFile *file, const KeySpec *specs, gsize n_specs);
char *key_file_string(GKeyFile *file, const char *group, const char *key);
bool key_file_boolean(GKeyFile *file, const char *group, const char *key, bool *value, GError **error);
bool key_file_unsigned(GKeyFile *file, const char *group, const char *key, unsigned maximum, unsigned *value,
                       GError **error);
