/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/exporter.h"

/* The daemon's state: configuration, connection, domains. Main thread only. */
typedef struct Manager Manager;

typedef struct ManagerOptions {
    const char *root; /* "/" but for tests */
    const char *uri;
    const char *bus_address;
    GMainLoop *loop; /* ended by manager_stop(), or when the bus is lost */
} ManagerOptions;

Manager *manager_new(const ManagerOptions *options, GError **error);
bool manager_start(Manager *self, GError **error);
bool manager_reload(Manager *self);
void manager_sync(Manager *self, WaiterTold over, gpointer data);
void manager_stop(Manager *self);
bool manager_failed(const Manager *self);
Manager *manager_free(Manager *self);

/* What is published. */
const Link *manager_link(const Manager *self);
SettingsMode manager_mode(const Manager *self);
bool manager_writes_disabled(const Manager *self);
bool manager_synced(const Manager *self);
bool manager_stopping(const Manager *self);
const Reconciler *manager_reconciler(const Manager *self);
const Exporter *manager_exporter(const Manager *self);
Guards *manager_guards(const Manager *self);
const PolicySet *manager_policies(const Manager *self);
guint64 manager_policy_generation(const Manager *self);
guint manager_policy_errors(const Manager *self);
Authority *manager_authority(const Manager *self);
Readiness *manager_readiness(const Manager *self);
Platform manager_platform(const Manager *self);
const GPtrArray *manager_configuration_errors(const Manager *self);
