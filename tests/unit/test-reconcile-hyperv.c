/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/reconcile.c and lib/state.c with a policy's [HyperV]: written, kept, pending, and taken back. */

#include "lib/reconcile.h"

#include "tests/unit/util.h"
#include <string.h>

#define TAG(attributes) "<n:nesting xmlns:n='urn:virtnest:domain:1' " attributes "/>"
#define LIBVIRT_9 9000000
#define LIBVIRT_11 11000000

static const HostFacts intel_host = {
    .is_x86 = true, .vendor = HOST_VENDOR_INTEL, .has_feature = true, .module_loaded = true, .nested = HOST_NESTED_YES};

/* The shipped policy. */
static const PolicySet *policies(void)
{
    static PolicySet *set;

    if (set == NULL) {
        g_autofree char *path = g_test_build_filename(G_TEST_DIST, "..", "policy", "windows.policy", NULL);
        g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(UtilRoot) root = util_root_new();
        g_autofree char *text = NULL;
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        util_root_write(root, VIRTNEST_SYSCONFDIR "/policy.d/windows.policy", text);
        set = policy_set_load(root->path, errors);
        g_assert_nonnull(set);
    }
    return set;
}

static const char *const *offered;

static Reconcile *decide(const char *xml, const char *live_xml, const HostFacts *host, unsigned long version)
{
    const ReconcileInput input = {
        .xml = xml,
        .live_xml = live_xml,
        .persistent = true,
        .policies = policies(),
        .host = host,
        .libvirt_version = version,
        .hyperv_offered = offered,
    };

    return reconcile_decide(&input);
}

static char *tagged(const char *tag)
{
    g_autofree char *text = util_domain("windows-11");

    return util_insert_before(text, "</metadata>", tag);
}

static char *rewritten(const HostFacts *host, unsigned long version)
{
    g_autofree char *text = tagged(TAG("policy='windows'"));
    g_autoptr(Reconcile) r = decide(text, NULL, host, version);

    util_assert_state(r, RECONCILE_IN_SYNC);
    g_assert_nonnull(r->new_xml);
    g_autoptr(Reconcile) again = decide(r->new_xml, NULL, host, version);
    util_assert_state(again, RECONCILE_IN_SYNC);
    g_assert_null(again->new_xml);
    return g_strdup(r->new_xml);
}

static char *features_of(const char *text)
{
    g_autoptr(DomainXml) xml = util_parse(text);

    return util_slice(xml, xml_child(domain_xml_root(xml), "features"));
}

static char *untagged(const char *text)
{
    const char *tag = strstr(text, "<n:nesting"), *end = tag != NULL ? strstr(tag, "/>") : NULL;

    g_assert_nonnull(end);
    g_autofree char *off = g_strdup_printf("%.*s%s%s", (int)(tag - text), text, TAG("enabled='no'"), end + 2);
    return util_restored(off);
}

static void test_there_and_back(void)
{
    g_autofree char *before = tagged(TAG("policy='windows'"));
    g_autofree char *after = rewritten(&intel_host, LIBVIRT_11);
    g_autofree char *features = features_of(after);
    g_autofree char *restored = untagged(after);
    g_autofree char *expected = util_replace(before, TAG("policy='windows'"), TAG("enabled='no'"));

    util_assert_contains(features, "evmcs");
    util_assert_contains(features, "emsr_bitmap");
    util_assert_contains(features, "<tlbflush");
    util_assert_contains(after, "<virtnest:enlightenment name=\"tlbflush\"");
    util_assert_same(restored, expected);
}

/* What libvirt makes of quotes and indentation between a define and the next look. */
static void test_libvirt_form(void)
{
    g_autofree char *after = rewritten(&intel_host, LIBVIRT_11);
    g_autofree char *libvirt = util_libvirt_metadata(after);
    g_autoptr(Reconcile) again = decide(libvirt, NULL, &intel_host, LIBVIRT_11);

    util_assert_state(again, RECONCILE_IN_SYNC);
    g_assert_null(again->new_xml);
    g_autofree char *restored = untagged(libvirt), *features = features_of(restored);
    g_autofree char *before = util_domain("windows-11"), *expected = features_of(before);
    util_assert_same(features, expected);
}

static void test_skipped(void)
{
    g_autofree char *text = tagged(TAG("policy='windows'"));
    g_autoptr(Reconcile) amd = decide(text, NULL, &util_amd_host, LIBVIRT_9);
    g_autoptr(Reconcile) unknown = decide(text, NULL, &intel_host, 0);

    g_assert_cmpuint(amd->skipped->len, ==, 3);
    util_assert_contains(amd->skipped->pdata[0], "Intel");
    util_assert_contains(amd->skipped->pdata[1], "10.7");
    util_assert_contains(amd->skipped->pdata[2], "11.0");
    g_autofree char *features = features_of(amd->new_xml), *before = features_of(text);
    util_assert_same(features, before);
    util_assert_lacks(amd->new_xml, "enlightenment");
    g_assert_cmpuint(unknown->skipped->len, ==, 2);
}

/* What KVM does not have is not written, and goes again where it was: the guest would not start. */
static void test_offered(void)
{
    static const char *const without[] = {"relaxed", "vapic", "vpindex", "tlbflush", "emsr_bitmap", NULL};
    g_autofree char *text = tagged(TAG("policy='windows'")), *before = features_of(text);
    g_autofree char *after = rewritten(&intel_host, LIBVIRT_11);
    g_autoptr(Reconcile) asked = decide(text, NULL, &intel_host, LIBVIRT_11);
    g_autofree char *plain = util_domain("linux-9");
    g_autofree char *tagged_plain = util_insert_before(plain, "</metadata>", TAG("policy='lab'"));
    g_autoptr(Reconcile) not_asked = decide(tagged_plain, NULL, &util_amd_host, LIBVIRT_11);

    g_assert_true(asked->asks_hyperv);
    g_assert_false(not_asked->asks_hyperv);
    offered = without;
    g_autoptr(Reconcile) new = decide(text, NULL, &intel_host, LIBVIRT_11);
    g_autoptr(Reconcile) old = decide(after, NULL, &intel_host, LIBVIRT_11);
    offered = NULL;
    g_autofree char *made = features_of(new->new_xml), *back = features_of(old->new_xml);
    g_assert_cmpuint(new->skipped->len, ==, 3);
    util_assert_contains(new->skipped->pdata[0], "does not have it");
    util_assert_same(made, before);
    util_assert_same(back, before);
}

/* A definition that came from an Intel host with a new libvirt: what this one does not know would not start. */
static void test_migrated(void)
{
    g_autofree char *after = rewritten(&intel_host, LIBVIRT_11);
    g_autoptr(Reconcile) here = decide(after, NULL, &util_amd_host, LIBVIRT_9);

    g_assert_nonnull(here->new_xml);
    g_assert_cmpuint(here->skipped->len, ==, 3);
    g_autofree char *features = features_of(here->new_xml), *before = util_domain("windows-11");
    g_autofree char *expected = features_of(before);
    util_assert_same(features, expected);
    util_assert_lacks(here->new_xml, "enlightenment");
}

static void test_pending(void)
{
    g_autofree char *after = rewritten(&intel_host, LIBVIRT_11);
    g_autofree char *old = util_replace(after, "<evmcs state='on'/>", "");
    g_autofree char *cpu = g_strdup("<cpu mode='custom' match='exact' check='full'><model>Skylake-Client</model>"
                                    "<feature policy='require' name='vmx'/><feature policy='disable' name='svm'/>"
                                    "<feature policy='require' name='topoext'/>"
                                    "<feature policy='require' name='hypervisor'/></cpu>");
    g_autofree char *live_old = util_with_cpu(old, cpu), *live_new = util_with_cpu(after, cpu);
    g_autoptr(Reconcile) stale = decide(after, live_old, &intel_host, LIBVIRT_11);
    g_autoptr(Reconcile) fresh = decide(after, live_new, &intel_host, LIBVIRT_11);

    util_assert_state(stale, RECONCILE_PENDING_RESTART);
    g_assert_null(stale->ambiguous_model);
    g_assert_nonnull(fresh->ambiguous_model);
}

static void test_edited(void)
{
    g_autofree char *after = rewritten(&intel_host, LIBVIRT_11);
    g_autofree char *edited = util_replace(after, "<evmcs state='on'/>", "<evmcs state=\"off\"/>");
    g_autofree char *off = util_replace(edited, TAG("policy='windows'"), TAG("enabled='no'"));
    g_autoptr(Reconcile) r = decide(off, NULL, &intel_host, LIBVIRT_11);

    util_assert_contains(r->new_xml, "<evmcs state=\"off\"/>");
    util_assert_lacks(r->new_xml, "emsr_bitmap");
    g_assert_cmpuint(r->conflicts->len, ==, 1);
    util_assert_contains(r->conflicts->pdata[0], "evmcs");
}

/* The text of a record goes into the document as it is: what is not that element is not taken. */
static void test_damaged(void)
{
    static const char *const damage[][2] = {
        {"name=\"evmcs\" previous=\"\"", "name=\"evmcs\" previous=\"&lt;a/>\""},
        {"name=\"evmcs\" previous=\"\"", "name=\"evmcs\""},
        {"name=\"evmcs\"", "name=\"frobnicate\""},
        {"name=\"emsr_bitmap\"", "name=\"evmcs\""},
        {"applied=\"&lt;evmcs state='on'/&gt;\"", "applied=\"\""},
    };
    g_autofree char *after = rewritten(&intel_host, LIBVIRT_11);

    for (gsize i = 0; i < G_N_ELEMENTS(damage); i++) {
        g_autofree char *text = util_replace(after, damage[i][0], damage[i][1]);
        g_autoptr(Reconcile) r = decide(text, NULL, &intel_host, LIBVIRT_11);
        util_assert_state(r, RECONCILE_ERROR);
        g_assert_null(r->new_xml);
        util_assert_contains(r->reason, "enlightenment");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reconcile-hyperv/there-and-back", test_there_and_back);
    g_test_add_func("/reconcile-hyperv/libvirt-form", test_libvirt_form);
    g_test_add_func("/reconcile-hyperv/skipped", test_skipped);
    g_test_add_func("/reconcile-hyperv/offered", test_offered);
    g_test_add_func("/reconcile-hyperv/migrated", test_migrated);
    g_test_add_func("/reconcile-hyperv/pending", test_pending);
    g_test_add_func("/reconcile-hyperv/edited", test_edited);
    g_test_add_func("/reconcile-hyperv/damaged", test_damaged);
    return g_test_run();
}
