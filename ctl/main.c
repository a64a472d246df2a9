/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/pager.h"
#include "ctl/verbs.h"
#include <libxml/parser.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *arg_root;
static char *arg_bus;
static char *arg_connect;
static gboolean arg_ask_password = TRUE;
static gboolean arg_pager = TRUE;
static gboolean arg_version;

static const GOptionEntry entries[] = {
    {"root", 0, 0, G_OPTION_ARG_FILENAME, &arg_root, "Look for all files below DIR (/)", "DIR"},
    {"bus", 0, 0, G_OPTION_ARG_STRING, &arg_bus, "Find virtnestd on BUS: system, session or a D-Bus address (system)",
     "BUS"},
    {"connect", 'c', 0, G_OPTION_ARG_STRING, &arg_connect,
     "Use libvirt at URI, where it is used directly (qemu:///system; none with --root)", "URI"},
    {"no-ask-password", 0, G_OPTION_FLAG_REVERSE, G_OPTION_ARG_NONE, &arg_ask_password,
     "Fail where a password would have to be asked for", NULL},
    {"no-pager", 0, G_OPTION_FLAG_REVERSE, G_OPTION_ARG_NONE, &arg_pager, "Do not show long output in a pager", NULL},
    {"version", 0, 0, G_OPTION_ARG_NONE, &arg_version, "Print the version and exit", NULL},
    {NULL, 0, 0, 0, NULL, NULL, NULL},
};

static const Verb verbs[] = {
    {"status", "[DOMAIN]", "Show this host and what is so of its domains", verb_status, VERB_HOSTS},
    {"show", "DOMAIN", "Show all of a domain: what is, what should be, why, what to do", verb_show, VERB_ONE_HOST},
    {"list", "", "List all domains", verb_list, VERB_HOSTS},
    {"monitor", "[DOMAIN...]", "Print each change as it happens", verb_monitor, VERB_HOSTS},
    {"wait", "DOMAIN", "Wait until a domain may be moved, has an L2 guest or is in sync", verb_wait, VERB_ONE_HOST},
    {"reconcile", "DOMAIN|--all", "Have virtnestd look at a domain again, at once", verb_reconcile, VERB_ONE_HOST},
    {"policy", "list|show|check", "Show fleet policies, and see whether they are valid", verb_policy, VERB_HERE},
    {"cat-config", "", "Print the configuration files in effect", verb_cat_config, VERB_HERE},
    {"render", "FILE|-", "Print what virtnestd would define in place of a domain's XML", verb_render, VERB_HERE},
    {"tag", "DOMAIN", "Have virtnestd switch nesting on for a domain", verb_tag, VERB_HERE},
    {"untag", "DOMAIN|--all", "Have virtnestd put things back as they were", verb_untag, VERB_HERE},
    {"hook", "COMMAND", "Keep guests out that come with guests of their own", verb_hook, VERB_HERE},
    {"host", "[check|enable|...]", "See whether this host is ready for nesting, and make it so", verb_host, VERB_HERE},
    {"lint", "DOMAIN|FILE|-", "See what in a domain's definition stands in the way of nesting", verb_lint, VERB_HERE},
    {"verify", "DOMAIN", "See whether a running guest really can have guests of its own", verb_verify, VERB_HERE},
    {"release", "DOMAIN|--all", "Let a guest be moved for some time, whatever it runs", verb_release, VERB_ONE_HOST},
    {"revoke", "DOMAIN|--all", "End a release early", verb_revoke, VERB_ONE_HOST},
    {"metrics", "", "Print all numbers for a monitoring system", verb_metrics, VERB_HERE},
    {"drain", "", "List the guests that keep this host from being evacuated, or shut them down", verb_drain,
     VERB_HOSTS},
    {"baseline", "HOST...", "Find a CPU that all these hosts have, as a policy", verb_baseline, VERB_HERE},
    {NULL, NULL, NULL, NULL, VERB_HERE},
};

/* One that has seen enough is no failure. What uses libvirt's client, which has SIGPIPE ignored, comes to know of it here. */
static bool reader_is_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("[COMMAND ...]");
    g_autofree char *summary = verbs_summary(verbs);
    g_autoptr(GError) error = NULL;

    (void)setlocale(LC_ALL, "");
    g_set_prgname("virtnestctl");
    verbs_hosts = g_ptr_array_new_with_free_func(g_free);
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_main_entries(context, verbs_host_options, NULL);
    g_option_context_set_summary(context, summary);
    g_option_context_set_description(context, "`virtnestctl COMMAND --help` tells the options of a command; "
                                              "virtnestctl(1) tells all.");
    /* What stands behind the command is the command's. */
    g_option_context_set_strict_posix(context, TRUE);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        (void)fprintf(stderr, "virtnestctl: %s\nTry `virtnestctl --help`.\n", error->message);
        return STATUS_USAGE;
    }
    if (arg_version) {
        printf("virtnestctl %s\n", PACKAGE_VERSION);
        return STATUS_DONE;
    }
    verbs_root = arg_root != NULL ? arg_root : g_strdup("/");
    verbs_bus = arg_bus != NULL ? arg_bus : g_strdup("system");
    /* Another root is another host, of which this libvirt knows nothing. */
    verbs_connect = arg_connect != NULL ? arg_connect : g_strdup(strcmp(verbs_root, "/") == 0 ? "qemu:///system" : "");
    verbs_ask_password = arg_ask_password;
    verbs_pager = arg_pager;
    int status = verbs_run(verbs, NULL, argc, argv);
    if ((fflush(stdout) != 0 || ferror(stdout)) && !reader_is_gone())
        status = verb_fail("cannot write to standard output");
    pager_close();
    if (verbs_thread_left)
        _exit(status);
    g_free(verbs_root);
    g_free(verbs_bus);
    g_free(verbs_connect);
    g_ptr_array_unref(verbs_hosts);
    xmlCleanupParser();
    return status;
}
