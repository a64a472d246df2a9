/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/cpu.c: what is the same CPU, what a policy makes of one, and how an edit survives. */

#include "lib/cpu.h"

#include "tests/unit/util.h"
#include <string.h>

static Cpu *cpu(const char *text)
{
    g_autoptr(GError) error = NULL;
    Cpu *result = cpu_from_text(text, &error);

    g_assert_no_error(error);
    g_assert_nonnull(result);
    return result;
}

/* Equality -------------------------------------------------------------------------------------------------------- */

typedef struct PairCase {
    const char *name;
    const char *a;
    const char *b;
} PairCase;

#define HOST_MODEL "<cpu mode='host-model'>"
#define CUSTOM "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid'>EPYC</model>"

static const PairCase equal_cases[] = {
    {"absent", "", ""},
    {"quotes", "<cpu mode='host-model'/>", "<cpu mode=\"host-model\"></cpu>"},
    {"attribute-order", "<cpu migratable='off' check='none' mode='host-passthrough'/>",
     "<cpu mode='host-passthrough' check='none' migratable='off'/>"},
    {"layout", HOST_MODEL "<feature policy='require' name='svm'/></cpu>",
     "<cpu\tmode = 'host-model'\n>\n  <feature\nname='svm'   policy='require' ></feature>\r\n\t</cpu >"},
    {"comments", HOST_MODEL "<!-- a --><feature policy='require' name='svm'/><?b c?></cpu>",
     HOST_MODEL "<feature policy='require' name='svm'><!-- d --></feature></cpu>"},
    {"child-order",
     HOST_MODEL "<topology sockets='1' cores='2' threads='1'/><feature name='a'/><feature name='b'/></cpu>",
     HOST_MODEL "<feature name='b'/><feature name='a'/><topology sockets='1' cores='2' threads='1'/></cpu>"},
    {"references", HOST_MODEL "<feature policy='r&#101;quire' name='s&#x76;m'/></cpu>",
     HOST_MODEL "<feature policy='require' name='svm'/></cpu>"},
    {"cdata-model", CUSTOM "</cpu>",
     "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid'><![CDATA[EPYC]]></model></cpu>"},
    {"space-around-model", CUSTOM "</cpu>",
     "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid'>\n  EPYC </model></cpu>"},
    {"default-check-host-model", "<cpu mode='host-model'/>", "<cpu mode='host-model' check='partial'/>"},
    {"default-check-passthrough", "<cpu mode='host-passthrough'/>",
     "<cpu mode='host-passthrough' check='none' migratable='on'/>"},
    {"default-check-maximum", "<cpu mode='maximum'/>", "<cpu mode='maximum' check='none' migratable='on'/>"},
    {"default-match", "<cpu mode='custom' check='none'><model>EPYC</model></cpu>",
     "<cpu mode='custom' match='exact' check='none'><model>EPYC</model></cpu>"},
    {"default-mode", "<cpu match='exact' check='none'><model>EPYC</model></cpu>",
     "<cpu mode='custom' match='exact' check='none'><model>EPYC</model></cpu>"},
    {"default-fallback", "<cpu check='none'><model>EPYC</model></cpu>",
     "<cpu check='none'><model fallback='allow'>EPYC</model></cpu>"},
    {"fallback-of-host-model", "<cpu mode='host-model'/>", "<cpu mode='host-model'><model fallback='forbid'/></cpu>"},
    {"default-feature-policy", HOST_MODEL "<feature name='svm'/></cpu>",
     HOST_MODEL "<feature policy='require' name='svm'/></cpu>"},
    {"default-dies", HOST_MODEL "<topology sockets='1' cores='2' threads='1'/></cpu>",
     HOST_MODEL "<topology sockets='1' dies='1' cores='2' threads='1'/></cpu>"},
    {"default-clusters", HOST_MODEL "<topology sockets='1' dies='2' cores='2' threads='1'/></cpu>",
     HOST_MODEL "<topology sockets='1' dies='2' clusters='1' cores='2' threads='1'/></cpu>"},
    {"numa-layout", HOST_MODEL "<numa>\n <cell id='0' cpus='0' memory='1' unit='KiB'/>\n</numa></cpu>",
     HOST_MODEL "<numa><cell unit='KiB' memory='1' cpus='0' id='0'></cell></numa></cpu>"},
};

static const PairCase different_cases[] = {
    {"absent-host-model", "", "<cpu mode='host-model'/>"},
    {"absent-topology", "", "<cpu><topology sockets='1' cores='1' threads='1'/></cpu>"},
    {"mode", "<cpu mode='host-model'/>", "<cpu mode='host-passthrough'/>"},
    {"mode-maximum", "<cpu mode='maximum'/>", "<cpu mode='host-passthrough'/>"},
    {"check", "<cpu mode='host-model' check='none'/>", "<cpu mode='host-model'/>"},
    {"check-full", "<cpu mode='host-model' check='full'/>", "<cpu mode='host-model' check='partial'/>"},
    {"check-passthrough", "<cpu mode='host-passthrough' check='partial'/>", "<cpu mode='host-passthrough'/>"},
    {"check-custom", CUSTOM "</cpu>",
     "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>EPYC</model></cpu>"},
    {"migratable", "<cpu mode='host-passthrough' migratable='off'/>", "<cpu mode='host-passthrough'/>"},
    {"match", CUSTOM "</cpu>",
     "<cpu mode='custom' match='strict' check='partial'><model fallback='forbid'>EPYC</model></cpu>"},
    {"model", CUSTOM "</cpu>",
     "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid'>EPYC-Rome</model></cpu>"},
    {"model-case", CUSTOM "</cpu>",
     "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid'>Epyc</model></cpu>"},
    {"fallback", CUSTOM "</cpu>", "<cpu mode='custom' match='exact' check='partial'><model>EPYC</model></cpu>"},
    {"vendor", CUSTOM "</cpu>", CUSTOM "<vendor>AMD</vendor></cpu>"},
    {"vendor-other", CUSTOM "<vendor>Intel</vendor></cpu>", CUSTOM "<vendor>AMD</vendor></cpu>"},
    {"vendor-id", CUSTOM "</cpu>",
     "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid' vendor_id='KVMKVMKVMKVM'>EPYC</model></cpu>"},
    {"unknown-attribute", "<cpu mode='host-model' deprecated_features='off'/>", "<cpu mode='host-model'/>"},
    {"feature-more", HOST_MODEL "<feature name='svm'/></cpu>", HOST_MODEL "</cpu>"},
    {"feature-policy", HOST_MODEL "<feature name='svm'/></cpu>",
     HOST_MODEL "<feature policy='disable' name='svm'/></cpu>"},
    {"feature-force", HOST_MODEL "<feature name='svm'/></cpu>",
     HOST_MODEL "<feature policy='force' name='svm'/></cpu>"},
    {"feature-name", HOST_MODEL "<feature name='svm'/></cpu>", HOST_MODEL "<feature name='vmx'/></cpu>"},
    {"topology", HOST_MODEL "<topology sockets='1' cores='2' threads='1'/></cpu>",
     HOST_MODEL "<topology sockets='2' cores='1' threads='1'/></cpu>"},
    {"topology-dies", HOST_MODEL "<topology sockets='1' dies='2' cores='2' threads='1'/></cpu>",
     HOST_MODEL "<topology sockets='1' cores='2' threads='1'/></cpu>"},
    {"topology-clusters", HOST_MODEL "<topology sockets='1' dies='1' clusters='2' cores='2' threads='1'/></cpu>",
     HOST_MODEL "<topology sockets='1' dies='1' cores='2' threads='1'/></cpu>"},
    {"numa", HOST_MODEL "<numa><cell id='0' cpus='0' memory='1'/></numa></cpu>",
     HOST_MODEL "<numa><cell id='0' cpus='0' memory='2'/></numa></cpu>"},
    {"numa-deep",
     HOST_MODEL "<numa><cell id='0'><distances><sibling id='1' value='10'/></distances></cell></numa></cpu>",
     HOST_MODEL "<numa><cell id='0'><distances><sibling id='1' value='11'/></distances></cell></numa></cpu>"},
    {"numa-order", HOST_MODEL "<numa><cell id='0' cpus='0'/><cell id='1' cpus='1'/></numa></cpu>",
     HOST_MODEL "<numa><cell id='1' cpus='1'/><cell id='0' cpus='0'/></numa></cpu>"},
    {"cache", HOST_MODEL "<cache mode='passthrough'/></cpu>", HOST_MODEL "<cache level='3' mode='emulate'/></cpu>"},
    {"maxphysaddr", HOST_MODEL "<maxphysaddr mode='emulate' bits='42'/></cpu>",
     HOST_MODEL "<maxphysaddr mode='emulate' bits='43'/></cpu>"},
    {"unknown-element", HOST_MODEL "<quantum/></cpu>", HOST_MODEL "</cpu>"},
    {"unknown-element-text", HOST_MODEL "<quantum>1</quantum></cpu>", HOST_MODEL "<quantum>2</quantum></cpu>"},
    /* Text that looks like markup must not be taken for markup. */
    {"forged-element", HOST_MODEL "<q>&lt;a>&lt;/a></q></cpu>", HOST_MODEL "<q><a></a></q></cpu>"},
    {"forged-attribute", HOST_MODEL "<q a='1\" b=\"2'/></cpu>", HOST_MODEL "<q a='1' b='2'/></cpu>"},
};

static void test_equal(gconstpointer data)
{
    const PairCase *c = data;
    g_autoptr(Cpu) a = cpu(c->a), b = cpu(c->b);

    g_assert_true(cpu_equal(a, b));
    g_assert_true(cpu_equal(b, a));
}

static void test_different(gconstpointer data)
{
    const PairCase *c = data;
    g_autoptr(Cpu) a = cpu(c->a), b = cpu(c->b);

    g_assert_false(cpu_equal(a, b));
    g_assert_false(cpu_equal(b, a));
    g_assert_true(cpu_equal(a, a));
    g_assert_true(cpu_equal(b, b));
}

/* Reading --------------------------------------------------------------------------------------------------------- */

static void test_text_is_kept(void)
{
    static const char text[] = "<cpu\r\n  mode=\"custom\" ><!-- & --><model\t>EPYC</model>\r\n\t<q:x a='>' /></cpu >";
    g_autoptr(Cpu) a = cpu(text), none = cpu("");

    util_assert_same(cpu_text(a), text);
    g_assert_cmpstr(cpu_mode(a), ==, "custom");
    g_assert_cmpstr(cpu_model(a), ==, "EPYC");
    g_assert_cmpstr(cpu_text(none), ==, "");
    g_assert_cmpstr(cpu_mode(none), ==, "");
    g_assert_cmpstr(cpu_model(none), ==, "");
}

static void test_mode_and_model(void)
{
    static const struct {
        const char *text, *mode, *model;
    } cases[] = {
        {"<cpu/>", "custom", ""},
        {"<cpu><model> EPYC\n</model></cpu>", "custom", "EPYC"},
        {"<cpu mode='custom'><model/></cpu>", "custom", ""},
        {"<cpu mode='host-model'><model>EPYC</model></cpu>", "host-model", ""},
        {"<cpu mode='some-new-mode'/>", "some-new-mode", ""},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Cpu) a = cpu(cases[i].text);
        g_assert_cmpstr(cpu_mode(a), ==, cases[i].mode);
        g_assert_cmpstr(cpu_model(a), ==, cases[i].model);
    }
}

static void test_from_domain(void)
{
    for (gsize i = 0; util_domains[i] != NULL; i++) {
        g_autofree char *text = util_domain(util_domains[i]);
        g_autoptr(DomainXml) xml = util_parse(text);
        const xmlNode *node = xml_child(domain_xml_root(xml), "cpu");
        g_autofree char *slice = node != NULL ? util_slice(xml, node) : g_strdup("");
        g_autoptr(GError) error = NULL;
        g_autoptr(Cpu) from_domain = cpu_from_domain(xml, &error), from_text = cpu(slice);
        g_assert_no_error(error);
        util_assert_same(cpu_text(from_domain), slice);
        g_assert_true(cpu_equal(from_domain, from_text));
        g_autoptr(Cpu) copy = cpu_copy(from_domain, &error);
        g_assert_no_error(error);
        g_clear_pointer(&from_domain, cpu_free);
        g_clear_pointer(&xml, domain_xml_free);
        /* The copy lives on without the document. */
        util_assert_same(cpu_text(copy), slice);
        g_assert_true(cpu_equal(copy, from_text));
    }
}

static void test_refused(void)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"<cpus/>", "found <cpus>"},
        {"<cpu", "not well-formed"},
        {" ", "not well-formed"},
        {"<!DOCTYPE cpu><cpu/>", "declaration"},
        {"<?xml version='1.0'?><cpu/>", "declaration"},
        {"<cpu xmlns='urn:a'/>", "expected a <cpu>"},
        {"<cpu><feature policy='require'/></cpu>", "without a name"},
        {"<cpu><feature name=''/></cpu>", "without a name"},
        {"<cpu><feature name='svm'/><feature policy='disable' name='svm'/></cpu>", "'svm' twice"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Cpu) a = cpu_from_text(cases[i].text, &error);
        g_assert_null(a);
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML);
        util_assert_contains(error->message, cases[i].part);
    }
    g_assert_null(cpu_free(NULL));
}

static void test_mode_names(void)
{
    for (CpuMode mode = CPU_MODE_HOST_MODEL; mode <= CPU_MODE_KEEP; mode++)
        g_assert_cmpstr(cpu_mode_to_string(mode), ==, cpu_mode_names[mode]);
    g_assert_null(cpu_mode_names[CPU_MODE_KEEP + 1]);
}

/* Policy ---------------------------------------------------------------------------------------------------------- */

typedef struct ApplyCase {
    const char *name;
    CpuMode mode;
    const char *base;
    const char *wanted; /* NULL: refused */
} ApplyCase;

#define TOPOLOGY "\n    <topology sockets=\"1\" dies=\"1\" cores=\"4\" threads=\"1\"/>"
#define SVM "\n    <feature policy=\"require\" name=\"svm\"/>"
#define MODEL "\n    <model fallback=\"forbid\">EPYC</model>"
#define END "\n  </cpu>"
#define REST                                                                                    \
    "\n    <topology sockets=\"2\" dies=\"1\" cores=\"4\" threads=\"2\"/>"                      \
    "\n    <cache level=\"3\" mode=\"emulate\"/>"                                               \
    "\n    <maxphysaddr mode=\"emulate\" bits=\"46\"/>"                                         \
    "\n    <!-- mine -->"                                                                       \
    "\n    <feature policy=\"disable\" name=\"mpx\"/>"                                          \
    "\n    <feature policy=\"optional\" name=\"pcid\"/>"                                        \
    "\n    <numa>\n      <cell id=\"0\" cpus=\"0-15\" memory=\"1\" unit=\"KiB\"/>\n    </numa>" \
    "\n    <quantum>1</quantum>"

static const ApplyCase apply_cases[] = {
    /* host-model */
    {"host-model/absent", CPU_MODE_HOST_MODEL, "", "<cpu mode=\"host-model\" check=\"partial\">" SVM END},
    {"host-model/empty", CPU_MODE_HOST_MODEL, "<cpu/>", "<cpu mode=\"host-model\" check=\"partial\">" SVM END},
    {"host-model/empty-open", CPU_MODE_HOST_MODEL, "<cpu></cpu>",
     "<cpu mode=\"host-model\" check=\"partial\">" SVM END},
    {"host-model/empty-lines", CPU_MODE_HOST_MODEL, "<cpu>\n  </cpu>",
     "<cpu mode=\"host-model\" check=\"partial\">" SVM END},
    {"host-model/topology-only", CPU_MODE_HOST_MODEL, "<cpu>" TOPOLOGY END,
     "<cpu mode=\"host-model\" check=\"partial\">" TOPOLOGY SVM END},
    {"host-model/same", CPU_MODE_HOST_MODEL, "<cpu mode='host-model'/>", "<cpu mode=\"host-model\">" SVM END},
    {"host-model/same-partial", CPU_MODE_HOST_MODEL, "<cpu mode='host-model' check='partial'>" TOPOLOGY END,
     "<cpu mode=\"host-model\" check=\"partial\">" TOPOLOGY SVM END},
    {"host-model/check-full-is-kept", CPU_MODE_HOST_MODEL, "<cpu mode='host-model' check='full'/>",
     "<cpu mode=\"host-model\" check=\"full\">" SVM END},
    /* libvirt would start the guest without svm and say nothing. */
    {"host-model/check-none", CPU_MODE_HOST_MODEL, "<cpu mode='host-model' check='none'/>",
     "<cpu mode=\"host-model\" check=\"partial\">" SVM END},
    {"host-model/passthrough", CPU_MODE_HOST_MODEL,
     "<cpu mode='host-passthrough' check='none' migratable='off'>" REST END,
     "<cpu mode=\"host-model\" check=\"partial\">" REST SVM END},
    {"host-model/maximum", CPU_MODE_HOST_MODEL, "<cpu mode='maximum' check='none' migratable='on'/>",
     "<cpu mode=\"host-model\" check=\"partial\">" SVM END},
    {"host-model/custom", CPU_MODE_HOST_MODEL,
     "<cpu mode='custom' match='exact' check='full'>\n    <model fallback='forbid' vendor_id='KVMKVMKVMKVM'>Skylake</model>"
     "\n    <vendor>Intel</vendor>" REST END,
     "<cpu mode=\"host-model\" check=\"partial\">" REST SVM END},
    {"host-model/svm-required", CPU_MODE_HOST_MODEL, "<cpu mode='host-model'>" SVM END,
     "<cpu mode=\"host-model\">" SVM END},
    {"host-model/svm-disabled", CPU_MODE_HOST_MODEL,
     "<cpu mode='host-model'><feature policy='disable' name='svm'/></cpu>",
     "<cpu mode=\"host-model\"><feature policy=\"require\" name=\"svm\"/></cpu>"},
    {"host-model/svm-forbidden", CPU_MODE_HOST_MODEL,
     "<cpu mode='host-model'><feature name='svm' policy='forbid'/></cpu>",
     "<cpu mode=\"host-model\"><feature name=\"svm\" policy=\"require\"/></cpu>"},
    {"host-model/svm-optional", CPU_MODE_HOST_MODEL,
     "<cpu mode='host-model'><feature policy='optional' name='svm'/></cpu>",
     "<cpu mode=\"host-model\"><feature policy=\"require\" name=\"svm\"/></cpu>"},
    {"host-model/svm-forced", CPU_MODE_HOST_MODEL, "<cpu mode='host-model'><feature policy='force' name='svm'/></cpu>",
     "<cpu mode=\"host-model\"><feature policy=\"require\" name=\"svm\"/></cpu>"},
    {"host-model/svm-default", CPU_MODE_HOST_MODEL, "<cpu mode='host-model'><feature name='svm'/></cpu>",
     "<cpu mode=\"host-model\"><feature name=\"svm\" policy=\"require\"/></cpu>"},
    {"host-model/vmx-stays", CPU_MODE_HOST_MODEL,
     "<cpu mode='host-model'>\n    <feature policy='require' name='vmx'/>\n    <feature policy='disable' name='svme'/>" END,
     "<cpu mode=\"host-model\">\n    <feature policy=\"require\" name=\"vmx\"/>\n    "
     "<feature policy=\"disable\" name=\"svme\"/>" SVM END},
    {"host-model/one-line", CPU_MODE_HOST_MODEL, "<cpu mode='host-model'><topology sockets='1'/></cpu>",
     "<cpu mode=\"host-model\"><topology sockets=\"1\"/><feature policy=\"require\" name=\"svm\"/></cpu>"},
    {"host-model/tabs", CPU_MODE_HOST_MODEL, "<cpu mode='host-model'>\n\t\t<topology sockets='1'/>\n\t</cpu>",
     "<cpu mode=\"host-model\">\n\t\t<topology sockets=\"1\"/>\n\t\t<feature policy=\"require\" name=\"svm\"/>\n\t</cpu>"},
    {"host-model/unknown-attribute-of-custom", CPU_MODE_HOST_MODEL,
     "<cpu mode='custom' later='x'><model>EPYC</model></cpu>", "<cpu mode=\"host-model\" check=\"partial\">" SVM END},
    {"host-model/unknown-attribute-of-same", CPU_MODE_HOST_MODEL, "<cpu mode='host-model' later='x'/>",
     "<cpu mode=\"host-model\" later=\"x\">" SVM END},

    /* host-passthrough */
    {"passthrough/absent", CPU_MODE_HOST_PASSTHROUGH, "", "<cpu mode=\"host-passthrough\" check=\"none\">" SVM END},
    {"passthrough/empty", CPU_MODE_HOST_PASSTHROUGH, "<cpu/>",
     "<cpu mode=\"host-passthrough\" check=\"none\">" SVM END},
    {"passthrough/same", CPU_MODE_HOST_PASSTHROUGH, "<cpu mode='host-passthrough' check='none' migratable='off'/>",
     "<cpu mode=\"host-passthrough\" check=\"none\" migratable=\"off\">" SVM END},
    {"passthrough/host-model", CPU_MODE_HOST_PASSTHROUGH, "<cpu mode='host-model' check='partial'>" REST END,
     "<cpu mode=\"host-passthrough\" check=\"none\">" REST SVM END},
    {"passthrough/maximum", CPU_MODE_HOST_PASSTHROUGH, "<cpu mode='maximum' check='none' migratable='on'>" TOPOLOGY END,
     "<cpu mode=\"host-passthrough\" check=\"none\">" TOPOLOGY SVM END},
    {"passthrough/custom", CPU_MODE_HOST_PASSTHROUGH,
     "<cpu mode='custom' match='exact' check='partial'><model>EPYC</model><vendor>AMD</vendor>"
     "<feature policy='disable' name='svm'/></cpu>",
     "<cpu mode=\"host-passthrough\" check=\"none\"><feature policy=\"require\" name=\"svm\"/></cpu>"},

    /* custom, of the model EPYC */
    {"custom/absent", CPU_MODE_CUSTOM, "", "<cpu mode=\"custom\" match=\"exact\" check=\"partial\">" MODEL SVM END},
    {"custom/empty", CPU_MODE_CUSTOM, "<cpu/>",
     "<cpu mode=\"custom\" match=\"exact\" check=\"partial\">" MODEL SVM END},
    {"custom/topology-only", CPU_MODE_CUSTOM, "<cpu>" TOPOLOGY END,
     "<cpu mode=\"custom\" match=\"exact\" check=\"partial\">" TOPOLOGY MODEL SVM END},
    {"custom/host-model", CPU_MODE_CUSTOM, "<cpu mode='host-model' check='partial'>" REST END,
     "<cpu mode=\"custom\" match=\"exact\" check=\"partial\">" REST MODEL SVM END},
    {"custom/passthrough", CPU_MODE_CUSTOM, "<cpu mode='host-passthrough' check='none' migratable='off'/>",
     "<cpu mode=\"custom\" match=\"exact\" check=\"partial\">" MODEL SVM END},
    {"custom/other-model", CPU_MODE_CUSTOM,
     "<cpu mode='custom' match='minimum' check='full'>\n    <model fallback='allow' vendor_id='KVMKVMKVMKVM'>Skylake</model>"
     "\n    <vendor>Intel</vendor>" TOPOLOGY END,
     "<cpu mode=\"custom\" match=\"exact\" check=\"partial\">" TOPOLOGY MODEL SVM END},
    {"custom/same-model", CPU_MODE_CUSTOM,
     "<cpu mode='custom' match='minimum' check='full'>\n    <model fallback='allow' vendor_id='KVMKVMKVMKVM'>EPYC</model>"
     "\n    <vendor>AMD</vendor>" TOPOLOGY END,
     "<cpu mode=\"custom\" match=\"minimum\" check=\"full\">\n    "
     "<model fallback=\"allow\" vendor_id=\"KVMKVMKVMKVM\">EPYC</model>\n    <vendor>AMD</vendor>" TOPOLOGY SVM END},
    {"custom/same-model-check-none", CPU_MODE_CUSTOM, "<cpu mode='custom' check='none'><model>EPYC</model></cpu>",
     "<cpu mode=\"custom\" check=\"partial\"><model>EPYC</model><feature policy=\"require\" name=\"svm\"/></cpu>"},
    {"custom/same-model-no-check", CPU_MODE_CUSTOM, "<cpu><model>EPYC</model></cpu>",
     "<cpu check=\"partial\"><model>EPYC</model><feature policy=\"require\" name=\"svm\"/></cpu>"},

    /* keep */
    {"keep/absent", CPU_MODE_KEEP, "", NULL},
    {"keep/empty", CPU_MODE_KEEP, "<cpu/>", NULL},
    {"keep/topology-only", CPU_MODE_KEEP, "<cpu>" TOPOLOGY END, NULL},
    {"keep/blank-model", CPU_MODE_KEEP, "<cpu mode='custom'><model> </model></cpu>", NULL},
    {"keep/host-model", CPU_MODE_KEEP, "<cpu mode='host-model' check='partial'>" REST END,
     "<cpu mode=\"host-model\" check=\"partial\">" REST SVM END},
    {"keep/passthrough", CPU_MODE_KEEP, "<cpu mode='host-passthrough' check='none' migratable='off'/>",
     "<cpu mode=\"host-passthrough\" check=\"none\" migratable=\"off\">" SVM END},
    {"keep/maximum", CPU_MODE_KEEP, "<cpu mode='maximum' check='none' migratable='on'/>",
     "<cpu mode=\"maximum\" check=\"none\" migratable=\"on\">" SVM END},
    {"keep/custom", CPU_MODE_KEEP,
     "<cpu mode='custom' match='exact' check='partial'><model>Skylake</model><vendor>Intel</vendor></cpu>",
     "<cpu mode=\"custom\" match=\"exact\" check=\"partial\"><model>Skylake</model><vendor>Intel</vendor>"
     "<feature policy=\"require\" name=\"svm\"/></cpu>"},
};

static void test_apply(gconstpointer data)
{
    const ApplyCase *c = data;
    char model[] = "EPYC";
    const CpuPolicy policy = {.mode = c->mode, .model = c->mode == CPU_MODE_CUSTOM ? model : NULL};
    g_autoptr(Cpu) base = cpu(c->base);
    g_autoptr(GError) error = NULL;
    g_autoptr(Cpu) wanted = cpu_apply_policy(base, &policy, "svm", &error);

    util_assert_same(cpu_text(base), c->base);
    if (c->wanted == NULL) {
        g_assert_null(wanted);
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY);
        return;
    }
    g_assert_no_error(error);
    util_assert_same(cpu_text(wanted), c->wanted);
    g_autoptr(Cpu) expected = cpu(c->wanted);
    g_assert_true(cpu_equal(wanted, expected));

    g_autoptr(Cpu) again = cpu_apply_policy(wanted, &policy, "svm", &error);
    g_assert_no_error(error);
    util_assert_same(cpu_text(again), c->wanted);
}

/* What a policy names is set, whatever the domain had; what it does not name stays. */
static void test_apply_features(void)
{
    g_auto(GStrv) require = g_strsplit("avx2 pcid", " ", 0), disable = g_strsplit("mpx x2apic", " ", 0),
                  optional = g_strsplit("pdpe1gb", " ", 0);
    const CpuPolicy policy = {
        .mode = CPU_MODE_HOST_MODEL, .require = require, .disable = disable, .optional = optional};
    const CpuPolicy plain = {.mode = CPU_MODE_HOST_MODEL};
    g_autoptr(GError) error = NULL;
    g_autoptr(Cpu) base = cpu("<cpu mode='host-model'><feature policy='disable' name='pcid'/>"
                              "<feature policy='require' name='mpx'/><feature policy='force' name='sse4a'/></cpu>");
    g_autoptr(Cpu) wanted = cpu_apply_policy(base, &policy, "svm", &error);
    g_assert_no_error(error);
    g_autoptr(Cpu) expected =
        cpu("<cpu mode='host-model'><feature policy='require' name='pcid'/><feature policy='disable' name='mpx'/>"
            "<feature policy='force' name='sse4a'/><feature policy='require' name='avx2'/>"
            "<feature policy='disable' name='x2apic'/><feature policy='optional' name='pdpe1gb'/>"
            "<feature policy='require' name='svm'/></cpu>");
    g_assert_true(cpu_equal(wanted, expected));
    g_autoptr(Cpu) again = cpu_apply_policy(wanted, &policy, "svm", &error);
    util_assert_same(cpu_text(again), cpu_text(wanted));

    /* A policy that no longer names them gives back what the domain had. */
    g_autoptr(Cpu) merged = cpu_merge(base, wanted, wanted, NULL, &error);
    g_autoptr(Cpu) without = cpu_apply_policy(merged, &plain, "svm", &error);
    g_autoptr(Cpu) before = cpu_apply_policy(base, &plain, "svm", &error);
    g_assert_true(cpu_equal(without, before));
}

/* Nesting is what the policy is for: a list that says otherwise does not count for the one feature. */
static void test_apply_feature_wins(void)
{
    g_auto(GStrv) optional = g_strsplit("svm", " ", 0);
    const CpuPolicy policy = {.mode = CPU_MODE_HOST_MODEL, .optional = optional};
    g_autoptr(GError) error = NULL;
    g_autoptr(Cpu) base = cpu("");
    g_autoptr(Cpu) wanted = cpu_apply_policy(base, &policy, "svm", &error);

    util_assert_contains(cpu_text(wanted), "<feature policy=\"require\" name=\"svm\"/>");
    g_assert_null(strstr(cpu_text(wanted), "optional"));
}

static void test_apply_attributes(void)
{
    char none[] = "none", full[] = "full", off[] = "off", allow[] = "allow", model[] = "EPYC";
    const struct {
        CpuPolicy policy;
        const char *base, *wanted;
    } cases[] = {
        {{.mode = CPU_MODE_HOST_MODEL, .check = none},
         "<cpu mode='host-model' check='partial'/>",
         "<cpu mode='host-model' check='none'><feature name='svm'/></cpu>"},
        {{.mode = CPU_MODE_HOST_MODEL, .check = full},
         "<cpu mode='custom'><model>EPYC</model></cpu>",
         "<cpu mode='host-model' check='full'><feature name='svm'/></cpu>"},
        {{.mode = CPU_MODE_KEEP, .check = full},
         "<cpu mode='custom' check='none'><model>EPYC</model></cpu>",
         "<cpu mode='custom' check='full'><model>EPYC</model><feature name='svm'/></cpu>"},
        {{.mode = CPU_MODE_HOST_PASSTHROUGH, .migratable = off},
         "",
         "<cpu mode='host-passthrough' check='none' migratable='off'><feature name='svm'/></cpu>"},
        {{.mode = CPU_MODE_CUSTOM, .model = model, .fallback = allow},
         "<cpu mode='host-model'/>",
         "<cpu mode='custom' check='partial'><model fallback='allow'>EPYC</model><feature name='svm'/></cpu>"},
        {{.mode = CPU_MODE_CUSTOM, .model = model, .fallback = allow},
         "<cpu mode='custom' check='full'><model fallback='forbid'>EPYC</model></cpu>",
         "<cpu mode='custom' check='full'><model fallback='allow'>EPYC</model><feature name='svm'/></cpu>"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Cpu) base = cpu(cases[i].base);
        g_autoptr(Cpu) expected = cpu(cases[i].wanted);
        g_autoptr(Cpu) wanted = cpu_apply_policy(base, &cases[i].policy, "svm", &error);
        g_assert_no_error(error);
        g_test_message("%s", cpu_text(wanted));
        g_assert_true(cpu_equal(wanted, expected));
    }
}

static void test_feature_names(void)
{
    static const char *const good[] = {"svm", "vmx-ept-wb", "sse4.1", "3dnow", "xsave_s"}, *const bad[] = {
                                                                                               "",    "a b",
                                                                                               "a;b", "<a>",
                                                                                               "a'",  "caf\xc3\xa9",
                                                                                               "a\n"};

    for (gsize i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_true(cpu_feature_name_is_valid(good[i]));
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(cpu_feature_name_is_valid(bad[i]));
}

static void test_apply_vmx(void)
{
    const CpuPolicy policy = {.mode = CPU_MODE_HOST_MODEL};
    g_autoptr(Cpu) base = cpu("<cpu mode='host-model'><feature policy='disable' name='svm'/></cpu>");
    g_autoptr(GError) error = NULL;
    g_autoptr(Cpu) wanted = cpu_apply_policy(base, &policy, "vmx", &error);

    g_assert_no_error(error);
    util_assert_contains(cpu_text(wanted), "<feature policy=\"require\" name=\"vmx\"/>");
    util_assert_contains(cpu_text(wanted), "<feature policy=\"disable\" name=\"svm\"/>");
}

/* A policy may name any model: markup in it must come out as text. */
static void test_apply_strange_model(void)
{
    char model[] = "a<b>&\"'";
    const CpuPolicy policy = {.mode = CPU_MODE_CUSTOM, .model = model};
    g_autoptr(Cpu) base = cpu("");
    g_autoptr(GError) error = NULL;
    g_autoptr(Cpu) wanted = cpu_apply_policy(base, &policy, "svm", &error);

    g_assert_no_error(error);
    g_assert_cmpstr(cpu_model(wanted), ==, model);
    g_autoptr(Cpu) again = cpu(cpu_text(wanted));
    g_assert_cmpstr(cpu_model(again), ==, model);
}

/* Merge ----------------------------------------------------------------------------------------------------------- */

typedef struct MergeCase {
    const char *name;
    const char *previous;
    const char *applied;
    const char *current;
    const char *merged;   /* by meaning; by bytes too where it is @previous */
    const char *conflict; /* a part of the one conflict; NULL: none */
} MergeCase;

#define OURS "<cpu mode='host-model' check='partial'><feature policy='require' name='svm'/></cpu>"
#define OURS_AND(x) "<cpu mode='host-model' check='partial'><feature policy='require' name='svm'/>" x "</cpu>"
#define TOPO_4 "<topology sockets='1' dies='1' cores='4' threads='1'/>"
#define TOPO_8 "<topology sockets='1' dies='1' cores='8' threads='1'/>"
#define OWN_CUSTOM(x) "<cpu  mode='custom' check='none'><model>EPYC</model><!-- mine -->" x "</cpu>"

static const MergeCase merge_cases[] = {
    {"untouched", OWN_CUSTOM(""), OURS, OURS, OWN_CUSTOM(""), NULL},
    {"untouched-but-formatted", OWN_CUSTOM(""), OURS,
     "<cpu check=\"partial\" mode=\"host-model\">\n  <feature name=\"svm\" policy=\"require\"/>\n</cpu>",
     OWN_CUSTOM(""), NULL},
    {"untouched-absent", "", OURS, OURS, "", NULL},
    {"untouched-empty", "<cpu/>", OURS, OURS, "<cpu/>", NULL},
    {"put-back-by-hand", OWN_CUSTOM(""), OURS, "<cpu check='none'><model fallback='allow'>EPYC</model></cpu>",
     OWN_CUSTOM(""), NULL},
    {"put-back-by-hand-absent", "", OURS, "", "", NULL},

    {"feature-added", OWN_CUSTOM(""), OURS, OURS_AND("<feature policy='disable' name='mpx'/>"),
     OWN_CUSTOM("<feature policy='disable' name='mpx'/>"), NULL},
    {"feature-removed", OWN_CUSTOM("<feature name='a'/><feature name='b'/>"),
     OURS_AND("<feature name='a'/><feature name='b'/>"), OURS_AND("<feature name='b'/>"),
     OWN_CUSTOM("<feature name='b'/>"), NULL},
    {"feature-changed", OWN_CUSTOM("<feature name='a'/>"), OURS_AND("<feature name='a'/>"),
     OURS_AND("<feature policy='disable' name='a'/>"), OWN_CUSTOM("<feature policy='disable' name='a'/>"), NULL},
    {"topology-changed", OWN_CUSTOM(TOPO_4), OURS_AND(TOPO_4), OURS_AND(TOPO_8), OWN_CUSTOM(TOPO_8), NULL},
    {"topology-added", OWN_CUSTOM(""), OURS, OURS_AND(TOPO_8), OWN_CUSTOM(TOPO_8), NULL},
    {"topology-removed", OWN_CUSTOM(TOPO_4), OURS_AND(TOPO_4), OURS, OWN_CUSTOM(""), NULL},
    {"topology-added-to-absent", "", OURS, OURS_AND(TOPO_8), "<cpu>" TOPO_8 "</cpu>", NULL},
    {"numa-added", OWN_CUSTOM(""), OURS, OURS_AND("<numa><cell id='0' cpus='0' memory='1'/></numa>"),
     OWN_CUSTOM("<numa><cell id='0' cpus='0' memory='1'/></numa>"), NULL},
    {"unknown-added", OWN_CUSTOM(""), OURS, OURS_AND("<quantum>1</quantum>"), OWN_CUSTOM("<quantum>1</quantum>"), NULL},

    {"svm-was-disabled", OWN_CUSTOM("<feature policy='disable' name='svm'/>"), OURS, OURS_AND(TOPO_8),
     OWN_CUSTOM("<feature policy='disable' name='svm'/>" TOPO_8), NULL},
    {"svm-removed-by-hand", OWN_CUSTOM(""), OURS, "<cpu mode='host-model' check='partial'/>", OWN_CUSTOM(""), NULL},
    {"svm-removed-by-hand-absent", "", OURS, "<cpu mode='host-model' check='partial'/>", "", NULL},
    {"svm-disabled-by-hand", OWN_CUSTOM(""), OURS,
     "<cpu mode='host-model' check='partial'><feature policy='disable' name='svm'/></cpu>",
     OWN_CUSTOM("<feature policy='disable' name='svm'/>"), "feature svm"},
    {"svm-optional-removed-by-hand", OWN_CUSTOM("<feature policy='optional' name='svm'/>"), OURS,
     "<cpu mode='host-model' check='partial'/>", OWN_CUSTOM(""), "feature svm"},

    {"mode-edited", OWN_CUSTOM(""), OURS, "<cpu mode='host-passthrough'><feature name='svm'/></cpu>",
     "<cpu mode='host-passthrough'/>", "mode and model"},
    {"check-edited", "<cpu mode='host-model' check='none'/>", OURS,
     "<cpu mode='host-model' check='full'><feature name='svm'/></cpu>", "<cpu mode='host-model' check='full'/>",
     "mode and model"},
    {"mode-was-kept-and-edited", "<cpu mode='host-model'/>", OURS, "<cpu mode='maximum'><feature name='svm'/></cpu>",
     "<cpu mode='maximum'/>", NULL},
    {"model-edited", "<cpu mode='host-passthrough'/>",
     "<cpu check='partial'><model>EPYC</model><feature name='svm'/></cpu>",
     "<cpu check='partial'><model>EPYC-Rome</model><feature name='svm'/></cpu>",
     "<cpu check='partial'><model>EPYC-Rome</model></cpu>", "mode and model"},
    {"removed-by-hand", OWN_CUSTOM(""), OURS, "", "", "mode and model"},
    {"emptied-by-hand", OWN_CUSTOM(""), OURS, "<cpu/>", "<cpu/>", "mode and model"},
    /* libvirt refuses features without a model. */
    {"feature-added-to-absent", "", OURS, OURS_AND("<feature policy='disable' name='mpx'/>"),
     "<cpu mode='host-model' check='partial'><feature policy='disable' name='mpx'/></cpu>", "mode and model"},
    {"feature-added-to-topology-only", "<cpu>" TOPO_4 "</cpu>", OURS_AND(TOPO_4),
     OURS_AND(TOPO_4 "<feature name='mpx'/>"), "<cpu mode='host-model'>" TOPO_4 "<feature name='mpx'/></cpu>",
     "mode and model"},
    {"vendor-restored", "<cpu check='none'><model vendor_id='KVMKVMKVMKVM'>EPYC</model><vendor>AMD</vendor></cpu>",
     OURS, OURS_AND(TOPO_8),
     "<cpu check='none'><model vendor_id='KVMKVMKVMKVM'>EPYC</model><vendor>AMD</vendor>" TOPO_8 "</cpu>", NULL},
};

static void test_merge(gconstpointer data)
{
    const MergeCase *c = data;
    g_autoptr(Cpu) previous = cpu(c->previous), applied = cpu(c->applied), current = cpu(c->current),
                   expected = cpu(c->merged);
    g_autoptr(GPtrArray) conflicts = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    g_autoptr(Cpu) merged = cpu_merge(previous, applied, current, conflicts, &error);

    g_assert_no_error(error);
    if (strcmp(c->merged, c->previous) == 0)
        util_assert_same(cpu_text(merged), c->previous);
    if (!cpu_equal(merged, expected))
        util_assert_same(cpu_text(merged), c->merged);
    if (c->conflict == NULL && conflicts->len > 0)
        g_error("unexpected conflict: %s", (const char *)conflicts->pdata[0]);
    g_assert_cmpuint(conflicts->len, ==, c->conflict != NULL ? 1 : 0);
    if (c->conflict != NULL)
        util_assert_contains(conflicts->pdata[0], c->conflict);

    /* The text means what the object says, and nobody has to ask for conflicts. */
    g_autoptr(Cpu) read = cpu(cpu_text(merged)), silent = cpu_merge(previous, applied, current, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(cpu_equal(read, merged));
    util_assert_same(cpu_text(silent), cpu_text(merged));
    g_assert_cmpstr(cpu_mode(read), ==, cpu_mode(merged));
}

/* What a conflict says is enough to put it right by hand. */
static void test_merge_conflict_text(void)
{
    g_autoptr(Cpu) previous = cpu(OWN_CUSTOM("<feature policy='optional' name='svm'/>")), applied = cpu(OURS),
                   current = cpu("<cpu mode='host-model'><feature policy='forbid' name='svm'/></cpu>");
    g_autoptr(GPtrArray) conflicts = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    g_autoptr(Cpu) merged = cpu_merge(previous, applied, current, conflicts, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(conflicts->len, ==, 1);
    util_assert_contains(conflicts->pdata[0], "feature svm");
    util_assert_contains(conflicts->pdata[0], "[optional]");
    util_assert_contains(conflicts->pdata[0], "[forbid]");
}

/* Live ------------------------------------------------------------------------------------------------------------ */

typedef struct LiveCase {
    const char *name;
    const char *live;
    const char *wanted;
    CpuLive result;
} LiveCase;

#define LIVE(model, x) \
    "<cpu mode='custom' match='exact' check='full'><model fallback='forbid'>" model "</model>" x "</cpu>"
#define REQUIRE_SVM "<feature policy='require' name='svm'/>"
#define WANTED "<cpu mode='host-model' check='partial'>" REQUIRE_SVM "</cpu>"
#define PASSTHROUGH(x) "<cpu mode='host-passthrough' check='none' migratable='on'>" x "</cpu>"

#define NAMED_EPYC(attributes, x) "<cpu " attributes "><model fallback='forbid'>EPYC</model>" x "</cpu>"
#define MPX(policy) "<feature policy='" policy "' name='mpx'/>"

static const LiveCase live_cases[] = {
    /* Which model host-model expands to is for libvirt to say. */
    {"host-model-expanded", LIVE("EPYC-Rome", REQUIRE_SVM MPX("require")), WANTED, CPU_LIVE_AMBIGUOUS},
    {"host-model-svm-forced", LIVE("EPYC-Rome", "<feature policy='force' name='svm'/>"), WANTED, CPU_LIVE_AMBIGUOUS},
    {"host-model-without-svm", LIVE("EPYC-Rome", MPX("require")), WANTED, CPU_LIVE_STALE},
    {"host-model-svm-disabled", LIVE("EPYC-Rome", "<feature policy='disable' name='svm'/>"), WANTED, CPU_LIVE_STALE},
    {"host-model-over-absent", "", WANTED, CPU_LIVE_STALE},
    {"host-model-over-default-model", LIVE("qemu64", ""), WANTED, CPU_LIVE_STALE},
    {"host-model-over-passthrough", PASSTHROUGH(REQUIRE_SVM), WANTED, CPU_LIVE_STALE},
    {"host-model-over-maximum", "<cpu mode='maximum'>" REQUIRE_SVM "</cpu>", WANTED, CPU_LIVE_STALE},
    {"host-model-still-host-model", "<cpu mode='host-model'>" REQUIRE_SVM "</cpu>", WANTED, CPU_LIVE_CURRENT},

    {"passthrough", PASSTHROUGH(REQUIRE_SVM), PASSTHROUGH(REQUIRE_SVM), CPU_LIVE_CURRENT},
    {"passthrough-without-svm", PASSTHROUGH(""), PASSTHROUGH(REQUIRE_SVM), CPU_LIVE_STALE},
    {"passthrough-over-custom", LIVE("EPYC", REQUIRE_SVM), PASSTHROUGH(REQUIRE_SVM), CPU_LIVE_STALE},
    {"passthrough-over-absent", "", PASSTHROUGH(REQUIRE_SVM), CPU_LIVE_STALE},

    {"custom", LIVE("EPYC", REQUIRE_SVM), NAMED_EPYC("check='partial'", REQUIRE_SVM), CPU_LIVE_CURRENT},
    {"custom-other-model", LIVE("EPYC-Rome", REQUIRE_SVM), NAMED_EPYC("check='partial'", REQUIRE_SVM), CPU_LIVE_STALE},
    {"custom-minimum", LIVE("EPYC-Rome", REQUIRE_SVM), NAMED_EPYC("match='minimum'", REQUIRE_SVM), CPU_LIVE_CURRENT},
    {"custom-minimum-without-svm", LIVE("EPYC-Rome", ""), NAMED_EPYC("match='minimum'", REQUIRE_SVM), CPU_LIVE_STALE},
    {"custom-over-passthrough", PASSTHROUGH(REQUIRE_SVM), NAMED_EPYC("check='partial'", REQUIRE_SVM), CPU_LIVE_STALE},
    {"custom-svm-disabled", LIVE("EPYC", "<feature policy='disable' name='svm'/>"),
     NAMED_EPYC("check='partial'", REQUIRE_SVM), CPU_LIVE_STALE},

    {"disabled-feature-still-there", LIVE("EPYC", REQUIRE_SVM MPX("require")),
     NAMED_EPYC("check='partial'", REQUIRE_SVM MPX("disable")), CPU_LIVE_STALE},
    {"forbidden-feature-still-there", LIVE("EPYC", REQUIRE_SVM MPX("require")),
     NAMED_EPYC("check='partial'", REQUIRE_SVM MPX("forbid")), CPU_LIVE_STALE},
    {"disabled-feature-gone", LIVE("EPYC", REQUIRE_SVM), NAMED_EPYC("check='partial'", REQUIRE_SVM MPX("disable")),
     CPU_LIVE_CURRENT},
    {"optional-feature-not-given", LIVE("EPYC", REQUIRE_SVM MPX("disable")),
     NAMED_EPYC("check='partial'", REQUIRE_SVM MPX("optional")), CPU_LIVE_CURRENT},
    {"required-feature-not-given", LIVE("EPYC", REQUIRE_SVM MPX("disable")),
     NAMED_EPYC("check='partial'", REQUIRE_SVM MPX("require")), CPU_LIVE_STALE},
    /* With check='none' that is how it starts each time, but for svm, which is what we are here for. */
    {"required-feature-not-given-unchecked", LIVE("EPYC", REQUIRE_SVM MPX("disable")),
     NAMED_EPYC("check='none'", REQUIRE_SVM MPX("require")), CPU_LIVE_CURRENT},
    {"svm-not-given-unchecked", LIVE("EPYC", ""), NAMED_EPYC("check='none'", REQUIRE_SVM), CPU_LIVE_STALE},
    {"later-mode", "<cpu mode='later'>" REQUIRE_SVM "</cpu>", "<cpu mode='later'>" REQUIRE_SVM "</cpu>",
     CPU_LIVE_CURRENT},
};

static void test_live(gconstpointer data)
{
    const LiveCase *c = data;
    g_autoptr(Cpu) live = cpu(c->live), wanted = cpu(c->wanted);

    g_assert_cmpint(cpu_live_compare(live, wanted, "svm"), ==, c->result);
}

static void test_live_exposure(void)
{
    static const struct {
        const char *live, *feature;
        bool host_has_it;
        CpuExposure exposure;
    } cases[] = {
        {LIVE("EPYC", REQUIRE_SVM), "svm", true, CPU_EXPOSURE_YES},
        {LIVE("EPYC", REQUIRE_SVM), "svm", false, CPU_EXPOSURE_YES},
        {LIVE("EPYC", "<feature policy='force' name='svm'/>"), "svm", true, CPU_EXPOSURE_YES},
        {LIVE("EPYC", "<feature policy='disable' name='svm'/>"), "svm", true, CPU_EXPOSURE_NO},
        {LIVE("EPYC", "<feature policy='forbid' name='svm'/>"), "svm", true, CPU_EXPOSURE_NO},
        /* libvirt's model has it, and what is as in the model is not listed. */
        {LIVE("EPYC", MPX("require")), "svm", true, CPU_EXPOSURE_UNKNOWN},
        {LIVE("Skylake-Client", MPX("require")), "vmx", true, CPU_EXPOSURE_NO},
        {LIVE("Skylake-Client", "<feature policy='require' name='vmx'/>"), "vmx", true, CPU_EXPOSURE_YES},
        {LIVE("Skylake-Client", "<feature policy='optional' name='vmx'/>"), "vmx", true, CPU_EXPOSURE_UNKNOWN},
        {PASSTHROUGH(""), "svm", true, CPU_EXPOSURE_YES},
        {PASSTHROUGH(""), "svm", false, CPU_EXPOSURE_NO},
        {PASSTHROUGH("<feature policy='disable' name='svm'/>"), "svm", true, CPU_EXPOSURE_NO},
        {PASSTHROUGH(REQUIRE_SVM), "svm", false, CPU_EXPOSURE_YES},
        {"<cpu mode='maximum'/>", "vmx", true, CPU_EXPOSURE_YES},
        {"", "svm", true, CPU_EXPOSURE_UNKNOWN},
        {LIVE("EPYC", REQUIRE_SVM), NULL, false, CPU_EXPOSURE_UNKNOWN},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Cpu) live = cpu(cases[i].live);
        g_test_message("%s", cases[i].live);
        g_assert_cmpstr(cpu_exposure_to_string(cpu_live_exposure(live, cases[i].feature, cases[i].host_has_it)), ==,
                        cpu_exposure_to_string(cases[i].exposure));
    }
}

#define ADD_CASES(prefix, cases, function)                                  \
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {                       \
        g_autofree char *path = g_strconcat(prefix, (cases)[i].name, NULL); \
        g_test_add_data_func(path, &(cases)[i], function);                  \
    }

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD_CASES("/cpu/equal/", equal_cases, test_equal)
    ADD_CASES("/cpu/different/", different_cases, test_different)
    g_test_add_func("/cpu/text-is-kept", test_text_is_kept);
    g_test_add_func("/cpu/mode-and-model", test_mode_and_model);
    g_test_add_func("/cpu/from-domain", test_from_domain);
    g_test_add_func("/cpu/refused", test_refused);
    g_test_add_func("/cpu/mode-names", test_mode_names);
    ADD_CASES("/cpu/apply/", apply_cases, test_apply)
    g_test_add_func("/cpu/apply-vmx", test_apply_vmx);
    g_test_add_func("/cpu/live-exposure", test_live_exposure);
    g_test_add_func("/cpu/features", test_apply_features);
    g_test_add_func("/cpu/feature-wins", test_apply_feature_wins);
    g_test_add_func("/cpu/attributes", test_apply_attributes);
    g_test_add_func("/cpu/feature-names", test_feature_names);
    g_test_add_func("/cpu/apply-strange-model", test_apply_strange_model);
    ADD_CASES("/cpu/merge/", merge_cases, test_merge)
    g_test_add_func("/cpu/merge-conflict-text", test_merge_conflict_text);
    ADD_CASES("/cpu/live/", live_cases, test_live)
    return g_test_run();
}
