/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
    MODPROBE_OPTION,    /* a parameter of a module; the last one counts */
    MODPROBE_BLACKLIST, /* the module is not loaded for the hardware that it is for */
    MODPROBE_INSTALL,   /* a command runs in place of the loading */
} ModprobeKind;

/* One thing that the configuration of kmod says of a module. */
typedef struct ModprobeEntry {
    ModprobeKind kind;
    char *path; /* the file; the kernel's command line is /proc/cmdline */
    guint line; /* 0 for the command line */
    char *module;
    char *name;  /* of the parameter; with underscores */
    char *value; /* NULL for a parameter without "=", and for a blacklist */
    bool is_command_line;
} ModprobeEntry;

/* What modprobe(8) would read, in its order. */
typedef struct ModprobeConfig {
    GPtrArray *entries;  /* of ModprobeEntry */
    GPtrArray *problems; /* texts: what could not be read */
} ModprobeConfig;

ModprobeConfig *modprobe_config_read(const char *root);
ModprobeConfig *modprobe_config_free(ModprobeConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ModprobeConfig, modprobe_config_free)

const ModprobeEntry *modprobe_config_option(const ModprobeConfig *config, const char *module, const char *name);
const ModprobeEntry *modprobe_config_command_line(const ModprobeConfig *config, const char *module, const char *name);
GPtrArray *modprobe_config_options(const ModprobeConfig *config, const char *module, const char *name);
const ModprobeEntry *modprobe_config_obstacle(const ModprobeConfig *config, const char *module);
char *modprobe_entry_place(const ModprobeEntry *entry);
char *modprobe_entry_text(const ModprobeEntry *entry);
