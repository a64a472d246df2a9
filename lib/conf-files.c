/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Where configuration is looked for, after the UAPI group's configuration files specification: /etc before /run before
 * the vendor's folder; of files with one name the first found counts; an empty file or a link to /dev/null hides those
 * of the same name further down; all that remain are taken in the order of their names, whatever their folder.
 */

#include "lib/conf-files.h"

#include "lib/error.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/** Returns: the folders that are searched, most important first, to be freed with g_strfreev(). */
GStrv conf_files_folders(const char *root)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    static const char *const folders[] = {VIRTNEST_SYSCONFDIR, VIRTNEST_RUNDIR, VIRTNEST_VENDORDIR};

    for (gsize i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *path = g_build_filename(root, folders[i], NULL);
        g_strv_builder_add(builder, path);
    }
    return g_strv_builder_end(builder);
}

static bool is_masked(const char *path, bool *ret_is_link)
{
    struct stat status;

    *ret_is_link = false;
    if (lstat(path, &status) != 0)
        return false;
    *ret_is_link = S_ISLNK(status.st_mode);
    if (*ret_is_link) {
        g_autofree char *target = g_file_read_link(path, NULL);
        if (target != NULL && strcmp(target, "/dev/null") == 0)
            return true;
        if (stat(path, &status) != 0)
            return false;
    }
    return S_ISREG(status.st_mode) && status.st_size == 0;
}

/* A link that leads out of its folder makes somebody else's file a configuration file. */
static bool check_link(const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    char *target = NULL, *real_folder = NULL;
    bool good = true;

    target = realpath(path, NULL);
    real_folder = realpath(folder, NULL);
    if (target != NULL && real_folder != NULL) {
        g_autofree char *target_folder = g_path_get_dirname(target);
        good = strcmp(target_folder, real_folder) == 0;
    }
    free(target);
    free(real_folder);
    if (!good)
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG,
                    "%s: a link out of its folder; only a link to /dev/null or to another file of the folder is taken",
                    path);
    return good;
}

static const char *last_part(const char *path)
{
    return strrchr(path, '/') + 1;
}

static void add_path(GHashTable *found, char *path)
{
    g_hash_table_insert(found, (gpointer)last_part(path), path);
}

static bool scan_folder(const char *folder, const char *suffix, GHashTable *found, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, &cause);
    const char *name;

    if (dir == NULL) {
        if (g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT) ||
            g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOTDIR))
            return true;
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    while ((name = g_dir_read_name(dir)) != NULL)
        if (name[0] != '.' && g_str_has_suffix(name, suffix) && !g_hash_table_contains(found, name))
            add_path(found, g_strconcat(folder, "/", name, NULL));
    return true;
}

/**
 * Lists what there is below one folder name in any of the folders, masked or not.
 * @ret_names: name -> path of the first that was found, of which the name is the end
 * Returns: false with a G_FILE_ERROR if a folder is there but cannot be read.
 */
bool conf_files_names(const char *root, const char *folder, const char *suffix, GHashTable **ret_names, GError **error)
{
    g_auto(GStrv) folders = conf_files_folders(root);
    g_autoptr(GHashTable) found = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);

    for (gsize i = 0; folders[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(folders[i], folder, NULL);
        if (!scan_folder(path, suffix, found, error))
            return false;
    }
    *ret_names = g_steal_pointer(&found);
    return true;
}

static int compare_last_parts(gconstpointer a, gconstpointer b)
{
    return strcmp(last_part(*(const char *const *)a), last_part(*(const char *const *)b));
}

/**
 * Lists the files in effect below one folder name, such as "policy.d".
 * @root: "/" or another root to search below
 * @ret_paths: paths sorted by their last part, an array that frees its strings
 * Returns: false with a G_FILE_ERROR if a folder is there but cannot be read, or with VIRTNEST_ERROR_CONFIG if a file is
 * a link out of it.
 */
bool conf_files_list(const char *root, const char *folder, const char *suffix, GPtrArray **ret_paths, GError **error)
{
    g_autoptr(GHashTable) found = NULL;
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    gpointer path;

    if (!conf_files_names(root, folder, suffix, &found, error))
        return false;
    g_hash_table_iter_init(&iter, found);
    while (g_hash_table_iter_next(&iter, NULL, &path)) {
        bool is_link;
        if (is_masked(path, &is_link))
            continue;
        g_hash_table_iter_steal(&iter);
        g_ptr_array_add(paths, path);
        if (is_link && !check_link(path, error))
            return false;
    }
    g_ptr_array_sort(paths, compare_last_parts);
    *ret_paths = g_steal_pointer(&paths);
    return true;
}

/** Returns: the path of the one file of that name that counts, to be freed with g_free(), or NULL: none, or masked. */
char *conf_files_find(const char *root, const char *name)
{
    g_auto(GStrv) folders = conf_files_folders(root);

    for (gsize i = 0; folders[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(folders[i], name, NULL);
        bool is_link;
        if (g_file_test(path, G_FILE_TEST_EXISTS) || g_file_test(path, G_FILE_TEST_IS_SYMLINK))
            return is_masked(path, &is_link) ? NULL : g_steal_pointer(&path);
    }
    return NULL;
}

static bool append_list(const char *root, const char *folder, const char *suffix, GPtrArray *paths, GError **error)
{
    g_autoptr(GPtrArray) found = NULL;

    if (!conf_files_list(root, folder, suffix, &found, error))
        return false;
    for (guint i = 0; i < found->len; i++)
        g_ptr_array_add(paths, g_strdup(found->pdata[i]));
    return true;
}

/**
 * Lists all files in effect: the daemon's, and each policy with its drop-ins behind it, in the order in which they count.
 * @ret_paths: an array that frees its strings
 * Returns: false with the errors of conf_files_list().
 */
bool conf_files_list_all(const char *root, GPtrArray **ret_paths, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free), policies = NULL;
    g_autofree char *main_file = conf_files_find(root, "virtnest.conf");

    if (main_file != NULL)
        g_ptr_array_add(paths, g_steal_pointer(&main_file));
    if (!append_list(root, "virtnest.conf.d", ".conf", paths, error) ||
        !conf_files_list(root, "policy.d", ".policy", &policies, error))
        return false;
    for (guint i = 0; i < policies->len; i++) {
        g_autofree char *base = g_path_get_basename(policies->pdata[i]);
        g_autofree char *folder = g_strdup_printf("policy.d/%s.d", base);
        g_ptr_array_add(paths, g_strdup(policies->pdata[i]));
        if (!append_list(root, folder, ".conf", paths, error))
            return false;
    }
    *ret_paths = g_steal_pointer(&paths);
    return true;
}

/* Folders of drop-ins that are there now. One that comes later is seen as a change of the folder that it is in. */
static void add_drop_in_folders(const char *folder, GStrvBuilder *builder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (g_str_has_suffix(name, ".d") && g_file_test(path, G_FILE_TEST_IS_DIR))
            g_strv_builder_add(builder, path);
    }
}

/** Returns: the folders in which a change may matter, whether they exist or not, to be freed with g_strfreev(). */
GStrv conf_files_watched(const char *root)
{
    static const char *const below[] = {"policy.d", "virtnest.conf.d"};
    g_auto(GStrv) folders = conf_files_folders(root);
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    for (gsize i = 0; folders[i] != NULL; i++) {
        g_strv_builder_add(builder, folders[i]);
        for (gsize j = 0; j < G_N_ELEMENTS(below); j++) {
            g_autofree char *path = g_build_filename(folders[i], below[j], NULL);
            g_strv_builder_add(builder, path);
            add_drop_in_folders(path, builder);
        }
    }
    return g_strv_builder_end(builder);
}

/**
 * Returns: whether a change of that file can be one of the configuration. In the folders themselves few can, and one of these is
 * where virtnestd keeps what it has to remember.
 */
bool conf_files_concern(const char *root, const char *path)
{
    static const char *const names[] = {"virtnest.conf", "disable", "policy.d", "virtnest.conf.d", NULL};
    g_auto(GStrv) folders = conf_files_folders(root);
    g_autofree char *folder = g_path_get_dirname(path), *name = g_path_get_basename(path);

    return !g_strv_contains((const char *const *)folders, folder) || g_strv_contains(names, name);
}
