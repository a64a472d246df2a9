/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/json.h"

#include "ctl/verbs.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct Json {
    GString *out;
    bool pretty;
    unsigned depth;
    bool first; /* nothing stands in this object or array yet */
};

/** GOptionContext knows no short option without a long one: -j becomes --json=auto, which nobody is told of. */
void json_replace_j(int argc, char **argv)
{
    static char automatic[] = "--json=auto";

    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "-j") == 0)
            argv[i] = automatic;
}

/**
 * Reads --json= and -j, as busctl(1) has them.
 * @text: NULL if neither was given
 * Returns: false after saying that it is none.
 */
bool json_parse_format(const char *text, JsonFormat *ret_format)
{
    static const char *const names[] = {[JSON_OFF] = "off", [JSON_SHORT] = "short", [JSON_PRETTY] = "pretty"};

    *ret_format = JSON_OFF;
    if (text == NULL)
        return true;
    if (strcmp(text, "auto") == 0) {
        *ret_format = isatty(STDOUT_FILENO) ? JSON_PRETTY : JSON_SHORT;
        return true;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        if (strcmp(text, names[i]) == 0) {
            *ret_format = (JsonFormat)i;
            return true;
        }
    (void)verb_fail("--json=%s: takes pretty, short or off", text);
    return false;
}

/** Returns: an empty document, to be printed and freed with json_print(). */
Json *json_new(JsonFormat format)
{
    Json *json = g_new0(Json, 1);

    json->out = g_string_new(NULL);
    json->pretty = format == JSON_PRETTY;
    json->first = true;
    return json;
}

static void put_string(GString *out, const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    g_string_append_c(out, '"');
    for (const char *p = valid; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (c == '"' || c == '\\')
            g_string_append_printf(out, "\\%c", (char)c);
        /* Those from 0x7f on JSON would take, and a terminal would obey. */
        else if (g_unichar_iscntrl(c))
            g_string_append_printf(out, "\\u%04x", c);
        else
            g_string_append_unichar(out, c);
    }
    g_string_append_c(out, '"');
}

static void new_line(Json *json)
{
    if (!json->pretty)
        return;
    g_string_append_c(json->out, '\n');
    for (unsigned i = 0; i < json->depth; i++)
        g_string_append(json->out, "  ");
}

/* What stands before a value. @key: NULL in an array */
static void begin_value(Json *json, const char *key)
{
    if (!json->first)
        g_string_append_c(json->out, ',');
    if (json->depth > 0)
        new_line(json);
    json->first = false;
    if (key == NULL)
        return;
    put_string(json->out, key);
    g_string_append(json->out, json->pretty ? ": " : ":");
}

/** @bracket: '{' or '[' */
void json_open(Json *json, const char *key, char bracket)
{
    begin_value(json, key);
    g_string_append_c(json->out, bracket);
    json->depth++;
    json->first = true;
}

/** @bracket: '}' or ']' */
void json_close(Json *json, char bracket)
{
    bool empty = json->first;

    json->depth--;
    json->first = false;
    if (!empty)
        new_line(json);
    g_string_append_c(json->out, bracket);
}

/** @value: NULL is written as null */
void json_string(Json *json, const char *key, const char *value)
{
    begin_value(json, key);
    if (value != NULL)
        put_string(json->out, value);
    else
        g_string_append(json->out, "null");
}

void json_integer(Json *json, const char *key, gint64 value)
{
    begin_value(json, key);
    g_string_append_printf(json->out, "%" G_GINT64_FORMAT, value);
}

/* D-Bus has numbers that a gint64 does not hold, such as a time without an end. */
void json_unsigned(Json *json, const char *key, guint64 value)
{
    begin_value(json, key);
    g_string_append_printf(json->out, "%" G_GUINT64_FORMAT, value);
}

void json_boolean(Json *json, const char *key, bool value)
{
    begin_value(json, key);
    g_string_append(json->out, value ? "true" : "false");
}

/** @values: ended by NULL; NULL is an empty array */
void json_strings(Json *json, const char *key, const char *const *values)
{
    json_open(json, key, '[');
    for (; values != NULL && *values != NULL; values++)
        json_string(json, NULL, *values);
    json_close(json, ']');
}

/** Writes what came from D-Bus: structs as arrays, and what JSON does not have as text. @value: NULL is written as null */
void json_variant(Json *json, const char *key, GVariant *value)
{
    if (value == NULL) {
        json_string(json, key, NULL);
    } else if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING) ||
               g_variant_is_of_type(value, G_VARIANT_TYPE_OBJECT_PATH)) {
        json_string(json, key, g_variant_get_string(value, NULL));
    } else if (g_variant_is_of_type(value, G_VARIANT_TYPE_BOOLEAN)) {
        json_boolean(json, key, g_variant_get_boolean(value));
    } else if (g_variant_is_of_type(value, G_VARIANT_TYPE_UINT32)) {
        json_unsigned(json, key, g_variant_get_uint32(value));
    } else if (g_variant_is_of_type(value, G_VARIANT_TYPE_UINT64)) {
        json_unsigned(json, key, g_variant_get_uint64(value));
    } else if (g_variant_is_of_type(value, G_VARIANT_TYPE_INT64)) {
        json_integer(json, key, g_variant_get_int64(value));
    } else if (g_variant_is_of_type(value, G_VARIANT_TYPE_ARRAY) || g_variant_is_of_type(value, G_VARIANT_TYPE_TUPLE)) {
        json_open(json, key, '[');
        for (gsize i = 0; i < g_variant_n_children(value); i++) {
            g_autoptr(GVariant) child = g_variant_get_child_value(value, i);
            json_variant(json, NULL, child);
        }
        json_close(json, ']');
    } else {
        g_autofree char *text = g_variant_print(value, FALSE);
        json_string(json, key, text);
    }
}

void json_print(Json *json)
{
    printf("%s\n", json->out->str);
    g_string_free(json->out, TRUE);
    g_free(json);
}
