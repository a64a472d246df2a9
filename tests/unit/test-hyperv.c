/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/hyperv.c: which enlightenments are switched, which are skipped and why, and that all of it can be taken back. */

#include "lib/hyperv.h"

#include "tests/unit/util.h"
#include <string.h>

static const HypervHost intel = {.is_kvm = true, .feature = "vmx", .libvirt_version = 11000000};
static const HypervHost amd = {.is_kvm = true, .feature = "svm", .libvirt_version = 11000000};
static const HypervPolicy all_on = {.wishes = {HYPERV_ON, HYPERV_ON, HYPERV_ON}};
static const HypervPolicy all_off = {.wishes = {HYPERV_OFF, HYPERV_OFF, HYPERV_OFF}};
static const HypervPolicy leave = {0};

#define DOMAIN(hyperv) "<domain type='kvm'>\n  <features>\n    " hyperv "\n  </features>\n</domain>\n"
#define HYPERV(more) \
    DOMAIN("<hyperv mode='custom'>\n      <vapic state='on'/>\n      <vpindex state='on'/>" more "\n    </hyperv>")
#define LINE(more) "\n      " more

#define EVMCS LINE("<evmcs state='on'/>")
#define EMSR LINE("<emsr_bitmap state='on'/>")
#define DIRECT LINE("<tlbflush state='on'><direct state='on'/></tlbflush>")

static HypervPlan *plan(const char *text, const HypervPolicy *policy, const HypervRecord *recorded,
                        const HypervHost *host)
{
    g_autoptr(DomainXml) xml = util_parse(text);

    return hyperv_plan(xml, NULL, policy, recorded, host);
}

static char *edited(const char *text, const HypervPlan *of)
{
    g_autoptr(DomainXml) xml = util_parse(text);

    return domain_xml_edit(xml, (XmlEdit *)(void *)of->edits->data, of->edits->len);
}

/* The document in other quotes, with other indentation, as libvirt hands back what it was given. */
static char *relayout(const char *text)
{
    g_autoptr(xmlDoc) doc = xmlReadMemory(text, (int)strlen(text), NULL, NULL, XML_PARSE_NOBLANKS);
    xmlChar *out = NULL;
    int length;

    g_assert_nonnull(doc);
    xmlDocDumpFormatMemory(doc, &out, &length, 1);
    g_autoptr(xmlString) owned = (char *)out;
    return g_strdup(owned);
}

static void assert_same_record(const HypervRecord *a, const HypervRecord *b)
{
    for (gsize i = 0; i < HYPERV_N; i++) {
        g_assert_cmpstr(a->previous[i], ==, b->previous[i]);
        g_assert_cmpstr(a->applied[i], ==, b->applied[i]);
    }
}

/* What holds of any plan: it is settled after one round, in any layout, and leads back to the first byte. */
static void check_plan(const char *text, const HypervPolicy *policy, const HypervHost *host)
{
    g_autoptr(HypervPlan) first = plan(text, policy, NULL, host);
    g_autofree char *new_text = edited(text, first);
    g_autoptr(HypervPlan) second = plan(new_text, policy, &first->record, host);
    g_assert_cmpuint(second->edits->len, ==, 0);
    assert_same_record(&second->record, &first->record);

    g_autofree char *other = relayout(new_text), *crlf = util_crlf(new_text), *tabs = util_tabs(new_text);
    const char *const layouts[] = {other, crlf, tabs};
    for (gsize i = 0; i < G_N_ELEMENTS(layouts); i++) {
        g_autoptr(HypervPlan) third = plan(layouts[i], policy, &first->record, host);
        g_assert_cmpuint(third->edits->len, ==, 0);
        assert_same_record(&third->record, &first->record);
    }

    g_autoptr(HypervPlan) undo = plan(new_text, NULL, &first->record, host);
    g_autofree char *undone = edited(new_text, undo);
    util_assert_same(undone, text);
    g_assert_true(hyperv_record_is_empty(&undo->record));
    g_assert_cmpuint(undo->conflicts->len, ==, 0);

    g_autoptr(HypervPlan) other_undo = plan(other, NULL, &first->record, host);
    g_autofree char *other_undone = edited(other, other_undo);
    g_autofree char *expected = relayout(text), *same = relayout(other_undone);
    g_assert_cmpuint(other_undo->conflicts->len, ==, 0);
    util_assert_same(same, expected);
}

typedef struct PlanCase {
    const char *name;
    const HypervPolicy *policy;
    const HypervHost *host;
    const char *text;
    const char *expected; /* NULL: the same */
} PlanCase;

static const PlanCase plan_cases[] = {
    {"on", &all_on, &intel, HYPERV(""), HYPERV(EVMCS EMSR DIRECT)},
    {"on-amd", &all_on, &amd, HYPERV(""), HYPERV(EMSR DIRECT)},
    {"on-was-off", &all_on, &intel, HYPERV("<evmcs state='off'/><emsr_bitmap state='off' a='1'/>" DIRECT),
     HYPERV("<evmcs state=\"on\"/><emsr_bitmap state=\"on\" a=\"1\"/>" DIRECT)},
    {"on-was-on", &all_on, &intel, HYPERV("<evmcs  state = \"on\" />" EMSR DIRECT), NULL},
    {"on-no-state", &all_on, &amd, HYPERV("<emsr_bitmap/>" DIRECT), HYPERV("<emsr_bitmap state=\"on\"/>" DIRECT)},
    {"on-one-line", &all_on, &intel, DOMAIN("<hyperv><vapic state='on'/><vpindex state='on'/></hyperv>"),
     DOMAIN("<hyperv><vapic state='on'/><vpindex state='on'/>\n<evmcs state='on'/>\n<emsr_bitmap state='on'/>\n"
            "<tlbflush state='on'><direct state='on'/></tlbflush></hyperv>")},
    {"on-behind-another", &all_on, &amd, HYPERV(" <relaxed state='on'/> <!-- x -->"),
     HYPERV(" <relaxed state='on'/>\n<emsr_bitmap state='on'/>\n"
            "<tlbflush state='on'><direct state='on'/></tlbflush> <!-- x -->")},
    {"on-behind-itself", &all_on, &intel, HYPERV(EMSR LINE("<evmcs state='off'/>")),
     HYPERV(EMSR LINE("<evmcs state=\"on\"/>") DIRECT)},
    {"on-tlbflush-plain", &all_on, &amd, HYPERV(EMSR "<tlbflush state='on'/>"),
     HYPERV(EMSR "<tlbflush state=\"on\"><direct state=\"on\"/></tlbflush>")},
    {"on-tlbflush-off", &all_on, &amd, HYPERV(EMSR "<tlbflush a='1' state='off'/>"),
     HYPERV(EMSR "<tlbflush a=\"1\" state=\"on\"><direct state=\"on\"/></tlbflush>")},
    {"on-tlbflush-extended", &all_on, &amd, HYPERV(EMSR "<tlbflush state='on'><extended state='on'/></tlbflush>"),
     HYPERV(EMSR "<tlbflush state=\"on\"><direct state=\"on\"/><extended state=\"on\"/></tlbflush>")},
    {"on-tlbflush-lines", &all_on, &amd,
     HYPERV(EMSR LINE("<tlbflush state='on'>\n        <extended state='on'/>\n      </tlbflush>")),
     HYPERV(EMSR LINE("<tlbflush state=\"on\">\n        <direct state=\"on\"/>\n        <extended state=\"on\"/>\n"
                      "      </tlbflush>"))},
    {"on-tlbflush-blank", &all_on, &amd, HYPERV(EMSR "<tlbflush state='on'>\n</tlbflush>"),
     HYPERV(EMSR "<tlbflush state=\"on\"><direct state=\"on\"/>\n</tlbflush>")},
    {"on-tlbflush-direct-off", &all_on, &amd, HYPERV(EMSR "<tlbflush state='on'><direct state='off'/></tlbflush>"),
     HYPERV(EMSR "<tlbflush state=\"on\"><direct state=\"on\"/></tlbflush>")},
    {"off-absent", &all_off, &intel, HYPERV(""), NULL},
    {"off-no-hyperv", &all_off, &intel, DOMAIN("<acpi/>"), NULL},
    {"off", &all_off, &intel,
     HYPERV("<evmcs b='2' state='on' a='1'/>" EMSR LINE(
         "<tlbflush state='on'><extended state='on'/><direct state='on'/></tlbflush>")),
     HYPERV("<evmcs b=\"2\" state=\"off\" a=\"1\"/>" LINE("<emsr_bitmap state=\"off\"/>")
                LINE("<tlbflush state=\"on\"><extended state=\"on\"/><direct state=\"off\"/></tlbflush>"))},
    {"off-tlbflush-plain", &all_off, &intel, HYPERV("<tlbflush state='on'/>"), NULL},
    {"off-was-off", &all_off, &intel, HYPERV("<evmcs state=\"off\"/>"), NULL},
    {"leave", &leave, &intel, HYPERV(EVMCS LINE("<emsr_bitmap state='off'/>")), NULL},
    {"prefix-of-another", &all_off, &intel, HYPERV("<q:evmcs xmlns:q='urn:q' state='on'/><r:evmcs state='on'/>" EVMCS),
     HYPERV("<q:evmcs xmlns:q='urn:q' state='on'/><r:evmcs state='on'/>" LINE("<evmcs state=\"off\"/>"))},
    {"two-elements", &all_off, &intel, HYPERV(EVMCS EVMCS), HYPERV(LINE("<evmcs state=\"off\"/>") EVMCS)},
    {"two-hyperv", &all_off, &intel,
     DOMAIN("<q:hyperv xmlns:q='urn:q'><evmcs state='on'/></q:hyperv><q:hyperv><evmcs state='on'/></q:hyperv>"
            "<hyperv><evmcs state='on'/></hyperv><hyperv><evmcs state='on'/></hyperv>"),
     DOMAIN("<q:hyperv xmlns:q='urn:q'><evmcs state='on'/></q:hyperv><q:hyperv><evmcs state='on'/></q:hyperv>"
            "<hyperv><evmcs state=\"off\"/></hyperv><hyperv><evmcs state='on'/></hyperv>")},
    {"elsewhere", &all_off, &intel,
     "<domain><metadata><features xmlns=''><hyperv><evmcs state='on'/></hyperv></features></metadata>"
     "<hyperv><evmcs state='on'/></hyperv><evmcs state='on'/></domain>",
     NULL},
};

static void test_plan(gconstpointer data)
{
    const PlanCase *c = data;
    g_autoptr(HypervPlan) made = plan(c->text, c->policy, NULL, c->host);
    g_autofree char *text = edited(c->text, made);

    util_assert_same(text, c->expected != NULL ? c->expected : c->text);
    g_assert_cmpint(hyperv_record_is_empty(&made->record), ==, c->expected == NULL);
    g_assert_cmpuint(made->conflicts->len, ==, 0);
    g_assert_false(made->differs_live);
    check_plan(c->text, c->policy, c->host);
}

static void test_documents(void)
{
    for (gsize i = 0; util_domains[i] != NULL; i++) {
        g_autofree char *text = util_domain(util_domains[i]);
        g_test_message("%s", util_domains[i]);
        check_plan(text, &all_on, &intel);
        check_plan(text, &all_on, &amd);
        check_plan(text, &all_off, &intel);
    }
}

/* Skips ------------------------------------------------------------------------------------------------------------ */

typedef struct SkipCase {
    const char *name;
    HypervHost host;
    HypervPolicy policy;
    const char *text;
    const char *skipped; /* its beginning */
    const char *part;
} SkipCase;

#define ON_EVMCS                                 \
    {                                            \
        .wishes = { [HYPERV_EVMCS] = HYPERV_ON } \
    }
#define ON_EMSR                                        \
    {                                                  \
        .wishes = { [HYPERV_EMSR_BITMAP] = HYPERV_ON } \
    }
#define ON_DIRECT                                          \
    {                                                      \
        .wishes = { [HYPERV_TLBFLUSH_DIRECT] = HYPERV_ON } \
    }
#define INTEL(version)                                                 \
    {                                                                  \
        .is_kvm = true, .feature = "vmx", .libvirt_version = (version) \
    }
#define AMD(version)                                                   \
    {                                                                  \
        .is_kvm = true, .feature = "svm", .libvirt_version = (version) \
    }

static const char *const few[] = {"relaxed", "vapic", "vpindex", NULL};
static const char *const most[] = {"vapic", "vpindex", "tlbflush", "evmcs", "emsr_bitmap", NULL};

static const SkipCase skip_cases[] = {
    {"tcg", {.feature = "vmx", .libvirt_version = 11000000}, ON_EVMCS, HYPERV(""), "evmcs: only KVM", "type='kvm'"},
    {"evmcs-amd", AMD(11000000), ON_EVMCS, HYPERV(""), "evmcs: only for Intel", "policy"},
    {"evmcs-no-feature", {.is_kvm = true, .libvirt_version = 11000000}, ON_EVMCS, HYPERV(""), "evmcs: only for", "vmx"},
    {"no-features", INTEL(11000000), ON_EVMCS, "<domain/>", "evmcs: the domain has no <hyperv>", "add one"},
    {"no-hyperv", AMD(11000000), ON_EMSR, DOMAIN("<acpi/>"), "emsr_bitmap: the domain has no <hyperv>", "add one"},
    {"prefixed-hyperv", AMD(11000000), ON_EMSR, DOMAIN("<q:hyperv xmlns:q='urn:q'><vapic state='on'/></q:hyperv>"),
     "emsr_bitmap: the domain has no <hyperv>", "add one"},
    {"passthrough", INTEL(11000000), ON_EVMCS, DOMAIN("<hyperv mode='passthrough'><vapic state='on'/></hyperv>"),
     "evmcs: <hyperv mode='passthrough'> already", "mode='custom'"},
    {"passthrough-empty", INTEL(11000000), ON_EVMCS, DOMAIN("<hyperv mode='passthrough'/>"),
     "evmcs: <hyperv mode='passthrough'> already", "mode='custom'"},
    {"empty", AMD(11000000), ON_EMSR, DOMAIN("<hyperv mode='custom'/>"), "emsr_bitmap: ", "is empty; add"},
    {"evmcs-libvirt", INTEL(4009000), ON_EVMCS, HYPERV(""), "evmcs: it needs libvirt 4.10.0, and this is 4.9.0",
     "update libvirt"},
    {"emsr-libvirt", AMD(10006003), ON_EMSR, HYPERV(""), "emsr_bitmap: it needs libvirt 10.7.0, and this is 10.6.3",
     "update libvirt"},
    {"emsr-unknown", AMD(0), ON_EMSR, HYPERV(""), "emsr_bitmap: it needs libvirt 10.7.0", "unknown"},
    {"direct-libvirt", AMD(10010000), ON_DIRECT, HYPERV(""), "tlbflush direct: it needs libvirt 11.0.0", "10.10.0"},
    {"direct-unknown", AMD(0), ON_DIRECT, HYPERV("<tlbflush state='on'/>"), "tlbflush direct: it needs libvirt 11.0.0",
     "unknown"},
    {"emsr-no-evmcs", INTEL(11000000), ON_EMSR, HYPERV(""), "emsr_bitmap: on Intel", "switch evmcs on"},
    {"emsr-evmcs-off", INTEL(11000000), ON_EMSR, HYPERV("<evmcs state='off'/>"), "emsr_bitmap: on Intel",
     "switch evmcs on"},
    {"direct-no-evmcs", INTEL(11000000), ON_DIRECT, HYPERV(""), "tlbflush direct: on Intel", "switch evmcs on"},
    {"evmcs-vapic", INTEL(11000000), ON_EVMCS, DOMAIN("<hyperv><vapic state='off'/></hyperv>"),
     "evmcs: ", "add <vapic state='on'/> to"},
    {"direct-vpindex", AMD(11000000), ON_DIRECT, DOMAIN("<hyperv><vapic state='on'/></hyperv>"),
     "tlbflush direct: ", "add <vpindex state='on'/> to"},
    {"direct-vapic", AMD(11000000), ON_DIRECT, DOMAIN("<hyperv><vpindex state='on'/></hyperv>"),
     "tlbflush direct: ", "add <vapic state='on'/> to"},
    {"direct-both", AMD(11000000), ON_DIRECT, DOMAIN("<hyperv><relaxed state='on'/></hyperv>"),
     "tlbflush direct: ", "add <vpindex state='on'/> and <vapic state='on'/> to"},
    {"direct-prefixed-vapic", AMD(11000000), ON_DIRECT,
     DOMAIN("<hyperv><vpindex state='on'/><q:vapic state='on' xmlns:q='urn:q'/></hyperv>"),
     "tlbflush direct: ", "add <vapic state='on'/> to"},
    {"evmcs-offered",
     {.is_kvm = true, .feature = "vmx", .libvirt_version = 11000000, .offered = few},
     ON_EVMCS,
     HYPERV(""),
     "evmcs: this host's kernel or QEMU does not have it",
     "domcapabilities"},
    {"emsr-offered",
     {.is_kvm = true, .feature = "svm", .libvirt_version = 11000000, .offered = few},
     ON_EMSR,
     HYPERV(""),
     "emsr_bitmap: this host's kernel",
     "a policy without it"},
    {"direct-offered",
     {.is_kvm = true, .feature = "svm", .libvirt_version = 11000000, .offered = few},
     ON_DIRECT,
     HYPERV("<tlbflush state='on'/>"),
     "tlbflush direct: this host's kernel",
     "would not start"},
};

static void test_skip(gconstpointer data)
{
    const SkipCase *c = data;
    g_autoptr(HypervPlan) made = plan(c->text, &c->policy, NULL, &c->host);

    g_assert_cmpuint(made->skipped->len, ==, 1);
    g_assert_true(g_str_has_prefix(made->skipped->pdata[0], c->skipped));
    util_assert_contains(made->skipped->pdata[0], c->part);
    g_assert_cmpuint(made->edits->len, ==, 0);
    g_assert_true(hyperv_record_is_empty(&made->record));
}

static void test_skip_not(void)
{
    const HypervPolicy emsr = ON_EMSR, evmcs = ON_EVMCS;
    const HypervHost unknown = INTEL(0);
    /* evmcs is older than the oldest libvirt that virtnest runs with: an unknown one has it. */
    g_autoptr(HypervPlan) first = plan(HYPERV(""), &evmcs, NULL, &unknown);
    g_assert_cmpuint(first->skipped->len, ==, 0);
    g_assert_cmpuint(first->edits->len, ==, 1);

    /* The domain's own evmcs will do. */
    g_autoptr(HypervPlan) second = plan(HYPERV(EVMCS), &emsr, NULL, &intel);
    g_assert_cmpuint(second->skipped->len, ==, 0);
    g_assert_cmpuint(second->edits->len, ==, 1);

    const HypervHost has_them = {.is_kvm = true, .feature = "vmx", .libvirt_version = 11000000, .offered = most};
    g_autoptr(HypervPlan) fourth = plan(HYPERV(""), &all_on, NULL, &has_them);
    g_assert_cmpuint(fourth->skipped->len, ==, 0);

    /* What is on already cannot be skipped. */
    g_autoptr(HypervPlan) third = plan(HYPERV(EVMCS), &evmcs, NULL, &amd);
    g_assert_cmpuint(third->skipped->len, ==, 0);
    g_assert_cmpuint(third->edits->len, ==, 0);
}

/* One skip leads to the next: without vapic neither evmcs nor what works through it. */
static void test_skip_chain(void)
{
    g_autoptr(HypervPlan) made = plan(DOMAIN("<hyperv><vpindex state='on'/></hyperv>"), &all_on, NULL, &intel);

    g_assert_cmpuint(made->skipped->len, ==, 3);
    g_assert_cmpuint(made->edits->len, ==, 0);
}

/* A definition that moved to a host which cannot have it goes back to what it was. */
static void test_skip_takes_back(void)
{
    g_autoptr(HypervPlan) made = plan(HYPERV(""), &all_on, NULL, &intel);
    g_autofree char *text = edited(HYPERV(""), made);
    g_autoptr(HypervPlan) moved = plan(text, &all_on, &made->record, &amd);
    g_autofree char *moved_text = edited(text, moved);

    util_assert_same(moved_text, HYPERV(EMSR DIRECT));
    g_assert_null(moved->record.applied[HYPERV_EVMCS]);
    g_assert_cmpstr(moved->record.previous[HYPERV_EMSR_BITMAP], ==, "");
}

/* Three ways ------------------------------------------------------------------------------------------------------- */

static void test_record(void)
{
    static const char text[] = HYPERV("<evmcs  state = 'off'/>");
    g_autoptr(HypervPlan) made = plan(text, &all_on, NULL, &intel);
    HypervRecord record = made->record;

    g_assert_cmpstr(record.previous[HYPERV_EVMCS], ==, "<evmcs  state = 'off'/>");
    g_assert_cmpstr(record.applied[HYPERV_EVMCS], ==, "<evmcs state=\"on\"/>");
    g_assert_cmpstr(record.previous[HYPERV_EMSR_BITMAP], ==, "");
    g_assert_cmpstr(record.applied[HYPERV_EMSR_BITMAP], ==, "<emsr_bitmap state='on'/>");
    g_assert_false(hyperv_record_is_empty(&record));
    hyperv_record_clear(&made->record);
    g_assert_true(hyperv_record_is_empty(&made->record));
}

/* The policy changes its mind: what it is asked for now starts from what was there before virtnest. */
static void test_change_of_policy(void)
{
    static const char text[] = HYPERV("<emsr_bitmap state='off'/>");
    g_autoptr(HypervPlan) on = plan(text, &all_on, NULL, &intel);
    g_autofree char *on_text = edited(text, on);
    g_autoptr(HypervPlan) off = plan(on_text, &all_off, &on->record, &intel);
    g_autofree char *off_text = edited(on_text, off);
    g_autoptr(HypervPlan) left = plan(on_text, &leave, &on->record, &intel);
    g_autofree char *left_text = edited(on_text, left);

    util_assert_same(off_text, text);
    util_assert_same(left_text, text);
    g_assert_true(hyperv_record_is_empty(&off->record));
    g_assert_true(hyperv_record_is_empty(&left->record));
}

/* Of a child of <tlbflush> that is off nothing is left after libvirt read it, and no edit is seen in that. */
static void test_direct_off_dropped(void)
{
    static const char text[] = HYPERV(DIRECT);
    g_autoptr(HypervPlan) off = plan(text, &all_off, NULL, &intel);
    g_autofree char *off_text = edited(text, off);
    g_autofree char *dropped = util_replace(off_text, "<direct state=\"off\"/>", "");
    g_autoptr(HypervPlan) again = plan(dropped, &all_off, &off->record, &intel);
    g_autoptr(HypervPlan) undo = plan(dropped, NULL, &off->record, &intel);
    g_autofree char *undone = edited(dropped, undo);

    g_assert_cmpuint(again->edits->len, ==, 0);
    assert_same_record(&again->record, &off->record);
    util_assert_same(undone, text);
}

static void test_edited_by_hand(void)
{
    g_autoptr(HypervPlan) made = plan(HYPERV(""), &all_on, NULL, &intel);
    g_autofree char *text = edited(HYPERV(""), made);
    g_autofree char *off = util_replace(text, "<evmcs state='on'/>", "<evmcs state='off' by='hand'/>");
    g_autoptr(HypervPlan) undo = plan(off, NULL, &made->record, &intel);
    g_autofree char *undone = edited(off, undo);

    util_assert_same(undone, HYPERV(LINE("<evmcs state='off' by='hand'/>")));
    g_assert_cmpuint(undo->conflicts->len, ==, 1);
    g_assert_true(g_str_has_prefix(undo->conflicts->pdata[0], "evmcs: "));
    g_assert_true(hyperv_record_is_empty(&undo->record));

    /* With the policy still there the edit is the new base, and what comes back one day. */
    g_autoptr(HypervPlan) again = plan(off, &all_on, &made->record, &intel);
    g_autofree char *again_text = edited(off, again);
    g_assert_cmpstr(again->record.previous[HYPERV_EVMCS], ==, "<evmcs state='off' by='hand'/>");
    util_assert_contains(again_text, "<evmcs state=\"on\" by=\"hand\"/>");
    g_assert_cmpuint(again->conflicts->len, ==, 0);
}

/* Somebody took virtnest's work back: that is no conflict. */
static void test_reverted_by_hand(void)
{
    g_autoptr(HypervPlan) made = plan(HYPERV(""), &all_on, NULL, &intel);
    g_autoptr(HypervPlan) undo = plan(HYPERV(""), NULL, &made->record, &intel);

    g_assert_cmpuint(undo->edits->len, ==, 0);
    g_assert_cmpuint(undo->conflicts->len, ==, 0);
}

static void test_damaged_record(void)
{
    static const struct {
        const char *previous, *applied;
    } cases[] = {{"", NULL},
                 {NULL, "<evmcs state='on'/>"},
                 {"<devices/>", "<evmcs state='on'/>"},
                 {"<evmcs", "<evmcs state='on'/>"},
                 {"<evmcs/><devices/>", "<evmcs state='on'/>"},
                 {"", "evmcs"}};

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        HypervRecord record = {.previous = {g_strdup(cases[i].previous)}, .applied = {g_strdup(cases[i].applied)}};
        g_autoptr(HypervPlan) undo = plan(HYPERV(EVMCS), NULL, &record, &intel);
        g_assert_cmpuint(undo->edits->len, ==, 0);
        g_assert_cmpuint(undo->conflicts->len, ==, 1);
        util_assert_contains(undo->conflicts->pdata[0], "damaged");
        hyperv_record_clear(&record);
    }
}

/* The running guest ------------------------------------------------------------------------------------------------ */

static void check_live(const char *text, const char *live_text, const HypervPolicy *policy,
                       const HypervRecord *recorded, bool expected)
{
    g_autoptr(DomainXml) xml = util_parse(text), live = util_parse(live_text);
    g_autoptr(HypervPlan) made = hyperv_plan(xml, live, policy, recorded, &intel);

    g_assert_cmpint(made->differs_live, ==, expected);
}

static void test_live(void)
{
    g_autoptr(HypervPlan) made = plan(HYPERV(""), &all_on, NULL, &intel);
    g_autofree char *on = edited(HYPERV(""), made), *on_live = relayout(on);

    check_live(HYPERV(""), HYPERV(""), &all_on, NULL, true);
    check_live(HYPERV(""), on_live, &all_on, NULL, false);
    check_live(on, on_live, &all_on, &made->record, false);
    check_live(on, HYPERV(EVMCS EMSR), &all_on, &made->record, true);
    check_live(on, "<domain/>", &all_on, &made->record, true);
    /* What is taken back is still there until the next start. */
    check_live(on, on_live, NULL, &made->record, true);
    check_live(on, HYPERV(""), NULL, &made->record, false);
    check_live(on, HYPERV("<evmcs state='off'/><emsr_bitmap state='off'/><tlbflush state='off'/>"), NULL, &made->record,
               false);
    /* What virtnest does not touch is none of its business. */
    check_live(HYPERV(""), HYPERV(EVMCS), &leave, NULL, false);
    check_live(HYPERV(EVMCS EMSR DIRECT), HYPERV(""), &all_on, NULL, false);
    /* Absent is off. */
    check_live(HYPERV(EVMCS), HYPERV(""), &all_off, NULL, false);
    check_live(HYPERV(EVMCS), "<domain/>", &all_off, NULL, false);
    check_live(HYPERV(EVMCS), HYPERV(EVMCS), &all_off, NULL, true);
}

static void test_names(void)
{
    g_assert_cmpstr(hyperv_element(HYPERV_TLBFLUSH_DIRECT), ==, "tlbflush");
    g_assert_cmpstr(hyperv_name(HYPERV_TLBFLUSH_DIRECT), ==, "tlbflush direct");
    g_assert_cmpstr(hyperv_element(HYPERV_EMSR_BITMAP), ==, hyperv_name(HYPERV_EMSR_BITMAP));
    g_assert_cmpstr(hyperv_element(HYPERV_EVMCS), ==, "evmcs");
    g_assert_null(hyperv_plan_free(NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(plan_cases); i++) {
        g_autofree char *path = g_strconcat("/hyperv/plan/", plan_cases[i].name, NULL);
        g_test_add_data_func(path, &plan_cases[i], test_plan);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(skip_cases); i++) {
        g_autofree char *path = g_strconcat("/hyperv/skip/", skip_cases[i].name, NULL);
        g_test_add_data_func(path, &skip_cases[i], test_skip);
    }
    g_test_add_func("/hyperv/documents", test_documents);
    g_test_add_func("/hyperv/skip-not", test_skip_not);
    g_test_add_func("/hyperv/skip-chain", test_skip_chain);
    g_test_add_func("/hyperv/skip-takes-back", test_skip_takes_back);
    g_test_add_func("/hyperv/record", test_record);
    g_test_add_func("/hyperv/change-of-policy", test_change_of_policy);
    g_test_add_func("/hyperv/direct-off-dropped", test_direct_off_dropped);
    g_test_add_func("/hyperv/edited-by-hand", test_edited_by_hand);
    g_test_add_func("/hyperv/reverted-by-hand", test_reverted_by_hand);
    g_test_add_func("/hyperv/damaged-record", test_damaged_record);
    g_test_add_func("/hyperv/live", test_live);
    g_test_add_func("/hyperv/names", test_names);
    return g_test_run();
}
