/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/rate-limit.h"

#define MINUTE_USEC (G_GINT64_CONSTANT(60) * G_USEC_PER_SEC)

/**
 * Takes one event out of the allowance, which fills up evenly over a minute (the generic cell rate algorithm of
 * ITU-T I.371).
 * @now: monotonic microseconds
 * @ret_next: set to when to ask again, if the answer is no
 */
bool rate_limit_take(RateLimit *limit, gint64 now, gint64 *ret_next)
{
    if (limit->per_minute == 0)
        return true;

    gint64 interval = MAX(MINUTE_USEC / limit->per_minute, 1);
    gint64 full_at = MAX(limit->full_at, now) + interval;

    if (full_at - now > MINUTE_USEC) {
        *ret_next = full_at - MINUTE_USEC;
        return false;
    }
    limit->full_at = full_at;
    return true;
}
