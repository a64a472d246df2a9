/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Any bytes as a vCPU's statistics file, which comes out of a process that nobody trusts: either they are one, and what
 * is to be read lies where a file can have it, or it is told what is wrong.
 *
 * "make check" replays the corpus. To look for more, from the top of the tree:
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -std=gnu17 -D_GNU_SOURCE -I. $(pkg-config --cflags glib-2.0) \
 *     tests/fuzz/fuzz-kvm-stats.c lib/kvm-stats.c lib/error.c $(pkg-config --libs glib-2.0) -o /tmp/fuzz-kvm-stats
 *   mkdir /tmp/found && /tmp/fuzz-kvm-stats /tmp/found tests/fuzz/corpus/kvm-stats
 */

#include "tests/fuzz/fuzz.h"

#include "lib/error.h"
#include "lib/kvm-stats.h"

static void check_error(const GError *error)
{
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM);
    g_assert_cmpstr(error->message, !=, "");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    KvmStatsHeader header;
    KvmStatsLayout layout;

    if (!kvm_stats_parse_header(data, size, &header, &error)) {
        check_error(error);
        return 0;
    }
    /* What is allocated for it. */
    gsize length = kvm_stats_descriptors_size(&header);
    g_assert_cmpuint(length, <=, 4096 * (256 + 16));
    if (header.descriptors_at > size)
        return 0;
    if (!kvm_stats_parse_descriptors(&header, data + header.descriptors_at, MIN(length, size - header.descriptors_at),
                                     &layout, &error)) {
        check_error(error);
        return 0;
    }
    g_assert_cmpuint(layout.length, <=, 4096);
    g_assert_cmpuint(layout.nested_run + sizeof(guint64), <=, layout.length);
    g_assert_cmpuint(layout.guest_mode + sizeof(guint64), <=, layout.length);
    g_assert_cmpuint(layout.start, <=, 2 * (guint64)G_MAXUINT32);
    return 0;
}
