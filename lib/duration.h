/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define DURATION_INFINITE G_MAXUINT64

bool duration_parse(const char *text, guint64 *ret_usec);
char *duration_format(guint64 usec);
