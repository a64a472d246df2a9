/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/host-setup.c: what is written for modprobe, and when it would be of no use. */

#include "lib/host-setup.h"

#include "tests/unit/util.h"
#include <string.h>

#define KEEP SETTINGS_KEEP
#define YES SETTINGS_YES
#define NO SETTINGS_NO

static HostSurvey *survey_of(const char *host)
{
    g_autofree char *root = g_test_build_filename(G_TEST_DIST, "data", "hosts", host, NULL);

    return host_survey_read(root);
}

static void test_text(void)
{
    static const struct {
        const char *host;
        HostSetup setup;
        const char *lines;
    } cases[] = {
        {"intel-ready", {YES, KEEP, KEEP}, "options kvm_intel nested=1\n"},
        {"intel-ready", {NO, KEEP, KEEP}, "options kvm_intel nested=0\n"},
        {"intel-ready", {KEEP, NO, KEEP}, "options kvm_intel enable_shadow_vmcs=0\n"},
        {"intel-ready",
         {YES, YES, YES},
         "options kvm_intel nested=1\noptions kvm_intel enable_shadow_vmcs=1\n"
         "options kvm ignore_msrs=1\noptions kvm report_ignored_msrs=0\n"},
        {"amd-ready", {YES, YES, NO}, "options kvm_amd nested=1\noptions kvm ignore_msrs=0\n"},
        {"s390x", {YES, YES, YES}, "options kvm nested=1\n"},
        {"ppc64le", {YES, KEEP, KEEP}, "options kvm_hv nested=1\n"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(HostSurvey) survey = survey_of(cases[i].host);
        g_autofree char *text = host_setup_text(survey, &cases[i].setup);
        const char *options = strstr(text, "options");
        g_assert_cmpstr(options, ==, cases[i].lines);
        g_assert_true(host_setup_is_ours(text));
        /* What stands before is comments alone. */
        for (const char *p = text; p < options; p = strchr(p, '\n') + 1)
            g_assert_true(*p == '#');
    }
    g_assert_false(host_setup_is_ours(""));
    g_assert_false(host_setup_is_ours("options kvm_intel nested=1\n"));
}

/* @refusal: a part of it, or NULL; @note: a part of the first one, or NULL */
static void assert_checked(const HostSurvey *survey, HostSetup setup, const char *refusal, const char *note)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    bool good = host_setup_check(survey, &setup, notes, &error);

    g_assert_cmpint(good, ==, refusal == NULL);
    if (refusal != NULL) {
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_UNSUPPORTED);
        util_assert_contains(error->message, refusal);
    }
    g_assert_cmpuint(notes->len, ==, note != NULL ? 1 : 0);
    if (note != NULL)
        util_assert_contains(notes->pdata[0], note);
}

static void test_recorded(void)
{
    static const struct {
        const char *host;
        HostSetup setup;
        const char *refusal, *note;
    } cases[] = {
        {"intel-ready", {YES, KEEP, KEEP}, NULL, NULL},
        {"intel-ready",
         {NO, KEEP, KEEP},
         NULL,
         "kvm.conf:3 has \"kvm_intel nested=1\", which /etc/modprobe.d/virtnest.conf"},
        {"intel-off",
         {YES, KEEP, KEEP},
         "/etc/modprobe.d/zz-local.conf:2 has \"kvm_intel nested=0\", which would win",
         NULL},
        {"intel-off", {KEEP, YES, KEEP}, NULL, NULL},
        {"container", {YES, KEEP, KEEP}, "a container of lxc", NULL},
        {"amd-builtin", {YES, KEEP, KEEP}, "add kvm_amd.nested=1 to the kernel's command line", NULL},
        {"amd-builtin", {NO, KEEP, KEEP}, "add kvm_amd.nested=0", NULL},
        {"amd-ready", {YES, YES, KEEP}, NULL, "Intel's"},
        {"aarch64", {YES, KEEP, KEEP}, "kvm-arm.mode=nested", NULL},
        {"riscv64", {YES, KEEP, KEEP}, "knows no nesting for this host's processor (riscv64)", NULL},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(HostSurvey) survey = survey_of(cases[i].host);
        g_test_message("%s", cases[i].host);
        assert_checked(survey, cases[i].setup, cases[i].refusal, cases[i].note);
    }
}

/* Ours is in the middle of others: those before it do not matter, those behind it do. */
static void test_conflicts(void)
{
    static const struct {
        const char *path, *text, *refusal, *note;
    } cases[] = {
        {"etc/modprobe.d/virtnest.conf", "options kvm-amd nested=0\n", NULL, NULL},
        {"lib/modprobe.d/zz.conf", "options kvm-amd nested=0\n", "/lib/modprobe.d/zz.conf:1", NULL},
        {"lib/modprobe.d/zz.conf", "options kvm-amd nested=on\n", NULL, NULL},
        {"lib/modprobe.d/zz.conf", "options kvm_amd npt=0\n", NULL, NULL},
        {"lib/modprobe.d/zz.conf", "options kvm ignore_msrs=0\n", "ignore_msrs=0", NULL},
        {"etc/modprobe.d/a.conf", "options kvm_amd nested=0\n", NULL, "overrules"},
        {"proc/cmdline", "kvm-amd.nested=0\n", "the kernel's command line has \"kvm_amd.nested=0\"", NULL},
        {"proc/cmdline", "kvm-amd.nested=1\n", NULL, NULL},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(UtilRoot) root = util_root_new();
        util_root_write(root, "proc/cpuinfo", "vendor_id: AuthenticAMD\nflags: svm\n\n");
        util_root_write(root, "proc/sys/kernel/arch", "x86_64\n");
        util_root_write(root, cases[i].path, cases[i].text);
        g_autoptr(HostSurvey) survey = host_survey_read(root->path);
        g_test_message("%s: %s", cases[i].path, cases[i].text);
        assert_checked(survey, (HostSetup){YES, KEEP, YES}, cases[i].refusal, cases[i].note);
    }
}

static void test_no_parameter(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, "proc/cpuinfo", "vendor_id: AuthenticAMD\nflags: svm\n\n");
    util_root_write(root, "proc/sys/kernel/arch", "x86_64\n");
    util_root_write(root, "sys/module/kvm_amd/initstate", "live\n");
    g_autoptr(HostSurvey) survey = host_survey_read(root->path);
    assert_checked(survey, (HostSetup){YES, KEEP, KEEP}, "kvm_amd has no parameter nested", NULL);
    assert_checked(survey, (HostSetup){KEEP, KEEP, YES}, NULL, NULL);
}

static void test_in_force(void)
{
    static const struct {
        const char *host;
        HostSetup setup;
        bool in_force;
    } cases[] = {
        {"intel-ready", {YES, YES, YES}, true},
        {"intel-ready", {NO, KEEP, KEEP}, false},
        {"intel-ready", {KEEP, NO, KEEP}, false},
        {"intel-lost-at-boot", {YES, KEEP, KEEP}, true},
        {"intel-lost-at-boot", {YES, YES, KEEP}, false},
        /* What is not there cannot be set. */
        {"intel-new-value", {KEEP, YES, KEEP}, true},
        {"intel-new-value", {YES, KEEP, KEEP}, false},
        {"amd-ready", {YES, YES, KEEP}, true},
        {"amd-hidden", {YES, KEEP, KEEP}, false},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(HostSurvey) survey = survey_of(cases[i].host);
        g_test_message("%s", cases[i].host);
        g_assert_cmpint(host_setup_is_in_force(survey, &cases[i].setup), ==, cases[i].in_force);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/host-setup/text", test_text);
    g_test_add_func("/host-setup/recorded", test_recorded);
    g_test_add_func("/host-setup/conflicts", test_conflicts);
    g_test_add_func("/host-setup/no-parameter", test_no_parameter);
    g_test_add_func("/host-setup/in-force", test_in_force);
    return g_test_run();
}
