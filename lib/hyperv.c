/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The enlightenments of a domain's <features><hyperv> that matter to a Hyper-V inside of the guest.
 *
 *   base   = the element without virtnest: what is there, or, if that still means what virtnest wrote, what was there
 *            before
 *   wanted = base with the policy's wish, if the domain and its host can have it; otherwise base itself
 *
 * Elements are handled as text, so that what was there before comes back byte for byte, and compared by meaning, since
 * libvirt writes a definition's quotes, indentation and order anew. Nothing is invented: a domain without <hyperv> is
 * not made a Hyper-V guest, and what an enlightenment depends on is for the user to switch on.
 */

#include "lib/hyperv.h"

#include <string.h>

static const struct {
    const char *element;
    const char *name;
    unsigned long since; /* libvirt's docs/formatdomain.rst */
    const char *insert;  /* what is written where none is; on one line, so that it depends on nothing around it */
    /* What QEMU refuses to start without: the dependencies in kvm_hyperv_properties, target/i386/kvm/kvm.c. */
    const char *depends[3];
} enlightenments[HYPERV_N] = {
    [HYPERV_EVMCS] = {"evmcs", "evmcs", 4010000, "<evmcs state='on'/>", {"vapic"}},
    [HYPERV_EMSR_BITMAP] = {"emsr_bitmap", "emsr_bitmap", 10007000, "<emsr_bitmap state='on'/>", {NULL}},
    [HYPERV_TLBFLUSH_DIRECT] = {"tlbflush",
                                "tlbflush direct",
                                11000000,
                                "<tlbflush state='on'><direct state='on'/></tlbflush>",
                                {"vpindex", "vapic"}},
};

/* What planning needs at hand. */
typedef struct Planner {
    const DomainXml *xml;
    const HypervHost *host;
    const xmlNode *hyperv; /* NULL: there is none */
    const xmlNode *last;   /* the last element in it; NULL: there is none */
    GString *inserted;     /* what goes behind the last element */
    HypervPlan *plan;
} Planner;

/** Frees what a record holds, and makes it an empty one. */
void hyperv_record_clear(HypervRecord *record)
{
    for (gsize i = 0; i < HYPERV_N; i++) {
        g_clear_pointer(&record->previous[i], g_free);
        g_clear_pointer(&record->applied[i], g_free);
    }
}

bool hyperv_record_is_empty(const HypervRecord *record)
{
    for (gsize i = 0; i < HYPERV_N; i++)
        if (record->previous[i] != NULL || record->applied[i] != NULL)
            return false;
    return true;
}

/** Returns: the name of the element in <hyperv>. */
const char *hyperv_element(HypervEnlightenment which)
{
    return enlightenments[which].element;
}

/** Returns: the name for humans. */
const char *hyperv_name(HypervEnlightenment which)
{
    return enlightenments[which].name;
}

static bool state_is(const xmlNode *node, const char *value)
{
    g_autofree char *state = xml_attribute(node, "state");

    return g_strcmp0(state, value) == 0;
}

static int compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/*
 * An element with its attributes and children sorted and without indentation. What <tlbflush> holds and is switched off
 * is left out: of such a child libvirt writes only "on" (virDomainHypervDefFormat(), src/conf/domain_conf.c).
 */
static char *node_meaning(const xmlNode *node)
{
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);

    for (const xmlAttr *attribute = node->properties; attribute != NULL; attribute = attribute->next) {
        g_autoptr(xmlString) value = (char *)xmlNodeListGetString(node->doc, attribute->children, 1);
        g_autofree char *escaped = g_markup_escape_text(value != NULL ? value : "", -1);
        g_ptr_array_add(parts, g_strdup_printf(" %s=\"%s\"", (const char *)attribute->name, escaped));
    }
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type == XML_ELEMENT_NODE) {
            if (!xml_is_element(node, "tlbflush") || !state_is(child, "off"))
                g_ptr_array_add(parts, node_meaning(child));
        } else if ((child->type == XML_TEXT_NODE || child->type == XML_CDATA_SECTION_NODE) && !xmlIsBlankNode(child)) {
            g_autofree char *text = g_strstrip(g_strdup((const char *)child->content));
            g_ptr_array_add(parts, g_markup_escape_text(text, -1));
        }
    }
    g_ptr_array_sort(parts, compare_strings);
    g_ptr_array_add(parts, NULL);
    g_autofree char *inside = g_strjoinv("", (char **)parts->pdata);
    return g_strdup_printf("<%s%s>", (const char *)node->name, inside);
}

/* @text: "" is an absent element, which means something else than one with state='off' */
static char *text_meaning(const char *text)
{
    g_autoptr(xmlDoc) doc = *text != '\0' ? xml_parse_fragment(text, NULL) : NULL;

    return doc != NULL ? node_meaning(xmlDocGetRootElement(doc)) : g_strdup(text);
}

static bool same_meaning(const char *a, const char *b)
{
    g_autofree char *meaning_a = text_meaning(a), *meaning_b = text_meaning(b);

    return strcmp(meaning_a, meaning_b) == 0;
}

static bool text_is_on(const char *text)
{
    g_autoptr(xmlDoc) doc = *text != '\0' ? xml_parse_fragment(text, NULL) : NULL;

    return doc != NULL && state_is(xmlDocGetRootElement(doc), "on");
}

/* A running guest cannot tell an enlightenment that is absent from one that is off. */
static bool same_for_guest(const char *a, const char *b)
{
    return text_is_on(a) || text_is_on(b) ? same_meaning(a, b) : true;
}

static const xmlNode *find_hyperv(const DomainXml *xml)
{
    return xml_child(xml_child(domain_xml_root(xml), "features"), "hyperv");
}

/* The bytes of an enlightenment's element; "" if there is none. */
static char *element_text(const DomainXml *xml, HypervEnlightenment which)
{
    const xmlNode *node = xml_child(find_hyperv(xml), hyperv_element(which));

    if (node == NULL)
        return g_strdup("");
    XmlSpan span = domain_xml_span(xml, node);
    return g_strndup(domain_xml_text(xml) + span.start, span.end - span.start);
}

static void direct_insert(xmlNode *tlbflush)
{
    xmlNode *direct = xmlNewDocNode(tlbflush->doc, NULL, BAD_CAST "direct", NULL);
    xmlNode *first = tlbflush->children;

    xmlNewProp(direct, BAD_CAST "state", BAD_CAST "on");
    if (first == NULL) {
        xmlAddChild(tlbflush, direct);
    } else if (xmlIsBlankNode(first) && first->next != NULL) {
        /* Each on a line of its own, as the first one was. */
        xmlAddNextSibling(first, direct);
        xmlAddNextSibling(direct, xmlDocCopyNode(first, tlbflush->doc, 1));
    } else {
        xmlAddPrevSibling(first, direct);
    }
}

/* Returns: the element's text with the wish come true; @base itself if it means that already. */
static char *apply_wish(HypervEnlightenment which, HypervWish wish, const char *base)
{
    if (wish == HYPERV_LEAVE || (wish == HYPERV_OFF && *base == '\0'))
        return g_strdup(base);
    if (*base == '\0')
        return g_strdup(enlightenments[which].insert);

    g_autoptr(xmlDoc) doc = xml_parse_fragment(base, NULL);
    g_autoptr(xmlBuffer) buffer = xmlBufferCreate();
    if (doc == NULL)
        return g_strdup(base);
    xmlNode *root = xmlDocGetRootElement(doc);
    const xmlChar *state = BAD_CAST(wish == HYPERV_ON ? "on" : "off");
    xmlNode *direct = which == HYPERV_TLBFLUSH_DIRECT ? xml_child(root, "direct") : NULL;
    if (direct != NULL)
        xmlSetProp(direct, BAD_CAST "state", state);
    else if (which == HYPERV_TLBFLUSH_DIRECT && wish == HYPERV_ON)
        direct_insert(root);
    /* Without its direct flush <tlbflush> is of use to any Windows guest: it is not virtnest's to switch off. */
    if (which != HYPERV_TLBFLUSH_DIRECT || wish == HYPERV_ON)
        xmlSetProp(root, BAD_CAST "state", state);
    xmlNodeDump(buffer, doc, root, 0, 0);
    const char *wanted = (const char *)xmlBufferContent(buffer);
    return g_strdup(same_meaning(wanted, base) ? base : wanted);
}

static char *missing_dependencies(const Planner *planner, HypervEnlightenment which)
{
    GString *missing = g_string_new(NULL);

    for (gsize i = 0; enlightenments[which].depends[i] != NULL; i++) {
        const char *name = enlightenments[which].depends[i];
        if (!state_is(xml_child(planner->hyperv, name), "on"))
            g_string_append_printf(missing, "%s<%s state='on'/>", missing->len > 0 ? " and " : "", name);
    }
    return g_string_free(missing, FALSE);
}

/*
 * Why an enlightenment cannot be switched on.
 * @evmcs: what becomes of <evmcs>; NULL while that is what is being decided
 * Returns: the reason and the way out, or NULL if it can.
 */
static char *skip_reason(const Planner *planner, HypervEnlightenment which, const char *evmcs)
{
    const HypervHost *host = planner->host;
    const unsigned long since = enlightenments[which].since, version = host->libvirt_version;
    bool is_intel = g_strcmp0(host->feature, "vmx") == 0;
    g_autofree char *mode = xml_attribute(planner->hyperv, "mode");

    if (!host->is_kvm)
        return g_strdup("only KVM has it, and this is not a KVM guest; make it one (type='kvm'), or do not ask for it");
    /* docs/system/i386/hyperv.rst of QEMU: it is an enlightened VMCS, which is a part of VMX. */
    if (which == HYPERV_EVMCS && !is_intel)
        return g_strdup("only for Intel CPUs (vmx), and the host has no such; use a policy without it here");
    if (planner->hyperv == NULL)
        return g_strdup("the domain has no <hyperv> in its <features>; add one, with what its guest needs of it");
    if (g_strcmp0(mode, "passthrough") == 0)
        return g_strdup("<hyperv mode='passthrough'> already brings all that the host has; for a choice make it "
                        "mode='custom' and list what the guest needs");
    if (planner->last == NULL)
        return g_strdup("the domain's <hyperv> is empty; add what the guest needs of it");
    if (version == 0 && which != HYPERV_EVMCS)
        return g_strdup_printf("it needs libvirt %lu.%lu.%lu, and the version here is unknown; connect to libvirt, or "
                               "use a policy without it",
                               since / 1000000, since / 1000 % 1000, since % 1000);
    if (version != 0 && version < since)
        return g_strdup_printf("it needs libvirt %lu.%lu.%lu, and this is %lu.%lu.%lu; update libvirt, or use a policy "
                               "without it",
                               since / 1000000, since / 1000 % 1000, since % 1000, version / 1000000,
                               version / 1000 % 1000, version % 1000);
    if (host->offered != NULL && !g_strv_contains(host->offered, hyperv_element(which)))
        return g_strdup(
            "this host's kernel or QEMU does not have it (`virsh domcapabilities --virttype kvm`), and a guest "
            "with it would not start; update them, or use a policy without it");
    g_autofree char *missing = missing_dependencies(planner, which);
    if (*missing != '\0')
        return g_strdup_printf("QEMU refuses it without others; add %s to the domain's <hyperv>", missing);
    /* Both act on what the nested hypervisor says in its enlightened VMCS; AMD's VMCB has room for that itself. */
    if (evmcs != NULL && is_intel && !text_is_on(evmcs))
        return g_strdup("on Intel CPUs it works through evmcs, which is not on; switch evmcs on too");
    return NULL;
}

/* A record comes from a file that anybody may have edited, and its text goes into the document. */
static bool record_text_is_valid(HypervEnlightenment which, const char *text)
{
    if (text == NULL || *text == '\0')
        return text != NULL;
    g_autoptr(xmlDoc) doc = xml_parse_fragment(text, NULL);
    return doc != NULL && xml_is_element(xmlDocGetRootElement(doc), hyperv_element(which));
}

/* Returns: the element's text as it is without virtnest. */
static char *find_base(const Planner *planner, HypervEnlightenment which, const HypervRecord *recorded, bool undoing,
                       const char *current)
{
    const char *previous = recorded != NULL ? recorded->previous[which] : NULL;
    const char *applied = recorded != NULL ? recorded->applied[which] : NULL;

    if (previous == NULL && applied == NULL)
        return g_strdup(current);
    /* Nothing is never what was written: that would be put in front of an element that may not be there. */
    if (!record_text_is_valid(which, previous) || !record_text_is_valid(which, applied) || *applied == '\0') {
        g_ptr_array_add(
            planner->plan->conflicts,
            g_strdup_printf("%s: what virtnest remembers of it is damaged; it stays as it is", hyperv_name(which)));
        return g_strdup(current);
    }
    if (same_meaning(current, applied))
        return g_strdup(previous);
    if (undoing && !same_meaning(current, previous))
        g_ptr_array_add(
            planner->plan->conflicts,
            g_strdup_printf("%s: it was edited since virtnest wrote it; it stays as it is, and was before: %s",
                            hyperv_name(which), *previous != '\0' ? previous : "absent"));
    return g_strdup(current);
}

/* @text: owned by @edits from now on */
static void append_edit(GArray *edits, XmlSpan span, char *text)
{
    const XmlEdit edit = {.span = span, .text = text};

    g_array_append_val(edits, edit);
}

static void add_edit(Planner *planner, HypervEnlightenment which, const char *wanted)
{
    const xmlNode *node = xml_child(planner->hyperv, hyperv_element(which));

    if (node == NULL) {
        g_autofree char *indent = domain_xml_indent(planner->xml, domain_xml_span(planner->xml, planner->last));
        g_string_append_printf(planner->inserted, "%s%s", indent, wanted);
        return;
    }
    XmlSpan span = domain_xml_span(planner->xml, node);
    if (*wanted == '\0')
        span = domain_xml_span_with_indent(planner->xml, span);
    append_edit(planner->plan->edits, span, g_strdup(wanted));
}

/* All that is inserted goes to one place: as one edit, since the order of several would be anybody's guess. */
static void add_inserted(Planner *planner)
{
    if (planner->inserted->len == 0)
        return;
    gsize end = domain_xml_span(planner->xml, planner->last).end;
    append_edit(planner->plan->edits, (XmlSpan){end, end}, g_strdup(planner->inserted->str));
}

static void clear_edit(void *edit)
{
    g_free(((XmlEdit *)edit)->text);
}

static HypervPlan *plan_new(void)
{
    HypervPlan *plan = g_new0(HypervPlan, 1);

    plan->edits = g_array_new(FALSE, FALSE, sizeof(XmlEdit));
    g_array_set_clear_func(plan->edits, clear_edit);
    plan->skipped = g_ptr_array_new_with_free_func(g_free);
    plan->conflicts = g_ptr_array_new_with_free_func(g_free);
    return plan;
}

/**
 * Plans what becomes of the enlightenments in a persistent definition. Once the edits are made and the record is kept,
 * planning again finds nothing to do.
 * @live: (nullable) the running guest's document
 * @policy: (nullable) NULL takes back what virtnest wrote
 * @recorded: (nullable) what virtnest remembers; NULL: it wrote nothing yet
 * Returns: to be freed with hyperv_plan_free(). The edits are of @xml, and for domain_xml_edit().
 */
HypervPlan *hyperv_plan(const DomainXml *xml, const DomainXml *live, const HypervPolicy *policy,
                        const HypervRecord *recorded, const HypervHost *host)
{
    g_autoptr(HypervPlan) plan = plan_new();
    g_autoptr(GString) inserted = g_string_new(NULL);
    g_autofree char *evmcs = NULL;
    Planner planner = {.xml = xml, .host = host, .hyperv = find_hyperv(xml), .inserted = inserted, .plan = plan};

    planner.last = planner.hyperv != NULL ? xmlLastElementChild((xmlNode *)planner.hyperv) : NULL;
    for (HypervEnlightenment which = 0; which < HYPERV_N; which++) {
        HypervWish wish = policy != NULL ? policy->wishes[which] : HYPERV_LEAVE;
        g_autofree char *current = element_text(xml, which);
        g_autofree char *base = find_base(&planner, which, recorded, policy == NULL, current);
        g_autofree char *wanted = apply_wish(which, wish, base);
        bool is_new = !same_meaning(wanted, base);
        g_autofree char *reason = is_new && wish == HYPERV_ON ? skip_reason(&planner, which, evmcs) : NULL;

        if (reason != NULL) {
            g_ptr_array_add(plan->skipped, g_strdup_printf("%s: %s", hyperv_name(which), reason));
            g_free(wanted);
            wanted = g_strdup(base);
            is_new = false;
        }
        if (!same_meaning(wanted, current))
            add_edit(&planner, which, wanted);
        if (is_new || (recorded != NULL && recorded->applied[which] != NULL)) {
            g_autofree char *now = live != NULL ? element_text(live, which) : NULL;
            plan->differs_live |= now != NULL && !same_for_guest(now, wanted);
        }
        if (which == HYPERV_EVMCS)
            evmcs = g_strdup(wanted);
        if (is_new) {
            plan->record.previous[which] = g_steal_pointer(&base);
            plan->record.applied[which] = g_steal_pointer(&wanted);
        }
    }
    add_inserted(&planner);
    return g_steal_pointer(&plan);
}

HypervPlan *hyperv_plan_free(HypervPlan *plan)
{
    if (plan == NULL)
        return NULL;
    g_array_unref(plan->edits);
    g_ptr_array_unref(plan->skipped);
    g_ptr_array_unref(plan->conflicts);
    hyperv_record_clear(&plan->record);
    g_free(plan);
    return NULL;
}
