/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
    SETTINGS_MODE_ENFORCE, /* rewrite and guard */
    SETTINGS_MODE_GUARD,   /* guard; publish what would be rewritten */
    SETTINGS_MODE_OBSERVE, /* publish only */
} SettingsMode;

/* Whether descriptors may be borrowed from QEMU to see L2 guests. */
typedef enum {
    SETTINGS_STATS_FD_NO,
    SETTINGS_STATS_FD_YES,
    SETTINGS_STATS_FD_AUTO, /* where the kernel is known to be safe for it */
} SettingsStatsFd;

/* What is to become of something on the host. */
typedef enum {
    SETTINGS_NO,
    SETTINGS_YES,
    SETTINGS_KEEP, /* as it is */
} SettingsWish;

/* The daemon's own configuration, virtnest.conf(5). */
typedef struct Settings {
    SettingsMode mode;
    unsigned rewrites_per_minute; /* 0: no limit */
    unsigned definition_copies;   /* per domain */
    SettingsStatsFd stats_fd;
    guint64 interval_usec;    /* between two looks for L2 guests */
    bool scope_all;           /* guard every guest, not only those that have a policy */
    guint64 release_max_usec; /* for which an operator may release a guest */
    bool incoming_allow;      /* virtnest-hook refuses nobody */
    const char *metrics_file; /* interned; NULL: none */
    guint64 metrics_interval_usec;
    SettingsWish host_nested, host_shadow_vmcs, host_ignore_msrs; /* for `virtnestctl host apply` */
} Settings;

const char *settings_mode_to_string(SettingsMode mode);
Settings settings_default(void);
bool settings_load(const char *root, Settings *ret_settings, GPtrArray *warnings, GError **error);
bool settings_equal(const Settings *a, const Settings *b);
bool settings_check_file(const char *path, GPtrArray *warnings, GError **error);
char *settings_kill_switch(const char *root);
