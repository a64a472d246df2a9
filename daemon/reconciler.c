/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Events, timers and reloads only mark domains dirty; a dirty domain is looked at on a worker, and what follows is
 * written by another call on a worker. At most one call is in flight per domain, and what happens to the domain
 * meanwhile leads to one more look afterwards, however often it happened.
 */

#include "daemon/reconciler.h"

#include "daemon/bus-domain.h"
#include "daemon/log.h"
#include "lib/rate-limit.h"
#include <string.h>

#define SLOW_CHECK_S 10
/* Rewrites in a row that libvirt did not keep as they were written, before virtnest gives up on that definition. */
#define ATTEMPTS_MAX 3
/* After a define one look serves for itself and for libvirt's event of it, which comes within milliseconds. */
#define SETTLE_MS 1000
/* Rewrites in a row that somebody else was faster than, before virtnest waits a little. */
#define RACES_MAX 5
#define RACE_DELAY_S 1

struct Reconciler {
    ReconcilerServices services;

    GHashTable *domains; /* uuid, owned by the domain -> Domain */
    unsigned jobs;       /* under way */
    guint64 rewrites;
    bool stopping;

    RateLimit rewrite_limit;
    GQueue waiting; /* of uuids: domains that the limit holds back */
    guint waiting_timer, slow_timer, race_timer;
};

/* Published state ------------------------------------------------------------------------------------------------- */

static void log_state(const Domain *domain)
{
    const Reconcile *view = domain->view;
    const char *state = reconcile_state_to_string(view->state);

    switch (view->state) {
    case RECONCILE_ERROR:
        log_write(G_LOG_LEVEL_WARNING, domain_subject(domain, MESSAGE_RECONCILE_FAILED),
                  "domain '%s' is left as it is: %s", domain_label(domain), view->reason);
        break;
    case RECONCILE_HOST_NOT_READY:
    case RECONCILE_OWNED:
    case RECONCILE_TRANSIENT:
    case RECONCILE_HELD:
        log_write(G_LOG_LEVEL_MESSAGE, domain_subject(domain, MESSAGE_RECONCILE_HELD),
                  "domain '%s' is not rewritten (%s): %s", domain_label(domain), state, view->reason);
        break;
    case RECONCILE_PENDING_RESTART:
    case RECONCILE_MANAGED_SAVE:
        log_write(G_LOG_LEVEL_MESSAGE, domain_subject(domain, MESSAGE_PENDING_RESTART), "domain '%s' is %s: %s",
                  domain_label(domain), state, view->reason);
        break;
    case RECONCILE_IN_SYNC:
        log_write(G_LOG_LEVEL_INFO, domain_subject(domain, NULL), "domain '%s' is in sync with policy '%s'",
                  domain_label(domain), view->policy);
        break;
    case RECONCILE_UNKNOWN:
    case RECONCILE_UNTAGGED:
        break;
    }
}

/* Sends what changed, and logs a new state or reason once. */
static void domain_publish(Reconciler *self, Domain *domain, GStrvBuilder *changed)
{
    g_auto(GStrv) properties = g_strv_builder_end(changed);
    const char *const *names = (const char *const *)properties;

    if (!domain->published) {
        domain->published = true;
        bus_domain_added(self->services.bus, domain);
    } else {
        bus_domain_changed(self->services.bus, domain, names);
    }
    domain->untold |= g_strv_contains(names, "State") || g_strv_contains(names, "StateReason");
    /* Each guest that is migrated here has no persistent definition for a moment, which is nothing to tell. */
    if (!domain->untold || (domain->arriving && domain->view->state == RECONCILE_TRANSIENT))
        return;
    domain->untold = false;
    log_state(domain);
}

static void domain_publish_state(Reconciler *self, Domain *domain, ReconcileState state, const char *reason)
{
    g_autoptr(GStrvBuilder) changed = g_strv_builder_new();

    domain_set_state(domain, state, reason, changed);
    domain_publish(self, domain, changed);
}

static void domain_publish_error(Reconciler *self, Domain *domain, const char *reason)
{
    domain_publish_state(self, domain, RECONCILE_ERROR, reason);
}

/* Takes over what a look saw and decided. */
static void domain_publish_look(Reconciler *self, Domain *domain, Look *look)
{
    g_autoptr(GStrvBuilder) changed = g_strv_builder_new();

    domain_set_runtime(domain, look->running, look->persistent, changed);
    domain->arriving = look->arriving;
    domain_set_view(domain, look->reconcile, changed);
    detector_take_look(self->services.detector, domain, look, guards_find_nested(self->services.guards, domain, look));
    guards_take_look(self->services.guards, domain, look);
    look->reconcile = NULL;
    domain_publish(self, domain, changed);
}

static void reconciler_remove(Reconciler *self, Domain *domain)
{
    domain->waiting = waiters_tell(g_steal_pointer(&domain->waiting), "the domain is gone");
    guards_forget(self->services.guards, domain);
    detector_forget(self->services.detector, domain);
    if (domain->published)
        bus_domain_removed(self->services.bus, domain);
    GList *waiting = g_queue_find_custom(&self->waiting, domain->uuid, (GCompareFunc)g_strcmp0);
    if (waiting != NULL) {
        g_free(waiting->data);
        g_queue_delete_link(&self->waiting, waiting);
    }
    g_hash_table_remove(self->domains, domain->uuid);
}

/* Jobs ------------------------------------------------------------------------------------------------------------ */

/* One call for one domain: a look, or the writing of what a look decided. */
typedef struct DomainJob {
    Reconciler *reconciler;
    char uuid[VIR_UUID_STRING_BUFLEN];
    virDomain *handle;
    LookContext *context;
    char *matched_by; /* as in ReconcileInput */
    WorkerJob *link_job;
    Look *plan; /* to be written; NULL for a mere look */
    Look *look; /* what a mere look saw */
    ApplyOutcome outcome;
    GError *error;
} DomainJob;

static void domain_job_start(Reconciler *self, Domain *domain, Look *plan);

static void domain_job_free(DomainJob *job)
{
    (void)virDomainFree(job->handle);
    look_context_unref(job->context);
    look_free(job->plan);
    look_free(job->look);
    g_free(job->matched_by);
    g_clear_error(&job->error);
    g_free(job);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainJob, domain_job_free)

static void domain_job_work(gpointer data)
{
    DomainJob *job = data;

    if (job->plan != NULL)
        job->outcome = look_apply(job->handle, job->context, job->plan, &job->error);
    else
        job->look = look_at(job->handle, job->context, job->matched_by);
}

static void domain_look_if_dirty(Reconciler *self, Domain *domain)
{
    if (domain->dirty && domain->job == NULL && domain->handle != NULL && !self->stopping)
        domain_job_start(self, domain, NULL);
}

static void domain_mark_dirty(Reconciler *self, Domain *domain)
{
    domain->dirty = true;
    g_clear_handle_id(&domain->settle_timer, g_source_remove);
    domain_look_if_dirty(self, domain);
}

/**
 * Looks at a domain again, and does what follows from that.
 * @over: called when that is done
 */
void reconciler_look(Reconciler *self, Domain *domain, WaiterTold over, gpointer data)
{
    if (self->stopping || domain->handle == NULL) {
        over(self->stopping ? WAITERS_ENDS : WAITERS_NO_CONNECTION, data);
        return;
    }
    domain->waiting = waiters_add(domain->waiting, over, data);
    domain_mark_dirty(self, domain);
}

/** Looks at every domain again, for a reason that is not its own. */
void reconciler_mark_all_dirty(Reconciler *self)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        domain_mark_dirty(self, value);
}

/* Would a look find something else, now that other policies may be in force? */
static bool domain_is_outdated(const Reconciler *self, const Domain *domain, bool held)
{
    const Reconcile *view = domain->view;

    /* A call under way was given the old policies. What failed is tried again: that is what people reload for. */
    if (domain->job != NULL || view->state == RECONCILE_ERROR || view->state == RECONCILE_UNKNOWN ||
        (held && (view->state == RECONCILE_HELD || domain->stray)))
        return true;
    g_autofree char *outcome = reconcile_outcome(view, self->services.configuration->policies);
    return g_strcmp0(outcome, view->outcome) != 0;
}

/**
 * Looks again at those domains of which the policies say something else than at their last look, and at no other: a
 * reload that changes nothing asks libvirt nothing.
 * @held: also at those whose rewrite is held back, since what holds it back is other than before
 */
void reconciler_mark_changed_dirty(Reconciler *self, bool held)
{
    g_autoptr(GPtrArray) outdated = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (domain_is_outdated(self, value, held))
            g_ptr_array_add(outdated, value);
    for (guint i = 0; i < outdated->len; i++)
        domain_mark_dirty(self, outdated->pdata[i]);
    log_write(G_LOG_LEVEL_INFO, (LogSubject){0}, "configuration read; %u of %u domains are looked at again",
              outdated->len, g_hash_table_size(self->domains));
}

static gboolean on_waiting_timer(gpointer data);

/* Puts a domain at the end of those that wait for the rewrite limit. */
static void domain_wait_for_limit(Reconciler *self, const Domain *domain, gint64 next)
{
    if (g_queue_find_custom(&self->waiting, domain->uuid, (GCompareFunc)g_strcmp0) == NULL)
        g_queue_push_tail(&self->waiting, g_strdup(domain->uuid));
    if (self->waiting_timer == 0)
        self->waiting_timer =
            g_timeout_add((guint)MAX((next - g_get_monotonic_time()) / 1000 + 1, 1), on_waiting_timer, self);
}

static gboolean on_waiting_timer(gpointer data)
{
    Reconciler *self = data;
    g_autofree char *uuid = g_queue_pop_head(&self->waiting);
    Domain *domain = uuid != NULL ? g_hash_table_lookup(self->domains, uuid) : NULL;

    self->waiting_timer = 0;
    if (domain != NULL)
        domain_mark_dirty(self, domain);
    if (!g_queue_is_empty(&self->waiting))
        self->waiting_timer =
            g_timeout_add(MAX(60 * 1000 / MAX(self->rewrite_limit.per_minute, 1), 1), on_waiting_timer, self);
    return G_SOURCE_REMOVE;
}

/* Returns: why this rewrite must not go on now, or NULL. Takes one out of the rewrite limit if it may. */
static char *domain_hold_reason(Reconciler *self, const Domain *domain, const Look *look)
{
    g_autofree char *hold = configuration_hold_reason(self->services.configuration);
    gint64 next = 0;

    self->rewrite_limit.per_minute = self->services.configuration->settings.rewrites_per_minute;
    if (hold == NULL && !rate_limit_take(&self->rewrite_limit, g_get_monotonic_time(), &next)) {
        domain_wait_for_limit(self, domain, next);
        hold = g_strdup_printf("waits for its turn: RewritesPerMinute=%u in virtnest.conf",
                               self->rewrite_limit.per_minute);
    }
    return hold != NULL ? g_strdup_printf("would %s, but %s", look->reconcile->summary, hold) : NULL;
}

/* What is there and what would be written: as long as both are the same, so is what libvirt makes of it. */
static char *plan_sum(const Look *look)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    g_checksum_update(sum, (const guchar *)look->xml, (gssize)strlen(look->xml) + 1);
    g_checksum_update(sum, (const guchar *)look->reconcile->new_xml, -1);
    return g_strdup(g_checksum_get_string(sum));
}

/* Has libvirt made something else of what was written, again and again, and would the same be written again? */
static bool domain_gave_up(Domain *domain, const Look *look)
{
    if (domain->attempts < ATTEMPTS_MAX)
        return false;
    g_autofree char *sum = plan_sum(look);
    if (domain->refused_plan_sum == NULL)
        domain->refused_plan_sum = g_strdup(sum);
    if (strcmp(sum, domain->refused_plan_sum) == 0)
        return true;
    g_clear_pointer(&domain->refused_plan_sum, g_free);
    domain->attempts = 0;
    return false;
}

/* A look is over and wants something written. @planned: taken over */
static void domain_handle_plan(Reconciler *self, Domain *domain, Look *planned)
{
    g_autoptr(Look) look = planned;
    Reconcile *reconcile = look->reconcile;

    /* Nothing new is begun; the next connection brings the next look. */
    if (self->stopping || domain->handle == NULL) {
        domain->dirty = true;
        return;
    }
    if (domain_gave_up(domain, look)) {
        g_autofree char *summary = g_strdup(reconcile->summary);
        reconcile_set_state(reconcile, RECONCILE_ERROR,
                            "libvirt did not keep the <cpu> that was written (%s); it is not written again until the "
                            "definition or the policy changes",
                            summary);
        domain_publish_look(self, domain, look);
        return;
    }
    g_autofree char *hold = domain_hold_reason(self, domain, look);
    if (hold != NULL) {
        reconcile_set_state(reconcile, RECONCILE_HELD, "%s", hold);
        domain_publish_look(self, domain, look);
        return;
    }
    domain_job_start(self, domain, g_steal_pointer(&look));
}

/*
 * Somebody has made what the live definition said of L2 guests persistent, as `virsh dumpxml | virsh define` does. If that does
 * not help, it is not tried again and again.
 */
static bool domain_may_strip(const Reconciler *self, Domain *domain, const Look *look)
{
    g_autofree char *hold = configuration_hold_reason(self->services.configuration);

    domain->stray = look->stray_runtime;
    if (!domain->stray)
        domain->stripped = false;
    return look->stray_runtime && !domain->stripped && hold == NULL && !self->stopping && domain->handle != NULL;
}

static gboolean on_settle_timer(gpointer data)
{
    Domain *domain = data;

    domain->settle_timer = 0;
    domain_mark_dirty(domain->reconciler, domain);
    return G_SOURCE_REMOVE;
}

/* Returns: whether the domain is still there. */
static bool domain_handle_look(Reconciler *self, Domain *domain, DomainJob *job)
{
    Look *look = job->look;

    if (look->gone) {
        /* Unless it was heard of since: then it may have been defined anew. */
        if (domain->dirty)
            return true;
        reconciler_remove(self, domain);
        return false;
    }
    if (look->error != NULL) {
        /* After a lost connection everything is looked at again anyway. */
        if (domain->handle == job->handle && link_connection(self->services.link) != NULL)
            domain_publish_error(self, domain, look->error->message);
        return true;
    }
    if (domain_may_strip(self, domain, look)) {
        domain->stripped = true;
        domain_job_start(self, domain, g_steal_pointer(&job->look));
        return true;
    }
    if (look->reconcile->new_xml != NULL && look_context_is_superseded(job->context)) {
        domain->dirty = true;
        return true;
    }
    if (look->reconcile->new_xml != NULL) {
        domain_handle_plan(self, domain, g_steal_pointer(&job->look));
        return true;
    }
    domain->attempts = 0;
    domain->races = 0;
    g_clear_pointer(&domain->refused_plan_sum, g_free);
    domain_publish_look(self, domain, look);
    /* A transient one that is off is about to go, and libvirt has told of its end already. */
    if (!look->running && !look->persistent && domain->settle_timer == 0 && !self->stopping)
        domain->settle_timer = g_timeout_add(SETTLE_MS, on_settle_timer, domain);
    return true;
}

static void domain_log_rewrite(const Domain *domain, const Look *plan)
{
    log_write(
        G_LOG_LEVEL_MESSAGE, (LogSubject){MESSAGE_RECONCILED, domain->name, domain->uuid, plan->reconcile->policy},
        "domain '%s': done: %s%s%s%s", plan->reconcile->name, plan->reconcile->summary,
        plan->reconcile->policy != NULL ? " (policy '" : "",
        plan->reconcile->policy != NULL ? plan->reconcile->policy : "", plan->reconcile->policy != NULL ? "')" : "");
    for (guint i = 0; i < plan->reconcile->conflicts->len; i++)
        log_write(G_LOG_LEVEL_WARNING, domain_subject(domain, MESSAGE_RECONCILE_CONFLICT), "domain '%s': conflict: %s",
                  plan->reconcile->name, (const char *)plan->reconcile->conflicts->pdata[i]);
}

static gboolean on_race_timer(gpointer data)
{
    Reconciler *self = data;
    GHashTableIter iter;
    gpointer value;

    self->race_timer = 0;
    g_hash_table_iter_init(&iter, self->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        domain_look_if_dirty(self, value);
    return G_SOURCE_REMOVE;
}

static void domain_handle_apply(Reconciler *self, Domain *domain, DomainJob *job)
{
    switch (job->outcome) {
    case APPLY_STRIPPED:
        log_write(G_LOG_LEVEL_MESSAGE, domain_subject(domain, NULL),
                  "domain '%s': took out of its persistent definition what belongs into the live one alone: that a "
                  "guest of its own runs in it",
                  domain_label(domain));
        domain->dirty = true;
        return;
    case APPLY_CHANGED:
        domain->races++;
        domain->dirty = true;
        return;
    case APPLY_HELD:
        self->services.kill_switch(self->services.data);
        domain->dirty = true;
        return;
    case APPLY_FAILED:
        /* After a lost connection everything is looked at again anyway. */
        if (domain->handle == job->handle && link_connection(self->services.link) != NULL) {
            reconcile_set_state(job->plan->reconcile, RECONCILE_ERROR, "%s", job->error->message);
            domain_publish_look(self, domain, job->plan);
        }
        return;
    case APPLY_DONE:
        break;
    }

    g_autoptr(GStrvBuilder) changed = g_strv_builder_new();
    self->rewrites++;
    domain->attempts++;
    domain->rewrite_time = (guint64)g_get_real_time();
    domain->written_at = g_get_monotonic_time();
    g_strv_builder_add(changed, "RewriteTime");
    domain_set_conflicts(domain, job->plan->reconcile->conflicts, changed);
    if (domain->published)
        domain_publish(self, domain, changed);
    domain_log_rewrite(domain, job->plan);
    if (!domain->dirty && !self->stopping)
        domain->settle_timer = g_timeout_add(SETTLE_MS, on_settle_timer, domain);
}

static void job_over(Reconciler *self)
{
    if (self->jobs > 0)
        return;
    g_clear_handle_id(&self->slow_timer, g_source_remove);
    self->services.idle(self->services.data);
}

static void domain_job_done(gpointer data)
{
    g_autoptr(DomainJob) job = data;
    Reconciler *self = job->reconciler;
    Domain *domain = g_hash_table_lookup(self->domains, job->uuid);

    self->jobs--;
    /* The domain is gone, or is another one of the same UUID. */
    if (domain == NULL || domain->job != job->link_job) {
        job_over(self);
        return;
    }
    domain->job = NULL;
    domain->slow = domain->writing = false;
    bool there = true;
    if (job->plan != NULL)
        domain_handle_apply(self, domain, job);
    else
        there = domain_handle_look(self, domain, job);
    if (there && domain->races > RACES_MAX) {
        if (self->race_timer == 0)
            self->race_timer = g_timeout_add_seconds(RACE_DELAY_S, on_race_timer, self);
    } else if (there) {
        domain_look_if_dirty(self, domain);
    }
    if (there && domain->job == NULL && !domain->dirty && domain->settle_timer == 0)
        domain->waiting = waiters_tell(g_steal_pointer(&domain->waiting), NULL);
    job_over(self);
}

static gboolean on_slow_check(gpointer data)
{
    Reconciler *self = data;
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Domain *domain = value;
        if (domain->job == NULL || domain->slow || worker_job_seconds(domain->job) < LINK_SLOW_S)
            continue;
        domain->slow = true;
        domain_publish_error(
            self, domain,
            "libvirt has not answered a call for this domain for " G_STRINGIFY(
                LINK_SLOW_S) " s; virtnest "
                             "goes on waiting. `virsh domstate` tells whether libvirt itself is stuck");
    }
    return G_SOURCE_CONTINUE;
}

/* @plan: owned by the job from now on */
static void domain_job_start(Reconciler *self, Domain *domain, Look *plan)
{
    DomainJob *job = g_new0(DomainJob, 1);

    bool host_changed = configuration_refresh_host(self->services.configuration);

    domain->writing = plan != NULL;
    if (plan == NULL)
        domain->dirty = false;
    g_strlcpy(job->uuid, domain->uuid, sizeof(job->uuid));
    job->reconciler = self;
    job->handle = domain->handle;
    job->context = look_context_ref(self->services.configuration->context);
    job->plan = plan;
    /* Of one that was never read an earlier daemon may have left word. */
    job->matched_by = domain->view->subject != NULL ? g_strdup(domain->view->matched_by)
                                                    : guards_find_match(self->services.guards, domain->uuid);
    (void)virDomainRef(job->handle);
    self->jobs++;
    log_write(G_LOG_LEVEL_DEBUG, domain_subject(domain, NULL), "domain '%s' is %s", domain_label(domain),
              plan != NULL ? "rewritten" : "looked at");
    domain->job = job->link_job = link_run(self->services.link, domain_job_work, domain_job_done, job);
    if (self->slow_timer == 0)
        self->slow_timer = g_timeout_add_seconds(SLOW_CHECK_S, on_slow_check, self);
    /* Only now that this domain has its job, or it would get two. */
    if (host_changed)
        reconciler_mark_all_dirty(self);
}

/* Domains ---------------------------------------------------------------------------------------------------------- */

/* Finds a domain or makes one, and lets it use the handle. */
static Domain *reconciler_take(Reconciler *self, virDomain *handle, guint listing)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (virDomainGetUUIDString(handle, uuid) < 0)
        return NULL;
    Domain *domain = g_hash_table_lookup(self->domains, uuid);
    if (domain == NULL) {
        domain = domain_new(uuid, virDomainGetName(handle));
        domain->reconciler = self;
        g_hash_table_insert(self->domains, domain->uuid, domain);
    }
    domain_set_handle(domain, handle);
    domain->listing = listing;
    return domain;
}

/**
 * Something happened to a domain.
 * @added: it was defined, and had no definition before
 * @listing: the latest one begun, which may or may not have the domain
 */
void reconciler_domain_event(Reconciler *self, virDomain *handle, bool added, guint listing)
{
    Domain *domain = reconciler_take(self, handle, listing);

    if (domain == NULL)
        return;
    /* Not undone: the event may as well be of somebody who undefines and defines again, and wants to keep it. */
    if (added && (domain->writing || g_get_monotonic_time() - domain->written_at < SETTLE_MS * 1000))
        log_write(G_LOG_LEVEL_WARNING, domain_subject(domain, MESSAGE_DEFINED_AGAIN),
                  "domain '%s' was undefined at the moment in which virtnest rewrote it, and is there again; if it was "
                  "to go, undefine it once more",
                  domain_label(domain));
    domain_mark_dirty(self, domain);
}

static bool is_known(const char *uuid, gpointer data)
{
    const Reconciler *self = data;

    return g_hash_table_contains(self->domains, uuid);
}

/**
 * Takes over a list of all domains and looks at each. Whoever is not in it, and did not appear since it was asked for,
 * is gone.
 */
void reconciler_take_list(Reconciler *self, virDomain *const *handles, int n, guint listing)
{
    g_autoptr(GPtrArray) gone = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value;

    for (int i = 0; i < n; i++)
        (void)reconciler_take(self, handles[i], listing);
    g_hash_table_iter_init(&iter, self->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (((Domain *)value)->listing < listing)
            g_ptr_array_add(gone, value);
    for (guint i = 0; i < gone->len; i++)
        reconciler_remove(self, gone->pdata[i]);
    guards_sweep(self->services.guards, is_known, self);
    reconciler_mark_all_dirty(self);
}

/** The connection is gone: what is known stays published, and nothing is asked until a new list comes. */
void reconciler_drop_handles(Reconciler *self)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Domain *domain = value;
        domain_set_handle(domain, NULL);
        domain->waiting = waiters_tell(g_steal_pointer(&domain->waiting), "the connection to libvirt is lost");
    }
}

/** Returns: whether no call is under way. */
bool reconciler_is_idle(const Reconciler *self)
{
    return self->jobs == 0;
}

/** Returns: those of its domains. */
Guards *reconciler_guards(const Reconciler *self)
{
    return self->services.guards;
}

Authority *reconciler_authority(const Reconciler *self)
{
    return self->services.authority;
}

/** Returns: what is known of moving guests with a running L2 on this host. */
PlatformVerdict reconciler_platform(const Reconciler *self)
{
    return self->services.configuration->platform.verdict;
}

/** Returns: how many definitions were rewritten. */
guint64 reconciler_rewrites(const Reconciler *self)
{
    return self->rewrites;
}

/** @which: NULL: all */
unsigned reconciler_count(const Reconciler *self, bool (*which)(const Domain *domain))
{
    GHashTableIter iter;
    gpointer value;
    unsigned n = 0;

    g_hash_table_iter_init(&iter, self->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        n += ((Domain *)value)->published && (which == NULL || which(value));
    return n;
}

/** Returns: the domain of a handle of libvirt's, owned by the reconciler, or NULL. */
Domain *reconciler_find(const Reconciler *self, virDomain *handle)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    return virDomainGetUUIDString(handle, uuid) == 0 ? g_hash_table_lookup(self->domains, uuid) : NULL;
}

/** Returns: a published domain, owned by the reconciler, or NULL. */
Domain *reconciler_domain_by_uuid(const Reconciler *self, const char *uuid)
{
    Domain *domain = g_hash_table_lookup(self->domains, uuid);

    return domain != NULL && domain->published ? domain : NULL;
}

/** Returns: a published domain, owned by the reconciler, or NULL. */
Domain *reconciler_domain_by_name(const Reconciler *self, const char *name)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (((Domain *)value)->published && strcmp(((Domain *)value)->name, name) == 0)
            return value;
    return NULL;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(((const Domain *)a)->name, ((const Domain *)b)->name);
}

/** Returns: all published domains in the order of their names, a list to be freed with g_list_free(). */
GList *reconciler_domains(const Reconciler *self)
{
    GHashTableIter iter;
    gpointer value;
    GList *domains = NULL;

    g_hash_table_iter_init(&iter, self->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (((Domain *)value)->published)
            domains = g_list_prepend(domains, value);
    return g_list_sort(domains, compare_names);
}

/* Life ------------------------------------------------------------------------------------------------------------- */

static void domain_destroy(gpointer domain)
{
    domain_free(domain);
}

/** @services: copied; what they point to must outlive the reconciler. To be freed with reconciler_free(). */
Reconciler *reconciler_new(const ReconcilerServices *services)
{
    Reconciler *self = g_new0(Reconciler, 1);

    self->services = *services;
    self->domains = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, domain_destroy);
    g_queue_init(&self->waiting);
    return self;
}

/** Begins nothing any more; calls under way come to their end. */
void reconciler_stop(Reconciler *self)
{
    GHashTableIter iter;
    gpointer value;

    self->stopping = true;
    g_hash_table_iter_init(&iter, self->domains);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        ((Domain *)value)->waiting = waiters_tell(g_steal_pointer(&((Domain *)value)->waiting), "virtnestd ends");
    g_clear_handle_id(&self->waiting_timer, g_source_remove);
    g_clear_handle_id(&self->race_timer, g_source_remove);
}

/** No call may be under way, or its end must never be told. */
Reconciler *reconciler_free(Reconciler *self)
{
    if (self == NULL)
        return NULL;
    reconciler_stop(self);
    g_clear_handle_id(&self->slow_timer, g_source_remove);
    g_hash_table_unref(self->domains);
    g_queue_clear_full(&self->waiting, g_free);
    g_free(self);
    return NULL;
}
