/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Rows of texts in columns as wide as they need to be. */
typedef struct Table Table;

Table *table_new(const char *const *titles);
Table *table_free(Table *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Table, table_free)

/* How a cell is shown on a terminal. */
typedef enum {
    TABLE_PLAIN,
    TABLE_GOOD,
    TABLE_WARN,
    TABLE_BAD,
} TableMark;

/* What a table is printed for. */
typedef struct TableLook {
    bool legend;  /* the titles too */
    bool colours; /* marks, and bold titles */
    guint width;  /* of the terminal, in which it is to fit; 0: as wide as it is */
} TableLook;

const char *table_colour(TableMark mark);
void table_add(Table *table, const char *const *cells);
void table_keep_whole(Table *table, guint column);
void table_mark(Table *table, guint column, TableMark mark);
char *table_format(const Table *table, const TableLook *look);
char *table_printable(const char *text);
void table_print(const Table *table, bool legend);
void table_print_full(const Table *table, bool legend, bool full);
