/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/authority.h"
#include "daemon/detector.h"
#include "daemon/guards.h"

/* All domains, and what is under way for them. Main thread only. */
typedef struct Reconciler Reconciler;

/* What a reconciler uses and does not own. */
typedef struct ReconcilerServices {
    sd_bus *bus;
    Link *link;
    Configuration *configuration;
    Detector *detector;
    Guards *guards;
    Authority *authority;
    void (*idle)(gpointer data);        /* no call is under way any more */
    void (*kill_switch)(gpointer data); /* the kill switch was found thrown before anything else told so */
    gpointer data;
} ReconcilerServices;

Reconciler *reconciler_new(const ReconcilerServices *services);
Reconciler *reconciler_free(Reconciler *self);
void reconciler_stop(Reconciler *self);

void reconciler_domain_event(Reconciler *self, virDomain *handle, bool added, guint listing);
void reconciler_take_list(Reconciler *self, virDomain *const *handles, int n, guint listing);
void reconciler_drop_handles(Reconciler *self);
void reconciler_look(Reconciler *self, Domain *domain, WaiterTold over, gpointer data);
void reconciler_mark_all_dirty(Reconciler *self);
void reconciler_mark_changed_dirty(Reconciler *self, bool held);
bool reconciler_is_idle(const Reconciler *self);

Guards *reconciler_guards(const Reconciler *self);
Authority *reconciler_authority(const Reconciler *self);
PlatformVerdict reconciler_platform(const Reconciler *self);
guint64 reconciler_rewrites(const Reconciler *self);
unsigned reconciler_count(const Reconciler *self, bool (*which)(const Domain *domain));
Domain *reconciler_find(const Reconciler *self, virDomain *handle);
Domain *reconciler_domain_by_uuid(const Reconciler *self, const char *uuid);
Domain *reconciler_domain_by_name(const Reconciler *self, const char *name);
GList *reconciler_domains(const Reconciler *self);
