/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Any bytes as the XML that libvirt gives to virtnest-hook. Whatever is a document to libxml2, which libvirt reads it with,
 * tells the hook the same.
 *
 * "make check" replays the corpus. To look for more, from the top of the tree:
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -std=gnu17 -D_GNU_SOURCE -I. \
 *     $(pkg-config --cflags glib-2.0 libxml-2.0) tests/fuzz/fuzz-hook.c daemon/incoming.c \
 *     $(pkg-config --libs glib-2.0 libxml-2.0) -o /tmp/fuzz-hook
 *   mkdir /tmp/found && /tmp/fuzz-hook /tmp/found tests/fuzz/corpus/hook
 */

#include "tests/fuzz/fuzz.h"

#include "daemon/incoming.h"
#include "lib/autoptr.h"
#include <stdbool.h>
#include <string.h>

/* Returns: the first child of that name without a prefix, or NULL */
static const xmlNode *first_child(const xmlNode *parent, const char *name)
{
    for (const xmlNode *node = parent->children; node != NULL; node = node->next)
        if (node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0 &&
            (node->ns == NULL || node->ns->prefix == NULL))
            return node;
    return NULL;
}

static const xmlNode *find_runtime(const xmlNode *root)
{
    const xmlNode *metadata = first_child(root, "metadata");

    for (const xmlNode *node = metadata != NULL ? metadata->children : NULL; node != NULL; node = node->next)
        if (node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, "runtime") == 0 && node->ns != NULL &&
            g_strcmp0((const char *)node->ns->href, "urn:virtnest:runtime:1") == 0)
            return node;
    return NULL;
}

static bool attribute_is(const xmlNode *node, const char *name, const char *value)
{
    g_autoptr(xmlString) text = (char *)xmlGetNoNsProp(node, (const xmlChar *)name);

    return g_strcmp0(text, value) == 0;
}

static long long attribute_time(const xmlNode *node, const char *name)
{
    g_autoptr(xmlString) text = (char *)xmlGetNoNsProp(node, (const xmlChar *)name);
    guint64 time = 0;

    /* A larger one is cut off in ours, and means nothing in both. */
    return text != NULL && strlen(text) < 60 && g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT64, &time, NULL)
               ? (long long)time
               : INCOMING_NEVER;
}

static void compare(const xmlNode *root, const Incoming *incoming)
{
    const xmlNode *runtime = find_runtime(root);
    IncomingL2 l2 = runtime == NULL                          ? INCOMING_L2_UNTOLD
                    : attribute_is(runtime, "l2", "running") ? INCOMING_L2_RUNNING
                    : attribute_is(runtime, "l2", "quiet")   ? INCOMING_L2_QUIET
                                                             : INCOMING_L2_UNTOLD;

    g_assert_cmpint(incoming->l2, ==, l2);
    g_assert_cmpint(incoming->since, ==, runtime != NULL ? attribute_time(runtime, "since") : INCOMING_NEVER);
    g_assert_cmpint(incoming->until, ==, runtime != NULL ? attribute_time(runtime, "until") : INCOMING_NEVER);
    g_assert_cmpint(incoming->released_until, ==,
                    runtime != NULL ? attribute_time(runtime, "released-until") : INCOMING_NEVER);
    /* One that is plain text. */
    const xmlNode *uuid = first_child(root, "uuid");
    if (uuid == NULL || uuid->children == NULL)
        g_assert_cmpstr(incoming->uuid, ==, "");
    else if (uuid->children->type == XML_TEXT_NODE && uuid->children->next == NULL &&
             g_uuid_string_is_valid((const char *)uuid->children->content))
        g_assert_cmpint(g_ascii_strcasecmp(incoming->uuid, (const char *)uuid->children->content), ==, 0);
}

static bool is_utf8(const xmlDoc *doc)
{
    return doc->encoding == NULL || g_ascii_strcasecmp((const char *)doc->encoding, "UTF-8") == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Incoming incoming = {0};
    bool good = size > 0 && incoming_read((const char *)data, size, &incoming);
    g_autoptr(xmlDoc) doc = size > 0 ? xmlReadMemory((const char *)data, (int)size, NULL, NULL,
                                                     XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING)
                                     : NULL;
    const xmlNode *root = doc != NULL ? xmlDocGetRootElement(doc) : NULL;

    if (good) {
        g_assert_true(*incoming.uuid == '\0' || g_uuid_string_is_valid(incoming.uuid));
        g_assert_cmpuint(strlen(incoming.host), <, INCOMING_HOST_SIZE);
        g_assert_true(g_str_is_ascii(incoming.host));
    }
    /* In other encodings than UTF-8 there is nothing to be found, nor in one that defines entities of its own. */
    if (root == NULL || !is_utf8(doc) || doc->intSubset != NULL || memchr(data, '\0', size) != NULL)
        return 0;
    bool is_domain = strcmp((const char *)root->name, "domain") == 0 && (root->ns == NULL || root->ns->prefix == NULL);
    g_assert_cmpint(good, ==, is_domain);
    if (good)
        compare(root, &incoming);
    return 0;
}
