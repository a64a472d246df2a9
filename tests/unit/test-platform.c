/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/platform.h"

#include <glib.h>
#include <string.h>

static void test_judge(void)
{
    static const struct {
        const char *arch;
        unsigned long linux_version, qemu_version;
        HostVendor vendor;
        PlatformVerdict verdict;
    } cases[] = {
        {"x86_64", 6012000, 10000000, HOST_VENDOR_AMD, PLATFORM_UNSAFE},
        {"x86_64", 4018000, 4000000, HOST_VENDOR_AMD, PLATFORM_UNSAFE},
        {"x86_64", 6012000, 10000000, HOST_VENDOR_INTEL, PLATFORM_SAFE},
        {"i686", 6012000, 10000000, HOST_VENDOR_INTEL, PLATFORM_SAFE},
        {"x86_64", 5014000, 4002000, HOST_VENDOR_INTEL, PLATFORM_SAFE},
        {"x86_64", 5013019, 10000000, HOST_VENDOR_INTEL, PLATFORM_UNKNOWN},
        {"x86_64", 5002021, 10000000, HOST_VENDOR_INTEL, PLATFORM_UNSAFE},
        {"x86_64", 6012000, 4001000, HOST_VENDOR_INTEL, PLATFORM_UNSAFE},
        {"x86_64", 6012000, 10000000, HOST_VENDOR_OTHER, PLATFORM_UNKNOWN},
        {"s390x", 6012000, 10000000, HOST_VENDOR_OTHER, PLATFORM_SAFE},
        {"aarch64", 6012000, 10000000, HOST_VENDOR_OTHER, PLATFORM_UNSAFE},
        {"ppc64le", 6012000, 10000000, HOST_VENDOR_OTHER, PLATFORM_UNKNOWN},
        {"ppc64le", 6012000, 10000000, HOST_VENDOR_INTEL, PLATFORM_UNKNOWN},
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

/* What daemon and virtnestctl say of a host where not both versions are known. */
static void test_unknown_version(void)
{
    static const struct {
        unsigned long linux_version, qemu_version;
        HostVendor vendor;
        PlatformVerdict verdict;
        const char *reason;
    } cases[] = {
        /* The version decides. */
        {6001000, 0, HOST_VENDOR_INTEL, PLATFORM_UNKNOWN, "version of QEMU, which is not known"},
        {0, 7002000, HOST_VENDOR_INTEL, PLATFORM_UNKNOWN, "version of Linux, which is not known"},
        {0, 0, HOST_VENDOR_INTEL, PLATFORM_UNKNOWN, "versions of Linux and QEMU, which are not known"},
        {5010000, 0, HOST_VENDOR_INTEL, PLATFORM_UNKNOWN, "version of QEMU, which is not known"},
        /* It does not, and is not said to be old. */
        {5002000, 0, HOST_VENDOR_INTEL, PLATFORM_UNSAFE, "it takes Linux 5.3"},
        {0, 4001000, HOST_VENDOR_INTEL, PLATFORM_UNSAFE, "it takes Linux 5.3"},
        {6001000, 0, HOST_VENDOR_AMD, PLATFORM_UNSAFE, "undefined"},
        {0, 7002000, HOST_VENDOR_AMD, PLATFORM_UNSAFE, "undefined"},
        {0, 0, HOST_VENDOR_AMD, PLATFORM_UNSAFE, "undefined"},
        {5007000, 0, HOST_VENDOR_AMD, PLATFORM_UNSAFE, "does not carry nested state"},
        {0, 0, HOST_VENDOR_OTHER, PLATFORM_UNKNOWN, "nothing is known"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Platform platform = platform_judge(cases[i].vendor, "x86_64", cases[i].linux_version, cases[i].qemu_version);
        g_test_message("%lu %lu: %s", cases[i].linux_version, cases[i].qemu_version, platform.reason);
        g_assert_cmpstr(platform_verdict_to_string(platform.verdict), ==, platform_verdict_to_string(cases[i].verdict));
        g_assert_nonnull(strstr(platform.reason, cases[i].reason));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/platform/judge", test_judge);
    g_test_add_func("/platform/unknown-version", test_unknown_version);
    return g_test_run();
}
