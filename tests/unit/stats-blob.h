/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A vCPU's statistics file as KVM lays it out, with what a test wants to be wrong in it. */

#include <glib.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <string.h>

#define STATS_BLOB_NAME_SIZE 48
#define STATS_BLOB_DESCRIPTORS_AT 72
#define STATS_BLOB_DESCRIPTORS_SIZE (3 * (16 + STATS_BLOB_NAME_SIZE))
#define STATS_BLOB_DATA_AT (STATS_BLOB_DESCRIPTORS_AT + STATS_BLOB_DESCRIPTORS_SIZE)

/* What is 0 is as KVM has it. */
typedef struct StatsBlobOptions {
    guint32 header_flags, name_size, num_desc, desc_offset, data_offset;
    bool set_num_desc;
    const char *nested_run_name, *guest_mode_name;
    guint32 nested_run_flags, guest_mode_flags;
    guint16 nested_run_size;
    guint32 nested_run_offset;
} StatsBlobOptions;

typedef struct StatsBlob {
    char data[8192];
    gsize length;
} StatsBlob;

StatsBlob stats_blob_new(const StatsBlobOptions *options);
int stats_blob_open(const StatsBlob *blob);
void stats_blob_set(int fd, guint64 nested_run, guint64 guest_mode);
