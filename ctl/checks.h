/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/json.h"
#include "lib/check.h"

/* What `host check`, `lint` and `verify` have in common: rows of lib/check.h, as text and as JSON. */

extern char *checks_json;
extern gboolean checks_no_legend;

/* The options of such a command. */
#define CHECKS_ENTRIES                                                                       \
    {"json",                                                                                 \
     0,                                                                                      \
     0,                                                                                      \
     G_OPTION_ARG_STRING,                                                                    \
     &checks_json,                                                                           \
     "Print JSON: pretty, short or off; -j is pretty on a terminal and otherwise short",     \
     "FORMAT"},                                                                              \
    {                                                                                        \
        "no-legend", 0, 0, G_OPTION_ARG_NONE, &checks_no_legend, "Leave out the count", NULL \
    }

void checks_add_json(const GPtrArray *checks, const char *key, Json *json);
bool checks_parse_format(JsonFormat *ret_format);
int checks_print(const GPtrArray *checks, JsonFormat format);
