/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Any bytes as a file of modprobe.d and as the kernel's command line: nothing of it stops anything, and of the file as much
 * is understood as libkmod understands, where that is installed. It is loaded, not linked, since nothing else needs it.
 *
 * "make check" replays the corpus. To look for more, from the top of the tree:
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -std=gnu17 -D_GNU_SOURCE -I. \
 *     -DVIRTNEST_SYSCONFDIR='"/etc/virtnest"' -DVIRTNEST_RUNDIR='"/run/virtnest"' -DVIRTNEST_VENDORDIR='"/usr/lib/virtnest"' \
 *     $(pkg-config --cflags glib-2.0 libxml-2.0) tests/fuzz/fuzz-modprobe-d.c tests/unit/util.c lib/[a-z]*.c \
 *     $(pkg-config --libs glib-2.0 libxml-2.0 json-glib-1.0) -o /tmp/fuzz-modprobe-d
 *   mkdir /tmp/found && TMPDIR=/dev/shm /tmp/fuzz-modprobe-d -max_len=4096 /tmp/found tests/fuzz/corpus/modprobe-d
 */

#include "tests/fuzz/fuzz.h"

#include "lib/modprobe-d.h"
#include "tests/unit/util.h"
#include <dlfcn.h>
#include <string.h>

#define FILE_PATH "/etc/modprobe.d/x.conf"

/* One for all inputs: a folder each would be most of what the fuzzer does. */
static const UtilRoot *shared_root(void)
{
    static UtilRoot *root;

    if (root == NULL)
        root = util_root_new();
    return root;
}

/* libkmod ---------------------------------------------------------------------------------------------------------- */

typedef struct kmod_ctx KmodContext;
typedef struct kmod_config_iter KmodIterator;

/* As in libkmod.h, whose ABI has been this one since version 4. */
static struct {
    KmodContext *(*create)(const char *folder, const char *const *configuration);
    KmodContext *(*unref)(KmodContext *context);
    KmodIterator *(*options)(const KmodContext *context);
    KmodIterator *(*blacklists)(const KmodContext *context);
    KmodIterator *(*installs)(const KmodContext *context);
    const char *(*key)(const KmodIterator *iterator);
    const char *(*value)(const KmodIterator *iterator);
    bool (*next)(KmodIterator *iterator);
    void (*free)(KmodIterator *iterator);
} kmod;

static bool load_kmod(void)
{
    static const char *const names[] = {"kmod_new",
                                        "kmod_unref",
                                        "kmod_config_get_options",
                                        "kmod_config_get_blacklists",
                                        "kmod_config_get_install_commands",
                                        "kmod_config_iter_get_key",
                                        "kmod_config_iter_get_value",
                                        "kmod_config_iter_next",
                                        "kmod_config_iter_free_iter"};
    static bool tried, loaded;

    G_STATIC_ASSERT(sizeof(kmod) == G_N_ELEMENTS(names) * sizeof(gpointer));
    if (tried)
        return loaded;
    tried = true;
    /* It tells of each line that it ignores, while it reads. */
    (void)g_setenv("KMOD_LOG", "0", TRUE);
    void *library = dlopen("libkmod.so.2", RTLD_NOW);
    loaded = library != NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(names) && loaded; i++) {
        ((gpointer *)&kmod)[i] = dlsym(library, names[i]);
        loaded = ((gpointer *)&kmod)[i] != NULL;
    }
    if (!loaded)
        g_printerr("# without libkmod, with which this is compared elsewhere\n");
    return loaded;
}

/* One line for each thing that an iterator has; some have no value. */
static void add_all(GString *text, const char *kind, KmodIterator *iterator)
{
    while (iterator != NULL && kmod.next(iterator)) {
        const char *value = kmod.value(iterator);
        g_string_append_printf(text, "%s %s%s%s\n", kind, kmod.key(iterator), value != NULL ? " " : "",
                               value != NULL ? value : "");
    }
    kmod.free(iterator);
}

/* Returns: what kmod makes of files, in the order of kinds; each to be freed with g_free(). */
static void kmod_says(const char *const *files, char *ret_kinds[3])
{
    KmodContext *context = kmod.create("/nonexistent", files);
    GString *texts[3] = {g_string_new(NULL), g_string_new(NULL), g_string_new(NULL)};

    g_assert_nonnull(context);
    add_all(texts[0], "options", kmod.options(context));
    add_all(texts[1], "blacklist", kmod.blacklists(context));
    add_all(texts[2], "install", kmod.installs(context));
    (void)kmod.unref(context);
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++)
        ret_kinds[i] = g_string_free(texts[i], FALSE);
}

/* Comparison ------------------------------------------------------------------------------------------------------- */

static void add_option(GString *text, const char *module, const char *name, const char *value)
{
    g_autofree char *underscored = g_strdelimit(g_strdup(name), "-", '_');

    g_string_append_printf(text, "options %s %s%s%s\n", module, underscored, value != NULL ? "=" : "",
                           value != NULL ? value : "");
}

#define SPACES " \t\n\v\f\r\xa0"

/* What the kernel makes of a module's options: next_arg(), lib/cmdline.c. */
static void split_options(GString *text, const char *module, char *args)
{
    while (*(args = args + strspn(args, SPACES)) != '\0') {
        bool quoted = *args == '"', in_quote = quoted;
        gsize i, equals = 0;
        args += quoted;
        for (i = 0; args[i] != '\0' && (in_quote || strchr(SPACES, args[i]) == NULL); i++) {
            if (equals == 0 && args[i] == '=')
                equals = i;
            if (args[i] == '"')
                in_quote = !in_quote;
        }
        char *end = args + i, *next = *end != '\0' ? end + 1 : end, *value = NULL;
        *end = '\0';
        if (equals > 0) {
            args[equals] = '\0';
            value = args + equals + 1;
            if (*value == '"') {
                value++;
                if (end > value && end[-1] == '"')
                    end[-1] = '\0';
            }
        }
        if (quoted && i > 0 && end[-1] == '"')
            end[-1] = '\0';
        add_option(text, module, args, value);
        args = next;
    }
}

/* The same of what kmod says of a file, which goes on with what it finds on this machine's own command line. */
static char *expect(const char *path)
{
    const char *const files[] = {path, NULL}, *const none[] = {"/dev/null", NULL};
    char *all[3], *always[3];
    GString *text = g_string_new(NULL);

    kmod_says(files, all);
    kmod_says(none, always);
    for (gsize i = 0; i < G_N_ELEMENTS(all); i++) {
        g_assert_true(g_str_has_suffix(all[i], always[i]));
        all[i][strlen(all[i]) - strlen(always[i])] = '\0';
        g_auto(GStrv) lines = g_strsplit(all[i], "\n", 0);
        for (gsize j = 0; lines[j] != NULL; j++) {
            g_auto(GStrv) words = g_strsplit(lines[j], " ", 3);
            if (g_strv_length(words) == 3 && strcmp(words[0], "options") == 0)
                split_options(text, words[1], words[2]);
            else if (*lines[j] != '\0')
                g_string_append_printf(text, "%s\n", lines[j]);
        }
        g_free(all[i]);
        g_free(always[i]);
    }
    return g_string_free(text, FALSE);
}

static void describe(GString *text, const ModprobeConfig *config, ModprobeKind kind)
{
    for (guint i = 0; i < config->entries->len; i++) {
        const ModprobeEntry *entry = config->entries->pdata[i];
        if (entry->kind != kind || entry->is_command_line)
            continue;
        if (kind == MODPROBE_OPTION)
            add_option(text, entry->module, entry->name, entry->value);
        else if (kind == MODPROBE_BLACKLIST)
            g_string_append_printf(text, "blacklist %s\n", entry->module);
        else
            g_string_append_printf(text, "install %s %s\n", entry->module, entry->value);
    }
}

static void compare(const ModprobeConfig *config, const char *path)
{
    g_autoptr(GString) seen = g_string_new(NULL);
    g_autofree char *expected = expect(path);

    describe(seen, config, MODPROBE_OPTION);
    describe(seen, config, MODPROBE_BLACKLIST);
    describe(seen, config, MODPROBE_INSTALL);
    if (strcmp(seen->str, expected) != 0)
        g_error("kmod understands\n%s---\nand virtnest\n%s---", expected, seen->str);
}

/* What holds of any entry, and that each is found by what it is about. */
static void check_entries(const ModprobeConfig *config, guint n_lines)
{
    for (guint i = 0; i < config->entries->len; i++) {
        const ModprobeEntry *entry = config->entries->pdata[i];
        g_autofree char *place = modprobe_entry_place(entry), *text = modprobe_entry_text(entry);
        g_assert_cmpstr(place, !=, "");
        util_assert_contains(text, entry->module);
        g_assert_cmpint(entry->is_command_line, ==, entry->line == 0);
        g_assert_cmpuint(entry->line, <=, n_lines);
        g_assert_true(strchr(entry->module, '-') == NULL || strchr(entry->module, '[') != NULL);
        if (entry->kind == MODPROBE_BLACKLIST)
            g_assert_nonnull(modprobe_config_obstacle(config, entry->module));
        else if (entry->kind == MODPROBE_INSTALL)
            (void)modprobe_config_obstacle(config, entry->module);
        if (entry->kind != MODPROBE_OPTION)
            continue;
        g_autoptr(GPtrArray) options = modprobe_config_options(config, entry->module, entry->name);
        g_assert_true(g_ptr_array_find(options, entry, NULL));
        g_assert_true(modprobe_config_option(config, entry->module, entry->name) == options->pdata[options->len - 1]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const UtilRoot *root = shared_root();
    g_autofree char *path = util_root_path(root, FILE_PATH);
    const char *bytes = size > 0 ? (const char *)data : "";
    guint n_lines = 1;

    for (size_t i = 0; i < size; i++)
        n_lines += data[i] == '\n';
    util_root_write_bytes(root, FILE_PATH, bytes, size);
    util_root_write_bytes(root, "proc/cmdline", bytes, size);
    g_autoptr(ModprobeConfig) config = modprobe_config_read(root->path);
    g_assert_cmpuint(config->problems->len, ==, 0);
    check_entries(config, n_lines);
    if (load_kmod())
        compare(config, path);
    return 0;
}
