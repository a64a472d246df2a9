/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

bool guard_record_write(const char *folder, const char *uuid, int run, const char *matched_by, GError **error);
void guard_record_remove(const char *folder, const char *uuid);
bool guard_record_fits(const char *folder, const char *uuid, int run);
char *guard_record_match(const char *folder, const char *uuid);
void guard_record_sweep(const char *folder, bool (*is_known)(const char *uuid, gpointer data), gpointer data);
