/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What should become of one domain. Level-triggered: from what is there now follows what should be there, whatever
 * event led here, and if both are equal nothing is written.
 *
 *   base   = the <cpu> without virtnest: what is there, or, if virtnest wrote it, the three-way merge of cpu_merge()
 *   wanted = base with the policy applied if the domain is tagged, otherwise base itself
 */

#include "lib/reconcile.h"

#include "lib/error.h"
#include "lib/owner.h"
#include "lib/runtime.h"
#include "lib/state.h"
#include <string.h>

static const char *const state_names[] = {
    [RECONCILE_UNKNOWN] = "unknown",
    [RECONCILE_UNTAGGED] = "untagged",
    [RECONCILE_IN_SYNC] = "in-sync",
    [RECONCILE_PENDING_RESTART] = "pending-restart",
    [RECONCILE_MANAGED_SAVE] = "managed-save",
    [RECONCILE_TRANSIENT] = "transient",
    [RECONCILE_HOST_NOT_READY] = "host-not-ready",
    [RECONCILE_OWNED] = "owned",
    [RECONCILE_HELD] = "held",
    [RECONCILE_ERROR] = "error",
};

const char *reconcile_state_to_string(ReconcileState state)
{
    return state_names[state];
}

void reconcile_set_state(Reconcile *reconcile, ReconcileState state, const char *format, ...)
{
    g_autofree char *old = g_steal_pointer(&reconcile->reason); /* the new one may quote it */
    va_list arguments;

    reconcile->state = state;
    va_start(arguments, format);
    reconcile->reason = g_strdup_vprintf(format, arguments);
    va_end(arguments);
}

Reconcile *reconcile_free(Reconcile *reconcile)
{
    if (reconcile == NULL)
        return NULL;
    g_free(reconcile->reason);
    g_free(reconcile->name);
    g_free(reconcile->policy);
    g_free(reconcile->policy_path);
    g_free(reconcile->policy_reason);
    subject_free(reconcile->subject);
    tag_free(reconcile->tag);
    g_free(reconcile->former);
    g_free(reconcile->outcome);
    g_free(reconcile->cpu_mode);
    g_free(reconcile->matched_by);
    g_free(reconcile->wanted_cpu_mode);
    g_clear_pointer(&reconcile->skipped, g_ptr_array_unref);
    g_clear_pointer(&reconcile->conflicts, g_ptr_array_unref);
    g_free(reconcile->new_xml);
    g_free(reconcile->summary);
    g_free(reconcile->probe_cpu);
    g_free(reconcile->ambiguous_model);
    g_free(reconcile->emulator);
    g_free(reconcile->arch);
    g_free(reconcile->machine);
    g_free(reconcile->virt_type);
    g_free(reconcile);
    return NULL;
}

static void set_error_state(Reconcile *out, const GError *error)
{
    reconcile_set_state(out, RECONCILE_ERROR, "%s", error->message);
}

static void read_identity(Reconcile *out, const DomainXml *xml)
{
    const xmlNode *root = domain_xml_root(xml);
    const xmlNode *type = xml_child(xml_child(root, "os"), "type");

    out->name = xml_text(xml_child(root, "name"));
    out->virt_type = xml_attribute(root, "type");
    out->arch = xml_attribute(type, "arch");
    out->machine = xml_attribute(type, "machine");
    out->emulator = g_strstrip(xml_text(xml_child(xml_child(root, "devices"), "emulator")));
    out->owner = owner_detect(xml);
    out->has_runtime = domain_xml_metadata(xml, VIRTNEST_RUNTIME_NAMESPACE, NULL) != NULL;
}

/* Behind the first of these that the domain has: where libvirt writes <cpu>, or near it. */
static XmlEdit cpu_edit_insert(const DomainXml *xml, const Cpu *cpu)
{
    static const char *const before[] = {"features", "os", "vcpu", "memory", "uuid", "name"};
    xmlNode *root = domain_xml_root(xml);
    XmlEdit edit = {0};
    g_autofree char *indent = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(before) && indent == NULL; i++) {
        const xmlNode *anchor = xml_child(root, before[i]);
        if (anchor != NULL) {
            XmlSpan span = domain_xml_span(xml, anchor);
            indent = domain_xml_indent(xml, span);
            edit.span.start = edit.span.end = span.end;
        }
    }
    if (indent == NULL) {
        indent = g_strdup("\n  ");
        edit.span.start = edit.span.end = domain_xml_content_start(xml, root);
    }
    edit.text = g_strconcat(indent, cpu_text(cpu), NULL);
    return edit;
}

static XmlEdit cpu_edit(const DomainXml *xml, const Cpu *cpu)
{
    const xmlNode *node = xml_child(domain_xml_root(xml), "cpu");
    XmlEdit edit = {0};

    if (node == NULL)
        return cpu_edit_insert(xml, cpu);
    edit.span = domain_xml_span(xml, node);
    if (*cpu_text(cpu) == '\0')
        edit.span = domain_xml_span_with_indent(xml, edit.span);
    edit.text = g_strdup(cpu_text(cpu));
    return edit;
}

/* All edits at once. An absent <cpu> that stays absent needs none. @hyperv: of XmlEdit, or NULL */
static char *edit_document(const DomainXml *xml, const Cpu *current, const Cpu *cpu, XmlEdit state_edit,
                           const GArray *hyperv)
{
    g_autoptr(GArray) edits = g_array_new(FALSE, FALSE, sizeof(XmlEdit));
    XmlEdit cpu_change = {0};

    g_array_append_val(edits, state_edit);
    if (strcmp(cpu_text(current), cpu_text(cpu)) != 0) {
        cpu_change = cpu_edit(xml, cpu);
        g_array_append_val(edits, cpu_change);
    }
    if (hyperv != NULL)
        g_array_append_vals(edits, hyperv->data, hyperv->len);
    char *text = domain_xml_edit(xml, (XmlEdit *)edits->data, edits->len);
    g_free(state_edit.text);
    g_free(cpu_change.text);
    return text;
}

/*
 * The tag counts from either definition; where both carry one, the persistent one is what the next start has.
 * @ret_live_only: set to whether it goes when the guest does
 */
static bool read_tag(const DomainXml *xml, const ReconcileInput *input, Tag **ret_tag, bool *ret_live_only,
                     GError **error)
{
    if (input->tag != NULL) {
        *ret_tag = tag_copy(input->tag);
        return true;
    }
    if (!tag_parse(xml, ret_tag, error))
        return false;
    if (*ret_tag != NULL || input->live_xml == NULL)
        return true;
    g_autoptr(DomainXml) live = domain_xml_parse(input->live_xml, -1, error);
    if (live == NULL || !tag_parse(live, ret_tag, error))
        return false;
    *ret_live_only = *ret_tag != NULL && input->persistent;
    return true;
}

/*
 * vmx or svm. QEMU's TCG emulates SVM and no VMX (target/i386/tcg), whatever the host's CPU is, so a TCG guest needs
 * nothing of the host. The test driver's domains are treated as KVM guests, so that all of this can be tried on it.
 */
static bool choose_feature(Reconcile *out, const HostFacts *host, const Policy *policy)
{
    if (g_strcmp0(out->arch, "x86_64") != 0 && g_strcmp0(out->arch, "i686") != 0) {
        reconcile_set_state(out, RECONCILE_ERROR,
                            "nesting of %s guests is not switched on in <cpu>; virtnest does that for x86 only",
                            out->arch != NULL ? out->arch : "such");
        return false;
    }
    if (g_strcmp0(out->virt_type, "qemu") == 0) {
        out->feature = "svm";
        return true;
    }
    if (g_strcmp0(out->virt_type, "kvm") != 0 && g_strcmp0(out->virt_type, "test") != 0) {
        reconcile_set_state(out, RECONCILE_ERROR, "a guest of type='%s' cannot nest; virtnest knows kvm and qemu",
                            out->virt_type != NULL ? out->virt_type : "");
        return false;
    }
    g_autofree char *problem = host_facts_problem(host);
    out->feature = host_facts_feature(host);
    if (problem == NULL)
        return true;
    reconcile_set_state(out, RECONCILE_HOST_NOT_READY, "a guest with nesting would not start: %s", problem);
    /* Which feature to require is known from the CPU alone. */
    return policy->apply_unready && out->feature != NULL;
}

/* What the running guest, or the saved image, has of the CPU that is wanted. */
static CpuLive compare_cpu(Reconcile *out, const DomainXml *live_xml, const Cpu *wanted, GError **error)
{
    g_autoptr(Cpu) live = live_xml != NULL ? cpu_from_domain(live_xml, error) : NULL;

    if (live == NULL)
        return CPU_LIVE_STALE;
    CpuLive comparison = cpu_live_compare(live, wanted, out->feature);
    if (comparison == CPU_LIVE_AMBIGUOUS)
        out->ambiguous_model = g_strdup(cpu_model(live));
    return comparison;
}

/*
 * Says what the running guest or the saved image has, against the definition as it is or will be.
 * @live_xml: its document, or NULL if there is none
 */
static void compare_with_running(Reconcile *out, const ReconcileInput *input, const DomainXml *live_xml,
                                 const Cpu *wanted, const HypervPlan *hyperv)
{
    g_autoptr(GError) error = NULL;

    if (input->live_xml == NULL && !input->has_managed_save) {
        reconcile_set_state(out, RECONCILE_IN_SYNC, "%s", "");
        return;
    }
    CpuLive comparison = compare_cpu(out, live_xml, wanted, &error);
    if (error != NULL) {
        set_error_state(out, error);
        return;
    }
    if (hyperv->differs_live) {
        /* Whatever the model turns out to be, something is pending. */
        g_clear_pointer(&out->ambiguous_model, g_free);
        comparison = CPU_LIVE_STALE;
    }
    if (comparison == CPU_LIVE_CURRENT)
        reconcile_set_state(out, RECONCILE_IN_SYNC, "%s", "");
    else if (input->live_xml != NULL)
        reconcile_set_state(out, RECONCILE_PENDING_RESTART,
                            "the running guest keeps the CPU that it was started with; shut it down and start it again "
                            "(a reboot from inside is not enough)");
    else
        reconcile_set_state(out, RECONCILE_MANAGED_SAVE,
                            "the managed-save image holds the CPU of before and brings it for one more start; shut the "
                            "guest down after that, or drop the image with `virsh managedsave-remove`");
}

/* What a policy may write into a definition that another manager owns, it may take out again. */
static bool may_rewrite_owned(const PolicySet *policies, const State *state)
{
    const Policy *policy = policy_set_lookup(policies, state->policy);

    return policy != NULL && policy->rewrite_owned;
}

static void decide_untagged(Reconcile *out, const ReconcileInput *input, const DomainXml *xml, const State *state,
                            const Cpu *current)
{
    g_autoptr(GError) error = NULL;

    reconcile_set_state(out, RECONCILE_UNTAGGED, "%s", "");
    /* A transient domain that was made from a rewritten definition: to define it would make it persistent. */
    if (state == NULL || !input->persistent)
        return;
    if (out->owner != NULL && !may_rewrite_owned(input->policies, state)) {
        reconcile_set_state(out, RECONCILE_OWNED,
                            "the definition still has the CPU that virtnest wrote, but now belongs to %s, which "
                            "generates it; it is left alone",
                            out->owner);
        return;
    }
    g_autoptr(Cpu) base = cpu_merge(state->previous, state->applied, current, out->conflicts, &error);
    if (base == NULL) {
        set_error_state(out, error);
        return;
    }
    g_autoptr(HypervPlan) hyperv = hyperv_plan(xml, NULL, NULL, &state->hyperv, &(HypervHost){0});
    for (guint i = 0; i < hyperv->conflicts->len; i++)
        g_ptr_array_add(out->conflicts, g_strdup(hyperv->conflicts->pdata[i]));
    out->wanted_cpu_mode = g_strdup(cpu_mode(base));
    out->new_xml = edit_document(xml, current, base, state_edit_remove(xml, state), hyperv->edits);
    out->summary =
        g_strdup_printf("restore the <cpu> of before (%s)", *cpu_mode(base) != '\0' ? cpu_mode(base) : "none");
}

/* A <cpu> with nothing but what the policy brings: all that the hypervisor is asked for when the user's own is kept. */
static char *probe_for(const CpuPolicy *policy, const Cpu *wanted, const char *feature)
{
    if (policy->mode != CPU_MODE_KEEP)
        return g_strdup(cpu_text(wanted));
    return g_strdup_printf("<cpu mode='host-model'><feature policy='require' name='%s'/></cpu>", feature);
}

/* @choice: with a policy */
static void decide_with_policy(Reconcile *out, const ReconcileInput *input, const DomainXml *xml, const State *state,
                               const Cpu *current, const PolicyChoice *choice)
{
    const Policy *policy = choice->policy;
    /* OnNotReady=apply: what is written does not make the host ready. */
    bool ready = out->state != RECONCILE_HOST_NOT_READY;
    g_autofree char *not_ready = g_strdup(out->reason);
    g_autoptr(GError) error = NULL;
    g_autoptr(Cpu) merged = state != NULL ? cpu_merge(state->previous, state->applied, current, NULL, &error) : NULL;
    const Cpu *base = state != NULL ? merged : current;

    if (base == NULL) {
        set_error_state(out, error);
        return;
    }
    g_autoptr(Cpu) wanted = cpu_apply_policy(base, &policy->cpu, out->feature, &error);
    if (wanted == NULL) {
        set_error_state(out, error);
        return;
    }
    out->wanted_cpu_mode = g_strdup(cpu_mode(wanted));
    if (g_strcmp0(out->virt_type, "qemu") == 0 && strcmp(cpu_mode(wanted), "host-passthrough") == 0) {
        reconcile_set_state(out, RECONCILE_ERROR,
                            "the policy '%s' wants host-passthrough, which needs KVM, and this is a TCG guest "
                            "(type='qemu'); tag it with a host-model policy",
                            policy->name);
        return;
    }
    const char *live_text = input->live_xml != NULL ? input->live_xml : input->saved_xml;
    g_autoptr(DomainXml) live_xml = live_text != NULL ? domain_xml_parse(live_text, -1, &error) : NULL;
    if (error != NULL) {
        set_error_state(out, error);
        return;
    }
    const HypervHost offers = {
        .is_kvm = g_strcmp0(out->virt_type, "qemu") != 0,
        .feature = out->feature,
        .libvirt_version = input->libvirt_version,
        .offered = input->hyperv_offered,
    };
    g_autoptr(HypervPlan) hyperv =
        hyperv_plan(xml, live_xml, &policy->hyperv, state != NULL ? &state->hyperv : NULL, &offers);
    out->asks_hyperv = !hyperv_record_is_empty(&hyperv->record);
    out->skipped = g_ptr_array_ref(hyperv->skipped);
    compare_with_running(out, input, live_xml, wanted, hyperv);
    if (out->state == RECONCILE_ERROR)
        return;
    if (!ready)
        reconcile_set_state(out, RECONCILE_HOST_NOT_READY, "%s", not_ready);
    bool matched = choice->chosen == POLICY_CHOSEN_BY_MATCH;
    bool changes = !cpu_equal(wanted, current) || hyperv->edits->len > 0;
    /* Whose the <cpu> is decides later, when that policy is gone, whether it stays. */
    bool noted = state == NULL || (strcmp(state->policy, policy->name) == 0 && state->matched == matched);
    if (!changes && noted)
        return;
    const StateContent content = {
        .policy = policy->name,
        .matched = matched,
        .previous = base,
        .applied = wanted,
        .hyperv = &hyperv->record,
    };
    out->new_xml =
        edit_document(xml, current, changes ? wanted : current, state_edit_write(xml, state, &content), hyperv->edits);
    if (!changes) {
        out->summary = g_strdup_printf("note that the <cpu> is that of policy '%s' now, and no more of '%s'",
                                       policy->name, state->policy);
        return;
    }
    out->summary = g_strdup_printf("rewrite <cpu> from %s to %s with %s%s",
                                   *cpu_mode(current) != '\0' ? cpu_mode(current) : "none", cpu_mode(wanted),
                                   out->feature, hyperv->edits->len > 0 ? ", and the enlightenments of <hyperv>" : "");
    if (ready)
        out->probe_cpu = probe_for(&policy->cpu, wanted, out->feature);
}

/*
 * A policy that took a domain by its [Match] and is gone. The file may have been lost, so the domain stays as it is until
 * somebody says what he wants; a policy that is there and does not match any longer was changed on purpose.
 */
static bool lost_its_policy(const PolicySet *policies, const char *matched_by, PolicyChosen chosen)
{
    return matched_by != NULL && policy_set_lookup(policies, matched_by) == NULL &&
           (chosen == POLICY_CHOSEN_NONE || chosen == POLICY_CHOSEN_BY_DEFAULT);
}

/* Returns: false with the state and its reason set if no policy is to be applied. */
static bool may_apply(Reconcile *out, const ReconcileInput *input, const Policy *policy)
{
    if (!input->persistent) {
        reconcile_set_state(out, RECONCILE_TRANSIENT,
                            "the domain has no persistent definition that could be rewritten; whoever creates it must "
                            "give it the CPU");
        return false;
    }
    if (out->owner != NULL && !policy->rewrite_owned) {
        reconcile_set_state(out, RECONCILE_OWNED,
                            "%s generates this domain's XML, so it is not rewritten; switch nesting on there, or set "
                            "RewriteOwned=yes in the policy '%s'",
                            out->owner, policy->name);
        return false;
    }
    return choose_feature(out, input->host, policy);
}

static const char *digest_of(const PolicySet *policies, const char *name)
{
    const Policy *policy = policy_set_lookup(policies, name);

    return policy != NULL ? policy->digest : "none";
}

/* @error: why there is no choice, or NULL */
static char *outcome_text(const Reconcile *reconcile, const PolicySet *policies, const PolicyChoice *choice,
                          const GError *error)
{
    const char *former = digest_of(policies, reconcile->former);

    if (error != NULL)
        return g_strdup(error->message);
    if (choice->policy == NULL)
        return g_strdup(former);
    return g_strdup_printf("%s %s %s %s %s", former, choice->policy->name, choice->policy->digest, choice->policy->path,
                           choice->reason);
}

/* enabled='no' beats everything. */
static bool choose_policy(const Reconcile *reconcile, const PolicySet *policies, PolicyChoice *ret_choice,
                          GError **error)
{
    if (reconcile->tag != NULL && !reconcile->tag->enabled) {
        *ret_choice = (PolicyChoice){.chosen = POLICY_CHOSEN_NONE};
        return true;
    }
    return policy_set_resolve(policies, reconcile->tag, reconcile->subject, ret_choice, error);
}

/**
 * Tells in one text what policies say of a domain that was decided on: as long as it is the same, a look would find
 * nothing else than before because of them.
 * @reconcile: what reconcile_decide() gave
 * Returns: to be freed with g_free(), or NULL if the policies did not come into it.
 */
char *reconcile_outcome(const Reconcile *reconcile, const PolicySet *policies)
{
    g_auto(PolicyChoice) choice = {0};
    g_autoptr(GError) error = NULL;

    if (reconcile->subject == NULL)
        return NULL;
    (void)choose_policy(reconcile, policies, &choice, &error);
    return outcome_text(reconcile, policies, &choice, error);
}

static void decide(Reconcile *out, const ReconcileInput *input, const DomainXml *xml, GError **error)
{
    bool live_only = false;
    g_autoptr(State) state = NULL;
    g_autoptr(Cpu) current = NULL;
    g_auto(PolicyChoice) choice = {0};

    read_identity(out, xml);
    current = cpu_from_domain(xml, error);
    if (current == NULL)
        return;
    out->cpu_mode = g_strdup(cpu_mode(current));
    if (!read_tag(xml, input, &out->tag, &live_only, error)) {
        out->tagged = true;
        return;
    }
    out->tagged = out->tag != NULL && out->tag->enabled;
    if (!state_parse(xml, &state, error))
        return;
    out->subject = subject_new(xml);
    out->former = state != NULL ? g_strdup(state->policy) : NULL;
    bool chosen = choose_policy(out, input->policies, &choice, error);
    out->outcome = outcome_text(out, input->policies, &choice, chosen ? NULL : *error);
    if (!chosen)
        return;
    bool off = out->tag != NULL && !out->tag->enabled;
    /* What was not rewritten has no state. */
    const char *matched_by = input->matched_by != NULL         ? input->matched_by
                             : state != NULL && state->matched ? state->policy
                                                               : NULL;
    if (!off && lost_its_policy(input->policies, matched_by, choice.chosen)) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY,
                    "the policy '%s', which took this domain by its [Match], is gone; the domain stays as it is. "
                    "Put the policy back, or tag the domain: with <nesting enabled='no'/> to restore the <cpu> of "
                    "before, with policy= to have another one",
                    matched_by);
        return;
    }
    g_clear_pointer(&out->matched_by, g_free);
    if (choice.policy == NULL) {
        decide_untagged(out, input, xml, state, current);
        return;
    }
    out->policy = g_strdup(choice.policy->name);
    out->policy_path = g_strdup(choice.policy->path);
    out->policy_reason = g_strdup(choice.reason);
    out->guard = choice.policy->guard;
    if (choice.chosen == POLICY_CHOSEN_BY_MATCH)
        out->matched_by = g_strdup(choice.policy->name);
    if (may_apply(out, input, choice.policy))
        decide_with_policy(out, input, xml, state, current, &choice);
    if (live_only && out->state == RECONCILE_PENDING_RESTART)
        reconcile_set_state(out, RECONCILE_PENDING_RESTART,
                            "the tag is on the running guest alone and goes with it, before the new CPU comes; set it "
                            "with --config too");
}

/**
 * Decides what should become of a domain. Pure: it reads nothing but @input.
 * Returns: to be freed with reconcile_free(); every failure is in its state and reason, with new_xml NULL.
 */
Reconcile *reconcile_decide(const ReconcileInput *input)
{
    g_autoptr(Reconcile) out = g_new0(Reconcile, 1);
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainXml) xml = domain_xml_parse(input->xml, -1, &error);

    out->conflicts = g_ptr_array_new_with_free_func(g_free);
    out->reason = g_strdup("");
    out->matched_by = g_strdup(input->matched_by);
    if (xml != NULL)
        decide(out, input, xml, &error);
    if (error != NULL)
        set_error_state(out, error);
    out->policy_unknown = error != NULL && out->policy == NULL;
    return g_steal_pointer(&out);
}
