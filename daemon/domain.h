/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/link.h"
#include "daemon/log.h"
#include "daemon/look.h"
#include "daemon/waiters.h"
#include "lib/l2.h"
#include "lib/platform.h"
#include "lib/release.h"

/* A libvirt domain as virtnest sees it. Main thread only. */
typedef struct Domain {
    struct Reconciler *reconciler; /* whose it is */
    char uuid[VIR_UUID_STRING_BUFLEN];
    char *path;        /* on D-Bus */
    virDomain *handle; /* of the present connection; NULL while there is none */

    /* What was last seen; view->new_xml is NULL. */
    Reconcile *view;
    char *name;
    bool running;
    bool persistent;
    bool guarded;         /* the guards' */
    CpuExposure exposure; /* the detector's */
    guint64 rewrite_time; /* CLOCK_REALTIME, microseconds; 0: not by this daemon */

    /* Its L2 guests; the detector's. */
    struct Guest *guest; /* NULL: it is not watched */
    L2 l2;
    bool ended;            /* its QEMU has, and libvirt has not told so yet */
    const char *l2_source; /* static; "": none */
    char *l2_reason;
    guint64 l2_since;    /* CLOCK_REALTIME, microseconds: when l2.state became what it is */
    guint64 l2_activity; /* the same: when an L2 last did something; 0: never */

    /* Its guard; the guards'. */
    struct Guard *guard;      /* NULL: it is off */
    const char *guard_reason; /* static */
    char *guard_error;
    Release *release;        /* of an operator, in force; NULL: none */
    bool guard_lifting;      /* guarded, and not to be */
    bool left_with_l2;       /* an L2 was there when it was found off, */
    bool left_released;      /* and a release in force */
    guint64 loaded_l2_since; /* CLOCK_REALTIME, microseconds: in the state it was loaded from an L2 ran; 0: none did */

    /* What is under way. */
    WorkerJob *job;         /* at most one */
    bool writing;           /* the job writes */
    bool arriving;          /* as the last Look has it */
    bool untold;            /* its state is not in the journal yet */
    gint64 written_at;      /* monotonic; when the last write was over */
    bool dirty;             /* something happened since the job began, or there is none yet */
    bool published;         /* on D-Bus: from the first answer on */
    bool slow;              /* it was published that the job does not come to an end */
    guint listing;          /* the last listing that had it, or during which it appeared */
    guint settle_timer;     /* libvirt's event of our own define is awaited, to look once for both */
    unsigned attempts;      /* rewrites since a look last found nothing to do */
    Waiters *waiting;       /* for all that is under way to be over */
    unsigned races;         /* rewrites in a row that somebody else was faster than */
    bool stray;             /* the persistent definition has a runtime element, */
    bool stripped;          /* and since it has it was tried to take that out */
    char *refused_plan_sum; /* of a rewrite that libvirt did not keep, not to be tried again */
} Domain;

Domain *domain_new(const char *uuid, const char *name);
Domain *domain_free(Domain *domain);
const char *domain_label(const Domain *domain);
LogSubject domain_subject(const Domain *domain, const char *message_id);
void domain_set_handle(Domain *domain, virDomain *handle);
void domain_set_view(Domain *domain, Reconcile *view, GStrvBuilder *changed);
void domain_set_state(Domain *domain, ReconcileState state, const char *reason, GStrvBuilder *changed);
void domain_set_conflicts(Domain *domain, GPtrArray *conflicts, GStrvBuilder *changed);
void domain_set_l2_reason(Domain *domain, const char *reason);
L2Limits domain_l2_limits(const Domain *domain);
bool domain_is_tagged(const Domain *domain);
bool domain_is_running(const Domain *domain);
bool domain_awaits_host(const Domain *domain);
GPtrArray *domain_blockers(const Domain *domain, PlatformVerdict platform);
void domain_set_runtime(Domain *domain, bool running, bool persistent, GStrvBuilder *changed);
