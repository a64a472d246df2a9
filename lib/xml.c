/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Domain documents that can be edited in a few places and nowhere else.
 *
 * A parse followed by a serialize would keep the meaning of a domain's XML but not its bytes: quotes, empty elements,
 * entities and CDATA all change their look. So libxml2 parses the document once into a tree, and while it does the
 * byte range of each child of <domain>, <metadata>, <features> and <hyperv> is noted. An edit replaces such ranges in
 * the original text; every other byte stays because nobody touches it.
 *
 * Of <devices> the tree holds the <emulator> alone. The rest, most of a real domain, is parsed but not kept: nobody here
 * reads it, and building it would cost more than all else that a reconcile does.
 */

#include "lib/xml.h"

#include "lib/error.h"
#include <libxml/SAX2.h>
#include <libxml/parserInternals.h>
#include <string.h>

struct DomainXml {
    char *text;
    gsize length;
    xmlDoc *doc;
    GHashTable *spans; /* xmlNode -> ElementSpan, for what domain_xml_span() names */
};

typedef struct ElementSpan {
    XmlSpan span;
    gsize open_end; /* behind the '>' of the opening tag */
} ElementSpan;

/* What the SAX handlers need while a document is parsed. */
typedef struct SpanParser {
    DomainXml *xml;
    unsigned depth;      /* elements that are open; the root is at depth 1 */
    bool in_metadata;    /* within a <metadata> that is a child of the root */
    bool in_features;    /* within a <features> that is a child of the root */
    bool in_hyperv;      /* within a <hyperv> that is a child of such a <features> */
    unsigned skip_depth; /* this element and what it contains stay out of the tree; 0: none */
    bool in_devices;     /* within the root's <devices>, but not within its <emulator> */
    bool has_doctype;
    bool has_wrong_span; /* libxml2 told a position where no such element is */
} SpanParser;

static bool parser_is_span_depth(const SpanParser *parser)
{
    switch (parser->depth) {
    case 1:
    case 2:
        return true;
    case 3:
        return parser->in_metadata || parser->in_features;
    case 4:
        return parser->in_hyperv;
    default:
        return false;
    }
}

static bool parser_skips(const SpanParser *parser)
{
    return parser->in_devices || parser->skip_depth > 0;
}

static void on_characters(void *context, const xmlChar *text, int length)
{
    if (!parser_skips(((xmlParserCtxt *)context)->_private))
        xmlSAX2Characters(context, text, length);
}

static void on_cdata(void *context, const xmlChar *text, int length)
{
    if (!parser_skips(((xmlParserCtxt *)context)->_private))
        xmlSAX2CDataBlock(context, text, length);
}

static void on_comment(void *context, const xmlChar *text)
{
    if (!parser_skips(((xmlParserCtxt *)context)->_private))
        xmlSAX2Comment(context, text);
}

static void on_instruction(void *context, const xmlChar *target, const xmlChar *text)
{
    if (!parser_skips(((xmlParserCtxt *)context)->_private))
        xmlSAX2ProcessingInstruction(context, target, text);
}

static void on_start_element(void *context, const xmlChar *local_name, const xmlChar *prefix, const xmlChar *uri,
                             int n_namespaces, const xmlChar **namespaces, int n_attributes, int n_defaulted,
                             const xmlChar **attributes)
{
    xmlParserCtxt *ctxt = context;
    SpanParser *parser = ctxt->_private;

    parser->depth++;
    if (parser->skip_depth == 0 && parser->in_devices) {
        if (uri == NULL && xmlStrEqual(local_name, BAD_CAST "emulator"))
            parser->in_devices = false;
        else
            parser->skip_depth = parser->depth;
    }
    if (parser->skip_depth > 0)
        return;
    xmlSAX2StartElementNs(context, local_name, prefix, uri, n_namespaces, namespaces, n_attributes, n_defaulted,
                          attributes);
    if (parser->depth == 2 && uri == NULL) {
        parser->in_metadata = xmlStrEqual(local_name, BAD_CAST "metadata");
        parser->in_features = xmlStrEqual(local_name, BAD_CAST "features");
        parser->in_devices = xmlStrEqual(local_name, BAD_CAST "devices");
    } else if (parser->depth == 3 && uri == NULL) {
        parser->in_hyperv = parser->in_features && xmlStrEqual(local_name, BAD_CAST "hyperv");
    }
    if (!parser_is_span_depth(parser) || ctxt->node == NULL)
        return;

    /* libxml2 stands behind the last attribute now. A raw '<' cannot stand in an attribute's value, so the nearest one
     * to the left opens this tag. */
    long position = xmlByteConsumed(ctxt);
    const char *text = parser->xml->text;
    if (position <= 0 || (gsize)position > parser->xml->length) {
        parser->has_wrong_span = true;
        return;
    }
    gsize start = (gsize)position - 1;
    while (start > 0 && text[start] != '<')
        start--;
    gsize open_end = (gsize)position;
    while (open_end < parser->xml->length && text[open_end] != '>')
        open_end++;
    ElementSpan *span = g_new0(ElementSpan, 1);
    span->span.start = start;
    span->open_end = open_end + 1;
    g_hash_table_insert(parser->xml->spans, ctxt->node, span);
}

static void on_end_element(void *context, const xmlChar *local_name, const xmlChar *prefix, const xmlChar *uri)
{
    xmlParserCtxt *ctxt = context;
    SpanParser *parser = ctxt->_private;

    if (parser->skip_depth > 0) {
        if (parser->depth == parser->skip_depth)
            parser->skip_depth = 0;
        parser->depth--;
        return;
    }
    if (parser_is_span_depth(parser)) {
        ElementSpan *span = g_hash_table_lookup(parser->xml->spans, ctxt->node);
        if (span != NULL)
            span->span.end = (gsize)MAX(xmlByteConsumed(ctxt), 0);
    }
    if (parser->depth == 2) {
        parser->in_metadata = parser->in_features = parser->in_devices = false;
    } else if (parser->depth == 3) {
        parser->in_hyperv = false;
        if (xml_is_element(ctxt->node, "emulator") && xml_is_element(ctxt->node->parent, "devices"))
            parser->in_devices = true;
    }
    parser->depth--;
    xmlSAX2EndElementNs(context, local_name, prefix, uri);
}

static void on_doctype(void *context, const xmlChar *name G_GNUC_UNUSED, const xmlChar *external_id G_GNUC_UNUSED,
                       const xmlChar *system_id G_GNUC_UNUSED)
{
    xmlParserCtxt *ctxt = context;
    SpanParser *parser = ctxt->_private;

    parser->has_doctype = true;
    xmlStopParser(ctxt);
}

/* The positions are libxml2's word; before a byte is cut by them, see that each really encloses its element. */
static bool spans_are_sane(const DomainXml *xml)
{
    GHashTableIter iter;
    gpointer key, value;

    g_hash_table_iter_init(&iter, xml->spans);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        const xmlNode *node = key;
        const ElementSpan *element = value;
        const XmlSpan *span = &element->span;
        if (span->end <= span->start + 2 || span->end > xml->length || element->open_end > span->end ||
            element->open_end <= span->start)
            return false;
        const char *open = xml->text + span->start, *close = xml->text + span->end;
        if (open[0] != '<' || close[-1] != '>')
            return false;
        open++;
        if (node->ns != NULL && node->ns->prefix != NULL) {
            gsize length = strlen((const char *)node->ns->prefix);
            if (strncmp(open, (const char *)node->ns->prefix, length) != 0 || open[length] != ':')
                return false;
            open += length + 1;
        }
        if (!g_str_has_prefix(open, (const char *)node->name))
            return false;
    }
    return true;
}

static void set_parse_error(GError **error, xmlParserCtxt *ctxt, const char *what)
{
    const xmlError *cause = ctxt != NULL ? xmlCtxtGetLastError(ctxt) : NULL;
    g_autofree char *message = g_strdup(cause != NULL && cause->message != NULL ? cause->message : "out of memory");

    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "%s is not well-formed: line %d: %s", what,
                cause != NULL ? cause->line : 0, g_strstrip(message));
}

/**
 * Parses a domain's XML. Network access, DTDs and entity declarations are refused: libvirt never writes them, and a
 * document that has them could not be edited by byte ranges.
 * @text: UTF-8; copied
 * @length: in bytes, or -1 if @text ends with a NUL
 * Returns: a document to be freed with domain_xml_free(), or NULL with VIRTNEST_ERROR_XML.
 */
DomainXml *domain_xml_parse(const char *text, gssize length, GError **error)
{
    g_autoptr(DomainXml) xml = g_new0(DomainXml, 1);
    g_autoptr(xmlParserCtxt) ctxt = NULL;
    SpanParser parser = {.xml = xml};

    xml->length = length < 0 ? strlen(text) : (gsize)length;
    xml->spans = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    if (xml->length > G_MAXINT / 2) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "the domain XML is too large");
        return NULL;
    }
    if (memchr(text, '\0', xml->length) != NULL) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "the domain XML has a NUL byte in it");
        return NULL;
    }
    xml->text = g_strndup(text, xml->length);

    ctxt = xmlCreateMemoryParserCtxt(xml->text, (int)xml->length);
    if (ctxt == NULL) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "the domain XML is empty");
        return NULL;
    }
    xmlCtxtUseOptions(ctxt, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    ctxt->_private = &parser;
    ctxt->sax->startElementNs = on_start_element;
    ctxt->sax->endElementNs = on_end_element;
    ctxt->sax->characters = on_characters;
    ctxt->sax->ignorableWhitespace = on_characters;
    ctxt->sax->cdataBlock = on_cdata;
    ctxt->sax->comment = on_comment;
    ctxt->sax->processingInstruction = on_instruction;
    ctxt->sax->internalSubset = on_doctype;
    (void)xmlParseDocument(ctxt);
    xml->doc = g_steal_pointer(&ctxt->myDoc);

    if (parser.has_doctype) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML,
                            "the domain XML has a document type declaration, which libvirt never writes");
        return NULL;
    }
    if (!ctxt->wellFormed || xml->doc == NULL) {
        set_parse_error(error, ctxt, "the domain XML");
        return NULL;
    }
    if (xml->doc->encoding != NULL && g_ascii_strcasecmp((const char *)xml->doc->encoding, "UTF-8") != 0) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "the domain XML is encoded in %s; only UTF-8 is read",
                    (const char *)xml->doc->encoding);
        return NULL;
    }
    xmlNode *root = xmlDocGetRootElement(xml->doc);
    if (!xml_is_element(root, "domain")) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "expected a <domain>, found <%s>",
                    root != NULL ? (const char *)root->name : "");
        return NULL;
    }
    if (parser.has_wrong_span || !spans_are_sane(xml)) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML,
                    "libxml2 %s does not tell where the elements of this document stand; it is left alone",
                    LIBXML_DOTTED_VERSION);
        return NULL;
    }
    return g_steal_pointer(&xml);
}

DomainXml *domain_xml_free(DomainXml *xml)
{
    if (xml == NULL)
        return NULL;
    g_clear_pointer(&xml->doc, xmlFreeDoc);
    g_clear_pointer(&xml->spans, g_hash_table_unref);
    g_free(xml->text);
    g_free(xml);
    return NULL;
}

/** Returns: the document as it was given, owned by @xml. */
const char *domain_xml_text(const DomainXml *xml)
{
    return xml->text;
}

/** Returns: the <domain> element, owned by @xml; read only. */
xmlNode *domain_xml_root(const DomainXml *xml)
{
    return xmlDocGetRootElement(xml->doc);
}

/**
 * Finds the first child of <metadata> with that namespace and, unless @name is NULL, that name.
 * Returns: a node owned by @xml, or NULL.
 */
xmlNode *domain_xml_metadata(const DomainXml *xml, const char *namespace_uri, const char *name)
{
    xmlNode *metadata = xml_child(domain_xml_root(xml), "metadata");

    for (xmlNode *child = metadata != NULL ? metadata->children : NULL; child != NULL; child = child->next)
        if (child->type == XML_ELEMENT_NODE && xml_has_namespace(child, namespace_uri) &&
            (name == NULL || xmlStrEqual(child->name, BAD_CAST name)))
            return child;
    return NULL;
}

/**
 * Tells the bytes of an element, from its '<' to behind its last '>'.
 * @node: <domain>, a child of it, a child of its <metadata> or <features>, or a child of a <hyperv> that is in its
 *     <features>
 */
XmlSpan domain_xml_span(const DomainXml *xml, const xmlNode *node)
{
    const ElementSpan *element = g_hash_table_lookup(xml->spans, node);

    g_assert(element != NULL);
    return element->span;
}

/** Tells where an element's content begins; equal to the end of its span if it is written as <empty/>. */
gsize domain_xml_content_start(const DomainXml *xml, const xmlNode *node)
{
    const ElementSpan *element = g_hash_table_lookup(xml->spans, node);

    g_assert(element != NULL);
    return element->open_end;
}

/**
 * Widens a range to the left over its line's indentation and the newline before it: what domain_xml_indent() tells, and
 * nothing more, so that taking an element out undoes what putting it in did.
 */
XmlSpan domain_xml_span_with_indent(const DomainXml *xml, XmlSpan span)
{
    gsize start = span.start;

    while (start > 0 && (xml->text[start - 1] == ' ' || xml->text[start - 1] == '\t'))
        start--;
    if (start > 0 && xml->text[start - 1] == '\n')
        span.start = start - 1;
    return span;
}

/** Returns: a newline and the white space that stands before @span on its line; "\n" if other text stands there. */
char *domain_xml_indent(const DomainXml *xml, XmlSpan span)
{
    gsize start = span.start;

    while (start > 0 && (xml->text[start - 1] == ' ' || xml->text[start - 1] == '\t'))
        start--;
    if (start > 0 && xml->text[start - 1] != '\n')
        start = span.start;
    g_autofree char *blank = g_strndup(xml->text + start, span.start - start);
    return g_strconcat("\n", blank, NULL);
}

static int edit_compare(const void *a, const void *b)
{
    const XmlEdit *left = a, *right = b;

    if (left->span.start != right->span.start)
        return left->span.start > right->span.start ? 1 : -1;
    /* An insertion comes before the range that begins in the same place. */
    return (left->span.end > right->span.end) - (left->span.end < right->span.end);
}

/**
 * Builds a new document from the old text with some ranges replaced. Ranges must not overlap.
 * @edits: sorted in place; the texts stay the caller's
 * Returns: the text, to be freed with g_free().
 */
char *domain_xml_edit(const DomainXml *xml, XmlEdit *edits, gsize n_edits)
{
    GString *result = g_string_sized_new(xml->length + 1024);
    gsize done = 0;

    if (n_edits > 0)
        qsort(edits, n_edits, sizeof(*edits), edit_compare);
    for (gsize i = 0; i < n_edits; i++) {
        g_assert(edits[i].span.start >= done && edits[i].span.end <= xml->length);
        g_string_append_len(result, xml->text + done, (gssize)(edits[i].span.start - done));
        g_string_append(result, edits[i].text);
        done = edits[i].span.end;
    }
    g_string_append_len(result, xml->text + done, (gssize)(xml->length - done));
    return g_string_free(result, FALSE);
}

/** Returns: the first child element of that name without a namespace, or NULL. @parent may be NULL. */
xmlNode *xml_child(const xmlNode *parent, const char *name)
{
    for (xmlNode *child = parent != NULL ? parent->children : NULL; child != NULL; child = child->next)
        if (xml_is_element(child, name))
            return child;
    return NULL;
}

/** Is this an element of that name, in no namespace? @node may be NULL. */
bool xml_is_element(const xmlNode *node, const char *name)
{
    return node != NULL && node->type == XML_ELEMENT_NODE && node->ns == NULL && xmlStrEqual(node->name, BAD_CAST name);
}

bool xml_has_namespace(const xmlNode *node, const char *namespace_uri)
{
    return node->ns != NULL && xmlStrEqual(node->ns->href, BAD_CAST namespace_uri);
}

/** Returns: an attribute's value to be freed with g_free(), or NULL. @node may be NULL. */
char *xml_attribute(const xmlNode *node, const char *name)
{
    if (node == NULL)
        return NULL;
    g_autoptr(xmlString) value = (char *)xmlGetNoNsProp(node, BAD_CAST name);
    return g_strdup(value);
}

/** Returns: an element's text to be freed with g_free(), "" if it has none. @node may be NULL. */
char *xml_text(const xmlNode *node)
{
    if (node == NULL)
        return g_strdup("");
    g_autoptr(xmlString) value = (char *)xmlNodeGetContent(node);
    return g_strdup(value != NULL ? value : "");
}

/**
 * Parses a single element on its own, as it may stand in the middle of a document: neither an XML declaration nor a
 * document type comes with it. A namespace prefix that is declared outside of it is not an error.
 * Returns: a document for xmlFreeDoc(), or NULL with VIRTNEST_ERROR_XML.
 */
xmlDoc *xml_parse_fragment(const char *text, GError **error)
{
    g_autoptr(xmlParserCtxt) ctxt = xmlNewParserCtxt();
    gsize length = strlen(text);

    if (length > G_MAXINT / 2) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "the XML fragment is too large");
        return NULL;
    }
    if (ctxt != NULL) {
        xmlDoc *doc = xmlCtxtReadMemory(ctxt, text, (int)length, NULL, NULL,
                                        XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
        /* libxml2's -1: there is no XML declaration. */
        if (doc != NULL && doc->intSubset == NULL && doc->standalone == -1)
            return doc;
        if (doc != NULL) {
            xmlFreeDoc(doc);
            g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML,
                                "the XML fragment has a declaration, which cannot stand inside of a document");
            return NULL;
        }
    }
    set_parse_error(error, ctxt, "the XML fragment");
    return NULL;
}
