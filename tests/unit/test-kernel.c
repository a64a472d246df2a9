/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/kernel.h"

#include <glib.h>

static void test_holds_vm_for_stats(void)
{
    static const struct {
        const char *release, *version;
        bool holds;
    } cases[] = {
        {"6.18.44", "#1 SMP", true},
        {"7.0.0-rc1", "#1 SMP", true},
        {"6.5.0-35-generic", "#35~22.04.1-Ubuntu SMP PREEMPT_DYNAMIC", true},
        {"6.5", "", true},
        {"6.4.8", "", true},
        {"6.4.7", "", false},
        {"6.3.13", "", false},
        {"6.1.43", "", true},
        {"6.1.42", "", false},
        {"5.15.124-custom", "", true},
        {"5.15.123", "", false},
        {"5.14.0-503.el9.x86_64", "#1 SMP PREEMPT_DYNAMIC", false},
        {"6.2.0-39-generic", "#40-Ubuntu SMP PREEMPT_DYNAMIC", false},
        {"6.1.0-37-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1 (2025-05-22)", true},
        {"6.1.0-10-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.38-2 (2023-07-27)", false},
        {"6.1.0-10-amd64", "#1 SMP PREEMPT_DYNAMIC Debian", false},
        {"4.18.0", "", false},
        {"", "", false},
        {"six", "", false},
        {"6", "", false},
        {"99999999999999999999.1", "", true},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s %s", cases[i].release, cases[i].version);
        g_assert_cmpint(kernel_holds_vm_for_stats(cases[i].release, cases[i].version), ==, cases[i].holds);
    }
}

static void test_version_number(void)
{
    g_assert_cmpuint(kernel_version_number("6.18.44-fc-v657"), ==, 6018044);
    g_assert_cmpuint(kernel_version_number("5.4"), ==, 5004000);
    g_assert_cmpuint(kernel_version_number("linux"), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kernel/holds-vm-for-stats", test_holds_vm_for_stats);
    g_test_add_func("/kernel/version-number", test_version_number);
    return g_test_run();
}
