/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/stats-blob.h"

#include <sys/mman.h>
#include <unistd.h>

static void put_descriptor(StatsBlob *blob, unsigned number, guint32 flags, guint16 size, guint32 offset,
                           const char *name)
{
    char *at = blob->data + STATS_BLOB_DESCRIPTORS_AT + number * (16 + STATS_BLOB_NAME_SIZE);
    struct kvm_stats_desc descriptor = {.flags = flags, .size = size, .offset = offset};

    memcpy(at, &descriptor, sizeof(descriptor));
    /* One that is too long has no NUL behind it. */
    for (gsize i = 0; i < STATS_BLOB_NAME_SIZE && name[i] != '\0'; i++)
        at[sizeof(descriptor) + i] = name[i];
}

/** @options: NULL for none */
StatsBlob stats_blob_new(const StatsBlobOptions *options)
{
    static const StatsBlobOptions none = {0};
    const StatsBlobOptions *o = options != NULL ? options : &none;
    StatsBlob blob = {.length = STATS_BLOB_DATA_AT + 24};
    struct kvm_stats_header header = {
        .flags = o->header_flags,
        .name_size = o->name_size != 0 ? o->name_size : STATS_BLOB_NAME_SIZE,
        .num_desc = o->set_num_desc ? o->num_desc : 3,
        .id_offset = sizeof(header),
        .desc_offset = o->desc_offset != 0 ? o->desc_offset : STATS_BLOB_DESCRIPTORS_AT,
        .data_offset = o->data_offset != 0 ? o->data_offset : STATS_BLOB_DATA_AT,
    };

    memcpy(blob.data, &header, sizeof(header));
    memcpy(blob.data + sizeof(header), "kvm-1234/vcpu-0", sizeof("kvm-1234/vcpu-0"));
    put_descriptor(&blob, 0, KVM_STATS_TYPE_LINEAR_HIST, 3, 0, "halt_wait_hist");
    put_descriptor(&blob, 1, o->nested_run_flags, o->nested_run_size != 0 ? o->nested_run_size : 1,
                   o->nested_run_offset != 0 ? o->nested_run_offset : 8,
                   o->nested_run_name != NULL ? o->nested_run_name : "nested_run");
    put_descriptor(&blob, 2,
                   o->guest_mode_flags != 0 ? o->guest_mode_flags : KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_BOOLEAN, 1,
                   16, o->guest_mode_name != NULL ? o->guest_mode_name : "guest_mode");
    return blob;
}

/** Returns: a descriptor of a file that holds it, to be closed. */
int stats_blob_open(const StatsBlob *blob)
{
    int fd = memfd_create("stats", MFD_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, blob->data, blob->length), ==, (gssize)blob->length);
    return fd;
}

/** Sets the counters of a file that is laid out as KVM does. */
void stats_blob_set(int fd, guint64 nested_run, guint64 guest_mode)
{
    guint64 values[] = {nested_run, guest_mode};

    g_assert_cmpint(pwrite(fd, values, sizeof(values), STATS_BLOB_DATA_AT + 8), ==, sizeof(values));
}
