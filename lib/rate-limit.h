/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* So many events per minute, all of which may come at once. Zero-initialize; 0 per minute is no limit. */
typedef struct RateLimit {
    unsigned per_minute;
    gint64 full_at; /* when nothing of the allowance will be in use any more */
} RateLimit;

bool rate_limit_take(RateLimit *limit, gint64 now, gint64 *ret_next);
