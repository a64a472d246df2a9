/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Numbers as text for Prometheus. No number is written with printf's %f, which would use the locale's decimal comma.
 *
 * A state is one sample with the value 1 and the state as a label, and not one sample for each state that there could be: a
 * host with a thousand guests would have twenty thousand of those.
 */

#include "lib/metrics.h"

#include <string.h>

typedef enum {
    GAUGE,
    COUNTER,
    HISTOGRAM,
    INFO,
} FamilyType;

typedef enum {
    BUILD_INFO,
    HOST_INFO,
    HOST_NESTED,
    HOST_REBOOT_REQUIRED,
    HOST_CHECKS,
    PLATFORM,
    MODE,
    WRITES_DISABLED,
    LIBVIRT_CONNECTED,
    SYNCED,
    CONFIGURATION_ERRORS,
    CONFIGURATION_LOADS,
    REWRITES,
    ABORTED_JOBS,
    MISSED_JOBS,
    DOMAINS,
    DOMAIN_INFO,
    DOMAIN_STATE,
    DOMAIN_L2_STATE,
    DOMAIN_RUNNING,
    DOMAIN_TAGGED,
    DOMAIN_PENDING_RESTART,
    DOMAIN_GUARDED,
    DOMAIN_GUARD_FAILED,
    DOMAIN_RELEASED,
    DOMAIN_MIGRATION_SAFE,
    DOMAIN_NESTED_RUNS,
    DOMAIN_L2_ACTIVITY,
    TICK_LATENESS,
    GUARD_SET,
    LIBVIRT_CALLS,
    LIBVIRT_CALLS_HUNG,
    DBUS_CALLS,
    DBUS_CALLS_DEFERRED,
    DBUS_CALLS_REFUSED,
    DBUS_CALLS_WAITING,
    DBUS_QUEUED,
    COLLECTED,
    STARTED,
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESS_FDS,
    N_FAMILIES,
} FamilyId;

/*
 * Prometheus's text format has the whole name in its HELP and TYPE, OpenMetrics has it without _total and _info. Those of the
 * process have our prefix: node_exporter, whose collector gives them out, has process_cpu_seconds_total and so on itself.
 */
static const struct Family {
    const char *name;
    FamilyType type;
    const char *help;
} families[N_FAMILIES] = {
    [BUILD_INFO] = {"virtnest_build_info", INFO, "Versions of virtnestd, and of libvirt and the hypervisor here."},
    [HOST_INFO] = {"virtnest_host_info", INFO,
                   "The processor's vendor, and the kernel module that nesting depends on."},
    [HOST_NESTED] = {"virtnest_host_nested", GAUGE, "Whether guests of this host may run guests of their own now."},
    [HOST_REBOOT_REQUIRED] = {"virtnest_host_reboot_required", GAUGE,
                              "Whether that will be different once the kernel module is loaded again."},
    [HOST_CHECKS] = {"virtnest_host_checks", GAUGE, "Checks of this host, by their verdict."},
    [PLATFORM] = {"virtnest_platform", GAUGE,
                  "Whether a guest survives to be moved here while it runs an L2; always 1."},
    [MODE] = {"virtnest_mode", GAUGE, "The mode in force; always 1."},
    [WRITES_DISABLED] = {"virtnest_writes_disabled", GAUGE, "Whether the kill switch is there."},
    [LIBVIRT_CONNECTED] = {"virtnest_libvirt_connected", GAUGE, "Whether there is a connection to libvirt."},
    [SYNCED] = {"virtnest_synced", GAUGE, "Whether all domains were looked at since it was made."},
    [CONFIGURATION_ERRORS] = {"virtnest_configuration_errors", GAUGE,
                              "Why the files of configuration are not in force."},
    [CONFIGURATION_LOADS] = {"virtnest_configuration_loads_total", COUNTER,
                             "How often the configuration was read, by what became of it."},
    [REWRITES] = {"virtnest_rewrites_total", COUNTER, "Definitions that were written."},
    [ABORTED_JOBS] = {"virtnest_aborted_jobs_total", COUNTER,
                      "Migrations, saves, dumps and snapshots that were aborted."},
    [MISSED_JOBS] = {"virtnest_missed_jobs_total", COUNTER, "Guests that were saved or migrated with a running L2."},
    [DOMAINS] = {"virtnest_domains", GAUGE, "Domains: all of them, and those of a kind."},
    [DOMAIN_INFO] = {"virtnest_domain_info", INFO, "The policy of a domain, and where its L2 guests are seen."},
    [DOMAIN_STATE] = {"virtnest_domain_state", GAUGE, "The state of a domain; always 1."},
    [DOMAIN_L2_STATE] = {"virtnest_domain_l2_state", GAUGE, "Whether a domain runs guests of its own; always 1."},
    [DOMAIN_RUNNING] = {"virtnest_domain_running", GAUGE, "Whether it runs."},
    [DOMAIN_TAGGED] = {"virtnest_domain_tagged", GAUGE, "Whether it is tagged."},
    [DOMAIN_PENDING_RESTART] = {"virtnest_domain_pending_restart", GAUGE,
                                "Whether it has its new CPU only from a later start on."},
    [DOMAIN_GUARDED] = {"virtnest_domain_guarded", GAUGE, "Whether QEMU refuses to move it."},
    [DOMAIN_GUARD_FAILED] = {"virtnest_domain_guard_failed", GAUGE, "Whether its guard is not as it should be."},
    [DOMAIN_RELEASED] = {"virtnest_domain_released", GAUGE, "Whether an operator has released it from its guard."},
    [DOMAIN_MIGRATION_SAFE] = {"virtnest_domain_migration_safe", GAUGE, "Whether it may be moved now."},
    [DOMAIN_NESTED_RUNS] = {"virtnest_domain_nested_runs_total", COUNTER,
                            "How often its vCPUs have entered an L2 since its QEMU began."},
    [DOMAIN_L2_ACTIVITY] = {"virtnest_domain_last_l2_activity_timestamp_seconds", GAUGE,
                            "When an L2 was last seen to do something in it; 0: never."},
    [TICK_LATENESS] = {"virtnest_tick_lateness_seconds", HISTOGRAM, "By how much a look at all guests came too late."},
    [GUARD_SET] = {"virtnest_guard_set_seconds", HISTOGRAM, "From the wish for a guard to QEMU having it."},
    [LIBVIRT_CALLS] = {"virtnest_libvirt_calls", GAUGE, "Calls to libvirt that are under way."},
    [LIBVIRT_CALLS_HUNG] = {"virtnest_libvirt_calls_hung", GAUGE, "Those of them that take longer than they should."},
    [DBUS_CALLS] = {"virtnest_dbus_calls_total", COUNTER, "Calls that came in on D-Bus."},
    [DBUS_CALLS_DEFERRED] = {"virtnest_dbus_calls_deferred_total", COUNTER,
                             "Those that had to wait until the answers before them were taken."},
    [DBUS_CALLS_REFUSED] = {"virtnest_dbus_calls_refused_total", COUNTER,
                            "Those that were refused since too many waited."},
    [DBUS_CALLS_WAITING] = {"virtnest_dbus_calls_waiting", GAUGE, "Calls that wait, by what they wait for."},
    [DBUS_QUEUED] = {"virtnest_dbus_queued_messages", GAUGE, "Messages that were not sent or read yet."},
    [COLLECTED] = {"virtnest_collected_timestamp_seconds", GAUGE, "When these numbers were."},
    [STARTED] = {"virtnest_start_timestamp_seconds", GAUGE, "When virtnestd began."},
    [PROCESS_CPU] = {"virtnest_process_cpu_seconds_total", COUNTER, "Processor time of virtnestd."},
    [PROCESS_MEMORY] = {"virtnest_process_resident_memory_bytes", GAUGE, "Memory of virtnestd."},
    [PROCESS_FDS] = {"virtnest_process_open_fds", GAUGE, "File descriptors of virtnestd."},
};

/** Reads what metrics_format() is told. */
bool metrics_format_parse(const char *text, MetricsFormat *ret_format)
{
    if (strcmp(text, "prometheus") == 0)
        *ret_format = METRICS_PROMETHEUS;
    else if (strcmp(text, "openmetrics") == 0)
        *ret_format = METRICS_OPENMETRICS;
    else
        return false;
    return true;
}

/* Numbers ---------------------------------------------------------------------------------------------------------- */

static void domain_destroy(gpointer data)
{
    MetricsDomain *domain = data;

    g_free(domain->name);
    g_free(domain->uuid);
    g_free(domain->policy);
    g_free(domain);
}

/** Returns: nothing but zeroes; to be filled in, and freed with metrics_free(). */
Metrics *metrics_new(void)
{
    Metrics *metrics = g_new0(Metrics, 1);

    metrics->version = metrics->vendor = metrics->module = metrics->platform = metrics->mode = "";
    metrics->domains = g_ptr_array_new_with_free_func(domain_destroy);
    metrics->calls = g_array_new(FALSE, FALSE, sizeof(MetricsCalls));
    return metrics;
}

/** Returns: to be filled in, owned by @metrics. */
MetricsDomain *metrics_add_domain(Metrics *metrics, const char *name, const char *uuid, const char *policy)
{
    MetricsDomain *domain = g_new0(MetricsDomain, 1);

    domain->name = g_strdup(name);
    domain->uuid = g_strdup(uuid);
    domain->policy = g_strdup(policy);
    domain->state = domain->l2_state = domain->l2_source = "";
    g_ptr_array_add(metrics->domains, domain);
    return domain;
}

void metrics_add_calls(Metrics *metrics, const char *connection, unsigned in_flight, unsigned hung)
{
    MetricsCalls calls = {connection, in_flight, hung};

    g_array_append_val(metrics->calls, calls);
}

Metrics *metrics_free(Metrics *metrics)
{
    if (metrics == NULL)
        return NULL;
    g_free(metrics->libvirt_version);
    g_free(metrics->hypervisor_version);
    g_ptr_array_unref(metrics->domains);
    g_array_unref(metrics->calls);
    g_free(metrics);
    return NULL;
}

/* Text ------------------------------------------------------------------------------------------------------------- */

typedef struct Writer {
    GString *out;
    MetricsFormat format;
    const struct Family *family;
    GPtrArray *domain_labels; /* of strings: for each domain the labels that tell it from others */
} Writer;

/* Both formats escape alike. What is no UTF-8 would make the whole text unreadable. */
static void append_label(GString *out, const char *name, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value != NULL ? value : "", -1);

    g_string_append_printf(out, "%s%s=\"", out->len > 0 ? "," : "", name);
    for (const char *p = valid; *p != '\0'; p++)
        switch (*p) {
        case '\\':
            g_string_append(out, "\\\\");
            break;
        case '"':
            g_string_append(out, "\\\"");
            break;
        case '\n':
            g_string_append(out, "\\n");
            break;
        default:
            g_string_append_c(out, *p);
        }
    g_string_append_c(out, '"');
}

static void append_usec(GString *out, guint64 usec)
{
    g_string_append_printf(out, "%" G_GUINT64_FORMAT ".%06u", usec / G_USEC_PER_SEC, (unsigned)(usec % G_USEC_PER_SEC));
}

/* Begins the family of the samples that follow. */
static void begin(Writer *writer, FamilyId id)
{
    static const char *const types[] = {
        [GAUGE] = "gauge", [COUNTER] = "counter", [HISTOGRAM] = "histogram", [INFO] = "info"};
    const struct Family *family = writer->family = &families[id];
    bool open = writer->format == METRICS_OPENMETRICS;
    g_autofree char *name = g_strdup(family->name);

    if (open && (family->type == COUNTER || family->type == INFO))
        *strrchr(name, '_') = '\0';
    g_string_append_printf(writer->out, "# HELP %s %s\n# TYPE %s %s\n", name, family->help, name,
                           !open && family->type == INFO ? types[GAUGE] : types[family->type]);
    if (open && g_str_has_suffix(name, "_seconds"))
        g_string_append_printf(writer->out, "# UNIT %s seconds\n", name);
    if (open && g_str_has_suffix(name, "_bytes"))
        g_string_append_printf(writer->out, "# UNIT %s bytes\n", name);
}

static void append_name(Writer *writer, const char *suffix, const char *labels)
{
    g_string_append_printf(writer->out, "%s%s%s%s%s ", writer->family->name, suffix, *labels != '\0' ? "{" : "", labels,
                           *labels != '\0' ? "}" : "");
}

static void sample(Writer *writer, const char *labels, guint64 value)
{
    append_name(writer, "", labels);
    g_string_append_printf(writer->out, "%" G_GUINT64_FORMAT "\n", value);
}

static void sample_usec(Writer *writer, const char *labels, guint64 usec)
{
    append_name(writer, "", labels);
    append_usec(writer->out, usec);
    g_string_append_c(writer->out, '\n');
}

/* With a label, after @labels. */
static void sample_with(Writer *writer, const char *labels, const char *name, const char *value, guint64 number)
{
    g_autoptr(GString) all = g_string_new(labels);

    append_label(all, name, value);
    sample(writer, all->str, number);
}

static void simple(Writer *writer, FamilyId id, guint64 value)
{
    begin(writer, id);
    sample(writer, "", value);
}

static void simple_usec(Writer *writer, FamilyId id, guint64 usec)
{
    begin(writer, id);
    sample_usec(writer, "", usec);
}

/* A word as a label. */
static void word(Writer *writer, FamilyId id, const char *label, const char *value)
{
    begin(writer, id);
    sample_with(writer, "", label, value, 1);
}

static void histogram(Writer *writer, FamilyId id, const Histogram *values)
{
    guint64 count = 0;

    begin(writer, id);
    for (gsize i = 0; i < HISTOGRAM_BOUNDS; i++) {
        g_autoptr(GString) label = g_string_new("le=\"");
        count += values->counts[i];
        append_usec(label, histogram_bounds_usec[i]);
        /* OpenMetrics wants the shortest form, with a digit behind the point: 0.0005, 10.0 */
        while (g_str_has_suffix(label->str, "0") && !g_str_has_suffix(label->str, ".0"))
            g_string_truncate(label, label->len - 1);
        g_string_append_c(label, '"');
        append_name(writer, "_bucket", label->str);
        g_string_append_printf(writer->out, "%" G_GUINT64_FORMAT "\n", count);
    }
    append_name(writer, "_bucket", "le=\"+Inf\"");
    g_string_append_printf(writer->out, "%" G_GUINT64_FORMAT "\n", histogram_count(values));
    append_name(writer, "_sum", "");
    append_usec(writer->out, values->sum_usec);
    g_string_append_c(writer->out, '\n');
    append_name(writer, "_count", "");
    g_string_append_printf(writer->out, "%" G_GUINT64_FORMAT "\n", histogram_count(values));
}

static void write_host(Writer *writer, const Metrics *metrics)
{
    g_autoptr(GString) build = g_string_new(NULL), host = g_string_new(NULL);

    append_label(build, "version", metrics->version);
    append_label(build, "libvirt", metrics->libvirt_version);
    append_label(build, "hypervisor", metrics->hypervisor_version);
    begin(writer, BUILD_INFO);
    sample(writer, build->str, 1);
    append_label(host, "vendor", metrics->vendor);
    append_label(host, "module", metrics->module);
    begin(writer, HOST_INFO);
    sample(writer, host->str, 1);
    begin(writer, HOST_NESTED);
    if (metrics->nested >= 0)
        sample(writer, "", metrics->nested > 0);
    simple(writer, HOST_REBOOT_REQUIRED, metrics->reboot_required);
    begin(writer, HOST_CHECKS);
    sample_with(writer, "", "verdict", "pass", metrics->checks_pass);
    sample_with(writer, "", "verdict", "warn", metrics->checks_warn);
    sample_with(writer, "", "verdict", "fail", metrics->checks_fail);
    word(writer, PLATFORM, "verdict", metrics->platform);
}

/* The kinds of domains are counted here, so that they fit to what is told of each. */
static guint64 count_flag(const Metrics *metrics, glong offset)
{
    guint64 n = 0;

    for (guint i = 0; i < metrics->domains->len; i++)
        n += G_STRUCT_MEMBER(bool, metrics->domains->pdata[i], offset);
    return n;
}

static void write_daemon(Writer *writer, const Metrics *metrics)
{
    word(writer, MODE, "mode", metrics->mode);
    simple(writer, WRITES_DISABLED, metrics->writes_disabled);
    simple(writer, LIBVIRT_CONNECTED, metrics->connected);
    simple(writer, SYNCED, metrics->synced);
    simple(writer, CONFIGURATION_ERRORS, metrics->configuration_errors);
    begin(writer, CONFIGURATION_LOADS);
    sample_with(writer, "", "result", "valid", metrics->loads_valid);
    sample_with(writer, "", "result", "rejected", metrics->loads_rejected);
    simple(writer, REWRITES, metrics->rewrites);
    simple(writer, ABORTED_JOBS, metrics->aborted_jobs);
    simple(writer, MISSED_JOBS, metrics->missed_jobs);
    begin(writer, DOMAINS);
    sample_with(writer, "", "kind", "all", metrics->domains->len);
    sample_with(writer, "", "kind", "tagged", count_flag(metrics, G_STRUCT_OFFSET(MetricsDomain, tagged)));
    sample_with(writer, "", "kind", "running", count_flag(metrics, G_STRUCT_OFFSET(MetricsDomain, running)));
    sample_with(writer, "", "kind", "guarded", count_flag(metrics, G_STRUCT_OFFSET(MetricsDomain, guarded)));
}

static void domain_words(Writer *writer, const Metrics *metrics, FamilyId id, glong offset)
{
    begin(writer, id);
    for (guint i = 0; i < metrics->domains->len; i++)
        sample_with(writer, writer->domain_labels->pdata[i], "state",
                    G_STRUCT_MEMBER(const char *, metrics->domains->pdata[i], offset), 1);
}

static void domain_flags(Writer *writer, const Metrics *metrics, FamilyId id, glong offset)
{
    begin(writer, id);
    for (guint i = 0; i < metrics->domains->len; i++)
        sample(writer, writer->domain_labels->pdata[i], G_STRUCT_MEMBER(bool, metrics->domains->pdata[i], offset));
}

static void write_domains(Writer *writer, const Metrics *metrics)
{
    const GPtrArray *domains = metrics->domains;

    begin(writer, DOMAIN_INFO);
    for (guint i = 0; i < domains->len; i++) {
        const MetricsDomain *domain = domains->pdata[i];
        g_autoptr(GString) labels = g_string_new(writer->domain_labels->pdata[i]);
        append_label(labels, "policy", domain->policy);
        append_label(labels, "source", domain->l2_source);
        sample(writer, labels->str, 1);
    }
    domain_words(writer, metrics, DOMAIN_STATE, G_STRUCT_OFFSET(MetricsDomain, state));
    domain_words(writer, metrics, DOMAIN_L2_STATE, G_STRUCT_OFFSET(MetricsDomain, l2_state));
    domain_flags(writer, metrics, DOMAIN_RUNNING, G_STRUCT_OFFSET(MetricsDomain, running));
    domain_flags(writer, metrics, DOMAIN_TAGGED, G_STRUCT_OFFSET(MetricsDomain, tagged));
    domain_flags(writer, metrics, DOMAIN_PENDING_RESTART, G_STRUCT_OFFSET(MetricsDomain, pending_restart));
    domain_flags(writer, metrics, DOMAIN_GUARDED, G_STRUCT_OFFSET(MetricsDomain, guarded));
    domain_flags(writer, metrics, DOMAIN_GUARD_FAILED, G_STRUCT_OFFSET(MetricsDomain, guard_failed));
    domain_flags(writer, metrics, DOMAIN_RELEASED, G_STRUCT_OFFSET(MetricsDomain, released));
    domain_flags(writer, metrics, DOMAIN_MIGRATION_SAFE, G_STRUCT_OFFSET(MetricsDomain, migration_safe));
    begin(writer, DOMAIN_NESTED_RUNS);
    for (guint i = 0; i < domains->len; i++)
        sample(writer, writer->domain_labels->pdata[i], ((const MetricsDomain *)domains->pdata[i])->nested_runs);
    begin(writer, DOMAIN_L2_ACTIVITY);
    for (guint i = 0; i < domains->len; i++)
        sample_usec(writer, writer->domain_labels->pdata[i],
                    ((const MetricsDomain *)domains->pdata[i])->l2_activity_usec);
}

static void write_calls(Writer *writer, const Metrics *metrics)
{
    begin(writer, LIBVIRT_CALLS);
    for (guint i = 0; i < metrics->calls->len; i++) {
        const MetricsCalls *calls = &g_array_index(metrics->calls, MetricsCalls, i);
        sample_with(writer, "", "connection", calls->connection, calls->in_flight);
    }
    begin(writer, LIBVIRT_CALLS_HUNG);
    for (guint i = 0; i < metrics->calls->len; i++) {
        const MetricsCalls *calls = &g_array_index(metrics->calls, MetricsCalls, i);
        sample_with(writer, "", "connection", calls->connection, calls->hung);
    }
    simple(writer, DBUS_CALLS, metrics->dbus_calls);
    simple(writer, DBUS_CALLS_DEFERRED, metrics->dbus_deferred);
    simple(writer, DBUS_CALLS_REFUSED, metrics->dbus_refused);
    begin(writer, DBUS_CALLS_WAITING);
    sample_with(writer, "", "reason", "answers", metrics->dbus_set_aside);
    sample_with(writer, "", "reason", "authorization", metrics->dbus_authorizations);
    begin(writer, DBUS_QUEUED);
    sample_with(writer, "", "direction", "read", metrics->dbus_read_queue);
    sample_with(writer, "", "direction", "write", metrics->dbus_write_queue);
}

static void write_process(Writer *writer, const Metrics *metrics)
{
    simple_usec(writer, COLLECTED, metrics->collected_usec);
    simple_usec(writer, STARTED, metrics->started_usec);
    simple_usec(writer, PROCESS_CPU, metrics->cpu_usec);
    begin(writer, PROCESS_MEMORY);
    if (metrics->resident_bytes > 0)
        sample(writer, "", metrics->resident_bytes);
    begin(writer, PROCESS_FDS);
    if (metrics->open_fds > 0)
        sample(writer, "", metrics->open_fds);
}

/** Returns: the text, which ends with "# EOF" in both formats, to be freed with g_free(). */
char *metrics_format(const Metrics *metrics, MetricsFormat format)
{
    g_autoptr(GPtrArray) labels = g_ptr_array_new_with_free_func(g_free);
    Writer writer = {g_string_sized_new(16384 + (gsize)metrics->domains->len * 2048), format, NULL, labels};

    for (guint i = 0; i < metrics->domains->len; i++) {
        const MetricsDomain *domain = metrics->domains->pdata[i];
        GString *text = g_string_new(NULL);
        append_label(text, "name", domain->name);
        append_label(text, "uuid", domain->uuid);
        g_ptr_array_add(labels, g_string_free(text, FALSE));
    }
    write_host(&writer, metrics);
    write_daemon(&writer, metrics);
    write_domains(&writer, metrics);
    histogram(&writer, TICK_LATENESS, &metrics->tick_lateness);
    histogram(&writer, GUARD_SET, &metrics->guard_set);
    write_calls(&writer, metrics);
    write_process(&writer, metrics);
    g_string_append(writer.out, "# EOF\n");
    return g_string_free(writer.out, FALSE);
}
