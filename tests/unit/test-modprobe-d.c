/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/modprobe-d.c: what modprobe would be told. */

#include "lib/modprobe-d.h"

#include "tests/unit/util.h"
#include <sys/stat.h>

static void assert_option(const UtilRoot *root, const char *module, const char *name, const char *place,
                          const char *text)
{
    g_autoptr(ModprobeConfig) config = modprobe_config_read(root->path);
    const ModprobeEntry *entry = modprobe_config_option(config, module, name);

    if (place == NULL) {
        g_assert_null(entry);
        return;
    }
    g_assert_nonnull(entry);
    g_autofree char *seen_place = modprobe_entry_place(entry), *seen_text = modprobe_entry_text(entry);
    g_assert_cmpstr(seen_place, ==, place);
    g_assert_cmpstr(seen_text, ==, text);
}

static void test_nothing(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autoptr(ModprobeConfig) config = modprobe_config_read(root->path);

    g_assert_cmpuint(config->entries->len, ==, 0);
    g_assert_cmpuint(config->problems->len, ==, 0);
    g_assert_null(modprobe_config_option(config, "kvm_intel", "nested"));
    g_assert_null(modprobe_config_obstacle(config, "kvm_intel"));
}

/* By the names of the files, whatever their folder; of one name the folder decides. */
static void test_order(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, "lib/modprobe.d/50-a.conf", "options kvm_intel nested=1\n");
    assert_option(root, "kvm_intel", "nested", "/lib/modprobe.d/50-a.conf:1", "kvm_intel nested=1");
    util_root_write(root, "etc/modprobe.d/10-b.conf", "options kvm_intel nested=2\n");
    assert_option(root, "kvm_intel", "nested", "/lib/modprobe.d/50-a.conf:1", "kvm_intel nested=1");
    util_root_write(root, "usr/lib/modprobe.d/50-a.conf", "options kvm_intel nested=3\n");
    assert_option(root, "kvm_intel", "nested", "/usr/lib/modprobe.d/50-a.conf:1", "kvm_intel nested=3");
    util_root_write(root, "usr/local/lib/modprobe.d/50-a.conf", "options kvm_intel nested=4\n");
    assert_option(root, "kvm_intel", "nested", "/usr/local/lib/modprobe.d/50-a.conf:1", "kvm_intel nested=4");
    util_root_write(root, "run/modprobe.d/50-a.conf", "options kvm_intel nested=5\n");
    assert_option(root, "kvm_intel", "nested", "/run/modprobe.d/50-a.conf:1", "kvm_intel nested=5");
    util_root_write(root, "etc/modprobe.d/50-a.conf", "options kvm_intel nested=6\n");
    assert_option(root, "kvm_intel", "nested", "/etc/modprobe.d/50-a.conf:1", "kvm_intel nested=6");
    util_root_write(root, "lib/modprobe.d/kvm.conf", "\noptions kvm_intel nested=7 nested=8\n");
    assert_option(root, "kvm_intel", "nested", "/lib/modprobe.d/kvm.conf:2", "kvm_intel nested=8");
    util_root_write(root, "proc/cmdline", "quiet kvm_intel.nested=9 ro\n");
    assert_option(root, "kvm_intel", "nested", "the kernel's command line", "kvm_intel.nested=9");
}

static void test_masks(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, "lib/modprobe.d/a.conf", "options kvm nested=1\n");
    util_root_write(root, "lib/modprobe.d/b.conf", "options kvm nested=2\n");
    util_root_write(root, "lib/modprobe.d/c.conf", "options kvm nested=3\n");
    util_root_link(root, "etc/modprobe.d/c.conf", "/dev/null");
    assert_option(root, "kvm", "nested", "/lib/modprobe.d/b.conf:1", "kvm nested=2");
    util_root_write(root, "run/modprobe.d/b.conf", "");
    assert_option(root, "kvm", "nested", "/lib/modprobe.d/a.conf:1", "kvm nested=1");
    util_root_link(root, "etc/modprobe.d/a.conf", "nowhere");
    assert_option(root, "kvm", "nested", NULL, NULL);
    g_autoptr(ModprobeConfig) config = modprobe_config_read(root->path);
    g_assert_cmpuint(config->problems->len, ==, 0);
}

static void test_names(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, "etc/modprobe.d/.hidden.conf", "options kvm nested=1\n");
    util_root_write(root, "etc/modprobe.d/kvm.conf.bak", "options kvm nested=1\n");
    util_root_write(root, "etc/modprobe.d/kvm", "options kvm nested=1\n");
    util_root_write(root, "etc/modprobe.conf", "options kvm nested=1\n");
    assert_option(root, "kvm", "nested", NULL, NULL);
    util_root_write(root, "etc/modprobe.d/kvm.alias", "options kvm nested=1\n");
    assert_option(root, "kvm", "nested", "/etc/modprobe.d/kvm.alias:1", "kvm nested=1");
}

static void test_syntax(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    static const struct {
        const char *file, *place, *text;
    } cases[] = {
        {"options kvm-intel nested=1\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"options kvm_intel nested=1", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"\toptions\t kvm_intel \t ept=1\tnested=0  ", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=0"},
        {"options kvm_intel nested\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested"},
        {"options kvm_intel nested=\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested="},
        {"options kvm_intel nested=\"1\"\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"options kvm_intel \"x=a nested=0\" nested=1\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"options kvm_intel \"nested=1\"\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"options kvm_intel nes\"t\"ed=0 nested=\"1\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"options kvm_intel nested=1\"\"\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1\"\""},
        {"options kvm_intel nested=\"\t\"\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested= "},
        {"options kvm_intel ept=0\vnested=1\xa0vpid=0\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"options kvm_intel nested=1 # on\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"options kvm_intel nested=1\r\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"\n\noptions \\\nkvm_intel \\\n nested=1\n", "/etc/modprobe.d/a.conf:3", "kvm_intel nested=1"},
        {"#options kvm_intel nested=1\n", NULL, NULL},
        {"# a comment \\\noptions kvm_intel nested=1\n", NULL, NULL},
        {" # options kvm_intel nested=1\n", NULL, NULL},
        {"option kvm_intel nested=1\n", NULL, NULL},
        {"options kvm_intel\n", NULL, NULL},
        {"options\n", NULL, NULL},
        {"options kvm_intel xnested=1\n", NULL, NULL},
        {"options kvm nested=1\n", NULL, NULL},
        {"options kvm_intel \xff=\xfe nested=\xff\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=\xff"},
        {"options kvm_intel nested=1\n\\", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"options kvm_intel nested=1\\", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1\xff"},
        {"options kvm\\_intel nest\\ed=1\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"\n#\\\n#\noptions kvm_intel nested=1\n", "/etc/modprobe.d/a.conf:4", "kvm_intel nested=1"},
        {"options kvm_intel [-]nested=0 nested=1\n", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1"},
        {"options kvm-intel] nested=0\noptions [kvm-intel nested=0\n", NULL, NULL},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        util_root_write(root, "etc/modprobe.d/a.conf", cases[i].file);
        assert_option(root, "kvm_intel", "nested", cases[i].place, cases[i].text);
    }
}

/* A NUL ends its line for kmod, and not the file. */
static void test_nul(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    static const char text[] =
        "options kvm_intel nested=1\0 nested=0\n\0options kvm_intel nested=0\noptions kvm nested=1\n";

    util_root_write_bytes(root, "etc/modprobe.d/a.conf", text, sizeof(text) - 1);
    assert_option(root, "kvm_intel", "nested", "/etc/modprobe.d/a.conf:1", "kvm_intel nested=1");
    assert_option(root, "kvm", "nested", "/etc/modprobe.d/a.conf:3", "kvm nested=1");
}

static void test_command_line(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    static const char at[] = "the kernel's command line";
    static const struct {
        const char *line, *place, *text;
    } cases[] = {
        {"kvm-intel.nested=1\n", at, "kvm_intel.nested=1"},
        {"a=b kvm_intel.nested=0 kvm_intel.nested=1", at, "kvm_intel.nested=1"},
        {"init=/x.sh kvm_intel.nested=1", at, "kvm_intel.nested=1"},
        {"note=\"kvm_intel.nested=0\" ro", NULL, NULL},
        {"dyndbg=\"file a.c +p\" kvm_intel.nested=Y", at, "kvm_intel.nested=Y"},
        {"kvm_intel.nested", NULL, NULL},
        {"nested=1", NULL, NULL},
        {"kvm_intel.ept=1", NULL, NULL},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        util_root_write(root, "proc/cmdline", cases[i].line);
        assert_option(root, "kvm_intel", "nested", cases[i].place, cases[i].text);
        g_autoptr(ModprobeConfig) config = modprobe_config_read(root->path);
        g_assert_cmpint(modprobe_config_command_line(config, "kvm_intel", "nested") != NULL, ==,
                        cases[i].place != NULL);
    }
    util_root_write(root, "proc/cmdline", "ro");
    util_root_write(root, "etc/modprobe.d/a.conf", "options kvm_intel nested=1");
    g_autoptr(ModprobeConfig) config = modprobe_config_read(root->path);
    g_assert_null(modprobe_config_command_line(config, "kvm_intel", "nested"));
}

static void assert_obstacle(const UtilRoot *root, const char *place, const char *text)
{
    g_autoptr(ModprobeConfig) config = modprobe_config_read(root->path);
    const ModprobeEntry *entry = modprobe_config_obstacle(config, "kvm_amd");

    g_assert_nonnull(entry);
    g_autofree char *seen_place = modprobe_entry_place(entry), *seen_text = modprobe_entry_text(entry);
    g_assert_cmpstr(seen_place, ==, place);
    g_assert_cmpstr(seen_text, ==, text);
}

static void test_obstacles(void)
{
    g_autoptr(UtilRoot) root = util_root_new();

    util_root_write(root, "proc/cmdline", "modprobe.blacklist=pcspkr,kvm-amd");
    assert_obstacle(root, "the kernel's command line", "modprobe.blacklist=kvm_amd");
    util_root_write(root, "etc/modprobe.d/b.conf", "install kvm\ninstall kvm-amd /bin/false\n");
    assert_obstacle(root, "/etc/modprobe.d/b.conf:2", "install kvm_amd /bin/false");
    util_root_write(root, "etc/modprobe.d/b.conf", "blacklist kvm*\ninstall kvm-[a-h]* /bin/false\n");
    assert_obstacle(root, "/etc/modprobe.d/b.conf:2", "install kvm_[a-h]* /bin/false");
    util_root_write(root, "etc/modprobe.d/a.conf", "blacklist kvm-amd\n");
    assert_obstacle(root, "/etc/modprobe.d/a.conf:1", "blacklist kvm_amd");
}

/* Whatever lies there is told, and stops nothing. */
static void test_strange(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *pipe = util_root_path(root, "etc/modprobe.d/b.conf"), *huge = g_strnfill(1024 * 1024 + 1, '#');

    util_root_folder(root, "etc/modprobe.d/a.conf");
    g_assert_cmpint(mkfifo(pipe, 0600), ==, 0);
    util_root_write(root, "etc/modprobe.d/c.conf", huge);
    util_root_write(root, "etc/modprobe.d/d.conf", "options kvm nested=1\n");
    g_autoptr(ModprobeConfig) config = modprobe_config_read(root->path);
    g_assert_cmpuint(config->problems->len, ==, 3);
    util_assert_contains(config->problems->pdata[0], "/etc/modprobe.d/a.conf: ");
    util_assert_contains(config->problems->pdata[1], "/etc/modprobe.d/b.conf: ");
    util_assert_contains(config->problems->pdata[2], "1 MiB");
    g_assert_nonnull(modprobe_config_option(config, "kvm", "nested"));
}

static void test_unreadable(void)
{
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *file = util_root_path(root, "etc/modprobe.d/a.conf"),
                    *folder = util_root_path(root, "run/modprobe.d");

    util_root_write(root, "etc/modprobe.d/a.conf", "options kvm nested=1\n");
    util_root_write(root, "run/modprobe.d/b.conf", "options kvm nested=2\n");
    g_assert_cmpint(chmod(file, 0), ==, 0);
    g_assert_cmpint(chmod(folder, 0), ==, 0);
    if (!util_set_override(false)) {
        g_test_skip("cannot give up root's capabilities");
        return;
    }
    g_autoptr(ModprobeConfig) config = modprobe_config_read(root->path);
    util_set_override(true);
    g_assert_cmpuint(config->entries->len, ==, 0);
    g_assert_cmpuint(config->problems->len, ==, 2);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/modprobe-d/nothing", test_nothing);
    g_test_add_func("/modprobe-d/order", test_order);
    g_test_add_func("/modprobe-d/masks", test_masks);
    g_test_add_func("/modprobe-d/names", test_names);
    g_test_add_func("/modprobe-d/syntax", test_syntax);
    g_test_add_func("/modprobe-d/nul", test_nul);
    g_test_add_func("/modprobe-d/command-line", test_command_line);
    g_test_add_func("/modprobe-d/obstacles", test_obstacles);
    g_test_add_func("/modprobe-d/strange", test_strange);
    g_test_add_func("/modprobe-d/unreadable", test_unreadable);
    return g_test_run();
}
