/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/runtime.h"

#include "tests/unit/util.h"

#define NOW 1764207000

static bool parse(const char *metadata, Runtime *ret_runtime)
{
    g_autofree char *text = g_strdup_printf("<domain type='kvm'><name>a</name>%s</domain>", metadata);
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainXml) xml = domain_xml_parse(text, -1, &error);

    g_assert_no_error(error);
    return runtime_parse(xml, ret_runtime);
}

static void test_there_and_back(void)
{
    const Runtime runtime = {true, NOW, NOW + 10, NOW + 5, "<node> \"7\" & '8'"};
    Runtime again = {0};
    g_autofree char *element = runtime_format(&runtime);
    g_autofree char *with_namespace =
        g_strdup_printf("<metadata><x xmlns='urn:x'/><runtime xmlns='" VIRTNEST_RUNTIME_NAMESPACE "'%s</metadata>",
                        element + strlen("<runtime"));

    g_assert_true(parse(with_namespace, &again));
    g_assert_true(g_str_has_prefix(element, "<runtime l2="));
    g_assert_true(again.running);
    g_assert_cmpuint(again.since, ==, NOW);
    g_assert_cmpuint(again.until, ==, NOW + 10);
    g_assert_cmpuint(again.released_until, ==, NOW + 5);
    g_assert_cmpstr(again.host, ==, runtime.host);
    g_assert_true(runtime_serves(&again, &runtime));
}

static void test_absent(void)
{
    static const char *const texts[] = {
        "",
        "<metadata/>",
        "<metadata><runtime l2='running'/></metadata>",
        "<metadata><runtime xmlns='urn:virtnest:runtime:2' l2='running'/></metadata>",
        "<metadata><other xmlns='urn:virtnest:runtime:1' l2='running'/></metadata>",
        "<metadata><a xmlns='urn:a'><runtime xmlns='urn:virtnest:runtime:1' l2='running'/></a></metadata>",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        Runtime runtime;
        g_test_message("%s", texts[i]);
        g_assert_false(parse(texts[i], &runtime));
    }
}

/* There it is, so it has to be replaced, or taken away. */
static void test_damaged(void)
{
    const Runtime wanted = {true, NOW, NOW + RUNTIME_LEASE_S, 0, "node"};
    static const char *const texts[] = {
        "",
        "l2='running'",
        "l2='Running' since='1764207000' until='1764811800' host='node'",
        "l2='running' since='-1' until='1764811800' host='node'",
        "l2='running' since='1764207000' until='x' host='node'",
        "l2='running' since='1764207000' until='99999999999999999999999' host='node'",
        "l2='running' since='1764207000' until='1764811800'",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *text =
            g_strdup_printf("<metadata><v:runtime xmlns:v='urn:virtnest:runtime:1' %s/></metadata>", texts[i]);
        Runtime runtime = wanted;
        g_test_message("%s", texts[i]);
        g_assert_true(parse(text, &runtime));
        g_assert_false(runtime_serves(&runtime, &wanted));
        g_assert_false(runtime_serves(&runtime, NULL));
    }
}

static void test_serves(void)
{
    const Runtime have = {true, NOW, NOW + RUNTIME_LEASE_S, 0, "node"};
    const Runtime hour_later = {true, NOW, have.until + 3600, 0, "node"};
    const Runtime day_later = {true, NOW, have.until + (24 * 3600), 0, "node"};
    const Runtime before = {true, NOW, have.until - 1, 0, "node"};
    const Runtime released = {true, NOW, have.until, NOW + 600, "node"};
    const Runtime elsewhere = {true, NOW, have.until, 0, "other"};
    const Runtime another = {true, NOW + 1, have.until, 0, "node"};

    g_assert_true(runtime_serves(NULL, NULL));
    g_assert_false(runtime_serves(NULL, &have));
    g_assert_false(runtime_serves(&have, NULL));
    g_assert_true(runtime_serves(&have, &have));
    g_assert_true(runtime_serves(&have, &hour_later));
    /* It is renewed, and so is one from a clock that was ahead. */
    g_assert_false(runtime_serves(&have, &day_later));
    g_assert_false(runtime_serves(&have, &before));
    g_assert_false(runtime_serves(&have, &released));
    g_assert_false(runtime_serves(&have, &elsewhere));
    g_assert_false(runtime_serves(&have, &another));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/runtime/there-and-back", test_there_and_back);
    g_test_add_func("/runtime/absent", test_absent);
    g_test_add_func("/runtime/damaged", test_damaged);
    g_test_add_func("/runtime/serves", test_serves);
    return g_test_run();
}
