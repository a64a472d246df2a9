/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl release, revoke and drain */

#include "ctl/client.h"
#include "ctl/json.h"
#include "ctl/table.h"
#include "ctl/verbs.h"
#include "lib/duration.h"
#include <stdio.h>
#include <string.h>

static char *arg_for;
static char *arg_reason;
static gboolean arg_all;
static char *arg_json;
static gboolean arg_no_legend;

/* Release and revoke ----------------------------------------------------------------------------------------------- */

/* What is done to one domain. */
typedef bool (*Change)(Client *client, const char *path, guint64 usec);

static bool change_release(Client *client, const char *path, guint64 usec)
{
    return client_release(client, path, usec, arg_reason != NULL ? arg_reason : "");
}

static bool change_revoke(Client *client, const char *path, guint64 usec G_GNUC_UNUSED)
{
    return client_revoke(client, path);
}

/* One that fails does not keep the others from it. @guarded: those that are, not those that are released */
static int change_all(Client *client, Change change, guint64 usec, bool guarded)
{
    g_autoptr(GPtrArray) domains = client_list(client);
    int status = domains != NULL ? STATUS_DONE : STATUS_FAILED;

    for (guint i = 0; domains != NULL && i < domains->len; i++) {
        const ClientDomain *domain = domains->pdata[i];
        guint64 until = 0;
        bool meant = false;
        bool known = guarded ? client_boolean(client, domain->path, "Guarded", &meant)
                             : client_number(client, domain->path, "ReleasedUntil", &until);
        bool good = known && ((!meant && until == 0) || change(client, domain->path, usec));
        if (!good)
            status = STATUS_FAILED;
    }
    return status;
}

static int change_one(Client *client, const char *name, Change change, guint64 usec)
{
    g_autofree char *path = NULL;

    return client_find(client, name, &path) && change(client, path, usec) ? STATUS_DONE : STATUS_FAILED;
}

/* A domain, or --all, and not both. */
static bool check_who(const Verb *verb, int argc)
{
    if ((argc > 1) != arg_all)
        return true;
    (void)fprintf(stderr, "virtnestctl: %s takes a domain or --all\nTry `%s --help`.\n", verb->name, g_get_prgname());
    return false;
}

int verb_release(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"for", 0, 0, G_OPTION_ARG_STRING, &arg_for, "For how long, such as 30s or 1h (10min)", "TIME"},
        {"reason", 0, 0, G_OPTION_ARG_STRING, &arg_reason, "Why; it is logged and published", "TEXT"},
        {"all", 0, 0, G_OPTION_ARG_NONE, &arg_all, "Release every domain that is guarded", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    guint64 usec = 0;

    if (!verb_parse(verb, options, 0, 1, &argc, &argv) || !check_who(verb, argc))
        return STATUS_USAGE;
    if (!duration_parse(arg_for != NULL ? arg_for : "10min", &usec) || usec == 0 || usec == DURATION_INFINITE) {
        (void)fprintf(stderr, "virtnestctl: --for takes a time span such as 30s, 10min or 1h, and not '%s'\n", arg_for);
        return STATUS_USAGE;
    }
    g_autoptr(Client) client = client_new();
    if (client == NULL)
        return STATUS_FAILED;
    return arg_all ? change_all(client, change_release, usec, true) : change_one(client, argv[1], change_release, usec);
}

int verb_revoke(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"all", 0, 0, G_OPTION_ARG_NONE, &arg_all, "Revoke every release", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };

    if (!verb_parse(verb, options, 0, 1, &argc, &argv) || !check_who(verb, argc))
        return STATUS_USAGE;
    g_autoptr(Client) client = client_new();
    if (client == NULL)
        return STATUS_FAILED;
    return arg_all ? change_all(client, change_revoke, 0, false) : change_one(client, argv[1], change_revoke, 0);
}

/* Drain ------------------------------------------------------------------------------------------------------------ */

/* A guest that cannot be moved, or should not be. */
typedef struct Obstacle {
    char *name;
    char *l2;
    guint64 since; /* CLOCK_REALTIME, microseconds; 0: not known */
    bool guarded;
    char *reason;
    char *error;
} Obstacle;

static void obstacle_destroy(gpointer data)
{
    Obstacle *obstacle = data;

    g_free(obstacle->name);
    g_free(obstacle->l2);
    g_free(obstacle->reason);
    g_free(obstacle->error);
    g_free(obstacle);
}

static const char *way_out(const Obstacle *obstacle)
{
    if (strcmp(obstacle->l2, "running") == 0)
        return "shut its guests down";
    if (strcmp(obstacle->l2, "quiet") == 0)
        return "wait for ReleaseAfter=, or shut its guests down if they are paused";
    if (strcmp(obstacle->l2, "unknown") == 0)
        return "see L2Reason for what cannot be read";
    return "see BlockWhen= of its policy, or release it";
}

/* @obstacles: gets it if it is one. Returns: false if virtnestd does not tell. */
static bool look_at(Client *client, const ClientDomain *domain, GPtrArray *obstacles)
{
    Obstacle *obstacle = g_new0(Obstacle, 1);
    bool good;

    obstacle->name = g_strdup(domain->name);
    obstacle->l2 = client_string(client, domain->path, "L2State");
    obstacle->reason = client_string(client, domain->path, "GuardReason");
    obstacle->error = client_string(client, domain->path, "GuardError");
    good = obstacle->l2 != NULL && obstacle->reason != NULL && obstacle->error != NULL &&
           client_number(client, domain->path, "L2Since", &obstacle->since) &&
           client_boolean(client, domain->path, "Guarded", &obstacle->guarded);
    if (good && (obstacle->guarded || strcmp(obstacle->l2, "none") != 0))
        g_ptr_array_add(obstacles, obstacle);
    else
        obstacle_destroy(obstacle);
    return good;
}

static char *format_time(guint64 usec)
{
    g_autoptr(GDateTime) time = usec > 0 ? g_date_time_new_from_unix_local((gint64)(usec / G_USEC_PER_SEC)) : NULL;

    return time != NULL ? g_date_time_format(time, "%F %T") : g_strdup("-");
}

static void print_table(const GPtrArray *obstacles)
{
    g_autoptr(Table) table = table_new((const char *const[]){"DOMAIN", "L2", "SINCE", "GUARDED", "WHAT TO DO", NULL});

    for (guint i = 0; i < obstacles->len; i++) {
        const Obstacle *obstacle = obstacles->pdata[i];
        g_autofree char *since = format_time(obstacle->since);
        table_add(table, (const char *const[]){obstacle->name, obstacle->l2, since, obstacle->guarded ? "yes" : "no",
                                               way_out(obstacle), NULL});
    }
    if (obstacles->len > 0)
        table_print(table, !arg_no_legend);
    if (!arg_no_legend)
        printf("%s%u %s from being evacuated.\n", obstacles->len > 0 ? "\n" : "", obstacles->len,
               obstacles->len == 1 ? "domain keeps this host" : "domains keep this host");
}

static void print_json(const GPtrArray *obstacles, JsonFormat format)
{
    Json *json = json_new(format);

    json_open(json, NULL, '[');
    for (guint i = 0; i < obstacles->len; i++) {
        const Obstacle *obstacle = obstacles->pdata[i];
        json_open(json, NULL, '{');
        json_string(json, "domain", obstacle->name);
        json_string(json, "l2", obstacle->l2);
        json_integer(json, "since", (gint64)obstacle->since);
        json_boolean(json, "guarded", obstacle->guarded);
        json_string(json, "reason", obstacle->reason);
        json_string(json, "error", obstacle->error);
        json_string(json, "todo", way_out(obstacle));
        json_close(json, '}');
    }
    json_close(json, ']');
    json_print(json);
}

int verb_drain(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"json", 0, 0, G_OPTION_ARG_STRING, &arg_json,
         "Print JSON: pretty, short or off; -j is pretty on a terminal and otherwise short", "FORMAT"},
        {"no-legend", 0, 0, G_OPTION_ARG_NONE, &arg_no_legend, "Leave out the titles and the count", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autoptr(GPtrArray) obstacles = g_ptr_array_new_with_free_func(obstacle_destroy);
    JsonFormat format = JSON_OFF;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 0, 0, &argc, &argv) || !json_parse_format(arg_json, &format))
        return STATUS_USAGE;
    g_autoptr(Client) client = client_new();
    g_autoptr(GPtrArray) domains = client != NULL ? client_list(client) : NULL;
    if (domains == NULL)
        return STATUS_FAILED;
    for (guint i = 0; i < domains->len; i++)
        if (!look_at(client, domains->pdata[i], obstacles))
            return STATUS_FAILED;
    if (format != JSON_OFF)
        print_json(obstacles, format);
    else
        print_table(obstacles);
    return obstacles->len == 0 ? STATUS_DONE : STATUS_NOT_CLEAR;
}
