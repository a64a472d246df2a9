/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A domain's <cpu>, compared by meaning.
 *
 * The element is taken apart into items, each a key and a canonical value:
 *
 *   selection      mode, match, check, migratable, the model and its vendor, and any attribute that a later libvirt adds.
 *                  One item, because these only make sense together: a model that belongs to AMD must not be joined
 *                  with a vendor or a match that was meant for another.
 *   feature NAME   its policy
 *   element NAME   topology, numa, cache, maxphysaddr, and whatever a later libvirt adds
 *
 * Two <cpu> are equal if their items are. A three-way merge goes item by item. What libvirt fills in by itself when it
 * parses a definition (src/conf/cpu_conf.c, and qemuDomainDefCPUPostParse in src/qemu/qemu_domain.c) is taken as if it
 * had been written, so that a definition and its libvirt form are equal; observed on libvirt 9.0 and 11.3.
 */

#include "lib/cpu.h"

#include "lib/error.h"
#include <string.h>

#define KEY_SELECTION "selection"
#define KEY_FEATURE "feature "
#define KEY_ELEMENT "element "

typedef struct CpuItem {
    GString *value;
    GPtrArray *nodes; /* the elements that make this item */
} CpuItem;

struct Cpu {
    xmlDoc *doc;   /* NULL: the node is somebody else's */
    xmlNode *node; /* NULL: there is no <cpu> */
    char *text;    /* the bytes as they were given or written; "" if there is no <cpu> */
    char *mode;
    char *model;
    GHashTable *items; /* key -> CpuItem */
};

const char *const cpu_mode_names[] = {
    [CPU_MODE_HOST_MODEL] = "host-model",
    [CPU_MODE_HOST_PASSTHROUGH] = "host-passthrough",
    [CPU_MODE_CUSTOM] = "custom",
    [CPU_MODE_KEEP] = "keep",
    NULL,
};

const char *cpu_mode_to_string(CpuMode mode)
{
    return cpu_mode_names[mode];
}

/** Frees what a policy holds, not the policy itself. */
void cpu_policy_clear(CpuPolicy *policy)
{
    g_clear_pointer(&policy->model, g_free);
    g_clear_pointer(&policy->fallback, g_free);
    g_clear_pointer(&policy->check, g_free);
    g_clear_pointer(&policy->migratable, g_free);
    g_clear_pointer(&policy->require, g_strfreev);
    g_clear_pointer(&policy->disable, g_strfreev);
    g_clear_pointer(&policy->optional, g_strfreev);
}

/** As the featureName of libvirt's schema (cputypes.rng). Whether libvirt knows the feature is libvirt's to say. */
bool cpu_feature_name_is_valid(const char *name)
{
    if (*name == '\0')
        return false;
    for (; *name != '\0'; name++)
        if (!g_ascii_isalnum(*name) && strchr("-_.", *name) == NULL)
            return false;
    return true;
}

/**
 * As in libvirt's CPU map (FT-2000+, "ThunderX2 99xx"). Whatever else UTF-8 has, such as a control character, may be
 * nothing that XML can hold.
 */
bool cpu_model_name_is_valid(const char *name)
{
    if (*name == '\0')
        return false;
    for (; *name != '\0'; name++)
        if (!g_ascii_isalnum(*name) && strchr("-_.+ ", *name) == NULL)
            return false;
    return true;
}

static CpuItem *cpu_item_free(CpuItem *item)
{
    if (item == NULL)
        return NULL;
    g_string_free(item->value, TRUE);
    g_ptr_array_unref(item->nodes);
    g_free(item);
    return NULL;
}

static void cpu_item_destroy(gpointer item)
{
    cpu_item_free(item);
}

static CpuItem *cpu_item(Cpu *cpu, const char *kind, const char *name)
{
    g_autofree char *key = g_strconcat(kind, name, NULL);
    CpuItem *item = g_hash_table_lookup(cpu->items, key);

    if (item == NULL) {
        item = g_new0(CpuItem, 1);
        item->value = g_string_new(NULL);
        item->nodes = g_ptr_array_new();
        g_hash_table_insert(cpu->items, g_steal_pointer(&key), item);
    }
    return item;
}

static const char *cpu_item_value(const Cpu *cpu, const char *key)
{
    const CpuItem *item = g_hash_table_lookup(cpu->items, key);

    return item != NULL ? item->value->str : NULL;
}

static int compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void append_pair(GString *out, const char *name, const char *value)
{
    g_autofree char *escaped = g_markup_escape_text(value, -1);

    g_string_append_printf(out, " %s=\"%s\"", name, escaped);
}

static char *qualified_name(const xmlNode *node)
{
    if (node->ns != NULL && node->ns->prefix != NULL)
        return g_strdup_printf("%s:%s", node->ns->prefix, node->name);
    return g_strdup((const char *)node->name);
}

/* libvirt adds these to a topology that has none (dies since 5.2, clusters since 10.0). */
static void append_element_defaults(GString *out, const xmlNode *node)
{
    if (!xml_is_element(node, "topology"))
        return;
    if (xmlHasProp((xmlNode *)node, BAD_CAST "dies") == NULL)
        g_string_append(out, " dies=\"1\"");
    if (xmlHasProp((xmlNode *)node, BAD_CAST "clusters") == NULL)
        g_string_append(out, " clusters=\"1\"");
}

/* An element with its attributes sorted and without indentation, so that layout makes no difference. */
static void append_canonical(GString *out, const xmlNode *node)
{
    g_autoptr(GPtrArray) attributes = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *name = qualified_name(node);
    GString *pairs = g_string_new(NULL);

    for (const xmlAttr *attribute = node->properties; attribute != NULL; attribute = attribute->next) {
        g_autoptr(xmlString) value = (char *)xmlNodeListGetString(node->doc, attribute->children, 1);
        g_string_truncate(pairs, 0);
        append_pair(pairs, (const char *)attribute->name, value != NULL ? value : "");
        g_ptr_array_add(attributes, g_strdup(pairs->str));
    }
    g_string_truncate(pairs, 0);
    append_element_defaults(pairs, node);
    g_auto(GStrv) defaults = g_strsplit(pairs->str, " ", 0);
    for (gsize i = 0; defaults[i] != NULL; i++)
        if (*defaults[i] != '\0')
            g_ptr_array_add(attributes, g_strconcat(" ", defaults[i], NULL));
    g_string_free(pairs, TRUE);
    g_ptr_array_sort(attributes, compare_strings);

    g_string_append_printf(out, "<%s", name);
    for (guint i = 0; i < attributes->len; i++)
        g_string_append(out, attributes->pdata[i]);
    g_string_append_c(out, '>');
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type == XML_ELEMENT_NODE)
            append_canonical(out, child);
        else if ((child->type == XML_TEXT_NODE || child->type == XML_CDATA_SECTION_NODE) && !xmlIsBlankNode(child)) {
            g_autofree char *text = g_strstrip(g_strdup((const char *)child->content));
            g_autofree char *escaped = g_markup_escape_text(text, -1);
            g_string_append(out, escaped);
        }
    }
    g_string_append_printf(out, "</%s>", name);
}

static bool is_selection_element(const xmlNode *node)
{
    return xml_is_element(node, "model") || xml_is_element(node, "vendor");
}

/* Attributes of <cpu> that carry their mode's default are left out of the canonical value, as if unwritten. */
static bool selection_attribute_counts(const char *mode, const char *name, const char *value)
{
    bool custom = strcmp(mode, "custom") == 0;

    if (strcmp(name, "mode") == 0)
        return false;
    if (strcmp(name, "match") == 0)
        return custom && strcmp(value, "exact") != 0;
    if (strcmp(name, "check") == 0)
        return strcmp(value, custom ? "" : strcmp(mode, "host-model") == 0 ? "partial" : "none") != 0;
    if (strcmp(name, "migratable") == 0)
        return strcmp(value, "on") != 0;
    return true;
}

static void cpu_read_selection(Cpu *cpu)
{
    CpuItem *item = cpu_item(cpu, KEY_SELECTION, "");
    g_autoptr(GPtrArray) pairs = g_ptr_array_new_with_free_func(g_free);
    const xmlNode *model = xml_child(cpu->node, "model");
    bool custom;

    cpu->mode = xml_attribute(cpu->node, "mode");
    if (cpu->mode == NULL)
        cpu->mode = g_strdup("custom");
    custom = strcmp(cpu->mode, "custom") == 0;
    cpu->model = custom ? g_strstrip(xml_text(model)) : g_strdup("");

    for (const xmlAttr *attribute = cpu->node->properties; attribute != NULL; attribute = attribute->next) {
        g_autoptr(xmlString) value = (char *)xmlNodeListGetString(attribute->doc, attribute->children, 1);
        const char *name = (const char *)attribute->name, *text = value != NULL ? value : "";
        if (selection_attribute_counts(cpu->mode, name, text)) {
            g_autoptr(GString) pair = NULL;
            pair = g_string_new(NULL);
            append_pair(pair, name, text);
            g_ptr_array_add(pairs, g_string_free(g_steal_pointer(&pair), FALSE));
        }
    }
    g_ptr_array_sort(pairs, compare_strings);

    append_pair(item->value, "mode", cpu->mode);
    for (guint i = 0; i < pairs->len; i++)
        g_string_append(item->value, pairs->pdata[i]);
    append_pair(item->value, "model", cpu->model);
    /* Outside of custom mode libvirt 9 drops the fallback and older ones write it; it has no effect there. */
    g_autofree char *fallback = custom ? xml_attribute(model, "fallback") : NULL;
    if (fallback != NULL && strcmp(fallback, "allow") != 0)
        append_pair(item->value, "fallback", fallback);
    g_autofree char *vendor_id = xml_attribute(model, "vendor_id");
    if (vendor_id != NULL)
        append_pair(item->value, "vendor_id", vendor_id);
    if (custom && xml_child(cpu->node, "vendor") != NULL) {
        g_autofree char *vendor = g_strstrip(xml_text(xml_child(cpu->node, "vendor")));
        append_pair(item->value, "vendor", vendor);
    }
}

static bool cpu_read_feature(Cpu *cpu, xmlNode *node, GError **error)
{
    g_autofree char *name = xml_attribute(node, "name");
    g_autofree char *policy = xml_attribute(node, "policy");

    if (name == NULL || *name == '\0') {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "<cpu> has a <feature> without a name");
        return false;
    }
    CpuItem *item = cpu_item(cpu, KEY_FEATURE, name);
    if (item->nodes->len > 0) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "<cpu> names the feature '%s' twice", name);
        return false;
    }
    g_string_assign(item->value, policy != NULL ? policy : "require");
    g_ptr_array_add(item->nodes, node);
    return true;
}

static bool cpu_read_items(Cpu *cpu, GError **error)
{
    cpu_read_selection(cpu);
    for (xmlNode *child = cpu->node->children; child != NULL; child = child->next) {
        if (child->type != XML_ELEMENT_NODE)
            continue;
        if (is_selection_element(child)) {
            g_ptr_array_add(cpu_item(cpu, KEY_SELECTION, "")->nodes, child);
        } else if (xml_is_element(child, "feature")) {
            if (!cpu_read_feature(cpu, child, error))
                return false;
        } else {
            g_autofree char *name = qualified_name(child);
            CpuItem *item = cpu_item(cpu, KEY_ELEMENT, name);
            append_canonical(item->value, child);
            g_ptr_array_add(item->nodes, child);
        }
    }
    return true;
}

/* Takes the document, if the node has one of its own. @text NULL: the text is what libxml2 makes of the tree. */
static Cpu *cpu_new(xmlDoc *doc, xmlNode *node, char *text, GError **error)
{
    g_autoptr(Cpu) cpu = g_new0(Cpu, 1);

    cpu->doc = doc;
    cpu->node = node;
    cpu->text = text;
    cpu->items = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, cpu_item_destroy);
    if (cpu->node == NULL) {
        g_free(cpu->text);
        cpu->text = g_strdup("");
        cpu->mode = g_strdup("");
        cpu->model = g_strdup("");
        return g_steal_pointer(&cpu);
    }
    if (!xml_is_element(cpu->node, "cpu")) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "expected a <cpu>, found <%s>",
                    (const char *)cpu->node->name);
        return NULL;
    }
    if (!cpu_read_items(cpu, error))
        return NULL;
    if (text == NULL) {
        g_autoptr(xmlBuffer) buffer = xmlBufferCreate();
        xmlNodeDump(buffer, node->doc, node, 0, 0);
        cpu->text = g_strdup((const char *)xmlBufferContent(buffer));
    }
    return g_steal_pointer(&cpu);
}

/**
 * Reads the <cpu> of a domain's document.
 * Returns: to be freed with cpu_free() before @xml is, or NULL with VIRTNEST_ERROR_XML.
 */
Cpu *cpu_from_domain(const DomainXml *xml, GError **error)
{
    xmlNode *node = xml_child(domain_xml_root(xml), "cpu");

    if (node == NULL)
        return cpu_new(NULL, NULL, NULL, error);
    XmlSpan span = domain_xml_span(xml, node);
    return cpu_new(NULL, node, g_strndup(domain_xml_text(xml) + span.start, span.end - span.start), error);
}

/**
 * Reads a <cpu> from its text, which cpu_text() gives back byte for byte.
 * @text: "" for a domain that has no <cpu>
 * Returns: to be freed with cpu_free(), or NULL with VIRTNEST_ERROR_XML.
 */
Cpu *cpu_from_text(const char *text, GError **error)
{
    if (*text == '\0')
        return cpu_new(NULL, NULL, NULL, error);
    xmlDoc *doc = xml_parse_fragment(text, error);
    return doc != NULL ? cpu_new(doc, xmlDocGetRootElement(doc), g_strdup(text), error) : NULL;
}

/** Returns: the same <cpu>, which needs nothing else to live; to be freed with cpu_free(). */
Cpu *cpu_copy(const Cpu *cpu, GError **error)
{
    return cpu_from_text(cpu->text, error);
}

/* A tree of its own that may be changed, with nothing but @node in it; NULL: an empty <cpu>. */
static xmlDoc *cpu_tree(const xmlNode *node)
{
    xmlDoc *doc = xmlNewDoc(BAD_CAST "1.0");

    xmlDocSetRootElement(doc, node != NULL ? xmlDocCopyNode((xmlNode *)node, doc, 1)
                                           : xmlNewDocNode(doc, NULL, BAD_CAST "cpu", NULL));
    return doc;
}

Cpu *cpu_free(Cpu *cpu)
{
    if (cpu == NULL)
        return NULL;
    g_clear_pointer(&cpu->items, g_hash_table_unref);
    g_clear_pointer(&cpu->doc, xmlFreeDoc);
    g_free(cpu->text);
    g_free(cpu->mode);
    g_free(cpu->model);
    g_free(cpu);
    return NULL;
}

static bool cpu_items_within(const Cpu *a, const Cpu *b)
{
    GHashTableIter iter;
    gpointer key, value;

    g_hash_table_iter_init(&iter, a->items);
    while (g_hash_table_iter_next(&iter, &key, &value))
        if (g_strcmp0(((CpuItem *)value)->value->str, cpu_item_value(b, key)) != 0)
            return false;
    return true;
}

/** Do both mean the same CPU to libvirt, however they are written? */
bool cpu_equal(const Cpu *a, const Cpu *b)
{
    return g_hash_table_size(a->items) == g_hash_table_size(b->items) && cpu_items_within(a, b);
}

/** Returns: the element's text, owned by @cpu; "" if there is none. */
const char *cpu_text(const Cpu *cpu)
{
    return cpu->text;
}

/** Returns: the mode, owned by @cpu; "" if there is no <cpu>. libvirt's default for a <cpu> without one is custom. */
const char *cpu_mode(const Cpu *cpu)
{
    return cpu->mode;
}

/** Returns: the named model of a custom <cpu>, owned by @cpu; "" if there is none. */
const char *cpu_model(const Cpu *cpu)
{
    return cpu->model;
}

/** Returns: what the <cpu> says of a feature: "require", "disable" and so on; NULL if it does not mention it. */
const char *cpu_feature_policy(const Cpu *cpu, const char *feature)
{
    g_autofree char *key = g_strconcat(KEY_FEATURE, feature, NULL);

    return cpu_item_value(cpu, key);
}

/* The white space before a <cpu>'s children: that of its first child, or libvirt's own. */
static char *child_indent(const xmlNode *cpu)
{
    for (const xmlNode *child = cpu->children; child != NULL; child = child->next)
        if (child->type == XML_ELEMENT_NODE) {
            if (child->prev != NULL && xmlIsBlankNode(child->prev))
                return g_strdup((const char *)child->prev->content);
            return g_strdup("");
        }
    return g_strdup("\n    ");
}

static void child_append(xmlNode *cpu, xmlNode *child)
{
    g_autofree char *indent = child_indent(cpu);
    g_autofree char *tail = NULL;

    /* The white space before </cpu> moves behind the new child. */
    if (cpu->children == NULL) {
        tail = g_strdup("\n  ");
    } else if (xmlIsBlankNode(cpu->last)) {
        xmlNode *blank = cpu->last;
        tail = g_strdup((const char *)blank->content);
        xmlUnlinkNode(blank);
        xmlFreeNode(blank);
    }
    if (*indent != '\0')
        xmlAddChild(cpu, xmlNewDocText(cpu->doc, BAD_CAST indent));
    xmlAddChild(cpu, child);
    if (tail != NULL)
        xmlAddChild(cpu, xmlNewDocText(cpu->doc, BAD_CAST tail));
}

static void child_remove(xmlNode *child)
{
    xmlNode *before = child->prev;

    if (before != NULL && xmlIsBlankNode(before)) {
        xmlUnlinkNode(before);
        xmlFreeNode(before);
    }
    xmlUnlinkNode(child);
    xmlFreeNode(child);
}

static void remove_selection(xmlNode *cpu)
{
    while (cpu->properties != NULL)
        xmlRemoveProp(cpu->properties);
    for (xmlNode *child = cpu->children, *next; child != NULL; child = next) {
        next = child->next;
        if (is_selection_element(child))
            child_remove(child);
    }
}

static xmlNode *feature_find(const xmlNode *cpu, const char *feature)
{
    for (xmlNode *child = cpu->children; child != NULL; child = child->next) {
        if (!xml_is_element(child, "feature"))
            continue;
        g_autofree char *name = xml_attribute(child, "name");
        if (g_strcmp0(name, feature) == 0)
            return child;
    }
    return NULL;
}

/* Puts an item into @cpu as @from has it: its nodes replaced, added or, where @from has none, removed. */
static void item_transplant(xmlNode *cpu, const Cpu *from, const char *key)
{
    const CpuItem *item = g_hash_table_lookup(from->items, key);

    if (strcmp(key, KEY_SELECTION) == 0) {
        remove_selection(cpu);
        for (const xmlAttr *a = from->node != NULL ? from->node->properties : NULL; a != NULL; a = a->next) {
            g_autoptr(xmlString) value = (char *)xmlNodeListGetString(a->doc, a->children, 1);
            xmlNewProp(cpu, a->name, BAD_CAST(value != NULL ? value : ""));
        }
    } else if (g_str_has_prefix(key, KEY_FEATURE)) {
        xmlNode *old = feature_find(cpu, key + strlen(KEY_FEATURE));
        if (old != NULL)
            child_remove(old);
    } else {
        const char *name = key + strlen(KEY_ELEMENT);
        for (xmlNode *child = cpu->children, *next; child != NULL; child = next) {
            next = child->next;
            if (child->type != XML_ELEMENT_NODE)
                continue;
            g_autofree char *child_name = qualified_name(child);
            if (strcmp(child_name, name) == 0)
                child_remove(child);
        }
    }
    for (guint i = 0; item != NULL && i < item->nodes->len; i++)
        child_append(cpu, xmlDocCopyNode(item->nodes->pdata[i], cpu->doc, 1));
}

static bool has_feature_items(const Cpu *cpu)
{
    GHashTableIter iter;
    gpointer key;

    g_hash_table_iter_init(&iter, cpu->items);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        if (g_str_has_prefix(key, KEY_FEATURE))
            return true;
    return false;
}

/* Is it a <cpu> that says nothing? To libvirt that is the same as none at all. */
static bool is_empty(const Cpu *cpu)
{
    const CpuItem *selection = g_hash_table_lookup(cpu->items, KEY_SELECTION);

    return g_hash_table_size(cpu->items) == 1 && selection->nodes->len == 0 && cpu->node->properties == NULL;
}

static char *conflict_text(const Cpu *previous, const Cpu *current, const char *key)
{
    const char *was = cpu_item_value(previous, key), *is = cpu_item_value(current, key);
    g_autofree char *name = g_strdup(strcmp(key, KEY_SELECTION) == 0 ? "mode and model" : key);

    return g_strdup_printf("%s: was [%s] before virtnest, edited since to [%s]; the edit stays", name,
                           was != NULL ? was : "none", is != NULL ? is : "none");
}

/**
 * Computes the <cpu> that a domain would have without virtnest: a three-way merge in which what still is as virtnest
 * wrote it goes back to what was there, and what somebody edited since stays.
 * @previous: what was there; if nobody edited anything it is the result, byte for byte
 * @applied: what virtnest wrote
 * @current: what is there now
 * @conflicts: (nullable) gets a text for each item that both virtnest and somebody else changed; the edit won
 * Returns: to be freed with cpu_free(), or NULL with VIRTNEST_ERROR_XML.
 */
Cpu *cpu_merge(const Cpu *previous, const Cpu *applied, const Cpu *current, GPtrArray *conflicts, GError **error)
{
    g_autoptr(GHashTable) keys = g_hash_table_new(g_str_hash, g_str_equal);
    const Cpu *const sources[] = {applied, previous, current};
    g_autoptr(GPtrArray) restored = g_ptr_array_new();
    GHashTableIter iter;
    gpointer key;

    if (cpu_equal(current, applied) || cpu_equal(current, previous))
        return cpu_copy(previous, error);

    for (gsize i = 0; i < G_N_ELEMENTS(sources); i++) {
        g_hash_table_iter_init(&iter, sources[i]->items);
        while (g_hash_table_iter_next(&iter, &key, NULL))
            g_hash_table_add(keys, key);
    }
    g_autoptr(GList) sorted = g_list_sort(g_hash_table_get_keys(keys), (GCompareFunc)strcmp);
    for (GList *l = sorted; l != NULL; l = l->next) {
        const char *was = cpu_item_value(previous, l->data), *ours = cpu_item_value(applied, l->data),
                   *is = cpu_item_value(current, l->data);
        if (g_strcmp0(is, was) == 0)
            continue;
        if (g_strcmp0(is, ours) == 0)
            g_ptr_array_add(restored, l->data);
        else if (g_strcmp0(was, ours) != 0 && conflicts != NULL)
            g_ptr_array_add(conflicts, conflict_text(previous, current, l->data));
    }

    /* The whole element was removed since; nothing is left to put items into, and a removal is an edit that stays. */
    if (current->node == NULL)
        return cpu_copy(current, error);

    xmlDoc *doc = cpu_tree(current->node);
    xmlNode *node = xmlDocGetRootElement(doc);
    for (guint i = 0; i < restored->len; i++)
        item_transplant(node, previous, restored->pdata[i]);
    g_autoptr(Cpu) merged = cpu_new(doc, node, NULL, error);
    if (merged == NULL)
        return NULL;

    /* There was no model before, but features were added since: libvirt refuses features without a model, so ours stays. */
    if (strcmp(merged->mode, "custom") == 0 && *merged->model == '\0' && has_feature_items(merged)) {
        if (conflicts != NULL)
            g_ptr_array_add(conflicts,
                            g_strdup("mode and model: features were added since to a <cpu> that had no model "
                                     "before virtnest; its mode stays as virtnest wrote it"));
        item_transplant(merged->node, current, KEY_SELECTION);
        return cpu_new(g_steal_pointer(&merged->doc), merged->node, NULL, error);
    }
    if (cpu_equal(merged, previous) || (previous->node == NULL && is_empty(merged)))
        return cpu_copy(previous, error);
    return g_steal_pointer(&merged);
}

static void set_mode(xmlNode *cpu, const char *mode, const char *check, const char *model)
{
    remove_selection(cpu);
    xmlNewProp(cpu, BAD_CAST "mode", BAD_CAST mode);
    if (model != NULL)
        xmlNewProp(cpu, BAD_CAST "match", BAD_CAST "exact");
    xmlNewProp(cpu, BAD_CAST "check", BAD_CAST check);
    if (model != NULL) {
        xmlNode *element = xmlNewDocNode(cpu->doc, NULL, BAD_CAST "model", NULL);
        xmlNodeAddContent(element, BAD_CAST model);
        xmlNewProp(element, BAD_CAST "fallback", BAD_CAST "forbid");
        child_append(cpu, element);
    }
}

static bool apply_mode(xmlNode *node, const Cpu *base, const CpuPolicy *policy, GError **error)
{
    const char *mode = cpu_mode_to_string(policy->mode);
    bool same_mode = strcmp(base->mode, mode) == 0;
    g_autofree char *check = xml_attribute(node, "check");

    switch (policy->mode) {
    case CPU_MODE_KEEP:
        /* libvirt's answer to a feature without a model is an error that would be hard to read. */
        if (base->node == NULL || (strcmp(base->mode, "custom") == 0 && *base->model == '\0')) {
            g_set_error_literal(
                error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY,
                "the policy keeps the domain's own <cpu>, but that names no model which a feature could "
                "be added to; give it one with `virsh edit`, or use a host-model policy");
            return false;
        }
        return true;
    case CPU_MODE_HOST_PASSTHROUGH:
        if (!same_mode)
            set_mode(node, mode, "none", NULL);
        return true;
    case CPU_MODE_CUSTOM:
        if (!same_mode || g_strcmp0(base->model, policy->model) != 0)
            set_mode(node, mode, "partial", policy->model);
        break;
    case CPU_MODE_HOST_MODEL:
        if (!same_mode)
            set_mode(node, mode, "partial", NULL);
        break;
    }
    /* An admin who asks for another check knows what it does. */
    if (policy->check != NULL)
        return true;
    /* With check='none' libvirt starts a guest without a feature that it requires, and says nothing. Absent means
     * partial in host-model; in custom mode it means none for TCG. */
    if (same_mode && (g_strcmp0(check, "none") == 0 || (check == NULL && policy->mode == CPU_MODE_CUSTOM)))
        xmlSetProp(node, BAD_CAST "check", BAD_CAST "partial");
    return true;
}

/* What a policy says beside the mode and the features. */
static void apply_attributes(xmlNode *node, const CpuPolicy *policy)
{
    xmlNode *model = xml_child(node, "model");

    if (policy->check != NULL)
        xmlSetProp(node, BAD_CAST "check", BAD_CAST policy->check);
    if (policy->migratable != NULL)
        xmlSetProp(node, BAD_CAST "migratable", BAD_CAST policy->migratable);
    if (policy->fallback != NULL && model != NULL)
        xmlSetProp(model, BAD_CAST "fallback", BAD_CAST policy->fallback);
}

static void apply_feature(xmlNode *node, const char *feature, const char *policy)
{
    xmlNode *existing = feature_find(node, feature);

    if (existing != NULL) {
        xmlSetProp(existing, BAD_CAST "policy", BAD_CAST policy);
        return;
    }
    existing = xmlNewDocNode(node->doc, NULL, BAD_CAST "feature", NULL);
    xmlNewProp(existing, BAD_CAST "policy", BAD_CAST policy);
    xmlNewProp(existing, BAD_CAST "name", BAD_CAST feature);
    child_append(node, existing);
}

static void apply_features(xmlNode *node, const CpuPolicy *policy)
{
    const struct {
        char **features;
        const char *policy;
    } lists[] = {{policy->require, "require"}, {policy->disable, "disable"}, {policy->optional, "optional"}};

    for (gsize i = 0; i < G_N_ELEMENTS(lists); i++)
        for (gsize j = 0; lists[i].features != NULL && lists[i].features[j] != NULL; j++)
            apply_feature(node, lists[i].features[j], lists[i].policy);
}

/**
 * Computes the <cpu> that a policy wants. Topology, NUMA, cache, maxphysaddr, comments and all features but @feature
 * and those that the policy names stay as they are in @base.
 * @base: the domain's <cpu> without virtnest
 * @feature: vmx or svm: required explicitly, since a plain host-model or named model has none on AMD
 * Returns: to be freed with cpu_free(), or NULL with VIRTNEST_ERROR_POLICY or VIRTNEST_ERROR_XML.
 */
Cpu *cpu_apply_policy(const Cpu *base, const CpuPolicy *policy, const char *feature, GError **error)
{
    g_autoptr(xmlDoc) doc = cpu_tree(base->node);
    xmlNode *node = xmlDocGetRootElement(doc);

    if (!apply_mode(node, base, policy, error))
        return NULL;
    apply_attributes(node, policy);
    apply_features(node, policy);
    apply_feature(node, feature, "require");
    return cpu_new(g_steal_pointer(&doc), node, NULL, error);
}

static bool policy_exposes(const char *policy)
{
    return g_strcmp0(policy, "require") == 0 || g_strcmp0(policy, "force") == 0;
}

static bool live_has_feature(const Cpu *live, const char *key, const char *wanted)
{
    const char *have = cpu_item_value(live, key);

    if (policy_exposes(wanted))
        return policy_exposes(have);
    if (strcmp(wanted, "disable") == 0 || strcmp(wanted, "forbid") == 0)
        return !policy_exposes(have);
    return true;
}

/* With check='none' libvirt starts the guest with what of the features the host has; then the one must do. */
static bool live_has_features(const Cpu *live, const Cpu *wanted, const char *feature)
{
    g_autofree char *check = xml_attribute(wanted->node, "check");
    g_autofree char *nesting = g_strconcat(KEY_FEATURE, feature, NULL);
    GHashTableIter iter;
    gpointer key, value;

    g_hash_table_iter_init(&iter, wanted->items);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        if (!g_str_has_prefix(key, KEY_FEATURE))
            continue;
        if (g_strcmp0(check, "none") == 0 && strcmp(key, nesting) != 0)
            continue;
        if (!live_has_feature(live, key, ((CpuItem *)value)->value->str))
            return false;
    }
    return true;
}

/**
 * Tells from a running guest's <cpu> whether it was started with what the definition asks for now. libvirt shows a
 * live host-model as the custom model that it expanded to, with check='full' and every explicit feature listed;
 * host-passthrough, maximum and named models keep their looks.
 * @live: the running guest's
 * @wanted: the persistent definition's
 * @feature: vmx or svm
 */
CpuLive cpu_live_compare(const Cpu *live, const Cpu *wanted, const char *feature)
{
    if (!live_has_features(live, wanted, feature))
        return CPU_LIVE_STALE;
    if (strcmp(wanted->mode, "custom") == 0) {
        if (strcmp(live->mode, "custom") != 0)
            return CPU_LIVE_STALE;
        /* With match='minimum' the guest gets the host's model, and live it shows that. */
        g_autofree char *match = xml_attribute(wanted->node, "match");
        return g_strcmp0(match, "minimum") == 0 || strcmp(live->model, wanted->model) == 0 ? CPU_LIVE_CURRENT
                                                                                           : CPU_LIVE_STALE;
    }
    if (strcmp(live->mode, wanted->mode) == 0)
        return CPU_LIVE_CURRENT;
    if (strcmp(wanted->mode, "host-model") != 0 || strcmp(live->mode, "custom") != 0)
        return CPU_LIVE_STALE;
    /* A custom model: host-model expanded, or another that the guest was started with before. */
    return CPU_LIVE_AMBIGUOUS;
}

const char *cpu_exposure_to_string(CpuExposure exposure)
{
    static const char *const names[] = {
        [CPU_EXPOSURE_UNKNOWN] = "unknown",
        [CPU_EXPOSURE_NO] = "no",
        [CPU_EXPOSURE_YES] = "yes",
    };

    return names[exposure];
}

/**
 * Tells from a running guest's <cpu> whether vmx or svm is exposed to it. Once a guest has started, libvirt shows what
 * QEMU really gave it (qemuProcessUpdateLiveGuestCPU), whatever check= says: each feature that differs from the model is
 * listed. host-passthrough and maximum list only what differs from the host.
 *
 * libvirt's models of AMD processors have svm (src/cpu_map/x86_EPYC*.xml), so that one which does not mention it may have
 * it. Those of Intel do not have vmx.
 * @feature: vmx or svm; NULL if this host's CPU has neither
 * @host_has_it: this host gives it to guests that ask for it
 */
CpuExposure cpu_live_exposure(const Cpu *live, const char *feature, bool host_has_it)
{
    if (feature == NULL || live->node == NULL)
        return CPU_EXPOSURE_UNKNOWN;
    const char *policy = cpu_feature_policy(live, feature);
    if (g_strcmp0(policy, "disable") == 0 || g_strcmp0(policy, "forbid") == 0)
        return CPU_EXPOSURE_NO;
    if (g_strcmp0(policy, "require") == 0 || g_strcmp0(policy, "force") == 0)
        return CPU_EXPOSURE_YES;
    if (strcmp(live->mode, "host-passthrough") == 0 || strcmp(live->mode, "maximum") == 0)
        return host_has_it ? CPU_EXPOSURE_YES : CPU_EXPOSURE_NO;
    return policy == NULL && strcmp(feature, "vmx") == 0 ? CPU_EXPOSURE_NO : CPU_EXPOSURE_UNKNOWN;
}
