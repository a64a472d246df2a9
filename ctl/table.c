/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/table.h"

#include "ctl/verbs.h"
#include <stdio.h>
#include <string.h>

struct Table {
    guint n_columns;
    GPtrArray *rows; /* of GStrv, the titles first */
};

static void row_free(gpointer row)
{
    g_strfreev(row);
}

/** @titles: of the columns, ended by NULL. To be freed with table_free(). */
Table *table_new(const char *const *titles)
{
    Table *table = g_new0(Table, 1);

    table->n_columns = g_strv_length((char **)titles);
    table->rows = g_ptr_array_new_with_free_func(row_free);
    g_ptr_array_add(table->rows, g_strdupv((char **)titles));
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

/** What would move the cursor, or is no text at all, must not reach a terminal from somebody else's file. */
char *table_printable(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *out = g_string_new(NULL);

    for (const char *p = valid; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (g_unichar_iscntrl(c))
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
    g_ptr_array_add(table->rows, g_strv_builder_end(row));
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

/** @legend: whether to print the titles too */
void table_print(const Table *table, bool legend)
{
    g_autofree guint *widths = g_new0(guint, table->n_columns);
    bool bold = legend && verbs_colours();

    for (guint i = legend ? 0 : 1; i < table->rows->len; i++)
        for (guint j = 0; j < table->n_columns; j++)
            widths[j] = MAX(widths[j], width_of(((GStrv)table->rows->pdata[i])[j]));
    for (guint i = legend ? 0 : 1; i < table->rows->len; i++) {
        GStrv row = table->rows->pdata[i];
        g_autoptr(GString) line = NULL;
        line = g_string_new(NULL);
        for (guint j = 0; j < table->n_columns; j++) {
            g_string_append(line, row[j]);
            if (j + 1 < table->n_columns)
                for (guint k = width_of(row[j]); k < widths[j] + 2; k++)
                    g_string_append_c(line, ' ');
        }
        printf("%s%s%s\n", bold && i == 0 ? "\033[1m" : "", line->str, bold && i == 0 ? "\033[0m" : "");
    }
}
