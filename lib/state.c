/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The state element, in the metadata of each definition that virtnest rewrote:
 *
 *   <virtnest:state xmlns:virtnest="urn:virtnest:state:1" version="1" policy="default">
 *     <virtnest:previous>&lt;cpu ...</virtnest:previous>
 *     <virtnest:applied>&lt;cpu ...</virtnest:applied>
 *     <virtnest:enlightenment name="evmcs" previous="" applied="&lt;evmcs state='on'/&gt;"/>
 *   </virtnest:state>
 *
 * It travels with the definition to any host, and there is no database that could disagree with it. Both CPUs are
 * escaped text, since libvirt indents the elements of metadata anew but leaves text alone.
 */

#include "lib/state.h"

#include "lib/error.h"
#include <string.h>

#define STATE_VERSION "1"
/* Of the attribute "chosen"; without it a tag chose the policy. */
#define CHOSEN_BY_MATCH "match"
#define ENLIGHTENMENT "enlightenment"

State *state_free(State *state)
{
    if (state == NULL)
        return NULL;
    g_free(state->policy);
    g_free(state->container);
    cpu_free(state->previous);
    cpu_free(state->applied);
    hyperv_record_clear(&state->hyperv);
    g_free(state);
    return NULL;
}

static Cpu *state_parse_cpu(const xmlNode *node, const char *name, GError **error)
{
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type != XML_ELEMENT_NODE || !xml_has_namespace(child, VIRTNEST_STATE_NAMESPACE) ||
            !xmlStrEqual(child->name, BAD_CAST name))
            continue;
        g_autofree char *text = xml_text(child);
        Cpu *cpu = cpu_from_text(text, error);
        if (cpu == NULL)
            g_prefix_error(error, "in the <%s> CPU: ", name);
        return cpu;
    }
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_STATE, "its <%s> is missing", name);
    return NULL;
}

/* It is put into the document as it is, so it must be that one element, or nothing. */
static bool is_enlightenment(const char *text, const char *element)
{
    if (text == NULL || *text == '\0')
        return text != NULL;
    g_autoptr(xmlDoc) doc = xml_parse_fragment(text, NULL);
    return doc != NULL && xml_is_element(xmlDocGetRootElement(doc), element);
}

static bool state_parse_enlightenment(State *state, const xmlNode *node, GError **error)
{
    g_autofree char *name = xml_attribute(node, "name");

    for (int i = 0; i < HYPERV_N; i++) {
        const char *element = hyperv_element((HypervEnlightenment)i);
        if (g_strcmp0(name, element) != 0)
            continue;
        g_autofree char *previous = xml_attribute(node, "previous"), *applied = xml_attribute(node, "applied");
        if (state->hyperv.applied[i] != NULL || !is_enlightenment(previous, element) ||
            !is_enlightenment(applied, element) || *applied == '\0')
            break;
        state->hyperv.previous[i] = g_steal_pointer(&previous);
        state->hyperv.applied[i] = g_steal_pointer(&applied);
        return true;
    }
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_STATE, "its <enlightenment> '%s' cannot be read",
                name != NULL ? name : "");
    return false;
}

static bool state_parse_hyperv(State *state, const xmlNode *node, GError **error)
{
    for (const xmlNode *child = node->children; child != NULL; child = child->next)
        if (child->type == XML_ELEMENT_NODE && xml_has_namespace(child, VIRTNEST_STATE_NAMESPACE) &&
            xmlStrEqual(child->name, BAD_CAST ENLIGHTENMENT) && !state_parse_enlightenment(state, child, error))
            return false;
    return true;
}

static bool state_check_alone(const xmlNode *node, GError **error)
{
    for (const xmlNode *other = node->next; other != NULL; other = other->next)
        if (other->type == XML_ELEMENT_NODE && xml_has_namespace(other, VIRTNEST_STATE_NAMESPACE)) {
            g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_STATE, "there are two such elements");
            return false;
        }
    return true;
}

/* It is put into the document as it is: only an empty <metadata>, or none, may come of that. */
static bool state_check_container(const char *container, GError **error)
{
    if (container == NULL || *container == '\0')
        return true;
    g_autoptr(xmlDoc) doc = xml_parse_fragment(container, NULL);
    const xmlNode *root = doc != NULL ? xmlDocGetRootElement(doc) : NULL;
    if (root != NULL && xml_is_element(root, "metadata") && root->children == NULL)
        return true;
    g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_STATE, "its container is not an empty <metadata>");
    return false;
}

/**
 * Reads the state element out of a persistent definition.
 * @ret_state: to be freed with state_free(), valid no longer than @xml; NULL if there is none
 * Returns: false with VIRTNEST_ERROR_STATE if somebody damaged it or a newer virtnest wrote it.
 */
bool state_parse(const DomainXml *xml, State **ret_state, GError **error)
{
    xmlNode *node = domain_xml_metadata(xml, VIRTNEST_STATE_NAMESPACE, NULL);
    g_autoptr(State) state = NULL;
    g_autoptr(GError) cause = NULL;

    if (node == NULL) {
        *ret_state = NULL;
        return true;
    }
    g_autofree char *version = xml_attribute(node, "version");
    if (!xmlStrEqual(node->name, BAD_CAST VIRTNEST_STATE_ELEMENT) || g_strcmp0(version, STATE_VERSION) != 0) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_STATE,
                    "the <%s> that virtnest keeps in the metadata has version '%s', this virtnest knows " STATE_VERSION
                    "; update virtnest",
                    (const char *)node->name, version != NULL ? version : "");
        return false;
    }
    state = g_new0(State, 1);
    state->node = node;
    state->policy = xml_attribute(node, "policy");
    state->container = xml_attribute(node, "container");
    g_autofree char *chosen = xml_attribute(node, "chosen");
    state->matched = g_strcmp0(chosen, CHOSEN_BY_MATCH) == 0;
    if (state_check_alone(node, &cause) && state_check_container(state->container, &cause))
        state->previous = state_parse_cpu(node, "previous", &cause);
    if (state->previous != NULL)
        state->applied = state_parse_cpu(node, "applied", &cause);
    if (state->applied != NULL)
        (void)state_parse_hyperv(state, node, &cause);
    if (cause != NULL) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_STATE,
                    "the <state> that virtnest keeps in the metadata is damaged: %s; the CPU of before cannot be told. "
                    "Set <cpu> as you want it and remove the element: virsh metadata DOMAIN %s --remove --config",
                    cause->message, VIRTNEST_STATE_NAMESPACE);
        return false;
    }
    *ret_state = g_steal_pointer(&state);
    return true;
}

static char *escape(const char *text)
{
    /* Unlike g_markup_escape_text() it keeps a carriage return, as a character reference. */
    g_autoptr(xmlString) escaped = (char *)xmlEncodeSpecialChars(NULL, BAD_CAST text);
    return g_strdup(escaped);
}

/* White space of an attribute but blanks must be references, or reading makes blanks of it. */
static char *escape_attribute(const char *text)
{
    g_autofree char *escaped = escape(text);
    GString *out = g_string_new(escaped);

    g_string_replace(out, "\n", "&#10;", 0);
    g_string_replace(out, "\t", "&#9;", 0);
    return g_string_free(out, FALSE);
}

static char *state_format(const StateContent *content, const char *container, const char *indent)
{
    GString *out = g_string_new(NULL);
    g_autofree char *old_cpu = escape(cpu_text(content->previous)), *new_cpu = escape(cpu_text(content->applied));

    g_string_append_printf(out, "<virtnest:state xmlns:virtnest=\"%s\" version=\"%s\" policy=\"%s\"",
                           VIRTNEST_STATE_NAMESPACE, STATE_VERSION, content->policy);
    if (content->matched)
        g_string_append(out, " chosen=\"" CHOSEN_BY_MATCH "\"");
    if (container != NULL) {
        g_autofree char *escaped = escape_attribute(container);
        g_string_append_printf(out, " container=\"%s\"", escaped);
    }
    g_string_append_printf(out, ">%s  <virtnest:previous>%s</virtnest:previous>", indent, old_cpu);
    g_string_append_printf(out, "%s  <virtnest:applied>%s</virtnest:applied>", indent, new_cpu);
    for (int i = 0; content->hyperv != NULL && i < HYPERV_N; i++) {
        if (content->hyperv->applied[i] == NULL)
            continue;
        g_autofree char *before = escape_attribute(content->hyperv->previous[i]);
        g_autofree char *after = escape_attribute(content->hyperv->applied[i]);
        g_string_append_printf(out, "%s  <virtnest:" ENLIGHTENMENT " name=\"%s\" previous=\"%s\" applied=\"%s\"/>",
                               indent, hyperv_element((HypervEnlightenment)i), before, after);
    }
    g_string_append_printf(out, "%s</virtnest:state>", indent);
    return g_string_free(out, FALSE);
}

static xmlNode *last_element(const xmlNode *node)
{
    xmlNode *found = NULL;

    for (xmlNode *child = node->children; child != NULL; child = child->next)
        if (child->type == XML_ELEMENT_NODE)
            found = child;
    return found;
}

/* Behind the last of these that the domain has, which is where libvirt writes <metadata>; else first of all. */
static gsize metadata_place(const DomainXml *xml, char **ret_indent)
{
    static const char *const before[] = {"description", "title", "genid", "uuid", "name"};
    xmlNode *root = domain_xml_root(xml);

    for (gsize i = 0; i < G_N_ELEMENTS(before); i++) {
        xmlNode *anchor = xml_child(root, before[i]);
        if (anchor != NULL) {
            XmlSpan span = domain_xml_span(xml, anchor);
            *ret_indent = domain_xml_indent(xml, span);
            return span.end;
        }
    }
    *ret_indent = g_strdup("\n  ");
    return domain_xml_content_start(xml, root);
}

/**
 * Makes the edit that puts a state element into a definition, in place of @old if there was one.
 * @old: as state_parse() found it in @xml, or NULL
 * Returns: an edit whose text is to be freed with g_free().
 */
XmlEdit state_edit_write(const DomainXml *xml, const State *old, const StateContent *content)
{
    xmlNode *metadata = xml_child(domain_xml_root(xml), "metadata");
    g_autofree char *indent = NULL, *element = NULL;
    XmlEdit edit = {0};

    if (old != NULL) {
        edit.span = domain_xml_span(xml, old->node);
        indent = domain_xml_indent(xml, edit.span);
        edit.text = state_format(content, old->container, indent);
        return edit;
    }
    if (metadata == NULL) {
        edit.span.start = edit.span.end = metadata_place(xml, &indent);
        g_autofree char *inner = g_strconcat(indent, "  ", NULL);
        element = state_format(content, "", inner);
        edit.text = g_strconcat(indent, "<metadata>", inner, element, indent, "</metadata>", NULL);
        return edit;
    }
    edit.span = domain_xml_span(xml, metadata);
    gsize inside = domain_xml_content_start(xml, metadata);
    indent = domain_xml_indent(xml, edit.span);
    if (inside == edit.span.end) {
        g_autofree char *inner = g_strconcat(indent, "  ", NULL);
        g_autofree char *container = g_strndup(domain_xml_text(xml) + edit.span.start, edit.span.end - edit.span.start);
        element = state_format(content, container, inner);
        edit.text = g_strconcat("<metadata>", inner, element, indent, "</metadata>", NULL);
        return edit;
    }
    const xmlNode *last = last_element(metadata);
    g_autofree char *inner =
        last != NULL ? domain_xml_indent(xml, domain_xml_span(xml, last)) : g_strconcat(indent, "  ", NULL);
    element = state_format(content, NULL, inner);
    edit.text = g_strconcat(inner, element, NULL);
    edit.span.start = edit.span.end = last != NULL ? domain_xml_span(xml, last).end : inside;
    return edit;
}

/**
 * Makes the edit that takes the state element out again, and <metadata> too if it was made for it.
 * @state: as state_parse() found it in @xml
 */
XmlEdit state_edit_remove(const DomainXml *xml, const State *state)
{
    xmlNode *metadata = xml_child(domain_xml_root(xml), "metadata");
    XmlEdit edit = {0};
    bool alone = true;

    for (const xmlNode *child = metadata->children; child != NULL; child = child->next)
        if (child != state->node && !xmlIsBlankNode(child))
            alone = false;

    if (state->container == NULL || !alone) {
        edit.span = domain_xml_span_with_indent(xml, domain_xml_span(xml, state->node));
        edit.text = g_strdup("");
        return edit;
    }
    edit.span = domain_xml_span(xml, metadata);
    if (*state->container == '\0')
        edit.span = domain_xml_span_with_indent(xml, edit.span);
    edit.text = g_strdup(state->container);
    return edit;
}
