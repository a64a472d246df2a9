/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/qemu-process.h"

#include "tests/unit/fake-qemu.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <unistd.h>

static void assert_refused(const FakeQemu *qemu, const char *why)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(QemuProcess) process = fake_qemu_open(qemu, &error);

    g_assert_null(process);
    util_assert_contains(error->message, why);
}

static void test_opens(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(QemuProcess) process = fake_qemu_open(qemu, &error);

    g_assert_no_error(error);
    g_assert_cmpint(process->pid, ==, qemu->pid);
    g_assert_cmpuint(process->start_time, ==, 4711);
    g_assert_true(qemu_process_is_alive(process));
    fake_qemu_end(qemu);
    g_assert_false(qemu_process_is_alive(process));
}

static void test_uuid_in_capitals(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    g_autofree char *uuid = g_ascii_strup(FAKE_QEMU_UUID, -1);
    g_autoptr(GError) error = NULL;
    g_autoptr(QemuProcess) process =
        qemu_process_open(qemu->root->path, FAKE_QEMU_NAME, uuid, &fake_qemu_calls, &error);

    g_assert_no_error(error);
    g_assert_nonnull(process);
}

/* A number that somebody else has by now. */
static void test_another_process(void)
{
    static const char *const lines[][4] = {
        {"/usr/bin/sleep", "infinity", NULL},
        {"/usr/bin/qemu-system-x86_64", "-uuid", "00000000-55cb-4e3f-8b7a-0d2f5f1a7c11", NULL},
        {"/usr/bin/qemu-system-x86_64", "-name", FAKE_QEMU_UUID, NULL},
        {"/usr/bin/qemu-system-x86_64", "-uuid", NULL},
        {NULL},
    };
    g_autoptr(FakeQemu) qemu = fake_qemu_new();

    for (gsize i = 0; i < G_N_ELEMENTS(lines); i++) {
        fake_qemu_write_cmdline(qemu, lines[i]);
        assert_refused(qemu, "is not this domain's QEMU");
    }
}

/* A process chooses itself how long that is. */
static void test_endless_cmdline(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    g_autofree char *path = g_strdup_printf("%s/proc/%d/cmdline", qemu->root->path, (int)qemu->pid);

    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_cmpint(symlink("/dev/zero", path), ==, 0);
    assert_refused(qemu, "is not this domain's QEMU");
}

static void test_gone(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();

    fake_qemu_end(qemu);
    assert_refused(qemu, "cannot watch process");
}

/* It ends while it is being looked at: what /proc shows may be another's by now. */
static int open_and_end(pid_t pid)
{
    int pidfd = fake_qemu_calls.pidfd_open(pid);

    (void)kill(pid, SIGKILL);
    /* Until it is seen to have ended. */
    QemuProcess process = {.pidfd = pidfd};
    while (qemu_process_is_alive(&process))
        g_usleep(1000);
    return pidfd;
}

static void test_ends_meanwhile(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    const QemuProcessCalls calls = {.pidfd_open = open_and_end};
    g_autoptr(GError) error = NULL;
    g_autoptr(QemuProcess) process =
        qemu_process_open(qemu->root->path, FAKE_QEMU_NAME, FAKE_QEMU_UUID, &calls, &error);

    g_assert_null(process);
    util_assert_contains(error->message, "has ended meanwhile");
}

static int no_pidfd(pid_t pid G_GNUC_UNUSED)
{
    errno = ENOSYS;
    return -1;
}

static void test_no_pidfd(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    const QemuProcessCalls calls = {.pidfd_open = no_pidfd};
    g_autoptr(GError) error = NULL;

    g_assert_null(qemu_process_open(qemu->root->path, FAKE_QEMU_NAME, FAKE_QEMU_UUID, &calls, &error));
    util_assert_contains(error->message, g_strerror(ENOSYS));
}

static void test_pid_file(void)
{
    static const char *const texts[] = {"", "x\n", "0\n", "1\n", "-5\n", "99999999999\n", "12 13\n"};
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    g_autofree char *path = util_root_path(qemu->root, "/run/libvirt/qemu/" FAKE_QEMU_NAME ".pid");

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        util_root_write(qemu->root, "/run/libvirt/qemu/" FAKE_QEMU_NAME ".pid", texts[i]);
        assert_refused(qemu, "holds no process number");
    }
    g_assert_no_errno(unlink(path));
    assert_refused(qemu, "No such file");
}

static void test_stat(void)
{
    g_autoptr(FakeQemu) qemu = fake_qemu_new();
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)qemu->pid);
    static const char *const texts[] = {"", "1 (qemu) S 1 2", "1 2 3"};

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        util_root_write(qemu->root, path, texts[i]);
        assert_refused(qemu, "cannot be read");
    }
    /* Whatever a process calls itself. */
    fake_qemu_write_stat(qemu, "a) S 1 2 (b", 4712);
    g_autoptr(QemuProcess) process = fake_qemu_open(qemu, NULL);
    g_assert_cmpuint(process->start_time, ==, 4712);
}

/* The real calls, on the test itself. */
static void test_real_calls(void)
{
    int pidfd = qemu_process_calls.pidfd_open(getpid());
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

    g_assert_cmpint(file, >=, 0);
    if (pidfd < 0) {
        g_test_skip("no pidfd_open(2) here");
    } else {
        int taken = qemu_process_calls.pidfd_getfd(pidfd, file);
        if (taken < 0) {
            g_test_skip("no pidfd_getfd(2) here");
        } else {
            g_autofree char *text = qemu_process_calls.describe_fd(taken);
            g_assert_cmpstr(text, ==, "/dev/null");
            close(taken);
        }
        close(pidfd);
    }
    close(file);
}

int main(int argc, char **argv)
{
    if (!fake_qemu_works()) {
        puts("1..0 # SKIP no pidfd_open(2) here");
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qemu-process/opens", test_opens);
    g_test_add_func("/qemu-process/uuid-in-capitals", test_uuid_in_capitals);
    g_test_add_func("/qemu-process/another-process", test_another_process);
    g_test_add_func("/qemu-process/endless-cmdline", test_endless_cmdline);
    g_test_add_func("/qemu-process/gone", test_gone);
    g_test_add_func("/qemu-process/ends-meanwhile", test_ends_meanwhile);
    g_test_add_func("/qemu-process/no-pidfd", test_no_pidfd);
    g_test_add_func("/qemu-process/pid-file", test_pid_file);
    g_test_add_func("/qemu-process/stat", test_stat);
    g_test_add_func("/qemu-process/real-calls", test_real_calls);
    return g_test_run();
}
