/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/configuration.h"

#include "daemon/log.h"
#include "lib/hook.h"
#include "lib/kernel.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

/* A burst of looks asks /proc and /sys once. */
#define HOST_FACTS_AGE_S 2
/* Policies that a message about new ones names. */
#define CHANGES_TOLD 10

static void configuration_publish_context(Configuration *self)
{
    if (self->context != NULL)
        g_atomic_int_set(&self->context->superseded, 1);
    look_context_unref(self->context);
    self->context = look_context_new(&(LookContext){
        .policies = self->policies,
        .host = self->host,
        .libvirt_version = self->libvirt_version,
        .kill_switch = self->kill_switch,
        .root = self->root,
        .copies = self->copies,
        .copies_keep = self->settings.definition_copies,
    });
}

static void read_kernel(Configuration *self)
{
    g_autofree char *release_path = g_build_filename(self->root, "proc/sys/kernel/osrelease", NULL);
    g_autofree char *version_path = g_build_filename(self->root, "proc/sys/kernel/version", NULL);
    g_autofree char *release = NULL, *version = NULL;

    if (!g_file_get_contents(release_path, &release, NULL, NULL))
        return;
    self->linux_version = kernel_version_number(release);
    self->kernel_holds_vm =
        g_file_get_contents(version_path, &version, NULL, NULL) && kernel_holds_vm_for_stats(release, version);
}

static void judge_platform(Configuration *self)
{
    struct utsname name;

    self->platform = platform_judge(self->host.vendor, uname(&name) == 0 ? name.machine : "", self->linux_version,
                                    self->qemu_version);
}

/**
 * @root: "/", or where everything is looked for in its place
 * Returns: the defaults, with no policy, and nothing to be written; to be freed with configuration_free().
 */
Configuration *configuration_new(const char *root)
{
    Configuration *self = g_new0(Configuration, 1);

    self->root = g_strdup(root);
    self->kill_switch = settings_kill_switch(root);
    self->incoming = g_build_filename(root, VIRTNEST_RUNDIR, HOOK_INCOMING, NULL);
    g_autofree char *folder = g_build_filename(root, VIRTNEST_STATEDIR, "definitions", NULL);
    self->copies = copies_new(folder);
    self->errors = g_ptr_array_new_with_free_func(g_free);
    self->settings = settings_default();
    read_kernel(self);
    /* Until a valid configuration was read nobody knows what the admin wants written. */
    self->settings.mode = SETTINGS_MODE_OBSERVE;
    configuration_publish_context(self);
    return self;
}

Configuration *configuration_free(Configuration *self)
{
    if (self == NULL)
        return NULL;
    look_context_unref(self->context);
    policy_set_unref(self->policies);
    g_ptr_array_unref(self->errors);
    g_free(self->root);
    g_free(self->kill_switch);
    g_free(self->incoming);
    copies_free(self->copies);
    g_free(self);
    return NULL;
}

static bool same_errors(const GPtrArray *a, const GPtrArray *b)
{
    for (guint i = 0; i < a->len && i < b->len; i++)
        if (strcmp(a->pdata[i], b->pdata[i]) != 0)
            return false;
    return a->len == b->len;
}

static bool same_host(const HostFacts *a, const HostFacts *b)
{
    return a->is_x86 == b->is_x86 && a->vendor == b->vendor && a->has_feature == b->has_feature &&
           a->module_loaded == b->module_loaded && a->nested == b->nested;
}

/* Reads /proc and /sys again. Returns: whether something is other than before. */
static bool read_host(Configuration *self)
{
    HostFacts before = self->host;

    self->host = host_facts_read(self->root);
    self->host_read_at = g_get_monotonic_time();
    judge_platform(self);
    return !same_host(&before, &self->host);
}

/*
 * What a valid configuration changes, for a human.
 * @names: gets the policies that it is about
 * Returns: "" if nothing, or if it is the first one.
 */
static char *describe_changes(const Configuration *self, const Settings *settings, const PolicySet *policies,
                              GPtrArray *names)
{
    if (self->policies == NULL)
        return g_strdup("");
    g_autoptr(GPtrArray) texts = policy_set_compare(self->policies, policies, names);
    guint more = texts->len > CHANGES_TOLD ? texts->len - CHANGES_TOLD : 0;

    g_ptr_array_set_size(texts, (gint)(texts->len - more));
    g_ptr_array_set_size(names, (gint)texts->len);
    if (more > 0)
        g_ptr_array_add(texts, g_strdup_printf("%u more policies are new, changed or gone", more));
    if (!settings_equal(settings, &self->settings))
        g_ptr_array_add(texts, g_strdup("settings of virtnest.conf are changed"));
    g_ptr_array_add(texts, NULL);
    return g_strjoinv("; ", (char **)texts->pdata);
}

/*
 * @news: what is in force now and was not before
 * @names: the policies that it is about, with NULL at the end
 */
static void log_outcome(const Configuration *self, const GPtrArray *warnings, const GPtrArray *errors, const char *news,
                        const GPtrArray *names)
{
    for (guint i = 0; i < warnings->len; i++)
        log_write(G_LOG_LEVEL_WARNING, (LogSubject){0}, "%s; it is ignored", (const char *)warnings->pdata[i]);
    for (guint i = 0; i < errors->len; i++) {
        g_autofree char *policy = policy_name_of_error(errors->pdata[i]);
        log_write(G_LOG_LEVEL_WARNING, (LogSubject){.message_id = MESSAGE_CONFIGURATION_REJECTED, .policy = policy},
                  "configuration rejected, %s: %s",
                  self->policies != NULL ? "the one before stays in force" : "nothing is rewritten until it is valid",
                  (const char *)errors->pdata[i]);
    }
    if (errors->len == 0 && (self->errors->len > 0 || *news != '\0'))
        log_write(
            G_LOG_LEVEL_MESSAGE,
            (LogSubject){.message_id = MESSAGE_CONFIGURATION_LOADED, .policies = (const char *const *)names->pdata},
            "configuration %s%s%s", self->errors->len > 0 ? "is valid again" : "is loaded anew",
            *news != '\0' ? ": " : "", news);
}

/* Takes over what was read. */
static ConfigurationChanges configuration_swap(Configuration *self, const Settings *settings, PolicySet *policies)
{
    ConfigurationChanges changes = 0;

    if (settings->mode != self->settings.mode)
        changes |= CONFIGURATION_MODE_CHANGED;
    if (settings->scope_all != self->settings.scope_all)
        changes |= CONFIGURATION_SCOPE_CHANGED;
    if (settings->rewrites_per_minute != self->settings.rewrites_per_minute)
        changes |= CONFIGURATION_LIMIT_CHANGED;
    self->settings = *settings;
    policy_set_unref(self->policies);
    self->policies = policies;
    self->generation++;
    return changes;
}

/* The folder is for anybody's eyes, whatever the umask: a libvirtd of a user runs the hook too. */
static bool make_incoming(const char *folder, const char *all, GError **error)
{
    struct stat status;

    /* What is watched is not touched without need: that would lead here again. */
    if (g_mkdir_with_parents(folder, 0755) == 0 && stat(folder, &status) == 0 &&
        ((status.st_mode & 0777) == 0755 || chmod(folder, 0755) == 0))
        return g_file_set_contents_full(all, "", 0, G_FILE_SET_CONTENTS_CONSISTENT, 0644, error);
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", folder, g_strerror(errno));
    return false;
}

/*
 * Tells virtnest-hook, which reads no configuration, whether it may refuse anybody. While there was no valid configuration,
 * what an earlier virtnestd has told it stays.
 */
static void tell_hook(const Configuration *self)
{
    g_autofree char *all = g_build_filename(self->incoming, HOOK_INCOMING_ALL, NULL);
    g_autoptr(GError) error = NULL;
    bool allow = self->settings.incoming_allow || self->settings.mode == SETTINGS_MODE_OBSERVE;

    if (self->policies == NULL || allow == (access(all, F_OK) == 0))
        return;
    if (allow && !make_incoming(self->incoming, all, &error))
        log_write(G_LOG_LEVEL_WARNING, (LogSubject){0}, "virtnest-hook goes on refusing guests: %s", error->message);
    if (!allow && unlink(all) != 0)
        log_write(G_LOG_LEVEL_WARNING, (LogSubject){0}, "virtnest-hook goes on refusing nobody: %s: %s", all,
                  g_strerror(errno));
}

/**
 * Reads everything anew. It is taken over if all of it is valid; otherwise what was in force before stays, and the
 * errors tell why.
 */
ConfigurationChanges configuration_load(Configuration *self)
{
    g_autoptr(GPtrArray) errors = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(PolicySet) policies = policy_set_load(self->root, errors);
    g_autoptr(GError) error = NULL;
    ConfigurationChanges changes = 0;
    guint policy_errors = errors->len;
    Settings settings;

    if (!settings_load(self->root, &settings, warnings, &error))
        g_ptr_array_add(errors, g_strdup(error->message));
    /* File names are any bytes; what goes onto D-Bus must be UTF-8. */
    for (guint i = 0; i < errors->len; i++) {
        char *text = errors->pdata[i];
        errors->pdata[i] = g_utf8_make_valid(text, -1);
        g_free(text);
    }
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *news = errors->len == 0 ? describe_changes(self, &settings, policies, names) : g_strdup("");
    g_ptr_array_add(names, NULL);
    if (errors->len == 0)
        changes |= configuration_swap(self, &settings, g_steal_pointer(&policies));
    else
        self->rejections++;
    tell_hook(self);
    log_outcome(self, warnings, errors, news, names);
    if (!same_errors(errors, self->errors))
        changes |= CONFIGURATION_ERRORS_CHANGED;
    g_ptr_array_unref(self->errors);
    self->errors = g_steal_pointer(&errors);
    self->policy_errors = policy_errors;

    bool disabled = access(self->kill_switch, F_OK) == 0;
    if (disabled != self->writes_disabled)
        changes |= CONFIGURATION_KILL_SWITCH_CHANGED;
    self->writes_disabled = disabled;
    if (read_host(self))
        changes |= CONFIGURATION_HOST_CHANGED;
    configuration_publish_context(self);
    return changes;
}

/** Reads /proc and /sys again. Returns: whether something is other than before. */
bool configuration_look_at_host(Configuration *self)
{
    if (!read_host(self))
        return false;
    configuration_publish_context(self);
    return true;
}

/** The same, if that was not just done. */
bool configuration_refresh_host(Configuration *self)
{
    return g_get_monotonic_time() - self->host_read_at >= HOST_FACTS_AGE_S * G_USEC_PER_SEC &&
           configuration_look_at_host(self);
}

/** Tells which libvirt it is that definitions are written for, and which QEMU it starts. 0: not known. */
void configuration_set_libvirt_version(Configuration *self, unsigned long version, unsigned long qemu_version)
{
    self->libvirt_version = version;
    self->qemu_version = qemu_version;
    judge_platform(self);
    configuration_publish_context(self);
}

/** May descriptors be borrowed from QEMU? */
bool configuration_stats_fd(const Configuration *self)
{
    return self->settings.stats_fd == SETTINGS_STATS_FD_YES ||
           (self->settings.stats_fd == SETTINGS_STATS_FD_AUTO && self->kernel_holds_vm);
}

/** Returns: why no definition may be written now, to be freed with g_free(), or NULL. */
char *configuration_hold_reason(const Configuration *self)
{
    if (self->writes_disabled)
        return g_strdup_printf("%s exists; remove it to let virtnest write", self->kill_switch);
    if (self->settings.mode != SETTINGS_MODE_ENFORCE)
        return g_strdup_printf("%s", self->policies == NULL
                                         ? "there is no valid configuration yet; see ConfigurationErrors"
                                     : self->settings.mode == SETTINGS_MODE_GUARD ? "Mode=guard in virtnest.conf"
                                                                                  : "Mode=observe in virtnest.conf");
    return NULL;
}
