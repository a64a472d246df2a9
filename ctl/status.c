/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl status and list */

#include "ctl/fleet.h"
#include "ctl/json.h"
#include "ctl/pager.h"
#include "ctl/show.h"
#include "ctl/table.h"
#include "ctl/verbs.h"
#include <stdio.h>
#include <string.h>

static char *arg_json;
static gboolean arg_no_legend;
static gboolean arg_all;
static gboolean arg_full;
static gboolean arg_names;

#define JSON_ENTRY                                                                                       \
    {                                                                                                    \
        "json", 0, 0, G_OPTION_ARG_STRING, &arg_json,                                                    \
            "Print JSON: pretty, short or off; -j is pretty on a terminal and otherwise short", "FORMAT" \
    }
#define FULL_ENTRY                                                                                       \
    {                                                                                                    \
        "full", 'l', 0, G_OPTION_ARG_NONE, &arg_full, "Do not cut what is wider than the terminal", NULL \
    }

/* JSON --------------------------------------------------------------------------------------------------------------- */

static void put_object(Json *json, const char *key, const Object *object)
{
    g_autoptr(GList) names = object_names(object);

    json_open(json, key, '{');
    for (GList *l = names; l != NULL; l = l->next)
        json_variant(json, l->data, g_hash_table_lookup(object->properties, l->data));
    json_close(json, '}');
}

static void print_json(const Fleet *fleet, JsonFormat format)
{
    const GPtrArray *hosts = fleet_hosts(fleet);
    Json *json = json_new(format);

    json_open(json, NULL, '[');
    for (guint i = 0; i < hosts->len; i++) {
        const FleetHost *host = hosts->pdata[i];
        json_open(json, NULL, '{');
        json_string(json, "host", host->name);
        json_string(json, "error", host->error);
        if (host->snapshot != NULL) {
            put_object(json, "manager", host->snapshot->manager);
            put_object(json, "readiness", host->snapshot->host);
            json_open(json, "domains", '[');
            for (guint j = 0; j < host->snapshot->domains->len; j++)
                put_object(json, NULL, host->snapshot->domains->pdata[j]);
            json_close(json, ']');
        }
        json_close(json, '}');
    }
    json_close(json, ']');
    json_print(json);
}

/* Hosts -------------------------------------------------------------------------------------------------------------- */

/* A text that came from elsewhere, below the line of its host. */
static void print_remark(TableMark mark, const char *what, const char *text)
{
    g_autofree char *printable = table_printable(text);
    bool colours = verbs_colours();

    printf("  %s%s:%s %s\n", colours ? table_colour(mark) : "", what, colours ? "\033[0m" : "", printable);
}

static void print_remarks(TableMark mark, const char *what, const Object *object, const char *property)
{
    g_autofree const char **texts = object_strings(object, property);

    for (gsize i = 0; texts[i] != NULL; i++)
        print_remark(mark, what, texts[i]);
}

/* Which checks do not pass; all of what they say is for `virtnestctl host`. */
static void print_checks(TableMark mark, const Object *survey)
{
    GVariant *checks = g_hash_table_lookup(survey->properties, "Checks");
    g_autoptr(GString) out = g_string_new(NULL);

    if (checks == NULL || !g_variant_is_of_type(checks, G_VARIANT_TYPE("a(sssss)")))
        return;
    for (gsize i = 0; i < g_variant_n_children(checks); i++) {
        const char *name = NULL, *verdict = NULL;
        g_variant_get_child(checks, i, "(&s&s&s&s&s)", &name, &verdict, NULL, NULL, NULL);
        if (strcmp(verdict, "pass") != 0)
            g_string_append_printf(out, "%s%s %ss", out->len > 0 ? ", " : "", name, verdict);
    }
    if (out->len > 0) {
        g_string_append(out, "; what to do: virtnestctl host");
        print_remark(mark, "Checks", out->str);
    }
}

static const char *cpu_makers(const char *vendor)
{
    return strcmp(vendor, "intel") == 0 ? "Intel" : strcmp(vendor, "amd") == 0 ? "AMD" : "another CPU";
}

static void print_host(const FleetHost *host)
{
    const char *name = host->name != NULL ? host->name : g_get_host_name();
    bool colours = verbs_colours();

    if (host->snapshot == NULL) {
        printf("%s%s%s  does not answer\n", colours ? table_colour(TABLE_BAD) : "", name, colours ? "\033[0m" : "");
        return;
    }
    const Object *manager = host->snapshot->manager, *survey = host->snapshot->host;
    const char *nested = object_string(survey, "Nested"), *verdict = object_string(survey, "Verdict"),
               *problem = object_string(manager, "ConnectionError");
    g_autofree char *libvirt = table_printable(object_string(manager, "LibvirtVersion")),
                    *qemu = table_printable(object_string(manager, "HypervisorVersion"));
    TableMark mark = strcmp(verdict, "fail") == 0 || !object_boolean(manager, "Connected") ? TABLE_BAD
                     : strcmp(verdict, "warn") == 0                                        ? TABLE_WARN
                                                                                           : TABLE_GOOD;

    printf("%s%s%s  %s, nesting %s; virtnestd %s, Mode=%s; libvirt %s, hypervisor %s\n",
           colours ? table_colour(mark) : "", name, colours ? "\033[0m" : "",
           cpu_makers(object_string(survey, "Vendor")),
           strcmp(nested, "yes") == 0  ? "on"
           : strcmp(nested, "no") == 0 ? "off"
                                       : "unknown",
           object_string(manager, "Version"), object_string(manager, "Mode"), *libvirt != '\0' ? libvirt : "-",
           *qemu != '\0' ? qemu : "-");
    if (!object_boolean(manager, "Connected"))
        print_remark(TABLE_BAD, "No connection to libvirt",
                     *problem != '\0' ? problem : "the first attempt is under way; domains are shown as last seen");
    else if (!object_boolean(manager, "Synced"))
        print_remark(TABLE_WARN, "Not synced", "some domains were not looked at yet");
    if (object_boolean(manager, "WritesDisabled"))
        print_remark(TABLE_WARN, "Kill switch", "no definition is written while /etc/virtnest/disable is there");
    print_remarks(TABLE_BAD, "Configuration", manager, "ConfigurationErrors");
    print_checks(mark, survey);
}

/* Domains ------------------------------------------------------------------------------------------------------------ */

static TableMark mark_of_state(const char *state)
{
    static const char *const good[] = {"in-sync", NULL}, *const bad[] = {"error", "host-not-ready", NULL},
                             *const plain[] = {"untagged", NULL};

    return g_strv_contains(good, state)    ? TABLE_GOOD
           : g_strv_contains(bad, state)   ? TABLE_BAD
           : g_strv_contains(plain, state) ? TABLE_PLAIN
                                           : TABLE_WARN;
}

/* Has virtnest anything to do with it? */
static bool is_concerned(const Object *domain)
{
    return strcmp(object_string(domain, "State"), "untagged") != 0 || object_boolean(domain, "Guarded") ||
           *object_string(domain, "GuardError") != '\0' || strcmp(object_string(domain, "L2State"), "none") != 0;
}

static void add_status_row(Table *table, const FleetHost *host, bool with_host, const Object *domain)
{
    const char *mode = object_string(domain, "CPUMode"), *wanted = object_string(domain, "WantedCPUMode"),
               *state = object_string(domain, "State");
    bool running = object_boolean(domain, "Running"), guarded = object_boolean(domain, "Guarded"),
         failed = *object_string(domain, "GuardError") != '\0';
    const char *l2 = running ? object_string(domain, "L2State") : "",
               *guard = failed                                        ? "failed"
                        : guarded                                     ? "guarded"
                        : object_number(domain, "ReleasedUntil") != 0 ? "released"
                                                                      : "";
    g_autofree char *cpu = *wanted != '\0' && strcmp(mode, wanted) != 0
                               ? g_strdup_printf("%s, not %s", *mode != '\0' ? mode : "none", wanted)
                               : g_strdup(mode);
    const char *cells[] = {host->name != NULL ? host->name : g_get_host_name(),
                           object_string(domain, "Name"),
                           object_string(domain, "Policy"),
                           cpu,
                           state,
                           l2,
                           guard};
    guint first = with_host ? 0 : 1;

    table_add(table, cells + first);
    table_mark(table, 4 - first, mark_of_state(state));
    table_mark(table, 5 - first, *l2 != '\0' && strcmp(l2, "none") != 0 ? TABLE_WARN : TABLE_PLAIN);
    table_mark(table, 6 - first, failed ? TABLE_BAD : *guard != '\0' ? TABLE_WARN : TABLE_PLAIN);
}

static void print_status(const Fleet *fleet)
{
    static const char *const titles[] = {"HOST", "DOMAIN", "POLICY", "CPU", "STATE", "L2", "GUARD", NULL};
    const GPtrArray *hosts = fleet_hosts(fleet);
    bool with_host = hosts->len > 1;
    g_autoptr(Table) table = table_new(titles + (with_host ? 0 : 1));
    unsigned shown = 0, hidden = 0;

    for (guint i = 0; i < hosts->len; i++) {
        const FleetHost *host = hosts->pdata[i];
        print_host(host);
        for (guint j = 0; host->snapshot != NULL && j < host->snapshot->domains->len; j++) {
            const Object *domain = host->snapshot->domains->pdata[j];
            if (arg_all || is_concerned(domain)) {
                add_status_row(table, host, with_host, domain);
                shown++;
            } else {
                hidden++;
            }
        }
    }
    if (shown > 0) {
        (void)putchar('\n');
        table_print_full(table, !arg_no_legend, arg_full);
    }
    if (arg_no_legend)
        return;
    printf("\n%u %s", shown, shown == 1 ? "domain" : "domains");
    if (hidden > 0)
        printf(", and %u untagged; --all shows all", hidden);
    printf(".\n");
}

int verb_status(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        JSON_ENTRY,
        FULL_ENTRY,
        {"all", 'a', 0, G_OPTION_ARG_NONE, &arg_all, "Untagged domains too", NULL},
        {"no-legend", 0, 0, G_OPTION_ARG_NONE, &arg_no_legend, "Leave out the titles and the count", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    JsonFormat format = JSON_OFF;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 0, 1, &argc, &argv) || !json_parse_format(arg_json, &format))
        return STATUS_USAGE;
    if (argc > 1 && verbs_hosts->len > 1)
        return verb_misused(VERBS_ONE_HOST);
    if (argc > 1)
        return show_domain(argv[1], format);
    g_autoptr(Fleet) fleet = fleet_new(NULL, NULL);
    fleet_wait(fleet);
    bool good = fleet_print_errors(fleet);
    const GPtrArray *hosts = fleet_hosts(fleet);
    if (format == JSON_OFF)
        pager_open();
    if (format != JSON_OFF)
        print_json(fleet, format);
    /* With nobody there is nothing to show but why. */
    else if (hosts->len > 1 || ((FleetHost *)hosts->pdata[0])->snapshot != NULL)
        print_status(fleet);
    return good ? STATUS_DONE : STATUS_FAILED;
}

/* list --------------------------------------------------------------------------------------------------------------- */

static void print_names(const Fleet *fleet)
{
    const GPtrArray *hosts = fleet_hosts(fleet);

    for (guint i = 0; i < hosts->len; i++) {
        const FleetHost *host = hosts->pdata[i];
        for (guint j = 0; host->snapshot != NULL && j < host->snapshot->domains->len; j++) {
            g_autofree char *name = table_printable(object_string(host->snapshot->domains->pdata[j], "Name"));
            printf("%s\n", name);
        }
    }
}

static void print_list_json(const Fleet *fleet, JsonFormat format)
{
    static const char *const properties[] = {"Name", "UUID", "Running", "Tagged", "Policy", "State", NULL};
    const GPtrArray *hosts = fleet_hosts(fleet);
    Json *json = json_new(format);

    json_open(json, NULL, '[');
    for (guint i = 0; i < hosts->len; i++) {
        const FleetHost *host = hosts->pdata[i];
        for (guint j = 0; host->snapshot != NULL && j < host->snapshot->domains->len; j++) {
            const Object *domain = host->snapshot->domains->pdata[j];
            json_open(json, NULL, '{');
            if (host->name != NULL)
                json_string(json, "host", host->name);
            for (gsize k = 0; properties[k] != NULL; k++)
                json_variant(json, properties[k], g_hash_table_lookup(domain->properties, properties[k]));
            json_close(json, '}');
        }
    }
    json_close(json, ']');
    json_print(json);
}

static void print_list(const Fleet *fleet)
{
    static const char *const titles[] = {"HOST", "DOMAIN", "UUID", "RUNNING", "TAGGED", "POLICY", "STATE", NULL};
    const GPtrArray *hosts = fleet_hosts(fleet);
    guint first = hosts->len > 1 ? 0 : 1;
    unsigned n = 0;
    g_autoptr(Table) table = table_new(titles + first);

    table_keep_whole(table, 2 - first);

    for (guint i = 0; i < hosts->len; i++) {
        const FleetHost *host = hosts->pdata[i];
        for (guint j = 0; host->snapshot != NULL && j < host->snapshot->domains->len; j++) {
            const Object *domain = host->snapshot->domains->pdata[j];
            const char *cells[] = {host->name,
                                   object_string(domain, "Name"),
                                   object_string(domain, "UUID"),
                                   object_boolean(domain, "Running") ? "yes" : "no",
                                   object_boolean(domain, "Tagged") ? "yes" : "no",
                                   object_string(domain, "Policy"),
                                   object_string(domain, "State")};
            table_add(table, cells + first);
            table_mark(table, 6 - first, mark_of_state(object_string(domain, "State")));
            n++;
        }
    }
    if (n > 0)
        table_print_full(table, !arg_no_legend, arg_full);
    if (!arg_no_legend)
        printf("%s%u %s.\n", n > 0 ? "\n" : "", n, n == 1 ? "domain" : "domains");
}

int verb_list(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        JSON_ENTRY,
        FULL_ENTRY,
        {"names", 0, 0, G_OPTION_ARG_NONE, &arg_names, "The names alone, one on a line", NULL},
        {"no-legend", 0, 0, G_OPTION_ARG_NONE, &arg_no_legend, "Leave out the titles and the count", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    JsonFormat format = JSON_OFF;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 0, 0, &argc, &argv) || !json_parse_format(arg_json, &format))
        return STATUS_USAGE;
    g_autoptr(Fleet) fleet = fleet_new(NULL, NULL);
    fleet_wait(fleet);
    bool good = fleet_print_errors(fleet) & fleet_print_incomplete(fleet);
    const GPtrArray *hosts = fleet_hosts(fleet);
    if (format == JSON_OFF && !arg_names)
        pager_open();
    if (format != JSON_OFF)
        print_list_json(fleet, format);
    else if (arg_names)
        print_names(fleet);
    else if (hosts->len > 1 || ((FleetHost *)hosts->pdata[0])->snapshot != NULL)
        print_list(fleet);
    return good ? STATUS_DONE : STATUS_FAILED;
}
