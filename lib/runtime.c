/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The runtime element:
 *   <virtnest:runtime xmlns:virtnest="urn:virtnest:runtime:1" l2="running" since="1764207000" until="1764811800"
 *                     host="node7"/>
 * It is written when an L2 appears and taken away when it is gone, and not in between: each time costs libvirt a job and a
 * write to disk. So that one whose daemon is gone does not count for ever, it has an end, and is renewed long before that.
 */

#include "lib/runtime.h"

#include <string.h>

/* An element of this age is renewed. */
#define RENEW_AFTER_S (24 * 60 * 60)

static guint64 number(const xmlNode *node, const char *name)
{
    g_autofree char *text = xml_attribute(node, name);
    guint64 value = 0;

    return text != NULL && g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT64, &value, NULL) ? value : 0;
}

/**
 * Reads it out of a definition. What cannot be read is 0 or "": it is then other than anything that would be written, and
 * is replaced.
 * Returns: whether there is one.
 */
bool runtime_parse(const DomainXml *xml, Runtime *ret_runtime)
{
    const xmlNode *node = domain_xml_metadata(xml, VIRTNEST_RUNTIME_NAMESPACE, VIRTNEST_RUNTIME_ELEMENT);

    if (node == NULL)
        return false;
    g_autofree char *l2 = xml_attribute(node, "l2"), *host = xml_attribute(node, "host");
    *ret_runtime = (Runtime){
        .running = g_strcmp0(l2, "running") == 0,
        .since = number(node, "since"),
        .until = number(node, "until"),
        .released_until = number(node, "released-until"),
    };
    g_strlcpy(ret_runtime->host, host != NULL ? host : "", sizeof(ret_runtime->host));
    return true;
}

/** Returns: the element as virDomainSetMetadata() takes it, to be freed with g_free(). */
char *runtime_format(const Runtime *runtime)
{
    g_autofree char *host = g_markup_escape_text(runtime->host, -1);
    GString *out = g_string_new("<" VIRTNEST_RUNTIME_ELEMENT);

    g_string_append_printf(out, " l2=\"%s\" since=\"%" G_GUINT64_FORMAT "\" until=\"%" G_GUINT64_FORMAT "\"",
                           runtime->running ? "running" : "none", runtime->since, runtime->until);
    if (runtime->released_until != 0)
        g_string_append_printf(out, " released-until=\"%" G_GUINT64_FORMAT "\"", runtime->released_until);
    g_string_append_printf(out, " host=\"%s\"/>", host);
    return g_string_free(out, FALSE);
}

/** Returns: whether what is there need not be replaced by what is wanted; either may be NULL for none. */
bool runtime_serves(const Runtime *have, const Runtime *wanted)
{
    if (have == NULL || wanted == NULL)
        return have == wanted;
    return have->running == wanted->running && have->since == wanted->since &&
           have->released_until == wanted->released_until && strcmp(have->host, wanted->host) == 0 &&
           have->until <= wanted->until && wanted->until - have->until < RENEW_AFTER_S;
}
