/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* What the first bytes of a statistics file say about the rest. */
typedef struct KvmStatsHeader {
    guint32 n_descriptors;
    guint32 name_size; /* of each descriptor */
    guint32 descriptors_at;
    guint32 data_at;
} KvmStatsHeader;

/* Where in a vCPU's statistics file the two values are that tell of L2 guests: in a range that one read fetches. */
typedef struct KvmStatsLayout {
    guint64 start; /* of the range, from the beginning of the file */
    guint16 length;
    guint16 nested_run;  /* in the range */
    guint16 guest_mode;  /* in the range; only with has_guest_mode */
    bool has_guest_mode; /* Linux before 5.14 has none */
} KvmStatsLayout;

/* The values at one moment. */
typedef struct KvmStatsSample {
    guint64 nested_run; /* entries into an L2 so far */
    bool guest_mode;    /* the vCPU is in an L2 now */
} KvmStatsSample;

gsize kvm_stats_header_size(void);
bool kvm_stats_parse_header(const void *data, gsize length, KvmStatsHeader *ret_header, GError **error);
gsize kvm_stats_descriptors_size(const KvmStatsHeader *header);
bool kvm_stats_parse_descriptors(const KvmStatsHeader *header, const void *data, gsize length,
                                 KvmStatsLayout *ret_layout, GError **error);
bool kvm_stats_read_layout(int fd, KvmStatsLayout *ret_layout, GError **error);
bool kvm_stats_layout_equal(const KvmStatsLayout *a, const KvmStatsLayout *b);
int kvm_stats_read_sample(int fd, const KvmStatsLayout *layout, KvmStatsSample *ret_sample);
