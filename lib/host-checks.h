/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/check.h"
#include "lib/host-survey.h"

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
