/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl lint: what in a domain's definition stands in the way of guests of its own. */

#include "ctl/lint.h"

#include "ctl/checks.h"
#include "ctl/document.h"
#include "ctl/guest.h"
#include "ctl/libvirt.h"
#include "ctl/verbs.h"
#include "daemon/libvirt-error.h"
#include "lib/error.h"
#include <string.h>

/* For how long `show` waits for libvirt. */
#define LOOK_LIMIT_S 5

static char *arg_policy, *arg_host_root, *arg_libvirt_version;

/* A domain's name has no slash in it (virDomainDefPostParse(), src/conf/domain_postparse.c). */
static bool is_document(const char *argument)
{
    return strcmp(argument, "-") == 0 || strchr(argument, '/') != NULL || g_str_has_suffix(argument, ".xml");
}

static bool read_guest(Guest *guest, const char *argument, unsigned long version)
{
    if (is_document(argument)) {
        char *xml = document_read(argument);
        if (xml != NULL)
            guest_take_document(guest, xml, version);
        return xml != NULL;
    }
    g_autoptr(VirConnect) connection = libvirt_open();
    g_autoptr(VirDomain) domain = connection != NULL ? libvirt_find(connection, argument) : NULL;
    g_autoptr(GError) error = NULL;
    if (domain == NULL || guest_read(guest, domain, &error))
        return domain != NULL;
    (void)verb_fail("domain '%s': %s", argument, error->message);
    return false;
}

/* For others ------------------------------------------------------------------------------------------------------- */

/* One domain that is judged on a thread of its own, since libvirt may hang. */
typedef struct LintJob {
    char *uuid;
    GPtrArray *checks; /* NULL: there is an error */
    GError *error;
    GAsyncQueue *done;
} LintJob;

static void lint_job_free(LintJob *job)
{
    g_free(job->uuid);
    if (job->checks != NULL)
        g_ptr_array_unref(job->checks);
    g_clear_error(&job->error);
    g_async_queue_unref(job->done);
    g_free(job);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LintJob, lint_job_free)

static GPtrArray *judge(const char *uuid, GError **error)
{
    g_autoptr(VirConnect) connection = libvirt_peek(verbs_connect, error);
    g_autoptr(VirDomain) domain = connection != NULL ? virDomainLookupByUUIDString(connection, uuid) : NULL;

    if (connection == NULL)
        return NULL;
    if (domain == NULL) {
        libvirt_set_error(error, "cannot look it up");
        return NULL;
    }
    g_autoptr(Guest) guest = guest_new(NULL, NULL, error);
    return guest != NULL && guest_read(guest, domain, error) ? guest_checks_lint(&guest->input, error) : NULL;
}

static gpointer lint_job_work(gpointer data)
{
    LintJob *job = data;

    job->checks = judge(job->uuid, &job->error);
    g_async_queue_push(job->done, job);
    return NULL;
}

/**
 * Judges a domain of this host's libvirt, without asking for a password, and within seconds.
 * Returns: Check, to be freed with g_ptr_array_unref(), or NULL with an error.
 */
GPtrArray *lint_look(const char *uuid, GError **error)
{
    if (*verbs_connect == '\0') {
        g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_UNSUPPORTED,
                            "with --root no libvirt is used by itself; name it: --connect=URI");
        return NULL;
    }
    GAsyncQueue *done = g_async_queue_new();
    LintJob *started = g_new0(LintJob, 1);
    started->uuid = g_strdup(uuid);
    started->done = done;
    GThread *thread = g_thread_new("lint", lint_job_work, started);
    g_autoptr(LintJob) job = g_async_queue_timeout_pop(done, LOOK_LIMIT_S * G_USEC_PER_SEC);
    /* One that hangs keeps what it was given, until the process ends. */
    if (job == NULL) {
        g_thread_unref(thread);
        verbs_thread_left = true;
        g_set_error(error, VIRTNEST_LIBVIRT_ERROR, 0, "libvirt has not answered for %d s", LOOK_LIMIT_S);
        return NULL;
    }
    (void)g_thread_join(thread);
    if (job->error != NULL)
        g_propagate_error(error, g_steal_pointer(&job->error));
    /* Joining takes the thread, which cppcheck's model of GLib does not know. */
    /* cppcheck-suppress memleak */
    return g_steal_pointer(&job->checks);
}

/* The command ------------------------------------------------------------------------------------------------------ */

int verb_lint(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        CHECKS_ENTRIES,
        {"policy", 0, 0, G_OPTION_ARG_STRING, &arg_policy, "Judge what this policy would make of it", "NAME|FILE"},
        {"host-root", 0, 0, G_OPTION_ARG_FILENAME, &arg_host_root, "Look for the host's /proc and /sys below DIR",
         "DIR"},
        {"libvirt-version", 0, 0, G_OPTION_ARG_STRING, &arg_libvirt_version,
         "For a file: as if the host had this libvirt (the one here)", "VERSION"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    JsonFormat format = JSON_OFF;
    unsigned long version = 0;
    g_autoptr(GError) error = NULL;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 1, 1, &argc, &argv) || !checks_parse_format(&format) ||
        !document_read_version(arg_libvirt_version, &version))
        return STATUS_USAGE;
    g_autoptr(Guest) guest = guest_new(arg_host_root, &arg_policy, &error);
    if (guest == NULL)
        return verb_fail("%s", error->message);
    if (!read_guest(guest, argv[1], version))
        return STATUS_FAILED;
    const Tag tag = {.policy = arg_policy, .enabled = true};
    if (arg_policy != NULL)
        guest->input.domain.tag = &tag;
    g_autoptr(GPtrArray) checks = guest_checks_lint(&guest->input, &error);
    return checks != NULL ? checks_print(checks, format) : verb_fail("%s: %s", argv[1], error->message);
}
