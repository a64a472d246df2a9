/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Checks of what is around KVM: libvirt, versions, and where this host is itself. */

#include "lib/capabilities.h"
#include "lib/host-judge.h"
#include "lib/platform.h"
#include <string.h>

/* libvirt -------------------------------------------------------------------------------------------------------- */

/* libvirt reads QEMU's blockers of migration since 8.6, and QEMU has told them since 6.0. */
#define LIBVIRT_WITH_BLOCKERS 8006000UL
#define QEMU_WITH_BLOCKERS 6000000UL

static char *format_version(const char *name, unsigned long version)
{
    return version > 0
               ? g_strdup_printf("%s %lu.%lu.%lu", name, version / 1000000, version / 1000 % 1000, version % 1000)
               : g_strdup_printf("%s of unknown version", name);
}

static void check_capabilities(Judge *judge)
{
    static const char why[] =
        "Policies give guests the mode host-model or host-passthrough; libvirt refuses one that it does not "
        "offer.";
    g_autoptr(GError) error = NULL;
    Capabilities capabilities;

    if (judge->libvirt->capabilities == NULL) {
        if (judge->libvirt->capability_error != NULL)
            judge_add(
                judge, "cpu-modes", CHECK_FAIL, why,
                g_strdup("first see to the other checks (virtnestctl host); then `virsh domcapabilities --virttype "
                         "kvm`"),
                g_strdup_printf("libvirt has no KVM guests here: %s", judge->libvirt->capability_error));
        return;
    }
    if (!capabilities_parse(judge->libvirt->capabilities, &capabilities, &error)) {
        judge_add(judge, "cpu-modes", CHECK_WARN, why, g_strdup("virsh domcapabilities --virttype kvm"),
                  g_strdup(error->message));
        return;
    }
    bool both = capabilities.host_model && capabilities.host_passthrough;
    bool none = !capabilities.host_model && !capabilities.host_passthrough;
    judge_add(
        judge, "cpu-modes",
        both   ? CHECK_PASS
        : none ? CHECK_FAIL
               : CHECK_WARN,
        why,
        both ? NULL
             : g_strdup("use a policy with another Mode=; `virsh domcapabilities --virttype kvm` has what there is"),
        g_strdup_printf("libvirt offers %s", both                            ? "host-model and host-passthrough"
                                             : none                          ? "neither host-model nor host-passthrough"
                                             : capabilities.host_passthrough ? "host-passthrough, but not host-model"
                                                                             : "host-model, but not host-passthrough"));
}

static void check_libvirt(Judge *judge)
{
    static const char why[] = "virtnest does all that it does to guests through libvirt.";
    const HostLibvirt *libvirt = judge->libvirt;

    if (!libvirt->asked)
        return;
    if (libvirt->error != NULL && judge->survey->other_manager != NULL) {
        judge_add(judge, "libvirt", CHECK_WARN, why,
                  g_strdup("let virtnest make the host ready, and set the CPU of guests there: virtnest(7)"),
                  g_strdup_printf("%s runs QEMU without libvirt: there is nothing to tag here, and no guard",
                                  judge->survey->other_manager));
        return;
    }
    if (libvirt->error != NULL) {
        judge_add(judge, "libvirt", CHECK_FAIL, why,
                  g_strdup("systemctl start libvirtd, or virtqemud; be root, or in the group libvirt"),
                  g_strdup(libvirt->error));
        return;
    }
    g_autofree char *version = format_version("libvirt", libvirt->version),
                    *qemu = format_version("QEMU", libvirt->qemu);
    bool old = libvirt->version < LIBVIRT_WITH_BLOCKERS || (libvirt->qemu > 0 && libvirt->qemu < QEMU_WITH_BLOCKERS);
    judge_add(
        judge, "libvirt", old ? CHECK_WARN : CHECK_PASS, why,
        old ? g_strdup(
                  "update to libvirt 8.6 and QEMU 6.0 or newer: with these QEMU refuses later, and guards tell less")
            : NULL,
        g_strdup_printf("%s, %s", version, qemu));
    check_capabilities(judge);
}

/* Versions and surroundings -------------------------------------------------------------------------------------- */

static void check_platform(Judge *judge)
{
    static const char why[] =
        "On some platforms a guest with a running L2 does not survive being migrated or saved, and on some "
        "the host does not either.";
    const HostSurvey *survey = judge->survey;
    unsigned long qemu_version = judge->libvirt->qemu;
    Platform platform = platform_judge(survey->facts.vendor, survey->arch, survey->linux_version, qemu_version);
    bool safe = platform.verdict == PLATFORM_SAFE;
    g_autofree char *qemu = format_version("QEMU", qemu_version);

    judge_add(judge, "platform", safe ? CHECK_PASS : CHECK_WARN, why,
              safe
                  ? NULL
                  : g_strdup_printf(
                        "let virtnestd guard such guests, as it does by itself; shut their guests down before you move "
                        "them%s%s",
                        *platform.source != '\0' ? "; see " : "", platform.source),
              g_strdup_printf("Linux %s, %s: %s",
                              *survey->linux_release != '\0' ? survey->linux_release : "of unknown version", qemu,
                              platform.reason));
}

static void check_depth(Judge *judge)
{
    static const char why[] =
        "Each level costs: an L2 guest runs 10 to 30% slower than an L1 guest, more where it does much I/O, "
        "and an L3 guest far slower and hardly tested by anybody.";
    const HostSurvey *survey = judge->survey;

    if (survey->hypervisor == NULL)
        judge_add(judge, "depth", CHECK_PASS, why, NULL,
                  g_strdup("bare metal; its L2 guests run 10 to 30% slower than its guests"));
    else
        judge_add(judge, "depth", CHECK_WARN, why, g_strdup("nest on the host below, if what runs here can move there"),
                  g_strdup_printf("this host is itself a guest%s%s: what nests in its guests is the third level",
                                  *survey->hypervisor != '\0' ? " of " : "", survey->hypervisor));
}

static void check_container(Judge *judge)
{
    const HostSurvey *survey = judge->survey;

    if (survey->container != NULL)
        judge_add(judge, "container", CHECK_WARN, "Kernel modules and their configuration belong to the host outside.",
                  g_strdup("run this on the host itself"),
                  g_strdup_printf("this is a container%s%s; the kernel is its host's",
                                  *survey->container != '\0' ? " of " : "", survey->container));
}

static void check_libvirt_guests(Judge *judge)
{
    static const char why[] =
        "At shutdown libvirt-guests would save each guest, QEMU refuses that for guarded ones, and they are "
        "killed in the end.";
    const HostSurvey *survey = judge->survey;

    if (!survey->libvirt_guests)
        return;
    bool bad = strcmp(survey->on_shutdown, "suspend") == 0;
    g_autofree char *guarded = survey->n_guarded < 0 ? g_strdup("only root may see how many guests are guarded")
                                                     : g_strdup_printf("%d guest%s guarded", survey->n_guarded,
                                                                       survey->n_guarded == 1 ? " is" : "s are");
    judge_add(judge, "libvirt-guests", bad && survey->n_guarded != 0 ? CHECK_WARN : CHECK_PASS, why,
              bad && survey->n_guarded != 0
                  ? g_strdup("set ON_SHUTDOWN=shutdown in /etc/default/libvirt-guests or /etc/sysconfig/libvirt-guests")
                  : NULL,
              g_strdup_printf("ON_SHUTDOWN=%s (%s), %s", survey->on_shutdown, survey->on_shutdown_place, guarded));
}

void judge_surroundings(Judge *judge)
{
    check_container(judge);
    check_libvirt(judge);
    check_platform(judge);
    check_depth(judge);
    check_libvirt_guests(judge);
}
