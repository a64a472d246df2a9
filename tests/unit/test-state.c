/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/state.c: the element that remembers the CPU of before, in and out of any <metadata>. */

#include "lib/state.h"

#include "tests/unit/util.h"
#include <string.h>

#define OPEN "<virtnest:state xmlns:virtnest=\"urn:virtnest:state:1\" version=\"1\" policy=\"lab\""
#define APPLIED "<cpu mode=\"host-model\"/>"
#define APPLIED_ESCAPED "&lt;cpu mode=&quot;host-model&quot;/&gt;"

static Cpu *cpu(const char *text)
{
    g_autoptr(GError) error = NULL;
    Cpu *result = cpu_from_text(text, &error);

    g_assert_no_error(error);
    return result;
}

static State *read_state(const DomainXml *xml)
{
    g_autoptr(GError) error = NULL;
    State *state = NULL;

    g_assert_true(state_parse(xml, &state, &error));
    g_assert_no_error(error);
    return state;
}

/* The document with a state element in it. */
static char *write_state(const char *text, const char *policy, const char *previous, const char *applied)
{
    g_autoptr(DomainXml) xml = util_parse(text);
    g_autoptr(State) old = read_state(xml);
    g_autoptr(Cpu) previous_cpu = cpu(previous), applied_cpu = cpu(applied);
    const StateContent content = {.policy = policy, .previous = previous_cpu, .applied = applied_cpu};
    XmlEdit edit = state_edit_write(xml, old, &content);
    g_autofree char *edit_text = edit.text;

    return domain_xml_edit(xml, &edit, 1);
}

/* The document without it. */
static char *remove_state(const char *text)
{
    g_autoptr(DomainXml) xml = util_parse(text);
    g_autoptr(State) state = read_state(xml);

    g_assert_nonnull(state);
    XmlEdit edit = state_edit_remove(xml, state);
    g_autofree char *edit_text = edit.text;
    return domain_xml_edit(xml, &edit, 1);
}

static void assert_state(const char *text, const char *policy, const char *previous, const char *applied)
{
    g_autoptr(DomainXml) xml = util_parse(text);
    g_autoptr(State) state = read_state(xml);

    g_assert_nonnull(state);
    g_assert_cmpstr(state->policy, ==, policy);
    util_assert_same(cpu_text(state->previous), previous);
    util_assert_same(cpu_text(state->applied), applied);
}

/* Writing and removing -------------------------------------------------------------------------------------------- */

static void test_absent(void)
{
    static const char *const documents[] = {
        "<domain/>",
        "<domain><metadata/></domain>",
        "<domain><metadata><state version='1'/></metadata></domain>",
        "<domain><metadata><a><s xmlns='urn:virtnest:state:1'/></a></metadata></domain>",
        "<domain><s xmlns='urn:virtnest:state:1'/></domain>",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(documents); i++) {
        g_autoptr(DomainXml) xml = util_parse(documents[i]);
        g_autoptr(State) state = read_state(xml);
        g_assert_null(state);
    }
    g_assert_null(state_free(NULL));
}

typedef struct WriteCase {
    const char *name;
    const char *before;
    const char *after; /* NULL: only the way back is looked at */
} WriteCase;

static const WriteCase write_cases[] = {
    {"among-others", "<domain>\n  <name>a</name>\n  <metadata>\n    <x xmlns='urn:x'/>\n  </metadata>\n</domain>\n",
     "<domain>\n  <name>a</name>\n  <metadata>\n    <x xmlns='urn:x'/>\n    " OPEN ">\n"
     "      <virtnest:previous></virtnest:previous>\n"
     "      <virtnest:applied>" APPLIED_ESCAPED "</virtnest:applied>\n"
     "    </virtnest:state>\n  </metadata>\n</domain>\n"},
    {"absent", "<domain>\n  <name>a</name>\n  <uuid>b</uuid>\n  <memory>1</memory>\n</domain>\n",
     "<domain>\n  <name>a</name>\n  <uuid>b</uuid>\n  <metadata>\n    " OPEN " container=\"\">\n"
     "      <virtnest:previous></virtnest:previous>\n"
     "      <virtnest:applied>" APPLIED_ESCAPED "</virtnest:applied>\n"
     "    </virtnest:state>\n  </metadata>\n  <memory>1</memory>\n</domain>\n"},
    {"self-closed", "<domain>\n  <metadata/>\n</domain>",
     "<domain>\n  <metadata>\n    " OPEN " container=\"&lt;metadata/&gt;\">\n"
     "      <virtnest:previous></virtnest:previous>\n"
     "      <virtnest:applied>" APPLIED_ESCAPED "</virtnest:applied>\n"
     "    </virtnest:state>\n  </metadata>\n</domain>"},
    {"self-closed-with-attributes", "<domain>\n  <metadata a='&lt;' b=\"'\" xmlns:c='urn:c' />\n</domain>", NULL},
    {"self-closed-on-lines", "<domain>\n  <metadata\n\t a='1\t2'\r\n  />\n</domain>", NULL},
    {"empty", "<domain>\n  <metadata></metadata>\n</domain>", NULL},
    {"blank", "<domain>\n  <metadata>\n  </metadata>\n</domain>", NULL},
    {"blank-line", "<domain>\n  <metadata>\n\n\t</metadata >\n</domain>", NULL},
    {"comment-only", "<domain>\n  <metadata>\n    <!-- x -->\n  </metadata>\n</domain>", NULL},
    {"text-around", "<domain><metadata>a<x xmlns='urn:x'/>b</metadata></domain>", NULL},
    {"absent-one-line", "<domain><name>a</name><cpu/></domain>", NULL},
    {"absent-title", "<domain>\n  <name>a</name>\n  <title>x</title>\n  <cpu/>\n</domain>", NULL},
    {"absent-description", "<domain>\n  <name>a</name>\n  <description>x\ny</description>\n\n  <cpu/>\n</domain>",
     NULL},
    {"absent-genid", "<domain>\n\t<name>a</name>\n\t<genid/>\n\t<cpu/>\n</domain>", NULL},
    {"absent-crlf", "<domain>\r\n  <name>a</name>\r\n  <cpu/>\r\n</domain>\r\n", NULL},
    {"crlf", "<domain>\r\n  <metadata>\r\n    <x xmlns='urn:x'/>\r\n  </metadata>\r\n</domain>\r\n", NULL},
    {"one-line", "<domain><metadata><x xmlns='urn:x'/></metadata></domain>", NULL},
    {"absent-no-name", "<domain>\n  <cpu/>\n</domain>", NULL},
    {"absent-nothing", "<domain></domain>", NULL},
};

static void test_write(gconstpointer data)
{
    static const char *const previous[] = {"", "<cpu/>", "<cpu mode='custom'>\r\n\t<model>x]]&gt;</model>\n</cpu >"};
    const WriteCase *c = data;

    for (gsize i = 0; i < G_N_ELEMENTS(previous); i++) {
        g_autofree char *after = write_state(c->before, "lab", previous[i], APPLIED);
        if (i == 0 && c->after != NULL)
            util_assert_same(after, c->after);
        assert_state(after, "lab", previous[i], APPLIED);
        g_autofree char *back = remove_state(after);
        util_assert_same(back, c->before);

        g_autofree char *formatted = util_libvirt_metadata(after);
        assert_state(formatted, "lab", previous[i], APPLIED);
    }
}

static void test_documents(void)
{
    for (gsize i = 0; util_domains[i] != NULL; i++) {
        g_autofree char *text = util_domain(util_domains[i]);
        g_autoptr(DomainXml) xml = util_parse(text);
        const xmlNode *node = xml_child(domain_xml_root(xml), "cpu");
        g_autofree char *previous = node != NULL ? util_slice(xml, node) : g_strdup("");
        g_autofree char *after = write_state(text, "lab", previous, APPLIED);
        assert_state(after, "lab", previous, APPLIED);
        g_autofree char *back = remove_state(after);
        util_assert_same(back, text);

        g_autofree char *formatted = util_libvirt_metadata(after);
        assert_state(formatted, "lab", previous, APPLIED);
        g_autofree char *formatted_back = remove_state(formatted);
        g_autofree char *expected = util_libvirt_metadata(text), *found = util_libvirt_metadata(formatted_back);
        util_assert_same(found, expected);
    }
}

/* What libvirt does to <metadata> does nothing to the two texts, whatever is in them. */
static void test_texts_survive(void)
{
    static const char *const texts[] = {
        "<cpu\n\tmode='custom'\r\n>\r\n  <!-- ]]> & \" -->\n\n</cpu>",
        "<cpu a='&lt;&amp;&quot;&apos;&#10;&#x9;'><![CDATA[<&>]]></cpu>",
        "<cpu><!-- \xc5\x99 \xf0\x9f\x90\x8e \xc2\xa0 \xe2\x80\xa8 \xef\xbb\xbf --></cpu>",
        "<cpu>  trailing  \n</cpu>\n",
        "\n  <cpu/>",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *after =
            write_state("<domain><metadata><x xmlns='urn:x'/></metadata></domain>", "lab", texts[i], texts[i]);
        for (unsigned round = 0; round < 3; round++) {
            assert_state(after, "lab", texts[i], texts[i]);
            char *formatted = util_libvirt_metadata(after);
            g_free(after);
            after = formatted;
        }
    }
}

static void test_write_again(void)
{
    static const char *const documents[] = {
        "<domain>\n  <name>a</name>\n</domain>",
        "<domain>\n  <metadata/>\n</domain>",
        "<domain>\n  <metadata>\n    <x xmlns='urn:x'/>\n  </metadata>\n</domain>",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(documents); i++) {
        g_autofree char *first = write_state(documents[i], "lab", "<cpu/>", APPLIED);
        g_autofree char *second =
            write_state(first, "default", "<cpu mode='maximum'/>", "<cpu mode='host-passthrough'/>");
        g_autofree char *same = write_state(first, "lab", "<cpu/>", APPLIED);
        assert_state(second, "default", "<cpu mode='maximum'/>", "<cpu mode='host-passthrough'/>");
        util_assert_same(same, first);
        g_autofree char *back = remove_state(second);
        util_assert_same(back, documents[i]);
    }
}

/* Something else was put into the <metadata> that was made for the state: it stays, and so does <metadata>. */
static void test_remove_among_later(void)
{
    g_autofree char *after = write_state("<domain>\n  <name>a</name>\n</domain>", "lab", "", APPLIED);
    g_autofree char *more = util_replace(after, "</metadata>", "  <x xmlns='urn:x'/>\n  </metadata>");
    g_autofree char *back = remove_state(more);

    util_assert_contains(back, "<x xmlns='urn:x'/>");
    util_assert_lacks(back, "virtnest");
    g_autoptr(DomainXml) xml = util_parse(back);
    g_assert_nonnull(domain_xml_metadata(xml, "urn:x", "x"));

    g_autofree char *commented = util_replace(after, "</metadata>", "<!-- mine --></metadata>");
    g_autofree char *kept = remove_state(commented);
    util_assert_contains(kept, "<!-- mine -->");
}

static void test_removed_place(void)
{
    g_autofree char *after =
        write_state("<domain>\n  <metadata>\n    <x xmlns='urn:x'/>\n  </metadata>\n</domain>", "lab", "", APPLIED);
    g_autofree char *moved = util_replace(after, "</metadata>", "  <y xmlns='urn:y'/>\n  </metadata>");
    g_autofree char *back = remove_state(moved);

    util_assert_same(
        back, "<domain>\n  <metadata>\n    <x xmlns='urn:x'/>\n    <y xmlns='urn:y'/>\n  </metadata>\n</domain>");
}

/* Reading what others wrote --------------------------------------------------------------------------------------- */

#define BODY "<s:previous>&lt;cpu/></s:previous><s:applied>&lt;cpu mode='host-model'/></s:applied>"

typedef struct ReadCase {
    const char *name;
    const char *element;
    const char *message; /* a part of the message; NULL: it is good */
} ReadCase;

static const ReadCase read_cases[] = {
    {"good", "<s:state xmlns:s='urn:virtnest:state:1' version='1' policy='lab'>" BODY "</s:state>", NULL},
    {"default-namespace",
     "<state xmlns='urn:virtnest:state:1' version='1'><previous/><applied>&lt;cpu/></applied></state>", NULL},
    {"cdata",
     "<state xmlns='urn:virtnest:state:1' version='1'><previous><![CDATA[<cpu/>]]></previous>"
     "<applied><![CDATA[<cpu mode='host-]]>model'/></applied></state>",
     NULL},
    {"other-order",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1'><s:applied>&lt;cpu/></s:applied><s:previous/></s:state>",
     NULL},
    {"additions-of-a-later-one",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1' since='now'><!-- x --><s:more/>" BODY "</s:state>", NULL},
    {"container-empty", "<s:state xmlns:s='urn:virtnest:state:1' version='1' container=''>" BODY "</s:state>", NULL},
    {"container",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1' container='&lt;metadata a=\"1\" />'>" BODY "</s:state>",
     NULL},

    {"newer", "<s:state xmlns:s='urn:virtnest:state:1' version='2'>" BODY "</s:state>", "update virtnest"},
    {"version-missing", "<s:state xmlns:s='urn:virtnest:state:1'>" BODY "</s:state>", "version ''"},
    {"version-like", "<s:state xmlns:s='urn:virtnest:state:1' version='1.0'>" BODY "</s:state>", "version '1.0'"},
    {"version-prefixed", "<s:state xmlns:s='urn:virtnest:state:1' s:version='1'>" BODY "</s:state>", "version ''"},
    {"other-element", "<s:record xmlns:s='urn:virtnest:state:1' version='1'>" BODY "</s:record>", "<record>"},
    {"empty", "<s:state xmlns:s='urn:virtnest:state:1' version='1'/>", "<previous> is missing"},
    {"previous-missing",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1'><s:applied>&lt;cpu/></s:applied></s:state>",
     "<previous> is missing"},
    {"applied-missing", "<s:state xmlns:s='urn:virtnest:state:1' version='1'><s:previous/></s:state>",
     "<applied> is missing"},
    {"previous-other-namespace",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1'><previous/><s:applied>&lt;cpu/></s:applied></s:state>",
     "<previous> is missing"},
    {"previous-text",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1'><s:previous>lost</s:previous><s:applied/></s:state>",
     "in the <previous> CPU"},
    {"previous-blank",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1'><s:previous> </s:previous><s:applied/></s:state>",
     "in the <previous> CPU"},
    {"previous-cut",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1'><s:previous>&lt;cpu></s:previous><s:applied/></s:state>",
     "in the <previous> CPU"},
    {"previous-other",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1'><s:previous>&lt;devices/></s:previous><s:applied/></s:state>",
     "found <devices>"},
    {"previous-two",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1'><s:previous>&lt;cpu/>&lt;cpu/></s:previous><s:applied/></s:state>",
     "in the <previous> CPU"},
    {"previous-declaration",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1'><s:previous>&lt;?xml version='1.0'?>&lt;cpu/></s:previous><s:applied/>"
     "</s:state>",
     "in the <previous> CPU"},
    {"applied-bad",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1'><s:previous/><s:applied>&lt;cpu</s:applied></s:state>",
     "in the <applied> CPU"},
    {"container-closes",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1' container='&lt;/domain>'>" BODY "</s:state>", "container"},
    {"container-other",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1' container='&lt;devices/>'>" BODY "</s:state>", "container"},
    {"container-full",
     "<s:state xmlns:s='urn:virtnest:state:1' version='1' container='&lt;metadata>&lt;a/>&lt;/metadata>'>" BODY
     "</s:state>",
     "container"},
    {"container-text", "<s:state xmlns:s='urn:virtnest:state:1' version='1' container='metadata'>" BODY "</s:state>",
     "container"},
};

static void test_read(gconstpointer data)
{
    const ReadCase *c = data;
    g_autofree char *text = g_strdup_printf("<domain><metadata>%s</metadata></domain>", c->element);
    g_autoptr(DomainXml) xml = util_parse(text);
    g_autoptr(GError) error = NULL;
    State untouched = {0}, *state = &untouched;

    bool good = state_parse(xml, &state, &error);
    if (c->message == NULL) {
        g_assert_no_error(error);
        g_assert_true(good);
        g_assert_nonnull(state);
        state_free(state);
        return;
    }
    g_assert_false(good);
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_STATE);
    util_assert_contains(error->message, c->message);
    g_assert_true(state == &untouched);
}

/* libvirt keeps one element of a namespace. To take out one of two would not be the end of it. */
static void test_two(void)
{
    g_autofree char *text = write_state("<domain><metadata><x xmlns='urn:x'/></metadata></domain>", "lab", "", APPLIED);
    g_autofree char *two = util_replace(text, "</metadata>", "<s xmlns='urn:virtnest:state:1'/></metadata>");
    g_autoptr(DomainXml) xml = util_parse(two);
    g_autoptr(GError) error = NULL;
    State *state = NULL;

    g_assert_false(state_parse(xml, &state, &error));
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_STATE);
    util_assert_contains(error->message, "two");
}

/* A damaged state says how to get rid of it. */
static void test_damage_names_the_way_out(void)
{
    g_autoptr(DomainXml) xml =
        util_parse("<domain><metadata><s:state xmlns:s='urn:virtnest:state:1' version='1'/></metadata></domain>");
    g_autoptr(GError) error = NULL;
    State *state = NULL;

    g_assert_false(state_parse(xml, &state, &error));
    util_assert_contains(error->message, "virsh metadata DOMAIN urn:virtnest:state:1 --remove --config");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/state/absent", test_absent);
    for (gsize i = 0; i < G_N_ELEMENTS(write_cases); i++) {
        g_autofree char *path = g_strconcat("/state/write/", write_cases[i].name, NULL);
        g_test_add_data_func(path, &write_cases[i], test_write);
    }
    g_test_add_func("/state/documents", test_documents);
    g_test_add_func("/state/texts-survive", test_texts_survive);
    g_test_add_func("/state/write-again", test_write_again);
    g_test_add_func("/state/remove-among-later", test_remove_among_later);
    g_test_add_func("/state/removed-place", test_removed_place);
    for (gsize i = 0; i < G_N_ELEMENTS(read_cases); i++) {
        g_autofree char *path = g_strconcat("/state/read/", read_cases[i].name, NULL);
        g_test_add_data_func(path, &read_cases[i], test_read);
    }
    g_test_add_func("/state/two", test_two);
    g_test_add_func("/state/damage-names-the-way-out", test_damage_names_the_way_out);
    return g_test_run();
}
