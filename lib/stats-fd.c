/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The statistics descriptors that QEMU (8.1 and newer) keeps of its vCPUs, borrowed with pidfd_getfd(2): one read of a few
 * bytes for each vCPU, under kernel lockdown, with a hung monitor, and in the middle of a migration.
 *
 * Each holds a reference on its VM (see lib/kernel.c): whoever has one must let go as soon as QEMU has ended.
 */

#include "lib/error.h"
#include "lib/kvm-stats.h"
#include "lib/l2-source.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINK_PREFIX "anon_inode:kvm-vcpu-stats:"
/* KVM_CAP_MAX_VCPU_ID is 4096 on x86. */
#define VCPUS_MAX 4096

typedef struct StatsVcpu {
    guint32 number;
    int fd;
} StatsVcpu;

typedef struct StatsFd {
    L2Source source;
    KvmStatsLayout layout; /* the same for all: it is a kernel's */
    GArray *vcpus;         /* of StatsVcpu, by number */
} StatsFd;

/* @fd: in the other process */
typedef struct Candidate {
    guint32 number;
    int fd;
} Candidate;

static bool parse_link(const char *text, guint32 *ret_number)
{
    guint64 number = 0;

    if (text == NULL || !g_str_has_prefix(text, LINK_PREFIX) ||
        !g_ascii_string_to_unsigned(text + strlen(LINK_PREFIX), 10, 0, VCPUS_MAX - 1, &number, NULL))
        return false;
    *ret_number = (guint32)number;
    return true;
}

static int compare_candidates(gconstpointer a, gconstpointer b)
{
    const Candidate *left = a, *right = b;

    return left->number < right->number ? -1 : left->number > right->number;
}

/* Returns: an array of Candidate by number, each number once; or NULL with a G_FILE_ERROR. */
static GArray *find_candidates(const char *root, pid_t pid, GError **error)
{
    g_autofree char *folder = g_strdup_printf("%s/proc/%d/fd", strcmp(root, "/") == 0 ? "" : root, (int)pid);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, error);
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(Candidate));
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_strconcat(folder, "/", name, NULL);
        g_autofree char *text = g_file_read_link(path, NULL);
        Candidate candidate = {.fd = atoi(name)};
        if (parse_link(text, &candidate.number))
            g_array_append_val(found, candidate);
    }
    if (dir == NULL)
        return NULL;
    g_array_sort(found, compare_candidates);
    for (guint i = found->len; i > 1; i--)
        if (g_array_index(found, Candidate, i - 1).number == g_array_index(found, Candidate, i - 2).number)
            g_array_remove_index(found, i - 1);
    return g_steal_pointer(&found);
}

/*
 * The link was read before the descriptor was taken, and meanwhile the process may have put another file in its place, one
 * that blocks whoever reads it. What was taken can no longer change.
 */
static bool check_taken(const QemuProcess *process, int fd, guint32 number, GError **error)
{
    g_autofree char *text = process->calls->describe_fd(fd);
    guint32 taken = 0;

    if (parse_link(text, &taken) && taken == number)
        return true;
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "QEMU has put '%s' in the place of its statistics",
                text != NULL ? text : "");
    return false;
}

static bool add_vcpu(StatsFd *self, const QemuProcess *process, const Candidate *candidate, GError **error)
{
    StatsVcpu vcpu = {.number = candidate->number, .fd = process->calls->pidfd_getfd(process->pidfd, candidate->fd)};
    KvmStatsLayout layout = {0};

    if (vcpu.fd < 0) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "cannot take the statistics of vCPU %u from QEMU: %s",
                    candidate->number, g_strerror(errno));
        return false;
    }
    g_array_append_val(self->vcpus, vcpu);
    if (!check_taken(process, vcpu.fd, vcpu.number, error) || !kvm_stats_read_layout(vcpu.fd, &layout, error))
        return false;
    if (self->vcpus->len == 1)
        self->layout = layout;
    if (kvm_stats_layout_equal(&layout, &self->layout))
        return true;
    g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM,
                        "the statistics of two vCPUs are laid out differently");
    return false;
}

static bool stats_fd_sample(L2Source *source, GArray *readings, GError **error)
{
    StatsFd *self = (StatsFd *)source;
    const StatsVcpu *vcpus = (const StatsVcpu *)(gconstpointer)self->vcpus->data;

    g_array_set_size(readings, self->vcpus->len);
    L2Reading *out = (L2Reading *)(gpointer)readings->data;
    for (guint i = 0; i < self->vcpus->len; i++) {
        KvmStatsSample sample;
        int r = kvm_stats_read_sample(vcpus[i].fd, &self->layout, &sample);
        if (r < 0) {
            g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "cannot read the statistics of vCPU %u: %s",
                        vcpus[i].number, g_strerror(-r));
            return false;
        }
        out[i] = (L2Reading){sample.nested_run, vcpus[i].number, true, sample.guest_mode};
    }
    return true;
}

static bool stats_fd_has_vcpus(const L2Source *source, const GArray *numbers)
{
    const StatsFd *self = (const StatsFd *)source;

    if (numbers->len != self->vcpus->len)
        return false;
    for (guint i = 0; i < numbers->len; i++)
        if (g_array_index(numbers, guint32, i) != g_array_index(self->vcpus, StatsVcpu, i).number)
            return false;
    return true;
}

static void stats_fd_close(L2Source *source)
{
    StatsFd *self = (StatsFd *)source;

    for (guint i = 0; i < self->vcpus->len; i++)
        (void)close(g_array_index(self->vcpus, StatsVcpu, i).fd);
    g_array_unref(self->vcpus);
    g_free(self);
}

static const L2SourceClass stats_fd_class = {
    .name = "stats-fd",
    .sample = stats_fd_sample,
    .has_vcpus = stats_fd_has_vcpus,
    .close = stats_fd_close,
};

/**
 * Borrows the statistics descriptors of all vCPUs. Blocks as qemu_process_open() may.
 * Returns: to be given back with l2_source_close(), or NULL with VIRTNEST_ERROR_KVM or a G_FILE_ERROR.
 */
L2Source *stats_fd_open(const QemuProcess *process, GError **error)
{
    g_autoptr(GArray) candidates = find_candidates(process->root, process->pid, error);

    if (candidates == NULL)
        return NULL;
    if (candidates->len == 0) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM,
                            "QEMU keeps no statistics descriptors open, as it does from version 8.1 on");
        return NULL;
    }
    StatsFd *self = g_new0(StatsFd, 1);
    g_autoptr(L2Source) source = &self->source;
    source->class = &stats_fd_class;
    self->vcpus = g_array_sized_new(FALSE, FALSE, sizeof(StatsVcpu), candidates->len);
    for (guint i = 0; i < candidates->len; i++)
        if (!add_vcpu(self, process, &g_array_index(candidates, Candidate, i), error))
            return NULL;
    return g_steal_pointer(&source);
}

/**
 * Tells of which vCPUs a QEMU process has statistics now. Blocks as qemu_process_open() may.
 * Returns: their numbers (guint32) in order, to be freed with g_array_unref(), or NULL with a G_FILE_ERROR.
 */
GArray *stats_fd_list_vcpus(const char *root, pid_t pid, GError **error)
{
    g_autoptr(GArray) candidates = find_candidates(root, pid, error);
    GArray *numbers = candidates != NULL ? g_array_new(FALSE, FALSE, sizeof(guint32)) : NULL;

    for (guint i = 0; candidates != NULL && i < candidates->len; i++)
        g_array_append_val(numbers, g_array_index(candidates, Candidate, i).number);
    return numbers;
}
