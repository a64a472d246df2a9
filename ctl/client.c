/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/client.h"

#include "ctl/agent.h"
#include "ctl/pick.h"
#include "ctl/verbs.h"
#include "daemon/bus.h"
#include <errno.h>
#include <gio/gio.h>
#include <stdlib.h>
#include <string.h>

#define NAME "org.virtnest1"
#define ROOT_PATH "/org/virtnest1"
#define MANAGER "org.virtnest1.Manager"
#define DOMAIN "org.virtnest1.Domain"

/* A little longer than virtnestd waits for polkit, so that it is the one to say what is wrong. */
#define CHANGE_TIMEOUT_USEC (150 * G_USEC_PER_SEC)

struct Client {
    sd_bus *bus;
    const char *host; /* NULL: this one */
    Agent *agent;     /* NULL: none was needed so far */
};

typedef sd_bus_error BusError;

static void bus_error_clear(BusError *error)
{
    sd_bus_error_free(error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(BusError, bus_error_clear)

/* dbus-daemon and dbus-broker speak of matched rules and message types; virtnestd says itself whom it refuses, and why. */
static bool is_refused_by_bus(const sd_bus_error *error, const char *message)
{
    return sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED) &&
           (g_str_has_prefix(message, "Rejected send message") ||
            g_str_has_prefix(message, "Sender is not authorized"));
}

/* What sd-bus runs for a host: [USER@]HOST[:PORT][/MACHINE], see sd_bus_open_system_remote(3). To be freed with g_free(). */
static char *describe_ssh(const char *host)
{
    g_autofree char *name = g_strndup(host, strcspn(host, "/"));
    char *port = strrchr(name, ':');

    if (port == NULL || port[1] == '\0' || port[1 + strspn(port + 1, "0123456789")] != '\0')
        return g_strdup_printf("ssh %s systemd-stdio-bridge", name);
    *port = '\0';
    return g_strdup_printf("ssh -p %s %s systemd-stdio-bridge", port + 1, name);
}

/**
 * Tells what a call failed of, and the way out where virtnestd is not there.
 * @host: that virtnestd is on; NULL: this one
 * @r: the negative errno of the call
 * Returns: to be freed with g_free().
 */
char *client_describe_error(const char *host, const sd_bus_error *error, int r)
{
    const char *message = error != NULL && error->message != NULL ? error->message : g_strerror(-r);

    if (sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
        sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
        return g_strdup_printf("virtnestd is not running; start it: systemctl %s%s%sstart virtnestd",
                               host != NULL ? "-H " : "", host != NULL ? host : "", host != NULL ? " " : "");
    if (sd_bus_error_has_name(error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED) && !verbs_ask_password)
        return g_strdup("that takes a password; leave out --no-ask-password, or do it as root");
    if (is_refused_by_bus(error, message))
        return g_strdup("the bus does not let this user do that; do it as root, or see ACCESS in org.virtnest1(5)");
    /* ssh has said why, on standard error. */
    if (host != NULL &&
        (r == -ECONNRESET || r == -EPIPE || r == -ENOTCONN || sd_bus_error_has_name(error, SD_BUS_ERROR_NO_REPLY))) {
        g_autofree char *command = describe_ssh(host);
        return g_strdup_printf("there is no way to its bus; `%s` has to work", command);
    }
    if (host == NULL && (sd_bus_error_has_name(error, SD_BUS_ERROR_NO_REPLY) || r == -ETIMEDOUT))
        return g_strdup("virtnestd does not answer; see systemctl status virtnestd");
    return g_strdup(message);
}

/* Returns: false after saying that. */
static bool fail(const Client *client, const sd_bus_error *error, int r)
{
    g_autofree char *problem = client_describe_error(client->host, error, r);

    if (client->host != NULL)
        (void)verb_fail("%s: %s", client->host, problem);
    else
        (void)verb_fail("%s", problem);
    return false;
}

/**
 * Connects to the bus that virtnestd is on, which goes on in the background.
 * @host: as ssh takes it; NULL: the bus of --bus
 * Returns: to be freed with sd_bus_flush_close_unref(); NULL with a GIOError.
 */
sd_bus *client_open_bus(const char *host, GError **error)
{
    sd_bus *bus = NULL;

    if (host == NULL)
        return bus_open(verbs_bus, error);
    int r = sd_bus_open_system_remote(&bus, host);
    if (r >= 0)
        return bus;
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(-r), "cannot connect: %s", g_strerror(-r));
    return NULL;
}

/** Connects to the bus, of the one --host if there is one. Returns: to be freed with client_free(), or NULL. */
Client *client_new(void)
{
    g_autoptr(Client) client = g_new0(Client, 1);
    g_autoptr(GError) error = NULL;

    if (verbs_hosts->len == 1)
        client->host = verbs_hosts->pdata[0];
    client->bus = client_open_bus(client->host, &error);
    if (error == NULL)
        return g_steal_pointer(&client);
    (void)verb_fail("%s", error->message);
    return NULL;
}

/**
 * Returns: as client_new() does, if virtnestd runs; otherwise NULL: without an error if the bus says that it does not, and with a
 * GIOError if the bus says nothing. Nothing is printed.
 */
Client *client_probe(GError **error)
{
    g_autoptr(Client) client = g_new0(Client, 1);
    g_autoptr(sd_bus_message) reply = NULL;
    g_auto(BusError) cause = SD_BUS_ERROR_NULL;
    int there = 0, r;

    client->bus = client_open_bus(NULL, error);
    if (client->bus == NULL)
        return NULL;
    r = sd_bus_call_method(client->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                           "NameHasOwner", &cause, &reply, "s", NAME);
    if (r >= 0)
        r = sd_bus_message_read(reply, "b", &there);
    if (r < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(-r), "cannot ask the bus whether virtnestd runs: %s",
                    cause.message != NULL ? cause.message : g_strerror(-r));
        return NULL;
    }
    return there ? g_steal_pointer(&client) : NULL;
}

Client *client_free(Client *client)
{
    if (client == NULL)
        return NULL;
    agent_free(client->agent);
    sd_bus_flush_close_unref(client->bus);
    g_free(client);
    return NULL;
}

static void domain_destroy(gpointer data)
{
    ClientDomain *domain = data;

    g_free(domain->path);
    g_free(domain->name);
    g_free(domain->uuid);
    g_free(domain);
}

/** Returns: all domains (ClientDomain) by name, to be freed with g_ptr_array_unref(), or NULL. */
GPtrArray *client_list(Client *client)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(domain_destroy);
    g_auto(BusError) error = SD_BUS_ERROR_NULL;
    g_autoptr(sd_bus_message) reply = NULL;
    const char *uuid = NULL, *name = NULL, *path = NULL, *state = NULL;
    int r = sd_bus_call_method(client->bus, NAME, ROOT_PATH, MANAGER, "ListDomains", &error, &reply, NULL);

    if (r >= 0)
        r = sd_bus_message_enter_container(reply, 'a', "(ssos)");
    while (r >= 0 && (r = sd_bus_message_read(reply, "(ssos)", &uuid, &name, &path, &state)) > 0) {
        ClientDomain *domain = g_new0(ClientDomain, 1);
        domain->path = g_strdup(path);
        domain->name = g_strdup(name);
        domain->uuid = g_strdup(uuid);
        g_ptr_array_add(list, domain);
    }
    if (r < 0) {
        fail(client, &error, r);
        return NULL;
    }
    return g_steal_pointer(&list);
}

/** Returns: all numbers as text, to be freed with g_free(), or NULL. */
char *client_metrics(Client *client, const char *format)
{
    g_auto(BusError) error = SD_BUS_ERROR_NULL;
    g_autoptr(sd_bus_message) reply = NULL;
    const char *text = NULL;
    int r = sd_bus_call_method(client->bus, NAME, ROOT_PATH, MANAGER, "GetMetrics", &error, &reply, "s", format);

    if (r >= 0)
        r = sd_bus_message_read(reply, "s", &text);
    if (r >= 0)
        return g_strdup(text);
    fail(client, &error, r);
    return NULL;
}

/* Asks whether virtnestd has seen all domains. @ret_incomplete: why not, to be freed with g_free(); NULL if it has */
static bool client_incomplete(Client *client, char **ret_incomplete)
{
    g_auto(BusError) error = SD_BUS_ERROR_NULL;
    g_autofree char *problem = NULL;
    char *text = NULL;
    int synced = 0,
        r = sd_bus_get_property_trivial(client->bus, NAME, ROOT_PATH, MANAGER, "Synced", &error, 'b', &synced);

    if (r >= 0)
        r = sd_bus_get_property_string(client->bus, NAME, ROOT_PATH, MANAGER, "ConnectionError", &error, &text);
    if (r < 0)
        return fail(client, &error, r);
    *ret_incomplete = synced ? NULL : pick_describe_unsynced(text);
    free(text);
    return true;
}

/**
 * Finds the domain that is meant, as pick_domain() does.
 * @ret_path: to be freed with g_free()
 */
bool client_find(Client *client, const char *text, char **ret_path)
{
    g_autofree char *problem = NULL, *incomplete = NULL;

    /* First: what is complete by then is complete in the list. */
    if (!client_incomplete(client, &incomplete))
        return false;
    g_autoptr(GPtrArray) domains = client_list(client);
    if (domains == NULL)
        return false;
    g_autofree PickItem *items = g_new0(PickItem, domains->len + 1);
    for (guint i = 0; i < domains->len; i++) {
        const ClientDomain *domain = domains->pdata[i];
        items[i] = (PickItem){domain->name, domain->uuid};
    }
    int index = pick_domain(text, items, domains->len, incomplete, &problem);
    if (index < 0) {
        (void)verb_fail("%s", problem);
        return false;
    }
    *ret_path = g_strdup(((ClientDomain *)domains->pdata[index])->path);
    return true;
}

/** Returns: a property of a domain, to be freed with g_free(), or NULL. */
char *client_string(Client *client, const char *path, const char *property)
{
    g_auto(BusError) error = SD_BUS_ERROR_NULL;
    char *value = NULL;
    int r = sd_bus_get_property_string(client->bus, NAME, path, DOMAIN, property, &error, &value);

    if (r < 0) {
        fail(client, &error, r);
        return NULL;
    }
    char *copy = g_strdup(value);
    free(value);
    return copy;
}

bool client_number(Client *client, const char *path, const char *property, guint64 *ret_number)
{
    g_auto(BusError) error = SD_BUS_ERROR_NULL;
    int r = sd_bus_get_property_trivial(client->bus, NAME, path, DOMAIN, property, &error, 't', ret_number);

    return r >= 0 || fail(client, &error, r);
}

bool client_boolean(Client *client, const char *path, const char *property, bool *ret_value)
{
    g_auto(BusError) error = SD_BUS_ERROR_NULL;
    int value = 0, r = sd_bus_get_property_trivial(client->bus, NAME, path, DOMAIN, property, &error, 'b', &value);

    if (r < 0)
        return fail(client, &error, r);
    *ret_value = value != 0;
    return true;
}

/* Calls a method that changes something, which takes as long as it takes to enter a password. @ret_reply: NULL: is not wanted */
static bool change(Client *client, const char *path, const char *interface, const char *method,
                   sd_bus_message **ret_reply, const char *types, ...)
{
    g_auto(BusError) error = SD_BUS_ERROR_NULL;
    g_autoptr(sd_bus_message) message = NULL;
    va_list arguments;
    int r = sd_bus_message_new_method_call(client->bus, &message, NAME, path, interface, method);

    va_start(arguments, types);
    if (r >= 0)
        r = sd_bus_message_appendv(message, types, arguments);
    va_end(arguments);
    if (r >= 0)
        r = sd_bus_message_set_allow_interactive_authorization(message, verbs_ask_password);
    if (r < 0)
        return fail(client, &error, r);
    if (client->agent == NULL && client->host == NULL && agent_is_wanted())
        client->agent = agent_new();
    r = sd_bus_call(client->bus, message, CHANGE_TIMEOUT_USEC, &error, ret_reply);
    return r >= 0 || fail(client, &error, r);
}

bool client_release(Client *client, const char *path, guint64 usec, const char *reason)
{
    return change(client, path, DOMAIN, "Release", NULL, "tst", usec, reason, (guint64)0);
}

bool client_revoke(Client *client, const char *path)
{
    return change(client, path, DOMAIN, "Revoke", NULL, "t", (guint64)0);
}

bool client_reconcile(Client *client, const char *path)
{
    return change(client, path, DOMAIN, "Reconcile", NULL, "t", (guint64)0);
}

bool client_sync(Client *client)
{
    return change(client, ROOT_PATH, MANAGER, "Sync", NULL, "t", (guint64)0);
}

/**
 * Releases all that are guarded.
 * @ret_problems: what keeps those that are not released, to be freed with g_strfreev()
 */
bool client_release_all(Client *client, guint64 usec, const char *reason, unsigned *ret_released, GStrv *ret_problems)
{
    g_autoptr(sd_bus_message) reply = NULL;
    g_autoptr(GStrvBuilder) problems = g_strv_builder_new();
    const char *problem = NULL;
    guint32 released = 0;

    if (!change(client, ROOT_PATH, MANAGER, "ReleaseAll", &reply, "tst", usec, reason, (guint64)0))
        return false;
    int r = sd_bus_message_read(reply, "u", &released);
    if (r >= 0)
        r = sd_bus_message_enter_container(reply, 'a', "s");
    while (r >= 0 && (r = sd_bus_message_read(reply, "s", &problem)) > 0)
        g_strv_builder_add(problems, problem);
    if (r < 0)
        return fail(client, NULL, r);
    *ret_released = released;
    *ret_problems = g_strv_builder_end(problems);
    return true;
}
