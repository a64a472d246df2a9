/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/reconcile.c: policies that come, match, change and go. */

#include "lib/reconcile.h"

#include "tests/unit/util.h"
#include <string.h>
#include <unistd.h>

#define NAMESPACE "xmlns='urn:virtnest:domain:1'"
#define TAG "<nesting " NAMESPACE "/>"
#define TAG_OFF "<nesting " NAMESPACE " enabled='no'/>"
#define TAG_OF(policy) "<nesting " NAMESPACE " policy='" policy "'/>"

/* Policies of [Match] ---------------------------------------------------------------------------------------------- */

#define POLICY_D VIRTNEST_SYSCONFDIR "/policy.d/"

static PolicySet *load_policies(const UtilRoot *root)
{
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    PolicySet *set = policy_set_load(root->path, errors);

    g_assert_cmpuint(errors->len, ==, 0);
    g_assert_nonnull(set);
    return set;
}

static Reconcile *decide_by(const PolicySet *policies, const HostFacts *host, const char *xml)
{
    const ReconcileInput input = {.xml = xml, .persistent = true, .policies = policies, .host = host};

    return reconcile_decide(&input);
}

/* The definition after a policy with Tagged=no took an untagged domain, and all that the tests below change. */
typedef struct Matched {
    UtilRoot *root;
    char *text;    /* before */
    char *new_xml; /* and after */
} Matched;

static void matched_clear(Matched *matched)
{
    g_clear_pointer(&matched->root, util_root_free);
    g_clear_pointer(&matched->text, g_free);
    g_clear_pointer(&matched->new_xml, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Matched, matched_clear)

static Matched matched_new(const char *domain)
{
    Matched matched = {.root = util_root_new(), .text = util_domain(domain)};

    util_root_write(matched.root, POLICY_D "default.policy", "[CPU]\nMode=keep\n");
    util_root_write(matched.root, POLICY_D "fleet.policy", "[Match]\nName=*\nTagged=no\n[CPU]\nRequire=x2apic\n");
    g_autoptr(PolicySet) set = load_policies(matched.root);
    g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, matched.text);
    util_assert_state(r, RECONCILE_IN_SYNC);
    g_assert_false(r->tagged);
    g_assert_cmpstr(r->policy, ==, "fleet");
    util_assert_contains(r->policy_path, "fleet.policy");
    util_assert_contains(r->policy_reason, "Name=*");
    util_assert_contains(r->new_xml, " chosen=\"match\"");
    util_assert_contains(r->new_xml, "name=\"x2apic\"");
    g_autoptr(Reconcile) again = decide_by(set, &util_amd_host, r->new_xml);
    util_assert_state(again, RECONCILE_IN_SYNC);
    g_assert_null(again->new_xml);
    matched.new_xml = g_strdup(r->new_xml);
    return matched;
}

/* Every kind of document, and back to its bytes once the [Match] takes it no longer. */
static void test_match_narrowed(void)
{
    for (gsize i = 0; util_domains[i] != NULL; i++) {
        if (strcmp(util_domains[i], "nova") == 0)
            continue;
        g_test_message("%s", util_domains[i]);
        g_auto(Matched) matched = matched_new(util_domains[i]);
        util_root_write(matched.root, POLICY_D "fleet.policy", "[Match]\nName=no-such\nTagged=no\n");
        g_autoptr(PolicySet) set = load_policies(matched.root);
        g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, matched.new_xml);
        util_assert_state(r, RECONCILE_UNTAGGED);
        g_assert_null(r->policy);
        util_assert_same(r->new_xml, matched.text);

        util_root_write(matched.root, POLICY_D "fleet.policy", "[Match]\nName=*\nTagged=yes\n");
        g_autoptr(PolicySet) tagged_only = load_policies(matched.root);
        g_autoptr(Reconcile) s = decide_by(tagged_only, &util_amd_host, matched.new_xml);
        util_assert_same(s->new_xml, matched.text);
    }
}

/* A tag that names no policy is no answer to where the policy is. */
static void test_match_vanished(void)
{
    g_auto(Matched) matched = matched_new("linux-9");
    g_autofree char *path = util_root_path(matched.root, POLICY_D "fleet.policy");
    g_autofree char *off = util_with_metadata(matched.new_xml, TAG_OFF), *on = util_with_metadata(matched.new_xml, TAG);
    g_autofree char *text_off = util_with_metadata(matched.text, TAG_OFF), *keep = NULL;

    g_assert_cmpint(unlink(path), ==, 0);
    g_autoptr(PolicySet) set = load_policies(matched.root);
    const char *const frozen[] = {matched.new_xml, on};
    for (gsize i = 0; i < G_N_ELEMENTS(frozen); i++) {
        g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, frozen[i]);
        util_assert_state(r, RECONCILE_ERROR);
        g_assert_null(r->new_xml);
        util_assert_contains(r->reason, "'fleet'");
        util_assert_contains(r->reason, "enabled='no'");
    }
    /* No set at all is no reason to restore anything, either. */
    g_autoptr(Reconcile) none = decide_by(NULL, &util_amd_host, matched.new_xml);
    util_assert_state(none, RECONCILE_ERROR);
    g_assert_null(none->new_xml);

    g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, off);
    util_assert_state(r, RECONCILE_UNTAGGED);
    util_assert_same(r->new_xml, text_off);

    keep = util_with_metadata(matched.new_xml, TAG_OF("default"));
    g_autoptr(Reconcile) other = decide_by(set, &util_amd_host, keep);
    util_assert_state(other, RECONCILE_IN_SYNC);
    g_assert_cmpstr(other->policy, ==, "default");

    /* Put back, it goes on as if nothing had been. */
    util_root_write(matched.root, POLICY_D "fleet.policy", "[Match]\nName=*\nTagged=no\n[CPU]\nRequire=x2apic\n");
    g_autoptr(PolicySet) back = load_policies(matched.root);
    g_autoptr(Reconcile) same = decide_by(back, &util_amd_host, matched.new_xml);
    util_assert_state(same, RECONCILE_IN_SYNC);
    g_assert_null(same->new_xml);
}

/* Another policy that takes the domain by its own [Match] takes it over. */
static void test_match_replaced(void)
{
    g_auto(Matched) matched = matched_new("linux-9");
    g_autofree char *path = util_root_path(matched.root, POLICY_D "fleet.policy");

    g_assert_cmpint(unlink(path), ==, 0);
    util_root_write(matched.root, POLICY_D "heir.policy", "[Match]\nName=*\nTagged=no\n[CPU]\nRequire=avx2\n");
    g_autoptr(PolicySet) set = load_policies(matched.root);
    g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, matched.new_xml);
    util_assert_state(r, RECONCILE_IN_SYNC);
    g_assert_cmpstr(r->policy, ==, "heir");
    util_assert_contains(r->new_xml, "name=\"avx2\"");
    util_assert_lacks(r->new_xml, "name=\"x2apic\"/>\n  </cpu>");
    util_root_write(matched.root, POLICY_D "heir.policy", "[Match]\nName=x\nTagged=no\n");
    g_autoptr(PolicySet) narrowed = load_policies(matched.root);
    g_autoptr(Reconcile) back = decide_by(narrowed, &util_amd_host, r->new_xml);
    util_assert_same(back->new_xml, matched.text);
}

/* One with the same CPU takes over what it finds, and the <cpu> of before comes back when it goes. */
static void test_match_renamed(void)
{
    g_auto(Matched) matched = matched_new("linux-9");
    g_autofree char *path = util_root_path(matched.root, POLICY_D "fleet.policy");

    g_assert_cmpint(unlink(path), ==, 0);
    util_root_write(matched.root, POLICY_D "heir.policy", "[Match]\nName=*\nTagged=no\n[CPU]\nRequire=x2apic\n");
    g_autoptr(PolicySet) set = load_policies(matched.root);
    g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, matched.new_xml);
    g_autofree char *renamed = util_replace(matched.new_xml, "policy=\"fleet\"", "policy=\"heir\"");
    util_assert_state(r, RECONCILE_IN_SYNC);
    util_assert_same(r->new_xml, renamed);
    g_assert_null(r->probe_cpu);
    util_assert_contains(r->summary, "policy 'heir'");
    g_autoptr(Reconcile) again = decide_by(set, &util_amd_host, r->new_xml);
    g_assert_null(again->new_xml);
    /* Chosen by a tag it is another matter. */
    g_autofree char *tagged = util_with_metadata(matched.new_xml, TAG_OF("heir"));
    g_autoptr(Reconcile) by_tag = decide_by(set, &util_amd_host, tagged);
    util_assert_lacks(by_tag->new_xml, "chosen=");

    util_root_write(matched.root, POLICY_D "heir.policy", "[Match]\nName=x\nTagged=no\n");
    g_autoptr(PolicySet) narrowed = load_policies(matched.root);
    g_autoptr(Reconcile) back = decide_by(narrowed, &util_amd_host, r->new_xml);
    util_assert_same(back->new_xml, matched.text);
}

/* What had nothing to be written has no state that tells. */
static void test_match_unwritten(void)
{
    g_auto(Matched) matched = matched_new("linux-9");
    g_autofree char *path = util_root_path(matched.root, POLICY_D "fleet.policy");
    g_autofree char *off = util_with_metadata(matched.text, TAG_OFF);
    g_autoptr(PolicySet) before = load_policies(matched.root);
    g_autoptr(Reconcile) taken = decide_by(before, &util_amd_host, matched.text);
    ReconcileInput input = {
        .xml = matched.text, .persistent = true, .host = &util_amd_host, .matched_by = taken->matched_by};

    g_assert_cmpstr(taken->matched_by, ==, "fleet");
    g_assert_cmpint(unlink(path), ==, 0);
    g_autoptr(PolicySet) set = load_policies(matched.root);
    input.policies = set;
    g_autoptr(Reconcile) lost = reconcile_decide(&input);
    util_assert_state(lost, RECONCILE_ERROR);
    util_assert_contains(lost->reason, "'fleet'");
    g_assert_true(lost->policy_unknown);
    g_assert_cmpstr(lost->matched_by, ==, "fleet");
    g_assert_null(lost->new_xml);

    input.xml = off;
    g_autoptr(Reconcile) disabled = reconcile_decide(&input);
    util_assert_state(disabled, RECONCILE_UNTAGGED);
    g_assert_false(disabled->policy_unknown);
    g_assert_null(disabled->matched_by);

    input.xml = matched.text;
    util_root_write(matched.root, POLICY_D "fleet.policy", "[Match]\nName=x\nTagged=no\n");
    g_autoptr(PolicySet) narrowed = load_policies(matched.root);
    input.policies = narrowed;
    g_autoptr(Reconcile) free = reconcile_decide(&input);
    util_assert_state(free, RECONCILE_UNTAGGED);
    g_assert_null(free->matched_by);
}

static void test_match_disabled(void)
{
    g_auto(Matched) matched = matched_new("linux-9");
    g_autoptr(PolicySet) set = load_policies(matched.root);
    g_autofree char *off = util_with_metadata(matched.text, TAG_OFF);
    g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, off);

    util_assert_state(r, RECONCILE_UNTAGGED);
    g_assert_null(r->policy);
    g_assert_null(r->new_xml);
}

static void test_match_tie(void)
{
    g_auto(Matched) matched = matched_new("linux-9");

    util_root_write(matched.root, POLICY_D "other.policy", "[Match]\nOS=http://debian.org/*\nTagged=no\n");
    g_autoptr(PolicySet) set = load_policies(matched.root);
    const char *const texts[] = {matched.text, matched.new_xml};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, texts[i]);
        util_assert_state(r, RECONCILE_ERROR);
        g_assert_null(r->new_xml);
        util_assert_contains(r->reason, "'fleet'");
        util_assert_contains(r->reason, "'other'");
    }
}

/* Not frozen but wrong: what the tag says counts, and it names nothing. */
static void test_tag_of_vanished(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *path = util_root_path(root, POLICY_D "lab.policy"), *text = util_tagged("linux-9", TAG_OF("lab"));

    util_root_write(root, POLICY_D "lab.policy", "[CPU]\n");
    g_autoptr(PolicySet) set = load_policies(root);
    g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, text);
    util_assert_contains(r->new_xml, "virtnest:state");
    util_assert_lacks(r->new_xml, "chosen=\"match\"");
    g_assert_cmpint(unlink(path), ==, 0);
    g_autoptr(PolicySet) without = load_policies(root);
    g_autoptr(Reconcile) gone = decide_by(without, &util_amd_host, r->new_xml);
    util_assert_state(gone, RECONCILE_ERROR);
    g_assert_null(gone->new_xml);
    util_assert_contains(gone->reason, "'lab' does not exist");
    /* Without the tag it goes back, though the policy is not there to say so. */
    g_autofree char *untagged = util_replace(r->new_xml, TAG_OF("lab"), "");
    g_autofree char *before = util_replace(text, TAG_OF("lab"), "");
    g_autoptr(Reconcile) back = decide_by(without, &util_amd_host, untagged);
    util_assert_state(back, RECONCILE_UNTAGGED);
    util_assert_same(back->new_xml, before);
}

static void test_apply_unready(void)
{
    static const HostFacts off = {
        .is_x86 = true, .vendor = HOST_VENDOR_AMD, .has_feature = true, .module_loaded = true};
    static const HostFacts unknown = {.is_x86 = true};
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *text = util_tagged("linux-9", TAG);

    util_root_write(root, POLICY_D "default.policy", "[Host]\nOnNotReady=apply\n");
    g_autoptr(PolicySet) set = load_policies(root);
    g_autoptr(Reconcile) r = decide_by(set, &off, text);
    util_assert_state(r, RECONCILE_HOST_NOT_READY);
    util_assert_contains(r->reason, "virtnestctl host enable");
    util_assert_contains(r->new_xml, "<feature policy=\"require\" name=\"svm\"/>");
    g_assert_null(r->probe_cpu);
    g_assert_nonnull(r->summary);

    g_autoptr(Reconcile) again = decide_by(set, &off, r->new_xml);
    util_assert_state(again, RECONCILE_HOST_NOT_READY);
    util_assert_contains(again->reason, "virtnestctl host enable");
    g_assert_null(again->new_xml);
    g_autoptr(Reconcile) ready = decide_by(set, &util_amd_host, r->new_xml);
    util_assert_state(ready, RECONCILE_IN_SYNC);
    g_assert_null(ready->new_xml);

    /* Where nobody knows which feature it would be, nothing can be written. */
    g_autoptr(Reconcile) nothing = decide_by(set, &unknown, text);
    util_assert_state(nothing, RECONCILE_HOST_NOT_READY);
    g_assert_null(nothing->new_xml);
}

/* Outcomes -------------------------------------------------------------------------------------------------------- */

/* What the policies of a root say of a decision. */
static char *outcome_of(const Reconcile *r, const UtilRoot *root)
{
    g_autoptr(PolicySet) set = load_policies(root);

    return reconcile_outcome(r, set);
}

static void assert_outcome(const Reconcile *r, const UtilRoot *root, bool same)
{
    g_autofree char *outcome = outcome_of(r, root);

    g_assert_nonnull(outcome);
    g_assert_cmpint(strcmp(outcome, r->outcome) == 0, ==, same);
}

#define FLEET(rest) "[Match]\nName=*\nTagged=no\n[CPU]\nRequire=x2apic\n" rest

static void test_outcome(void)
{
    g_auto(Matched) matched = matched_new("linux-9");
    g_autoptr(PolicySet) set = load_policies(matched.root);
    g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, matched.new_xml);

    assert_outcome(r, matched.root, true);
    g_autofree char *of_same = reconcile_outcome(r, set);
    g_assert_cmpstr(of_same, ==, r->outcome);
    /* Others come, go and change. */
    util_root_write(matched.root, POLICY_D "default.policy", "[CPU]\nMode=host-passthrough\n");
    assert_outcome(r, matched.root, true);
    util_root_write(matched.root, POLICY_D "x.policy", "[Match]\nName=*\nPriority=9\n");
    assert_outcome(r, matched.root, true);
    util_root_write(matched.root, POLICY_D "fleet.policy", FLEET("# a comment\n"));
    assert_outcome(r, matched.root, true);

    util_root_write(matched.root, POLICY_D "fleet.policy", FLEET("Disable=mpx\n"));
    assert_outcome(r, matched.root, false);
    util_root_write(matched.root, POLICY_D "fleet.policy", FLEET("[Guard]\nBlockWhen=never\n"));
    assert_outcome(r, matched.root, false);
    util_root_write(matched.root, POLICY_D "fleet.policy", FLEET("[Host]\nOnNotReady=apply\n"));
    assert_outcome(r, matched.root, false);
    util_root_write(matched.root, POLICY_D "fleet.policy", "[Match]\nName=x\nTagged=no\n[CPU]\nRequire=x2apic\n");
    assert_outcome(r, matched.root, false);
    util_root_write(matched.root, POLICY_D "fleet.policy", FLEET(""));
    assert_outcome(r, matched.root, true);
    /* One that takes the domain away, and one that makes the choice impossible. */
    util_root_write(matched.root, POLICY_D "x.policy", "[Match]\nName=*\nPriority=9\nTagged=no\n");
    assert_outcome(r, matched.root, false);
    util_root_write(matched.root, POLICY_D "x.policy", "[Match]\nName=*\nTagged=no\n");
    assert_outcome(r, matched.root, false);
    util_root_write(matched.root, POLICY_D "x.policy", "");
    assert_outcome(r, matched.root, true);
    util_root_write(matched.root, POLICY_D "fleet.policy", "");
    assert_outcome(r, matched.root, false);
}

/* No policy is for it; of those that there are none matters until one takes it. */
static void test_outcome_of_none(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *text = util_domain("linux-9");

    util_root_write(root, POLICY_D "default.policy", "[CPU]\n");
    g_autoptr(PolicySet) set = load_policies(root);
    g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, text);
    assert_outcome(r, root, true);
    util_root_write(root, POLICY_D "default.policy", "[CPU]\nMode=keep\n");
    assert_outcome(r, root, true);
    util_root_write(root, POLICY_D "x.policy", "[Match]\nName=build*\nTagged=no\n");
    assert_outcome(r, root, false);
}

/* The tag names it, and names one that is not there yet. */
static void test_outcome_of_tag(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *text = util_tagged("linux-9", TAG_OF("lab"));

    util_root_write(root, POLICY_D "default.policy", "[CPU]\n");
    g_autoptr(PolicySet) set = load_policies(root);
    g_autoptr(Reconcile) r = decide_by(set, &util_amd_host, text);
    util_assert_state(r, RECONCILE_ERROR);
    assert_outcome(r, root, true);
    util_root_write(root, POLICY_D "lab.policy", "[CPU]\n");
    assert_outcome(r, root, false);
    g_autoptr(PolicySet) with = load_policies(root);
    g_autoptr(Reconcile) s = decide_by(with, &util_amd_host, text);
    assert_outcome(s, root, true);
    util_root_write(root, POLICY_D "default.policy", "[CPU]\nMode=keep\n");
    assert_outcome(s, root, true);
    util_root_write(root, POLICY_D "lab.policy", "[CPU]\nMode=keep\n");
    assert_outcome(s, root, false);
}

/* A document that could not be read, and a tag that is wrong: no policy would change that. */
static void test_outcome_without_policies(void)
{
    static const char *const texts[] = {"<domain", "<x/>",
                                        "<domain><metadata><nesting " NAMESPACE " x=''/></metadata></domain>"};

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(Reconcile) r = util_decide(&util_amd_host, texts[i], NULL);
        g_autofree char *outcome = reconcile_outcome(r, util_all_policies());
        util_assert_state(r, RECONCILE_ERROR);
        g_assert_null(r->outcome);
        g_assert_null(outcome);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reconcile-policy/match/narrowed", test_match_narrowed);
    g_test_add_func("/reconcile-policy/match/vanished", test_match_vanished);
    g_test_add_func("/reconcile-policy/match/replaced", test_match_replaced);
    g_test_add_func("/reconcile-policy/match/renamed", test_match_renamed);
    g_test_add_func("/reconcile-policy/match/unwritten", test_match_unwritten);
    g_test_add_func("/reconcile-policy/match/disabled", test_match_disabled);
    g_test_add_func("/reconcile-policy/match/tie", test_match_tie);
    g_test_add_func("/reconcile-policy/tag-of-vanished", test_tag_of_vanished);
    g_test_add_func("/reconcile-policy/apply-unready", test_apply_unready);
    g_test_add_func("/reconcile-policy/outcome/match", test_outcome);
    g_test_add_func("/reconcile-policy/outcome/none", test_outcome_of_none);
    g_test_add_func("/reconcile-policy/outcome/tag", test_outcome_of_tag);
    g_test_add_func("/reconcile-policy/outcome/without-policies", test_outcome_without_policies);
    return g_test_run();
}
