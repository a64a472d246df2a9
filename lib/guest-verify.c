/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Judges a running guest: whether it really can have guests of its own, by what QEMU gave it and by what it says itself. */

#include "lib/guest-judge.h"
#include <string.h>

/* To be run inside. Of Windows: it is False as well once a hypervisor of its own is on, which proves no less. Other
 * architectures than x86 have no feature by these names. */
#define LINUX_LINE "grep -m1 -Ewo 'vmx|svm' /proc/cpuinfo; " LINUX_LINE_ELSEWHERE
#define LINUX_LINE_ELSEWHERE "ls -l /dev/kvm"
#define WINDOWS_LINE                                                                    \
    "powershell -c \"(Get-CimInstance Win32_Processor).VirtualizationFirmwareEnabled; " \
    "(Get-CimInstance -Namespace root/Microsoft/Windows/DeviceGuard Win32_DeviceGuard).VirtualizationBasedSecurityStatus\""

static bool guest_has_it(const GuestJudge *judge, const GuestInside *inside)
{
    const GuestCpuinfo *cpuinfo = inside->cpuinfo;

    if (cpuinfo == NULL)
        return false;
    if (judge->feature == NULL)
        return cpuinfo->vmx || cpuinfo->svm;
    return strcmp(judge->feature, "vmx") == 0 ? cpuinfo->vmx : cpuinfo->svm;
}

static void check_running(GuestJudge *judge)
{
    static const char why[] = "Only a guest that runs shows what it has.";
    bool running = judge->live != NULL;

    checks_add(judge->checks, "running", running ? CHECK_PASS : CHECK_FAIL, why,
               running ? NULL : guest_judge_virsh(judge, "start"), g_strdup(running ? "yes" : "it is off"));
}

static void check_exposed(GuestJudge *judge, const GuestInside *inside)
{
    static const char why[] = "This is what QEMU gave it at its start, whatever its definition asks for.";
    g_autofree char *problem = host_facts_problem(judge->input->domain.host);
    const char *feature = judge->feature != NULL ? judge->feature : "vmx or svm";
    CpuExposure exposure = cpu_live_exposure(judge->live, judge->feature, judge->is_emulated || problem == NULL);

    if (exposure == CPU_EXPOSURE_YES)
        checks_add(judge->checks, "exposed", CHECK_PASS, why, NULL,
                   g_strdup_printf("the running guest's <cpu> has %s", feature));
    else if (exposure == CPU_EXPOSURE_UNKNOWN && guest_has_it(judge, inside))
        checks_add(judge->checks, "exposed", CHECK_PASS, why, NULL,
                   g_strdup_printf("libvirt does not tell, and the guest itself has %s", feature));
    else if (exposure == CPU_EXPOSURE_UNKNOWN)
        checks_add(judge->checks, "exposed", CHECK_WARN, why,
                   g_strdup_printf("run inside: %s", judge->is_windows ? WINDOWS_LINE : LINUX_LINE),
                   g_strdup_printf("libvirt does not tell whether it has %s", feature));
    else
        checks_add(judge->checks, "exposed", CHECK_FAIL, why, guest_judge_virtnestctl(judge, "lint"),
                   g_strdup_printf("the running guest's <cpu> has no %s", feature));
}

static void check_pending(GuestJudge *judge)
{
    guest_judge_live(judge, "pending", "its next start brings the same CPU", "its next start brings another CPU");
}

/* Inside --------------------------------------------------------------------------------------------------------- */

static void check_agent(GuestJudge *judge, const GuestInside *inside)
{
    static const char why[] = "QEMU's guest agent can read files of the guest; nothing is run in it.";
    bool windows = inside->is_windows || (inside->agent_error != NULL && judge->is_windows);
    const char *line = windows ? WINDOWS_LINE : judge->is_x86 ? LINUX_LINE : LINUX_LINE_ELSEWHERE;

    if (inside->agent_error == NULL && !inside->is_windows)
        checks_add(judge->checks, "agent", CHECK_PASS, why, NULL, g_strdup("it answers"));
    else
        checks_add(judge->checks, "agent", CHECK_WARN, why, g_strdup_printf("run inside: %s", line),
                   g_strdup(inside->agent_error != NULL ? inside->agent_error
                                                        : "it answers, and Windows has no file that tells"));
}

static void check_cpuinfo(GuestJudge *judge, const GuestInside *inside)
{
    static const char why[] =
        "The guest's own kernel has the last word: it can have been told to leave a feature out, and firmware can lock it.";
    const char *feature = judge->feature != NULL ? judge->feature : "vmx or svm";

    if (inside->cpuinfo == NULL)
        checks_add(judge->checks, "cpuinfo", CHECK_WARN, why, g_strdup("run inside: " LINUX_LINE),
                   g_strdup_printf("/proc/cpuinfo was not read: %s", inside->cpuinfo_error));
    else if (guest_has_it(judge, inside))
        checks_add(judge->checks, "cpuinfo", CHECK_PASS, why, NULL, g_strdup_printf("/proc/cpuinfo has %s", feature));
    else
        checks_add(judge->checks, "cpuinfo", CHECK_FAIL, why, guest_judge_restart(judge),
                   g_strdup_printf("/proc/cpuinfo has no %s", feature));
}

static void check_device(GuestJudge *judge, const GuestInside *inside)
{
    static const char why[] = "KVM in the guest needs its module, which loads by itself where the CPU has the feature.";
    /* The module is that of the feature which the guest has or, if it lacks both, was to have. */
    const char *feature = inside->cpuinfo != NULL && inside->cpuinfo->vmx   ? "vmx"
                          : inside->cpuinfo != NULL && inside->cpuinfo->svm ? "svm"
                                                                            : judge->feature;
    const char *module = g_strcmp0(feature, "vmx") == 0 ? "kvm_intel" : "kvm_amd";

    if (inside->device_error == NULL)
        checks_add(judge->checks, "kvm", CHECK_PASS, why, NULL, g_strdup("/dev/kvm opens"));
    else
        checks_add(judge->checks, "kvm", CHECK_WARN, why,
                   feature != NULL ? g_strdup_printf("run inside: modprobe %s", module)
                                   : g_strdup("run inside: dmesg | grep -i kvm"),
                   g_strdup_printf("/dev/kvm does not open: %s", inside->device_error));
}

/**
 * Judges a running guest.
 * Returns: as guest_checks_lint().
 */
GPtrArray *guest_checks_verify(const GuestInput *input, const GuestInside *inside, GError **error)
{
    g_auto(GuestJudge) judge = {0};

    if (!guest_judge_init(&judge, input, error))
        return NULL;
    check_running(&judge);
    if (judge.live == NULL)
        return g_ptr_array_ref(judge.checks);
    if (judge.is_x86) {
        check_exposed(&judge, inside);
        check_pending(&judge);
    }
    check_agent(&judge, inside);
    if (inside->agent_error == NULL && !inside->is_windows) {
        if (judge.is_x86)
            check_cpuinfo(&judge, inside);
        check_device(&judge, inside);
    }
    return g_ptr_array_ref(judge.checks);
}
