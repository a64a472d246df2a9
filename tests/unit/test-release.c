/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/release.h"

#include "tests/unit/util.h"

static void test_there_and_back(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *path = util_root_path(root, "/run/virtnest/releases/x");
    g_autoptr(Release) release =
        release_new(G_GUINT64_CONSTANT(1795574870258864), 7, "root", "a; b = \"c\"\n[d] \\ \xc3\xa4");
    g_autoptr(GError) error = NULL;

    g_assert_true(release_save(release, path, &error));
    g_assert_no_error(error);
    g_autoptr(Release) again = release_load(path);
    g_assert_cmpuint(again->until, ==, release->until);
    g_assert_cmpint(again->id, ==, 7);
    g_assert_cmpstr(again->by, ==, "root");
    g_assert_cmpstr(again->reason, ==, release->reason);
}

/* In doubt the guest is guarded. */
static void test_damaged(void)
{
    static const char *const texts[] = {"",
                                        "[Release]\n",
                                        "[Release]\nUntil=1\nId=1\nBy=root\n",
                                        "x",
                                        "[Release]\nUntil=soon\nId=1\nBy=root\nReason=\n",
                                        "[Release]\nUntil=1\nId=x\nBy=root\nReason=\n"};
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *path = util_root_path(root, "/release");

    g_assert_null(release_load(path));
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        util_root_write(root, "/release", texts[i]);
        g_assert_null(release_load(path));
    }
}

static void test_cannot_save(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *path = util_root_path(root, "/file/release");
    g_autoptr(Release) release = release_new(1, 1, "root", "");
    g_autoptr(GError) error = NULL;

    util_root_write(root, "/file", "");
    g_assert_false(release_save(release, path, &error));
    g_assert_nonnull(error);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/release/there-and-back", test_there_and_back);
    g_test_add_func("/release/damaged", test_damaged);
    g_test_add_func("/release/cannot-save", test_cannot_save);
    return g_test_run();
}
