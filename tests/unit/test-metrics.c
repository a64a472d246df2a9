/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the text looks like. That Prometheus takes it, and that the manual has it all, is for test-prometheus.sh, which gets the
 * text from `test-metrics --dump FORMAT`.
 */

#include "lib/metrics.h"

#include "tests/unit/util.h"
#include <locale.h>
#include <stdio.h>
#include <string.h>

static Metrics *example(void)
{
    Metrics *metrics = metrics_new();
    MetricsDomain *domain;

    metrics->version = "1.2.3";
    metrics->libvirt_version = g_strdup("9.0.0");
    metrics->hypervisor_version = g_strdup("7.2.0");
    metrics->vendor = "amd";
    metrics->module = "kvm_amd";
    metrics->nested = 1;
    metrics->platform = "unsafe";
    metrics->checks_pass = 9;
    metrics->mode = "enforce";
    metrics->connected = metrics->synced = true;
    metrics->loads_valid = 2;
    metrics->rewrites = G_MAXUINT64;
    metrics->collected_usec = 1795574870000012;
    metrics->started_usec = 1795574800000000;
    metrics->cpu_usec = 1500000;
    metrics->resident_bytes = 1 << 20;
    metrics->open_fds = 7;
    histogram_add(&metrics->tick_lateness, 300);
    histogram_add(&metrics->tick_lateness, 1500000);
    histogram_add(&metrics->tick_lateness, 40000000);
    metrics_add_calls(metrics, "domains", 3, 1);
    metrics_add_calls(metrics, "guards", 0, 0);
    domain = metrics_add_domain(metrics, "web1", "6d1f52ab-0000-4000-8000-000000000001", "lab");
    domain->state = "pending-restart";
    domain->l2_state = "running";
    domain->l2_source = "debugfs";
    domain->running = domain->tagged = domain->pending_restart = domain->guarded = true;
    domain->nested_runs = 12345;
    domain->l2_activity_usec = 1795574869999999;
    domain = metrics_add_domain(metrics, "a \"b\" \\ \n\xff \xc3\xa4", "6d1f52ab-0000-4000-8000-000000000002", NULL);
    domain->state = "untagged";
    domain->l2_state = "none";
    domain->migration_safe = true;
    return metrics;
}

static void test_prometheus(void)
{
    g_autoptr(Metrics) metrics = example();
    g_autofree char *text = metrics_format(metrics, METRICS_PROMETHEUS);

    util_assert_contains(text,
                         "# TYPE virtnest_rewrites_total counter\nvirtnest_rewrites_total 18446744073709551615\n");
    util_assert_contains(text, "# TYPE virtnest_build_info gauge\n"
                               "virtnest_build_info{version=\"1.2.3\",libvirt=\"9.0.0\",hypervisor=\"7.2.0\"} 1\n");
    util_assert_contains(text, "virtnest_domain_state{name=\"web1\",uuid=\"6d1f52ab-0000-4000-8000-000000000001\","
                               "state=\"pending-restart\"} 1\n");
    util_assert_contains(text, "virtnest_domain_nested_runs_total{name=\"web1\","
                               "uuid=\"6d1f52ab-0000-4000-8000-000000000001\"} 12345\n");
    util_assert_contains(text, "virtnest_collected_timestamp_seconds 1795574870.000012\n");
    util_assert_contains(text, "virtnest_domains{kind=\"all\"} 2\nvirtnest_domains{kind=\"tagged\"} 1\n");
    util_assert_lacks(text, "# UNIT");
    g_assert_true(g_str_has_suffix(text, "\n# EOF\n"));
}

static void test_openmetrics(void)
{
    g_autoptr(Metrics) metrics = example();
    g_autofree char *text = metrics_format(metrics, METRICS_OPENMETRICS);

    util_assert_contains(text, "# TYPE virtnest_rewrites counter\nvirtnest_rewrites_total 18446744073709551615\n");
    util_assert_contains(text, "# TYPE virtnest_build info\nvirtnest_build_info{");
    util_assert_contains(text,
                         "# TYPE virtnest_process_cpu_seconds counter\n# UNIT virtnest_process_cpu_seconds seconds\n"
                         "virtnest_process_cpu_seconds_total 1.500000\n");
    util_assert_contains(text, "# UNIT virtnest_process_resident_memory_bytes bytes\n");
    g_assert_true(g_str_has_suffix(text, "\n# EOF\n"));
}

/* Samples are the same in both: a dashboard must not hang on who asks. */
static void test_same_samples(void)
{
    g_autoptr(Metrics) metrics = example();
    g_autofree char *prometheus = metrics_format(metrics, METRICS_PROMETHEUS);
    g_autofree char *openmetrics = metrics_format(metrics, METRICS_OPENMETRICS);
    g_auto(GStrv) a = g_strsplit(prometheus, "\n", -1), b = g_strsplit(openmetrics, "\n", -1);
    gsize i = 0, j = 0;

    for (;;) {
        while (a[i] != NULL && *a[i] == '#')
            i++;
        while (b[j] != NULL && *b[j] == '#')
            j++;
        g_assert_cmpstr(a[i], ==, b[j]);
        if (a[i] == NULL)
            break;
        i++;
        j++;
    }
}

static void test_labels(void)
{
    g_autoptr(Metrics) metrics = example();
    g_autofree char *text = metrics_format(metrics, METRICS_PROMETHEUS);

    g_assert_true(g_utf8_validate(text, -1, NULL));
    util_assert_contains(text, "{name=\"a \\\"b\\\" \\\\ \\n\xef\xbf\xbd \xc3\xa4\",uuid=");
}

static void test_histogram(void)
{
    g_autoptr(Metrics) metrics = example();
    g_autofree char *text = metrics_format(metrics, METRICS_OPENMETRICS);

    util_assert_contains(text, "# TYPE virtnest_tick_lateness_seconds histogram\n"
                               "# UNIT virtnest_tick_lateness_seconds seconds\n"
                               "virtnest_tick_lateness_seconds_bucket{le=\"0.0001\"} 0\n"
                               "virtnest_tick_lateness_seconds_bucket{le=\"0.0002\"} 0\n"
                               "virtnest_tick_lateness_seconds_bucket{le=\"0.0005\"} 1\n");
    util_assert_contains(text, "_bucket{le=\"1.0\"} 1\nvirtnest_tick_lateness_seconds_bucket{le=\"2.0\"} 2\n");
    util_assert_contains(text,
                         "_bucket{le=\"30.0\"} 2\nvirtnest_tick_lateness_seconds_bucket{le=\"+Inf\"} 3\n"
                         "virtnest_tick_lateness_seconds_sum 41.500300\nvirtnest_tick_lateness_seconds_count 3\n");
}

/* What is not known is not there, and the rest is. */
static void test_unknown(void)
{
    g_autoptr(Metrics) metrics = metrics_new();

    metrics->nested = -1;
    g_autofree char *text = metrics_format(metrics, METRICS_PROMETHEUS);
    util_assert_lacks(text, "\nvirtnest_host_nested ");
    util_assert_lacks(text, "\nvirtnest_process_open_fds ");
    util_assert_lacks(text, "\nvirtnest_domain_state{");
    util_assert_contains(text, "virtnest_build_info{version=\"\",libvirt=\"\",hypervisor=\"\"} 1\n");
    util_assert_contains(text, "virtnest_libvirt_connected 0\n");
}

/* A decimal comma is no number. */
static void test_locale(void)
{
    g_autoptr(Metrics) metrics = example();
    g_autofree char *before = metrics_format(metrics, METRICS_PROMETHEUS);

    if (setlocale(LC_ALL, "de_DE.UTF-8") == NULL) {
        g_test_skip("no locale de_DE.UTF-8");
        return;
    }
    g_autofree char *text = metrics_format(metrics, METRICS_PROMETHEUS);
    (void)setlocale(LC_ALL, "C");
    g_assert_cmpstr(text, ==, before);
}

static void test_parse(void)
{
    MetricsFormat format = METRICS_PROMETHEUS;

    g_assert_true(metrics_format_parse("openmetrics", &format));
    g_assert_cmpint(format, ==, METRICS_OPENMETRICS);
    g_assert_true(metrics_format_parse("prometheus", &format));
    g_assert_cmpint(format, ==, METRICS_PROMETHEUS);
    g_assert_false(metrics_format_parse("", &format));
    g_assert_false(metrics_format_parse("OpenMetrics", &format));
}

int main(int argc, char **argv)
{
    MetricsFormat format;

    if (argc == 3 && strcmp(argv[1], "--dump") == 0 && metrics_format_parse(argv[2], &format)) {
        g_autoptr(Metrics) metrics = example();
        g_autofree char *text = metrics_format(metrics, format);
        return fputs(text, stdout) < 0;
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/metrics/prometheus", test_prometheus);
    g_test_add_func("/metrics/openmetrics", test_openmetrics);
    g_test_add_func("/metrics/same-samples", test_same_samples);
    g_test_add_func("/metrics/labels", test_labels);
    g_test_add_func("/metrics/histogram", test_histogram);
    g_test_add_func("/metrics/unknown", test_unknown);
    g_test_add_func("/metrics/locale", test_locale);
    g_test_add_func("/metrics/parse", test_parse);
    return g_test_run();
}
