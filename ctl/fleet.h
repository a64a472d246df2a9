/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/snapshot.h"

/* virtnestd of this host, or of each --host, all asked at once. */
typedef struct Fleet Fleet;

/* One of them, as long as there is the fleet. */
typedef struct FleetHost {
    const char *name;   /* as --host has it; NULL: this host */
    Snapshot *snapshot; /* NULL: it did not answer so far, or is lost */
    char *error;        /* why it did not, or is lost; NULL: it did answer, or may yet */
    bool over;          /* the connection is gone: nothing more will come */
} FleetHost;

/* What happens on a host after it has answered. Each may be NULL. */
typedef struct FleetEvents {
    void (*answered)(FleetHost *host, gpointer data);
    /* @domain: NULL: a property of the manager or the host. @before: NULL: there was none. It is set already. */
    void (*changed)(FleetHost *host, Object *domain, const char *property, GVariant *before, GVariant *value,
                    gpointer data);
    void (*added)(FleetHost *host, Object *domain, gpointer data);
    void (*removed)(FleetHost *host, Object *domain, gpointer data); /* which goes right after */
    /* It did not answer, has gone, or the way to it has; host->error tells. If not over, it may come back: answered. */
    void (*lost)(FleetHost *host, gpointer data);
} FleetEvents;

Fleet *fleet_new(const FleetEvents *events, gpointer data);
Fleet *fleet_free(Fleet *fleet);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Fleet, fleet_free)

const GPtrArray *fleet_hosts(const Fleet *fleet);
void fleet_wait(Fleet *fleet);
bool fleet_print_errors(const Fleet *fleet);
bool fleet_print_incomplete(const Fleet *fleet);
Snapshot *fleet_one(Fleet *fleet);
