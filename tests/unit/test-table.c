/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ctl/table.c: columns that line up on a terminal, whatever stands in them. */

#include "ctl/table.h"

#include <glib.h>
#include <string.h>

#define BOLD "\033[1m"
#define GREEN "\033[32m"
#define END "\033[0m"

static const char *const titles[] = {"DOMAIN", "STATE", "L2", NULL};

static void add(Table *table, const char *name, const char *state, const char *l2)
{
    table_add(table, (const char *const[]){name, state, l2, NULL});
}

static void assert_format(const Table *table, const TableLook *look, const char *expected)
{
    g_autofree char *text = table_format(table, look);

    g_assert_cmpstr(text, ==, expected);
}

/* How many cells of a terminal a text takes, counted for itself: two of what begins at the CJK radicals, in these tests. */
static guint cells_of(const char *text)
{
    guint cells = 0;

    for (; *text != '\0'; text = g_utf8_next_char(text)) {
        gunichar c = g_utf8_get_char(text);
        cells += c >= 0x300 && c < 0x370 ? 0 : c >= 0x2e80 ? 2 : 1;
    }
    return cells;
}

static void test_columns(void)
{
    g_autoptr(Table) table = table_new(titles);
    const TableLook bare = {.legend = false}, full = {.legend = true};

    add(table, "web1", "in-sync", "");
    add(table, "a", NULL, "running");
    assert_format(table, &full,
                  "DOMAIN  STATE    L2\n"
                  "web1    in-sync  -\n"
                  "a       -        running\n");
    /* Without titles their width does not count. */
    assert_format(table, &bare, "web1  in-sync  -\na     -        running\n");
}

static void test_utf8(void)
{
    g_autoptr(Table) table = table_new(titles);
    const TableLook look = {.legend = false};

    add(table, "日本", "a", "");
    add(table, "e\xcc\x81t\xcc\x81", "b", "");
    add(table, "plain", "c", "");
    add(table, "\xff\xfe", "d", "");
    add(table, "bell\a\033[2J", "e", "");
    assert_format(table, &look,
                  "日本       a  -\n"
                  "e\xcc\x81t\xcc\x81         b  -\n"
                  "plain      c  -\n"
                  "\xef\xbf\xbd\xef\xbf\xbd         d  -\n"
                  "bell??[2J  e  -\n");
}

static void test_colours(void)
{
    g_autoptr(Table) table = table_new(titles);
    const TableLook look = {.legend = true, .colours = true}, plain = {.legend = false};

    add(table, "web1", "in-sync", "none");
    table_mark(table, 1, TABLE_GOOD);
    assert_format(table, &look, BOLD "DOMAIN  STATE    L2" END "\nweb1    " GREEN "in-sync" END "  none\n");
    assert_format(table, &plain, "web1  in-sync  none\n");
}

/* Names of 200 characters on terminals of any width: each line fits, both ends of a name stay, and all columns. */
static void test_narrow(void)
{
    g_autoptr(Table) table = table_new(titles);
    g_autofree char *middle = g_strnfill(193, 'x');
    g_autofree char *first = g_strdup_printf("web%send1", middle);
    g_autoptr(GString) wide = g_string_new(NULL);

    for (int i = 0; i < 100; i++)
        g_string_append(wide, "漢字");
    add(table, first, "pending-restart", "running");
    add(table, wide->str, "in-sync", "none");
    add(table, "short", "error", "none");
    for (guint width = 40; width < 450; width++) {
        const TableLook look = {.legend = true, .width = width};
        g_autofree char *text = table_format(table, &look);
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        g_assert_cmpuint(g_strv_length(lines), ==, 5);
        g_assert_true(g_utf8_validate(text, -1, NULL));
        for (gsize i = 0; lines[i] != NULL; i++)
            g_assert_cmpuint(cells_of(lines[i]), <=, width);
        g_assert_true(g_str_has_prefix(lines[1], "web"));
        g_assert_nonnull(strstr(lines[1], "end1 "));
        g_assert_true(g_str_has_suffix(lines[1], "running"));
        g_assert_nonnull(strstr(lines[3], "error"));
        /* A line of CJK is 400 cells wide and more; where that has room, nothing is cut. */
        g_assert_cmpint(strstr(lines[2], "…") == NULL, ==, width >= 400 + 2 + 15 + 2 + 7);
    }
    const TableLook as_it_is = {.legend = true};
    g_autofree char *text = table_format(table, &as_it_is);
    g_assert_nonnull(strstr(text, first));
    /* Where half of a cell is of no use, the others give way. */
    table_keep_whole(table, 0);
    const TableLook narrow = {.legend = true, .width = 80};
    g_autofree char *whole = table_format(table, &narrow);
    g_assert_nonnull(strstr(whole, first));
    table_keep_whole(table, G_MAXUINT);
    /* Narrower than that no column gets. */
    const TableLook tiny = {.legend = true, .width = 5};
    g_autofree char *small = table_format(table, &tiny);
    g_assert_nonnull(strstr(small, "web"));
}

/* A name must not pass for another one, nor move the cursor. */
static void test_printable(void)
{
    static const char *const cases[][2] = {
        {"web1", "web1"},
        {"a\033[2Jb", "a?[2Jb"},
        {"a\u202e1bew", "a?1bew"},                                /* right-to-left override */
        {"a\u2066b\u2069", "a?b?"},                               /* isolates */
        {"a\ufeffb\u2028c", "a?b?c"},                             /* no width, and a line separator */
        {"\u0915\u094d\u200d\u0937", "\u0915\u094d\u200d\u0937"}, /* a joiner within a word */
        {"caf\u00e9 \u65e5\u672c", "caf\u00e9 \u65e5\u672c"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = table_printable(cases[i][0]);
        g_assert_cmpstr(text, ==, cases[i][1]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/table/columns", test_columns);
    g_test_add_func("/table/utf8", test_utf8);
    g_test_add_func("/table/colours", test_colours);
    g_test_add_func("/table/narrow", test_narrow);
    g_test_add_func("/table/printable", test_printable);
    return g_test_run();
}
