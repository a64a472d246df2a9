/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl show: one domain in words. What is, what should be, why, and what to do next. */

#include "ctl/show.h"

#include "ctl/advice.h"
#include "ctl/checks.h"
#include "ctl/fleet.h"
#include "ctl/lint.h"
#include "ctl/pager.h"
#include "ctl/table.h"
#include "ctl/verbs.h"
#include "lib/duration.h"
#include "lib/error.h"
#include <stdio.h>
#include <string.h>

static char *arg_json;

/* Lines -------------------------------------------------------------------------------------------------------------- */

/* "Label: text" with the labels in one column; an empty text is no line. */
static void put_line(TableMark mark, const char *label, const char *text)
{
    g_autofree char *printable = table_printable(text);
    bool colours = verbs_colours() && mark != TABLE_PLAIN;

    if (*text != '\0')
        printf("%12s: %s%s%s\n", label, colours ? table_colour(mark) : "", printable, colours ? "\033[0m" : "");
}

static void put(TableMark mark, const char *label, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void put(TableMark mark, const char *label, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    put_line(mark, label, text);
}

static void put_all(TableMark mark, const char *label, const Object *domain, const char *property)
{
    g_autofree const char **texts = object_strings(domain, property);

    for (gsize i = 0; texts[i] != NULL; i++)
        put_line(mark, label, texts[i]);
}

/* A text with the domain in it, so that it can be pasted. To be freed with g_free(). */
static char *with_name(const Object *domain, const char *advice)
{
    g_autofree char *word = verbs_domain_word(object_string(domain, "Name"), object_string(domain, "UUID"));
    GString *text = g_string_new(advice);

    (void)g_string_replace(text, "DOMAIN", word, 0);
    return g_string_free(text, FALSE);
}

static void put_advice(const Object *domain, const char *advice)
{
    g_autofree char *text = with_name(domain, advice);

    put_line(TABLE_PLAIN, "To do", text);
}

static char *format_time(guint64 usec)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local((gint64)(usec / G_USEC_PER_SEC));

    return time != NULL ? g_date_time_format(time, "%F %T") : g_strdup("a time that cannot be shown");
}

static void put_time(TableMark mark, const char *label, const Object *domain, const char *property, const char *format)
{
    guint64 usec = object_number(domain, property);
    g_autofree char *time = format_time(usec);
    g_autoptr(GString) text = g_string_new(format);

    (void)g_string_replace(text, "TIME", time, 0);
    if (usec != 0)
        put_line(mark, label, text->str);
}

/* Sections ----------------------------------------------------------------------------------------------------------- */

static void show_definition(const Object *domain)
{
    const char *policy = object_string(domain, "Policy"), *state = object_string(domain, "State"),
               *mode = object_string(domain, "CPUMode"), *wanted = object_string(domain, "WantedCPUMode"),
               *feature = object_string(domain, "Feature"), *owner = object_string(domain, "Owner");
    const char *advice = advice_for_state(state);
    TableMark mark = strcmp(state, "in-sync") == 0 ? TABLE_GOOD : strcmp(state, "error") == 0 ? TABLE_BAD : TABLE_PLAIN;

    if (*policy != '\0')
        put(TABLE_PLAIN, "Policy", "%s (%s)", policy, object_string(domain, "PolicySource"));
    else
        put_line(TABLE_PLAIN, "Policy", object_boolean(domain, "Tagged") ? "none, although it is tagged" : "none");
    put_line(TABLE_PLAIN, "Why", object_string(domain, "PolicyReason"));
    if (*owner != '\0')
        put(TABLE_PLAIN, "Owner", "%s generates its definition", owner);
    if (*wanted != '\0' && strcmp(mode, wanted) != 0)
        put(TABLE_PLAIN, "CPU", "%s, and should be %s%s%s", *mode != '\0' ? mode : "none in its definition", wanted,
            *feature != '\0' ? " with " : "", feature);
    else
        put(TABLE_PLAIN, "CPU", "%s%s%s", *mode != '\0' ? mode : "none in its definition",
            *policy != '\0' && *feature != '\0' ? ", to have " : "", *policy != '\0' ? feature : "");
    put_time(TABLE_PLAIN, "Rewritten", domain, "RewriteTime", "TIME");
    put_line(mark, "State", state);
    put_line(TABLE_PLAIN, "Why", object_string(domain, "StateReason"));
    if (*advice != '\0')
        put_advice(domain, advice);
    put_all(TABLE_WARN, "Skipped", domain, "Skipped");
    put_all(TABLE_WARN, "Conflict", domain, "Conflicts");
}

static void show_l2(const Object *domain)
{
    const char *exposed = object_string(domain, "Exposed"), *source = object_string(domain, "L2Source"),
               *l2 = object_string(domain, "L2State");
    g_autofree char *since = format_time(object_number(domain, "L2Since"));
    bool has_since = object_number(domain, "L2Since") != 0, is_plain = strcmp(l2, "none") == 0;

    put_line(TABLE_PLAIN, "Can nest",
             strcmp(exposed, "yes") == 0  ? "yes, it has vmx or svm now"
             : strcmp(exposed, "no") == 0 ? "no, it has no vmx or svm now"
                                          : "its live <cpu> does not tell");
    put(is_plain ? TABLE_PLAIN : TABLE_WARN, "L2 guests", "%s%s%s%s%s", l2, has_since ? " since " : "",
        has_since ? since : "", *source != '\0' ? ", seen by " : "", source);
    put_line(TABLE_PLAIN, "Why", object_string(domain, "L2Reason"));
    put_time(TABLE_PLAIN, "Last active", domain, "LastL2Activity", "TIME");
    if (object_number(domain, "NestedRuns") != 0)
        put(TABLE_PLAIN, "Entries", "%" G_GUINT64_FORMAT, object_number(domain, "NestedRuns"));
    put_time(TABLE_BAD, "Loaded", domain, "LoadedL2Since",
             "it began with a state in which an L2 ran since TIME, and may crash");
}

static void show_guard(const Object *domain)
{
    const char *when = object_string(domain, "BlockWhen"), *reason = object_string(domain, "GuardReason"),
               *by = object_string(domain, "ReleasedBy"), *why = object_string(domain, "ReleaseReason");
    bool guarded = object_boolean(domain, "Guarded");
    g_autofree char *until = format_time(object_number(domain, "ReleasedUntil"));

    put_line(guarded ? TABLE_WARN : TABLE_PLAIN, "Guard",
             guarded ? "set: QEMU refuses to migrate and save it" : "not set");
    put_line(TABLE_PLAIN, "Why", reason);
    put_line(TABLE_BAD, "Failed", object_string(domain, "GuardError"));
    if (*when != '\0') {
        g_autofree char *quiet = duration_format(object_number(domain, "QuietAfterUSec")),
                        *release = duration_format(object_number(domain, "ReleaseAfterUSec"));
        put(TABLE_PLAIN, "By policy", "BlockWhen=%s QuietAfter=%s ReleaseAfter=%s OnUnknown=%s Platforms=%s", when,
            quiet, release, object_string(domain, "OnUnknown"), object_string(domain, "Platforms"));
    }
    if (object_number(domain, "ReleasedUntil") != 0)
        put(TABLE_WARN, "Released", "until %s by %s%s%s", until, by, *why != '\0' ? ": " : "", why);
}

/* What to do about one that may not be moved, DOMAIN being its name. @ret_texts: static ones; NULL ends them */
static void advise_move(const Snapshot *snapshot, const Object *domain, const char *ret_texts[4])
{
    gsize n = 0;

    if (!object_boolean(domain, "MigrationSafe") && object_boolean(snapshot->manager, "Synced")) {
        if (object_number(domain, "ReleasedUntil") != 0) {
            ret_texts[n++] = "it is released: libvirt moves it if told so, which may crash it";
        } else {
            ret_texts[n++] = advice_for_move(object_string(domain, "L2State"));
            ret_texts[n++] = "wait until it may: virtnestctl wait DOMAIN --safe";
            ret_texts[n++] = "or move it all the same, which may crash it: virtnestctl release DOMAIN --for 10min";
        }
    }
    ret_texts[n] = NULL;
}

static void show_move(const Snapshot *snapshot, const Object *domain)
{
    bool safe = object_boolean(domain, "MigrationSafe");
    const char *texts[4], *platform = object_string(snapshot->host, "Platform");
    g_autofree char *incomplete = snapshot_incomplete(snapshot);

    if (incomplete != NULL)
        put(TABLE_WARN, "May move", "unknown: %s; all of this is what was seen last", incomplete);
    else
        put_line(safe ? TABLE_GOOD : TABLE_BAD, "May move", safe ? "yes, as far as virtnest knows" : "no");
    put_all(TABLE_PLAIN, "Why not", domain, "Blockers");
    advise_move(snapshot, domain, texts);
    for (gsize i = 0; texts[i] != NULL; i++)
        put_advice(domain, texts[i]);
    if (incomplete == NULL && !safe && *platform != '\0')
        put(TABLE_PLAIN, "Platform", "%s: %s", platform, object_string(snapshot->host, "PlatformReason"));
}

/* What lint makes of it, with whatever this command may use besides virtnestd. Returns: Check, or NULL with an error. */
static GPtrArray *lint(const Snapshot *snapshot, const Object *domain, GError **error)
{
    if (verbs_hosts->len > 0) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_UNSUPPORTED,
                    "half of what is judged is in the files of its host: `ssh %s virtnestctl show ...`",
                    (const char *)verbs_hosts->pdata[0]);
        return NULL;
    }
    g_autofree char *incomplete = snapshot_incomplete(snapshot);
    if (incomplete != NULL) {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_UNSUPPORTED, incomplete);
        return NULL;
    }
    return lint_look(object_string(domain, "UUID"), error);
}

static bool is_linted(const Object *domain)
{
    return *object_string(domain, "Policy") != '\0';
}

static void show_lint(const Snapshot *snapshot, const Object *domain)
{
    g_autoptr(GError) error = NULL;
    unsigned n_good = 0;

    if (!is_linted(domain))
        return;
    /* libvirt may let us wait, and nobody shall wait for what is known. */
    (void)fflush(stdout);
    g_autoptr(GPtrArray) checks = lint(snapshot, domain, &error);
    if (checks == NULL) {
        put(TABLE_WARN, "Lint", "not looked at: %s", error->message);
        return;
    }
    for (guint i = 0; i < checks->len; i++) {
        const Check *check = checks->pdata[i];
        n_good += check->verdict == CHECK_PASS;
        if (check->verdict == CHECK_PASS)
            continue;
        put(check->verdict == CHECK_FAIL ? TABLE_BAD : TABLE_WARN, "Lint", "%s: %s", check->id, check->found);
        put_line(TABLE_PLAIN, "To do", check->todo);
    }
    put(n_good == checks->len ? TABLE_GOOD : TABLE_PLAIN, "Lint", "%u of %u checks of its definition passed", n_good,
        checks->len);
}

static void show_text(const Snapshot *snapshot, const Object *domain)
{
    g_autofree char *name = table_printable(object_string(domain, "Name"));
    bool running = object_boolean(domain, "Running"), bold = verbs_colours();

    printf("%s%s%s (%s)\n", bold ? "\033[1m" : "", name, bold ? "\033[0m" : "", object_string(domain, "UUID"));
    put(TABLE_PLAIN, "Runs", "%s%s", running ? "yes" : "no",
        object_boolean(domain, "Persistent") ? "" : "; it has no persistent definition");
    show_definition(domain);
    if (running) {
        show_l2(domain);
        show_guard(domain);
    }
    show_move(snapshot, domain);
    show_lint(snapshot, domain);
}

static void add_lint(const Snapshot *snapshot, const Object *domain, Json *json)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) checks = is_linted(domain) ? lint(snapshot, domain, &error) : NULL;

    if (checks != NULL)
        checks_add_json(checks, "Lint", json);
    if (error != NULL)
        json_string(json, "LintError", error->message);
}

/* What the text has besides the domain's own properties: of the host and the manager, and "To do", but for what lint adds. */
static void add_advice(const Snapshot *snapshot, const Object *domain, Json *json)
{
    const char *state = advice_for_state(object_string(domain, "State")), *texts[4];
    static const char *const properties[] = {"Platform", "PlatformReason"};
    g_autofree char *first = with_name(domain, state);

    for (gsize i = 0; i < G_N_ELEMENTS(properties); i++)
        json_variant(json, properties[i], g_hash_table_lookup(snapshot->host->properties, properties[i]));
    json_variant(json, "Connected", g_hash_table_lookup(snapshot->manager->properties, "Connected"));
    json_open(json, "ToDo", '[');
    if (*state != '\0')
        json_string(json, NULL, first);
    advise_move(snapshot, domain, texts);
    for (gsize i = 0; texts[i] != NULL; i++) {
        g_autofree char *text = with_name(domain, texts[i]);
        json_string(json, NULL, text);
    }
    json_close(json, ']');
}

/** Shows the domain that is meant. Returns: the status of the command. */
int show_domain(const char *text, JsonFormat format)
{
    g_autoptr(Fleet) fleet = fleet_new(NULL, NULL);
    const Snapshot *snapshot = fleet_one(fleet);
    g_autofree char *problem = NULL;

    if (snapshot == NULL)
        return STATUS_FAILED;
    const Object *domain = snapshot_pick(snapshot, text, &problem);
    if (domain == NULL)
        return verb_fail("%s", problem);
    if (format == JSON_OFF) {
        pager_open();
        show_text(snapshot, domain);
        return STATUS_DONE;
    }
    g_autoptr(GList) names = object_names(domain);
    Json *json = json_new(format);
    json_open(json, NULL, '{');
    for (GList *l = names; l != NULL; l = l->next)
        json_variant(json, l->data, g_hash_table_lookup(domain->properties, l->data));
    add_advice(snapshot, domain, json);
    add_lint(snapshot, domain, json);
    json_close(json, '}');
    json_print(json);
    return STATUS_DONE;
}

int verb_show(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"json", 0, 0, G_OPTION_ARG_STRING, &arg_json,
         "Print JSON: pretty, short or off; -j is pretty on a terminal and otherwise short", "FORMAT"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    JsonFormat format = JSON_OFF;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 1, 1, &argc, &argv) || !json_parse_format(arg_json, &format))
        return STATUS_USAGE;
    return show_domain(argv[1], format);
}
