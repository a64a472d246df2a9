/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/autoptr.h"
#include "daemon/copies.h"
#include "lib/reconcile.h"
#include "lib/runtime.h"

/* What workers need to know; immutable and counted, so that a reload does not pull it away from under them. */
typedef struct LookContext {
    PolicySet *policies;
    HostFacts host;
    unsigned long libvirt_version;
    char *kill_switch;
    char *root;
    gint superseded; /* atomic: there is a newer one, by which it is to be decided */
    Copies *copies;  /* outlives every context */
    unsigned copies_keep;
} LookContext;

LookContext *look_context_new(const LookContext *content);
LookContext *look_context_ref(LookContext *context);
LookContext *look_context_unref(LookContext *context);

/* What was seen of a domain, and what follows from it. */
typedef struct Look {
    bool gone;     /* there is no such domain any more */
    GError *error; /* libvirt could not be asked; nothing else is set */
    Reconcile *reconcile;
    char *xml; /* the persistent definition that it was decided on */
    bool running;
    bool persistent;
    gint64 began_at;  /* monotonic: what happened later was not seen */
    bool paused;      /* by the hypervisor */
    bool arriving;    /* it is being migrated to this host: its definition follows it */
    bool booted;      /* it began with nothing, and not with a saved or migrated state */
    bool has_runtime; /* the running guest's definition says what ran in it: */
    Runtime runtime;
    bool stray_runtime;   /* the persistent one says so too, where it means nothing */
    int id;               /* libvirt's number of this run; -1: it is shut off */
    bool tainted;         /* its monitor was used in this run, as far as is known */
    CpuExposure exposure; /* of the running guest */
    char *virt_type;      /* of the running guest, where its definition tells */
} Look;

bool look_context_is_superseded(const LookContext *context);
Look *look_at(virDomain *domain, const LookContext *context, const char *matched_by);
Look *look_free(Look *look);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Look, look_free)

typedef enum {
    APPLY_DONE,     /* libvirt took it; what it made of it is for the next look to see */
    APPLY_STRIPPED, /* the persistent definition says nothing of L2 guests any more: look again */
    APPLY_CHANGED,  /* somebody else changed the domain meanwhile: theirs stays, look again */
    APPLY_HELD,     /* the kill switch was thrown meanwhile */
    APPLY_FAILED,   /* nothing was written, the error says why */
} ApplyOutcome;

ApplyOutcome look_apply(virDomain *domain, const LookContext *context, const Look *look, GError **error);
