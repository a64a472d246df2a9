/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An idle libvirt client, as a measure of what the connection alone takes; or, with "domains", a test driver's node. */

#include "tests/bench/bench.h"
#include <libvirt-glib/libvirt-glib.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print_domains(unsigned n)
{
    puts("<node>");
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *xml = bench_domain_xml("test", i, TRUE);
        puts(xml);
    }
    puts("</node>");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);

    if (argc == 3 && strcmp(argv[1], "domains") == 0)
        return print_domains((unsigned)strtoul(argv[2], NULL, 10));
    g_assert(argc == 2);
    gvir_event_register();
    if (virConnectOpen(argv[1]) == NULL)
        return EXIT_FAILURE;
    puts("ready");
    (void)fflush(stdout);
    g_main_loop_run(loop);
    return EXIT_SUCCESS;
}
