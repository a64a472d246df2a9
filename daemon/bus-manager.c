/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.virtnest1.Manager, at /org/virtnest1. */

#include "daemon/bus-manager.h"

#include "daemon/bus-error.h"
#include "daemon/bus.h"
#include "daemon/log.h"
#include <gio/gio.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define INTERFACE "org.virtnest1.Manager"

static int get_string(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                      const char *property, sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    const Manager *manager = data;
    const Link *link = manager_link(manager);
    g_autofree char *hypervisor = link_hypervisor_version(link);
    const char *value = strcmp(property, "Version") == 0             ? PACKAGE_VERSION
                        : strcmp(property, "Mode") == 0              ? settings_mode_to_string(manager_mode(manager))
                        : strcmp(property, "URI") == 0               ? link_uri(link)
                        : strcmp(property, "LibvirtVersion") == 0    ? link_libvirt_version(link)
                        : strcmp(property, "HypervisorVersion") == 0 ? hypervisor
                        : strcmp(property, "MetricsError") == 0      ? exporter_error(manager_exporter(manager))
                                                                     : link_error(link);

    return sd_bus_message_append(reply, "s", value);
}

static int get_boolean(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                       const char *property, sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    const Manager *manager = data;
    int value = strcmp(property, "Connected") == 0        ? link_connection(manager_link(manager)) != NULL
                : strcmp(property, "WritesDisabled") == 0 ? manager_writes_disabled(manager)
                                                          : manager_synced(manager);

    return sd_bus_message_append(reply, "b", value);
}

static int get_errors(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                      const char *property, sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    const GPtrArray *errors = manager_configuration_errors(data);
    guint n = strcmp(property, "PolicyErrors") == 0 ? manager_policy_errors(data) : errors->len;
    int r = sd_bus_message_open_container(reply, 'a', "s");

    for (guint i = 0; r >= 0 && i < n; i++)
        r = sd_bus_message_append(reply, "s", (const char *)errors->pdata[i]);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_count(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                     const char *property, sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    const Manager *manager = data;
    unsigned n = strcmp(property, "DomainsGuarded") == 0
                     ? guards_count(manager_guards(manager))
                     : reconciler_count(manager_reconciler(manager),
                                        strcmp(property, "DomainsTagged") == 0    ? domain_is_tagged
                                        : strcmp(property, "DomainsRunning") == 0 ? domain_is_running
                                                                                  : NULL);

    return sd_bus_message_append(reply, "u", n);
}

static int get_total(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                     const char *property, sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    const Manager *manager = data;

    return sd_bus_message_append(reply, "t",
                                 strcmp(property, "AbortedJobs") == 0 ? guards_aborted_jobs(manager_guards(manager))
                                 : strcmp(property, "MissedJobs") == 0
                                     ? guards_missed_jobs(manager_guards(manager))
                                     : reconciler_rewrites(manager_reconciler(manager)));
}

static int get_generation(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED,
                          const char *interface G_GNUC_UNUSED, const char *property G_GNUC_UNUSED,
                          sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    return sd_bus_message_append(reply, "t", manager_policy_generation(data));
}

static const char *not_synced_reason(const Manager *manager)
{
    return link_connection(manager_link(manager)) == NULL ? WAITERS_NO_CONNECTION
                                                          : "it is still asking libvirt; Synced says when that is over";
}

static int reply_domain(sd_bus_message *message, const Manager *manager, const Domain *domain, const char *asked,
                        sd_bus_error *error)
{
    if (domain == NULL && !manager_synced(manager))
        return sd_bus_error_setf(error, BUS_ERROR_UNAVAILABLE,
                                 "virtnestd knows of no domain '%s', and has not seen all of them: %s", asked,
                                 not_synced_reason(manager));
    if (domain == NULL)
        return sd_bus_error_setf(error, BUS_ERROR_NO_SUCH_DOMAIN, "libvirt has no domain '%s' that virtnestd knows of",
                                 asked);
    return sd_bus_reply_method_return(message, "o", domain->path);
}

static int method_get_domain_by_name(sd_bus_message *message, void *data, sd_bus_error *error)
{
    const char *name = NULL;
    int r = sd_bus_message_read(message, "s", &name);

    return r < 0 ? r
                 : reply_domain(message, data, reconciler_domain_by_name(manager_reconciler(data), name), name, error);
}

static int method_get_domain_by_uuid(sd_bus_message *message, void *data, sd_bus_error *error)
{
    const char *uuid = NULL;
    int r = sd_bus_message_read(message, "s", &uuid);

    return r < 0 ? r
                 : reply_domain(message, data, reconciler_domain_by_uuid(manager_reconciler(data), uuid), uuid, error);
}

static int method_list_domains(sd_bus_message *message, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    g_autoptr(GList) domains = reconciler_domains(manager_reconciler(data));
    g_autoptr(sd_bus_message) reply = NULL;
    int r = sd_bus_message_new_method_return(message, &reply);

    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "(ssos)");
    for (GList *l = domains; r >= 0 && l != NULL; l = l->next) {
        const Domain *domain = l->data;
        r = sd_bus_message_append(reply, "(ssos)", domain->uuid, domain->name, domain->path,
                                  reconcile_state_to_string(domain->view->state));
    }
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* How many domains have a policy. */
static guint count_users(const GList *domains, const char *policy)
{
    guint n = 0;

    for (const GList *l = domains; l != NULL; l = l->next)
        n += g_strcmp0(((const Domain *)l->data)->view->policy, policy) == 0;
    return n;
}

static int method_list_policies(sd_bus_message *message, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    const PolicySet *set = manager_policies(data);
    g_autoptr(GList) domains = reconciler_domains(manager_reconciler(data));
    g_autoptr(GPtrArray) policies = set != NULL ? policy_set_list(set) : g_ptr_array_new();
    g_autoptr(sd_bus_message) reply = NULL;
    int r = sd_bus_message_new_method_return(message, &reply);

    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "(sssu)");
    for (guint i = 0; r >= 0 && i < policies->len; i++) {
        const Policy *policy = policies->pdata[i];
        /* File names are any bytes; D-Bus takes UTF-8 alone. */
        g_autofree char *path = g_utf8_make_valid(policy->path, -1);
        r = sd_bus_message_append(reply, "(sssu)", policy->name, cpu_mode_to_string(policy->cpu.mode), path,
                                  count_users(domains, policy->name));
    }
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_get_metrics(sd_bus_message *message, void *data, sd_bus_error *error)
{
    MetricsFormat format = METRICS_PROMETHEUS;
    const char *asked = NULL;
    int r = sd_bus_message_read(message, "s", &asked);

    if (r < 0)
        return r;
    if (!metrics_format_parse(asked, &format))
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "there is no format '%s': it is prometheus or openmetrics", asked);
    g_autofree char *text = exporter_text(manager_exporter(data), format);
    return sd_bus_reply_method_return(message, "s", text);
}

static int method_sync(sd_bus_message *message, void *data, sd_bus_error *error)
{
    static const AuthorityQuestion question = {"org.virtnest1.sync", "look at all domains again", NULL};
    g_autofree char *by = NULL;
    int r = authority_check_flags(manager_authority(data), message, &question, &by, error);

    if (r != 0)
        return r;
    manager_sync(data, bus_reply_later, sd_bus_message_ref(message));
    return 1;
}

/* ReleaseAll under way. */
typedef struct ReleaseAll {
    sd_bus_message *message;
    guint pending; /* and one more while it is begun */
    guint released;
    GPtrArray *problems;
} ReleaseAll;

/* One domain of it. */
typedef struct ReleaseStep {
    ReleaseAll *all;
    char *label;
} ReleaseStep;

static void release_all_step(ReleaseAll *all)
{
    g_autoptr(sd_bus_message) reply = NULL;

    if (--all->pending > 0)
        return;
    g_ptr_array_add(all->problems, NULL);
    if (sd_bus_message_new_method_return(all->message, &reply) >= 0 &&
        sd_bus_message_append(reply, "u", all->released) >= 0 &&
        sd_bus_message_append_strv(reply, (char **)all->problems->pdata) >= 0)
        (void)sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(all->message);
    g_ptr_array_unref(all->problems);
    g_free(all);
}

/* A WaiterTold. */
static void release_step_done(const char *problem, gpointer data)
{
    ReleaseStep *step = data;

    if (problem != NULL)
        g_ptr_array_add(
            step->all->problems,
            g_strdup_printf("domain '%s' is released, but its guard is not lifted yet: %s", step->label, problem));
    release_all_step(step->all);
    g_free(step->label);
    g_free(step);
}

static int method_release_all(sd_bus_message *message, void *data, sd_bus_error *error)
{
    static const AuthorityQuestion question = {"org.virtnest1.release-all", "release all domains from their guards",
                                               NULL};
    g_autoptr(GList) domains = NULL;
    g_autofree char *by = NULL;
    g_autoptr(GError) wrong = NULL;
    const char *reason = NULL;
    uint64_t usec = 0, flags = 0;
    int r = sd_bus_message_read(message, "tst", &usec, &reason, &flags);

    if (r < 0)
        return r;
    if (!guards_check_terms(manager_guards(data), usec, reason, &wrong))
        return sd_bus_error_set(error, BUS_ERROR_NOT_RELEASED, wrong->message);
    r = authority_check(manager_authority(data), message, flags, &question, &by, error);
    if (r != 0)
        return r;
    /* Who is guarded is not known of all, and that none is would be taken for an answer. */
    if (!manager_synced(data))
        return sd_bus_error_setf(error, BUS_ERROR_UNAVAILABLE, "no domain was released: %s", not_synced_reason(data));
    ReleaseAll *all = g_new0(ReleaseAll, 1);
    all->message = sd_bus_message_ref(message);
    all->pending = 1;
    all->problems = g_ptr_array_new_with_free_func(g_free);
    domains = reconciler_domains(manager_reconciler(data));
    for (GList *l = domains; l != NULL; l = l->next) {
        Domain *domain = l->data;
        g_autoptr(GError) cause = NULL;
        /* Right after its start virtnestd does not know yet which of them have a blocker. */
        if (!guards_may_guard(domain))
            continue;
        all->pending++;
        if (!guards_release(manager_guards(data), domain, usec, by, reason, &cause)) {
            g_ptr_array_add(all->problems, g_strdup(cause->message));
            release_all_step(all);
            continue;
        }
        all->released++;
        ReleaseStep *step = g_new(ReleaseStep, 1);
        *step = (ReleaseStep){all, g_strdup(domain_label(domain))};
        guards_when_lifted(manager_guards(data), domain, release_step_done, step);
    }
    release_all_step(all);
    return 1;
}

static int method_reload(sd_bus_message *message, void *data, sd_bus_error *error)
{
    static const AuthorityQuestion question = {"org.virtnest1.reload", "reload the configuration", NULL};
    Manager *manager = data;
    g_autofree char *by = NULL;
    int r = authority_check_flags(manager_authority(manager), message, &question, &by, error);

    if (r != 0)
        return r;
    log_write(G_LOG_LEVEL_INFO, (LogSubject){0}, "%s has the configuration read again", by);
    if (manager_reload(manager))
        return sd_bus_reply_method_return(message, "");
    const GPtrArray *errors = manager_configuration_errors(manager);
    if (errors->len == 0 || manager_stopping(manager))
        return sd_bus_error_set(error, BUS_ERROR_UNAVAILABLE, WAITERS_ENDS);
    return sd_bus_error_setf(error, BUS_ERROR_CONFIGURATION_INVALID, "%s%s", (const char *)errors->pdata[0],
                             errors->len > 1 ? " (and more, see ConfigurationErrors)" : "");
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("GetDomainByName", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", path),
                            method_get_domain_by_name, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("GetDomainByUUID", SD_BUS_ARGS("s", uuid), SD_BUS_RESULT("o", path),
                            method_get_domain_by_uuid, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListDomains", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(ssos)", domains), method_list_domains,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ListPolicies", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sssu)", policies), method_list_policies,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("GetMetrics", SD_BUS_ARGS("s", format), SD_BUS_RESULT("s", text), method_get_metrics,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ReleaseAll", SD_BUS_ARGS("t", usec, "s", reason, "t", flags),
                            SD_BUS_RESULT("u", released, "as", problems), method_release_all,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Sync", SD_BUS_ARGS("t", flags), SD_BUS_NO_RESULT, method_sync, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_ARGS("t", flags), SD_BUS_NO_RESULT, method_reload,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Version", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Mode", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("WritesDisabled", "b", get_boolean, 0, CHANGES),
    SD_BUS_PROPERTY("URI", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Connected", "b", get_boolean, 0, CHANGES),
    SD_BUS_PROPERTY("ConnectionError", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("LibvirtVersion", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("Synced", "b", get_boolean, 0, CHANGES),
    SD_BUS_PROPERTY("ConfigurationErrors", "as", get_errors, 0, CHANGES),
    SD_BUS_PROPERTY("HypervisorVersion", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("PolicyGeneration", "t", get_generation, 0, CHANGES),
    SD_BUS_PROPERTY("PolicyErrors", "as", get_errors, 0, CHANGES),
    SD_BUS_PROPERTY("DomainsTotal", "u", get_count, 0, 0),
    SD_BUS_PROPERTY("DomainsRunning", "u", get_count, 0, 0),
    SD_BUS_PROPERTY("DomainsTagged", "u", get_count, 0, 0),
    SD_BUS_PROPERTY("Rewrites", "t", get_total, 0, 0),
    SD_BUS_PROPERTY("DomainsGuarded", "u", get_count, 0, 0),
    SD_BUS_PROPERTY("AbortedJobs", "t", get_total, 0, 0),
    SD_BUS_PROPERTY("MissedJobs", "t", get_total, 0, 0),
    SD_BUS_PROPERTY("MetricsError", "s", get_string, 0, CHANGES),
    SD_BUS_VTABLE_END,
};

/** Publishes a manager, and the ObjectManager of everything below it. */
bool bus_manager_register(sd_bus *bus, Manager *manager, GError **error)
{
    int r = sd_bus_add_object_vtable(bus, NULL, VIRTNEST_BUS_PATH, INTERFACE, vtable, manager);

    if (r >= 0)
        r = sd_bus_add_object_manager(bus, NULL, VIRTNEST_BUS_PATH);
    return r >= 0 || bus_set_error(error, r, "cannot publish the manager");
}

/** @properties: names, ended by NULL */
void bus_manager_changed(sd_bus *bus, const char *const *properties)
{
    (void)sd_bus_emit_properties_changed_strv(bus, VIRTNEST_BUS_PATH, INTERFACE, (char **)properties);
}
