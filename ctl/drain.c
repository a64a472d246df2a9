/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl drain */

#include "ctl/advice.h"
#include "ctl/fleet.h"
#include "ctl/json.h"
#include "ctl/libvirt.h"
#include "ctl/table.h"
#include "ctl/verbs.h"
#include "daemon/libvirt-error.h"
#include <libvirt/virterror.h>
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
    char *host; /* NULL: this one */
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

    g_free(obstacle->host);
    g_free(obstacle->name);
    g_free(obstacle->uuid);
    g_free(obstacle->l2);
    g_free(obstacle->reason);
    g_free(obstacle->error);
    g_free(obstacle);
}

/* @obstacles: gets it if it is one */
static void look_at(const FleetHost *host, const Object *domain, GPtrArray *obstacles)
{
    bool guarded = object_boolean(domain, "Guarded");

    if (!guarded && strcmp(object_string(domain, "L2State"), "none") == 0)
        return;
    Obstacle *obstacle = g_new0(Obstacle, 1);
    obstacle->host = g_strdup(host->name);
    obstacle->name = g_strdup(object_string(domain, "Name"));
    obstacle->uuid = g_strdup(object_string(domain, "UUID"));
    obstacle->l2 = g_strdup(object_string(domain, "L2State"));
    obstacle->reason = g_strdup(object_string(domain, "GuardReason"));
    obstacle->error = g_strdup(object_string(domain, "GuardError"));
    obstacle->since = object_number(domain, "L2Since");
    obstacle->guarded = guarded;
    g_ptr_array_add(obstacles, obstacle);
}

static char *format_time(guint64 usec)
{
    g_autoptr(GDateTime) time = usec > 0 ? g_date_time_new_from_unix_local((gint64)(usec / G_USEC_PER_SEC)) : NULL;

    return time != NULL ? g_date_time_format(time, "%F %T") : g_strdup("-");
}

/* @good: they are all */
static void print_table(const GPtrArray *obstacles, guint n_hosts, bool good)
{
    static const char *const titles[] = {"HOST", "DOMAIN", "L2", "SINCE", "GUARDED", "WHAT TO DO", NULL};
    guint first = n_hosts > 1 ? 0 : 1;
    g_autoptr(Table) table = table_new(titles + first);

    for (guint i = 0; i < obstacles->len; i++) {
        const Obstacle *obstacle = obstacles->pdata[i];
        g_autofree char *since = format_time(obstacle->since);
        const char *cells[] = {obstacle->host,
                               obstacle->name,
                               obstacle->l2,
                               since,
                               obstacle->guarded ? "yes" : "no",
                               advice_for_move(obstacle->l2)};
        table_add(table, cells + first);
    }
    if (obstacles->len > 0)
        table_print(table, !arg_no_legend);
    if (!arg_no_legend)
        printf("%s%s%u %s %s from being evacuated.\n", obstacles->len > 0 ? "\n" : "", good ? "" : "At least ",
               obstacles->len, obstacles->len == 1 ? "domain keeps" : "domains keep",
               n_hosts > 1 ? "these hosts" : "this host");
}

static void print_json(const GPtrArray *obstacles, JsonFormat format)
{
    Json *json = json_new(format);

    json_open(json, NULL, '[');
    for (guint i = 0; i < obstacles->len; i++) {
        const Obstacle *obstacle = obstacles->pdata[i];
        json_open(json, NULL, '{');
        if (obstacle->host != NULL)
            json_string(json, "host", obstacle->host);
        json_string(json, "domain", obstacle->name);
        json_string(json, "uuid", obstacle->uuid);
        json_string(json, "l2", obstacle->l2);
        json_integer(json, "since", (gint64)obstacle->since);
        json_boolean(json, "guarded", obstacle->guarded);
        json_string(json, "reason", obstacle->reason);
        json_string(json, "error", obstacle->error);
        json_string(json, "todo", advice_for_move(obstacle->l2));
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

/* Is it known to be off? A transient one is gone then. What libvirt cannot tell counts as running. */
static bool is_off(virDomain *domain)
{
    int active = virDomainIsActive(domain);

    return active == 0 || (active < 0 && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN);
}

/* Tells of each that is off by now, and keeps the others. */
static void drop_those_off(GPtrArray *domains)
{
    for (guint i = domains->len; i > 0; i--) {
        virDomain *domain = domains->pdata[i - 1];
        if (!is_off(domain))
            continue;
        g_autofree char *name = table_printable(virDomainGetName(domain));
        printf("%s is off.\n", name);
        (void)fflush(stdout);
        g_ptr_array_remove_index(domains, i - 1);
    }
}

/* The domains of these obstacles, each of them told. Returns: with how many that did not work. */
static unsigned look_up(virConnect *connection, const GPtrArray *obstacles, GPtrArray *domains)
{
    unsigned failed = 0;

    for (guint i = 0; i < obstacles->len; i++) {
        const Obstacle *obstacle = obstacles->pdata[i];
        virDomain *domain = virDomainLookupByUUIDString(connection, obstacle->uuid);
        g_autofree char *name = table_printable(obstacle->name), *reason = table_printable(obstacle->reason);
        g_autoptr(GError) error = NULL;
        if (domain != NULL) {
            g_ptr_array_add(domains, domain);
            printf("Shutting %s down: %s.\n", name, *reason != '\0' ? reason : "a guest of its own may run in it");
        } else {
            /* Also if there is none: this may be another libvirt than virtnestd's. */
            libvirt_set_error(&error, "cannot look it up");
            (void)verb_fail("domain '%s': %s", name, error->message);
            failed++;
        }
    }
    (void)fflush(stdout);
    return failed;
}

/* Asks those guests to shut down, and waits for it. One that does not go is left running. */
static int shut_down(const GPtrArray *obstacles, guint64 limit_usec)
{
    gint64 end = g_get_monotonic_time() + (gint64)MIN(limit_usec, (guint64)G_MAXINT32 * G_USEC_PER_SEC);
    g_autoptr(VirConnect) connection = libvirt_open();
    g_autoptr(GPtrArray) domains = g_ptr_array_new_with_free_func((GDestroyNotify)vir_domain_unref);

    if (connection == NULL)
        return STATUS_FAILED;
    unsigned failed = look_up(connection, obstacles, domains);
    (void)libvirt_for_each(domains, shut_down_one, NULL, end - g_get_monotonic_time());
    drop_those_off(domains);
    while (domains->len > 0 && g_get_monotonic_time() < end && virConnectIsAlive(connection) != 0) {
        g_usleep(POLL_USEC);
        drop_those_off(domains);
    }
    for (guint i = 0; i < domains->len; i++)
        (void)verb_fail(virConnectIsAlive(connection) != 0
                            ? "domain '%s' has not shut down in time; it goes on running"
                            : "the connection to libvirt is lost, and whether domain '%s' has shut down is not known",
                        virDomainGetName(domains->pdata[i]));
    return domains->len == 0 && failed == 0 ? STATUS_DONE : STATUS_FAILED;
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
    if (!verb_parse_time("--timeout", arg_timeout != NULL ? arg_timeout : "2min", &limit))
        return STATUS_USAGE;
    if (arg_shutdown && verbs_hosts->len > 0) {
        (void)fprintf(stderr, "virtnestctl: --shutdown is for the host that it is run on, and not for --host\n");
        return STATUS_USAGE;
    }
    g_autoptr(Fleet) fleet = fleet_new(NULL, NULL);
    fleet_wait(fleet);
    const GPtrArray *hosts = fleet_hosts(fleet);
    /* What is not known of keeps a host as well as what is. */
    bool good = fleet_print_errors(fleet) & fleet_print_incomplete(fleet);
    for (guint i = 0; i < hosts->len; i++) {
        const FleetHost *host = hosts->pdata[i];
        for (guint j = 0; host->snapshot != NULL && j < host->snapshot->domains->len; j++)
            look_at(host, host->snapshot->domains->pdata[j], obstacles);
    }
    /* Of whom nothing is known, nobody is to be told that he is in nobody's way. */
    if (!good && obstacles->len == 0)
        return STATUS_FAILED;
    if (arg_shutdown) {
        int status = shut_down(obstacles, limit);
        return good ? status : STATUS_FAILED;
    }
    if (format != JSON_OFF)
        print_json(obstacles, format);
    else
        print_table(obstacles, hosts->len, good);
    return !good ? STATUS_FAILED : obstacles->len == 0 ? STATUS_DONE : STATUS_NOT_CLEAR;
}
