/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/settings.h"

#include "lib/conf-files.h"
#include "lib/error.h"
#include "lib/key-file.h"
#include <string.h>

#define REWRITES_PER_MINUTE_MAX 100000
#define DEFINITION_COPIES_MAX 1000

#define INTERVAL_MIN_USEC (50 * 1000)
#define INTERVAL_MAX_USEC (60 * (guint64)G_USEC_PER_SEC)
#define INTERVAL_DEFAULT_USEC (250 * 1000)
#define RELEASE_MAX_MIN_USEC G_USEC_PER_SEC
#define RELEASE_MAX_MAX_USEC (7 * 86400 * (guint64)G_USEC_PER_SEC)
#define RELEASE_MAX_DEFAULT_USEC (3600 * (guint64)G_USEC_PER_SEC)

#define METRICS_INTERVAL_MIN_USEC G_USEC_PER_SEC
#define METRICS_INTERVAL_MAX_USEC (3600 * (guint64)G_USEC_PER_SEC)
#define METRICS_INTERVAL_DEFAULT_USEC (15 * (guint64)G_USEC_PER_SEC)

static const KeySpec key_specs[] = {
    {"Manager", "Mode"},
    {"Manager", "RewritesPerMinute"},
    {"Manager", "DefinitionCopies"},
    {"Detection", "StatsFd"},
    {"Detection", "Interval"},
    {"Guard", "Scope"},
    {"Guard", "ReleaseMax"},
    {"Guard", "Incoming"},
    {"Metrics", "File"},
    {"Metrics", "Interval"},
    {"Host", "Nested"},
    {"Host", "ShadowVMCS"},
    {"Host", "IgnoreMSRs"},
};

static const char *const mode_names[] = {
    [SETTINGS_MODE_ENFORCE] = "enforce",
    [SETTINGS_MODE_GUARD] = "guard",
    [SETTINGS_MODE_OBSERVE] = "observe",
    NULL,
};

static const char *const stats_fd_names[] = {
    [SETTINGS_STATS_FD_NO] = "no",
    [SETTINGS_STATS_FD_YES] = "yes",
    [SETTINGS_STATS_FD_AUTO] = "auto",
    NULL,
};

static const char *const wish_names[] = {
    [SETTINGS_NO] = "no",
    [SETTINGS_YES] = "yes",
    [SETTINGS_KEEP] = "keep",
    NULL,
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
        .stats_fd = SETTINGS_STATS_FD_AUTO,
        .interval_usec = INTERVAL_DEFAULT_USEC,
        .release_max_usec = RELEASE_MAX_DEFAULT_USEC,
        .metrics_interval_usec = METRICS_INTERVAL_DEFAULT_USEC,
        .host_nested = SETTINGS_KEEP,
        .host_shadow_vmcs = SETTINGS_KEEP,
        .host_ignore_msrs = SETTINGS_KEEP,
    };
}

static bool read_wish(const KeyFile *file, const char *key, SettingsWish *wish, GError **error)
{
    int choice = (int)*wish;

    if (!key_file_choice(file, "Host", key, wish_names, &choice, error))
        return false;
    *wish = (SettingsWish)choice;
    return true;
}

/*
 * Where metrics are written to. What does not end in .prom no collector reads, and a file in a folder that is watched for
 * configuration would have that read anew each time.
 */
static bool read_metrics_file(const KeyFile *file, const char **path, GError **error)
{
    const char *text = key_file_value(file, "Metrics", "File");
    g_auto(GStrv) watched = conf_files_watched("/");

    if (text == NULL)
        return true;
    if (strcmp(text, "none") == 0) {
        *path = NULL;
        return true;
    }
    g_autofree char *canonical = g_canonicalize_filename(text, "/"), *folder = g_path_get_dirname(canonical);
    if (!g_path_is_absolute(text) || !g_str_has_suffix(canonical, ".prom") ||
        g_strv_contains((const char *const *)watched, folder)) {
        key_file_set_error(
            file, "Metrics", "File",
            "none, or an absolute path that ends in .prom, in a folder without configuration of virtnest "
            "such as " VIRTNEST_RUNDIR "/metrics",
            error);
        return false;
    }
    *path = g_intern_string(canonical);
    return true;
}

static bool settings_apply_file(Settings *settings, const char *path, GPtrArray *warnings, GError **error)
{
    g_autoptr(KeyFile) file = key_file_load(path, error);
    static const char *const scopes[] = {"tagged", "all", NULL};
    static const char *const incoming_names[] = {"refuse", "allow", NULL};
    int scope = settings->scope_all, incoming = settings->incoming_allow;
    int mode = (int)settings->mode, stats_fd = (int)settings->stats_fd;

    if (file == NULL)
        return false;
    key_file_find_unknown(file, key_specs, G_N_ELEMENTS(key_specs), warnings);
    if (!key_file_choice(file, "Manager", "Mode", mode_names, &mode, error) ||
        !key_file_unsigned(file, "Manager", "RewritesPerMinute", REWRITES_PER_MINUTE_MAX,
                           &settings->rewrites_per_minute, error) ||
        !key_file_unsigned(file, "Manager", "DefinitionCopies", DEFINITION_COPIES_MAX, &settings->definition_copies,
                           error) ||
        !key_file_choice(file, "Detection", "StatsFd", stats_fd_names, &stats_fd, error) ||
        !key_file_duration(file, "Detection", "Interval", INTERVAL_MIN_USEC, INTERVAL_MAX_USEC,
                           &settings->interval_usec, error) ||
        !key_file_choice(file, "Guard", "Scope", scopes, &scope, error) ||
        !key_file_duration(file, "Guard", "ReleaseMax", RELEASE_MAX_MIN_USEC, RELEASE_MAX_MAX_USEC,
                           &settings->release_max_usec, error) ||
        !key_file_choice(file, "Guard", "Incoming", incoming_names, &incoming, error) ||
        !read_metrics_file(file, &settings->metrics_file, error) ||
        !key_file_duration(file, "Metrics", "Interval", METRICS_INTERVAL_MIN_USEC, METRICS_INTERVAL_MAX_USEC,
                           &settings->metrics_interval_usec, error) ||
        !read_wish(file, "Nested", &settings->host_nested, error) ||
        !read_wish(file, "ShadowVMCS", &settings->host_shadow_vmcs, error) ||
        !read_wish(file, "IgnoreMSRs", &settings->host_ignore_msrs, error))
        return false;
    settings->scope_all = scope == 1;
    settings->incoming_allow = incoming == 1;
    settings->mode = (SettingsMode)mode;
    settings->stats_fd = (SettingsStatsFd)stats_fd;
    return true;
}

/**
 * Reads virtnest.conf and then virtnest.conf.d/ in the order of conf_files_list().
 * @warnings: gets a text, freed by the array, for each thing that is ignored
 * Returns: false with VIRTNEST_ERROR_CONFIG; or with a G_FILE_ERROR if a folder cannot be read; the
 * message names the file, the line and what would be accepted.
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

/** Returns: whether both say the same. */
bool settings_equal(const Settings *a, const Settings *b)
{
    return a->mode == b->mode && a->rewrites_per_minute == b->rewrites_per_minute &&
           a->definition_copies == b->definition_copies && a->stats_fd == b->stats_fd &&
           a->interval_usec == b->interval_usec && a->scope_all == b->scope_all &&
           a->release_max_usec == b->release_max_usec && a->incoming_allow == b->incoming_allow &&
           a->metrics_file == b->metrics_file && a->metrics_interval_usec == b->metrics_interval_usec &&
           a->host_nested == b->host_nested && a->host_shadow_vmcs == b->host_shadow_vmcs &&
           a->host_ignore_msrs == b->host_ignore_msrs;
}

/** Sees whether one file is a good one, wherever it lies. @warnings and @error are as those of settings_load(). */
bool settings_check_file(const char *path, GPtrArray *warnings, GError **error)
{
    Settings settings = settings_default();

    return settings_apply_file(&settings, path, warnings, error);
}

/** Returns: the path of the file whose mere presence stops all writing, to be freed with g_free(). */
char *settings_kill_switch(const char *root)
{
    return g_build_filename(root, VIRTNEST_SYSCONFDIR, "disable", NULL);
}
