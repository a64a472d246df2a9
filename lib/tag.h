/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/xml.h"

#define VIRTNEST_TAG_NAMESPACE "urn:virtnest:domain:1"
#define VIRTNEST_TAG_ELEMENT "nesting"

/* What an administrator wrote onto a domain with `virsh metadata`. */
typedef struct Tag {
    char *policy; /* NULL: the tag names none */
    bool enabled;
} Tag;

bool tag_parse(const DomainXml *xml, Tag **ret_tag, GError **error);
Tag *tag_copy(const Tag *tag);
Tag *tag_free(Tag *tag);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Tag, tag_free)

bool tag_policy_name_is_valid(const char *name);
