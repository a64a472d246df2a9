/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/bench.h"

#include "lib/tag.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int compare_doubles(const void *a, const void *b)
{
    const double *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

/** Returns: the middle one; sorts @values. */
double bench_median(double *values, gsize n)
{
    qsort(values, n, sizeof(*values), compare_doubles);
    return values[n / 2];
}

/** Returns: the smallest one: what is left of a wall-clock time when others on the machine disturb it least. */
double bench_best(const double *values, gsize n)
{
    double best = values[0];

    for (gsize i = 1; i < n; i++)
        best = MIN(best, values[i]);
    return best;
}

/** Returns: the processor time of all threads of this process. */
double bench_cpu_seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void bench_print_ratio(const char *name, double ours, double bare, const char *unit, double limit)
{
    double ratio = ours / bare;

    printf("%-58s %9.3f %s against %9.3f %s: %.2fx", name, ours, unit, bare, unit, ratio);
    if (limit > 0)
        printf(" (limit %.2fx)%s", limit, ratio <= limit ? "" : "  OVER THE LIMIT");
    printf("\n");
}

/**
 * Makes a definition as libvirt prints one for a server guest of some years: about 100 lines.
 * @type: of the domain: kvm, qemu, test
 * Returns: to be freed with g_free().
 */
char *bench_domain_xml(const char *type, unsigned number, gboolean tagged)
{
    GString *out = g_string_new(NULL);
    gboolean test = strcmp(type, "test") == 0;

    g_string_append_printf(out,
                           "<domain type='%s'%s>\n  <name>guest%u</name>\n"
                           "  <uuid>6d1f52ab-0000-4000-8000-%012x</uuid>\n  <title>Server %u</title>\n",
                           type, test ? " xmlns:test='http://libvirt.org/schemas/domain/test/1.0'" : "", number,
                           number + 1, number);
    /* The test driver runs what it reads, unless it is told the state: this is VIR_DOMAIN_SHUTOFF. */
    if (test)
        g_string_append(out, "  <test:runstate>5</test:runstate>\n");
    g_string_append(out, "  <metadata>\n"
                         "    <libosinfo:libosinfo xmlns:libosinfo=\"http://libosinfo.org/xmlns/libvirt/domain/1.0\">\n"
                         "      <libosinfo:os id=\"http://debian.org/debian/12\"/>\n    </libosinfo:libosinfo>\n");
    if (tagged)
        g_string_append_printf(out, "    <nest:nesting xmlns:nest=\"%s\" policy=\"default\"/>\n",
                               VIRTNEST_TAG_NAMESPACE);
    g_string_append(out, "  </metadata>\n  <memory unit='KiB'>8388608</memory>\n"
                         "  <currentMemory unit='KiB'>8388608</currentMemory>\n  <vcpu placement='static'>8</vcpu>\n"
                         "  <os>\n    <type arch='x86_64'>hvm</type>\n    <boot dev='hd'/>\n  </os>\n"
                         "  <features>\n    <acpi/>\n    <apic/>\n    <pae/>\n  </features>\n"
                         "  <cpu mode='custom' match='exact' check='partial'>\n"
                         "    <model fallback='allow'>EPYC</model>\n"
                         "    <topology sockets='1' dies='1' cores='4' threads='2'/>\n"
                         "    <feature policy='disable' name='monitor'/>\n"
                         "    <feature policy='require' name='x2apic'/>\n  </cpu>\n"
                         "  <clock offset='utc'>\n    <timer name='rtc' tickpolicy='catchup'/>\n"
                         "    <timer name='hpet' present='no'/>\n  </clock>\n"
                         "  <on_poweroff>destroy</on_poweroff>\n  <on_reboot>restart</on_reboot>\n"
                         "  <on_crash>destroy</on_crash>\n  <devices>\n");
    for (unsigned i = 0; i < 6; i++)
        g_string_append_printf(out,
                               "    <disk type='file' device='disk'>\n      <driver name='qemu' type='qcow2'/>\n"
                               "      <source file='/var/lib/libvirt/images/guest%u-%u.qcow2'/>\n"
                               "      <target dev='vd%c' bus='virtio'/>\n    </disk>\n",
                               number, i, 'a' + i);
    for (unsigned i = 0; i < 4; i++)
        g_string_append_printf(out,
                               "    <interface type='bridge'>\n      <mac address='52:54:00:%02x:%02x:%02x'/>\n"
                               "      <source bridge='br%u'/>\n      <model type='virtio'/>\n    </interface>\n",
                               number >> 8 & 0xff, number & 0xff, i, i);
    g_string_append(out,
                    "    <serial type='pty'>\n      <target port='0'/>\n    </serial>\n"
                    "    <console type='pty'>\n      <target type='serial' port='0'/>\n    </console>\n"
                    "    <graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1' passwd='secret'>\n"
                    "      <listen type='address' address='127.0.0.1'/>\n    </graphics>\n"
                    "    <video>\n      <model type='cirrus' vram='16384' heads='1' primary='yes'/>\n    </video>\n"
                    "    <memballoon model='virtio'/>\n  </devices>\n</domain>\n");
    return g_string_free(out, FALSE);
}
