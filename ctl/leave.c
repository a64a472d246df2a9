/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What `release --all` does where virtnestd does not run, as when its package is removed. */

#include "ctl/leave.h"

#include "ctl/libvirt.h"
#include "ctl/verbs.h"
#include "daemon/guard-calls.h"
#include "daemon/libvirt-error.h"
#include "lib/qemu-process.h"
#include <glib/gstdio.h>
#include <stdio.h>

/* libvirt waits for up to 30 s for a job of its own to end. */
#define LIMIT_S 40

static char *note_path(const char *folder, const char *uuid)
{
    return g_build_filename(verbs_root, VIRTNEST_RUNDIR, folder, uuid, NULL);
}

static void forget(const char *folder, const char *uuid)
{
    g_autofree char *path = note_path(folder, uuid);

    (void)g_unlink(path);
}

/* To ask a guest whether it has a blocker taints it; one that virtnestd never asked, and nobody else, has none. */
static bool may_be_guarded(virDomain *domain, const char *uuid)
{
    g_autofree char *record = note_path("guards", uuid),
                    *status = qemu_status_path(verbs_root, virDomainGetName(domain));

    return g_file_test(record, G_FILE_TEST_EXISTS) || qemu_status_is_tainted(status);
}

static bool has_runtime(virDomain *domain, unsigned where)
{
    g_autoptr(mallocString) text =
        virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, VIRTNEST_RUNTIME_NAMESPACE, where);

    return text != NULL;
}

/* Takes away what virtnestd left in one domain. @data: counts those whose blocker is gone, atomically */
static bool leave_one(virDomain *domain, gpointer data, GError **error)
{
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    bool active = virDomainIsActive(domain) == 1, found = false;

    if (virDomainGetUUIDString(domain, uuid) < 0) {
        libvirt_set_error(error, "cannot tell its UUID");
        return false;
    }
    if (active && may_be_guarded(domain, uuid)) {
        if (!guard_calls_find(domain, &found, error) || (found && !guard_calls_lift(domain, error)))
            return false;
        if (found)
            g_atomic_int_inc((int *)data);
    }
    if (active && has_runtime(domain, VIR_DOMAIN_AFFECT_LIVE) &&
        !guard_calls_note(domain, NULL, VIR_DOMAIN_AFFECT_LIVE, error))
        return false;
    if (virDomainIsPersistent(domain) == 1 && has_runtime(domain, VIR_DOMAIN_AFFECT_CONFIG) &&
        !guard_calls_note(domain, NULL, VIR_DOMAIN_AFFECT_CONFIG, error))
        return false;
    forget("guards", uuid);
    forget("releases", uuid);
    return true;
}

/** Lifts every guard, for good. Returns: the status of the command. */
int leave_guards(void)
{
    g_autoptr(VirConnect) connection = libvirt_open();
    g_autoptr(GPtrArray) domains = connection != NULL ? libvirt_list(connection, 0) : NULL;
    /* One that hangs may count when this is long over. */
    static int lifted;

    if (domains == NULL)
        return STATUS_FAILED;
    unsigned failed = libvirt_for_each(domains, leave_one, &lifted, LIMIT_S * G_USEC_PER_SEC);
    int n = g_atomic_int_get(&lifted);
    printf("virtnestd does not run: %d %s lifted, until it is started again.\n", n,
           n == 1 ? "guard was" : "guards were");
    return failed == 0 ? STATUS_DONE : STATUS_FAILED;
}
