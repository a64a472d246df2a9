/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/host-survey.h"
#include "lib/settings.h"

/* What a host is to be made. */
typedef struct HostSetup {
    SettingsWish nested, shadow_vmcs, ignore_msrs;
} HostSetup;

#define HOST_SETUP_FILE "/etc/modprobe.d/virtnest.conf"

char *host_setup_text(const HostSurvey *survey, const HostSetup *setup);
bool host_setup_check(const HostSurvey *survey, const HostSetup *setup, GPtrArray *notes, GError **error);
bool host_setup_is_ours(const char *text);
bool host_setup_is_in_force(const HostSurvey *survey, const HostSetup *setup);
