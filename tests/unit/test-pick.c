/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ctl/pick.c: names, UUIDs, beginnings of them, and what is said where none or several fit. */

#include "ctl/pick.h"

#include <glib.h>
#include <string.h>

static const PickItem items[] = {
    {"web1", "6695eb01-f6a4-8304-79aa-97f2502e193f"},
    {"web10", "0ba7a1d2-2a0e-4dbb-9bb4-4a60b4b4b3b6"},
    {"web2", "6695eb02-2a0e-4dbb-9bb4-4a60b4b4b3b7"},
    {"66", "abcdef01-2a0e-4dbb-9bb4-4a60b4b4b3b8"},
    {"lab-日本", "1f3e1d2c-2a0e-4dbb-9bb4-4a60b4b4b3b9"},
    {"1f3e1d2c-2a0e-4dbb-9bb4-4a60b4b4b3b9", "33333333-2a0e-4dbb-9bb4-4a60b4b4b3b0"},
};

static const char *incomplete;

/* @expected: a part of the problem, or NULL if @index is found */
static void assert_pick(const char *text, int index, const char *expected)
{
    g_autofree char *problem = NULL;
    int found = pick_domain(text, items, G_N_ELEMENTS(items), incomplete, &problem);

    g_test_message("'%s': %d, %s", text, found, problem != NULL ? problem : "no problem");
    g_assert_cmpint(found, ==, index);
    g_assert_cmpint(problem == NULL, ==, expected == NULL);
    if (expected != NULL)
        g_assert_nonnull(strstr(problem, expected));
}

static void test_whole(void)
{
    assert_pick("web1", 0, NULL);
    assert_pick("web10", 1, NULL);
    assert_pick("6695eb01-f6a4-8304-79aa-97f2502e193f", 0, NULL);
    assert_pick("6695EB01-F6A4-8304-79AA-97F2502E193F", 0, NULL);
    /* Two domains of which one has the UUID of the other as its name. */
    assert_pick("1f3e1d2c-2a0e-4dbb-9bb4-4a60b4b4b3b9", 5, NULL);
    assert_pick("66", 3, NULL);
}

/* There may be a domain whose name is what is only the beginning of those that are known. */
static void test_incomplete(void)
{
    incomplete = "it is early";
    assert_pick("web1", 0, NULL);
    assert_pick("6695EB01-F6A4-8304-79AA-97F2502E193F", 0, NULL);
    assert_pick("lab", -1, "no domain 'lab' is known so far: it is early");
    assert_pick("web", -1, "it is early");
    incomplete = NULL;
}

static void test_beginnings(void)
{
    assert_pick("lab", 4, NULL);
    assert_pick("0ba7", 1, NULL);
    assert_pick("6695eb01", 0, NULL);
    assert_pick("6695EB02", 2, NULL);
    /* In the order of their names, whatever the order of the domains. */
    assert_pick("web", -1, "'web' may be any of these domains: web1, web10, web2");
    assert_pick("6695", -1, "web1 (6695eb01-f6a4-8304-79aa-97f2502e193f), web2 (6695eb02");
}

static void test_unknown(void)
{
    assert_pick("wbe2", -1, "libvirt has no domain 'wbe2'; did you mean 'web2'?");
    assert_pick("database", -1, "`virsh list --all` tells which there are");
    assert_pick("", -1, "libvirt has no domain ''");
    assert_pick("\033[31m", -1, "'?[31m'");
    g_autofree char *problem = NULL;
    g_assert_cmpint(pick_domain("web", items, 0, NULL, &problem), ==, -1);
    g_assert_nonnull(strstr(problem, "no domain 'web'"));
}

static void test_many(void)
{
    PickItem many[200];
    g_auto(GStrv) names = g_new0(char *, G_N_ELEMENTS(many) + 1);
    g_autofree char *problem = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(many); i++)
        many[i] = (PickItem){names[i] = g_strdup_printf("vm%zu", i), "00000000"};
    g_assert_cmpint(pick_domain("v", many, G_N_ELEMENTS(many), NULL, &problem), ==, -1);
    g_assert_nonnull(strstr(problem, "vm0, vm1, vm10, vm100, vm101, vm102, vm103, vm104, vm105, vm106 and 190 more"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pick/whole", test_whole);
    g_test_add_func("/pick/beginnings", test_beginnings);
    g_test_add_func("/pick/incomplete", test_incomplete);
    g_test_add_func("/pick/unknown", test_unknown);
    g_test_add_func("/pick/many", test_many);
    return g_test_run();
}
