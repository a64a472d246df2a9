/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The rewrite of one domain, against parsing and serializing the same document with libxml2. */

#include "lib/reconcile.h"
#include "tests/bench/bench.h"
#include <string.h>

#define ROUNDS 41
#define PER_ROUND 200

static double time_rewrite(const ReconcileInput *input)
{
    double begin = bench_cpu_seconds();

    for (unsigned i = 0; i < PER_ROUND; i++) {
        g_autoptr(Reconcile) reconcile = reconcile_decide(input);
        g_assert(reconcile->new_xml != NULL);
    }
    return (bench_cpu_seconds() - begin) / PER_ROUND * 1e6;
}

static double time_bare(const char *xml)
{
    double begin = bench_cpu_seconds();

    for (unsigned i = 0; i < PER_ROUND; i++) {
        g_autoptr(xmlDoc) doc = xmlReadMemory(xml, (int)strlen(xml), NULL, NULL, XML_PARSE_NONET);
        xmlChar *text = NULL;
        int size = 0;
        xmlDocDumpMemory(doc, &text, &size);
        xmlFree(text);
    }
    return (bench_cpu_seconds() - begin) / PER_ROUND * 1e6;
}

int main(int argc, char **argv)
{
    g_autofree char *xml = bench_domain_xml("kvm", 1, TRUE);
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(PolicySet) policies = argc == 2 ? policy_set_load(argv[1], errors) : NULL;
    const HostFacts host = {true, HOST_VENDOR_AMD, true, true, HOST_NESTED_YES};
    const ReconcileInput input = {.xml = xml, .persistent = true, .policies = policies, .host = &host};
    double ours[ROUNDS], bare[ROUNDS];

    g_assert(policies != NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        ours[i] = time_rewrite(&input);
        bare[i] = time_bare(xml);
    }
    bench_print_ratio("(a) rewrite of one domain, CPU time, median", bench_median(ours, ROUNDS),
                      bench_median(bare, ROUNDS), "us", 1.3);
    xmlCleanupParser();
    return 0;
}
