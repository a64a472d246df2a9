/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/json.h"

int show_domain(const char *text, JsonFormat format);
