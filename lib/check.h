/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

typedef enum {
    CHECK_PASS,
    CHECK_WARN, /* works, but slowly, or not for long, or nobody can tell */
    CHECK_FAIL, /* there is no nesting before that is mended */
} CheckVerdict;

/* One thing that was looked at, of a host or of a guest. */
typedef struct Check {
    const char *id; /* static */
    CheckVerdict verdict;
    char *found;
    const char *why; /* it matters; static */
    char *todo;      /* "" if nothing is to be done */
} Check;

GPtrArray *checks_new(void);
void checks_add(GPtrArray *checks, const char *id, CheckVerdict verdict, const char *why, char *todo, char *found);
CheckVerdict checks_verdict(const GPtrArray *checks);

const char *check_verdict_to_string(CheckVerdict verdict);
char *check_problem(const Check *check);
