/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/guest-checks.c and the files of its checks: definitions, and what is said of them on recorded hosts. */

#include "lib/guest-checks.h"

#include "tests/unit/util.h"
#include <string.h>

#define LIBVIRT_9 9000000UL
#define LIBVIRT_11 11003000UL
#define QEMU_8 8002000UL
#define TAG(attributes) "<n:nesting xmlns:n='urn:virtnest:domain:1' " attributes "/>"

/* The shipped ones. */
static PolicySet *shipped_policies(void)
{
    static const char *const names[] = {"default", "keep", "passthrough", "windows"};
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *file = g_strconcat(names[i], ".policy", NULL), *text = NULL;
        g_autofree char *path = g_test_build_filename(G_TEST_DIST, "..", "policy", file, NULL);
        g_autofree char *target = g_strconcat(VIRTNEST_SYSCONFDIR "/policy.d/", file, NULL);
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        util_root_write(root, target, text);
    }
    PolicySet *policies = policy_set_load(root->path, errors);
    g_assert_nonnull(policies);
    return policies;
}

static HostSurvey *recorded_host(const char *name)
{
    g_autofree char *root = g_test_build_filename(G_TEST_DIST, "data", "hosts", name, NULL);

    return host_survey_read(root);
}

typedef struct GuestCase {
    const char *name;
    const char *host, *domain; /* recorded ones */
    const char *cpu;           /* in place of its own; NULL: its own */
    const char *edits[6];      /* what is replaced, by what */
    const char *tag;           /* NULL: none */
    unsigned long libvirt;
    const char *rows[14][2]; /* id, expected; see util_assert_check() */
} GuestCase;

#define REQUIRED(feature) "<feature policy='require' name='" feature "'/>"
#define BASE                                                                                                       \
    "<hyperv mode='custom'>\n      <relaxed state='on'/>\n      <vapic state='on'/>\n      <spinlocks state='on' " \
    "retries='8191'/>\n"

static const GuestCase guest_cases[] = {
    {"untagged-amd",
     "amd-ready",
     "linux-9",
     NULL,
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"policy", "warn it has no policy => virtnestctl tag build-07"},
      {"host", "pass kvm_amd has nested on"},
      {"cpu", "fail host-model alone gives no svm on AMD => virtnestctl tag build-07"},
      {"machine", "pass pc-q35-7.2"},
      {"memory", "pass 8.0"},
      {"hypervisor", "pass not hidden"},
      {"host-model", "pass same CPU"},
      {"hyperv", ""},
      {"guard", ""},
      {"migratable", ""},
      {"invtsc", ""},
      {"running", ""},
      {"managed-save", ""}}},
    {"untagged-intel",
     "intel-ready",
     "linux-9",
     NULL,
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"cpu", "warn host-model, which has vmx while kvm_intel has nested on => virtnestctl tag build-07"}}},
    {"tagged-due",
     "amd-ready",
     "linux-9",
     NULL,
     {NULL},
     TAG(""),
     LIBVIRT_9,
     {{"policy", "warn default.policy), which is not carried out: rewrite <cpu> => systemctl start virtnestd"},
      {"cpu", "fail gives no svm => systemctl start virtnestd"},
      {"guard", "pass BlockWhen=running, Platforms=all"}}},
    {"tagged-wrongly",
     "amd-ready",
     "linux-9",
     NULL,
     {NULL},
     TAG("policy='lab'"),
     LIBVIRT_9,
     {{"policy", "fail 'lab' => virtnestctl tag --policy=POLICY build-07"}}},
    {"host-off",
     "intel-off",
     "linux-9",
     NULL,
     {NULL},
     TAG(""),
     LIBVIRT_9,
     {{"host", "fail nested => virtnestctl host"}}},
    {"required",
     "amd-ready",
     "linux-9",
     "<cpu mode='host-model'>" REQUIRED("svm") "</cpu>",
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"cpu", "pass host-model, with svm required"}}},
    {"check-none",
     "amd-ready",
     "linux-9",
     "<cpu mode='host-model' check='none'>" REQUIRED("svm") "</cpu>",
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"cpu", "warn check='none' => virtnestctl tag build-07"}}},
    {"other-vendor",
     "amd-ready",
     "linux-9",
     "<cpu mode='host-model'>" REQUIRED("vmx") REQUIRED("svm") "</cpu>",
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"cpu", "fail it requires vmx, which this host's CPU has not"}}},
    {"optional",
     "intel-ready",
     "linux-9",
     "<cpu mode='host-model'><feature policy='optional' name='vmx'/></cpu>",
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"cpu", "warn vmx is optional"}}},
    {"passthrough",
     "amd-ready",
     "linux-9",
     "<cpu mode='host-passthrough'/>",
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"cpu", "warn where the host gives it => virtnestctl tag --policy=passthrough build-07"},
      {"migratable", ""},
      {"host-model", ""}}},
    {"passthrough-not-migratable",
     "amd-ready",
     "linux-9",
     "<cpu mode='host-passthrough' migratable='off'>" REQUIRED("svm") REQUIRED("invtsc") "</cpu>",
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"cpu", "pass svm required"},
      {"migratable", "warn migratable='off' => sed -i 's/ migratable=.off.//'\" virsh edit build-07"},
      {"invtsc", "warn invtsc => /name=.invtsc./d"}}},
    {"invtsc-fixed",
     "amd-ready",
     "linux-9",
     "<cpu mode='host-passthrough'>" REQUIRED("svm") REQUIRED("invtsc") "</cpu>",
     {"<timer name='hpet' present='no'/>", "<timer name='tsc' frequency='3504000000'/>"},
     NULL,
     LIBVIRT_9,
     {{"invtsc", ""}}},
    {"model",
     "intel-ready",
     "linux-9",
     "<cpu mode='custom' match='exact'><model>Skylake-Server</model></cpu>",
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"cpu", "fail the model Skylake-Server without vmx => virtnestctl tag --policy=keep build-07"}}},
    {"no-cpu",
     "amd-ready",
     "minimal",
     NULL,
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"cpu", "fail names no model => virtnestctl tag web1"},
      {"machine", "pass i440fx"},
      {"memory", "warn 256.0 => virsh setmaxmem web1 2G --config && virsh setmem web1 2G --config"}}},
    {"ballooned",
     "amd-ready",
     "linux-9",
     NULL,
     {"<currentMemory unit='KiB'>8388608", "<currentMemory unit='MiB'>1000"},
     NULL,
     LIBVIRT_9,
     {{"memory", "warn <currentMemory> keeps back => virsh setmem build-07 2G --config"}}},
    {"iommu",
     "amd-ready",
     "linux-9",
     NULL,
     {"pc-q35-7.2", "pc-i440fx-7.2", "<memballoon model='virtio'>",
      "<iommu model='intel'/><memballoon model='virtio'>"},
     NULL,
     LIBVIRT_9,
     {{"machine", "warn pc-i440fx-7.2, and it has an <iommu> => --convert-to-q35"}}},
    {"hidden",
     "amd-ready",
     "linux-9",
     NULL,
     {"<vmport state='off'/>", "<kvm><hidden state='on'/></kvm>"},
     NULL,
     LIBVIRT_9,
     {{"hypervisor", "warn KVM is hidden => sed -i '/<hidden state=/d'"}}},
    {"emulated",
     "intel-none",
     "tcg",
     NULL,
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"host", "warn emulated => <domain type=\\\"kvm\\\""},
      {"cpu", "warn svm is not required => virtnestctl tag --policy=keep tcg"},
      {"guard", ""}}},
    {"emulated-passthrough",
     "intel-ready",
     "tcg",
     "<cpu mode='host-passthrough'/>",
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"cpu", "fail does not start => virtnestctl tag tcg"}}},
    {"emulated-vmx",
     "intel-ready",
     "tcg",
     "<cpu mode='host-model'>" REQUIRED("vmx") "</cpu>",
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"cpu", "fail QEMU does not emulate"}}},
    {"nova",
     "amd-ready",
     "nova",
     NULL,
     {NULL},
     TAG(""),
     LIBVIRT_9,
     {{"policy", "warn OpenStack nova => RewriteOwned"}}},
    {"windows",
     "amd-ready",
     "windows-11",
     NULL,
     {NULL},
     NULL,
     LIBVIRT_11,
     {{"policy", "warn no policy => virtnestctl tag --policy=windows win2025-hv"},
      {"cpu", "fail svm is switched off (policy='disable') => --policy=windows"},
      {"machine", "pass q35"},
      {"memory", "pass 16.0"},
      {"hypervisor", "fail hidden => sed -i '/name=.hypervisor./d"},
      {"hyperv", "pass all"},
      {"nested-hyperv", "warn it has no emsr_bitmap, tlbflush direct; evmcs: only for Intel => --policy=windows"},
      {"guard", ""}}},
    {"windows-old-libvirt",
     "amd-ready",
     "windows-11",
     NULL,
     {NULL},
     NULL,
     LIBVIRT_9,
     {{"nested-hyperv", "pass emsr_bitmap: it needs libvirt 10.7.0"}}},
    {"windows-intel",
     "intel-ready",
     "windows-11",
     NULL,
     {NULL},
     NULL,
     LIBVIRT_11,
     {{"nested-hyperv", "warn it has no evmcs, emsr_bitmap, tlbflush direct"}}},
    {"windows-by-default",
     "intel-ready",
     "windows-11",
     NULL,
     {NULL},
     TAG(""),
     LIBVIRT_11,
     {{"guard", "warn Platforms=all => virtnestctl tag --policy=windows win2025-hv"}}},
    {"windows-on-intel",
     "intel-ready",
     "windows-11",
     NULL,
     {NULL},
     TAG("policy='windows'"),
     LIBVIRT_11,
     {{"guard", "pass this platform is safe"}, {"nested-hyperv", "warn evmcs => systemctl start virtnestd"}}},
    {"windows-on-amd",
     "amd-ready",
     "windows-11",
     NULL,
     {NULL},
     TAG("policy='windows'"),
     LIBVIRT_11,
     {{"guard", "warn on AMD to move => virtnestctl drain --shutdown"}}},
    {"windows-small-and-old",
     "amd-ready",
     "windows-11",
     NULL,
     {"pc-q35-10.0", "pc-i440fx-10.0", "<memory unit='KiB'>16777216", "<memory unit='KiB'>4194304"},
     NULL,
     LIBVIRT_11,
     {{"machine", "warn Windows => virt-xml win2025-hv --edit --convert-to-q35"},
      {"memory", "warn less than 8 GiB => virsh setmaxmem win2025-hv 8G"}}},
    {"windows-bare",
     "amd-ready",
     "windows-11",
     NULL,
     {BASE, "<hyperv mode='custom'><vapic state='off'/>", "<timer name='hypervclock' present='yes'/>", ""},
     NULL,
     LIBVIRT_11,
     /* What somebody has switched off is not switched on again. */
     {{"hyperv", "warn it has no relaxed, spinlocks, the timer hypervclock => sed -i 's|<clock"}}},
    {"windows-passthrough",
     "amd-ready",
     "windows-11",
     NULL,
     {"<hyperv mode='custom'>", "<hyperv mode='passthrough'>"},
     NULL,
     LIBVIRT_11,
     {{"hv-passthrough", "warn passthrough => s|<hyperv"}, {"hyperv", ""}, {"nested-hyperv", ""}}},
};

static char *document_of(const GuestCase *one)
{
    g_autofree char *text = util_domain(one->domain);

    if (one->cpu != NULL) {
        char *with_cpu = util_with_cpu(text, one->cpu);
        g_free(text);
        text = with_cpu;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(one->edits) && one->edits[i] != NULL; i += 2) {
        char *edited = util_replace(text, one->edits[i], one->edits[i + 1]);
        g_assert_cmpstr(edited, !=, text);
        g_free(text);
        text = edited;
    }
    return one->tag != NULL ? util_with_metadata(text, one->tag) : g_steal_pointer(&text);
}

static GPtrArray *lint(const char *host_name, const char *xml, const char *live, const char *saved, bool has_saved,
                       const char *host_model, unsigned long libvirt)
{
    g_autoptr(PolicySet) policies = shipped_policies();
    g_autoptr(HostSurvey) host = recorded_host(host_name);
    g_autoptr(GError) error = NULL;
    const GuestInput input = {
        .domain = {.xml = xml,
                   .live_xml = live,
                   .saved_xml = saved,
                   .persistent = true,
                   .has_managed_save = has_saved,
                   .policies = policies,
                   .host = &host->facts,
                   .libvirt_version = libvirt},
        .host = host,
        .qemu_version = QEMU_8,
        .host_model = host_model,
    };
    GPtrArray *checks = guest_checks_lint(&input, &error);

    g_assert_no_error(error);
    util_assert_checks(checks);
    return checks;
}

static void test_case(gconstpointer data)
{
    const GuestCase *one = data;
    g_autofree char *xml = document_of(one);
    g_autoptr(GPtrArray) checks = lint(one->host, xml, NULL, NULL, false, NULL, one->libvirt);

    for (gsize i = 0; i < G_N_ELEMENTS(one->rows) && one->rows[i][0] != NULL; i++)
        util_assert_check(checks, one->rows[i][0], one->rows[i][1]);
}

/* Whatever the definition: each row is whole, and nothing is said twice. */
static void test_every_domain(void)
{
    static const char *const hosts[] = {"amd-ready", "intel-ready", "intel-none", "s390x", "riscv64"};

    for (gsize i = 0; util_domains[i] != NULL; i++)
        for (gsize j = 0; j < G_N_ELEMENTS(hosts); j++) {
            g_autofree char *xml = util_domain(util_domains[i]);
            g_autoptr(GPtrArray) checks = lint(hosts[j], xml, xml, xml, true, "EPYC", LIBVIRT_11);
            for (guint k = 0; k < checks->len; k++)
                (void)util_check(checks, ((const Check *)checks->pdata[k])->id);
        }
}

static void test_running(void)
{
    g_autofree char *plain = util_domain("linux-9");
    g_autofree char *xml = util_with_cpu(plain, "<cpu mode='host-model'>" REQUIRED("svm") "</cpu>");
    g_autofree char *with = util_with_cpu(
        plain, "<cpu mode='custom' match='exact' check='full'><model>EPYC</model>" REQUIRED("svm") "</cpu>");
    g_autofree char *without =
        util_with_cpu(plain, "<cpu mode='custom' match='exact' check='full'><model>EPYC</model></cpu>");
    g_autoptr(GPtrArray) same = lint("amd-ready", xml, with, NULL, false, "EPYC", LIBVIRT_9);
    g_autoptr(GPtrArray) moved = lint("amd-ready", xml, with, NULL, false, "EPYC-Milan", LIBVIRT_9);
    g_autoptr(GPtrArray) old = lint("amd-ready", xml, without, NULL, false, "EPYC", LIBVIRT_9);
    g_autoptr(GPtrArray) pending = lint("amd-ready", xml, without, NULL, false, "EPYC-Milan", LIBVIRT_9);
    g_autoptr(GPtrArray) untold = lint("amd-ready", xml, with, NULL, false, NULL, LIBVIRT_9);
    g_autoptr(GPtrArray) untold_old = lint("amd-ready", xml, without, NULL, false, NULL, LIBVIRT_9);
    g_autoptr(GPtrArray) saved = lint("amd-ready", xml, NULL, without, true, "EPYC", LIBVIRT_9);
    g_autoptr(GPtrArray) saved_same = lint("amd-ready", xml, NULL, with, true, "EPYC", LIBVIRT_9);
    g_autoptr(GPtrArray) saved_unread = lint("amd-ready", xml, NULL, NULL, true, "EPYC", LIBVIRT_9);

    util_assert_check(same, "running", "pass with the CPU of its definition");
    util_assert_check(same, "host-model", "pass host-model is EPYC");
    util_assert_check(moved, "running", "warn pending-restart => virsh shutdown build-07");
    util_assert_check(moved, "host-model", "warn runs as EPYC, and host-model is EPYC-Milan => Mode=custom");
    util_assert_check(pending, "host-model", "pass host-model is EPYC-Milan");
    util_assert_check(old, "running", "warn another CPU => virsh start build-07");
    util_assert_check(untold, "running", "warn libvirt does not tell => virtnestctl show build-07");
    util_assert_check(untold_old, "running", "warn another CPU => virsh start build-07");
    util_assert_check(saved, "running", "");
    util_assert_check(saved, "managed-save", "warn another CPU => virsh managedsave-remove build-07");
    util_assert_check(saved_same, "managed-save", "pass with the CPU of the definition");
    util_assert_check(saved_unread, "managed-save", "warn does not tell");
}

/* With a tag from outside it is judged what that policy would make of it. */
static void test_as_if(void)
{
    g_autofree char *xml = util_domain("windows-11");
    g_autoptr(PolicySet) policies = shipped_policies();
    g_autoptr(HostSurvey) host = recorded_host("intel-ready");
    const Tag tag = {.policy = (char *)"windows", .enabled = true};
    const GuestInput input = {
        .domain = {.xml = xml,
                   .tag = &tag,
                   .persistent = true,
                   .policies = policies,
                   .host = &host->facts,
                   .libvirt_version = LIBVIRT_11},
        .host = host,
        .connect = "qemu+unix:///system?socket=/x y",
    };
    g_autoptr(GPtrArray) checks = guest_checks_lint(&input, NULL);

    util_assert_checks(checks);
    util_assert_check(checks, "policy", "pass windows");
    util_assert_check(checks, "cpu", "pass host-model, with vmx required");
    /* What made it unfit is what this policy is for. */
    util_assert_check(checks, "hypervisor", "pass not hidden");
    util_assert_check(checks, "nested-hyperv", "pass all");
    util_assert_check(checks, "migratable", "");
    /* The version of QEMU is not known. */
    util_assert_check(checks, "guard",
                      "warn unless this platform is safe: whether a running L2 can be moved depends on");
    g_assert_cmpint(checks_verdict(checks), ==, CHECK_WARN);
}

static void test_commands(void)
{
    g_autofree char *plain = util_domain("minimal");
    g_autofree char *xml = util_replace(plain, "<name>web1</name>", "<name>it's; one</name>");
    g_autoptr(PolicySet) policies = shipped_policies();
    g_autoptr(HostSurvey) host = recorded_host("amd-ready");
    const GuestInput input = {
        .domain = {.xml = xml, .persistent = true, .policies = policies, .host = &host->facts},
        .host = host,
        .connect = "qemu+unix:///system?socket=/x",
    };
    g_autoptr(GPtrArray) checks = guest_checks_lint(&input, NULL);

    util_assert_check(checks, "policy",
                      "warn no policy => virtnestctl --connect='qemu+unix:///system?socket=/x' tag 'it'\\''s; one'");
    util_assert_check(checks, "memory",
                      "warn 256 => virsh -c 'qemu+unix:///system?socket=/x' setmaxmem 'it'\\''s; one' 2G");
}

/* Tagged while it runs, with no definition for a next start; and on a host with an architecture of another kind. */
static void test_transient(void)
{
    g_autofree char *xml = util_tagged("linux-9", "<nesting xmlns='" VIRTNEST_TAG_NAMESPACE "' policy='default'/>");
    g_autoptr(PolicySet) policies = shipped_policies();
    g_autoptr(HostSurvey) host = recorded_host("amd-ready");
    GuestInput input = {
        .domain = {.xml = xml, .live_xml = xml, .policies = policies, .host = &host->facts},
        .host = host,
        .connect = "qemu:///session",
    };
    g_autoptr(GPtrArray) checks = guest_checks_lint(&input, NULL);
    util_assert_check(
        checks, "policy",
        "warn no persistent definition => virsh -c 'qemu:///session' dumpxml --inactive --security-info build-07 "
        ">domain.xml && virsh -c 'qemu:///session' define domain.xml");

    g_autofree char *other = util_replace(xml, "arch='x86_64'", "arch='s390x'");
    g_autoptr(HostSurvey) mainframe = recorded_host("s390x");
    input = (GuestInput){
        .domain = {.xml = other, .persistent = true, .policies = policies, .host = &mainframe->facts},
        .host = mainframe,
    };
    g_autoptr(GPtrArray) elsewhere = guest_checks_lint(&input, NULL);
    util_assert_checks(elsewhere);
    g_assert_cmpuint(elsewhere->len, ==, 1);
    util_assert_check(elsewhere, "policy", "fail for x86 only => virtnest(7)");
}

static void test_no_domain(void)
{
    g_autoptr(PolicySet) policies = shipped_policies();
    g_autoptr(HostSurvey) host = recorded_host("amd-ready");
    static const char *const texts[] = {"", "<domain", "<network/>", "<!DOCTYPE domain><domain/>"};

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        const GuestInput input = {
            .domain = {.xml = texts[i], .persistent = true, .policies = policies, .host = &host->facts}, .host = host};
        g_assert_null(guest_checks_lint(&input, &error));
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML);
    }
}

/* Verify --------------------------------------------------------------------------------------------------------- */

static GPtrArray *verify(const char *host_name, const char *live, const GuestInside *inside)
{
    g_autofree char *plain = util_domain("linux-9");
    g_autofree char *xml = util_with_cpu(plain, "<cpu mode='host-model'>" REQUIRED("svm") "</cpu>");
    g_autofree char *live_xml = live != NULL ? util_with_cpu(plain, live) : NULL;
    g_autoptr(PolicySet) policies = shipped_policies();
    g_autoptr(HostSurvey) host = recorded_host(host_name);
    const GuestInput input = {
        .domain = {.xml = xml, .live_xml = live_xml, .persistent = true, .policies = policies, .host = &host->facts},
        .host = host,
        .host_model = "EPYC",
    };
    GPtrArray *checks = guest_checks_verify(&input, inside, NULL);

    util_assert_checks(checks);
    return checks;
}

static void test_verify(void)
{
    static const char with[] = "<cpu mode='custom'><model>EPYC</model>" REQUIRED("svm") "</cpu>";
    static const char without[] = "<cpu mode='custom'><model>EPYC</model><feature policy='disable' name='svm'/></cpu>";
    static const char silent[] = "<cpu mode='custom'><model>EPYC</model></cpu>";
    const GuestCpuinfo svm = {.svm = true}, vmx = {.vmx = true};
    const GuestInside no_agent = {.agent_error = "QEMU guest agent is not connected"};
    const GuestInside good = {.cpuinfo = &svm};
    const GuestInside no_kvm = {.cpuinfo = &svm, .device_error = "No such file or directory"};
    const GuestInside wrong = {.cpuinfo = &vmx, .device_error = "No such file or directory"};
    const GuestInside unread = {.cpuinfo_error = "it has no line of flags", .device_error = "no"};
    const GuestInside windows = {.is_windows = true};

    g_autoptr(GPtrArray) off = verify("amd-ready", NULL, &no_agent);
    util_assert_check(off, "running", "fail it is off => virsh start build-07");
    g_assert_cmpuint(off->len, ==, 1);

    g_autoptr(GPtrArray) fine = verify("amd-ready", with, &good);
    util_assert_check(fine, "running", "pass yes");
    util_assert_check(fine, "exposed", "pass <cpu> has svm");
    util_assert_check(fine, "pending", "pass same CPU");
    util_assert_check(fine, "agent", "pass answers");
    util_assert_check(fine, "cpuinfo", "pass /proc/cpuinfo has svm");
    util_assert_check(fine, "kvm", "pass /dev/kvm opens");

    g_autoptr(GPtrArray) alone = verify("amd-ready", with, &no_agent);
    util_assert_check(alone, "agent", "warn not connected => run inside: grep -m1 -Ewo 'vmx|svm' /proc/cpuinfo");
    util_assert_check(alone, "cpuinfo", "");

    g_autoptr(GPtrArray) none = verify("amd-ready", without, &no_agent);
    util_assert_check(none, "exposed", "fail has no svm => virtnestctl lint build-07");
    util_assert_check(none, "pending", "warn another CPU => virsh shutdown build-07");

    g_autoptr(GPtrArray) untold = verify("amd-ready", silent, &no_agent);
    util_assert_check(untold, "exposed", "warn libvirt does not tell => run inside: grep");
    g_autoptr(GPtrArray) told = verify("amd-ready", silent, &good);
    util_assert_check(told, "exposed", "pass the guest itself has svm");

    g_autoptr(GPtrArray) no_module = verify("amd-ready", with, &no_kvm);
    util_assert_check(no_module, "kvm", "warn No such file => modprobe kvm_amd");
    g_autoptr(GPtrArray) other = verify("amd-ready", with, &wrong);
    util_assert_check(other, "cpuinfo", "fail has no svm => virsh shutdown build-07");
    g_autoptr(GPtrArray) blind = verify("amd-ready", with, &unread);
    util_assert_check(blind, "cpuinfo", "warn no line of flags => run inside: grep");
    g_autoptr(GPtrArray) win = verify("amd-ready", with, &windows);
    util_assert_check(win, "agent", "warn Windows has no file => run inside: powershell");
    util_assert_check(win, "kvm", "");
}

/* vmx and svm are x86's; what counts elsewhere is whether KVM opens. */
static void test_verify_elsewhere(void)
{
    g_autofree char *plain = util_domain("linux-9");
    g_autofree char *xml = util_replace(plain, "arch='x86_64'", "arch='aarch64'");
    g_autoptr(PolicySet) policies = shipped_policies();
    g_autoptr(HostSurvey) host = recorded_host("aarch64-nested");
    const GuestInput input = {
        .domain = {.xml = xml, .live_xml = xml, .persistent = true, .policies = policies, .host = &host->facts},
        .host = host,
    };
    const GuestInside no_agent = {.agent_error = "QEMU guest agent is not connected"};
    const GuestInside no_kvm = {.cpuinfo_error = "it has no line of flags",
                                .device_error = "No such file or directory"};
    g_autoptr(GPtrArray) alone = guest_checks_verify(&input, &no_agent, NULL);
    g_autoptr(GPtrArray) without = guest_checks_verify(&input, &no_kvm, NULL);

    util_assert_checks(alone);
    util_assert_check(alone, "running", "pass yes");
    util_assert_check(alone, "agent", "warn not connected => run inside: ls -l /dev/kvm");
    g_assert_cmpuint(alone->len, ==, 2);
    util_assert_checks(without);
    util_assert_check(without, "kvm", "warn No such file => dmesg");
    g_assert_cmpuint(without->len, ==, 3);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(guest_cases); i++) {
        g_autofree char *path = g_strconcat("/guest-checks/", guest_cases[i].name, NULL);
        g_test_add_data_func(path, &guest_cases[i], test_case);
    }
    g_test_add_func("/guest-checks/every-domain", test_every_domain);
    g_test_add_func("/guest-checks/running", test_running);
    g_test_add_func("/guest-checks/as-if", test_as_if);
    g_test_add_func("/guest-checks/commands", test_commands);
    g_test_add_func("/guest-checks/transient", test_transient);
    g_test_add_func("/guest-checks/no-domain", test_no_domain);
    g_test_add_func("/guest-checks/verify", test_verify);
    g_test_add_func("/guest-checks/verify/elsewhere", test_verify_elsewhere);
    return g_test_run();
}
