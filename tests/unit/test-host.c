/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/host.c: what recorded /proc and /sys say about nesting. */

#include "lib/host.h"

#include "tests/unit/util.h"
#include <sys/stat.h>

/* The first block of /proc/cpuinfo and the start of a second one, as Linux prints them on such machines. */
static const char intel[] =
    "processor\t: 0\n"
    "vendor_id\t: GenuineIntel\n"
    "cpu family\t: 6\n"
    "model\t\t: 85\n"
    "model name\t: Intel(R) Xeon(R) Gold 6230R CPU @ 2.10GHz\n"
    "stepping\t: 7\n"
    "microcode\t: 0x5003604\n"
    "cpu MHz\t\t: 2100.000\n"
    "flags\t\t: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush "
    "dtes64 monitor ds_cpl vmx smx est tm2 ssse3 sdbg fma cx16 hypervisor lahf_lm abm tpr_shadow\n"
    "vmx flags\t: vnmi preemption_timer posted_intr invvpid ept_x_only ept_ad ept_1gb\n"
    "bugs\t\t: spectre_v1 spectre_v2 spec_store_bypass swapgs taa itlb_multihit\n"
    "bogomips\t: 4200.00\n"
    "clflush size\t: 64\n"
    "address sizes\t: 46 bits physical, 48 bits virtual\n"
    "power management:\n"
    "\n"
    "processor\t: 1\n"
    "vendor_id\t: AuthenticAMD\n"
    "flags\t\t: fpu svm\n"
    "\n";
static const char amd[] = "processor\t: 0\n"
                          "vendor_id\t: AuthenticAMD\n"
                          "cpu family\t: 25\n"
                          "model\t\t: 1\n"
                          "model name\t: AMD EPYC 7543 32-Core Processor\n"
                          "flags\t\t: fpu vme de pse tsc msr pae mce cx8 apic extapic cr8_legacy svm abm sse4a\n"
                          "bugs\t\t: sysret_ss_attrs spectre_v1\n"
                          "TLB size\t: 2560 4K pages\n"
                          "power management: ts ttp tm hwpstate eff_freq_ro [13] [14]\n"
                          "\n";
static const char hygon[] = "processor\t: 0\n"
                            "vendor_id\t: HygonGenuine\n"
                            "model name\t: Hygon C86 7285 32-core Processor\n"
                            "flags\t\t: fpu vme de pse svm\n"
                            "\n";
static const char zhaoxin[] = "processor\t: 0\n"
                              "vendor_id\t: CentaurHauls\n"
                              "flags\t\t: fpu vme de vmx svm\n"
                              "\n";
static const char arm[] = "processor\t: 0\n"
                          "BogoMIPS\t: 50.00\n"
                          "Features\t: fp asimd evtstrm aes vmx svm\n"
                          "CPU implementer\t: 0x41\n"
                          "\n";
/* vmx is only a part of other words here. */
static const char intel_without[] = "processor\t: 0\n"
                                    "vendor_id\t: GenuineIntel\n"
                                    "flags\t\t: fpu vmxoff avx512vmx svm xvmx vmx,\n"
                                    "vmx flags\t: vnmi\n"
                                    "\n";

typedef struct HostCase {
    const char *name;
    const char *cpuinfo; /* NULL: no such file */
    const char *module;  /* its folder in /sys/module, or NULL */
    const char *nested;  /* contents of its parameter, or NULL */
    HostFacts facts;
    const char *feature;
    const char *problem; /* a part of the message, or NULL: a guest would start */
} HostCase;

#define FACTS(v, f, m, n)                                                                              \
    {                                                                                                  \
        .vendor = HOST_VENDOR_##v, .has_feature = (f), .module_loaded = (m), .nested = HOST_NESTED_##n \
    }

static const HostCase host_cases[] = {
    {"intel", intel, "kvm_intel", "Y\n", FACTS(INTEL, true, true, YES), "vmx", NULL},
    {"intel-1", intel, "kvm_intel", "1\n", FACTS(INTEL, true, true, YES), "vmx", NULL},
    {"intel-off", intel, "kvm_intel", "N\n", FACTS(INTEL, true, true, NO), "vmx", "nested switched off"},
    {"amd", amd, "kvm_amd", "1\n", FACTS(AMD, true, true, YES), "svm", NULL},
    {"amd-y", amd, "kvm_amd", "Y", FACTS(AMD, true, true, YES), "svm", NULL},
    {"amd-off", amd, "kvm_amd", "0\n", FACTS(AMD, true, true, NO), "svm", "virtnestctl host enable --now"},
    {"hygon", hygon, "kvm_amd", "1\n", FACTS(AMD, true, true, YES), "svm", NULL},
    {"nested-absent", amd, "kvm_amd", NULL, FACTS(AMD, true, true, ABSENT), "svm", "nested no known value"},
    {"nested-garbage", amd, "kvm_amd", "maybe\n", FACTS(AMD, true, true, ABSENT), "svm",
     "kvm_amd has nested no known value"},
    {"nested-empty", amd, "kvm_amd", "", FACTS(AMD, true, true, ABSENT), "svm", "kvm_amd has nested no known value"},
    {"nested-lower", amd, "kvm_amd", "y\n", FACTS(AMD, true, true, ABSENT), "svm", "kvm_amd has nested no known value"},
    {"nested-10", amd, "kvm_amd", "10\n", FACTS(AMD, true, true, ABSENT), "svm", "kvm_amd has nested no known value"},
    {"nested-minus", amd, "kvm_amd", "-1\n", FACTS(AMD, true, true, ABSENT), "svm",
     "kvm_amd has nested no known value"},
    {"nested-many-lines", amd, "kvm_amd", "1\nN\n", FACTS(AMD, true, true, ABSENT), "svm",
     "kvm_amd has nested no known value"},
    {"module-missing", intel, NULL, NULL, FACTS(INTEL, true, false, ABSENT), "vmx", "modprobe kvm_intel"},
    {"module-of-the-other", intel, "kvm_amd", "1\n", FACTS(INTEL, true, false, ABSENT), "vmx",
     "kvm_intel is not loaded; load it"},
    {"flag-missing", intel_without, "kvm_intel", "Y\n", FACTS(INTEL, false, true, YES), "vmx", "does not show vmx"},
    {"flag-and-module-missing", intel_without, NULL, NULL, FACTS(INTEL, false, false, ABSENT), "vmx",
     "the CPU does not show the flag"},
    {"zhaoxin", zhaoxin, "kvm_intel", "Y\n", FACTS(OTHER, false, false, ABSENT), NULL, "neither Intel nor AMD"},
    {"arm", arm, "kvm", "Y\n", FACTS(OTHER, false, false, ABSENT), NULL, "neither Intel nor AMD"},
    {"no-cpuinfo", NULL, "kvm_amd", "1\n", FACTS(OTHER, false, false, ABSENT), NULL, "neither Intel nor AMD"},
    {"empty-cpuinfo", "", "kvm_amd", "1\n", FACTS(OTHER, false, false, ABSENT), NULL, "neither Intel nor AMD"},
    {"cpuinfo-garbage", "\xff\xfe\x01:\n:\n::\nvendor_id\nflags: svm\n", "kvm_amd", "1\n",
     FACTS(OTHER, false, false, ABSENT), NULL, "neither Intel nor AMD"},
    {"cpuinfo-no-line-end", "vendor_id: AuthenticAMD\nflags: a svm", "kvm_amd", "1", FACTS(AMD, true, true, YES), "svm",
     NULL},
    {"flags-before-vendor", "flags: svm b\nvendor_id: AuthenticAMD\n", "kvm_amd", "1", FACTS(AMD, true, true, YES),
     "svm", NULL},
    {"flags-empty", "vendor_id: AuthenticAMD\nflags\t\t:\n", "kvm_amd", "1", FACTS(AMD, false, true, YES), "svm",
     "does not show svm"},
};

static void test_host(gconstpointer data)
{
    const HostCase *c = data;
    g_autoptr(UtilRoot) root = util_root_new();

    if (c->cpuinfo != NULL)
        util_root_write(root, "proc/cpuinfo", c->cpuinfo);
    if (c->module != NULL) {
        g_autofree char *folder = g_build_filename("sys/module", c->module, NULL);
        g_autofree char *parameter = g_build_filename(folder, "parameters/nested", NULL);
        util_root_folder(root, folder);
        if (c->nested != NULL)
            util_root_write(root, parameter, c->nested);
    }

    HostFacts facts = host_facts_read(root->path);
    g_assert_cmpint(facts.vendor, ==, c->facts.vendor);
    g_assert_cmpint(facts.has_feature, ==, c->facts.has_feature);
    g_assert_cmpint(facts.module_loaded, ==, c->facts.module_loaded);
    g_assert_cmpint(facts.nested, ==, c->facts.nested);
    g_assert_cmpstr(host_facts_feature(&facts), ==, c->feature);
    g_assert_cmpstr(host_facts_module(&facts), ==,
                    facts.vendor == HOST_VENDOR_INTEL ? "kvm_intel"
                    : facts.vendor == HOST_VENDOR_AMD ? "kvm_amd"
                                                      : NULL);
    g_autofree char *problem = host_facts_problem(&facts);
    if (c->problem != NULL)
        util_assert_contains(problem, c->problem);
    else
        g_assert_null(problem);
}

static void test_empty_root(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *missing = util_root_path(root, "no/such/folder");
    HostFacts facts = host_facts_read(missing);

    g_assert_cmpint(facts.vendor, ==, HOST_VENDOR_OTHER);
    g_assert_cmpint(facts.nested, ==, HOST_NESTED_ABSENT);
}

static void test_folders_for_files(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_folder(root, "proc/cpuinfo");
    HostFacts facts = host_facts_read(root->path);
    g_assert_cmpint(facts.vendor, ==, HOST_VENDOR_OTHER);

    g_autoptr(UtilRoot) other = util_root_new();
    util_root_write(other, "proc/cpuinfo", amd);
    util_root_folder(other, "sys/module/kvm_amd/parameters/nested");
    facts = host_facts_read(other->path);
    g_assert_true(facts.module_loaded);
    g_assert_cmpint(facts.nested, ==, HOST_NESTED_ABSENT);
}

/* What may not be read counts as not there. */
static void test_unreadable(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *nested = util_root_path(root, "sys/module/kvm_amd/parameters/nested");
    g_autofree char *cpuinfo = util_root_path(root, "proc/cpuinfo");

    util_root_write(root, "proc/cpuinfo", amd);
    util_root_write(root, "sys/module/kvm_amd/parameters/nested", "1\n");
    g_assert_cmpint(chmod(nested, 0), ==, 0);
    if (!util_set_override(false)) {
        g_test_skip("cannot give up root's capabilities");
        return;
    }
    HostFacts facts = host_facts_read(root->path);
    g_assert_cmpint(chmod(cpuinfo, 0), ==, 0);
    HostFacts blind = host_facts_read(root->path);
    util_set_override(true);

    g_assert_true(facts.module_loaded);
    g_assert_cmpint(facts.nested, ==, HOST_NESTED_ABSENT);
    g_assert_cmpint(blind.vendor, ==, HOST_VENDOR_OTHER);
}

static void test_arch(void)
{
    static const struct {
        const char *arch;
        bool is_x86;
    } cases[] = {{"x86_64\n", true}, {"i686\n", true},     {"aarch64\n", false},
                 {"s390x\n", false}, {"ppc64le\n", false}, {"", false}};

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(UtilRoot) root = util_root_new();
        util_root_write(root, "/proc/sys/kernel/arch", cases[i].arch);
        HostFacts facts = host_facts_read(root->path);
        g_autofree char *problem = host_facts_problem(&facts);
        g_assert_cmpint(facts.is_x86, ==, cases[i].is_x86);
        util_assert_contains(problem, cases[i].is_x86 ? "neither Intel nor AMD" : "no x86 machine");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(host_cases); i++) {
        g_autofree char *path = g_strconcat("/host/facts/", host_cases[i].name, NULL);
        g_test_add_data_func(path, &host_cases[i], test_host);
    }
    g_test_add_func("/host/empty-root", test_empty_root);
    g_test_add_func("/host/folders-for-files", test_folders_for_files);
    g_test_add_func("/host/unreadable", test_unreadable);
    g_test_add_func("/host/arch", test_arch);
    return g_test_run();
}
