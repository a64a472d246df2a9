/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Finds the QEMU process of a domain without asking libvirt, whose answer may hang with it. libvirt's QEMU driver writes
 * /run/libvirt/qemu/NAME.pid (qemuProcessLaunch) and gives QEMU the domain's UUID (`-uuid`).
 */

#include "lib/qemu-process.h"

#include "lib/error.h"
#include "lib/proc.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* stateDir of libvirt's system QEMU driver, wherever virtnest itself is installed. */
#define LIBVIRT_STATE_DIR "run/libvirt/qemu"
/* libvirt's command lines have some ten thousand letters. */
#define CMDLINE_MAX (1024 * 1024)
/* In /proc/PID/stat, counted from the state behind the name in parentheses: proc_pid_stat(5) has the number 22. */
#define STAT_START_TIME 19

static int call_pidfd_open(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int call_pidfd_getfd(int pidfd, int fd)
{
    return (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

static char *call_describe_fd(int fd)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

    return g_file_read_link(path, NULL);
}

const QemuProcessCalls qemu_process_calls = {
    .pidfd_open = call_pidfd_open,
    .pidfd_getfd = call_pidfd_getfd,
    .describe_fd = call_describe_fd,
};

static bool read_pid(const char *root, const char *name, pid_t *ret_pid, GError **error)
{
    g_autofree char *file = g_strconcat(name, ".pid", NULL);
    g_autofree char *path = g_build_filename(root, LIBVIRT_STATE_DIR, file, NULL);
    g_autofree char *text = NULL;
    guint64 pid = 0;

    if (!g_file_get_contents(path, &text, NULL, error))
        return false;
    if (!g_ascii_string_to_unsigned(g_strstrip(text), 10, 2, G_MAXINT32, &pid, NULL)) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "%s holds no process number", path);
        return false;
    }
    *ret_pid = (pid_t)pid;
    return true;
}

static char *read_proc(const QemuProcess *process, const char *name, gsize *ret_length, GError **error)
{
    g_autofree char *path = g_strdup_printf("%s/proc/%d/%s", process->root, (int)process->pid, name);

    /* One byte more tells that it is longer. */
    return proc_read(path, CMDLINE_MAX + 1, ret_length, error);
}

/* Arguments follow each other, each with a NUL behind it. */
static bool has_argument(const char *line, gsize length, const char *option, const char *value)
{
    const char *end = line + length;
    bool next = false;

    for (const char *word = line; word < end; word += strlen(word) + 1) {
        if (next && g_ascii_strcasecmp(word, value) == 0)
            return true;
        next = strcmp(word, option) == 0;
    }
    return false;
}

static bool check_uuid(const QemuProcess *process, const char *uuid, GError **error)
{
    gsize length = 0;
    g_autofree char *line = read_proc(process, "cmdline", &length, error);

    if (line == NULL)
        return false;
    if (length <= CMDLINE_MAX && has_argument(line, length, "-uuid", uuid))
        return true;
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "process %d is not this domain's QEMU", (int)process->pid);
    return false;
}

static bool read_start_time(const QemuProcess *process, guint64 *ret_start_time, GError **error)
{
    gsize length = 0;
    g_autofree char *text = read_proc(process, "stat", &length, error);

    if (text == NULL)
        return false;
    /* The name may hold anything, parentheses and spaces included. */
    const char *rest = strrchr(text, ')');
    g_auto(GStrv) fields = rest != NULL ? g_strsplit(rest + 1, " ", 0) : NULL;
    /* One empty field comes of the space behind the parenthesis. */
    if (fields == NULL || g_strv_length(fields) <= STAT_START_TIME + 1 ||
        !g_ascii_string_to_unsigned(fields[STAT_START_TIME + 1], 10, 0, G_MAXUINT64, ret_start_time, NULL)) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "/proc/%d/stat cannot be read", (int)process->pid);
        return false;
    }
    return true;
}

/*
 * Is it the process that libvirt started? The pidfd was opened first, and is of one process for ever: what is read of the
 * number after that, and while that process still lives, is read of it. The start time is the same before and after, if
 * the process that is seen in /proc, which a test replaces, is one.
 */
static bool verify(QemuProcess *process, const char *uuid, GError **error)
{
    guint64 again = 0;

    if (!read_start_time(process, &process->start_time, error) || !check_uuid(process, uuid, error) ||
        !read_start_time(process, &again, error))
        return false;
    if (again == process->start_time && qemu_process_is_alive(process))
        return true;
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "process %d has ended meanwhile", (int)process->pid);
    return false;
}

/**
 * Finds the QEMU process of a running domain. Blocks where /proc does, which it may with a process that is stuck in the
 * kernel.
 * @root: "/", or where /proc and /run are looked for in its place
 * @calls: qemu_process_calls but for tests; must outlive the process
 * Returns: to be given back with qemu_process_close(), or NULL with VIRTNEST_ERROR_KVM or a G_FILE_ERROR.
 */
QemuProcess *qemu_process_open(const char *root, const char *name, const char *uuid, const QemuProcessCalls *calls,
                               GError **error)
{
    g_autoptr(QemuProcess) process = g_new0(QemuProcess, 1);

    process->calls = calls;
    process->root = g_strdup(strcmp(root, "/") == 0 ? "" : root);
    process->pidfd = -1;
    if (!read_pid(root, name, &process->pid, error))
        return NULL;
    process->pidfd = calls->pidfd_open(process->pid);
    if (process->pidfd < 0) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "cannot watch process %d: %s", (int)process->pid,
                    g_strerror(errno));
        return NULL;
    }
    return verify(process, uuid, error) ? g_steal_pointer(&process) : NULL;
}

QemuProcess *qemu_process_close(QemuProcess *process)
{
    if (process == NULL)
        return NULL;
    if (process->pidfd >= 0)
        (void)close(process->pidfd);
    g_free(process->root);
    g_free(process);
    return NULL;
}

bool qemu_process_is_alive(const QemuProcess *process)
{
    struct pollfd poll_fd = {.fd = process->pidfd, .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 0;
}

/** Returns: libvirt's own record of a running domain, to be freed with g_free(). */
char *qemu_status_path(const char *root, const char *name)
{
    g_autofree char *file = g_strconcat(name, ".xml", NULL);

    return g_build_filename(root, LIBVIRT_STATE_DIR, file, NULL);
}

/**
 * Was the monitor of a running domain used by somebody else than libvirt? Once it was, one more time changes nothing.
 * libvirt tells that in words of its own language (virDomainGetMessages()), and in its record in a form that does not
 * change with it (qemuDomainObjPrivateXMLFormat: <taint flag='custom-monitor'/>).
 * Returns: false also if that cannot be read.
 */
bool qemu_status_is_tainted(const char *path)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) && strstr(text, "<taint flag='custom-monitor'/>") != NULL;
}
