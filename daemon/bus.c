/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The connection to D-Bus, and sd-bus as a source of GLib's main loop.
 *
 * A call cannot be interrupted, and GetManagedObjects of a thousand domains takes sd-bus a tenth of a second. Clients that do
 * nothing but call would have every look at the guests come late by half of that. So no message is taken up that may last
 * beyond the next look, by what the longest took in the last seconds. After the look at least one is, however long it takes.
 */

#include "daemon/bus.h"

#include "daemon/bus-error.h"
#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <string.h>
#include <time.h>

/* Messages that are handled in one go before other sources get their turn, and for how long. */
#define MESSAGES_PER_DISPATCH 32
#define DISPATCH_USEC 5000
/* For how long it is remembered what the longest took; at most twice as long. */
#define LONGEST_USEC (5 * (gint64)G_USEC_PER_SEC)

typedef struct BusSource {
    GSource source;
    sd_bus *bus;
    gpointer fd_tag;
    int events; /* that fd_tag waits for */
    BusNextLook next_look;
    gpointer data;
    gint64 look;            /* that was next when a message was last taken up */
    gint64 longest, before; /* of the messages since `since`, and of the time before that */
    gint64 since;
} BusSource;

/** Makes a GIOError of what sd-bus returned. Returns: false */
bool bus_set_error(GError **error, int negative_errno, const char *what)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(-negative_errno), "%s: %s", what, g_strerror(-negative_errno));
    return false;
}

/**
 * Connects to a bus.
 * @address: "system", "session", or a D-Bus address
 * Returns: a connection to be freed with sd_bus_flush_close_unref(), or NULL with a GIOError.
 */
sd_bus *bus_open(const char *address, GError **error)
{
    sd_bus *opened = NULL;
    int r;

    bus_errors_register();
    if (strcmp(address, "system") == 0) {
        r = sd_bus_open_system(&opened);
    } else if (strcmp(address, "session") == 0) {
        r = sd_bus_open_user(&opened);
    } else {
        r = sd_bus_new(&opened);
        if (r >= 0)
            r = sd_bus_set_address(opened, address);
        if (r >= 0)
            r = sd_bus_set_bus_client(opened, true);
        if (r >= 0)
            r = sd_bus_start(opened);
    }
    g_autoptr(sd_bus) bus = opened;
    if (r < 0) {
        g_autofree char *what = g_strdup_printf("cannot connect to the bus '%s'", address);
        bus_set_error(error, r, what);
        return NULL;
    }
    return g_steal_pointer(&bus);
}

/** Takes the well-known name; false with a GIOError if somebody else has it. */
bool bus_own_name(sd_bus *bus, GError **error)
{
    int r = sd_bus_request_name(bus, VIRTNEST_BUS_NAME, 0);

    if (r == -EEXIST || r == -EALREADY) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                            "the bus name " VIRTNEST_BUS_NAME " is taken: another virtnestd runs on this bus; "
                            "`busctl status " VIRTNEST_BUS_NAME "` tells its process");
        return false;
    }
    return r >= 0 || bus_set_error(error, r,
                                   "cannot own the bus name " VIRTNEST_BUS_NAME
                                   " (is org.virtnest1.conf installed in dbus-1/system.d?)");
}

/* Of this thread alone: on a busy host a message takes as long as others let it, which says nothing of the next one. */
static gint64 processor_usec(void)
{
    struct timespec time = {0};

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (gint64)time.tv_sec * G_USEC_PER_SEC + time.tv_nsec / 1000;
}

static void note_duration(BusSource *self, gint64 now, gint64 usec)
{
    if (now - self->since >= LONGEST_USEC) {
        self->before = self->longest;
        self->longest = 0;
        self->since = now;
    }
    self->longest = MAX(self->longest, usec);
}

/* May a message be taken up, or is a look too near? @ret_look: set to that */
static bool may_process(const BusSource *self, gint64 now, gint64 *ret_look)
{
    gint64 look = self->next_look != NULL ? self->next_look(self->data) : -1;

    *ret_look = look;
    if (look < 0)
        return true;
    if (look <= now)
        return false;
    return look != self->look || now + MAX(self->longest, self->before) <= look;
}

static gboolean bus_source_prepare(GSource *source, int *timeout)
{
    BusSource *self = (BusSource *)source;
    uint64_t usec = UINT64_MAX;
    gint64 look = -1;
    bool may = may_process(self, g_get_monotonic_time(), &look);
    int events = may ? MAX(sd_bus_get_events(self->bus), 0) : 0;

    *timeout = -1;
    /* Even a change to the same wakes the loop up again, without end. */
    if (events != self->events) {
        self->events = events;
        /* poll(2) and GIOCondition have the same bits on Linux. */
        g_source_modify_unix_fd(source, self->fd_tag, (GIOCondition)events);
    }
    if (!may) {
        g_source_set_ready_time(source, look);
        return FALSE;
    }
    if (sd_bus_get_timeout(self->bus, &usec) < 0)
        return TRUE;
    /* An absolute time on CLOCK_MONOTONIC, as g_get_monotonic_time() is; 0 means that messages are waiting. */
    if (usec == 0)
        return TRUE;
    g_source_set_ready_time(source, usec == UINT64_MAX ? -1 : (gint64)MIN(usec, (uint64_t)G_MAXINT64));
    return FALSE;
}

static gboolean bus_source_check(GSource *source)
{
    BusSource *self = (BusSource *)source;
    gint64 ready = g_source_get_ready_time(source);

    return g_source_query_unix_fd(source, self->fd_tag) != 0 || (ready >= 0 && ready <= g_source_get_time(source));
}

static gboolean bus_source_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    BusSource *self = (BusSource *)source;
    gint64 begin = g_get_monotonic_time(), now = begin, look = -1;
    int r = 1;

    for (unsigned i = 0;
         i < MESSAGES_PER_DISPATCH && r > 0 && now - begin < DISPATCH_USEC && may_process(self, now, &look); i++) {
        gint64 before = processor_usec();
        self->look = look;
        r = sd_bus_process(self->bus, NULL);
        now = g_get_monotonic_time();
        note_duration(self, now, processor_usec() - before);
    }
    if (r < 0) {
        (void)callback(data);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

static void bus_source_finalize(GSource *source)
{
    BusSource *self = (BusSource *)source;

    self->bus = sd_bus_unref(self->bus);
}

static GSourceFuncs bus_source_functions = {
    .prepare = bus_source_prepare,
    .check = bus_source_check,
    .dispatch = bus_source_dispatch,
    .finalize = bus_source_finalize,
};

/**
 * Drives a connection from the default main context. Main thread only.
 * @on_lost: called once when the connection is gone; what it returns is ignored
 * @next_look: asked often; NULL: nothing is ever due
 * Returns: a source to be given back with g_source_destroy() and g_source_unref(); it holds @bus.
 */
GSource *bus_attach(sd_bus *bus, GSourceFunc on_lost, BusNextLook next_look, gpointer data)
{
    GSource *source = g_source_new(&bus_source_functions, sizeof(BusSource));
    BusSource *self = (BusSource *)source;

    self->bus = sd_bus_ref(bus);
    self->next_look = next_look;
    self->data = data;
    self->look = -1;
    self->fd_tag = g_source_add_unix_fd(source, sd_bus_get_fd(bus), 0);
    g_source_set_name(source, "sd-bus");
    g_source_set_callback(source, on_lost, data, NULL);
    g_source_attach(source, NULL);
    return source;
}

/**
 * Replies to a call whose work took its time; a WaiterTold.
 * @problem: NULL: it is done
 * @message: the call, given up
 */
void bus_reply_later(const char *problem, gpointer message)
{
    g_autoptr(sd_bus_message) call = message;

    if (problem == NULL)
        (void)sd_bus_reply_method_return(call, "");
    else
        (void)sd_bus_reply_method_errorf(call, BUS_ERROR_UNAVAILABLE, "%s", problem);
}
