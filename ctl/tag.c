/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl tag and untag: what `virsh metadata` does with the nesting tag, whether virtnestd runs or not. */

#include "lib/tag.h"
#include "ctl/client.h"
#include "ctl/libvirt.h"
#include "ctl/verbs.h"
#include "daemon/libvirt-error.h"
#include "lib/policy.h"
#include "lib/state.h"
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

/* The one in the manuals; it is the prefix of the namespace. */
#define KEY "nest"
#define LIMIT_S 40
/* For virtnestd to put the <cpu> of before back. */
#define RESTORE_LIMIT_S 60
#define POLL_USEC 100000

static char *arg_policy;
static gboolean arg_disable;
static gboolean arg_all;

static bool set_tag(virDomain *domain, const char *element, unsigned where, GError **error)
{
    if (virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, element, element != NULL ? KEY : NULL,
                             VIRTNEST_TAG_NAMESPACE, where) == 0)
        return true;
    libvirt_set_error(error, element != NULL ? "cannot tag it" : "cannot take its tag away");
    return false;
}

/* Tag ---------------------------------------------------------------------------------------------------------------- */

/* A policy may come later, by configuration management; so this is no error. */
static void check_policy(const char *name)
{
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(PolicySet) set = policy_set_load(verbs_root, errors);

    if (set == NULL || policy_set_lookup(set, name) != NULL)
        return;
    const char *meant = policy_set_nearest(set, name);
    (void)verb_fail("there is no policy '%s' on this host; until there is, the domain is left as it is%s%s%s", name,
                    meant != NULL ? ". Did you mean '" : "; `virtnestctl policy list` tells which there are",
                    meant != NULL ? meant : "", meant != NULL ? "'?" : "");
}

/* That nothing follows from a tag by itself nobody shall find out at the guest's next start. */
static void tell_absence(virConnect *connection, const char *name)
{
    g_autoptr(mallocString) uri = virConnectGetURI(connection);
    g_autofree char *host = libvirt_remote_host(uri);
    g_autoptr(GError) error = NULL;

    /* Of another host's virtnestd this bus knows nothing. */
    if (host != NULL)
        return;
    g_autoptr(Client) there = client_probe(&error);
    if (error != NULL)
        (void)verb_fail("domain '%s' is tagged, and whether virtnestd runs, which has to do the rest, is not known: %s",
                        name, error->message);
    else if (there == NULL)
        (void)verb_fail(
            "domain '%s' is tagged, but virtnestd is not running, which has to do the rest: systemctl start "
            "virtnestd",
            name);
}

int verb_tag(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"policy", 0, 0, G_OPTION_ARG_STRING, &arg_policy, "The policy that applies (default)", "POLICY"},
        {"disable", 0, 0, G_OPTION_ARG_NONE, &arg_disable,
         "No nesting, even if the [Match] of a policy would take the domain", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autoptr(GError) error = NULL;

    if (!verb_parse(verb, options, 1, 1, &argc, &argv))
        return STATUS_USAGE;
    if (arg_policy != NULL && !tag_policy_name_is_valid(arg_policy))
        return verb_misused("--policy=%s: no policy can have that name", arg_policy);
    g_autofree char *policy = arg_policy != NULL ? g_markup_printf_escaped(" policy='%s'", arg_policy) : g_strdup("");
    g_autofree char *element =
        g_strdup_printf("<" VIRTNEST_TAG_ELEMENT "%s%s/>", policy, arg_disable ? " enabled='no'" : "");
    g_autoptr(VirConnect) connection = libvirt_open();
    g_autoptr(VirDomain) domain = connection != NULL ? libvirt_find(connection, argv[1]) : NULL;
    if (domain == NULL)
        return STATUS_FAILED;
    if (!arg_disable)
        check_policy(arg_policy != NULL ? arg_policy : "default");
    if (set_tag(domain, element, virDomainIsPersistent(domain) == 1 ? VIR_DOMAIN_AFFECT_CONFIG : VIR_DOMAIN_AFFECT_LIVE,
                &error)) {
        tell_absence(connection, virDomainGetName(domain));
        return STATUS_DONE;
    }
    return verb_fail("domain '%s': %s", virDomainGetName(domain), error->message);
}

/* Untag -------------------------------------------------------------------------------------------------------------- */

static bool untag_one(virDomain *domain, gpointer data G_GNUC_UNUSED, GError **error)
{
    const unsigned places[] = {
        virDomainIsPersistent(domain) == 1 ? VIR_DOMAIN_AFFECT_CONFIG : 0,
        virDomainIsActive(domain) == 1 ? VIR_DOMAIN_AFFECT_LIVE : 0,
    };

    for (gsize i = 0; i < G_N_ELEMENTS(places); i++) {
        if (places[i] == 0)
            continue;
        g_autoptr(mallocString) tag =
            virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, VIRTNEST_TAG_NAMESPACE, places[i]);
        if (tag != NULL && !set_tag(domain, NULL, places[i], error))
            return false;
    }
    return true;
}

static bool is_rewritten(virDomain *domain)
{
    g_autoptr(mallocString) state = virDomainIsPersistent(domain) == 1
                                        ? virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT,
                                                               VIRTNEST_STATE_NAMESPACE, VIR_DOMAIN_AFFECT_CONFIG)
                                        : NULL;

    return state != NULL;
}

/* Has virtnestd seen that it is untagged, and does not rewrite it all the same? */
static bool is_kept(Client *client, virDomain *domain)
{
    static const char *const reasons[] = {"held", "error", "owned", "transient", "host-not-ready", NULL};
    g_autofree char *path = NULL;
    bool tagged = false;

    if (!client_find(client, virDomainGetName(domain), &path) || !client_boolean(client, path, "Tagged", &tagged))
        return true;
    g_autofree char *state = client_string(client, path, "State"), *policy = client_string(client, path, "Policy");
    return state == NULL || policy == NULL || (!tagged && (*policy != '\0' || g_strv_contains(reasons, state)));
}

/* Waits until virtnestd has put their <cpu> of before back, or will not. Returns: how many still have another one. */
static unsigned wait_for_restore(Client *client, const GPtrArray *domains)
{
    gint64 end = g_get_monotonic_time() + (RESTORE_LIMIT_S * G_USEC_PER_SEC);
    unsigned left = 0, hopeful = 0;

    do {
        left = hopeful = 0;
        for (guint i = 0; i < domains->len; i++)
            if (is_rewritten(domains->pdata[i])) {
                left++;
                hopeful += !is_kept(client, domains->pdata[i]);
            }
        if (hopeful > 0)
            g_usleep(POLL_USEC);
    } while (hopeful > 0 && g_get_monotonic_time() < end);
    return left;
}

/* Says why, as far as virtnestd tells. */
static void explain(Client *client, virDomain *domain)
{
    g_autofree char *path = NULL;
    const char *name = virDomainGetName(domain);
    char uuid[VIR_UUID_STRING_BUFLEN] = "";

    if (virDomainGetUUIDString(domain, uuid) < 0 || !client_find(client, uuid, &path))
        return;
    g_autofree char *state = client_string(client, path, "State"), *reason = client_string(client, path, "StateReason"),
                    *policy = client_string(client, path, "Policy"), *why = client_string(client, path, "PolicyReason");
    if (state == NULL || reason == NULL || policy == NULL || why == NULL)
        return;
    g_autofree char *word = verbs_domain_word(name, uuid);
    if (*policy != '\0')
        (void)verb_fail("domain '%s' still has the policy '%s': %s; `virtnestctl tag %s --disable` keeps it out", name,
                        policy, why, word);
    else
        (void)verb_fail("domain '%s' still has the <cpu> that virtnestd wrote (%s): %s", name, state, reason);
}

static int finish_untag(const GPtrArray *domains)
{
    g_autoptr(Client) client = client_probe(NULL);
    unsigned left = client != NULL ? wait_for_restore(client, domains) : 0;

    for (guint i = 0; client != NULL && left > 0 && i < domains->len; i++)
        if (is_rewritten(domains->pdata[i]))
            explain(client, domains->pdata[i]);
    for (guint i = 0; client == NULL && i < domains->len; i++)
        left += is_rewritten(domains->pdata[i]);
    if (client == NULL && left > 0)
        (void)verb_fail("virtnestd is not running; it puts the <cpu> of %u %s back when it does: systemctl start "
                        "virtnestd",
                        left, left == 1 ? "domain" : "domains");
    return left == 0 ? STATUS_DONE : STATUS_FAILED;
}

int verb_untag(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"all", 0, 0, G_OPTION_ARG_NONE, &arg_all, "Untag every domain", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autoptr(GPtrArray) domains = NULL;

    if (!verb_parse(verb, options, 0, 1, &argc, &argv) || !verb_check_all(verb, argc, arg_all))
        return STATUS_USAGE;
    g_autoptr(VirConnect) connection = libvirt_open();
    if (connection == NULL)
        return STATUS_FAILED;
    if (arg_all) {
        domains = libvirt_list(connection, 0);
    } else {
        virDomain *domain = libvirt_find(connection, argv[1]);
        if (domain != NULL) {
            domains = g_ptr_array_new_with_free_func((GDestroyNotify)vir_domain_unref);
            g_ptr_array_add(domains, domain);
        }
    }
    if (domains == NULL)
        return STATUS_FAILED;
    unsigned failed = libvirt_for_each(domains, untag_one, NULL, LIMIT_S * G_USEC_PER_SEC);
    int status = finish_untag(domains);
    return failed == 0 ? status : STATUS_FAILED;
}
