/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Any bytes as a policy file and as a drop-in: either there is a policy that can be applied, or it is told what is wrong
 * and where.
 *
 * "make check" replays the corpus. To look for more, from the top of the tree:
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -std=gnu17 -D_GNU_SOURCE -I. \
 *     -DVIRTNEST_SYSCONFDIR='"/etc/virtnest"' -DVIRTNEST_RUNDIR='"/run/virtnest"' -DVIRTNEST_VENDORDIR='"/usr/lib/virtnest"' \
 *     $(pkg-config --cflags glib-2.0 libxml-2.0) tests/fuzz/fuzz-policy.c tests/unit/util.c lib/[a-z]*.c \
 *     $(pkg-config --libs glib-2.0 libxml-2.0) -o /tmp/fuzz-policy
 *   mkdir /tmp/found && TMPDIR=/dev/shm /tmp/fuzz-policy /tmp/found tests/fuzz/corpus/policy
 */

#include "tests/fuzz/fuzz.h"

#include "tests/unit/util.h"
#include <string.h>

#define FOLDER VIRTNEST_SYSCONFDIR "/policy.d/"

static const char domain[] =
    "<domain type='kvm'><name>web1</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>"
    "<title>shop</title><metadata><shop xmlns='urn:shop'/></metadata><memory>1024</memory>"
    "<os><type arch='x86_64' machine='pc'>hvm</type></os>"
    "<cpu mode='custom' match='exact'><model>EPYC</model><feature policy='disable' name='svm'/>"
    "</cpu></domain>";

/* One for all inputs: a folder each would be most of what the fuzzer does. */
static const UtilRoot *shared_root(void)
{
    static UtilRoot *root;

    if (root == NULL)
        root = util_root_new();
    return root;
}

/* Each begins with the path of a file that is wrong: nobody can mend what he cannot find. */
static void assert_errors(const GPtrArray *errors, const UtilRoot *root)
{
    g_autofree char *prefix = util_root_path(root, FOLDER);

    g_assert_cmpuint(errors->len, >, 0);
    for (guint i = 0; i < errors->len; i++) {
        const char *error = errors->pdata[i];
        const char *rest = g_str_has_prefix(error, prefix) ? error + strlen(prefix) : NULL;
        if (rest == NULL || strstr(rest, ": ") == NULL)
            g_error("an error without its file: %s", error);
    }
}

static void apply(const PolicySet *set, const char *name)
{
    const Tag named = {.policy = (char *)name, .enabled = true};
    const Tag *const tags[] = {NULL, &named};

    for (gsize i = 0; i < G_N_ELEMENTS(tags); i++) {
        g_autoptr(DomainXml) xml = util_parse(domain);
        g_autoptr(Subject) subject = subject_new(xml);
        g_autoptr(GError) error = NULL;
        g_auto(PolicyChoice) choice = {0};
        if (!policy_set_resolve(set, tags[i], subject, &choice, &error))
            g_error("one policy alone cannot be ambiguous: %s", error->message);
        g_assert_cmpint(choice.policy != NULL, ==, choice.chosen != POLICY_CHOSEN_NONE);
        if (tags[i] != NULL)
            g_assert_cmpint(choice.chosen, ==, POLICY_CHOSEN_BY_TAG);
    }

    g_autofree char *tag = g_strdup_printf("<nesting xmlns='" VIRTNEST_TAG_NAMESPACE "' policy='%s'/>", name);
    g_autofree char *tagged = util_insert_before(domain, "</metadata>", tag);
    const char *const texts[] = {domain, tagged};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        ReconcileInput input = {.xml = texts[i], .persistent = true, .policies = set, .host = &util_amd_host};
        g_autoptr(Reconcile) r = reconcile_decide(&input);
        g_autofree char *outcome = reconcile_outcome(r, set);
        g_assert_cmpstr(outcome, ==, r->outcome);
        if (r->new_xml == NULL)
            continue;
        input.xml = r->new_xml;
        g_autoptr(Reconcile) again = reconcile_decide(&input);
        if (again->state == RECONCILE_ERROR || again->new_xml != NULL)
            g_error("%s: %s\n--- defined\n%s\n--- and then\n%s", reconcile_state_to_string(again->state), again->reason,
                    r->new_xml, again->new_xml != NULL ? again->new_xml : "nothing");
    }
}

/* Loads what is below the root. Returns: whether it was good */
static bool load(const UtilRoot *root, const char *name)
{
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(PolicySet) set = policy_set_load(root->path, errors);

    if (set == NULL) {
        assert_errors(errors, root);
        return false;
    }
    g_assert_cmpuint(errors->len, ==, 0);
    /* An empty file is a masked one. */
    if (policy_set_lookup(set, name) != NULL)
        apply(set, name);
    return true;
}

static void load_file(const UtilRoot *root, bool good)
{
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *path = util_root_path(root, FOLDER "x.policy");
    g_autoptr(Policy) policy = policy_load_file(path, errors);

    g_assert_cmpint(policy != NULL, ==, good);
    if (policy == NULL) {
        assert_errors(errors, root);
        return;
    }
    g_assert_cmpuint(errors->len, ==, 0);
    g_assert_cmpstr(policy->name, ==, "x");
    g_assert_nonnull(policy->digest);
    g_autofree char *described = match_describe(&policy->match);
    g_assert_cmpint(*described != '\0', ==, match_has_condition(&policy->match));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const UtilRoot *root = shared_root();
    const char *bytes = size > 0 ? (const char *)data : "";

    util_root_write_bytes(root, FOLDER "x.policy", bytes, size);
    util_root_write(root, FOLDER "x.policy.d/x.conf", "");
    load_file(root, load(root, "x"));

    util_root_write(root, FOLDER "x.policy", "[Match]\nName=*\nTagged=no\nPriority=1\n[CPU]\nRequire=avx2\n");
    util_root_write_bytes(root, FOLDER "x.policy.d/x.conf", bytes, size);
    (void)load(root, "x");
    return 0;
}
