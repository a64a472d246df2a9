/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/capabilities.c: what libvirt says of the hypervisor, as recorded, and what it does not say. */

#include "lib/capabilities.h"

#include "tests/unit/util.h"

#define CAPABILITIES(content) "<domainCapabilities><features>" content "</features></domainCapabilities>"

static void test_recorded(void)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "data", "baseline", "intel.xml", NULL), *text = NULL;
    Capabilities capabilities;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_auto(GStrv) hyperv = capabilities_hyperv(text);
    g_assert_cmpstrv(hyperv, ((const char *const[]){"spinlocks", "vendor_id", NULL}));
    g_autofree char *model = capabilities_host_model(text);
    g_assert_nonnull(model);
    g_assert_true(capabilities_parse(text, &capabilities, NULL));
    g_assert_true(capabilities.host_model);
}

/* Unknown is something else than none. */
static void test_hyperv(void)
{
    g_auto(GStrv) none = capabilities_hyperv(CAPABILITIES("<hyperv supported='no'/>"));
    g_auto(GStrv) empty = capabilities_hyperv(CAPABILITIES("<hyperv supported='yes'><enum name='features'/></hyperv>"));

    g_assert_cmpuint(g_strv_length(none), ==, 0);
    g_assert_cmpuint(g_strv_length(empty), ==, 0);
    g_assert_null(capabilities_hyperv(CAPABILITIES("<gic supported='no'/>")));
    g_assert_null(capabilities_hyperv(CAPABILITIES("<hyperv supported='yes'/>")));
    g_assert_null(capabilities_hyperv(
        CAPABILITIES("<hyperv supported='yes'><enum name='modes'><value>a</value></enum></hyperv>")));
    g_assert_null(capabilities_hyperv("<domainCapabilities/>"));
    g_assert_null(capabilities_hyperv("<domainCapabilities"));
    g_assert_null(capabilities_host_model("<domainCapabilities"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/capabilities/recorded", test_recorded);
    g_test_add_func("/capabilities/hyperv", test_hyperv);
    return g_test_run();
}
