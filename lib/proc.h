/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

char *proc_read(const char *path, gsize limit, gsize *ret_length, GError **error);
