/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/policy.c: fleet policies, all or none. */

#include "lib/policy.h"

#include "tests/unit/util.h"
#include <string.h>
#include <sys/stat.h>

#define ETC VIRTNEST_SYSCONFDIR "/policy.d/"
#define RUN VIRTNEST_RUNDIR "/policy.d/"
#define VENDOR VIRTNEST_VENDORDIR "/policy.d/"

static PolicySet *load(const UtilRoot *root)
{
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    PolicySet *set = policy_set_load(root->path, errors);

    for (guint i = 0; i < errors->len; i++)
        g_test_message("%s", (const char *)errors->pdata[i]);
    g_assert_cmpuint(errors->len, ==, 0);
    g_assert_nonnull(set);
    return set;
}

static Subject *subject_of(const char *text)
{
    g_autoptr(DomainXml) xml = util_parse(text);

    return subject_new(xml);
}

static const Policy *resolve(const PolicySet *set, const char *name)
{
    const Tag tag = {.policy = (char *)name, .enabled = true};
    g_autoptr(Subject) subject = subject_of("<domain><name>web1</name></domain>");
    g_autoptr(GError) error = NULL;
    g_auto(PolicyChoice) choice = {0};
    bool good = policy_set_resolve(set, &tag, subject, &choice, &error);

    g_assert_no_error(error);
    g_assert_true(good);
    g_assert_nonnull(choice.policy);
    g_assert_cmpint(choice.chosen, ==, name != NULL ? POLICY_CHOSEN_BY_TAG : POLICY_CHOSEN_BY_DEFAULT);
    return choice.policy;
}

static void test_shipped(void)
{
    static const struct {
        const char *name;
        CpuMode mode;
    } shipped[] = {
        {"default", CPU_MODE_HOST_MODEL},
        {"keep", CPU_MODE_KEEP},
        {"passthrough", CPU_MODE_HOST_PASSTHROUGH},
        {"windows", CPU_MODE_HOST_MODEL},
    };
    g_autofree char *folder = g_test_build_filename(G_TEST_DIST, "..", "policy", NULL);
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *file;
    unsigned found = 0;

    g_assert_nonnull(dir);
    while ((file = g_dir_read_name(dir)) != NULL) {
        g_autofree char *from = g_build_filename(folder, file, NULL), *to = g_strconcat(VENDOR, file, NULL);
        g_autofree char *text = NULL;
        if (!g_str_has_suffix(file, ".policy"))
            continue;
        found++;
        g_assert_true(g_file_get_contents(from, &text, NULL, NULL));
        util_root_write(root, to, text);
    }
    g_assert_cmpuint(found, ==, G_N_ELEMENTS(shipped));
    g_autoptr(PolicySet) set = load(root);
    for (gsize i = 0; i < G_N_ELEMENTS(shipped); i++) {
        const Policy *policy = resolve(set, shipped[i].name);
        g_assert_cmpint(policy->cpu.mode, ==, shipped[i].mode);
        g_assert_null(policy->cpu.model);
        g_assert_nonnull(policy->description);
        g_assert_false(policy->rewrite_owned);
    }
    g_assert_cmpstr(resolve(set, NULL)->name, ==, "default");
}

static void test_all_keys(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *path = util_root_path(root, ETC "lab.policy");

    util_root_write(root, ETC "lab.policy",
                    "[Policy]\nDescription=for the lab\n[CPU]\nMode=custom\nModel=EPYC-Rome\nRewriteOwned=yes\n");
    util_root_write(root, ETC "default.policy", "[CPU]\nMode=host-passthrough\n");
    util_root_write(root, ETC "own.policy", "[CPU]\nMode=keep\nRewriteOwned=no\n");
    util_root_write(root, ETC "bare.policy", "# nothing\n");
    g_autoptr(PolicySet) set = load(root);

    const Policy *lab = resolve(set, "lab");
    g_assert_cmpstr(lab->name, ==, "lab");
    g_assert_cmpstr(lab->path, ==, path);
    g_assert_cmpstr(lab->description, ==, "for the lab");
    g_assert_cmpint(lab->cpu.mode, ==, CPU_MODE_CUSTOM);
    g_assert_cmpstr(lab->cpu.model, ==, "EPYC-Rome");
    g_assert_true(lab->rewrite_owned);
    g_assert_cmpint(resolve(set, NULL)->cpu.mode, ==, CPU_MODE_HOST_PASSTHROUGH);
    g_assert_cmpint(resolve(set, "default")->cpu.mode, ==, CPU_MODE_HOST_PASSTHROUGH);
    g_assert_cmpint(resolve(set, "own")->cpu.mode, ==, CPU_MODE_KEEP);
    g_assert_false(resolve(set, "own")->rewrite_owned);
    g_assert_cmpint(resolve(set, "bare")->cpu.mode, ==, CPU_MODE_HOST_MODEL);
    g_assert_null(resolve(set, "bare")->description);
}

static void assert_list(GStrv list, const char *joined)
{
    g_autofree char *text = list != NULL ? g_strjoinv(" ", list) : g_strdup("");

    g_assert_cmpstr(text, ==, joined);
}

static void test_cpu_keys(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);

    util_root_write(root, ETC "all.policy",
                    "[CPU]\nMode=custom\nModel=EPYC\nFallback=allow\nCheck=full\n"
                    "Require=avx2; pdpe1gb ;\nDisable=mpx\nOptional=x2apic;;vmx-ept\n");
    util_root_write(root, ETC "fast.policy", "[CPU]\nMode=host-passthrough\nMigratable=no\nRequire=svm\n");
    util_root_write(root, ETC "plain.policy", "[CPU]\nRequire=\n");
    g_autoptr(PolicySet) set = policy_set_load(root->path, errors);
    g_assert_cmpuint(errors->len, ==, 0);

    const Policy *policy = resolve(set, "all");
    g_assert_cmpstr(policy->cpu.fallback, ==, "allow");
    g_assert_cmpstr(policy->cpu.check, ==, "full");
    g_assert_null(policy->cpu.migratable);
    assert_list(policy->cpu.require, "avx2 pdpe1gb");
    assert_list(policy->cpu.disable, "mpx");
    assert_list(policy->cpu.optional, "x2apic vmx-ept");

    policy = resolve(set, "fast");
    g_assert_cmpstr(policy->cpu.migratable, ==, "off");
    assert_list(policy->cpu.require, "svm");

    policy = resolve(set, "plain");
    g_assert_null(policy->cpu.require);
    g_assert_null(policy->cpu.check);
    g_assert_null(policy->cpu.fallback);
    g_assert_null(policy->cpu.migratable);
}

static void test_drop_ins(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, VENDOR "lab.policy",
                    "[Policy]\nDescription=vendor\n[CPU]\nMode=custom\nModel=EPYC\nDisable=mpx\n");
    /* In the order of their names, not of their folders. */
    util_root_write(root, VENDOR "lab.policy.d/50-b.conf", "[CPU]\nModel=EPYC-Milan\nCheck=full\n");
    util_root_write(root, ETC "lab.policy.d/10-a.conf", "[CPU]\nModel=EPYC-Rome\nRequire=avx2\nFallback=allow\n");
    /* Set to nothing: the default again. */
    util_root_write(root, ETC "lab.policy.d/90-c.conf", "[CPU]\nDisable=\nFallback=\n");
    /* Masked, of another policy, and not a drop-in. */
    util_root_write(root, VENDOR "lab.policy.d/95-d.conf", "[CPU]\nMode=keep\n");
    util_root_write(root, ETC "lab.policy.d/95-d.conf", "");
    util_root_write(root, ETC "other.policy.d/10-a.conf", "[CPU]\nMode=nonsense\n");
    util_root_write(root, ETC "lab.policy.d/README", "nonsense");
    g_autoptr(PolicySet) set = load(root);
    const Policy *lab = resolve(set, "lab");

    g_assert_cmpstr(lab->description, ==, "vendor");
    g_assert_cmpint(lab->cpu.mode, ==, CPU_MODE_CUSTOM);
    g_assert_cmpstr(lab->cpu.model, ==, "EPYC-Milan");
    g_assert_cmpstr(lab->cpu.check, ==, "full");
    g_assert_null(lab->cpu.fallback);
    assert_list(lab->cpu.require, "avx2");
    g_assert_null(lab->cpu.disable);
}

/* The message names the file that set the key, not the policy's own. */
static void test_bad_drop_ins(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *first = util_root_path(root, ETC "lab.policy.d/10-a.conf:2: unknown key Mod=");
    g_autofree char *second = util_root_path(root, VENDOR "lab.policy.d/20-b.conf:3: [CPU] Model=EPYC");

    util_root_write(root, ETC "lab.policy", "[CPU]\nMode=host-model\n");
    util_root_write(root, ETC "lab.policy.d/10-a.conf", "[CPU]\nMod=keep\n");
    util_root_write(root, VENDOR "lab.policy.d/20-b.conf", "[CPU]\n\nModel=EPYC\n");
    g_autoptr(PolicySet) set = policy_set_load(root->path, errors);
    g_assert_null(set);
    g_assert_cmpuint(errors->len, ==, 2);
    g_assert_true(g_str_has_prefix(errors->pdata[0], first));
    g_assert_true(g_str_has_prefix(errors->pdata[1], second));
}

static void test_too_many(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);

    for (unsigned i = 0; i < 1000; i++) {
        g_autofree char *file = g_strdup_printf(ETC "p%u.policy", i);
        util_root_write(root, file, "[CPU]\nMode=keep\n");
    }
    g_autoptr(PolicySet) set = load(root);
    g_assert_cmpstr(resolve(set, "p999")->name, ==, "p999");

    util_root_write(root, VENDOR "one-more.policy", "[CPU]\nMode=keep\n");
    g_assert_null(policy_set_load(root->path, errors));
    g_assert_cmpuint(errors->len, ==, 1);
    util_assert_contains(errors->pdata[0], "1001 policies");
}

static void test_search_order(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *path = util_root_path(root, ETC "default.policy");

    util_root_write(root, VENDOR "default.policy", "[CPU]\nMode=custom\n");
    util_root_write(root, RUN "default.policy", "[CPU]\nMode=wrong\n");
    util_root_write(root, ETC "default.policy", "[CPU]\nMode=keep\n");
    /* What is hidden is not even read: its mistakes do not count. */
    g_autoptr(PolicySet) set = load(root);
    g_assert_cmpint(resolve(set, NULL)->cpu.mode, ==, CPU_MODE_KEEP);
    g_assert_cmpstr(resolve(set, NULL)->path, ==, path);
}

static void assert_unresolved(const PolicySet *set, const char *name, const char *part)
{
    const Tag tag = {.policy = (char *)name, .enabled = true};
    g_autoptr(Subject) subject = subject_of("<domain><name>web1</name></domain>");
    g_autoptr(GError) error = NULL;
    PolicyChoice choice = {0};

    g_assert_false(policy_set_resolve(set, &tag, subject, &choice, &error));
    g_assert_null(choice.reason);
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY);
    util_assert_contains(error->message, part);
}

static void test_masked(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, VENDOR "default.policy", "[CPU]\n");
    util_root_write(root, VENDOR "lab.policy", "[CPU]\n");
    util_root_write(root, ETC "default.policy", "");
    util_root_link(root, RUN "lab.policy", "/dev/null");
    g_autoptr(PolicySet) set = load(root);
    assert_unresolved(set, NULL, "'default' does not exist");
    assert_unresolved(set, "lab", VIRTNEST_SYSCONFDIR "/policy.d/lab.policy");
}

static void test_unresolved(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(PolicySet) set = load(root);

    assert_unresolved(set, NULL, "'default' does not exist");
    assert_unresolved(set, "Lab", "'Lab' does not exist");
    assert_unresolved(NULL, "lab", "no policies are loaded");
}

typedef struct BadCase {
    const char *name;
    const char *text;
    const char *key;
    const char *accepted;
} BadCase;

static const BadCase bad_cases[] = {
    {"mode", "[CPU]\nMode=host\n", "[CPU] Mode=host", "host-model, host-passthrough, custom or keep"},
    {"mode-capital", "[CPU]\nMode=Host-Model\n", "[CPU] Mode=Host-Model", "host-model"},
    {"mode-maximum", "[CPU]\nMode=maximum\n", "[CPU] Mode=maximum", "host-model"},
    {"mode-backslash", "[CPU]\nMode=keep\\\n", "[CPU] Mode=keep", "host-model"},
    {"custom-without-model", "[CPU]\nMode=custom\n", "Mode=custom", "Model="},
    {"custom-with-empty-model", "[CPU]\nMode=custom\nModel=\n", "Mode=custom", "Model="},
    {"model-without-custom", "[CPU]\nModel=EPYC\n", "[CPU] Model=", "Mode=custom"},
    {"model-with-passthrough", "[CPU]\nMode=host-passthrough\nModel=EPYC\n", "[CPU] Model=", "Mode=custom"},
    {"fallback", "[CPU]\nMode=custom\nModel=EPYC\nFallback=yes\n", "[CPU] Fallback=yes", "forbid or allow"},
    {"fallback-without-custom", "[CPU]\nFallback=allow\n", "[CPU] Fallback=allow", "Mode=custom"},
    {"check", "[CPU]\nCheck=strict\n", "[CPU] Check=strict", "none, partial or full"},
    {"migratable", "[CPU]\nMode=host-passthrough\nMigratable=maybe\n", "[CPU] Migratable=maybe", "yes or no"},
    {"migratable-with-host-model", "[CPU]\nMigratable=yes\n", "[CPU] Migratable=yes", "Mode=host-passthrough"},
    {"feature-name", "[CPU]\nRequire=avx2; <b>\n", "[CPU] Require=avx2; <b>", "names of CPU features"},
    {"feature-list-by-spaces", "[CPU]\nDisable=avx2 mpx\n", "[CPU] Disable=avx2 mpx", "separated by ';'"},
    {"feature-twice", "[CPU]\nRequire=avx2;mpx;avx2\n", "[CPU] Require=", "'avx2' is there twice"},
    {"feature-in-two-lists", "[CPU]\nRequire=avx2\nOptional=mpx;avx2\n", "[CPU] Optional=", "'avx2' is there twice"},
    {"svm-disabled", "[CPU]\nDisable=mpx;svm\n", "[CPU] Disable=mpx;svm", "any feature but vmx and svm"},
    {"vmx-disabled", "[CPU]\nDisable=vmx\n", "[CPU] Disable=vmx", "any feature but vmx and svm"},
    {"owned", "[CPU]\nRewriteOwned=sometimes\n", "[CPU] RewriteOwned=sometimes", "yes or no"},
    {"unknown-key", "[CPU]\nModes=keep\n", "Modes= in [CPU]", "unknown key"},
    {"unknown-group", "[Cpu]\nMode=keep\n", "[Cpu]", "unknown group"},
    {"key-in-wrong-group", "[Policy]\nMode=keep\n", "Mode= in [Policy]", "unknown key"},
    {"syntax", "Mode=keep\n", "", ""},
    {"utf8",
     "[CPU]\nMode=ke\xff"
     "ep\n",
     "", ""},
    {"utf8-description", "[Policy]\nDescription=caf\xe9\n", "", ""},
};

static void assert_bad(const UtilRoot *root, const char *file, const char *key, const char *accepted)
{
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *path = util_root_path(root, file);
    g_autoptr(PolicySet) set = policy_set_load(root->path, errors);

    g_assert_null(set);
    g_assert_cmpuint(errors->len, ==, 1);
    util_assert_contains(errors->pdata[0], path);
    util_assert_contains(errors->pdata[0], key);
    util_assert_contains(errors->pdata[0], accepted);
}

static void test_bad(gconstpointer data)
{
    const BadCase *c = data;
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, VENDOR "default.policy", "[CPU]\nMode=host-model\n");
    util_root_write(root, ETC "lab.policy", c->text);
    assert_bad(root, ETC "lab.policy", c->key, c->accepted);
}

/* Every bad file is told at once, not one at each attempt. */
static void test_bad_many(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);

    util_root_write(root, ETC "a.policy", "[CPU]\nMode=x\n");
    util_root_write(root, ETC "b.policy", "[CPU]\nMode=keep\n");
    util_root_write(root, VENDOR "c.policy", "[X]\n");
    g_autoptr(PolicySet) set = policy_set_load(root->path, errors);
    g_assert_null(set);
    g_assert_cmpuint(errors->len, ==, 2);
    util_assert_contains(errors->pdata[0], "a.policy");
    util_assert_contains(errors->pdata[1], "c.policy");
}

static void test_bad_names(void)
{
    static const char *const names[] = {
        "a b", "-a", "_a", "caf\xc3\xa9", "a=b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(UtilRoot) root = util_root_new();
        g_autofree char *path = g_strconcat(ETC, names[i], ".policy", NULL);
        util_root_write(root, path, "[CPU]\nMode=keep\n");
        assert_bad(root, path, names[i], "letters, digits");
    }
}

static void test_bad_files(void)
{
    g_autoptr(UtilRoot) folder = util_root_new(), dangling = util_root_new();

    util_root_folder(folder, ETC "x.policy");
    assert_bad(folder, ETC "x.policy", "", "");
    /* It hides a good one of the vendor, so it must be seen. */
    util_root_link(dangling, ETC "x.policy", "nowhere");
    util_root_write(dangling, VENDOR "x.policy", "[CPU]\n");
    assert_bad(dangling, ETC "x.policy", "No such file", "");
}

static void test_too_large(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *text = g_malloc(1024 * 1024 + 2);

    memset(text, '#', 1024 * 1024 + 1);
    text[1024 * 1024 + 1] = '\0';
    util_root_write(root, ETC "x.policy", text);
    assert_bad(root, ETC "x.policy", "1 MiB", "");
}

static void test_unreadable(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *folder = util_root_path(root, VIRTNEST_SYSCONFDIR "/policy.d");

    util_root_write(root, ETC "x.policy", "[CPU]\n");
    g_assert_cmpint(chmod(folder, 0), ==, 0);
    if (!util_set_override(false)) {
        g_test_skip("cannot give up root's capabilities");
        return;
    }
    assert_bad(root, VIRTNEST_SYSCONFDIR "/policy.d", "Permission denied", "");
    util_set_override(true);
}

/* A set that a worker still holds outlives the next load. */
static void test_references(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, ETC "default.policy", "[CPU]\nMode=keep\n");
    PolicySet *set = load(root);
    PolicySet *held = policy_set_ref(set);
    const Policy *policy = resolve(held, NULL);
    g_assert_null(policy_set_unref(set));
    g_assert_cmpint(policy->cpu.mode, ==, CPU_MODE_KEEP);
    g_assert_null(policy_set_unref(held));
    g_assert_null(policy_set_unref(NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/policy/shipped", test_shipped);
    g_test_add_func("/policy/all-keys", test_all_keys);
    g_test_add_func("/policy/cpu-keys", test_cpu_keys);
    g_test_add_func("/policy/too-many", test_too_many);
    g_test_add_func("/policy/drop-ins", test_drop_ins);
    g_test_add_func("/policy/bad-drop-ins", test_bad_drop_ins);
    g_test_add_func("/policy/search-order", test_search_order);
    g_test_add_func("/policy/masked", test_masked);
    g_test_add_func("/policy/unresolved", test_unresolved);
    for (gsize i = 0; i < G_N_ELEMENTS(bad_cases); i++) {
        g_autofree char *path = g_strconcat("/policy/bad/", bad_cases[i].name, NULL);
        g_test_add_data_func(path, &bad_cases[i], test_bad);
    }
    g_test_add_func("/policy/bad-many", test_bad_many);
    g_test_add_func("/policy/bad-names", test_bad_names);
    g_test_add_func("/policy/bad-files", test_bad_files);
    g_test_add_func("/policy/too-large", test_too_large);
    g_test_add_func("/policy/unreadable", test_unreadable);
    g_test_add_func("/policy/references", test_references);
    return g_test_run();
}
