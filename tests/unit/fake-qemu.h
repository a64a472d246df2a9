/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A QEMU process in a root of the test's: what /proc and libvirt's folder show of it, and the descriptors that it has. */

#include "lib/qemu-process.h"
#include "tests/unit/util.h"

#define FAKE_QEMU_NAME "web1"
#define FAKE_QEMU_UUID "9f3c2a52-55cb-4e3f-8b7a-0d2f5f1a7c11"

typedef struct FakeQemu {
    UtilRoot *root;
    pid_t pid; /* a process of the test's own, which does nothing */
    int life;  /* it ends when this is closed */
} FakeQemu;

extern const QemuProcessCalls fake_qemu_calls;

bool fake_qemu_works(void);
FakeQemu *fake_qemu_new(void);
FakeQemu *fake_qemu_free(FakeQemu *qemu);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeQemu, fake_qemu_free)

void fake_qemu_end(FakeQemu *qemu);
void fake_qemu_write_stat(const FakeQemu *qemu, const char *name, guint64 start_time);
void fake_qemu_write_cmdline(const FakeQemu *qemu, const char *const *words);
void fake_qemu_add_fd(const FakeQemu *qemu, int number, const char *link, int fd, const char *link_when_taken);
void fake_qemu_remove_fd(const FakeQemu *qemu, int number);
QemuProcess *fake_qemu_open(const FakeQemu *qemu, GError **error);
