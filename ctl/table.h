/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Rows of texts in columns as wide as they need to be. */
typedef struct Table Table;

Table *table_new(const char *const *titles);
Table *table_free(Table *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Table, table_free)

void table_add(Table *table, const char *const *cells);
char *table_printable(const char *text);
void table_print(const Table *table, bool legend);
