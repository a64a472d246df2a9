/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/look.h"
#include "lib/settings.h"

/* What is in force: settings, policies, the kill switch, and what is known of the host. Main thread only. */
typedef struct Configuration {
    char *root;
    char *kill_switch;
    Copies *copies;
    Settings settings;
    PolicySet *policies; /* NULL until there was a valid set */
    GPtrArray *errors;   /* of strings: why what lies in the folders is not in force */
    bool writes_disabled;
    HostFacts host;
    gint64 host_read_at;
    LookContext *context; /* all of this for the workers */
} Configuration;

Configuration *configuration_new(const char *root);
Configuration *configuration_free(Configuration *self);
bool configuration_load(Configuration *self);
bool configuration_refresh_host(Configuration *self);
char *configuration_hold_reason(const Configuration *self);
