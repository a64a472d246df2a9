/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Checks of what a guest sees of its hypervisor: that there is one, and what Hyper-V inside of it can use. */

#include "lib/guest-judge.h"
#include <string.h>

/*
 * What any Windows guest is given, as virt-install does; the attributes that each takes. QEMU refuses stimer without synic,
 * and stimer without the clock source, which libvirt makes of a timer (hyperv_properties, target/i386/kvm/kvm.c).
 */
static const struct {
    const char *name, *attributes;
} enlightenments[] = {
    {"relaxed", ""}, {"vapic", ""},       {"spinlocks", " retries=\\\"8191\\\""},
    {"vpindex", ""}, {"runtime", ""},     {"synic", ""},
    {"stimer", ""},  {"frequencies", ""}, {"tlbflush", ""},
    {"ipi", ""},
};

/* Hypervisor ----------------------------------------------------------------------------------------------------- */

static void check_hypervisor(GuestJudge *judge)
{
    static const char why[] =
        "A guest that takes itself for a real machine leaves out what makes it fast. Windows then ignores all "
        "enlightenments, and with Hyper-V, WSL2 or VBS in it loses the GPU that this was for, or does not start.";
    const xmlNode *kvm = xml_child(xml_child(domain_xml_root(judge->xml), "features"), "kvm");
    g_autofree char *hidden = xml_attribute(xml_child(kvm, "hidden"), "state");
    const char *policy = cpu_feature_policy(judge->cpu, "hypervisor");

    if (g_strcmp0(policy, "disable") == 0 || g_strcmp0(policy, "forbid") == 0)
        checks_add(judge->checks, "hypervisor", judge->is_windows ? CHECK_FAIL : CHECK_WARN, why,
                   guest_judge_edit(judge, "/name=.hypervisor./d;/<hidden state=/d"),
                   g_strdup("it is hidden: <cpu> switches the feature hypervisor off"));
    else if (g_strcmp0(hidden, "on") == 0)
        checks_add(
            judge->checks, "hypervisor", CHECK_WARN,
            "Without KVM's signature Linux finds no paravirtual clock, and only old drivers of NVIDIA (before 465) "
            "ever wanted that.",
            guest_judge_edit(judge, "/<hidden state=/d"), g_strdup("KVM is hidden (<kvm><hidden state='on'/>)"));
    else
        checks_add(judge->checks, "hypervisor", CHECK_PASS, why, NULL, g_strdup("it is not hidden"));
}

/* Hyper-V -------------------------------------------------------------------------------------------------------- */

static bool has_clock(const GuestJudge *judge)
{
    const xmlNode *clock = xml_child(domain_xml_root(judge->xml), "clock");

    for (const xmlNode *timer = clock != NULL ? clock->children : NULL; timer != NULL; timer = timer->next) {
        g_autofree char *name = xml_is_element(timer, "timer") ? xml_attribute(timer, "name") : NULL;
        g_autofree char *present = name != NULL ? xml_attribute(timer, "present") : NULL;
        if (g_strcmp0(name, "hypervclock") == 0)
            return g_strcmp0(present, "no") != 0;
    }
    return false;
}

/*
 * What makes a <hyperv> whole.
 * @missing: gets the names of what is not there; what is there and off, somebody has chosen
 * Returns: an edit of it for sed, to be freed with g_free()
 */
static char *complete_hyperv(const GuestJudge *judge, GString *missing)
{
    const xmlNode *features = xml_child(domain_xml_root(judge->xml), "features");
    const xmlNode *hyperv = xml_child(features, "hyperv");
    g_autofree char *mode = xml_attribute(hyperv, "mode");
    g_autoptr(GString) elements = g_string_new(NULL), script = g_string_new(NULL);

    for (gsize i = 0; i < G_N_ELEMENTS(enlightenments); i++) {
        if (xml_child(hyperv, enlightenments[i].name) != NULL)
            continue;
        g_string_append_printf(missing, "%s%s", missing->len > 0 ? ", " : "", enlightenments[i].name);
        g_string_append_printf(elements, "<%s state=\\\"on\\\"%s/>", enlightenments[i].name,
                               enlightenments[i].attributes);
    }
    if (!has_clock(judge)) {
        g_string_append_printf(missing, "%sthe timer hypervclock", missing->len > 0 ? ", " : "");
        g_string_append(script, "s|<clock \\(.*\\)/>|<clock \\1></clock>|;"
                                "s|<clock [^>]*>|&<timer name=\\\"hypervclock\\\" present=\\\"yes\\\"/>|;");
    }
    if (elements->len > 0 && features == NULL)
        g_string_append_printf(script, "s|</os>|&<features><hyperv mode=\\\"custom\\\">%s</hyperv></features>|;",
                               elements->str);
    else if (elements->len > 0 && hyperv == NULL)
        g_string_append_printf(script, "s|<features>|&<hyperv mode=\\\"custom\\\">%s</hyperv>|;", elements->str);
    else if (elements->len > 0 || g_strcmp0(mode, "passthrough") == 0)
        g_string_append_printf(script,
                               "s|<hyperv\\([^>]*\\)/>|<hyperv\\1></hyperv>|;"
                               "s|<hyperv[^>]*>|<hyperv mode=\\\"custom\\\">%s|;",
                               elements->str);
    if (script->len > 0)
        g_string_truncate(script, script->len - 1);
    return g_string_free(g_steal_pointer(&script), FALSE);
}

/* What Hyper-V inside of the guest makes use of for its own guests. */
static void check_nested_enlightenments(GuestJudge *judge)
{
    static const char why[] =
        "With these Hyper-V in the guest leaves for this host less often. evmcs is for Intel alone, and what else there "
        "is depends on libvirt's version.";
    const HypervPolicy all = {{HYPERV_ON, HYPERV_ON, HYPERV_ON}};
    const HypervHost host = {
        .is_kvm = true,
        .feature = judge->feature,
        .libvirt_version = judge->input->domain.libvirt_version,
        .offered = judge->input->domain.hyperv_offered,
    };
    g_autoptr(HypervPlan) plan = hyperv_plan(judge->xml, NULL, &all, NULL, &host);
    g_autoptr(GString) missing = g_string_new(NULL), skipped = g_string_new(NULL);

    for (HypervEnlightenment which = 0; which < HYPERV_N; which++)
        if (plan->record.applied[which] != NULL)
            g_string_append_printf(missing, "%s%s", missing->len > 0 ? ", " : "", hyperv_name(which));
    for (guint i = 0; i < plan->skipped->len; i++)
        g_string_append_printf(skipped, "; %s", (const char *)plan->skipped->pdata[i]);
    if (missing->len > 0)
        checks_add(judge->checks, "nested-hyperv", CHECK_WARN, why,
                   g_strcmp0(judge->domain->policy, "windows") == 0
                       ? guest_judge_due(judge)
                       : guest_judge_virtnestctl(judge, "tag --policy=windows"),
                   g_strdup_printf("it has no %s%s", missing->str, skipped->str));
    else
        checks_add(judge->checks, "nested-hyperv", CHECK_PASS, why, NULL,
                   g_strdup_printf("all that can be had here%s", skipped->str));
}

static void check_hyperv(GuestJudge *judge)
{
    static const char why[] =
        "Windows runs slowly without the enlightenments, slower still with a hypervisor of its own between.";
    static const char passthrough_why[] =
        "QEMU refuses to migrate and save a guest with whatever enlightenments its host has (hv-passthrough).";
    const xmlNode *hyperv = xml_child(xml_child(domain_xml_root(judge->xml), "features"), "hyperv");
    g_autofree char *mode = xml_attribute(hyperv, "mode");
    g_autoptr(GString) missing = g_string_new(NULL);
    g_autofree char *script = complete_hyperv(judge, missing);

    if (g_strcmp0(mode, "passthrough") == 0) {
        checks_add(judge->checks, "hv-passthrough", CHECK_WARN, passthrough_why, guest_judge_edit(judge, script),
                   g_strdup("<hyperv mode='passthrough'>"));
        return;
    }
    if (!judge->is_windows)
        return;
    checks_add(judge->checks, "hyperv", missing->len > 0 ? CHECK_WARN : CHECK_PASS, why,
               missing->len > 0 ? guest_judge_edit(judge, script) : NULL,
               missing->len > 0 ? g_strdup_printf("it has no %s", missing->str) : g_strdup("all that Windows uses"));
    check_nested_enlightenments(judge);
}

void guest_judge_features(GuestJudge *judge)
{
    check_hypervisor(judge);
    /* Only KVM has enlightenments. */
    if (!judge->is_emulated)
        check_hyperv(judge);
}
