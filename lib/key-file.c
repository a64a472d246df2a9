/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The INI files of virtnest: GKeyFile reads them, this says in one voice what is wrong with one. */

#include "lib/key-file.h"

#include "lib/error.h"
#include <string.h>
#include <sys/stat.h>

#define FILE_SIZE_MAX (1024 * 1024)

/* A pipe would hold the reader for ever, and a device may have no end: both are refused before they are opened. */
static bool key_file_read(const char *path, char **ret_data, gsize *ret_length, GError **error)
{
    struct stat status;
    g_autofree char *data = NULL;
    gsize length = 0;

    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "not a regular file");
        return false;
    }
    if (!g_file_get_contents(path, &data, &length, error))
        return false;
    if (length > FILE_SIZE_MAX) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "larger than 1 MiB");
        return false;
    }
    if (!g_utf8_validate(data, (gssize)length, NULL)) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "not valid UTF-8");
        return false;
    }
    *ret_data = g_steal_pointer(&data);
    *ret_length = length;
    return true;
}

/**
 * Reads one file.
 * Returns: to be freed with g_key_file_unref(), or NULL with VIRTNEST_ERROR_CONFIG; the message names the file.
 */
GKeyFile *key_file_load(const char *path, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) cause = NULL;
    g_autofree char *data = NULL;
    gsize length = 0;

    /* Without that flag GLib drops Key[de]= unseen, or takes it, as the locale wants. */
    if (!key_file_read(path, &data, &length, &cause) ||
        !g_key_file_load_from_data(file, data, length, G_KEY_FILE_KEEP_TRANSLATIONS, &cause)) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "%s: %s", path, cause->message);
        return NULL;
    }
    return g_steal_pointer(&file);
}

static bool group_is_known(const char *group, const KeySpec *specs, gsize n_specs)
{
    for (gsize i = 0; i < n_specs; i++)
        if (strcmp(specs[i].group, group) == 0)
            return true;
    return false;
}

static bool key_is_known(const char *group, const char *key, const KeySpec *specs, gsize n_specs)
{
    for (gsize i = 0; i < n_specs; i++)
        if (strcmp(specs[i].group, group) == 0 && strcmp(specs[i].key, key) == 0)
            return true;
    return false;
}

/** Returns: what is in the file that no specification knows, in words, to be freed with g_free(), or NULL. */
char *key_file_unknown(GKeyFile *file, const KeySpec *specs, gsize n_specs)
{
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);

    for (gsize i = 0; groups[i] != NULL; i++) {
        if (!group_is_known(groups[i], specs, n_specs))
            return g_strdup_printf("unknown group [%s]", groups[i]);
        g_auto(GStrv) keys = g_key_file_get_keys(file, groups[i], NULL, NULL);
        for (gsize j = 0; keys != NULL && keys[j] != NULL; j++)
            if (!key_is_known(groups[i], keys[j], specs, n_specs))
                return g_strdup_printf("unknown key %s= in [%s]", keys[j], groups[i]);
    }
    return NULL;
}

/**
 * Reads a value as it is written: a backslash is nothing special, and cannot make a value unreadable that then would
 * count as unset.
 * Returns: without the white space at its ends, to be freed with g_free(), or NULL if unset or empty.
 */
char *key_file_string(GKeyFile *file, const char *group, const char *key)
{
    g_autofree char *value = g_key_file_get_value(file, group, key, NULL);

    if (value != NULL && *g_strstrip(value) != '\0')
        return g_steal_pointer(&value);
    return NULL;
}

/** Reads a boolean as systemd writes it; @value is left as it is if the key is unset. */
bool key_file_boolean(GKeyFile *file, const char *group, const char *key, bool *value, GError **error)
{
    static const char *const yes[] = {"yes", "true", "on", "1", NULL}, *const no[] = {"no", "false", "off", "0", NULL};
    g_autofree char *text = key_file_string(file, group, key);

    if (text == NULL)
        return true;
    if (!g_strv_contains(yes, text) && !g_strv_contains(no, text)) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "[%s] %s=%s must be yes or no", group, key, text);
        return false;
    }
    *value = g_strv_contains(yes, text);
    return true;
}

/** Reads a number from 0 to @maximum; @value is left as it is if the key is unset. */
bool key_file_unsigned(GKeyFile *file, const char *group, const char *key, unsigned maximum, unsigned *value,
                       GError **error)
{
    g_autofree char *text = key_file_string(file, group, key);
    guint64 number = 0;

    if (text == NULL)
        return true;
    if (!g_ascii_string_to_unsigned(text, 10, 0, maximum, &number, NULL)) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "[%s] %s=%s must be a number from 0 to %u", group,
                    key, text, maximum);
        return false;
    }
    *value = (unsigned)number;
    return true;
}
