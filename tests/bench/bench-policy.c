/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Many policies: reading them, against GKeyFile alone over the same files, and choosing among them, against the calls of
 * fnmatch(3) that it takes.
 */

#include "lib/policy.h"
#include "tests/bench/bench.h"
#include <fnmatch.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>

#define LOAD_ROUNDS 21
#define RESOLVE_ROUNDS 5
#define POLICIES 1000
#define SUBJECTS 10000
#define GLOBS_EACH 2

/* The globs of policy @number: of one team's guests, one of which in ten has any. */
static char *glob_text(unsigned number, unsigned which)
{
    return which == 0 ? g_strdup_printf("team%03u-*", number) : g_strdup_printf("*-legacy[0-9]-team%03u", number);
}

static char *policy_text(unsigned number)
{
    g_autofree char *first = glob_text(number, 0), *second = glob_text(number, 1);

    return g_strdup_printf(
        "# SPDX-License-Identifier: CC0-1.0\n#\n# The guests of team %u that build images.\n\n"
        "[Policy]\nDescription=Builders of team %u\n\n"
        "# Whatever they are called: no tag is needed.\n[Match]\nName=%s;%s\nTagged=no\n"
        "Priority=%u\n\n[CPU]\n# The oldest hosts of the pool have it.\nMode=custom\nModel=EPYC-Rome\n"
        "Require=x2apic;pdpe1gb\nDisable=monitor\n\n[Guard]\nBlockWhen=seen\nQuietAfter=30s\n"
        "ReleaseAfter=10min\n",
        number, number, first, second, number % 10);
}

static GPtrArray *write_policies(const char *root, unsigned n)
{
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *folder = g_build_filename(root, VIRTNEST_SYSCONFDIR, "policy.d", NULL);

    g_assert(g_mkdir_with_parents(folder, 0755) == 0);
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *text = policy_text(i), *name = g_strdup_printf("team%03u.policy", i);
        char *path = g_build_filename(folder, name, NULL);
        g_assert(g_file_set_contents(path, text, -1, NULL));
        g_ptr_array_add(paths, path);
    }
    return paths;
}

static void remove_policies(const GPtrArray *paths)
{
    for (guint i = 0; i < paths->len; i++)
        g_assert(g_remove(paths->pdata[i]) == 0);
}

static PolicySet *load(const char *root)
{
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    PolicySet *set = policy_set_load(root, errors);

    if (set == NULL)
        g_error("%s", (const char *)errors->pdata[0]);
    return set;
}

static double time_load(const char *root)
{
    double begin = bench_cpu_seconds();
    g_autoptr(PolicySet) set = load(root);

    return (bench_cpu_seconds() - begin) * 1e3;
}

/* Parses a file, and with @values reads what it says too. */
static void load_bare(const char *path, bool values)
{
    g_autoptr(GKeyFile) file = g_key_file_new();

    g_assert(g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL));
    g_auto(GStrv) groups = values ? g_key_file_get_groups(file, NULL) : NULL;
    for (gsize i = 0; groups != NULL && groups[i] != NULL; i++) {
        g_auto(GStrv) keys = g_key_file_get_keys(file, groups[i], NULL, NULL);
        for (gsize j = 0; keys[j] != NULL; j++) {
            g_autofree char *value = g_key_file_get_string(file, groups[i], keys[j], NULL);
            g_assert(value != NULL);
        }
    }
}

/* Each is given back before the next one is read, as policy_set_load() does. */
static double time_bare_load(const GPtrArray *paths, bool values)
{
    double begin = bench_cpu_seconds();

    for (guint i = 0; i < paths->len; i++)
        load_bare(paths->pdata[i], values);
    return (bench_cpu_seconds() - begin) * 1e3;
}

static char *subject_name(unsigned number)
{
    unsigned team = number % (POLICIES + POLICIES / 10);

    return number % 3 != 0 ? g_strdup_printf("team%03u-web-%u", team, number)
                           : g_strdup_printf("build-%u-legacy%u-team%03u", number, number % 10, team);
}

static double time_resolve(const PolicySet *set, char **names, unsigned n, unsigned *ret_found)
{
    char *none[] = {NULL};
    Subject subject = {.uuid = (char *)"", .title = (char *)"", .os = (char *)"", .namespaces = none};
    double begin = bench_cpu_seconds();
    unsigned found = 0;

    for (unsigned i = 0; i < n; i++) {
        g_auto(PolicyChoice) choice = {0};
        subject.name = names[i];
        g_assert(policy_set_resolve(set, NULL, &subject, &choice, NULL));
        found += choice.policy != NULL;
    }
    *ret_found = found;
    return (bench_cpu_seconds() - begin) * 1e3;
}

/* Highest priority first, down to the end of the one that holds: all of that one must be seen, to know of a tie. */
static double time_bare_resolve(const PolicySet *set, char **names, unsigned n, unsigned *ret_found)
{
    g_autoptr(GPtrArray) list = policy_set_list(set);
    g_autofree const Policy **sorted = g_new0(const Policy *, list->len);
    unsigned n_sorted = 0, found = 0;

    for (int priority = 9; priority >= 0; priority--)
        for (guint i = 0; i < list->len; i++)
            if (((const Policy *)list->pdata[i])->match.priority == priority)
                sorted[n_sorted++] = list->pdata[i];
    double begin = bench_cpu_seconds();
    for (unsigned i = 0; i < n; i++) {
        const Policy *best = NULL;
        for (unsigned j = 0; j < n_sorted; j++) {
            if (best != NULL && sorted[j]->match.priority < best->match.priority)
                break;
            for (unsigned k = 0; k < GLOBS_EACH; k++)
                if (fnmatch(sorted[j]->match.names[k], names[i], FNM_NOESCAPE) == 0) {
                    best = sorted[j];
                    break;
                }
        }
        found += best != NULL;
    }
    *ret_found = found;
    return (bench_cpu_seconds() - begin) * 1e3;
}

static void bench_load(const char *root)
{
    g_autoptr(GPtrArray) paths = write_policies(root, POLICIES);
    double ours[LOAD_ROUNDS], read[LOAD_ROUNDS], parsed[LOAD_ROUNDS];

    for (unsigned i = 0; i < LOAD_ROUNDS; i++) {
        ours[i] = time_load(root);
        read[i] = time_bare_load(paths, true);
        parsed[i] = time_bare_load(paths, false);
    }
    double median = bench_median(ours, LOAD_ROUNDS);
    bench_print_ratio("(e) loading 1000 policies, against GKeyFile with values", median,
                      bench_median(read, LOAD_ROUNDS), "ms", 1.5);
    bench_print_ratio("    the same, against its parser alone, no value read", median,
                      bench_median(parsed, LOAD_ROUNDS), "ms", 0);
    remove_policies(paths);
}

static void bench_resolve(const char *root, char **names)
{
    g_autoptr(GPtrArray) paths = write_policies(root, POLICIES);
    g_autoptr(PolicySet) set = load(root);
    double ours[RESOLVE_ROUNDS], bare[RESOLVE_ROUNDS];
    unsigned found = 0, bare_found = 0;

    for (unsigned i = 0; i < RESOLVE_ROUNDS; i++) {
        ours[i] = time_resolve(set, names, SUBJECTS, &found);
        bare[i] = time_bare_resolve(set, names, SUBJECTS, &bare_found);
        g_assert(found == bare_found && found > SUBJECTS / 2);
    }
    bench_print_ratio("(f) choosing among 1000 for 10000 domains, CPU, median", bench_median(ours, RESOLVE_ROUNDS),
                      bench_median(bare, RESOLVE_ROUNDS), "ms", 1.5);
    remove_policies(paths);
}

static void bench_growth(const char *root, char **names)
{
    static const unsigned policies[] = {10, 100, 1000}, domains[] = {1000, 10000};

    printf("    ns to choose for one domain, median: policies");
    for (gsize i = 0; i < G_N_ELEMENTS(policies); i++)
        printf(" %8u", policies[i]);
    for (gsize j = 0; j < G_N_ELEMENTS(domains); j++) {
        printf("\n    %36u domains", domains[j]);
        for (gsize i = 0; i < G_N_ELEMENTS(policies); i++) {
            g_autoptr(GPtrArray) paths = write_policies(root, policies[i]);
            g_autoptr(PolicySet) set = load(root);
            double ours[RESOLVE_ROUNDS];
            unsigned found = 0;
            for (unsigned k = 0; k < RESOLVE_ROUNDS; k++)
                ours[k] = time_resolve(set, names, domains[j], &found) * 1e6 / domains[j];
            printf(" %8.0f", bench_median(ours, RESOLVE_ROUNDS));
            remove_policies(paths);
        }
    }
    puts("");
}

/* bench-policy FOLDER: an empty one, in memory */
int main(int argc, char **argv)
{
    char **names = g_new0(char *, SUBJECTS + 1);

    g_assert(argc == 2);
    for (unsigned i = 0; i < SUBJECTS; i++)
        names[i] = subject_name(i);
    bench_load(argv[1]);
    bench_resolve(argv[1], names);
    bench_growth(argv[1], names);
    g_strfreev(names);
    return 0;
}
