/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl metrics */

#include "ctl/client.h"
#include "ctl/verbs.h"
#include <stdio.h>
#include <string.h>

static char *arg_format;

int verb_metrics(const Verb *verb, int argc, char **argv)
{
    const GOptionEntry options[] = {
        {"format", 0, 0, G_OPTION_ARG_STRING, &arg_format, "How to write it: prometheus or openmetrics (prometheus)",
         "FORMAT"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };

    if (!verb_parse(verb, options, 0, 0, &argc, &argv))
        return STATUS_USAGE;
    if (arg_format != NULL && strcmp(arg_format, "prometheus") != 0 && strcmp(arg_format, "openmetrics") != 0)
        return verb_misused("--format=%s: takes prometheus or openmetrics", arg_format);
    g_autofree char *format = arg_format != NULL ? arg_format : g_strdup("prometheus");
    g_autoptr(Client) client = client_new();
    g_autofree char *text = client != NULL ? client_metrics(client, format) : NULL;
    if (text == NULL)
        return STATUS_FAILED;
    (void)fputs(text, stdout);
    return STATUS_DONE;
}
