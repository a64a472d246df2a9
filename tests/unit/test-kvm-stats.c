/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/kvm-stats.h"

#include "tests/unit/stats-blob.h"
#include "tests/unit/util.h"
#include <errno.h>
#include <unistd.h>

static bool parse(const StatsBlob *blob, KvmStatsLayout *ret_layout, GError **error)
{
    KvmStatsHeader header;

    if (!kvm_stats_parse_header(blob->data, blob->length, &header, error))
        return false;
    gsize size = kvm_stats_descriptors_size(&header);
    if (header.descriptors_at > blob->length) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "cut short");
        return false;
    }
    return kvm_stats_parse_descriptors(&header, blob->data + header.descriptors_at,
                                       MIN(size, blob->length - header.descriptors_at), ret_layout, error);
}

/* What a kernel gave. */
static void test_recorded(void)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "data", "kvm-stats", "linux-6.18-x86_64", NULL);
    g_autofree char *data = NULL;
    g_autoptr(GError) error = NULL;
    StatsBlob blob = {0};
    KvmStatsLayout layout;
    gsize length = 0;

    g_assert_true(g_file_get_contents(path, &data, &length, &error));
    blob.length = MIN(length, sizeof(blob.data));
    memcpy(blob.data, data, blob.length);
    g_assert_true(parse(&blob, &layout, &error));
    g_assert_no_error(error);
    /* 2952 + 1048, and 40 more. */
    g_assert_cmpuint(layout.start, ==, 4000);
    g_assert_cmpuint(layout.length, ==, 48);
    g_assert_cmpuint(layout.nested_run, ==, 0);
    g_assert_cmpuint(layout.guest_mode, ==, 40);
    g_assert_true(layout.has_guest_mode);
}

static void test_read(void)
{
    StatsBlob blob = stats_blob_new(NULL);
    int fd = stats_blob_open(&blob);
    g_autoptr(GError) error = NULL;
    KvmStatsSample sample;
    KvmStatsLayout layout;

    g_assert_true(kvm_stats_read_layout(fd, &layout, &error));
    g_assert_no_error(error);
    g_assert_cmpint(kvm_stats_read_sample(fd, &layout, &sample), ==, 0);
    g_assert_cmpuint(sample.nested_run, ==, 0);
    g_assert_false(sample.guest_mode);
    stats_blob_set(fd, 12345678901234, 1);
    g_assert_cmpint(kvm_stats_read_sample(fd, &layout, &sample), ==, 0);
    g_assert_cmpuint(sample.nested_run, ==, 12345678901234);
    g_assert_true(sample.guest_mode);
    g_assert_no_errno(ftruncate(fd, (off_t)layout.start + 8));
    g_assert_cmpint(kvm_stats_read_sample(fd, &layout, &sample), ==, -EIO);
    g_assert_cmpint(kvm_stats_read_sample(-1, &layout, &sample), ==, -EBADF);
    close(fd);
}

/* Linux 5.13 and 5.14: guest_mode is not there, or a number. */
static void test_older_kernels(void)
{
    StatsBlob blob = stats_blob_new(&(StatsBlobOptions){.guest_mode_flags = KVM_STATS_TYPE_INSTANT});
    KvmStatsLayout layout;
    KvmStatsSample sample;
    g_autoptr(GError) error = NULL;

    g_assert_true(parse(&blob, &layout, &error));
    g_assert_no_error(error);
    g_assert_true(layout.has_guest_mode);
    blob = stats_blob_new(&(StatsBlobOptions){.guest_mode_name = "other"});
    g_assert_true(parse(&blob, &layout, &error));
    g_assert_false(layout.has_guest_mode);
    g_assert_cmpuint(layout.length, ==, 8);
    int fd = stats_blob_open(&blob);
    stats_blob_set(fd, G_MAXUINT64, 1);
    g_assert_cmpint(kvm_stats_read_sample(fd, &layout, &sample), ==, 0);
    g_assert_cmpuint(sample.nested_run, ==, G_MAXUINT64);
    g_assert_false(sample.guest_mode);
    close(fd);
}

static void test_malformed(void)
{
    static const struct {
        const char *name, *message;
        StatsBlobOptions options;
    } cases[] = {
        {"flags", "unknown flags", {.header_flags = 1}},
        {"names-short", "length of names", {.name_size = 8}},
        {"names-huge", "length of names", {.name_size = G_MAXUINT32}},
        {"count-none", "number of statistics", {.num_desc = 0, .set_num_desc = true}},
        {"count-huge", "number of statistics", {.num_desc = G_MAXUINT32, .set_num_desc = true}},
        {"count-too-many", "number of statistics", {.num_desc = 4097, .set_num_desc = true}},
        {"count-more-than-there", "cut short", {.num_desc = 4096, .set_num_desc = true, .data_offset = 1 << 30}},
        {"descriptors-in-header", "overlap the header", {.desc_offset = 8}},
        {"descriptors-outside", "cut short", {.desc_offset = G_MAXUINT32}},
        {"data-in-header", "overlap the header", {.data_offset = 8}},
        {"data-in-descriptors", "overlap", {.data_offset = STATS_BLOB_DESCRIPTORS_AT + 24}},
        {"no-nested-run", "does not count", {.nested_run_name = "exits"}},
        {"twice", "twice", {.guest_mode_name = "nested_run"}},
        {"name-without-end", "no end", {.nested_run_name = "123456789012345678901234567890123456789012345678"}},
        {"histogram", "more than one value", {.nested_run_size = 32}},
        {"nothing", "more than one value", {.nested_run_size = G_MAXUINT16}},
        {"nested-run-instant", "another type", {.nested_run_flags = KVM_STATS_TYPE_INSTANT}},
        {"guest-mode-cumulative", "another type", {.guest_mode_flags = KVM_STATS_UNIT_BOOLEAN}},
        {"nested-run-seconds", "another unit", {.nested_run_flags = KVM_STATS_UNIT_SECONDS}},
        {"guest-mode-bytes", "another unit", {.guest_mode_flags = KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_BYTES}},
        {"unaligned", "out of line", {.nested_run_offset = 9}},
        {"far-apart", "far apart", {.nested_run_offset = 8192}},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        StatsBlob blob = stats_blob_new(&cases[i].options);
        KvmStatsLayout layout;
        g_autoptr(GError) error = NULL;
        if (parse(&blob, &layout, &error))
            g_error("%s is taken", cases[i].name);
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM);
        util_assert_contains(error->message, cases[i].message);
        /* The same from a file. */
        g_clear_error(&error);
        int fd = stats_blob_open(&blob);
        g_assert_false(kvm_stats_read_layout(fd, &layout, &error));
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM);
        close(fd);
    }
}

static void test_cut_short(void)
{
    StatsBlob blob = stats_blob_new(NULL);
    KvmStatsLayout layout;

    for (gsize length = 0; length < blob.length - 16; length++) {
        StatsBlob cut = blob;
        g_autoptr(GError) error = NULL;
        cut.length = length;
        /* Descriptors are at its end but for the data. */
        if (length < STATS_BLOB_DESCRIPTORS_AT + STATS_BLOB_DESCRIPTORS_SIZE) {
            g_assert_false(parse(&cut, &layout, &error));
            g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM);
        }
    }
}

static void test_no_file(void)
{
    KvmStatsLayout layout;
    g_autoptr(GError) error = NULL;
    int fds[2];

    g_assert_false(kvm_stats_read_layout(-1, &layout, &error));
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM);
    g_clear_error(&error);
    g_assert_no_errno(pipe(fds));
    g_assert_false(kvm_stats_read_layout(fds[0], &layout, &error));
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM);
    close(fds[0]);
    close(fds[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm-stats/recorded", test_recorded);
    g_test_add_func("/kvm-stats/read", test_read);
    g_test_add_func("/kvm-stats/older-kernels", test_older_kernels);
    g_test_add_func("/kvm-stats/malformed", test_malformed);
    g_test_add_func("/kvm-stats/cut-short", test_cut_short);
    g_test_add_func("/kvm-stats/no-file", test_no_file);
    return g_test_run();
}
