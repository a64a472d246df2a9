/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Any bytes as the nesting tag of a domain: either it is one, or it is told what is wrong with it.
 *
 * "make check" replays the corpus. To look for more, from the top of the tree:
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -std=gnu17 -D_GNU_SOURCE -I. \
 *     -DVIRTNEST_SYSCONFDIR='"/etc/virtnest"' -DVIRTNEST_RUNDIR='"/run/virtnest"' -DVIRTNEST_VENDORDIR='"/usr/lib/virtnest"' \
 *     $(pkg-config --cflags glib-2.0 libxml-2.0) tests/fuzz/fuzz-tag.c tests/unit/util.c lib/[a-z]*.c \
 *     $(pkg-config --libs glib-2.0 libxml-2.0) -o /tmp/fuzz-tag
 *   mkdir /tmp/found && /tmp/fuzz-tag /tmp/found tests/fuzz/corpus/tag
 */

#include "tests/fuzz/fuzz.h"

#include "tests/unit/util.h"

static void check(const DomainXml *xml)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Tag) tag = NULL;

    if (!tag_parse(xml, &tag, &error)) {
        g_assert_null(tag);
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_TAG);
        g_assert_cmpstr(error->message, !=, "");
        /* It goes out on the bus, which takes nothing else. */
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
        return;
    }
    g_assert_no_error(error);
    if (tag != NULL && tag->policy != NULL)
        g_assert_true(tag_policy_name_is_valid(tag->policy));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *inserted = g_strndup(size > 0 ? (const char *)data : "", size);
    g_autofree char *text =
        g_strdup_printf("<domain type='kvm' xmlns:n='" VIRTNEST_TAG_NAMESPACE "'><name>x</name><metadata>%s</metadata>"
                        "<os><type arch='x86_64'>hvm</type></os></domain>",
                        inserted);
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainXml) xml = domain_xml_parse(text, -1, &error);

    if (xml != NULL)
        check(xml);
    else
        g_assert_cmpstr(error->message, !=, "");
    return 0;
}
