/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl drain */

#include "ctl/client.h"
#include "ctl/json.h"
#include "ctl/libvirt.h"
#include "ctl/table.h"
#include "ctl/verbs.h"
#include "daemon/libvirt-error.h"
#include "lib/duration.h"
#include <stdio.h>
#include <string.h>

/* Between two looks at whether guests that were told to shut down have. */
#define POLL_USEC 200000

static char *arg_json;
static gboolean arg_no_legend;
static gboolean arg_shutdown;
static char *arg_timeout;

/* A guest that cannot be moved, or should not be. */
typedef struct Obstacle {
    char *name;
    char *uuid;
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
    g_free(obstacle->uuid);
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
    obstacle->uuid = client_string(client, domain->path, "UUID");
    obstacle->l2 = client_string(client, domain->path, "L2State");
    obstacle->reason = client_string(client, domain->path, "GuardReason");
    obstacle->error = client_string(client, domain->path, "GuardError");
    good = obstacle->uuid != NULL && obstacle->l2 != NULL && obstacle->reason != NULL && obstacle->error != NULL &&
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

/* Shutdown ----------------------------------------------------------------------------------------------------------- */

static bool shut_down_one(virDomain *domain, gpointer data G_GNUC_UNUSED, GError **error)
{
    if (virDomainIsActive(domain) == 0 || virDomainShutdown(domain) == 0)
        return true;
    libvirt_set_error(error, "cannot ask it to shut down");
    return false;
}

/* Tells of each that is off by now, and keeps the others. */
static void drop_those_off(GPtrArray *domains)
{
    for (guint i = domains->len; i > 0; i--) {
        virDomain *domain = domains->pdata[i - 1];
        if (virDomainIsActive(domain) == 1)
            continue;
        printf("%s is off.\n", virDomainGetName(domain));
        (void)fflush(stdout);
        g_ptr_array_remove_index(domains, i - 1);
    }
}

/* Asks those guests to shut down, and waits for it. One that does not go is left running. */
static int shut_down(const GPtrArray *obstacles, guint64 limit_usec)
{
    gint64 end = g_get_monotonic_time() + (gint64)MIN(limit_usec, (guint64)G_MAXINT32 * G_USEC_PER_SEC);
    g_autoptr(VirConnect) connection = libvirt_open();
    g_autoptr(GPtrArray) domains = g_ptr_array_new_with_free_func((GDestroyNotify)vir_domain_unref);

    if (connection == NULL)
        return STATUS_FAILED;
    for (guint i = 0; i < obstacles->len; i++) {
        const Obstacle *obstacle = obstacles->pdata[i];
        virDomain *domain = virDomainLookupByUUIDString(connection, obstacle->uuid);
        if (domain == NULL)
            continue;
        g_ptr_array_add(domains, domain);
        printf("Shutting %s down: %s.\n", obstacle->name,
               *obstacle->reason != '\0' ? obstacle->reason : "a guest of its own may run in it");
    }
    (void)fflush(stdout);
    (void)libvirt_for_each(domains, shut_down_one, NULL, end - g_get_monotonic_time());
    drop_those_off(domains);
    while (domains->len > 0 && g_get_monotonic_time() < end) {
        g_usleep(POLL_USEC);
        drop_those_off(domains);
    }
    for (guint i = 0; i < domains->len; i++)
        (void)verb_fail("domain '%s' has not shut down in time; it goes on running",
                        virDomainGetName(domains->pdata[i]));
    return domains->len == 0 ? STATUS_DONE : STATUS_FAILED;
}

int verb_drain(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"json", 0, 0, G_OPTION_ARG_STRING, &arg_json,
         "Print JSON: pretty, short or off; -j is pretty on a terminal and otherwise short", "FORMAT"},
        {"no-legend", 0, 0, G_OPTION_ARG_NONE, &arg_no_legend, "Leave out the titles and the count", NULL},
        {"shutdown", 0, 0, G_OPTION_ARG_NONE, &arg_shutdown, "Shut these guests down, and wait until they are off",
         NULL},
        {"timeout", 0, 0, G_OPTION_ARG_STRING, &arg_timeout, "For how long to wait for that (2min)", "TIME"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    guint64 limit = 0;
    g_autoptr(GPtrArray) obstacles = g_ptr_array_new_with_free_func(obstacle_destroy);
    JsonFormat format = JSON_OFF;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 0, 0, &argc, &argv) || !json_parse_format(arg_json, &format))
        return STATUS_USAGE;
    if (arg_shutdown && format != JSON_OFF) {
        (void)fprintf(stderr, "virtnestctl: --shutdown tells what it does in words, and not as JSON\n");
        return STATUS_USAGE;
    }
    if (!duration_parse(arg_timeout != NULL ? arg_timeout : "2min", &limit)) {
        (void)fprintf(stderr, "virtnestctl: --timeout takes a time span such as 90s or 5min, and not '%s'\n",
                      arg_timeout);
        return STATUS_USAGE;
    }
    g_autoptr(Client) client = client_new();
    g_autoptr(GPtrArray) domains = client != NULL ? client_list(client) : NULL;
    if (domains == NULL)
        return STATUS_FAILED;
    for (guint i = 0; i < domains->len; i++)
        if (!look_at(client, domains->pdata[i], obstacles))
            return STATUS_FAILED;
    if (arg_shutdown)
        return shut_down(obstacles, limit);
    if (format != JSON_OFF)
        print_json(obstacles, format);
    else
        print_table(obstacles);
    return obstacles->len == 0 ? STATUS_DONE : STATUS_NOT_CLEAR;
}
