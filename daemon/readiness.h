/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/link.h"
#include "lib/host-checks.h"

/* Whether this host is ready for nesting, as it was at the last look. Main thread only. */
typedef struct Readiness Readiness;

/* @properties: of org.virtnest1.Host, ended by NULL */
typedef void (*ReadinessChanged)(const char *const *properties, gpointer data);

Readiness *readiness_new(const char *root, ReadinessChanged changed, gpointer data);
Readiness *readiness_free(Readiness *self);

void readiness_look(Readiness *self);
void readiness_refresh(Readiness *self);
void readiness_ask_libvirt(Readiness *self, Link *link);
void readiness_stop(Readiness *self);

const HostSurvey *readiness_survey(const Readiness *self);
const GPtrArray *readiness_checks(const Readiness *self);
