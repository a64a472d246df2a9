/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Rows of verdict, found, why, to do. */

#include "lib/check.h"

static void check_destroy(gpointer data)
{
    Check *check = data;

    g_free(check->found);
    g_free(check->todo);
    g_free(check);
}

/** Returns: an array of Check, to be freed with g_ptr_array_unref(). */
GPtrArray *checks_new(void)
{
    return g_ptr_array_new_with_free_func(check_destroy);
}

/* File names, what modules say and what guests say are any bytes; what is published must be UTF-8. */
static char *to_utf8(char *text)
{
    char *valid = g_utf8_make_valid(text != NULL ? text : "", -1);

    g_free(text);
    return valid;
}

/**
 * Adds a row.
 * @todo: what to do, which is taken over; NULL: nothing
 * @found: what was found, which is taken over
 */
void checks_add(GPtrArray *checks, const char *id, CheckVerdict verdict, const char *why, char *todo, char *found)
{
    Check *check = g_new0(Check, 1);

    check->id = id;
    check->verdict = verdict;
    check->why = why;
    check->todo = to_utf8(todo);
    check->found = to_utf8(found);
    g_ptr_array_add(checks, check);
}

/** Returns: the worst of all. */
CheckVerdict checks_verdict(const GPtrArray *checks)
{
    CheckVerdict worst = CHECK_PASS;

    for (guint i = 0; i < checks->len; i++)
        worst = MAX(worst, ((const Check *)checks->pdata[i])->verdict);
    return worst;
}

const char *check_verdict_to_string(CheckVerdict verdict)
{
    static const char *const names[] = {[CHECK_PASS] = "pass", [CHECK_WARN] = "warn", [CHECK_FAIL] = "fail"};

    return names[verdict];
}

/** Returns: one line about a check that does not pass, to be freed with g_free(). */
char *check_problem(const Check *check)
{
    return g_strdup_printf("%s: %s%s%s", check->id, check->found, *check->todo != '\0' ? "; to do: " : "", check->todo);
}
