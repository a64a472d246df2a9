/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which domain somebody means: by its name, by its UUID, or by how one of them begins if no other begins so. */

#include "ctl/pick.h"

#include "ctl/table.h"
#include "ctl/verbs.h"
#include <string.h>

/* Candidates that an error lists. */
#define LISTED_MAX 10

static bool begins(const PickItem *item, const char *text)
{
    return g_str_has_prefix(item->name, text) || g_ascii_strncasecmp(item->uuid, text, strlen(text)) == 0;
}

static int compare_items(gconstpointer a, gconstpointer b)
{
    return strcmp((*(const PickItem *const *)a)->name, (*(const PickItem *const *)b)->name);
}

/* @found: of PickItem */
static char *describe_ambiguous(const char *text, GPtrArray *found)
{
    g_autoptr(GString) out = g_string_new(NULL);

    g_ptr_array_sort(found, compare_items);
    g_string_printf(out, "'%s' may be any of these domains: ", text);
    for (guint i = 0; i < found->len && i < LISTED_MAX; i++) {
        const PickItem *item = found->pdata[i];
        g_string_append_printf(out, "%s%s", i > 0 ? ", " : "", item->name);
        /* By its name alone nobody would see why. */
        if (!g_str_has_prefix(item->name, text))
            g_string_append_printf(out, " (%s)", item->uuid);
    }
    if (found->len > LISTED_MAX)
        g_string_append_printf(out, " and %u more", found->len - LISTED_MAX);
    return g_string_free(g_steal_pointer(&out), FALSE);
}

static char *describe_unknown(const char *text, const PickItem *items, gsize n_items)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (gsize i = 0; i < n_items; i++)
        g_ptr_array_add(names, (gpointer)items[i].name);
    g_ptr_array_add(names, NULL);
    const char *meant = verbs_nearest(text, (const char *const *)names->pdata);
    return g_strdup_printf("libvirt has no domain '%s'%s%s%s", text, meant != NULL ? "; did you mean '" : "",
                           meant != NULL ? meant : "",
                           meant != NULL ? "'?" : "; `virsh list --all` tells which there are");
}

/** Why virtnestd does not know of all domains, by its ConnectionError. Returns: to be freed with g_free(). */
char *pick_describe_unsynced(const char *connection_error)
{
    return *connection_error != '\0'
               ? g_strdup_printf("virtnestd has no connection to libvirt, and so not all domains: %s", connection_error)
               : g_strdup("virtnestd has not seen all domains yet");
}

/**
 * Finds the domain that is meant. A whole name wins over a UUID, and both win over the beginning of one.
 * @incomplete: why there may be others, among which then is who was meant: the beginning of a name is not enough; NULL: there
 * are none
 * @ret_problem: set if none is, or more than one: text for a human, to be freed with g_free()
 * Returns: its index, or -1.
 */
int pick_domain(const char *text, const PickItem *items, gsize n_items, const char *incomplete, char **ret_problem)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new();

    for (gsize i = 0; i < n_items; i++)
        if (strcmp(items[i].name, text) == 0)
            return (int)i;
    for (gsize i = 0; i < n_items; i++)
        if (g_ascii_strcasecmp(items[i].uuid, text) == 0)
            return (int)i;
    for (gsize i = 0; i < n_items && *text != '\0' && incomplete == NULL; i++)
        if (begins(&items[i], text))
            g_ptr_array_add(found, (gpointer)&items[i]);
    if (found->len == 1)
        return (int)((const PickItem *)found->pdata[0] - items);
    g_autofree char *problem = incomplete != NULL
                                   ? g_strdup_printf("no domain '%s' is known so far: %s", text, incomplete)
                               : found->len > 1 ? describe_ambiguous(text, found)
                                                : describe_unknown(text, items, n_items);
    /* Names are whatever somebody gave to libvirt. */
    *ret_problem = table_printable(problem);
    return -1;
}
