/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libvirt is reached through one connection, which may be away at any time and for long. Every call that can block runs
 * on a worker of a small pool: libvirtd serves five requests of a client at a time (max_client_requests), so at most
 * four are in flight. Opening and closing block as well, without any limit of time, and have a thread of their own.
 *
 * libvirt calls back from its event loop, which is GLib's default main context through libvirt-glib, but the close
 * callback may come from whichever thread reads the socket. Both do nothing but hand over to the main thread.
 */

#include "daemon/link.h"

#include "lib/runtime.h"

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <string.h>

#define WORKERS_MAX 4
/* A libvirtd that is stopped or hung is noticed after (count + 1) intervals, and all calls under way fail then. */
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_COUNT 3
#define BACKOFF_MIN_S 1
#define BACKOFF_MAX_S 30
/* A connection that held for so long was a good one: the next attempt comes at once. */
#define STABLE_AFTER_S 60

/* A connection with what is registered on it. Each registration holds it open, whatever virConnectClose() says. */
typedef struct LinkConnection {
    virConnect *connection;
    int event_ids[2]; /* -1: not registered */
    int migration_id; /* of QEMU's own event; the same */
    bool watched;     /* has a close callback */
} LinkConnection;

struct Link {
    char *uri;
    LinkHandlers handlers;
    gpointer data;

    Workers *workers;

    LinkConnection *connection; /* NULL while disconnected */
    char *error;
    char *version;
    unsigned long version_number, hypervisor_version_number;
    gint64 connected_at;
    unsigned backoff;
    guint retry_timer;
    bool opening;
    unsigned disposals; /* connections on their way out */
    bool stopping;
    bool stopped;
};

/* An attempt to open the connection: belongs to its thread, then to the main thread. */
typedef struct LinkAttempt {
    Link *link;
    GThread *thread;
    LinkConnection *connection;
    char *version;
    unsigned long version_number, hypervisor_version_number;
    GError *error;
} LinkAttempt;

/* A connection on its way out: belongs to its thread, then to the main thread. */
typedef struct LinkDisposal {
    Link *link;
    GThread *thread;
    LinkConnection *connection;
} LinkDisposal;

/* A connection that was closed. The pointer is compared with the present one and never followed. */
typedef struct LinkLoss {
    Link *link;
    const virConnect *connection;
} LinkLoss;

/* Not g_main_context_invoke(): before the loop runs that would call here and now, on this thread. */
static void main_thread_call(GSourceFunc function, gpointer data)
{
    g_autoptr(GSource) source = g_idle_source_new();

    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, function, data, NULL);
    g_source_attach(source, NULL);
}

static void stop_if_idle(Link *link);

/** Runs a call on one of the connection's workers, as workers_run() does. */
WorkerJob *link_run(Link *link, WorkerWork work, WorkerDone done, gpointer data)
{
    return workers_run(link->workers, work, done, data);
}

/** @ret_hung: how many of them have taken as long as none should */
void link_count_calls(const Link *link, unsigned *ret_calls, unsigned *ret_hung)
{
    *ret_calls = workers_count_jobs(link->workers);
    *ret_hung = workers_count_slow(link->workers, LINK_SLOW_S);
}

/* Connection ------------------------------------------------------------------------------------------------------ */

static void attempt_start(Link *link);
static void on_close(virConnect *connection, int reason, void *link);

static gboolean on_retry(gpointer data)
{
    Link *link = data;

    link->retry_timer = 0;
    attempt_start(link);
    return G_SOURCE_REMOVE;
}

static void retry_later(Link *link)
{
    if (link->stopping)
        return;
    link->backoff = CLAMP(link->backoff * 2, BACKOFF_MIN_S, BACKOFF_MAX_S);
    link->retry_timer = g_timeout_add_seconds(link->backoff, on_retry, link);
}

/* Blocks. */
static void connection_close(LinkConnection *self)
{
    for (gsize i = 0; i < G_N_ELEMENTS(self->event_ids); i++)
        if (self->event_ids[i] >= 0)
            (void)virConnectDomainEventDeregisterAny(self->connection, self->event_ids[i]);
    if (self->migration_id >= 0)
        (void)virConnectDomainQemuMonitorEventDeregister(self->connection, self->migration_id);
    if (self->watched)
        (void)virConnectUnregisterCloseCallback(self->connection, on_close);
    (void)virConnectClose(self->connection);
    g_free(self);
}

static gboolean disposal_finish(gpointer data)
{
    g_autofree LinkDisposal *disposal = data;
    Link *link = disposal->link;

    (void)g_thread_join(disposal->thread);
    link->disposals--;
    stop_if_idle(link);
    return G_SOURCE_REMOVE;
}

static gpointer disposal_thread(gpointer data)
{
    LinkDisposal *disposal = data;

    connection_close(disposal->connection);
    main_thread_call(disposal_finish, disposal);
    return NULL;
}

static void connection_dispose(Link *link, LinkConnection *connection)
{
    LinkDisposal *disposal = g_new0(LinkDisposal, 1);

    disposal->link = link;
    disposal->connection = connection;
    link->disposals++;
    disposal->thread = g_thread_new("libvirt-close", disposal_thread, disposal);
}

static gboolean on_connection_lost(gpointer data)
{
    g_autofree LinkLoss *loss = data;
    Link *link = loss->link;

    if (link->connection == NULL || loss->connection != link->connection->connection)
        return G_SOURCE_REMOVE;

    LinkConnection *old = g_steal_pointer(&link->connection);
    if (link->error == NULL)
        link->error = g_strdup("libvirt closed the connection");
    link->handlers.disconnected(link->data);
    connection_dispose(link, old);
    if (link->stopping)
        return G_SOURCE_REMOVE;
    if (g_get_monotonic_time() - link->connected_at > STABLE_AFTER_S * G_USEC_PER_SEC) {
        link->backoff = 0;
        attempt_start(link);
    } else {
        retry_later(link);
    }
    return G_SOURCE_REMOVE;
}

static void report_loss(Link *link, const virConnect *connection)
{
    LinkLoss *loss = g_new(LinkLoss, 1);

    *loss = (LinkLoss){link, connection};
    main_thread_call(on_connection_lost, loss);
}

static void on_close(virConnect *connection, int reason G_GNUC_UNUSED, void *link)
{
    report_loss(link, connection);
}

static LinkEvent classify(int event, int detail)
{
    if (event == VIR_DOMAIN_EVENT_DEFINED && detail == VIR_DOMAIN_EVENT_DEFINED_ADDED)
        return LINK_EVENT_ADDED;
    if (event == VIR_DOMAIN_EVENT_STOPPED && detail == VIR_DOMAIN_EVENT_STOPPED_SAVED)
        return LINK_EVENT_SAVED;
    if (event == VIR_DOMAIN_EVENT_STOPPED && detail == VIR_DOMAIN_EVENT_STOPPED_MIGRATED)
        return LINK_EVENT_MIGRATED;
    return LINK_EVENT_OTHER;
}

static int on_lifecycle(virConnect *connection, virDomain *domain, int event, int detail, void *opaque)
{
    Link *link = opaque;

    /* Events of before the connection was announced are covered by the listing that follows. */
    if (link->connection != NULL && connection == link->connection->connection)
        link->handlers.domain_event(domain, classify(event, detail), link->data);
    return 0;
}

/* Of the runtime element nobody needs to know: virtnest itself writes it. */
static void on_metadata_change(virConnect *connection, virDomain *domain, int type G_GNUC_UNUSED,
                               const char *namespace_uri, void *opaque)
{
    if (g_strcmp0(namespace_uri, VIRTNEST_RUNTIME_NAMESPACE) == 0)
        return;
    (void)on_lifecycle(connection, domain, -1, 0, opaque);
}

/* The first event of a save or a migration: details are QMP's, {"status":"setup"}. */
static void on_migration(virConnect *connection, virDomain *domain, const char *event G_GNUC_UNUSED,
                         long long seconds G_GNUC_UNUSED, unsigned micros G_GNUC_UNUSED, const char *details,
                         void *opaque)
{
    Link *link = opaque;

    if (link->connection != NULL && connection == link->connection->connection && details != NULL &&
        strstr(details, "\"setup\"") != NULL)
        link->handlers.migration(domain, link->data);
}

static bool connection_register(LinkConnection *self, Link *link, GError **error)
{
    const struct {
        int id;
        virConnectDomainEventGenericCallback callback;
    } events[] = {
        {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle)},
        {VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata_change)},
    };

    if (virConnectRegisterCloseCallback(self->connection, on_close, link, NULL) < 0) {
        libvirt_set_error(error, "cannot watch the connection");
        return false;
    }
    self->watched = true;
    for (gsize i = 0; link->handlers.domain_event != NULL && i < G_N_ELEMENTS(events); i++) {
        self->event_ids[i] =
            virConnectDomainEventRegisterAny(self->connection, NULL, events[i].id, events[i].callback, link, NULL);
        if (self->event_ids[i] < 0) {
            libvirt_set_error(error, "cannot register for domain events");
            return false;
        }
    }
    /* Drivers other than QEMU's have none. To register for it does not taint a guest. */
    if (link->handlers.migration != NULL)
        self->migration_id =
            virConnectDomainQemuMonitorEventRegister(self->connection, NULL, "MIGRATION", on_migration, link, NULL, 0);
    return true;
}

static gboolean attempt_finish(gpointer data)
{
    LinkAttempt *attempt = data;
    Link *link = attempt->link;

    (void)g_thread_join(attempt->thread);
    link->opening = false;
    g_clear_pointer(&link->error, g_free);
    if (attempt->connection != NULL) {
        link->connection = g_steal_pointer(&attempt->connection);
        link->connected_at = g_get_monotonic_time();
        g_free(link->version);
        link->version = g_steal_pointer(&attempt->version);
        link->version_number = attempt->version_number;
        link->hypervisor_version_number = attempt->hypervisor_version_number;
        if (!link->stopping)
            link->handlers.connected(link->data);
    } else {
        link->error = g_strdup(attempt->error->message);
        if (!link->stopping)
            link->handlers.disconnected(link->data);
        retry_later(link);
    }
    g_clear_error(&attempt->error);
    g_free(attempt->version);
    g_free(attempt);
    if (link->stopping)
        stop_if_idle(link);
    else if (link->connection != NULL && virConnectIsAlive(link->connection->connection) == 0)
        /* It died before its close callback counted. */
        report_loss(link, link->connection->connection);
    return G_SOURCE_REMOVE;
}

/* As libvirt counts them. */
static char *format_version(unsigned long version)
{
    return g_strdup_printf("%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000);
}

static gpointer attempt_thread(gpointer data)
{
    LinkAttempt *attempt = data;
    virConnect *opened = virConnectOpen(attempt->link->uri);

    if (opened == NULL) {
        libvirt_set_error(&attempt->error, "cannot connect to libvirt");
    } else {
        LinkConnection *connection = g_new0(LinkConnection, 1);
        *connection = (LinkConnection){.connection = opened, .event_ids = {-1, -1}, .migration_id = -1};
        /* Drivers without a remote end have no keepalive, and no need for it. */
        (void)virConnectSetKeepAlive(opened, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT);
        if (!connection_register(connection, attempt->link, &attempt->error)) {
            connection_close(connection);
        } else {
            attempt->connection = connection;
            unsigned long version = 0;
            if (virConnectGetVersion(opened, &version) == 0)
                attempt->hypervisor_version_number = version;
            if (virConnectGetLibVersion(opened, &version) == 0) {
                attempt->version_number = version;
                attempt->version = format_version(version);
            }
        }
    }
    main_thread_call(attempt_finish, attempt);
    return NULL;
}

static void attempt_start(Link *link)
{
    LinkAttempt *attempt = g_new0(LinkAttempt, 1);

    link->opening = true;
    attempt->link = link;
    attempt->thread = g_thread_new("libvirt-open", attempt_thread, attempt);
}

/* Life ------------------------------------------------------------------------------------------------------------ */

static void on_idle(gpointer data)
{
    stop_if_idle(data);
}

/** @uri: of libvirt's driver. Nothing happens before link_start(). To be freed with link_free(). */
Link *link_new(const char *uri, const LinkHandlers *handlers, gpointer data)
{
    Link *link = g_new0(Link, 1);

    link->uri = g_strdup(uri);
    link->handlers = *handlers;
    link->data = data;
    link->workers = workers_new("libvirt-jobs", WORKERS_MAX, on_idle, link);
    return link;
}

/** Opens the connection, and again whenever it is lost. The event implementation must be registered by now. */
void link_start(Link *link)
{
    attempt_start(link);
}

/* With no call under way the connection is closed, and with that done the link has stopped. */
static void stop_if_idle(Link *link)
{
    if (!link->stopping || link->stopped || workers_count_jobs(link->workers) > 0 || link->opening ||
        link->disposals > 0)
        return;
    if (link->connection != NULL) {
        connection_dispose(link, g_steal_pointer(&link->connection));
        return;
    }
    link->stopped = true;
    link->handlers.stopped(link->data);
}

/**
 * Closes the connection once the jobs under way are done, and then calls handlers.stopped. With a hung libvirt that may
 * be never: the caller sets a limit, and leaves the rest to the end of the process.
 */
void link_stop(Link *link)
{
    link->stopping = true;
    g_clear_handle_id(&link->retry_timer, g_source_remove);
    stop_if_idle(link);
}

/** To be called after handlers.stopped, or never. */
Link *link_free(Link *link)
{
    if (link == NULL)
        return NULL;
    g_clear_handle_id(&link->retry_timer, g_source_remove);
    workers_free(link->workers);
    g_free(link->uri);
    g_free(link->error);
    g_free(link->version);
    g_free(link);
    return NULL;
}

/** Returns: the connection, owned by @link, or NULL while there is none. */
virConnect *link_connection(const Link *link)
{
    return link->connection != NULL ? link->connection->connection : NULL;
}

const char *link_uri(const Link *link)
{
    return link->uri;
}

/** Returns: why there is no connection, "" if there is one. */
const char *link_error(const Link *link)
{
    return link->error != NULL ? link->error : "";
}

/** Returns: the version of libvirt at the other end, "" if none was seen. */
const char *link_libvirt_version(const Link *link)
{
    return link->version != NULL ? link->version : "";
}

/** Returns: the same as virConnectGetLibVersion() gives it, 0 if none was seen. */
unsigned long link_libvirt_version_number(const Link *link)
{
    return link->version_number;
}

/** Returns: the version of the hypervisor as virConnectGetVersion() gives it, 0 if it does not tell. */
unsigned long link_hypervisor_version_number(const Link *link)
{
    return link->hypervisor_version_number;
}

/** Returns: the same in words, to be freed with g_free(); "" if it does not tell. */
char *link_hypervisor_version(const Link *link)
{
    return link->hypervisor_version_number != 0 ? format_version(link->hypervisor_version_number) : g_strdup("");
}
