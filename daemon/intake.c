/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sd-bus reads the next call whether or not the answer to the one before was sent, and keeps up to 384 * 1024 messages that
 * were not (BUS_WQUEUE_MAX). An answer to GetManagedObjects has megabytes where there are many domains, and dbus-daemon takes
 * 2 KiB of it at a time. So clients that ask as fast as they can would make this process as large as they like. Here a
 * call that comes while answers wait to be sent is put aside, which takes little, and taken up when those are gone.
 *
 * Each connection has a queue of its own, and they take turns. Where all of them together have too many, the longest gives
 * way: who has few calls under way is neither refused nor waits longer because of somebody who has many. By connection and not
 * by user, as the bus would have to be asked whose each one is, with a queue of answers in front of the question; and
 * dbus-daemon lets no user have more than 256.
 */

#include "daemon/intake.h"

#include "daemon/bus.h"
#include "daemon/log.h"
#include <gio/gio.h>
#include <string.h>

/* Messages that wait to be sent, from which on calls are put aside. */
#define UNSENT_MAX 8
/* Calls put aside, of one connection: as many answers as dbus-daemon lets it await on the system bus, so that only calls that
 * want none come to that. */
#define ASIDE_PER_CALLER_MAX 128
/* And of all. */
#define ASIDE_MAX 4096
/* Bytes of a call's path and arguments. The longest that a method takes are a name and a reason. */
#define CALL_MAX 8192

/* A connection that has calls put aside. */
typedef struct Caller {
    char *name;   /* unique on the bus */
    GQueue calls; /* oldest first; never empty */
} Caller;

struct Intake {
    sd_bus *bus;
    const Authority *authority;
    sd_bus_slot *filter;
    GHashTable *callers; /* by name */
    GQueue turns;        /* of the same, whose turn it is first */
    unsigned n_aside;
    sd_bus_message *resumed; /* one that was put aside and is in sd-bus's queue again; not owned, only compared */
    GSource *source;
    guint64 calls, deferred, refused;
};

typedef struct IntakeSource {
    GSource source;
    Intake *intake;
} IntakeSource;

static void message_unref(gpointer message)
{
    sd_bus_message_unref(message);
}

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

/* Is it longer than any call has reason to be? Then it is not kept, and its text is not given back in an error. */
static bool is_too_long(sd_bus_message *message)
{
    gsize length = strlen(sd_bus_message_get_path(message));
    const char *text = NULL;
    char type = 0;

    while (length <= CALL_MAX && sd_bus_message_peek_type(message, &type, NULL) > 0)
        if (strchr("sog", type) != NULL) {
            if (sd_bus_message_read_basic(message, type, &text) < 0)
                break;
            length += strlen(text);
        } else if (sd_bus_message_skip(message, NULL) < 0) {
            break;
        }
    (void)sd_bus_message_rewind(message, true);
    return length > CALL_MAX;
}

/* Does it have what no method takes? sd-bus has a short answer to that, and it may be of any length. */
static bool has_containers(sd_bus_message *message)
{
    return strpbrk(sd_bus_message_get_signature(message, true), "avrh(") != NULL;
}

static void caller_free(gpointer data)
{
    Caller *caller = data;

    g_queue_clear_full(&caller->calls, message_unref);
    g_free(caller->name);
    g_free(caller);
}

/* Takes a call out. @pop: g_queue_pop_head or g_queue_pop_tail */
static sd_bus_message *take_call(Intake *self, Caller *caller, gpointer (*pop)(GQueue *))
{
    sd_bus_message *message = pop(&caller->calls);

    self->n_aside--;
    if (caller->calls.length == 0) {
        g_queue_remove(&self->turns, caller);
        g_hash_table_remove(self->callers, caller->name);
    }
    return message;
}

static Caller *find_longest(const Intake *self)
{
    Caller *longest = NULL;

    for (const GList *l = self->turns.head; l != NULL; l = l->next)
        if (longest == NULL || ((Caller *)l->data)->calls.length > longest->calls.length)
            longest = l->data;
    return longest;
}

/* Makes room for one more call of somebody who has so many. Returns: false if nobody has more. */
static bool make_room(Intake *self, guint n)
{
    Caller *longest = find_longest(self);

    if (longest == NULL || longest->calls.length <= n + 1)
        return false;
    self->refused++;
    g_autoptr(sd_bus_message) message = take_call(self, longest, g_queue_pop_tail);
    (void)sd_bus_reply_method_errorf(message, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                     "%u calls wait to be answered, and none has more among them than this client",
                                     ASIDE_MAX);
    return true;
}

/* Returns: 1, or a negative errno with @error. */
static int put_aside(Intake *self, sd_bus_message *message, sd_bus_error *error)
{
    const char *name = sd_bus_message_get_sender(message);
    Caller *caller = g_hash_table_lookup(self->callers, name);
    guint n = caller != NULL ? caller->calls.length : 0;

    if (n >= ASIDE_PER_CALLER_MAX || (self->n_aside >= ASIDE_MAX && !make_room(self, n))) {
        self->refused++;
        return sd_bus_error_setf(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                 "%u calls of this client wait for the answers to those before them; no more are taken "
                                 "before that",
                                 n);
    }
    if (caller == NULL) {
        caller = g_new0(Caller, 1);
        caller->name = g_strdup(name);
        g_hash_table_insert(self->callers, caller->name, caller);
        g_queue_push_tail(&self->turns, caller);
    }
    g_queue_push_tail(&caller->calls, sd_bus_message_ref(message));
    self->n_aside++;
    self->deferred++;
    return 1;
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
    /* What is to change something comes here for the second time once it is let in, and is in a hurry. */
    if (authority_knows(self->authority, message))
        return 0;
    self->calls++;
    log_write(G_LOG_LEVEL_DEBUG, (LogSubject){0}, "%s calls %s of %s", sd_bus_message_get_sender(message),
              sd_bus_message_get_member(message), sd_bus_message_get_path(message));
    if (is_pointless(message))
        return 1;
    if (has_containers(message))
        return 0;
    if (is_too_long(message)) {
        self->refused++;
        return sd_bus_error_setf(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                 "the path and the arguments of a call may have %d bytes", CALL_MAX);
    }
    /* One that is in sd-bus's queue again may have others behind it which arrived after it. */
    if (self->n_aside == 0 && self->resumed == NULL && !is_congested(self))
        return 0;
    return put_aside(self, message, error);
}

/* One at a time: each may have an answer of megabytes. */
static gboolean source_prepare(GSource *source, int *timeout)
{
    const Intake *self = ((IntakeSource *)source)->intake;

    *timeout = -1;
    return self->n_aside > 0 && self->resumed == NULL && !is_congested(self);
}

static gboolean source_check(GSource *source)
{
    int timeout;

    return source_prepare(source, &timeout);
}

static gboolean source_dispatch(GSource *source, GSourceFunc callback G_GNUC_UNUSED, gpointer data G_GNUC_UNUSED)
{
    Intake *self = ((IntakeSource *)source)->intake;
    Caller *caller = g_queue_pop_head(&self->turns);

    g_queue_push_tail(&self->turns, caller);
    g_autoptr(sd_bus_message) message = take_call(self, caller, g_queue_pop_head);
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
    self->callers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, caller_free);
    g_queue_init(&self->turns);
    self->source = g_source_new(&functions, sizeof(IntakeSource));
    ((IntakeSource *)self->source)->intake = self;
    g_source_set_name(self->source, "intake");
    g_source_attach(self->source, NULL);
    r = sd_bus_add_filter(bus, &self->filter, on_message, self);
    if (r >= 0)
        return self;
    (void)bus_set_error(error, r, "cannot look at calls");
    return intake_free(self);
}

/** The bus itself tells those whose calls were put aside, when its connection is closed. */
Intake *intake_free(Intake *self)
{
    if (self == NULL)
        return NULL;
    sd_bus_slot_unref(self->filter);
    g_source_destroy(self->source);
    g_source_unref(self->source);
    g_queue_clear(&self->turns);
    g_hash_table_unref(self->callers);
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
    metrics->dbus_set_aside = self->n_aside;
}
