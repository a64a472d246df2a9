/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/configuration.h"
#include "daemon/domain.h"
#include "daemon/waiters.h"
#include "lib/metrics.h"

/* Keeps guests from being migrated, saved or snapshotted while they run guests of their own. Main thread only. */
typedef struct Guards Guards;

/* What guards use and do not own. */
typedef struct GuardsServices {
    const Configuration *configuration;
    const char *uri;
    /* @properties: the names of those that are other than before, ended by NULL */
    void (*changed)(Domain *domain, const char *const *properties, gpointer data);
    void (*stopped)(gpointer data);
    gpointer data;
} GuardsServices;

Guards *guards_new(const GuardsServices *services);
void guards_stop(Guards *self);
bool guards_are_stopped(const Guards *self);
Guards *guards_free(Guards *self);

char *guards_find_match(const Guards *self, const char *uuid);
bool guards_find_nested(const Guards *self, const Domain *domain, const Look *look);
void guards_take_look(Guards *self, Domain *domain, const Look *look);
void guards_sweep(const Guards *self, bool (*is_known)(const char *uuid, gpointer data), gpointer data);
void guards_forget(Guards *self, Domain *domain);
void guards_update(Guards *self, Domain *domain);
void guards_update_all(Guards *self);
void guards_job_began(Guards *self, Domain *domain);

bool guards_check_terms(const Guards *self, guint64 usec, const char *reason, GError **error);
bool guards_release(Guards *self, Domain *domain, guint64 usec, const char *by, const char *reason, GError **error);
void guards_when_lifted(Guards *self, Domain *domain, WaiterTold lifted, gpointer data);
bool guards_may_guard(const Domain *domain);
void guards_when_guarded(Guards *self, Domain *domain, WaiterTold guarded, gpointer data);
void guards_revoke(Guards *self, Domain *domain, const char *by);

void guards_note_move(Guards *self, Domain *domain, const char *what);

guint64 guards_aborted_jobs(const Guards *self);
guint64 guards_missed_jobs(const Guards *self);
unsigned guards_count(const Guards *self);
void guards_fill_metrics(const Guards *self, Metrics *metrics);
