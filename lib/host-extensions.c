/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Checks of what makes L2 guests fast, and of what they may ask for. */

#include "lib/host-judge.h"
#include <string.h>

/* A parameter that shows whether an extension of the CPU is in use. */
typedef struct Extension {
    const char *id, *module, *parameter;
    const char *flag; /* of the CPU, which has the extension */
    bool is_vmx_flag; /* on the line "vmx flags" */
    bool has_option;  /* `host enable` sets it */
    bool slow;        /* without it L2 guests are slow */
    bool vital;       /* and slow beyond use */
    const char *why;
} Extension;

static const Extension extensions[] = {
    {"ept", "kvm_intel", "ept", "ept", false, false, true, true,
     "Without the CPU's second level of page tables L2 guests are slow, and on some kernels do not run at all."},
    {"npt", "kvm_amd", "npt", "npt", false, false, true, true,
     "Without the CPU's second level of page tables L2 guests are slow, and on some kernels do not run at all."},
    {"shadow-vmcs", "kvm_intel", "enable_shadow_vmcs", "shadow_vmcs", true, true, true, false,
     "With VMCS shadowing a guest hypervisor works on its own guests without leaving for this host each time."},
    {"apicv", "kvm_intel", "enable_apicv", "apicv", true, false, true, false,
     "With APICv interrupts reach guests without leaving for this host."},
    {"avic", "kvm_amd", "avic", "avic", false, false, false, false,
     "AVIC delivers interrupts to guests directly; for guests that nest KVM does without it."},
    {"vgif", "kvm_amd", "vgif", "vgif", false, false, true, false,
     "With vGIF a guest hypervisor switches interrupts off and on without leaving for this host."},
    {"vls", "kvm_amd", "vls", "v_vmsave_vmload", false, false, true, false,
     "With it a guest hypervisor saves and loads its guests' state without leaving for this host."},
};

/* Linux's init_amd_zen4(): client CPUs advertise it in some firmware, and the host reboots at random. 6.12 masks it. */
static bool is_broken_vls(const HostSurvey *survey)
{
    return survey->cpu_family == 0x19 && ((survey->cpu_model >= 0x18 && survey->cpu_model <= 0x1f) ||
                                          (survey->cpu_model >= 0x60 && survey->cpu_model <= 0x7f));
}

static void check_extension(Judge *judge, const Extension *extension)
{
    const HostSurvey *survey = judge->survey;
    g_autofree char *value = host_survey_parameter(survey, extension->module, extension->parameter);
    bool told = !extension->is_vmx_flag || survey->vmx_flags != NULL;
    bool has = extension->is_vmx_flag
                   ? host_survey_has_vmx_flag(survey, extension->flag)
                   : host_survey_has_flag(survey, extension->flag) || host_survey_has_vmx_flag(survey, extension->flag);

    if (value == NULL)
        return;
    HostNested on = host_nested_parse(value);
    if (on == HOST_NESTED_YES && strcmp(extension->id, "vls") == 0 && has && is_broken_vls(survey))
        judge_add(judge, extension->id, CHECK_WARN, extension->why,
                  g_strdup_printf("update the kernel or the firmware, or `options kvm_amd vls=0` in /etc/modprobe.d"),
                  g_strdup("on, and on this CPU known to reboot hosts at random"));
    else if (on == HOST_NESTED_YES)
        judge_add(judge, extension->id, CHECK_PASS, extension->why, NULL, g_strdup("on"));
    else if (on == HOST_NESTED_ABSENT)
        judge_add(judge, extension->id, CHECK_WARN, extension->why,
                  g_strdup_printf("see `modinfo -p %s`", extension->module),
                  g_strdup_printf("%s=%s, which is not known", extension->parameter, value));
    else if (told && !has)
        judge_add(judge, extension->id, extension->vital ? CHECK_WARN : CHECK_PASS, extension->why,
                  extension->vital ? g_strdup("nest on a host with a newer CPU, if L2 guests are to be fast") : NULL,
                  g_strdup(survey->hypervisor != NULL ? "off: the hypervisor below does not give it"
                                                      : "off: this CPU has none"));
    else
        judge_add(judge, extension->id, extension->slow ? CHECK_WARN : CHECK_PASS, extension->why,
                  !extension->slow ? NULL
                  : extension->has_option
                      ? g_strdup(HOST_ENABLE " --shadow-vmcs")
                      : g_strdup_printf("remove %s=0 from /etc/modprobe.d and the kernel's command line",
                                        extension->parameter),
                  g_strdup_printf("off%s", told ? ", and this CPU has it" : ""));
}

static void check_extensions(Judge *judge)
{
    for (gsize i = 0; i < G_N_ELEMENTS(extensions); i++)
        if (g_strcmp0(judge->survey->module, extensions[i].module) == 0 && judge->survey->module_loaded)
            check_extension(judge, &extensions[i]);
}

static void check_hpage(Judge *judge)
{
    const HostSurvey *survey = judge->survey;
    g_autofree char *value = NULL;

    if (strcmp(survey->arch, "s390x") != 0)
        return;
    value = host_survey_parameter(survey, "kvm", "hpage");
    if (value != NULL && host_nested_parse(value) == HOST_NESTED_YES)
        judge_add(judge, "hpage", CHECK_WARN,
                  "On s390x, kernels up to 6.18 refuse to load kvm with both hpage and nested.",
                  g_strdup("remove hpage=1 from /etc/modprobe.d and the kernel's command line"),
                  g_strdup("guests may be backed by huge pages"));
}

static void check_msrs(Judge *judge)
{
    static const char why[] =
        "Windows 10 1803 and newer asks a nested KVM for registers that it has not, and stops with a "
        "blue screen unless they are ignored. Each one is logged if report_ignored_msrs is on.";
    const HostSurvey *survey = judge->survey;
    g_autofree char *ignore = NULL, *report = NULL;

    if (!survey->facts.is_x86)
        return;
    ignore = host_survey_parameter(survey, "kvm", "ignore_msrs");
    report = host_survey_parameter(survey, "kvm", "report_ignored_msrs");
    if (ignore == NULL)
        return;
    bool on = host_nested_parse(ignore) == HOST_NESTED_YES;
    bool noisy = on && report != NULL && host_nested_parse(report) == HOST_NESTED_YES;
    judge_add(judge, "ignore-msrs", noisy ? CHECK_WARN : CHECK_PASS, why,
              noisy ? g_strdup(HOST_ENABLE " --ignore-msrs") : NULL,
              g_strdup_printf(
                  "ignore_msrs=%s, report_ignored_msrs=%s%s", ignore, report != NULL ? report : "not there",
                  on ? "" : "; a Windows guest that stops with a blue screen needs " HOST_ENABLE " --ignore-msrs"));
}

void judge_extensions(Judge *judge)
{
    check_hpage(judge);
    check_extensions(judge);
    check_msrs(judge);
}
