/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/host.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* Reads only the first processor's block: on a host with hundreds the whole file takes the kernel milliseconds. */
static void read_cpuinfo(const char *root, HostFacts *facts)
{
    g_autofree char *path = g_build_filename(root, "proc/cpuinfo", NULL);
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    g_autofree char *flags = NULL;

    if (file == NULL)
        return;
    while (getline(&line, &size, file) > 0) {
        char *colon = strchr(line, ':');
        if (colon == NULL)
            break;
        *colon = '\0';
        g_strstrip(line);
        const char *value = g_strstrip(colon + 1);
        if (strcmp(line, "vendor_id") == 0)
            facts->vendor = strcmp(value, "GenuineIntel") == 0 ? HOST_VENDOR_INTEL
                            : strcmp(value, "AuthenticAMD") == 0 || strcmp(value, "HygonGenuine") == 0
                                ? HOST_VENDOR_AMD
                                : HOST_VENDOR_OTHER;
        else if (strcmp(line, "flags") == 0) {
            g_free(flags);
            flags = g_strdup(value);
        }
    }
    free(line);
    (void)fclose(file);

    const char *feature = host_facts_feature(facts);
    if (feature != NULL && flags != NULL) {
        g_auto(GStrv) words = g_strsplit(flags, " ", 0);
        facts->has_feature = g_strv_contains((const char *const *)words, feature);
    }
}

static HostNested read_nested(const char *root, const char *module)
{
    g_autofree char *path = g_build_filename(root, "sys/module", module, "parameters/nested", NULL);
    g_autofree char *value = NULL;

    if (!g_file_get_contents(path, &value, NULL, NULL))
        return HOST_NESTED_ABSENT;
    g_strstrip(value);
    /* kvm_intel prints a bool, kvm_amd an int. Anything else is not known to mean yes, and not said to mean no. */
    return strcmp(value, "Y") == 0 || strcmp(value, "1") == 0   ? HOST_NESTED_YES
           : strcmp(value, "N") == 0 || strcmp(value, "0") == 0 ? HOST_NESTED_NO
                                                                : HOST_NESTED_ABSENT;
}

/* The kernel tells since Linux 6.1 in a file, which lets a test say otherwise; before, by uname(2). */
static bool read_is_x86(const char *root)
{
    g_autofree char *path = g_build_filename(root, "proc/sys/kernel/arch", NULL);
    g_autofree char *arch = NULL;
    struct utsname name;

    if (!g_file_get_contents(path, &arch, NULL, NULL))
        arch = g_strdup(uname(&name) == 0 ? name.machine : "");
    g_strstrip(arch);
    return strcmp(arch, "x86_64") == 0 || g_pattern_match_simple("i?86", arch);
}

const char *host_vendor_to_string(HostVendor vendor)
{
    return vendor == HOST_VENDOR_INTEL ? "intel" : vendor == HOST_VENDOR_AMD ? "amd" : "other";
}

/**
 * Reads the facts from /proc and /sys below @root ("/" for this host). What cannot be read counts as not there.
 */
HostFacts host_facts_read(const char *root)
{
    HostFacts facts = {.is_x86 = read_is_x86(root)};

    read_cpuinfo(root, &facts);
    const char *module = host_facts_module(&facts);
    if (module != NULL) {
        g_autofree char *path = g_build_filename(root, "sys/module", module, NULL);
        facts.module_loaded = g_file_test(path, G_FILE_TEST_IS_DIR);
        facts.nested = read_nested(root, module);
    }
    return facts;
}

/** Returns: the CPU feature that carries nesting on this host, "vmx" or "svm", or NULL. Static. */
const char *host_facts_feature(const HostFacts *facts)
{
    return facts->vendor == HOST_VENDOR_INTEL ? "vmx" : facts->vendor == HOST_VENDOR_AMD ? "svm" : NULL;
}

/** Returns: the kernel module that this CPU needs for KVM, or NULL. Static. */
const char *host_facts_module(const HostFacts *facts)
{
    return facts->vendor == HOST_VENDOR_INTEL ? "kvm_intel" : facts->vendor == HOST_VENDOR_AMD ? "kvm_amd" : NULL;
}

/**
 * Tells why a KVM guest that requires vmx or svm would not start on this host, and the way out.
 * Returns: a text to be freed with g_free(), or NULL if it would start.
 */
char *host_facts_problem(const HostFacts *facts)
{
    const char *feature = host_facts_feature(facts), *module = host_facts_module(facts);

    if (!facts->is_x86)
        return g_strdup("this host is no x86 machine: nesting is not a feature of <cpu> on it, and virtnest knows none "
                        "of its ways yet");
    if (feature == NULL)
        return g_strdup("this host's CPU is neither Intel nor AMD: virtnest knows no nesting for it");
    if (!facts->module_loaded)
        return g_strdup_printf("the kernel module %s is not loaded%s; load it: modprobe %s", module,
                               facts->has_feature ? "" : ", and the CPU does not show the flag that it needs", module);
    if (!facts->has_feature)
        return g_strdup_printf("this host's CPU does not show %s: it is switched off in the firmware, or this host is "
                               "itself a guest without nesting",
                               feature);
    if (facts->nested != HOST_NESTED_YES)
        return g_strdup_printf(
            "the kernel module %s has nested %s; `virtnestctl host` tells what to do, and `virtnestctl host "
            "enable --now` does it once all guests are off",
            module, facts->nested == HOST_NESTED_NO ? "switched off" : "no known value");
    return NULL;
}
