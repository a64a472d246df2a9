/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/tag.c: which tags are taken, and what is said about the others. */

#include "lib/tag.h"

#include "tests/unit/util.h"
#include <string.h>

#define NAMESPACE "xmlns='urn:virtnest:domain:1'"
#define NAME_64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

typedef struct GoodCase {
    const char *name;
    const char *metadata; /* what stands in <metadata> */
    const char *policy;
    bool enabled;
} GoodCase;

static const GoodCase good_cases[] = {
    {"bare", "<nesting " NAMESPACE "/>", NULL, true},
    {"open-and-closed", "<nesting " NAMESPACE "></nesting>", NULL, true},
    {"blank-inside", "<nesting " NAMESPACE ">\n  \t\n</nesting>", NULL, true},
    {"comment-inside", "<nesting " NAMESPACE "><!-- why --> <!-- so --></nesting>", NULL, true},
    {"instruction-inside", "<nesting " NAMESPACE "><?editor x?></nesting>", NULL, true},
    {"cdata-blank-inside", "<nesting " NAMESPACE "><![CDATA[ ]]></nesting>", NULL, true},
    {"policy", "<nesting " NAMESPACE " policy='lab'/>", "lab", true},
    {"policy-first", "<nesting policy=\"lab\" " NAMESPACE "/>", "lab", true},
    {"prefix", "<nest:nesting xmlns:nest='urn:virtnest:domain:1' policy='lab'/>", "lab", true},
    {"prefix-of-virsh", "<virtnest:nesting xmlns:virtnest='urn:virtnest:domain:1' enabled='yes'/>", NULL, true},
    {"reference-in-policy", "<nesting " NAMESPACE " policy='l&#97;b'/>", "lab", true},
    {"one-letter", "<nesting " NAMESPACE " policy='A'/>", "A", true},
    {"digit-first", "<nesting " NAMESPACE " policy='0.a_b-C'/>", "0.a_b-C", true},
    {"longest", "<nesting " NAMESPACE " policy='" NAME_64 "'/>", NAME_64, true},
    {"enabled", "<nesting " NAMESPACE " enabled='yes' policy='lab'/>", "lab", true},
    {"disabled", "<nesting " NAMESPACE " enabled='no'/>", NULL, false},
    {"disabled-with-policy", "<nesting " NAMESPACE " policy='lab' enabled='no'/>", "lab", false},
    {"among-others", "<a xmlns='urn:a'/>text<!-- x --><nesting " NAMESPACE "/><nesting xmlns='urn:b' x='y'/>", NULL,
     true},
};

static void test_good(gconstpointer data)
{
    const GoodCase *c = data;
    g_autofree char *text = g_strdup_printf("<domain><metadata>%s</metadata></domain>", c->metadata);
    g_autoptr(DomainXml) xml = util_parse(text);
    g_autoptr(GError) error = NULL;
    g_autoptr(Tag) tag = NULL;

    g_assert_true(tag_parse(xml, &tag, &error));
    g_assert_no_error(error);
    g_assert_nonnull(tag);
    g_assert_cmpstr(tag->policy, ==, c->policy);
    g_assert_cmpint(tag->enabled, ==, c->enabled);
}

typedef struct BadCase {
    const char *name;
    const char *metadata;
    const char *part; /* what the message must name */
} BadCase;

static const BadCase bad_cases[] = {
    {"element", "<nested " NAMESPACE "/>", "<nested>"},
    {"element-capital", "<Nesting " NAMESPACE "/>", "<Nesting>"},
    {"attribute", "<nesting " NAMESPACE " polcy='lab'/>", "'polcy'"},
    {"attribute-capital", "<nesting " NAMESPACE " Policy='lab'/>", "'Policy'"},
    {"attribute-second", "<nesting " NAMESPACE " policy='lab' mode='x'/>", "'mode'"},
    {"attribute-prefixed", "<n:nesting xmlns:n='urn:virtnest:domain:1' n:policy='lab'/>", "'n:policy'"},
    {"attribute-xml", "<nesting " NAMESPACE " xml:lang='de'/>", "'xml:lang'"},
    {"policy-empty", "<nesting " NAMESPACE " policy=''/>", "policy=''"},
    {"policy-space-behind", "<nesting " NAMESPACE " policy='lab '/>", "policy='lab '"},
    {"policy-space-before", "<nesting " NAMESPACE " policy=' lab'/>", "policy=' lab'"},
    {"policy-path", "<nesting " NAMESPACE " policy='../lab'/>", "policy='../lab'"},
    {"policy-slash", "<nesting " NAMESPACE " policy='a/b'/>", "policy='a/b'"},
    {"policy-hidden", "<nesting " NAMESPACE " policy='.lab'/>", "policy='.lab'"},
    {"policy-dash-first", "<nesting " NAMESPACE " policy='-lab'/>", "policy='-lab'"},
    {"policy-underscore-first", "<nesting " NAMESPACE " policy='_lab'/>", "policy='_lab'"},
    {"policy-utf8",
     "<nesting " NAMESPACE " policy='l\xc3\xa4"
     "b'/>",
     "policy='l\xc3\xa4"
     "b'"},
    {"policy-line", "<nesting " NAMESPACE " policy='a&#10;b'/>", "policy='a\nb'"},
    {"policy-too-long", "<nesting " NAMESPACE " policy='" NAME_64 "a'/>", "at most 64"},
    {"enabled-true", "<nesting " NAMESPACE " enabled='true'/>", "enabled='true'"},
    {"enabled-empty", "<nesting " NAMESPACE " enabled=''/>", "enabled=''"},
    {"enabled-capital", "<nesting " NAMESPACE " enabled='No'/>", "enabled='No'"},
    {"enabled-space", "<nesting " NAMESPACE " enabled='no '/>", "'yes' or 'no'"},
    {"text", "<nesting " NAMESPACE ">lab</nesting>", "contains text"},
    {"cdata", "<nesting " NAMESPACE "><![CDATA[lab]]></nesting>", "contains text"},
    {"child", "<nesting " NAMESPACE "><cpu/></nesting>", "<cpu>"},
    {"child-behind-comment", "<nesting " NAMESPACE "><!-- x --> <policy>lab</policy></nesting>", "<policy>"},
    {"two", "<nesting " NAMESPACE "/><nesting " NAMESPACE " enabled='no'/>", "two nesting tags"},
    {"second-bad", "<nesting " NAMESPACE "/><nestings " NAMESPACE "/>", "nesting"},
};

static void test_bad(gconstpointer data)
{
    const BadCase *c = data;
    g_autofree char *text = g_strdup_printf("<domain><metadata>%s</metadata></domain>", c->metadata);
    g_autoptr(DomainXml) xml = util_parse(text);
    g_autoptr(GError) error = NULL;
    Tag untouched = {0}, *tag = &untouched;

    g_assert_false(tag_parse(xml, &tag, &error));
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_TAG);
    util_assert_contains(error->message, c->part);
    g_assert_true(tag == &untouched);
}

/* None of these is a tag, so none is a mistake in one either. */
static void test_absent(void)
{
    static const char *const documents[] = {
        "<domain/>",
        "<domain><metadata/></domain>",
        "<domain><metadata><nesting policy='lab'/></metadata></domain>",
        "<domain><metadata><nesting xmlns='urn:virtnest:domain:2' x='y'/></metadata></domain>",
        "<domain><metadata><a><nesting " NAMESPACE "/></a></metadata></domain>",
        "<domain><devices><nesting " NAMESPACE "/></devices></domain>",
        "<domain><metadata xmlns='urn:a'><nesting " NAMESPACE "/></metadata></domain>",
        "<domain><title>&lt;nesting/&gt;</title><metadata><!-- <nesting " NAMESPACE "/> --></metadata></domain>",
    };

    for (gsize i = 0; i < G_N_ELEMENTS(documents); i++) {
        g_autoptr(DomainXml) xml = util_parse(documents[i]);
        g_autoptr(GError) error = NULL;
        g_autoptr(Tag) tag = NULL;
        g_assert_true(tag_parse(xml, &tag, &error));
        g_assert_no_error(error);
        g_assert_null(tag);
    }
}

/* The samples that the schema is tested with say the same here: good-* are tags, bad-* are refused or no tags at all. */
static void test_samples(void)
{
    g_autofree char *folder = g_test_build_filename(G_TEST_DIST, "data", "tag", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, &error);
    unsigned n_good = 0, n_bad = 0;
    const char *name;

    g_assert_no_error(error);
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL), *sample = NULL;
        g_autoptr(GError) cause = NULL;
        g_autoptr(Tag) tag = NULL;
        g_assert_true(g_file_get_contents(path, &sample, NULL, NULL));
        g_autofree char *text = g_strdup_printf("<domain><metadata>%s</metadata></domain>", sample);
        g_autoptr(DomainXml) xml = util_parse(text);
        bool good = tag_parse(xml, &tag, &cause) && tag != NULL;
        g_test_message("%s: %s", name, cause != NULL ? cause->message : "");
        g_assert_cmpint(good, ==, g_str_has_prefix(name, "good-"));
        if (good)
            n_good++;
        else
            n_bad++;
    }
    g_assert_cmpuint(n_good, >, 0);
    g_assert_cmpuint(n_bad, >, 0);
}

static void test_policy_name(void)
{
    g_assert_true(tag_policy_name_is_valid("default"));
    g_assert_true(tag_policy_name_is_valid(NAME_64));
    g_assert_false(tag_policy_name_is_valid(""));
    g_assert_false(tag_policy_name_is_valid(NAME_64 "a"));
    g_assert_false(tag_policy_name_is_valid("."));
    g_assert_false(tag_policy_name_is_valid(".."));
    for (int c = 1; c < 256; c++) {
        const char first[] = {(char)c, 'a', '\0'}, second[] = {'a', (char)c, '\0'};
        bool is_alnum = c < 128 && g_ascii_isalnum((char)c);
        g_assert_cmpint(tag_policy_name_is_valid(first), ==, is_alnum);
        g_assert_cmpint(tag_policy_name_is_valid(second), ==, is_alnum || c == '_' || c == '.' || c == '-');
    }
}

static void test_free_null(void)
{
    g_assert_null(tag_free(NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(good_cases); i++) {
        g_autofree char *path = g_strconcat("/tag/good/", good_cases[i].name, NULL);
        g_test_add_data_func(path, &good_cases[i], test_good);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(bad_cases); i++) {
        g_autofree char *path = g_strconcat("/tag/bad/", bad_cases[i].name, NULL);
        g_test_add_data_func(path, &bad_cases[i], test_bad);
    }
    g_test_add_func("/tag/absent", test_absent);
    g_test_add_func("/tag/samples", test_samples);
    g_test_add_func("/tag/policy-name", test_policy_name);
    g_test_add_func("/tag/free-null", test_free_null);
    return g_test_run();
}
