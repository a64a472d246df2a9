/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl cat-config */

#include "ctl/pager.h"
#include "ctl/verbs.h"
#include "lib/conf-files.h"
#include <stdio.h>

static bool print_file(const char *path, bool first, GError **error)
{
    g_autofree char *text = NULL;
    gsize length = 0;
    bool colours = verbs_colours();

    if (!g_file_get_contents(path, &text, &length, error))
        return false;
    printf("%s%s# %s%s\n", first ? "" : "\n", colours ? "\033[1m" : "", path, colours ? "\033[0m" : "");
    (void)fwrite(text, 1, length, stdout);
    if (length > 0 && text[length - 1] != '\n')
        (void)putchar('\n');
    return true;
}

int verb_cat_config(const Verb *verb, int argc, char **argv)
{
    g_autoptr(GPtrArray) paths = NULL;
    g_autoptr(GError) error = NULL;
    int status = STATUS_DONE;

    if (!verb_parse(verb, NULL, 0, 0, &argc, &argv))
        return STATUS_USAGE;
    if (!conf_files_list_all(verbs_root, &paths, &error))
        return verb_fail("%s", error->message);
    pager_open();
    for (guint i = 0; i < paths->len; i++) {
        g_autoptr(GError) cause = NULL;
        /* One that cannot be read does not hide the rest. */
        if (!print_file(paths->pdata[i], i == 0, &cause))
            status = verb_fail("%s", cause->message);
    }
    return status;
}
