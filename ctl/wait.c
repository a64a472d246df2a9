/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl wait: until virtnestd announces what is waited for. Nothing is polled. */

#include "ctl/fleet.h"
#include "ctl/table.h"
#include "ctl/verbs.h"
#include "lib/duration.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static gboolean arg_safe;
static gboolean arg_l2;
static gboolean arg_in_sync;
static char *arg_timeout;

/* Something to wait for, and what to say where it does not come. */
typedef struct Condition {
    bool (*holds)(const Snapshot *snapshot, const Object *domain);
    char *(*describe)(const Object *domain);
} Condition;

typedef struct Wait {
    const Condition *condition;
    const Object *domain; /* NULL: it is over */
    GMainLoop *loop;
    int status;
} Wait;

/* Conditions --------------------------------------------------------------------------------------------------------- */

/* What was seen before the connection to libvirt was lost is no ground to move anybody. */
static bool is_safe(const Snapshot *snapshot, const Object *domain)
{
    return object_boolean(snapshot->manager, "Connected") && object_boolean(domain, "MigrationSafe");
}

static char *describe_blockers(const Object *domain)
{
    g_autofree const char **blockers = object_strings(domain, "Blockers");
    g_autofree char *joined = g_strjoinv("; ", (char **)blockers);

    return *joined != '\0' ? g_strdup_printf("may not be moved: %s", joined)
                           : g_strdup("may not be moved: virtnestd has no connection to libvirt");
}

static bool has_l2(const Snapshot *snapshot G_GNUC_UNUSED, const Object *domain)
{
    return strcmp(object_string(domain, "L2State"), "running") == 0;
}

static char *describe_l2(const Object *domain)
{
    const char *reason = object_string(domain, "L2Reason");

    return g_strdup_printf("runs no guest of its own: L2State is %s%s%s", object_string(domain, "L2State"),
                           *reason != '\0' ? ": " : "", reason);
}

static bool is_in_sync(const Snapshot *snapshot G_GNUC_UNUSED, const Object *domain)
{
    return strcmp(object_string(domain, "State"), "in-sync") == 0;
}

static char *describe_state(const Object *domain)
{
    const char *reason = object_string(domain, "StateReason");

    return g_strdup_printf("is %s%s%s", object_string(domain, "State"), *reason != '\0' ? ": " : "", reason);
}

/* Waiting ------------------------------------------------------------------------------------------------------------ */

/* More of what has come already may follow, which makes no difference then: the loop ends after that. */
static void finish(Wait *wait, int status)
{
    wait->domain = NULL;
    wait->status = status;
    g_main_loop_quit(wait->loop);
}

static void on_changed(FleetHost *host, Object *domain, const char *property G_GNUC_UNUSED,
                       GVariant *before G_GNUC_UNUSED, GVariant *value G_GNUC_UNUSED, gpointer data)
{
    Wait *wait = data;

    if (wait->domain != NULL && (domain == NULL || domain == wait->domain) &&
        wait->condition->holds(host->snapshot, wait->domain))
        finish(wait, STATUS_DONE);
}

static void on_removed(FleetHost *host G_GNUC_UNUSED, Object *domain, gpointer data)
{
    Wait *wait = data;

    if (wait->domain == NULL || domain != wait->domain)
        return;
    (void)verb_fail("domain '%s' is gone", object_string(domain, "Name"));
    finish(wait, STATUS_FAILED);
}

/* Who knows what becomes of the domain until virtnestd is back. */
static void on_lost(FleetHost *host, gpointer data)
{
    Wait *wait = data;

    if (wait->domain == NULL)
        return;
    (void)verb_fail("%s", host->error);
    finish(wait, STATUS_FAILED);
}

static gboolean on_timeout(gpointer data)
{
    Wait *wait = data;

    if (wait->domain == NULL)
        return G_SOURCE_CONTINUE;
    g_autofree char *state = wait->condition->describe(wait->domain);
    (void)verb_fail("the time is over, and domain '%s' %s", object_string(wait->domain, "Name"), state);
    finish(wait, STATUS_TIMEOUT);
    return G_SOURCE_CONTINUE;
}

/* Somebody who looks on shall see what it waits for; a script has no use for it. */
static void tell(const Wait *wait)
{
    g_autofree char *state = isatty(STDERR_FILENO) ? wait->condition->describe(wait->domain) : NULL;
    g_autofree char *line =
        state != NULL ? g_strdup_printf("Waiting: domain '%s' %s", object_string(wait->domain, "Name"), state) : NULL;
    g_autofree char *printable = line != NULL ? table_printable(line) : NULL;

    if (printable != NULL)
        (void)fprintf(stderr, "%s.\n", printable);
}

static int wait_for(const char *text, const Condition *condition, guint64 limit)
{
    static const FleetEvents events = {.changed = on_changed, .removed = on_removed, .lost = on_lost};
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    Wait wait = {.condition = condition, .loop = loop};
    g_autoptr(Fleet) fleet = fleet_new(&events, &wait);
    const Snapshot *snapshot = fleet_one(fleet);
    g_autofree char *problem = NULL;

    if (snapshot == NULL)
        return STATUS_FAILED;
    const Object *domain = snapshot_pick(snapshot, text, &problem);
    if (domain == NULL)
        return verb_fail("%s", problem);
    if (condition->holds(snapshot, domain))
        return STATUS_DONE;
    wait.domain = domain;
    tell(&wait);
    guint timer = limit != DURATION_INFINITE
                      ? g_timeout_add((guint)MIN(limit / 1000, (guint64)G_MAXINT32), on_timeout, &wait)
                      : 0;
    g_main_loop_run(loop);
    wait.domain = NULL;
    if (timer != 0)
        g_source_remove(timer);
    return wait.status;
}

int verb_wait(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"safe", 0, 0, G_OPTION_ARG_NONE, &arg_safe, "Until it may be migrated and saved", NULL},
        {"l2", 0, 0, G_OPTION_ARG_NONE, &arg_l2, "Until it runs a guest of its own", NULL},
        {"in-sync", 0, 0, G_OPTION_ARG_NONE, &arg_in_sync, "Until its definition and CPU are as its policy wants them",
         NULL},
        {"timeout", 0, 0, G_OPTION_ARG_STRING, &arg_timeout, "For how long at most, such as 10min (infinity)", "TIME"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    static const Condition safe = {is_safe, describe_blockers}, l2 = {has_l2, describe_l2},
                           in_sync = {is_in_sync, describe_state};
    guint64 limit = 0;

    if (!verb_parse(verb, options, 1, 1, &argc, &argv))
        return STATUS_USAGE;
    if (arg_safe + arg_l2 + arg_in_sync != 1)
        return verb_misused("wait takes one of --safe, --l2 and --in-sync");
    if (!verb_parse_time("--timeout", arg_timeout != NULL ? arg_timeout : "infinity", &limit))
        return STATUS_USAGE;
    return wait_for(argv[1], arg_safe ? &safe : arg_l2 ? &l2 : &in_sync, limit);
}
