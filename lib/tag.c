/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/tag.h"

#include "lib/error.h"
#include <string.h>

#define POLICY_NAME_MAX 64

Tag *tag_free(Tag *tag)
{
    if (tag == NULL)
        return NULL;
    g_free(tag->policy);
    g_free(tag);
    return NULL;
}

/** Returns: to be freed with tag_free(). */
Tag *tag_copy(const Tag *tag)
{
    Tag *copy = g_new0(Tag, 1);

    copy->policy = g_strdup(tag->policy);
    copy->enabled = tag->enabled;
    return copy;
}

/** Policy names are also file names: a letter or digit first, then letters, digits, '_', '.' and '-'; 64 bytes. */
bool tag_policy_name_is_valid(const char *name)
{
    gsize length = strlen(name);

    if (length == 0 || length > POLICY_NAME_MAX || !g_ascii_isalnum(name[0]))
        return false;
    for (gsize i = 1; i < length; i++)
        if (!g_ascii_isalnum(name[i]) && strchr("_.-", name[i]) == NULL)
            return false;
    return true;
}

static bool tag_parse_attribute(Tag *tag, const char *name, const char *value, GError **error)
{
    if (strcmp(name, "policy") == 0) {
        if (!tag_policy_name_is_valid(value)) {
            g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_TAG,
                        "policy='%s' is not the name of a policy: letters, digits, '_', '.' and '-', at most %d", value,
                        POLICY_NAME_MAX);
            return false;
        }
        tag->policy = g_strdup(value);
        return true;
    }
    if (strcmp(name, "enabled") == 0) {
        if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
            g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_TAG, "enabled='%s' must be 'yes' or 'no'", value);
            return false;
        }
        tag->enabled = strcmp(value, "yes") == 0;
        return true;
    }
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_TAG,
                "unknown attribute '%s': <nesting> takes 'policy' and 'enabled'", name);
    return false;
}

static bool tag_parse_element(const xmlNode *node, Tag **ret_tag, GError **error)
{
    g_autoptr(Tag) tag = g_new0(Tag, 1);

    tag->enabled = true;
    if (!xmlStrEqual(node->name, BAD_CAST VIRTNEST_TAG_ELEMENT)) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_TAG, "unknown element <%s>: expected <nesting>",
                    (const char *)node->name);
        return false;
    }
    for (const xmlAttr *attribute = node->properties; attribute != NULL; attribute = attribute->next) {
        g_autoptr(xmlString) value = (char *)xmlNodeListGetString(node->doc, attribute->children, 1);
        g_autofree char *name = attribute->ns == NULL
                                    ? g_strdup((const char *)attribute->name)
                                    : g_strdup_printf("%s:%s", attribute->ns->prefix, attribute->name);
        if (!tag_parse_attribute(tag, name, value != NULL ? value : "", error))
            return false;
    }
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type == XML_COMMENT_NODE || child->type == XML_PI_NODE || xmlIsBlankNode(child))
            continue;
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_TAG, "<nesting> must be empty, it contains %s%s%s",
                    child->type == XML_ELEMENT_NODE ? "<" : "",
                    child->type == XML_ELEMENT_NODE ? (const char *)child->name : "text",
                    child->type == XML_ELEMENT_NODE ? ">" : "");
        return false;
    }
    *ret_tag = g_steal_pointer(&tag);
    return true;
}

/**
 * Reads the nesting tag out of a domain's metadata, as policy/nesting.rng describes it.
 * @ret_tag: set to the tag, to be freed with tag_free(), or to NULL if the domain carries none
 * Returns: false with VIRTNEST_ERROR_TAG if there is a tag that is wrong; the message names the offending part.
 */
bool tag_parse(const DomainXml *xml, Tag **ret_tag, GError **error)
{
    const xmlNode *metadata = xml_child(domain_xml_root(xml), "metadata");
    g_autoptr(Tag) tag = NULL;

    for (const xmlNode *child = metadata != NULL ? metadata->children : NULL; child != NULL; child = child->next) {
        if (child->type != XML_ELEMENT_NODE || !xml_has_namespace(child, VIRTNEST_TAG_NAMESPACE))
            continue;
        if (tag != NULL) {
            g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_TAG, "there are two nesting tags; keep one");
            return false;
        }
        if (!tag_parse_element(child, &tag, error))
            return false;
    }
    *ret_tag = g_steal_pointer(&tag);
    return true;
}
