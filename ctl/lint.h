/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

GPtrArray *lint_look(const char *uuid, GError **error);
