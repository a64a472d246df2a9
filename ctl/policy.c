/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl policy list|show|check */

#include "lib/policy.h"
#include "ctl/json.h"
#include "ctl/pager.h"
#include "ctl/table.h"
#include "ctl/verbs.h"
#include "lib/duration.h"
#include "lib/settings.h"
#include <stdio.h>
#include <string.h>

static char *arg_json;
static gboolean arg_no_legend;

#define JSON_ENTRY                                                                                       \
    {                                                                                                    \
        "json", 0, 0, G_OPTION_ARG_STRING, &arg_json,                                                    \
            "Print JSON: pretty, short or off; -j is pretty on a terminal and otherwise short", "FORMAT" \
    }

/* With nothing in it, from a file of whomever, that a terminal would obey. */
static void print_error(const char *text, const char *rest)
{
    g_autofree char *printable = table_printable(text);

    (void)fprintf(stderr, "%s%s\n", printable, rest);
}

static void print_errors(const GPtrArray *errors)
{
    for (guint i = 0; i < errors->len; i++)
        print_error(errors->pdata[i], "");
}

/* Returns: the policies in the folders, or NULL after saying what is wrong with them. */
static PolicySet *load_set(void)
{
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    PolicySet *set = policy_set_load(verbs_root, errors);

    print_errors(errors);
    return set;
}

/* A policy as keys and values ---------------------------------------------------------------------------------------- */

/* Takes each value of a policy as it would stand in a file; NULL: it is not set, and that is the default. */
typedef void (*TakeValue)(const char *group, const char *key, const char *value, gpointer data);

static void take_list(TakeValue take, const char *group, const char *key, GStrv list, gpointer data)
{
    g_autofree char *joined = list != NULL ? g_strjoinv(";", list) : NULL;

    take(group, key, joined, data);
}

static void take_duration(TakeValue take, const char *group, const char *key, guint64 usec, gpointer data)
{
    g_autofree char *text = duration_format(usec);

    take(group, key, text, data);
}

static void policy_for_each(const Policy *policy, TakeValue take, gpointer data)
{
    static const char *const wishes[] = {[HYPERV_LEAVE] = NULL, [HYPERV_ON] = "yes", [HYPERV_OFF] = "no"};
    const Match *match = &policy->match;
    const CpuPolicy *cpu = &policy->cpu;
    const GuardPolicy *guard = &policy->guard;
    bool matches = match_has_condition(match);
    g_autofree char *priority = g_strdup_printf("%d", match->priority);

    take("Policy", "Description", policy->description, data);
    take_list(take, "Match", "Name", match->names, data);
    take_list(take, "Match", "UUID", match->uuids, data);
    take_list(take, "Match", "Title", match->titles, data);
    take_list(take, "Match", "OS", match->oses, data);
    take_list(take, "Match", "Metadata", match->namespaces, data);
    take("Match", "Tagged", !matches ? NULL : match->tagged ? "yes" : "no", data);
    take("Match", "Priority", matches ? priority : NULL, data);
    take("CPU", "Mode", cpu_mode_to_string(cpu->mode), data);
    take("CPU", "Model", cpu->model, data);
    take("CPU", "Fallback", cpu->fallback, data);
    take("CPU", "Check", cpu->check, data);
    take("CPU", "Migratable", cpu->migratable, data);
    take_list(take, "CPU", "Require", cpu->require, data);
    take_list(take, "CPU", "Disable", cpu->disable, data);
    take_list(take, "CPU", "Optional", cpu->optional, data);
    take("CPU", "RewriteOwned", policy->rewrite_owned ? "yes" : "no", data);
    take("HyperV", "EVMCS", wishes[policy->hyperv.wishes[HYPERV_EVMCS]], data);
    take("HyperV", "EMSRBitmap", wishes[policy->hyperv.wishes[HYPERV_EMSR_BITMAP]], data);
    take("HyperV", "TLBFlushDirect", wishes[policy->hyperv.wishes[HYPERV_TLBFLUSH_DIRECT]], data);
    take("Guard", "BlockWhen", guard_when_to_string(guard->block_when), data);
    take_duration(take, "Guard", "QuietAfter", guard->quiet_after_usec, data);
    take_duration(take, "Guard", "ReleaseAfter", guard->release_after_usec, data);
    take("Guard", "OnUnknown", guard->block_unknown ? "block" : "allow", data);
    take("Guard", "Platforms", guard->only_unsafe ? "unsafe" : "all", data);
    take("Host", "OnNotReady", policy->apply_unready ? "apply" : "skip", data);
}

/* list --------------------------------------------------------------------------------------------------------------- */

static void list_json(const GPtrArray *policies, JsonFormat format)
{
    Json *json = json_new(format);

    json_open(json, NULL, '[');
    for (guint i = 0; i < policies->len; i++) {
        const Policy *policy = policies->pdata[i];
        g_autofree char *conditions = match_describe(&policy->match);
        json_open(json, NULL, '{');
        json_string(json, "name", policy->name);
        json_string(json, "mode", cpu_mode_to_string(policy->cpu.mode));
        json_string(json, "match", *conditions != '\0' ? conditions : NULL);
        json_boolean(json, "tagged", policy->match.tagged);
        json_integer(json, "priority", policy->match.priority);
        json_string(json, "path", policy->path);
        json_strings(json, "dropIns", (const char *const *)policy->drop_ins);
        json_string(json, "description", policy->description);
        json_close(json, '}');
    }
    json_close(json, ']');
    json_print(json);
}

static int verb_policy_list(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        JSON_ENTRY,
        {"no-legend", 0, 0, G_OPTION_ARG_NONE, &arg_no_legend, "Leave out the titles and the count", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    static const char *const titles[] = {"NAME", "MODE", "MATCH", "TAGGED", "PRIORITY", "SOURCE", "DESCRIPTION", NULL};
    JsonFormat format = JSON_OFF;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 0, 0, &argc, &argv) || !json_parse_format(arg_json, &format))
        return STATUS_USAGE;
    g_autoptr(PolicySet) set = load_set();
    if (set == NULL)
        return STATUS_FAILED;
    g_autoptr(GPtrArray) policies = policy_set_list(set);
    if (format != JSON_OFF) {
        list_json(policies, format);
        return STATUS_DONE;
    }
    pager_open();
    g_autoptr(Table) table = table_new(titles);
    for (guint i = 0; i < policies->len; i++) {
        const Policy *policy = policies->pdata[i];
        bool matches = match_has_condition(&policy->match);
        g_autofree char *conditions = match_describe(&policy->match);
        g_autofree char *priority = g_strdup_printf("%d", policy->match.priority);
        table_add(table, (const char *const[]){policy->name, cpu_mode_to_string(policy->cpu.mode), conditions,
                                               !matches               ? ""
                                               : policy->match.tagged ? "yes"
                                                                      : "no",
                                               matches ? priority : "", policy->path, policy->description});
    }
    table_print(table, !arg_no_legend);
    if (!arg_no_legend)
        printf("\n%u %s.\n", policies->len, policies->len == 1 ? "policy" : "policies");
    return STATUS_DONE;
}

/* show --------------------------------------------------------------------------------------------------------------- */

typedef struct Show {
    Json *json; /* NULL: as a policy file */
    const char *group;
} Show;

static void show_value(const char *group, const char *key, const char *value, gpointer data)
{
    Show *show = data;

    if (show->json != NULL) {
        if (g_strcmp0(group, show->group) != 0) {
            if (show->group != NULL)
                json_close(show->json, '}');
            json_open(show->json, group, '{');
        }
        json_string(show->json, key, value);
    } else {
        if (g_strcmp0(group, show->group) != 0)
            printf("\n[%s]\n", group);
        g_autofree char *printable = table_printable(value != NULL ? value : "");
        printf("%s=%s\n", key, printable);
    }
    show->group = group;
}

static int verb_policy_show(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {JSON_ENTRY, {NULL, 0, 0, 0, NULL, NULL, NULL}};
    JsonFormat format = JSON_OFF;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 1, 1, &argc, &argv) || !json_parse_format(arg_json, &format))
        return STATUS_USAGE;
    g_autoptr(PolicySet) set = load_set();
    if (set == NULL)
        return STATUS_FAILED;
    const Policy *policy = policy_set_lookup(set, argv[1]);
    if (policy == NULL) {
        const char *meant = policy_set_nearest(set, argv[1]);
        return verb_fail("there is no policy '%s'%s%s%s", argv[1], meant != NULL ? "; did you mean '" : "",
                         meant != NULL ? meant : "", meant != NULL ? "'?" : "; `virtnestctl policy list` lists them");
    }
    Show show = {.json = format != JSON_OFF ? json_new(format) : NULL};
    if (show.json != NULL) {
        json_open(show.json, NULL, '{');
        json_string(show.json, "name", policy->name);
        json_string(show.json, "path", policy->path);
        json_strings(show.json, "dropIns", (const char *const *)policy->drop_ins);
        policy_for_each(policy, show_value, &show);
        json_close(show.json, '}');
        json_close(show.json, '}');
        json_print(show.json);
        return STATUS_DONE;
    }
    pager_open();
    printf("# %s\n", policy->path);
    for (gsize i = 0; policy->drop_ins[i] != NULL; i++)
        printf("# %s\n", policy->drop_ins[i]);
    policy_for_each(policy, show_value, &show);
    return STATUS_DONE;
}

/* check -------------------------------------------------------------------------------------------------------------- */

/* By its name and folder a file is a policy, a drop-in onto one, or one of the daemon's. */
static void check_file(const char *path, GPtrArray *warnings, GPtrArray *errors)
{
    g_autofree char *canonical = g_canonicalize_filename(path, NULL);
    g_autofree char *base = g_path_get_basename(canonical), *folder = g_path_get_dirname(canonical);
    g_autofree char *parent = g_path_get_basename(folder);

    if (g_str_has_suffix(base, ".policy")) {
        policy_free(policy_load_file(path, errors));
    } else if (g_str_has_suffix(parent, ".policy.d") && g_str_has_suffix(base, ".conf")) {
        policy_check_drop_in(path, errors);
    } else if (strcmp(base, "virtnest.conf") == 0 || strcmp(parent, "virtnest.conf.d") == 0) {
        g_autoptr(GError) error = NULL;
        if (!settings_check_file(path, warnings, &error))
            g_ptr_array_add(errors, g_strdup(error->message));
    } else {
        g_ptr_array_add(errors,
                        g_strdup_printf("%s: not the name of a file of virtnest: NAME.policy, virtnest.conf, or "
                                        "a .conf below virtnest.conf.d/ or NAME.policy.d/",
                                        path));
    }
}

/* Returns: how many policies there are. */
static guint check_all(GPtrArray *warnings, GPtrArray *errors)
{
    g_autoptr(PolicySet) set = policy_set_load(verbs_root, errors);
    g_autoptr(GError) error = NULL;
    Settings settings;

    if (!settings_load(verbs_root, &settings, warnings, &error))
        g_ptr_array_add(errors, g_strdup(error->message));
    if (set == NULL)
        return 0;
    g_autoptr(GPtrArray) policies = policy_set_list(set);
    return policies->len;
}

static int verb_check(const Verb *verb, int argc, char **argv)
{
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    guint n = 0;

    if (!verb_parse(verb, NULL, 0, -1, &argc, &argv))
        return STATUS_USAGE;
    if (argc == 1)
        n = check_all(warnings, errors);
    for (int i = 1; i < argc; i++)
        check_file(argv[i], warnings, errors);
    for (guint i = 0; i < warnings->len; i++)
        print_error(warnings->pdata[i], "; it is ignored");
    print_errors(errors);
    if (errors->len > 0)
        return STATUS_FAILED;
    if (argc == 1)
        printf("%u %s and the configuration of virtnestd are valid.\n", n, n == 1 ? "policy" : "policies");
    else
        printf("%d file%s valid.\n", argc - 1, argc == 2 ? " is" : "s are");
    return STATUS_DONE;
}

int verb_policy(const Verb *verb, int argc, char **argv)
{
    static const Verb verbs[] = {
        {"list", "", "List all policies", verb_policy_list, VERB_HERE},
        {"show", "NAME", "Show all values of a policy, defaults and drop-ins included", verb_policy_show, VERB_HERE},
        {"check", "[FILE...]", "See whether what is in effect, or these files, are valid", verb_check, VERB_HERE},
        {NULL, NULL, NULL, NULL, VERB_HERE},
    };

    return verbs_run(verbs, verb->name, argc, argv);
}
