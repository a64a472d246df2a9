/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Judges a host: what is ready for nesting, what is not, why that matters and what to do about it. */

#include "lib/host-judge.h"
#include "lib/host-setup.h"
#include <string.h>

/** Adds a row, as checks_add() does. */
void judge_add(Judge *judge, const char *id, CheckVerdict verdict, const char *why, char *todo, char *found)
{
    checks_add(judge->checks, id, verdict, why, todo, found);
}

/* CPU and modules ------------------------------------------------------------------------------------------------ */

static const char cpu_why[] = "Without the CPU's own virtualization there is no KVM, and no guest to nest in.";

static char *describe_cpu(const HostSurvey *survey, const char *what)
{
    return g_strdup_printf("%s%s%s", *survey->cpu_name != '\0' ? survey->cpu_name : survey->arch,
                           *what != '\0' ? " " : "", what);
}

/*
 * Linux takes vmx off the list where the firmware has it locked off (since 5.6), and svm since 6.6. What cannot be there
 * without it still tells: SVM's own extensions on AMD, and smx, which is Intel's TXT.
 */
static bool is_hidden_by_firmware(const HostSurvey *survey)
{
    static const char *const amd[] = {"npt", "svm_lock", "nrip_save", "skinit", "lbrv"};

    if (survey->facts.vendor == HOST_VENDOR_INTEL)
        return host_survey_has_flag(survey, "smx");
    for (gsize i = 0; i < G_N_ELEMENTS(amd); i++)
        if (host_survey_has_flag(survey, amd[i]))
            return true;
    return false;
}

static void check_x86_cpu(Judge *judge)
{
    const HostSurvey *survey = judge->survey;
    const char *feature = host_facts_feature(&survey->facts);
    const char *option =
        survey->facts.vendor == HOST_VENDOR_INTEL ? "Intel Virtualization Technology (VT-x)" : "SVM Mode";

    if (feature == NULL) {
        judge_add(judge, "cpu", CHECK_FAIL, cpu_why, g_strdup("use a host with an Intel or AMD CPU"),
                  describe_cpu(survey, "is neither Intel nor AMD"));
    } else if (survey->facts.has_feature) {
        g_autofree char *with = g_strdup_printf("with %s", feature);
        judge_add(judge, "cpu", CHECK_PASS, cpu_why, NULL, describe_cpu(survey, with));
    } else if (survey->hypervisor != NULL) {
        g_autofree char *without = g_strdup_printf("without %s, which the hypervisor below does not give", feature);
        judge_add(judge, "cpu", CHECK_FAIL, cpu_why,
                  g_strdup_printf(
                      "this host is a guest itself: give it %s on its own host; with virtnest there, tag it", feature),
                  describe_cpu(survey, without));
    } else if (is_hidden_by_firmware(survey)) {
        g_autofree char *hidden = g_strdup_printf("has %s, and the firmware hides it", feature);
        judge_add(judge, "cpu", CHECK_FAIL, cpu_why,
                  g_strdup_printf("switch \"%s\" on in the firmware setup, and power the machine off and on", option),
                  describe_cpu(survey, hidden));
    } else {
        g_autofree char *without = g_strdup_printf("shows no %s", feature);
        judge_add(
            judge, "cpu", CHECK_FAIL, cpu_why,
            g_strdup_printf("look for \"%s\" in the firmware setup; if it is on or not there, this CPU cannot", option),
            describe_cpu(survey, without));
    }
}

static void check_cpu(Judge *judge)
{
    const HostSurvey *survey = judge->survey;

    if (survey->facts.is_x86) {
        check_x86_cpu(judge);
    } else if (strcmp(survey->arch, "s390x") == 0) {
        bool has_sie = host_survey_has_flag(survey, "sie");
        judge_add(judge, "cpu", has_sie ? CHECK_PASS : CHECK_FAIL, cpu_why,
                  has_sie ? NULL : g_strdup("let the LPAR or the hypervisor below give it SIE"),
                  g_strdup_printf("s390x %s sie", has_sie ? "with" : "without"));
    } else if (g_str_has_prefix(survey->arch, "ppc64")) {
        bool known = strstr(survey->cpu_name, "POWER9") != NULL || strstr(survey->cpu_name, "POWER1") != NULL ||
                     strstr(survey->cpu_name, "Power1") != NULL;
        judge_add(judge, "cpu", known ? CHECK_PASS : CHECK_FAIL, cpu_why,
                  known ? NULL : g_strdup("nesting takes a POWER9 or newer"), describe_cpu(survey, ""));
    } else if (strcmp(survey->arch, "aarch64") == 0) {
        judge_add(judge, "cpu", CHECK_WARN, cpu_why,
                  g_strdup("look in `dmesg` for \"kvm\": whether the CPU has FEAT_NV2 (Armv8.4) shows nowhere else"),
                  g_strdup("aarch64, of which no file tells whether it can nest"));
    } else {
        judge_add(judge, "cpu", CHECK_FAIL, cpu_why, g_strdup("use a host with another processor"),
                  g_strdup_printf("%s, of which virtnest knows no nesting",
                                  *survey->arch != '\0' ? survey->arch : "an unknown processor"));
    }
}

static const char module_why[] =
    "It is the part of KVM that belongs to this CPU; without it guests are emulated or do not start.";

static void check_missing_module(Judge *judge)
{
    const HostSurvey *survey = judge->survey;
    const ModprobeEntry *obstacle = modprobe_config_obstacle(survey->modprobe, survey->module);

    if (obstacle != NULL) {
        g_autofree char *place = modprobe_entry_place(obstacle), *text = modprobe_entry_text(obstacle);
        judge_add(judge, "module", CHECK_FAIL, module_why,
                  g_strdup_printf("remove that line, and `modprobe %s`", survey->module),
                  g_strdup_printf("%s is not loaded: %s has \"%s\"", survey->module, place, text));
    } else if (survey->facts.is_x86 && survey->facts.has_feature && survey->kvm_loaded) {
        /* modprobe loads kvm first, and it stays where the second one refuses. */
        judge_add(
            judge, "module", CHECK_FAIL, module_why,
            g_strdup_printf(
                "`modprobe %s` and `dmesg | grep -i kvm` tell; \"disabled by bios\" is mended in the firmware setup",
                survey->module),
            g_strdup_printf("kvm is loaded and %s is not: most often the firmware has switched %s off", survey->module,
                            host_facts_feature(&survey->facts)));
    } else {
        judge_add(judge, "module", CHECK_FAIL, module_why,
                  survey->facts.is_x86 && !survey->facts.has_feature
                      ? g_strdup("first see to the check of the CPU (virtnestctl host)")
                      : g_strdup_printf("modprobe %s", survey->module),
                  g_strdup_printf("%s is not loaded", survey->module));
    }
}

static void check_module(Judge *judge)
{
    const HostSurvey *survey = judge->survey;

    if (survey->stranger != NULL && !survey->module_loaded)
        judge_add(
            judge, "module", CHECK_FAIL, module_why,
            survey->module != NULL ? g_strdup_printf("modprobe -r %s; modprobe %s", survey->stranger, survey->module)
                                   : g_strdup_printf("modprobe -r %s", survey->stranger),
            g_strdup_printf("%s is loaded, which is not the one for this CPU%s%s", survey->stranger,
                            survey->module != NULL ? "; that is " : "", survey->module != NULL ? survey->module : ""));
    else if (survey->module != NULL && !survey->module_loaded)
        check_missing_module(judge);
    else if (survey->module != NULL)
        judge_add(judge, "module", CHECK_PASS, module_why, NULL,
                  g_strdup_printf("%s is %s", survey->module,
                                  survey->module_is_builtin ? "built into the kernel" : "loaded"));
}

/* Nesting -------------------------------------------------------------------------------------------------------- */

static const char nested_why[] =
    "While it is off, guests get no vmx or svm, whatever their definition says; those that require "
    "it do not start.";
static const char boot_why[] =
    "What the module has now is lost with the next boot, or the next time that it is loaded.";

static void check_arm_nested(Judge *judge)
{
    bool on = judge->survey->nested == HOST_NESTED_YES;

    judge_add(
        judge, "nested", on ? CHECK_WARN : CHECK_FAIL, nested_why,
        g_strdup(on ? "look in `dmesg` whether KVM took it; QEMU refuses to migrate such guests"
                    : "add kvm-arm.mode=nested to the kernel's command line, with Linux 6.16 or newer"),
        g_strdup_printf("the kernel's command line has %s", on ? "kvm-arm.mode=nested" : "no kvm-arm.mode=nested"));
}

static void check_nested(Judge *judge)
{
    const HostSurvey *survey = judge->survey;

    if (strcmp(survey->arch, "aarch64") == 0)
        check_arm_nested(judge);
    else if (survey->module == NULL || !survey->module_loaded)
        return;
    else if (survey->nested_value == NULL)
        judge_add(judge, "nested", CHECK_FAIL, nested_why,
                  g_strdup_printf("`modinfo -p %s` tells whether this kernel can nest at all", survey->module),
                  g_strdup_printf("%s has no readable parameter nested", survey->module));
    else if (survey->nested == HOST_NESTED_ABSENT)
        judge_add(
            judge, "nested", CHECK_WARN, nested_why,
            g_strdup_printf("see `modinfo -p %s`: this is newer than virtnest, which takes it for off", survey->module),
            g_strdup_printf("%s has nested=%s, which is not known", survey->module, survey->nested_value));
    else
        judge_add(judge, "nested", survey->nested == HOST_NESTED_YES ? CHECK_PASS : CHECK_FAIL, nested_why,
                  survey->nested == HOST_NESTED_YES ? NULL
                  : survey->module_is_builtin
                      ? g_strdup_printf("add %s.nested=1 to the kernel's command line, and reboot", survey->module)
                      : g_strdup(HOST_ENABLE " --now with all guests off, or " HOST_ENABLE " and a reboot"),
                  g_strdup_printf("%s has nested=%s", survey->module, survey->nested_value));
}

/* kvm_amd takes a number where kvm_intel takes Y as well: the value that it has now tells which. */
static bool is_refused_at_boot(const HostSurvey *survey)
{
    const ModprobeEntry *entry = survey->nested_entry;
    char *end = NULL;

    if (entry == NULL || survey->nested_value == NULL || !g_ascii_isdigit(*survey->nested_value))
        return false;
    if (entry->value == NULL)
        return true;
    (void)g_ascii_strtoll(entry->value, &end, 0);
    return end == entry->value || *end != '\0';
}

/* @entry: what switches it off; NULL: nothing does */
static char *boot_todo(const HostSurvey *survey, const ModprobeEntry *entry)
{
    g_autofree char *place = entry != NULL ? modprobe_entry_place(entry) : NULL;
    g_autofree char *text = entry != NULL ? modprobe_entry_text(entry) : NULL;

    if (survey->module_is_builtin)
        return g_strdup_printf("have %s.nested=1 on the kernel's command line%s%s", survey->module,
                               text != NULL ? " in place of " : "", text != NULL ? text : "");
    if (entry == NULL || strcmp(entry->path, HOST_SETUP_FILE) == 0)
        return g_strdup(HOST_ENABLE);
    return g_strdup_printf("remove \"%s\" from %s, and then: " HOST_ENABLE, text, place);
}

static void check_nested_at_boot(Judge *judge)
{
    const HostSurvey *survey = judge->survey;
    const ModprobeEntry *entry = survey->nested_entry;

    if (survey->module == NULL)
        return;
    if (survey->container != NULL) {
        judge_add(judge, "nested-at-boot", CHECK_WARN, boot_why, g_strdup("run this on the host itself"),
                  g_strdup("a container's /etc/modprobe.d has no say"));
    } else if (entry == NULL) {
        bool good = survey->nested_at_boot == HOST_NESTED_YES;
        judge_add(
            judge, "nested-at-boot", good ? CHECK_PASS : CHECK_WARN, boot_why, good ? NULL : boot_todo(survey, NULL),
            g_strdup_printf("nothing sets it; %s's default %s", survey->module,
                            good                                       ? "is on"
                            : survey->nested_at_boot == HOST_NESTED_NO ? "is off"
                                                                       : "differs between kernels as old as this"));
    } else {
        g_autofree char *place = modprobe_entry_place(entry), *text = modprobe_entry_text(entry);
        bool refused = is_refused_at_boot(survey);
        bool good = survey->nested_at_boot == HOST_NESTED_YES && !refused;
        judge_add(judge, "nested-at-boot", good ? CHECK_PASS : CHECK_WARN, boot_why,
                  good ? NULL : boot_todo(survey, entry),
                  g_strdup_printf("%s has \"%s\"%s", place, text,
                                  refused ? ", with which the module will not load at all"
                                  : survey->nested_at_boot == HOST_NESTED_ABSENT ? ", which is not known"
                                                                                 : ""));
    }
}

static const char conflict_why[] =
    "Several files set the same parameter. The last one counts, by the names of the files.";

static void check_modprobe_d(Judge *judge)
{
    const HostSurvey *survey = judge->survey;
    g_autoptr(GString) found = g_string_new(NULL);
    bool differ = false;

    if (survey->module == NULL)
        return;
    for (guint i = 0; i < survey->modprobe->problems->len; i++)
        g_string_append_printf(found, "%s%s", found->len > 0 ? "; " : "", (char *)survey->modprobe->problems->pdata[i]);
    if (found->len > 0)
        judge_add(judge, "modprobe.d", CHECK_WARN,
                  "What modprobe may read and virtnest may not can set nesting unseen.",
                  g_strdup("mend that, or run this as root"), g_string_free(g_steal_pointer(&found), FALSE));

    g_autoptr(GPtrArray) options = modprobe_config_options(survey->modprobe, survey->module, "nested");
    g_autoptr(GString) list = g_string_new(NULL);
    for (guint i = 0; i < options->len; i++) {
        const ModprobeEntry *entry = options->pdata[i], *last = options->pdata[options->len - 1];
        g_autofree char *place = modprobe_entry_place(entry);
        differ = differ || host_nested_parse(entry->value) != host_nested_parse(last->value);
        g_string_append_printf(list, "%snested=%s in %s%s", i > 0 ? ", " : "", entry->value != NULL ? entry->value : "",
                               place, i + 1 == options->len && i > 0 ? ", which wins" : "");
    }
    /* Of a module that is built in only the command line is read. */
    if (differ && !survey->module_is_builtin)
        judge_add(judge, "modprobe.d", CHECK_WARN, conflict_why,
                  g_strdup("keep one of these lines, and remove the others"),
                  g_string_free(g_steal_pointer(&list), FALSE));
}

/* All of it -------------------------------------------------------------------------------------------------- */

/**
 * Judges a host.
 * Returns: Check in the order in which one leads to the next, to be freed with g_ptr_array_unref().
 */
GPtrArray *host_checks_run(const HostSurvey *survey, const HostLibvirt *libvirt)
{
    GPtrArray *checks = checks_new();
    Judge judge = {.survey = survey, .libvirt = libvirt, .checks = checks};

    check_cpu(&judge);
    check_module(&judge);
    judge_device(&judge);
    check_nested(&judge);
    check_nested_at_boot(&judge);
    check_modprobe_d(&judge);
    judge_extensions(&judge);
    judge_surroundings(&judge);
    return checks;
}
