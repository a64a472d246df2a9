/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What virtnestd publishes, read from D-Bus as it comes: each property with its name and value, those that this version
 * does not know among them.
 */

#include "ctl/snapshot.h"

#include "ctl/pick.h"
#include <errno.h>
#include <string.h>

#define DOMAIN "org.virtnest1.Domain"

/* Objects ------------------------------------------------------------------------------------------------------------ */

Object *object_new(const char *path)
{
    Object *object = g_new0(Object, 1);

    object->path = g_strdup(path);
    object->properties = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_variant_unref);
    return object;
}

Object *object_free(Object *object)
{
    if (object == NULL)
        return NULL;
    g_free(object->path);
    g_hash_table_unref(object->properties);
    g_free(object);
    return NULL;
}

static GVariant *value_of(const Object *object, const char *property, const char *type)
{
    GVariant *value = g_hash_table_lookup(object->properties, property);

    return value != NULL && g_variant_is_of_type(value, G_VARIANT_TYPE(type)) ? value : NULL;
}

/** An older virtnestd may lack a property: it reads as empty. */
bool object_has(const Object *object, const char *property)
{
    return g_hash_table_contains(object->properties, property);
}

const char *object_string(const Object *object, const char *property)
{
    GVariant *value = value_of(object, property, "s");

    return value != NULL ? g_variant_get_string(value, NULL) : "";
}

bool object_boolean(const Object *object, const char *property)
{
    GVariant *value = value_of(object, property, "b");

    return value != NULL && g_variant_get_boolean(value);
}

guint64 object_number(const Object *object, const char *property)
{
    GVariant *small = value_of(object, property, "u"), *large = value_of(object, property, "t");

    return large != NULL ? g_variant_get_uint64(large) : small != NULL ? g_variant_get_uint32(small) : 0;
}

/** Returns: ended by NULL, to be freed with g_free(); the strings are the object's. */
const char **object_strings(const Object *object, const char *property)
{
    GVariant *value = value_of(object, property, "as");

    return value != NULL ? g_variant_get_strv(value, NULL) : g_new0(const char *, 1);
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(a, b);
}

/** Returns: of all its properties, sorted, to be freed with g_list_free(). */
GList *object_names(const Object *object)
{
    return g_list_sort(g_hash_table_get_keys(object->properties), compare_names);
}

/**
 * @value: is given up
 * Returns: the value of before, to be freed with g_variant_unref(), or NULL.
 */
GVariant *object_set(Object *object, const char *property, GVariant *value)
{
    GVariant *before = g_hash_table_lookup(object->properties, property);

    if (before != NULL)
        g_variant_ref(before);
    g_hash_table_insert(object->properties, g_strdup(property), value);
    return before;
}

/** A TakeProperty that sets it in the Object @object. */
void snapshot_take(const char *property, GVariant *value, gpointer object)
{
    g_autoptr(GVariant) before = object_set(object, property, g_variant_ref(value));
}

/* Snapshots ---------------------------------------------------------------------------------------------------------- */

static void destroy_object(gpointer object)
{
    object_free(object);
}

Snapshot *snapshot_new(void)
{
    Snapshot *snapshot = g_new0(Snapshot, 1);

    snapshot->manager = object_new(NULL);
    snapshot->host = object_new(NULL);
    snapshot->domains = g_ptr_array_new_with_free_func(destroy_object);
    return snapshot;
}

Snapshot *snapshot_free(Snapshot *snapshot)
{
    if (snapshot == NULL)
        return NULL;
    object_free(snapshot->manager);
    object_free(snapshot->host);
    g_ptr_array_unref(snapshot->domains);
    g_free(snapshot);
    return NULL;
}

/** Returns: the domain with that path, which the snapshot keeps, or NULL. */
Object *snapshot_domain(const Snapshot *snapshot, const char *path)
{
    for (guint i = 0; i < snapshot->domains->len; i++) {
        Object *object = snapshot->domains->pdata[i];
        if (g_strcmp0(object->path, path) == 0)
            return object;
    }
    return NULL;
}

/**
 * Returns: why there may be other domains than these, and others of what is published of these, to be freed with g_free();
 * NULL: virtnestd has seen them all.
 */
char *snapshot_incomplete(const Snapshot *snapshot)
{
    return object_boolean(snapshot->manager, "Synced")
               ? NULL
               : pick_describe_unsynced(object_string(snapshot->manager, "ConnectionError"));
}

/**
 * Returns: the domain that is meant, as pick_domain() finds it, which the snapshot keeps; or NULL.
 * @ret_problem: set if it is NULL, to be freed with g_free()
 */
Object *snapshot_pick(const Snapshot *snapshot, const char *text, char **ret_problem)
{
    g_autofree PickItem *items = g_new0(PickItem, snapshot->domains->len + 1);

    for (guint i = 0; i < snapshot->domains->len; i++)
        items[i] = (PickItem){object_string(snapshot->domains->pdata[i], "Name"),
                              object_string(snapshot->domains->pdata[i], "UUID")};
    g_autofree char *incomplete = snapshot_incomplete(snapshot);
    int index = pick_domain(text, items, snapshot->domains->len, incomplete, ret_problem);
    return index >= 0 ? snapshot->domains->pdata[index] : NULL;
}

static int compare_domains(gconstpointer a, gconstpointer b)
{
    return strcmp(object_string(*(Object *const *)a, "Name"), object_string(*(Object *const *)b, "Name"));
}

void snapshot_sort(Snapshot *snapshot)
{
    g_ptr_array_sort(snapshot->domains, compare_domains);
}

/** @domain: is given up */
void snapshot_add(Snapshot *snapshot, Object *domain)
{
    g_ptr_array_add(snapshot->domains, domain);
    snapshot_sort(snapshot);
}

/* Reading ------------------------------------------------------------------------------------------------------------ */

static int read_value(sd_bus_message *message, GVariant **ret_value);

static int read_basic(sd_bus_message *message, char type, GVariant **ret_value)
{
    union {
        const char *text;
        int boolean;
        guint8 byte;
        gint32 i32;
        guint32 u32;
        gint64 i64;
        guint64 u64;
        double real;
    } any = {0};
    int r = sd_bus_message_read_basic(message, type, &any);

    if (r <= 0)
        return r < 0 ? r : -EBADMSG;
    switch (type) {
    case 's':
        *ret_value = g_variant_new_string(any.text);
        break;
    case 'o':
        *ret_value = g_variant_new_object_path(any.text);
        break;
    case 'b':
        *ret_value = g_variant_new_boolean(any.boolean);
        break;
    case 'y':
        *ret_value = g_variant_new_byte(any.byte);
        break;
    case 'i':
        *ret_value = g_variant_new_int32(any.i32);
        break;
    case 'u':
        *ret_value = g_variant_new_uint32(any.u32);
        break;
    case 'x':
        *ret_value = g_variant_new_int64(any.i64);
        break;
    case 't':
        *ret_value = g_variant_new_uint64(any.u64);
        break;
    case 'd':
        *ret_value = g_variant_new_double(any.real);
        break;
    default:
        return -EBADMSG;
    }
    return 1;
}

/* @type: as GVariant writes it */
static int read_container(sd_bus_message *message, char type, const char *contents, GVariant **ret_value)
{
    g_autofree char *signature = type == 'a'   ? g_strdup_printf("a%s", contents)
                                 : type == 'r' ? g_strdup_printf("(%s)", contents)
                                 : type == 'e' ? g_strdup_printf("{%s}", contents)
                                               : g_strdup("v");
    g_auto(GVariantBuilder) builder;
    int r = sd_bus_message_enter_container(message, type, contents);

    g_variant_builder_init(&builder, G_VARIANT_TYPE(signature));
    while (r >= 0) {
        GVariant *value = NULL;
        r = sd_bus_message_at_end(message, false);
        if (r != 0)
            break;
        r = read_value(message, &value);
        if (r > 0)
            g_variant_builder_add_value(&builder, value);
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(message);
    if (r >= 0)
        *ret_value = g_variant_builder_end(&builder);
    return r < 0 ? r : 1;
}

/* @ret_value: floating */
static int read_value(sd_bus_message *message, GVariant **ret_value)
{
    const char *contents = NULL;
    char type = 0;
    int r = sd_bus_message_peek_type(message, &type, &contents);

    if (r <= 0)
        return r < 0 ? r : -EBADMSG;
    return strchr("arev", type) != NULL ? read_container(message, type, contents, ret_value)
                                        : read_basic(message, type, ret_value);
}

/**
 * Reads an a{sv}, and hands each of its properties to @take, which does not own the value.
 * Returns: a negative errno if the message is not so.
 */
int snapshot_read_properties(sd_bus_message *message, TakeProperty take, gpointer data)
{
    int r = sd_bus_message_enter_container(message, 'a', "{sv}");

    while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
        const char *name = NULL, *contents = NULL;
        GVariant *value = NULL;
        char type = 0;
        r = sd_bus_message_read_basic(message, 's', &name);
        if (r >= 0)
            r = sd_bus_message_peek_type(message, &type, &contents);
        if (r >= 0)
            r = sd_bus_message_enter_container(message, 'v', contents);
        if (r >= 0)
            r = read_value(message, &value);
        g_autoptr(GVariant) owned = value != NULL ? g_variant_ref_sink(value) : NULL;
        if (r >= 0)
            r = sd_bus_message_exit_container(message);
        if (r >= 0)
            r = sd_bus_message_exit_container(message);
        if (r >= 0)
            take(name, owned, data);
    }
    return r < 0 ? r : sd_bus_message_exit_container(message);
}

/**
 * Reads an a{sa{sv}}, and hands the properties of one interface in it to @take.
 * @ret_found: whether it is there
 * Returns: a negative errno if the message is not so.
 */
int snapshot_read_interfaces(sd_bus_message *message, const char *interface, bool *ret_found, TakeProperty take,
                             gpointer data)
{
    bool found = false;
    int r = sd_bus_message_enter_container(message, 'a', "{sa{sv}}");

    while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sa{sv}")) > 0) {
        const char *name = NULL;
        r = sd_bus_message_read_basic(message, 's', &name);
        if (r >= 0 && strcmp(name, interface) == 0) {
            found = true;
            r = snapshot_read_properties(message, take, data);
        } else if (r >= 0) {
            r = sd_bus_message_skip(message, "a{sv}");
        }
        if (r >= 0)
            r = sd_bus_message_exit_container(message);
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(message);
    if (r >= 0)
        *ret_found = found;
    return r;
}

/** Adds the domains in a reply to GetManagedObjects. Returns: a negative errno if it is none. */
int snapshot_read_domains(sd_bus_message *message, Snapshot *snapshot)
{
    int r = sd_bus_message_enter_container(message, 'a', "{oa{sa{sv}}}");

    while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "oa{sa{sv}}")) > 0) {
        const char *path = NULL;
        bool found = false;
        r = sd_bus_message_read_basic(message, 'o', &path);
        if (r < 0)
            break;
        Object *object = object_new(path);
        r = snapshot_read_interfaces(message, DOMAIN, &found, snapshot_take, object);
        if (r >= 0)
            r = sd_bus_message_exit_container(message);
        if (r >= 0 && found)
            g_ptr_array_add(snapshot->domains, object);
        else
            object_free(object);
    }
    snapshot_sort(snapshot);
    return r < 0 ? r : sd_bus_message_exit_container(message);
}
