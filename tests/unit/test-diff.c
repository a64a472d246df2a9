/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ctl/diff.c: a small reader of unified diffs makes the new text from the old one again, for random edits of lines. */

#include "ctl/diff.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define ROUNDS 3000

/* Returns: the rest of @text behind its first line. */
static const char *skip_line(const char *text)
{
    const char *end = strchrnul(text, '\n');

    return *end == '\n' ? end + 1 : end;
}

static const char *copy_line(GString *out, const char *text)
{
    const char *rest = skip_line(text);

    g_string_append_len(out, text, rest - text);
    return rest;
}

/* One '@@ -A,B +C,D @@' with its lines. What it says of its place and length must be so. */
static const char *apply_hunk(GString *out, const char **before, unsigned *line, const char *hunk)
{
    unsigned start = 0, count[2] = {1, 1}, seen[2] = {0, 0}, place[2] = {0, 0};
    int n = 0;

    if (sscanf(hunk, "@@ -%u,%u +%u%n", &place[0], &count[0], &place[1], &n) != 3)
        g_assert_cmpint(sscanf(hunk, "@@ -%u +%u%n", &place[0], &place[1], &n), ==, 2);
    if (hunk[n] == ',')
        g_assert_cmpint(sscanf(hunk + n, ",%u", &count[1]), ==, 1);
    for (start = place[0] + (count[0] == 0); *line < start; (*line)++)
        *before = copy_line(out, *before);
    unsigned lines_out = 0;
    for (gsize i = 0; i < out->len; i++)
        lines_out += out->str[i] == '\n';
    g_assert_cmpuint(place[1] + (count[1] == 0), ==, lines_out + 1);

    for (hunk = skip_line(hunk); *hunk == ' ' || *hunk == '-' || *hunk == '+';) {
        const char *rest = skip_line(hunk);
        bool cut = *rest == '\\';
        gsize length = (gsize)(rest - hunk) - 1 - cut;
        if (*hunk != '+') {
            g_assert_cmpint(strncmp(*before, hunk + 1, length), ==, 0);
            *before += length;
            (*line)++;
            seen[0]++;
        }
        if (*hunk != '-') {
            g_string_append_len(out, hunk + 1, (gssize)length);
            seen[1]++;
        }
        hunk = cut ? skip_line(rest) : rest;
    }
    g_assert_cmpuint(seen[0], ==, count[0]);
    g_assert_cmpuint(seen[1], ==, count[1]);
    return hunk;
}

static char *apply(const char *before, const char *diff)
{
    GString *out = g_string_new(NULL);
    unsigned line = 1;

    if (*diff != '\0') {
        g_assert_true(g_str_has_prefix(diff, "--- a\n+++ b\n"));
        diff = skip_line(skip_line(diff));
    }
    while (*diff != '\0')
        diff = apply_hunk(out, &before, &line, diff);
    g_string_append(out, before);
    return g_string_free(out, FALSE);
}

static void check(const char *before, const char *after)
{
    g_autofree char *diff = diff_unified(before, after, "a", "b");
    g_autofree char *made = apply(before, diff);

    g_assert_cmpstr(made, ==, after);
    g_assert_true((*diff == '\0') == (strcmp(before, after) == 0));
}

/* Few different lines, so that there are many ways to find them again. */
static void append_random_line(GString *text)
{
    g_string_append_printf(text, "%.*s\n", g_test_rand_int_range(0, 3), &"abcab"[g_test_rand_int_range(0, 4)]);
}

static char *random_text(int n)
{
    GString *text = g_string_new(NULL);

    for (int i = 0; i < n; i++)
        append_random_line(text);
    if (text->len > 0 && g_test_rand_bit())
        g_string_truncate(text, text->len - 1);
    return g_string_free(text, FALSE);
}

static char *random_edit(const char *text, int one_in)
{
    GString *out = g_string_new(NULL);

    while (*text != '\0') {
        int what = g_test_rand_int_range(0, one_in);
        if (what == 0)
            append_random_line(out);
        text = what == 1 ? skip_line(text) : copy_line(out, text);
    }
    if (out->len > 0 && g_test_rand_int_range(0, 4) == 0)
        g_string_truncate(out, out->len - 1);
    return g_string_free(out, FALSE);
}

static void test_random(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        g_autofree char *before = random_text(g_test_rand_int_range(0, 60));
        g_autofree char *after = random_edit(before, g_test_rand_int_range(2, 30));
        check(before, after);
    }
}

static void test_unlike(void)
{
    for (unsigned i = 0; i < ROUNDS / 10; i++) {
        g_autofree char *before = random_text(g_test_rand_int_range(0, 30));
        g_autofree char *after = random_text(g_test_rand_int_range(0, 30));
        check(before, after);
    }
}

/* More changes than are looked for: all lines between the ends are one change. */
static void test_many_changes(void)
{
    g_autoptr(GString) before = g_string_new("<a>\n"), after = g_string_new("<a>\n");

    for (int i = 0; i < 3000; i++) {
        g_string_append_printf(before, "b%d\n", i);
        g_string_append_printf(after, "c%d\n", i);
    }
    g_string_append(before, "</a>\n");
    g_string_append(after, "</a>\n");
    check(before->str, after->str);
}

static void check_text(const char *before, const char *after, const char *expected)
{
    g_autofree char *diff = diff_unified(before, after, "a", "b");

    g_assert_cmpstr(diff, ==, expected);
}

static void test_text(void)
{
    check_text("same\n", "same\n", "");
    check_text("", "", "");
    check_text("", "x\n", "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n");
    check_text("x\n", "", "--- a\n+++ b\n@@ -1 +0,0 @@\n-x\n");
    check_text("x", "x\n", "--- a\n+++ b\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+x\n");
    check_text("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n",
               "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
    /* Six lines between two changes belong to the context of both, seven do not. */
    check_text("a\n1\n2\n3\n4\n5\n6\nb\n", "1\n2\n3\n4\n5\n6\n",
               "--- a\n+++ b\n@@ -1,8 +1,6 @@\n-a\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n");
    check_text("a\n1\n2\n3\n4\n5\n6\n7\nb\n", "1\n2\n3\n4\n5\n6\n7\n",
               "--- a\n+++ b\n@@ -1,4 +1,3 @@\n-a\n 1\n 2\n 3\n@@ -6,4 +5,3 @@\n 5\n 6\n 7\n-b\n");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/diff/text", test_text);
    g_test_add_func("/diff/random", test_random);
    g_test_add_func("/diff/unlike", test_unlike);
    g_test_add_func("/diff/many-changes", test_many_changes);
    return g_test_run();
}
