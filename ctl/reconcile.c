/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl reconcile */

#include "ctl/client.h"
#include "ctl/verbs.h"
#include <stdio.h>

static gboolean arg_all;

int verb_reconcile(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"all", 0, 0, G_OPTION_ARG_NONE, &arg_all, "Every domain", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autofree char *path = NULL;

    if (!verb_parse(verb, options, 0, 1, &argc, &argv) || !verb_check_all(verb, argc, arg_all))
        return STATUS_USAGE;
    g_autoptr(Client) client = client_new();
    if (client == NULL)
        return STATUS_FAILED;
    bool done = arg_all ? client_sync(client) : client_find(client, argv[1], &path) && client_reconcile(client, path);
    return done ? STATUS_DONE : STATUS_FAILED;
}
