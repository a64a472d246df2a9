/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What modprobe(8) is told of kernel modules, by kmod's own rules (libkmod/libkmod-config.c): of files of one name the first
 * found counts, in the order of the folders below; all that remain are read in the order of their names, whatever their
 * folder; then comes the kernel's command line. All options of a module go to the kernel as one line, and there the last of
 * a repeated parameter counts (kernel/params.c). Dashes and underscores are the same in both.
 */

#include "lib/modprobe-d.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Nobody writes that much; who does is not read. */
#define FILE_MAX_BYTES (1024 * 1024)
#define COMMAND_LINE "proc/cmdline"

static const char *const folders[] = {"etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d",
                                      "usr/lib/modprobe.d", "lib/modprobe.d"};

static void entry_destroy(gpointer data)
{
    ModprobeEntry *entry = data;

    g_free(entry->path);
    g_free(entry->module);
    g_free(entry->name);
    g_free(entry->value);
    g_free(entry);
}

static char *underscored(const char *text, gssize length)
{
    char *copy = length < 0 ? g_strdup(text) : g_strndup(text, (gsize)length);

    return g_strdelimit(copy, "-", '_');
}

/* A module's name may be a pattern, and what is in brackets stays. Returns: false if they do not match, as kmod has it. */
static bool underscore_module(char *name)
{
    for (char *p = name; *p != '\0'; p++) {
        if (*p == ']' || (*p == '[' && strchr(p, ']') == NULL))
            return false;
        if (*p == '[')
            p = strchr(p, ']');
        else if (*p == '-')
            *p = '_';
    }
    return true;
}

static ModprobeEntry *add_entry(ModprobeConfig *config, ModprobeKind kind, const char *path, guint line,
                                const char *module)
{
    ModprobeEntry *entry = g_new0(ModprobeEntry, 1);

    entry->kind = kind;
    entry->path = g_strdup(path);
    entry->line = line;
    entry->module = g_strdup(module);
    g_ptr_array_add(config->entries, entry);
    return entry;
}

/* The kernel's isspace() (lib/ctype.c), to which one byte of Latin-1 belongs. */
static bool is_space(char c)
{
    return c != '\0' && strchr(" \t\n\v\f\r\xa0", c) != NULL;
}

/*
 * Takes the next parameter off, by the kernel's rules (next_arg(), lib/cmdline.c): quotes keep spaces together wherever they
 * are, and go only where they are around the whole of it or of its value.
 * @ret_value: NULL without "="
 */
static bool next_parameter(const char **text, char **ret_name, char **ret_value)
{
    const char *begin = *text, *equals = NULL, *p;
    bool quoted, in_quote;

    while (is_space(*begin))
        begin++;
    if (*begin == '\0')
        return false;
    quoted = in_quote = *begin == '"';
    begin += quoted;
    for (p = begin; *p != '\0' && (in_quote || !is_space(*p)); p++) {
        if (equals == NULL && *p == '=' && p > begin)
            equals = p;
        if (*p == '"')
            in_quote = !in_quote;
    }
    *text = p;
    const char *end = p, *value = equals != NULL ? equals + 1 : NULL;
    bool value_quoted = value != NULL && *value == '"';
    value += value_quoted;
    if ((quoted || value_quoted) && end > (value != NULL ? value : begin) && end[-1] == '"')
        end--;
    *ret_name = underscored(begin, (equals != NULL ? equals : end) - begin);
    *ret_value = value != NULL ? g_strndup(value, (gsize)(end - value)) : NULL;
    return true;
}

static void add_options(ModprobeConfig *config, const char *path, guint line, const char *module, const char *text)
{
    char *name, *value;

    while (next_parameter(&text, &name, &value)) {
        ModprobeEntry *entry = add_entry(config, MODPROBE_OPTION, path, line, module);
        entry->name = name;
        entry->value = value;
    }
}

/* Cuts the next word off, at spaces and tabs alone as kmod does. Returns: it, or NULL. */
static char *cut_word(char **text)
{
    char *word = *text + strspn(*text, " \t");

    if (*word == '\0')
        return NULL;
    *text = word + strcspn(word, " \t");
    if (**text != '\0')
        *(*text)++ = '\0';
    return word;
}

/* kmod ignores what it does not know, comments among that, and what lacks a word. In options it has no tabs. */
static void read_line(ModprobeConfig *config, const char *path, guint line, char *text)
{
    char *rest = text, *command, *module;

    command = cut_word(&rest);
    module = command != NULL ? cut_word(&rest) : NULL;
    if (module == NULL || !underscore_module(module))
        return;
    if (strcmp(command, "options") == 0)
        add_options(config, path, line, module, g_strdelimit(rest, "\t", ' '));
    else if (strcmp(command, "blacklist") == 0)
        (void)add_entry(config, MODPROBE_BLACKLIST, path, line, module);
    else if (strcmp(command, "install") == 0 && *rest != '\0')
        add_entry(config, MODPROBE_INSTALL, path, line, module)->value = g_strdup(rest);
}

/*
 * A backslash at the end joins a line with the next one, in comments too. Before anything else it goes, and what comes after
 * it stays: kmod 30 takes even the end of the file for a character then (freadline_wrapped()). A NUL ends its line.
 */
static void read_text(ModprobeConfig *config, const char *path, const char *text, gsize length)
{
    g_autoptr(GString) line = g_string_new(NULL);
    guint number = 1, first = 1;

    for (gsize i = 0;; i++) {
        bool escaped = i < length && text[i] == '\\';
        if (escaped && ++i < length && text[i] == '\n') {
            number++;
        } else if (escaped) {
            g_string_append_c(line, i < length ? text[i] : '\xff');
        } else if (i >= length || text[i] == '\n') {
            read_line(config, path, first, line->str);
            g_string_truncate(line, 0);
            first = ++number;
            if (i >= length)
                return;
        } else {
            g_string_append_c(line, text[i]);
        }
    }
}

static void add_problem(ModprobeConfig *config, const char *path, const char *what)
{
    g_ptr_array_add(config->problems, g_strdup_printf("%s: %s", path, what));
}

/* A link that leads nowhere, or to /dev/null, hides files of its name and says nothing: that is what it is for. */
static void read_file(ModprobeConfig *config, const char *path, const char *shown)
{
    g_autofree char *text = NULL;
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    gssize n = 0;

    if (fd < 0 || fstat(fd, &status) != 0) {
        if (fd >= 0)
            (void)close(fd);
        if (errno != ENOENT && errno != ELOOP)
            add_problem(config, shown, g_strerror(errno));
        return;
    }
    if (S_ISREG(status.st_mode)) {
        text = g_malloc0(FILE_MAX_BYTES + 1);
        gsize length = 0;
        while (length < FILE_MAX_BYTES && (n = read(fd, text + length, FILE_MAX_BYTES - length)) > 0)
            length += (gsize)n;
        if (n < 0)
            add_problem(config, shown, g_strerror(errno));
        else if (length == FILE_MAX_BYTES)
            add_problem(config, shown, "larger than 1 MiB, and not read");
        else
            read_text(config, shown, text, length);
    } else if (!S_ISCHR(status.st_mode)) {
        add_problem(config, shown, "no file");
    }
    (void)close(fd);
}

/* @found: name -> path below the root; the first one stays */
static void scan_folder(ModprobeConfig *config, const char *root, const char *folder, GHashTable *found)
{
    g_autofree char *path = g_build_filename(root, folder, NULL), *shown = g_strconcat("/", folder, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &error);
    const char *name;

    if (dir == NULL) {
        if (!g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT) &&
            !g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOTDIR))
            add_problem(config, shown, error->message);
        return;
    }
    while ((name = g_dir_read_name(dir)) != NULL)
        if (name[0] != '.' && (g_str_has_suffix(name, ".conf") || g_str_has_suffix(name, ".alias")) &&
            !g_hash_table_contains(found, name))
            g_hash_table_insert(found, g_strdup(name), g_strconcat(folder, "/", name, NULL));
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(a, b);
}

static void read_boot_parameter(ModprobeConfig *config, char *name, const char *value)
{
    char *dot = strchr(name, '.');

    if (value == NULL || dot == NULL)
        return;
    *dot = '\0';
    if (strcmp(name, "modprobe") == 0 && strcmp(dot + 1, "blacklist") == 0) {
        g_autofree char *list = underscored(value, -1);
        g_auto(GStrv) modules = g_strsplit(list, ",", 0);
        for (gsize i = 0; modules[i] != NULL; i++)
            add_entry(config, MODPROBE_BLACKLIST, "/" COMMAND_LINE, 0, modules[i])->is_command_line = true;
    } else {
        ModprobeEntry *entry = add_entry(config, MODPROBE_OPTION, "/" COMMAND_LINE, 0, name);
        entry->name = g_strdup(dot + 1);
        entry->value = g_strdup(value);
        entry->is_command_line = true;
    }
}

/* MODULE.PARAMETER=VALUE for each parameter; kmod passes over one without a value. */
static void read_command_line(ModprobeConfig *config, const char *root)
{
    g_autofree char *path = g_build_filename(root, COMMAND_LINE, NULL);
    g_autofree char *text = NULL;
    const char *rest;
    char *name, *value;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return;
    rest = text;
    while (next_parameter(&rest, &name, &value)) {
        read_boot_parameter(config, name, value);
        g_free(name);
        g_free(value);
    }
}

/**
 * Reads the folders and the kernel's command line below @root. What cannot be read is a problem, not an error.
 * Returns: to be freed with modprobe_config_free().
 */
ModprobeConfig *modprobe_config_read(const char *root)
{
    ModprobeConfig *config = g_new0(ModprobeConfig, 1);
    g_autoptr(GHashTable) found = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_autoptr(GList) names = NULL;

    config->entries = g_ptr_array_new_with_free_func(entry_destroy);
    config->problems = g_ptr_array_new_with_free_func(g_free);
    for (gsize i = 0; i < G_N_ELEMENTS(folders); i++)
        scan_folder(config, root, folders[i], found);
    names = g_list_sort(g_hash_table_get_keys(found), compare_names);
    for (GList *l = names; l != NULL; l = l->next) {
        const char *relative = g_hash_table_lookup(found, l->data);
        g_autofree char *path = g_build_filename(root, relative, NULL), *shown = g_strconcat("/", relative, NULL);
        read_file(config, path, shown);
    }
    read_command_line(config, root);
    return config;
}

ModprobeConfig *modprobe_config_free(ModprobeConfig *config)
{
    if (config == NULL)
        return NULL;
    g_ptr_array_unref(config->entries);
    g_ptr_array_unref(config->problems);
    g_free(config);
    return NULL;
}

static bool entry_is(const ModprobeEntry *entry, const char *module, const char *name)
{
    return entry->kind == MODPROBE_OPTION && strcmp(entry->module, module) == 0 && strcmp(entry->name, name) == 0;
}

/** Returns: all that set one parameter, the one that counts last; ModprobeEntry of @config, in an array to be freed. */
GPtrArray *modprobe_config_options(const ModprobeConfig *config, const char *module, const char *name)
{
    GPtrArray *options = g_ptr_array_new();

    for (guint i = 0; i < config->entries->len; i++)
        if (entry_is(config->entries->pdata[i], module, name))
            g_ptr_array_add(options, config->entries->pdata[i]);
    return options;
}

/**
 * @module, @name: with underscores
 * Returns: what counts of all that set a parameter, or NULL. Owned by @config.
 */
const ModprobeEntry *modprobe_config_option(const ModprobeConfig *config, const char *module, const char *name)
{
    g_autoptr(GPtrArray) options = modprobe_config_options(config, module, name);

    return options->len > 0 ? options->pdata[options->len - 1] : NULL;
}

/** Returns: what counts where the module is built in, so that modprobe has no say; or NULL. Owned by @config. */
const ModprobeEntry *modprobe_config_command_line(const ModprobeConfig *config, const char *module, const char *name)
{
    const ModprobeEntry *entry = modprobe_config_option(config, module, name);

    return entry != NULL && entry->is_command_line ? entry : NULL;
}

/* kmod takes the name of an install command for a pattern, and no other (kmod_module_get_install_commands()). */
static bool is_obstacle(const ModprobeEntry *entry, const char *module)
{
    return entry->kind == MODPROBE_INSTALL ? fnmatch(entry->module, module, 0) == 0
                                           : entry->kind == MODPROBE_BLACKLIST && strcmp(entry->module, module) == 0;
}

/** Returns: what keeps a module from being loaded at boot, or NULL. Owned by @config. */
const ModprobeEntry *modprobe_config_obstacle(const ModprobeConfig *config, const char *module)
{
    for (guint i = 0; i < config->entries->len; i++)
        if (is_obstacle(config->entries->pdata[i], module))
            return config->entries->pdata[i];
    return NULL;
}

/** Returns: "/etc/modprobe.d/kvm.conf:3" or "the kernel's command line", to be freed with g_free(). */
char *modprobe_entry_place(const ModprobeEntry *entry)
{
    return entry->is_command_line ? g_strdup("the kernel's command line")
                                  : g_strdup_printf("%s:%u", entry->path, entry->line);
}

/** Returns: what it says in its place, to be freed with g_free(). */
char *modprobe_entry_text(const ModprobeEntry *entry)
{
    if (entry->kind == MODPROBE_BLACKLIST)
        return g_strdup_printf(entry->is_command_line ? "modprobe.blacklist=%s" : "blacklist %s", entry->module);
    if (entry->kind == MODPROBE_INSTALL)
        return g_strdup_printf("install %s %s", entry->module, entry->value);
    return g_strdup_printf("%s%s%s%s%s", entry->module, entry->is_command_line ? "." : " ", entry->name,
                           entry->value != NULL ? "=" : "", entry->value != NULL ? entry->value : "");
}
