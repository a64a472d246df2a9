/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Time spans as systemd.time(7) writes them: `30s`, `5min`, `1h 30min`, `1.5h`, `infinity`; a bare number is seconds. */

#include "lib/duration.h"

#include <string.h>

#define USEC_PER_MSEC G_GUINT64_CONSTANT(1000)
#define USEC_PER_SEC (1000 * USEC_PER_MSEC)
#define USEC_PER_MIN (60 * USEC_PER_SEC)
#define USEC_PER_HOUR (60 * USEC_PER_MIN)
#define USEC_PER_DAY (24 * USEC_PER_HOUR)
#define USEC_PER_WEEK (7 * USEC_PER_DAY)

/* Longest first among those that begin alike, since a unit ends where the next number begins. */
static const struct {
    const char *name;
    guint64 usec;
} units[] = {
    {"seconds", USEC_PER_SEC},
    {"second", USEC_PER_SEC},
    {"sec", USEC_PER_SEC},
    {"s", USEC_PER_SEC},
    {"minutes", USEC_PER_MIN},
    {"minute", USEC_PER_MIN},
    {"min", USEC_PER_MIN},
    {"msec", USEC_PER_MSEC},
    {"ms", USEC_PER_MSEC},
    {"m", USEC_PER_MIN},
    {"hours", USEC_PER_HOUR},
    {"hour", USEC_PER_HOUR},
    {"hr", USEC_PER_HOUR},
    {"h", USEC_PER_HOUR},
    {"days", USEC_PER_DAY},
    {"day", USEC_PER_DAY},
    {"d", USEC_PER_DAY},
    {"weeks", USEC_PER_WEEK},
    {"week", USEC_PER_WEEK},
    {"w", USEC_PER_WEEK},
    {"usec", 1},
    {"us", 1},
    {"\xc2\xb5s", 1},
    {"\xce\xbcs", 1},
};

static const char *skip_blanks(const char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    return text;
}

/* Returns: the length of the unit in microseconds, 0 if it is none; @text is moved behind it. */
static guint64 read_unit(const char **text)
{
    for (gsize i = 0; i < G_N_ELEMENTS(units); i++) {
        const char *end = *text + strlen(units[i].name);
        if (g_str_has_prefix(*text, units[i].name) && !g_ascii_isalpha(*end)) {
            *text = end;
            return units[i].usec;
        }
    }
    return 0;
}

/* The digits behind a decimal point, as a share of @unit; what is less than a microsecond counts for nothing. */
static guint64 read_fraction(const char **text, guint64 *scale)
{
    guint64 value = 0;

    *scale = 1;
    for (; g_ascii_isdigit(**text); (*text)++)
        if (*scale < 1000000) {
            value = value * 10 + (guint64)(**text - '0');
            *scale *= 10;
        }
    return value;
}

static bool read_part(const char **text, guint64 *total)
{
    guint64 number = 0, fraction = 0, scale = 1, whole, part;
    const char *begin = *text;

    for (; g_ascii_isdigit(**text); (*text)++)
        if (!g_uint64_checked_mul(&number, number, 10) ||
            !g_uint64_checked_add(&number, number, (guint64)(**text - '0')))
            return false;
    if (*text == begin)
        return false;
    if (**text == '.') {
        const char *digits = ++*text;
        fraction = read_fraction(text, &scale);
        if (*text == digits)
            return false;
    }
    *text = skip_blanks(*text);
    guint64 unit = **text == '\0' || g_ascii_isdigit(**text) ? USEC_PER_SEC : read_unit(text);
    if (unit == 0 || !g_uint64_checked_mul(&whole, number, unit))
        return false;
    part = unit * fraction / scale;
    *text = skip_blanks(*text);
    return g_uint64_checked_add(&whole, whole, part) && g_uint64_checked_add(total, *total, whole);
}

/**
 * Reads a time span; the parts of one add up.
 * @ret_usec: microseconds; DURATION_INFINITE for `infinity`
 * Returns: false if it is none, or too long to be counted.
 */
bool duration_parse(const char *text, guint64 *ret_usec)
{
    guint64 total = 0;

    text = skip_blanks(text);
    if (strcmp(text, "infinity") == 0) {
        *ret_usec = DURATION_INFINITE;
        return true;
    }
    do {
        if (!read_part(&text, &total))
            return false;
    } while (*text != '\0');
    if (total == DURATION_INFINITE)
        return false;
    *ret_usec = total;
    return true;
}

/** Returns: a time span such as "1h 30min", to be freed with g_free(); duration_parse() reads it back. */
char *duration_format(guint64 usec)
{
    static const struct {
        const char *name;
        guint64 usec;
    } parts[] = {{"d", USEC_PER_DAY}, {"h", USEC_PER_HOUR},  {"min", USEC_PER_MIN},
                 {"s", USEC_PER_SEC}, {"ms", USEC_PER_MSEC}, {"us", 1}};
    GString *out = g_string_new(NULL);

    if (usec == DURATION_INFINITE)
        g_string_assign(out, "infinity");
    else if (usec == 0)
        g_string_assign(out, "0");
    else
        for (gsize i = 0; i < G_N_ELEMENTS(parts); i++) {
            if (usec >= parts[i].usec)
                g_string_append_printf(out, "%s%" G_GUINT64_FORMAT "%s", out->len > 0 ? " " : "", usec / parts[i].usec,
                                       parts[i].name);
            usec %= parts[i].usec;
        }
    return g_string_free(out, FALSE);
}
