/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/domain.h"

#include "daemon/bus.h"
#include <string.h>

/** To be freed with domain_free(). */
Domain *domain_new(const char *uuid, const char *name)
{
    Domain *domain = g_new0(Domain, 1);
    g_autoptr(mallocString) path = NULL;

    g_strlcpy(domain->uuid, uuid, sizeof(domain->uuid));
    if (sd_bus_path_encode(VIRTNEST_BUS_PATH "/domain", uuid, &path) < 0)
        g_error("out of memory");
    domain->path = g_strdup(path);
    domain->name = g_strdup(name);
    domain->guard_reason = "";
    domain->guard_error = g_strdup("");
    domain->l2_source = "";
    domain->l2_reason = g_strdup("");
    domain->view = g_new0(Reconcile, 1);
    domain->view->conflicts = g_ptr_array_new_with_free_func(g_free);
    reconcile_set_state(domain->view, RECONCILE_UNKNOWN, "not looked at yet");
    return domain;
}

Domain *domain_free(Domain *domain)
{
    if (domain == NULL)
        return NULL;
    domain_set_handle(domain, NULL);
    g_clear_handle_id(&domain->settle_timer, g_source_remove);
    reconcile_free(domain->view);
    l2_clear(&domain->l2);
    g_free(domain->l2_reason);
    g_free(domain->guard_error);
    release_free(domain->release);
    g_free(domain->path);
    g_free(domain->name);
    g_free(domain->refused_plan_sum);
    g_free(domain);
    return NULL;
}

/** Returns: what a human calls it, owned by @domain. */
const char *domain_label(const Domain *domain)
{
    return *domain->name != '\0' ? domain->name : domain->uuid;
}

/** Returns: the fields of a message about it, which are its own. @message_id: NULL: the message has none */
LogSubject domain_subject(const Domain *domain, const char *message_id)
{
    return (LogSubject){message_id, domain->name, domain->uuid, domain->view->policy};
}

/** Takes a reference on @handle; NULL when the connection is gone. */
void domain_set_handle(Domain *domain, virDomain *handle)
{
    if (handle != NULL)
        (void)virDomainRef(handle);
    if (domain->handle != NULL)
        (void)virDomainFree(domain->handle);
    domain->handle = handle;
}

static void note_string(GStrvBuilder *changed, const char *property, const char *before, const char *after)
{
    if (strcmp(before != NULL ? before : "", after != NULL ? after : "") != 0)
        g_strv_builder_add(changed, property);
}

/* Either may be NULL, which is as good as an empty one. */
static bool same_strings(const GPtrArray *a, const GPtrArray *b)
{
    guint n = a != NULL ? a->len : 0;

    if (n != (b != NULL ? b->len : 0))
        return false;
    for (guint i = 0; i < n; i++)
        if (strcmp(a->pdata[i], b->pdata[i]) != 0)
            return false;
    return true;
}

static void note_guard(GStrvBuilder *changed, const Reconcile *old, const Reconcile *view)
{
    bool appeared = (old->policy == NULL) != (view->policy == NULL);

    if (appeared || old->guard.block_when != view->guard.block_when)
        g_strv_builder_add(changed, "BlockWhen");
    if (old->guard.quiet_after_usec != view->guard.quiet_after_usec)
        g_strv_builder_add(changed, "QuietAfterUSec");
    if (old->guard.release_after_usec != view->guard.release_after_usec)
        g_strv_builder_add(changed, "ReleaseAfterUSec");
    if (appeared || old->guard.block_unknown != view->guard.block_unknown)
        g_strv_builder_add(changed, "OnUnknown");
    if (appeared || old->guard.only_unsafe != view->guard.only_unsafe)
        g_strv_builder_add(changed, "Platforms");
}

/**
 * Takes over what was decided. Conflicts of an untag stay published until the domain is tagged again.
 * @view: owned by @domain from now on
 * @changed: gets the names of the D-Bus properties that are other than before
 */
void domain_set_view(Domain *domain, Reconcile *view, GStrvBuilder *changed)
{
    Reconcile *old = domain->view;

    if (view->policy == NULL && view->conflicts->len == 0 && old->conflicts->len > 0) {
        g_ptr_array_unref(view->conflicts);
        view->conflicts = g_ptr_array_ref(old->conflicts);
    }
    g_clear_pointer(&view->new_xml, g_free);
    if (view->name == NULL)
        view->name = g_strdup(domain->name);

    note_string(changed, "Name", domain->name, view->name);
    if (old->tagged != view->tagged)
        g_strv_builder_add(changed, "Tagged");
    note_string(changed, "Policy", old->policy, view->policy);
    note_string(changed, "PolicySource", old->policy_path, view->policy_path);
    note_string(changed, "PolicyReason", old->policy_reason, view->policy_reason);
    note_guard(changed, old, view);
    note_string(changed, "State", reconcile_state_to_string(old->state), reconcile_state_to_string(view->state));
    note_string(changed, "StateReason", old->reason, view->reason);
    note_string(changed, "CPUMode", old->cpu_mode, view->cpu_mode);
    note_string(changed, "WantedCPUMode", old->wanted_cpu_mode, view->wanted_cpu_mode);
    note_string(changed, "Feature", old->feature, view->feature);
    note_string(changed, "Owner", old->owner, view->owner);
    if (!same_strings(old->conflicts, view->conflicts))
        g_strv_builder_add(changed, "Conflicts");
    if (!same_strings(old->skipped, view->skipped))
        g_strv_builder_add(changed, "Skipped");

    g_free(domain->name);
    domain->name = g_strdup(view->name);
    domain->view = view;
    reconcile_free(old);
}

/** Publishes another state and leaves the rest as it was seen last. */
void domain_set_state(Domain *domain, ReconcileState state, const char *reason, GStrvBuilder *changed)
{
    note_string(changed, "State", reconcile_state_to_string(domain->view->state), reconcile_state_to_string(state));
    note_string(changed, "StateReason", domain->view->reason, reason);
    g_autofree char *copy = g_strdup(reason);
    reconcile_set_state(domain->view, state, "%s", copy);
}

/** Publishes what an untag left in place, which is there until the domain is tagged again. */
void domain_set_conflicts(Domain *domain, GPtrArray *conflicts, GStrvBuilder *changed)
{
    if (!same_strings(domain->view->conflicts, conflicts))
        g_strv_builder_add(changed, "Conflicts");
    g_ptr_array_ref(conflicts);
    g_ptr_array_unref(domain->view->conflicts);
    domain->view->conflicts = conflicts;
}

/** @reason: copied */
void domain_set_l2_reason(Domain *domain, const char *reason)
{
    char *copy = g_strdup(reason);

    g_free(domain->l2_reason);
    domain->l2_reason = copy;
}

/** Returns: how long an L2 counts, by the domain's policy, or where it has none by default. */
L2Limits domain_l2_limits(const Domain *domain)
{
    const GuardPolicy fallback = guard_policy_default();
    const GuardPolicy *guard = domain->view->policy != NULL ? &domain->view->guard : &fallback;

    return (L2Limits){guard->quiet_after_usec, guard->release_after_usec};
}

void domain_set_runtime(Domain *domain, bool running, bool persistent, GStrvBuilder *changed)
{
    if (domain->running != running) {
        g_strv_builder_add(changed, "Running");
        /* Of a guest that runs there is something to say even if nothing tells. */
        g_strv_builder_add(changed, "Exposed");
    }
    if (domain->persistent != persistent)
        g_strv_builder_add(changed, "Persistent");
    domain->running = running;
    domain->persistent = persistent;
}

/** For reconciler_count(), as are the two after it. */
bool domain_is_tagged(const Domain *domain)
{
    return domain->view->tagged;
}

bool domain_is_running(const Domain *domain)
{
    return domain->running;
}

bool domain_awaits_host(const Domain *domain)
{
    return domain->view->state == RECONCILE_HOST_NOT_READY;
}

/* What L2 guests make of it, whether it is guarded or not. NULL: nothing. */
static const char *l2_blocker(const Domain *domain, PlatformVerdict platform)
{
    if (platform == PLATFORM_SAFE)
        return NULL;
    if (domain->l2.state == L2_UNKNOWN)
        return "nothing tells whether it runs guests of its own; L2Reason says why";
    return domain->l2.state == L2_RUNNING ? "a guest of its own runs in it: shut that down"
           : domain->l2.state == L2_QUIET
               ? "a guest of its own may be paused in it: shut that down, or wait for ReleaseAfter="
               : NULL;
}

/**
 * Returns: why the domain should not be migrated or saved now, as far as virtnest knows, for a human (strings), to be freed with
 * g_ptr_array_unref(); none if it is safe.
 */
GPtrArray *domain_blockers(const Domain *domain, PlatformVerdict platform)
{
    GPtrArray *blockers = g_ptr_array_new_with_free_func(g_free);
    const char *l2 = domain->running ? l2_blocker(domain, platform) : NULL;

    if (l2 != NULL)
        g_ptr_array_add(blockers, g_strdup(l2));
    if (domain->guarded)
        g_ptr_array_add(blockers, domain->guard_lifting
                                      ? g_strdup("QEMU refuses it until its guard is lifted, which is to be done")
                                      : g_strdup_printf("QEMU refuses it: %s", domain->guard_reason));
    if (domain->running && *domain->guard_error != '\0')
        g_ptr_array_add(blockers, g_strdup(domain->guard_error));
    return blockers;
}
