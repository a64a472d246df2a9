/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/look.h"
#include "lib/platform.h"
#include "lib/settings.h"

/* What is in force: settings, policies, the kill switch, and what is known of the host. Main thread only. */
typedef struct Configuration {
    char *root;
    char *kill_switch;
    char *incoming; /* the folder that virtnest-hook looks into */
    Copies *copies;
    Settings settings;
    PolicySet *policies; /* NULL until there was a valid set */
    GPtrArray *errors;   /* of strings: why what lies in the folders is not in force */
    guint policy_errors; /* so many of them, the first ones, are of policies */
    guint64 generation;  /* how often policies came into force */
    guint64 rejections;  /* how often something was read that is wrong */
    bool writes_disabled;
    bool kernel_holds_vm;                      /* see kernel_holds_vm_for_stats() */
    unsigned long linux_version, qemu_version; /* as libvirt counts them; 0: not known */
    Platform platform;                         /* what follows for guests with a running L2 */
    HostFacts host;
    gint64 host_read_at;
    unsigned long libvirt_version; /* as virConnectGetLibVersion() gives it; 0: not known yet */
    LookContext *context;          /* all of this for the workers */
} Configuration;

/* What a load found other than before, apart from the policies. */
typedef enum {
    CONFIGURATION_ERRORS_CHANGED = 1 << 0,
    CONFIGURATION_MODE_CHANGED = 1 << 1,
    CONFIGURATION_KILL_SWITCH_CHANGED = 1 << 2,
    CONFIGURATION_LIMIT_CHANGED = 1 << 3,
    CONFIGURATION_HOST_CHANGED = 1 << 4,
    CONFIGURATION_SCOPE_CHANGED = 1 << 5,
} ConfigurationChanges;

Configuration *configuration_new(const char *root);
Configuration *configuration_free(Configuration *self);
ConfigurationChanges configuration_load(Configuration *self);
bool configuration_look_at_host(Configuration *self);
bool configuration_refresh_host(Configuration *self);
void configuration_set_libvirt_version(Configuration *self, unsigned long version, unsigned long qemu_version);
bool configuration_stats_fd(const Configuration *self);
char *configuration_hold_reason(const Configuration *self);
