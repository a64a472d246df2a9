/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/match.c: which domains a policy takes by itself. */

#include "lib/match.h"

#include "tests/unit/util.h"

#define UUID "6695eb01-f6a4-8304-79aa-97f2502e193f"
#define OSINFO "http://libosinfo.org/xmlns/libvirt/domain/1.0"
#define DEBIAN "http://debian.org/debian/12"

static Subject *subject_of(const char *text)
{
    g_autoptr(DomainXml) xml = util_parse(text);

    return subject_new(xml);
}

static GStrv list_of(const char *text)
{
    return text != NULL ? g_strsplit(text, ";", 0) : NULL;
}

typedef struct GlobCase {
    const char *globs; /* separated by ';' */
    const char *text;
    bool holds;
} GlobCase;

static const GlobCase glob_cases[] = {
    {"web1", "web1", true},
    {"web1", "web11", false},
    {"web1", "aweb1", false},
    {"web1", "Web1", false},
    {"*", "web1", true},
    {"*", "", true},
    {"*", ".hidden", true},
    {"*", "a/b", true},
    {"web*", "web", true},
    {"web*", "web-17", true},
    {"web*", "db", false},
    {"*-prod", "web-prod", true},
    {"*-prod", "web-prod-2", false},
    {"w*b*1", "web-db-1", true},
    {"web?", "web1", true},
    {"web?", "web", false},
    {"web?", "web12", false},
    {"?", "", false},
    {"web[0-9]", "web7", true},
    {"web[0-9]", "weba", false},
    {"web[abc]", "webb", true},
    {"web[!0-9]", "weba", true},
    {"web[!0-9]", "web7", false},
    {"web[]x]", "web]", true},
    {"web[[:digit:]]", "web7", true},
    /* What begins no bracket expression is an ordinary letter. */
    {"web[", "web[", true},
    {"web]", "web]", true},
    {"web[0", "web[0", true},
    /* A backslash is an ordinary letter, and takes nothing from the next one. */
    {"web\\1", "web\\1", true},
    {"web\\1", "web1", false},
    {"web\\*", "web\\17", true},
    {"web\\*", "web*", false},
    {"web\\", "web\\", true},
    {"web[\\]", "web\\", true},
    {"web{1,2}", "web1", false},
    {"a b", "a b", true},
    {"\xe6\x97\xa5*", "\xe6\x97\xa5\xf0\x9f\x90\x8e", true},
    /* One of several is enough. */
    {"web*;db*", "db1", true},
    {"web*;db*", "web1", true},
    {"web*;db*", "app1", false},
    {"x;y;z;app1", "app1", true},
};

/* Names, titles and OS ids are all matched by globs. */
static void test_globs(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(glob_cases); i++) {
        const GlobCase *c = &glob_cases[i];
        Subject subject = {.name = (char *)"-", .uuid = (char *)"", .title = (char *)"-", .os = (char *)"-"};
        char *none[] = {NULL};
        g_auto(GStrv) globs = list_of(c->globs);
        Match match = {0};
        char **texts[] = {&subject.name, &subject.title, &subject.os};
        GStrv *lists[] = {&match.names, &match.titles, &match.oses};
        subject.namespaces = none;
        g_test_message("[%s] [%s]", c->globs, c->text);
        for (gsize j = 0; j < G_N_ELEMENTS(lists); j++) {
            char *before = *texts[j];
            *texts[j] = (char *)c->text;
            *lists[j] = globs;
            g_assert_cmpint(match_takes(&match, &subject), ==, c->holds);
            *lists[j] = NULL;
            *texts[j] = before;
        }
    }
}

static const char full_domain[] = "<domain type='kvm'>"
                                  "<name>web1</name>"
                                  "<uuid>" UUID "</uuid>"
                                  "<title> Shop, front </title>"
                                  "<metadata>"
                                  "<shop:owner xmlns:shop='urn:shop'/>"
                                  "<l:libosinfo xmlns:l='" OSINFO "'><l:os id='" DEBIAN "'/></l:libosinfo>"
                                  "</metadata></domain>";

typedef struct MatchCase {
    const char *names, *uuids, *titles, *oses, *namespaces;
    bool takes;
} MatchCase;

static const MatchCase match_cases[] = {
    {NULL, NULL, NULL, NULL, NULL, false},
    /* Each by itself. */
    {"web*", NULL, NULL, NULL, NULL, true},
    {"db*", NULL, NULL, NULL, NULL, false},
    {NULL, UUID, NULL, NULL, NULL, true},
    {NULL, "6695EB01-F6A4-8304-79AA-97F2502E193F", NULL, NULL, NULL, true},
    {NULL, "6695eb01-f6a4-8304-79aa-97f2502e193e", NULL, NULL, NULL, false},
    {NULL, "6695eb01-f6a4-8304-79aa-97f2502e193e;" UUID, NULL, NULL, NULL, true},
    {NULL, NULL, "Shop, front", NULL, NULL, true},
    {NULL, NULL, "Shop*", NULL, NULL, true},
    {NULL, NULL, " Shop, front ", NULL, NULL, false},
    {NULL, NULL, NULL, DEBIAN, NULL, true},
    {NULL, NULL, NULL, "http://debian.org/*", NULL, true},
    {NULL, NULL, NULL, "http://microsoft.com/win/*", NULL, false},
    {NULL, NULL, NULL, NULL, "urn:shop", true},
    {NULL, NULL, NULL, NULL, OSINFO, true},
    {NULL, NULL, NULL, NULL, "urn:other;urn:shop", true},
    {NULL, NULL, NULL, NULL, "urn:other", false},
    /* A namespace is a name, not a pattern. */
    {NULL, NULL, NULL, NULL, "urn:*", false},
    {NULL, NULL, NULL, NULL, "URN:shop", false},
    {NULL, NULL, NULL, NULL, "shop", false},
    /* All together, and each of them alone failing. */
    {"web*", UUID, "Shop*", DEBIAN, "urn:shop", true},
    {"db*", UUID, "Shop*", DEBIAN, "urn:shop", false},
    {"web*", "6695eb01-f6a4-8304-79aa-97f2502e193e", "Shop*", DEBIAN, "urn:shop", false},
    {"web*", UUID, "Depot*", DEBIAN, "urn:shop", false},
    {"web*", UUID, "Shop*", "http://fedoraproject.org/*", "urn:shop", false},
    {"web*", UUID, "Shop*", DEBIAN, "urn:depot", false},
};

static Match match_of(const MatchCase *c)
{
    return (Match){
        .names = list_of(c->names),
        .uuids = list_of(c->uuids),
        .titles = list_of(c->titles),
        .oses = list_of(c->oses),
        .namespaces = list_of(c->namespaces),
    };
}

static void test_conditions(void)
{
    g_autoptr(Subject) subject = subject_of(full_domain);

    for (gsize i = 0; i < G_N_ELEMENTS(match_cases); i++) {
        Match match = match_of(&match_cases[i]);
        g_autofree char *text = match_describe(&match);
        g_test_message("%" G_GSIZE_FORMAT ": %s", i, text);
        g_assert_cmpint(match_takes(&match, subject), ==, match_cases[i].takes);
        /* Not the match's to see: that a domain carries no tag. */
        match.tagged = true;
        g_assert_cmpint(match_takes(&match, subject), ==, match_cases[i].takes);
        g_assert_cmpint(match_has_condition(&match), ==, i != 0);
        match_clear(&match);
        g_assert_false(match_has_condition(&match));
    }
}

static void test_subject(void)
{
    g_autoptr(Subject) subject = subject_of(full_domain);
    g_autofree char *namespaces = g_strjoinv(" ", subject->namespaces);

    g_assert_cmpstr(subject->name, ==, "web1");
    g_assert_cmpstr(subject->uuid, ==, UUID);
    g_assert_cmpstr(subject->title, ==, "Shop, front");
    g_assert_cmpstr(subject->os, ==, DEBIAN);
    g_assert_cmpstr(namespaces, ==, "urn:shop " OSINFO);
    g_assert_null(subject_free(NULL));
}

/* Nothing in them is NULL, so that no condition needs to ask. */
static void test_bare_subjects(void)
{
    static const char *const texts[] = {
        "<domain/>",
        "<domain><name/></domain>",
        "<domain><name></name><uuid/><title/><metadata/></domain>",
        "<domain><metadata> <!-- none --> <?pi?> text </metadata></domain>",
        "<domain><metadata><bare/></metadata></domain>",
        /* Not where libvirt has them, or of another's vocabulary. */
        "<domain><devices><name>web1</name><uuid>" UUID "</uuid></devices></domain>",
        "<domain xmlns:q='urn:q'><q:name>web1</q:name><q:uuid>" UUID "</q:uuid><q:title>t</q:title></domain>",
        "<domain xmlns:q='urn:q'><q:metadata><shop xmlns='urn:shop'/></q:metadata></domain>",
    };
    static const MatchCase conditions[] = {
        {"?*", NULL, NULL, NULL, NULL, false},       {NULL, UUID, NULL, NULL, NULL, false},
        {NULL, NULL, "?*", NULL, NULL, false},       {NULL, NULL, NULL, "?*", NULL, false},
        {NULL, NULL, NULL, NULL, "urn:shop", false},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(Subject) subject = subject_of(texts[i]);
        g_test_message("%s", texts[i]);
        g_assert_cmpstr(subject->name, ==, "");
        g_assert_cmpstr(subject->uuid, ==, "");
        g_assert_cmpstr(subject->title, ==, "");
        g_assert_cmpstr(subject->os, ==, "");
        g_assert_nonnull(subject->namespaces);
        g_assert_cmpuint(g_strv_length(subject->namespaces), ==, 0);
        for (gsize j = 0; j < G_N_ELEMENTS(conditions); j++) {
            Match match = match_of(&conditions[j]);
            g_assert_false(match_takes(&match, subject));
            match_clear(&match);
        }
    }
}

/* What looks like libosinfo's id and is none. */
static void test_os_look_alikes(void)
{
    static const struct {
        const char *metadata;
        const char *os;
    } cases[] = {
        {"<libosinfo xmlns='" OSINFO "'><os id='a'/></libosinfo>", "a"},
        {"<l:libosinfo xmlns:l='" OSINFO "'><l:os id='a'/></l:libosinfo>", "a"},
        {"<x:y xmlns:x='urn:x'/><libosinfo xmlns='" OSINFO "'>\n<!-- c --><os id='a'/></libosinfo>", "a"},
        {"<libosinfo xmlns='" OSINFO "'><os id='a'/><os id='b'/></libosinfo>", "a"},
        {"<libosinfo xmlns='" OSINFO "'><os/><os id='b'/></libosinfo>", "b"},
        {"<libosinfo xmlns='" OSINFO "'><os id=''/></libosinfo>", ""},
        {"<libosinfo xmlns='" OSINFO "'/>", ""},
        {"<libosinfo xmlns='" OSINFO "'><os/></libosinfo>", ""},
        {"<libosinfo xmlns='" OSINFO "'>text<OS id='a'/><o id='a'/></libosinfo>", ""},
        {"<libosinfo><os id='a'/></libosinfo>", ""},
        {"<libosinfo xmlns='http://libosinfo.org/xmlns/libvirt/domain/1.1'><os id='a'/></libosinfo>", ""},
        {"<libosinfo xmlns='" OSINFO "/'><os id='a'/></libosinfo>", ""},
        {"<l:libosinfo xmlns:l='urn:libosinfo'><l:os id='a'/></l:libosinfo>", ""},
        {"<l:libosinfo xmlns:l='" OSINFO "'><os id='a'/></l:libosinfo>", ""},
        {"<l:libosinfo xmlns:l='" OSINFO "'><o:os xmlns:o='urn:o' id='a'/></l:libosinfo>", ""},
        {"<l:os xmlns:l='" OSINFO "' id='a'/>", ""},
        {"<x xmlns='urn:x'><l:libosinfo xmlns:l='" OSINFO "'><l:os id='a'/></l:libosinfo></x>", ""},
        {"<l:libosinfo xmlns:l='" OSINFO "'><l:x><l:os id='a'/></l:x></l:libosinfo>", ""},
        /* Of another vocabulary first, then the real one. */
        {"<libosinfo xmlns='urn:x'><os id='a'/></libosinfo><libosinfo xmlns='" OSINFO "'><os id='b'/></libosinfo>",
         "b"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strdup_printf("<domain><metadata>%s</metadata></domain>", cases[i].metadata);
        g_autoptr(Subject) subject = subject_of(text);
        g_test_message("%s", cases[i].metadata);
        g_assert_cmpstr(subject->os, ==, cases[i].os);
    }
}

/* Only the elements that lie in the metadata themselves, whatever their prefixes. */
static void test_namespaces(void)
{
    g_autoptr(Subject) subject =
        subject_of("<domain xmlns:a='urn:a' xmlns:unused='urn:unused'><metadata xmlns:b='urn:b'>"
                   "<a:x/><b:x><c xmlns='urn:c'/></b:x><d xmlns='urn:d' e:f='' xmlns:e='urn:e'/><bare/></metadata>"
                   "<g xmlns='urn:g'/></domain>");
    g_autofree char *namespaces = g_strjoinv(" ", subject->namespaces);

    g_assert_cmpstr(namespaces, ==, "urn:a urn:b urn:d");
}

static void test_describe(void)
{
    static const MatchCase cases[] = {{"web*", NULL, NULL, NULL, NULL, false},
                                      {"web*;db?", UUID, "t", DEBIAN, "urn:a;urn:b", false},
                                      {NULL, NULL, NULL, NULL, "urn:a", false},
                                      {NULL, NULL, NULL, NULL, NULL, false}};
    static const char *const texts[] = {"Name=web*",
                                        "Name=web*;db?, UUID=" UUID ", Title=t, OS=" DEBIAN ", Metadata=urn:a;urn:b",
                                        "Metadata=urn:a", ""};

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Match match = match_of(&cases[i]);
        g_autofree char *text = match_describe(&match);
        g_assert_cmpstr(text, ==, texts[i]);
        match_clear(&match);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/match/globs", test_globs);
    g_test_add_func("/match/conditions", test_conditions);
    g_test_add_func("/match/subject", test_subject);
    g_test_add_func("/match/bare-subjects", test_bare_subjects);
    g_test_add_func("/match/os-look-alikes", test_os_look_alikes);
    g_test_add_func("/match/namespaces", test_namespaces);
    g_test_add_func("/match/describe", test_describe);
    return g_test_run();
}
