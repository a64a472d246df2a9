/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.virtnest1.Domain, at /org/virtnest1/domain/UUID. */

#include "daemon/bus-domain.h"

#include "daemon/bus-error.h"
#include "daemon/bus.h"
#include <errno.h>
#include <gio/gio.h>
#include <string.h>

#define INTERFACE "org.virtnest1.Domain"
#define PREFIX VIRTNEST_BUS_PATH "/domain"

static const char *text_or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static const char *domain_string(const Domain *domain, const char *property)
{
    const Reconcile *view = domain->view;
    const struct {
        const char *property;
        const char *value;
    } strings[] = {
        {"Name", domain->name},
        {"UUID", domain->uuid},
        {"Policy", view->policy},
        {"PolicySource", view->policy_path},
        {"PolicyReason", view->policy_reason},
        {"BlockWhen", view->policy != NULL ? guard_when_to_string(view->guard.block_when) : NULL},
        {"OnUnknown", view->policy == NULL        ? NULL
                      : view->guard.block_unknown ? "block"
                                                  : "allow"},
        {"Platforms", view->policy == NULL      ? NULL
                      : view->guard.only_unsafe ? "unsafe"
                                                : "all"},
        {"State", reconcile_state_to_string(view->state)},
        {"StateReason", view->reason},
        {"CPUMode", view->cpu_mode},
        {"WantedCPUMode", view->wanted_cpu_mode},
        {"Feature", view->feature},
        {"Owner", view->owner},
        {"L2State", l2_state_to_string(domain->l2.state)},
        {"L2Reason", domain->l2_reason},
        {"L2Source", domain->l2_source},
        {"GuardReason", domain->guard_reason},
        {"GuardError", domain->guard_error},
        {"ReleasedBy", domain->release != NULL ? domain->release->by : NULL},
        {"ReleaseReason", domain->release != NULL ? domain->release->reason : NULL},
        {"Exposed", domain->running ? cpu_exposure_to_string(domain->exposure) : NULL},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(strings); i++)
        if (strcmp(strings[i].property, property) == 0)
            return text_or_empty(strings[i].value);
    return "";
}

static int get_string(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                      const char *property, sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    return sd_bus_message_append(reply, "s", domain_string(data, property));
}

static int get_boolean(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                       const char *property, sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    const Domain *domain = data;
    int value = strcmp(property, "Tagged") == 0    ? domain->view->tagged
                : strcmp(property, "Running") == 0 ? domain->running
                : strcmp(property, "Guarded") == 0 ? domain->guarded
                                                   : domain->persistent;

    return sd_bus_message_append(reply, "b", value);
}

static int get_texts(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                     const char *property, sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    const Reconcile *view = ((const Domain *)data)->view;
    const GPtrArray *texts = strcmp(property, "Skipped") == 0 ? view->skipped : view->conflicts;
    int r = sd_bus_message_open_container(reply, 'a', "s");

    for (guint i = 0; r >= 0 && texts != NULL && i < texts->len; i++)
        r = sd_bus_message_append(reply, "s", (const char *)texts->pdata[i]);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_rewrite_time(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED,
                            const char *interface G_GNUC_UNUSED, const char *property G_GNUC_UNUSED,
                            sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    const Domain *domain = data;

    return sd_bus_message_append(reply, "t", domain->rewrite_time);
}

static int get_l2_number(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                         const char *property, sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    const Domain *domain = data;

    return sd_bus_message_append(reply, "t",
                                 strcmp(property, "L2Since") == 0          ? domain->l2_since
                                 : strcmp(property, "LastL2Activity") == 0 ? domain->l2_activity
                                                                           : domain->l2.nested_runs);
}

static int get_guard_time(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED,
                          const char *interface G_GNUC_UNUSED, const char *property, sd_bus_message *reply, void *data,
                          sd_bus_error *error G_GNUC_UNUSED)
{
    const Domain *domain = data;
    const GuardPolicy *guard = &domain->view->guard;

    return sd_bus_message_append(
        reply, "t", strcmp(property, "QuietAfterUSec") == 0 ? guard->quiet_after_usec : guard->release_after_usec);
}

static int get_release_time(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED,
                            const char *interface G_GNUC_UNUSED, const char *property G_GNUC_UNUSED,
                            sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    const Release *release = ((const Domain *)data)->release;

    return sd_bus_message_append(reply, "t", release != NULL ? release->until : 0);
}

static int get_loaded_time(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED,
                           const char *interface G_GNUC_UNUSED, const char *property G_GNUC_UNUSED,
                           sd_bus_message *reply, void *data, sd_bus_error *error G_GNUC_UNUSED)
{
    return sd_bus_message_append(reply, "t", ((const Domain *)data)->loaded_l2_since);
}

/* A call that is answered once its work is done. The domain may be gone by then. */
typedef struct Call {
    sd_bus_message *message;
    const char *error; /* its name, if the work is not done */
    const char *what;  /* is not done, in words */
    char *label;       /* of the domain */
} Call;

static Call *call_new(sd_bus_message *message, const Domain *domain, const char *error, const char *what)
{
    Call *call = g_new(Call, 1);

    *call = (Call){sd_bus_message_ref(message), error, what, g_strdup(domain_label(domain))};
    return call;
}

/* A WaiterTold. */
static void call_done(const char *problem, gpointer data)
{
    Call *call = data;

    if (problem == NULL)
        (void)sd_bus_reply_method_return(call->message, "");
    else
        (void)sd_bus_reply_method_errorf(call->message, call->error, "domain '%s' %s: %s", call->label, call->what,
                                         problem);
    sd_bus_message_unref(call->message);
    g_free(call->label);
    g_free(call);
}

static int method_release(sd_bus_message *message, void *data, sd_bus_error *error)
{
    Domain *domain = data;
    Guards *guards = reconciler_guards(domain->reconciler);
    const AuthorityQuestion question = {"org.virtnest1.release", "release a domain from its guard", domain};
    g_autofree char *by = NULL;
    g_autoptr(GError) cause = NULL;
    const char *reason = NULL;
    uint64_t usec = 0, flags = 0;
    int r = sd_bus_message_read(message, "tst", &usec, &reason, &flags);

    if (r < 0)
        return r;
    /* Nobody shall type a password for nothing. */
    if (!guards_check_terms(guards, usec, reason, &cause))
        return sd_bus_error_set(error, BUS_ERROR_NOT_RELEASED, cause->message);
    r = authority_check(reconciler_authority(domain->reconciler), message, flags, &question, &by, error);
    if (r != 0)
        return r;
    if (domain->handle == NULL)
        return sd_bus_error_setf(error, BUS_ERROR_UNAVAILABLE, "domain '%s' cannot be released: " WAITERS_NO_CONNECTION,
                                 domain_label(domain));
    if (!guards_release(guards, domain, usec, by, reason, &cause))
        return sd_bus_error_set(error, BUS_ERROR_NOT_RELEASED, cause->message);
    guards_when_lifted(
        guards, domain, call_done,
        call_new(message, domain, BUS_ERROR_NOT_RELEASED, "is released, but its guard is not lifted yet"));
    return 1;
}

static int method_revoke(sd_bus_message *message, void *data, sd_bus_error *error)
{
    Domain *domain = data;
    const AuthorityQuestion question = {"org.virtnest1.revoke", "revoke a release", domain};
    g_autofree char *by = NULL;
    int r = authority_check_flags(reconciler_authority(domain->reconciler), message, &question, &by, error);

    if (r != 0)
        return r;
    guards_revoke(reconciler_guards(domain->reconciler), domain, by);
    Call *call = call_new(message, domain, BUS_ERROR_UNAVAILABLE, "is released no more, but it is not guarded yet");
    if (domain->handle == NULL)
        call_done(WAITERS_NO_CONNECTION, call);
    else
        guards_when_guarded(reconciler_guards(domain->reconciler), domain, call_done, call);
    return 1;
}

static int method_reconcile(sd_bus_message *message, void *data, sd_bus_error *error)
{
    Domain *domain = data;
    const AuthorityQuestion question = {"org.virtnest1.reconcile", "have a domain looked at again", domain};
    g_autofree char *by = NULL;
    int r = authority_check_flags(reconciler_authority(domain->reconciler), message, &question, &by, error);

    if (r != 0)
        return r;
    reconciler_look(domain->reconciler, domain, call_done,
                    call_new(message, domain, BUS_ERROR_UNAVAILABLE, "was not looked at"));
    return 1;
}

static GPtrArray *blockers_of(const Domain *domain)
{
    return domain_blockers(domain, reconciler_platform(domain->reconciler));
}

static int get_blockers(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                        const char *property G_GNUC_UNUSED, sd_bus_message *reply, void *data,
                        sd_bus_error *error G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) blockers = blockers_of(data);

    g_ptr_array_add(blockers, NULL);
    return sd_bus_message_append_strv(reply, (char **)blockers->pdata);
}

static int get_safe(sd_bus *bus G_GNUC_UNUSED, const char *path G_GNUC_UNUSED, const char *interface G_GNUC_UNUSED,
                    const char *property G_GNUC_UNUSED, sd_bus_message *reply, void *data,
                    sd_bus_error *error G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) blockers = blockers_of(data);

    return sd_bus_message_append(reply, "b", blockers->len == 0);
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Reconcile", SD_BUS_ARGS("t", flags), SD_BUS_NO_RESULT, method_reconcile,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Release", SD_BUS_ARGS("t", usec, "s", reason, "t", flags), SD_BUS_NO_RESULT,
                            method_release, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Revoke", SD_BUS_ARGS("t", flags), SD_BUS_NO_RESULT, method_revoke,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Name", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("UUID", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Running", "b", get_boolean, 0, CHANGES),
    SD_BUS_PROPERTY("Persistent", "b", get_boolean, 0, CHANGES),
    SD_BUS_PROPERTY("Tagged", "b", get_boolean, 0, CHANGES),
    SD_BUS_PROPERTY("Policy", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("PolicySource", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("PolicyReason", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("State", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("StateReason", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("CPUMode", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("WantedCPUMode", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("Feature", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("Owner", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("Conflicts", "as", get_texts, 0, CHANGES),
    SD_BUS_PROPERTY("Skipped", "as", get_texts, 0, CHANGES),
    SD_BUS_PROPERTY("RewriteTime", "t", get_rewrite_time, 0, CHANGES),
    SD_BUS_PROPERTY("BlockWhen", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("QuietAfterUSec", "t", get_guard_time, 0, CHANGES),
    SD_BUS_PROPERTY("ReleaseAfterUSec", "t", get_guard_time, 0, CHANGES),
    SD_BUS_PROPERTY("OnUnknown", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("Platforms", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("L2State", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("L2Reason", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("L2Source", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("L2Since", "t", get_l2_number, 0, CHANGES),
    /* They move with each tick. */
    SD_BUS_PROPERTY("LastL2Activity", "t", get_l2_number, 0, 0),
    SD_BUS_PROPERTY("NestedRuns", "t", get_l2_number, 0, 0),
    SD_BUS_PROPERTY("Exposed", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("Guarded", "b", get_boolean, 0, CHANGES),
    SD_BUS_PROPERTY("GuardReason", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("GuardError", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("MigrationSafe", "b", get_safe, 0, CHANGES),
    SD_BUS_PROPERTY("Blockers", "as", get_blockers, 0, CHANGES),
    SD_BUS_PROPERTY("LoadedL2Since", "t", get_loaded_time, 0, CHANGES),
    SD_BUS_PROPERTY("ReleasedUntil", "t", get_release_time, 0, CHANGES),
    SD_BUS_PROPERTY("ReleasedBy", "s", get_string, 0, CHANGES),
    SD_BUS_PROPERTY("ReleaseReason", "s", get_string, 0, CHANGES),
    SD_BUS_VTABLE_END,
};

static int find_domain(sd_bus *bus G_GNUC_UNUSED, const char *path, const char *interface G_GNUC_UNUSED, void *data,
                       void **ret_found, sd_bus_error *error G_GNUC_UNUSED)
{
    g_autoptr(mallocString) uuid = NULL;
    int r = sd_bus_path_decode(path, PREFIX, &uuid);

    if (r <= 0)
        return r;
    const Domain *domain = reconciler_domain_by_uuid(data, uuid);
    /* A domain has one path, and not all that decode to its UUID. */
    if (domain == NULL || strcmp(domain->path, path) != 0)
        return 0;
    *ret_found = (gpointer)domain;
    return 1;
}

static int list_domains(sd_bus *bus G_GNUC_UNUSED, const char *prefix G_GNUC_UNUSED, void *data, char ***ret_nodes,
                        sd_bus_error *error G_GNUC_UNUSED)
{
    g_autoptr(GList) domains = reconciler_domains(data);
    char **nodes = calloc(g_list_length(domains) + 1, sizeof(char *));
    gsize n = 0;

    if (nodes == NULL)
        return -ENOMEM;
    for (GList *l = domains; l != NULL; l = l->next) {
        nodes[n] = strdup(((Domain *)l->data)->path);
        if (nodes[n++] == NULL) {
            while (n > 0)
                free(nodes[--n]);
            free(nodes);
            return -ENOMEM;
        }
    }
    *ret_nodes = nodes;
    return 1;
}

/** Publishes all domains below one prefix. */
bool bus_domain_register(sd_bus *bus, Reconciler *reconciler, GError **error)
{
    int r = sd_bus_add_fallback_vtable(bus, NULL, PREFIX, INTERFACE, vtable, find_domain, reconciler);

    if (r >= 0)
        r = sd_bus_add_node_enumerator(bus, NULL, PREFIX, list_domains, reconciler);
    return r >= 0 || bus_set_error(error, r, "cannot publish domains");
}

void bus_domain_added(sd_bus *bus, const Domain *domain)
{
    (void)sd_bus_emit_object_added(bus, domain->path);
}

/** To be called while the reconciler still has the domain. */
void bus_domain_removed(sd_bus *bus, const Domain *domain)
{
    (void)sd_bus_emit_object_removed(bus, domain->path);
}

/** @properties: names, ended by NULL; none of them is no signal */
void bus_domain_changed(sd_bus *bus, const Domain *domain, const char *const *properties)
{
    static const char *const causes[] = {"Running", "L2State", "Guarded", "GuardReason", "GuardError", NULL};
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    bool safety = false;

    if (properties[0] == NULL)
        return;
    for (gsize i = 0; properties[i] != NULL; i++) {
        g_ptr_array_add(all, (gpointer)properties[i]);
        safety |= g_strv_contains(causes, properties[i]);
    }
    if (safety) {
        g_ptr_array_add(all, (gpointer) "MigrationSafe");
        g_ptr_array_add(all, (gpointer) "Blockers");
    }
    g_ptr_array_add(all, NULL);
    (void)sd_bus_emit_properties_changed_strv(bus, domain->path, INTERFACE, (char **)all->pdata);
}
