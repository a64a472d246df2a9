/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/l2.h"

/*
 * Asks libvirt about guests whose L2 guests can be seen in no cheaper way, through connections of its own: a monitor that
 * hangs stands in nobody else's way. Main thread only.
 */
typedef struct Statistics Statistics;

typedef struct StatisticsHandlers {
    void (*answered)(const char *uuid, const L2Reading *readings, gsize n, gpointer data);
    /* @useless: libvirt answers, and has no such statistics; otherwise it does not answer, for now */
    void (*silent)(const char *uuid, bool useless, const char *why, gpointer data);
    void (*registers)(const char *uuid, bool hypervisor_on, gint64 asked_at, gpointer data);
    void (*stopped)(gpointer data);
} StatisticsHandlers;

Statistics *statistics_new(const char *root, const char *uri, const StatisticsHandlers *handlers, gpointer data);
void statistics_stop(Statistics *self);
bool statistics_is_idle(const Statistics *self);
Statistics *statistics_free(Statistics *self);

void statistics_count_calls(const Statistics *self, unsigned *ret_calls, unsigned *ret_hung);
void statistics_set_interval(Statistics *self, guint64 usec);
void statistics_add(Statistics *self, const char *uuid);
void statistics_remove(Statistics *self, const char *uuid);
void statistics_ask_registers(Statistics *self, const char *uuid, const char *name, bool tainted);
