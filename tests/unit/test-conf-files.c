/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/conf-files.c: which files count, in which order. */

#include "lib/conf-files.h"

#include "tests/unit/util.h"
#include <string.h>
#include <sys/stat.h>

#define ETC VIRTNEST_SYSCONFDIR "/policy.d/"
#define RUN VIRTNEST_RUNDIR "/policy.d/"
#define VENDOR VIRTNEST_VENDORDIR "/policy.d/"

/* Compares what is listed with paths below the root, in that order; NULL ends them. */
static void assert_list(const UtilRoot *root, const char *const *expected)
{
    g_autoptr(GPtrArray) paths = NULL;
    g_autoptr(GError) error = NULL;
    guint n = 0;

    g_assert_true(conf_files_list(root->path, "policy.d", ".policy", &paths, &error));
    g_assert_no_error(error);
    for (; expected[n] != NULL; n++) {
        g_autofree char *path = util_root_path(root, expected[n]);
        g_assert_cmpuint(paths->len, >, n);
        g_assert_cmpstr(paths->pdata[n], ==, path);
    }
    g_assert_cmpuint(paths->len, ==, n);
}

#define assert_lists(root, ...) assert_list(root, (const char *const[]){__VA_ARGS__})

static void test_nothing(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    assert_lists(root, NULL);
    util_root_folder(root, VIRTNEST_SYSCONFDIR "/policy.d");
    assert_lists(root, NULL);
    g_autofree char *none = conf_files_find(root->path, "virtnest.conf");
    g_assert_null(none);
}

static void test_search_order(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, VENDOR "a.policy", "v");
    util_root_write(root, VENDOR "b.policy", "v");
    util_root_write(root, VENDOR "c.policy", "v");
    util_root_write(root, RUN "a.policy", "r");
    util_root_write(root, RUN "b.policy", "r");
    util_root_write(root, ETC "a.policy", "e");
    assert_lists(root, ETC "a.policy", RUN "b.policy", VENDOR "c.policy", NULL);
}

static void test_sort_order(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, ETC "90-x.policy", "e");
    util_root_write(root, ETC "b.policy", "e");
    util_root_write(root, RUN "10-x.policy", "r");
    util_root_write(root, RUN "B.policy", "r");
    util_root_write(root, VENDOR "50-x.policy", "v");
    util_root_write(root, VENDOR "9-x.policy", "v");
    /* By the bytes of the name, whatever the folder or the locale. */
    assert_lists(root, RUN "10-x.policy", VENDOR "50-x.policy", VENDOR "9-x.policy", ETC "90-x.policy", RUN "B.policy",
                 ETC "b.policy", NULL);
}

static void test_suffix(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, ETC "a.policy", "x");
    util_root_write(root, ETC ".policy", "x");
    util_root_write(root, ETC ".hidden.policy", "x");
    util_root_write(root, ETC "a.policy~", "x");
    util_root_write(root, ETC "a.policy.bak", "x");
    util_root_write(root, ETC "policy", "x");
    util_root_write(root, ETC "a.POLICY", "x");
    util_root_write(root, ETC "a.conf", "x");
    assert_lists(root, ETC "a.policy", NULL);
}

static void test_mask_empty(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, VENDOR "a.policy", "v");
    util_root_write(root, RUN "b.policy", "r");
    util_root_write(root, ETC "a.policy", "");
    assert_lists(root, RUN "b.policy", NULL);
}

static void test_mask_link(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, VENDOR "a.policy", "v");
    util_root_write(root, RUN "b.policy", "r");
    util_root_link(root, ETC "a.policy", "/dev/null");
    util_root_link(root, RUN "c.policy", "/dev/null");
    assert_lists(root, RUN "b.policy", NULL);
}

/* /run hides what the vendor ships, and itself is hidden by /etc. */
static void test_mask_between(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, VENDOR "a.policy", "v");
    util_root_link(root, RUN "a.policy", "/dev/null");
    assert_lists(root, NULL);
    util_root_write(root, ETC "a.policy", "e");
    assert_lists(root, ETC "a.policy", NULL);
}

static void test_mask_nothing(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    /* One that hides a name without a file further down is no error, and blanks are not empty. */
    util_root_write(root, ETC "a.policy", "");
    util_root_write(root, ETC "b.policy", "\n");
    assert_lists(root, ETC "b.policy", NULL);
}

static void test_link_to_empty(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, VENDOR "a.policy", "v");
    util_root_write(root, "/srv/empty", "");
    g_autofree char *target = util_root_path(root, "/srv/empty");
    util_root_link(root, ETC "a.policy", target);
    assert_lists(root, NULL);
}

/* What is not a readable file is listed all the same: whoever loads it says what is wrong with it. */
static void test_oddities_are_listed(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_folder(root, ETC "folder.policy");
    util_root_link(root, ETC "dangling.policy", "nowhere");
    util_root_write(root, VENDOR "dangling.policy", "v");
    util_root_write(root, VENDOR "good.policy", "v");
    assert_lists(root, ETC "dangling.policy", ETC "folder.policy", VENDOR "good.policy", NULL);
}

static void test_linked_folder(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *target = util_root_path(root, "/srv/policies");

    util_root_write(root, "/srv/policies/a.policy", "x");
    util_root_link(root, VIRTNEST_SYSCONFDIR "/policy.d", target);
    assert_lists(root, ETC "a.policy", NULL);
}

static void assert_list_fails(const UtilRoot *root)
{
    GPtrArray *paths = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = util_root_path(root, VIRTNEST_SYSCONFDIR "/policy.d");

    g_assert_false(conf_files_list(root->path, "policy.d", ".policy", &paths, &error));
    g_assert_nonnull(error);
    g_assert_null(paths);
    util_assert_contains(error->message, folder);
}

static void test_unreadable_folder(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *folder = util_root_path(root, VIRTNEST_SYSCONFDIR "/policy.d");

    util_root_write(root, ETC "a.policy", "x");
    g_assert_cmpint(chmod(folder, 0), ==, 0);
    if (!util_set_override(false)) {
        g_test_skip("cannot give up root's capabilities");
        return;
    }
    assert_list_fails(root);
    util_set_override(true);
}

static void test_folder_loop(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_link(root, VIRTNEST_SYSCONFDIR "/policy.d", "policy.d");
    assert_list_fails(root);
}

static void test_link_out(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *target = util_root_path(root, "/srv/a.policy");

    util_root_write(root, "/srv/a.policy", "x");
    util_root_link(root, ETC "a.policy", target);
    assert_list_fails(root);
}

/* Nor by a detour; but a second name for a file of the folder is fine. */
static void test_link_within(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, ETC "a.policy", "x");
    util_root_link(root, ETC "b.policy", "a.policy");
    util_root_link(root, ETC "c.policy", "../policy.d/b.policy");
    assert_lists(root, ETC "a.policy", ETC "b.policy", ETC "c.policy", NULL);
    util_root_write(root, VIRTNEST_SYSCONFDIR "/other", "x");
    util_root_link(root, ETC "d.policy", "../other");
    assert_list_fails(root);
}

static void assert_finds(const UtilRoot *root, const char *expected)
{
    g_autofree char *found = conf_files_find(root->path, "virtnest.conf");
    g_autofree char *path = expected != NULL ? util_root_path(root, expected) : NULL;

    g_assert_cmpstr(found, ==, path);
}

static void test_find(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, VIRTNEST_VENDORDIR "/virtnest.conf", "v");
    assert_finds(root, VIRTNEST_VENDORDIR "/virtnest.conf");
    util_root_write(root, VIRTNEST_RUNDIR "/virtnest.conf", "r");
    assert_finds(root, VIRTNEST_RUNDIR "/virtnest.conf");
    util_root_write(root, VIRTNEST_SYSCONFDIR "/virtnest.conf", "e");
    assert_finds(root, VIRTNEST_SYSCONFDIR "/virtnest.conf");
    util_root_write(root, VIRTNEST_SYSCONFDIR "/virtnest.conf", "");
    assert_finds(root, NULL);
}

static void test_find_link(void)
{
    g_autoptr(UtilRoot) root = util_root_new(), other = util_root_new();

    util_root_write(root, VIRTNEST_VENDORDIR "/virtnest.conf", "v");
    util_root_link(root, VIRTNEST_SYSCONFDIR "/virtnest.conf", "/dev/null");
    assert_finds(root, NULL);

    /* A dangling link is a mistake that must be seen, not a reason to fall back. */
    util_root_write(other, VIRTNEST_VENDORDIR "/virtnest.conf", "v");
    util_root_link(other, VIRTNEST_SYSCONFDIR "/virtnest.conf", "nowhere");
    assert_finds(other, VIRTNEST_SYSCONFDIR "/virtnest.conf");
}

static void test_folders(void)
{
    g_auto(GStrv) folders = conf_files_folders("/x");

    g_assert_cmpuint(g_strv_length(folders), ==, 3);
    g_assert_cmpstr(folders[0], ==, "/x" VIRTNEST_SYSCONFDIR);
    g_assert_cmpstr(folders[1], ==, "/x" VIRTNEST_RUNDIR);
    g_assert_cmpstr(folders[2], ==, "/x" VIRTNEST_VENDORDIR);
    g_auto(GStrv) real = conf_files_folders("/");
    g_assert_cmpstr(real[0], ==, VIRTNEST_SYSCONFDIR);
}

/* Records of guards, and what editors leave, are none of the configuration's business. */
static void test_concern(void)
{
    static const struct {
        const char *path;
        bool concerns;
    } cases[] = {
        {VIRTNEST_SYSCONFDIR "/virtnest.conf", true},
        {VIRTNEST_SYSCONFDIR "/disable", true},
        {VIRTNEST_SYSCONFDIR "/policy.d", true},
        {VIRTNEST_SYSCONFDIR "/policy.d/lab.policy", true},
        {VIRTNEST_RUNDIR "/virtnest.conf.d/10.conf", true},
        {VIRTNEST_SYSCONFDIR, true},
        {VIRTNEST_SYSCONFDIR "/virtnest.conf~", false},
        {VIRTNEST_RUNDIR "/guards", false},
        {VIRTNEST_RUNDIR "/releases", false},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_build_filename("/srv/root", cases[i].path, NULL);
        g_test_message("%s", path);
        g_assert_cmpint(conf_files_concern("/srv/root", path), ==, cases[i].concerns);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/conf-files/concern", test_concern);
    g_test_add_func("/conf-files/nothing", test_nothing);
    g_test_add_func("/conf-files/search-order", test_search_order);
    g_test_add_func("/conf-files/sort-order", test_sort_order);
    g_test_add_func("/conf-files/suffix", test_suffix);
    g_test_add_func("/conf-files/mask/empty", test_mask_empty);
    g_test_add_func("/conf-files/mask/link", test_mask_link);
    g_test_add_func("/conf-files/mask/between", test_mask_between);
    g_test_add_func("/conf-files/mask/nothing", test_mask_nothing);
    g_test_add_func("/conf-files/mask/link-to-empty", test_link_to_empty);
    g_test_add_func("/conf-files/oddities-are-listed", test_oddities_are_listed);
    g_test_add_func("/conf-files/linked-folder", test_linked_folder);
    g_test_add_func("/conf-files/unreadable-folder", test_unreadable_folder);
    g_test_add_func("/conf-files/folder-loop", test_folder_loop);
    g_test_add_func("/conf-files/link-out", test_link_out);
    g_test_add_func("/conf-files/link-within", test_link_within);
    g_test_add_func("/conf-files/find", test_find);
    g_test_add_func("/conf-files/find-link", test_find_link);
    g_test_add_func("/conf-files/folders", test_folders);
    return g_test_run();
}
