/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Any bytes as a domain's definition: what is to be defined must be a document that calls for nothing more.
 *
 * "make check" replays the corpus. To look for more, from the top of the tree:
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -std=gnu17 -D_GNU_SOURCE -I. \
 *     -DVIRTNEST_SYSCONFDIR='"/etc/virtnest"' -DVIRTNEST_RUNDIR='"/run/virtnest"' -DVIRTNEST_VENDORDIR='"/usr/lib/virtnest"' \
 *     $(pkg-config --cflags glib-2.0 libxml-2.0) tests/fuzz/fuzz-reconcile.c tests/unit/util.c lib/[a-z]*.c \
 *     $(pkg-config --libs glib-2.0 libxml-2.0) -o /tmp/fuzz-reconcile
 *   mkdir /tmp/found && /tmp/fuzz-reconcile /tmp/found tests/fuzz/corpus/reconcile
 */

#include "tests/fuzz/fuzz.h"

#include "tests/unit/util.h"

static void check(const char *xml, const char *live_xml, const char *saved_xml)
{
    ReconcileInput input = {
        .xml = xml,
        .live_xml = live_xml,
        .saved_xml = saved_xml,
        .has_managed_save = saved_xml != NULL,
        .persistent = true,
        .policies = util_all_policies(),
        .host = &util_amd_host,
    };
    g_autoptr(Reconcile) r = reconcile_decide(&input);

    g_assert_nonnull(r->reason);
    if (r->new_xml == NULL)
        return;
    g_assert_cmpint(r->state, !=, RECONCILE_ERROR);
    g_assert_cmpstr(r->new_xml, !=, xml);
    g_assert_nonnull(r->summary);

    input.xml = r->new_xml;
    g_autoptr(Reconcile) again = reconcile_decide(&input);
    if (again->state == RECONCILE_ERROR || again->new_xml != NULL)
        g_error("%s: %s\n--- defined\n%s\n--- and then\n%s", reconcile_state_to_string(again->state), again->reason,
                r->new_xml, again->new_xml != NULL ? again->new_xml : "nothing");
    g_assert_cmpint(again->state, ==, r->state);
    g_assert_cmpstr(again->cpu_mode, ==, r->wanted_cpu_mode);
    g_assert_cmpint(again->tagged, ==, r->tagged);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup(size > 0 ? (const char *)data : "", size);

    check(text, NULL, NULL);
    check(text, text, NULL);
    check(text, NULL, text);
    return 0;
}
