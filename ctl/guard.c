/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl release and revoke */

#include "ctl/client.h"
#include "ctl/leave.h"
#include "ctl/table.h"
#include "ctl/verbs.h"
#include "lib/duration.h"
#include <stdio.h>

static char *arg_for;
static char *arg_reason;
static gboolean arg_all;

/* Release and revoke ----------------------------------------------------------------------------------------------- */

static int release_all(Client *client, guint64 usec)
{
    g_auto(GStrv) problems = NULL;
    unsigned released = 0;

    if (!client_release_all(client, usec, arg_reason != NULL ? arg_reason : "", &released, &problems))
        return STATUS_FAILED;
    printf("%u %s released.\n", released, released == 1 ? "domain is" : "domains are");
    for (gsize i = 0; problems[i] != NULL; i++)
        (void)verb_fail("%s", problems[i]);
    return problems[0] == NULL ? STATUS_DONE : STATUS_FAILED;
}

/* One that fails does not keep the others from it. */
static int revoke_all(Client *client)
{
    g_autoptr(GPtrArray) domains = client_list(client);
    int status = domains != NULL ? STATUS_DONE : STATUS_FAILED;

    for (guint i = 0; domains != NULL && i < domains->len; i++) {
        const ClientDomain *domain = domains->pdata[i];
        guint64 until = 0;
        if (!client_number(client, domain->path, "ReleasedUntil", &until) ||
            (until != 0 && !client_revoke(client, domain->path)))
            status = STATUS_FAILED;
    }
    return status;
}

static int tell_end(Client *client, const char *path)
{
    g_autofree char *name = client_string(client, path, "Name");
    guint64 until = 0;

    if (name == NULL || !client_number(client, path, "ReleasedUntil", &until))
        return STATUS_FAILED;
    if (until == 0) {
        (void)verb_fail("domain '%s': its release is over already", name);
        return STATUS_FAILED;
    }
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local((gint64)(until / G_USEC_PER_SEC));
    g_autofree char *end = time != NULL ? g_date_time_format(time, "%F %T") : g_strdup("-"),
                    *printable = table_printable(name);
    printf("Domain '%s' is released until %s.\n", printable, end);
    return STATUS_DONE;
}

int verb_release(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"for", 0, 0, G_OPTION_ARG_STRING, &arg_for, "For how long, such as 30s or 1h (10min)", "TIME"},
        {"reason", 0, 0, G_OPTION_ARG_STRING, &arg_reason, "Why; it is logged and published", "TEXT"},
        {"all", 0, 0, G_OPTION_ARG_NONE, &arg_all, "Release every domain that is guarded", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autofree char *path = NULL;
    guint64 usec = 0;

    if (!verb_parse(verb, options, 0, 1, &argc, &argv) || !verb_check_all(verb, argc, arg_all))
        return STATUS_USAGE;
    if (!verb_parse_time("--for", arg_for != NULL ? arg_for : "10min", &usec))
        return STATUS_USAGE;
    if (usec == 0 || usec == DURATION_INFINITE)
        return verb_misused("--for=%s: takes a time span such as 30s, 10min or 1h", arg_for);
    if (arg_all && verbs_hosts->len == 0) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Client) there = client_probe(&error);
        /* A virtnestd that only cannot be reached goes on guarding, and is not to be worked against. */
        if (error != NULL)
            return verb_fail("%s", error->message);
        if (there == NULL)
            return leave_guards();
    }
    g_autoptr(Client) client = client_new();
    if (client == NULL)
        return STATUS_FAILED;
    if (arg_all)
        return release_all(client, usec);
    return client_find(client, argv[1], &path) &&
                   client_release(client, path, usec, arg_reason != NULL ? arg_reason : "")
               ? tell_end(client, path)
               : STATUS_FAILED;
}

int verb_revoke(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"all", 0, 0, G_OPTION_ARG_NONE, &arg_all, "Revoke every release", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autofree char *path = NULL;

    if (!verb_parse(verb, options, 0, 1, &argc, &argv) || !verb_check_all(verb, argc, arg_all))
        return STATUS_USAGE;
    g_autoptr(Client) client = client_new();
    if (client == NULL)
        return STATUS_FAILED;
    if (arg_all)
        return revoke_all(client);
    return client_find(client, argv[1], &path) && client_revoke(client, path) ? STATUS_DONE : STATUS_FAILED;
}
