/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
    JSON_OFF,
    JSON_SHORT,  /* on one line */
    JSON_PRETTY, /* indented */
} JsonFormat;

/* Writes one JSON document (RFC 8259). */
typedef struct Json Json;

void json_replace_j(int argc, char **argv);
bool json_parse_format(const char *text, JsonFormat *ret_format);
Json *json_new(JsonFormat format);
void json_open(Json *json, const char *key, char bracket);
void json_close(Json *json, char bracket);
void json_string(Json *json, const char *key, const char *value);
void json_integer(Json *json, const char *key, gint64 value);
void json_unsigned(Json *json, const char *key, guint64 value);
void json_boolean(Json *json, const char *key, bool value);
void json_strings(Json *json, const char *key, const char *const *values);
void json_variant(Json *json, const char *key, GVariant *value);
void json_print(Json *json);
