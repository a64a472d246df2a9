/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/histogram.h"

static void test_bounds(void)
{
    for (gsize i = 1; i < HISTOGRAM_BOUNDS; i++)
        g_assert_cmpuint(histogram_bounds_usec[i], >, histogram_bounds_usec[i - 1]);
}

static void test_add(void)
{
    Histogram histogram = {0};

    g_assert_cmpuint(histogram_count(&histogram), ==, 0);
    histogram_add(&histogram, 0);
    histogram_add(&histogram, -5);
    histogram_add(&histogram, 100);
    histogram_add(&histogram, 101);
    histogram_add(&histogram, 30000000);
    histogram_add(&histogram, 30000001);
    g_assert_cmpuint(histogram.counts[0], ==, 3);
    g_assert_cmpuint(histogram.counts[1], ==, 1);
    g_assert_cmpuint(histogram.counts[HISTOGRAM_BOUNDS - 1], ==, 1);
    g_assert_cmpuint(histogram.counts[HISTOGRAM_BOUNDS], ==, 1);
    g_assert_cmpuint(histogram_count(&histogram), ==, 6);
    g_assert_cmpuint(histogram.sum_usec, ==, 60000202);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/histogram/bounds", test_bounds);
    g_test_add_func("/histogram/add", test_add);
    return g_test_run();
}
