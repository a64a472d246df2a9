/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The answer of QEMU's monitor to `info registers -a` (x86_cpu_dump_state in target/i386/cpu-dump.c). */

#include "lib/registers.h"

#include "lib/error.h"
#include <string.h>

/* Intel SDM volume 3, CR4.VMXE; AMD APM volume 2, EFER.SVME. Either must be set for a vCPU to enter an L2. */
#define CR4_VMXE (G_GUINT64_CONSTANT(1) << 13)
#define EFER_SVME (G_GUINT64_CONSTANT(1) << 12)

/* Reads the register that a word begins with. Returns: whether it does. */
static bool read_register(const char *word, const char *name, guint64 *ret_value)
{
    gsize length = strlen(name);

    return strncmp(word, name, length) == 0 && word[length] == '=' &&
           g_ascii_string_to_unsigned(word + length + 1, 16, 0, G_MAXUINT64, ret_value, NULL);
}

/**
 * Tells whether a hypervisor is switched on in any vCPU.
 * Returns: false with VIRTNEST_ERROR_KVM if the answer does not have both registers of each vCPU.
 */
bool registers_parse(const char *text, bool *ret_hypervisor_on, GError **error)
{
    g_auto(GStrv) words = g_strsplit_set(text, " \r\n", 0);
    unsigned n_vcpus = 0, n_cr4 = 0, n_efer = 0;
    bool on = false;

    for (gsize i = 0; words[i] != NULL; i++) {
        guint64 value = 0;
        if (g_str_has_prefix(words[i], "CPU#")) {
            n_vcpus++;
        } else if (read_register(words[i], "CR4", &value)) {
            n_cr4++;
            on |= (value & CR4_VMXE) != 0;
        } else if (read_register(words[i], "EFER", &value)) {
            n_efer++;
            on |= (value & EFER_SVME) != 0;
        }
    }
    if (n_vcpus == 0 || n_cr4 != n_vcpus || n_efer != n_vcpus) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM,
                    "the monitor's answer has CR4 of %u, and EFER of %u, out of %u vCPUs", n_cr4, n_efer, n_vcpus);
        return false;
    }
    *ret_hypervisor_on = on;
    return true;
}
