/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* The calls that reach into another process, so that a test can stand in for the kernel. */
typedef struct QemuProcessCalls {
    int (*pidfd_open)(pid_t pid);
    int (*pidfd_getfd)(int pidfd, int fd);
    char *(*describe_fd)(int fd); /* what a descriptor of our own is: the text of its link in /proc */
} QemuProcessCalls;

extern const QemuProcessCalls qemu_process_calls;

/* The QEMU process of a guest: it, and no other that got its number later. */
typedef struct QemuProcess {
    const QemuProcessCalls *calls;
    char *root;
    pid_t pid;
    int pidfd;          /* readable once the process has ended */
    guint64 start_time; /* in clock ticks since boot */
} QemuProcess;

QemuProcess *qemu_process_open(const char *root, const char *name, const char *uuid, const QemuProcessCalls *calls,
                               GError **error);
QemuProcess *qemu_process_close(QemuProcess *process);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QemuProcess, qemu_process_close)

char *qemu_status_path(const char *root, const char *name);
bool qemu_status_is_tainted(const char *path);
bool qemu_process_is_alive(const QemuProcess *process);
