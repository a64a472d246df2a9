/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/reconcile.c: what becomes of a domain, and that nothing else does. */

#include "lib/reconcile.h"

#include "tests/unit/util.h"
#include <string.h>

#define NAMESPACE "xmlns='urn:virtnest:domain:1'"
#define TAG "<nesting " NAMESPACE "/>"
#define TAG_OFF "<nesting " NAMESPACE " enabled='no'/>"
#define TAG_OF(policy) "<nesting " NAMESPACE " policy='" policy "'/>"

static const HostFacts intel_host = {
    .is_x86 = true, .vendor = HOST_VENDOR_INTEL, .has_feature = true, .module_loaded = true, .nested = HOST_NESTED_YES};

static Reconcile *decide(const char *xml)
{
    return util_decide(&util_amd_host, xml, NULL);
}

/* The document that is to be defined, which must be one that calls for nothing more. */
static char *rewritten(const char *xml)
{
    g_autoptr(Reconcile) r = decide(xml);

    util_assert_state(r, RECONCILE_IN_SYNC);
    g_assert_nonnull(r->new_xml);
    g_autoptr(Reconcile) again = decide(r->new_xml);
    util_assert_state(again, RECONCILE_IN_SYNC);
    g_assert_null(again->new_xml);
    return g_strdup(r->new_xml);
}

#define LIVE(model, x) \
    "<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>" model "</model>" x "</cpu>"
#define REQUIRE_SVM "<feature policy='require' name='svm'/>"
#define DISABLE_SVM "<feature policy='disable' name='svm'/>"

/* The way of one domain through all states ------------------------------------------------------------------------- */

static void test_untagged(void)
{
    for (gsize i = 0; util_domains[i] != NULL; i++) {
        g_autofree char *text = util_domain(util_domains[i]);
        g_autoptr(Reconcile) r = decide(text);
        util_assert_state(r, RECONCILE_UNTAGGED);
        g_assert_false(r->tagged);
        g_assert_cmpstr(r->reason, ==, "");
        g_assert_null(r->new_xml);
        g_assert_null(r->policy);
        g_assert_null(r->probe_cpu);
    }
}

static void test_disabled(void)
{
    g_autofree char *text = util_tagged("linux-9", "<nesting " NAMESPACE " enabled='no' policy='no-such'/>");
    g_autoptr(Reconcile) r = decide(text);

    util_assert_state(r, RECONCILE_UNTAGGED);
    g_assert_false(r->tagged);
    g_assert_null(r->new_xml);
}

static void test_shut_off(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autoptr(Reconcile) r = decide(text);

    util_assert_state(r, RECONCILE_IN_SYNC);
    g_assert_true(r->tagged);
    g_assert_cmpstr(r->reason, ==, "");
    g_assert_cmpstr(r->name, ==, "build-07");
    g_assert_cmpstr(r->policy, ==, "default");
    util_assert_contains(r->policy_path, "default.policy");
    g_assert_cmpstr(r->feature, ==, "svm");
    g_assert_cmpstr(r->cpu_mode, ==, "host-model");
    g_assert_cmpstr(r->wanted_cpu_mode, ==, "host-model");
    g_assert_cmpstr(r->virt_type, ==, "kvm");
    g_assert_cmpstr(r->arch, ==, "x86_64");
    g_assert_cmpstr(r->machine, ==, "pc-q35-7.2");
    g_assert_cmpstr(r->emulator, ==, "/usr/bin/qemu-system-x86_64");
    g_assert_null(r->owner);
    g_assert_null(r->ambiguous_model);
    g_assert_cmpuint(r->conflicts->len, ==, 0);
    g_assert_cmpstr(r->summary, ==, "rewrite <cpu> from host-model to host-model with svm");

    g_autofree char *cpu = util_cpu_of(r->new_xml);
    g_assert_cmpstr(cpu, ==,
                    "<cpu mode=\"host-model\" check=\"partial\">\n"
                    "    <topology sockets=\"1\" dies=\"1\" cores=\"4\" threads=\"1\"/>\n"
                    "    <feature policy=\"require\" name=\"svm\"/>\n  </cpu>");
    g_assert_cmpstr(r->probe_cpu, ==, cpu);
    /* libvirt's own escapes elsewhere are as they were. */
    util_assert_contains(r->new_xml, "passwd='s&apos;cret&lt;'");
    util_assert_contains(r->new_xml, "<title>build &amp; test &lt;x86&gt;</title>");

    g_autoptr(Reconcile) again = decide(r->new_xml);
    util_assert_state(again, RECONCILE_IN_SYNC);
    g_assert_null(again->new_xml);
    g_assert_null(again->summary);
    g_assert_null(again->probe_cpu);
}

static void test_absent_cpu(void)
{
    g_autofree char *text = util_tagged("minimal", TAG);
    g_autoptr(Reconcile) r = decide(text);

    g_assert_cmpstr(r->cpu_mode, ==, "");
    g_assert_cmpstr(r->summary, ==, "rewrite <cpu> from none to host-model with svm");
    util_assert_contains(r->new_xml, "</os>\n  <cpu mode=\"host-model\" check=\"partial\">\n"
                                     "    <feature policy=\"require\" name=\"svm\"/>\n  </cpu>\n  <clock");
}

static void test_strange_identity(void)
{
    g_autofree char *text = util_domain("odd");
    g_autoptr(Reconcile) r = decide(text);

    g_assert_cmpstr(r->name, ==, "odd <cpu mode='host-model'>");
    g_assert_cmpstr(r->emulator, ==, "/usr/bin/qemu-system-x86_64");
    g_autofree char *utf8 = util_domain("utf8");
    g_autoptr(Reconcile) s = decide(utf8);
    util_assert_contains(s->name, "\xf0\x9f\x90\x8e");
}

static void test_intel(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autoptr(Reconcile) r = util_decide(&intel_host, text, NULL);

    g_assert_cmpstr(r->feature, ==, "vmx");
    util_assert_contains(r->new_xml, "name=\"vmx\"/>");
    util_assert_lacks(r->new_xml, "svm");
}

/* The definition moves to a host of the other vendor. */
static void test_vendor_change(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autofree char *on_amd = rewritten(text);
    g_autoptr(Reconcile) r = util_decide(&intel_host, on_amd, NULL);
    g_autofree char *cpu = util_cpu_of(r->new_xml);

    util_assert_contains(cpu, "vmx");
    util_assert_lacks(cpu, "svm");
    g_autofree char *untagged = util_replace(r->new_xml, TAG, TAG_OFF), *back = util_restored(untagged);
    g_autofree char *expected = util_replace(text, TAG, TAG_OFF);
    util_assert_same(back, expected);
}

static void test_running(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autofree char *old_live = util_with_cpu(text, LIVE("EPYC-Rome", DISABLE_SVM));
    g_autoptr(Reconcile) first = util_decide(&util_amd_host, text, old_live);

    util_assert_state(first, RECONCILE_PENDING_RESTART);
    g_assert_nonnull(first->new_xml);
    util_assert_contains(first->reason, "shut it down and start it again");
    /* Written once; what remains is to wait. */
    g_autoptr(Reconcile) second = util_decide(&util_amd_host, first->new_xml, old_live);
    util_assert_state(second, RECONCILE_PENDING_RESTART);
    g_assert_null(second->new_xml);
    g_assert_null(second->ambiguous_model);
    g_autofree char *new_live = util_with_cpu(first->new_xml, LIVE("EPYC-Rome", REQUIRE_SVM));
    g_autoptr(Reconcile) third = util_decide(&util_amd_host, first->new_xml, new_live);
    /* In sync if host-model expands to that model, which is for libvirt to say. */
    g_assert_cmpstr(third->ambiguous_model, ==, "EPYC-Rome");
    g_autofree char *passthrough = util_tagged("linux-9", TAG_OF("passthrough"));
    g_autofree char *written = rewritten(passthrough);
    g_autoptr(Reconcile) fourth = util_decide(&util_amd_host, written, written);
    util_assert_state(fourth, RECONCILE_IN_SYNC);
    g_assert_cmpstr(fourth->reason, ==, "");
}

/* A tag that goes with the guest cannot lead to another CPU: say so. */
static void test_running_live_tag(void)
{
    g_autofree char *live = util_tagged("linux-9", TAG);
    g_autofree char *text = util_replace(live, TAG, "");
    g_autoptr(Reconcile) r = util_decide(&util_amd_host, text, live);

    util_assert_state(r, RECONCILE_PENDING_RESTART);
    g_assert_true(r->tagged);
    util_assert_contains(r->reason, "with --config too");
}

/* A named model with svm before, and the live guest shows it: host-model may expand to just that. */
static void test_running_ambiguous(void)
{
    g_autofree char *plain = util_tagged("linux-9", TAG);
    g_autofree char *text = util_with_cpu(
        plain, "<cpu mode='custom' match='exact' check='partial'><model>EPYC</model>" REQUIRE_SVM "</cpu>");
    g_autofree char *live = util_with_cpu(text, LIVE("EPYC", REQUIRE_SVM));
    g_autoptr(Reconcile) first = util_decide(&util_amd_host, text, live);

    util_assert_state(first, RECONCILE_PENDING_RESTART);
    g_assert_cmpstr(first->ambiguous_model, ==, "EPYC");
    g_autoptr(Reconcile) second = util_decide(&util_amd_host, first->new_xml, live);
    util_assert_state(second, RECONCILE_PENDING_RESTART);
    g_assert_cmpstr(second->ambiguous_model, ==, "EPYC");
    g_assert_null(second->new_xml);
}

static Reconcile *decide_saved(const char *xml, const char *saved_xml)
{
    const ReconcileInput input = {.xml = xml,
                                  .saved_xml = saved_xml,
                                  .persistent = true,
                                  .has_managed_save = true,
                                  .policies = util_all_policies(),
                                  .host = &util_amd_host};

    return reconcile_decide(&input);
}

static void test_managed_save(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autoptr(Reconcile) unreadable = decide_saved(text, NULL);

    util_assert_state(unreadable, RECONCILE_MANAGED_SAVE);
    g_assert_nonnull(unreadable->new_xml);
    util_assert_contains(unreadable->reason, "managed-save");
    g_autofree char *old = util_with_cpu(text, LIVE("EPYC-Rome", ""));
    g_autoptr(Reconcile) stale = decide_saved(unreadable->new_xml, old);
    util_assert_state(stale, RECONCILE_MANAGED_SAVE);
    g_assert_null(stale->new_xml);
    g_autofree char *new = util_with_cpu(text, LIVE("EPYC-Rome", REQUIRE_SVM));
    g_autoptr(Reconcile) current = decide_saved(unreadable->new_xml, new);
    g_assert_cmpstr(current->ambiguous_model, ==, "EPYC-Rome");
    g_assert_null(stale->ambiguous_model);
    g_autoptr(Reconcile) damaged = decide_saved(unreadable->new_xml, "<domain>");
    util_assert_state(damaged, RECONCILE_ERROR);
    g_assert_null(damaged->new_xml);
}

static Reconcile *decide_transient(const char *xml)
{
    const ReconcileInput input = {.xml = xml, .live_xml = xml, .policies = util_all_policies(), .host = &util_amd_host};

    return reconcile_decide(&input);
}

static void test_transient(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autoptr(Reconcile) r = decide_transient(text);

    util_assert_state(r, RECONCILE_TRANSIENT);
    g_assert_true(r->tagged);
    g_assert_null(r->new_xml);
    util_assert_contains(r->reason, "no persistent definition");
}

/* Created from a dump of a rewritten domain: defining anything would make it persistent. */
static void test_transient_untagged(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autofree char *with_state = rewritten(text), *untagged = util_replace(with_state, TAG, "");
    g_autoptr(Reconcile) r = decide_transient(untagged);

    util_assert_state(r, RECONCILE_UNTAGGED);
    g_assert_null(r->new_xml);
}

/* Hosts ----------------------------------------------------------------------------------------------------------- */

typedef struct HostCase {
    const char *name;
    const char *cpuinfo;
    const char *nested_path; /* and what it contains */
    const char *nested;
    const char *reason; /* NULL: ready */
} HostCase;

static const HostCase host_cases[] = {
    {"intel-off", "vendor_id\t: GenuineIntel\nflags\t\t: fpu vmx\n\n", "sys/module/kvm_intel/parameters/nested", "N\n",
     "`virtnestctl host enable --now`"},
    {"amd-off", "vendor_id\t: AuthenticAMD\nflags\t\t: fpu svm\n\n", "sys/module/kvm_amd/parameters/nested", "0\n",
     "`virtnestctl host enable --now`"},
    {"amd-on", "vendor_id\t: AuthenticAMD\nflags\t\t: fpu svm\n\n", "sys/module/kvm_amd/parameters/nested", "1\n",
     NULL},
    {"hygon-on", "vendor_id\t: HygonGenuine\nflags\t\t: fpu svm\n\n", "sys/module/kvm_amd/parameters/nested", "1\n",
     NULL},
    {"no-module", "vendor_id\t: AuthenticAMD\nflags\t\t: fpu svm\n\n", NULL, NULL, "modprobe kvm_amd"},
    {"no-flag", "vendor_id\t: GenuineIntel\nflags\t\t: fpu\n\n", "sys/module/kvm_intel/parameters/nested", "Y\n",
     "firmware"},
    {"other", "vendor_id\t: CentaurHauls\nflags\t\t: fpu vmx\n\n", "sys/module/kvm_intel/parameters/nested", "Y\n",
     "neither Intel nor AMD"},
    {"nothing", "", NULL, NULL, "neither Intel nor AMD"},
};

static void test_host(gconstpointer data)
{
    const HostCase *c = data;
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *kvm = util_tagged("linux-9", TAG), *tcg = util_tagged("tcg", TAG);

    util_root_write(root, "proc/cpuinfo", c->cpuinfo);
    if (c->nested_path != NULL)
        util_root_write(root, c->nested_path, c->nested);
    HostFacts facts = host_facts_read(root->path);

    g_autoptr(Reconcile) r = util_decide(&facts, kvm, NULL);
    if (c->reason != NULL) {
        util_assert_state(r, RECONCILE_HOST_NOT_READY);
        util_assert_contains(r->reason, c->reason);
        g_assert_null(r->new_xml);
    } else {
        util_assert_state(r, RECONCILE_IN_SYNC);
        g_assert_nonnull(r->new_xml);
    }

    /* QEMU's TCG emulates SVM on any of them. */
    g_autoptr(Reconcile) emulated = util_decide(&facts, tcg, NULL);
    util_assert_state(emulated, RECONCILE_IN_SYNC);
    g_assert_cmpstr(emulated->feature, ==, "svm");
    util_assert_contains(emulated->new_xml, "name=\"svm\"/>");
}

/* The way back needs nothing of the host. */
static void test_untag_on_unready_host(void)
{
    const HostFacts nothing = {0};
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autofree char *new_xml = rewritten(text), *untagged = util_replace(new_xml, TAG, TAG_OFF);
    g_autoptr(Reconcile) r = util_decide(&nothing, untagged, NULL);
    g_autofree char *expected = util_replace(text, TAG, TAG_OFF);

    util_assert_state(r, RECONCILE_UNTAGGED);
    util_assert_same(r->new_xml, expected);
}

/* Owners ---------------------------------------------------------------------------------------------------------- */

static void test_owned(void)
{
    g_autofree char *text = util_tagged("nova", TAG);
    g_autoptr(Reconcile) r = decide(text);

    util_assert_state(r, RECONCILE_OWNED);
    g_assert_cmpstr(r->owner, ==, "OpenStack nova");
    g_assert_null(r->new_xml);
    util_assert_contains(r->reason, "OpenStack nova");
    util_assert_contains(r->reason, "RewriteOwned=yes");
}

static void test_owned_allowed(void)
{
    g_autofree char *text = util_tagged("nova", TAG_OF("owned"));
    g_autofree char *new_xml = rewritten(text);
    g_autofree char *cpu = util_cpu_of(new_xml);

    util_assert_contains(cpu, "svm");
    util_assert_contains(new_xml, "<nova:name>lab-l1</nova:name>");
}

/* What such a policy wrote it takes out again when the tag goes. */
static void test_owned_untagged(void)
{
    g_autofree char *text = util_tagged("nova", TAG_OF("owned"));
    g_autofree char *new_xml = rewritten(text);
    g_autofree char *untagged = util_replace(new_xml, TAG_OF("owned"), "");
    g_autofree char *before = util_replace(text, TAG_OF("owned"), "");
    g_autoptr(Reconcile) r = decide(untagged);

    util_assert_state(r, RECONCILE_UNTAGGED);
    g_assert_cmpstr(r->new_xml, ==, before);
}

/* A manager took the domain over after virtnest had rewritten it. */
static void test_owned_later(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autofree char *new_xml = rewritten(text);
    g_autofree char *untagged = util_replace(new_xml, TAG, "<k xmlns='http://kubevirt.io'/>");
    g_autoptr(Reconcile) r = decide(untagged);

    util_assert_state(r, RECONCILE_OWNED);
    g_assert_null(r->new_xml);
    util_assert_contains(r->reason, "KubeVirt");
}

/* Errors ---------------------------------------------------------------------------------------------------------- */

static void assert_error(const char *xml, const char *live_xml, const char *reason)
{
    g_autoptr(Reconcile) r = util_decide(&util_amd_host, xml, live_xml);

    util_assert_state(r, RECONCILE_ERROR);
    g_assert_null(r->new_xml);
    g_assert_null(r->probe_cpu);
    util_assert_contains(r->reason, reason);
}

static void test_error_document(void)
{
    assert_error("", NULL, "empty");
    assert_error("<domain>", NULL, "not well-formed");
    assert_error("<network/>", NULL, "expected a <domain>");
    assert_error("<!DOCTYPE domain><domain/>", NULL, "document type");
}

static void test_error_tag(void)
{
    g_autofree char *bad = util_tagged("linux-9", "<nesting " NAMESPACE " polcy='lab'/>");
    g_autoptr(Reconcile) r = decide(bad);

    util_assert_state(r, RECONCILE_ERROR);
    util_assert_contains(r->reason, "polcy");
    g_assert_true(r->tagged);
    g_assert_null(r->new_xml);

    g_autofree char *live = util_tagged("linux-9", "<nesting " NAMESPACE " enabled='maybe'/>"),
                    *plain = util_domain("linux-9");
    assert_error(plain, live, "enabled='maybe'");
    assert_error(plain, "<domain", "not well-formed");
}

/* A tag that went bad after the rewrite leaves the domain as it is. */
static void test_error_tag_after_rewrite(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autofree char *new_xml = rewritten(text), *bad = util_replace(new_xml, TAG, "<nest " NAMESPACE "/>");

    assert_error(bad, NULL, "<nest>");
}

static void test_error_policy(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG_OF("no-such"));
    g_autofree char *plain = util_tagged("linux-9", TAG);
    const ReconcileInput input = {.xml = plain, .persistent = true, .host = &util_amd_host};
    g_autoptr(Reconcile) none = reconcile_decide(&input);

    assert_error(text, NULL, "'no-such' does not exist");
    util_assert_state(none, RECONCILE_ERROR);
    util_assert_contains(none->reason, "no policies are loaded");
}

static void test_error_kind_of_guest(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autofree char *arm = util_replace(text, "arch='x86_64'", "arch='aarch64'");
    g_autofree char *no_arch = util_replace(text, " arch='x86_64'", "");
    g_autofree char *xen = util_replace(text, "type='kvm'", "type='xen'");
    g_autofree char *no_type = util_replace(text, " type='kvm'", "");
    g_autofree char *small = util_replace(text, "arch='x86_64'", "arch='i686'");
    g_autofree char *fine = rewritten(small);

    assert_error(arm, NULL, "aarch64");
    assert_error(no_arch, NULL, "x86 only");
    assert_error(xen, NULL, "type='xen'");
    assert_error(no_type, NULL, "type=''");
    util_assert_contains(fine, "svm");
}

static void test_error_keep_without_model(void)
{
    g_autofree char *absent = util_tagged("minimal", TAG_OF("keep")), *topology = util_tagged("utf8", TAG_OF("keep"));

    assert_error(absent, NULL, "names no model");
    assert_error(topology, NULL, "names no model");
}

static void test_error_tcg_passthrough(void)
{
    g_autofree char *text = util_tagged("tcg", TAG_OF("passthrough"));
    g_autofree char *kept = util_tagged("tcg", TAG_OF("keep"));
    g_autofree char *own = util_with_cpu(kept, "<cpu mode='host-passthrough'/>");

    assert_error(text, NULL, "needs KVM");
    assert_error(own, NULL, "needs KVM");
}

static void test_error_cpu(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autofree char *twice = util_with_cpu(text, "<cpu mode='host-model'>" REQUIRE_SVM DISABLE_SVM "</cpu>");

    assert_error(twice, NULL, "'svm' twice");
}

static void test_error_state(void)
{
    g_autofree char *text = util_tagged("linux-9", TAG);
    g_autofree char *new_xml = rewritten(text);
    g_autofree char *newer = util_replace(new_xml, "version=\"1\"", "version=\"2\"");
    g_autofree char *newer_untagged = util_replace(newer, TAG, "");
    g_autofree char *damaged = util_replace(new_xml, "<virtnest:previous>&lt;cpu", "<virtnest:previous>&lt;cpus");

    assert_error(newer, NULL, "update virtnest");
    assert_error(newer_untagged, NULL, "update virtnest");
    assert_error(damaged, NULL, "damaged");
}

/* Tags of the live definition ------------------------------------------------------------------------------------- */

/* Each <metadata> that the persistent definition may have, with the tag only in the live one. */
static void test_live_tag(void)
{
    static const char *const names[] = {"minimal", "tcg", "maximum", "linux-9", "numa-hugepages", "qemu-commandline"};
    g_autofree char *live_base = util_tagged("linux-9", TAG);
    g_autofree char *live = util_with_cpu(live_base, LIVE("EPYC", ""));

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *text = util_domain(names[i]);
        g_autoptr(Reconcile) r = util_decide(&util_amd_host, text, live);
        util_assert_state(r, RECONCILE_PENDING_RESTART);
        g_assert_true(r->tagged);
        g_assert_nonnull(r->new_xml);
        g_autoptr(Reconcile) again = util_decide(&util_amd_host, r->new_xml, live);
        g_assert_null(again->new_xml);
        g_autofree char *back = util_restored(r->new_xml);
        util_assert_same(back, text);
        /* Even if libvirt has written <metadata> anew in between. */
        g_autofree char *formatted = util_libvirt_metadata(r->new_xml), *formatted_back = util_restored(formatted);
        g_autofree char *expected = util_libvirt_metadata(text), *found = util_libvirt_metadata(formatted_back);
        util_assert_same(found, expected);
    }
}

static void test_live_tag_yields(void)
{
    g_autofree char *off = util_tagged("linux-9", "<nesting " NAMESPACE " enabled='no'/>"),
                    *live = util_tagged("linux-9", TAG);
    g_autofree char *own = util_tagged("linux-9", TAG_OF("passthrough")),
                    *bad_live = util_tagged("linux-9", "<nest " NAMESPACE "/>");
    g_autoptr(Reconcile) disabled = util_decide(&util_amd_host, off, live);
    g_autoptr(Reconcile) other = util_decide(&util_amd_host, own, bad_live);

    util_assert_state(disabled, RECONCILE_UNTAGGED);
    g_assert_cmpstr(other->policy, ==, "passthrough");
}

/* A document in which both edits touch each other. */
static void test_edits_touch(void)
{
    static const char text[] =
        "<domain type='kvm'><os><type arch='x86_64'>hvm</type></os><name>a</name><cpu mode='host-model'/>"
        "</domain>";
    static const char live[] =
        "<domain type='kvm'><name>a</name><metadata>" TAG "</metadata><cpu mode='host-model'/></domain>";
    static const char without[] = "<domain type='kvm'><name>a</name><os><type arch='x86_64'>hvm</type></os></domain>";
    g_autoptr(Reconcile) r = util_decide(&util_amd_host, text, live);

    g_assert_nonnull(r->new_xml);
    g_autofree char *back = util_restored(r->new_xml);
    util_assert_same(back, text);
    g_autoptr(Reconcile) s = util_decide(&util_amd_host, without, live);
    g_autofree char *gone = util_restored(s->new_xml);
    util_assert_same(gone, without);
}

/* Policies -------------------------------------------------------------------------------------------------------- */

static void test_policy_change(void)
{
    static const char *const names[] = {"passthrough", "custom", "keep", "default"};
    g_autofree char *text = util_tagged("windows-11", TAG);
    g_autofree char *untagged = util_replace(text, TAG, TAG_OFF);
    g_autofree char *now = rewritten(text);
    const char *tag = TAG;

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *new_tag = g_strdup_printf("<nesting " NAMESPACE " policy='%s'/>", names[i]);
        g_autofree char *changed = util_replace(now, tag, new_tag);
        g_autoptr(Reconcile) r = decide(changed);
        util_assert_state(r, RECONCILE_IN_SYNC);
        g_free(now);
        now = g_strdup(r->new_xml != NULL ? r->new_xml : changed);
        tag = i == 0 ? TAG_OF("passthrough") : i == 1 ? TAG_OF("custom") : i == 2 ? TAG_OF("keep") : TAG_OF("default");
        g_autofree char *without = util_replace(now, tag, TAG_OFF), *back = util_restored(without);
        util_assert_same(back, untagged);
    }
}

static void test_probe(void)
{
    g_autofree char *kept = util_tagged("numa-hugepages", TAG_OF("keep")),
                    *custom = util_tagged("numa-hugepages", TAG_OF("custom"));
    g_autoptr(Reconcile) r = decide(kept), s = decide(custom);
    g_autofree char *cpu = util_cpu_of(s->new_xml);

    g_assert_cmpstr(r->probe_cpu, ==, "<cpu mode='host-model'><feature policy='require' name='svm'/></cpu>");
    g_assert_cmpstr(s->probe_cpu, ==, cpu);
    g_assert_cmpstr(s->wanted_cpu_mode, ==, "custom");
}

/* Already as the policy wants: nothing is written, and so nothing is taken back. */
static void test_already(void)
{
    g_autofree char *plain = util_tagged("linux-9", TAG);
    g_autofree char *text = util_with_cpu(plain, "<cpu check='partial' mode='host-model'>" REQUIRE_SVM "</cpu>");
    g_autoptr(Reconcile) r = decide(text);

    util_assert_state(r, RECONCILE_IN_SYNC);
    g_assert_null(r->new_xml);
    g_autofree char *untagged = util_replace(text, TAG, "");
    g_autoptr(Reconcile) s = decide(untagged);
    g_assert_null(s->new_xml);
}

/* Where nothing is in <metadata>, how many blanks remain in it does not matter. */
static char *formatted_metadata(const char *text)
{
    g_autoptr(GRegex) regex = g_regex_new("<metadata>\\s*</metadata>", 0, 0, NULL);
    g_autofree char *formatted = util_libvirt_metadata(text);

    return g_regex_replace_literal(regex, formatted, -1, 0, "<metadata/>", 0, NULL);
}

/* The way back ---------------------------------------------------------------------------------------------------- */

static void test_documents(void)
{
    static const char *const names[] = {"default", "passthrough", "custom", "keep", "owned"};

    for (gsize i = 0; util_domains[i] != NULL; i++) {
        for (gsize j = 0; j < G_N_ELEMENTS(names); j++) {
            g_autofree char *tag = g_strdup_printf("<nesting " NAMESPACE " policy='%s'/>", names[j]);
            g_autofree char *lf = util_tagged(util_domains[i], tag);
            g_autofree char *crlf = util_crlf(lf), *tabs = util_tabs(lf), *one_line = util_one_line(lf);
            const char *const texts[] = {lf, crlf, tabs, strcmp(util_domains[i], "odd") != 0 ? one_line : lf};
            for (gsize k = 0; k < G_N_ELEMENTS(texts); k++) {
                g_autoptr(Reconcile) r = decide(texts[k]);
                g_test_message("%s, %s, %s: %s", util_domains[i], names[j], reconcile_state_to_string(r->state),
                               r->reason);
                if (r->new_xml == NULL)
                    continue;
                g_autoptr(Reconcile) again = decide(r->new_xml);
                util_assert_state(again, RECONCILE_IN_SYNC);
                g_assert_null(again->new_xml);
                g_autofree char *expected = util_replace(texts[k], tag, TAG_OFF),
                                *untagged = util_replace(r->new_xml, tag, TAG_OFF);
                if (strcmp(util_domains[i], "nova") == 0)
                    continue; /* taken over: left alone */
                g_autofree char *back = util_restored(untagged);
                util_assert_same(back, expected);

                /* The same with the tag taken out, and <metadata> as libvirt writes it then: anew, unless text stands
                 * between its elements. */
                if (strcmp(util_domains[i], "odd") == 0)
                    continue;
                g_autofree char *removed = util_replace(r->new_xml, tag, ""), *plain = util_replace(texts[k], tag, "");
                g_autofree char *formatted = util_libvirt_metadata(removed), *bare = util_restored(formatted);
                g_autofree char *bare_formatted = formatted_metadata(bare),
                                *plain_formatted = formatted_metadata(plain);
                util_assert_same(bare_formatted, plain_formatted);
            }
        }
    }
}

static void test_big(void)
{
    g_autofree char *plain = util_big_domain(512, 200);
    g_autofree char *text = util_with_metadata(plain, TAG);
    g_autofree char *new_xml = rewritten(text);
    g_autofree char *formatted = util_libvirt_metadata(new_xml);
    g_autoptr(Reconcile) again = decide(formatted);
    g_assert_null(again->new_xml);
    g_autofree char *untagged = util_replace(new_xml, TAG, TAG_OFF), *back = util_restored(untagged);
    g_autofree char *expected = util_replace(text, TAG, TAG_OFF);

    util_assert_same(back, expected);
}

static void test_conflict(void)
{
    g_autofree char *text = util_tagged("windows-11", TAG);
    g_autofree char *new_xml = rewritten(text);
    g_autofree char *edited = util_replace(new_xml, "<feature policy=\"require\" name=\"svm\"/>",
                                           "<feature policy=\"optional\" name=\"svm\"/>");
    g_autofree char *untagged = util_replace(edited, TAG, "");
    g_autoptr(Reconcile) r = decide(untagged);

    util_assert_state(r, RECONCILE_UNTAGGED);
    g_assert_cmpuint(r->conflicts->len, ==, 1);
    util_assert_contains(r->conflicts->pdata[0], "feature svm");
    g_autofree char *cpu = util_cpu_of(r->new_xml);
    util_assert_contains(cpu, "<feature policy=\"optional\" name=\"svm\"/>");
    util_assert_contains(cpu, "mode=\"host-passthrough\"");
    util_assert_contains(cpu, "migratable=\"off\"");
    util_assert_contains(r->summary, "restore the <cpu> of before (host-passthrough)");

    /* While the tag is there, the policy is what counts. */
    g_autofree char *enforced = rewritten(edited), *enforced_cpu = util_cpu_of(enforced);
    util_assert_contains(enforced_cpu, "<feature policy=\"require\" name=\"svm\"/>");
}

/* Small things ---------------------------------------------------------------------------------------------------- */

static void test_names(void)
{
    static const char *const names[] = {
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

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
        g_assert_cmpstr(reconcile_state_to_string((ReconcileState)i), ==, names[i]);
}

static void test_set_state(void)
{
    g_autoptr(Reconcile) r = decide("<domain/>");

    util_assert_state(r, RECONCILE_UNTAGGED);
    reconcile_set_state(r, RECONCILE_HELD, "%s of %d", "one", 2);
    util_assert_state(r, RECONCILE_HELD);
    g_assert_cmpstr(r->reason, ==, "one of 2");
    /* The new reason may be made of the old one. */
    reconcile_set_state(r, RECONCILE_ERROR, "again: %s", r->reason);
    g_assert_cmpstr(r->reason, ==, "again: one of 2");
    g_assert_null(reconcile_free(NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reconcile/untagged", test_untagged);
    g_test_add_func("/reconcile/disabled", test_disabled);
    g_test_add_func("/reconcile/shut-off", test_shut_off);
    g_test_add_func("/reconcile/absent-cpu", test_absent_cpu);
    g_test_add_func("/reconcile/strange-identity", test_strange_identity);
    g_test_add_func("/reconcile/intel", test_intel);
    g_test_add_func("/reconcile/vendor-change", test_vendor_change);
    g_test_add_func("/reconcile/running", test_running);
    g_test_add_func("/reconcile/running-live-tag", test_running_live_tag);
    g_test_add_func("/reconcile/running-ambiguous", test_running_ambiguous);
    g_test_add_func("/reconcile/managed-save", test_managed_save);
    g_test_add_func("/reconcile/transient", test_transient);
    g_test_add_func("/reconcile/transient-untagged", test_transient_untagged);
    for (gsize i = 0; i < G_N_ELEMENTS(host_cases); i++) {
        g_autofree char *path = g_strconcat("/reconcile/host/", host_cases[i].name, NULL);
        g_test_add_data_func(path, &host_cases[i], test_host);
    }
    g_test_add_func("/reconcile/untag-on-unready-host", test_untag_on_unready_host);
    g_test_add_func("/reconcile/owned", test_owned);
    g_test_add_func("/reconcile/owned-allowed", test_owned_allowed);
    g_test_add_func("/reconcile/owned-untagged", test_owned_untagged);
    g_test_add_func("/reconcile/owned-later", test_owned_later);
    g_test_add_func("/reconcile/error/document", test_error_document);
    g_test_add_func("/reconcile/error/tag", test_error_tag);
    g_test_add_func("/reconcile/error/tag-after-rewrite", test_error_tag_after_rewrite);
    g_test_add_func("/reconcile/error/policy", test_error_policy);
    g_test_add_func("/reconcile/error/kind-of-guest", test_error_kind_of_guest);
    g_test_add_func("/reconcile/error/keep-without-model", test_error_keep_without_model);
    g_test_add_func("/reconcile/error/tcg-passthrough", test_error_tcg_passthrough);
    g_test_add_func("/reconcile/error/cpu", test_error_cpu);
    g_test_add_func("/reconcile/error/state", test_error_state);
    g_test_add_func("/reconcile/live-tag", test_live_tag);
    g_test_add_func("/reconcile/live-tag-yields", test_live_tag_yields);
    g_test_add_func("/reconcile/edits-touch", test_edits_touch);
    g_test_add_func("/reconcile/policy-change", test_policy_change);
    g_test_add_func("/reconcile/probe", test_probe);
    g_test_add_func("/reconcile/already", test_already);
    g_test_add_func("/reconcile/documents", test_documents);
    g_test_add_func("/reconcile/big", test_big);
    g_test_add_func("/reconcile/conflict", test_conflict);
    g_test_add_func("/reconcile/names", test_names);
    g_test_add_func("/reconcile/set-state", test_set_state);
    return g_test_run();
}
