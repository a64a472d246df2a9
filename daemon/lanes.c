/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A call that hangs cannot be taken back. It holds a worker here, and one of libvirtd's own, of which there are twenty for
 * all its clients (max_workers). So there is a limit to how many of them there can be: then guests that hang are not the
 * only ones without an answer, but libvirtd still has some for everybody else.
 *
 * Each connection has one call at a time. libvirt's client lets the thread whose call is under way read and write for the
 * others as well, and wakes it up for that in a way that gets lost now and then (seen with 9.0.0: g_main_loop_quit() before
 * that thread has entered g_main_loop_run()). Then a call waits for the one that hangs, until the next keepalive.
 */

#include "daemon/lanes.h"

#define LANES_MAX 12
/* So many are opened as soon as there is use for them, and more only if these hang. */
#define LANES_FREELY 4
/* A monitor answers within milliseconds; libvirt waits for up to 30 s for a job of its own to end. */
#define DEADLINE_S 5

typedef struct Lane {
    Lanes *lanes;
    Link *link;
    LaneCall *call; /* under way; NULL: none is */
} Lane;

struct Lanes {
    char *uri;
    LanesHandlers handlers;
    gpointer data;
    GPtrArray *lanes;
    unsigned running;
    bool stopping;
};

struct LaneCall {
    Lane *lane;
    WorkerJob *job;
    WorkerWork work;
    WorkerDone done;
    gpointer data;
};

static void on_lane_changed(gpointer data)
{
    Lanes *self = ((Lane *)data)->lanes;

    if (!self->stopping)
        self->handlers.ready(self->data);
}

static void on_lane_stopped(gpointer data)
{
    Lanes *self = ((Lane *)data)->lanes;

    if (--self->running == 0)
        self->handlers.stopped(self->data);
}

static void lane_new(Lanes *self)
{
    static const LinkHandlers handlers = {
        .connected = on_lane_changed,
        .disconnected = on_lane_changed,
        .stopped = on_lane_stopped,
    };
    Lane *lane = g_new0(Lane, 1);

    lane->lanes = self;
    lane->link = link_new(self->uri, &handlers, lane);
    g_ptr_array_add(self->lanes, lane);
    self->running++;
    link_start(lane->link);
}

/* A connection that has nothing to do, or NULL. */
static Lane *find_free(const Lanes *self)
{
    for (guint i = 0; i < self->lanes->len; i++) {
        Lane *lane = self->lanes->pdata[i];
        if (link_connection(lane->link) != NULL && lane->call == NULL)
            return lane;
    }
    return NULL;
}

/* Is there a connection that will be of use in a moment? */
static bool is_hopeful(const Lanes *self, bool urgent)
{
    bool patient = !urgent && self->lanes->len >= LANES_FREELY;

    for (guint i = 0; i < self->lanes->len; i++) {
        const Lane *lane = self->lanes->pdata[i];
        if (lane->call == NULL || (patient && !lane_call_is_overdue(lane->call)))
            return true;
    }
    return false;
}

/**
 * Can a call be made now? If not, a connection is opened if that helps, and handlers.ready is called when there is one.
 * @urgent: do not wait for calls that may be about to end
 */
bool lanes_is_free(Lanes *self, bool urgent)
{
    if (self->stopping)
        return false;
    if (find_free(self) != NULL)
        return true;
    if (!is_hopeful(self, urgent) && self->lanes->len < LANES_MAX)
        lane_new(self);
    return false;
}

static void call_work(gpointer data)
{
    LaneCall *call = data;

    call->work(call->data);
}

static void call_done(gpointer data)
{
    g_autofree LaneCall *call = data;
    Lanes *self = call->lane->lanes;

    call->lane->call = NULL;
    call->done(call->data);
    if (!self->stopping)
        self->handlers.ready(self->data);
}

/**
 * Makes a call, which lanes_is_free() has allowed.
 * @ret_connection: for @work, with a reference of its own
 * Returns: the call, valid until @done is called
 */
LaneCall *lanes_run(Lanes *self, virConnect **ret_connection, WorkerWork work, WorkerDone done, gpointer data)
{
    LaneCall *call = g_new0(LaneCall, 1);

    *call = (LaneCall){.lane = find_free(self), .work = work, .done = done, .data = data};
    g_assert(call->lane != NULL);
    *ret_connection = link_connection(call->lane->link);
    (void)virConnectRef(*ret_connection);
    call->lane->call = call;
    call->job = link_run(call->lane->link, call_work, call_done, call);
    return call;
}

/** Has it taken longer than any call takes that does not hang? */
bool lane_call_is_overdue(const LaneCall *call)
{
    return worker_job_seconds(call->job) >= DEADLINE_S;
}

/** @ret_hung: how many of those under way are overdue */
void lanes_count_calls(const Lanes *self, unsigned *ret_calls, unsigned *ret_hung)
{
    unsigned calls = 0, hung = 0;

    for (guint i = 0; i < self->lanes->len; i++) {
        const LaneCall *call = ((const Lane *)self->lanes->pdata[i])->call;
        calls += call != NULL;
        hung += call != NULL && lane_call_is_overdue(call);
    }
    *ret_calls = calls;
    *ret_hung = hung;
}

/** Connects when there is a call to make. @handlers: copied. To be freed with lanes_free(). */
Lanes *lanes_new(const char *uri, const LanesHandlers *handlers, gpointer data)
{
    Lanes *self = g_new0(Lanes, 1);

    self->uri = g_strdup(uri);
    self->handlers = *handlers;
    self->data = data;
    self->lanes = g_ptr_array_new();
    return self;
}

/** No more calls. Once the connections are closed, which may be at once, handlers.stopped is called. */
void lanes_stop(Lanes *self)
{
    self->stopping = true;
    for (guint i = 0; i < self->lanes->len; i++)
        link_stop(((Lane *)self->lanes->pdata[i])->link);
}

/** Returns: whether there is no connection whose end handlers.stopped would tell. */
bool lanes_are_stopped(const Lanes *self)
{
    return self->running == 0;
}

/** What calls under way still need is left alone. */
Lanes *lanes_free(Lanes *self)
{
    if (self == NULL || self->running > 0)
        return NULL;
    for (guint i = 0; i < self->lanes->len; i++) {
        Lane *lane = self->lanes->pdata[i];
        link_free(lane->link);
        g_free(lane);
    }
    g_ptr_array_unref(self->lanes);
    g_free(self->uri);
    g_free(self);
    return NULL;
}
