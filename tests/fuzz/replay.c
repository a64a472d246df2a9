/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Runs a fuzz target over files instead of a fuzzer's inventions, and prints TAP.
 *
 * fuzz-NAME [FILE|FOLDER...]: without any, over the corpus of that name. Options are ignored.
 */

#include "tests/fuzz/fuzz.h"

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_path(GPtrArray *files, const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    if (dir == NULL) {
        g_ptr_array_add(files, g_strdup(path));
        return;
    }
    while ((name = g_dir_read_name(dir)) != NULL)
        if (name[0] != '.')
            g_ptr_array_add(files, g_build_filename(path, name, NULL));
}

static char *default_folder(const char *program)
{
    g_autofree char *base = g_path_get_basename(program);
    const char *sources = g_getenv("G_TEST_SRCDIR");

    return g_build_filename(sources != NULL ? sources : "tests", "fuzz", "corpus",
                            g_str_has_prefix(base, "fuzz-") ? base + strlen("fuzz-") : base, NULL);
}

static bool replay(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *data = NULL;
    gsize length = 0;

    if (!g_file_get_contents(path, &data, &length, &error)) {
        printf("# %s\n", error->message);
        return false;
    }
    /* Without the NUL behind it that GLib adds, so that a sanitizer sees a read too far. */
    g_autofree uint8_t *exact = g_memdup2(data, length);
    (void)LLVMFuzzerTestOneInput(exact, length);
    return true;
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_free);
    bool all_good = true;

    for (int i = 1; i < argc; i++)
        if (argv[i][0] != '-')
            add_path(files, argv[i]);
    if (files->len == 0) {
        g_autofree char *folder = default_folder(argv[0]);
        add_path(files, folder);
    }
    g_ptr_array_sort(files, compare_names);
    printf("1..%u\n", files->len);
    for (guint i = 0; i < files->len; i++) {
        g_autofree char *name = g_path_get_basename(files->pdata[i]);
        /* Said before, since a target that fails ends the program. */
        printf("# %s\n", name);
        (void)fflush(stdout);
        bool good = replay(files->pdata[i]);
        printf("%s %u - %s\n", good ? "ok" : "not ok", i + 1, name);
        all_good = all_good && good;
    }
    return all_good ? 0 : 1;
}
