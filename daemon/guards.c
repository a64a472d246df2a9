/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is wanted of a guest and what it has are compared after each thing that may change either, and one call on a worker
 * makes them equal: a blocker is set, lifted, or looked for where it is not known whether there is one. At most one call is
 * under way for a guest. What fails is tried again, at growing intervals; a guest whose monitor hangs holds its own call
 * alone.
 *
 * If the daemon dies, blockers stay, since it is QEMU that has them. So that it finds them again, and asks no guest that
 * has none (to ask taints a guest), each is recorded in a file before it is set, and the file goes after it was lifted.
 * Guests that are tainted already are asked too: no record needs to be there for those.
 */

#include "daemon/guards.h"

#include "daemon/guard-job.h"
#include "daemon/lanes.h"
#include "daemon/log.h"
#include "daemon/notes.h"
#include "lib/blocker.h"
#include "lib/duration.h"
#include "lib/error.h"
#include "lib/guard-record.h"
#include "lib/guard.h"
#include <glib/gstdio.h>
#include <libvirt/virterror.h>
#include <string.h>
#include <unistd.h>

#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 30000
/* A call that has taken so long is published. */
#define SLOW_CHECK_S 5
/* For as long somebody waits for a call to be made at all: longer than a note is given to be written, and not as long as D-Bus
 * clients wait by themselves. */
#define WAIT_MAX_S 15
/* A guard that nobody has asked for since is looked for again, at the next look at its domain. */
#define CHECK_AFTER_USEC (60 * G_USEC_PER_SEC)
/* Why somebody waits in vain. */
#define OUT_OF_REACH "libvirt cannot be asked now; virtnest goes on trying"
/* Of a release, in bytes. */
#define REASON_MAX 1024
/* Where the image lies that is used when QEMU may not read a memfd. */
#define IMAGE VIRTNEST_VENDORDIR "/" BLOCKER_NODE ".vdi"

typedef struct Guard {
    Guards *guards;
    Domain *domain;
    guint64 serial; /* no other has it, nor a later run of this guest */
    int id;
    GuardHave have;
    bool wanted;
    const char *reason; /* of the wish */
    char *error;        /* why have is not as wanted */
    char *stuck;        /* why a job could not be aborted, as it was logged */
    struct GuardJob *job;
    LaneCall *call;
    bool slow; /* it was published that the call does not come to an end */
    guint retry_timer;
    unsigned retry_ms;
    guint release_timer;
    gint64 wanted_at;  /* monotonic: since when it is wanted and not there; 0: it is not */
    gint64 checked_at; /* monotonic: when it was last known for certain what it has */
    bool check;        /* it is to be looked for again */
    bool doubt;        /* a call that failed may have had its effect */
    Waiters *lifting;  /* who waits for the blocker to be gone */
    Waiters *setting;  /* who waits for it to be there, where it is wanted */
    gint64 waited_for; /* monotonic: since when somebody waits; 0: nobody does */
    Note *note;
    guint64 l2_since; /* CLOCK_REALTIME, seconds: since when an L2 may be there; 0: none may */
} Guard;

struct Guards {
    GuardsServices services;
    Lanes *lanes;
    Notes *notes;
    GHashTable *guards; /* serial -> Guard */
    guint64 serial;
    char *folder;   /* of records */
    char *releases; /* the folder of releases */
    guint slow_timer;
    guint64 aborted_jobs, missed_jobs;
    Histogram set; /* from the wish to the blocker in place */
    bool stopping;
};

static void converge(Guard *guard);
static void decide_anew(Guard *guard);

/* Records ---------------------------------------------------------------------------------------------------------- */

/* Before it is set, so that there is none without. A failure is none of the guard's: it would be lost with the daemon. */
static void record_write(const Guard *guard)
{
    const Domain *domain = guard->domain;
    g_autoptr(GError) error = NULL;

    if (!guard_record_write(guard->guards->folder, domain->uuid, guard->id, domain->view->matched_by, &error))
        log_write(G_LOG_LEVEL_WARNING, (LogSubject){.domain = domain->name, .uuid = domain->uuid},
                  "domain '%s': cannot note that it is guarded, so that a restarted virtnestd would not know: %s",
                  domain_label(domain), error->message);
}

/**
 * Finds what an earlier daemon knew of a guest that it guarded.
 * Returns: the name of the policy whose [Match] took it, to be freed with g_free(), or NULL.
 */
char *guards_find_match(const Guards *self, const char *uuid)
{
    return guard_record_match(self->folder, uuid);
}

/* What is published ------------------------------------------------------------------------------------------------ */

/* Why a guard is gone, for the log. */
static const char *lift_reason(const Domain *domain)
{
    const Guard *guard = domain->guard;

    if (guard == NULL || !domain->running)
        return "it does not run any more";
    if (guard->wanted)
        return "somebody else took it away, and it is set again";
    if (*guard->reason != '\0')
        return guard->reason;
    if (domain->guest != NULL && domain->l2.state == L2_UNKNOWN && !domain->l2.lost)
        return "it was started anew";
    return domain->view->policy == NULL ? "no policy has it guarded" : "it runs no guest of its own";
}

/* Takes over what the guard says now, and tells what is other. */
static void publish(Guards *self, Domain *domain)
{
    const Guard *guard = domain->guard;
    bool guarded = guard != NULL && guard->have == HAVE_BLOCKER, lifting = guarded && !guard->wanted;
    const char *reason = guard != NULL ? guard->reason : "",
               *error = guard != NULL && guard->error != NULL ? guard->error : "";
    const char *properties[4] = {NULL};
    gsize n = 0;

    if (domain->guarded != guarded)
        properties[n++] = "Guarded";
    /* Blockers hang on the second, and go with the first. */
    if (strcmp(domain->guard_reason, reason) != 0 || domain->guard_lifting != lifting)
        properties[n++] = "GuardReason";
    if (strcmp(domain->guard_error, error) != 0) {
        properties[n++] = "GuardError";
        if (*error != '\0')
            log_write(G_LOG_LEVEL_WARNING, domain_subject(domain, MESSAGE_GUARD_FAILED), "domain '%s' %s: %s",
                      domain_label(domain), guard->wanted ? "cannot be guarded" : "cannot be released from its guard",
                      error);
    }
    if (domain->guarded != guarded && guarded)
        log_write(G_LOG_LEVEL_MESSAGE, domain_subject(domain, MESSAGE_GUARDED),
                  "domain '%s' is guarded against migration, save and memory snapshots: %s", domain_label(domain),
                  reason);
    else if (domain->guarded != guarded)
        log_write(G_LOG_LEVEL_MESSAGE, domain_subject(domain, MESSAGE_UNGUARDED),
                  "domain '%s' is not guarded any more: %s%s", domain_label(domain), lift_reason(domain),
                  guard != NULL && !guard->wanted && guard->l2_since != 0
                      ? ", although a guest of its own may run in it"
                      : "");
    domain->guarded = guarded;
    domain->guard_reason = reason;
    domain->guard_lifting = lifting;
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

/* Takes a release away, if there is one. @why: for the log; @by: who wanted that, or NULL */
static void release_end(Guards *self, Domain *domain, const char *why, const char *by)
{
    g_autofree char *path = release_path(self, domain->uuid);

    if (domain->release == NULL)
        return;
    (void)g_unlink(path);
    if (domain->guard != NULL)
        g_clear_handle_id(&domain->guard->release_timer, g_source_remove);
    domain->release = release_free(domain->release);
    LogSubject subject = domain_subject(domain, MESSAGE_RELEASE_ENDED);
    subject.by = by;
    log_write(G_LOG_LEVEL_MESSAGE, subject, "domain '%s': its release has ended: %s%s", domain_label(domain), why,
              by != NULL ? by : "");
    release_changed(self, domain);
}

static gboolean on_release_over(gpointer data)
{
    Guard *guard = data;

    guard->release_timer = 0;
    release_end(guard->guards, guard->domain, "its time has passed", NULL);
    guards_update(guard->guards, guard->domain);
    return G_SOURCE_REMOVE;
}

/* In whole milliseconds, and at least one. A clock that was set forward ends it at the next look. */
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

/** Returns: whether anybody can be released for so long and for such a reason; if not, with VIRTNEST_ERROR_RELEASE. */
bool guards_check_terms(const Guards *self, guint64 usec, const char *reason, GError **error)
{
    guint64 maximum = self->services.configuration->settings.release_max_usec;
    g_autofree char *text = duration_format(usec), *limit = duration_format(maximum);

    if (usec == 0 || usec > maximum) {
        g_set_error(
            error, VIRTNEST_ERROR, VIRTNEST_ERROR_RELEASE,
            "a domain can be released for at most %s, and not for %s; ReleaseMax= in virtnest.conf is the limit", limit,
            text);
        return false;
    }
    if (strlen(reason) > REASON_MAX) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_RELEASE, "the reason is longer than %d bytes", REASON_MAX);
        return false;
    }
    return true;
}

/**
 * Lets a guest be moved for some time, whatever it runs. One that is released already gets the new time.
 * @by: who wants that; @reason: in words of theirs
 * Returns: false with VIRTNEST_ERROR_RELEASE.
 */
bool guards_release(Guards *self, Domain *domain, guint64 usec, const char *by, const char *reason, GError **error)
{
    guint64 now = (guint64)g_get_real_time();
    g_autofree char *path = release_path(self, domain->uuid), *text = duration_format(usec);
    g_autoptr(GError) cause = NULL;

    if (!guards_check_terms(self, usec, reason, error))
        return false;
    if (domain->guard == NULL) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_RELEASE,
                    "domain '%s' does not run: there is nothing to release", domain_label(domain));
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
    LogSubject subject = domain_subject(domain, MESSAGE_RELEASED);
    subject.by = by;
    log_write(G_LOG_LEVEL_WARNING, subject, "domain '%s' is released from its guard for %s by %s%s%s",
              domain_label(domain), text, by, *reason != '\0' ? ": " : "", reason);
    release_changed(self, domain);
    guards_update(self, domain);
    return true;
}

/** Ends a release early. */
void guards_revoke(Guards *self, Domain *domain, const char *by)
{
    release_end(self, domain, "revoked by ", by);
    guards_update(self, domain);
}

static bool is_lifted(const Guard *guard)
{
    return guard->have == HAVE_NONE && !guard->doubt && guard->job == NULL;
}

/* As far as it is known. */
static bool is_as_wanted(const Guard *guard)
{
    return guard->have == (guard->wanted ? HAVE_BLOCKER : HAVE_NONE) && !guard->check && !guard->doubt;
}

static bool is_settled(const Guard *guard)
{
    return guard->wanted ? guard->have == HAVE_BLOCKER && !guard->doubt && guard->job == NULL : is_lifted(guard);
}

/* @problem: why what they wait for is not so; NULL: it is */
static void tell_waiting(Guard *guard, const char *problem)
{
    guard->lifting = waiters_tell(g_steal_pointer(&guard->lifting), problem);
    guard->setting = waiters_tell(g_steal_pointer(&guard->setting), problem);
    guard->waited_for = 0;
}

static void check_waiting(Guard *guard)
{
    if (guard->wanted && note_is_settled(guard->note))
        guard->lifting = waiters_tell(g_steal_pointer(&guard->lifting), "it is to be guarded again");
    if (is_lifted(guard))
        guard->lifting = waiters_tell(g_steal_pointer(&guard->lifting), NULL);
    if (is_settled(guard))
        guard->setting = waiters_tell(g_steal_pointer(&guard->setting), NULL);
    if (guard->error != NULL)
        tell_waiting(guard, guard->error);
    if (guard->lifting == NULL && guard->setting == NULL)
        guard->waited_for = 0;
}

/* Convergence ------------------------------------------------------------------------------------------------------ */

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

static void log_abort(Guards *self, Guard *guard, const GuardJob *job)
{
    const Domain *domain = guard->domain;

    /* Once for a job, which may go on for long. */
    if (job->abort_error != NULL && g_strcmp0(guard->stuck, job->abort_error->message) != 0)
        log_write(G_LOG_LEVEL_WARNING, domain_subject(domain, MESSAGE_JOB_NOT_ABORTED),
                  "domain '%s': its %s began before the guest could be guarded (%s), and %s", domain_label(domain),
                  job->last_job, guard->reason, job->abort_error->message);
    g_free(guard->stuck);
    guard->stuck = job->abort_error != NULL ? g_strdup(job->abort_error->message) : NULL;
    if (job->aborted == 0)
        return;
    self->aborted_jobs += job->aborted;
    log_write(
        G_LOG_LEVEL_WARNING, domain_subject(domain, MESSAGE_JOB_ABORTED),
        "domain '%s': its %s was aborted, which had begun before the guest could be guarded: %s. libvirt does not tell "
        "who began it",
        domain_label(domain), job->last_job, guard->reason);
}

/* Of a call that failed: is it possible that QEMU did what it was told, or will? */
static bool is_doubtful(const GError *error)
{
    return error->domain == VIRTNEST_LIBVIRT_ERROR && error->code != VIR_ERR_NO_SUPPORT &&
           error->code != VIR_ERR_ARGUMENT_UNSUPPORTED && error->code != VIR_ERR_OPERATION_INVALID &&
           error->code != VIR_ERR_NO_DOMAIN && error->code != VIR_ERR_OPERATION_DENIED &&
           error->code != VIR_ERR_ACCESS_DENIED;
}

/* A call for a run of a guest that has ended may have come to the one that was started meanwhile. */
static void check_later_run(Guards *self, const char *uuid)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->guards);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Guard *guard = value;
        if (strcmp(guard->domain->uuid, uuid) != 0)
            continue;
        guard->check = true;
        converge(guard);
        break;
    }
}

static void job_done(gpointer data)
{
    g_autoptr(GuardJob) job = data;
    Guards *self = job->guards;
    Guard *guard = g_hash_table_lookup(self->guards, &job->serial);

    if (guard == NULL) {
        check_later_run(self, job->uuid);
        return;
    }
    guard->job = NULL;
    guard->call = NULL;
    guard->slow = false;
    log_abort(self, guard, job);
    if (job->error == NULL) {
        if (guard->have == HAVE_BLOCKER && job->step == STEP_FIND && job->have == HAVE_NONE)
            log_write(G_LOG_LEVEL_WARNING, domain_subject(guard->domain, MESSAGE_GUARD_TAKEN),
                      "domain '%s': somebody else took its guard away", domain_label(guard->domain));
        guard->have = job->have;
        if (guard->have == HAVE_BLOCKER && guard->wanted_at != 0) {
            /* One that an earlier daemon has set took this one no time. */
            if (job->step == STEP_SET)
                histogram_add(&self->set, g_get_monotonic_time() - guard->wanted_at);
            guard->wanted_at = 0;
        }
        guard->check = guard->doubt = false;
        guard->checked_at = g_get_monotonic_time();
        guard->retry_ms = 0;
        set_error(guard, NULL);
        if (guard->have == HAVE_NONE)
            guard_record_remove(self->folder, guard->domain->uuid);
    } else {
        guard->doubt |= job->step != STEP_FIND && is_doubtful(job->error);
        /* Of a guest that is gone nothing is wrong, and the next look tells what runs now. Nor is it if what failed is wanted no
         * more. */
        set_error(guard, job->run_ended || is_as_wanted(guard) ? NULL : job->error->message);
    }
    /* What was found may be to stay. */
    if (job->error == NULL && !guard->domain->ended)
        decide_anew(guard);
    else if (job->error != NULL && !self->stopping && !is_as_wanted(guard))
        retry_later(guard);
    publish(self, guard->domain);
    check_waiting(guard);
}

static gboolean on_slow_check(gpointer data)
{
    Guards *self = data;
    GHashTableIter iter;
    gpointer value;
    gint64 now = g_get_monotonic_time();
    bool any = false;

    g_hash_table_iter_init(&iter, self->guards);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Guard *guard = value;
        any |= guard->job != NULL || guard->waited_for != 0;
        if (guard->waited_for != 0 && now - guard->waited_for >= WAIT_MAX_S * G_USEC_PER_SEC)
            tell_waiting(guard, guard->error != NULL ? guard->error : OUT_OF_REACH);
        if (guard->job == NULL || guard->slow || !lane_call_is_overdue(guard->call))
            continue;
        guard->slow = true;
        set_error(guard,
                  "its monitor does not answer; virtnest goes on waiting. `virsh domstate` and `virsh domcontrol` tell "
                  "whether its QEMU is stuck");
        publish(self, guard->domain);
        check_waiting(guard);
    }
    if (any)
        return G_SOURCE_CONTINUE;
    self->slow_timer = 0;
    return G_SOURCE_REMOVE;
}

static void watch_for_slowness(Guards *self)
{
    if (self->slow_timer == 0)
        self->slow_timer = g_timeout_add_seconds(SLOW_CHECK_S, on_slow_check, self);
}

/* Makes what the guest has and what is wanted of it equal, as far as a call can be made now. */
static void converge(Guard *guard)
{
    Guards *self = guard->guards;

    if (is_as_wanted(guard) || guard->job != NULL || guard->retry_timer != 0 || self->stopping ||
        !lanes_is_free(self->lanes, true))
        return;
    GuardJob *job = g_new0(GuardJob, 1);
    job->guards = self;
    job->serial = guard->serial;
    job->step = guard->have == HAVE_UNKNOWN || guard->check ? STEP_FIND : guard->wanted ? STEP_SET : STEP_LIFT;
    job->have = guard->have;
    g_strlcpy(job->uuid, guard->domain->uuid, sizeof(job->uuid));
    job->id = guard->id;
    job->image = g_build_filename(self->services.configuration->root, IMAGE, NULL);
    if (job->step == STEP_SET)
        record_write(guard);
    guard->job = job;
    log_write(G_LOG_LEVEL_DEBUG, domain_subject(guard->domain, NULL), "domain '%s': its guard is to be %s",
              domain_label(guard->domain),
              job->step == STEP_SET    ? "set"
              : job->step == STEP_LIFT ? "lifted"
                                       : "looked for");
    guard->call = lanes_run(self->lanes, &job->connection, guard_job_work, job_done, job);
    watch_for_slowness(self);
}

/* @waiters: of that guard; nobody else waits without one */
static void wait_for(const Guards *self, Guard *guard, Waiters **waiters, WaiterTold told, gpointer data)
{
    if (guard == NULL || self->stopping) {
        told(guard != NULL ? WAITERS_ENDS : NULL, data);
        return;
    }
    *waiters = waiters_add(*waiters, told, data);
    if (guard->waited_for == 0)
        guard->waited_for = g_get_monotonic_time();
    watch_for_slowness(guard->guards);
    /* What has failed so far is tried again at once. */
    if (guard->retry_timer != 0) {
        g_clear_handle_id(&guard->retry_timer, g_source_remove);
        guard->retry_ms = 0;
        converge(guard);
    }
    /* What is under way will tell. */
    if (guard->job == NULL || guard->slow)
        check_waiting(guard);
}

/** Returns: whether the guest has a blocker, or may have one, or is about to get one. */
bool guards_may_guard(const Domain *domain)
{
    const Guard *guard = domain->guard;

    return guard != NULL && (guard->have != HAVE_NONE || guard->wanted || guard->doubt || guard->job != NULL);
}

/** Calls @lifted once the guest has no blocker, or it is known that it stays for now. */
void guards_when_lifted(Guards *self, Domain *domain, WaiterTold lifted, gpointer data)
{
    wait_for(self, domain->guard, domain->guard != NULL ? &domain->guard->lifting : NULL, lifted, data);
}

/** Calls @guarded once the guest has a blocker, if it is to have one, or it is known that it gets none for now. */
void guards_when_guarded(Guards *self, Domain *domain, WaiterTold guarded, gpointer data)
{
    wait_for(self, domain->guard, domain->guard != NULL ? &domain->guard->setting : NULL, guarded, data);
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
    note_free(guard->note);
    g_free(guard->error);
    g_free(guard->stuck);
    g_free(guard);
}

static void set_loaded(const Guard *guard, guint64 since)
{
    const Guards *self = guard->guards;

    if (guard->domain->loaded_l2_since == since)
        return;
    guard->domain->loaded_l2_since = since;
    self->services.changed(guard->domain, (const char *const[]){"LoadedL2Since", NULL}, self->services.data);
}

/*
 * This run of the guest began with the state of another one: restored, reverted to, migrated to here. If an L2 ran in it, no hook
 * was there to refuse it, or somebody overrode that.
 */
static void notice_loaded(const Guard *guard, const Look *look, bool recorded)
{
    const Domain *domain = guard->domain;
    bool ours = recorded || domain->release != NULL;

    if (ours || look->booted || !look->has_runtime || !look->runtime.running)
        return;
    g_autoptr(GDateTime) since = g_date_time_new_from_unix_local((gint64)look->runtime.since);
    g_autofree char *time = since != NULL ? g_date_time_format(since, "%F %T") : g_strdup("?");
    set_loaded(guard, look->runtime.since * G_USEC_PER_SEC);
    log_write(
        G_LOG_LEVEL_WARNING, domain_subject(domain, MESSAGE_LOADED_WITH_L2),
        "domain '%s' was loaded from a state in which a guest of its own ran, since %s on %s: that one, or all of "
        "it, may crash",
        domain_label(domain), time, *look->runtime.host != '\0' ? look->runtime.host : "another host");
}

static void guard_new(Guards *self, Domain *domain, const Look *look)
{
    Guard *guard = g_new0(Guard, 1);

    guard->guards = self;
    guard->domain = domain;
    guard->serial = ++self->serial;
    guard->id = look->id;
    guard->reason = "";
    domain->guard = guard;
    domain->left_with_l2 = false;
    g_hash_table_insert(self->guards, &guard->serial, guard);
    /* A new QEMU has none, and one that this daemon or the one before gave one to is recorded. If the record is lost, the
     * taint tells whom to ask. */
    bool recorded = guard_record_fits(self->folder, domain->uuid, guard->id);
    guard->have = recorded || look->tainted ? HAVE_UNKNOWN : HAVE_NONE;
    if (!recorded)
        guard_record_remove(self->folder, domain->uuid);
    release_find(guard);
    guard->note = note_new(self->notes, domain, guard->id);
    notice_loaded(guard, look, recorded);
}

static void guard_remove(Guard *guard)
{
    Domain *domain = guard->domain;

    tell_waiting(guard, NULL);
    set_loaded(guard, 0);
    domain->guard = NULL;
    (void)g_hash_table_remove(guard->guards->guards, &guard->serial);
}

/*
 * What is in force cannot be told: there was no valid configuration yet, or the domain's policy is gone or wrong. Then a guard
 * that is there stays, and a domain that is to have a policy is guarded where the defaults want it.
 */
static bool is_frozen(const Guards *self, const Domain *domain)
{
    return self->services.configuration->policies == NULL || domain->view->policy_unknown;
}

/* @ret_told: set to whether what is in force can be told */
static GuardWish decide(const Guards *self, const Domain *domain, bool *ret_told)
{
    const Configuration *configuration = self->services.configuration;
    const Guard *guard = domain->guard;
    const GuardPolicy fallback = guard_policy_default();
    bool frozen = is_frozen(self, domain);
    /* Without a valid configuration this mode is nobody's wish. */
    bool observe = configuration->policies != NULL && configuration->settings.mode == SETTINGS_MODE_OBSERVE;

    GuardWish wish = guard_decide(&(GuardInput){
        .running = domain->running,
        .observe = observe,
        .scope_all = configuration->settings.scope_all,
        .watched = domain->guest != NULL,
        .policy = domain->view->policy != NULL   ? &domain->view->guard
                  : domain->view->policy_unknown ? &fallback
                                                 : NULL,
        .l2 = &domain->l2,
        .platform = configuration->platform.verdict,
        .released = domain->release != NULL,
    });

    *ret_told = !frozen;
    if (frozen && !observe && domain->running && domain->release == NULL && !wish.wanted &&
        (guard->wanted || guard->have == HAVE_BLOCKER))
        return (GuardWish){.wanted = true,
                           .reason = "it was guarded before, and its policy cannot be told: see StateReason and "
                                     "ConfigurationErrors"};
    return wish;
}

/* Says in the live definition what others have to know: an L2 that is there, and a release. */
static void update_note(Guard *guard, const GuardWish *wish)
{
    const Domain *domain = guard->domain;
    const Runtime *have = note_have(guard->note);
    guint64 now = (guint64)g_get_real_time() / G_USEC_PER_SEC;

    if (!wish->l2) {
        guard->l2_since = 0;
        note_want(guard->note, NULL);
        return;
    }
    /* It may have been written by the daemon before this one. */
    if (guard->l2_since == 0)
        guard->l2_since = have != NULL && have->running && have->since > 0 ? MIN(have->since, now) : now;
    /* The kill switch stops all writing; what is wrong may go all the same. */
    if (guard->guards->services.configuration->writes_disabled)
        return;
    Runtime wanted = {
        .running = true,
        .since = guard->l2_since,
        .until = now + RUNTIME_LEASE_S,
        .released_until = domain->release != NULL ? domain->release->until / G_USEC_PER_SEC : 0,
    };
    g_strlcpy(wanted.host, g_get_host_name(), sizeof(wanted.host));
    note_want(guard->note, &wanted);
}

/* What is to be noted comes first: a destination is to let in what is released here. */
static GuardWish decide_and_note(Guard *guard)
{
    Guards *self = guard->guards;
    Domain *domain = guard->domain;
    bool told = false;
    GuardWish wish = decide(self, domain, &told);

    /* Nobody has looked for an L2 yet: what is there stays. */
    if (told && !(domain->guest != NULL && domain->l2.state == L2_UNKNOWN && !domain->l2.lost))
        update_note(guard, &wish);
    if (wish.undecided && (guard->wanted || guard->have == HAVE_BLOCKER)) {
        wish.wanted = true;
        wish.reason = "it was guarded before, and virtnestd has not seen yet what it runs";
    }
    if (!wish.wanted && domain->release != NULL && guard->wanted && guard->have != HAVE_NONE &&
        !note_is_settled(guard->note))
        wish.wanted = true;
    return wish;
}

static void decide_anew(Guard *guard)
{
    GuardWish wish = decide_and_note(guard);
    bool changed = guard->wanted != wish.wanted;

    guard->wanted = wish.wanted;
    guard->reason = wish.reason;
    if (changed) {
        /* What failed may not have to be done any more, and what is new is to be done at once. */
        g_clear_handle_id(&guard->retry_timer, g_source_remove);
        guard->retry_ms = 0;
        guard->wanted_at = guard->wanted && guard->have != HAVE_BLOCKER ? g_get_monotonic_time() : 0;
        if (guard->job == NULL)
            set_error(guard, NULL);
        else if (guard->job->step == STEP_SET)
            g_atomic_int_set(&guard->job->unwanted, !guard->wanted);
    }
    converge(guard);
}

/** What is wanted of a guest may be other than before. */
void guards_update(Guards *self, Domain *domain)
{
    Guard *guard = domain->guard;

    /* What can be done to a QEMU that is there no more? What was known of it is of use until libvirt tells why. */
    if (domain->ended)
        return;
    if (guard != NULL)
        decide_anew(guard);
    publish(self, domain);
    if (guard != NULL)
        check_waiting(guard);
}

/**
 * QEMU begins to migrate or save a guest, or to receive one. What has failed so far, such as to set a blocker, is tried again at
 * once: the job can be aborted all the same.
 */
void guards_job_began(Guards *self, Domain *domain)
{
    if (domain->guard != NULL) {
        g_clear_handle_id(&domain->guard->retry_timer, g_source_remove);
        domain->guard->retry_ms = 0;
    }
    guards_update(self, domain);
}

void guards_update_all(Guards *self)
{
    g_autoptr(GList) guards = g_hash_table_get_values(self->guards);

    for (GList *l = guards; l != NULL; l = l->next)
        guards_update(self, ((Guard *)l->data)->domain);
}

/**
 * Is it known, before the detector looks, that an L2 is in the guest? Its live definition says so, and it was not started
 * with that: it was loaded from such a state, or it is this run of it that an earlier daemon guarded or released.
 */
bool guards_find_nested(const Guards *self, const Domain *domain, const Look *look)
{
    if (!look->running || !look->has_runtime || !look->runtime.running)
        return false;
    if (!look->booted || guard_record_fits(self->folder, domain->uuid, look->id))
        return true;
    g_autofree char *path = release_path(self, domain->uuid);
    g_autoptr(Release) release = release_load(path);
    return release != NULL && release->id == look->id;
}

/** A domain was looked at: the detector knows by now. */
void guards_take_look(Guards *self, Domain *domain, const Look *look)
{
    Guard *guard = domain->guard;

    if (guard != NULL && (!look->running || guard->id != look->id)) {
        domain->left_with_l2 = guard->l2_since != 0;
        domain->left_released = domain->release != NULL;
        release_end(self, domain, "the guest has ended", NULL);
        guard_remove(g_steal_pointer(&guard));
    }
    /* Its guest may have ended while no daemon ran. */
    if (!look->running)
        guard_record_remove(self->folder, domain->uuid);
    if (guard == NULL && look->running && !self->stopping)
        guard_new(self, domain, look);
    if (domain->release != NULL && domain->release->until <= (guint64)g_get_real_time())
        release_end(self, domain, "its time has passed", NULL);
    /* To connect when the first L2 runs would cost its guard the time. */
    if (domain->guest != NULL)
        (void)lanes_is_free(self->lanes, false);
    guard = domain->guard;
    if (guard != NULL && guard->have == HAVE_BLOCKER && look->began_at - guard->checked_at > CHECK_AFTER_USEC)
        guard->check = true;
    if (guard != NULL)
        note_found(guard->note, look->has_runtime ? &look->runtime : NULL, look->began_at);
    guards_update(self, domain);
}

/**
 * Takes away the records of domains that went while no daemon ran.
 * @is_known: is there a domain of that UUID?
 */
void guards_sweep(const Guards *self, bool (*is_known)(const char *uuid, gpointer data), gpointer data)
{
    guard_record_sweep(self->folder, is_known, data);
}

/** The domain is about to go. */
void guards_forget(Guards *self, Domain *domain)
{
    if (domain->guard == NULL)
        return;
    release_end(self, domain, "the guest has ended", NULL);
    guard_record_remove(self->folder, domain->uuid);
    guard_remove(domain->guard);
}

/**
 * A guest was saved or migrated and runs here no more. If an L2 ran in it, then either an operator wanted that, or QEMU was
 * through with it before the L2 was seen: that cannot be undone, and whoever is about to restore it should know.
 * @what: was done, in words
 */
void guards_note_move(Guards *self, Domain *domain, const char *what)
{
    const Guard *guard = domain->guard;
    bool released = guard != NULL ? domain->release != NULL : domain->left_released;

    /* A look may have found it off before libvirt's event came. */
    if (guard != NULL ? guard->l2_since == 0 : !domain->left_with_l2)
        return;
    domain->left_with_l2 = false;
    if (!released)
        self->missed_jobs++;
    log_write(released ? G_LOG_LEVEL_WARNING : G_LOG_LEVEL_CRITICAL, domain_subject(domain, MESSAGE_MOVED_WITH_L2),
              "domain '%s' was %s while a guest of its own ran, %s", domain_label(domain), what,
              released ? "as an operator has released it" : "which could not be told in time to prevent it");
}

/** Returns: how many jobs of libvirt were aborted since the daemon began. */
guint64 guards_aborted_jobs(const Guards *self)
{
    return self->aborted_jobs;
}

/** Returns: how many guests were moved with an L2 that was seen too late for anything else. */
guint64 guards_missed_jobs(const Guards *self)
{
    return self->missed_jobs;
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

/** Puts in what the guards know. */
void guards_fill_metrics(const Guards *self, Metrics *metrics)
{
    unsigned calls, hung;

    lanes_count_calls(self->lanes, &calls, &hung);
    metrics_add_calls(metrics, "guards", calls, hung);
    notes_count_calls(self->notes, &calls, &hung);
    metrics_add_calls(metrics, "notes", calls, hung);
    metrics->guard_set = self->set;
    metrics->aborted_jobs = self->aborted_jobs;
    metrics->missed_jobs = self->missed_jobs;
}

/* Life ------------------------------------------------------------------------------------------------------------- */

static void on_part_stopped(gpointer data)
{
    Guards *self = data;

    self->services.stopped(self->services.data);
}

static void on_note_settled(Domain *domain, gpointer data)
{
    guards_update(data, domain);
}

/** @services: copied; what they point to must outlive the guards. To be freed with guards_free(). */
Guards *guards_new(const GuardsServices *services)
{
    static const LanesHandlers handlers = {
        .ready = on_lanes_ready,
        .stopped = on_part_stopped,
    };
    static const NotesHandlers notes_handlers = {
        .settled = on_note_settled,
        .stopped = on_part_stopped,
    };
    Guards *self = g_new0(Guards, 1);

    self->services = *services;
    self->folder = g_build_filename(services->configuration->root, VIRTNEST_RUNDIR, "guards", NULL);
    self->releases = g_build_filename(services->configuration->root, VIRTNEST_RUNDIR, "releases", NULL);
    self->guards = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, guard_free);
    self->lanes = lanes_new(services->uri, &handlers, self);
    self->notes = notes_new(services->uri, &notes_handlers, self);
    return self;
}

/** Begins nothing any more. Guards stay in place. services.stopped is called once all is over, which may be at once. */
void guards_stop(Guards *self)
{
    GHashTableIter iter;
    gpointer value;

    self->stopping = true;
    g_hash_table_iter_init(&iter, self->guards);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        tell_waiting(value, WAITERS_ENDS);
    g_clear_handle_id(&self->slow_timer, g_source_remove);
    lanes_stop(self->lanes);
    notes_stop(self->notes);
}

bool guards_are_stopped(const Guards *self)
{
    return self->stopping && lanes_are_stopped(self->lanes) && notes_are_stopped(self->notes);
}

/** What calls under way still need is left alone. */
Guards *guards_free(Guards *self)
{
    if (self == NULL)
        return NULL;
    g_clear_handle_id(&self->slow_timer, g_source_remove);
    if (!lanes_are_stopped(self->lanes) || !notes_are_stopped(self->notes))
        return NULL;
    g_hash_table_unref(self->guards);
    self->lanes = lanes_free(self->lanes);
    self->notes = notes_free(self->notes);
    g_free(self->folder);
    g_free(self->releases);
    g_free(self);
    return NULL;
}
