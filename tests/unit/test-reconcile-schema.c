/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * lib/reconcile.c against libvirt's own schema: what virsh edit and virt-xml-validate would take must stay so, and what
 * neither libvirt nor virtnest knows must stay as it is.
 */

#include "lib/reconcile.h"

#include "tests/unit/util.h"
#include <libxml/relaxng.h>
#include <string.h>

/* libvirt's library package brings it, on each of the distributions. */
#define SCHEMA "/usr/share/libvirt/schemas/domain.rng"

static const char *const policies[] = {"default", "passthrough", "custom", "keep", "owned"};

static xmlRelaxNG *schema;

static void on_schema_error(void *data, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* What is not valid is told by the test, and expected of some documents. */
static void on_schema_error(void *data G_GNUC_UNUSED, const char *format G_GNUC_UNUSED, ...)
{
}

static bool is_valid(const char *text)
{
    g_autoptr(xmlDoc) doc = xmlReadMemory(text, (int)strlen(text), NULL, NULL, XML_PARSE_NONET);
    xmlRelaxNGValidCtxt *context = xmlRelaxNGNewValidCtxt(schema);

    g_assert_nonnull(doc);
    g_assert_nonnull(context);
    xmlRelaxNGSetValidErrors(context, on_schema_error, on_schema_error, NULL);
    int result = xmlRelaxNGValidateDoc(context, doc);
    xmlRelaxNGFreeValidCtxt(context);
    g_assert_cmpint(result, >=, 0);
    return result == 0;
}

/* Puts text in front of an element's end; an empty or absent one is opened or made. @node: NULL for an absent <metadata> */
static char *put_into(const char *text, const char *element, const char *inserted)
{
    g_autoptr(DomainXml) xml = util_parse(text);
    xmlNode *root = domain_xml_root(xml);
    const xmlNode *node = strcmp(element, "domain") == 0 ? root : xml_child(root, element);

    if (node == NULL) {
        g_autofree char *made = g_strdup_printf("<%s>%s</%s>", element, inserted, element);
        XmlSpan span = domain_xml_span(xml, xml_child(root, "memory"));
        return g_strdup_printf("%.*s%s%s", (int)span.start, text, made, text + span.start);
    }
    XmlSpan span = domain_xml_span(xml, node);
    if (text[span.end - 2] == '/')
        return g_strdup_printf("%.*s>%s</%s>%s", (int)span.end - 2, text, inserted, element, text + span.end);
    g_autofree char *slice = util_slice(xml, node);
    gsize end = span.start + (gsize)(g_strrstr(slice, "</") - slice);
    return g_strdup_printf("%.*s%s%s", (int)end, text, inserted, text + end);
}

static char *tag_of(const char *policy, const char *enabled)
{
    return g_strdup_printf("<n:nesting xmlns:n='" VIRTNEST_TAG_NAMESPACE "' policy='%s' enabled='%s'/>", policy,
                           enabled);
}

/* Every document with every policy: @check gets what is there before and after, and what it is without the tag. */
static void for_each_rewrite(const char *const (*inject)[2], gsize n_inject,
                             void (*check)(const char *before, const char *after, const char *back))
{
    unsigned n = 0;

    for (gsize i = 0; util_domains[i] != NULL; i++)
        for (gsize j = 0; j < G_N_ELEMENTS(policies); j++) {
            g_autofree char *plain = util_domain(util_domains[i]), *tag = tag_of(policies[j], "yes");
            g_autofree char *off = tag_of(policies[j], "no");
            for (gsize k = 0; k < n_inject; k++) {
                /* A <cpu> that is made for it would be another document. */
                if (strcmp(inject[k][0], "cpu") == 0 && strstr(plain, "<cpu") == NULL)
                    continue;
                char *more = put_into(plain, inject[k][0], inject[k][1]);
                g_free(plain);
                plain = more;
            }
            g_autofree char *before = put_into(plain, "metadata", tag);
            g_autoptr(Reconcile) r = util_decide(&util_amd_host, before, NULL);
            g_test_message("%s, %s: %s: %s", util_domains[i], policies[j], reconcile_state_to_string(r->state),
                           r->reason);
            if (r->new_xml == NULL) {
                /* Either it cannot be, and that is told; or the document has what the policy wants already. */
                g_assert_true(r->state == RECONCILE_IN_SYNC || *r->reason != '\0');
                continue;
            }
            n++;
            g_autoptr(Reconcile) again = util_decide(&util_amd_host, r->new_xml, NULL);
            util_assert_state(again, r->state);
            g_assert_null(again->new_xml);

            g_autofree char *untagged = util_replace(r->new_xml, tag, off), *back = NULL;
            if (strcmp(policies[j], "owned") == 0 || r->owner == NULL)
                back = util_restored(untagged);
            check(before, r->new_xml, back);
        }
    g_test_message("%u documents were rewritten", n);
    g_assert_cmpuint(n, >, 60);
}

static unsigned n_checked;

static void check_schema(const char *before, const char *after, const char *back)
{
    if (!is_valid(before))
        return;
    n_checked++;
    if (!is_valid(after))
        g_error("not valid any longer:\n%s", after);
    if (back != NULL && !is_valid(back))
        g_error("not valid any longer once it is restored:\n%s", back);
}

static void test_schema(void)
{
    unsigned n_valid = 0;
    xmlRelaxNGParserCtxt *context;

    if (!g_file_test(SCHEMA, G_FILE_TEST_EXISTS)) {
        g_test_skip(SCHEMA " is not installed; it comes with libvirt's library");
        return;
    }
    context = xmlRelaxNGNewParserCtxt(SCHEMA);
    schema = xmlRelaxNGParse(context);
    xmlRelaxNGFreeParserCtxt(context);
    g_assert_nonnull(schema);
    for (gsize i = 0; util_domains[i] != NULL; i++) {
        g_autofree char *text = util_domain(util_domains[i]);
        bool valid = is_valid(text);
        if (!valid)
            g_test_message("%s is not valid as it is", util_domains[i]);
        n_valid += valid;
    }
    /* Some are too new for an old libvirt's schema, and "odd" is odd. */
    g_assert_cmpuint(n_valid, >=, 15);
    for_each_rewrite(NULL, 0, check_schema);
    /* The tag itself is not what makes them invalid. */
    g_assert_cmpuint(n_checked, >, 60);
    xmlRelaxNGFree(schema);
    schema = NULL;
}

static void check_cpu(const char *before, const char *after, const char *back)
{
    g_autofree char *cpu = util_cpu_of(before), *new_cpu = util_cpu_of(after);

    g_assert_cmpstr(cpu, !=, new_cpu);
    if (back == NULL)
        return;
    g_autofree char *old_cpu = util_cpu_of(back);
    util_assert_same(old_cpu, cpu);
    /* And of all else but the attribute that switched the tag off. */
    g_assert_cmpuint(strlen(back), ==, strlen(before) - strlen("yes") + strlen("no"));
}

static void test_untag(void)
{
    for_each_rewrite(NULL, 0, check_cpu);
}

#define UNKNOWN "<unknown  a='&gt;' b = \"&apos;\"><deep>\n\t<![CDATA[</cpu>]]></deep ></unknown\n>"
#define FOREIGN "<f:x xmlns:f='urn:foreign?a&amp;b'  f:y='1' ><f:cpu mode='host-model'/><!-- - --><?pi  x?></f:x >"
/* A rewritten <cpu> is written anew by libxml2, so what is to stay in there as it is must be in its handwriting. */
#define CPU_UNKNOWN "<unknown a=\"&gt;\"><deep>\n\t<![CDATA[</cpu>]]></deep></unknown>"
#define CPU_FOREIGN "<f:x xmlns:f=\"urn:foreign\" f:y=\"1\"><f:cpu mode=\"host-model\"/><!-- - --><?pi x?></f:x>"

static const char *const foreign[][2] = {
    {"metadata", UNKNOWN}, {"metadata", FOREIGN}, {"devices", UNKNOWN}, {"devices", FOREIGN},
    {"cpu", CPU_UNKNOWN},  {"cpu", CPU_FOREIGN},  {"domain", UNKNOWN},  {"domain", FOREIGN},
};

static unsigned count(const char *text, const char *part)
{
    unsigned n = 0;

    while ((text = strstr(text, part)) != NULL) {
        n++;
        text++;
    }
    return n;
}

static void check_foreign(const char *before, const char *after, const char *back)
{
    static const char *const inserted[] = {UNKNOWN, FOREIGN, CPU_UNKNOWN, CPU_FOREIGN};

    /* The copies in the state element do not count: they are escaped. */
    for (gsize i = 0; i < G_N_ELEMENTS(inserted); i++) {
        unsigned n = count(before, inserted[i]);
        g_assert_true(i > 1 || n == 3);
        if (count(after, inserted[i]) != n)
            g_error("[%s] was there %u times:\n%s", inserted[i], n, after);
        if (back != NULL && count(back, inserted[i]) != n)
            g_error("[%s] was there %u times:\n%s", inserted[i], n, back);
    }
    if (back != NULL)
        g_assert_cmpuint(strlen(back), ==, strlen(before) - strlen("yes") + strlen("no"));
}

static void test_foreign(void)
{
    for_each_rewrite(foreign, G_N_ELEMENTS(foreign), check_foreign);
}

/* In another's handwriting they are the same elements while they are in there, and the same bytes afterwards. */
static void test_foreign_in_cpu(void)
{
    static const char *const inject[][2] = {{"cpu", UNKNOWN}, {"cpu", FOREIGN}};

    for_each_rewrite(inject, G_N_ELEMENTS(inject), check_cpu);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reconcile-schema/valid", test_schema);
    g_test_add_func("/reconcile-schema/untag", test_untag);
    g_test_add_func("/reconcile-schema/foreign", test_foreign);
    g_test_add_func("/reconcile-schema/foreign-in-cpu", test_foreign_in_cpu);
    int status = g_test_run();
    xmlRelaxNGCleanupTypes();
    return status;
}
