/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/stats-fd.c and lib/debugfs.c, on a process that shows what the test wants. */

#include "lib/l2-source.h"

#include "tests/unit/fake-qemu.h"
#include "tests/unit/stats-blob.h"
#include <stdio.h>
#include <unistd.h>

#define STATS_LINK "anon_inode:kvm-vcpu-stats:"

typedef L2Source *(*Open)(const QemuProcess *process, GError **error);

static QemuProcess *open_process(const FakeQemu *qemu)
{
    g_autoptr(GError) error = NULL;
    QemuProcess *process = fake_qemu_open(qemu, &error);

    g_assert_no_error(error);
    return process;
}

static L2Source *open_source(const FakeQemu *qemu, Open open)
{
    g_autoptr(QemuProcess) process = open_process(qemu);
    g_autoptr(GError) error = NULL;
    L2Source *source = open(process, &error);

    g_assert_no_error(error);
    return source;
}

static void assert_refused(const FakeQemu *qemu, Open open, const char *why)
{
    g_autoptr(QemuProcess) process = open_process(qemu);
    g_autoptr(GError) error = NULL;

    g_assert_null(open(process, &error));
    util_assert_contains(error->message, why);
}

static GArray *sample(L2Source *source)
{
    GArray *readings = g_array_new(FALSE, FALSE, sizeof(L2Reading));
    g_autoptr(GError) error = NULL;

    g_assert_true(l2_source_sample(source, readings, &error));
    g_assert_no_error(error);
    return readings;
}

static void assert_reading(const GArray *readings, guint i, guint32 vcpu, guint64 nested_run, bool guest_mode)
{
    const L2Reading *reading = &g_array_index(readings, L2Reading, i);

    g_assert_cmpuint(i, <, readings->len);
    g_assert_cmpuint(reading->vcpu, ==, vcpu);
    g_assert_true(reading->has_counter);
    g_assert_cmpuint(reading->nested_run, ==, nested_run);
    g_assert_cmpint(reading->guest_mode, ==, guest_mode);
}

/* Borrowed descriptors --------------------------------------------------------------------------------------------- */

static int add_vcpu(const FakeQemu *qemu, int number, unsigned vcpu, const StatsBlobOptions *options)
{
    StatsBlob blob = stats_blob_new(options);
    int fd = stats_blob_open(&blob);
    g_autofree char *link = g_strdup_printf(STATS_LINK "%u", vcpu);

    fake_qemu_add_fd(qemu, number, link, fd, link);
    return fd;
}

static void test_stats_fd(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    int second = add_vcpu(qemu, 31, 1, NULL), first = add_vcpu(qemu, 40, 0, NULL);

    fake_qemu_add_fd(qemu, 0, "/dev/null", -1, "/dev/null");
    fake_qemu_add_fd(qemu, 12, "anon_inode:kvm-vcpu:0", -1, "anon_inode:kvm-vcpu:0");
    fake_qemu_add_fd(qemu, 13, "anon_inode:kvm-vm-stats", -1, "anon_inode:kvm-vm-stats");
    g_autoptr(L2Source) source = open_source(qemu, stats_fd_open);
    g_assert_cmpstr(l2_source_name(source), ==, "stats-fd");
    g_assert_true(l2_source_counts(source));
    stats_blob_set(first, 5, 0);
    stats_blob_set(second, 7000000000, 1);
    g_autoptr(GArray) readings = sample(source);
    g_assert_cmpuint(readings->len, ==, 2);
    assert_reading(readings, 0, 0, 5, false);
    assert_reading(readings, 1, 1, 7000000000, true);

    /* One is cut off: the whole source is of no use. */
    g_autoptr(GError) error = NULL;
    g_assert_no_errno(ftruncate(second, 100));
    g_assert_false(l2_source_sample(source, readings, &error));
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM);
    util_assert_contains(error->message, "vCPU 1");
    close(first);
    close(second);
}

static bool is_outdated(const L2Source *source, const QemuProcess *process)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) numbers = stats_fd_list_vcpus(process->root, process->pid, &error);

    g_assert_no_error(error);
    return !l2_source_has_vcpus(source, numbers);
}

static void test_stats_fd_hotplug(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    g_autoptr(QemuProcess) process = open_process(qemu);
    int first = add_vcpu(qemu, 20, 0, NULL);
    g_autoptr(L2Source) source = stats_fd_open(process, NULL);

    g_assert_false(is_outdated(source, process));
    int second = add_vcpu(qemu, 21, 1, NULL);
    g_assert_true(is_outdated(source, process));
    g_autoptr(L2Source) anew = stats_fd_open(process, NULL);
    g_assert_false(is_outdated(anew, process));
    fake_qemu_remove_fd(qemu, 21);
    g_assert_true(is_outdated(anew, process));
    fake_qemu_add_fd(qemu, 21, STATS_LINK "2", second, STATS_LINK "2");
    g_assert_true(is_outdated(anew, process));
    close(first);
    close(second);
}

/* Two descriptors of one vCPU, as after KVM_GET_STATS_FD was called twice. */
static void test_stats_fd_twice(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    int first = add_vcpu(qemu, 20, 0, NULL), again = add_vcpu(qemu, 21, 0, NULL);
    g_autoptr(L2Source) source = open_source(qemu, stats_fd_open);
    g_autoptr(GArray) readings = sample(source);

    g_assert_cmpuint(readings->len, ==, 1);
    close(first);
    close(again);
}

static void test_stats_fd_none(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();

    assert_refused(qemu, stats_fd_open, "QEMU keeps no statistics descriptors open");
    fake_qemu_add_fd(qemu, 9, "/tmp/anon_inode:kvm-vcpu-stats:0", -1, "x");
    fake_qemu_add_fd(qemu, 10, STATS_LINK, -1, "x");
    fake_qemu_add_fd(qemu, 11, STATS_LINK "0 (deleted)", -1, "x");
    fake_qemu_add_fd(qemu, 12, STATS_LINK "4096", -1, "x");
    assert_refused(qemu, stats_fd_open, "QEMU keeps no statistics descriptors open");
}

/* A QEMU in the hands of its guest swaps the descriptor for a pipe that blocks whoever reads it. */
static void test_stats_fd_swapped(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    int fds[2];

    g_assert_no_errno(pipe(fds));
    fake_qemu_add_fd(qemu, 20, STATS_LINK "0", fds[0], "pipe:[1234]");
    assert_refused(qemu, stats_fd_open, "has put 'pipe:[1234]' in the place");
    fake_qemu_remove_fd(qemu, 20);
    fake_qemu_add_fd(qemu, 20, STATS_LINK "0", fds[0], STATS_LINK "1");
    assert_refused(qemu, stats_fd_open, "in the place");
    close(fds[0]);
    close(fds[1]);
}

static void test_stats_fd_refused(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    int first = add_vcpu(qemu, 20, 0, NULL);

    fake_qemu_add_fd(qemu, 60, STATS_LINK "1", -1, STATS_LINK "1");
    assert_refused(qemu, stats_fd_open, "cannot take the statistics of vCPU 1");
    close(first);
}

static void test_stats_fd_malformed(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    int first = add_vcpu(qemu, 20, 0, NULL);
    int second = add_vcpu(qemu, 21, 1, &(StatsBlobOptions){.header_flags = 1});

    assert_refused(qemu, stats_fd_open, "unknown flags");
    close(second);
    second = add_vcpu(qemu, 22, 1, &(StatsBlobOptions){.nested_run_offset = 24});
    fake_qemu_remove_fd(qemu, 21);
    assert_refused(qemu, stats_fd_open, "laid out differently");
    close(first);
    close(second);
}

/* debugfs ---------------------------------------------------------------------------------------------------------- */

static void write_value(const FakeQemu *qemu, const char *folder, const char *name, const char *value)
{
    g_autofree char *path = g_strdup_printf("/sys/kernel/debug/kvm/%s/%s", folder, name);

    util_root_write(qemu->root, path, value);
}

static void test_debugfs(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    g_autofree char *folder = g_strdup_printf("%d-14", (int)qemu->pid),
                    *other = g_strdup_printf("%d1-14", (int)qemu->pid);

    write_value(qemu, folder, "nested_run", "12\n");
    write_value(qemu, folder, "guest_mode", "0\n");
    write_value(qemu, other, "nested_run", "99\n");
    g_autoptr(L2Source) source = open_source(qemu, debugfs_open);
    g_assert_cmpstr(l2_source_name(source), ==, "debugfs");
    g_assert_true(l2_source_counts(source));
    g_autoptr(GArray) readings = sample(source);
    g_assert_cmpuint(readings->len, ==, 1);
    assert_reading(readings, 0, 0, 12, false);
}

/* Linux before 5.14 has no guest_mode. */
static void test_debugfs_without_guest_mode(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    g_autofree char *folder = g_strdup_printf("%d-14", (int)qemu->pid);

    write_value(qemu, folder, "nested_run", "18446744073709551615\n");
    g_autoptr(L2Source) source = open_source(qemu, debugfs_open);
    g_autoptr(GArray) readings = sample(source);
    assert_reading(readings, 0, 0, G_MAXUINT64, false);
}

/* Lockdown: nested_run is there and cannot be opened. A test that is root is refused nothing, but for a link to nowhere. */
static void test_debugfs_lockdown(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    g_autofree char *folder = g_strdup_printf("%d-14", (int)qemu->pid);
    g_autofree char *path = g_strdup_printf("/sys/kernel/debug/kvm/%s/nested_run", folder);

    write_value(qemu, folder, "guest_mode", "2\n");
    util_root_link(qemu->root, path, "/nowhere");
    g_autoptr(L2Source) source = open_source(qemu, debugfs_open);
    g_assert_cmpstr(l2_source_name(source), ==, "debugfs-guest-mode");
    g_assert_false(l2_source_counts(source));
    g_autoptr(GArray) readings = sample(source);
    g_assert_cmpuint(readings->len, ==, 1);
    g_assert_false(g_array_index(readings, L2Reading, 0).has_counter);
    g_assert_true(g_array_index(readings, L2Reading, 0).guest_mode);
}

static void test_debugfs_refused(void)
{
    static const char *const values[] = {"", "x\n", "-1\n", "1 2\n", "18446744073709551616\n"};
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    g_autofree char *folder = g_strdup_printf("%d-14", (int)qemu->pid);

    assert_refused(qemu, debugfs_open, "No such file");
    write_value(qemu, "1-14", "nested_run", "1\n");
    assert_refused(qemu, debugfs_open, "has no folder of process");
    write_value(qemu, folder, "exits", "1\n");
    assert_refused(qemu, debugfs_open, "cannot read");
    for (gsize i = 0; i < G_N_ELEMENTS(values); i++) {
        write_value(qemu, folder, "nested_run", values[i]);
        assert_refused(qemu, debugfs_open, "cannot read");
    }
}

int main(int argc, char **argv)
{
    if (!fake_qemu_works()) {
        puts("1..0 # SKIP no pidfd_open(2) here");
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/l2-source/stats-fd", test_stats_fd);
    g_test_add_func("/l2-source/stats-fd/hotplug", test_stats_fd_hotplug);
    g_test_add_func("/l2-source/stats-fd/twice", test_stats_fd_twice);
    g_test_add_func("/l2-source/stats-fd/none", test_stats_fd_none);
    g_test_add_func("/l2-source/stats-fd/swapped", test_stats_fd_swapped);
    g_test_add_func("/l2-source/stats-fd/refused", test_stats_fd_refused);
    g_test_add_func("/l2-source/stats-fd/malformed", test_stats_fd_malformed);
    g_test_add_func("/l2-source/debugfs", test_debugfs);
    g_test_add_func("/l2-source/debugfs/without-guest-mode", test_debugfs_without_guest_mode);
    g_test_add_func("/l2-source/debugfs/lockdown", test_debugfs_lockdown);
    g_test_add_func("/l2-source/debugfs/refused", test_debugfs_refused);
    return g_test_run();
}
