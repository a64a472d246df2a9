/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* daemon/incoming.c: what the hook finds in a domain's XML, and whom it refuses. */

#include "daemon/incoming.h"

#include "tests/unit/util.h"
#include <string.h>

#define UUID "c7a5fdbd-cdaf-9455-926a-d65c16db1809"
#define XMLNS "xmlns:v=\"urn:virtnest:runtime:1\""
#define TIMES "since='100' until='200'"
#define RUNTIME "<v:runtime " XMLNS " l2='running' " TIMES " host='node7'/>"
#define DOMAIN(metadata) "<domain type='kvm'><uuid>" UUID "</uuid><metadata>" metadata "</metadata></domain>"

/* Without the NUL behind it, so that a sanitizer sees a read too far. */
static bool read_bytes(const char *text, gsize length, Incoming *ret_incoming)
{
    g_autofree char *exact = g_memdup2(text, length);

    return incoming_read(exact, length, ret_incoming);
}

static Incoming read_good(const char *text)
{
    Incoming incoming = {0};

    if (!read_bytes(text, strlen(text), &incoming))
        g_error("not understood: %s", text);
    return incoming;
}

static void assert_l2(const char *text, IncomingL2 l2)
{
    if (read_good(text).l2 != l2)
        g_error("wrong: %s", text);
}

static void test_all(void)
{
    Incoming incoming = read_good(DOMAIN("<v:runtime " XMLNS " l2='running' since='1764207000' until='1764811800' "
                                         "released-until='1764207600' host='node7'/>"));

    g_assert_cmpstr(incoming.uuid, ==, UUID);
    g_assert_cmpint(incoming.l2, ==, INCOMING_L2_RUNNING);
    g_assert_cmpint(incoming.since, ==, 1764207000);
    g_assert_cmpint(incoming.until, ==, 1764811800);
    g_assert_cmpint(incoming.released_until, ==, 1764207600);
    g_assert_cmpstr(incoming.host, ==, "node7");
    incoming = read_good(DOMAIN(""));
    g_assert_cmpstr(incoming.uuid, ==, UUID);
    g_assert_cmpint(incoming.l2, ==, INCOMING_L2_UNTOLD);
    g_assert_cmpint(incoming.since, ==, INCOMING_NEVER);
    g_assert_cmpint(incoming.until, ==, INCOMING_NEVER);
    g_assert_cmpint(incoming.released_until, ==, INCOMING_NEVER);
    g_assert_cmpstr(incoming.host, ==, "");
}

/* One element in each way in which XML can say it. */
static void test_spellings(void)
{
    static const char *const running[] = {
        DOMAIN(RUNTIME),
        DOMAIN("<runtime xmlns='urn:virtnest:runtime:1' l2='running' " TIMES "/>"),
        DOMAIN("<_1-x.\xc3\xa4:runtime xmlns:_1-x.\xc3\xa4='urn:virtnest:runtime:1' l2='running'/>"),
        DOMAIN("<v:runtime\n\tuntil = \"200\"\r\n l2\t=\n\"running\" " XMLNS "\n></v:runtime \n>"),
        DOMAIN("<v:runtime " XMLNS " l2='running'><v:more l2='none'/>text</v:runtime>"),
        DOMAIN("<v:runtime " XMLNS " l2='&#114;u&#x6E;&#x6e;ing'/>"),
        DOMAIN("<v:runtime xmlns:v='urn&#58;virtnest&#x3a;runtime:1' l2='running'/>"),
        DOMAIN("<v:runtime " XMLNS " note='&lt;a&gt; &quot;&apos; > /> &amp;' l2='running'/>"),
        DOMAIN("<a:b xmlns:a='urn:a'><c/><metadata/></a:b><!-- <x> -->" RUNTIME),
        /* Declared further out. */
        "<domain><uuid>" UUID "</uuid><metadata " XMLNS "><v:runtime l2='running'/></metadata></domain>",
        "<domain " XMLNS "><uuid>" UUID "</uuid><metadata><v:runtime l2='running'/></metadata></domain>",
        "<domain xmlns:v='urn:other'><metadata " XMLNS "><v:runtime l2='running'/></metadata></domain>",
        /* Around it. */
        "\xef\xbb\xbf<?xml version='1.0'?>\n<!-- <domain> --><?pi <x> ?>" DOMAIN(RUNTIME) "<!-- after -->",
        "<domain><metadata>" RUNTIME "</metadata><uuid>" UUID "</uuid><devices><disk a='--&gt;'/></devices></domain>",
        "<domain><a><![CDATA[</a></domain>]]>]]</a><metadata>" RUNTIME "</metadata></domain>",
        "<domain><metadata>" RUNTIME "<v:runtime " XMLNS " l2='none'/></metadata><metadata/></domain>",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(running); i++)
        assert_l2(running[i], INCOMING_L2_RUNNING);
    assert_l2(DOMAIN("<v:runtime " XMLNS " l2='quiet'/>"), INCOMING_L2_QUIET);
}

/* What looks like it and is not. */
static void test_others(void)
{
    static const char *const others[] = {
        DOMAIN("<v:runtime " XMLNS " l2='none'/>"),
        DOMAIN("<v:runtime " XMLNS " l2='unknown'/>"),
        DOMAIN("<v:runtime " XMLNS " l2='Running'/>"),
        DOMAIN("<v:runtime " XMLNS " l2='running '/>"),
        DOMAIN("<v:runtime " XMLNS " l2=''/>"),
        DOMAIN("<v:runtime " XMLNS " l2='running&#0;'/>"),
        DOMAIN("<v:runtime " XMLNS " l2='&running;'/>"),
        DOMAIN("<v:runtime " XMLNS "/>"),
        DOMAIN("<v:runtime " XMLNS " v:l2='running'/>"),
        DOMAIN("<v:Runtime " XMLNS " l2='running'/>"),
        DOMAIN("<v:runtimes " XMLNS " l2='running'/>"),
        DOMAIN("<runtime " XMLNS " l2='running'/>"),
        DOMAIN("<w:runtime " XMLNS " l2='running'/>"),
        DOMAIN("<v:runtime xmlns='urn:virtnest:runtime:1' l2='running'/>"),
        DOMAIN("<v:runtime xmlns:v='urn:virtnest:runtime:2' l2='running'/>"),
        DOMAIN("<v:runtime xmlns:vv='urn:virtnest:runtime:1' l2='running'/>"),
        DOMAIN("<!-- " RUNTIME " -->"),
        DOMAIN("<![CDATA[" RUNTIME "]]>"),
        DOMAIN("<?pi " RUNTIME " ?>"),
        DOMAIN("<o:other xmlns:o='urn:o' note=\"&lt;v:runtime l2='running'/>\"/>"),
        DOMAIN("<o:other xmlns:o='urn:o'>" RUNTIME "</o:other>"),
        DOMAIN("<o:other xmlns:o='urn:o'><metadata>" RUNTIME "</metadata></o:other>"),
        "<domain xmlns:v='urn:virtnest:runtime:1'><metadata xmlns:v='urn:o'><v:runtime l2='running'/></metadata></domain>",
        "<domain><uuid>" UUID "</uuid>" RUNTIME "</domain>",
        "<domain><devices><metadata>" RUNTIME "</metadata></devices></domain>",
        "<domain><devices>" RUNTIME "</devices></domain>",
        "<domain><m:metadata xmlns:m='urn:m'>" RUNTIME "</m:metadata></domain>",
        "<domain><metadata/><a>" RUNTIME "</a></domain>",
        "<domain><metadata/><metadata>" RUNTIME "</metadata></domain>",
        "<domain/>" DOMAIN(RUNTIME),
        "<domain></domain><metadata>" RUNTIME "</metadata>",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(others); i++)
        assert_l2(others[i], INCOMING_L2_UNTOLD);
}

static void test_not_a_domain(void)
{
    static const char *const texts[] = {
        "",
        " ",
        "x",
        "<",
        "<domain",
        "<domain>",
        "<domain></domain",
        "</domain>",
        "<>",
        "</>",
        "<domain a></domain>",
        "<domain a=></domain>",
        "<domain a=b></domain>",
        "<domain a='b></domain>",
        "<domain a='<'></domain>",
        "<domain / ></domain>",
        "<network><metadata>" RUNTIME "</metadata></network>",
        "<d:domain xmlns:d='urn:d'><metadata>" RUNTIME "</metadata></d:domain>",
        "<!DOCTYPE domain [<!ENTITY e 'running'>]>" DOMAIN("<v:runtime " XMLNS " l2='&e;'/>"),
        "<![CDATA[x]]>" DOMAIN(RUNTIME),
        "<domain><!-- </domain>",
        "<domain><? </domain>",
        "<domain><![CDATA[ </domain>",
        "<domain><!x></domain>",
    };
    Incoming incoming = {.since = 42};

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++)
        if (read_bytes(texts[i], strlen(texts[i]), &incoming))
            g_error("understood: %s", texts[i]);
    g_assert_cmpint(incoming.since, ==, 42);
}

/* Cut off anywhere it is not understood, and with a NUL anywhere neither. */
static void test_damaged(void)
{
    static const char text[] = "<?xml version='1.0'?><!-- c -->" DOMAIN(RUNTIME "<![CDATA[x]]>");
    Incoming incoming;

    for (gsize i = 0; i < strlen(text); i++) {
        g_autofree char *copy = g_strdup(text);
        copy[i] = '\0';
        g_assert_false(read_bytes(text, i, &incoming));
        g_assert_false(read_bytes(copy, strlen(text), &incoming));
    }
    g_assert_true(read_bytes(text, strlen(text), &incoming));
}

static Incoming with_attribute(const char *name, const char *value)
{
    g_autofree char *text = g_strdup_printf(DOMAIN("<v:runtime " XMLNS " l2='running' %s=\"%s\"/>"), name, value);

    return read_good(text);
}

static void test_times(void)
{
    static const struct {
        const char *text;
        long long time;
    } times[] = {
        {"0", 0},
        {"1764207000", 1764207000},
        {"0001", 1},
        {"9223372036854775807", G_MAXINT64},
        {"&#49;&#x32;", 12},
        {"9223372036854775808", INCOMING_NEVER},
        {"99999999999999999999999999999999999", INCOMING_NEVER},
        {"", INCOMING_NEVER},
        {"-1", INCOMING_NEVER},
        {"+1", INCOMING_NEVER},
        {" 1", INCOMING_NEVER},
        {"1 ", INCOMING_NEVER},
        {"1.5", INCOMING_NEVER},
        {"0x1", INCOMING_NEVER},
        {"a", INCOMING_NEVER},
        {"1&#0;", INCOMING_NEVER},
        {"1&amp;", INCOMING_NEVER},
        {"1&#x110000;", INCOMING_NEVER},
        {"1&#99999999999999999999999999;", INCOMING_NEVER},
        {"1&", INCOMING_NEVER},
        {"1&;", INCOMING_NEVER},
        {"1&#;", INCOMING_NEVER},
        {"1&#x;", INCOMING_NEVER},
        {"1&#xg;", INCOMING_NEVER},
        {"1&#", INCOMING_NEVER},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(times); i++) {
        g_assert_cmpint(with_attribute("until", times[i].text).until, ==, times[i].time);
        g_assert_cmpint(with_attribute("since", times[i].text).since, ==, times[i].time);
        g_assert_cmpint(with_attribute("released-until", times[i].text).released_until, ==, times[i].time);
    }
}

static void test_host(void)
{
    g_autofree char *long_name = g_strnfill(1000, 'x');

    g_assert_cmpstr(with_attribute("host", "a &amp; b").host, ==, "a & b");
    g_assert_cmpstr(with_attribute("host", "\x1b[31m\xc3\xa4\n&#27;&#228;\x7f").host, ==, "?[31m?? ???");
    g_assert_cmpuint(strlen(with_attribute("host", long_name).host), ==, INCOMING_HOST_SIZE - 1);
    g_assert_cmpstr(with_attribute("host", "a&unknown;b").host, ==, "a");
}

static void assert_uuid(const char *text, const char *uuid)
{
    g_autofree char *xml =
        g_strdup_printf("<domain><a><uuid>" UUID "</uuid></a><uuid>%s</uuid><uuid>x</uuid></domain>", text);

    g_assert_cmpstr(read_good(xml).uuid, ==, uuid);
}

/* It becomes part of a path and of a command line. */
static void test_uuid(void)
{
    assert_uuid(UUID, UUID);
    assert_uuid("C7A5FDBD-CDAF-9455-926A-D65C16DB1809", UUID);
    assert_uuid("c7a5fdbdcdaf9455926ad65c16db1809", UUID);
    assert_uuid("\n  " UUID "\n  ", UUID);
    assert_uuid("", "");
    assert_uuid("-", "");
    assert_uuid("../../../../etc/passwd", "");
    assert_uuid("all", "");
    assert_uuid("c7a5fdbd-cdaf-9455-926a-d65c16db180", "");
    assert_uuid("c7a5fdbd-cdaf-9455-926a-d65c16db18099", "");
    assert_uuid(UUID " x", "");
    assert_uuid("c7a5fdbd-cdaf-9455-926a-d65c16db18/9", "");
    assert_uuid("c7a5fdbd-cdaf-9455-926a-d65c16db180&#57;", UUID);
    assert_uuid("                                                                        " UUID, "");
    g_assert_cmpstr(read_good("<domain><uuid/><metadata>" RUNTIME "</metadata></domain>").uuid, ==, "");
    g_assert_cmpstr(read_good("<domain><devices><uuid>" UUID "</uuid></devices></domain>").uuid, ==, "");
}

static void test_refused(void)
{
    Incoming incoming = read_good(DOMAIN(RUNTIME));

    /* The lease, 200, is for migrations alone. */
    g_assert_true(incoming_is_refused(&incoming, INCOMING_MIGRATE, 0));
    g_assert_true(incoming_is_refused(&incoming, INCOMING_MIGRATE, 200));
    g_assert_false(incoming_is_refused(&incoming, INCOMING_MIGRATE, 201));
    g_assert_true(incoming_is_refused(&incoming, INCOMING_RESTORE, 200));
    g_assert_true(incoming_is_refused(&incoming, INCOMING_RESTORE, 201));
    g_assert_true(incoming_is_refused(&incoming, INCOMING_RESTORE, G_MAXINT64));
    incoming.until = INCOMING_NEVER;
    g_assert_false(incoming_is_refused(&incoming, INCOMING_MIGRATE, 0));
    g_assert_true(incoming_is_refused(&incoming, INCOMING_RESTORE, 0));
    incoming.until = G_MAXINT64;
    for (IncomingKind kind = INCOMING_MIGRATE; kind <= INCOMING_RESTORE; kind++) {
        incoming.released_until = 150;
        g_assert_false(incoming_is_refused(&incoming, kind, 149));
        g_assert_true(incoming_is_refused(&incoming, kind, 150));
        incoming.released_until = INCOMING_NEVER;
        incoming.l2 = INCOMING_L2_QUIET;
        g_assert_true(incoming_is_refused(&incoming, kind, 0));
        incoming.l2 = INCOMING_L2_UNTOLD;
        g_assert_false(incoming_is_refused(&incoming, kind, 0));
        incoming.l2 = INCOMING_L2_RUNNING;
    }
    *incoming.uuid = '\0';
    g_assert_false(incoming_is_refused(&incoming, INCOMING_RESTORE, 0));
}

/* The domains that the other tests are about, as they are and with the element in them. */
static void test_domains(void)
{
    for (gsize i = 0; util_domains[i] != NULL; i++) {
        g_autofree char *text = util_domain(util_domains[i]);
        g_autofree char *runs = util_with_metadata(text, RUNTIME), *crlf = util_crlf(runs);
        g_autofree char *tabs = util_tabs(runs), *like_libvirt = util_libvirt_metadata(runs);
        assert_l2(text, INCOMING_L2_UNTOLD);
        assert_l2(runs, INCOMING_L2_RUNNING);
        assert_l2(crlf, INCOMING_L2_RUNNING);
        assert_l2(tabs, INCOMING_L2_RUNNING);
        assert_l2(like_libvirt, INCOMING_L2_RUNNING);
    }
}

/* Elements without end inside of each other take no memory, and neither does a large domain. */
static void test_large(void)
{
    g_autoptr(GString) deep = g_string_new("<domain>");
    g_autofree char *big = util_big_domain(512, 4096), *runs = util_with_metadata(big, RUNTIME);

    assert_l2(runs, INCOMING_L2_RUNNING);
    for (unsigned i = 0; i < 500000; i++)
        g_string_append(deep, "<metadata>");
    g_string_append(deep, RUNTIME);
    g_assert_false(incoming_read(deep->str, deep->len, &(Incoming){0}));
    for (unsigned i = 0; i < 500000; i++)
        g_string_append(deep, "</metadata>");
    g_string_append(deep, "</domain>");
    assert_l2(deep->str, INCOMING_L2_UNTOLD);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/incoming/all", test_all);
    g_test_add_func("/incoming/spellings", test_spellings);
    g_test_add_func("/incoming/others", test_others);
    g_test_add_func("/incoming/not-a-domain", test_not_a_domain);
    g_test_add_func("/incoming/damaged", test_damaged);
    g_test_add_func("/incoming/times", test_times);
    g_test_add_func("/incoming/host", test_host);
    g_test_add_func("/incoming/uuid", test_uuid);
    g_test_add_func("/incoming/refused", test_refused);
    g_test_add_func("/incoming/domains", test_domains);
    g_test_add_func("/incoming/large", test_large);
    return g_test_run();
}
