/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Checks of what keeps a guest from being moved, and of what it brings along when it was. */

#include "lib/guest-judge.h"
#include "lib/platform.h"
#include <string.h>

/* QEMU lets a guest with invtsc move if its frequency is fixed (kvm_arch_init_vcpu(), target/i386/kvm/kvm.c). */
static bool has_fixed_tsc(const GuestJudge *judge)
{
    const xmlNode *clock = xml_child(domain_xml_root(judge->xml), "clock");

    for (const xmlNode *timer = clock != NULL ? clock->children : NULL; timer != NULL; timer = timer->next) {
        g_autofree char *name = xml_is_element(timer, "timer") ? xml_attribute(timer, "name") : NULL;
        g_autofree char *frequency = name != NULL ? xml_attribute(timer, "frequency") : NULL;
        if (g_strcmp0(name, "tsc") == 0 && frequency != NULL)
            return true;
    }
    return false;
}

/* What blocks migration for itself, whatever the guest runs. */
static void check_blockers(GuestJudge *judge)
{
    static const char invtsc_why[] =
        "QEMU refuses to migrate and save a guest with an invariant TSC of no fixed frequency.";
    static const char migratable_why[] =
        "With it the guest gets features that QEMU cannot move, among them invtsc, and is not migrated or saved at all.";
    const xmlNode *node = xml_child(domain_xml_root(judge->xml), "cpu");
    g_autofree char *migratable = xml_attribute(node, "migratable");
    const char *invtsc = cpu_feature_policy(judge->cpu, "invtsc");

    if (g_strcmp0(migratable, "off") == 0)
        checks_add(judge->checks, "migratable", CHECK_WARN, migratable_why,
                   guest_judge_edit(judge, "s/ migratable=.off.//"), g_strdup("<cpu migratable='off'>"));
    if ((g_strcmp0(invtsc, "require") == 0 || g_strcmp0(invtsc, "force") == 0) && !has_fixed_tsc(judge))
        checks_add(judge->checks, "invtsc", CHECK_WARN, invtsc_why, guest_judge_edit(judge, "/name=.invtsc./d"),
                   g_strdup("<cpu> requires invtsc"));
}

static void check_host_model(GuestJudge *judge)
{
    static const char why[] =
        "host-model is another model on another CPU, and with vmx in it each of some hundred features of VMX counts: "
        "between unlike hosts migration fails with \"missing features\".";
    const char *here = judge->input->host_model;
    /* One that was not started with this definition tells nothing of its hosts. */
    bool expanded = judge->live != NULL && judge->feature != NULL &&
                    cpu_live_compare(judge->live, judge->cpu, judge->feature) == CPU_LIVE_AMBIGUOUS;

    if (strcmp(cpu_mode(judge->cpu), "host-model") != 0)
        return;
    if (expanded && here != NULL && strcmp(cpu_mode(judge->live), "custom") == 0 && *cpu_model(judge->live) != '\0' &&
        strcmp(cpu_model(judge->live), here) != 0) {
        g_autofree char *tag = guest_judge_virtnestctl(judge, "tag --policy=POLICY");
        checks_add(judge->checks, "host-model", CHECK_WARN, why,
                   g_strdup_printf("%s, one with Mode=custom and a Model= that all of your hosts have", tag),
                   g_strdup_printf("it runs as %s, and host-model is %s here: your hosts are not alike",
                                   cpu_model(judge->live), here));
    } else {
        checks_add(judge->checks, "host-model", CHECK_PASS, why, NULL,
                   g_strdup_printf("host-model%s%s: it moves between hosts with the same CPU, kernel and libvirt; for "
                                   "others take Mode=custom",
                                   here != NULL ? " is " : "", here != NULL ? here : ""));
    }
}

/* Guard ---------------------------------------------------------------------------------------------------------- */

static void check_guard(GuestJudge *judge)
{
    static const char why[] =
        "Windows with WSL2, Hyper-V or virtualization based security is itself a guest of its own hypervisor, from boot to "
        "shutdown. Under a guard that asks whether one runs it is never migrated or saved.";
    const GuardPolicy *guard = &judge->domain->guard;
    const HostSurvey *host = judge->input->host;

    if (judge->domain->policy == NULL || judge->is_emulated)
        return;
    unsigned long qemu_version = judge->input->qemu_version;
    Platform platform = platform_judge(host->facts.vendor, host->arch, host->linux_version, qemu_version);
    bool safe = platform.verdict == PLATFORM_SAFE;
    bool may_be_safe = platform.verdict == PLATFORM_UNKNOWN && (host->linux_version == 0 || qemu_version == 0);
    bool spared = guard->only_unsafe && safe;
    if (guard->block_when == GUARD_WHEN_NEVER || spared || !judge->is_windows)
        checks_add(judge->checks, "guard", CHECK_PASS, why, NULL,
                   g_strdup_printf("BlockWhen=%s, Platforms=%s%s", guard_when_to_string(guard->block_when),
                                   guard->only_unsafe ? "unsafe" : "all",
                                   spared ? ", and this platform is safe: it is not guarded" : ""));
    else if (!guard->only_unsafe && safe)
        checks_add(judge->checks, "guard", CHECK_WARN, why, guest_judge_virtnestctl(judge, "tag --policy=windows"),
                   g_strdup_printf("the policy %s has Platforms=all, although live L2 guests can move here",
                                   judge->domain->policy));
    else
        checks_add(judge->checks, "guard", CHECK_WARN, why,
                   g_strdup("shut it down to move it, as `virtnestctl drain --shutdown` does; virtnest(7) has more"),
                   g_strdup_printf("it is guarded while its hypervisor is on%s: %s",
                                   guard->only_unsafe && may_be_safe ? ", unless this platform is safe" : "",
                                   platform.reason));
}

/* Running and saved ---------------------------------------------------------------------------------------------- */

static void check_running(GuestJudge *judge)
{
    if (judge->live != NULL)
        guest_judge_live(judge, "running", "it runs with the CPU of its definition",
                         "it runs with another CPU than its definition gives (pending-restart)");
}

static void check_managed_save(GuestJudge *judge)
{
    static const char why[] = "A managed-save image brings the CPU that it was saved with for one more start.";

    if (!judge->input->domain.has_managed_save)
        return;
    const char *text = judge->input->domain.saved_xml;
    g_autoptr(DomainXml) xml = text != NULL ? domain_xml_parse(text, -1, NULL) : NULL;
    g_autoptr(Cpu) saved = xml != NULL ? cpu_from_domain(xml, NULL) : NULL;
    bool stale = saved == NULL || guest_judge_is_stale(judge, saved);
    g_autofree char *start = guest_judge_virsh(judge, "start"), *stop = guest_judge_virsh(judge, "shutdown"),
                    *drop = guest_judge_virsh(judge, "managedsave-remove");
    checks_add(judge->checks, "managed-save", stale ? CHECK_WARN : CHECK_PASS, why,
               stale ? g_strdup_printf("%s && %s, after which it is gone; or, which throws the guest's memory away: %s",
                                       start, stop, drop)
                     : NULL,
               g_strdup(saved == NULL ? "there is an image, of which libvirt does not tell the CPU"
                        : stale       ? "there is an image with another CPU than the definition gives"
                                      : "there is an image, with the CPU of the definition"));
}

void guest_judge_moves(GuestJudge *judge)
{
    check_blockers(judge);
    check_host_model(judge);
    check_guard(judge);
    check_running(judge);
    check_managed_save(judge);
}
