/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/autoptr.h"
#include <stdbool.h>

/* A half-open range of bytes [start, end) in a document. */
typedef struct XmlSpan {
    gsize start;
    gsize end;
} XmlSpan;

/* A domain document as text and as a tree, with the place in the text of what virtnest may edit. */
typedef struct DomainXml DomainXml;

/* One replacement of a range by a text; an empty range inserts. */
typedef struct XmlEdit {
    XmlSpan span;
    char *text;
} XmlEdit;

DomainXml *domain_xml_parse(const char *text, gssize length, GError **error);
DomainXml *domain_xml_free(DomainXml *xml);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DomainXml, domain_xml_free)

const char *domain_xml_text(const DomainXml *xml);
xmlNode *domain_xml_root(const DomainXml *xml);
xmlNode *domain_xml_metadata(const DomainXml *xml, const char *namespace_uri, const char *name);
XmlSpan domain_xml_span(const DomainXml *xml, const xmlNode *node);
gsize domain_xml_content_start(const DomainXml *xml, const xmlNode *node);
XmlSpan domain_xml_span_with_indent(const DomainXml *xml, XmlSpan span);
char *domain_xml_indent(const DomainXml *xml, XmlSpan span);
char *domain_xml_edit(const DomainXml *xml, XmlEdit *edits, gsize n_edits);

xmlNode *xml_child(const xmlNode *parent, const char *name);
bool xml_is_element(const xmlNode *node, const char *name);
bool xml_has_namespace(const xmlNode *node, const char *namespace_uri);
char *xml_attribute(const xmlNode *node, const char *name);
char *xml_text(const xmlNode *node);
xmlDoc *xml_parse_fragment(const char *text, GError **error);
