/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/platform.h"

#include <glib.h>

static void test_judge(void)
{
    static const struct {
        HostVendor vendor;
        const char *arch;
        unsigned long linux_version, qemu_version;
        PlatformVerdict verdict;
    } cases[] = {
        {HOST_VENDOR_AMD, "x86_64", 6012000, 10000000, PLATFORM_UNSAFE},
        {HOST_VENDOR_AMD, "x86_64", 4018000, 4000000, PLATFORM_UNSAFE},
        {HOST_VENDOR_INTEL, "x86_64", 6012000, 10000000, PLATFORM_SAFE},
        {HOST_VENDOR_INTEL, "i686", 6012000, 10000000, PLATFORM_SAFE},
        {HOST_VENDOR_INTEL, "x86_64", 5014000, 4002000, PLATFORM_SAFE},
        {HOST_VENDOR_INTEL, "x86_64", 5013019, 10000000, PLATFORM_UNKNOWN},
        {HOST_VENDOR_INTEL, "x86_64", 5002021, 10000000, PLATFORM_UNSAFE},
        {HOST_VENDOR_INTEL, "x86_64", 6012000, 4001000, PLATFORM_UNSAFE},
        /* Nobody knows how old it is. */
        {HOST_VENDOR_INTEL, "x86_64", 6012000, 0, PLATFORM_UNSAFE},
        {HOST_VENDOR_INTEL, "x86_64", 0, 10000000, PLATFORM_UNSAFE},
        {HOST_VENDOR_OTHER, "x86_64", 6012000, 10000000, PLATFORM_UNKNOWN},
        {HOST_VENDOR_OTHER, "s390x", 6012000, 10000000, PLATFORM_SAFE},
        {HOST_VENDOR_OTHER, "aarch64", 6012000, 10000000, PLATFORM_UNSAFE},
        {HOST_VENDOR_OTHER, "ppc64le", 6012000, 10000000, PLATFORM_UNKNOWN},
        {HOST_VENDOR_INTEL, "ppc64le", 6012000, 10000000, PLATFORM_UNKNOWN},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Platform platform =
            platform_judge(cases[i].vendor, cases[i].arch, cases[i].linux_version, cases[i].qemu_version);
        g_test_message("%s %lu %lu", cases[i].arch, cases[i].linux_version, cases[i].qemu_version);
        g_assert_cmpstr(platform_verdict_to_string(platform.verdict), ==, platform_verdict_to_string(cases[i].verdict));
        g_assert_cmpstr(platform.reason, !=, "");
        if (platform.verdict != PLATFORM_UNKNOWN)
            g_assert_cmpstr(platform.source, !=, "");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/platform/judge", test_judge);
    return g_test_run();
}
