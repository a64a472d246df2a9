/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/waiters.h"

typedef struct Waiter {
    WaiterTold told;
    gpointer data;
} Waiter;

/** @waiters: NULL: nobody waits yet. Returns: to be given to waiters_tell() in the end, or @data is lost. */
Waiters *waiters_add(Waiters *waiters, WaiterTold told, gpointer data)
{
    Waiter *waiter = g_new(Waiter, 1);

    *waiter = (Waiter){told, data};
    return g_slist_append(waiters, waiter);
}

/** Tells everybody, in the order in which they came. Returns: NULL. */
Waiters *waiters_tell(Waiters *waiters, const char *problem)
{
    for (GSList *l = waiters; l != NULL; l = l->next) {
        const Waiter *waiter = l->data;
        waiter->told(problem, waiter->data);
    }
    g_slist_free_full(waiters, g_free);
    return NULL;
}
