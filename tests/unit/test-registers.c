/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/registers.h"

#include "tests/unit/util.h"

/* One vCPU as QEMU 7.2 and 10.0 print it, with CRLF as HMP does; what is not asked for is left out. */
#define VCPU(number, cr4, efer)                                                               \
    "\r\nCPU#" number "\r\n"                                                                  \
    "RAX=ffffffff81c0a010 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000000\r\n" \
    "RIP=ffffffff81c0a01b RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n"            \
    "GS =0000 ffff88800fc00000 ffffffff 00c00000\r\n"                                         \
    "CR0=80050033 CR2=00007f3a3c6d4000 CR3=0000000004a10000 CR4=" cr4 "\r\n"                  \
    "DR6=00000000ffff0ff0 DR7=0000000000000400\r\nEFER=" efer "\r\nFCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80\r\n"

static void test_answers(void)
{
    static const struct {
        const char *text;
        bool on;
    } cases[] = {
        {VCPU("0", "000006f0", "0000000000000d01"), false},
        {VCPU("0", "000006f0", "0000000000001d01"), true},
        {VCPU("0", "003726f0", "0000000000000d01"), true},
        {VCPU("0", "000006f0", "0000000000000d01") VCPU("1", "000006f0", "0000000000000d01"), false},
        {VCPU("0", "000006f0", "0000000000000d01") VCPU("1", "000006f0", "0000000000001d01"), true},
        {VCPU("0", "000026f0", "0000000000000d01") VCPU("1", "000006f0", "0000000000000d01"), true},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        bool on = !cases[i].on;
        g_assert_true(registers_parse(cases[i].text, &on, &error));
        g_assert_no_error(error);
        g_assert_cmpint(on, ==, cases[i].on);
    }
}

static void test_no_answer(void)
{
    static const char *const cases[] = {
        "",
        "unknown command: 'info registers'",
        "CPU#0\r\nCR4=000006f0\r\n",
        "CPU#0\r\nEFER=0000000000000d01\r\n",
        VCPU("0", "000006f0", "0000000000000d01") "CPU#1\r\n",
        VCPU("0", "xyz", "0000000000000d01"),
        VCPU("0", "000006f0", "1000000000000000000000d01"),
        "CR4=000006f0 EFER=0000000000000d01",
        "CPU#0\nPSR 0\n",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        bool on = true;
        if (registers_parse(cases[i], &on, &error))
            g_error("taken: %s", cases[i]);
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM);
        g_assert_true(on);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/registers/answers", test_answers);
    g_test_add_func("/registers/no-answer", test_no_answer);
    return g_test_run();
}
