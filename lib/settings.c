/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/settings.h"

#include "lib/conf-files.h"
#include "lib/error.h"
#include "lib/key-file.h"
#include <string.h>

#define GROUP "Manager"
#define REWRITES_PER_MINUTE_MAX 100000
#define DEFINITION_COPIES_MAX 1000

static const KeySpec key_specs[] = {
    {GROUP, "Mode"},
    {GROUP, "RewritesPerMinute"},
    {GROUP, "DefinitionCopies"},
};

static const char *const mode_names[] = {
    [SETTINGS_MODE_ENFORCE] = "enforce",
    [SETTINGS_MODE_GUARD] = "guard",
    [SETTINGS_MODE_OBSERVE] = "observe",
};

const char *settings_mode_to_string(SettingsMode mode)
{
    return mode_names[mode];
}

/** Returns: what counts where no file says otherwise. */
Settings settings_default(void)
{
    return (Settings){
        .mode = SETTINGS_MODE_ENFORCE,
        .rewrites_per_minute = 30,
        .definition_copies = 10,
    };
}

static bool read_mode(GKeyFile *file, SettingsMode *mode, GError **error)
{
    g_autofree char *value = key_file_string(file, GROUP, "Mode");

    if (value == NULL)
        return true;
    for (gsize i = 0; i < G_N_ELEMENTS(mode_names); i++)
        if (strcmp(value, mode_names[i]) == 0) {
            *mode = (SettingsMode)i;
            return true;
        }
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, "[" GROUP "] Mode=%s must be enforce, guard or observe",
                value);
    return false;
}

static bool settings_apply_file(Settings *settings, const char *path, GPtrArray *warnings, GError **error)
{
    g_autoptr(GKeyFile) file = key_file_load(path, error);

    if (file == NULL)
        return false;
    g_autofree char *unknown = key_file_unknown(file, key_specs, G_N_ELEMENTS(key_specs));
    if (unknown != NULL)
        g_ptr_array_add(warnings, g_strdup_printf("%s: %s; it is ignored", path, unknown));
    if (!read_mode(file, &settings->mode, error) ||
        !key_file_unsigned(file, GROUP, "RewritesPerMinute", REWRITES_PER_MINUTE_MAX, &settings->rewrites_per_minute,
                           error) ||
        !key_file_unsigned(file, GROUP, "DefinitionCopies", DEFINITION_COPIES_MAX, &settings->definition_copies,
                           error)) {
        g_prefix_error(error, "%s: ", path);
        return false;
    }
    return true;
}

/**
 * Reads virtnest.conf and then virtnest.conf.d/ in the order of conf_files_list().
 * @warnings: gets a text, freed by the array, for each thing that is ignored
 * Returns: false with VIRTNEST_ERROR_CONFIG; the message names the file, the group and the key.
 */
bool settings_load(const char *root, Settings *ret_settings, GPtrArray *warnings, GError **error)
{
    Settings settings = settings_default();
    g_autoptr(GPtrArray) paths = NULL;
    g_autofree char *main_file = conf_files_find(root, "virtnest.conf");

    if (!conf_files_list(root, "virtnest.conf.d", ".conf", &paths, error))
        return false;
    if (main_file != NULL)
        g_ptr_array_insert(paths, 0, g_steal_pointer(&main_file));
    for (guint i = 0; i < paths->len; i++)
        if (!settings_apply_file(&settings, paths->pdata[i], warnings, error))
            return false;
    *ret_settings = settings;
    return true;
}

/** Returns: the path of the file whose mere presence stops all writing, to be freed with g_free(). */
char *settings_kill_switch(const char *root)
{
    return g_build_filename(root, VIRTNEST_SYSCONFDIR, "disable", NULL);
}
