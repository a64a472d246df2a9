/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

char *diff_unified(const char *before, const char *after, const char *before_name, const char *after_name);
