/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between host-checks.c and the files that its checks are in. */

#include "lib/host-checks.h"

#define HOST_ENABLE "virtnestctl host enable"

typedef struct Judge {
    const HostSurvey *survey;
    const HostLibvirt *libvirt;
    GPtrArray *checks;
} Judge;

void judge_add(Judge *judge, const char *id, CheckVerdict verdict, const char *why, char *todo, char *found);
void judge_device(Judge *judge);
void judge_extensions(Judge *judge);
void judge_surroundings(Judge *judge);
