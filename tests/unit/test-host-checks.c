/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/host-checks.c and the files of its checks, lib/host-survey.c: recorded hosts, and what is said of them. */

#include "lib/host-checks.h"

#include "tests/unit/util.h"
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char capabilities[] = "<domainCapabilities><domain>kvm</domain><cpu>"
                                   "<mode name='host-passthrough' supported='yes'/>"
                                   "<mode name='host-model' supported='yes'><model>EPYC</model></mode>"
                                   "<mode name='custom' supported='yes'/></cpu></domainCapabilities>";
static const HostLibvirt libvirt_10 = {
    .asked = true, .version = 10000000, .qemu = 8002000, .capabilities = capabilities};

typedef struct HostCase {
    const char *host;
    const char *rows[20][2]; /* id, expected; see util_assert_check() */
} HostCase;

static const HostCase host_cases[] = {
    {"intel-ready",
     {{"cpu", "pass Gold 6230R CPU @ 2.10GHz with vmx"},
      {"module", "pass kvm_intel is loaded"},
      {"device", "pass QEMU runs as root"},
      {"nested", "pass nested=Y"},
      {"nested-at-boot", "pass /etc/modprobe.d/kvm.conf:3"},
      {"modprobe.d", ""},
      {"ept", "pass on"},
      {"shadow-vmcs", "pass on"},
      {"apicv", "pass on"},
      {"npt", ""},
      {"ignore-msrs", "pass needs virtnestctl host enable --ignore-msrs"},
      {"libvirt", "pass libvirt 10.0.0, QEMU 8.2.0"},
      {"cpu-modes", "pass host-model and host-passthrough"},
      {"platform", "pass Linux 6.1.0-37-amd64, QEMU 8.2.0: on Intel it is documented to work"},
      {"depth", "pass 10 to 30% slower"},
      {"container", ""},
      {"hpage", ""},
      {"libvirt-guests", "pass ON_SHUTDOWN=shutdown (/etc/default/libvirt-guests), 0 guests"}}},
    {"intel-off",
     {{"nested", "fail nested=0 => virtnestctl host enable --now"},
      {"nested-at-boot", "warn zz-local.conf:2 => remove \"kvm_intel nested=0\""},
      {"modprobe.d", "warn nested=0 in /etc/modprobe.d/zz-local.conf:2, which wins => keep one"},
      {"ept", "warn off, and this CPU has it => remove ept=0"},
      {"shadow-vmcs", "warn off, and this CPU has it => host enable --shadow-vmcs"},
      {"apicv", "warn off, and this CPU has it => enable_apicv=0"},
      {"ignore-msrs", "warn ignore_msrs=Y, report_ignored_msrs=Y => --ignore-msrs"},
      {"platform", "warn Linux 4.18.0-553.el8_10.x86_64 => guard such guests"}}},
    {"intel-lost-at-boot",
     {{"nested", "pass nested=Y"},
      {"nested-at-boot", "warn nothing sets it => virtnestctl host enable"},
      {"shadow-vmcs", "warn off => --shadow-vmcs"}}},
    {"intel-firmware",
     {{"cpu", "pass with vmx"},
      {"module", "fail most often the firmware has switched vmx off => disabled by bios"},
      {"device", "fail there is no /dev/kvm"},
      {"nested", ""}}},
    {"intel-hidden",
     {{"cpu", "fail has vmx, and the firmware hides it => VT-x"}, {"module", "fail not loaded => first"}}},
    {"intel-none", {{"cpu", "fail shows no vmx => this CPU cannot"}}},
    {"intel-unloaded",
     {{"cpu", "pass with vmx"},
      {"module", "fail kvm_intel is not loaded => modprobe kvm_intel"},
      {"device", "fail there is no /dev/kvm"},
      {"nested", ""},
      {"nested-at-boot", "pass kvm_intel's default is on"}}},
    {"intel-guest",
     {{"cpu", "pass with vmx"},
      {"nested", "pass nested=Y"},
      {"apicv", "pass off: the hypervisor below does not give it"},
      {"depth", "warn a guest of qemu: what nests in its guests is the third level => host below"}}},
    {"intel-guest-without",
     {{"cpu", "fail without vmx, which the hypervisor below does not give => tag it"},
      {"depth", "warn guest of vmware"}}},
    {"intel-new-value",
     {{"nested", "warn nested=auto, which is not known => modinfo"},
      {"nested-at-boot", "warn /run/modprobe.d/new.conf:1 has \"kvm_intel nested=auto\", which is not known"}}},
    {"intel-wrong-module", {{"module", "fail kvm_amd is loaded, which is not the one => modprobe kvm_intel"}}},
    {"container",
     {{"container", "warn container of lxc => on the host itself"},
      {"nested-at-boot", "warn no say => on the host itself"}}},
    {"amd-ready",
     {{"cpu", "pass EPYC 7543 32-Core Processor with svm"},
      {"nested", "pass kvm_amd has nested=1"},
      {"nested-at-boot", "pass default is on"},
      {"npt", "pass on"},
      {"avic", "pass off, and this CPU has it"},
      {"vgif", "pass on"},
      {"vls", "pass on"},
      {"shadow-vmcs", ""},
      {"platform", "warn on AMD to move a guest with a running L2 is undefined"},
      {"libvirt-guests", "warn ON_SHUTDOWN=suspend (its default), 1 guest is guarded => ON_SHUTDOWN=shutdown"}}},
    {"amd-off",
     {{"nested", "fail nested=0"},
      {"nested-at-boot", "warn with which the module will not load at all => from /usr/lib/modprobe.d/kvm.conf:1"},
      {"modprobe.d", ""},
      {"vgif", "warn off, and this CPU has it => vgif=0"},
      {"vls", "warn known to reboot hosts => vls=0"},
      {"ignore-msrs", "pass ignore_msrs=Y, report_ignored_msrs=N"}}},
    {"amd-builtin",
     {{"module", "pass built into the kernel"},
      {"nested", "fail nested=0 => kernel's command line, and reboot"},
      {"nested-at-boot", "warn the kernel's command line has => have kvm_amd.nested=1 on"},
      {"modprobe.d", ""}}},
    {"amd-blacklisted",
     {{"module", "fail /etc/modprobe.d/hardening.conf:1 has \"blacklist kvm_amd\" => remove that line"}}},
    {"amd-none",
     {{"cpu", "fail Sempron(tm) Processor 3400+ shows no svm => this CPU cannot"},
      {"module", "fail kvm_amd is not loaded => first"}}},
    {"amd-hidden", {{"cpu", "fail has svm, and the firmware hides it => SVM Mode"}}},
    {"amd-old",
     {{"npt", "warn this CPU has none => newer CPU"}, {"vgif", ""}, {"platform", "warn not carry nested state"}}},
    {"s390x",
     {{"cpu", "pass s390x with sie"},
      {"module", "pass kvm is loaded"},
      {"nested", "pass kvm has nested=1"},
      {"nested-at-boot", "pass kvm.conf:1"},
      {"hpage", "warn huge pages => hpage=1"},
      {"ignore-msrs", ""},
      {"platform", "pass on s390x"},
      {"depth", "pass bare metal"}}},
    {"s390x-guest",
     {{"nested", "fail nested=0"},
      {"nested-at-boot", "warn default is off"},
      {"hpage", ""},
      {"depth", "warn a guest of kvm"}}},
    {"s390x-without-sie",
     {{"cpu", "fail s390x without sie => LPAR"},
      {"module", "fail kvm is not loaded => modprobe kvm"},
      {"nested", ""},
      {"depth", "warn a guest of zvm"}}},
    {"s390x-builtin",
     {{"module", "pass built into the kernel"},
      {"nested", "fail nested=0 => add kvm.nested=1 to the kernel's command line"},
      {"nested-at-boot", "warn default is off => have kvm.nested=1 on the kernel's command line"},
      {"hpage", ""}}},
    {"aarch64",
     {{"cpu", "warn no file tells => FEAT_NV2"},
      {"module", ""},
      {"nested", "fail no kvm-arm.mode=nested => add"},
      {"nested-at-boot", ""}}},
    {"aarch64-nested", {{"nested", "warn has kvm-arm.mode=nested => dmesg"}, {"platform", "warn ARM"}}},
    {"aarch64-guest",
     {{"nested", "fail no kvm-arm.mode=nested"},
      {"depth", "warn a guest of kvm: what nests in its guests is the third level"}}},
    {"ppc64-power8",
     {{"cpu", "fail POWER8E => POWER9 or newer"},
      {"module", "pass kvm_hv"},
      {"nested", "fail kvm_hv has no readable parameter nested => modinfo -p kvm_hv"},
      {"nested-at-boot", "warn differs between kernels as old as this"},
      {"depth", "pass bare metal"}}},
    {"ppc64le",
     {{"cpu", "pass POWER9"}, {"module", "pass kvm_hv"}, {"nested", "pass nested=Y"}, {"nested-at-boot", "pass on"}}},
    {"proxmox", {{"device", "pass /dev/kvm is there, and QEMU runs as root"}, {"nested", "pass nested=Y"}}},
    {"incus", {{"device", "pass QEMU runs as root"}, {"nested", "pass nested=1"}}},
    {"riscv64",
     {{"cpu", "fail riscv64, of which virtnest knows no nesting => another"}, {"module", ""}, {"nested", ""}}},
};

static void test_recorded(gconstpointer data)
{
    const HostCase *c = data;
    g_autofree char *root = g_test_build_filename(G_TEST_DIST, "data", "hosts", c->host, NULL);
    g_autoptr(HostSurvey) survey = host_survey_read(root);
    g_autoptr(GPtrArray) checks = host_checks_run(survey, &libvirt_10);

    g_assert_true(g_file_test(root, G_FILE_TEST_IS_DIR));
    util_assert_checks(checks);
    for (gsize i = 0; c->rows[i][0] != NULL; i++)
        util_assert_check(checks, c->rows[i][0], c->rows[i][1]);
}

/* What is published besides the rows. */
static void test_summary(void)
{
    static const struct {
        const char *host, *module;
        HostNested nested, at_boot;
        bool reboot;
        CheckVerdict verdict;
    } cases[] = {
        {"intel-ready", "kvm_intel", HOST_NESTED_YES, HOST_NESTED_YES, false, CHECK_PASS},
        {"intel-off", "kvm_intel", HOST_NESTED_NO, HOST_NESTED_NO, false, CHECK_FAIL},
        {"intel-lost-at-boot", "kvm_intel", HOST_NESTED_YES, HOST_NESTED_ABSENT, false, CHECK_WARN},
        {"intel-none", "kvm_intel", HOST_NESTED_ABSENT, HOST_NESTED_YES, false, CHECK_FAIL},
        {"intel-new-value", "kvm_intel", HOST_NESTED_ABSENT, HOST_NESTED_ABSENT, false, CHECK_WARN},
        {"amd-builtin", "kvm_amd", HOST_NESTED_NO, HOST_NESTED_NO, false, CHECK_FAIL},
        {"s390x-guest", "kvm", HOST_NESTED_NO, HOST_NESTED_NO, false, CHECK_FAIL},
        {"aarch64-nested", NULL, HOST_NESTED_YES, HOST_NESTED_YES, false, CHECK_WARN},
        {"ppc64le", "kvm_hv", HOST_NESTED_YES, HOST_NESTED_YES, false, CHECK_WARN},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *root = g_test_build_filename(G_TEST_DIST, "data", "hosts", cases[i].host, NULL);
        g_autoptr(HostSurvey) survey = host_survey_read(root);
        g_autoptr(GPtrArray) checks = host_checks_run(survey, &libvirt_10);
        g_test_message("%s", cases[i].host);
        g_assert_cmpstr(survey->module, ==, cases[i].module);
        g_assert_cmpint(survey->nested, ==, cases[i].nested);
        g_assert_cmpint(survey->nested_at_boot, ==, cases[i].at_boot);
        g_assert_cmpint(host_survey_reboot_required(survey), ==, cases[i].reboot);
        g_assert_cmpint(checks_verdict(checks), ==, cases[i].verdict);
    }
}

static UtilRoot *amd_host(const char *nested)
{
    UtilRoot *root = util_root_new();

    util_root_write(root, "proc/cpuinfo", "vendor_id: AuthenticAMD\nmodel name: a \xff\nflags: svm npt\n\n");
    util_root_write(root, "proc/sys/kernel/arch", "x86_64\n");
    util_root_write(root, "sys/module/kvm_amd/initstate", "live\n");
    util_root_write(root, "sys/module/kvm_amd/parameters/nested", nested);
    return root;
}

static void test_reboot(void)
{
    g_autoptr(UtilRoot) root = amd_host("1\n");
    util_root_write(root, "etc/modprobe.d/a.conf", "options kvm-amd nested=0\n");
    g_autoptr(HostSurvey) survey = host_survey_read(root->path);

    g_assert_true(host_survey_reboot_required(survey));
    g_assert_cmpint(survey->nested_at_boot, ==, HOST_NESTED_NO);
}

static void test_libvirt(void)
{
    static const struct {
        HostLibvirt libvirt;
        const char *rows[3][2];
    } cases[] = {
        {{.asked = false}, {{"libvirt", ""}, {"cpu-modes", ""}}},
        {{.asked = true, .error = "no connection: \xff"},
         {{"libvirt", "fail no connection => systemctl start"}, {"cpu-modes", ""}}},
        {{.asked = true, .version = 8005000, .qemu = 7002000}, {{"libvirt", "warn 8.5.0 => 8.6"}, {"cpu-modes", ""}}},
        {{.asked = true, .version = 9000000, .qemu = 5002000}, {{"libvirt", "warn QEMU 5.2.0 => 6.0"}}},
        {{.asked = true, .version = 9000000},
         {{"libvirt", "pass QEMU of unknown version"}, {"platform", "warn on AMD"}}},
        {{.asked = true, .version = 9000000, .capability_error = "no kvm"}, {{"cpu-modes", "fail no kvm => virsh"}}},
        {{.asked = true, .version = 9000000, .capabilities = "<x/>"}, {{"cpu-modes", "warn not understood => virsh"}}},
        {{.asked = true,
          .version = 9000000,
          .capabilities = "<domainCapabilities><cpu><mode name='host-passthrough' supported='yes'/>"
                          "<mode name='host-model' supported='no'/></cpu></domainCapabilities>"},
         {{"cpu-modes", "warn host-passthrough, but not host-model => another Mode="}}},
        {{.asked = true,
          .version = 9000000,
          .capabilities = "<domainCapabilities><cpu><mode name='host-model' supported='yes'/></cpu>"
                          "</domainCapabilities>"},
         {{"cpu-modes", "warn host-model, but not host-passthrough"}}},
        {{.asked = true, .version = 9000000, .capabilities = "<domainCapabilities/>"},
         {{"cpu-modes", "fail neither host-model nor host-passthrough"}}},
    };
    g_autoptr(UtilRoot) root = amd_host("1\n");
    g_autoptr(HostSurvey) survey = host_survey_read(root->path);

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GPtrArray) checks = host_checks_run(survey, &cases[i].libvirt);
        util_assert_checks(checks);
        for (gsize j = 0; j < G_N_ELEMENTS(cases[i].rows) && cases[i].rows[j][0] != NULL; j++)
            util_assert_check(checks, cases[i].rows[j][0], cases[i].rows[j][1]);
    }
}

static void test_other_manager(void)
{
    static const HostLibvirt none = {.asked = true, .error = "no connection"};
    static const struct {
        const char *host, *expected;
        const HostLibvirt *libvirt;
    } cases[] = {
        {"proxmox",
         "warn Proxmox VE runs QEMU without libvirt: there is nothing to tag here, and no guard => virtnest(7)", &none},
        {"proxmox", "pass libvirt 10.0.0", &libvirt_10},
        {"incus", "warn Incus runs QEMU without libvirt", &none},
        {"amd-ready", "fail no connection => systemctl start", &none},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *root = g_test_build_filename(G_TEST_DIST, "data", "hosts", cases[i].host, NULL);
        g_autoptr(HostSurvey) survey = host_survey_read(root);
        g_autoptr(GPtrArray) checks = host_checks_run(survey, cases[i].libvirt);
        util_assert_checks(checks);
        util_assert_check(checks, "libvirt", cases[i].expected);
        g_assert_cmpint(checks_verdict(checks) == CHECK_FAIL, ==, g_str_has_prefix(cases[i].expected, "fail"));
    }
}

static void assert_device(const UtilRoot *root, bool hidden, const char *expected)
{
    g_autoptr(HostSurvey) survey = host_survey_read(root->path);
    const HostLibvirt libvirt = {.devices_hidden = hidden};
    g_autoptr(GPtrArray) checks = host_checks_run(survey, &libvirt);

    util_assert_checks(checks);
    util_assert_check(checks, "device", expected);
}

/* The user is looked up in the host's own files, and judged by the mode. The file belongs to whoever runs this. */
static void test_device(void)
{
    g_autoptr(UtilRoot) root = amd_host("1\n");
    g_autofree char *device = util_root_path(root, "dev/kvm");
    g_autofree char *owner = g_strdup_printf("libvirt-qemu:x:%u:9999::/:/bin/false\n", (unsigned)geteuid());
    g_autofree char *group = g_strdup_printf("x:x:9998:\nkvm:x:%u:other,libvirt-qemu\nbroken\n", (unsigned)getegid());

    assert_device(root, false, "fail there is no /dev/kvm => module");
    assert_device(root, true, "fail no kvm device");
    util_root_write(root, "sys/class/misc/kvm/dev", "10:232\n");
    assert_device(root, false, "fail the kernel has the device, and /dev/kvm is not there => mknod");
    assert_device(root, true, "pass the kernel has it");
    util_root_write(root, "dev/kvm", "");
    g_assert_cmpint(chmod(device, 0660), ==, 0);
    assert_device(root, false, "warn QEMU's user is not known => qemu.conf");
    util_root_write(root, "etc/passwd", "root:x:0:0::/:/bin/sh\nlibvirt-qemu:x:9999:9999::/:/bin/false\n");
    assert_device(root, false,
                  "fail libvirt-qemu may not open /dev/kvm, which has mode 0660 => usermod -aG kvm libvirt-qemu");
    util_root_write(root, "etc/group", group);
    assert_device(root, false, "pass libvirt-qemu may open");
    g_assert_cmpint(chmod(device, 0606), ==, 0);
    assert_device(root, false, "fail libvirt-qemu may not open");
    util_root_write(root, "etc/group", "kvm:x:9998:nobody\n");
    assert_device(root, false, "pass libvirt-qemu may open");
    util_root_write(root, "etc/libvirt/qemu.conf", "#user = \"x\"\n user = \"somebody\"\n");
    assert_device(root, false, "pass there is no user somebody");
    g_assert_cmpint(chmod(device, 0600), ==, 0);
    assert_device(root, false, "warn there is no user somebody");
    util_root_write(root, "etc/libvirt/qemu.conf", "user = \"root\"\n");
    assert_device(root, false, "pass root");
    if (geteuid() != 0) {
        util_root_write(root, "etc/libvirt/qemu.conf", "");
        util_root_write(root, "etc/passwd", owner);
        assert_device(root, false, "pass libvirt-qemu may open");
    }
}

static void assert_guests(const UtilRoot *root, const char *expected)
{
    g_autoptr(HostSurvey) survey = host_survey_read(root->path);
    g_autoptr(GPtrArray) checks = host_checks_run(survey, &libvirt_10);

    util_assert_check(checks, "libvirt-guests", expected);
}

static void test_libvirt_guests(void)
{
    g_autoptr(UtilRoot) root = amd_host("1\n");

    util_root_write(root, "etc/sysconfig/libvirt-guests",
                    "ON_SHUTDOWN='shutdown'\n #ON_SHUTDOWN=x\nON_SHUTDOWN=suspend # x\n");
    assert_guests(root, "");
    util_root_link(root, "run/systemd/system/multi-user.target.wants/libvirt-guests.service", "/nowhere");
    assert_guests(root, "pass ON_SHUTDOWN=suspend (/etc/sysconfig/libvirt-guests), 0 guests");
    util_root_write(root, VIRTNEST_RUNDIR "/guards/a", "1\n");
    util_root_write(root, VIRTNEST_RUNDIR "/guards/b", "1\n");
    assert_guests(root, "warn suspend (/etc/sysconfig/libvirt-guests), 2 guests are guarded");
    util_root_write(root, "etc/default/libvirt-guests", "ON_SHUTDOWN=\"shutdown\"\n");
    assert_guests(root, "pass ON_SHUTDOWN=shutdown (/etc/default/libvirt-guests)");
}

/* Nothing there, folders for files, and garbage: rows all the same. */
static void test_strange(void)
{
    static const char *const folders[] = {
        "proc/cpuinfo",         "proc/cmdline", "sys/module/kvm_amd/parameters/nested",
        "etc/passwd",           "dev/kvm",      "etc/modprobe.d/a.conf",
        "etc/libvirt/qemu.conf"};
    g_autoptr(UtilRoot) empty = util_root_new(), odd = util_root_new(), garbage = amd_host("\xff\xfe\n");
    const UtilRoot *roots[] = {empty, odd, garbage};

    for (gsize i = 0; i < G_N_ELEMENTS(folders); i++)
        util_root_folder(odd, folders[i]);
    util_root_write(garbage, "etc/modprobe.d/\xff.conf", "options kvm_amd nested=\xff\n");
    util_root_write(garbage, "sys/module/kvm_amd/refcnt", "many");
    util_root_write(garbage, "etc/passwd", ":\nqemu\n::::\n");
    util_root_write(garbage, "proc/sysinfo", "VM00 Control Program:");
    for (gsize i = 0; i < G_N_ELEMENTS(roots); i++) {
        g_autoptr(HostSurvey) survey = host_survey_read(roots[i]->path);
        g_autoptr(GPtrArray) checks = host_checks_run(survey, &libvirt_10);
        util_assert_checks(checks);
        g_assert_cmpint(checks_verdict(checks), ==, CHECK_FAIL);
    }
    g_autoptr(HostSurvey) survey = host_survey_read("/nonexistent");
    g_autoptr(GPtrArray) checks = host_checks_run(survey, &libvirt_10);
    util_assert_checks(checks);
}

static void assert_row(const UtilRoot *root, const char *id, const char *expected)
{
    g_autoptr(HostSurvey) survey = host_survey_read(root->path);
    g_autoptr(GPtrArray) checks = host_checks_run(survey, &libvirt_10);

    util_assert_checks(checks);
    util_assert_check(checks, id, expected);
}

/* What no recorded host has, since it is rare or can be in no archive. */
static void test_edges(void)
{
    g_autoptr(UtilRoot) root = amd_host("1\n");

    util_root_folder(root, "etc/modprobe.d/a.conf");
    assert_row(root, "modprobe.d", "warn /etc/modprobe.d/a.conf: no file => run this as root");
    util_root_write(root, "sys/module/kvm_amd/parameters/npt", "auto\n");
    assert_row(root, "npt", "warn npt=auto, which is not known => modinfo -p kvm_amd");
    util_root_write(root, "etc/modprobe.d/b.conf", "options kvm_amd nested=0\n");
    assert_row(root, "nested-at-boot", "warn b.conf:1 => remove \"kvm_amd nested=0\" from /etc/modprobe.d/b.conf:1");
    util_root_write(root, "etc/modprobe.d/c.conf", "options kvm_amd nested\n");
    assert_row(root, "nested-at-boot", "warn c.conf:1 has \"kvm_amd nested\", with which the module will not load");
    util_root_write(root, "etc/modprobe.d/virtnest.conf", "options kvm_amd nested=0\n");
    assert_row(root, "nested-at-boot", "warn virtnest.conf:1 has \"kvm_amd nested=0\" => virtnestctl host enable");
    util_root_write(root, "proc/cmdline", "kvm_amd.nested=1");
    assert_row(root, "nested-at-boot", "pass the kernel's command line");

    g_autoptr(UtilRoot) other = amd_host("1\n");
    util_root_write(other, "proc/cpuinfo", "vendor_id: GenuineIntel\nflags: vmx\n\n");
    assert_row(other, "module", "fail kvm_amd is loaded, which is not the one");
    util_root_write(other, "proc/cpuinfo", "vendor_id: CentaurHauls\nflags: vmx\n\n");
    assert_row(other, "cpu", "fail is neither Intel nor AMD => an Intel or AMD CPU");
    assert_row(other, "module", "fail kvm_amd is loaded => modprobe -r kvm_amd");
}

/* Linux masks the feature on the client CPUs of Zen 4, family 25, and on no other. */
static void test_vls(void)
{
    static const struct {
        unsigned family, model;
        bool broken;
    } cases[] = {
        {0x19, 0x17, false}, {0x19, 0x18, true}, {0x19, 0x1f, true},  {0x19, 0x20, false}, {0x19, 0x5f, false},
        {0x19, 0x60, true},  {0x19, 0x7f, true}, {0x19, 0x80, false}, {0x1a, 0x60, false}, {0x17, 0x60, false},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(UtilRoot) root = amd_host("1\n");
        g_autofree char *cpuinfo =
            g_strdup_printf("vendor_id: AuthenticAMD\ncpu family: %u\nmodel: %u\nflags: svm v_vmsave_vmload\n\n",
                            cases[i].family, cases[i].model);
        util_root_write(root, "proc/cpuinfo", cpuinfo);
        util_root_write(root, "sys/module/kvm_amd/parameters/vls", "1\n");
        assert_row(root, "vls", cases[i].broken ? "warn known to reboot hosts => vls=0" : "pass on");
    }
}

static void test_problem(void)
{
    g_autofree char *root = g_test_build_filename(G_TEST_DIST, "data", "hosts", "intel-off", NULL);
    g_autoptr(HostSurvey) survey = host_survey_read(root);
    g_autoptr(GPtrArray) checks = host_checks_run(survey, &libvirt_10);
    g_autofree char *problem = check_problem(util_check(checks, "nested"));

    g_assert_true(g_str_has_prefix(problem, "nested: kvm_intel has nested=0; to do: virtnestctl host enable"));
}

static void test_detect(void)
{
    static const struct {
        const char *path, *text, *container;
    } cases[] = {
        {"run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"},
        {"run/.containerenv", "", "podman"},
        {".dockerenv", "", "docker"},
        {"run/systemd/nothing", "lxc", NULL},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(UtilRoot) root = amd_host("1\n");
        util_root_write(root, cases[i].path, cases[i].text);
        g_autoptr(HostSurvey) survey = host_survey_read(root->path);
        g_assert_cmpstr(survey->container, ==, cases[i].container);
        g_assert_null(survey->hypervisor);
    }
    g_autoptr(UtilRoot) root = amd_host("1\n");
    static const char environment[] = "PATH=/bin\0container=lxc\0TERM=linux";
    util_root_write_bytes(root, "proc/1/environ", environment, sizeof(environment) - 1);
    g_autoptr(HostSurvey) survey = host_survey_read(root->path);
    g_assert_cmpstr(survey->container, ==, "lxc");
}

/* On ARM and POWER the device tree tells. Its texts end with a NUL. */
static void test_detect_by_tree(void)
{
    static const struct {
        const char *path, *text, *hypervisor;
    } cases[] = {
        {"proc/device-tree/hypervisor/compatible", "linux,kvm", "kvm"},
        {"proc/device-tree/hypervisor/compatible", "xen,xen-4.17", "xen"},
        {"proc/device-tree/hypervisor/compatible", "vmware", "vmware"},
        {"proc/device-tree/hypervisor/compatible", "acme", ""},
        {"proc/device-tree/fw-cfg@9020000/compatible", "qemu,fw-cfg-mmio", "qemu"},
        {"proc/device-tree/compatible", "qemu,pseries", "qemu"},
        {"proc/device-tree/compatible", "linux,dummy-virt", ""},
        {"proc/device-tree/compatible", "ibm,powernv", NULL},
        {"proc/device-tree/ibm,partition-name", "lp1", NULL},
        {"sys/class/dmi/id/sys_vendor", "QEMU", "qemu"},
        {"sys/hypervisor/type", "xen", "xen"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(UtilRoot) root = util_root_new();
        util_root_write(root, "proc/sys/kernel/arch", "aarch64\n");
        util_root_write_bytes(root, cases[i].path, cases[i].text, strlen(cases[i].text) + 1);
        g_autoptr(HostSurvey) survey = host_survey_read(root->path);
        g_assert_cmpstr(survey->hypervisor, ==, cases[i].hypervisor);
    }
    g_autoptr(UtilRoot) root = util_root_new();
    util_root_write(root, "proc/sys/kernel/arch", "ppc64le\n");
    util_root_write(root, "proc/device-tree/ibm,partition-name", "lp1");
    util_root_write(root, "proc/device-tree/hmc-managed?", "");
    g_autoptr(HostSurvey) survey = host_survey_read(root->path);
    g_assert_cmpstr(survey->hypervisor, ==, "powervm");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(host_cases); i++) {
        g_autofree char *path = g_strconcat("/host-checks/recorded/", host_cases[i].host, NULL);
        g_test_add_data_func(path, &host_cases[i], test_recorded);
    }
    g_test_add_func("/host-checks/summary", test_summary);
    g_test_add_func("/host-checks/reboot", test_reboot);
    g_test_add_func("/host-checks/libvirt", test_libvirt);
    g_test_add_func("/host-checks/other-manager", test_other_manager);
    g_test_add_func("/host-checks/device", test_device);
    g_test_add_func("/host-checks/libvirt-guests", test_libvirt_guests);
    g_test_add_func("/host-checks/strange", test_strange);
    g_test_add_func("/host-checks/edges", test_edges);
    g_test_add_func("/host-checks/vls", test_vls);
    g_test_add_func("/host-checks/problem", test_problem);
    g_test_add_func("/host-checks/detect", test_detect);
    g_test_add_func("/host-checks/detect-by-tree", test_detect_by_tree);
    return g_test_run();
}
