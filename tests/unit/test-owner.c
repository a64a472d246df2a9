/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/owner.c: which manager's mark a domain carries. */

#include "lib/owner.h"

#include "tests/unit/util.h"

typedef struct OwnerCase {
    const char *name;
    const char *document;
    const char *owner;
} OwnerCase;

static const OwnerCase owner_cases[] = {
    {"none", "<domain/>", NULL},
    {"empty", "<domain><metadata/></domain>", NULL},
    {"nova",
     "<domain><metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'/></metadata></domain>",
     "OpenStack nova"},
    {"nova-old",
     "<domain><metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.0'/></metadata></domain>",
     "OpenStack nova"},
    {"nova-behind-others",
     "<domain><metadata><a xmlns='urn:a'/><n xmlns='http://openstack.org/xmlns/libvirt/nova/1.1'/></metadata></domain>",
     "OpenStack nova"},
    {"ovirt", "<domain><metadata><vm:vm xmlns:vm='http://ovirt.org/vm/1.0'/></metadata></domain>", "oVirt"},
    {"ovirt-tune",
     "<domain><metadata><ovirt-tune:qos xmlns:ovirt-tune='http://ovirt.org/vm/tune/1.0'/></metadata></domain>",
     "oVirt"},
    {"kubevirt", "<domain><metadata><kubevirt xmlns='http://kubevirt.io'><uid>1</uid></kubevirt></metadata></domain>",
     "KubeVirt"},
    {"declared-only",
     "<domain xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'><metadata><a xmlns='urn:a'/></metadata></domain>",
     NULL},
    {"inherited-prefix",
     "<domain xmlns:n='http://openstack.org/xmlns/libvirt/nova/1.1'><metadata><n:instance/></metadata></domain>",
     "OpenStack nova"},
    {"like-prefix-other-namespace",
     "<domain><metadata><nova:instance xmlns:nova='http://example.org/nova'/></metadata></domain>", NULL},
    {"longer-namespace",
     "<domain><metadata><k xmlns='http://kubevirt.io/'/><o xmlns='http://ovirt.org/vm/1.0.1'/></metadata></domain>",
     NULL},
    {"libosinfo",
     "<domain><metadata><l:libosinfo xmlns:l='http://libosinfo.org/xmlns/libvirt/domain/1.0'/></metadata></domain>",
     NULL},
    {"elsewhere", "<domain><devices><k xmlns='http://kubevirt.io'/></devices></domain>", NULL},
    {"deeper", "<domain><metadata><a xmlns='urn:a'><k xmlns='http://kubevirt.io'/></a></metadata></domain>", NULL},
};

static void test_owner(gconstpointer data)
{
    const OwnerCase *c = data;
    g_autoptr(DomainXml) xml = util_parse(c->document);

    g_assert_cmpstr(owner_detect(xml), ==, c->owner);
}

static void test_documents(void)
{
    for (gsize i = 0; util_domains[i] != NULL; i++) {
        g_autofree char *text = util_domain(util_domains[i]);
        g_autoptr(DomainXml) xml = util_parse(text);
        g_assert_cmpstr(owner_detect(xml), ==, g_strcmp0(util_domains[i], "nova") == 0 ? "OpenStack nova" : NULL);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(owner_cases); i++) {
        g_autofree char *path = g_strconcat("/owner/detect/", owner_cases[i].name, NULL);
        g_test_add_data_func(path, &owner_cases[i], test_owner);
    }
    g_test_add_func("/owner/documents", test_documents);
    return g_test_run();
}
