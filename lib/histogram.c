/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/histogram.h"

/* One set for all: from what a tick is late by on an idle host to a monitor that hangs. */
const guint64 histogram_bounds_usec[HISTOGRAM_BOUNDS] = {
    100,    200,    500,    1000,    2000,    5000,    10000,    20000,    50000,
    100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000, 30000000,
};

/** @usec: one that is negative counts as none */
void histogram_add(Histogram *histogram, gint64 usec)
{
    guint64 value = (guint64)MAX(usec, 0);
    gsize i = 0;

    while (i < HISTOGRAM_BOUNDS && value > histogram_bounds_usec[i])
        i++;
    histogram->counts[i]++;
    histogram->sum_usec += value;
}

/** Returns: how often something was added. */
guint64 histogram_count(const Histogram *histogram)
{
    guint64 n = 0;

    for (gsize i = 0; i <= HISTOGRAM_BOUNDS; i++)
        n += histogram->counts[i];
    return n;
}
