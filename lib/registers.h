/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

bool registers_parse(const char *text, bool *ret_hypervisor_on, GError **error);
