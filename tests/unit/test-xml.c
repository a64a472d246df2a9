/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/xml.c: where the elements of a document stand, which documents are refused, and edits that touch nothing else. */

#include "lib/xml.h"

#include "tests/unit/util.h"
#include <string.h>

/* Spans ----------------------------------------------------------------------------------------------------------- */

typedef struct SpanCase {
    const char *name;
    const char *text;
    const char *cpu;     /* the bytes of the root's first <cpu> */
    const char *content; /* how that goes on behind its opening tag */
} SpanCase;

static const SpanCase span_cases[] = {
    {"plain", "<domain><cpu mode='custom'>x</cpu></domain>", "<cpu mode='custom'>x</cpu>", "x</cpu></domain>"},
    {"self-closed", "<domain><cpu mode='maximum'/></domain>", "<cpu mode='maximum'/>", "</domain>"},
    {"self-closed-bare", "<domain><cpu/></domain>", "<cpu/>", "</domain>"},
    {"self-closed-space", "<domain><cpu mode='maximum' \n /> </domain>", "<cpu mode='maximum' \n />", " </domain>"},
    {"empty", "<domain><cpu></cpu></domain>", "<cpu></cpu>", "</cpu></domain>"},
    {"greater-in-value", "<domain><cpu a='x>y' b=\"/>\">z</cpu></domain>", "<cpu a='x>y' b=\"/>\">z</cpu>",
     "z</cpu></domain>"},
    {"greater-at-end-of-value", "<domain><cpu a='>'>z</cpu></domain>", "<cpu a='>'>z</cpu>", "z</cpu></domain>"},
    {"slash-at-end-of-value", "<domain><cpu a='/'/></domain>", "<cpu a='/'/>", "</domain>"},
    {"equals-and-quotes-in-value", "<domain><cpu a='b=\"c\"' d=\"e='f'\"/></domain>", "<cpu a='b=\"c\"' d=\"e='f'\"/>",
     "</domain>"},
    {"escaped-less-in-value", "<domain><cpu a='&lt;cpu&#x3c;'/></domain>", "<cpu a='&lt;cpu&#x3c;'/>", "</domain>"},
    {"lines-in-tag", "<domain>\n<cpu\n\ta\n=\n'1'\n>\n</cpu\n></domain>", "<cpu\n\ta\n=\n'1'\n>\n</cpu\n>",
     "\n</cpu\n></domain>"},
    {"crlf", "<domain>\r\n  <cpu\r\n a='1'>\r\n  </cpu>\r\n</domain>\r\n", "<cpu\r\n a='1'>\r\n  </cpu>",
     "\r\n  </cpu>\r\n</domain>\r\n"},
    {"declaration", "<?xml version='1.0' encoding='utf-8' standalone='yes'?>\n<domain><cpu/></domain>", "<cpu/>",
     "</domain>"},
    {"byte-order-mark", "\xef\xbb\xbf<domain><cpu/></domain>", "<cpu/>", "</domain>"},
    {"byte-order-mark-declaration", "\xef\xbb\xbf<?xml version='1.0' encoding='UTF-8'?><domain><cpu/></domain>",
     "<cpu/>", "</domain>"},
    {"comment-before-root", "<!-- <domain><cpu a='1'/></domain> -->\n<domain><cpu/></domain>", "<cpu/>", "</domain>"},
    {"instruction-before-root", "<?a <domain><cpu a='1'/> ?><domain><cpu/></domain>", "<cpu/>", "</domain>"},
    {"comment-before", "<domain><!-- <cpu a='1'/> --><cpu/></domain>", "<cpu/>", "</domain>"},
    {"comment-touching", "<domain><!----><cpu><!-- </cpu> --></cpu><!-- > --></domain>", "<cpu><!-- </cpu> --></cpu>",
     "<!-- </cpu> --></cpu><!-- > --></domain>"},
    {"cdata", "<domain><title><![CDATA[<cpu/>]]></title><cpu><![CDATA[</cpu>]]></cpu></domain>",
     "<cpu><![CDATA[</cpu>]]></cpu>", "<![CDATA[</cpu>]]></cpu></domain>"},
    {"instruction", "<domain><?x <cpu/> > ?><cpu><?x </cpu> ?></cpu></domain>", "<cpu><?x </cpu> ?></cpu>",
     "<?x </cpu> ?></cpu></domain>"},
    {"references", "<domain><title>&lt;cpu/&gt;&#60;cpu/>&#x10FFFF;&apos;</title><cpu/></domain>", "<cpu/>",
     "</domain>"},
    {"utf8-before", "<domain a='\xc3\xa9\xe2\x82\xac'><title>\xf0\x9f\x90\x8e\xe6\x97\xa5</title><cpu/></domain>",
     "<cpu/>", "</domain>"},
    {"utf8-inside", "<domain><cpu a='\xf0\x9f\x90\x8e'>\xc3\xa9</cpu></domain>",
     "<cpu a='\xf0\x9f\x90\x8e'>\xc3\xa9</cpu>", "\xc3\xa9</cpu></domain>"},
    {"utf8-element-before", "<domain><\xd0\xba>x</\xd0\xba><cpu/></domain>", "<cpu/>", "</domain>"},
    {"prefixed-sibling", "<domain><q:cpu xmlns:q='urn:q' a='1'/><cpu/></domain>", "<cpu/>", "</domain>"},
    {"undeclared-prefix-sibling", "<domain><q:cpu a='1'/><q:metadata><a/></q:metadata><cpu/></domain>", "<cpu/>",
     "</domain>"},
    {"other-namespace-sibling", "<domain><cpu xmlns='urn:q'/><cpu/></domain>", "<cpu/>", "</domain>"},
    {"longer-name-sibling", "<domain><cpus/><cpu2/><cpu/></domain>", "<cpu/>", "</domain>"},
    {"nested-cpu", "<domain><metadata><cpu a='1'/></metadata><devices><cpu a='2'/></devices><cpu/></domain>", "<cpu/>",
     "</domain>"},
    {"nested-in-itself", "<domain><cpu><cpu/></cpu></domain>", "<cpu><cpu/></cpu>", "<cpu/></cpu></domain>"},
    {"two", "<domain><cpu/><cpu a='2'/></domain>", "<cpu/>", "<cpu a='2'/></domain>"},
    {"namespace-declared", "<domain xmlns:q='urn:q'><cpu xmlns:r='urn:r' r:a='>'/></domain>",
     "<cpu xmlns:r='urn:r' r:a='>'/>", "</domain>"},
    {"text-between", "<domain>a > b <cpu/> c</domain>", "<cpu/>", " c</domain>"},
};

static void test_span(gconstpointer data)
{
    const SpanCase *c = data;
    g_autoptr(DomainXml) xml = util_parse(c->text);
    const xmlNode *cpu = xml_child(domain_xml_root(xml), "cpu");
    g_autofree char *slice = util_slice(xml, cpu);

    util_assert_same(domain_xml_text(xml), c->text);
    g_assert_cmpstr(slice, ==, c->cpu);
    g_assert_cmpstr(domain_xml_text(xml) + domain_xml_content_start(xml, cpu), ==, c->content);
    bool self_closed = g_str_has_suffix(c->cpu, "/>");
    g_assert_cmpint(domain_xml_content_start(xml, cpu) == domain_xml_span(xml, cpu).end, ==, self_closed);
}

static void test_span_root(void)
{
    g_autoptr(DomainXml) xml = util_parse("\xef\xbb\xbf <!-- x --> <domain\n a='>' >\n</domain\n>\n<!-- y -->\n");
    g_autofree char *slice = util_slice(xml, domain_xml_root(xml));

    g_assert_cmpstr(slice, ==, "<domain\n a='>' >\n</domain\n>");
    g_assert_cmpstr(domain_xml_text(xml) + domain_xml_content_start(xml, domain_xml_root(xml)), ==,
                    "\n</domain\n>\n<!-- y -->\n");
}

static void test_span_metadata(void)
{
    g_autoptr(DomainXml) xml =
        util_parse("<domain><metadata a='>'><a:x xmlns:a='urn:a>'/>t<x xmlns='urn:b'>y</x><x/></metadata></domain>");
    g_autofree char *a = util_slice(xml, domain_xml_metadata(xml, "urn:a>", "x"));
    g_autofree char *b = util_slice(xml, domain_xml_metadata(xml, "urn:b", NULL));

    g_assert_cmpstr(a, ==, "<a:x xmlns:a='urn:a>'/>");
    g_assert_cmpstr(b, ==, "<x xmlns='urn:b'>y</x>");
    g_assert_null(domain_xml_metadata(xml, "urn:b", "y"));
    g_assert_null(domain_xml_metadata(xml, "urn:c", NULL));
}

static void test_span_features(void)
{
    g_autoptr(DomainXml) xml = util_parse(
        "<domain><q:features xmlns:q='urn:q'><a/></q:features><features a='>'>\n <acpi/><q:hyperv xmlns:q='urn:q'><a/>"
        "</q:hyperv><r:hyperv><a/></r:hyperv><hyperv\n>t<vapic a='>' /><spinlocks><deep/></spinlocks></hyperv><hyperv>"
        "<evmcs></evmcs></hyperv><kvm><hyperv><a/></hyperv></kvm><smm state='on'>x</smm></features>"
        "<features><pae/></features><hyperv><evmcs/></hyperv></domain>");
    const xmlNode *features = xml_child(domain_xml_root(xml), "features");
    const xmlNode *hyperv = xml_child(features, "hyperv");
    const struct {
        const xmlNode *node;
        const char *bytes;
    } expected[] = {
        {xml_child(features, "acpi"), "<acpi/>"},
        {hyperv, "<hyperv\n>t<vapic a='>' /><spinlocks><deep/></spinlocks></hyperv>"},
        {xml_child(hyperv, "vapic"), "<vapic a='>' />"},
        {xml_child(hyperv, "spinlocks"), "<spinlocks><deep/></spinlocks>"},
        {hyperv->next, "<hyperv><evmcs></evmcs></hyperv>"},
        {hyperv->next->children, "<evmcs></evmcs>"},
        {xml_child(features, "smm"), "<smm state='on'>x</smm>"},
        {xml_child(features->next, "pae"), "<pae/>"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autofree char *slice = util_slice(xml, expected[i].node);
        g_assert_cmpstr(slice, ==, expected[i].bytes);
    }
    g_assert_cmpstr(domain_xml_text(xml) + domain_xml_content_start(xml, xml_child(features->next, "pae")), ==,
                    "</features><hyperv><evmcs/></hyperv></domain>");
}

static void test_metadata_absent(void)
{
    g_autoptr(DomainXml) absent = util_parse("<domain><devices><x xmlns='urn:a'/></devices></domain>");
    g_autoptr(DomainXml) empty = util_parse("<domain><metadata/></domain>");
    g_autoptr(DomainXml) deeper = util_parse("<domain><metadata><o><x xmlns='urn:a'/></o></metadata></domain>");

    g_assert_null(domain_xml_metadata(absent, "urn:a", NULL));
    g_assert_null(domain_xml_metadata(empty, "urn:a", NULL));
    g_assert_null(domain_xml_metadata(deeper, "urn:a", NULL));
}

/* Each child of the root, in order: apart from the others, opening and closing as its name says, complete on its own. */
static void check_children(const char *text)
{
    g_autoptr(DomainXml) xml = util_parse(text);
    gsize end = domain_xml_content_start(xml, domain_xml_root(xml));
    unsigned n = 0;

    for (const xmlNode *child = domain_xml_root(xml)->children; child != NULL; child = child->next) {
        if (child->type != XML_ELEMENT_NODE)
            continue;
        XmlSpan span = domain_xml_span(xml, child);
        g_autofree char *slice = util_slice(xml, child);
        g_autoptr(GError) error = NULL;
        g_autoptr(xmlDoc) fragment = xml_parse_fragment(slice, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(span.start, >=, end);
        g_assert_true(g_str_has_prefix(slice, "<"));
        g_assert_true(g_str_has_suffix(slice, ">"));
        g_assert_true(g_str_has_suffix((const char *)xmlDocGetRootElement(fragment)->name, (const char *)child->name));
        if (!xml_is_element(child, "devices")) {
            g_autofree char *whole = xml_text(child), *alone = xml_text(xmlDocGetRootElement(fragment));
            util_assert_same(alone, whole);
        }
        end = span.end;
        n++;
    }
    g_assert_cmpuint(n, ==, xmlChildElementCount(domain_xml_root(xml)));
}

static void test_span_documents(void)
{
    for (gsize i = 0; util_domains[i] != NULL; i++) {
        g_autofree char *text = util_domain(util_domains[i]);
        g_autofree char *crlf = util_crlf(text), *tabs = util_tabs(text), *one_line = util_one_line(text);
        g_test_message("%s", util_domains[i]);
        check_children(text);
        check_children(crlf);
        check_children(tabs);
        if (strcmp(util_domains[i], "odd") != 0)
            check_children(one_line);
    }
}

static void test_span_big(void)
{
    g_autofree char *text = util_big_domain(512, 200);

    check_children(text);
}

/* Of <devices> the tree has the <emulator>; what stands behind it is not disturbed by what is left out. */
static void test_devices(void)
{
    g_autoptr(DomainXml) xml = util_parse(
        "<domain><devices><disk><emulator>/no</emulator><devices><emulator>/no</emulator></devices></disk>text<!-- x -->"
        "<emulator a='>'>/usr/<b/><![CDATA[bin/]]>&#113;<!-- x -->emu</emulator><?x?><![CDATA[<emulator>/no]]>"
        "<q:emulator xmlns:q='urn:q'>/no</q:emulator><disk/><emulator>/second</emulator></devices>"
        "<cpu mode='maximum'/><devices><cpu/></devices><metadata><a xmlns='urn:a'><emulator/></a></metadata></domain>");
    const xmlNode *root = domain_xml_root(xml), *devices = xml_child(root, "devices");
    g_autofree char *emulator = xml_text(xml_child(devices, "emulator"));
    g_autofree char *cpu = util_slice(xml, xml_child(root, "cpu"));
    g_autofree char *a = util_slice(xml, domain_xml_metadata(xml, "urn:a", "a"));

    g_assert_cmpstr(emulator, ==, "/usr/bin/qemu");
    g_assert_cmpstr(cpu, ==, "<cpu mode='maximum'/>");
    g_assert_cmpstr(a, ==, "<a xmlns='urn:a'><emulator/></a>");
    g_assert_true(
        g_str_has_suffix(domain_xml_text(xml) + domain_xml_span(xml, devices).end,
                         "<devices><cpu/></devices><metadata><a xmlns='urn:a'><emulator/></a></metadata></domain>"));
}

static void test_length(void)
{
    static const char text[] = "<domain><cpu/></domain>and more";
    gsize length = strlen("<domain><cpu/></domain>");
    /* Not terminated, so that a sanitizer sees a read behind the end. */
    g_autofree char *exact = g_memdup2(text, length);
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainXml) xml = domain_xml_parse(exact, (gssize)length, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(domain_xml_text(xml), ==, "<domain><cpu/></domain>");
    g_autoptr(DomainXml) too_long = domain_xml_parse(text, -1, &error);
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML);
    g_assert_null(too_long);
}

/* Refusals -------------------------------------------------------------------------------------------------------- */

typedef struct RefusedCase {
    const char *name;
    const char *text;
    const char *message; /* a part of the message */
} RefusedCase;

static const RefusedCase refused_cases[] = {
    {"empty", "", "the domain XML"},
    {"blank", " \n", "not well-formed"},
    {"comment-only", "<!-- <domain/> -->", "not well-formed"},
    {"text", "no such domain", "not well-formed"},
    {"doctype", "<!DOCTYPE domain><domain/>", "document type declaration"},
    {"doctype-external", "<!DOCTYPE domain SYSTEM 'file:///etc/passwd'><domain/>", "document type declaration"},
    {"doctype-entity", "<!DOCTYPE domain [<!ENTITY a 'b'>]><domain><title>&a;</title></domain>",
     "document type declaration"},
    {"doctype-after-comment", "<?xml version='1.0'?><!-- x --><!DOCTYPE domain []><domain/>",
     "document type declaration"},
    {"entity-undeclared", "<domain><title>&a;</title></domain>", "Entity 'a' not defined"},
    {"encoding-latin1", "<?xml version='1.0' encoding='ISO-8859-1'?><domain><title>\xe9</title></domain>",
     "encoded in ISO-8859-1"},
    {"encoding-ascii", "<?xml version='1.0' encoding='US-ASCII'?><domain/>", "encoded in US-ASCII"},
    {"encoding-unknown", "<?xml version='1.0' encoding='x-klingon'?><domain/>", "the domain XML"},
    {"invalid-utf8", "<domain><title>\xe9 and more</title></domain>", "not well-formed"},
    {"overlong-utf8", "<domain><title>\xc0\xbc and more</title></domain>", "not well-formed"},
    {"surrogate", "<domain><title>\xed\xa0\x80 and more</title></domain>", "not well-formed"},
    {"control-character", "<domain><title>\x01</title></domain>", "not well-formed"},
    {"reference-to-nul", "<domain><title>&#0;</title></domain>", "not well-formed"},
    {"root-other", "<network><name>default</name></network>", "expected a <domain>, found <network>"},
    {"root-longer", "<domains/>", "expected a <domain>"},
    {"root-prefixed", "<v:domain xmlns:v='urn:v'/>", "expected a <domain>"},
    {"root-other-namespace", "<domain xmlns='urn:v'/>", "expected a <domain>"},
    {"root-capital", "<Domain/>", "expected a <domain>"},
    {"two-roots", "<domain/><domain/>", "not well-formed"},
    {"not-closed", "<domain><cpu></domain>", "not well-formed"},
    {"less-in-value", "<domain><cpu a='<'/></domain>", "not well-formed"},
    {"attribute-twice", "<domain a='1' a='2'/>", "not well-formed"},
    {"trailing-text", "<domain/>x", "not well-formed"},
    {"leading-space-declaration", " <?xml version='1.0'?><domain/>", "not well-formed"},
};

static void assert_refused(const char *text, gssize length, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(DomainXml) xml = domain_xml_parse(text, length, &error);

    g_assert_null(xml);
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML);
    util_assert_contains(error->message, message);
}

static void test_refused(gconstpointer data)
{
    const RefusedCase *c = data;

    assert_refused(c->text, -1, c->message);
}

static void test_refused_names_the_line(void)
{
    assert_refused("<domain>\n  <name>x</name>\n  <cpu mode=custom/>\n</domain>\n", -1, "line 3");
}

static void test_refused_utf16(void)
{
    static const char text[] = "<domain><cpu/></domain>";
    char little[2 + 2 * sizeof(text)] = {'\xff', '\xfe'}, big[2 + 2 * sizeof(text)] = {'\xfe', '\xff'};

    for (gsize i = 0; i < strlen(text); i++) {
        little[2 + 2 * i] = text[i];
        big[3 + 2 * i] = text[i];
    }
    assert_refused(little, (gssize)(2 + 2 * strlen(text)), "the domain XML");
    assert_refused(big, (gssize)(2 + 2 * strlen(text)), "the domain XML");
    assert_refused(little + 2, (gssize)(2 * strlen(text)), "the domain XML");
    assert_refused(big + 2, (gssize)(2 * strlen(text)), "the domain XML");
}

static void test_refused_nul(void)
{
    static const char inside[] = "<domain><title>\0</title></domain>", behind[] = "<domain/>\0<cpu/>",
                      before[] = "\0<domain/>";

    assert_refused(inside, sizeof(inside) - 1, "the domain XML");
    assert_refused(behind, sizeof(behind) - 1, "the domain XML");
    assert_refused(before, sizeof(before) - 1, "the domain XML");
}

static void test_refused_deep(void)
{
    for (unsigned depth = 1000; depth <= 10000; depth *= 10) {
        GString *text = g_string_new("<domain>");
        for (unsigned i = 0; i < depth; i++)
            g_string_append(text, "<a>");
        for (unsigned i = 0; i < depth; i++)
            g_string_append(text, "</a>");
        g_string_append(text, "</domain>");
        assert_refused(text->str, -1, "depth");
        g_string_free(text, TRUE);
    }
}

static void test_refused_truncated(void)
{
    for (gsize i = 0; util_domains[i] != NULL; i++) {
        g_autofree char *text = util_domain(util_domains[i]);
        g_autoptr(DomainXml) xml = util_parse(text);
        gsize end = domain_xml_span(xml, domain_xml_root(xml)).end;
        for (gsize length = 0; length < end; length++)
            assert_refused(text, (gssize)length, "the domain XML");
    }
}

/* Whatever comes in, it is refused with an error or is a document whose spans hold. */
static void test_garbage(void)
{
    static const char *const words[] = {"<domain>",  "</domain>", "<cpu",       "/>",          ">",    "<",    "&",
                                        "<![CDATA[", "]]>",       "<metadata>", "</metadata>", "<!--", "-->",  "'",
                                        "\"",        "=",         "a",          " ",           "\n",   "\xc3", "\xff"};

    for (unsigned round = 0; round < 3000; round++) {
        GString *text = g_string_new(g_test_rand_bit() ? "<domain>" : "");
        unsigned n = (unsigned)g_test_rand_int_range(0, 24);
        for (unsigned i = 0; i < n; i++) {
            if (g_test_rand_int_range(0, 8) == 0)
                g_string_append_c(text, (char)g_test_rand_int_range(0, 256));
            else
                g_string_append(text, words[g_test_rand_int_range(0, G_N_ELEMENTS(words))]);
        }
        if (g_test_rand_bit())
            g_string_append(text, "</domain>");
        g_autoptr(GError) error = NULL;
        g_autoptr(DomainXml) xml = domain_xml_parse(text->str, (gssize)text->len, &error);
        g_assert_true((xml == NULL) == (error != NULL));
        if (xml != NULL)
            check_children(domain_xml_text(xml));
        g_string_free(text, TRUE);
    }
}

/* Indentation and edits ------------------------------------------------------------------------------------------- */

typedef struct IndentCase {
    const char *name;
    const char *text;
    const char *indent;
    const char *with_indent; /* the bytes of <cpu> widened over what domain_xml_indent() would have put before it */
} IndentCase;

static const IndentCase indent_cases[] = {
    {"libvirt", "<domain>\n  <cpu/>\n</domain>", "\n  ", "\n  <cpu/>"},
    {"tab", "<domain>\n\t<cpu/>\n</domain>", "\n\t", "\n\t<cpu/>"},
    {"mixed", "<domain>\n \t <cpu/>\n</domain>", "\n \t ", "\n \t <cpu/>"},
    {"none", "<domain>\n<cpu/>\n</domain>", "\n", "\n<cpu/>"},
    {"one-line", "<domain><cpu/></domain>", "\n", "<cpu/>"},
    {"behind-another", "<domain>\n  <a/> <cpu/>\n</domain>", "\n", "<cpu/>"},
    {"behind-text", "<domain>\n  text  <cpu/>\n</domain>", "\n", "<cpu/>"},
    {"blank-line", "<domain>\n\n \n  <cpu/>\n</domain>", "\n  ", "\n  <cpu/>"},
    {"crlf", "<domain>\r\n  <cpu/>\r\n</domain>", "\n  ", "\n  <cpu/>"},
};

static void test_indent(gconstpointer data)
{
    const IndentCase *c = data;
    g_autoptr(DomainXml) xml = util_parse(c->text);
    XmlSpan span = domain_xml_span(xml, xml_child(domain_xml_root(xml), "cpu"));
    g_autofree char *indent = domain_xml_indent(xml, span);
    XmlSpan wide = domain_xml_span_with_indent(xml, span);
    g_autofree char *slice = g_strndup(c->text + wide.start, wide.end - wide.start);

    g_assert_cmpstr(indent, ==, c->indent);
    g_assert_cmpstr(slice, ==, c->with_indent);
}

static char *edit(const char *text, XmlEdit *edits, gsize n_edits)
{
    g_autoptr(DomainXml) xml = util_parse(text);

    return domain_xml_edit(xml, edits, n_edits);
}

static void test_edit_none(void)
{
    for (gsize i = 0; util_domains[i] != NULL; i++) {
        g_autofree char *text = util_domain(util_domains[i]);
        g_autofree char *same = edit(text, NULL, 0);
        util_assert_same(same, text);
    }
}

static void test_edit(void)
{
    static const char text[] = "<domain><a/><b/></domain>";
    char replaced[] = "<c/>", inserted[] = "<!-- x -->", removed[] = "";
    XmlEdit edits[] = {
        {.span = {12, 16}, .text = replaced},
        {.span = {8, 8}, .text = inserted},
        {.span = {8, 12}, .text = removed},
    };
    g_autofree char *one = edit(text, edits, 1);
    g_assert_cmpstr(one, ==, "<domain><a/><c/></domain>");
    g_autofree char *two = edit(text, edits, 2);
    g_assert_cmpstr(two, ==, "<domain><!-- x --><a/><c/></domain>");
    g_autofree char *three = edit(text, edits, 3);
    g_assert_cmpstr(three, ==, "<domain><!-- x --><c/></domain>");
}

/* An insertion where a replaced range begins comes first, whatever order they are given in. */
static void test_edit_touching(void)
{
    static const char text[] = "<domain><a/></domain>";
    char replaced[] = "<b/>", inserted[] = "<c/>", appended[] = "<d/>";
    XmlEdit insert = {.span = {8, 8}, .text = inserted}, replace = {.span = {8, 12}, .text = replaced},
            append = {.span = {12, 12}, .text = appended};
    XmlEdit orders[][3] = {{insert, replace, append}, {append, insert, replace}, {replace, insert, append},
                           {replace, append, insert}, {append, replace, insert}, {insert, append, replace}};

    for (gsize i = 0; i < G_N_ELEMENTS(orders); i++) {
        g_autofree char *result = edit(text, orders[i], 3);
        g_assert_cmpstr(result, ==, "<domain><c/><b/><d/></domain>");
    }
}

static void test_edit_ends(void)
{
    char front[] = "<!-- a -->", back[] = "<!-- b -->";
    XmlEdit edits[] = {{.span = {9, 9}, .text = back}, {.span = {0, 0}, .text = front}};
    g_autofree char *result = edit("<domain/>", edits, 2);

    g_assert_cmpstr(result, ==, "<!-- a --><domain/><!-- b -->");
}

/* Small readers --------------------------------------------------------------------------------------------------- */

static void test_readers(void)
{
    g_autoptr(DomainXml) xml = util_parse("<domain xmlns:q='urn:q' q:type='no' type='a&lt;&#10;b'><name>a<b>c</b>"
                                          "<![CDATA[<d>]]>&amp;</name><uuid/></domain>");
    const xmlNode *root = domain_xml_root(xml);
    g_autofree char *type = xml_attribute(root, "type"), *none = xml_attribute(root, "id"),
                    *of_null = xml_attribute(NULL, "id");
    g_autofree char *name = xml_text(xml_child(root, "name")), *uuid = xml_text(xml_child(root, "uuid")),
                    *text_of_null = xml_text(NULL);

    g_assert_cmpstr(type, ==, "a<\nb");
    g_assert_null(none);
    g_assert_null(of_null);
    g_assert_cmpstr(name, ==, "ac<d>&");
    g_assert_cmpstr(uuid, ==, "");
    g_assert_cmpstr(text_of_null, ==, "");
    g_assert_null(xml_child(NULL, "name"));
    g_assert_null(xml_child(root, "nam"));
    g_assert_false(xml_is_element(NULL, "name"));
}

static void test_fragment(void)
{
    static const char *const good[] = {"<cpu/>", "<q:cpu/>", "<cpu q:a='1'><q:b/></cpu>", "<!-- x --><cpu/>\n"};
    static const char *const bad[] = {"",
                                      " ",
                                      "cpu",
                                      "<cpu>",
                                      "<cpu/><cpu/>",
                                      "<!DOCTYPE cpu><cpu/>",
                                      "<!DOCTYPE cpu [<!ENTITY a 'b'>]><cpu>&a;</cpu>",
                                      "<cpu>&a;</cpu>"};

    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(xmlDoc) doc = xml_parse_fragment(good[i], &error);
        g_assert_no_error(error);
        g_assert_nonnull(doc);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(xmlDoc) doc = xml_parse_fragment(bad[i], &error);
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML);
        g_assert_null(doc);
        util_assert_lacks(error->message, "out of memory");
    }
}

/* What is put into the middle of a document must not bring a declaration of its own. */
static void test_fragment_declaration(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(xmlDoc) doc = xml_parse_fragment("<?xml version='1.0'?><cpu/>", &error);

    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML);
    g_assert_null(doc);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(span_cases); i++) {
        g_autofree char *path = g_strconcat("/xml/span/", span_cases[i].name, NULL);
        g_test_add_data_func(path, &span_cases[i], test_span);
    }
    g_test_add_func("/xml/span-root", test_span_root);
    g_test_add_func("/xml/span-metadata", test_span_metadata);
    g_test_add_func("/xml/span-features", test_span_features);
    g_test_add_func("/xml/metadata-absent", test_metadata_absent);
    g_test_add_func("/xml/span-documents", test_span_documents);
    g_test_add_func("/xml/span-big", test_span_big);
    g_test_add_func("/xml/devices", test_devices);
    g_test_add_func("/xml/length", test_length);
    for (gsize i = 0; i < G_N_ELEMENTS(refused_cases); i++) {
        g_autofree char *path = g_strconcat("/xml/refused/", refused_cases[i].name, NULL);
        g_test_add_data_func(path, &refused_cases[i], test_refused);
    }
    g_test_add_func("/xml/refused-names-the-line", test_refused_names_the_line);
    g_test_add_func("/xml/refused-utf16", test_refused_utf16);
    g_test_add_func("/xml/refused-nul", test_refused_nul);
    g_test_add_func("/xml/refused-deep", test_refused_deep);
    g_test_add_func("/xml/refused-truncated", test_refused_truncated);
    g_test_add_func("/xml/garbage", test_garbage);
    for (gsize i = 0; i < G_N_ELEMENTS(indent_cases); i++) {
        g_autofree char *path = g_strconcat("/xml/indent/", indent_cases[i].name, NULL);
        g_test_add_data_func(path, &indent_cases[i], test_indent);
    }
    g_test_add_func("/xml/edit-none", test_edit_none);
    g_test_add_func("/xml/edit", test_edit);
    g_test_add_func("/xml/edit-touching", test_edit_touching);
    g_test_add_func("/xml/edit-ends", test_edit_ends);
    g_test_add_func("/xml/readers", test_readers);
    g_test_add_func("/xml/fragment", test_fragment);
    g_test_add_func("/xml/fragment-declaration", test_fragment_declaration);
    return g_test_run();
}
