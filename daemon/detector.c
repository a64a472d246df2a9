/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Each running KVM guest that may have guests of its own is watched: at its start its QEMU process is found and the
 * cheapest source of readings opened, on a worker, since /proc may block. One timer looks at all of them, on the main thread:
 * these reads do not block. When a QEMU process ends, its pidfd tells at once, and what was borrowed of it is given back on
 * a worker: it may be the last that holds the VM. Who has no such source is asked about through libvirt.
 */

#include "daemon/detector.h"

#include "daemon/log.h"
#include "daemon/statistics.h"
#include "lib/kernel.h"
#include "lib/l2-source.h"
#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

/* Threads that open and close. One that a stuck process holds up is lost until that comes loose. */
#define WORKERS_MAX 16
/* Of a source that sees moments only: that many looks in the time of one. */
#define MOMENTS_PER_INTERVAL 5
#define INTERVAL_MIN_USEC (50 * 1000)
#define STATISTICS_INTERVAL_MIN_USEC (2 * (guint64)G_USEC_PER_SEC)
/* vCPUs that come and go send no event. */
#define VCPUS_CHECK_USEC (10 * (gint64)G_USEC_PER_SEC)
/* Where nothing else tells: of so many checks one counts the vCPUs, though the process has as many files as before. */
#define VCPUS_CHECKS 6
#define REGISTERS_USEC (5 * (gint64)G_USEC_PER_SEC)
/* libvirt leaves out a guest that has a job. One that it has said nothing about for so long is unknown. */
#define SILENCE_USEC (30 * (gint64)G_USEC_PER_SEC)
#define EVENTS_PER_DISPATCH 64
/* A QEMU that ends takes its folder of debugfs away before its pidfd tells. */
#define FAILURES_MAX 3

/* A guest that is watched: one run of it. */
typedef struct Guest {
    Detector *detector;
    Domain *domain;
    guint64 serial; /* no other guest has it, nor a later run of this one */
    int id;         /* libvirt's number of this run */
    QemuProcess *process;
    L2Source *source;
    bool job;        /* on a worker */
    bool statistics; /* asked about through libvirt */
    bool ended;      /* its QEMU process did */
    gint64 vcpus_checked_at, registers_asked_at, answered_at;
    guint64 n_files; /* of the process; 0: not known */
    unsigned checks;
    unsigned failures; /* of the source, in a row */
    char *problem;     /* why the sources before this one are of no use */
} Guest;

struct Detector {
    DetectorServices services;
    GHashTable *guests;  /* serial -> Guest */
    GHashTable *by_uuid; /* uuid, owned by the domain -> the same */
    guint64 serial;
    Workers *workers;
    Statistics *statistics;
    GSource *timer;
    gint64 tick_usec, next_tick;
    unsigned ticks;
    Histogram lateness; /* of ticks */
    int epoll;
    GSource *epoll_source;
    GArray *readings;   /* of L2Reading; the timer's */
    unsigned n_sources; /* guests that have one */
    unsigned n_moments; /* those of them of which only moments are seen */
    bool stopping, stopped;
};

static void guest_look(Guest *guest, gint64 now);
static void set_timer(Detector *self);

/* What is published ------------------------------------------------------------------------------------------------ */

/* What a domain looked like, to tell what is other afterwards. */
typedef struct Before {
    L2State state;
    const char *source;
    char *reason;
    CpuExposure exposure;
} Before;

static Before before(const Domain *domain)
{
    return (Before){domain->l2.state, domain->l2_source, g_strdup(domain->l2_reason), domain->exposure};
}

static void log_state(const Domain *domain, L2State was)
{
    switch (domain->l2.state) {
    case L2_RUNNING:
        if (was != L2_QUIET)
            log_write(G_LOG_LEVEL_MESSAGE, domain_subject(domain, MESSAGE_L2_RUNS),
                      "domain '%s' runs a guest of its own (L2), seen through %s", domain_label(domain),
                      domain->l2_source);
        break;
    case L2_QUIET:
        if (was != L2_RUNNING)
            log_write(G_LOG_LEVEL_MESSAGE, domain_subject(domain, MESSAGE_L2_RUNS),
                      "domain '%s' has run a guest of its own (L2) before virtnestd looked; it may be there still",
                      domain_label(domain));
        break;
    case L2_NONE:
        if (was == L2_RUNNING || was == L2_QUIET)
            log_write(G_LOG_LEVEL_MESSAGE, domain_subject(domain, MESSAGE_L2_GONE),
                      "domain '%s' runs no guest of its own any more", domain_label(domain));
        break;
    case L2_UNKNOWN:
        if (domain->l2.lost)
            log_write(G_LOG_LEVEL_WARNING, domain_subject(domain, MESSAGE_L2_UNKNOWN),
                      "domain '%s' may run guests of its own (L2), and nothing tells whether it does: %s",
                      domain_label(domain), domain->l2_reason);
        break;
    }
}

/* Frees what @was holds. */
static void publish(Detector *self, Domain *domain, Before *was)
{
    const char *properties[6] = {NULL};
    gsize n = 0;

    if (domain->l2.state != was->state) {
        domain->l2_since = (guint64)g_get_real_time();
        properties[n++] = "L2State";
        properties[n++] = "L2Since";
    }
    if (strcmp(domain->l2_source, was->source) != 0)
        properties[n++] = "L2Source";
    if (strcmp(domain->l2_reason, was->reason) != 0)
        properties[n++] = "L2Reason";
    if (domain->exposure != was->exposure)
        properties[n++] = "Exposed";
    if (domain->l2.state != was->state || (domain->l2.lost && strcmp(domain->l2_reason, was->reason) != 0))
        log_state(domain, was->state);
    g_clear_pointer(&was->reason, g_free);
    if (n > 0)
        self->services.changed(domain, properties, self->services.data);
}

/* Workers ---------------------------------------------------------------------------------------------------------- */

/* Finds a guest's process and a source. */
typedef struct OpenJob {
    Detector *detector;
    guint64 serial;
    char *root, *name, *uuid;
    const QemuProcessCalls *calls;
    bool stats_fd;
    QemuProcess *process;
    L2Source *source;
    guint64 n_files;
    GString *problem; /* why sources are of no use */
} OpenJob;

/* Lets go of them. */
typedef struct CloseJob {
    QemuProcess *process;
    L2Source *source;
} CloseJob;

/* Looks whether vCPUs have come or gone. */
typedef struct CheckJob {
    Detector *detector;
    guint64 serial;
    char *root;
    pid_t pid;
    guint64 n_files;
    bool thorough;
    GArray *numbers; /* of vCPUs; NULL: as before */
} CheckJob;

static void close_work(gpointer data)
{
    CloseJob *job = data;

    l2_source_close(job->source);
    qemu_process_close(job->process);
}

/* Either may be NULL. */
static void let_go(Detector *self, QemuProcess *process, L2Source *source)
{
    CloseJob *job = g_new0(CloseJob, 1);

    *job = (CloseJob){process, source};
    (void)workers_run(self->workers, close_work, g_free, job);
}

static void add_problem(GString *problem, const char *source, const GError *error)
{
    /* File names are any bytes; what goes onto D-Bus must be UTF-8. */
    g_autofree char *text = g_utf8_make_valid(error->message, -1);

    g_string_append_printf(problem, "%s%s: %s", problem->len > 0 ? "; " : "", source, text);
}

/* Since Linux 6.2 the size of /proc/PID/fd is the number of files in it. */
static guint64 count_files(const char *root, pid_t pid)
{
    g_autofree char *path = g_strdup_printf("%s/proc/%d/fd", root, (int)pid);
    struct stat status;

    return stat(path, &status) == 0 ? (guint64)status.st_size : 0;
}

static void open_work(gpointer data)
{
    OpenJob *job = data;
    g_autoptr(GError) error = NULL;

    job->process = qemu_process_open(job->root, job->name, job->uuid, job->calls, &error);
    if (job->process == NULL) {
        add_problem(job->problem, "its QEMU process", error);
        return;
    }
    job->n_files = count_files(job->root, job->process->pid);
    if (job->stats_fd) {
        job->source = stats_fd_open(job->process, &error);
        if (job->source == NULL)
            add_problem(job->problem, "stats-fd", error);
        g_clear_error(&error);
    }
    if (job->source == NULL)
        job->source = debugfs_open(job->process, &error);
    if (job->source == NULL)
        add_problem(job->problem, "debugfs", error);
}

static void open_job_free(OpenJob *job)
{
    g_free(job->root);
    g_free(job->name);
    g_free(job->uuid);
    (void)g_string_free(job->problem, TRUE);
    g_free(job);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(OpenJob, open_job_free)

static void check_work(gpointer data)
{
    CheckJob *job = data;
    guint64 n_files = count_files(job->root, job->pid);

    if (job->thorough || n_files == 0 || n_files != job->n_files)
        job->numbers = stats_fd_list_vcpus(job->root, job->pid, NULL);
    job->n_files = n_files;
}

static void check_job_free(CheckJob *job)
{
    g_free(job->root);
    if (job->numbers != NULL)
        g_array_unref(job->numbers);
    g_free(job);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CheckJob, check_job_free)

/* Sources ---------------------------------------------------------------------------------------------------------- */

static Guest *find_guest(const Detector *self, guint64 serial)
{
    return g_hash_table_lookup(self->guests, &serial);
}

static Guest *guest_of(const char *uuid, const Detector *self)
{
    return g_hash_table_lookup(self->by_uuid, uuid);
}

static bool sees_moments(const Guest *guest)
{
    return guest->source != NULL && !l2_source_counts(guest->source);
}

/* @source: taken over; what was there before is the caller's */
static void guest_replace_source(Guest *guest, L2Source *source)
{
    Detector *self = guest->detector;

    self->n_sources -= guest->source != NULL;
    self->n_moments -= sees_moments(guest);
    guest->source = source;
    guest->failures = 0;
    self->n_sources += guest->source != NULL;
    self->n_moments += sees_moments(guest);
    set_timer(self);
}

/* Takes over what was opened, and lets go of what was there before. Either may be NULL. */
static void guest_set_source(Guest *guest, QemuProcess *process, L2Source *source)
{
    Detector *self = guest->detector;

    if (guest->process != NULL && !guest->ended)
        (void)epoll_ctl(self->epoll, EPOLL_CTL_DEL, guest->process->pidfd, NULL);
    QemuProcess *old_process = guest->process;
    L2Source *old_source = guest->source;
    guest->process = process;
    guest_replace_source(guest, source);
    if (old_process != NULL || old_source != NULL)
        let_go(self, old_process, old_source);
    if (process != NULL) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = guest->serial};
        if (epoll_ctl(self->epoll, EPOLL_CTL_ADD, process->pidfd, &event) != 0)
            log_write(G_LOG_LEVEL_WARNING, domain_subject(guest->domain, NULL),
                      "domain '%s': cannot watch its QEMU: %s", domain_label(guest->domain), g_strerror(errno));
    }
}

static void guest_ask_libvirt(Guest *guest)
{
    Detector *self = guest->detector;

    guest->statistics = true;
    guest->answered_at = g_get_monotonic_time();
    guest->domain->l2_source = "libvirt";
    domain_set_l2_reason(guest->domain, guest->problem);
    statistics_add(self->statistics, guest->domain->uuid);
}

/* @text: why this source is of no use; NULL: it is */
static void guest_set_problem(Guest *guest, const char *text)
{
    g_free(guest->problem);
    guest->problem = g_strdup(text);
}

static void open_done(gpointer data)
{
    g_autoptr(OpenJob) job = data;
    Detector *self = job->detector;
    Guest *guest = find_guest(self, job->serial);

    if (guest == NULL || guest->ended || self->stopping) {
        if (job->process != NULL)
            let_go(self, job->process, job->source);
        if (guest != NULL)
            guest->job = false;
        return;
    }
    Before was = before(guest->domain);
    bool other = guest->source == NULL || job->source == NULL || guest->source->class != job->source->class;
    guest->job = false;
    guest->n_files = job->n_files;
    guest->vcpus_checked_at = g_get_monotonic_time();
    /* What worked until now is better than nothing. */
    if (guest->source != NULL && job->source == NULL) {
        g_clear_pointer(&was.reason, g_free);
        if (job->process != NULL)
            let_go(self, job->process, NULL);
        return;
    }
    guest_set_problem(guest, job->problem->str);
    guest_set_source(guest, job->process, job->source);
    if (job->source != NULL) {
        if (other)
            l2_rebase(&guest->domain->l2);
        guest->domain->l2_source = l2_source_name(job->source);
        domain_set_l2_reason(guest->domain, "");
    } else {
        guest_ask_libvirt(guest);
    }
    publish(self, guest->domain, &was);
    if (job->source != NULL)
        guest_look(guest, g_get_monotonic_time());
}

/* Finds the guest's process and a source, the first time or since its vCPUs are others. */
static void guest_open(Guest *guest)
{
    Detector *self = guest->detector;
    const Configuration *configuration = self->services.configuration;
    OpenJob *job = g_new0(OpenJob, 1);

    job->detector = self;
    job->serial = guest->serial;
    job->root = g_strdup(configuration->root);
    job->name = g_strdup(guest->domain->name);
    job->uuid = g_strdup(guest->domain->uuid);
    job->calls = self->services.calls;
    job->stats_fd = configuration_stats_fd(configuration);
    job->problem = g_string_new(NULL);
    guest->job = true;
    (void)workers_run(self->workers, open_work, open_done, job);
}

static void check_done(gpointer data)
{
    g_autoptr(CheckJob) job = data;
    Detector *self = job->detector;
    Guest *guest = find_guest(self, job->serial);

    if (guest == NULL)
        return;
    guest->job = false;
    guest->n_files = job->n_files;
    if (guest->source != NULL && !self->stopping && job->numbers != NULL && job->numbers->len > 0 &&
        !l2_source_has_vcpus(guest->source, job->numbers))
        guest_open(guest);
}

static void guest_check_vcpus(Guest *guest, gint64 now)
{
    CheckJob *job = g_new0(CheckJob, 1);

    job->detector = guest->detector;
    job->serial = guest->serial;
    job->root = g_strdup(guest->process->root);
    job->pid = guest->process->pid;
    job->n_files = guest->n_files;
    job->thorough = guest->checks++ % VCPUS_CHECKS == 0;
    guest->vcpus_checked_at = now;
    guest->job = true;
    (void)workers_run(guest->detector->workers, check_work, check_done, job);
}

/* A source that worked does not any more: on to the next one. At the guest's next start all are tried again. */
static void guest_source_failed(Guest *guest, const GError *error)
{
    Domain *domain = guest->domain;

    log_write(G_LOG_LEVEL_WARNING, domain_subject(domain, NULL),
              "domain '%s': its L2 guests are not seen through %s any more: %s", domain_label(domain),
              domain->l2_source, error->message);
    g_autoptr(GString) problem = g_string_new(guest->problem);
    add_problem(problem, domain->l2_source, error);
    guest_set_problem(guest, problem->str);
    /* The process is still watched. */
    L2Source *failed = guest->source;
    guest_replace_source(guest,
                         strcmp(l2_source_name(failed), "stats-fd") == 0 ? debugfs_open(guest->process, NULL) : NULL);
    let_go(guest->detector, NULL, failed);
    l2_rebase(&domain->l2);
    if (guest->source != NULL)
        domain->l2_source = l2_source_name(guest->source);
    else
        guest_ask_libvirt(guest);
}

/* The timer -------------------------------------------------------------------------------------------------------- */

/* @moved_at: before the last readings. Traces of an L2 do not tell when it did something. */
static void note_activity(Domain *domain, gint64 moved_at)
{
    if (domain->l2.moved_at != moved_at && domain->l2.active)
        domain->l2_activity = (guint64)g_get_real_time();
}

/* Looks at one guest, and publishes a new state. */
static void guest_look(Guest *guest, gint64 now)
{
    Detector *self = guest->detector;
    Domain *domain = guest->domain;
    L2Limits limits = domain_l2_limits(domain);
    L2State was_state = domain->l2.state;
    gint64 moved_at = domain->l2.moved_at;
    g_autoptr(GError) error = NULL;

    if (!l2_source_sample(guest->source, self->readings, &error)) {
        if (++guest->failures < FAILURES_MAX)
            return;
        Before was = before(domain);
        guest_source_failed(guest, error);
        publish(self, domain, &was);
        return;
    }
    guest->failures = 0;
    l2_observe(&domain->l2, &limits, (const L2Reading *)(gconstpointer)self->readings->data, self->readings->len, now);
    note_activity(domain, moved_at);
    if (domain->l2.state != was_state) {
        Before was = before(domain);
        was.state = was_state;
        publish(self, domain, &was);
    }
}

/* What quiet means is for the registers to tell. */
static void guest_ask_registers(Guest *guest, gint64 now)
{
    if (guest->domain->l2.state != L2_QUIET || now - guest->registers_asked_at < REGISTERS_USEC)
        return;
    guest->registers_asked_at = now;
    statistics_ask_registers(guest->detector->statistics, guest->domain->uuid, guest->domain->name,
                             guest->domain->guarded);
}

static void guest_tick(Guest *guest, gint64 now, bool all)
{
    if (guest->source != NULL && (all || sees_moments(guest)))
        guest_look(guest, now);
    if (guest->source == NULL)
        return;
    if (!guest->job && now - guest->vcpus_checked_at >= VCPUS_CHECK_USEC)
        guest_check_vcpus(guest, now);
    guest_ask_registers(guest, now);
}

/* Looks at all guests; in ticks that are for moments, at those only. */
static gboolean on_tick(gpointer data)
{
    Detector *self = data;
    gint64 now = g_get_monotonic_time();
    bool all = self->n_moments == 0 || self->ticks++ % MOMENTS_PER_INTERVAL == 0;
    GHashTableIter iter;
    gpointer value;

    histogram_add(&self->lateness, now - self->next_tick);
    /* In step, but a late one is not made up for. */
    self->next_tick += self->tick_usec;
    if (self->next_tick <= now)
        self->next_tick = now + self->tick_usec;
    g_source_set_ready_time(self->timer, self->next_tick);
    g_hash_table_iter_init(&iter, self->guests);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        guest_tick(value, now, all);
    return G_SOURCE_CONTINUE;
}

static gint64 tick_length(const Detector *self)
{
    guint64 interval = self->services.configuration->settings.interval_usec;

    return (gint64)(self->n_moments > 0 ? MAX(interval / MOMENTS_PER_INTERVAL, INTERVAL_MIN_USEC) : interval);
}

/* Sets the timer as the guests need it: with nobody to look at there is none. */
static void set_timer(Detector *self)
{
    gint64 now = g_get_monotonic_time(), length = tick_length(self);

    if (self->n_sources == 0 || self->stopping) {
        self->tick_usec = 0;
        g_source_set_ready_time(self->timer, -1);
    } else if (length != self->tick_usec) {
        self->tick_usec = length;
        self->next_tick = now;
        g_source_set_ready_time(self->timer, self->next_tick);
    }
}

static gboolean timer_dispatch(GSource *source G_GNUC_UNUSED, GSourceFunc callback, gpointer data)
{
    return callback(data);
}

static GSource *timer_new(Detector *self)
{
    static GSourceFuncs functions = {.dispatch = timer_dispatch};
    GSource *source = g_source_new(&functions, sizeof(GSource));

    g_source_set_name(source, "l2-tick");
    /* Before everything that clients can make busy. */
    g_source_set_priority(source, G_PRIORITY_HIGH);
    g_source_set_callback(source, on_tick, self, NULL);
    g_source_attach(source, NULL);
    return source;
}

/* A QEMU process has ended: what was borrowed of it goes back at once. */
static void guest_end(Guest *guest)
{
    Detector *self = guest->detector;
    Domain *domain = guest->domain;
    Before was = before(domain);

    guest_set_source(guest, NULL, NULL);
    guest->ended = domain->ended = true;
    l2_clear(&domain->l2);
    domain->l2_source = "";
    domain_set_l2_reason(domain, "");
    publish(self, domain, &was);
}

static gboolean on_process_end(int fd, GIOCondition condition G_GNUC_UNUSED, gpointer data)
{
    Detector *self = data;
    struct epoll_event events[EVENTS_PER_DISPATCH];
    int n = epoll_wait(fd, events, G_N_ELEMENTS(events), 0);

    for (int i = 0; i < n; i++) {
        Guest *guest = find_guest(self, events[i].data.u64);
        if (guest != NULL)
            guest_end(guest);
    }
    return G_SOURCE_CONTINUE;
}

/* Answers of libvirt ------------------------------------------------------------------------------------------------ */

static void on_answered(const char *uuid, const L2Reading *readings, gsize n, gpointer data)
{
    Guest *guest = guest_of(uuid, data);

    if (guest == NULL || !guest->statistics)
        return;
    Domain *domain = guest->domain;
    L2Limits limits = domain_l2_limits(domain);
    Before was = before(domain);
    gint64 moved_at = domain->l2.moved_at;
    guest->answered_at = g_get_monotonic_time();
    l2_observe(&domain->l2, &limits, readings, n, guest->answered_at);
    note_activity(domain, moved_at);
    domain_set_l2_reason(domain, "");
    publish(guest->detector, domain, &was);
    guest_ask_registers(guest, guest->answered_at);
}

static void on_silent(const char *uuid, bool useless, const char *why, gpointer data)
{
    Guest *guest = guest_of(uuid, data);
    gint64 now = g_get_monotonic_time();

    if (guest == NULL || !guest->statistics)
        return;
    /* Statistics that were there once are missing for as long as a job runs. */
    if (!(useless && !guest->domain->l2.observed) && now - guest->answered_at < SILENCE_USEC)
        return;
    Domain *domain = guest->domain;
    L2Limits limits = domain_l2_limits(domain);
    Before was = before(domain);
    g_autofree char *reason = g_strdup_printf("%s%s%s", guest->problem, *guest->problem != '\0' ? "; " : "", why);
    domain_set_l2_reason(domain, reason);
    l2_lose(&domain->l2, &limits, now);
    publish(guest->detector, domain, &was);
    guest_ask_registers(guest, now);
}

static void on_registers(const char *uuid, bool hypervisor_on, gint64 asked_at, gpointer data)
{
    Guest *guest = guest_of(uuid, data);

    if (guest == NULL || guest->ended)
        return;
    Before was = before(guest->domain);
    l2_take_registers(&guest->domain->l2, hypervisor_on, asked_at);
    publish(guest->detector, guest->domain, &was);
}

/* Guests ----------------------------------------------------------------------------------------------------------- */

static void guest_free(gpointer data)
{
    Guest *guest = data;

    g_free(guest->problem);
    g_free(guest);
}

static void guest_remove(Guest *guest)
{
    Detector *self = guest->detector;

    guest_set_source(guest, NULL, NULL);
    if (guest->statistics)
        statistics_remove(self->statistics, guest->domain->uuid);
    guest->domain->guest = NULL;
    (void)g_hash_table_remove(self->by_uuid, guest->domain->uuid);
    (void)g_hash_table_remove(self->guests, &guest->serial);
    set_timer(self);
}

static void guest_new(Detector *self, Domain *domain, const Look *look, bool nested)
{
    Guest *guest = g_new0(Guest, 1);

    guest->detector = self;
    guest->domain = domain;
    guest->serial = ++self->serial;
    guest->id = look->id;
    guest->problem = g_strdup("");
    domain->guest = guest;
    l2_begin(&domain->l2, g_get_monotonic_time());
    if (nested) {
        L2Limits limits = domain_l2_limits(domain);
        l2_presume(&domain->l2, &limits);
    }
    domain->l2_source = "";
    domain_set_l2_reason(domain, "not looked at yet");
    g_hash_table_insert(self->guests, &guest->serial, guest);
    g_hash_table_insert(self->by_uuid, domain->uuid, guest);
    guest_open(guest);
}

/* Returns: why a guest is not to be watched, static; NULL if it is. */
static const char *unwatched_reason(const Look *look)
{
    /* The persistent definition may have been given another one for the next start. */
    const char *type = look->virt_type != NULL ? look->virt_type : look->reconcile->virt_type;

    if (!look->running)
        return "";
    if (g_strcmp0(type, "qemu") == 0)
        return "QEMU emulates its CPU (type='qemu'): KVM has no nested state of it that could be lost";
    if (g_strcmp0(type, "kvm") != 0 && g_strcmp0(type, "test") != 0)
        return "it is no KVM guest";
    if (look->exposure == CPU_EXPOSURE_NO)
        return "its CPU has neither vmx nor svm";
    return NULL;
}

/**
 * A domain was looked at: begins to watch it, goes on with that, or ends it. Publishes what follows.
 * @nested: an L2 was in it before this daemon looked, and may be idle
 */
void detector_take_look(Detector *self, Domain *domain, const Look *look, bool nested)
{
    const char *unwatched = unwatched_reason(look);
    Guest *guest = domain->guest;
    Before was = before(domain);

    domain->exposure = look->running ? look->exposure : CPU_EXPOSURE_UNKNOWN;
    if (guest != NULL && (unwatched != NULL || guest->id != look->id)) {
        guest_remove(g_steal_pointer(&guest));
        domain->ended = false;
    }
    if (unwatched != NULL) {
        l2_clear(&domain->l2);
        domain->l2_source = "";
        domain_set_l2_reason(domain, unwatched);
        if (!look->running)
            domain->l2_activity = 0;
    } else if (guest == NULL && !self->stopping) {
        domain->l2_activity = 0;
        guest_new(self, domain, look, nested);
    }
    if (domain->guest != NULL && !domain->guest->ended) {
        L2Limits limits = domain_l2_limits(domain);
        l2_set_paused(&domain->l2, look->paused, g_get_monotonic_time());
        l2_update(&domain->l2, &limits);
    }
    publish(self, domain, &was);
}

/** The domain is about to go. */
void detector_forget(Detector *self G_GNUC_UNUSED, Domain *domain)
{
    if (domain->guest != NULL)
        guest_remove(domain->guest);
}

/** Looks at a guest without waiting for the next tick, and publishes what that shows before this returns. */
void detector_look_now(Detector *self G_GNUC_UNUSED, Domain *domain)
{
    if (domain->guest != NULL && domain->guest->source != NULL)
        guest_look(domain->guest, g_get_monotonic_time());
}

/** Settings may be others. Which sources are used is settled at a guest's start. */
void detector_reload(Detector *self)
{
    guint64 interval = self->services.configuration->settings.interval_usec;

    statistics_set_interval(self->statistics, MAX(interval, STATISTICS_INTERVAL_MIN_USEC));
    set_timer(self);
}

/** Returns: when the next look is due, monotonic; -1 if none is. */
gint64 detector_next_look(const Detector *self)
{
    return self->tick_usec > 0 ? self->next_tick : -1;
}

/** Puts in what the detector knows. */
void detector_fill_metrics(const Detector *self, Metrics *metrics)
{
    unsigned calls, hung;

    statistics_count_calls(self->statistics, &calls, &hung);
    metrics_add_calls(metrics, "statistics", calls, hung);
    metrics->tick_lateness = self->lateness;
}

/* Life ------------------------------------------------------------------------------------------------------------- */

static void check_stopped(Detector *self)
{
    if (!self->stopping || self->stopped || workers_count_jobs(self->workers) > 0 ||
        !statistics_is_idle(self->statistics))
        return;
    self->stopped = true;
    self->services.stopped(self->services.data);
}

static void on_workers_idle(gpointer data)
{
    check_stopped(data);
}

/** @services: copied; what they point to must outlive the detector. To be freed with detector_free(). */
Detector *detector_new(const DetectorServices *services)
{
    static const StatisticsHandlers handlers = {
        .answered = on_answered,
        .silent = on_silent,
        .registers = on_registers,
        .stopped = on_workers_idle,
    };
    Detector *self = g_new0(Detector, 1);

    self->services = *services;
    self->guests = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, guest_free);
    self->by_uuid = g_hash_table_new(g_str_hash, g_str_equal);
    self->workers = workers_new("l2-sources", WORKERS_MAX, on_workers_idle, self);
    self->statistics = statistics_new(services->configuration->root, services->uri, &handlers, self);
    self->readings = g_array_new(FALSE, FALSE, sizeof(L2Reading));
    self->timer = timer_new(self);
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (self->epoll < 0)
        g_error("no epoll: %s", g_strerror(errno));
    self->epoll_source = g_unix_fd_source_new(self->epoll, G_IO_IN);
    g_source_set_priority(self->epoll_source, G_PRIORITY_HIGH);
    g_source_set_callback(self->epoll_source, G_SOURCE_FUNC(on_process_end), self, NULL);
    g_source_attach(self->epoll_source, NULL);
    return self;
}

/** Looks at nothing any more, and lets go of everything. services.stopped is called when that is done. */
void detector_stop(Detector *self)
{
    g_autoptr(GList) guests = g_hash_table_get_values(self->guests);

    self->stopping = true;
    for (GList *l = guests; l != NULL; l = l->next)
        guest_remove(l->data);
    set_timer(self);
    statistics_stop(self->statistics);
    check_stopped(self);
}

bool detector_is_stopped(const Detector *self)
{
    return self->stopped;
}

/** What calls under way still need is left alone. */
Detector *detector_free(Detector *self)
{
    if (self == NULL)
        return NULL;
    g_source_destroy(self->timer);
    g_source_unref(self->timer);
    g_source_destroy(self->epoll_source);
    g_source_unref(self->epoll_source);
    (void)close(self->epoll);
    if (workers_count_jobs(self->workers) > 0 || !statistics_is_idle(self->statistics))
        return NULL;
    self->workers = workers_free(self->workers);
    self->statistics = statistics_free(self->statistics);
    g_hash_table_unref(self->by_uuid);
    g_hash_table_unref(self->guests);
    g_array_unref(self->readings);
    g_free(self);
    return NULL;
}
