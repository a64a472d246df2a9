/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A call is put aside until the bus has told whose it is. Root is let in without anybody else being asked. For everyone else
 * polkit is asked, which may take as long as somebody needs to type a password, and nothing waits for it. What is let in is put
 * into sd-bus's queue once more and comes to its handler as if it had just arrived: the object is looked up again, the
 * arguments are read again, and authority_check() now knows the answer. What is not is told so from here.
 *
 * Not even for the bus's answer anything waits: in front of it there may be megabytes for clients that call without end.
 *
 * The subject is the caller's name on the bus and not its process: a process can be replaced by another between question
 * and answer, a unique name is never given twice.
 */

#include "daemon/authority.h"

#include "daemon/bus.h"
#include <string.h>
#include <unistd.h>

/* org.freedesktop.PolicyKit1.Authority, of polkit's reference manual. */
#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_ALLOW_USER_INTERACTION 1U

/* With a user who is asked for a password, and without. virtnestctl waits a little longer than the first. */
#define INTERACTIVE_TIMEOUT_USEC (2 * 60 * G_USEC_PER_SEC)
#define TIMEOUT_USEC (25 * G_USEC_PER_SEC)

/*
 * Calls that wait for polkit. Of one user, and not of one connection: a user has as many connections as it likes, and must
 * not be able to use up what there is for the others. In all: by default dbus-daemon lets a connection await 128 replies.
 */
#define CHECKS_PER_USER_MAX 16
#define CHECKS_MAX 64
/* Calls of one connection that wait for the bus to tell whose they are: as many answers as dbus-daemon lets it await on the
 * system bus, so that only calls that want none come to that. */
#define UNKNOWN_PER_CALLER_MAX 128

#define SWEEP_MS 100
/* With a queue that never is empty. */
#define SWEEP_AFTER_USEC (60 * G_USEC_PER_SEC)

struct Authority {
    sd_bus *bus;
    GPtrArray *checks; /* of Check, in the order in which they came */
    guint64 serial;    /* of the latest check */
    guint sweep;       /* a source, while there is something to sweep */
};

/* A call that waits for the bus or for polkit. */
typedef struct Check {
    Authority *authority;
    sd_bus_message *message;
    const char *action;
    const char *what;
    char *domain_name, *domain_uuid; /* that it is done to; NULL: to none */
    sd_bus_slot *question;           /* to the bus, whose it is; NULL: none is under way */
    bool identified;
    uid_t user;
    char *id;          /* by which polkit can be told to forget it */
    sd_bus_slot *call; /* to polkit; NULL: it was answered */
    sd_bus_slot *watch;
    gint64 allowed_at; /* monotonic; 0: it is not yet, and in the queue again */
} Check;

/* Has polkit take a dialog away that nobody waits for any more. */
static void check_cancel(const Check *check)
{
    g_autoptr(sd_bus_message) message = NULL;
    int r = sd_bus_message_new_method_call(check->authority->bus, &message, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                                           "CancelCheckAuthorization");

    if (r >= 0)
        r = sd_bus_message_append(message, "s", check->id);
    if (r >= 0)
        r = sd_bus_message_set_expect_reply(message, false);
    if (r >= 0)
        r = sd_bus_message_set_auto_start(message, false);
    if (r >= 0)
        (void)sd_bus_send(NULL, message, NULL);
}

static void check_free(gpointer data)
{
    Check *check = data;

    if (check->call != NULL)
        check_cancel(check);
    sd_bus_slot_unref(check->question);
    sd_bus_slot_unref(check->call);
    sd_bus_slot_unref(check->watch);
    sd_bus_message_unref(check->message);
    g_free(check->domain_name);
    g_free(check->domain_uuid);
    g_free(check->id);
    g_free(check);
}

static void check_drop(Check *check)
{
    g_ptr_array_remove(check->authority->checks, check);
}

/* Tells the caller, and forgets the call. */
G_GNUC_PRINTF(3, 4) static void check_refuse(Check *check, const char *name, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)sd_bus_reply_method_errorfv(check->message, name, format, arguments);
    va_end(arguments);
    check_drop(check);
}

/*
 * What was let in and did not come to its handler, such as for a domain that is gone. While looks are near, the bus leaves in
 * its queue what there is, for as long as that takes: a call that is swept too early would have polkit asked once more.
 */
static gboolean on_sweep(gpointer data)
{
    Authority *self = data;
    gint64 now = g_get_monotonic_time();
    guint64 queued = 0;
    bool left = false;

    (void)sd_bus_get_n_queued_read(self->bus, &queued);
    for (guint i = self->checks->len; i > 0; i--) {
        gint64 allowed_at = ((const Check *)self->checks->pdata[i - 1])->allowed_at;
        if (allowed_at != 0 && (queued == 0 || now - allowed_at > SWEEP_AFTER_USEC))
            g_ptr_array_remove_index(self->checks, i - 1);
        else
            left |= allowed_at != 0;
    }
    self->sweep = left ? g_timeout_add(SWEEP_MS, on_sweep, self) : 0;
    return G_SOURCE_REMOVE;
}

static void check_let_in(Check *check)
{
    Authority *self = check->authority;
    int r = sd_bus_message_rewind(check->message, true);

    if (r >= 0)
        r = sd_bus_enqueue_for_read(self->bus, check->message);
    if (r < 0) {
        check_refuse(check, SD_BUS_ERROR_FAILED, "cannot take up the call again: %s", g_strerror(-r));
        return;
    }
    check->allowed_at = g_get_monotonic_time();
    if (self->sweep == 0)
        self->sweep = g_idle_add(on_sweep, self);
}

/* Asks the bus whose call it is. Returns: a negative errno. */
static int check_identify(Check *check, sd_bus_message_handler_t answered)
{
    return sd_bus_call_method_async(check->authority->bus, &check->question, "org.freedesktop.DBus",
                                    "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionUnixUser", answered,
                                    check, "s", sd_bus_message_get_sender(check->message));
}

static void check_unknown(Check *check)
{
    check_refuse(check, SD_BUS_ERROR_ACCESS_DENIED, "cannot tell whose call to %s it is", check->what);
}

/* It may have left before its leaving was watched for. */
static int on_still_there(sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    Check *check = data;

    check->question = sd_bus_slot_unref(check->question);
    if (sd_bus_message_is_method_error(reply, NULL))
        check_unknown(check);
    else
        check_let_in(check);
    return 0;
}

/* Polkit has said yes. */
static void check_grant(Check *check)
{
    if (check_identify(check, on_still_there) < 0)
        check_unknown(check);
}

static void check_failed(Check *check, const char *why)
{
    check_refuse(check, SD_BUS_ERROR_ACCESS_DENIED,
                 "polkit cannot be asked whether user %u may %s (action %s): %s; root may", (unsigned)check->user,
                 check->what, check->action, why);
}

static void check_denied(Check *check, bool challenge)
{
    if (!challenge)
        check_refuse(
            check, SD_BUS_ERROR_ACCESS_DENIED,
            "user %u may not %s: polkit does not grant the action %s; do it as root, or see polkit(8) for rules",
            (unsigned)check->user, check->what, check->action);
    else if (sd_bus_message_get_allow_interactive_authorization(check->message) > 0)
        check_refuse(
            check, SD_BUS_ERROR_ACCESS_DENIED,
            "user %u may %s with a password (polkit's action %s), and there is no agent to ask for it: do it as "
            "root, or start pkttyagent(1)",
            (unsigned)check->user, check->what, check->action);
    else
        check_refuse(
            check, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
            "user %u may %s with a password (polkit's action %s), and the call does not let it be asked for: do "
            "it as root, or allow interactive authorization",
            (unsigned)check->user, check->what, check->action);
}

static int on_answer(sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    Check *check = data;
    const sd_bus_error *cause = sd_bus_message_get_error(reply);
    int allowed = false, challenge = false, r = 0;

    /* What sd-bus says when polkit has not answered in time. In that case it is still to be cancelled. */
    if (cause == NULL || !sd_bus_error_has_name(cause, SD_BUS_ERROR_NO_REPLY))
        check->call = sd_bus_slot_unref(check->call);
    if (cause == NULL) {
        r = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
        if (r >= 0)
            r = sd_bus_message_read(reply, "bb", &allowed, &challenge);
    }
    if (cause != NULL)
        check_failed(check, cause->message != NULL ? cause->message : cause->name);
    else if (r < 0)
        check_failed(check, "its answer cannot be read");
    else if (allowed)
        check_grant(check);
    else
        check_denied(check, challenge);
    return 0;
}

/* The caller has left the bus. */
static int on_owner_changed(sd_bus_message *message G_GNUC_UNUSED, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    check_drop(data);
    return 0;
}

/* Without one sd-bus closes the connection if the match is refused. The check goes on all the same: that its caller is
 * there is asked again when it is let in. */
static int on_watched(sd_bus_message *message G_GNUC_UNUSED, void *data G_GNUC_UNUSED,
                      sd_bus_error *error G_GNUC_UNUSED)
{
    return 0;
}

static void check_watch_caller(Check *check)
{
    g_autofree char *match = g_strdup_printf("type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                             "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='%s'",
                                             sd_bus_message_get_sender(check->message));

    (void)sd_bus_add_match_async(check->authority->bus, &check->watch, match, on_owner_changed, on_watched, check);
}

static int check_ask(Check *check)
{
    g_autoptr(sd_bus_message) call = NULL;
    bool interactive = sd_bus_message_get_allow_interactive_authorization(check->message) > 0;
    int r = sd_bus_message_new_method_call(check->authority->bus, &call, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                                           "CheckAuthorization");

    if (r >= 0)
        r = sd_bus_message_append(call, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                                  sd_bus_message_get_sender(check->message), check->action);
    /* For rules, and for the text of the dialog. libvirt has the same names in its own. */
    if (r >= 0 && check->domain_uuid != NULL)
        r = sd_bus_message_append(call, "a{ss}", 2, "domain_name", check->domain_name, "domain_uuid",
                                  check->domain_uuid);
    else if (r >= 0)
        r = sd_bus_message_append(call, "a{ss}", 0);
    if (r >= 0)
        r = sd_bus_message_append(call, "us", interactive ? POLKIT_ALLOW_USER_INTERACTION : 0U, check->id);
    if (r >= 0)
        r = sd_bus_call_async(check->authority->bus, &check->call, call, on_answer, check,
                              interactive ? INTERACTIVE_TIMEOUT_USEC : TIMEOUT_USEC);
    return r;
}

static bool check_waits_for_polkit(const Check *check)
{
    return check->identified && check->allowed_at == 0;
}

/* Returns: whether there is room for one more question to polkit; if not, the caller was told. */
static bool check_has_room(Check *check)
{
    const Authority *self = check->authority;
    unsigned of_user = 0, all = 0;

    for (guint i = 0; i < self->checks->len; i++) {
        const Check *other = self->checks->pdata[i];
        if (!check_waits_for_polkit(other))
            continue;
        all++;
        of_user += other->user == check->user ? 1 : 0;
    }
    /* It is one of them itself. */
    if (of_user > CHECKS_PER_USER_MAX)
        check_refuse(check, SD_BUS_ERROR_LIMITS_EXCEEDED,
                     "%u calls of user %u wait for polkit's answer; no more are taken before that", of_user - 1,
                     (unsigned)check->user);
    else if (all > CHECKS_MAX)
        check_refuse(check, SD_BUS_ERROR_LIMITS_EXCEEDED,
                     "%u calls wait for polkit's answer; no more are taken before that", all - 1);
    else
        return true;
    return false;
}

/* It is known whose it is. */
static void check_decide(Check *check, uid_t user)
{
    check->identified = true;
    check->user = user;
    if (user == 0 || user == geteuid()) {
        check_let_in(check);
        return;
    }
    if (!check_has_room(check))
        return;
    check_watch_caller(check);
    int r = check_ask(check);
    if (r < 0)
        check_failed(check, g_strerror(-r));
}

/* Of those that came meanwhile from the same connection it is known as well. */
static Check *find_unidentified(const Authority *self, const char *caller)
{
    for (guint i = 0; i < self->checks->len; i++) {
        Check *check = self->checks->pdata[i];
        if (!check->identified && strcmp(sd_bus_message_get_sender(check->message), caller) == 0)
            return check;
    }
    return NULL;
}

static int on_identified(sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    Check *check = data;
    const Authority *self = check->authority;
    g_autofree char *caller = g_strdup(sd_bus_message_get_sender(check->message));
    uint32_t user = 0;
    int r = sd_bus_message_is_method_error(reply, NULL) ? -1 : sd_bus_message_read(reply, "u", &user);

    check->question = sd_bus_slot_unref(check->question);
    while ((check = find_unidentified(self, caller)) != NULL) {
        if (r >= 0)
            check_decide(check, user);
        else
            check_unknown(check);
    }
    return 0;
}

/** @bus: to be there until authority_free() */
Authority *authority_new(sd_bus *bus)
{
    Authority *self = g_new0(Authority, 1);

    self->bus = sd_bus_ref(bus);
    self->checks = g_ptr_array_new_with_free_func(check_free);
    return self;
}

/** Cancels what polkit is being asked. The bus itself tells the callers when its connection is closed. */
Authority *authority_free(Authority *self)
{
    if (self == NULL)
        return NULL;
    g_clear_handle_id(&self->sweep, g_source_remove);
    g_ptr_array_unref(self->checks);
    sd_bus_unref(self->bus);
    g_free(self);
    return NULL;
}

/** Returns: how many calls wait for polkit. */
unsigned authority_count_waiting(const Authority *self)
{
    unsigned n = 0;

    for (guint i = 0; i < self->checks->len; i++)
        n += check_waits_for_polkit(self->checks->pdata[i]) ? 1 : 0;
    return n;
}

static Check *find_check(const Authority *self, const sd_bus_message *message)
{
    for (guint i = 0; i < self->checks->len; i++)
        if (((Check *)self->checks->pdata[i])->message == message)
            return self->checks->pdata[i];
    return NULL;
}

/** Returns: whether that call is one that was put aside here. */
bool authority_knows(const Authority *self, const sd_bus_message *message)
{
    return find_check(self, message) != NULL;
}

/*
 * Puts a call aside. The bus is asked once for all that come from a connection before it has answered: a flood of calls does
 * not become one of questions.
 * Returns: 1, or a negative errno with @error.
 */
static int begin(Authority *self, sd_bus_message *message, const AuthorityQuestion *question, sd_bus_error *error)
{
    const char *caller = sd_bus_message_get_sender(message);
    const Check *known = NULL;
    unsigned n = 0;
    bool asked = false;

    /* A bus always tells. */
    if (caller == NULL)
        return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED, "cannot tell whose call to %s it is",
                                 question->what);
    for (guint i = 0; i < self->checks->len; i++) {
        const Check *other = self->checks->pdata[i];
        if (strcmp(sd_bus_message_get_sender(other->message), caller) != 0)
            continue;
        if (other->identified)
            known = other;
        else
            n++;
        asked |= !other->identified && other->question != NULL;
    }
    if (n >= UNKNOWN_PER_CALLER_MAX)
        return sd_bus_error_setf(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                 "%u calls of this connection wait to be taken up; no more are taken before that", n);
    Check *check = g_new0(Check, 1);
    check->authority = self;
    check->message = sd_bus_message_ref(message);
    check->action = question->action;
    check->what = question->what;
    if (question->domain != NULL) {
        check->domain_name = g_strdup(domain_label(question->domain));
        check->domain_uuid = g_strdup(question->domain->uuid);
    }
    check->id = g_strdup_printf("virtnest-%" G_GUINT64_FORMAT, ++self->serial);
    g_ptr_array_add(self->checks, check);
    if (known != NULL)
        check_decide(check, known->user);
    else if (!asked && check_identify(check, on_identified) < 0)
        check_unknown(check);
    return 1;
}

/**
 * To be called by the handler of a method that changes something, once its arguments are read. A handler gives anything
 * but 0 back to sd-bus as it is; at 1 it is called again, with the same message, if the call is let in.
 * @flags: given by the caller; none are known
 * @ret_by: who was let in, for a log, to be freed with g_free()
 * Returns: 0: do it; 1: not now; or a negative errno with @error.
 */
int authority_check(Authority *self, sd_bus_message *message, guint64 flags, const AuthorityQuestion *question,
                    char **ret_by, sd_bus_error *error)
{
    Check *check = find_check(self, message);

    if (flags != 0)
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "no flags are known, and these were given: %" G_GUINT64_FORMAT, flags);
    if (check == NULL || check->allowed_at == 0 || strcmp(check->action, question->action) != 0)
        return check != NULL ? 1 : begin(self, message, question, error);
    *ret_by = check->user == 0 ? g_strdup("root") : g_strdup_printf("user %u", (unsigned)check->user);
    check_drop(check);
    return 0;
}

/** The same for a method that takes nothing but flags, which are not read yet. */
int authority_check_flags(Authority *self, sd_bus_message *message, const AuthorityQuestion *question, char **ret_by,
                          sd_bus_error *error)
{
    uint64_t flags = 0;
    int r = sd_bus_message_read(message, "t", &flags);

    return r < 0 ? r : authority_check(self, message, flags, question, ret_by, error);
}
