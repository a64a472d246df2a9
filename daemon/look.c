/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The part of reconciling that talks to libvirt. All of it runs on workers. */

#include "daemon/look.h"

#include "daemon/guard-calls.h"
#include "daemon/link.h"
#include "lib/capabilities.h"
#include "lib/qemu-process.h"
#include <libvirt/virterror.h>
#include <string.h>
#include <unistd.h>

/* SECURE, or a redefine would lose graphics passwords. */
#define DEFINITION_FLAGS (VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE)

/** @content: copied; its policies may be NULL. To be given back with look_context_unref(). */
LookContext *look_context_new(const LookContext *content)
{
    LookContext *context = g_atomic_rc_box_new0(LookContext);

    *context = *content;
    if (context->policies != NULL)
        (void)policy_set_ref(context->policies);
    context->kill_switch = g_strdup(content->kill_switch);
    context->root = g_strdup(content->root);
    return context;
}

LookContext *look_context_ref(LookContext *context)
{
    return g_atomic_rc_box_acquire(context);
}

static void look_context_clear(gpointer data)
{
    LookContext *context = data;

    policy_set_unref(context->policies);
    g_free(context->kill_switch);
    g_free(context->root);
}

LookContext *look_context_unref(LookContext *context)
{
    if (context != NULL)
        g_atomic_rc_box_release_full(context, look_context_clear);
    return NULL;
}

Look *look_free(Look *look)
{
    if (look == NULL)
        return NULL;
    g_clear_error(&look->error);
    reconcile_free(look->reconcile);
    g_free(look->xml);
    g_free(look->virt_type);
    g_free(look);
    return NULL;
}

static bool last_error_is_gone(void)
{
    return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN;
}

static void look_fail(Look *look, const char *action)
{
    look->gone = last_error_is_gone();
    if (!look->gone)
        libvirt_set_error(&look->error, action);
}

static char *read_xml(virDomain *domain, unsigned flags)
{
    g_autoptr(mallocString) xml = virDomainGetXMLDesc(domain, flags);

    return g_strdup(xml);
}

/* What the hypervisor can give this guest on this host; to be freed with free(), NULL if libvirt does not tell. */
static char *read_capabilities(virDomain *domain, const Reconcile *reconcile)
{
    return virConnectGetDomainCapabilities(virDomainGetConnect(domain),
                                           *reconcile->emulator != '\0' ? reconcile->emulator : NULL, reconcile->arch,
                                           reconcile->machine, reconcile->virt_type, 0);
}

/* The guest runs a named model. If that is what host-model expands to here, or nobody can tell, nothing is pending. */
static void settle_ambiguity(virDomain *domain, Reconcile *reconcile)
{
    if (reconcile->ambiguous_model == NULL ||
        (reconcile->state != RECONCILE_PENDING_RESTART && reconcile->state != RECONCILE_MANAGED_SAVE))
        return;
    g_autoptr(mallocString) capabilities = read_capabilities(domain, reconcile);
    g_autofree char *model = capabilities != NULL ? capabilities_host_model(capabilities) : NULL;
    if (model == NULL || strcmp(model, reconcile->ambiguous_model) == 0)
        reconcile_set_state(reconcile, RECONCILE_IN_SYNC, "%s", "");
}

/*
 * libvirt takes an enlightenment into a definition that this host's KVM does not have, and QEMU refuses to start then. If libvirt
 * fails to tell what there is, nothing is written; where KVM cannot be used, nobody starts the guest anyway.
 */
static Reconcile *decide(virDomain *domain, ReconcileInput *input)
{
    g_autoptr(Reconcile) decision = reconcile_decide(input);

    if (!decision->asks_hyperv)
        return g_steal_pointer(&decision);
    g_autoptr(mallocString) capabilities = read_capabilities(domain, decision);
    if (capabilities == NULL && decision->new_xml != NULL && virGetLastErrorCode() != VIR_ERR_NO_SUPPORT) {
        g_autofree char *problem = host_facts_problem(input->host);
        if (problem == NULL) {
            g_clear_pointer(&decision->new_xml, g_free);
            reconcile_set_state(decision, RECONCILE_ERROR, "libvirt does not tell what of Hyper-V this host has: %s",
                                virGetLastErrorMessage());
        }
        return g_steal_pointer(&decision);
    }
    g_auto(GStrv) offered = capabilities != NULL ? capabilities_hyperv(capabilities) : NULL;
    if (offered == NULL)
        return g_steal_pointer(&decision);
    input->hyperv_offered = (const char *const *)offered;
    Reconcile *informed = reconcile_decide(input);
    input->hyperv_offered = NULL;
    return informed;
}

/* What is to be known of a running guest to see its L2 guests. */
static void look_at_live(Look *look, const LookContext *context, const char *live_xml)
{
    g_autoptr(DomainXml) xml = domain_xml_parse(live_xml, -1, NULL);
    g_autofree char *id = xml != NULL ? xml_attribute(domain_xml_root(xml), "id") : NULL;
    g_autoptr(Cpu) cpu = xml != NULL ? cpu_from_domain(xml, NULL) : NULL;
    g_autofree char *problem = host_facts_problem(&context->host);
    guint64 number = 0;

    if (id != NULL && g_ascii_string_to_unsigned(id, 10, 0, G_MAXINT32, &number, NULL))
        look->id = (int)number;
    look->virt_type = xml != NULL ? xml_attribute(domain_xml_root(xml), "type") : NULL;
    look->has_runtime = xml != NULL && runtime_parse(xml, &look->runtime);
    look->exposure = cpu != NULL ? cpu_live_exposure(cpu, host_facts_feature(&context->host), problem == NULL)
                                 : CPU_EXPOSURE_UNKNOWN;
}

/* Blocked is libvirt's word for a Xen guest that idles. */
static bool is_paused(int state)
{
    return state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_BLOCKED && state != VIR_DOMAIN_NOSTATE;
}

static Look *look_at_definition(virDomain *domain, const LookContext *context, const char *matched_by, char *xml,
                                gint64 began_at)
{
    g_autoptr(Look) look = g_new0(Look, 1);
    g_autofree char *live_xml = NULL, *saved_xml = NULL;
    int active, persistent, managed_save = 0, state = VIR_DOMAIN_NOSTATE, reason = 0;

    look->began_at = began_at;
    look->xml = xml;
    look->id = -1;
    active = virDomainIsActive(domain);
    if (active < 0) {
        look_fail(look, "cannot ask whether it runs");
        return g_steal_pointer(&look);
    }
    persistent = virDomainIsPersistent(domain);
    if (persistent < 0) {
        look_fail(look, "cannot ask whether it is persistent");
        return g_steal_pointer(&look);
    }
    if (active) {
        live_xml = read_xml(domain, 0);
        if (live_xml == NULL) {
            look_fail(look, "cannot read its running configuration");
            return g_steal_pointer(&look);
        }
        if (virDomainGetState(domain, &state, &reason, 0) < 0) {
            look_fail(look, "cannot ask whether it is paused");
            return g_steal_pointer(&look);
        }
        look_at_live(look, context, live_xml);
        g_autofree char *status = qemu_status_path(context->root, virDomainGetName(domain));
        look->tainted = qemu_status_is_tainted(status);
    } else {
        managed_save = virDomainHasManagedSaveImage(domain, 0);
        if (managed_save < 0) {
            look_fail(look, "cannot ask for its managed-save image");
            return g_steal_pointer(&look);
        }
        if (managed_save) {
            /* Not every driver tells; without an answer the image counts as one with the old CPU. */
            g_autoptr(mallocString) saved = virDomainManagedSaveGetXMLDesc(domain, 0);
            saved_xml = g_strdup(saved);
        }
    }
    look->running = active;
    look->paused = active && is_paused(state);
    look->arriving = active && !persistent && state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_MIGRATION;
    look->booted = active && state == VIR_DOMAIN_RUNNING && reason == VIR_DOMAIN_RUNNING_BOOTED;
    look->persistent = persistent;

    ReconcileInput input = {
        .xml = xml,
        .live_xml = live_xml,
        .saved_xml = saved_xml,
        .matched_by = matched_by,
        .persistent = persistent,
        .has_managed_save = managed_save,
        .policies = context->policies,
        .host = &context->host,
        .libvirt_version = context->libvirt_version,
    };
    look->reconcile = decide(domain, &input);
    look->stray_runtime = persistent && look->reconcile->has_runtime;
    settle_ambiguity(domain, look->reconcile);
    return g_steal_pointer(&look);
}

bool look_context_is_superseded(const LookContext *context)
{
    return g_atomic_int_get(&context->superseded) != 0;
}

/**
 * Reads a domain and decides about it. Blocks.
 * @matched_by: as in ReconcileInput
 * Returns: never NULL; to be freed with look_free().
 */
Look *look_at(virDomain *domain, const LookContext *context, const char *matched_by)
{
    g_autoptr(Look) look = g_new0(Look, 1);
    gint64 began_at = g_get_monotonic_time();
    char *xml = read_xml(domain, DEFINITION_FLAGS);

    if (xml != NULL)
        return look_at_definition(domain, context, matched_by, xml, began_at);
    look_fail(look, "cannot read its definition");
    return g_steal_pointer(&look);
}

/*
 * Asks whether this hypervisor can give a CPU at all: libvirt defines a model or a feature that it does not know and
 * refuses only the start, which would leave the admin with a guest that is off and stays off.
 */
static bool hypervisor_can_give(virDomain *domain, const Reconcile *plan, GError **error)
{
    int r = virConnectCompareHypervisorCPU(virDomainGetConnect(domain), *plan->emulator != '\0' ? plan->emulator : NULL,
                                           plan->arch, plan->machine, plan->virt_type, plan->probe_cpu,
                                           VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE);

    if (r > VIR_CPU_COMPARE_INCOMPATIBLE || virGetLastErrorCode() == VIR_ERR_NO_SUPPORT)
        return true;
    libvirt_set_error(error,
                      "this host's hypervisor cannot give the guest that <cpu>; `virsh domcapabilities` tells what "
                      "it can, and what asks for more is in the policy or in the domain's own <cpu>");
    return false;
}

/* Alone, so that a definition that is to be rewritten as well is looked at again without it. */
static ApplyOutcome remove_stray_runtime(virDomain *domain, const LookContext *context, GError **error)
{
    if (access(context->kill_switch, F_OK) == 0)
        return APPLY_HELD;
    return guard_calls_note(domain, NULL, VIR_DOMAIN_AFFECT_CONFIG, error) ? APPLY_STRIPPED : APPLY_FAILED;
}

/**
 * Writes what a look decided. Blocks.
 *
 * libvirt has no compare-and-swap: the definition is read again right before it is replaced, and if it is not the one
 * that the decision was made on, nothing is written. What remains is the time between that read and the define, one
 * round trip; an edit that falls into it is lost, as it would be between two admins.
 *
 * @look: with a new_xml, or with stray_runtime
 */
ApplyOutcome look_apply(virDomain *domain, const LookContext *context, const Look *look, GError **error)
{
    const Reconcile *plan = look->reconcile;
    char uuid[VIR_UUID_STRING_BUFLEN] = "";

    if (look->stray_runtime)
        return remove_stray_runtime(domain, context, error);
    if (plan->probe_cpu != NULL && !hypervisor_can_give(domain, plan, error))
        return APPLY_FAILED;
    if (virDomainGetUUIDString(domain, uuid) < 0) {
        libvirt_set_error(error, "cannot tell its UUID");
        return APPLY_FAILED;
    }
    if (!copies_save(context->copies, uuid, look->xml, context->copies_keep, error))
        return APPLY_FAILED;

    g_autofree char *again = read_xml(domain, DEFINITION_FLAGS);
    if (again == NULL || strcmp(again, look->xml) != 0)
        return APPLY_CHANGED;
    /* Undefining a running domain leaves its XML as it is; to define it would make it persistent again. */
    if (virDomainIsPersistent(domain) != 1)
        return APPLY_CHANGED;
    /* A reload may have come meanwhile, with another mode or policy. */
    if (look_context_is_superseded(context))
        return APPLY_CHANGED;
    if (access(context->kill_switch, F_OK) == 0)
        return APPLY_HELD;

    g_autoptr(VirDomain) defined = virDomainDefineXMLFlags(virDomainGetConnect(domain), plan->new_xml, 0);
    if (defined == NULL) {
        libvirt_set_error(error, "libvirt refused the new definition, the old one stays");
        return APPLY_FAILED;
    }
    return APPLY_DONE;
}
