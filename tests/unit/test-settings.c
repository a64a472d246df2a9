/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/settings.c: virtnest.conf and its drop-ins. */

#include "lib/settings.h"

#include "tests/unit/util.h"

#define MAIN VIRTNEST_SYSCONFDIR "/virtnest.conf"
#define DROP_INS VIRTNEST_SYSCONFDIR "/virtnest.conf.d/"

static Settings load(const UtilRoot *root, guint n_warnings)
{
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    Settings settings = {0};

    g_assert_true(settings_load(root->path, &settings, warnings, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(warnings->len, ==, n_warnings);
    return settings;
}

static void assert_settings(Settings settings, SettingsMode mode, unsigned rewrites, unsigned copies)
{
    g_assert_cmpint(settings.mode, ==, mode);
    g_assert_cmpuint(settings.rewrites_per_minute, ==, rewrites);
    g_assert_cmpuint(settings.definition_copies, ==, copies);
}

static void test_default(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    assert_settings(load(root, 0), SETTINGS_MODE_ENFORCE, 30, 10);
    assert_settings(settings_default(), SETTINGS_MODE_ENFORCE, 30, 10);
}

/* What the file that is shipped says, with the comment marks taken off its keys: "#Key=value" at the start of a line. */
static char *uncomment(const char *text)
{
    g_autoptr(GRegex) regex = g_regex_new("^#([A-Za-z]+=)", G_REGEX_MULTILINE, 0, NULL);

    return g_regex_replace(regex, text, -1, 0, "\\1", 0, NULL);
}

/* That each key is shown is for test-docs.sh to see. */
static void assert_all_default(Settings settings)
{
    const Settings wanted = settings_default();

    assert_settings(settings, wanted.mode, wanted.rewrites_per_minute, wanted.definition_copies);
    g_assert_cmpint(settings.stats_fd, ==, wanted.stats_fd);
    g_assert_cmpuint(settings.interval_usec, ==, wanted.interval_usec);
    g_assert_cmpint(settings.scope_all, ==, wanted.scope_all);
    g_assert_cmpuint(settings.release_max_usec, ==, wanted.release_max_usec);
    g_assert_cmpint(settings.incoming_allow, ==, wanted.incoming_allow);
    g_assert_cmpstr(settings.metrics_file, ==, wanted.metrics_file);
    g_assert_cmpuint(settings.metrics_interval_usec, ==, wanted.metrics_interval_usec);
    g_assert_cmpint(settings.host_nested, ==, wanted.host_nested);
    g_assert_cmpint(settings.host_shadow_vmcs, ==, wanted.host_shadow_vmcs);
    g_assert_cmpint(settings.host_ignore_msrs, ==, wanted.host_ignore_msrs);
}

/* The file that is shipped changes nothing, and neither does it once all that it shows is in force. */
static void test_shipped(void)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "..", "policy", "virtnest.conf", NULL);
    g_autofree char *text = NULL;
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GError) error = NULL;

    (void)g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    g_autofree char *shown = uncomment(text);
    g_assert_cmpstr(shown, !=, text);
    util_root_write(root, VIRTNEST_VENDORDIR "/virtnest.conf", text);
    assert_all_default(load(root, 0));
    util_root_write(root, VIRTNEST_VENDORDIR "/virtnest.conf", shown);
    assert_all_default(load(root, 0));
}

static void test_all(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, MAIN, "[Manager]\nMode=observe\nRewritesPerMinute=0\nDefinitionCopies=0\n");
    assert_settings(load(root, 0), SETTINGS_MODE_OBSERVE, 0, 0);
    util_root_write(root, MAIN, "[Manager]\nMode=guard\nRewritesPerMinute=100000\nDefinitionCopies=1000\n");
    assert_settings(load(root, 0), SETTINGS_MODE_GUARD, 100000, 1000);
    util_root_write(root, MAIN, "[Manager]\nMode=enforce\n");
    assert_settings(load(root, 0), SETTINGS_MODE_ENFORCE, 30, 10);
}

static void test_detection(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    Settings settings = load(root, 0);

    g_assert_cmpint(settings.stats_fd, ==, SETTINGS_STATS_FD_AUTO);
    g_assert_cmpuint(settings.interval_usec, ==, 250000);
    util_root_write(root, MAIN, "[Detection]\nStatsFd=no\nInterval=50ms\n");
    settings = load(root, 0);
    g_assert_cmpint(settings.stats_fd, ==, SETTINGS_STATS_FD_NO);
    g_assert_cmpuint(settings.interval_usec, ==, 50000);
    util_root_write(root, MAIN, "[Detection]\nStatsFd=yes\nInterval=1min\n");
    settings = load(root, 0);
    g_assert_cmpint(settings.stats_fd, ==, SETTINGS_STATS_FD_YES);
    g_assert_cmpuint(settings.interval_usec, ==, 60000000);
    util_root_write(root, MAIN, "[Detection]\nStatsFd=auto\n");
    g_assert_cmpint(load(root, 0).stats_fd, ==, SETTINGS_STATS_FD_AUTO);
}

static void test_scope(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    g_assert_false(load(root, 0).scope_all);
    g_assert_cmpuint(load(root, 0).release_max_usec, ==, 3600 * G_GUINT64_CONSTANT(1000000));
    util_root_write(root, MAIN, "[Guard]\nScope=all\nReleaseMax=7d\n");
    g_assert_true(load(root, 0).scope_all);
    g_assert_cmpuint(load(root, 0).release_max_usec, ==, 7 * 86400 * G_GUINT64_CONSTANT(1000000));
    util_root_write(root, DROP_INS "a.conf", "[Guard]\nScope=tagged\n");
    g_assert_false(load(root, 0).scope_all);
}

static void test_metrics(void)
{
    static const char *const wrong[] = {"virtnest.prom",
                                        "/var/lib/virtnest.txt",
                                        "/",
                                        VIRTNEST_RUNDIR "/x.prom",
                                        VIRTNEST_RUNDIR "/metrics/../x.prom",
                                        VIRTNEST_SYSCONFDIR "/virtnest.conf.d/x.prom"};
    g_autoptr(UtilRoot) root = util_root_new();

    g_assert_null(load(root, 0).metrics_file);
    g_assert_cmpuint(load(root, 0).metrics_interval_usec, ==, 15000000);
    util_root_write(root, MAIN, "[Metrics]\nFile=" VIRTNEST_RUNDIR "/metrics//x.prom\nInterval=1h\n");
    g_assert_cmpstr(load(root, 0).metrics_file, ==, VIRTNEST_RUNDIR "/metrics/x.prom");
    g_assert_cmpuint(load(root, 0).metrics_interval_usec, ==, 3600 * G_GUINT64_CONSTANT(1000000));
    util_root_write(root, DROP_INS "a.conf", "[Metrics]\nFile=none\n");
    g_assert_null(load(root, 0).metrics_file);
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) error = NULL;
        g_autofree char *text = g_strdup_printf("[Metrics]\nFile=%s\n", wrong[i]);
        Settings settings;
        util_root_write(root, DROP_INS "a.conf", text);
        g_assert_false(settings_load(root->path, &settings, warnings, &error));
        util_assert_contains(error->message, "takes none, or an absolute path that ends in .prom");
    }
}

static void test_incoming(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    g_assert_false(load(root, 0).incoming_allow);
    util_root_write(root, MAIN, "[Guard]\nIncoming=allow\n");
    g_assert_true(load(root, 0).incoming_allow);
    util_root_write(root, DROP_INS "a.conf", "[Guard]\nIncoming=refuse\n");
    g_assert_false(load(root, 0).incoming_allow);
}

static void test_host(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    Settings settings = load(root, 0);

    g_assert_cmpint(settings.host_nested, ==, SETTINGS_KEEP);
    g_assert_cmpint(settings.host_shadow_vmcs, ==, SETTINGS_KEEP);
    g_assert_cmpint(settings.host_ignore_msrs, ==, SETTINGS_KEEP);
    util_root_write(root, MAIN, "[Host]\nNested=yes\nShadowVMCS=no\nIgnoreMSRs=yes\n");
    util_root_write(root, DROP_INS "a.conf", "[Host]\nIgnoreMSRs=keep\n");
    settings = load(root, 0);
    g_assert_cmpint(settings.host_nested, ==, SETTINGS_YES);
    g_assert_cmpint(settings.host_shadow_vmcs, ==, SETTINGS_NO);
    g_assert_cmpint(settings.host_ignore_msrs, ==, SETTINGS_KEEP);
}

static void test_drop_ins(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, MAIN, "[Manager]\nMode=observe\nRewritesPerMinute=1\nDefinitionCopies=1\n");
    util_root_write(root, DROP_INS "50-b.conf", "[Manager]\nRewritesPerMinute=50\n");
    util_root_write(root, DROP_INS "10-a.conf", "[Manager]\nRewritesPerMinute=10\nDefinitionCopies=2\n");
    util_root_write(root, DROP_INS "99-c", "[Manager]\nRewritesPerMinute=99\n");
    assert_settings(load(root, 0), SETTINGS_MODE_OBSERVE, 50, 2);
    /* A vendor's drop-in comes behind by its name, although /etc is more important. */
    util_root_write(root, VIRTNEST_VENDORDIR "/virtnest.conf.d/60-v.conf", "[Manager]\nRewritesPerMinute=60\n");
    assert_settings(load(root, 0), SETTINGS_MODE_OBSERVE, 60, 2);
    util_root_link(root, VIRTNEST_RUNDIR "/virtnest.conf.d/60-v.conf", "/dev/null");
    assert_settings(load(root, 0), SETTINGS_MODE_OBSERVE, 50, 2);
    util_root_write(root, DROP_INS "50-b.conf", "");
    assert_settings(load(root, 0), SETTINGS_MODE_OBSERVE, 10, 2);
}

static void test_drop_in_counts_over_hidden_main(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, VIRTNEST_VENDORDIR "/virtnest.conf", "[Manager]\nMode=observe\n");
    util_root_write(root, DROP_INS "a.conf", "[Manager]\nDefinitionCopies=5\n");
    assert_settings(load(root, 0), SETTINGS_MODE_OBSERVE, 30, 5);
    util_root_link(root, MAIN, "/dev/null");
    assert_settings(load(root, 0), SETTINGS_MODE_ENFORCE, 30, 5);
}

static void test_unknown_warns(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    g_autofree char *path = util_root_path(root, MAIN), *other = util_root_path(root, DROP_INS "a.conf");
    Settings settings;

    util_root_write(root, MAIN, "[Manager]\nMode=guard\nRewritesPerSecond=1\n");
    util_root_write(root, DROP_INS "a.conf", "[Managers]\nMode=observe\n");
    g_assert_true(settings_load(root->path, &settings, warnings, &error));
    g_assert_no_error(error);
    assert_settings(settings, SETTINGS_MODE_GUARD, 30, 10);
    g_assert_cmpuint(warnings->len, ==, 2);
    util_assert_contains(warnings->pdata[0], path);
    util_assert_contains(warnings->pdata[0], "RewritesPerSecond= in [Manager]");
    util_assert_contains(warnings->pdata[1], other);
    util_assert_contains(warnings->pdata[1], "[Managers]");
}

typedef struct BadCase {
    const char *name;
    const char *text;
    const char *key;      /* as the message names it */
    const char *accepted; /* what the message says would be accepted */
} BadCase;

static const BadCase bad_cases[] = {
    {"mode", "[Manager]\nMode=enforced\n", "[Manager] Mode=enforced", "enforce, guard or observe"},
    {"mode-capital", "[Manager]\nMode=Observe\n", "[Manager] Mode=Observe", "enforce, guard or observe"},
    {"mode-comment", "[Manager]\nMode=observe # for now\n", "[Manager] Mode=observe # for now", "observe"},
    {"mode-list", "[Manager]\nMode=guard;observe\n", "[Manager] Mode=guard;observe", "observe"},
    {"stats-fd", "[Detection]\nStatsFd=maybe\n", "[Detection] StatsFd=maybe", "no, yes or auto"},
    {"scope", "[Guard]\nScope=some\n", "[Guard] Scope=some", "tagged or all"},
    {"release-max", "[Guard]\nReleaseMax=8d\n", "[Guard] ReleaseMax=8d", "from 1s to 7d"},
    {"incoming", "[Guard]\nIncoming=yes\n", "[Guard] Incoming=yes", "refuse or allow"},
    {"interval-short", "[Detection]\nInterval=49ms\n", "[Detection] Interval=49ms", "from 50ms to 1min"},
    {"interval-long", "[Detection]\nInterval=61s\n", "[Detection] Interval=61s", "from 50ms to 1min"},
    /* Must not count as unset, which is enforce. */
    {"mode-backslash", "[Manager]\nMode=observe\\\n", "[Manager] Mode=observe", "enforce, guard or observe"},
    {"rewrites-negative", "[Manager]\nRewritesPerMinute=-1\n", "[Manager] RewritesPerMinute=-1", "from 0 to 100000"},
    {"rewrites-too-many", "[Manager]\nRewritesPerMinute=100001\n", "RewritesPerMinute=100001", "from 0 to 100000"},
    {"rewrites-word", "[Manager]\nRewritesPerMinute=none\n", "RewritesPerMinute=none", "from 0 to 100000"},
    {"copies-too-many", "[Manager]\nDefinitionCopies=1001\n", "[Manager] DefinitionCopies=1001", "from 0 to 1000"},
    {"copies-fraction", "[Manager]\nDefinitionCopies=1.5\n", "[Manager] DefinitionCopies=1.5", "from 0 to 1000"},
    {"syntax", "Mode=observe\n", "", ""},
    {"utf8", "[Manager]\nMode=obs\xff\n", "", ""},
};

static void assert_bad(const UtilRoot *root, const char *file, const char *key, const char *accepted)
{
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    g_autofree char *path = util_root_path(root, file);
    Settings settings = {.rewrites_per_minute = 4711};

    g_assert_false(settings_load(root->path, &settings, warnings, &error));
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG);
    g_assert_true(g_str_has_prefix(error->message, path));
    util_assert_contains(error->message, key);
    util_assert_contains(error->message, accepted);
    g_assert_cmpuint(settings.rewrites_per_minute, ==, 4711);
}

static void test_bad(gconstpointer data)
{
    const BadCase *c = data;
    g_autoptr(UtilRoot) root = util_root_new(), other = util_root_new();

    util_root_write(root, MAIN, c->text);
    assert_bad(root, MAIN, c->key, c->accepted);
    util_root_write(other, MAIN, "[Manager]\nMode=guard\n");
    util_root_write(other, DROP_INS "a.conf", c->text);
    assert_bad(other, DROP_INS "a.conf", c->key, c->accepted);
}

static void test_bad_files(void)
{
    g_autoptr(UtilRoot) dangling = util_root_new(), folder = util_root_new();

    util_root_link(dangling, MAIN, "nowhere");
    assert_bad(dangling, MAIN, "", "");
    util_root_folder(folder, DROP_INS "a.conf");
    assert_bad(folder, DROP_INS "a.conf", "", "");
}

static void test_mode_names(void)
{
    g_assert_cmpstr(settings_mode_to_string(SETTINGS_MODE_ENFORCE), ==, "enforce");
    g_assert_cmpstr(settings_mode_to_string(SETTINGS_MODE_GUARD), ==, "guard");
    g_assert_cmpstr(settings_mode_to_string(SETTINGS_MODE_OBSERVE), ==, "observe");
}

static void test_kill_switch(void)
{
    g_autofree char *path = settings_kill_switch("/"), *below = settings_kill_switch("/x");

    g_assert_cmpstr(path, ==, VIRTNEST_SYSCONFDIR "/disable");
    g_assert_cmpstr(below, ==, "/x" VIRTNEST_SYSCONFDIR "/disable");
}

/* Any difference counts. */
static void test_equal(void)
{
    static const char *const different[] = {
        "[Manager]\nMode=observe\n",
        "[Manager]\nRewritesPerMinute=1\n",
        "[Manager]\nDefinitionCopies=1\n",
        "[Detection]\nStatsFd=no\n",
        "[Detection]\nInterval=1s\n",
        "[Guard]\nScope=all\n",
        "[Guard]\nReleaseMax=1min\n",
        "[Guard]\nIncoming=allow\n",
        "[Metrics]\nFile=/run/x/a.prom\n",
        "[Metrics]\nInterval=1min\n",
        "[Host]\nNested=yes\n",
        "[Host]\nShadowVMCS=yes\n",
        "[Host]\nIgnoreMSRs=yes\n",
    };
    Settings usual = settings_default();

    for (gsize i = 0; i < G_N_ELEMENTS(different); i++) {
        g_autoptr(UtilRoot) root = util_root_new();
        util_root_write(root, MAIN, different[i]);
        Settings settings = load(root, 0), again = load(root, 0);
        g_assert_false(settings_equal(&settings, &usual));
        g_assert_true(settings_equal(&settings, &again));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/settings/default", test_default);
    g_test_add_func("/settings/shipped", test_shipped);
    g_test_add_func("/settings/all", test_all);
    g_test_add_func("/settings/detection", test_detection);
    g_test_add_func("/settings/scope", test_scope);
    g_test_add_func("/settings/metrics", test_metrics);
    g_test_add_func("/settings/incoming", test_incoming);
    g_test_add_func("/settings/host", test_host);
    g_test_add_func("/settings/drop-ins", test_drop_ins);
    g_test_add_func("/settings/drop-in-counts-over-hidden-main", test_drop_in_counts_over_hidden_main);
    g_test_add_func("/settings/unknown-warns", test_unknown_warns);
    for (gsize i = 0; i < G_N_ELEMENTS(bad_cases); i++) {
        g_autofree char *path = g_strconcat("/settings/bad/", bad_cases[i].name, NULL);
        g_test_add_data_func(path, &bad_cases[i], test_bad);
    }
    g_test_add_func("/settings/bad-files", test_bad_files);
    g_test_add_func("/settings/mode-names", test_mode_names);
    g_test_add_func("/settings/equal", test_equal);
    g_test_add_func("/settings/kill-switch", test_kill_switch);
    return g_test_run();
}
