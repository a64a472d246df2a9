/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl reconcile */

#include "ctl/client.h"
#include "ctl/table.h"
#include "ctl/verbs.h"
#include <stdio.h>
#include <string.h>

static gboolean arg_all;

/* What came of it, unless all is as it should be. */
static int tell_state(Client *client, const char *path)
{
    g_autofree char *name = client_string(client, path, "Name"), *state = client_string(client, path, "State"),
                    *reason = client_string(client, path, "StateReason");

    if (name == NULL || state == NULL || reason == NULL)
        return STATUS_FAILED;
    if (strcmp(state, "error") == 0)
        return verb_fail("domain '%s': %s", name, reason);
    if (*reason != '\0') {
        g_autofree char *line = g_strdup_printf("Domain '%s' is %s: %s", name, state, reason);
        g_autofree char *printable = table_printable(line);
        printf("%s.\n", printable);
    }
    return STATUS_DONE;
}

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
    if (arg_all)
        return client_sync(client) ? STATUS_DONE : STATUS_FAILED;
    return client_find(client, argv[1], &path) && client_reconcile(client, path) ? tell_state(client, path)
                                                                                 : STATUS_FAILED;
}
