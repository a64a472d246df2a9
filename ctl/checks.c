/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/checks.h"

#include "ctl/table.h"
#include "ctl/verbs.h"
#include <stdio.h>

char *checks_json;
gboolean checks_no_legend;

/** Reads --json=. Returns: false after saying that it is none. */
bool checks_parse_format(JsonFormat *ret_format)
{
    return json_parse_format(checks_json, ret_format);
}

static void print_check(const Check *check, bool colours)
{
    static const char *const names[] = {[CHECK_PASS] = "PASS", [CHECK_WARN] = "WARN", [CHECK_FAIL] = "FAIL"};
    static const char *const codes[] = {
        [CHECK_PASS] = "\033[32m", [CHECK_WARN] = "\033[33m", [CHECK_FAIL] = "\033[1;31m"};
    g_autofree char *found = table_printable(check->found), *todo = table_printable(check->todo);

    printf("%s%s%s  %-14s  %s\n", colours ? codes[check->verdict] : "", names[check->verdict], colours ? "\033[0m" : "",
           check->id, found);
    if (check->verdict == CHECK_PASS)
        return;
    printf("%22sWhy: %s\n", "", check->why);
    if (*todo != '\0')
        printf("%22sTo do: %s\n", "", todo);
}

static void print_text(const GPtrArray *checks)
{
    unsigned n[3] = {0};

    for (guint i = 0; i < checks->len; i++) {
        const Check *check = checks->pdata[i];
        print_check(check, verbs_colours());
        n[check->verdict]++;
    }
    if (!checks_no_legend)
        printf("\n%u passed, %u warned, %u failed.\n", n[CHECK_PASS], n[CHECK_WARN], n[CHECK_FAIL]);
}

/** Adds an array of objects. @key: NULL: it is the document */
void checks_add_json(const GPtrArray *checks, const char *key, Json *json)
{
    json_open(json, key, '[');
    for (guint i = 0; i < checks->len; i++) {
        const Check *check = checks->pdata[i];
        json_open(json, NULL, '{');
        json_string(json, "id", check->id);
        json_string(json, "verdict", check_verdict_to_string(check->verdict));
        json_string(json, "found", check->found);
        json_string(json, "why", check->why);
        json_string(json, "todo", check->todo);
        json_close(json, '}');
    }
    json_close(json, ']');
}

/** Returns: the exit status that the command has then. */
int checks_print(const GPtrArray *checks, JsonFormat format)
{
    if (format == JSON_OFF) {
        print_text(checks);
    } else {
        Json *json = json_new(format);
        checks_add_json(checks, NULL, json);
        json_print(json);
    }
    return checks_verdict(checks) == CHECK_FAIL ? STATUS_NOT_CLEAR : STATUS_DONE;
}
