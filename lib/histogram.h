/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

#define HISTOGRAM_BOUNDS 17

/* How long something took, each time: so many times at most as long as each bound, and longer than the one before. */
typedef struct Histogram {
    guint64 counts[HISTOGRAM_BOUNDS + 1]; /* the last one: longer than all bounds */
    guint64 sum_usec;
} Histogram;

extern const guint64 histogram_bounds_usec[HISTOGRAM_BOUNDS];

void histogram_add(Histogram *histogram, gint64 usec);
guint64 histogram_count(const Histogram *histogram);
