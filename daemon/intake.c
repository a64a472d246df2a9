/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sd-bus reads the next call whether or not the answer to the one before was sent, and keeps up to 384 * 1024 messages that
 * were not (BUS_WQUEUE_MAX). An answer to GetManagedObjects has megabytes where there are many domains, and dbus-daemon takes
 * 2 KiB of it at a time. So clients that ask as fast as they can would make this process as large as they like. Here a
 * call that comes while answers wait to be sent is put aside, which takes little, and taken up when those are gone.
 */

#include "daemon/intake.h"

#include "daemon/bus.h"
#include "daemon/log.h"
#include <gio/gio.h>
#include <string.h>

/* Messages that wait to be sent, from which on calls are put aside. */
#define UNSENT_MAX 8
/* Calls put aside; dbus-daemon lets each client of the system bus await 128 replies. */
#define ASIDE_MAX 4096

struct Intake {
    sd_bus *bus;
    const Authority *authority;
    sd_bus_slot *filter;
    GQueue aside;            /* of calls */
    sd_bus_message *resumed; /* one of them that is in sd-bus's queue again; not owned, only compared */
    GSource *source;
    guint64 calls, deferred, refused;
};

typedef struct IntakeSource {
    GSource source;
    Intake *intake;
} IntakeSource;

static bool is_congested(const Intake *self)
{
    uint64_t unsent = 0;

    return sd_bus_get_n_queued_write(self->bus, &unsent) >= 0 && unsent >= UNSENT_MAX;
}

/* Does it ask for something, and wants no answer? Of such calls a client can have as many under way as it likes. */
static bool is_pointless(sd_bus_message *message)
{
    const char *interface = sd_bus_message_get_interface(message), *member = sd_bus_message_get_member(message);

    if (sd_bus_message_get_expect_reply(message) > 0 || interface == NULL || strcmp(member, "Set") == 0)
        return false;
    return !g_str_has_prefix(interface, VIRTNEST_BUS_NAME ".") || g_str_has_prefix(member, "Get") ||
           g_str_has_prefix(member, "List");
}

static int on_message(sd_bus_message *message, void *data, sd_bus_error *error)
{
    Intake *self = data;

    if (sd_bus_message_is_method_call(message, NULL, NULL) <= 0)
        return 0;
    if (message == self->resumed) {
        self->resumed = NULL;
        return 0;
    }
    /* What polkit was asked about comes here for the second time, and is in a hurry. */
    if (authority_knows(self->authority, message))
        return 0;
    self->calls++;
    log_write(G_LOG_LEVEL_DEBUG, (LogSubject){0}, "%s calls %s of %s", sd_bus_message_get_sender(message),
              sd_bus_message_get_member(message), sd_bus_message_get_path(message));
    if (is_pointless(message))
        return 1;
    if (self->aside.length == 0 && !is_congested(self))
        return 0;
    if (self->aside.length >= ASIDE_MAX) {
        self->refused++;
        return sd_bus_error_setf(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                 "%u calls wait for the answers to those before them; no more are taken before that",
                                 self->aside.length);
    }
    self->deferred++;
    g_queue_push_tail(&self->aside, sd_bus_message_ref(message));
    return 1;
}

/* One at a time: each may have an answer of megabytes. */
static gboolean source_prepare(GSource *source, int *timeout)
{
    const Intake *self = ((IntakeSource *)source)->intake;

    *timeout = -1;
    return self->aside.length > 0 && self->resumed == NULL && !is_congested(self);
}

static gboolean source_check(GSource *source)
{
    int timeout;

    return source_prepare(source, &timeout);
}

static gboolean source_dispatch(GSource *source, GSourceFunc callback G_GNUC_UNUSED, gpointer data G_GNUC_UNUSED)
{
    Intake *self = ((IntakeSource *)source)->intake;
    g_autoptr(sd_bus_message) message = g_queue_pop_head(&self->aside);

    /* The queue keeps a reference of its own, and gives it to on_message() before anything else. */
    if (sd_bus_enqueue_for_read(self->bus, message) >= 0)
        self->resumed = message;
    else
        (void)sd_bus_reply_method_errorf(message, SD_BUS_ERROR_LIMITS_EXCEEDED, "too many calls");
    return G_SOURCE_CONTINUE;
}

/** @bus, @authority: to be there until intake_free(), which gives it back */
Intake *intake_new(sd_bus *bus, const Authority *authority, GError **error)
{
    static GSourceFuncs functions = {.prepare = source_prepare, .check = source_check, .dispatch = source_dispatch};
    Intake *self = g_new0(Intake, 1);
    int r;

    self->bus = sd_bus_ref(bus);
    self->authority = authority;
    g_queue_init(&self->aside);
    self->source = g_source_new(&functions, sizeof(IntakeSource));
    ((IntakeSource *)self->source)->intake = self;
    g_source_set_name(self->source, "intake");
    g_source_attach(self->source, NULL);
    r = sd_bus_add_filter(bus, &self->filter, on_message, self);
    if (r >= 0)
        return self;
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(-r), "cannot look at calls: %s", g_strerror(-r));
    return intake_free(self);
}

static void message_unref(gpointer message)
{
    sd_bus_message_unref(message);
}

/** The bus itself tells those whose calls were put aside, when its connection is closed. */
Intake *intake_free(Intake *self)
{
    if (self == NULL)
        return NULL;
    sd_bus_slot_unref(self->filter);
    g_source_destroy(self->source);
    g_source_unref(self->source);
    g_queue_clear_full(&self->aside, message_unref);
    sd_bus_unref(self->bus);
    g_free(self);
    return NULL;
}

/** Puts in what is known of calls. */
void intake_fill_metrics(const Intake *self, Metrics *metrics)
{
    metrics->dbus_calls = self->calls;
    metrics->dbus_deferred = self->deferred;
    metrics->dbus_refused = self->refused;
    metrics->dbus_set_aside = self->aside.length;
}
