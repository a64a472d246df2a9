/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/guard-calls.h"

#include "daemon/libvirt-error.h"
#include <fcntl.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <unistd.h>

/* Of the element in a definition: the prefix of its namespace. */
#define PREFIX "virtnest"

/* @fd: goes with the command; -1: none. Returns: QEMU's answer, to be freed with free(), or NULL with an error. */
static char *ask_monitor(virDomain *domain, const char *command, int fd, GError **error)
{
    char *answer = NULL;
    int r;

    if (fd >= 0) {
        r = virDomainQemuMonitorCommandWithFiles(domain, command, 1, &fd, NULL, NULL, &answer, 0);
    } else {
        r = virDomainQemuMonitorCommand(domain, command, &answer, 0);
    }
    if (r < 0) {
        int code = virGetLastErrorCode();
        libvirt_set_error(error,
                          code == VIR_ERR_NO_SUPPORT || code == VIR_ERR_ARGUMENT_UNSUPPORTED
                              ? "cannot use QEMU's monitor; that takes libvirt 8.2, its QEMU driver and its local "
                                "socket, as with qemu:///system"
                              : "cannot use QEMU's monitor");
        return NULL;
    }
    return answer;
}

/* Takes over @command. Returns: what QEMU answered, BLOCKER_REPLY_REFUSED with an error if it did not. */
static BlockerReply tell_monitor(virDomain *domain, char *command, int fd, GError **error)
{
    g_autofree char *owned = command;
    g_autoptr(mallocString) answer = ask_monitor(domain, owned, fd, error);

    return answer != NULL ? blocker_parse_reply(answer, error) : BLOCKER_REPLY_REFUSED;
}

static BlockerReply set_with(virDomain *domain, BlockerFormat format, int fd, GError **error)
{
    BlockerReply reply = tell_monitor(domain, blocker_command_add_fd(), fd, error);

    if (reply != BLOCKER_REPLY_DONE)
        return BLOCKER_REPLY_REFUSED;
    return tell_monitor(domain, blocker_command_add(format), -1, error);
}

/**
 * Sets the blocker. Tries one format after the other, from a memfd, and then the installed file: SELinux may let QEMU read
 * that alone. The descriptor set stays, see guard_calls_remove_fd().
 * @image: the path of the installed file
 * Returns: with BLOCKER_REPLY_REFUSED and BLOCKER_REPLY_TOO_LATE there is an error.
 */
BlockerReply guard_calls_set(virDomain *domain, const char *image, GError **error)
{
    BlockerReply reply = BLOCKER_REPLY_REFUSED;
    g_autoptr(GError) first = NULL;

    for (BlockerFormat format = BLOCKER_VDI; format < BLOCKER_FORMATS; format++) {
        g_autoptr(GError) cause = NULL;
        int fd = blocker_open(format, &cause);
        if (fd >= 0) {
            reply = set_with(domain, format, fd, &cause);
            (void)close(fd);
        }
        if (first == NULL)
            first = g_steal_pointer(&cause);
        if (reply != BLOCKER_REPLY_REFUSED)
            break;
    }
    if (reply == BLOCKER_REPLY_REFUSED) {
        int fd = open(image, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd >= 0) {
            reply = set_with(domain, BLOCKER_VDI, fd, NULL);
            (void)close(fd);
        }
    }
    if ((reply == BLOCKER_REPLY_REFUSED || reply == BLOCKER_REPLY_TOO_LATE) && first != NULL)
        g_propagate_error(error, g_steal_pointer(&first));
    return reply;
}

/* The jobs that move a guest's state, or write it down, and that can be aborted. */
static const char *guarded_operation(int operation)
{
    switch (operation) {
    case VIR_DOMAIN_JOB_OPERATION_SAVE:
        return "save";
    case VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
        return "migration";
    case VIR_DOMAIN_JOB_OPERATION_SNAPSHOT:
        return "snapshot";
    case VIR_DOMAIN_JOB_OPERATION_DUMP:
        return "dump";
    default:
        return NULL;
    }
}

/** Returns: what the job under way is, static, if it is one that must not be; NULL if it is none or another. */
const char *guard_calls_find_job(virDomain *domain)
{
    virTypedParameterPtr parameters = NULL;
    int type = 0, n = 0, operation = -1;
    const char *found = NULL;

    /* One that is completed is told of until the guest has ended; to abort it would be answered with success, and do nothing. */
    if (virDomainGetJobStats(domain, &type, &parameters, &n, 0) == 0 && type != VIR_DOMAIN_JOB_NONE &&
        type != VIR_DOMAIN_JOB_COMPLETED &&
        virTypedParamsGetInt(parameters, n, VIR_DOMAIN_JOB_OPERATION, &operation) > 0)
        found = guarded_operation(operation);
    virTypedParamsFree(parameters, n);
    return found;
}

/** The node has a descriptor of its own. With a guest that is paused, as by a save, this may take its time. */
void guard_calls_remove_fd(virDomain *domain)
{
    (void)tell_monitor(domain, blocker_command_remove_fd(), -1, NULL);
}

/** Lifts the blocker; one that is not there is none. */
bool guard_calls_lift(virDomain *domain, GError **error)
{
    BlockerReply reply = tell_monitor(domain, blocker_command_remove(), -1, error);

    if (reply != BLOCKER_REPLY_DONE && reply != BLOCKER_REPLY_NOT_THERE)
        return false;
    guard_calls_remove_fd(domain);
    return true;
}

/** Looks for the blocker. */
bool guard_calls_find(virDomain *domain, bool *ret_found, GError **error)
{
    g_autofree char *command = blocker_command_find();
    g_autoptr(mallocString) answer = ask_monitor(domain, command, -1, error);

    return answer != NULL && blocker_parse_nodes(answer, ret_found, error);
}

/**
 * Returns: whether the guest is on its way out, or gone: QEMU is through with a save or a migration of it. libvirt answers
 * virDomainAbortJob() with success in that phase of a migration, and does nothing.
 */
bool guard_calls_is_leaving(virDomain *domain)
{
    int state = VIR_DOMAIN_NOSTATE, reason = 0;

    if (virDomainGetState(domain, &state, &reason, 0) < 0)
        return true;
    return state == VIR_DOMAIN_SHUTOFF || state == VIR_DOMAIN_SHUTDOWN || state == VIR_DOMAIN_CRASHED ||
           (state == VIR_DOMAIN_PAUSED &&
            (reason == VIR_DOMAIN_PAUSED_SAVE || reason == VIR_DOMAIN_PAUSED_MIGRATION ||
             reason == VIR_DOMAIN_PAUSED_POSTCOPY || reason == VIR_DOMAIN_PAUSED_POSTCOPY_FAILED));
}

/**
 * Writes the runtime element into a definition, or takes it away.
 * @runtime: NULL: there is to be none
 * @where: VIR_DOMAIN_AFFECT_LIVE or VIR_DOMAIN_AFFECT_CONFIG
 */
bool guard_calls_note(virDomain *domain, const Runtime *runtime, unsigned where, GError **error)
{
    g_autofree char *element = runtime != NULL ? runtime_format(runtime) : NULL;

    if (virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, element, element != NULL ? PREFIX : NULL,
                             VIRTNEST_RUNTIME_NAMESPACE, where) == 0)
        return true;
    libvirt_set_error(error, "cannot change its metadata");
    return false;
}
