/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The numbers are collected on the main thread, which is quick, and made into text and written on a worker: the folder may be
 * on a disk that hangs. node_exporter shows what lies there for as long as it lies there. So the file goes when virtnestd
 * stops, when it is to be another one, and when it cannot be written: old numbers must not pass for new ones. If virtnestd
 * is killed, the file stays until the next one writes it, and virtnest_collected_timestamp_seconds tells its age.
 */

#include "daemon/exporter.h"

#include "daemon/log.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* For anybody: a node_exporter has a user of its own. */
#define FILE_MODE 0644

struct Exporter {
    ExporterServices services;
    guint64 started_usec;
    Workers *workers; /* one, so that what is written and removed is so in order */
    char *path;       /* that is written to; NULL: none */
    guint64 interval_usec;
    guint timer;
    bool writing;
    char *error; /* "": none */
    bool stopping, stopped;
};

/* One write, or, without numbers, the removal. */
typedef struct ExportJob {
    Exporter *exporter;
    char *path;
    Metrics *metrics;
    GError *error;
} ExportJob;

/* Numbers ---------------------------------------------------------------------------------------------------------- */

static void fill_host(const Exporter *self, Metrics *metrics)
{
    /* Nobody tells when the module is loaded again. */
    readiness_refresh(self->services.readiness);
    const HostSurvey *survey = readiness_survey(self->services.readiness);
    const GPtrArray *checks = readiness_checks(self->services.readiness);

    metrics->vendor = host_vendor_to_string(survey->facts.vendor);
    metrics->module = survey->module != NULL ? survey->module : "";
    metrics->nested = survey->nested == HOST_NESTED_YES ? 1 : survey->nested == HOST_NESTED_NO ? 0 : -1;
    metrics->reboot_required = host_survey_reboot_required(survey);
    metrics->platform = platform_verdict_to_string(self->services.configuration->platform.verdict);
    for (guint i = 0; i < checks->len; i++) {
        CheckVerdict verdict = ((const Check *)checks->pdata[i])->verdict;
        metrics->checks_pass += verdict == CHECK_PASS;
        metrics->checks_warn += verdict == CHECK_WARN;
        metrics->checks_fail += verdict == CHECK_FAIL;
    }
}

static void fill_process(const Exporter *self, Metrics *metrics)
{
    g_autofree char *statm = NULL;
    unsigned calls, hung;
    struct timespec cpu;
    struct stat fds;

    metrics->collected_usec = (guint64)g_get_real_time();
    metrics->started_usec = self->started_usec;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        metrics->cpu_usec = (guint64)cpu.tv_sec * G_USEC_PER_SEC + (guint64)cpu.tv_nsec / 1000;
    /* This process's own, whatever the root: pages in all, and those in memory. */
    if (g_file_get_contents("/proc/self/statm", &statm, NULL, NULL) && strchr(statm, ' ') != NULL)
        metrics->resident_bytes = g_ascii_strtoull(strchr(statm, ' '), NULL, 10) * (guint64)sysconf(_SC_PAGESIZE);
    /* Since Linux 6.2 it has a size: to count thousands by name takes too long here. */
    if (stat("/proc/self/fd", &fds) == 0)
        metrics->open_fds = (guint64)fds.st_size;
    link_count_calls(self->services.link, &calls, &hung);
    metrics_add_calls(metrics, "domains", calls, hung);
    detector_fill_metrics(self->services.detector, metrics);
    guards_fill_metrics(self->services.guards, metrics);
    (void)sd_bus_get_n_queued_read(self->services.bus, &metrics->dbus_read_queue);
    (void)sd_bus_get_n_queued_write(self->services.bus, &metrics->dbus_write_queue);
    intake_fill_metrics(self->services.intake, metrics);
    metrics->dbus_authorizations = authority_count_waiting(self->services.authority);
}

static void fill_domain(const Exporter *self, Metrics *metrics, const Domain *domain)
{
    g_autoptr(GPtrArray) blockers = domain_blockers(domain, self->services.configuration->platform.verdict);
    MetricsDomain *row = metrics_add_domain(metrics, domain->name, domain->uuid, domain->view->policy);

    row->state = reconcile_state_to_string(domain->view->state);
    row->l2_state = l2_state_to_string(domain->l2.state);
    row->l2_source = domain->l2_source;
    row->running = domain->running;
    row->tagged = domain->view->tagged;
    row->pending_restart =
        domain->view->state == RECONCILE_PENDING_RESTART || domain->view->state == RECONCILE_MANAGED_SAVE;
    row->guarded = domain->guarded;
    row->guard_failed = *domain->guard_error != '\0';
    row->released = domain->release != NULL;
    row->migration_safe = blockers->len == 0;
    row->nested_runs = domain->l2.nested_runs;
    row->l2_activity_usec = domain->l2_activity;
}

static Metrics *collect(const Exporter *self)
{
    const Configuration *configuration = self->services.configuration;
    const Link *link = self->services.link;
    g_autoptr(GList) domains = reconciler_domains(self->services.reconciler);
    Metrics *metrics = metrics_new();

    metrics->version = PACKAGE_VERSION;
    metrics->libvirt_version = g_strdup(link_libvirt_version(link));
    metrics->hypervisor_version = link_hypervisor_version(link);
    metrics->mode = settings_mode_to_string(configuration->settings.mode);
    metrics->writes_disabled = configuration->writes_disabled;
    metrics->connected = link_connection(link) != NULL;
    metrics->synced = self->services.synced(self->services.data);
    metrics->configuration_errors = configuration->errors->len;
    metrics->loads_valid = configuration->generation;
    metrics->loads_rejected = configuration->rejections;
    metrics->rewrites = reconciler_rewrites(self->services.reconciler);
    fill_host(self, metrics);
    fill_process(self, metrics);
    for (const GList *l = domains; l != NULL; l = l->next)
        fill_domain(self, metrics, l->data);
    return metrics;
}

/** Returns: all numbers as they are now, to be freed with g_free(). */
char *exporter_text(const Exporter *self, MetricsFormat format)
{
    g_autoptr(Metrics) metrics = collect(self);

    return metrics_format(metrics, format);
}

/* The file --------------------------------------------------------------------------------------------------------- */

static bool set_errno(GError **error, const char *path)
{
    int number = errno;
    g_autofree char *name = g_filename_display_name(path);

    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(number), "%s: %s", name, g_strerror(number));
    return false;
}

static bool write_all(int fd, const char *text, gsize length)
{
    while (length > 0) {
        ssize_t n = write(fd, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        text += n;
        length -= (gsize)n;
    }
    return true;
}

/*
 * Collectors read what ends in .prom, so they see this one whole or not at all. It is not synced to the disk: after a crash of
 * the host nobody wants it. Others may write to such a folder: a link in the place of the new file is not followed.
 */
static bool write_file(const char *path, const char *text, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path), *base = g_path_get_basename(path),
                    *hidden = g_strconcat(".", base, ".new", NULL), *temporary = g_build_filename(folder, hidden, NULL);

    (void)unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return set_errno(error, temporary);
    /* Whatever the umask. */
    bool good = fchmod(fd, FILE_MODE) == 0 && write_all(fd, text, strlen(text));
    if (!good)
        set_errno(error, temporary);
    if (close(fd) != 0 && good)
        good = set_errno(error, temporary);
    if (good && rename(temporary, path) != 0)
        good = set_errno(error, path);
    if (!good)
        (void)unlink(temporary);
    return good;
}

static void job_work(gpointer data)
{
    ExportJob *job = data;
    g_autofree char *text = NULL;

    if (job->metrics != NULL) {
        text = metrics_format(job->metrics, METRICS_PROMETHEUS);
        if (write_file(job->path, text, &job->error))
            return;
        /* With the old file out of the way there may be room; with it, each second one would fail for ever. */
        if (g_error_matches(job->error, G_IO_ERROR, G_IO_ERROR_NO_SPACE)) {
            g_clear_error(&job->error);
            (void)unlink(job->path);
            if (write_file(job->path, text, &job->error))
                return;
        }
    }
    (void)unlink(job->path);
}

static void job_free(ExportJob *job)
{
    metrics_free(job->metrics);
    g_clear_error(&job->error);
    g_free(job->path);
    g_free(job);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ExportJob, job_free)

/* Publishes a failure, and logs it once for as long as it lasts. @error: "": none */
static void set_error(Exporter *self, const char *error)
{
    if (strcmp(self->error, error) == 0)
        return;
    if (*error != '\0')
        log_write(G_LOG_LEVEL_WARNING, (LogSubject){.message_id = MESSAGE_METRICS_FAILED},
                  "metrics are not written: %s", error);
    else
        log_write(G_LOG_LEVEL_INFO, (LogSubject){0}, "metrics are written again");
    g_free(self->error);
    self->error = g_strdup(error);
    self->services.changed(self->services.data);
}

static void write_now(Exporter *self);

static void job_done(gpointer data)
{
    g_autoptr(ExportJob) job = data;
    Exporter *self = job->exporter;

    if (job->metrics == NULL)
        return;
    self->writing = false;
    if (g_strcmp0(job->path, self->path) == 0)
        set_error(self, job->error != NULL ? job->error->message : "");
    /* The configuration changed meanwhile, and its file is not to wait for a whole Interval=. */
    else if (self->path != NULL && !self->stopping)
        write_now(self);
}

/* @metrics: taken over; NULL: it is removed */
static void job_start(Exporter *self, const char *path, Metrics *metrics)
{
    ExportJob *job = g_new0(ExportJob, 1);

    *job = (ExportJob){.exporter = self, .path = g_strdup(path), .metrics = metrics};
    (void)workers_run(self->workers, job_work, job_done, job);
}

static void write_now(Exporter *self)
{
    if (self->writing) {
        g_autofree char *text = g_strdup_printf("%s: it takes longer than Interval=", self->path);
        set_error(self, text);
        return;
    }
    self->writing = true;
    job_start(self, self->path, collect(self));
}

static gboolean on_timer(gpointer data)
{
    write_now(data);
    return G_SOURCE_CONTINUE;
}

/** Settings may be others. */
void exporter_reload(Exporter *self)
{
    const Settings *settings = &self->services.configuration->settings;
    g_autofree char *path = settings->metrics_file != NULL
                                ? g_build_filename(self->services.configuration->root, settings->metrics_file, NULL)
                                : NULL;
    bool other = g_strcmp0(path, self->path) != 0;

    if (self->stopping || (!other && settings->metrics_interval_usec == self->interval_usec))
        return;
    g_clear_handle_id(&self->timer, g_source_remove);
    if (other && self->path != NULL)
        job_start(self, self->path, NULL);
    g_free(self->path);
    self->path = g_steal_pointer(&path);
    self->interval_usec = settings->metrics_interval_usec;
    if (other)
        set_error(self, "");
    if (self->path == NULL)
        return;
    self->timer = g_timeout_add((guint)(self->interval_usec / 1000), on_timer, self);
    if (!self->writing)
        write_now(self);
}

/** Returns: why the file is not there as it should be; "": it is, or there is to be none. */
const char *exporter_error(const Exporter *self)
{
    return self->error;
}

/* Life ------------------------------------------------------------------------------------------------------------- */

static void on_idle(gpointer data)
{
    Exporter *self = data;

    if (!self->stopping || self->stopped)
        return;
    self->stopped = true;
    self->services.stopped(self->services.data);
}

/** @services: copied; what they point to must outlive the exporter. To be freed with exporter_free(). */
Exporter *exporter_new(const ExporterServices *services)
{
    Exporter *self = g_new0(Exporter, 1);

    self->services = *services;
    self->started_usec = (guint64)g_get_real_time();
    self->workers = workers_new("metrics", 1, on_idle, self);
    self->error = g_strdup("");
    return self;
}

/** Takes the file away, and then calls services.stopped, which may be at once. */
void exporter_stop(Exporter *self)
{
    self->stopping = true;
    g_clear_handle_id(&self->timer, g_source_remove);
    if (self->path != NULL)
        job_start(self, self->path, NULL);
    if (workers_count_jobs(self->workers) == 0)
        on_idle(self);
}

bool exporter_is_stopped(const Exporter *self)
{
    return self->stopped;
}

/** What a write under way still needs is left alone. */
Exporter *exporter_free(Exporter *self)
{
    if (self == NULL)
        return NULL;
    g_clear_handle_id(&self->timer, g_source_remove);
    if (workers_count_jobs(self->workers) > 0)
        return NULL;
    self->workers = workers_free(self->workers);
    g_free(self->path);
    g_free(self->error);
    g_free(self);
    return NULL;
}
