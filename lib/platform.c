/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is known of live L2 guests and migration, as a table: the first row that fits is the answer. Each row names where it
 * is written. A host that no row fits is unknown, and guarded as an unsafe one is.
 */

#include "lib/platform.h"

#include <limits.h>
#include <string.h>

#define KERNEL_DOCUMENT "Linux Documentation/virt/kvm/x86/running-nested-guests.rst"

/* As libvirt counts versions: major * 1000000 + minor * 1000 + release. */
#define RELEASE(major, minor) ((major)*1000000UL + (minor)*1000UL)

typedef struct Row {
    const char *arch; /* NULL: x86 */
    HostVendor vendor;
    unsigned long linux_below, qemu_below; /* fits if either is older; 0: whatever they are */
    Platform platform;
} Row;

static const Row rows[] = {
    {NULL,
     HOST_VENDOR_AMD,
     RELEASE(5, 8),
     RELEASE(5, 1),
     {PLATFORM_UNSAFE, "this kernel or QEMU does not carry nested state over at all", "QEMU commit b16c0e20c7"}},
    {NULL,
     HOST_VENDOR_AMD,
     0,
     0,
     {PLATFORM_UNSAFE, "on AMD to move a guest with a running L2 is undefined, up to a crash of the host's kernel",
      KERNEL_DOCUMENT}},
    {NULL,
     HOST_VENDOR_INTEL,
     RELEASE(5, 3),
     RELEASE(4, 2),
     {PLATFORM_UNSAFE, "on Intel it takes Linux 5.3 and QEMU 4.2", KERNEL_DOCUMENT}},
    {NULL,
     HOST_VENDOR_INTEL,
     RELEASE(5, 14),
     0,
     {PLATFORM_UNKNOWN, "before Linux 5.14 it breaks with the enlightened VMCS, which a Windows guest may use",
      "V. Kuznetsov on the kvm list, May 2021"}},
    {NULL, HOST_VENDOR_INTEL, 0, 0, {PLATFORM_SAFE, "on Intel it is documented to work", KERNEL_DOCUMENT}},
    {"s390x", HOST_VENDOR_OTHER, 0, 0, {PLATFORM_SAFE, "on s390x it is documented to work", KERNEL_DOCUMENT}},
    {"aarch64",
     HOST_VENDOR_OTHER,
     0,
     0,
     {PLATFORM_UNSAFE, "QEMU refuses to migrate guests with nesting on ARM", "QEMU hw/intc/arm_gicv3_kvm.c"}},
};

const char *platform_verdict_to_string(PlatformVerdict verdict)
{
    static const char *const names[] = {
        [PLATFORM_UNKNOWN] = "unknown",
        [PLATFORM_SAFE] = "safe",
        [PLATFORM_UNSAFE] = "unsafe",
    };

    return names[verdict];
}

static bool is_below(unsigned long version, unsigned long limit)
{
    return limit > 0 && version < limit;
}

static bool row_fits(const Row *row, HostVendor vendor, const char *arch, unsigned long linux_version,
                     unsigned long qemu_version)
{
    bool is_x86 = strcmp(arch, "x86_64") == 0 || g_pattern_match_simple("i?86", arch);

    if (row->arch == NULL ? !is_x86 || row->vendor != vendor : strcmp(row->arch, arch) != 0)
        return false;
    if (row->linux_below == 0 && row->qemu_below == 0)
        return true;
    return is_below(linux_version, row->linux_below) || is_below(qemu_version, row->qemu_below);
}

static Platform find_row(HostVendor vendor, const char *arch, unsigned long linux_version, unsigned long qemu_version)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        if (row_fits(&rows[i], vendor, arch, linux_version, qemu_version))
            return rows[i].platform;
    return (Platform){PLATFORM_UNKNOWN, "nothing is known of this kind of host", ""};
}

/**
 * @arch: as uname(2) has it
 * @linux_version, @qemu_version: as libvirt counts them; 0: not known. It may be old or new: where that decides, the answer is
 * PLATFORM_UNKNOWN.
 */
Platform platform_judge(HostVendor vendor, const char *arch, unsigned long linux_version, unsigned long qemu_version)
{
    Platform if_old = find_row(vendor, arch, linux_version, qemu_version);
    Platform if_new = find_row(vendor, arch, linux_version > 0 ? linux_version : ULONG_MAX,
                               qemu_version > 0 ? qemu_version : ULONG_MAX);
    const char *reason =
        "whether a running L2 can be moved depends on the versions of Linux and QEMU, which are not known";

    if (if_old.verdict == if_new.verdict)
        return if_new;
    if (linux_version > 0)
        reason = "whether a running L2 can be moved depends on the version of QEMU, which is not known";
    else if (qemu_version > 0)
        reason = "whether a running L2 can be moved depends on the version of Linux, which is not known";
    return (Platform){PLATFORM_UNKNOWN, reason, if_new.source};
}
