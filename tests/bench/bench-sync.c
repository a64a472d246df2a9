/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The first sync of many tagged domains on libvirt's test driver, against a bare loop over the same domains that reads
 * each definition and defines it again.
 */

#include "daemon/log.h"
#include "daemon/manager.h"
#include "tests/bench/bench.h"
#include <libvirt-glib/libvirt-glib.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 11

typedef struct Sync {
    Manager *manager;
    GMainLoop *loop;
    gint64 connected_at, synced_at;
    unsigned domains;
} Sync;

static double time_bare(const char *uri)
{
    virConnect *connection = virConnectOpen(uri);
    virDomain **domains = NULL;
    gint64 begin = g_get_monotonic_time();
    int n = virConnectListAllDomains(connection, &domains, 0);

    for (int i = 0; i < n; i++) {
        char *xml = virDomainGetXMLDesc(domains[i], VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
        virDomain *defined = virDomainDefineXML(connection, xml);
        g_assert(defined != NULL);
        (void)virDomainFree(defined);
        free(xml);
    }
    double seconds = (double)(g_get_monotonic_time() - begin) / 1e6;
    for (int i = 0; i < n; i++)
        (void)virDomainFree(domains[i]);
    free(domains);
    (void)virConnectClose(connection);
    return seconds * 1e3;
}

typedef struct SyncSource {
    GSource source;
    Sync *sync;
} SyncSource;

/* Looks at the manager's state each time that the main loop has done something. */
static gboolean on_prepare(GSource *source, int *timeout)
{
    Sync *sync = ((SyncSource *)source)->sync;

    *timeout = -1;
    if (sync->connected_at == 0 && link_connection(manager_link(sync->manager)) != NULL)
        sync->connected_at = g_get_monotonic_time();
    return sync->synced_at == 0 && manager_synced(sync->manager);
}

static gboolean on_dispatch(GSource *source, GSourceFunc callback G_GNUC_UNUSED, gpointer data G_GNUC_UNUSED)
{
    Sync *sync = ((SyncSource *)source)->sync;

    sync->synced_at = g_get_monotonic_time();
    sync->domains = (unsigned)reconciler_rewrites(manager_reconciler(sync->manager));
    manager_stop(sync->manager);
    return G_SOURCE_CONTINUE;
}

static double time_sync(const char *uri, const char *bus, const char *root, unsigned *ret_domains)
{
    static GSourceFuncs functions = {.prepare = on_prepare, .dispatch = on_dispatch};
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_autoptr(GError) error = NULL;
    const ManagerOptions options = {.root = root, .uri = uri, .bus_address = bus, .loop = loop};
    Sync sync = {.loop = loop};
    GSource *source = g_source_new(&functions, sizeof(SyncSource));

    sync.manager = manager_new(&options, &error);
    if (sync.manager == NULL || !manager_start(sync.manager, &error))
        g_error("%s", error->message);
    ((SyncSource *)source)->sync = &sync;
    g_source_attach(source, NULL);
    g_main_loop_run(loop);
    g_source_destroy(source);
    g_source_unref(source);
    manager_free(sync.manager);
    *ret_domains = sync.domains;
    return (double)(sync.synced_at - sync.connected_at) / 1e3;
}

int main(int argc, char **argv)
{
    double ours[ROUNDS], bare[ROUNDS];
    unsigned domains = 0;

    g_assert(argc == 5);
    (void)mallopt(M_ARENA_MAX, 2); /* as virtnestd does */
    log_setup();
    gvir_event_register();
    for (unsigned i = 0; i < ROUNDS; i++) {
        bare[i] = time_bare(argv[1]);
        ours[i] = time_sync(argv[1], argv[2], argv[3], &domains);
    }
    g_autofree char *name = g_strdup_printf("(b) first sync with %u rewrites, copies %s, best of 11", domains, argv[4]);
    bench_print_ratio(name, bench_best(ours, ROUNDS), bench_best(bare, ROUNDS), "ms", 1.25);
    return 0;
}
