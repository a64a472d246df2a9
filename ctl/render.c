/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl render: what the daemon would define, by the daemon's own code. */

#include "ctl/diff.h"
#include "ctl/document.h"
#include "ctl/verbs.h"
#include "lib/reconcile.h"
#include <stdio.h>
#include <string.h>

static char *arg_policy, *arg_host_root, *arg_libvirt_version;
static gboolean arg_diff, arg_untag;

static const GOptionEntry options[] = {
    {"policy", 0, 0, G_OPTION_ARG_STRING, &arg_policy, "As if the domain's tag named this policy", "NAME|FILE"},
    {"untag", 0, 0, G_OPTION_ARG_NONE, &arg_untag, "The way back: as if nesting was switched off for the domain", NULL},
    {"diff", 0, 0, G_OPTION_ARG_NONE, &arg_diff, "Print a unified diff, nothing if there is no difference", NULL},
    {"host-root", 0, 0, G_OPTION_ARG_FILENAME, &arg_host_root, "Look for the host's /proc and /sys below DIR (/)",
     "DIR"},
    {"libvirt-version", 0, 0, G_OPTION_ARG_STRING, &arg_libvirt_version,
     "As if the host had this libvirt (the one here)", "VERSION"},
    {NULL, 0, 0, 0, NULL, NULL, NULL},
};

static void print_diff(const char *path, const char *before, const char *after)
{
    g_autofree char *after_name = g_strdup_printf("%s (rendered)", path);
    g_autofree char *text = diff_unified(before, after, path, after_name);

    if (!verbs_colours()) {
        (void)fputs(text, stdout);
        return;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    for (gsize i = 0; lines[i] != NULL && (*lines[i] != '\0' || lines[i + 1] != NULL); i++) {
        const char *colour = i < 2              ? "\033[1m"
                             : *lines[i] == '-' ? "\033[31m"
                             : *lines[i] == '+' ? "\033[32m"
                             : *lines[i] == '@' ? "\033[36m"
                                                : "";
        printf("%s%s%s\n", colour, lines[i], *colour != '\0' ? "\033[0m" : "");
    }
}

/* Is there a reason why nothing was worked out, although something may be wanted? */
static bool is_refused(const Reconcile *reconcile)
{
    switch (reconcile->state) {
    case RECONCILE_ERROR:
    case RECONCILE_OWNED:
    case RECONCILE_TRANSIENT:
        return true;
    case RECONCILE_HOST_NOT_READY:
        /* With OnNotReady=apply there may be nothing left to write. */
        return reconcile->new_xml == NULL && reconcile->wanted_cpu_mode == NULL;
    default:
        return false;
    }
}

int verb_render(const Verb *verb, int argc, char **argv)
{
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    unsigned long version = 0;

    if (!verb_parse(verb, options, 1, 1, &argc, &argv) || !document_read_version(arg_libvirt_version, &version))
        return STATUS_USAGE;
    if (arg_policy != NULL && arg_untag) {
        (void)fprintf(stderr, "virtnestctl: --policy and --untag do not go together\n");
        return STATUS_USAGE;
    }
    g_autoptr(PolicySet) policies = document_read_policies(&arg_policy, errors);
    for (guint i = 0; i < errors->len; i++)
        (void)fprintf(stderr, "%s\n", (const char *)errors->pdata[i]);
    g_autofree char *xml = document_read(argv[1]);
    if (policies == NULL || xml == NULL)
        return STATUS_FAILED;

    HostFacts host = host_facts_read(arg_host_root != NULL ? arg_host_root : "/");
    const Tag tag = {.policy = arg_policy, .enabled = !arg_untag};
    const ReconcileInput input = {
        .xml = xml,
        .tag = arg_policy != NULL || arg_untag ? &tag : NULL,
        .persistent = true,
        .policies = policies,
        .host = &host,
        .libvirt_version = version,
    };
    g_autoptr(Reconcile) reconcile = reconcile_decide(&input);
    for (guint i = 0; reconcile->skipped != NULL && i < reconcile->skipped->len; i++)
        (void)fprintf(stderr, "virtnestctl: skipped: %s\n", (const char *)reconcile->skipped->pdata[i]);
    for (guint i = 0; i < reconcile->conflicts->len; i++)
        (void)fprintf(stderr, "virtnestctl: conflict: %s\n", (const char *)reconcile->conflicts->pdata[i]);
    if (is_refused(reconcile))
        return verb_fail("domain '%s' is left as it is (%s): %s", reconcile->name != NULL ? reconcile->name : argv[1],
                         reconcile_state_to_string(reconcile->state), reconcile->reason);
    const char *result = reconcile->new_xml != NULL ? reconcile->new_xml : xml;
    if (arg_diff)
        print_diff(argv[1], xml, result);
    else
        (void)fputs(result, stdout);
    return STATUS_DONE;
}
