/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

/* One object of virtnestd with its properties, by name. */
typedef struct Object {
    char *path;
    GHashTable *properties; /* char * -> GVariant * */
} Object;

/* What one virtnestd publishes. */
typedef struct Snapshot {
    Object *manager;
    Object *host;
    GPtrArray *domains; /* of Object, in the order of their names */
} Snapshot;

Object *object_new(const char *path);
Object *object_free(Object *object);
bool object_has(const Object *object, const char *property);
const char *object_string(const Object *object, const char *property);
bool object_boolean(const Object *object, const char *property);
guint64 object_number(const Object *object, const char *property);
const char **object_strings(const Object *object, const char *property);
GList *object_names(const Object *object);
GVariant *object_set(Object *object, const char *property, GVariant *value);

Snapshot *snapshot_new(void);
Snapshot *snapshot_free(Snapshot *snapshot);
Object *snapshot_domain(const Snapshot *snapshot, const char *path);
char *snapshot_incomplete(const Snapshot *snapshot);
Object *snapshot_pick(const Snapshot *snapshot, const char *text, char **ret_problem);
void snapshot_add(Snapshot *snapshot, Object *domain);
void snapshot_sort(Snapshot *snapshot);

typedef void (*TakeProperty)(const char *property, GVariant *value, gpointer data);

int snapshot_read_properties(sd_bus_message *message, TakeProperty take, gpointer data);
int snapshot_read_interfaces(sd_bus_message *message, const char *interface, bool *ret_found, TakeProperty take,
                             gpointer data);
void snapshot_take(const char *property, GVariant *value, gpointer object);
int snapshot_read_domains(sd_bus_message *message, Snapshot *snapshot);
