/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/fake-qemu.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FDS_MAX 64

/* What pidfd_getfd() finds: by its number in the process. A descriptor that was taken goes by the last link given. */
static struct {
    int fd; /* the test's; -1: none */
    char *link;
} fds[FDS_MAX];

static int fake_getfd(int pidfd G_GNUC_UNUSED, int number)
{
    if (number < 0 || number >= FDS_MAX || fds[number].link == NULL) {
        errno = EBADF;
        return -1;
    }
    return dup(fds[number].fd);
}

/* Which of them a descriptor is a copy of shows in the file that both are. */
static char *fake_describe(int fd)
{
    for (int i = 0; i < FDS_MAX; i++)
        if (fds[i].link != NULL && syscall(SYS_kcmp, getpid(), getpid(), 0 /* KCMP_FILE */, fd, fds[i].fd) == 0)
            return g_strdup(fds[i].link);
    return NULL;
}

static int fake_pidfd_open(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

const QemuProcessCalls fake_qemu_calls = {
    .pidfd_open = fake_pidfd_open,
    .pidfd_getfd = fake_getfd,
    .describe_fd = fake_describe,
};

static char *proc_path(const FakeQemu *qemu, const char *name)
{
    return g_strdup_printf("/proc/%d/%s", (int)qemu->pid, name);
}

void fake_qemu_write_stat(const FakeQemu *qemu, const char *name, guint64 start_time)
{
    g_autofree char *path = proc_path(qemu, "stat");
    g_autofree char *text =
        g_strdup_printf("%d (%s) S 1 2 3 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 4 0 %" G_GUINT64_FORMAT " 99 100 0\n",
                        (int)qemu->pid, name, start_time);

    util_root_write(qemu->root, path, text);
}

/** @words: ended by NULL */
void fake_qemu_write_cmdline(const FakeQemu *qemu, const char *const *words)
{
    g_autofree char *path = proc_path(qemu, "cmdline");
    g_autoptr(GString) line = g_string_new(NULL);

    for (; *words != NULL; words++)
        g_string_append_len(line, *words, (gssize)strlen(*words) + 1);
    util_root_write_bytes(qemu->root, path, line->str, line->len);
}

/**
 * @link: what its link in /proc shows
 * @fd: what is taken then; stays the caller's
 * @link_when_taken: what that turns out to be
 */
void fake_qemu_add_fd(const FakeQemu *qemu, int number, const char *link, int fd, const char *link_when_taken)
{
    g_autofree char *name = g_strdup_printf("fd/%d", number), *path = proc_path(qemu, name);

    g_assert_cmpint(number, <, FDS_MAX);
    util_root_link(qemu->root, path, link);
    g_free(fds[number].link);
    fds[number].link = g_strdup(link_when_taken);
    fds[number].fd = fd;
}

void fake_qemu_remove_fd(const FakeQemu *qemu, int number)
{
    g_autofree char *name = g_strdup_printf("fd/%d", number), *path = proc_path(qemu, name);
    g_autofree char *full = util_root_path(qemu->root, path);

    g_assert_no_errno(unlink(full));
    g_clear_pointer(&fds[number].link, g_free);
}

/** Is there a pidfd_open(2)? valgrind up to 3.19 knows none, and a container may not let it pass. */
bool fake_qemu_works(void)
{
    int pidfd = fake_pidfd_open(getpid());

    if (pidfd < 0)
        return false;
    (void)close(pidfd);
    return true;
}

FakeQemu *fake_qemu_new(void)
{
    FakeQemu *qemu = g_new0(FakeQemu, 1);

    int ends[2];

    qemu->root = util_root_new();
    g_assert_no_errno(pipe(ends));
    qemu->pid = fork();
    g_assert_cmpint(qemu->pid, >=, 0);
    if (qemu->pid == 0) {
        /* Ends with the test, whatever becomes of that: only the test has the other end of the pipe. */
        char byte;
        (void)close(ends[1]);
        _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
    (void)close(ends[0]);
    qemu->life = ends[1];
    g_autofree char *pid = g_strdup_printf("%d\n", (int)qemu->pid), *folder = proc_path(qemu, "fd");
    util_root_folder(qemu->root, folder);
    util_root_write(qemu->root, "/run/libvirt/qemu/" FAKE_QEMU_NAME ".pid", pid);
    fake_qemu_write_stat(qemu, "qemu-system-x86", 4711);
    fake_qemu_write_cmdline(qemu, (const char *const[]){"/usr/bin/qemu-system-x86_64", "-name", "guest=web1", "-uuid",
                                                        FAKE_QEMU_UUID, "-no-user-config", NULL});
    return qemu;
}

void fake_qemu_end(FakeQemu *qemu)
{
    if (qemu->pid <= 0)
        return;
    (void)kill(qemu->pid, SIGKILL);
    (void)waitpid(qemu->pid, NULL, 0);
    qemu->pid = 0;
}

FakeQemu *fake_qemu_free(FakeQemu *qemu)
{
    if (qemu == NULL)
        return NULL;
    fake_qemu_end(qemu);
    (void)close(qemu->life);
    for (int i = 0; i < FDS_MAX; i++)
        g_clear_pointer(&fds[i].link, g_free);
    util_root_free(qemu->root);
    g_free(qemu);
    return NULL;
}

QemuProcess *fake_qemu_open(const FakeQemu *qemu, GError **error)
{
    return qemu_process_open(qemu->root->path, FAKE_QEMU_NAME, FAKE_QEMU_UUID, &fake_qemu_calls, error);
}
