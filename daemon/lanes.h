/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/link.h"

/*
 * Connections to libvirt for calls that reach a guest's monitor, which may hang for as long as it likes: then another
 * connection is opened for the rest. Main thread only.
 */
typedef struct Lanes Lanes;

/* One call on a worker of a lane. */
typedef struct LaneCall LaneCall;

typedef struct LanesHandlers {
    void (*ready)(gpointer data); /* lanes_is_free() may hold now */
    void (*stopped)(gpointer data);
} LanesHandlers;

Lanes *lanes_new(const char *uri, const LanesHandlers *handlers, gpointer data);
void lanes_stop(Lanes *self);
bool lanes_are_stopped(const Lanes *self);
Lanes *lanes_free(Lanes *self);

bool lanes_is_free(Lanes *self, bool urgent);
LaneCall *lanes_run(Lanes *self, virConnect **ret_connection, WorkerWork work, WorkerDone done, gpointer data);
void lanes_count_calls(const Lanes *self, unsigned *ret_calls, unsigned *ret_hung);
bool lane_call_is_overdue(const LaneCall *call);
