/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/histogram.h"
#include <stdbool.h>

/*
 * Two ways to write the same names, labels and values. node_exporter's textfile collector and `promtool check metrics` read
 * the first one alone: types that only the other has make them drop the whole file.
 */
typedef enum {
    METRICS_PROMETHEUS,  /* Prometheus's text format 0.0.4 */
    METRICS_OPENMETRICS, /* OpenMetrics 1.0 */
} MetricsFormat;

bool metrics_format_parse(const char *text, MetricsFormat *ret_format);

/* Of one domain. Strings that are not said to be static are the struct's own. */
typedef struct MetricsDomain {
    char *name, *uuid;
    char *policy;                             /* NULL: none */
    const char *state, *l2_state, *l2_source; /* static */
    bool running, tagged, pending_restart, guarded, guard_failed, released, migration_safe;
    guint64 nested_runs;
    guint64 l2_activity_usec; /* since 1970; 0: never */
} MetricsDomain;

/* Calls to libvirt that have not come back, of one kind of connection. */
typedef struct MetricsCalls {
    const char *connection; /* static */
    unsigned in_flight;
    unsigned hung; /* of these */
} MetricsCalls;

/* All numbers that are given out, as they were at one moment. */
typedef struct Metrics {
    const char *version; /* static */
    char *libvirt_version, *hypervisor_version;

    /* The host */
    const char *vendor, *module; /* static */
    int nested;                  /* -1: not known */
    bool reboot_required;
    const char *platform; /* static */
    unsigned checks_pass, checks_warn, checks_fail;

    /* virtnestd */
    const char *mode; /* static */
    bool writes_disabled, connected, synced;
    unsigned configuration_errors;
    guint64 loads_valid, loads_rejected;
    guint64 rewrites, aborted_jobs, missed_jobs;
    GPtrArray *domains; /* of MetricsDomain */

    /* Its process */
    guint64 collected_usec, started_usec; /* since 1970 */
    guint64 cpu_usec;
    guint64 resident_bytes, open_fds; /* 0: the kernel does not tell */
    Histogram tick_lateness, guard_set;
    GArray *calls; /* of MetricsCalls */
    guint64 dbus_read_queue, dbus_write_queue;
    guint64 dbus_calls, dbus_deferred, dbus_refused;
    unsigned dbus_set_aside;      /* calls that wait for the answers before them */
    unsigned dbus_authorizations; /* calls that wait for polkit */
} Metrics;

Metrics *metrics_new(void);
MetricsDomain *metrics_add_domain(Metrics *metrics, const char *name, const char *uuid, const char *policy);
void metrics_add_calls(Metrics *metrics, const char *connection, unsigned in_flight, unsigned hung);
Metrics *metrics_free(Metrics *metrics);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Metrics, metrics_free)

char *metrics_format(const Metrics *metrics, MetricsFormat format);
