/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/autoptr.h"
#include <glib.h>
#include <stdbool.h>

/* Whether QEMU has a blocker. */
typedef enum {
    HAVE_UNKNOWN,
    HAVE_NONE,
    HAVE_BLOCKER,
} GuardHave;

typedef enum {
    STEP_FIND,
    STEP_SET,
    STEP_LIFT,
} GuardStep;

/* One call for one guest. */
typedef struct GuardJob {
    struct Guards *guards;
    guint64 serial;
    GuardStep step;
    virConnect *connection;
    char uuid[VIR_UUID_STRING_BUFLEN];
    int id;       /* libvirt's number of this run of the guest */
    char *image;  /* the path of the installed one */
    int unwanted; /* the wish has changed meanwhile; atomic */
    /* What came of it. */
    GuardHave have;
    unsigned aborted;     /* jobs */
    const char *last_job; /* that was to be aborted, static */
    GError *abort_error;  /* why that failed */
    GError *error;
    bool run_ended; /* there is an error since the guest does not run any more, or was started anew */
} GuardJob;

void guard_job_work(gpointer data);
GuardJob *guard_job_free(GuardJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GuardJob, guard_job_free)
