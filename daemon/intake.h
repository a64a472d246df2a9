/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/authority.h"
#include "lib/metrics.h"

/* Lets calls in no faster than their answers leave. Main thread only. */
typedef struct Intake Intake;

Intake *intake_new(sd_bus *bus, const Authority *authority, GError **error);
Intake *intake_free(Intake *self);
void intake_fill_metrics(const Intake *self, Metrics *metrics);
