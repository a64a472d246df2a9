/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What `lint` and `verify` judge: a domain, its host, and the policies. */

#include "ctl/guest.h"

#include "ctl/document.h"
#include "ctl/libvirt.h"
#include "ctl/verbs.h"
#include "daemon/libvirt-error.h"
#include "lib/capabilities.h"
#include "lib/error.h"
#include <libvirt/virterror.h>
#include <string.h>
#include <unistd.h>

/**
 * Reads the policies, and the host.
 * @host_root: (nullable) where the host's /proc and /sys are
 * @policy: (nullable) as with document_read_policies()
 * Returns: to be freed with guest_free(), or NULL with VIRTNEST_ERROR_CONFIG, which has all mistakes.
 */
Guest *guest_new(const char *host_root, char **policy, GError **error)
{
    g_autoptr(Guest) guest = g_new0(Guest, 1);
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);

    guest->policies = policy != NULL ? document_read_policies(policy, errors) : policy_set_load(verbs_root, errors);
    if (guest->policies == NULL) {
        g_ptr_array_add(errors, NULL);
        g_autofree char *mistakes = g_strjoinv("; ", (char **)errors->pdata);
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_CONFIG, mistakes);
        return NULL;
    }
    guest->host = host_survey_read(host_root != NULL ? host_root : verbs_root);
    return g_steal_pointer(&guest);
}

Guest *guest_free(Guest *guest)
{
    if (guest == NULL)
        return NULL;
    g_free(guest->xml);
    g_free(guest->live_xml);
    g_free(guest->saved_xml);
    g_free(guest->host_model);
    g_strfreev(guest->hyperv_offered);
    policy_set_unref(guest->policies);
    host_survey_free(guest->host);
    g_free(guest);
    return NULL;
}

/* Does virsh go there by itself? Commands that are offered for pasting are to reach this libvirt. */
static bool is_default_of_virsh(const char *uri)
{
    return geteuid() == 0 && g_getenv("LIBVIRT_DEFAULT_URI") == NULL && strcmp(uri, "qemu:///system") == 0;
}

static void make_input(Guest *guest)
{
    guest->input = (GuestInput){
        .domain =
            {
                .xml = guest->xml,
                .live_xml = guest->live_xml,
                .saved_xml = guest->saved_xml,
                .persistent = guest->persistent,
                .has_managed_save = guest->has_managed_save,
                .policies = guest->policies,
                .host = &guest->host->facts,
                .libvirt_version = guest->libvirt_version,
                .hyperv_offered = (const char *const *)guest->hyperv_offered,
            },
        .host = guest->host,
        .qemu_version = guest->qemu_version,
        .host_model = guest->host_model,
        .connect = *verbs_connect != '\0' && !is_default_of_virsh(verbs_connect) ? verbs_connect : NULL,
    };
}

/** Takes over a document in place of a domain. */
void guest_take_document(Guest *guest, char *xml, unsigned long libvirt_version)
{
    guest->xml = xml;
    guest->persistent = true;
    guest->libvirt_version = libvirt_version;
    make_input(guest);
}

/* What this host's /proc tells is not true of another one. */
static bool is_here(virConnect *connection, GError **error)
{
    g_autoptr(mallocString) uri = virConnectGetURI(connection);
    g_autofree char *host = libvirt_remote_host(uri);

    if (host == NULL)
        return true;
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_UNSUPPORTED,
                "half of what is judged is in the files of the domain's host: run it there, as with "
                "`ssh %s virtnestctl ...`",
                host);
    return false;
}

static char *read_xml(virDomain *domain, unsigned flags)
{
    g_autoptr(mallocString) xml = virDomainGetXMLDesc(domain, flags);

    return g_strdup(xml);
}

/* What host-model expands to for this guest here, and what of Hyper-V it can have; NULL each if libvirt does not tell. */
static void read_capabilities(Guest *guest, virConnect *connection)
{
    g_autoptr(Reconcile) identity = reconcile_decide(&guest->input.domain);
    g_autoptr(mallocString) text = virConnectGetDomainCapabilities(
        connection, identity->emulator != NULL && *identity->emulator != '\0' ? identity->emulator : NULL,
        identity->arch, identity->machine, identity->virt_type, 0);

    if (text == NULL)
        return;
    guest->host_model = capabilities_host_model(text);
    guest->hyperv_offered = capabilities_hyperv(text);
}

static bool fail(GError **error)
{
    libvirt_set_error(error, "cannot read it");
    return false;
}

/** Reads what libvirt has of a domain. Returns: false with an error. */
bool guest_read(Guest *guest, virDomain *domain, GError **error)
{
    virConnect *connection = virDomainGetConnect(domain);
    int active = virDomainIsActive(domain), persistent = virDomainIsPersistent(domain);

    if (!is_here(connection, error))
        return false;
    guest->xml = read_xml(domain, VIR_DOMAIN_XML_INACTIVE);
    if (guest->xml == NULL || active < 0 || persistent < 0)
        return fail(error);
    guest->persistent = persistent == 1;
    if (active == 1) {
        guest->live_xml = read_xml(domain, 0);
        if (guest->live_xml == NULL)
            return fail(error);
    } else if (virDomainHasManagedSaveImage(domain, 0) == 1) {
        g_autoptr(mallocString) saved = virDomainManagedSaveGetXMLDesc(domain, 0);
        guest->has_managed_save = true;
        guest->saved_xml = g_strdup(saved);
    }
    (void)virConnectGetLibVersion(connection, &guest->libvirt_version);
    if (g_strcmp0(virConnectGetType(connection), "QEMU") == 0)
        (void)virConnectGetVersion(connection, &guest->qemu_version);
    make_input(guest);
    read_capabilities(guest, connection);
    make_input(guest);
    return true;
}
