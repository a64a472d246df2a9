/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

/* virtnestd as D-Bus shows it. Each function that fails says why on stderr. */
typedef struct Client Client;

Client *client_new(void);
Client *client_probe(GError **error);
Client *client_free(Client *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Client, client_free)

/* A domain, and what is known of it. */
typedef struct ClientDomain {
    char *path;
    char *name;
    char *uuid;
} ClientDomain;

char *client_metrics(Client *client, const char *format);
bool client_find(Client *client, const char *text, char **ret_path);
GPtrArray *client_list(Client *client);
char *client_string(Client *client, const char *path, const char *property);
bool client_number(Client *client, const char *path, const char *property, guint64 *ret_number);
bool client_boolean(Client *client, const char *path, const char *property, bool *ret_value);
bool client_release(Client *client, const char *path, guint64 usec, const char *reason);
bool client_revoke(Client *client, const char *path);
bool client_reconcile(Client *client, const char *path);
bool client_sync(Client *client);
bool client_release_all(Client *client, guint64 usec, const char *reason, unsigned *ret_released, GStrv *ret_problems);

sd_bus *client_open_bus(const char *host, GError **error);
char *client_describe_error(const char *host, const sd_bus_error *error, int r);
