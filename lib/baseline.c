/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A named CPU model that all hosts of a fleet have. libvirt computes it (virConnectBaselineHypervisorCPU()) from what
 * each host's host-model is; here the documents are read and written around that, and vmx or svm is put in again: libvirt
 * leaves it out where its model has it by name, and QEMU then switches it off.
 */

#include "lib/baseline.h"

#include "lib/autoptr.h"
#include "lib/cpu.h"
#include "lib/error.h"
#include "lib/xml.h"
#include <string.h>

static xmlDoc *parse(const char *xml, const char *name, GError **error)
{
    g_autoptr(xmlDoc) document =
        xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    const xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;

    if (root != NULL && strcmp((const char *)root->name, name) == 0)
        return g_steal_pointer(&document);
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "libvirt's <%s> is not understood", name);
    return NULL;
}

static char *text_of(const xmlNode *parent, const char *name)
{
    const xmlNode *node = xml_child(parent, name);

    return node != NULL ? xml_text(node) : NULL;
}

/* Hosts -------------------------------------------------------------------------------------------------------------- */

/* Returns: <mode name='host-model' supported='yes'>, or NULL. */
static const xmlNode *find_host_model(const xmlNode *root)
{
    const xmlNode *cpu = xml_child(root, "cpu");

    for (const xmlNode *mode = cpu != NULL ? cpu->children : NULL; mode != NULL; mode = mode->next) {
        if (!xml_is_element(mode, "mode"))
            continue;
        g_autofree char *name = xml_attribute(mode, "name"), *supported = xml_attribute(mode, "supported");
        if (g_strcmp0(name, "host-model") == 0 && g_strcmp0(supported, "yes") == 0)
            return mode;
    }
    return NULL;
}

/* The mode's model, vendor and features; what else stands there is not for a comparison. */
static char *write_cpu(const xmlNode *mode, const char *model, const char *vendor)
{
    g_autoptr(GString) out = g_string_new("<cpu mode='custom' match='exact'>");
    g_autofree char *name = g_markup_printf_escaped("<model fallback='forbid'>%s</model>", model);

    g_string_append(out, name);
    if (vendor != NULL) {
        g_autofree char *text = g_markup_printf_escaped("<vendor>%s</vendor>", vendor);
        g_string_append(out, text);
    }
    for (const xmlNode *node = mode->children; node != NULL; node = node->next) {
        if (!xml_is_element(node, "feature"))
            continue;
        g_autofree char *feature = xml_attribute(node, "name"), *policy = xml_attribute(node, "policy");
        if (feature == NULL || policy == NULL)
            continue;
        g_autofree char *text = g_markup_printf_escaped("<feature policy='%s' name='%s'/>", policy, feature);
        g_string_append(out, text);
    }
    g_string_append(out, "</cpu>");
    return g_string_free(g_steal_pointer(&out), FALSE);
}

/**
 * @name: what the host is called
 * @capabilities: as its virConnectGetDomainCapabilities() gives them
 * Returns: to be freed with baseline_host_free(); NULL with VIRTNEST_ERROR_XML if there is no host-model in them.
 */
BaselineHost *baseline_host_new(const char *name, const char *capabilities, GError **error)
{
    g_autoptr(xmlDoc) document = parse(capabilities, "domainCapabilities", error);
    const xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;
    const xmlNode *mode = root != NULL ? find_host_model(root) : NULL;
    g_autofree char *model = mode != NULL ? text_of(mode, "model") : NULL;

    if (document == NULL)
        return NULL;
    if (model == NULL) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML, "its hypervisor has no host-model");
        return NULL;
    }
    BaselineHost *host = g_new0(BaselineHost, 1);
    host->name = g_strdup(name);
    host->arch = text_of(root, "arch");
    host->machine = text_of(root, "machine");
    host->emulator = text_of(root, "path");
    host->vendor = text_of(mode, "vendor");
    host->cpu = write_cpu(mode, model, host->vendor);
    host->model = g_steal_pointer(&model);
    return host;
}

BaselineHost *baseline_host_free(BaselineHost *host)
{
    if (host == NULL)
        return NULL;
    g_free(host->name);
    g_free(host->arch);
    g_free(host->machine);
    g_free(host->emulator);
    g_free(host->model);
    g_free(host->vendor);
    g_free(host->cpu);
    g_strfreev(host->features);
    g_free(host);
    return NULL;
}

static int compare_texts(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* @features: of strings, is given up. Returns: them, sorted. */
static GStrv sorted(GPtrArray *features)
{
    g_ptr_array_sort(features, compare_texts);
    g_ptr_array_add(features, NULL);
    return (GStrv)g_ptr_array_free(features, FALSE);
}

/* Those of <cpu> that have that policy. */
static GPtrArray *features_with(const xmlNode *cpu, const char *wanted)
{
    GPtrArray *found = g_ptr_array_new();

    for (const xmlNode *node = cpu->children; node != NULL; node = node->next) {
        if (!xml_is_element(node, "feature"))
            continue;
        g_autofree char *name = xml_attribute(node, "name"), *policy = xml_attribute(node, "policy");
        if (name != NULL && cpu_feature_name_is_valid(name) && g_strcmp0(policy, wanted) == 0)
            g_ptr_array_add(found, g_steal_pointer(&name));
    }
    return found;
}

/**
 * @cpu: a <cpu> whose model is expanded to its features
 * Returns: those that it has, sorted, to be freed with g_strfreev(); or NULL with VIRTNEST_ERROR_XML.
 */
GStrv baseline_read_features(const char *cpu, GError **error)
{
    g_autoptr(xmlDoc) document = parse(cpu, "cpu", error);

    return document != NULL ? sorted(features_with(xmlDocGetRootElement(document), "require")) : NULL;
}

/** Returns: vmx or svm, whichever a CPU of that vendor has; NULL if virtnest knows none. */
const char *baseline_feature(const BaselineHost *host)
{
    return g_strcmp0(host->vendor, "Intel") == 0                                          ? "vmx"
           : g_strcmp0(host->vendor, "AMD") == 0 || g_strcmp0(host->vendor, "Hygon") == 0 ? "svm"
                                                                                          : NULL;
}

/**
 * Can there be a common CPU at all? The state of nesting is another one on Intel than on AMD.
 * @hosts: of BaselineHost, at least one
 * Returns: false with VIRTNEST_ERROR_POLICY that names two hosts that do not fit.
 */
bool baseline_check_hosts(const GPtrArray *hosts, GError **error)
{
    const BaselineHost *first = hosts->pdata[0];

    for (guint i = 0; i < hosts->len; i++) {
        const BaselineHost *host = hosts->pdata[i];
        if (baseline_feature(host) == NULL) {
            g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY,
                        "%s has a CPU of %s, and virtnest knows no nesting for it", host->name,
                        host->vendor != NULL ? host->vendor : "a vendor that is not told");
            return false;
        }
        if (g_strcmp0(host->arch, first->arch) != 0 || g_strcmp0(host->vendor, first->vendor) != 0) {
            g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_POLICY,
                        "%s has a CPU of %s (%s) and %s one of %s (%s): no guest can move between them", first->name,
                        first->vendor, first->arch, host->name, host->vendor, host->arch);
            return false;
        }
    }
    return true;
}

/** Returns: features that other hosts have and this one lacks, sorted, to be freed with g_strfreev(). */
GStrv baseline_lacks(const BaselineHost *host, const GPtrArray *hosts)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GPtrArray *lacks = g_ptr_array_new();

    for (gsize i = 0; host->features != NULL && host->features[i] != NULL; i++)
        (void)g_hash_table_add(seen, host->features[i]);
    for (guint i = 0; i < hosts->len; i++) {
        const BaselineHost *other = hosts->pdata[i];
        for (gsize j = 0; other->features != NULL && other->features[j] != NULL; j++)
            if (g_hash_table_add(seen, other->features[j]))
                g_ptr_array_add(lacks, g_strdup(other->features[j]));
    }
    return sorted(lacks);
}

/* The common CPU ----------------------------------------------------------------------------------------------------- */

static char *write_baseline_cpu(const Baseline *baseline)
{
    g_autoptr(GString) out = g_string_new("<cpu mode='custom' match='exact'>");
    g_autofree char *model = g_markup_printf_escaped("<model fallback='forbid'>%s</model>", baseline->model);

    g_string_append(out, model);
    /* The names are valid ones, which need no escaping. */
    for (gsize i = 0; baseline->require[i] != NULL; i++)
        g_string_append_printf(out, "<feature policy='require' name='%s'/>", baseline->require[i]);
    for (gsize i = 0; baseline->disable[i] != NULL; i++)
        g_string_append_printf(out, "<feature policy='disable' name='%s'/>", baseline->disable[i]);
    g_string_append(out, "</cpu>");
    return g_string_free(g_steal_pointer(&out), FALSE);
}

/* Leaves what gives nesting out, whichever policy it has. */
static GPtrArray *features_but(const xmlNode *cpu, const char *policy, const char *feature)
{
    GPtrArray *features = features_with(cpu, policy);

    for (guint i = features->len; i > 0; i--)
        if (strcmp(features->pdata[i - 1], feature) == 0)
            g_free(g_ptr_array_remove_index(features, i - 1));
    return features;
}

/**
 * @cpu: as virConnectBaselineHypervisorCPU() gives it, not expanded
 * @feature: vmx or svm, which the CPU gets in any case; whether the hosts have it remains to be seen
 * Returns: to be freed with baseline_free(); NULL with VIRTNEST_ERROR_XML if @cpu has no model by name.
 */
Baseline *baseline_new(const char *cpu, const char *feature, GError **error)
{
    g_autoptr(xmlDoc) document = parse(cpu, "cpu", error);
    const xmlNode *root = document != NULL ? xmlDocGetRootElement(document) : NULL;
    g_autofree char *model = root != NULL ? text_of(root, "model") : NULL;

    if (document == NULL)
        return NULL;
    if (model == NULL || !cpu_model_name_is_valid(model)) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_XML,
                            "libvirt names no model that they have in common");
        return NULL;
    }
    Baseline *baseline = g_new0(Baseline, 1);
    GPtrArray *require = features_but(root, "require", feature);
    g_ptr_array_add(require, g_strdup(feature));
    baseline->model = g_steal_pointer(&model);
    baseline->feature = feature;
    baseline->require = sorted(require);
    baseline->disable = sorted(features_but(root, "disable", feature));
    baseline->cpu = write_baseline_cpu(baseline);
    return baseline;
}

Baseline *baseline_free(Baseline *baseline)
{
    if (baseline == NULL)
        return NULL;
    g_free(baseline->model);
    g_strfreev(baseline->require);
    g_strfreev(baseline->disable);
    g_free(baseline->cpu);
    g_free(baseline);
    return NULL;
}

static void append_list(GString *out, const char *key, char *const *list)
{
    g_autofree char *joined = g_strjoinv(";", (char **)list);

    if (*joined != '\0')
        g_string_append_printf(out, "%s=%s\n", key, joined);
}

/* A name is an argument of the user's; in a comment it must stay on its line. */
static void append_name(GString *out, const char *name)
{
    g_autofree char *copy = g_strdup(name);

    g_string_append(out, g_strdelimit(copy, "\r\n", ' '));
}

/**
 * Returns: a policy file, with a comment on each host, to be freed with g_free().
 * @hosts: of BaselineHost, with their features
 */
char *baseline_to_policy(const Baseline *baseline, const GPtrArray *hosts)
{
    GString *out =
        g_string_new("# A CPU that all of these hosts have. As /etc/virtnest/policy.d/NAME.policy on each of "
                     "them it is the policy NAME.\n#\n");

    for (guint i = 0; i < hosts->len; i++) {
        const BaselineHost *host = hosts->pdata[i];
        g_auto(GStrv) lacks = baseline_lacks(host, hosts);
        g_autofree char *joined = g_strjoinv(" ", lacks);
        g_string_append(out, "# ");
        append_name(out, host->name);
        g_string_append_printf(out, ": %s; lacks %s\n", host->model,
                               *joined != '\0' ? joined : "nothing that another one has");
    }
    g_string_append_printf(out, "\n[Policy]\nDescription=A CPU that %u %s in common\n\n[CPU]\nMode=custom\nModel=%s\n",
                           hosts->len, hosts->len == 1 ? "host has" : "hosts have", baseline->model);
    append_list(out, "Require", baseline->require);
    append_list(out, "Disable", baseline->disable);
    return g_string_free(out, FALSE);
}
