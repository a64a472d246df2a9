/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/table.h"

#include "ctl/pager.h"
#include "ctl/verbs.h"
#include <stdio.h>

/* To which a column is cut at most, where a table is wider than the terminal. */
#define CUT_MIN 12
#define SPACE 2

typedef struct Row {
    GStrv cells;
    TableMark *marks; /* of each */
} Row;

struct Table {
    guint n_columns;
    guint whole;     /* the column that is never cut; none: G_MAXUINT */
    GPtrArray *rows; /* of Row, the titles first */
};

static void row_free(gpointer data)
{
    Row *row = data;

    g_strfreev(row->cells);
    g_free(row->marks);
    g_free(row);
}

/* @cells: are given up */
static Row *row_new(const Table *table, GStrv cells)
{
    Row *row = g_new0(Row, 1);

    row->cells = cells;
    row->marks = g_new0(TableMark, table->n_columns);
    return row;
}

/** @titles: of the columns, ended by NULL. To be freed with table_free(). */
Table *table_new(const char *const *titles)
{
    Table *table = g_new0(Table, 1);

    table->n_columns = g_strv_length((char **)titles);
    table->whole = G_MAXUINT;
    table->rows = g_ptr_array_new_with_free_func(row_free);
    g_ptr_array_add(table->rows, row_new(table, g_strdupv((char **)titles)));
    return table;
}

Table *table_free(Table *table)
{
    if (table == NULL)
        return NULL;
    g_ptr_array_unref(table->rows);
    g_free(table);
    return NULL;
}

/* Those that turn the direction of what follows, or hide it, would let a name pass for another; joiners are part of words. */
static bool is_unprintable(gunichar c)
{
    switch (g_unichar_type(c)) {
    case G_UNICODE_CONTROL:
    case G_UNICODE_LINE_SEPARATOR:
    case G_UNICODE_PARAGRAPH_SEPARATOR:
        return true;
    case G_UNICODE_FORMAT:
        return c != 0x200c && c != 0x200d;
    default:
        return false;
    }
}

/** What would move the cursor, or is no text at all, must not reach a terminal from somebody else's file. */
char *table_printable(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *out = g_string_new(NULL);

    for (const char *p = valid; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (is_unprintable(c))
            g_string_append_c(out, '?');
        else
            g_string_append_unichar(out, c);
    }
    return g_string_free(out, FALSE);
}

/** @cells: as many as there are titles; "" shows as "-" */
void table_add(Table *table, const char *const *cells)
{
    g_autoptr(GStrvBuilder) row = g_strv_builder_new();

    for (guint i = 0; i < table->n_columns; i++) {
        g_autofree char *text = table_printable(cells[i] != NULL && *cells[i] != '\0' ? cells[i] : "-");
        g_strv_builder_add(row, text);
    }
    g_ptr_array_add(table->rows, row_new(table, g_strv_builder_end(row)));
}

/** Of a column half of which is of no use, such as one of UUIDs. */
void table_keep_whole(Table *table, guint column)
{
    table->whole = column;
}

/** Marks a cell of the row that was added last. */
void table_mark(Table *table, guint column, TableMark mark)
{
    ((Row *)table->rows->pdata[table->rows->len - 1])->marks[column] = mark;
}

/** Returns: what switches to that colour on a terminal; "\033[0m" switches back. */
const char *table_colour(TableMark mark)
{
    static const char *const codes[] = {
        [TABLE_PLAIN] = "", [TABLE_GOOD] = "\033[32m", [TABLE_WARN] = "\033[33m", [TABLE_BAD] = "\033[1;31m"};

    return codes[mark];
}

/* How many cells of a terminal a text takes. */
static guint width_of(const char *text)
{
    guint width = 0;

    for (; *text != '\0'; text = g_utf8_next_char(text)) {
        gunichar c = g_utf8_get_char(text);
        width += g_unichar_iszerowidth(c) ? 0 : g_unichar_iswide(c) ? 2 : 1;
    }
    return width;
}

/* The end of the longest part of @text, from @from on, that takes at most @width cells. */
static const char *take_cells(const char *from, guint width)
{
    for (const char *next; *from != '\0'; from = next) {
        gunichar c = g_utf8_get_char(from);
        guint cells = g_unichar_iszerowidth(c) ? 0 : g_unichar_iswide(c) ? 2 : 1;
        if (cells > width)
            break;
        width -= cells;
        next = g_utf8_next_char(from);
    }
    return from;
}

/* Names differ at their ends, so that they are cut in the middle. */
static char *cut(const char *text, guint width)
{
    guint all = width_of(text), head = width / 2, tail = width - 1 - head;

    if (all <= width)
        return g_strdup(text);
    const char *end_of_head = take_cells(text, head), *start_of_tail = text;
    while (width_of(start_of_tail) > tail)
        start_of_tail = g_utf8_next_char(start_of_tail);
    return g_strdup_printf("%.*s\u2026%s", (int)(end_of_head - text), text, start_of_tail);
}

/* Makes the widest column narrower until all of them fit, or none is wide. @whole: the column that stays as it is */
static void fit(guint *widths, guint n, guint whole, guint terminal)
{
    if (n == 1 && whole == 0)
        return;
    for (;;) {
        guint sum = 0, widest = whole == 0 ? 1 : 0, second = CUT_MIN;
        for (guint i = 0; i < n; i++) {
            sum += widths[i] + (i + 1 < n ? SPACE : 0);
            if (i != whole && widths[i] > widths[widest])
                widest = i;
        }
        if (sum <= terminal || widths[widest] <= CUT_MIN)
            return;
        for (guint i = 0; i < n; i++)
            if (i != widest && i != whole)
                second = MAX(second, widths[i]);
        guint least = widths[widest] > sum - terminal ? widths[widest] - (sum - terminal) : 0;
        /* No further than to the next one, which is cut as well from there on. */
        widths[widest] = MAX(MAX(least, CUT_MIN), second < widths[widest] ? second : widths[widest] - 1);
    }
}

static void format_row(GString *out, const Table *table, const Row *row, const guint *widths, bool colours)
{
    for (guint j = 0; j < table->n_columns; j++) {
        g_autofree char *cell = cut(row->cells[j], widths[j]);
        bool coloured = colours && row->marks[j] != TABLE_PLAIN;
        g_string_append_printf(out, "%s%s%s", coloured ? table_colour(row->marks[j]) : "", cell,
                               coloured ? "\033[0m" : "");
        if (j + 1 < table->n_columns)
            g_string_append_printf(out, "%*s", (int)(widths[j] + SPACE - width_of(cell)), "");
    }
}

/** Returns: all of it, to be freed with g_free(). */
char *table_format(const Table *table, const TableLook *look)
{
    g_autofree guint *widths = g_new0(guint, table->n_columns);
    GString *out = g_string_new(NULL);

    for (guint i = look->legend ? 0 : 1; i < table->rows->len; i++)
        for (guint j = 0; j < table->n_columns; j++)
            widths[j] = MAX(widths[j], width_of(((Row *)table->rows->pdata[i])->cells[j]));
    if (look->width > 0)
        fit(widths, table->n_columns, table->whole, look->width);
    for (guint i = look->legend ? 0 : 1; i < table->rows->len; i++) {
        bool bold = look->colours && i == 0;
        g_string_append(out, bold ? "\033[1m" : "");
        format_row(out, table, table->rows->pdata[i], widths, look->colours);
        g_string_append(out, bold ? "\033[0m\n" : "\n");
    }
    return g_string_free(out, FALSE);
}

/** @legend: whether to print the titles too */
void table_print(const Table *table, bool legend)
{
    table_print_full(table, legend, true);
}

/** @full: even if it is wider than the terminal */
void table_print_full(const Table *table, bool legend, bool full)
{
    TableLook look = {.legend = legend, .colours = verbs_colours(), .width = full ? 0 : pager_width()};
    g_autofree char *text = table_format(table, &look);
    (void)fputs(text, stdout);
}
