/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is wanted of a guest and what it has are compared after each thing that may change either, and one call on a worker
 * makes them equal: a blocker is set, lifted, or looked for where it is not known whether there is one. At most one call is
 * under way for a guest. What fails is tried again, at growing intervals; a guest whose monitor hangs holds its own call
 * alone.
 *
 * If the daemon dies, blockers stay, since it is QEMU that has them. So that it finds them again, and asks no guest that
 * has none (to ask taints a guest), each is recorded in a file before it is set, and the file goes after it was lifted.
 */

#include "daemon/guards.h"

#include "daemon/guard-calls.h"
#include "daemon/lanes.h"
#include "daemon/log.h"
#include "lib/duration.h"
#include "lib/error.h"
#include "lib/guard.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <libvirt/virterror.h>
#include <string.h>
#include <unistd.h>

#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 30000
/* A job that was asked to end takes some milliseconds for that, and meanwhile QEMU takes no blocker. */
#define ABORT_ROUNDS_MAX 400
#define ABORT_PAUSE_USEC 5000
/* A call that has taken so long is published. */
#define SLOW_CHECK_S 5
/* Of a release, in bytes. */
#define REASON_MAX 1024
/* Where the image lies that is used when QEMU may not read a memfd. */
#define IMAGE VIRTNEST_VENDORDIR "/" BLOCKER_NODE ".vdi"

typedef enum {
    HAVE_UNKNOWN,
    HAVE_NONE,
    HAVE_BLOCKER,
} Have;

typedef enum {
    STEP_FIND,
    STEP_SET,
    STEP_LIFT,
} Step;

typedef struct Guard {
    Guards *guards;
    Domain *domain;
    guint64 serial; /* no other has it, nor a later run of this guest */
    int id;
    Have have;
    bool wanted;
    const char *reason; /* of the wish */
    char *error;        /* why have is not as wanted */
    struct GuardJob *job;
    LaneCall *call;
    bool slow; /* it was published that the call does not come to an end */
    guint retry_timer;
    unsigned retry_ms;
    guint release_timer;
} Guard;

struct Guards {
    GuardsServices services;
    Lanes *lanes;
    GHashTable *guards; /* serial -> Guard */
    guint64 serial;
    char *folder;   /* of records */
    char *releases; /* the folder of releases */
    guint slow_timer;
    guint64 aborted_jobs;
    bool stopping;
};

/* One call for one guest. */
typedef struct GuardJob {
    Guards *guards;
    guint64 serial;
    Step step;
    virConnect *connection;
    char uuid[VIR_UUID_STRING_BUFLEN];
    char *image;  /* the path of the installed one */
    int unwanted; /* the wish has changed meanwhile; atomic */
    /* What came of it. */
    Have have;
    unsigned aborted;     /* jobs */
    const char *last_job; /* that was to be aborted, static */
    GError *abort_error;  /* why that failed */
    GError *error;
} GuardJob;

static void converge(Guard *guard);

/* On a worker ------------------------------------------------------------------------------------------------------ */

/* Aborts the job under way, if it is one that must not be. Returns: whether there was one. */
static bool abort_guarded_job(GuardJob *job, virDomain *domain, bool *ending)
{
    const char *what = guard_calls_find_job(domain);

    /* Such as by a release, under which that job is the operator's will. */
    if (g_atomic_int_get(&job->unwanted))
        what = NULL;
    if (what == NULL) {
        *ending = false;
        return false;
    }
    if (*ending)
        return true;
    job->last_job = what;
    if (virDomainAbortJob(domain) == 0) {
        *ending = true;
        job->aborted++;
        g_clear_error(&job->abort_error);
    } else {
        g_clear_error(&job->abort_error);
        libvirt_set_error(&job->abort_error, "it cannot be aborted");
    }
    return true;
}

/*
 * Sets the blocker, and sees that nothing is under way that it would have refused. QEMU takes none in the middle of a
 * migration, of which a save has some milliseconds only; once that is over on its side, it does again, while libvirt still
 * writes down what it got, and ends the guest. So a job that moves the guest is looked for first, and again once the
 * blocker is set, and aborted. One that does not move it, such as an incoming migration or a backup, is left alone. What it
 * is is asked right before, each time.
 */
static void set_work(GuardJob *job, virDomain *domain)
{
    bool ending = false; /* a job that was told to end has not yet */

    for (unsigned round = 0; round < ABORT_ROUNDS_MAX && !g_atomic_int_get(&job->unwanted); round++) {
        bool moving = abort_guarded_job(job, domain, &ending);
        if (!moving && job->have == HAVE_BLOCKER)
            break;
        if (!moving) {
            g_clear_error(&job->error);
            BlockerReply reply = guard_calls_set(domain, job->image, &job->error);
            if (reply == BLOCKER_REPLY_REFUSED)
                break;
            if (reply != BLOCKER_REPLY_TOO_LATE) {
                job->have = HAVE_BLOCKER;
                continue;
            }
        }
        g_usleep(ABORT_PAUSE_USEC);
    }
    /* Not before: in the middle of a save this waits for its end. */
    guard_calls_remove_fd(domain);
}

static void lift_work(GuardJob *job, virDomain *domain)
{
    if (guard_calls_lift(domain, &job->error))
        job->have = HAVE_NONE;
}

static void find_work(GuardJob *job, virDomain *domain)
{
    bool found = false;

    if (guard_calls_find(domain, &found, &job->error))
        job->have = found ? HAVE_BLOCKER : HAVE_NONE;
}

static void job_work(gpointer data)
{
    GuardJob *job = data;
    g_autoptr(VirDomain) domain = virDomainLookupByUUIDString(job->connection, job->uuid);

    if (domain == NULL)
        libvirt_set_error(&job->error, "cannot find the domain");
    else if (job->step == STEP_SET)
        set_work(job, domain);
    else if (job->step == STEP_LIFT)
        lift_work(job, domain);
    else
        find_work(job, domain);
}

/* Records ---------------------------------------------------------------------------------------------------------- */

static char *record_path(const Guards *self, const char *uuid)
{
    return g_build_filename(self->folder, uuid, NULL);
}

/* Before it is set, so that there is none without. A failure is none of the guard's: it would be lost with the daemon. */
static void record_write(const Guard *guard)
{
    g_autofree char *path = record_path(guard->guards, guard->domain->uuid);
    g_autofree char *text = g_strdup_printf("%d\n", guard->id);
    g_autoptr(GError) error = NULL;

    if (g_mkdir_with_parents(guard->guards->folder, 0700) != 0 || !g_file_set_contents(path, text, -1, &error))
        log_write(G_LOG_LEVEL_WARNING, (LogSubject){.domain = guard->domain->name, .uuid = guard->domain->uuid},
                  "domain '%s': cannot note that it is guarded, so that a restarted virtnestd would not know: %s",
                  domain_label(guard->domain), error != NULL ? error->message : g_strerror(errno));
}

static void record_remove(const Guard *guard)
{
    g_autofree char *path = record_path(guard->guards, guard->domain->uuid);

    (void)g_unlink(path);
}

/* Is there one of this run of the guest? */
static bool record_fits(const Guard *guard)
{
    g_autofree char *path = record_path(guard->guards, guard->domain->uuid), *text = NULL;
    gint64 id = -1;

    return g_file_get_contents(path, &text, NULL, NULL) &&
           g_ascii_string_to_signed(g_strstrip(text), 10, -1, G_MAXINT32, &id, NULL) && id == guard->id;
}

/* What is published ------------------------------------------------------------------------------------------------ */

static LogSubject subject(const Domain *domain, const char *message_id)
{
    return (LogSubject){message_id, domain->name, domain->uuid, domain->view->policy};
}

/* Takes over what the guard says now, and tells what is other. */
static void publish(Guards *self, Domain *domain)
{
    const Guard *guard = domain->guard;
    bool guarded = guard != NULL && guard->have == HAVE_BLOCKER;
    const char *reason = guard != NULL ? guard->reason : "",
               *error = guard != NULL && guard->error != NULL ? guard->error : "";
    const char *properties[4] = {NULL};
    gsize n = 0;

    if (domain->guarded != guarded)
        properties[n++] = "Guarded";
    if (strcmp(domain->guard_reason, reason) != 0)
        properties[n++] = "GuardReason";
    if (strcmp(domain->guard_error, error) != 0) {
        properties[n++] = "GuardError";
        if (*error != '\0')
            log_write(G_LOG_LEVEL_WARNING, subject(domain, MESSAGE_GUARD_FAILED), "domain '%s' %s: %s",
                      domain_label(domain), guard->wanted ? "cannot be guarded" : "cannot be released from its guard",
                      error);
    }
    if (domain->guarded != guarded && guarded)
        log_write(G_LOG_LEVEL_MESSAGE, subject(domain, MESSAGE_GUARDED),
                  "domain '%s' is guarded against migration, save and memory snapshots: %s", domain_label(domain),
                  reason);
    else if (domain->guarded != guarded)
        log_write(G_LOG_LEVEL_MESSAGE, subject(domain, MESSAGE_UNGUARDED), "domain '%s' is not guarded any more",
                  domain_label(domain));
    domain->guarded = guarded;
    domain->guard_reason = reason;
    g_autofree char *copy = g_strdup(error);
    g_free(domain->guard_error);
    domain->guard_error = g_steal_pointer(&copy);
    if (n > 0)
        self->services.changed(domain, properties, self->services.data);
}

static void set_error(Guard *guard, const char *text)
{
    char *copy = text != NULL ? g_utf8_make_valid(text, -1) : NULL;

    g_free(guard->error);
    guard->error = copy;
}

/* Releases --------------------------------------------------------------------------------------------------------- */

static char *release_path(const Guards *self, const char *uuid)
{
    return g_build_filename(self->releases, uuid, NULL);
}

static void release_changed(Guards *self, Domain *domain)
{
    self->services.changed(domain, (const char *const[]){"ReleasedUntil", "ReleasedBy", "ReleaseReason", NULL},
                           self->services.data);
}

/* Takes a release away, if there is one. @why: for the log */
static void release_end(Guards *self, Domain *domain, const char *why)
{
    g_autofree char *path = release_path(self, domain->uuid);

    if (domain->release == NULL)
        return;
    (void)g_unlink(path);
    if (domain->guard != NULL)
        g_clear_handle_id(&domain->guard->release_timer, g_source_remove);
    domain->release = release_free(domain->release);
    log_write(G_LOG_LEVEL_MESSAGE, subject(domain, MESSAGE_RELEASE_ENDED), "domain '%s': its release has ended: %s",
              domain_label(domain), why);
    release_changed(self, domain);
}

static gboolean on_release_over(gpointer data)
{
    Guard *guard = data;

    guard->release_timer = 0;
    release_end(guard->guards, guard->domain, "its time has passed");
    guards_update(guard->guards, guard->domain);
    return G_SOURCE_REMOVE;
}

/* In whole seconds, and at least one. A clock that was set forward ends it at the next look. */
static void release_set_timer(Guard *guard, guint64 now)
{
    guint64 left = guard->domain->release->until > now ? guard->domain->release->until - now : 0;

    g_clear_handle_id(&guard->release_timer, g_source_remove);
    guard->release_timer = g_timeout_add((guint)MIN(left / 1000 + 1, (guint64)G_MAXINT32), on_release_over, guard);
}

/* Finds a release of this run of the guest that an earlier daemon left. */
static void release_find(Guard *guard)
{
    Guards *self = guard->guards;
    Domain *domain = guard->domain;
    g_autofree char *path = release_path(self, domain->uuid);
    g_autoptr(Release) release = release_load(path);
    guint64 now = (guint64)g_get_real_time();

    if (release == NULL)
        return;
    if (release->id != guard->id || release->until <= now ||
        release->until - now > self->services.configuration->settings.release_max_usec) {
        (void)g_unlink(path);
        return;
    }
    domain->release = g_steal_pointer(&release);
    release_set_timer(guard, now);
}

/**
 * Lets a guest be moved for some time, whatever it runs. One that is released already gets the new time.
 * @by: who wants that; @reason: in words of theirs
 * Returns: false with VIRTNEST_ERROR_RELEASE.
 */
bool guards_release(Guards *self, Domain *domain, guint64 usec, const char *by, const char *reason, GError **error)
{
    guint64 maximum = self->services.configuration->settings.release_max_usec, now = (guint64)g_get_real_time();
    g_autofree char *path = release_path(self, domain->uuid), *text = duration_format(usec),
                    *limit = duration_format(maximum);
    g_autoptr(GError) cause = NULL;

    if (domain->guard == NULL) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_RELEASE,
                    "domain '%s' does not run: there is nothing to release", domain_label(domain));
        return false;
    }
    if (usec == 0 || usec > maximum) {
        g_set_error(
            error, VIRTNEST_ERROR, VIRTNEST_ERROR_RELEASE,
            "domain '%s' can be released for at most %s, and not for %s; ReleaseMax= in virtnest.conf is the limit",
            domain_label(domain), limit, text);
        return false;
    }
    if (strlen(reason) > REASON_MAX) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_RELEASE, "the reason is longer than %d bytes", REASON_MAX);
        return false;
    }
    g_autoptr(Release) release = release_new(now + usec, domain->guard->id, by, reason);
    if (!release_save(release, path, &cause)) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_RELEASE,
                    "domain '%s' stays guarded, since a release cannot be noted: %s", domain_label(domain),
                    cause->message);
        return false;
    }
    release_free(domain->release);
    domain->release = g_steal_pointer(&release);
    release_set_timer(domain->guard, now);
    log_write(G_LOG_LEVEL_WARNING, subject(domain, MESSAGE_RELEASED),
              "domain '%s' is released from its guard for %s by %s%s%s", domain_label(domain), text, by,
              *reason != '\0' ? ": " : "", reason);
    release_changed(self, domain);
    guards_update(self, domain);
    return true;
}

/** Ends a release early. */
void guards_revoke(Guards *self, Domain *domain, const char *by)
{
    g_autofree char *why = g_strdup_printf("revoked by %s", by);

    release_end(self, domain, why);
    guards_update(self, domain);
}

/* Convergence ------------------------------------------------------------------------------------------------------ */

static void job_free(GuardJob *job)
{
    (void)virConnectClose(job->connection);
    g_free(job->image);
    g_clear_error(&job->abort_error);
    g_clear_error(&job->error);
    g_free(job);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GuardJob, job_free)

static gboolean on_retry(gpointer data)
{
    Guard *guard = data;

    guard->retry_timer = 0;
    converge(guard);
    return G_SOURCE_REMOVE;
}

static void retry_later(Guard *guard)
{
    guard->retry_ms = CLAMP(guard->retry_ms * 2, RETRY_MIN_MS, RETRY_MAX_MS);
    guard->retry_timer = g_timeout_add(guard->retry_ms, on_retry, guard);
}

static void log_abort(Guards *self, const Domain *domain, const GuardJob *job)
{
    if (job->abort_error != NULL)
        log_write(G_LOG_LEVEL_WARNING, subject(domain, MESSAGE_JOB_ABORTED),
                  "domain '%s': its %s began before the guest could be guarded (%s), and %s", domain_label(domain),
                  job->last_job, domain->guard->reason, job->abort_error->message);
    if (job->aborted == 0)
        return;
    self->aborted_jobs += job->aborted;
    log_write(
        G_LOG_LEVEL_WARNING, subject(domain, MESSAGE_JOB_ABORTED),
        "domain '%s': its %s was aborted, which had begun before the guest could be guarded: %s. libvirt does not tell "
        "who began it",
        domain_label(domain), job->last_job, domain->guard->reason);
}

static void job_done(gpointer data)
{
    g_autoptr(GuardJob) job = data;
    Guards *self = job->guards;
    Guard *guard = g_hash_table_lookup(self->guards, &job->serial);

    if (guard == NULL)
        return;
    guard->job = NULL;
    guard->call = NULL;
    guard->slow = false;
    log_abort(self, guard->domain, job);
    if (job->error == NULL) {
        guard->have = job->have;
        guard->retry_ms = 0;
        set_error(guard, NULL);
        if (guard->have == HAVE_NONE)
            record_remove(guard);
    } else {
        set_error(guard, job->error->message);
    }
    if (job->error == NULL)
        converge(guard);
    else if (!self->stopping)
        retry_later(guard);
    publish(self, guard->domain);
}

static gboolean on_slow_check(gpointer data)
{
    Guards *self = data;
    GHashTableIter iter;
    gpointer value;
    bool any = false;

    g_hash_table_iter_init(&iter, self->guards);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Guard *guard = value;
        any |= guard->job != NULL;
        if (guard->job == NULL || guard->slow || !lane_call_is_overdue(guard->call))
            continue;
        guard->slow = true;
        set_error(guard,
                  "its monitor does not answer; virtnest goes on waiting. `virsh domstate` and `virsh domcontrol` tell "
                  "whether its QEMU is stuck");
        publish(self, guard->domain);
    }
    if (any)
        return G_SOURCE_CONTINUE;
    self->slow_timer = 0;
    return G_SOURCE_REMOVE;
}

/* Makes what the guest has and what is wanted of it equal, as far as a call can be made now. */
static void converge(Guard *guard)
{
    Guards *self = guard->guards;
    bool equal = guard->have == (guard->wanted ? HAVE_BLOCKER : HAVE_NONE);

    if (equal || guard->job != NULL || guard->retry_timer != 0 || self->stopping || !lanes_is_free(self->lanes, true))
        return;
    GuardJob *job = g_new0(GuardJob, 1);
    job->guards = self;
    job->serial = guard->serial;
    job->step = guard->have == HAVE_UNKNOWN ? STEP_FIND : guard->wanted ? STEP_SET : STEP_LIFT;
    job->have = guard->have;
    g_strlcpy(job->uuid, guard->domain->uuid, sizeof(job->uuid));
    job->image = g_build_filename(self->services.configuration->root, IMAGE, NULL);
    if (job->step == STEP_SET)
        record_write(guard);
    guard->job = job;
    guard->call = lanes_run(self->lanes, &job->connection, job_work, job_done, job);
    if (self->slow_timer == 0)
        self->slow_timer = g_timeout_add_seconds(SLOW_CHECK_S, on_slow_check, self);
}

static void on_lanes_ready(gpointer data)
{
    Guards *self = data;
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->guards);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        converge(value);
}

/* Guests ----------------------------------------------------------------------------------------------------------- */

static void guard_free(gpointer data)
{
    Guard *guard = data;

    g_clear_handle_id(&guard->retry_timer, g_source_remove);
    g_clear_handle_id(&guard->release_timer, g_source_remove);
    g_free(guard->error);
    g_free(guard);
}

static void guard_new(Guards *self, Domain *domain, int id)
{
    Guard *guard = g_new0(Guard, 1);

    guard->guards = self;
    guard->domain = domain;
    guard->serial = ++self->serial;
    guard->id = id;
    guard->reason = "";
    domain->guard = guard;
    g_hash_table_insert(self->guards, &guard->serial, guard);
    /* A new QEMU has none, and one that this daemon or the one before gave one to is recorded. */
    guard->have = record_fits(guard) ? HAVE_UNKNOWN : HAVE_NONE;
    if (guard->have == HAVE_NONE)
        record_remove(guard);
    release_find(guard);
}

static void guard_remove(Guard *guard)
{
    Domain *domain = guard->domain;

    domain->guard = NULL;
    (void)g_hash_table_remove(guard->guards->guards, &guard->serial);
}

/*
 * What is in force cannot be told: there was no valid configuration yet, or the domain's policy is gone or wrong. Then a guard
 * that is there stays, and one is set where the defaults want it.
 */
static bool is_frozen(const Guards *self, const Domain *domain)
{
    return self->services.configuration->policies == NULL ||
           (domain->view->policy == NULL && domain->view->state == RECONCILE_ERROR);
}

static GuardWish decide(const Guards *self, const Domain *domain)
{
    const Configuration *configuration = self->services.configuration;
    const Guard *guard = domain->guard;
    const GuardPolicy fallback = guard_policy_default();
    bool frozen = is_frozen(self, domain);
    /* Without a valid configuration this mode is nobody's wish. */
    bool observe = configuration->policies != NULL && configuration->settings.mode == SETTINGS_MODE_OBSERVE;

    if (frozen && !observe && domain->running && domain->release == NULL && (guard->wanted || guard->have != HAVE_NONE))
        return (GuardWish){.wanted = true,
                           .reason = "it was guarded before, and its policy cannot be told: see StateReason and "
                                     "ConfigurationErrors"};
    return guard_decide(&(GuardInput){
        .running = domain->running,
        .observe = configuration->settings.mode == SETTINGS_MODE_OBSERVE,
        .scope_all = configuration->settings.scope_all,
        .watched = domain->guest != NULL,
        .policy = domain->view->policy != NULL ? &domain->view->guard
                  : frozen                     ? &fallback
                                               : NULL,
        .l2 = &domain->l2,
        .platform = configuration->platform.verdict,
        .released = domain->release != NULL,
    });
}

/** What is wanted of a guest may be other than before. */
void guards_update(Guards *self, Domain *domain)
{
    Guard *guard = domain->guard;

    if (guard != NULL) {
        GuardWish wish = decide(self, domain);
        bool changed = guard->wanted != wish.wanted;
        guard->wanted = wish.wanted;
        guard->reason = wish.reason;
        if (changed) {
            /* What failed may not have to be done any more, and what is new is to be done at once. */
            g_clear_handle_id(&guard->retry_timer, g_source_remove);
            guard->retry_ms = 0;
            if (guard->job == NULL)
                set_error(guard, NULL);
            else if (guard->job->step == STEP_SET)
                g_atomic_int_set(&guard->job->unwanted, !guard->wanted);
        }
        converge(guard);
    }
    publish(self, domain);
}

void guards_update_all(Guards *self)
{
    g_autoptr(GList) guards = g_hash_table_get_values(self->guards);

    for (GList *l = guards; l != NULL; l = l->next)
        guards_update(self, ((Guard *)l->data)->domain);
}

/** A domain was looked at: the detector knows by now. */
void guards_take_look(Guards *self, Domain *domain, const Look *look)
{
    Guard *guard = domain->guard;

    if (guard != NULL && (!look->running || guard->id != look->id)) {
        if (!look->running)
            record_remove(guard);
        release_end(self, domain, "the guest has ended");
        guard_remove(g_steal_pointer(&guard));
    }
    if (guard == NULL && look->running && !self->stopping)
        guard_new(self, domain, look->id);
    guards_update(self, domain);
}

/** The domain is about to go. */
void guards_forget(Guards *self, Domain *domain)
{
    if (domain->guard == NULL)
        return;
    release_end(self, domain, "the guest has ended");
    record_remove(domain->guard);
    guard_remove(domain->guard);
}

/** Returns: how many jobs of libvirt were aborted since the daemon began. */
guint64 guards_aborted_jobs(const Guards *self)
{
    return self->aborted_jobs;
}

/** Returns: how many guests have a blocker. */
unsigned guards_count(const Guards *self)
{
    GHashTableIter iter;
    gpointer value;
    unsigned n = 0;

    g_hash_table_iter_init(&iter, self->guards);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        n += ((const Guard *)value)->have == HAVE_BLOCKER;
    return n;
}

/* Life ------------------------------------------------------------------------------------------------------------- */

static void on_lanes_stopped(gpointer data)
{
    Guards *self = data;

    self->services.stopped(self->services.data);
}

/** @services: copied; what they point to must outlive the guards. To be freed with guards_free(). */
Guards *guards_new(const GuardsServices *services)
{
    static const LanesHandlers handlers = {
        .ready = on_lanes_ready,
        .stopped = on_lanes_stopped,
    };
    Guards *self = g_new0(Guards, 1);

    self->services = *services;
    self->folder = g_build_filename(services->configuration->root, VIRTNEST_RUNDIR, "guards", NULL);
    self->releases = g_build_filename(services->configuration->root, VIRTNEST_RUNDIR, "releases", NULL);
    self->guards = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, guard_free);
    self->lanes = lanes_new(services->uri, &handlers, self);
    return self;
}

/** Begins nothing any more. Guards stay in place. services.stopped is called once all is over, which may be at once. */
void guards_stop(Guards *self)
{
    self->stopping = true;
    g_clear_handle_id(&self->slow_timer, g_source_remove);
    lanes_stop(self->lanes);
}

bool guards_are_stopped(const Guards *self)
{
    return self->stopping && lanes_are_stopped(self->lanes);
}

/** What calls under way still need is left alone. */
Guards *guards_free(Guards *self)
{
    if (self == NULL)
        return NULL;
    g_clear_handle_id(&self->slow_timer, g_source_remove);
    if (!lanes_are_stopped(self->lanes))
        return NULL;
    self->lanes = lanes_free(self->lanes);
    g_hash_table_unref(self->guards);
    g_free(self->folder);
    g_free(self->releases);
    g_free(self);
    return NULL;
}
