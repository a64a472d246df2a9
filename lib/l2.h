/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Whether a guest (an L1) runs guests of its own (L2). */
typedef enum {
    L2_NONE,    /* none since this QEMU process began, or none any more */
    L2_RUNNING, /* one did within QuietAfter= */
    L2_QUIET,   /* one was seen and does nothing now: it may be paused */
    L2_UNKNOWN, /* nothing can be read */
} L2State;

const char *l2_state_to_string(L2State state);

/* What was read of one vCPU, or of a whole guest where a source knows no vCPUs. */
typedef struct L2Reading {
    guint64 nested_run; /* entries into an L2 so far; only with has_counter */
    guint32 vcpu;
    bool has_counter;
    bool guest_mode; /* it is in an L2 at this moment */
} L2Reading;

/* For how long what counts; of the policy. */
typedef struct L2Limits {
    guint64 quiet_after_usec;
    guint64 release_after_usec; /* G_MAXUINT64: never */
} L2Limits;

/*
 * The state of one guest, from the start of its QEMU process to its end. Times are those of a clock that stands still
 * while the host is suspended, as the guest does (CLOCK_MONOTONIC), in microseconds.
 */
typedef struct L2 {
    L2State state;
    bool ever;           /* an L2 was seen since the process began */
    bool seen;           /* the same, and it is not known to be gone */
    bool active;         /* since then it did something; otherwise it was found by its traces alone */
    bool in_guest;       /* at the last look a vCPU was in an L2 */
    bool counted;        /* nested_runs is what was counted at the last look */
    bool observed;       /* there was a look since the last l2_rebase() */
    bool lost;           /* there is no source */
    bool paused;         /* the guest, by the hypervisor */
    gint64 looked_at;    /* the last call; never goes back */
    gint64 moved_at;     /* when an L2 was last seen to do something; only with ever */
    guint64 quiet_usec;  /* for how long it was seen to do nothing */
    guint64 nested_runs; /* of all vCPUs */
    GArray *counters;    /* of what the source knows: vCPU and its counter at the last look */
} L2;

void l2_begin(L2 *l2, gint64 now);
void l2_presume(L2 *l2, const L2Limits *limits);
void l2_clear(L2 *l2);
void l2_rebase(L2 *l2);
void l2_observe(L2 *l2, const L2Limits *limits, const L2Reading *readings, gsize n, gint64 now);
void l2_lose(L2 *l2, const L2Limits *limits, gint64 now);
void l2_set_paused(L2 *l2, bool paused, gint64 now);
void l2_take_registers(L2 *l2, bool hypervisor_on, gint64 asked_at);
void l2_update(L2 *l2, const L2Limits *limits);
