/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/l2-source.h"

/** Returns: as it is published, static. */
const char *l2_source_name(const L2Source *source)
{
    return source->class->name;
}

/** Does it count what happens between two looks? One that does not has to be looked at more often. */
bool l2_source_counts(const L2Source *source)
{
    return !source->class->samples_moments;
}

/**
 * Reads all vCPUs. Does not block.
 * @readings: of L2Reading; is emptied first
 * Returns: false with VIRTNEST_ERROR_KVM: the source is of no use any more.
 */
bool l2_source_sample(L2Source *source, GArray *readings, GError **error)
{
    g_array_set_size(readings, 0);
    return source->class->sample(source, readings, error);
}

/**
 * Are these the vCPUs that it reads? If not, it is to be opened anew.
 * @numbers: what stats_fd_list_vcpus() found
 */
bool l2_source_has_vcpus(const L2Source *source, const GArray *numbers)
{
    return source->class->has_vcpus == NULL || source->class->has_vcpus(source, numbers);
}

/** May take its time: the last descriptor of a VM takes the VM down. */
L2Source *l2_source_close(L2Source *source)
{
    if (source != NULL)
        source->class->close(source);
    return NULL;
}
