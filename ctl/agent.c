/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * polkit asks for passwords through an agent of the caller's session. A desktop has one, a login by ssh has none, and for
 * as long as a call takes virtnestctl brings its own, as systemctl and virsh do.
 */

#include "ctl/agent.h"

#include "ctl/verbs.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The descriptor that pkttyagent closes when polkit knows of it. */
#define NOTIFY_FD 3

struct Agent {
    GPid pid;
};

/** Is there somebody to be asked for a password, and no need to look elsewhere for an agent? Root is never asked. */
bool agent_is_wanted(void)
{
    return verbs_ask_password && strcmp(verbs_bus, "system") == 0 && geteuid() != 0 && isatty(STDIN_FILENO);
}

/* In the child: it does not stay behind, however we end. */
static void set_up_child(gpointer data G_GNUC_UNUSED)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
}

/* Until the other side is closed. */
static void wait_for_end(int fd)
{
    char byte;
    ssize_t n;

    do
        n = read(fd, &byte, 1);
    while (n > 0 || (n < 0 && errno == EINTR));
}

/**
 * Starts an agent, and waits until polkit knows of it. Where the session has one already, that one stays the one.
 * Returns: to be given back with agent_free(), or NULL if there is none to be had.
 */
Agent *agent_new(void)
{
    const char *const argv[] = {"pkttyagent", "--notify-fd=" G_STRINGIFY(NOTIFY_FD), "--fallback", NULL};
    const int target = NOTIFY_FD;
    int pipe_fds[2];
    GPid pid = 0;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return NULL;
    gboolean started = g_spawn_async_with_pipes_and_fds(
        NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CHILD_INHERITS_STDIN, set_up_child,
        NULL, -1, -1, -1, &pipe_fds[1], &target, 1, &pid, NULL, NULL, NULL, NULL);
    (void)close(pipe_fds[1]);
    if (started)
        wait_for_end(pipe_fds[0]);
    (void)close(pipe_fds[0]);
    if (!started)
        return NULL;
    Agent *agent = g_new0(Agent, 1);
    agent->pid = pid;
    return agent;
}

Agent *agent_free(Agent *agent)
{
    if (agent == NULL)
        return NULL;
    /* The second for one that was stopped, as by a job control that took the terminal from it. */
    (void)kill(agent->pid, SIGTERM);
    (void)kill(agent->pid, SIGCONT);
    while (waitpid(agent->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    g_free(agent);
    return NULL;
}
