/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/host-survey.h"

typedef enum {
    HOST_PASS,
    HOST_WARN, /* works, but slowly, or not for long, or nobody can tell */
    HOST_FAIL, /* no guest gets nesting before that is mended */
} HostVerdict;

/* One thing that was looked at. */
typedef struct HostCheck {
    const char *id; /* static */
    HostVerdict verdict;
    char *found;
    const char *why; /* it matters; static */
    char *todo;      /* "" if nothing is to be done */
} HostCheck;

/* What libvirt says, which no file tells. */
typedef struct HostLibvirt {
    bool asked;
    const char *error;            /* why there is no connection; NULL: there is one */
    unsigned long version, qemu;  /* as libvirt counts them; 0: not known */
    const char *capabilities;     /* <domainCapabilities> of KVM guests; NULL: there are none */
    const char *capability_error; /* why, or NULL */
    bool devices_hidden;          /* whoever asks sees no /dev/kvm, whether there is one or not */
} HostLibvirt;

GPtrArray *host_checks_run(const HostSurvey *survey, const HostLibvirt *libvirt);
HostVerdict host_checks_verdict(const GPtrArray *checks);
const char *host_verdict_to_string(HostVerdict verdict);
char *host_check_problem(const HostCheck *check);
