/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/baseline.c: what libvirt recorded of hosts that are not alike, and the policy that comes of it. */

#include "lib/baseline.h"

#include "lib/policy.h"
#include "tests/unit/util.h"
#include <string.h>

static char *read_data(const char *name)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "data", "baseline", name, NULL);
    char *text = NULL;
    g_autoptr(GError) error = NULL;

    (void)g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    return text;
}

static BaselineHost *read_host(const char *name)
{
    g_autofree char *file = g_strdup_printf("%s.xml", name), *features_file = g_strdup_printf("%s-features.xml", name);
    g_autofree char *capabilities = read_data(file);
    g_autoptr(GError) error = NULL;
    BaselineHost *host = baseline_host_new(name, capabilities, &error);

    g_assert_no_error(error);
    if (strcmp(name, "amd-off") != 0) {
        g_autofree char *features = read_data(features_file);
        host->features = baseline_read_features(features, &error);
        g_assert_no_error(error);
    }
    return host;
}

static void destroy_host(gpointer host)
{
    baseline_host_free(host);
}

/* @names: separated by blanks */
static GPtrArray *read_hosts(const char *names)
{
    GPtrArray *hosts = g_ptr_array_new_with_free_func(destroy_host);
    g_auto(GStrv) list = g_strsplit(names, " ", -1);

    for (gsize i = 0; list[i] != NULL; i++)
        g_ptr_array_add(hosts, read_host(list[i]));
    return hosts;
}

static void assert_lacks(const GPtrArray *hosts, guint index, const char *expected)
{
    g_auto(GStrv) lacks = baseline_lacks(hosts->pdata[index], hosts);
    g_autofree char *joined = g_strjoinv(" ", lacks);

    g_assert_cmpstr(joined, ==, expected);
}

static void test_hosts(void)
{
    g_autoptr(BaselineHost) amd = read_host("amd"), intel = read_host("intel");

    g_assert_cmpstr(amd->model, ==, "EPYC");
    g_assert_cmpstr(amd->vendor, ==, "AMD");
    g_assert_cmpstr(amd->arch, ==, "x86_64");
    g_assert_cmpstr(amd->emulator, ==, "/usr/bin/qemu-system-x86_64");
    g_assert_cmpstr(baseline_feature(amd), ==, "svm");
    g_assert_true(g_str_has_prefix(amd->cpu, "<cpu mode='custom' match='exact'><model fallback='forbid'>EPYC</model>"
                                             "<vendor>AMD</vendor><feature policy='require' name='acpi'/>"));
    util_assert_contains(amd->cpu, "<feature policy='disable' name='nrip-save'/></cpu>");
    g_assert_true(g_strv_contains((const char *const *)amd->features, "avx2"));
    g_assert_false(g_strv_contains((const char *const *)amd->features, "nrip-save"));
    g_assert_cmpstr(intel->model, ==, "Cascadelake-Server");
    g_assert_cmpstr(baseline_feature(intel), ==, "vmx");
}

static void test_lacks(void)
{
    g_autoptr(GPtrArray) hosts = read_hosts("amd amd-older"), alone = read_hosts("amd"), alike = read_hosts("amd amd");

    assert_lacks(hosts, 0, "");
    assert_lacks(hosts, 1, "adx avx2 bmi2 smep");
    assert_lacks(alone, 0, "");
    assert_lacks(alike, 1, "");
}

/* The policy is one that policy_load_file() takes, and gives svm. */
static void test_policy(void)
{
    g_autoptr(GPtrArray) hosts = read_hosts("amd amd-older"), errors = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *cpu = read_data("amd-common.xml");
    g_autoptr(GError) error = NULL;
    g_autoptr(Baseline) baseline = baseline_new(cpu, "svm", &error);
    g_autoptr(UtilRoot) root = util_root_new();

    g_assert_no_error(error);
    g_assert_cmpstr(baseline->model, ==, "Opteron_G3");
    g_assert_true(g_strv_contains((const char *const *)baseline->require, "svm"));
    g_assert_false(g_strv_contains((const char *const *)baseline->require, "avx2"));
    util_assert_contains(baseline->cpu, "<feature policy='require' name='svm'/>");
    util_assert_contains(baseline->cpu, "<feature policy='disable' name='misalignsse'/>");
    g_autofree char *text = baseline_to_policy(baseline, hosts);
    util_assert_contains(text, "# amd: EPYC; lacks nothing that another one has\n");
    util_assert_contains(text, "# amd-older: Opteron_G3; lacks adx avx2 bmi2 smep\n");
    util_assert_contains(text, "\nDescription=A CPU that 2 hosts have in common\n");
    util_root_write(root, "fleet.policy", text);
    g_autofree char *path = util_root_path(root, "fleet.policy");
    Policy *policy = policy_load_file(path, errors);
    g_assert_cmpuint(errors->len, ==, 0);
    g_assert_cmpint(policy->cpu.mode, ==, CPU_MODE_CUSTOM);
    g_assert_cmpstr(policy->cpu.model, ==, "Opteron_G3");
    g_assert_true(g_strv_contains((const char *const *)policy->cpu.require, "svm"));
    policy_free(policy);
}

/* Whatever libvirt says of it, the policy requires what gives nesting, and once. */
static void test_feature(void)
{
    static const char *const cpus[] = {
        "<cpu><model>EPYC</model></cpu>",
        "<cpu><model>EPYC</model><feature policy='require' name='svm'/></cpu>",
        "<cpu><model>EPYC</model><feature policy='disable' name='svm'/><feature policy='disable' name='x'/></cpu>",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cpus); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Baseline) baseline = baseline_new(cpus[i], "svm", &error);
        g_assert_no_error(error);
        g_assert_cmpuint(g_strv_length(baseline->require), ==, 1);
        g_assert_cmpstr(baseline->require[0], ==, "svm");
        g_assert_false(g_strv_contains((const char *const *)baseline->disable, "svm"));
    }
}

static void test_unlike(void)
{
    g_autoptr(GPtrArray) fit = read_hosts("amd amd-older amd-off"), mixed = read_hosts("amd intel"),
                         other = read_hosts("amd");
    g_autoptr(GError) error = NULL;
    BaselineHost *host = other->pdata[0];

    g_assert_true(baseline_check_hosts(fit, &error));
    g_assert_false(baseline_check_hosts(mixed, &error));
    util_assert_contains(error->message, "amd has a CPU of AMD (x86_64) and intel one of Intel (x86_64)");
    g_clear_error(&error);
    g_free(host->vendor);
    host->vendor = g_strdup("Zhaoxin");
    g_assert_false(baseline_check_hosts(other, &error));
    util_assert_contains(error->message, "amd has a CPU of Zhaoxin, and virtnest knows no nesting for it");
}

static void test_damaged(void)
{
    static const char *const documents[] = {
        "",
        "<domainCapabilities/>",
        "<domainCapabilities><cpu><mode name='host-model' supported='no'/></cpu></domainCapabilities>",
        "<domainCapabilities><cpu><mode name='host-model' supported='yes'/></cpu></domainCapabilities>",
        "<capabilities><cpu><mode name='host-model' supported='yes'><model>x</model></mode></cpu></capabilities>",
        "<domainCapabilities>",
    };
    static const char *const cpus[] = {"", "<cpu/>", "<cpu><model/></cpu>", "<cpu><model>a;b</model></cpu>", "<x/>"};

    for (gsize i = 0; i < G_N_ELEMENTS(documents); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(baseline_host_new("a", documents[i], &error));
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(cpus); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(baseline_new(cpus[i], "svm", &error));
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML);
    }
}

/* What a host is called, and what a document has for a feature, cannot add lines to the policy. */
static void test_names(void)
{
    g_autoptr(GPtrArray) hosts = read_hosts("amd");
    g_autoptr(GError) error = NULL;
    g_autoptr(Baseline) baseline =
        baseline_new("<cpu><model>EPYC</model><feature policy='require' name='a;b&#10;[Guard]'/></cpu>", "svm", &error);
    BaselineHost *host = hosts->pdata[0];

    g_assert_no_error(error);
    g_free(host->name);
    host->name = g_strdup("qemu:///system\n[Guard]\nBlockWhen=never");
    g_autofree char *text = baseline_to_policy(baseline, hosts);
    util_assert_lacks(text, "\n[Guard]");
    util_assert_lacks(text, "\nBlockWhen");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/baseline/hosts", test_hosts);
    g_test_add_func("/baseline/lacks", test_lacks);
    g_test_add_func("/baseline/policy", test_policy);
    g_test_add_func("/baseline/feature", test_feature);
    g_test_add_func("/baseline/unlike", test_unlike);
    g_test_add_func("/baseline/damaged", test_damaged);
    g_test_add_func("/baseline/names", test_names);
    return g_test_run();
}
