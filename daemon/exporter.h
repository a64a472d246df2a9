/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/intake.h"
#include "daemon/readiness.h"
#include "daemon/reconciler.h"

/* Gives out numbers for a monitoring system: to whoever asks, and into a file. Main thread only. */
typedef struct Exporter Exporter;

/* What an exporter uses and does not own. */
typedef struct ExporterServices {
    sd_bus *bus;
    const Configuration *configuration;
    const Link *link;
    Readiness *readiness;
    const Detector *detector;
    const Guards *guards;
    const Reconciler *reconciler;
    const Authority *authority;
    const Intake *intake;
    bool (*synced)(gpointer data);
    void (*changed)(gpointer data); /* exporter_error() is another one */
    void (*stopped)(gpointer data);
    gpointer data;
} ExporterServices;

Exporter *exporter_new(const ExporterServices *services);
void exporter_reload(Exporter *self);
void exporter_stop(Exporter *self);
bool exporter_is_stopped(const Exporter *self);
Exporter *exporter_free(Exporter *self);

char *exporter_text(const Exporter *self, MetricsFormat format);
const char *exporter_error(const Exporter *self);
