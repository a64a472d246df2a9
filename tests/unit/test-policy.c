/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/policy.c: fleet policies, all or none. */

#include "lib/policy.h"

#include "lib/duration.h"
#include "tests/unit/util.h"
#include <glib/gstdio.h>
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
        /* polkit's files end in the same. */
        if (!g_str_has_suffix(file, ".policy") || g_str_has_prefix(file, "org."))
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
    {"model-name", "[CPU]\nMode=custom\nModel=<b>\n", "[CPU] Model=<b>", "the name of a CPU model"},
    {"model-control", "[CPU]\nMode=custom\nModel=EPYC\x02x\n", "[CPU] Model=EPYC", "the name of a CPU model"},
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

/* All keys of a policy together have one limit. */
static void test_many_features(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GString) text = g_string_new("[CPU]\nRequire=avx2\nOptional=f1");

    util_root_write(root, VENDOR "default.policy", "[CPU]\nMode=host-model\n");
    for (unsigned i = 2; i <= 255; i++)
        g_string_append_printf(text, ";f%u", i);
    g_string_append(text, "\n");
    util_root_write(root, ETC "lab.policy", text->str);
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(PolicySet) set = policy_set_load(root->path, errors);
    g_assert_nonnull(set);
    g_assert_cmpuint(g_strv_length(policy_set_lookup(set, "lab")->cpu.optional), ==, 255);
    g_string_insert(text, (gssize)text->len - 1, ";f256");
    util_root_write(root, ETC "lab.policy", text->str);
    assert_bad(root, ETC "lab.policy", "[CPU] Optional=", "at most 256 features");
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

/* [Match], [Guard] and [Host] -------------------------------------------------------------------------------------- */

static void test_match_keys(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, ETC "all.policy",
                    "[Match]\nName=web*; db-? \nUUID=6695eb01-f6a4-8304-79aa-97f2502e193f;"
                    "6695EB01-F6A4-8304-79AA-97F2502E1940\nTitle=A b;c\nOS=http://debian.org/*\nMetadata=urn:a;;urn:b\n"
                    "Tagged=no\nPriority=-1000000\n");
    util_root_write(root, ETC "top.policy", "[Match]\nName=*\nPriority=1000000\nTagged=yes\n");
    util_root_write(root, ETC "none.policy", "[Match]\nName=\nUUID= ;\nTagged=\nPriority=\n");
    g_autoptr(PolicySet) set = load(root);

    const Match *match = &resolve(set, "all")->match;
    assert_list(match->names, "web* db-?");
    assert_list(match->uuids, "6695eb01-f6a4-8304-79aa-97f2502e193f 6695EB01-F6A4-8304-79AA-97F2502E1940");
    assert_list(match->titles, "A b c");
    assert_list(match->oses, "http://debian.org/*");
    assert_list(match->namespaces, "urn:a urn:b");
    g_assert_false(match->tagged);
    g_assert_cmpint(match->priority, ==, -1000000);

    match = &resolve(set, "top")->match;
    g_assert_true(match->tagged);
    g_assert_cmpint(match->priority, ==, 1000000);

    match = &resolve(set, "none")->match;
    g_assert_false(match_has_condition(match));
    g_assert_true(match->tagged);
    g_assert_cmpint(match->priority, ==, 0);
}

static void test_guard_keys(void)
{
    static const struct {
        const char *text;
        GuardPolicy guard;
    } cases[] = {
        {"[Guard]\n", {GUARD_WHEN_RUNNING, 5000000, 600000000, true, false}},
        {"[Guard]\nBlockWhen=\nQuietAfter=\nReleaseAfter=\nOnUnknown=\nPlatforms=\n",
         {GUARD_WHEN_RUNNING, 5000000, 600000000, true, false}},
        {"[Guard]\nBlockWhen=running\nOnUnknown=block\nPlatforms=all\n",
         {GUARD_WHEN_RUNNING, 5000000, 600000000, true, false}},
        {"[Guard]\nBlockWhen=seen\nQuietAfter=1s\nReleaseAfter=0\n", {GUARD_WHEN_SEEN, 1000000, 0, true, false}},
        {"[Guard]\nBlockWhen=always\nQuietAfter=1h\nReleaseAfter=infinity\n",
         {GUARD_WHEN_ALWAYS, 3600000000, DURATION_INFINITE, true, false}},
        {"[Guard]\nBlockWhen=never\nOnUnknown=allow\nPlatforms=unsafe\nReleaseAfter=1d 2min\n",
         {GUARD_WHEN_NEVER, 5000000, 86520000000, false, true}},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(UtilRoot) root = util_root_new();
        util_root_write(root, ETC "x.policy", cases[i].text);
        g_autoptr(PolicySet) set = load(root);
        const GuardPolicy *guard = &resolve(set, "x")->guard, *expected = &cases[i].guard;
        g_test_message("%s", cases[i].text);
        g_assert_cmpstr(guard_when_to_string(guard->block_when), ==, guard_when_to_string(expected->block_when));
        g_assert_cmpuint(guard->quiet_after_usec, ==, expected->quiet_after_usec);
        g_assert_cmpuint(guard->release_after_usec, ==, expected->release_after_usec);
        g_assert_cmpint(guard->block_unknown, ==, expected->block_unknown);
        g_assert_cmpint(guard->only_unsafe, ==, expected->only_unsafe);
    }
}

static void test_host_keys(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, ETC "bare.policy", "[Host]\n");
    util_root_write(root, ETC "skip.policy", "[Host]\nOnNotReady=skip\n");
    util_root_write(root, ETC "apply.policy", "[Host]\nOnNotReady=apply\n");
    g_autoptr(PolicySet) set = load(root);
    g_assert_false(resolve(set, "bare")->apply_unready);
    g_assert_false(resolve(set, "skip")->apply_unready);
    g_assert_true(resolve(set, "apply")->apply_unready);
}

/* The whole message: where, what, and what is taken instead. */
static const struct {
    const char *text;
    const char *message; /* behind the path */
} bad_values[] = {
    {"[Match]\nUUID=web1\n", ":2: [Match] UUID=web1: takes UUIDs such as 6695eb01-"},
    {"[Match]\n\nUUID=6695eb01-f6a4-8304-79aa-97f2502e193f;x\n",
     ":3: [Match] UUID=6695eb01-f6a4-8304-79aa-97f2502e193f;x: takes UUIDs such as 6695eb01-"},
    {"[Match]\nUUID=6695eb01f6a4830479aa97f2502e193f\n", ":2: [Match] UUID=6695eb01f6a4830479aa97f2502e193f: takes"},
    {"[Match]\nUUID=6695eb01-f6a4-8304-79aa-*\n", ":2: [Match] UUID=6695eb01-f6a4-8304-79aa-*: takes UUIDs"},
    {"[Match]\nName=*\nTagged=maybe\n", ":3: [Match] Tagged=maybe: takes yes or no"},
    {"[Match]\nName=*\nPriority=high\n", ":3: [Match] Priority=high: takes a whole number from -1000000 to 1000000"},
    {"[Match]\nName=*\nPriority=1000001\n", ":3: [Match] Priority=1000001: takes a whole number"},
    {"[Match]\nName=*\nPriority=-1000001\n", ":3: [Match] Priority=-1000001: takes a whole number"},
    {"[Match]\nName=*\nPriority=1.5\n", ":3: [Match] Priority=1.5: takes a whole number"},
    {"[Match]\nTagged=no\n", ":2: [Match] Tagged=no: takes a value beside Name=, UUID=, Title=, OS= or Metadata=;"},
    {"[Match]\nName=\nTagged=yes\n", ":3: [Match] Tagged=yes: takes a value beside Name="},
    {"[Match]\nPriority=3\n", ":2: [Match] Priority=3: takes a value beside Name="},
    {"[Match]\nNames=*\n", ":2: unknown key Names= in [Match]; did you mean Name=?"},
    {"[Matches]\nName=*\n", ":1: unknown group [Matches]; did you mean [Match]?"},
    {"[CPU]\nPriority=3\n", ":2: unknown key Priority= in [CPU]"},
    {"[Guard]\nBlockWhen=now\n", ":2: [Guard] BlockWhen=now: takes running, seen, always or never"},
    {"[Guard]\nBlockWhen=yes\n", ":2: [Guard] BlockWhen=yes: takes running, seen, always or never"},
    {"[Guard]\nQuietAfter=999ms\n", ":2: [Guard] QuietAfter=999ms: takes a time span from 1s to 1h"},
    {"[Guard]\nQuietAfter=61min\n", ":2: [Guard] QuietAfter=61min: takes a time span from 1s to 1h"},
    {"[Guard]\nQuietAfter=infinity\n", ":2: [Guard] QuietAfter=infinity: takes a time span from 1s to 1h"},
    {"[Guard]\nReleaseAfter=never\n", ":2: [Guard] ReleaseAfter=never: takes a time span from 0 to infinity"},
    {"[Guard]\nReleaseAfter=-1s\n", ":2: [Guard] ReleaseAfter=-1s: takes a time span from 0 to infinity"},
    {"[Guard]\nOnUnknown=yes\n", ":2: [Guard] OnUnknown=yes: takes allow or block"},
    {"[Guard]\nPlatforms=intel\n", ":2: [Guard] Platforms=intel: takes all or unsafe"},
    {"[Guard]\nBlock=running\n", ":2: unknown key Block= in [Guard]"},
    {"[Host]\n# no\nOnNotReady=wait\n", ":3: [Host] OnNotReady=wait: takes skip or apply"},
    {"[Host]\nOnNotReady=Apply\n", ":2: [Host] OnNotReady=Apply: takes skip or apply"},
};

static void test_bad_values(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(bad_values); i++) {
        g_autoptr(UtilRoot) root = util_root_new();
        g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
        g_autofree char *path = util_root_path(root, ETC "x.policy");
        g_autofree char *expected = g_strconcat(path, bad_values[i].message, NULL);
        util_root_write(root, ETC "x.policy", bad_values[i].text);
        g_autoptr(PolicySet) set = policy_set_load(root->path, errors);
        g_assert_null(set);
        g_assert_cmpuint(errors->len, ==, 1);
        if (!g_str_has_prefix(errors->pdata[0], expected))
            g_error("expected [%s...], got [%s]", expected, (const char *)errors->pdata[0]);
        /* By itself the file is as bad. */
        g_autoptr(Policy) policy = policy_load_file(path, errors);
        g_assert_null(policy);
        g_assert_cmpuint(errors->len, ==, 2);
        g_assert_cmpstr(errors->pdata[1], ==, errors->pdata[0]);
    }
}

/* Resolution ------------------------------------------------------------------------------------------------------ */

/* Which policy a guest of that name gets; NULL for none. @tag: "" for one that names none, NULL for no tag */
static const Policy *choose(const PolicySet *set, const char *name, const char *tag, PolicyChosen chosen)
{
    const Tag parsed = {.policy = tag != NULL && *tag != '\0' ? (char *)tag : NULL, .enabled = true};
    g_autofree char *text = g_strdup_printf("<domain><name>%s</name></domain>", name);
    g_autoptr(Subject) subject = subject_of(text);
    g_autoptr(GError) error = NULL;
    g_auto(PolicyChoice) choice = {0};
    bool good = policy_set_resolve(set, tag != NULL ? &parsed : NULL, subject, &choice, &error);

    g_assert_no_error(error);
    g_assert_true(good);
    g_assert_cmpint(choice.chosen, ==, chosen);
    g_assert_cmpint(choice.policy != NULL, ==, chosen != POLICY_CHOSEN_NONE);
    g_assert_cmpint(choice.reason != NULL, ==, chosen != POLICY_CHOSEN_NONE);
    if (chosen == POLICY_CHOSEN_BY_MATCH) {
        g_autofree char *conditions = match_describe(&choice.policy->match);
        util_assert_contains(choice.reason, conditions);
    }
    return choice.policy;
}

static void assert_chosen(const PolicySet *set, const char *name, const char *tag, PolicyChosen chosen,
                          const char *policy)
{
    g_assert_cmpstr(choose(set, name, tag, chosen)->name, ==, policy);
}

static void test_resolve_order(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, ETC "default.policy", "[CPU]\n");
    util_root_write(root, ETC "web.policy", "[Match]\nName=web*\n");
    util_root_write(root, ETC "plain.policy", "[CPU]\nMode=keep\n");
    g_autoptr(PolicySet) set = load(root);

    assert_chosen(set, "web1", "plain", POLICY_CHOSEN_BY_TAG, "plain");
    assert_chosen(set, "db1", "web", POLICY_CHOSEN_BY_TAG, "web");
    assert_chosen(set, "web1", "default", POLICY_CHOSEN_BY_TAG, "default");
    assert_chosen(set, "web1", "", POLICY_CHOSEN_BY_MATCH, "web");
    assert_chosen(set, "db1", "", POLICY_CHOSEN_BY_DEFAULT, "default");
    /* Tagged=yes is the default. */
    (void)choose(set, "web1", NULL, POLICY_CHOSEN_NONE);
    (void)choose(set, "db1", NULL, POLICY_CHOSEN_NONE);
    (void)choose(NULL, "web1", NULL, POLICY_CHOSEN_NONE);
}

static void test_resolve_tagged(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, ETC "all.policy", "[Match]\nName=*\nTagged=no\nPriority=-1\n");
    util_root_write(root, ETC "tagged.policy", "[Match]\nName=web*\nTagged=yes\n");
    g_autoptr(PolicySet) set = load(root);

    assert_chosen(set, "web1", NULL, POLICY_CHOSEN_BY_MATCH, "all");
    assert_chosen(set, "web1", "", POLICY_CHOSEN_BY_MATCH, "tagged");
    assert_chosen(set, "db1", "", POLICY_CHOSEN_BY_MATCH, "all");
    /* A match that takes a tagged domain needs no policy named default. */
    assert_unresolved(set, "default", "'default' does not exist");
}

static void test_resolve_priority(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, ETC "a.policy", "[Match]\nName=*\nTagged=no\n");
    util_root_write(root, ETC "b.policy", "[Match]\nName=web*\nTagged=no\nPriority=10\n");
    util_root_write(root, ETC "c.policy", "[Match]\nName=web1*\nTagged=no\nPriority=9\n");
    util_root_write(root, ETC "d.policy", "[Match]\nName=web1\nTagged=yes\nPriority=1000000\n");
    util_root_write(root, ETC "e.policy", "[Match]\nName=low*\nTagged=no\nPriority=-1000000\n");
    g_autoptr(PolicySet) set = load(root);

    assert_chosen(set, "web1", NULL, POLICY_CHOSEN_BY_MATCH, "b");
    assert_chosen(set, "web1", "", POLICY_CHOSEN_BY_MATCH, "d");
    assert_chosen(set, "db1", NULL, POLICY_CHOSEN_BY_MATCH, "a");
    assert_chosen(set, "low1", NULL, POLICY_CHOSEN_BY_MATCH, "a");
}

static void test_resolve_tie(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(Subject) web = subject_of("<domain><name>web1</name></domain>");
    g_autofree char *first = util_root_path(root, ETC "b.policy"), *second = util_root_path(root, ETC "c.policy");

    util_root_write(root, ETC "default.policy", "[CPU]\n");
    /* These two are equal as well, and it does not matter where a higher one takes the domain. */
    util_root_write(root, ETC "a.policy", "[Match]\nName=*\nTagged=no\n");
    util_root_write(root, ETC "aa.policy", "[Match]\nName=top*\nTagged=no\n");
    util_root_write(root, ETC "c.policy", "[Match]\nName=*1\nTagged=no\nPriority=10\n");
    util_root_write(root, ETC "b.policy", "[Match]\nName=web*\nTagged=no\nPriority=10\n");
    util_root_write(root, ETC "d.policy", "[Match]\nName=top*\nTagged=no\nPriority=11\n");
    util_root_write(root, ETC "e.policy", "[Match]\nName=tag*\nPriority=10\n");
    g_autoptr(PolicySet) set = load(root);

    for (unsigned tagged = 0; tagged < 2; tagged++) {
        const Tag tag = {.enabled = true};
        g_autoptr(GError) error = NULL;
        PolicyChoice choice = {0};
        g_assert_false(policy_set_resolve(set, tagged ? &tag : NULL, web, &choice, &error));
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY);
        g_assert_null(choice.policy);
        g_assert_null(choice.reason);
        util_assert_contains(error->message, "'b'");
        util_assert_contains(error->message, first);
        util_assert_contains(error->message, "'c'");
        util_assert_contains(error->message, second);
        util_assert_contains(error->message, "priority 10");
        util_assert_lacks(error->message, "'a'");
    }
    assert_unresolved(set, "gone", "'gone' does not exist");
    assert_chosen(set, "web1", "c", POLICY_CHOSEN_BY_TAG, "c");
    assert_chosen(set, "web2", NULL, POLICY_CHOSEN_BY_MATCH, "b");
    assert_chosen(set, "top1", NULL, POLICY_CHOSEN_BY_MATCH, "d");
    assert_chosen(set, "top2", NULL, POLICY_CHOSEN_BY_MATCH, "d");
    /* One that looks at tagged domains alone ties with nobody over one without. */
    assert_chosen(set, "tag1", NULL, POLICY_CHOSEN_BY_MATCH, "c");
}

/* What is left of a vendor's [Match] does no harm, and is no mistake of whoever switched it off. */
static void test_match_off(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, VENDOR "web.policy", "[Match]\nName=web*\nOS=*\nTagged=no\nPriority=5\n");
    util_root_write(root, ETC "web.policy.d/off.conf", "[Match]\nName=\nOS=\n");
    g_autoptr(PolicySet) set = load(root);
    (void)choose(set, "web1", NULL, POLICY_CHOSEN_NONE);
    assert_chosen(set, "web1", "web", POLICY_CHOSEN_BY_TAG, "web");
    g_assert_cmpuint(g_strv_length(resolve(set, "web")->drop_ins), ==, 1);

    /* And one is switched on like that. */
    util_root_write(root, ETC "web.policy.d/off.conf", "[Match]\nOS=\nName=db*\n");
    g_autoptr(PolicySet) other = load(root);
    (void)choose(other, "web1", NULL, POLICY_CHOSEN_NONE);
    assert_chosen(other, "db1", NULL, POLICY_CHOSEN_BY_MATCH, "web");
}

static void test_list(void)
{
    static const char *const names[] = {"A", "a", "b.c", "default"};
    g_autoptr(UtilRoot) root = util_root_new();

    for (gsize i = G_N_ELEMENTS(names); i > 0; i--) {
        g_autofree char *path = g_strdup_printf(ETC "%s.policy", names[i - 1]);
        util_root_write(root, path, "[CPU]\n");
    }
    g_autoptr(PolicySet) set = load(root);
    g_autoptr(GPtrArray) list = policy_set_list(set);
    g_assert_cmpuint(list->len, ==, G_N_ELEMENTS(names));
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_assert_cmpstr(((const Policy *)list->pdata[i])->name, ==, names[i]);
        g_assert_true(policy_set_lookup(set, names[i]) == list->pdata[i]);
    }
    g_assert_null(policy_set_lookup(set, "B"));
    g_assert_null(policy_set_lookup(set, NULL));
    g_assert_null(policy_set_lookup(NULL, "a"));
}

/* Digests --------------------------------------------------------------------------------------------------------- */

static char *digest_of(const char *text)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, ETC "x.policy", text);
    g_autoptr(PolicySet) set = load(root);
    return g_strdup(policy_set_lookup(set, "x")->digest);
}

static void test_digest(void)
{
    /* All of them do the same. */
    static const char *const same[] = {
        "[CPU]\nMode=host-model\n",
        "# a comment\n",
        "\n\n[CPU]\n# Mode=keep\n  Mode = host-model  \n\n# end\n",
        "[CPU]\nMode=keep\nMode=host-model\nRequire=\nDisable=;\n",
        "[Guard]\nBlockWhen=running\nQuietAfter=5000ms\nReleaseAfter=600\n",
        "[Guard]\nOnUnknown=block\nPlatforms=all\n[Host]\nOnNotReady=skip\n[CPU]\nRewriteOwned=off\n",
        /* For a human alone, and asked for each domain anyway. */
        "[Policy]\nDescription=for the lab\n[Match]\nName=*\nTagged=no\nPriority=1\n",
    };
    /* And each of these something else. */
    static const char *const different[] = {
        "[CPU]\nMode=keep\n",
        "[CPU]\nMode=host-passthrough\n",
        "[CPU]\nMode=host-passthrough\nMigratable=yes\n",
        "[CPU]\nMode=host-passthrough\nMigratable=no\n",
        "[CPU]\nMode=custom\nModel=EPYC\n",
        "[CPU]\nMode=custom\nModel=EPYC-Rome\n",
        "[CPU]\nMode=custom\nModel=EPYC\nFallback=allow\n",
        "[CPU]\nMode=custom\nModel=EPYC\nFallback=forbid\n",
        "[CPU]\nCheck=none\n",
        "[CPU]\nCheck=partial\n",
        "[CPU]\nCheck=full\n",
        "[CPU]\nRequire=avx2\n",
        "[CPU]\nDisable=avx2\n",
        "[CPU]\nOptional=avx2\n",
        "[CPU]\nRequire=avx2;mpx\n",
        "[CPU]\nRequire=avx2\nDisable=mpx\n",
        "[CPU]\nRewriteOwned=yes\n",
        "[Guard]\nBlockWhen=seen\n",
        "[Guard]\nBlockWhen=always\n",
        "[Guard]\nBlockWhen=never\n",
        "[Guard]\nQuietAfter=6s\n",
        "[Guard]\nReleaseAfter=6s\n",
        "[Guard]\nReleaseAfter=0\n",
        "[Guard]\nReleaseAfter=infinity\n",
        "[Guard]\nOnUnknown=allow\n",
        "[Guard]\nPlatforms=unsafe\n",
        "[Host]\nOnNotReady=apply\n",
    };
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char *first = digest_of(same[0]);

    for (gsize i = 0; i < G_N_ELEMENTS(same); i++) {
        g_autofree char *digest = digest_of(same[i]);
        g_test_message("%s", same[i]);
        g_assert_cmpstr(digest, ==, first);
    }
    g_hash_table_add(seen, g_strdup(first));
    for (gsize i = 0; i < G_N_ELEMENTS(different); i++) {
        g_test_message("%s", different[i]);
        g_assert_true(g_hash_table_add(seen, digest_of(different[i])));
    }
}

/* Whichever file a value comes from. */
static void test_digest_of_drop_ins(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *expected = digest_of("[CPU]\nMode=keep\n");

    util_root_write(root, VENDOR "x.policy", "[CPU]\nMode=host-model\nRequire=avx2\n");
    util_root_write(root, ETC "x.policy.d/a.conf", "[CPU]\nMode=keep\nRequire=\n");
    g_autoptr(PolicySet) set = load(root);
    g_assert_cmpstr(policy_set_lookup(set, "x")->digest, ==, expected);
}

/* One file ---------------------------------------------------------------------------------------------------------- */

static void test_load_file(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *path = util_root_path(root, ETC "lab.policy"), *other = util_root_path(root, "home/draft");
    g_autofree char *missing = util_root_path(root, "home/none.policy");

    util_root_write(root, ETC "lab.policy", "[Policy]\nDescription=d\n[CPU]\nMode=keep\n");
    util_root_write(root, ETC "lab.policy.d/10.conf", "[CPU]\nMode=nonsense\n");
    util_root_write(root, "home/draft", "[Match]\nName=*\n");
    g_autoptr(Policy) policy = policy_load_file(path, errors);
    g_assert_cmpuint(errors->len, ==, 0);
    g_assert_cmpstr(policy->name, ==, "lab");
    g_assert_cmpstr(policy->path, ==, path);
    g_assert_cmpstr(policy->description, ==, "d");
    g_assert_cmpint(policy->cpu.mode, ==, CPU_MODE_KEEP);
    g_assert_cmpuint(g_strv_length(policy->drop_ins), ==, 0);
    g_assert_nonnull(policy->digest);

    g_autoptr(Policy) draft = policy_load_file(other, errors);
    g_assert_cmpuint(errors->len, ==, 0);
    g_assert_cmpstr(draft->name, ==, "draft");
    g_assert_true(match_has_condition(&draft->match));

    g_assert_null(policy_load_file(missing, errors));
    g_assert_cmpuint(errors->len, ==, 1);
    g_assert_true(g_str_has_prefix(errors->pdata[0], missing));
    /* What is wrong with another file already does not make this one wrong. */
    g_autoptr(Policy) again = policy_load_file(path, errors);
    g_assert_nonnull(again);
    g_assert_cmpuint(errors->len, ==, 1);
    g_assert_null(policy_free(NULL));
}

/* All that is unknown, and the first value that is wrong. */
static void test_load_file_errors(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *path = util_root_path(root, "home/-x.policy");

    util_root_write(root, "home/-x.policy", "[CPU]\nMod=1\n[Gard]\n[Host]\nOnNotReady=1\n");
    g_assert_null(policy_load_file(path, errors));
    g_assert_cmpuint(errors->len, ==, 4);
    util_assert_contains(errors->pdata[0], "Mod=");
    util_assert_contains(errors->pdata[1], "[Gard]");
    util_assert_contains(errors->pdata[2], "'-x' is not a policy's name");
    util_assert_contains(errors->pdata[3], "OnNotReady=1");
    for (guint i = 0; i < errors->len; i++)
        g_assert_true(g_str_has_prefix(errors->pdata[i], path));
}

/* What a reload changes, in words. */
static void test_compare(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *gone = util_root_path(root, ETC "e.policy");

    util_root_write(root, ETC "a.policy", "[Match]\nName=a\n");
    util_root_write(root, ETC "b.policy", "[CPU]\nMode=keep\n");
    util_root_write(root, ETC "c.policy", "[CPU]\nMode=keep\n");
    util_root_write(root, ETC "d.policy", "[Match]\nName=d\nTagged=yes\n");
    util_root_write(root, ETC "e.policy", "[Match]\nName=e\nPriority=1\n");
    g_autoptr(PolicySet) before = load(root);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) none = policy_set_compare(before, before, names);
    g_assert_cmpuint(none->len, ==, 0);

    util_root_write(root, ETC "a.policy", "[Match]\nName=a2\n");
    util_root_write(root, ETC "b.policy", "[CPU]\nMode=host-model\n");
    util_root_write(root, ETC "c.policy", "# a comment\n[Policy]\nDescription=words\n[CPU]\nMode=keep\n");
    util_root_write(root, ETC "d.policy", "[Match]\nName=d\nTagged=no\n");
    g_assert_cmpint(g_unlink(gone), ==, 0);
    util_root_write(root, ETC "f.policy", "[CPU]\n");
    g_autoptr(PolicySet) now = load(root);
    g_autoptr(GPtrArray) texts = policy_set_compare(before, now, names);
    g_ptr_array_add(texts, NULL);
    g_autofree char *text = g_strjoinv("; ", (char **)texts->pdata);
    g_assert_cmpstr(text, ==,
                    "policy 'a' is changed; policy 'b' is changed; policy 'd' is changed; policy 'f' is new; "
                    "policy 'e' is gone");
    g_ptr_array_add(names, NULL);
    g_autofree char *all_names = g_strjoinv(" ", (char **)names->pdata);
    g_assert_cmpstr(all_names, ==, "a b d f e");
}

/* Whose file an error is about. */
static void test_name_of_error(void)
{
    static const char *const cases[][2] = {
        {"/etc/virtnest/policy.d/lab.policy:2: [CPU] Mode=x: takes", "lab"},
        {"/run/virtnest/policy.d/lab.policy: not a file", "lab"},
        {"/etc/virtnest/policy.d/lab.policy.d/50-x.conf:2: no", "lab"},
        {"/etc/virtnest/policy.d/a.policy.policy:1: no", "a.policy"},
        {"/etc/virtnest/policy.d/a b.policy: 'a b' is not a policy's name", NULL},
        {"/etc/virtnest/policy.d: Permission denied", NULL},
        {"/etc/virtnest/virtnest.conf:3: no", NULL},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name = policy_name_of_error(cases[i][0]);
        g_assert_cmpstr(name, ==, cases[i][1]);
    }
}

/* Life ------------------------------------------------------------------------------------------------------------ */

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
    g_test_add_func("/policy/many-features", test_many_features);
    g_test_add_func("/policy/bad-many", test_bad_many);
    g_test_add_func("/policy/bad-names", test_bad_names);
    g_test_add_func("/policy/bad-files", test_bad_files);
    g_test_add_func("/policy/too-large", test_too_large);
    g_test_add_func("/policy/unreadable", test_unreadable);
    g_test_add_func("/policy/match-keys", test_match_keys);
    g_test_add_func("/policy/guard-keys", test_guard_keys);
    g_test_add_func("/policy/host-keys", test_host_keys);
    g_test_add_func("/policy/bad-values", test_bad_values);
    g_test_add_func("/policy/resolve/order", test_resolve_order);
    g_test_add_func("/policy/resolve/tagged", test_resolve_tagged);
    g_test_add_func("/policy/resolve/priority", test_resolve_priority);
    g_test_add_func("/policy/resolve/tie", test_resolve_tie);
    g_test_add_func("/policy/resolve/match-off", test_match_off);
    g_test_add_func("/policy/list", test_list);
    g_test_add_func("/policy/digest", test_digest);
    g_test_add_func("/policy/digest-of-drop-ins", test_digest_of_drop_ins);
    g_test_add_func("/policy/load-file", test_load_file);
    g_test_add_func("/policy/load-file-errors", test_load_file_errors);
    g_test_add_func("/policy/compare", test_compare);
    g_test_add_func("/policy/name-of-error", test_name_of_error);
    g_test_add_func("/policy/references", test_references);
    return g_test_run();
}
