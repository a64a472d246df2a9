/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/platform.h"

#include <glib.h>

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
        /* Nobody knows how old it is. */
        {"x86_64", 6012000, 0, HOST_VENDOR_INTEL, PLATFORM_UNSAFE},
        {"x86_64", 0, 10000000, HOST_VENDOR_INTEL, PLATFORM_UNSAFE},
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

static void test_any(void)
{
    Platform platform;

    g_assert_true(platform_judge_any(HOST_VENDOR_INTEL, "x86_64", 6001000, 7002000, &platform));
    g_assert_cmpint(platform.verdict, ==, PLATFORM_SAFE);
    g_assert_false(platform_judge_any(HOST_VENDOR_INTEL, "x86_64", 6001000, 0, &platform));
    g_assert_cmpint(platform.verdict, ==, PLATFORM_SAFE);
    g_assert_true(platform_judge_any(HOST_VENDOR_INTEL, "x86_64", 5002000, 0, &platform));
    g_assert_cmpint(platform.verdict, ==, PLATFORM_UNSAFE);
    g_assert_true(platform_judge_any(HOST_VENDOR_AMD, "x86_64", 0, 0, &platform));
    g_assert_cmpint(platform.verdict, ==, PLATFORM_UNSAFE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/platform/judge", test_judge);
    g_test_add_func("/platform/any", test_any);
    return g_test_run();
}
