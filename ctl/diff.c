/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A unified diff, as patch(1) reads it. What virtnest changes in a document is a few lines in one or two places, so what
 * is the same at both ends is cut off and the rest compared line by line with a table of longest common subsequences.
 */

#include "ctl/diff.h"

#include <stdbool.h>
#include <string.h>

#define CONTEXT 3
/* Above that the table would be too large, and the middle is shown as replaced. */
#define TABLE_MAX (16 * 1024 * 1024)

typedef struct Line {
    char mark; /* ' ', '-' or '+' */
    const char *text;
    gsize length; /* with its newline, if it has one */
} Line;

static GArray *split(const char *text)
{
    GArray *lines = g_array_new(FALSE, FALSE, sizeof(Line));

    while (*text != '\0') {
        const char *end = strchr(text, '\n');
        Line line = {' ', text, end != NULL ? (gsize)(end - text) + 1 : strlen(text)};
        g_array_append_val(lines, line);
        text += line.length;
    }
    return lines;
}

static bool same(const Line *a, const Line *b)
{
    return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

static void take(GArray *script, const Line *line, char mark)
{
    Line copy = *line;

    copy.mark = mark;
    g_array_append_val(script, copy);
}

/* Appends what makes @b of @a: kept, removed and added lines. */
static void compare_middle(GArray *script, const Line *a, gsize n, const Line *b, gsize m)
{
    gsize i = 0, j = 0;

    if ((guint64)(n + 1) * (m + 1) <= TABLE_MAX) {
        g_autofree guint32 *table = g_new0(guint32, (n + 1) * (m + 1));
        for (gsize k = n; k-- > 0;)
            for (gsize l = m; l-- > 0;)
                table[k * (m + 1) + l] = same(&a[k], &b[l])
                                             ? table[(k + 1) * (m + 1) + l + 1] + 1
                                             : MAX(table[(k + 1) * (m + 1) + l], table[k * (m + 1) + l + 1]);
        while (i < n && j < m)
            if (same(&a[i], &b[j])) {
                take(script, &a[i++], ' ');
                j++;
            } else if (table[(i + 1) * (m + 1) + j] >= table[i * (m + 1) + j + 1]) {
                take(script, &a[i++], '-');
            } else {
                take(script, &b[j++], '+');
            }
    }
    while (i < n)
        take(script, &a[i++], '-');
    while (j < m)
        take(script, &b[j++], '+');
}

static GArray *compare(const GArray *before, const GArray *after)
{
    GArray *script = g_array_new(FALSE, FALSE, sizeof(Line));
    const Line *a = (const Line *)before->data, *b = (const Line *)after->data;
    gsize head = 0, tail = 0, n = before->len, m = after->len;

    while (head < n && head < m && same(&a[head], &b[head]))
        take(script, &a[head++], ' ');
    while (tail < n - head && tail < m - head && same(&a[n - 1 - tail], &b[m - 1 - tail]))
        tail++;
    compare_middle(script, a + head, n - head - tail, b + head, m - head - tail);
    for (gsize i = n - tail; i < n; i++)
        take(script, &a[i], ' ');
    return script;
}

static void put_line(GString *out, const Line *line)
{
    g_string_append_c(out, line->mark);
    g_string_append_len(out, line->text, (gssize)line->length);
    if (line->text[line->length - 1] != '\n')
        g_string_append(out, "\n\\ No newline at end of file\n");
}

/* Where the hunk ends that begins at @start: CONTEXT lines behind the last change that is near enough to the one before. */
static gsize hunk_end(const GArray *script, gsize start)
{
    gsize last = start;

    for (gsize i = start; i < script->len && i - last <= 2 * CONTEXT + 1; i++)
        if (g_array_index(script, Line, i).mark != ' ')
            last = i;
    return MIN(last + CONTEXT + 1, script->len);
}

/* As diff(1) does: a range without lines names the one before it, and one of a single line needs no count. */
static void put_range(GString *out, char mark, gsize before, gsize n)
{
    g_string_append_printf(out, " %c%" G_GSIZE_FORMAT, mark, n > 0 ? before + 1 : before);
    if (n != 1)
        g_string_append_printf(out, ",%" G_GSIZE_FORMAT, n);
}

static void put_hunk(GString *out, const GArray *script, gsize start, gsize end, gsize old_line, gsize new_line)
{
    gsize n_old = 0, n_new = 0;

    for (gsize i = start; i < end; i++) {
        n_old += g_array_index(script, Line, i).mark != '+';
        n_new += g_array_index(script, Line, i).mark != '-';
    }
    g_string_append(out, "@@");
    put_range(out, '-', old_line, n_old);
    put_range(out, '+', new_line, n_new);
    g_string_append(out, " @@\n");
    for (gsize i = start; i < end; i++)
        put_line(out, &g_array_index(script, Line, i));
}

/** Returns: the diff, "" if both are the same; to be freed with g_free(). */
char *diff_unified(const char *before, const char *after, const char *before_name, const char *after_name)
{
    g_autoptr(GArray) old_lines = split(before), new_lines = split(after), script = compare(old_lines, new_lines);
    GString *out = g_string_new(NULL);
    gsize old_line = 0, new_line = 0, done = 0;

    for (gsize i = 0; i < script->len; i++) {
        if (g_array_index(script, Line, i).mark == ' ')
            continue;
        gsize start = MAX(done, i > CONTEXT ? i - CONTEXT : 0), end = hunk_end(script, i);
        for (gsize k = done; k < start; k++) {
            old_line++;
            new_line++;
        }
        if (out->len == 0)
            g_string_append_printf(out, "--- %s\n+++ %s\n", before_name, after_name);
        put_hunk(out, script, start, end, old_line, new_line);
        for (gsize k = start; k < end; k++) {
            old_line += g_array_index(script, Line, k).mark != '+';
            new_line += g_array_index(script, Line, k).mark != '-';
        }
        done = end;
        i = end - 1;
    }
    return g_string_free(out, FALSE);
}
