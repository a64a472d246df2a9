/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Setting and lifting guards of the guests that run on a libvirt, against the bare monitor commands that it takes:
 * `bench-guard FOLDER URI`. Nothing else may use these guests meanwhile.
 */

#include "daemon/guards.h"
#include "lib/blocker.h"
#include "tests/bench/bench.h"
#include <glib/gstdio.h>
#include <libvirt-glib/libvirt-glib.h>
#include <libvirt/libvirt-qemu.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 101
#define MANY_ROUNDS 5
#define PARALLEL 4

static char policy_name[] = "bench";

/* Guests ----------------------------------------------------------------------------------------------------------- */

static void on_changed(Domain *domain, const char *const *properties, gpointer data)
{
}

static void on_stopped(gpointer data)
{
    *(bool *)data = true;
}

static GPtrArray *make_domains(virConnect *connection, Guards *guards)
{
    GPtrArray *domains = g_ptr_array_new();
    virDomain **handles = NULL;
    int n = virConnectListAllDomains(connection, &handles, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    Look look = {.running = true};

    for (int i = 0; i < n; i++) {
        char uuid[VIR_UUID_STRING_BUFLEN];
        g_assert(virDomainGetUUIDString(handles[i], uuid) == 0);
        Domain *domain = domain_new(uuid, virDomainGetName(handles[i]));
        domain->running = true;
        domain->view->policy = g_strdup(policy_name);
        domain->view->guard.block_when = GUARD_WHEN_NEVER;
        look.id = (int)virDomainGetID(handles[i]);
        guards_take_look(guards, domain, &look);
        g_ptr_array_add(domains, domain);
        (void)virDomainFree(handles[i]);
    }
    free(handles);
    return domains;
}

/* Our way ---------------------------------------------------------------------------------------------------------- */

static void want(Guards *guards, const GPtrArray *domains, guint n, GuardWhen when)
{
    for (guint i = 0; i < n; i++) {
        Domain *domain = domains->pdata[i];
        domain->view->guard.block_when = when;
        guards_update(guards, domain);
    }
}

static double time_ours(Guards *guards, const GPtrArray *domains, guint n, GuardWhen when)
{
    gint64 begin = g_get_monotonic_time();
    unsigned wanted = when == GUARD_WHEN_ALWAYS ? n : 0;

    want(guards, domains, n, when);
    while (guards_count(guards) != wanted)
        (void)g_main_context_iteration(NULL, TRUE);
    return (double)(g_get_monotonic_time() - begin) / 1e3;
}

/* The bare commands ------------------------------------------------------------------------------------------------- */

static void tell(virDomain *domain, char *command, int fd)
{
    char *answer = NULL;
    int r = fd >= 0 ? virDomainQemuMonitorCommandWithFiles(domain, command, 1, &fd, NULL, NULL, &answer, 0)
                    : virDomainQemuMonitorCommand(domain, command, &answer, 0);

    g_assert(r == 0);
    free(answer);
    g_free(command);
}

static void set_bare(virDomain *domain)
{
    int fd = blocker_open(BLOCKER_VDI, NULL);

    tell(domain, blocker_command_add_fd(), fd);
    tell(domain, blocker_command_add(BLOCKER_VDI), -1);
    tell(domain, blocker_command_remove_fd(), -1);
    (void)close(fd);
}

static void lift_bare(virDomain *domain)
{
    tell(domain, blocker_command_remove(), -1);
    tell(domain, blocker_command_remove_fd(), -1);
}

static void set_on_thread(gpointer domain, gpointer data G_GNUC_UNUSED)
{
    set_bare(domain);
}

static double time_bare(virDomain *const *handles, guint n, bool set)
{
    gint64 begin = g_get_monotonic_time();

    if (set) {
        GThreadPool *pool = g_thread_pool_new(set_on_thread, NULL, n == 1 ? 1 : PARALLEL, TRUE, NULL);
        for (guint i = 0; i < n; i++)
            g_thread_pool_push(pool, handles[i], NULL);
        g_thread_pool_free(pool, FALSE, TRUE);
    } else {
        for (guint i = 0; i < n; i++)
            lift_bare(handles[i]);
    }
    return (double)(g_get_monotonic_time() - begin) / 1e3;
}

/* How long somebody waits to be refused. */
static double time_refusal(virDomain *handle, const char *image)
{
    gint64 begin = g_get_monotonic_time();

    g_assert(virDomainSave(handle, image) < 0);
    return (double)(g_get_monotonic_time() - begin) / 1e3;
}

static int compare_doubles(gconstpointer a, gconstpointer b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left < right ? -1 : left > right;
}

static void bench(Guards *guards, virConnect *connection, const char *folder)
{
    g_autoptr(GPtrArray) domains = make_domains(connection, guards);
    g_autofree virDomain **handles = g_new0(virDomain *, domains->len + 1);
    g_autofree char *image = g_build_filename(folder, "image", NULL);
    double ours[ROUNDS], bare[ROUNDS], set[ROUNDS], many_ours[MANY_ROUNDS], many_bare[MANY_ROUNDS], refusal[ROUNDS];

    g_assert(domains->len > 1);
    for (guint i = 0; i < domains->len; i++)
        handles[i] = virDomainLookupByUUIDString(connection, ((Domain *)domains->pdata[i])->uuid);
    /* The connection of the guards, and what libvirt does once. */
    (void)time_ours(guards, domains, domains->len, GUARD_WHEN_ALWAYS);
    (void)time_ours(guards, domains, domains->len, GUARD_WHEN_NEVER);
    for (unsigned i = 0; i < ROUNDS; i++) {
        set[i] = time_ours(guards, domains, 1, GUARD_WHEN_ALWAYS);
        refusal[i] = time_refusal(handles[0], image);
        ours[i] = set[i] + time_ours(guards, domains, 1, GUARD_WHEN_NEVER);
        bare[i] = time_bare(handles, 1, true) + time_bare(handles, 1, false);
    }
    for (unsigned i = 0; i < MANY_ROUNDS; i++) {
        many_ours[i] = time_ours(guards, domains, domains->len, GUARD_WHEN_ALWAYS);
        (void)time_ours(guards, domains, domains->len, GUARD_WHEN_NEVER);
        many_bare[i] = time_bare(handles, domains->len, true);
        (void)time_bare(handles, domains->len, false);
    }
    bench_print_ratio("(i) a guard set and lifted, wall clock, median", bench_median(ours, ROUNDS),
                      bench_median(bare, ROUNDS), "ms", 1.3);
    g_autofree char *name = g_strdup_printf("(j) %u guards set, four at a time, median", domains->len);
    bench_print_ratio(name, bench_median(many_ours, MANY_ROUNDS), bench_median(many_bare, MANY_ROUNDS), "ms", 1.3);
    qsort(set, ROUNDS, sizeof(double), compare_doubles);
    printf(
        "    from the wish to the blocker in place: median %.1f ms, 99 of 100 in %.1f ms; a save is refused in %.1f ms\n",
        set[ROUNDS / 2], set[ROUNDS * 99 / 100], bench_median(refusal, ROUNDS));
    for (guint i = 0; i < domains->len; i++) {
        guards_forget(guards, domains->pdata[i]);
        domain_free(domains->pdata[i]);
        (void)virDomainFree(handles[i]);
    }
}

int main(int argc, char **argv)
{
    bool stopped = false;

    g_assert(argc == 3);
    gvir_event_register();
    virConnect *connection = virConnectOpen(argv[2]);
    g_assert(connection != NULL);
    g_autofree char *folder = g_build_filename(argv[1], VIRTNEST_SYSCONFDIR, "policy.d", NULL);
    g_autofree char *policy = g_build_filename(folder, "bench.policy", NULL);
    /* Without a valid configuration guards that are there stay. */
    g_assert(g_mkdir_with_parents(folder, 0755) == 0 && g_file_set_contents(policy, "[CPU]\nMode=keep\n", -1, NULL));
    Configuration *configuration = configuration_new(argv[1]);
    (void)configuration_load(configuration);
    g_assert(configuration->policies != NULL);
    Guards *guards = guards_new(&(GuardsServices){
        .configuration = configuration,
        .uri = argv[2],
        .changed = on_changed,
        .stopped = on_stopped,
        .data = &stopped,
    });
    bench(guards, connection, argv[1]);
    guards_stop(guards);
    while (!stopped)
        (void)g_main_context_iteration(NULL, TRUE);
    guards_free(guards);
    configuration_free(configuration);
    (void)virConnectClose(connection);
    return 0;
}
