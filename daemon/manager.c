/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The whole daemon: it owns the configuration, the connections and the domains, and tells them of each other. */

#include "daemon/manager.h"

#include "daemon/bus-domain.h"
#include "daemon/bus-host.h"
#include "daemon/bus-log.h"
#include "daemon/bus-manager.h"
#include "daemon/bus.h"
#include "daemon/exporter.h"
#include "daemon/log.h"
#include "daemon/readiness.h"
#include "daemon/watch.h"
#include "lib/conf-files.h"
#include <systemd/sd-daemon.h>

/* Attaching a device to a definition sends no event: what events do not tell is found by looking (FACTS of libvirt). */
#define RESYNC_S (5 * 60)
/*
 * Nobody tells either when a kvm module comes, or comes back with nested on: /sys/module has no events, and the unit sees
 * neither udev's netlink nor /dev. So its files are read, more often while that is what a domain waits for.
 */
#define HOST_LOOK_S 30
#define HOST_LOOK_WAITING_S 5
#define RELIST_S 5
#define STOP_LIMIT_MS 3000

struct Manager {
    GMainLoop *loop;
    Configuration *configuration;
    Readiness *readiness;
    Link *link;
    sd_bus *bus;
    GSource *bus_source;
    Authority *authority;
    Intake *intake;
    char *announced_error; /* why there is no connection; NULL while there is one */
    Watch *watch;
    GStrv watched; /* the folders of it */

    Detector *detector;
    Guards *guards;
    Reconciler *reconciler;
    Exporter *exporter;
    guint listing;    /* number of the latest listing begun */
    guint listed;     /* number of the latest listing completed on this connection; 0: none was */
    Waiters *syncing; /* for a listing that began after they asked, and what follows from it */
    guint sync_listing;
    bool synced;
    bool failed;
    bool stopping, link_stopped;
    guint resync_timer, relist_timer, host_timer, stop_timer;
    bool host_is_awaited; /* so the host's timer is the faster one */
};

/* Published state ------------------------------------------------------------------------------------------------- */

static void manager_changed(Manager *self, const char *property)
{
    bus_manager_changed(self->bus, (const char *const[]){property, NULL});
}

static void notify_status(Manager *self)
{
    if (link_connection(self->link) == NULL)
        (void)sd_notifyf(0, "STATUS=Waiting for libvirt at %s: %s", link_uri(self->link), link_error(self->link));
    else
        (void)sd_notifyf(0, "STATUS=%s, %u domains, %u tagged", self->synced ? "In sync with libvirt" : "Synchronizing",
                         reconciler_count(self->reconciler, NULL),
                         reconciler_count(self->reconciler, domain_is_tagged));
}

static void manager_check_synced(Manager *self)
{
    if (!reconciler_is_idle(self->reconciler) || self->listed == 0)
        return;
    if (self->listed >= self->sync_listing)
        self->syncing = waiters_tell(g_steal_pointer(&self->syncing), NULL);
    if (!self->synced) {
        self->synced = true;
        manager_changed(self, "Synced");
    }
    notify_status(self);
}

/* Listing --------------------------------------------------------------------------------------------------------- */

typedef struct ListJob {
    Manager *manager;
    guint listing;
    virConnect *connection;
    virDomain **domains;
    int n;
    GError *error;
} ListJob;

static void manager_list(Manager *self);
static void manager_watch(Manager *self);

static void list_job_work(gpointer data)
{
    ListJob *job = data;

    job->n = virConnectListAllDomains(job->connection, &job->domains, 0);
    if (job->n < 0)
        libvirt_set_error(&job->error, "cannot list the domains");
}

static void list_job_free(ListJob *job)
{
    for (int i = 0; i < job->n; i++)
        (void)virDomainFree(job->domains[i]);
    free(job->domains);
    (void)virConnectClose(job->connection);
    g_clear_error(&job->error);
    g_free(job);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ListJob, list_job_free)

static gboolean on_relist_timer(gpointer data)
{
    Manager *self = data;

    self->relist_timer = 0;
    manager_list(self);
    return G_SOURCE_REMOVE;
}

static void list_job_done(gpointer data)
{
    g_autoptr(ListJob) job = data;
    Manager *self = job->manager;

    if (job->connection != link_connection(self->link) || self->stopping)
        return;
    if (job->error != NULL) {
        log_write(G_LOG_LEVEL_WARNING, (LogSubject){0}, "%s; trying again in %d s", job->error->message, RELIST_S);
        if (self->relist_timer == 0)
            self->relist_timer = g_timeout_add_seconds(RELIST_S, on_relist_timer, self);
        return;
    }
    reconciler_take_list(self->reconciler, job->domains, job->n, job->listing);
    self->listed = MAX(self->listed, job->listing);
    manager_check_synced(self);
}

static void manager_list(Manager *self)
{
    ListJob *job = g_new0(ListJob, 1);

    job->manager = self;
    job->listing = ++self->listing;
    job->connection = link_connection(self->link);
    (void)virConnectRef(job->connection);
    (void)link_run(self->link, list_job_work, list_job_done, job);
}

static gboolean on_resync(gpointer data)
{
    Manager *self = data;

    if (link_connection(self->link) != NULL)
        manager_list(self);
    return G_SOURCE_CONTINUE;
}

/* The host ---------------------------------------------------------------------------------------------------------- */

static gboolean on_host_timer(gpointer data)
{
    Manager *self = data;

    readiness_refresh(self->readiness);
    if (configuration_refresh_host(self->configuration))
        reconciler_mark_all_dirty(self->reconciler);
    return G_SOURCE_CONTINUE;
}

static void manager_watch_host(Manager *self)
{
    bool awaited = reconciler_count(self->reconciler, domain_awaits_host) > 0;

    if (self->host_timer != 0 && awaited == self->host_is_awaited)
        return;
    self->host_is_awaited = awaited;
    g_clear_handle_id(&self->host_timer, g_source_remove);
    self->host_timer = g_timeout_add_seconds(awaited ? HOST_LOOK_WAITING_S : HOST_LOOK_S, on_host_timer, self);
}

/* Connection ------------------------------------------------------------------------------------------------------ */

/* Whether guests can be moved hangs on the platform too. */
static void publish_safety(Manager *self)
{
    g_autoptr(GList) domains = reconciler_domains(self->reconciler);

    for (GList *l = domains; l != NULL; l = l->next)
        bus_domain_changed(self->bus, l->data, (const char *const[]){"MigrationSafe", "Blockers", NULL});
}

static void on_connected(gpointer data)
{
    Manager *self = data;

    log_write(G_LOG_LEVEL_MESSAGE, (LogSubject){.message_id = MESSAGE_LIBVIRT_BACK}, "connected to libvirt %s at %s",
              link_libvirt_version(self->link), link_uri(self->link));
    g_clear_pointer(&self->announced_error, g_free);
    bus_manager_changed(
        self->bus, (const char *const[]){"Connected", "ConnectionError", "LibvirtVersion", "HypervisorVersion", NULL});
    notify_status(self);
    PlatformVerdict before = self->configuration->platform.verdict;
    configuration_set_libvirt_version(self->configuration, link_libvirt_version_number(self->link),
                                      link_hypervisor_version_number(self->link));
    bus_host_changed(self->bus, (const char *const[]){"Platform", "PlatformReason", "PlatformSource", NULL});
    if (self->configuration->platform.verdict != before)
        publish_safety(self);
    manager_list(self);
    readiness_ask_libvirt(self->readiness, self->link);
}

static void on_disconnected(gpointer data)
{
    Manager *self = data;
    bool was_synced = self->synced, was_lost = self->announced_error != NULL;

    /* Not at each attempt. */
    if (g_strcmp0(self->announced_error, link_error(self->link)) == 0)
        return;
    g_free(self->announced_error);
    self->announced_error = g_strdup(link_error(self->link));
    if (was_lost) {
        log_write(G_LOG_LEVEL_DEBUG, (LogSubject){0}, "still no connection to libvirt: %s", link_error(self->link));
        bus_manager_changed(self->bus, (const char *const[]){"ConnectionError", NULL});
        notify_status(self);
        return;
    }
    log_write(G_LOG_LEVEL_WARNING, (LogSubject){.message_id = MESSAGE_LIBVIRT_LOST},
              "no connection to libvirt at %s, trying again: %s", link_uri(self->link), link_error(self->link));
    self->listed = 0;
    self->syncing = waiters_tell(g_steal_pointer(&self->syncing), WAITERS_NO_CONNECTION);
    self->synced = false;
    g_clear_handle_id(&self->relist_timer, g_source_remove);
    reconciler_drop_handles(self->reconciler);
    bus_manager_changed(self->bus, (const char *const[]){"Connected", "ConnectionError", NULL});
    if (was_synced)
        manager_changed(self, "Synced");
    notify_status(self);
}

static void on_domain_event(virDomain *handle, LinkEvent event, gpointer data)
{
    Manager *self = data;
    Domain *domain = reconciler_find(self->reconciler, handle);

    log_write(G_LOG_LEVEL_DEBUG, (LogSubject){.domain = virDomainGetName(handle)},
              "libvirt has an event of domain '%s'", virDomainGetName(handle));
    if (domain != NULL && (event == LINK_EVENT_SAVED || event == LINK_EVENT_MIGRATED))
        guards_note_move(self->guards, domain, event == LINK_EVENT_SAVED ? "saved" : "migrated");

    reconciler_domain_event(self->reconciler, handle, event == LINK_EVENT_ADDED, self->listing);
}

static void on_idle(gpointer data)
{
    Manager *self = data;

    manager_check_synced(self);
    if (!self->stopping)
        manager_watch_host(self);
}

static void on_kill_switch(gpointer data)
{
    Manager *self = data;

    self->configuration->writes_disabled = true;
    manager_changed(self, "WritesDisabled");
}

static void manager_check_stopped(Manager *self)
{
    if (!self->link_stopped || !detector_is_stopped(self->detector) || !guards_are_stopped(self->guards) ||
        !exporter_is_stopped(self->exporter))
        return;
    g_clear_handle_id(&self->stop_timer, g_source_remove);
    g_main_loop_quit(self->loop);
}

static void on_link_stopped(gpointer data)
{
    Manager *self = data;

    self->link_stopped = true;
    manager_check_stopped(self);
}

static void on_part_stopped(gpointer data)
{
    manager_check_stopped(data);
}

static void on_domain_changed(Domain *domain, const char *const *properties, gpointer data)
{
    const Manager *self = data;

    if (domain->published)
        bus_domain_changed(self->bus, domain, properties);
}

static void on_l2_changed(Domain *domain, const char *const *properties, gpointer data)
{
    const Manager *self = data;

    /* First what hangs on it: on the bus it can wait. */
    guards_update(self->guards, domain);
    on_domain_changed(domain, properties, data);
}

/* What began may be what a guard is to prevent: is one wanted by now? */
static void on_migration(virDomain *handle, gpointer data)
{
    Manager *self = data;
    Domain *domain = reconciler_find(self->reconciler, handle);

    if (domain == NULL)
        return;
    detector_look_now(self->detector, domain);
    guards_job_began(self->guards, domain);
}

static void on_readiness_changed(const char *const *properties, gpointer data)
{
    const Manager *self = data;

    bus_host_changed(self->bus, properties);
    /* What libvirt can give guests is another thing then. */
    if ((g_strv_contains(properties, "ModuleLoaded") || g_strv_contains(properties, "Nested")) &&
        link_connection(self->link) != NULL && !self->stopping)
        readiness_ask_libvirt(self->readiness, self->link);
}

static void on_metrics_changed(gpointer data)
{
    manager_changed(data, "MetricsError");
}

static bool is_synced(gpointer data)
{
    return manager_synced(data);
}

static gboolean on_bus_lost(gpointer data)
{
    Manager *self = data;

    log_write(G_LOG_LEVEL_CRITICAL, (LogSubject){0}, "the connection to the bus is lost; ending, to be started again");
    self->failed = true;
    manager_stop(self);
    return G_SOURCE_REMOVE;
}

static gint64 next_look(gpointer data)
{
    return detector_next_look(((const Manager *)data)->detector);
}

/* Life ------------------------------------------------------------------------------------------------------------ */

static gboolean on_configuration_change(gpointer data)
{
    (void)manager_reload(data);
    return G_SOURCE_REMOVE;
}

/** Reads the configuration and connects to the bus; libvirt's event implementation must be registered by now. */
Manager *manager_new(const ManagerOptions *options, GError **error)
{
    static const LinkHandlers handlers = {
        .connected = on_connected,
        .disconnected = on_disconnected,
        .domain_event = on_domain_event,
        .migration = on_migration,
        .stopped = on_link_stopped,
    };
    g_autoptr(sd_bus) bus = bus_open(options->bus_address, error);

    if (bus == NULL)
        return NULL;
    Authority *authority = authority_new(bus);
    Intake *intake = intake_new(bus, authority, error);
    if (intake == NULL) {
        authority_free(authority);
        return NULL;
    }
    Manager *self = g_new0(Manager, 1);
    self->loop = g_main_loop_ref(options->loop);
    self->bus = g_steal_pointer(&bus);
    self->authority = authority;
    self->intake = intake;
    self->configuration = configuration_new(options->root);
    /* First, so that what changes while the files are read is seen. */
    manager_watch(self);
    (void)configuration_load(self->configuration);
    self->readiness = readiness_new(options->root, on_readiness_changed, self);
    self->link = link_new(options->uri, &handlers, self);
    self->detector = detector_new(&(DetectorServices){
        .configuration = self->configuration,
        .uri = options->uri,
        .calls = &qemu_process_calls,
        .changed = on_l2_changed,
        .stopped = on_part_stopped,
        .data = self,
    });
    self->guards = guards_new(&(GuardsServices){
        .configuration = self->configuration,
        .uri = options->uri,
        .changed = on_domain_changed,
        .stopped = on_part_stopped,
        .data = self,
    });
    self->reconciler = reconciler_new(&(ReconcilerServices){
        .bus = self->bus,
        .link = self->link,
        .configuration = self->configuration,
        .detector = self->detector,
        .guards = self->guards,
        .authority = self->authority,
        .idle = on_idle,
        .kill_switch = on_kill_switch,
        .data = self,
    });
    self->exporter = exporter_new(&(ExporterServices){
        .bus = self->bus,
        .configuration = self->configuration,
        .link = self->link,
        .readiness = self->readiness,
        .detector = self->detector,
        .guards = self->guards,
        .reconciler = self->reconciler,
        .authority = self->authority,
        .intake = self->intake,
        .synced = is_synced,
        .changed = on_metrics_changed,
        .stopped = on_part_stopped,
        .data = self,
    });
    return self;
}

static bool concerns_configuration(const char *path, gpointer data)
{
    const Manager *self = data;

    return conf_files_concern(self->configuration->root, path);
}

/* Folders of drop-ins come and go: after each change the watch is set up for those that are there. */
static void manager_watch(Manager *self)
{
    g_auto(GStrv) folders = conf_files_watched(self->configuration->root);

    if (self->watched != NULL && g_strv_equal((const char *const *)folders, (const char *const *)self->watched))
        return;
    watch_free(self->watch);
    self->watch = watch_new((const char *const *)folders, concerns_configuration, on_configuration_change, self);
    g_strfreev(self->watched);
    self->watched = g_steal_pointer(&folders);
}

/** Publishes everything, takes the bus name, and begins to connect to libvirt, which may take as long as it likes. */
bool manager_start(Manager *self, GError **error)
{
    if (!bus_manager_register(self->bus, self, error) || !bus_host_register(self->bus, self, error) ||
        !bus_domain_register(self->bus, self->reconciler, error) || !bus_log_register(self->bus, error) ||
        !bus_own_name(self->bus, error))
        return false;
    self->bus_source = bus_attach(self->bus, on_bus_lost, next_look, self);
    manager_watch(self);
    self->resync_timer = g_timeout_add_seconds(RESYNC_S, on_resync, self);
    manager_watch_host(self);
    notify_status(self);
    exporter_reload(self->exporter);
    link_start(self->link);
    return true;
}

/**
 * Reads the configuration again, and looks at those domains of which it now says something else.
 * Returns: whether it is valid and in force; see manager_configuration_errors().
 */
bool manager_reload(Manager *self)
{
    const ConfigurationChanges held =
        CONFIGURATION_MODE_CHANGED | CONFIGURATION_KILL_SWITCH_CHANGED | CONFIGURATION_LIMIT_CHANGED;

    if (self->stopping)
        return false;
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" G_GINT64_FORMAT, g_get_monotonic_time());
    /* First, so that what changes while the files are read is seen again. */
    manager_watch(self);
    guint64 generation = self->configuration->generation;
    ConfigurationChanges changes = configuration_load(self->configuration);
    if ((changes & CONFIGURATION_ERRORS_CHANGED) != 0)
        bus_manager_changed(self->bus, (const char *const[]){"ConfigurationErrors", "PolicyErrors", NULL});
    if (self->configuration->generation != generation)
        manager_changed(self, "PolicyGeneration");
    if ((changes & CONFIGURATION_MODE_CHANGED) != 0)
        manager_changed(self, "Mode");
    if ((changes & CONFIGURATION_KILL_SWITCH_CHANGED) != 0)
        manager_changed(self, "WritesDisabled");
    detector_reload(self->detector);
    exporter_reload(self->exporter);
    readiness_look(self->readiness);
    if ((changes & CONFIGURATION_HOST_CHANGED) != 0)
        reconciler_mark_all_dirty(self->reconciler);
    else
        reconciler_mark_changed_dirty(self->reconciler, (changes & held) != 0);
    if ((changes & (CONFIGURATION_MODE_CHANGED | CONFIGURATION_SCOPE_CHANGED)) != 0)
        guards_update_all(self->guards);
    (void)sd_notify(0, "READY=1");
    notify_status(self);
    return self->configuration->errors->len == 0;
}

/**
 * Asks libvirt for all domains, and looks at each.
 * @over: called when that is done, and what follows from it
 */
void manager_sync(Manager *self, WaiterTold over, gpointer data)
{
    if (self->stopping || link_connection(self->link) == NULL) {
        over(self->stopping ? WAITERS_ENDS : WAITERS_NO_CONNECTION, data);
        return;
    }
    self->syncing = waiters_add(self->syncing, over, data);
    /* Who asks may have loaded the module again a moment ago. */
    (void)configuration_look_at_host(self->configuration);
    readiness_look(self->readiness);
    manager_list(self);
    self->sync_listing = self->listing;
}

static gboolean on_stop_limit(gpointer data)
{
    Manager *self = data;

    self->stop_timer = 0;
    log_write(G_LOG_LEVEL_WARNING, (LogSubject){0}, "libvirt does not answer; ending without waiting for it");
    g_main_loop_quit(self->loop);
    return G_SOURCE_REMOVE;
}

/** Lets calls under way come to their end, for a moment, and then ends the main loop. */
void manager_stop(Manager *self)
{
    if (self->stopping)
        return;
    self->stopping = true;
    (void)sd_notify(0, "STOPPING=1\nSTATUS=Stopping");
    self->syncing = waiters_tell(g_steal_pointer(&self->syncing), WAITERS_ENDS);
    reconciler_stop(self->reconciler);
    readiness_stop(self->readiness);
    g_clear_handle_id(&self->resync_timer, g_source_remove);
    g_clear_handle_id(&self->relist_timer, g_source_remove);
    g_clear_handle_id(&self->host_timer, g_source_remove);
    self->stop_timer = g_timeout_add(STOP_LIMIT_MS, on_stop_limit, self);
    detector_stop(self->detector);
    guards_stop(self->guards);
    exporter_stop(self->exporter);
    link_stop(self->link);
}

/** Returns: whether the daemon ends because of an error. */
bool manager_failed(const Manager *self)
{
    return self->failed;
}

/** To be called once the main loop has ended. Leaves alone what a call that hangs in libvirt may still touch. */
Manager *manager_free(Manager *self)
{
    guint *const timers[] = {&self->resync_timer, &self->relist_timer, &self->host_timer, &self->stop_timer};

    for (gsize i = 0; i < G_N_ELEMENTS(timers); i++)
        g_clear_handle_id(timers[i], g_source_remove);
    self->watch = watch_free(self->watch);
    g_clear_pointer(&self->watched, g_strfreev);
    if (self->bus_source != NULL) {
        g_source_destroy(self->bus_source);
        g_clear_pointer(&self->bus_source, g_source_unref);
    }
    self->reconciler = reconciler_free(self->reconciler);
    bool over = !self->stopping || (self->link_stopped && detector_is_stopped(self->detector) &&
                                    guards_are_stopped(self->guards) && exporter_is_stopped(self->exporter));
    self->exporter = exporter_free(self->exporter);
    self->guards = guards_free(self->guards);
    self->detector = detector_free(self->detector);
    /* A call that hangs in libvirt goes on with what it was given, until the process ends. */
    if (over)
        self->configuration = configuration_free(self->configuration);
    self->intake = intake_free(self->intake);
    self->authority = authority_free(self->authority);
    self->bus = sd_bus_flush_close_unref(self->bus);
    self->readiness = readiness_free(self->readiness);
    g_main_loop_unref(self->loop);
    g_free(self->announced_error);
    if (!self->stopping || self->link_stopped)
        self->link = link_free(self->link);
    if (over)
        g_free(self);
    return NULL;
}

/* What is published ----------------------------------------------------------------------------------------------- */

const Link *manager_link(const Manager *self)
{
    return self->link;
}

SettingsMode manager_mode(const Manager *self)
{
    return self->configuration->settings.mode;
}

bool manager_writes_disabled(const Manager *self)
{
    return self->configuration->writes_disabled;
}

bool manager_synced(const Manager *self)
{
    return self->synced;
}

bool manager_stopping(const Manager *self)
{
    return self->stopping;
}

/** Returns: owned by the manager. */
const Reconciler *manager_reconciler(const Manager *self)
{
    return self->reconciler;
}

const Exporter *manager_exporter(const Manager *self)
{
    return self->exporter;
}

Guards *manager_guards(const Manager *self)
{
    return self->guards;
}

/** Returns: owned by the manager; NULL until there was a valid set. */
const PolicySet *manager_policies(const Manager *self)
{
    return self->configuration->policies;
}

/** Returns: how often policies came into force. */
guint64 manager_policy_generation(const Manager *self)
{
    return self->configuration->generation;
}

/** Returns: those of manager_configuration_errors() that are of policies come first, and this is their number. */
guint manager_policy_errors(const Manager *self)
{
    return self->configuration->policy_errors;
}

Authority *manager_authority(const Manager *self)
{
    return self->authority;
}

Readiness *manager_readiness(const Manager *self)
{
    return self->readiness;
}

Platform manager_platform(const Manager *self)
{
    return self->configuration->platform;
}

const GPtrArray *manager_configuration_errors(const Manager *self)
{
    return self->configuration->errors;
}
