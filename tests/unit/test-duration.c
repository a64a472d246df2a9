/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/duration.c: time spans as systemd.time(7) writes them. */

#include "lib/duration.h"

#define MSEC G_GUINT64_CONSTANT(1000)
#define SEC (1000 * MSEC)
#define MINUTE (60 * SEC)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define WEEK (7 * DAY)

typedef struct Case {
    const char *text;
    guint64 usec;
} Case;

static const Case good_cases[] = {
    /* A bare number is seconds. */
    {"0", 0},
    {"1", SEC},
    {"007", 7 * SEC},
    {"  5\t ", 5 * SEC},
    /* Each unit. */
    {"2s", 2 * SEC},
    {"2sec", 2 * SEC},
    {"2second", 2 * SEC},
    {"2seconds", 2 * SEC},
    {"2m", 2 * MINUTE},
    {"2min", 2 * MINUTE},
    {"2minute", 2 * MINUTE},
    {"2minutes", 2 * MINUTE},
    {"2h", 2 * HOUR},
    {"2hr", 2 * HOUR},
    {"2hour", 2 * HOUR},
    {"2hours", 2 * HOUR},
    {"2d", 2 * DAY},
    {"2day", 2 * DAY},
    {"2days", 2 * DAY},
    {"2w", 2 * WEEK},
    {"2week", 2 * WEEK},
    {"2weeks", 2 * WEEK},
    {"2ms", 2 * MSEC},
    {"2msec", 2 * MSEC},
    {"2us", 2},
    {"2usec", 2},
    {"2\xc2\xb5s", 2}, /* the micro sign */
    {"2\xce\xbcs", 2}, /* the Greek letter */
    {"2 s", 2 * SEC},
    {"2 \t min ", 2 * MINUTE},
    /* Sums, with and without blanks, in any order, and with a unit more than once. */
    {"1h 30min", 90 * MINUTE},
    {"1h30min", 90 * MINUTE},
    {"30min 1h", 90 * MINUTE},
    {"1 h 30 min", 90 * MINUTE},
    {"1s 1s 1s", 3 * SEC},
    {"1min 30", 90 * SEC},
    {"1 2", 3 * SEC},
    {"1w 1d 1h 1min 1s 1ms 1us", WEEK + DAY + HOUR + MINUTE + SEC + MSEC + 1},
    /* Fractions; what is less than a microsecond counts for nothing. */
    {"1.5h", 90 * MINUTE},
    {"0.5", SEC / 2},
    {"0.25min 0.75min", MINUTE},
    {"1.000001s", SEC + 1},
    {"1.0000019s", SEC + 1},
    {"0.0000009s", 0},
    {"1.9us", 1},
    {"0.999999w", WEEK / 1000000 * 999999},
    {"1.50000000000000000000000000000000000000s", SEC + SEC / 2},
    /* The largest that can be counted is one less than what means infinity. */
    {"infinity", DURATION_INFINITE},
    {" infinity", DURATION_INFINITE},
    {"18446744073709551614us", G_MAXUINT64 - 1},
    {"18446744073709s", G_GUINT64_CONSTANT(18446744073709000000)},
};

static const char *const bad_texts[] = {
    "",
    " ",
    "\t",
    "s",
    "min",
    "-1",
    "+1",
    "1-",
    "-1s",
    ".5",
    "1.",
    "1.s",
    "1. 5s",
    "1.5.5s",
    "1,5s",
    "1s,",
    "1e3",
    "0x10",
    "1sx",
    "1mss",
    "1minx",
    "1S",
    "1H",
    "1M",
    "1Min",
    "1y",
    "1month",
    "1s s",
    "1ss",
    "1 min min",
    "s1",
    "1\n",
    "1s\n2s",
    "\xc2\xb5s",
    "1\xc2\xb5",
    "1\xc2s",
    "1\xc2\xb5sx",
    "1\xc2\xb5s\xc2\xb5s",
    "Infinity",
    "INFINITY",
    "infinity ",
    "infinity s",
    "infinity 1s",
    "1s infinity",
    "inf",
    "never",
    /* The number, its product with the unit, the sum, and the sum with the fraction are each too much. */
    "18446744073709551616us",
    "99999999999999999999999",
    "18446744073710s",
    "30500569w",
    "18446744073709551614us 2us",
    "18446744073709551614us 1us",
    "18446744073709.551615s",
    "18446744073709.6s",
    "18446744073709551615us",
};

static void test_good(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(good_cases); i++) {
        guint64 usec = 4711;
        g_test_message("[%s]", good_cases[i].text);
        g_assert_true(duration_parse(good_cases[i].text, &usec));
        g_assert_cmpuint(usec, ==, good_cases[i].usec);
    }
}

/* What is none leaves the value of before. */
static void test_bad(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(bad_texts); i++) {
        guint64 usec = 4711;
        g_test_message("[%s]", bad_texts[i]);
        g_assert_false(duration_parse(bad_texts[i], &usec));
        g_assert_cmpuint(usec, ==, 4711);
    }
}

static void test_format(void)
{
    static const Case cases[] = {
        {"0", 0},
        {"1us", 1},
        {"999us", 999},
        {"1ms", MSEC},
        {"1s", SEC},
        {"5s", 5 * SEC},
        {"1min", MINUTE},
        {"10min", 10 * MINUTE},
        {"1h 30min", 90 * MINUTE},
        {"1d", DAY},
        {"8d", WEEK + DAY},
        {"1d 1us", DAY + 1},
        {"1d 1h 1min 1s 1ms 1us", DAY + HOUR + MINUTE + SEC + MSEC + 1},
        {"213503982d 8h 1min 49s 551ms 614us", G_MAXUINT64 - 1},
        {"infinity", DURATION_INFINITE},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = duration_format(cases[i].usec);
        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

static void test_round_trip(void)
{
    for (unsigned i = 0; i < 100000; i++) {
        /* Of any number of bits, so that short ones are among them. */
        guint64 random = (guint64)g_test_rand_int() << 32 | (guint32)g_test_rand_int();
        guint64 usec = random >> g_test_rand_int_range(0, 64), read = 0;
        g_autofree char *text = duration_format(usec);
        if (!duration_parse(text, &read) || read != usec)
            g_error("%" G_GUINT64_FORMAT " became [%s] and then %" G_GUINT64_FORMAT, usec, text, read);
    }
}

/* Whatever is read must be written such that it is read as the same, and nothing may be read too far. */
static void test_random_texts(void)
{
    static const char letters[] = "0123456789.. smhdwuinfty\xc2\xb5\t-";

    for (unsigned i = 0; i < 100000; i++) {
        gsize length = (gsize)g_test_rand_int_range(0, 12);
        g_autofree char *text = g_malloc0(length + 1);
        guint64 usec = 0, again = 0;
        for (gsize j = 0; j < length; j++)
            text[j] = letters[g_test_rand_int_range(0, sizeof(letters) - 1)];
        if (!duration_parse(text, &usec))
            continue;
        g_autofree char *formatted = duration_format(usec);
        g_assert_true(duration_parse(formatted, &again));
        g_assert_cmpuint(again, ==, usec);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/duration/good", test_good);
    g_test_add_func("/duration/bad", test_bad);
    g_test_add_func("/duration/format", test_format);
    g_test_add_func("/duration/round-trip", test_round_trip);
    g_test_add_func("/duration/random-texts", test_random_texts);
    return g_test_run();
}
