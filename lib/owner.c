/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/owner.h"

/*
 * Managers that generate a domain's XML anew at each start, so that a rewrite would be lost or would fight with them.
 * Each leaves an element in a namespace of its own:
 *   nova      nova/virt/libvirt/config.py, NOVA_NS
 *   oVirt     vdsm lib/vdsm/virt/metadata.py (and xmlconstants.py for the tune namespace)
 *   KubeVirt  pkg/virt-launcher/virtwrap/api/schema.go
 */
static const struct {
    const char *namespace_uri;
    const char *owner;
} owners[] = {
    {"http://openstack.org/xmlns/libvirt/nova/1.0", "OpenStack nova"},
    {"http://openstack.org/xmlns/libvirt/nova/1.1", "OpenStack nova"},
    {"http://ovirt.org/vm/1.0", "oVirt"},
    {"http://ovirt.org/vm/tune/1.0", "oVirt"},
    {"http://kubevirt.io", "KubeVirt"},
};

/** Returns: the name of the manager that owns this domain, a static string, or NULL. */
const char *owner_detect(const DomainXml *xml)
{
    for (gsize i = 0; i < G_N_ELEMENTS(owners); i++)
        if (domain_xml_metadata(xml, owners[i].namespace_uri, NULL) != NULL)
            return owners[i].owner;
    return NULL;
}
