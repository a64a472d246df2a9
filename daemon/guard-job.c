/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One call for one guest: its blocker is looked for, set or lifted. All of it runs on workers. */

#include "daemon/guard-job.h"

#include "daemon/guard-calls.h"
#include "daemon/libvirt-error.h"
#include "lib/error.h"
#include <libvirt/virterror.h>

/* A job that was asked to end takes some milliseconds for that, and meanwhile QEMU takes no blocker. */
#define ABORT_ROUNDS_MAX 400
#define ABORT_PAUSE_USEC 5000

/* Of a job that must not be. */
typedef enum {
    MOVE_NONE,
    MOVE_ENDING, /* it was told to end, and has not yet */
    MOVE_STUCK, /* it cannot be told so: a dump of memory only, which moves nothing, or a migration in its post-copy phase */
} Move;

/* Aborts the job under way, if it is one that must not be. @before: what this returned last */
static Move abort_guarded_job(GuardJob *job, virDomain *domain, Move before)
{
    const char *what = guard_calls_find_job(domain);

    /* Whether it ended by that, or was through, is known once it is over. */
    if (what == NULL && before == MOVE_ENDING && !guard_calls_is_leaving(domain))
        job->aborted++;
    /* Such as by a release, under which that job is the operator's will. */
    if (what == NULL || g_atomic_int_get(&job->unwanted))
        return MOVE_NONE;
    if (before != MOVE_NONE)
        return before;
    job->last_job = what;
    g_clear_error(&job->abort_error);
    if (virDomainAbortJob(domain) == 0)
        return MOVE_ENDING;
    libvirt_set_error(&job->abort_error, "it cannot be aborted");
    return MOVE_STUCK;
}

/*
 * Sets the blocker, and sees that nothing is under way that it would have refused. QEMU takes none in the middle of a
 * migration, of which a save has some milliseconds only; once that is over on its side, it does again, while libvirt still
 * writes down what it got, and ends the guest. So a job that moves the guest is looked for first, and again once the
 * blocker is set, and aborted. One that does not move it, such as an incoming migration or a backup, is left alone. What it
 * is is asked right before, each time.
 */
static void set_work(GuardJob *job, virDomain *domain)
{
    Move move = MOVE_NONE;

    for (unsigned round = 0; round < ABORT_ROUNDS_MAX && !g_atomic_int_get(&job->unwanted); round++) {
        move = abort_guarded_job(job, domain, move);
        if (move != MOVE_ENDING && job->have == HAVE_BLOCKER)
            break;
        if (move != MOVE_ENDING && !g_atomic_int_get(&job->unwanted)) {
            g_clear_error(&job->error);
            BlockerReply reply = guard_calls_set(domain, job->image, &job->error);
            if (reply == BLOCKER_REPLY_REFUSED)
                break;
            if (reply != BLOCKER_REPLY_TOO_LATE) {
                job->have = HAVE_BLOCKER;
                continue;
            }
            /* What cannot be aborted may go on for minutes, and each attempt leaves a descriptor in QEMU until this is over. */
            if (move == MOVE_STUCK)
                break;
        }
        g_usleep(ABORT_PAUSE_USEC);
    }
    if (move == MOVE_ENDING && job->have != HAVE_BLOCKER && job->error == NULL && !g_atomic_int_get(&job->unwanted))
        g_set_error(&job->error, VIRTNEST_ERROR, VIRTNEST_ERROR_MONITOR,
                    "its %s was told to end, and does not; `virsh domjobinfo` shows it", job->last_job);
    /* Not before: in the middle of a save this waits for its end. */
    guard_calls_remove_fd(domain);
}

static void lift_work(GuardJob *job, virDomain *domain)
{
    if (guard_calls_lift(domain, &job->error))
        job->have = HAVE_NONE;
}

static void find_work(GuardJob *job, virDomain *domain)
{
    bool found = false;

    if (guard_calls_find(domain, &found, &job->error))
        job->have = found ? HAVE_BLOCKER : HAVE_NONE;
}

/* Is the run of the guest over that the job is for? Asked anew: a handle keeps the number that it was made with. */
static bool run_has_ended(const GuardJob *job)
{
    g_autoptr(VirDomain) domain = virDomainLookupByUUIDString(job->connection, job->uuid);

    return domain != NULL ? virDomainGetID(domain) != (unsigned)job->id : virGetLastErrorCode() == VIR_ERR_NO_DOMAIN;
}

/** Carries out a job: blocks, on a worker. What came of it is in the job. @data: a GuardJob */
void guard_job_work(gpointer data)
{
    GuardJob *job = data;
    g_autoptr(VirDomain) domain = virDomainLookupByUUIDString(job->connection, job->uuid);

    if (domain == NULL)
        libvirt_set_error(&job->error, "cannot find the domain");
    else if (virDomainGetID(domain) != (unsigned)job->id)
        g_set_error(&job->error, VIRTNEST_ERROR, VIRTNEST_ERROR_MONITOR, "it was started anew meanwhile");
    else if (job->step == STEP_SET)
        set_work(job, domain);
    else if (job->step == STEP_LIFT)
        lift_work(job, domain);
    else
        find_work(job, domain);
    job->run_ended = job->error != NULL && run_has_ended(job);
}

/** Frees a job that is over, and its hold on the connection. */
GuardJob *guard_job_free(GuardJob *job)
{
    if (job == NULL)
        return NULL;
    (void)virConnectClose(job->connection);
    g_free(job->image);
    g_clear_error(&job->abort_error);
    g_clear_error(&job->error);
    g_free(job);
    return NULL;
}
