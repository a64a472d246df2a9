/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * daemon/detector.c with the kernel's part played by the test: descriptors to borrow, processes that end, guests that start
 * anew. What libvirt answers is for the integration tests.
 */

#include "daemon/detector.h"

#include "tests/unit/fake-qemu.h"
#include "tests/unit/stats-blob.h"
#include <fcntl.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINK "anon_inode:kvm-vcpu-stats:"

static GString *logged;

typedef struct Fixture {
    FakeQemu *qemu;
    Configuration *configuration;
    Detector *detector;
    Domain *domain;
    Reconcile reconcile;
    Look look;
    int vcpus[2];
    GPtrArray *changes; /* names of properties */
    bool stopped;
} Fixture;

static void on_changed(Domain *domain G_GNUC_UNUSED, const char *const *properties, gpointer data)
{
    Fixture *fixture = data;

    for (; *properties != NULL; properties++)
        g_ptr_array_add(fixture->changes, g_strdup(*properties));
}

static void on_stopped(gpointer data)
{
    ((Fixture *)data)->stopped = true;
}

static void add_vcpu(Fixture *fixture, unsigned number)
{
    StatsBlob blob = stats_blob_new(NULL);
    g_autofree char *link = g_strdup_printf(LINK "%u", number);

    fixture->vcpus[number] = stats_blob_open(&blob);
    fake_qemu_add_fd(fixture->qemu, 20 + (int)number, link, fixture->vcpus[number], link);
}

static void write_debugfs(const Fixture *fixture, const char *nested_run)
{
    g_autofree char *path = g_strdup_printf("/sys/kernel/debug/kvm/%d-9/nested_run", (int)fixture->qemu->pid);

    util_root_write(fixture->qemu->root, path, nested_run);
}

static void remove_debugfs(const Fixture *fixture)
{
    g_autofree char *path = g_strdup_printf("/sys/kernel/debug/kvm/%d-9/nested_run", (int)fixture->qemu->pid);
    g_autofree char *full = util_root_path(fixture->qemu->root, path);

    g_assert_no_errno(unlink(full));
}

/* @settings: lines of [Detection] */
static Fixture *fixture_new(const char *settings)
{
    Fixture *fixture = g_new0(Fixture, 1);
    g_autofree char *text = g_strconcat("[Detection]\nInterval=50ms\n", settings, NULL);

    fixture->qemu = fake_qemu_new();
    util_root_write(fixture->qemu->root, VIRTNEST_SYSCONFDIR "/virtnest.conf", text);
    util_root_write(fixture->qemu->root, VIRTNEST_SYSCONFDIR "/policy.d/default.policy", "[CPU]\nMode=host-model\n");
    fixture->configuration = configuration_new(fixture->qemu->root->path);
    (void)configuration_load(fixture->configuration);
    g_assert_cmpuint(fixture->configuration->errors->len, ==, 0);
    fixture->changes = g_ptr_array_new_with_free_func(g_free);
    fixture->detector = detector_new(&(DetectorServices){
        .configuration = fixture->configuration,
        .uri = "test:///default",
        .calls = &fake_qemu_calls,
        .changed = on_changed,
        .stopped = on_stopped,
        .data = fixture,
    });
    fixture->domain = domain_new(FAKE_QEMU_UUID, FAKE_QEMU_NAME);
    fixture->reconcile.virt_type = (char *)"kvm";
    fixture->look = (Look){.running = true, .id = 1, .exposure = CPU_EXPOSURE_YES, .reconcile = &fixture->reconcile};
    fixture->vcpus[0] = fixture->vcpus[1] = -1;
    return fixture;
}

static void fixture_free(Fixture *fixture)
{
    detector_stop(fixture->detector);
    while (!fixture->stopped)
        (void)g_main_context_iteration(NULL, TRUE);
    detector_free(fixture->detector);
    domain_free(fixture->domain);
    configuration_free(fixture->configuration);
    for (gsize i = 0; i < G_N_ELEMENTS(fixture->vcpus); i++)
        if (fixture->vcpus[i] >= 0)
            (void)close(fixture->vcpus[i]);
    fake_qemu_free(fixture->qemu);
    g_ptr_array_unref(fixture->changes);
    g_free(fixture);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Fixture, fixture_free)

static void look(Fixture *fixture)
{
    detector_take_look(fixture->detector, fixture->domain, &fixture->look, false);
}

/* How many descriptors of this process are of the same file: one is the test's own. */
static unsigned count_copies(int fd)
{
    struct stat wanted, found;
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    const char *name;
    unsigned n = 0;

    g_assert_no_errno(fstat(fd, &wanted));
    while ((name = g_dir_read_name(dir)) != NULL)
        if (fstat(atoi(name), &found) == 0 && found.st_ino == wanted.st_ino && found.st_dev == wanted.st_dev)
            n++;
    return n;
}

/* Runs the main loop until something holds; the test's time limit is the only other end. */
#define wait_for(condition) \
    while (!(condition))    \
    (void)g_main_context_iteration(NULL, TRUE)

#define wait_source(fixture, source) wait_for(strcmp((fixture)->domain->l2_source, source) == 0)
#define wait_state(fixture, wanted) wait_for((fixture)->domain->l2.state == (wanted))

static void test_stats_fd(void)
{
    g_autoptr(Fixture) fixture = fixture_new("StatsFd=yes\n");

    add_vcpu(fixture, 0);
    add_vcpu(fixture, 1);
    look(fixture);
    g_assert_cmpint(fixture->domain->l2.state, ==, L2_UNKNOWN);
    wait_source(fixture, "stats-fd");
    wait_state(fixture, L2_NONE);
    g_assert_cmpuint(count_copies(fixture->vcpus[0]), ==, 2);
    stats_blob_set(fixture->vcpus[1], 3, 0);
    wait_state(fixture, L2_RUNNING);
    g_assert_cmpuint(fixture->domain->l2.nested_runs, ==, 3);
    g_assert_cmpuint(fixture->domain->l2_activity, >, 0);
    /* Another look at the same run changes nothing. */
    look(fixture);
    g_assert_cmpint(fixture->domain->l2.state, ==, L2_RUNNING);
    g_assert_cmpuint(count_copies(fixture->vcpus[0]), ==, 2);
}

/* What was borrowed goes back as soon as QEMU has ended, whatever libvirt says. */
static void test_process_ends(void)
{
    g_autoptr(Fixture) fixture = fixture_new("StatsFd=yes\n");

    add_vcpu(fixture, 0);
    look(fixture);
    wait_source(fixture, "stats-fd");
    stats_blob_set(fixture->vcpus[0], 1, 1);
    wait_state(fixture, L2_RUNNING);
    fake_qemu_end(fixture->qemu);
    wait_state(fixture, L2_NONE);
    g_assert_cmpstr(fixture->domain->l2_source, ==, "");
    wait_for(count_copies(fixture->vcpus[0]) == 1);
    /* libvirt has not noticed yet, and does later. */
    look(fixture);
    g_assert_cmpint(fixture->domain->l2.state, ==, L2_NONE);
    fixture->look.running = false;
    look(fixture);
    g_assert_cmpint(fixture->domain->l2.state, ==, L2_NONE);
    g_assert_null(fixture->domain->guest);
}

static void test_shut_off(void)
{
    g_autoptr(Fixture) fixture = fixture_new("StatsFd=yes\n");

    add_vcpu(fixture, 0);
    look(fixture);
    wait_source(fixture, "stats-fd");
    fixture->look.running = false;
    look(fixture);
    g_assert_cmpint(fixture->domain->l2.state, ==, L2_NONE);
    wait_for(count_copies(fixture->vcpus[0]) == 1);
}

/* It goes while it is being looked for. */
static void test_forgotten_at_once(void)
{
    g_autoptr(Fixture) fixture = fixture_new("StatsFd=yes\n");

    add_vcpu(fixture, 0);
    look(fixture);
    detector_forget(fixture->detector, fixture->domain);
    g_assert_null(fixture->domain->guest);
}

static void test_settings(void)
{
    g_autoptr(Fixture) no = fixture_new("StatsFd=no\n");

    add_vcpu(no, 0);
    write_debugfs(no, "4\n");
    look(no);
    wait_source(no, "debugfs");
    wait_state(no, L2_QUIET);
    g_assert_cmpuint(count_copies(no->vcpus[0]), ==, 1);
}

/* Without a kernel that is known to be safe, auto means no. */
static void test_auto(void)
{
    g_autoptr(Fixture) fixture = fixture_new("StatsFd=auto\n");

    add_vcpu(fixture, 0);
    write_debugfs(fixture, "0\n");
    look(fixture);
    wait_source(fixture, "debugfs");
}

static void test_auto_on_safe_kernel(void)
{
    g_autoptr(Fixture) fixture = fixture_new("StatsFd=auto\n");

    util_root_write(fixture->qemu->root, "/proc/sys/kernel/osrelease", "6.12.0\n");
    util_root_write(fixture->qemu->root, "/proc/sys/kernel/version", "#1 SMP\n");
    Configuration *safe = configuration_new(fixture->qemu->root->path);
    (void)configuration_load(safe);
    g_assert_true(configuration_stats_fd(safe));
    configuration_free(safe);
    g_assert_false(configuration_stats_fd(fixture->configuration));
}

/* The next start tries everything again. */
static void test_next_start(void)
{
    g_autoptr(Fixture) fixture = fixture_new("StatsFd=yes\n");

    write_debugfs(fixture, "0\n");
    look(fixture);
    wait_source(fixture, "debugfs");
    write_debugfs(fixture, "7\n");
    wait_state(fixture, L2_RUNNING);
    write_debugfs(fixture, "0\n");
    add_vcpu(fixture, 0);
    fixture->look.id = 2;
    look(fixture);
    g_assert_cmpstr(fixture->domain->l2_source, ==, "");
    g_assert_cmpint(fixture->domain->l2.state, ==, L2_UNKNOWN);
    wait_source(fixture, "stats-fd");
    wait_state(fixture, L2_NONE);
    g_assert_cmpuint(fixture->domain->l2_activity, ==, 0);
}

static gboolean pass(gpointer passed)
{
    *(bool *)passed = true;
    return G_SOURCE_REMOVE;
}

static void test_falls_back(void)
{
    g_autoptr(Fixture) fixture = fixture_new("StatsFd=yes\n");

    add_vcpu(fixture, 0);
    write_debugfs(fixture, "0\n");
    look(fixture);
    wait_source(fixture, "stats-fd");
    wait_state(fixture, L2_NONE);
    g_assert_no_errno(ftruncate(fixture->vcpus[0], 10));
    wait_source(fixture, "debugfs");
    util_assert_contains(logged->str, "not seen through stats-fd any more: cannot read the statistics of vCPU 0");
    wait_state(fixture, L2_NONE);
    wait_for(count_copies(fixture->vcpus[0]) == 1);
    write_debugfs(fixture, "1\n");
    wait_state(fixture, L2_RUNNING);
    /* A look or two that fail are no failure: a QEMU that ends takes its folder away before its pidfd tells. */
    bool passed = false;
    remove_debugfs(fixture);
    g_timeout_add(60, pass, &passed);
    wait_for(passed);
    write_debugfs(fixture, "2\n");
    wait_for(fixture->domain->l2.nested_runs == 2);
    g_assert_cmpstr(fixture->domain->l2_source, ==, "debugfs");
}

static void test_hotplug(void)
{
    g_autoptr(Fixture) fixture = fixture_new("StatsFd=yes\n");

    add_vcpu(fixture, 0);
    look(fixture);
    wait_source(fixture, "stats-fd");
    wait_state(fixture, L2_NONE);
    add_vcpu(fixture, 1);
    /* No event tells; within ten seconds it is noticed. */
    wait_for(count_copies(fixture->vcpus[1]) == 2);
    wait_for(count_copies(fixture->vcpus[0]) == 2);
    g_assert_cmpint(fixture->domain->l2.state, ==, L2_NONE);
    stats_blob_set(fixture->vcpus[1], 1, 0);
    wait_state(fixture, L2_RUNNING);
}

static void test_pause(void)
{
    g_autoptr(Fixture) fixture = fixture_new("StatsFd=yes\n");

    add_vcpu(fixture, 0);
    fixture->look.paused = true;
    look(fixture);
    wait_source(fixture, "stats-fd");
    g_assert_true(fixture->domain->l2.paused);
    fixture->look.paused = false;
    look(fixture);
    g_assert_false(fixture->domain->l2.paused);
}

static void test_unwatched(void)
{
    static const struct {
        const char *type, *reason;
        CpuExposure exposure;
    } cases[] = {
        {"qemu", "type='qemu'", CPU_EXPOSURE_YES},
        {"xen", "no KVM guest", CPU_EXPOSURE_YES},
        {"kvm", "neither vmx nor svm", CPU_EXPOSURE_NO},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Fixture) fixture = fixture_new("");
        fixture->reconcile.virt_type = (char *)cases[i].type;
        fixture->look.exposure = cases[i].exposure;
        look(fixture);
        g_assert_null(fixture->domain->guest);
        g_assert_cmpint(fixture->domain->l2.state, ==, L2_NONE);
        util_assert_contains(fixture->domain->l2_reason, cases[i].reason);
    }
}

/* One for each thing that changes, and none for what does not. */
static void test_changes(void)
{
    g_autoptr(Fixture) fixture = fixture_new("StatsFd=yes\n");

    add_vcpu(fixture, 0);
    look(fixture);
    wait_state(fixture, L2_NONE);
    g_ptr_array_set_size(fixture->changes, 0);
    stats_blob_set(fixture->vcpus[0], 1, 0);
    wait_state(fixture, L2_RUNNING);
    for (guint64 i = 2; i < 5; i++) {
        stats_blob_set(fixture->vcpus[0], i, 0);
        wait_for(fixture->domain->l2.nested_runs == i);
    }
    g_assert_cmpuint(fixture->changes->len, ==, 2);
    g_assert_cmpstr(fixture->changes->pdata[0], ==, "L2State");
    g_assert_cmpstr(fixture->changes->pdata[1], ==, "L2Since");
}

static void ignore_libvirt_error(void *data G_GNUC_UNUSED, virErrorPtr error G_GNUC_UNUSED)
{
}

static GLogWriterOutput take_log(GLogLevelFlags level G_GNUC_UNUSED, const GLogField *fields, gsize n_fields,
                                 gpointer data G_GNUC_UNUSED)
{
    for (gsize i = 0; i < n_fields; i++)
        if (strcmp(fields[i].key, "MESSAGE") == 0)
            g_string_append_printf(logged, "%s\n", (const char *)fields[i].value);
    return G_LOG_WRITER_HANDLED;
}

int main(int argc, char **argv)
{
    if (!fake_qemu_works()) {
        puts("1..0 # SKIP no pidfd_open(2) here");
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    /* Warnings are part of what is tested. */
    (void)g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR);
    virSetErrorFunc(NULL, ignore_libvirt_error);
    g_log_set_writer_func(take_log, NULL, NULL);
    logged = g_string_new(NULL);
    g_test_add_func("/detector/stats-fd", test_stats_fd);
    g_test_add_func("/detector/process-ends", test_process_ends);
    g_test_add_func("/detector/shut-off", test_shut_off);
    g_test_add_func("/detector/forgotten-at-once", test_forgotten_at_once);
    g_test_add_func("/detector/settings", test_settings);
    g_test_add_func("/detector/auto", test_auto);
    g_test_add_func("/detector/auto-on-safe-kernel", test_auto_on_safe_kernel);
    g_test_add_func("/detector/next-start", test_next_start);
    g_test_add_func("/detector/falls-back", test_falls_back);
    g_test_add_func("/detector/hotplug", test_hotplug);
    g_test_add_func("/detector/pause", test_pause);
    g_test_add_func("/detector/unwatched", test_unwatched);
    g_test_add_func("/detector/changes", test_changes);
    int status = g_test_run();
    (void)g_string_free(logged, TRUE);
    return status;
}
