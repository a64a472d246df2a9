/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What can be told of a kernel from its version. */

#include "lib/kernel.h"

#include <glib.h>
#include <string.h>

typedef struct Version {
    unsigned major, minor, patch;
} Version;

/* Reads "6.1.43" with whatever follows; what is not there is 0. Returns: false if not even two numbers are. */
static bool parse_version(const char *text, Version *ret_version)
{
    guint64 numbers[3] = {0};
    gsize n = 0;

    while (n < G_N_ELEMENTS(numbers) && g_ascii_isdigit(*text)) {
        char *end = NULL;
        numbers[n++] = MIN(g_ascii_strtoull(text, &end, 10), G_MAXUINT);
        text = *end == '.' ? end + 1 : "";
    }
    *ret_version = (Version){(unsigned)numbers[0], (unsigned)numbers[1], (unsigned)numbers[2]};
    return n >= 2;
}

/*
 * Where a distribution tells which version of kernel.org its kernel is made of: uname(2)'s release has another number
 * ("6.1.0-37-amd64"), Debian's version has it ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1 (2025-05-22)").
 */
static const char *find_upstream(const char *release, const char *version)
{
    const char *debian = strstr(version, "Debian ");

    return debian != NULL ? debian + strlen("Debian ") : release;
}

/**
 * @release: as uname(2) gives it
 * Returns: the version as libvirt counts them, major * 1000000 + minor * 1000 + patch; 0 if that is none.
 */
unsigned long kernel_version_number(const char *release)
{
    Version version;

    return parse_version(release, &version) ? version.major * 1000000UL + version.minor * 1000UL + version.patch : 0;
}

/**
 * Tells whether a statistics descriptor of KVM keeps its VM alive. Without that, one that outlives its QEMU reads memory
 * that was freed: Linux eed3013faa40 ("KVM: Grab a reference to KVM for VM and vCPU stats file descriptors"), in 6.5, and in
 * the stable versions of August 2023: 6.4.8, 6.1.43 and 5.15.124. The series between these ended before it.
 *
 * A distribution may have it in an older version, which nobody can tell from here: such a kernel counts as one without.
 * @release, @version: as uname(2) gives them
 */
bool kernel_holds_vm_for_stats(const char *release, const char *version)
{
    static const Version stable[] = {{6, 4, 8}, {6, 1, 43}, {5, 15, 124}};
    Version kernel;

    if (!parse_version(find_upstream(release, version), &kernel))
        return false;
    for (gsize i = 0; i < G_N_ELEMENTS(stable); i++)
        if (kernel.major == stable[i].major && kernel.minor == stable[i].minor)
            return kernel.patch >= stable[i].patch;
    return kernel.major > 6 || (kernel.major == 6 && kernel.minor >= 5);
}
