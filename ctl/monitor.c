/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl monitor: one line for each change, as virtnestd announces it. */

#include "ctl/fleet.h"
#include "ctl/json.h"
#include "ctl/table.h"
#include "ctl/verbs.h"
#include "lib/duration.h"
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static char *arg_json;

typedef struct Monitor {
    JsonFormat format;
    char **only; /* the domains that are wanted, by UUID; NULL: all, and the hosts too */
    Fleet *fleet;
    GMainLoop *loop;
    bool unread; /* nobody takes what is printed */
    int status;
} Monitor;

/* Printing ----------------------------------------------------------------------------------------------------------- */

static char *describe_time(guint64 usec)
{
    g_autoptr(GDateTime) time = usec > 0 ? g_date_time_new_from_unix_local((gint64)(usec / G_USEC_PER_SEC)) : NULL;

    return time != NULL ? g_date_time_format(time, "%F %T") : g_strdup("-");
}

static char *describe(const char *property, GVariant *value)
{
    if (value == NULL)
        return g_strdup("-");
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_UINT64) &&
        (g_str_has_suffix(property, "Since") || g_str_has_suffix(property, "Until") ||
         g_str_has_suffix(property, "Time")))
        return describe_time(g_variant_get_uint64(value));
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_UINT64) && g_str_has_suffix(property, "USec"))
        return duration_format(g_variant_get_uint64(value));
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING_ARRAY)) {
        g_autofree const char **texts = g_variant_get_strv(value, NULL);
        return texts[0] != NULL ? g_strjoinv("; ", (char **)texts) : g_strdup("-");
    }
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_BOOLEAN))
        return g_strdup(g_variant_get_boolean(value) ? "yes" : "no");
    if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING)) {
        const char *text = g_variant_get_string(value, NULL);
        return g_strdup(*text != '\0' ? text : "-");
    }
    return g_variant_print(value, FALSE);
}

/* @object: what it is about, such as a domain's name. @before, @value: NULL: there is none */
static void print_line(const FleetHost *host, const char *object, const char *what, GVariant *before, GVariant *value)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *time = g_date_time_format(now, "%F %T"), *old = describe(what, before),
                    *new = describe(what, value);
    g_autofree char *change = before != NULL  ? g_strdup_printf("%s: %s -> %s", what, old, new)
                              : value != NULL ? g_strdup_printf("%s: %s", what, new)
                                              : g_strdup(what);
    g_autofree char *printable = table_printable(change), *name = table_printable(object);
    bool colours = verbs_colours();

    printf("%s.%03d  %s%s%s%s%s  %s\n", time, g_date_time_get_microsecond(now) / 1000,
           host->name != NULL ? host->name : "", host->name != NULL ? "  " : "", colours ? "\033[1m" : "", name,
           colours ? "\033[0m" : "", printable);
}

static void print_event(Monitor *monitor, const FleetHost *host, const Object *domain, const char *event,
                        const char *property, GVariant *before, GVariant *value)
{
    const char *name = domain != NULL ? object_string(domain, "Name") : "virtnestd";

    if (monitor->format == JSON_OFF) {
        /* Problems tells the same in a line. */
        if (g_strcmp0(property, "Checks") == 0)
            return;
        print_line(host, name, property != NULL ? property : event, before, value);
    } else {
        Json *json = json_new(monitor->format);
        json_open(json, NULL, '{');
        json_integer(json, "time", g_get_real_time());
        if (host->name != NULL)
            json_string(json, "host", host->name);
        json_string(json, "event", event);
        if (domain != NULL) {
            json_string(json, "domain", name);
            json_string(json, "uuid", object_string(domain, "UUID"));
        }
        if (property != NULL) {
            json_string(json, "property", property);
            json_variant(json, "before", before);
            json_variant(json, "value", value);
        }
        json_close(json, '}');
        json_print(json);
    }
    /* Whoever reads this through a pipe wants it now; if nobody reads any more, it is over. */
    monitor->unread |= fflush(stdout) != 0;
    if (monitor->unread && monitor->loop != NULL)
        g_main_loop_quit(monitor->loop);
}

/* Events ------------------------------------------------------------------------------------------------------------- */

static bool is_wanted(const Monitor *monitor, const Object *domain)
{
    return monitor->only == NULL ||
           (domain != NULL && g_strv_contains((const char *const *)monitor->only, object_string(domain, "UUID")));
}

static void on_changed(FleetHost *host, Object *domain, const char *property, GVariant *before, GVariant *value,
                       gpointer data)
{
    if (is_wanted(data, domain))
        print_event(data, host, domain, "changed", property, before, value);
}

static void on_added(FleetHost *host, Object *domain, gpointer data)
{
    if (is_wanted(data, domain))
        print_event(data, host, domain, "appeared", NULL, NULL, NULL);
}

static void on_removed(FleetHost *host, Object *domain, gpointer data)
{
    if (is_wanted(data, domain))
        print_event(data, host, domain, "vanished", NULL, NULL, NULL);
}

/* From here on nothing is missed. */
static void on_answered(FleetHost *host, gpointer data)
{
    print_event(data, host, NULL, "ready", NULL, NULL, NULL);
}

static sigset_t end_signals(void)
{
    sigset_t signals;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    return signals;
}

static bool is_interrupted(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 && (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1);
}

static void on_lost(FleetHost *host, gpointer data)
{
    Monitor *monitor = data;
    bool over = true;

    if (monitor->loop == NULL)
        return;
    /* ^C ends the ssh to another host as well, and that is no loss. */
    if (is_interrupted()) {
        g_main_loop_quit(monitor->loop);
        return;
    }
    print_event(monitor, host, NULL, "lost", NULL, NULL, NULL);
    (void)verb_fail("%s%s%s", host->name != NULL ? host->name : "", host->name != NULL ? ": " : "", host->error);
    const GPtrArray *hosts = fleet_hosts(monitor->fleet);
    for (guint i = 0; i < hosts->len; i++)
        over &= ((FleetHost *)hosts->pdata[i])->over;
    if (!over)
        return;
    monitor->status = STATUS_FAILED;
    g_main_loop_quit(monitor->loop);
}

static gboolean on_signal(int fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer data)
{
    g_main_loop_quit(data);
    return G_SOURCE_CONTINUE;
}

/* Until somebody interrupts it, or nobody reads any more, or all hosts are lost. */
static int follow(Monitor *monitor)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    sigset_t ends = end_signals(), before;
    int fd;

    (void)pthread_sigmask(SIG_BLOCK, &ends, &before);
    fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
    guint source = fd >= 0 ? g_unix_fd_add(fd, G_IO_IN, on_signal, loop) : 0;
    if (source == 0)
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    monitor->loop = loop;
    if (!monitor->unread)
        g_main_loop_run(loop);
    monitor->loop = NULL;
    if (source != 0) {
        g_source_remove(source);
        (void)close(fd);
    }
    return monitor->status;
}

/* Returns: the UUIDs of those domains, of whichever host has them, to be freed with g_strfreev(); NULL after saying which
 * is not there. */
static char **find_domains(const Fleet *fleet, char **texts)
{
    const GPtrArray *hosts = fleet_hosts(fleet);
    g_autoptr(GStrvBuilder) found = g_strv_builder_new();

    for (gsize i = 0; texts[i] != NULL; i++) {
        g_autofree char *problem = NULL;
        bool there = false;
        for (guint j = 0; j < hosts->len; j++) {
            const FleetHost *host = hosts->pdata[j];
            g_autofree char *cause = NULL;
            const Object *domain = host->snapshot != NULL ? snapshot_pick(host->snapshot, texts[i], &cause) : NULL;
            if (domain != NULL)
                g_strv_builder_add(found, object_string(domain, "UUID"));
            there |= domain != NULL;
            g_autofree char *incomplete = host->snapshot != NULL ? snapshot_incomplete(host->snapshot) : g_strdup("");
            /* Of one that may have it that is the reason. */
            if (problem == NULL || incomplete != NULL) {
                g_free(problem);
                problem = cause != NULL ? g_steal_pointer(&cause) : g_strdup(host->error);
            }
        }
        if (!there) {
            (void)verb_fail("%s", problem);
            return NULL;
        }
    }
    return g_strv_builder_end(found);
}

int verb_monitor(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"json", 0, 0, G_OPTION_ARG_STRING, &arg_json,
         "Print JSON: pretty, short or off; -j is pretty on a terminal and otherwise short", "FORMAT"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    static const FleetEvents events = {
        .answered = on_answered, .changed = on_changed, .added = on_added, .removed = on_removed, .lost = on_lost};
    Monitor monitor = {.status = STATUS_DONE};
    g_auto(GStrv) only = NULL;
    bool any = false;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 0, -1, &argc, &argv) || !json_parse_format(arg_json, &monitor.format))
        return STATUS_USAGE;
    g_autoptr(Fleet) fleet = fleet_new(&events, &monitor);
    monitor.fleet = fleet;
    fleet_wait(fleet);
    (void)fleet_print_errors(fleet);
    const GPtrArray *hosts = fleet_hosts(fleet);
    for (guint i = 0; i < hosts->len; i++)
        any |= ((FleetHost *)hosts->pdata[i])->snapshot != NULL;
    if (!any)
        return STATUS_FAILED;
    if (argc > 1) {
        only = find_domains(fleet, argv + 1);
        if (only == NULL)
            return STATUS_FAILED;
        monitor.only = only;
    }
    return follow(&monitor);
}
