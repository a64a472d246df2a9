/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads libvirt's <domainCapabilities>. */

#include "lib/capabilities.h"

#include "lib/autoptr.h"
#include "lib/error.h"
#include <string.h>

static const xmlNode *child_of(const xmlNode *node, const char *name)
{
    for (const xmlNode *child = node->children; child != NULL; child = child->next)
        if (child->type == XML_ELEMENT_NODE && strcmp((const char *)child->name, name) == 0)
            return child;
    return NULL;
}

static bool has_value(const xmlNode *node, const char *attribute, const char *value)
{
    g_autoptr(xmlString) text = (xmlString *)xmlGetNoNsProp(node, (const xmlChar *)attribute);

    return g_strcmp0(text, value) == 0;
}

/**
 * @xml: as virConnectGetDomainCapabilities() gives it
 * Returns: false with VIRTNEST_ERROR_XML if that is none.
 */
bool capabilities_parse(const char *xml, Capabilities *ret_capabilities, GError **error)
{
    g_autoptr(xmlDoc) document =
        xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    const xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;
    Capabilities capabilities = {false, false};

    if (root == NULL || strcmp((const char *)root->name, "domainCapabilities") != 0) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML,
                            "libvirt's domain capabilities are not understood");
        return false;
    }
    const xmlNode *cpu = child_of(root, "cpu");
    for (const xmlNode *mode = cpu != NULL ? cpu->children : NULL; mode != NULL; mode = mode->next) {
        if (mode->type != XML_ELEMENT_NODE || strcmp((const char *)mode->name, "mode") != 0 ||
            !has_value(mode, "supported", "yes"))
            continue;
        capabilities.host_model = capabilities.host_model || has_value(mode, "name", "host-model");
        capabilities.host_passthrough = capabilities.host_passthrough || has_value(mode, "name", "host-passthrough");
    }
    *ret_capabilities = capabilities;
    return true;
}

/**
 * Tells the named model that host-model expands to.
 * @xml: as virConnectGetDomainCapabilities() gives it
 * Returns: to be freed with g_free(), or NULL if that does not tell.
 */
char *capabilities_host_model(const char *xml)
{
    g_autoptr(xmlDoc) document =
        xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    const xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;
    const xmlNode *cpu = root != NULL ? child_of(root, "cpu") : NULL;

    for (const xmlNode *mode = cpu != NULL ? cpu->children : NULL; mode != NULL; mode = mode->next) {
        if (mode->type != XML_ELEMENT_NODE || !has_value(mode, "name", "host-model"))
            continue;
        const xmlNode *model = child_of(mode, "model");
        g_autoptr(xmlString) text = model != NULL ? (xmlString *)xmlNodeGetContent(model) : NULL;
        return text != NULL ? g_strstrip(g_strdup(text)) : NULL;
    }
    return NULL;
}

/**
 * Tells which of Hyper-V's enlightenments the hypervisor has, by the names of their elements. libvirt asks KVM itself
 * (virQEMUCapsFillDomainFeatureHypervCaps(), src/qemu/qemu_capabilities.c), since version 9.0.
 * @xml: as virConnectGetDomainCapabilities() gives it
 * Returns: to be freed with g_strfreev(), or NULL if that does not tell.
 */
char **capabilities_hyperv(const char *xml)
{
    g_autoptr(xmlDoc) document =
        xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    const xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;
    const xmlNode *features = root != NULL ? child_of(root, "features") : NULL;
    const xmlNode *hyperv = features != NULL ? child_of(features, "hyperv") : NULL;
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();

    if (hyperv == NULL)
        return NULL;
    const xmlNode *choice = child_of(hyperv, "enum");
    if (has_value(hyperv, "supported", "yes") && (choice == NULL || !has_value(choice, "name", "features")))
        return NULL;
    for (const xmlNode *value = choice != NULL ? choice->children : NULL; value != NULL; value = value->next) {
        if (value->type != XML_ELEMENT_NODE)
            continue;
        g_autoptr(xmlString) text = (xmlString *)xmlNodeGetContent(value);
        g_strv_builder_add(names, text != NULL ? text : "");
    }
    return g_strv_builder_end(names);
}
