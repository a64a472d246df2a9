/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl host enable, disable and apply: one file of modprobe's, and the module loaded again if it may be. */

#include "ctl/client.h"
#include "ctl/host.h"
#include "ctl/libvirt.h"
#include "ctl/module.h"
#include "ctl/table.h"
#include "lib/host-setup.h"
#include "lib/kvm-users.h"
#include <errno.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <libvirt/virterror.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static gboolean arg_shadow_vmcs, arg_ignore_msrs, arg_now, arg_at_boot;

/* libvirt starts QEMU to see what it can do, for a moment or, on an emulated host, some seconds; also when the module has just
 * changed. */
#define PROBES_END_USEC (15 * G_USEC_PER_SEC)
/* The kernel counts one that has just ended for a moment more, when root does not see it any longer. */
#define UNSEEN_END_USEC (10 * G_USEC_PER_SEC)
/* What QEMU has told it, libvirt keeps together with what the module says a moment later about nesting (virQEMUCapsInitQMP() of
 * src/qemu/qemu_capabilities.c), and believes it for as long as that is the same: a module that is loaded again in between has
 * it believe the wrong answer for good, even over its own restart. */
#define PROBES_SETTLE_USEC (2 * G_USEC_PER_SEC)
/* Probes that may begin between the last look at users and modprobe -r. */
#define UNLOAD_ATTEMPTS 3
#define PROBES_LOOK_USEC (200 * 1000)

/* What is changed, and what there was. */
typedef struct Change {
    HostSetup setup;
    const char *uri; /* the libvirt to ask for running domains; "": none */
    HostSurvey *survey;
    char *path;
    char *before;           /* what was in the file; NULL: there was none */
    char *text;             /* what is to be in it */
    char **options;         /* that the loaded module has now, of those that virtnest sets */
    GHashTable *parameters; /* all that it has, and kvm */
} Change;

static void change_clear(Change *change)
{
    change->survey = host_survey_free(change->survey);
    g_free(change->path);
    g_free(change->before);
    g_free(change->text);
    g_strfreev(change->options);
    g_clear_pointer(&change->parameters, g_hash_table_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Change, change_clear)

/* The file ------------------------------------------------------------------------------------------------------- */

/* A file of that name which somebody else wrote, or a link with which it is masked, stays as it is. */
static bool read_before(Change *change, GError **error)
{
    struct stat status;

    if (g_lstat(change->path, &status) != 0)
        return true;
    if (!S_ISREG(status.st_mode)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                    "%s is no plain file, and virtnest did not make it; remove it first", change->path);
        return false;
    }
    if (!g_file_get_contents(change->path, &change->before, NULL, error))
        return false;
    if (host_setup_is_ours(change->before))
        return true;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                "%s is there, and virtnest did not write it; move what it says to another file first", change->path);
    return false;
}

/*
 * Swapped in whole once it is on the disk: whatever fails, the old one stays. It is for everybody to read, whatever the umask:
 * who is not root may ask as well what the host will be at its next boot.
 */
static bool write_file(const char *path, const char *text, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);

    if (g_mkdir_with_parents(folder, 0755) != 0) {
        g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno), "cannot make %s: %m", folder);
        return false;
    }
    if (!g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0644,
                                  error))
        return false;
    (void)g_chmod(path, 0644);
    return true;
}

/* Puts back what was in the file. Returns: why it is not, to be freed with g_free(), or NULL. */
static char *restore_file(const Change *change)
{
    g_autoptr(GError) error = NULL;

    if (change->before == NULL) {
        if (g_unlink(change->path) != 0)
            g_set_error_literal(&error, G_IO_ERROR, G_IO_ERROR_FAILED, g_strerror(errno));
    } else {
        (void)write_file(change->path, change->before, &error);
    }
    return error == NULL
               ? NULL
               : g_strdup_printf("%s is another one now, and cannot be put back: %s", change->path, error->message);
}

/* Who uses it ---------------------------------------------------------------------------------------------------- */

/* One that is starting is active, although its QEMU may not have opened the device yet. Emulated ones have no need of it. */
static void add_domains(const char *uri, GPtrArray *users)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VirConnect) connection = libvirt_peek(uri, &error);
    virDomain **domains = NULL;
    int n = connection != NULL ? virConnectListAllDomains(connection, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE) : -1;

    if (n < 0)
        (void)fprintf(stderr, "libvirt cannot be asked for its running domains: %s\n",
                      error != NULL ? error->message : virGetLastErrorMessage());
    for (int i = 0; i < n; i++) {
        g_autoptr(VirDomain) domain = domains[i];
        g_autoptr(mallocString) xml = virDomainGetXMLDesc(domain, 0);
        g_autofree char *user = g_strdup_printf("domain %s", virDomainGetName(domain));
        if ((xml == NULL || !g_str_has_prefix(xml, "<domain type='qemu'")) &&
            !g_ptr_array_find_with_equal_func(users, user, g_str_equal, NULL))
            g_ptr_array_add(users, g_steal_pointer(&user));
    }
    free(domains);
}

/* Are these programs alone, which are no guests? */
static bool are_programs(const GPtrArray *users)
{
    for (guint i = 0; i < users->len; i++)
        if (g_str_has_prefix(users->pdata[i], "domain ") || g_str_has_prefix(users->pdata[i], "module "))
            return false;
    return true;
}

/*
 * Returns: why the module cannot be loaded again now, to be freed with g_free(), or NULL.
 * @ret_patience: set to how long, in microseconds, that may take to pass by itself; 0: it will not
 */
static char *find_users(const Change *change, gint64 *ret_patience)
{
    g_autoptr(HostSurvey) survey = host_survey_read(verbs_root);
    g_autoptr(GPtrArray) users = NULL;
    g_autoptr(GString) text = NULL;

    *ret_patience = 0;
    if (!change->survey->module_loaded)
        return NULL;
    if (survey->users < 0)
        return g_strdup("this kernel does not tell who uses its modules, and may not unload any");
    users = kvm_users_find(verbs_root, change->survey->module);
    if (*change->uri != '\0')
        add_domains(change->uri, users);
    if (users->len == 0 && survey->users == 0)
        return NULL;
    if (users->len == 0)
        *ret_patience = geteuid() == 0 ? UNSEEN_END_USEC : 0;
    else if (are_programs(users))
        *ret_patience = PROBES_END_USEC;
    text = g_string_new(NULL);
    for (guint i = 0; i < users->len; i++) {
        g_autofree char *user = table_printable(users->pdata[i]);
        g_string_append_printf(text, "%s%s", i > 0 ? ", " : "", user);
    }
    return g_strdup_printf("%s is in use%s%s", change->survey->module, users->len > 0 ? ": " : "",
                           users->len > 0   ? text->str
                           : geteuid() == 0 ? " by somebody who is not to be seen here"
                                            : " by somebody whom only root may see");
}

/* For how long somebody has waited for users to go. */
typedef struct Patience {
    gint64 began, longest; /* monotonic; in microseconds */
} Patience;

/* @patience: of the users that are there now. Returns: false if they are there to stay; otherwise after a moment. */
static bool wait_for_users(Patience *self, gint64 patience)
{
    /* One that is seen no more may be counted for a moment. */
    self->longest = MAX(self->longest, patience);
    if (patience == 0 || g_get_monotonic_time() - self->began >= self->longest)
        return false;
    g_usleep(PROBES_LOOK_USEC);
    return true;
}

/* The same, once those are gone that are only passing, and libvirt has made up its mind about what it was told. */
static char *find_lasting_users(const Change *change)
{
    Patience waited = {.began = g_get_monotonic_time()};
    /* Not yet there at boot, where this runs before libvirt. */
    g_autofree char *libvirt = g_build_filename(verbs_root, "run/libvirt", NULL);
    bool may_probe = change->survey->module_loaded && g_file_test(libvirt, G_FILE_TEST_IS_DIR);
    gint64 settle = may_probe ? PROBES_SETTLE_USEC : 0;
    gint64 patience = 0, quiet_since = 0;

    for (;;) {
        g_autofree char *users = find_users(change, &patience);
        gint64 now = g_get_monotonic_time();
        if (users != NULL) {
            quiet_since = 0;
            if (!wait_for_users(&waited, patience))
                return g_steal_pointer(&users);
            continue;
        }
        quiet_since = quiet_since == 0 ? now : quiet_since;
        if (now - quiet_since >= settle)
            return NULL;
        g_usleep(PROBES_LOOK_USEC);
    }
}

/* Loading again -------------------------------------------------------------------------------------------------- */

/*
 * From here on no signal and no connection that is lost ends this between unloading and loading, which would leave the host
 * without its module. modprobe inherits that. What came meanwhile counts once this is undone.
 */
static void hold_signals(sigset_t *ret_before)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM};
    sigset_t set;

    (void)sigemptyset(&set);
    for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++)
        (void)sigaddset(&set, numbers[i]);
    (void)sigprocmask(SIG_BLOCK, &set, ret_before);
}

/* Returns: what the module and kvm, which goes with it where nobody else uses it, have: "MODULE.NAME" -> value, both owned. */
static GHashTable *read_parameters(const HostSurvey *survey)
{
    const char *const modules[] = {"kvm", survey->module};
    GHashTable *parameters = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

    for (gsize i = 0; i < G_N_ELEMENTS(modules); i++) {
        g_autofree char *path = g_build_filename(verbs_root, "sys/module", modules[i], "parameters", NULL);
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;
        while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
            char *value = host_survey_parameter(survey, modules[i], name);
            if (value != NULL)
                g_hash_table_insert(parameters, g_strdup_printf("%s.%s", modules[i], name), value);
        }
    }
    return parameters;
}

static bool is_asked_for(const Change *change, const char *parameter)
{
    return (change->setup.nested != SETTINGS_KEEP && g_str_has_suffix(parameter, ".nested")) ||
           (change->setup.shadow_vmcs != SETTINGS_KEEP && g_str_has_suffix(parameter, ".enable_shadow_vmcs")) ||
           (change->setup.ignore_msrs != SETTINGS_KEEP && g_str_has_suffix(parameter, "ignore_msrs")) ||
           (change->setup.ignore_msrs != SETTINGS_KEEP && g_str_has_suffix(parameter, "report_ignored_msrs"));
}

/* One kernel shows N where another has 0. */
static bool is_same_value(const char *a, const char *b)
{
    HostNested one = host_nested_parse(a), other = host_nested_parse(b);

    return strcmp(a, b) == 0 || (one == other && one != HOST_NESTED_ABSENT);
}

/* What somebody has written to /sys, or given to modprobe, goes with the module. @all: also what was asked for */
static void tell_lost_parameters(const Change *change, bool all)
{
    g_autoptr(HostSurvey) survey = host_survey_read(verbs_root);
    g_autoptr(GHashTable) now = read_parameters(survey);
    g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(change->parameters), (GCompareFunc)strcmp);

    for (GList *l = names; l != NULL; l = l->next) {
        const char *was = g_hash_table_lookup(change->parameters, l->data), *is = g_hash_table_lookup(now, l->data);
        if ((all || !is_asked_for(change, l->data)) && is != NULL && !is_same_value(was, is))
            (void)fprintf(
                stderr,
                "%s was %s, and is %s now that it was loaded again: set that once more, and in /etc/modprobe.d\n",
                (const char *)l->data, was, is);
    }
}

/* Puts the file back, and the module as it was. @loaded: it is in the kernel now. Returns: how that went. */
static char *put_back(const Change *change, bool loaded)
{
    const HostSurvey *survey = change->survey;
    g_autofree char *file = restore_file(change);
    g_autoptr(GError) error = NULL;

    if (!survey->module_loaded && !loaded)
        return file != NULL ? g_steal_pointer(&file) : g_strdup("nothing was changed");
    if (loaded && module_unload(verbs_root, survey->module, &error))
        loaded = false;
    if (error != NULL || (survey->module_loaded &&
                          !module_load(verbs_root, survey->module, (const char *const *)change->options, &error)))
        return g_strdup_printf("and it could not be put back either: %s; now %s is %s, see to it by hand%s%s",
                               error->message, survey->module, loaded ? "loaded with other parameters" : "not loaded",
                               file != NULL ? "; " : "", file != NULL ? file : "");
    tell_lost_parameters(change, true);
    return g_strdup_printf("%s is as it was before%s%s", survey->module, file != NULL ? "; " : "",
                           file != NULL ? file : "");
}

static bool fail_back(const Change *change, bool loaded, const char *what, GError **error)
{
    g_autofree char *outcome = put_back(change, loaded);

    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s; %s", what, outcome);
    return false;
}

/* The parameters of kvm itself can be written at any time. That is an extra: what fails of it is told, and no more. */
static void set_msrs(const Change *change)
{
    static const char *const names[] = {"ignore_msrs", "report_ignored_msrs"};
    bool on = change->setup.ignore_msrs == SETTINGS_YES;

    for (gsize i = 0; i < G_N_ELEMENTS(names) && change->setup.ignore_msrs != SETTINGS_KEEP; i++) {
        g_autofree char *path = g_build_filename(verbs_root, "sys/module/kvm/parameters", names[i], NULL);
        if ((!on && i > 0) || !g_file_test(path, G_FILE_TEST_EXISTS))
            continue;
        FILE *file = fopen(path, "we");
        bool good = file != NULL && fputs(on && i == 0 ? "Y\n" : "N\n", file) >= 0;
        if ((file != NULL && fclose(file) != 0) || !good)
            (void)fprintf(stderr, "cannot write %s: %m; it is so from the next boot on\n", path);
    }
}

/* modprobe -r is the judge of whether the module can go. A probe that has begun since the users were looked for is waited for. */
static bool unload(const Change *change, GError **error)
{
    for (guint attempt = 1;; attempt++) {
        g_autoptr(GError) cause = NULL;
        if (module_unload(verbs_root, change->survey->module, &cause))
            return true;
        g_autofree char *users = attempt < UNLOAD_ATTEMPTS ? find_lasting_users(change) : NULL;
        if (users != NULL || attempt == UNLOAD_ATTEMPTS) {
            g_propagate_error(error, g_steal_pointer(&cause));
            return false;
        }
    }
}

/* The file is in place. @ret_later: set to whether it is the next boot that brings it, which only @or_at_boot lets be */
static bool load_again(const Change *change, bool or_at_boot, bool *ret_later, GError **error)
{
    const HostSurvey *survey = change->survey;
    g_autoptr(GError) cause = NULL;

    *ret_later = false;
    if (survey->module_loaded && !unload(change, &cause)) {
        if (or_at_boot) {
            *ret_later = true;
            printf("%s: it takes a reboot.\n", cause->message);
            return true;
        }
        g_autofree char *file = restore_file(change);
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                    "%s; %s. Somebody uses it: shut the guests down, or use --at-boot and reboot", cause->message,
                    file != NULL ? file : "nothing was changed");
        return false;
    }
    if (!module_load(verbs_root, survey->module, NULL, &cause))
        return fail_back(change, false, cause->message, error);
    g_autoptr(HostSurvey) after = host_survey_read(verbs_root);
    /* Not every CPU has shadowing, which is no reason to have no nesting. */
    const HostSetup vital = {
        .nested = change->setup.nested, .shadow_vmcs = SETTINGS_KEEP, .ignore_msrs = SETTINGS_KEEP};
    if (host_setup_is_in_force(after, &vital)) {
        if (!host_setup_is_in_force(after, &change->setup))
            (void)fprintf(stderr, "%s leaves VMCS shadowing as it is: this CPU may have none\n", survey->module);
        tell_lost_parameters(change, false);
        return true;
    }
    g_autofree char *what = g_strdup_printf("%s was loaded again, and has nested=%s all the same", survey->module,
                                            after->nested_value != NULL ? after->nested_value : "unset");
    return fail_back(change, true, what, error);
}

/* Read while it is loaded, as they go with it. Returns: to be freed with g_strfreev(). */
static char **loaded_options(const HostSurvey *survey)
{
    static const char *const names[] = {"nested", "enable_shadow_vmcs"};
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    for (gsize i = 0; i < G_N_ELEMENTS(names) && survey->module_loaded; i++) {
        g_autofree char *value = host_survey_parameter(survey, survey->module, names[i]);
        g_autofree char *option = value != NULL ? g_strdup_printf("%s=%s", names[i], value) : NULL;
        if (option != NULL)
            g_strv_builder_add(builder, option);
    }
    return g_strv_builder_end(builder);
}

/* Commands ------------------------------------------------------------------------------------------------------- */

static bool change_prepare(Change *change, GError **error)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);

    change->path = g_build_filename(verbs_root, HOST_SETUP_FILE, NULL);
    if (!host_setup_check(change->survey, &change->setup, notes, error) || !read_before(change, error))
        return false;
    for (guint i = 0; i < notes->len; i++)
        (void)fprintf(stderr, "%s\n", (const char *)notes->pdata[i]);
    change->text = host_setup_text(change->survey, &change->setup);
    change->options = loaded_options(change->survey);
    change->parameters = read_parameters(change->survey);
    return true;
}

static bool change_is_due(const Change *change)
{
    return g_strcmp0(change->before, change->text) != 0;
}

static bool change_write(const Change *change, GError **error)
{
    g_autoptr(GError) cause = NULL;

    if (!change_is_due(change) || write_file(change->path, change->text, &cause))
        return true;
    g_set_error(error, cause->domain, cause->code, "%s; nothing was changed%s", cause->message,
                g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_ACCES) ? ". Do it as root" : "");
    return false;
}

/* The kernel tells nobody of a module that is loaded again, and virtnestd looks by itself some times a minute. At boot it
 * comes later, and virtnest-host.service has no way to the bus. */
static void tell_virtnestd(void)
{
    g_autoptr(Client) client = client_probe(NULL);

    if (client != NULL)
        (void)client_sync(client);
}

/* @or_at_boot: what is in use is loaded with the next boot, and that is no failure */
static bool change_now(const Change *change, bool or_at_boot, GError **error)
{
    const HostSurvey *survey = change->survey;
    bool wanted = survey->module_loaded || change->setup.nested == SETTINGS_YES;
    bool due = wanted && !host_setup_is_in_force(survey, &change->setup);
    g_autofree char *users = due ? find_lasting_users(change) : NULL;

    if (users != NULL && !or_at_boot) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                    "%s; nothing was changed. Shut that down and try again, or use --at-boot and reboot", users);
        return false;
    }
    if (users != NULL) {
        if (!change_write(change, error))
            return false;
        printf("%s: it takes a reboot.\n", users);
        return true;
    }
    bool later = false;
    sigset_t before;
    hold_signals(&before);
    bool done = change_write(change, error) && (!due || load_again(change, or_at_boot, &later, error));
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    if (!done || later)
        return done;
    if (due)
        printf("%s is loaded %s.\n", survey->module, survey->module_loaded ? "again" : "now");
    set_msrs(change);
    if (due)
        tell_virtnestd();
    return true;
}

static bool change_at_boot(const Change *change, GError **error)
{
    if (!change_write(change, error))
        return false;
    if (change->survey->module_loaded && !host_setup_is_in_force(change->survey, &change->setup))
        printf("That counts from the next boot on; with --now %s is loaded again.\n", change->survey->module);
    return true;
}

/* No file counts there. Of kvm's own parameters, which can be written, the command line has to tell the next boot. */
static int accept_builtin(const Change *change, bool now)
{
    const char *module = change->survey->module;
    SettingsWish wish = change->setup.ignore_msrs;

    printf("%s is built into the kernel, and as it should be.\n", module);
    if (wish == SETTINGS_KEEP || !change->survey->facts.is_x86)
        return STATUS_DONE;
    if (now)
        set_msrs(change);
    printf("For the next boot have kvm.ignore_msrs=%d on the kernel's command line.\n", wish == SETTINGS_YES);
    return STATUS_DONE;
}

static int change_host(HostSetup setup, bool now, bool or_at_boot, const char *uri)
{
    g_auto(Change) change = {.setup = setup, .uri = uri};
    g_autoptr(GError) error = NULL;

    change.survey = host_survey_read(verbs_root);
    if (change.survey->module_is_builtin && host_setup_is_in_force(change.survey, &setup))
        return accept_builtin(&change, now);
    if (!change_prepare(&change, &error) ||
        !(now ? change_now(&change, or_at_boot, &error) : change_at_boot(&change, &error)))
        return verb_fail("%s", error->message);
    if (change_is_due(&change))
        printf("%s is written.\n", change.path);
    return STATUS_DONE;
}

#define WHEN_ENTRIES                                                                                      \
    {"now", 0, 0, G_OPTION_ARG_NONE, &arg_now, "Load the module again at once, if nobody uses it", NULL}, \
    {                                                                                                     \
        "at-boot", 0, 0, G_OPTION_ARG_NONE, &arg_at_boot, "Only from the next boot on; the default", NULL \
    }

static int change_by_hand(SettingsWish nested)
{
    if (arg_now && arg_at_boot) {
        (void)fprintf(stderr, "virtnestctl: --now and --at-boot do not go together\n");
        return STATUS_USAGE;
    }
    return change_host((HostSetup){.nested = nested,
                                   .shadow_vmcs = arg_shadow_vmcs ? SETTINGS_YES : SETTINGS_KEEP,
                                   .ignore_msrs = arg_ignore_msrs ? SETTINGS_YES : SETTINGS_KEEP},
                       arg_now, false, verbs_connect);
}

int verb_host_enable(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"shadow-vmcs", 0, 0, G_OPTION_ARG_NONE, &arg_shadow_vmcs, "Switch VMCS shadowing on as well (Intel)", NULL},
        {"ignore-msrs", 0, 0, G_OPTION_ARG_NONE, &arg_ignore_msrs,
         "Let guests ask for registers that KVM does not know, and do not log it", NULL},
        WHEN_ENTRIES,
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };

    if (!verb_parse(verb, options, 0, 0, &argc, &argv))
        return STATUS_USAGE;
    return change_by_hand(SETTINGS_YES);
}

int verb_host_disable(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {WHEN_ENTRIES, {NULL, 0, 0, 0, NULL, NULL, NULL}};

    if (!verb_parse(verb, options, 0, 0, &argc, &argv))
        return STATUS_USAGE;
    return change_by_hand(SETTINGS_NO);
}

/* libvirt is not asked: this runs before it at boot, where a call would start it and wait for ever. */
int verb_host_apply(const Verb *verb, int argc, char **argv)
{
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    Settings settings;

    if (!verb_parse(verb, NULL, 0, 0, &argc, &argv))
        return STATUS_USAGE;
    if (!settings_load(verbs_root, &settings, warnings, &error))
        return verb_fail("%s", error->message);
    if (settings.host_nested == SETTINGS_KEEP && settings.host_shadow_vmcs == SETTINGS_KEEP &&
        settings.host_ignore_msrs == SETTINGS_KEEP) {
        printf("[Host] in virtnest.conf wants nothing changed.\n");
        return STATUS_DONE;
    }
    return change_host((HostSetup){.nested = settings.host_nested,
                                   .shadow_vmcs = settings.host_shadow_vmcs,
                                   .ignore_msrs = settings.host_ignore_msrs},
                       true, true, "");
}
