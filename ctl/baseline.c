/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl baseline: a CPU that several hosts have, from what libvirt says of each. */

#include "lib/baseline.h"

#include "ctl/json.h"
#include "ctl/libvirt.h"
#include "ctl/verbs.h"
#include "daemon/autoptr.h"
#include "daemon/libvirt-error.h"
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

static char *arg_json;
static char *arg_virt_type;

/* A host that is asked, on a thread of its own. */
typedef struct Asked {
    char *uri;
    const char *name, *virt_type;
    virConnect *connection;
    unsigned long version; /* of libvirt */
    BaselineHost *host;    /* NULL: error */
    GError *error;
    bool done;
} Asked;

/* Time enough for a password. A host that says nothing for longer is not waited for. */
#define LIMIT_USEC (90 * G_USEC_PER_SEC)

static GMutex lock;
static GCond answered;

static void asked_destroy(gpointer data)
{
    Asked *asked = data;

    baseline_host_free(asked->host);
    vir_connect_unref(asked->connection);
    g_clear_error(&asked->error);
    g_free(asked->uri);
    g_free(asked);
}

/* What is no URI is a host that ssh knows, as with --host. A scheme needs no authority (test:///default has an empty one). */
static char *uri_of(const char *name)
{
    return strstr(name, ":/") != NULL ? g_strdup(name) : g_strdup_printf("qemu+ssh://%s/system", name);
}

/* libvirt's model of a host's CPU, expanded to features. */
static GStrv read_features(const Asked *asked, GError **error)
{
    const char *cpus[] = {asked->host->cpu};
    g_autoptr(mallocString) expanded = virConnectBaselineHypervisorCPU(
        asked->connection, asked->host->emulator, asked->host->arch, asked->host->machine, asked->virt_type, cpus, 1,
        VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES | VIR_CONNECT_BASELINE_CPU_MIGRATABLE);

    if (expanded != NULL)
        return baseline_read_features(expanded, error);
    libvirt_set_error(error, "cannot list the features of its CPU");
    return NULL;
}

static void ask(Asked *asked)
{
    asked->connection = virConnectOpen(asked->uri);
    if (asked->connection == NULL) {
        libvirt_set_error(&asked->error, "cannot connect to its libvirt");
        return;
    }
    (void)virConnectGetLibVersion(asked->connection, &asked->version);
    g_autoptr(mallocString) capabilities =
        virConnectGetDomainCapabilities(asked->connection, NULL, NULL, NULL, asked->virt_type, 0);
    if (capabilities == NULL) {
        libvirt_set_error(&asked->error, "cannot tell what its hypervisor can do");
        return;
    }
    asked->host = baseline_host_new(asked->name, capabilities, &asked->error);
    if (asked->host == NULL)
        return;
    asked->host->features = read_features(asked, &asked->error);
    if (asked->host->features == NULL)
        asked->host = baseline_host_free(asked->host);
}

static gpointer run(gpointer data)
{
    Asked *asked = data;

    ask(asked);
    g_mutex_lock(&lock);
    asked->done = true;
    g_cond_signal(&answered);
    g_mutex_unlock(&lock);
    return NULL;
}

/* Returns: false after saying who has not answered in time. Who has not goes on using what it was given. */
static bool wait_for_all(const GPtrArray *all)
{
    gint64 end = g_get_monotonic_time() + LIMIT_USEC;
    bool in_time = true;

    g_mutex_lock(&lock);
    for (guint i = 0; i < all->len; i++) {
        const Asked *asked = all->pdata[i];
        while (!asked->done && g_cond_wait_until(&answered, &lock, end))
            ;
        if (asked->done)
            continue;
        (void)verb_fail("%s: it has not answered for %d s", asked->name, (int)(LIMIT_USEC / G_USEC_PER_SEC));
        in_time = false;
    }
    g_mutex_unlock(&lock);
    verbs_thread_left = !in_time;
    return in_time;
}

/* All at once. Returns: of Asked; NULL after saying who did not answer. */
static GPtrArray *ask_all(char **names, const char *virt_type)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(asked_destroy);
    bool good = true;

    libvirt_prepare();
    for (gsize i = 0; names[i] != NULL; i++) {
        Asked *asked = g_new0(Asked, 1);
        asked->name = names[i];
        asked->virt_type = virt_type;
        asked->uri = uri_of(names[i]);
        g_ptr_array_add(all, asked);
        g_thread_unref(g_thread_new("baseline", run, asked));
    }
    if (!wait_for_all(all)) {
        (void)g_steal_pointer(&all);
        return NULL;
    }
    for (guint i = 0; i < all->len; i++) {
        const Asked *asked = all->pdata[i];
        if (asked->host != NULL)
            continue;
        (void)verb_fail("%s: %s", asked->name, asked->error->message);
        good = false;
    }
    return good ? g_steal_pointer(&all) : NULL;
}

/* Finding ------------------------------------------------------------------------------------------------------------ */

static Baseline *compute(const Asked *asked, const GPtrArray *hosts, GError **error)
{
    g_autoptr(GPtrArray) cpus = g_ptr_array_new();

    for (guint i = 0; i < hosts->len; i++)
        g_ptr_array_add(cpus, ((BaselineHost *)hosts->pdata[i])->cpu);
    g_autoptr(mallocString) cpu = virConnectBaselineHypervisorCPU(
        asked->connection, asked->host->emulator, asked->host->arch, asked->host->machine, asked->virt_type,
        (const char **)cpus->pdata, cpus->len, VIR_CONNECT_BASELINE_CPU_MIGRATABLE);
    if (cpu != NULL)
        return baseline_new(cpu, baseline_feature(asked->host), error);
    libvirt_set_error(error, "cannot find a common CPU");
    return NULL;
}

/* Returns: whether it can start a guest with that CPU, nesting included. */
static bool has_cpu(const Asked *asked, const Baseline *baseline, GError **error)
{
    if (virConnectCompareHypervisorCPU(asked->connection, asked->host->emulator, asked->host->arch,
                                       asked->host->machine, asked->virt_type, baseline->cpu,
                                       VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE) > VIR_CPU_COMPARE_INCOMPATIBLE)
        return true;
    g_autofree char *action = g_strdup_printf("%s cannot give the CPU (%s with %s; is nesting on there?)", asked->name,
                                              baseline->model, baseline->feature);
    libvirt_set_error(error, action);
    return false;
}

static int compare_versions(gconstpointer a, gconstpointer b)
{
    const Asked *const *one = a, *const *other = b;

    return (*one)->version < (*other)->version ? -1 : (*one)->version > (*other)->version;
}

/*
 * Each libvirt answers with models that its own hypervisor has. An older one knows fewer, which newer ones know too, but may
 * not know what a newer host's own model is called: so they are tried in turn, the oldest first, until all can give what
 * one answers.
 */
static Baseline *find(const GPtrArray *all, const GPtrArray *hosts, GError **error)
{
    g_autoptr(GPtrArray) by_version = g_ptr_array_new();
    g_autoptr(GError) first = NULL;

    for (guint i = 0; i < all->len; i++)
        g_ptr_array_add(by_version, all->pdata[i]);
    g_ptr_array_sort(by_version, compare_versions);
    for (guint i = 0; i < by_version->len; i++) {
        g_autoptr(GError) cause = NULL;
        g_autoptr(Baseline) baseline = compute(by_version->pdata[i], hosts, &cause);
        bool fits = baseline != NULL;
        for (guint j = 0; j < all->len && fits; j++)
            fits = has_cpu(all->pdata[j], baseline, &cause);
        if (fits)
            return g_steal_pointer(&baseline);
        if (first == NULL)
            first = g_steal_pointer(&cause);
    }
    g_propagate_error(error, g_steal_pointer(&first));
    return NULL;
}

static void print_json(const Baseline *baseline, const GPtrArray *hosts, JsonFormat format)
{
    Json *json = json_new(format);

    json_open(json, NULL, '{');
    json_string(json, "model", baseline->model);
    json_strings(json, "require", (const char *const *)baseline->require);
    json_strings(json, "disable", (const char *const *)baseline->disable);
    json_open(json, "hosts", '[');
    for (guint i = 0; i < hosts->len; i++) {
        const BaselineHost *host = hosts->pdata[i];
        g_auto(GStrv) lacks = baseline_lacks(host, hosts);
        json_open(json, NULL, '{');
        json_string(json, "host", host->name);
        json_string(json, "model", host->model);
        json_strings(json, "lacks", (const char *const *)lacks);
        json_close(json, '}');
    }
    json_close(json, ']');
    json_close(json, '}');
    json_print(json);
}

int verb_baseline(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"json", 0, 0, G_OPTION_ARG_STRING, &arg_json,
         "Print JSON: pretty, short or off; -j is pretty on a terminal and otherwise short", "FORMAT"},
        {"virt-type", 0, 0, G_OPTION_ARG_STRING, &arg_virt_type, "For guests of this type (kvm)", "TYPE"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autoptr(GPtrArray) hosts = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    JsonFormat format = JSON_OFF;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 1, -1, &argc, &argv) || !json_parse_format(arg_json, &format))
        return STATUS_USAGE;
    g_autoptr(GPtrArray) all = ask_all(argv + 1, arg_virt_type != NULL ? arg_virt_type : "kvm");
    if (all == NULL)
        return STATUS_FAILED;
    for (guint i = 0; i < all->len; i++)
        g_ptr_array_add(hosts, ((Asked *)all->pdata[i])->host);
    if (!baseline_check_hosts(hosts, &error))
        return verb_fail("%s", error->message);
    g_autoptr(Baseline) baseline = find(all, hosts, &error);
    if (baseline == NULL)
        return verb_fail("%s", error->message);
    if (format != JSON_OFF) {
        print_json(baseline, hosts, format);
    } else {
        g_autofree char *policy = baseline_to_policy(baseline, hosts);
        (void)fputs(policy, stdout);
    }
    return STATUS_DONE;
}
