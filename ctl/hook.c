/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl hook enable|disable|status|allow */

#include "lib/hook.h"
#include "ctl/client.h"
#include "ctl/json.h"
#include "ctl/verbs.h"
#include "lib/duration.h"
#include "lib/settings.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* What is larger is not virtnest-hook. */
#define PROGRAM_MAX (64 << 20)

static char *arg_json;
static char *arg_for;
static gboolean arg_reload;

/* What is there --------------------------------------------------------------------------------------------------- */

typedef enum {
    HOOK_ABSENT,
    HOOK_ENABLED,
    HOOK_OUTDATED, /* virtnest's, but not the one that is shipped, or nothing that libvirt would run */
    HOOK_FOREIGN,
} HookState;

static const struct {
    const char *name;
    const char *text;
    int status;
} states[] = {
    [HOOK_ABSENT] = {"absent", "not enabled", STATUS_HOOK_ABSENT},
    [HOOK_ENABLED] = {"enabled", "enabled", STATUS_DONE},
    [HOOK_OUTDATED] = {"outdated", "enabled, but not the one of this version", STATUS_HOOK_OUTDATED},
    [HOOK_FOREIGN] = {"foreign", "a hook that is not virtnest's is in its place", STATUS_HOOK_FOREIGN},
};

/* Where it is shipped, and where libvirt runs it. */
typedef struct Hook {
    char *shipped;
    char *folder; /* of all hooks */
    char *path;
    char *program; /* what is shipped, once it was read */
    gsize length;
} Hook;

static Hook *hook_new(void)
{
    Hook *hook = g_new0(Hook, 1);

    hook->shipped = g_build_filename(verbs_root, VIRTNEST_LIBEXECDIR, HOOK_PROGRAM, NULL);
    hook->folder = g_build_filename(verbs_root, VIRTNEST_LIBVIRTDIR, "hooks", NULL);
    hook->path = g_build_filename(hook->folder, "qemu.d", "virtnest", NULL);
    return hook;
}

static void hook_free(Hook *hook)
{
    g_free(hook->shipped);
    g_free(hook->folder);
    g_free(hook->path);
    g_free(hook->program);
    g_free(hook);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Hook, hook_free)

static bool set_errno(GError **error, const char *path)
{
    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", path, g_strerror(errno));
    return false;
}

static bool read_shipped(Hook *hook, GError **error)
{
    return hook->program != NULL || g_file_get_contents(hook->shipped, &hook->program, &hook->length, error);
}

/* Looks at what is in its place. Returns: false if that cannot be told. */
static bool look(Hook *hook, HookState *ret_state, GError **error)
{
    g_autofree char *program = NULL;
    struct stat status;
    gsize length = 0;

    if (lstat(hook->path, &status) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return set_errno(error, hook->path);
        *ret_state = HOOK_ABSENT;
        return true;
    }
    *ret_state = HOOK_FOREIGN;
    if (!S_ISREG(status.st_mode) || status.st_size > PROGRAM_MAX)
        return true;
    if (!g_file_get_contents(hook->path, &program, &length, error))
        return false;
    if (memmem(program, length, HOOK_MARKER, strlen(HOOK_MARKER)) == NULL)
        return true;
    /* If nothing is shipped any more, it is not that. */
    bool same = read_shipped(hook, NULL) && length == hook->length && memcmp(program, hook->program, length) == 0;
    *ret_state = same && (status.st_mode & 0111) == 0111 ? HOOK_ENABLED : HOOK_OUTDATED;
    return true;
}

static int fail_foreign(const Hook *hook)
{
    return verb_fail("%s is not virtnest's hook, and stays as it is; move it away, or give it another name",
                     hook->path);
}

/* Enable and disable ----------------------------------------------------------------------------------------------- */

static bool write_all(int fd, const char *data, gsize length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        data += n;
        length -= (gsize)n;
    }
    return true;
}

/* @temporary: a new file, to be taken for @path if all goes well */
static bool write_program(const Hook *hook, int fd, const char *temporary, GError **error)
{
    bool good = write_all(fd, hook->program, hook->length) && fchmod(fd, 0755) == 0 && fsync(fd) == 0;
    int saved = errno;

    /* A program that is open for writing cannot be run. */
    good = close(fd) == 0 && good;
    errno = saved;
    if (!good)
        return set_errno(error, temporary);
    return rename(temporary, hook->path) == 0 || set_errno(error, hook->path);
}

/*
 * Copies the program to where libvirt runs it.
 *
 * It is a copy: libvirt's AppArmor profiles let libvirtd and virtqemud run what is below /etc/libvirt/hooks
 * (src/security/apparmor/usr.sbin.libvirtd.in), and AppArmor looks at where a link leads. And a package that is removed
 * leaves no link that leads nowhere.
 *
 * It is written one folder further up, and then moved: libvirt runs whatever is executable in qemu.d, whatever its name,
 * and one that is half written would fail.
 */
static bool install(const Hook *hook, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(hook->path);
    g_autofree char *temporary = g_build_filename(hook->folder, ".virtnest.XXXXXX", NULL);
    int fd;

    if (g_mkdir_with_parents(folder, 0755) != 0)
        return set_errno(error, folder);
    fd = g_mkstemp_full(temporary, O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return set_errno(error, hook->folder);
    if (!write_program(hook, fd, temporary, error)) {
        (void)unlink(temporary);
        return false;
    }
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (!good)
        (void)set_errno(error, folder);
    if (fd >= 0)
        (void)close(fd);
    return good;
}

static bool is_executable(const char *path)
{
    return g_file_test(path, G_FILE_TEST_IS_REGULAR) && access(path, X_OK) == 0;
}

/*
 * Is there any hook that libvirt runs for QEMU's guests? It finds out when it is started and when it is reloaded
 * (virHookInitialize), and if there was none it looks no further. Once it knows of one it looks into the folder each time.
 */
static bool any_hook(const Hook *hook)
{
    g_autofree char *script = g_build_filename(hook->folder, "qemu", NULL), *folder = g_path_get_dirname(hook->path);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    bool found = is_executable(script);

    while (!found && dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        found = is_executable(path);
    }
    return found;
}

/* Returns: what systemctl exits with, or -1 after saying why it cannot be run */
static int systemctl(const char *verb, const char *option, const char *unit)
{
    const char *const argv[] = {"systemctl", verb, unit, option, NULL};
    g_autoptr(GError) error = NULL;
    int status = 0;

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, &error)) {
        (void)verb_fail("cannot run systemctl: %s", error->message);
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Of the unit's states, systemctl(1). */
#define UNIT_ACTIVE 0
#define UNIT_INACTIVE 3
#define UNIT_UNKNOWN 4

/* Makes libvirt look which hooks there are. Which daemon has QEMU's guests is the distribution's choice. */
static int reload_libvirt(void)
{
    static const char *const units[] = {"virtqemud.service", "libvirtd.service"};
    int n = 0;

    for (gsize i = 0; i < G_N_ELEMENTS(units); i++) {
        int active = systemctl("is-active", "--quiet", units[i]);
        if (active < 0)
            return STATUS_FAILED;
        if (active == UNIT_INACTIVE || active == UNIT_UNKNOWN)
            continue;
        if (active != UNIT_ACTIVE)
            return verb_fail("systemctl does not tell whether %s runs; reload libvirt by hand", units[i]);
        int status = systemctl("reload", NULL, units[i]);
        if (status != 0)
            return status < 0 ? STATUS_FAILED : verb_fail("%s was not reloaded", units[i]);
        printf("Reloaded %s.\n", units[i]);
        n++;
    }
    if (n == 0)
        printf("Neither %s nor %s runs; they look for hooks when they are started.\n", units[0], units[1]);
    return STATUS_DONE;
}

static int verb_enable(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"reload", 0, 0, G_OPTION_ARG_NONE, &arg_reload, "Reload libvirt, so that it knows that there is a hook", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autoptr(GError) error = NULL;
    HookState state = HOOK_ABSENT;

    if (!verb_parse(verb, options, 0, 0, &argc, &argv))
        return STATUS_USAGE;
    g_autoptr(Hook) hook = hook_new();
    bool known = any_hook(hook);
    if (!look(hook, &state, &error) || !read_shipped(hook, &error))
        return verb_fail("%s", error->message);
    if (state == HOOK_FOREIGN)
        return fail_foreign(hook);
    if (state != HOOK_ENABLED && !install(hook, &error))
        return verb_fail("%s", error->message);
    printf("%s is %s.\n", hook->path, state == HOOK_ENABLED ? "enabled already" : "enabled");
    if (arg_reload)
        return reload_libvirt();
    if (!known)
        printf("It is the first hook for QEMU here. If libvirt runs, it does not know of it yet:\n"
               "    systemctl reload libvirtd    (or virtqemud, where that runs the guests)\n");
    return STATUS_DONE;
}

static int verb_disable(const Verb *verb, int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    HookState state = HOOK_ABSENT;

    if (!verb_parse(verb, NULL, 0, 0, &argc, &argv))
        return STATUS_USAGE;
    g_autoptr(Hook) hook = hook_new();
    if (!look(hook, &state, &error))
        return verb_fail("%s", error->message);
    if (state == HOOK_FOREIGN)
        return fail_foreign(hook);
    if (state != HOOK_ABSENT && unlink(hook->path) != 0)
        return verb_fail("%s: %s", hook->path, g_strerror(errno));
    printf("%s is %s.\n", hook->path, state == HOOK_ABSENT ? "not there" : "disabled");
    return STATUS_DONE;
}

/* Status ----------------------------------------------------------------------------------------------------------- */

static int verb_hook_status(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"json", 0, 0, G_OPTION_ARG_STRING, &arg_json,
         "Print JSON: pretty, short or off; -j is pretty on a terminal and otherwise short", "FORMAT"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autoptr(GError) error = NULL;
    HookState state = HOOK_ABSENT;
    JsonFormat format = JSON_OFF;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 0, 0, &argc, &argv) || !json_parse_format(arg_json, &format))
        return STATUS_USAGE;
    g_autoptr(Hook) hook = hook_new();
    if (!look(hook, &state, &error))
        return verb_fail("%s", error->message);
    if (format != JSON_OFF) {
        Json *json = json_new(format);
        json_open(json, NULL, '{');
        json_string(json, "state", states[state].name);
        json_string(json, "path", hook->path);
        json_string(json, "shipped", hook->shipped);
        json_close(json, '}');
        json_print(json);
    } else {
        printf("%s: %s\n", hook->path, states[state].text);
    }
    return states[state].status;
}

/* Allow ------------------------------------------------------------------------------------------------------------ */

/* Returns: the UUID that is meant, as libvirt writes it, to be freed with g_free(); or NULL after saying why there is none. */
static char *find_uuid(const char *name)
{
    g_autofree char *path = NULL;

    if (g_uuid_string_is_valid(name))
        return g_ascii_strdown(name, -1);
    /* A guest that was refused may be unknown here. One whose image is here is known to virtnestd. */
    g_autoptr(Client) client = client_new();
    if (client != NULL && client_find(client, name, &path))
        return client_string(client, path, "UUID");
    (void)verb_fail("give the UUID of the guest; the error with which it was refused has it");
    return NULL;
}

/* Returns: ReleaseMax=. A file that is wrong shall not keep an operator from letting somebody in. */
static guint64 longest_time(void)
{
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    Settings settings = settings_default();

    if (!settings_load(verbs_root, &settings, warnings, &error))
        (void)verb_fail("%s; the default of ReleaseMax= counts", error->message);
    return settings.release_max_usec;
}

static void remove_old(const char *folder, gint64 now)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL), *text = NULL;
        if (g_uuid_string_is_valid(name) && g_file_get_contents(path, &text, NULL, NULL) &&
            g_ascii_strtoll(text, NULL, 10) <= now)
            (void)unlink(path);
    }
}

/* Anybody may read it: where libvirt runs as a user, so does the hook. */
static bool write_allowed(const char *uuid, gint64 now, gint64 until, GError **error)
{
    g_autofree char *folder = g_build_filename(verbs_root, VIRTNEST_RUNDIR, HOOK_INCOMING, NULL);
    g_autofree char *path = g_build_filename(folder, uuid, NULL);
    g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT "\n", until);

    if (g_mkdir_with_parents(folder, 0755) != 0)
        return set_errno(error, folder);
    remove_old(folder, now);
    return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, error);
}

static int verb_allow(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        {"for", 0, 0, G_OPTION_ARG_STRING, &arg_for, "For how long, such as 30s or 1h (10min)", "TIME"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    g_autoptr(GError) error = NULL;
    guint64 usec = 0;

    if (!verb_parse(verb, options, 1, 1, &argc, &argv))
        return STATUS_USAGE;
    if (!verb_parse_time("--for", arg_for != NULL ? arg_for : "10min", &usec))
        return STATUS_USAGE;
    if (usec < G_USEC_PER_SEC)
        return verb_misused("--for=%s: takes a time span of 1s at least", arg_for);
    guint64 longest = longest_time();
    if (usec > longest && arg_for != NULL) {
        g_autofree char *text = duration_format(longest);
        return verb_fail("--for=%s: ReleaseMax= allows %s at most", arg_for, text);
    }
    g_autofree char *uuid = find_uuid(argv[1]);
    if (uuid == NULL)
        return STATUS_FAILED;
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    gint64 until = now + (gint64)(MIN(usec, longest) / G_USEC_PER_SEC);
    if (!write_allowed(uuid, now, until, &error))
        return verb_fail("%s", error->message);
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(until);
    g_autofree char *shown = time != NULL ? g_date_time_format(time, "%F %T") : NULL;
    printf("%s may come in until %s.\n", uuid, shown != NULL ? shown : "then");
    return STATUS_DONE;
}

int verb_hook(const Verb *verb, int argc, char **argv)
{
    static const Verb verbs[] = {
        {"enable", "", "Have libvirt run virtnest-hook for guests that come in", verb_enable, VERB_HERE},
        {"disable", "", "Remove it from libvirt's hooks", verb_disable, VERB_HERE},
        {"status", "", "Tell whether libvirt would run it", verb_hook_status, VERB_HERE},
        {"allow", "DOMAIN|UUID", "Let a guest in for some time, whatever it runs", verb_allow, VERB_HERE},
        {NULL, NULL, NULL, NULL, VERB_HERE},
    };

    return verbs_run(verbs, verb->name, argc, argv);
}
