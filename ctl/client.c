/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/client.h"

#include "ctl/agent.h"
#include "ctl/verbs.h"
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define NAME "org.virtnest1"
#define ROOT_PATH "/org/virtnest1"
#define MANAGER "org.virtnest1.Manager"
#define DOMAIN "org.virtnest1.Domain"
#define NO_SUCH_DOMAIN "org.virtnest1.Error.NoSuchDomain"

/* A little longer than virtnestd waits for polkit, so that it is the one to say what is wrong. */
#define CHANGE_TIMEOUT_USEC (150 * G_USEC_PER_SEC)

struct Client {
    sd_bus *bus;
    Agent *agent; /* NULL: none was needed so far */
};

typedef sd_bus_error BusError;

static void bus_error_clear(BusError *error)
{
    sd_bus_error_free(error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(BusError, bus_error_clear)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(sd_bus_message, sd_bus_message_unref)

/* dbus-daemon and dbus-broker speak of matched rules and message types; virtnestd says itself whom it refuses, and why. */
static bool is_refused_by_bus(const sd_bus_error *error)
{
    return sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED) && error->message != NULL &&
           (g_str_has_prefix(error->message, "Rejected send message") ||
            g_str_has_prefix(error->message, "Sender is not authorized"));
}

/* Says what a call failed of, and the way out where virtnestd is not there. Returns: false. */
static bool fail(const sd_bus_error *error, int r)
{
    if (sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
        sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
        (void)verb_fail("virtnestd is not running; start it: systemctl start virtnestd");
    else if (sd_bus_error_has_name(error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED) && !verbs_ask_password)
        (void)verb_fail("that takes a password; leave out --no-ask-password, or do it as root");
    else if (is_refused_by_bus(error))
        (void)verb_fail("the bus does not let this user do that; do it as root, or see ACCESS in org.virtnest1(5)");
    else
        (void)verb_fail("%s", error->message != NULL ? error->message : g_strerror(-r));
    return false;
}

static int open_bus(const char *address, sd_bus **ret_bus)
{
    g_autoptr(GError) error = NULL;
    sd_bus *bus = NULL;
    int r;

    if (strcmp(address, "system") == 0)
        return sd_bus_open_system(ret_bus);
    if (strcmp(address, "session") == 0)
        return sd_bus_open_user(ret_bus);
    r = sd_bus_new(&bus);
    if (r >= 0)
        r = sd_bus_set_address(bus, address);
    if (r >= 0)
        r = sd_bus_set_bus_client(bus, true);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r >= 0)
        *ret_bus = bus;
    else
        sd_bus_unref(bus);
    return r;
}

/** Connects to the bus. Returns: to be freed with client_free(), or NULL. */
Client *client_new(void)
{
    g_autoptr(Client) client = g_new0(Client, 1);
    int r = open_bus(verbs_bus, &client->bus);

    if (r >= 0)
        return g_steal_pointer(&client);
    (void)verb_fail("cannot connect to the bus '%s': %s", verbs_bus, g_strerror(-r));
    return NULL;
}

/** Returns: as client_new() does, if virtnestd runs; otherwise NULL, and nothing is said. */
Client *client_probe(void)
{
    g_autoptr(Client) client = g_new0(Client, 1);
    g_autoptr(sd_bus_message) reply = NULL;
    int there = 0;

    if (open_bus(verbs_bus, &client->bus) < 0 ||
        sd_bus_call_method(client->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                           "NameHasOwner", NULL, &reply, "s", NAME) < 0 ||
        sd_bus_message_read(reply, "b", &there) < 0 || !there)
        return NULL;
    return g_steal_pointer(&client);
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

/**
 * Finds a domain by its name, or else by its UUID.
 * @ret_path: to be freed with g_free()
 */
bool client_find(Client *client, const char *name, char **ret_path)
{
    static const char *const methods[] = {"GetDomainByName", "GetDomainByUUID"};

    for (gsize i = 0; i < G_N_ELEMENTS(methods); i++) {
        g_auto(BusError) error = SD_BUS_ERROR_NULL;
        g_autoptr(sd_bus_message) reply = NULL;
        const char *path = NULL;
        int r = sd_bus_call_method(client->bus, NAME, ROOT_PATH, MANAGER, methods[i], &error, &reply, "s", name);
        if (r >= 0)
            r = sd_bus_message_read(reply, "o", &path);
        if (r >= 0) {
            *ret_path = g_strdup(path);
            return true;
        }
        if (!sd_bus_error_has_name(&error, NO_SUCH_DOMAIN) || i + 1 == G_N_ELEMENTS(methods))
            return fail(&error, r);
    }
    return false;
}

static void domain_destroy(gpointer data)
{
    ClientDomain *domain = data;

    g_free(domain->path);
    g_free(domain->name);
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
        g_ptr_array_add(list, domain);
    }
    if (r < 0) {
        fail(&error, r);
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
    fail(&error, r);
    return NULL;
}

/** Returns: a property of a domain, to be freed with g_free(), or NULL. */
char *client_string(Client *client, const char *path, const char *property)
{
    g_auto(BusError) error = SD_BUS_ERROR_NULL;
    char *value = NULL;
    int r = sd_bus_get_property_string(client->bus, NAME, path, DOMAIN, property, &error, &value);

    if (r < 0) {
        fail(&error, r);
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

    return r >= 0 || fail(&error, r);
}

bool client_boolean(Client *client, const char *path, const char *property, bool *ret_value)
{
    g_auto(BusError) error = SD_BUS_ERROR_NULL;
    int value = 0, r = sd_bus_get_property_trivial(client->bus, NAME, path, DOMAIN, property, &error, 'b', &value);

    if (r < 0)
        return fail(&error, r);
    *ret_value = value != 0;
    return true;
}

/* Calls a method that changes something, which takes as long as it takes to enter a password. */
static bool change(Client *client, const char *path, const char *method, const char *types, ...)
{
    g_auto(BusError) error = SD_BUS_ERROR_NULL;
    g_autoptr(sd_bus_message) message = NULL;
    va_list arguments;
    int r = sd_bus_message_new_method_call(client->bus, &message, NAME, path, DOMAIN, method);

    va_start(arguments, types);
    if (r >= 0)
        r = sd_bus_message_appendv(message, types, arguments);
    va_end(arguments);
    if (r >= 0)
        r = sd_bus_message_set_allow_interactive_authorization(message, verbs_ask_password);
    if (r < 0)
        return fail(&error, r);
    if (client->agent == NULL && agent_is_wanted())
        client->agent = agent_new();
    r = sd_bus_call(client->bus, message, CHANGE_TIMEOUT_USEC, &error, NULL);
    return r >= 0 || fail(&error, r);
}

bool client_release(Client *client, const char *path, guint64 usec, const char *reason)
{
    return change(client, path, "Release", "tst", usec, reason, (guint64)0);
}

bool client_revoke(Client *client, const char *path)
{
    return change(client, path, "Revoke", "t", (guint64)0);
}
