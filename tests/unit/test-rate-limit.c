/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/rate-limit.h"

#define SECOND G_GINT64_CONSTANT(1000000)

static void test_no_limit(void)
{
    RateLimit limit = {.per_minute = 0};
    gint64 next = -1;

    for (unsigned i = 0; i < 100000; i++)
        g_assert_true(rate_limit_take(&limit, 0, &next));
    g_assert_cmpint(next, ==, -1);
}

static void test_burst_then_even(void)
{
    RateLimit limit = {.per_minute = 30};
    gint64 now = 1000 * SECOND, next = -1;

    for (unsigned i = 0; i < 30; i++)
        g_assert_true(rate_limit_take(&limit, now, &next));
    g_assert_cmpint(next, ==, -1);

    /* Each further one comes two seconds after the other, and not a moment before. */
    for (unsigned i = 0; i < 5; i++) {
        g_assert_false(rate_limit_take(&limit, now, &next));
        g_assert_cmpint(next, ==, now + 2 * SECOND);
        g_assert_false(rate_limit_take(&limit, next - 1, &next));
        now = next;
        g_assert_true(rate_limit_take(&limit, now, &next));
    }
}

static void test_fills_up(void)
{
    RateLimit limit = {.per_minute = 3};
    gint64 now = 0, next = 0;

    for (unsigned i = 0; i < 3; i++)
        g_assert_true(rate_limit_take(&limit, now, &next));
    /* After an hour there is a minute's worth again, and no more. */
    now = 3600 * SECOND;
    for (unsigned i = 0; i < 3; i++)
        g_assert_true(rate_limit_take(&limit, now, &next));
    g_assert_false(rate_limit_take(&limit, now, &next));
}

/* Never more than the limit in any minute that begins with a full allowance, however the calls come. */
static void test_any_minute(void)
{
    for (unsigned round = 0; round < 50; round++) {
        RateLimit limit = {.per_minute = (unsigned)g_test_rand_int_range(1, 200)};
        gint64 begin = (gint64)round * 1000 * SECOND, now = begin, next = 0;
        unsigned taken = 0;
        while (now < begin + 60 * SECOND) {
            taken += rate_limit_take(&limit, now, &next);
            now += g_test_rand_int_range(1, 1000000);
        }
        /* The burst, and what came in again during the minute. */
        g_assert_cmpuint(taken, <=, 2 * limit.per_minute);
    }
}

static void test_changed_while_in_use(void)
{
    RateLimit limit = {.per_minute = 2};
    gint64 next = 0;

    g_assert_true(rate_limit_take(&limit, 0, &next));
    g_assert_true(rate_limit_take(&limit, 0, &next));
    g_assert_false(rate_limit_take(&limit, 0, &next));
    limit.per_minute = 0;
    g_assert_true(rate_limit_take(&limit, 0, &next));
    limit.per_minute = 1000000000;
    g_assert_true(rate_limit_take(&limit, 61 * SECOND, &next));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rate-limit/no-limit", test_no_limit);
    g_test_add_func("/rate-limit/burst-then-even", test_burst_then_even);
    g_test_add_func("/rate-limit/fills-up", test_fills_up);
    g_test_add_func("/rate-limit/any-minute", test_any_minute);
    g_test_add_func("/rate-limit/changed-while-in-use", test_changed_while_in_use);
    return g_test_run();
}
