/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/configuration.h"
#include "daemon/domain.h"
#include "lib/metrics.h"
#include "lib/qemu-process.h"

/* Sees which running guests have guests of their own. Main thread only. */
typedef struct Detector Detector;

/* What a detector uses and does not own. */
typedef struct DetectorServices {
    const Configuration *configuration;
    const char *uri;
    const QemuProcessCalls *calls;
    /* @properties: the names of those that are other than before, ended by NULL */
    void (*changed)(Domain *domain, const char *const *properties, gpointer data);
    void (*stopped)(gpointer data);
    gpointer data;
} DetectorServices;

Detector *detector_new(const DetectorServices *services);
void detector_stop(Detector *self);
bool detector_is_stopped(const Detector *self);
Detector *detector_free(Detector *self);

void detector_take_look(Detector *self, Domain *domain, const Look *look, bool nested);
void detector_forget(Detector *self, Domain *domain);
void detector_look_now(Detector *self, Domain *domain);
void detector_reload(Detector *self);
gint64 detector_next_look(const Detector *self);
void detector_fill_metrics(const Detector *self, Metrics *metrics);
