/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Loads and unloads kernel modules: the one place that does, by modprobe(8), which is looked for in PATH. */

#include "ctl/module.h"

#include <gio/gio.h>
#include <string.h>
#include <sys/wait.h>

/* What a failed program said, on one line, or how it ended. */
static char *describe_failure(int status, char *output)
{
    if (*g_strstrip(output) != '\0')
        return g_strdelimit(g_strdup(output), "\n", ' ');
    return WIFEXITED(status) ? g_strdup_printf("it ended with status %d", WEXITSTATUS(status))
                             : g_strdup("it was killed");
}

/* @root: another one than "/" has modules and configuration of its own, and none that this kernel would take */
static bool run_modprobe(const char *root, const char *const *arguments, GError **error)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    g_autofree char *output = NULL, *shown = g_strjoinv(" ", (char **)arguments);
    g_autoptr(GError) cause = NULL;
    int status = 0;

    g_strv_builder_add(builder, "modprobe");
    if (strcmp(root, "/") != 0) {
        g_autofree char *folder = g_strconcat("--dirname=", root, NULL);
        g_autofree char *configuration = g_strconcat("--config=", root, "/etc/modprobe.d", NULL);
        g_strv_builder_add(builder, folder);
        g_strv_builder_add(builder, configuration);
    }
    g_strv_builder_addv(builder, (const char **)arguments);
    g_auto(GStrv) argv = g_strv_builder_end(builder);
    if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, &output,
                      &status, &cause)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "cannot run modprobe (%s); it is in the package kmod, and in /sbin", cause->message);
        return false;
    }
    if (status == 0)
        return true;
    g_autofree char *failure = describe_failure(status, output);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "`modprobe %s` failed: %s", shown, failure);
    return false;
}

/** @options: parameters that overrule those in the configuration, ended by NULL; or NULL */
bool module_load(const char *root, const char *module, const char *const *options, GError **error)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    g_strv_builder_add(builder, module);
    if (options != NULL)
        g_strv_builder_addv(builder, (const char **)options);
    g_auto(GStrv) arguments = g_strv_builder_end(builder);
    return run_modprobe(root, (const char *const *)arguments, error);
}

/** The kernel refuses while anybody uses it. */
bool module_unload(const char *root, const char *module, GError **error)
{
    return run_modprobe(root, (const char *const[]){"-r", module, NULL}, error);
}
