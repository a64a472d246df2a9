/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Cleanup of libxml2's types for g_autoptr(). What libxml2 allocated goes back to libxml2. */

#include <glib.h>
#include <libxml/parser.h>
#include <libxml/tree.h>

static inline void xml_string_free(char *text)
{
    xmlFree(text);
}

/* A string that libxml2 allocated: `xmlString *text = ...`, declared with g_autoptr(xmlString). */
typedef char xmlString;

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlNode, xmlFreeNode)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlBuffer, xmlBufferFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlParserCtxt, xmlFreeParserCtxt)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlString, xml_string_free)
