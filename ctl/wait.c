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
    bool (*holds)(const Object *domain);
    char *(*describe)(const Object *domain);
} Condition;

typedef struct Wait {
    const Condition *condition;
    const char *text;     /* whom it is about, as somebody put it */
    const Object *domain; /* NULL: it is not found yet, or it is over */
    guint64 limit;        /* in microseconds */
    gint64 began_at;
    guint timer;
    Fleet *fleet;
    GMainLoop *loop;
    char *told; /* what it waits for, as it was said last */
    bool over;
    int status;
} Wait;

/* For virtnestd to answer, however short the limit: --timeout=0 asks whether it is so now. */
#define ANSWER_USEC (2 * G_USEC_PER_SEC)

/* Conditions --------------------------------------------------------------------------------------------------------- */

static bool is_safe(const Object *domain)
{
    return object_boolean(domain, "MigrationSafe");
}

static char *describe_blockers(const Object *domain)
{
    g_autofree const char **blockers = object_strings(domain, "Blockers");
    g_autofree char *joined = g_strjoinv("; ", (char **)blockers);

    return g_strdup_printf("may not be moved: %s", joined);
}

static bool has_l2(const Object *domain)
{
    return strcmp(object_string(domain, "L2State"), "running") == 0;
}

static char *describe_l2(const Object *domain)
{
    const char *reason = object_string(domain, "L2Reason");

    return g_strdup_printf("runs no guest of its own: L2State is %s%s%s", object_string(domain, "L2State"),
                           *reason != '\0' ? ": " : "", reason);
}

static bool is_in_sync(const Object *domain)
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
    wait->over = true;
    wait->status = status;
    g_main_loop_quit(wait->loop);
}

/* Returns: what is not so, to be freed with g_free(); NULL: it is as is waited for. What was seen before the connection to
 * libvirt was lost, or before all domains were looked at, is no ground to move anybody. */
static char *describe(const Wait *wait, const Snapshot *snapshot)
{
    g_autofree char *incomplete = snapshot_incomplete(snapshot), *problem = NULL;

    if (incomplete != NULL)
        return g_steal_pointer(&incomplete);
    if (wait->condition->holds(wait->domain))
        return NULL;
    problem = wait->condition->describe(wait->domain);
    return g_strdup_printf("domain '%s' %s", object_string(wait->domain, "Name"), problem);
}

/* Somebody who looks on shall see what it waits for, each time that it is something else; a script has no use for it. */
static void tell(Wait *wait, const char *problem)
{
    if (wait->limit == 0 || !isatty(STDERR_FILENO) || g_strcmp0(wait->told, problem) == 0)
        return;
    g_autofree char *printable = table_printable(problem);
    (void)fprintf(stderr, "Waiting: %s.\n", printable);
    g_free(wait->told);
    wait->told = g_strdup(problem);
}

static void check(Wait *wait, const Snapshot *snapshot)
{
    g_autofree char *state = describe(wait, snapshot);

    if (state == NULL)
        finish(wait, STATUS_DONE);
    else
        tell(wait, state);
}

static gboolean on_timeout(gpointer data);

static void set_timer(Wait *wait, guint64 limit)
{
    g_clear_handle_id(&wait->timer, g_source_remove);
    if (limit != DURATION_INFINITE)
        wait->timer = g_timeout_add((guint)MIN(limit / 1000, (guint64)G_MAXINT32), on_timeout, wait);
}

/* Finds whom it is about. */
static void begin(Wait *wait, const Snapshot *snapshot)
{
    g_autofree char *problem = NULL, *incomplete = snapshot_incomplete(snapshot);
    guint64 passed = (guint64)(g_get_monotonic_time() - wait->began_at);

    wait->domain = snapshot_pick(snapshot, wait->text, &problem);
    /* It may be among those that are not seen yet. */
    if (wait->domain == NULL && incomplete == NULL) {
        (void)verb_fail("%s", problem);
        finish(wait, STATUS_FAILED);
    } else if (wait->domain == NULL)
        tell(wait, incomplete);
    if (wait->domain == NULL)
        return;
    set_timer(wait, wait->limit == DURATION_INFINITE ? DURATION_INFINITE : wait->limit - MIN(passed, wait->limit));
    check(wait, snapshot);
}

static void look(Wait *wait, const Snapshot *snapshot)
{
    if (wait->over)
        return;
    if (wait->domain == NULL)
        begin(wait, snapshot);
    else
        check(wait, snapshot);
}

static void on_answered(FleetHost *host, gpointer data)
{
    look(data, host->snapshot);
}

static void on_changed(FleetHost *host, Object *domain, const char *property G_GNUC_UNUSED,
                       GVariant *before G_GNUC_UNUSED, GVariant *value G_GNUC_UNUSED, gpointer data)
{
    Wait *wait = data;

    if (domain == NULL || domain == wait->domain)
        look(wait, host->snapshot);
}

static void on_added(FleetHost *host, Object *domain G_GNUC_UNUSED, gpointer data)
{
    Wait *wait = data;

    if (wait->domain == NULL)
        look(wait, host->snapshot);
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

    if (wait->over)
        return;
    (void)verb_fail("%s%s%s", host->name != NULL ? host->name : "", host->name != NULL ? ": " : "", host->error);
    finish(wait, STATUS_FAILED);
}

static gboolean on_timeout(gpointer data)
{
    Wait *wait = data;
    const FleetHost *host = fleet_hosts(wait->fleet)->pdata[0];

    wait->timer = 0;
    if (wait->over)
        return G_SOURCE_REMOVE;
    g_autofree char *state = wait->domain != NULL     ? describe(wait, host->snapshot)
                             : host->snapshot != NULL ? snapshot_incomplete(host->snapshot)
                                                      : g_strdup("virtnestd has not answered");
    (void)verb_fail("the time is over, and %s", state);
    finish(wait, STATUS_TIMEOUT);
    return G_SOURCE_REMOVE;
}

static int wait_for(const char *text, const Condition *condition, guint64 limit)
{
    static const FleetEvents events = {
        .answered = on_answered, .changed = on_changed, .added = on_added, .removed = on_removed, .lost = on_lost};
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    Wait wait = {
        .condition = condition, .text = text, .limit = limit, .began_at = g_get_monotonic_time(), .loop = loop};
    g_autoptr(Fleet) fleet = fleet_new(&events, &wait);

    wait.fleet = fleet;
    set_timer(&wait, MAX(limit, (guint64)ANSWER_USEC));
    if (!wait.over)
        g_main_loop_run(loop);
    wait.over = true;
    g_clear_handle_id(&wait.timer, g_source_remove);
    g_free(wait.told);
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
