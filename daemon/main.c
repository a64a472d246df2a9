/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/log.h"
#include "daemon/manager.h"
#include <glib-unix.h>
#include <libvirt-glib/libvirt-glib.h>
#include <libxml/parser.h>
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

static char *arg_uri;
static char *arg_bus;
static char *arg_root;
static gboolean arg_version;

static const GOptionEntry entries[] = {
    {"uri", 0, 0, G_OPTION_ARG_STRING, &arg_uri, "The libvirt to watch (qemu:///system)", "URI"},
    {"bus", 0, 0, G_OPTION_ARG_STRING, &arg_bus, "The bus to be on: system, session or a D-Bus address (system)",
     "BUS"},
    {"root", 0, 0, G_OPTION_ARG_FILENAME, &arg_root,
     "Read configuration, /proc and /sys, and keep state, below DIR (/)", "DIR"},
    {"version", 0, 0, G_OPTION_ARG_NONE, &arg_version, "Print the version and exit", NULL},
    {NULL, 0, 0, 0, NULL, NULL, NULL},
};

static gboolean on_hangup(gpointer manager)
{
    (void)manager_reload(manager);
    return G_SOURCE_CONTINUE;
}

static gboolean on_terminate(gpointer manager)
{
    manager_stop(manager);
    return G_SOURCE_CONTINUE;
}

static gboolean on_watchdog(gpointer data G_GNUC_UNUSED)
{
    (void)sd_notify(0, "WATCHDOG=1");
    return G_SOURCE_CONTINUE;
}

static void start_watchdog(void)
{
    uint64_t usec = 0;

    if (sd_watchdog_enabled(0, &usec) > 0)
        g_timeout_add((guint)MIN(usec / 2000, G_MAXUINT), on_watchdog, NULL);
}

static bool parse_arguments(int argc, char **argv, GError **error)
{
    g_autoptr(GOptionContext) context = g_option_context_new("- nested virtualization manager for libvirt hosts");

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return false;
    if (argc > 1) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED, "unexpected argument '%s'", argv[1]);
        return false;
    }
    return true;
}

static int run(GError **error)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    ManagerOptions options = {
        .root = arg_root != NULL ? arg_root : "/",
        .uri = arg_uri != NULL ? arg_uri : "qemu:///system",
        .bus_address = arg_bus != NULL ? arg_bus : "system",
        .loop = loop,
    };

    gvir_event_register();
    Manager *manager = manager_new(&options, error);
    if (manager == NULL)
        return EXIT_FAILURE;
    if (!manager_start(manager, error)) {
        manager_free(manager);
        return EXIT_FAILURE;
    }
    (void)g_unix_signal_add(SIGHUP, on_hangup, manager);
    (void)g_unix_signal_add(SIGTERM, on_terminate, manager);
    (void)g_unix_signal_add(SIGINT, on_terminate, manager);
    start_watchdog();
    (void)sd_notify(0, "READY=1");
    g_main_loop_run(loop);

    bool failed = manager_failed(manager);
    manager_free(manager);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    int status = EXIT_FAILURE;

    (void)setlocale(LC_ALL, "");
    /* A worker that writes to a libvirtd which has just died must get an error, not end the process. */
    (void)signal(SIGPIPE, SIG_IGN);
    /* Workers take turns at large documents; a heap for each of them would keep what it once needed. */
    (void)mallopt(M_ARENA_MAX, 2);
    if (!parse_arguments(argc, argv, &error)) {
        (void)fprintf(stderr, "virtnestd: %s\nTry `virtnestd --help`.\n", error->message);
        return 2;
    }
    if (arg_version) {
        printf("virtnestd %s\n", PACKAGE_VERSION);
        return EXIT_SUCCESS;
    }
    /* Not thread-safe when two workers come first. */
    xmlInitParser();
    log_setup();
    status = run(&error);
    if (error != NULL)
        log_write(G_LOG_LEVEL_CRITICAL, (LogSubject){0}, "%s", error->message);
    return status;
}
