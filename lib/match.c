/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The [Match] of a policy: each condition that is set must hold, and one with a list holds if one of its items does, as
 * in systemd.link(5).
 */

#include "lib/match.h"

#include <fnmatch.h>
#include <string.h>

/* virt-install, virt-manager, GNOME Boxes and Cockpit write it (libosinfo's domain metadata). */
#define LIBOSINFO_NAMESPACE "http://libosinfo.org/xmlns/libvirt/domain/1.0"

static char *read_os(const DomainXml *xml)
{
    const xmlNode *libosinfo = domain_xml_metadata(xml, LIBOSINFO_NAMESPACE, "libosinfo");

    for (const xmlNode *child = libosinfo != NULL ? libosinfo->children : NULL; child != NULL; child = child->next) {
        if (child->type != XML_ELEMENT_NODE || !xml_has_namespace(child, LIBOSINFO_NAMESPACE) ||
            !xmlStrEqual(child->name, BAD_CAST "os"))
            continue;
        char *id = xml_attribute(child, "id");
        if (id != NULL)
            return id;
    }
    return g_strdup("");
}

/** Returns: to be freed with subject_free(). */
Subject *subject_new(const DomainXml *xml)
{
    const xmlNode *root = domain_xml_root(xml), *metadata = xml_child(root, "metadata");
    g_autoptr(GStrvBuilder) namespaces = g_strv_builder_new();
    Subject *subject = g_new0(Subject, 1);

    subject->name = xml_text(xml_child(root, "name"));
    subject->uuid = g_strstrip(xml_text(xml_child(root, "uuid")));
    subject->title = g_strstrip(xml_text(xml_child(root, "title")));
    subject->os = read_os(xml);
    for (const xmlNode *child = metadata != NULL ? metadata->children : NULL; child != NULL; child = child->next)
        if (child->type == XML_ELEMENT_NODE && child->ns != NULL && child->ns->href != NULL)
            g_strv_builder_add(namespaces, (const char *)child->ns->href);
    subject->namespaces = g_strv_builder_end(namespaces);
    return subject;
}

Subject *subject_free(Subject *subject)
{
    if (subject == NULL)
        return NULL;
    g_free(subject->name);
    g_free(subject->uuid);
    g_free(subject->title);
    g_free(subject->os);
    g_strfreev(subject->namespaces);
    g_free(subject);
    return NULL;
}

/** Frees what a match holds, not the match itself. */
void match_clear(Match *match)
{
    g_clear_pointer(&match->names, g_strfreev);
    g_clear_pointer(&match->uuids, g_strfreev);
    g_clear_pointer(&match->titles, g_strfreev);
    g_clear_pointer(&match->oses, g_strfreev);
    g_clear_pointer(&match->namespaces, g_strfreev);
}

/** Does it look at anything? A policy whose match does not is only taken where a tag names it. */
bool match_has_condition(const Match *match)
{
    return match->names != NULL || match->uuids != NULL || match->titles != NULL || match->oses != NULL ||
           match->namespaces != NULL;
}

/* A backslash is an ordinary letter, as everywhere in the files. */
static bool glob_holds(char **globs, const char *text)
{
    if (globs == NULL)
        return true;
    for (; *globs != NULL; globs++)
        if (fnmatch(*globs, text, FNM_NOESCAPE) == 0)
            return true;
    return false;
}

static bool uuid_holds(char **uuids, const char *uuid)
{
    if (uuids == NULL)
        return true;
    for (; *uuids != NULL; uuids++)
        if (g_ascii_strcasecmp(*uuids, uuid) == 0)
            return true;
    return false;
}

static bool namespace_holds(char **wanted, char **namespaces)
{
    if (wanted == NULL)
        return true;
    for (; *wanted != NULL; wanted++)
        if (g_strv_contains((const char *const *)namespaces, *wanted))
            return true;
    return false;
}

/** Do all conditions hold? One without any takes nobody. Whether the domain is tagged is the caller's to see. */
bool match_takes(const Match *match, const Subject *subject)
{
    return match_has_condition(match) && uuid_holds(match->uuids, subject->uuid) &&
           namespace_holds(match->namespaces, subject->namespaces) && glob_holds(match->names, subject->name) &&
           glob_holds(match->oses, subject->os) && glob_holds(match->titles, subject->title);
}

static void describe_list(GString *out, const char *key, char **items)
{
    if (items == NULL)
        return;
    g_autofree char *joined = g_strjoinv(";", items);
    g_string_append_printf(out, "%s%s=%s", out->len > 0 ? ", " : "", key, joined);
}

/** Returns: the conditions as they stand in a file, "Name=web*, OS=...", to be freed with g_free(). */
char *match_describe(const Match *match)
{
    GString *out = g_string_new(NULL);

    describe_list(out, "Name", match->names);
    describe_list(out, "UUID", match->uuids);
    describe_list(out, "Title", match->titles);
    describe_list(out, "OS", match->oses);
    describe_list(out, "Metadata", match->namespaces);
    return g_string_free(out, FALSE);
}
