/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/l2.h"
#include "lib/qemu-process.h"

/* Where the readings of one guest come from: opened when its QEMU process is found, read at each tick, closed at its end. */
typedef struct L2Source L2Source;

/* What a kind of source does. The first member of each source is an L2Source. */
typedef struct L2SourceClass {
    const char *name;     /* as it is published */
    bool samples_moments; /* what happens between two looks is not counted */
    bool (*sample)(L2Source *source, GArray *readings, GError **error);
    bool (*has_vcpus)(const L2Source *source, const GArray *numbers); /* NULL: always */
    void (*close)(L2Source *source);
} L2SourceClass;

struct L2Source {
    const L2SourceClass *class;
};

L2Source *stats_fd_open(const QemuProcess *process, GError **error);
GArray *stats_fd_list_vcpus(const char *root, pid_t pid, GError **error);
L2Source *debugfs_open(const QemuProcess *process, GError **error);

const char *l2_source_name(const L2Source *source);
bool l2_source_counts(const L2Source *source);
bool l2_source_sample(L2Source *source, GArray *readings, GError **error);
bool l2_source_has_vcpus(const L2Source *source, const GArray *numbers);
L2Source *l2_source_close(L2Source *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(L2Source, l2_source_close)
