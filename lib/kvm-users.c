/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who uses KVM right now, as far as /proc and /sys may be read. */

#include "lib/kvm-users.h"

#include "lib/proc.h"
#include <stdbool.h>
#include <string.h>

/* libvirt has the name among the first arguments. */
#define CMDLINE_SHOWN_MAX 65536

/* Each of these holds the module: the device, and the VM that was made with it. */
static bool is_kvm_link(const char *target)
{
    return strcmp(target, "/dev/kvm") == 0 || strcmp(target, "anon_inode:kvm-vm") == 0;
}

static bool has_kvm_open(const char *process)
{
    g_autofree char *folder = g_build_filename(process, "fd", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    bool found = false;

    while (!found && dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *target = g_file_read_link(path, NULL);
        found = target != NULL && is_kvm_link(target);
    }
    return found;
}

/* libvirt gives QEMU "-name guest=NAME,debug-threads=on", with a comma in the name doubled. Returns: NAME, or NULL. */
static char *find_guest_name(const char *arguments, gsize length)
{
    const char *end = arguments + length;

    for (const char *p = arguments; p < end; p += strlen(p) + 1) {
        if (!g_str_has_prefix(p, "guest="))
            continue;
        GString *name = g_string_new(NULL);
        for (const char *c = p + strlen("guest="); *c != '\0' && (*c != ',' || c[1] == ','); c++) {
            g_string_append_c(name, *c);
            c += *c == ',';
        }
        return g_string_free(name, FALSE);
    }
    return NULL;
}

static char *describe_process(const char *process, const char *number)
{
    g_autofree char *cmdline_path = g_build_filename(process, "cmdline", NULL);
    g_autofree char *comm_path = g_build_filename(process, "comm", NULL);
    g_autofree char *cmdline = NULL, *comm = NULL, *guest = NULL;
    gsize length = 0;

    cmdline = proc_read(cmdline_path, CMDLINE_SHOWN_MAX, &length, NULL);
    if (cmdline != NULL)
        guest = find_guest_name(cmdline, length);
    if (guest != NULL)
        return g_strdup_printf("domain %s", guest);
    if (!g_file_get_contents(comm_path, &comm, NULL, NULL))
        comm = g_strdup("a process");
    return g_strdup_printf("%s (PID %s)", g_strstrip(comm), number);
}

static void add_holders(const char *root, const char *module, GPtrArray *users)
{
    g_autofree char *folder = g_build_filename(root, "sys/module", module, "holders", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        g_ptr_array_add(users, g_strdup_printf("module %s", name));
}

static int compare_texts(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/**
 * @module: of KVM; other modules that use it are users as well
 * Returns: "domain NAME" for a guest of libvirt's, "PROGRAM (PID N)" for others; an array that frees its strings.
 */
GPtrArray *kvm_users_find(const char *root, const char *module)
{
    GPtrArray *users = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *folder = g_build_filename(root, "proc", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        if (!g_ascii_isdigit(*name))
            continue;
        g_autofree char *process = g_build_filename(folder, name, NULL);
        if (has_kvm_open(process))
            g_ptr_array_add(users, describe_process(process, name));
    }
    add_holders(root, module, users);
    g_ptr_array_sort(users, compare_texts);
    return users;
}
