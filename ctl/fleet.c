/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What virtnestd publishes on one host or on several, read in as few calls as can be and, if wanted, followed from then on.
 * Nothing waits for one host alone: one that is dead costs the others nothing.
 */

#include "ctl/fleet.h"

#include "ctl/client.h"
#include "ctl/verbs.h"
#include "daemon/bus.h"
#include <errno.h>
#include <string.h>

#define MANAGER "org.virtnest1.Manager"
#define HOST "org.virtnest1.Host"
#define DOMAIN "org.virtnest1.Domain"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define OBJECT_MANAGER "org.freedesktop.DBus.ObjectManager"

/* Among several hosts, for one to answer. A single one has as long as sd-bus and ssh take, which may ask for a password. */
#define ANSWER_LIMIT_S 30
/* Two GetAll and GetManagedObjects. */
#define N_CALLS 3

/* A host with what belongs to the connection. */
typedef struct Member {
    FleetHost host; /* first */
    struct Fleet *fleet;
    sd_bus *bus;
    GSource *source;
    Snapshot *coming; /* while calls are on their way */
    sd_bus_slot *calls[N_CALLS];
    unsigned pending;
} Member;

struct Fleet {
    GPtrArray *members;
    const FleetEvents *events; /* NULL: nobody wants to know more */
    gpointer data;
};

/* Failing ------------------------------------------------------------------------------------------------------------ */

static void drop_calls(Member *member)
{
    for (gsize i = 0; i < N_CALLS; i++)
        member->calls[i] = sd_bus_slot_unref(member->calls[i]);
    member->pending = 0;
    member->coming = snapshot_free(member->coming);
}

/* @problem: is given up */
static void set_lost(Member *member, char *problem)
{
    const FleetEvents *events = member->fleet->events;

    drop_calls(member);
    member->host.snapshot = snapshot_free(member->host.snapshot);
    g_free(member->host.error);
    member->host.error = problem;
    if (events != NULL && events->lost != NULL)
        events->lost(&member->host, member->fleet->data);
}

/* Of the GSource: the connection is gone, and with it the source. */
static gboolean connection_lost(gpointer data)
{
    Member *member = data;

    member->host.over = true;
    set_lost(member, member->host.error != NULL ? g_strdup(member->host.error)
                                                : client_describe_error(member->host.name, NULL, -ECONNRESET));
    return G_SOURCE_REMOVE;
}

static void check_call(Member *member, int r)
{
    if (r < 0 && member->host.error == NULL)
        set_lost(member, client_describe_error(member->host.name, NULL, r));
}

/* Asking ------------------------------------------------------------------------------------------------------------- */

/* Returns: false if the reply is an error, which is the member's by then. */
static bool is_good(Member *member, sd_bus_message *reply)
{
    const sd_bus_error *error = sd_bus_message_get_error(reply);

    if (error != NULL && member->host.error == NULL)
        set_lost(member, client_describe_error(member->host.name, error, -sd_bus_message_get_errno(reply)));
    return error == NULL;
}

/* The last of the replies makes the snapshot. */
static void count_reply(Member *member)
{
    const FleetEvents *events = member->fleet->events;

    if (--member->pending > 0)
        return;
    member->host.snapshot = g_steal_pointer(&member->coming);
    g_clear_pointer(&member->host.error, g_free);
    if (events != NULL && events->answered != NULL)
        events->answered(&member->host, member->fleet->data);
}

/* A reply was read. @r: or why not, a negative errno */
static int take_reply(Member *member, int r)
{
    check_call(member, r);
    if (r >= 0)
        count_reply(member);
    return 0;
}

static int on_manager(sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    Member *member = data;

    return !is_good(member, reply)
               ? 0
               : take_reply(member, snapshot_read_properties(reply, snapshot_take, member->coming->manager));
}

static int on_host(sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    Member *member = data;

    return !is_good(member, reply)
               ? 0
               : take_reply(member, snapshot_read_properties(reply, snapshot_take, member->coming->host));
}

static int on_domains(sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    Member *member = data;

    return !is_good(member, reply) ? 0 : take_reply(member, snapshot_read_domains(reply, member->coming));
}

static void ask(Member *member)
{
    int r;

    drop_calls(member);
    /* What was wrong before may be over, and what is wrong from now on is to be told. */
    g_clear_pointer(&member->host.error, g_free);
    member->coming = snapshot_new();
    member->pending = N_CALLS;
    r = sd_bus_call_method_async(member->bus, &member->calls[0], VIRTNEST_BUS_NAME, VIRTNEST_BUS_PATH, PROPERTIES,
                                 "GetAll", on_manager, member, "s", MANAGER);
    if (r >= 0)
        r = sd_bus_call_method_async(member->bus, &member->calls[1], VIRTNEST_BUS_NAME, VIRTNEST_BUS_PATH, PROPERTIES,
                                     "GetAll", on_host, member, "s", HOST);
    if (r >= 0)
        r = sd_bus_call_method_async(member->bus, &member->calls[2], VIRTNEST_BUS_NAME, VIRTNEST_BUS_PATH,
                                     OBJECT_MANAGER, "GetManagedObjects", on_domains, member, NULL);
    check_call(member, r);
}

/* Following ---------------------------------------------------------------------------------------------------------- */

/* What a signal came before the snapshot for is in the snapshot: the bus keeps their order. */

typedef struct Changes {
    Member *member;
    Object *object;
    bool is_domain;
} Changes;

static void take_change(const char *property, GVariant *value, gpointer data)
{
    const Changes *changes = data;
    const FleetEvents *events = changes->member->fleet->events;
    g_autoptr(GVariant) before = object_set(changes->object, property, g_variant_ref(value));

    if (events->changed != NULL && changes->member->host.snapshot != NULL &&
        (before == NULL || !g_variant_equal(before, value)))
        events->changed(&changes->member->host, changes->is_domain ? changes->object : NULL, property, before, value,
                        changes->member->fleet->data);
}

static int on_changed(sd_bus_message *message, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    Member *member = data;
    Snapshot *snapshot = member->host.snapshot;
    const char *interface = NULL;

    if (snapshot == NULL || sd_bus_message_read_basic(message, 's', &interface) < 0)
        return 0;
    Changes changes = {.member = member, .is_domain = strcmp(interface, DOMAIN) == 0};
    changes.object = changes.is_domain                 ? snapshot_domain(snapshot, sd_bus_message_get_path(message))
                     : strcmp(interface, MANAGER) == 0 ? snapshot->manager
                     : strcmp(interface, HOST) == 0    ? snapshot->host
                                                       : NULL;
    if (changes.object != NULL)
        check_call(member, snapshot_read_properties(message, take_change, &changes));
    return 0;
}

static int on_added(sd_bus_message *message, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    Member *member = data;
    const FleetEvents *events = member->fleet->events;
    const char *path = NULL;
    bool found = false;

    if (member->host.snapshot == NULL || sd_bus_message_read_basic(message, 'o', &path) < 0 ||
        snapshot_domain(member->host.snapshot, path) != NULL)
        return 0;
    Object *object = object_new(path);
    int r = snapshot_read_interfaces(message, DOMAIN, &found, snapshot_take, object);
    if (r < 0 || !found) {
        object_free(object);
        check_call(member, r);
        return 0;
    }
    snapshot_add(member->host.snapshot, object);
    if (events->added != NULL)
        events->added(&member->host, object, member->fleet->data);
    return 0;
}

static int on_removed(sd_bus_message *message, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    Member *member = data;
    const FleetEvents *events = member->fleet->events;
    const char *path = NULL;

    if (member->host.snapshot == NULL || sd_bus_message_read_basic(message, 'o', &path) < 0)
        return 0;
    Object *object = snapshot_domain(member->host.snapshot, path);
    if (object == NULL)
        return 0;
    if (events->removed != NULL)
        events->removed(&member->host, object, member->fleet->data);
    if (member->host.snapshot != NULL)
        (void)g_ptr_array_remove(member->host.snapshot->domains, object);
    return 0;
}

static int on_owner(sd_bus_message *message, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    Member *member = data;
    const char *name = NULL, *before = NULL, *after = NULL;
    const sd_bus_error gone = SD_BUS_ERROR_MAKE_CONST(SD_BUS_ERROR_NAME_HAS_NO_OWNER, "");

    if (sd_bus_message_read(message, "sss", &name, &before, &after) < 0)
        return 0;
    if (*before != '\0')
        set_lost(member, client_describe_error(member->host.name, &gone, 0));
    if (*after != '\0')
        ask(member);
    return 0;
}

static int follow(Member *member)
{
    static const struct {
        const char *sender, *path, *interface, *member;
        sd_bus_message_handler_t handler;
    } signals[] = {
        {VIRTNEST_BUS_NAME, NULL, PROPERTIES, "PropertiesChanged", on_changed},
        {VIRTNEST_BUS_NAME, VIRTNEST_BUS_PATH, OBJECT_MANAGER, "InterfacesAdded", on_added},
        {VIRTNEST_BUS_NAME, VIRTNEST_BUS_PATH, OBJECT_MANAGER, "InterfacesRemoved", on_removed},
    };
    int r = sd_bus_add_match_async(member->bus, NULL,
                                   "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                                   "member='NameOwnerChanged',arg0='" VIRTNEST_BUS_NAME "'",
                                   on_owner, NULL, member);

    for (gsize i = 0; r >= 0 && i < G_N_ELEMENTS(signals); i++)
        r = sd_bus_match_signal_async(member->bus, NULL, signals[i].sender, signals[i].path, signals[i].interface,
                                      signals[i].member, signals[i].handler, NULL, member);
    return r;
}

/* All of them -------------------------------------------------------------------------------------------------------- */

static Member *member_new(Fleet *fleet, const char *name)
{
    g_autoptr(GError) error = NULL;
    Member *member = g_new0(Member, 1);

    member->fleet = fleet;
    member->host.name = name;
    member->bus = client_open_bus(name, &error);
    if (error != NULL) {
        member->host.over = true;
        set_lost(member, g_strdup(error->message));
        return member;
    }
    member->source = bus_attach(member->bus, connection_lost, NULL, member);
    if (fleet->events != NULL)
        check_call(member, follow(member));
    if (member->host.error == NULL)
        ask(member);
    return member;
}

static void member_destroy(gpointer data)
{
    Member *member = data;

    drop_calls(member);
    if (member->source != NULL) {
        g_source_destroy(member->source);
        g_source_unref(member->source);
    }
    /* Without waiting until what was sent is through: the other side may never take it. */
    sd_bus_close_unref(member->bus);
    snapshot_free(member->host.snapshot);
    g_free(member->host.error);
    g_free(member);
}

/**
 * Begins to ask each --host, or this one.
 * @events: who wants to know what happens from then on, while the default main context is run; NULL: nobody
 * Returns: to be freed with fleet_free().
 */
Fleet *fleet_new(const FleetEvents *events, gpointer data)
{
    Fleet *fleet = g_new0(Fleet, 1);

    fleet->events = events;
    fleet->data = data;
    fleet->members = g_ptr_array_new_with_free_func(member_destroy);
    for (guint i = 0; i < verbs_hosts->len; i++)
        g_ptr_array_add(fleet->members, member_new(fleet, verbs_hosts->pdata[i]));
    if (verbs_hosts->len == 0)
        g_ptr_array_add(fleet->members, member_new(fleet, NULL));
    return fleet;
}

Fleet *fleet_free(Fleet *fleet)
{
    if (fleet == NULL)
        return NULL;
    g_ptr_array_unref(fleet->members);
    g_free(fleet);
    return NULL;
}

/** Returns: FleetHosts in the order of --host. */
const GPtrArray *fleet_hosts(const Fleet *fleet)
{
    return fleet->members;
}

static gboolean expire(gpointer data)
{
    *(bool *)data = true;
    return G_SOURCE_REMOVE;
}

static bool is_waiting(const Fleet *fleet)
{
    for (guint i = 0; i < fleet->members->len; i++) {
        const FleetHost *host = fleet->members->pdata[i];
        if (host->snapshot == NULL && host->error == NULL)
            return true;
    }
    return false;
}

/** Waits until each host has answered, or has failed to. */
void fleet_wait(Fleet *fleet)
{
    bool expired = false;
    guint timer = fleet->members->len > 1 ? g_timeout_add_seconds(ANSWER_LIMIT_S, expire, &expired) : 0;

    while (is_waiting(fleet) && !expired)
        (void)g_main_context_iteration(NULL, TRUE);
    if (timer != 0 && !expired)
        g_source_remove(timer);
    for (guint i = 0; i < fleet->members->len; i++) {
        Member *member = fleet->members->pdata[i];
        if (member->host.snapshot == NULL && member->host.error == NULL)
            set_lost(member, g_strdup_printf("it has not answered for %d s", ANSWER_LIMIT_S));
    }
}

/** Says which hosts failed, and of what. Returns: false if any did. */
bool fleet_print_errors(const Fleet *fleet)
{
    bool good = true;

    for (guint i = 0; i < fleet->members->len; i++) {
        const FleetHost *host = fleet->members->pdata[i];
        if (host->error == NULL)
            continue;
        good = false;
        if (host->name != NULL)
            (void)verb_fail("%s: %s", host->name, host->error);
        else
            (void)verb_fail("%s", host->error);
    }
    return good;
}

/** Says which of the hosts that have answered do not know of all their domains, and why. Returns: false if any does not. */
bool fleet_print_incomplete(const Fleet *fleet)
{
    bool good = true;

    for (guint i = 0; i < fleet->members->len; i++) {
        const FleetHost *host = fleet->members->pdata[i];
        g_autofree char *problem = host->snapshot != NULL ? snapshot_incomplete(host->snapshot) : NULL;
        if (problem == NULL)
            continue;
        good = false;
        (void)verb_fail("%s%s%s", host->name != NULL ? host->name : "", host->name != NULL ? ": " : "", problem);
    }
    return good;
}

/** For what is about one host: waits for it. Returns: its snapshot, which the fleet keeps; NULL after saying why not. */
Snapshot *fleet_one(Fleet *fleet)
{
    fleet_wait(fleet);
    return fleet_print_errors(fleet) ? ((FleetHost *)fleet->members->pdata[0])->snapshot : NULL;
}
