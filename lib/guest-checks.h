/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/check.h"
#include "lib/guest-agent.h"
#include "lib/host-survey.h"
#include "lib/reconcile.h"

/* What is known of a guest and of its host at one moment. All of it stays the caller's. */
typedef struct GuestInput {
    /* As for reconcile_decide(). With a tag it is judged what that one's policy would make of the definition. */
    ReconcileInput domain;
    const HostSurvey *host;
    unsigned long qemu_version; /* as libvirt counts them; 0: not known */
    const char *host_model;     /* what host-model expands to here; NULL: not known */
    const char *connect;        /* the URI that commands have to name; NULL: none has to */
} GuestInput;

GPtrArray *guest_checks_lint(const GuestInput *input, GError **error);

/* What the guest itself says, through its agent. */
typedef struct GuestInside {
    const char *agent_error; /* why it says nothing; NULL: it answers */
    bool is_windows;
    const GuestCpuinfo *cpuinfo; /* NULL: it was not read */
    const char *cpuinfo_error;   /* why */
    const char *device_error;    /* why /dev/kvm does not open; NULL: it does */
} GuestInside;

GPtrArray *guest_checks_verify(const GuestInput *input, const GuestInside *inside, GError **error);
