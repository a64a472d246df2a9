/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * KVM's binary statistics (Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD; linux/kvm.h): a file that describes itself.
 * A header says where descriptors, each with a name, and data are; a descriptor says where in the data its values are.
 * All of it stays as it is for as long as the vCPU lives, but for the values.
 *
 * The descriptor comes out of another process, which may be in the hands of its guest: nothing that is read is taken for
 * granted.
 */

#include "lib/kvm-stats.h"

#include "lib/error.h"
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <unistd.h>

/* Linux 6.18 has 45 statistics of 48 letters for a vCPU on x86. */
#define DESCRIPTORS_MAX 4096
#define NAME_SIZE_MIN 16
#define NAME_SIZE_MAX 256
/* The two values are some 40 bytes apart. More than this is no vCPU's statistics. */
#define RANGE_MAX 4096

#define VALUE_SIZE sizeof(guint64)

/* The fixed part of struct kvm_stats_desc, which ends in a name of a length that only the header knows. */
typedef struct Descriptor {
    guint32 flags;
    gint16 exponent;
    guint16 size;
    guint32 offset;
    guint32 bucket_size;
} Descriptor;

G_STATIC_ASSERT(sizeof(Descriptor) == sizeof(struct kvm_stats_desc));

static bool malformed(GError **error, const char *what)
{
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "these are no KVM statistics: %s", what);
    return false;
}

/** Returns: how many bytes kvm_stats_parse_header() needs. */
gsize kvm_stats_header_size(void)
{
    return sizeof(struct kvm_stats_header);
}

/**
 * Checks the header of a statistics file.
 * @data: the file's first bytes, kvm_stats_header_size() of them or more
 * Returns: false with VIRTNEST_ERROR_KVM.
 */
bool kvm_stats_parse_header(const void *data, gsize length, KvmStatsHeader *ret_header, GError **error)
{
    struct kvm_stats_header header;

    if (length < sizeof(header))
        return malformed(error, "the header is cut short");
    memcpy(&header, data, sizeof(header));
    /* "Always 0 for now": a kernel that sets any means something by it that is not known here. */
    if (header.flags != 0)
        return malformed(error, "the header has unknown flags");
    if (header.name_size < NAME_SIZE_MIN || header.name_size > NAME_SIZE_MAX)
        return malformed(error, "the length of names is absurd");
    if (header.num_desc == 0 || header.num_desc > DESCRIPTORS_MAX)
        return malformed(error, "the number of statistics is absurd");
    if (header.id_offset < sizeof(header) || header.desc_offset < sizeof(header) || header.data_offset < sizeof(header))
        return malformed(error, "parts of it overlap the header");
    *ret_header = (KvmStatsHeader){
        .n_descriptors = header.num_desc,
        .name_size = header.name_size,
        .descriptors_at = header.desc_offset,
        .data_at = header.data_offset,
    };
    guint64 end = (guint64)header.desc_offset + kvm_stats_descriptors_size(ret_header);
    if (header.data_offset >= header.desc_offset && header.data_offset < end)
        return malformed(error, "data and descriptors overlap");
    return true;
}

/** Returns: how many bytes at descriptors_at kvm_stats_parse_descriptors() needs: at most a megabyte or so. */
gsize kvm_stats_descriptors_size(const KvmStatsHeader *header)
{
    return (gsize)header->n_descriptors * (sizeof(Descriptor) + header->name_size);
}

/* A single number, not a time and not a histogram. @instant: of this moment, not since the vCPU began */
static bool check_descriptor(const Descriptor *descriptor, bool instant, GError **error)
{
    guint32 type = descriptor->flags & KVM_STATS_TYPE_MASK, unit = descriptor->flags & KVM_STATS_UNIT_MASK;
    guint32 wanted = instant ? KVM_STATS_TYPE_INSTANT : KVM_STATS_TYPE_CUMULATIVE;

    if (descriptor->size != 1)
        return malformed(error, "a counter has more than one value");
    if (type != wanted)
        return malformed(error, "a counter is of another type");
    /* guest_mode is a boolean since Linux 5.19, and a mere number before. */
    if (unit != KVM_STATS_UNIT_NONE && !(instant && unit == KVM_STATS_UNIT_BOOLEAN))
        return malformed(error, "a counter is in another unit");
    if (descriptor->offset % VALUE_SIZE != 0)
        return malformed(error, "a counter is out of line");
    return true;
}

/**
 * Finds nested_run and guest_mode.
 * @data: what is at header->descriptors_at, kvm_stats_descriptors_size() bytes or more
 * Returns: false with VIRTNEST_ERROR_KVM if something is wrong, or nested_run is not there.
 */
bool kvm_stats_parse_descriptors(const KvmStatsHeader *header, const void *data, gsize length,
                                 KvmStatsLayout *ret_layout, GError **error)
{
    const gsize stride = sizeof(Descriptor) + header->name_size;
    bool has_nested_run = false, has_guest_mode = false;
    guint64 nested_run = 0, guest_mode = 0;

    if (length < kvm_stats_descriptors_size(header))
        return malformed(error, "the descriptors are cut short");
    for (guint32 i = 0; i < header->n_descriptors; i++) {
        const char *at = (const char *)data + i * stride, *name = at + sizeof(Descriptor);
        Descriptor descriptor;
        memcpy(&descriptor, at, sizeof(descriptor));
        if (memchr(name, '\0', header->name_size) == NULL)
            return malformed(error, "a name has no end");
        bool is_nested_run = strcmp(name, "nested_run") == 0;
        if (!is_nested_run && strcmp(name, "guest_mode") != 0)
            continue;
        bool *has = is_nested_run ? &has_nested_run : &has_guest_mode;
        if (*has)
            return malformed(error, "a counter is there twice");
        if (!check_descriptor(&descriptor, !is_nested_run, error))
            return false;
        *has = true;
        *(is_nested_run ? &nested_run : &guest_mode) = (guint64)header->data_at + descriptor.offset;
    }
    if (!has_nested_run) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM,
                            "this kernel does not count entries into L2 guests");
        return false;
    }
    if (!has_guest_mode)
        guest_mode = nested_run;
    guint64 start = MIN(nested_run, guest_mode), end = MAX(nested_run, guest_mode) + VALUE_SIZE;
    if (end - start > RANGE_MAX)
        return malformed(error, "its counters are far apart");
    *ret_layout = (KvmStatsLayout){
        .start = start,
        .length = (guint16)(end - start),
        .nested_run = (guint16)(nested_run - start),
        .guest_mode = (guint16)(guest_mode - start),
        .has_guest_mode = has_guest_mode,
    };
    return true;
}

static bool read_exactly(int fd, void *data, gsize length, guint64 offset, GError **error)
{
    ssize_t n;

    do
        n = pread(fd, data, length, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "cannot read KVM statistics: %s", g_strerror(errno));
        return false;
    }
    return (gsize)n == length || malformed(error, "the file is cut short");
}

/**
 * Reads what a statistics file says of itself.
 * Returns: false with VIRTNEST_ERROR_KVM.
 */
bool kvm_stats_read_layout(int fd, KvmStatsLayout *ret_layout, GError **error)
{
    struct kvm_stats_header raw;
    KvmStatsHeader header;

    if (!read_exactly(fd, &raw, sizeof(raw), 0, error) || !kvm_stats_parse_header(&raw, sizeof(raw), &header, error))
        return false;
    gsize length = kvm_stats_descriptors_size(&header);
    g_autofree char *descriptors = g_malloc(length);
    return read_exactly(fd, descriptors, length, header.descriptors_at, error) &&
           kvm_stats_parse_descriptors(&header, descriptors, length, ret_layout, error);
}

bool kvm_stats_layout_equal(const KvmStatsLayout *a, const KvmStatsLayout *b)
{
    return a->start == b->start && a->length == b->length && a->nested_run == b->nested_run &&
           a->guest_mode == b->guest_mode && a->has_guest_mode == b->has_guest_mode;
}

/**
 * Reads both values, with one call.
 * Returns: 0, or a negative errno, -EIO if the file has become too short. No GError: this is done some ten thousand times
 * a second.
 */
int kvm_stats_read_sample(int fd, const KvmStatsLayout *layout, KvmStatsSample *ret_sample)
{
    char range[RANGE_MAX];
    guint64 nested_run, guest_mode;
    ssize_t n;

    do
        n = pread(fd, range, layout->length, (off_t)layout->start);
    while (n < 0 && errno == EINTR);
    if (n != layout->length)
        return n < 0 ? -errno : -EIO;
    memcpy(&nested_run, range + layout->nested_run, sizeof(nested_run));
    memcpy(&guest_mode, range + layout->guest_mode, sizeof(guest_mode));
    *ret_sample = (KvmStatsSample){.nested_run = nested_run, .guest_mode = layout->has_guest_mode && guest_mode != 0};
    return 0;
}
