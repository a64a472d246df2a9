/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is written to make a host ready for nesting, and whether that would have an effect. */

#include "lib/host-setup.h"

#include "lib/error.h"
#include <string.h>

#define HEADER "# Written by virtnestctl host, which replaces it as a whole."

/** Is that a file which virtnest wrote? */
bool host_setup_is_ours(const char *text)
{
    return g_str_has_prefix(text, HEADER "\n");
}

static void add_option(GString *text, const char *module, const char *name, SettingsWish wish)
{
    if (wish != SETTINGS_KEEP)
        g_string_append_printf(text, "options %s %s=%d\n", module, name, wish == SETTINGS_YES);
}

/* Intel's alone: a fleet's configuration may name it for hosts of both kinds. */
static bool has_shadow_vmcs(const HostSurvey *survey)
{
    return g_strcmp0(survey->module, "kvm_intel") == 0;
}

/* May this CPU have it? Linux tells since 5.7; the module switches it off where it has not. */
static bool can_shadow_vmcs(const HostSurvey *survey)
{
    return has_shadow_vmcs(survey) && (survey->vmx_flags == NULL || host_survey_has_vmx_flag(survey, "shadow_vmcs"));
}

/**
 * @survey: of a host for which host_setup_check() was true
 * Returns: what is to be in HOST_SETUP_FILE, to be freed with g_free().
 */
char *host_setup_text(const HostSurvey *survey, const HostSetup *setup)
{
    GString *text =
        g_string_new(HEADER "\n# Change it with `virtnestctl host enable` and `virtnestctl host disable`, or "
                            "[Host] in virtnest.conf.\n");

    add_option(text, survey->module, "nested", setup->nested);
    if (has_shadow_vmcs(survey))
        add_option(text, survey->module, "enable_shadow_vmcs", setup->shadow_vmcs);
    if (survey->facts.is_x86 && setup->ignore_msrs != SETTINGS_KEEP) {
        add_option(text, "kvm", "ignore_msrs", setup->ignore_msrs);
        /* A guest that asks for many of them fills the log. */
        if (setup->ignore_msrs == SETTINGS_YES)
            g_string_append(text, "options kvm report_ignored_msrs=0\n");
    }
    return g_string_free(text, FALSE);
}

static bool refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool refuse(GError **error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (error != NULL)
        *error = g_error_new_valist(VIRTNEST_ERROR, VIRTNEST_ERROR_UNSUPPORTED, format, arguments);
    va_end(arguments);
    return false;
}

/* Would a line of ours have the last word? Other people's files and the command line are never edited. */
static bool check_option(const HostSurvey *survey, const char *module, const char *name, SettingsWish wish,
                         GPtrArray *notes, GError **error)
{
    g_autoptr(GPtrArray) options = modprobe_config_options(survey->modprobe, module, name);
    g_autofree char *own = g_path_get_basename(HOST_SETUP_FILE);

    for (guint i = 0; wish != SETTINGS_KEEP && i < options->len; i++) {
        const ModprobeEntry *entry = options->pdata[i];
        g_autofree char *base = g_path_get_basename(entry->path);
        g_autofree char *place = modprobe_entry_place(entry), *text = modprobe_entry_text(entry);
        bool same = host_nested_parse(entry->value) == (wish == SETTINGS_YES ? HOST_NESTED_YES : HOST_NESTED_NO);
        int order = entry->is_command_line ? 1 : strcmp(base, own);
        if (same || order == 0)
            continue;
        if (order > 0)
            return refuse(error, "%s has \"%s\", which would win over %s; remove it, and try again", place, text,
                          HOST_SETUP_FILE);
        g_ptr_array_add(notes, g_strdup_printf("%s has \"%s\", which %s overrules", place, text, HOST_SETUP_FILE));
    }
    return true;
}

/**
 * Tells whether a host can be set up so, by a file of modprobe's.
 * @notes: gets texts that are good to know
 * Returns: false with VIRTNEST_ERROR_UNSUPPORTED and the way out.
 */
bool host_setup_check(const HostSurvey *survey, const HostSetup *setup, GPtrArray *notes, GError **error)
{
    if (survey->container != NULL)
        return refuse(error, "this is a container%s%s, and kernel modules are its host's: do it there",
                      *survey->container != '\0' ? " of " : "", survey->container);
    if (strcmp(survey->arch, "aarch64") == 0)
        return refuse(error, "on aarch64 KVM is part of the kernel: add kvm-arm.mode=nested to its command line");
    if (survey->module == NULL)
        return refuse(error, "virtnest knows no nesting for this host's processor (%s)",
                      *survey->cpu_name != '\0' ? survey->cpu_name
                      : *survey->arch != '\0'   ? survey->arch
                                                : "unknown");
    if (survey->module_is_builtin)
        return refuse(error,
                      "%s is built into the kernel, which /etc/modprobe.d does not reach: add %s.nested=%d to the "
                      "kernel's command line",
                      survey->module, survey->module, setup->nested == SETTINGS_YES);
    if (setup->nested != SETTINGS_KEEP && survey->module_loaded && survey->nested_value == NULL)
        return refuse(error,
                      "%s has no parameter nested that can be read: this kernel cannot nest, or only root may see",
                      survey->module);
    if (setup->shadow_vmcs != SETTINGS_KEEP && !has_shadow_vmcs(survey))
        g_ptr_array_add(notes, g_strdup("VMCS shadowing is Intel's, and there is none here"));
    else if (setup->shadow_vmcs == SETTINGS_YES && !can_shadow_vmcs(survey))
        g_ptr_array_add(notes, g_strdup("this CPU has no VMCS shadowing: that is left off"));
    return check_option(survey, survey->module, "nested", setup->nested, notes, error) &&
           (!has_shadow_vmcs(survey) ||
            check_option(survey, survey->module, "enable_shadow_vmcs", setup->shadow_vmcs, notes, error)) &&
           (!survey->facts.is_x86 || check_option(survey, "kvm", "ignore_msrs", setup->ignore_msrs, notes, error));
}

static bool has_value(const HostSurvey *survey, const char *module, const char *name, SettingsWish wish)
{
    g_autofree char *value = wish != SETTINGS_KEEP ? host_survey_parameter(survey, module, name) : NULL;

    /* What the module has not cannot be set, and loading it again changes nothing. */
    return value == NULL || host_nested_parse(value) == (wish == SETTINGS_YES ? HOST_NESTED_YES : HOST_NESTED_NO);
}

/** Is the loaded module as it should be, so that it need not be loaded again? What kvm itself has can be written to it. */
bool host_setup_is_in_force(const HostSurvey *survey, const HostSetup *setup)
{
    return survey->module_loaded && has_value(survey, survey->module, "nested", setup->nested) &&
           (!can_shadow_vmcs(survey) || has_value(survey, survey->module, "enable_shadow_vmcs", setup->shadow_vmcs));
}
