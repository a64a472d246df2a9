/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

void pager_open(void);
void pager_close(void);
bool pager_is_terminal(void);
guint pager_width(void);
