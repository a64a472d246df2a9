/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is longer than the screen goes through a pager, as systemctl(1) does it and by the same variables of the
 * environment.
 */

#include "ctl/pager.h"

#include "ctl/verbs.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int terminal = -1; /* standard output while a pager has taken its place; -1: none has */
static pid_t pager;

/* Returns: what a shell is to run, or NULL. */
static const char *find_command(void)
{
    const char *command = g_getenv("SYSTEMD_PAGER");
    /* Somebody's variables shall not choose what root runs. */
    bool borrowed = geteuid() == 0 && (g_getenv("SUDO_UID") != NULL || g_getenv("PKEXEC_UID") != NULL);

    if (command == NULL)
        command = g_getenv("PAGER");
    if (command != NULL && (*command == '\0' || strcmp(command, "cat") == 0))
        return NULL;
    return command != NULL && !borrowed ? command : "less";
}

static G_GNUC_NORETURN void run(const char *command, int input)
{
    const char *less = g_getenv("SYSTEMD_LESS");

    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (dup2(input, STDIN_FILENO) < 0)
        _exit(127);
    /* systemctl's without S: less does not leave by itself (F) where it has cut a line, and a reason may be a long one. */
    (void)g_setenv("LESS", less != NULL ? less : "FRXMK", TRUE);
    /* No shell and no editor from within less. */
    (void)g_setenv("LESSSECURE", "1", TRUE);
    (void)execl("/bin/sh", "sh", "-c", command, NULL);
    _exit(127);
}

/* By its first word. What a shell would have to make a word of is left to the shell. */
static bool is_there(const char *command)
{
    g_auto(GStrv) words = NULL;

    if (!g_shell_parse_argv(command, NULL, &words, NULL))
        return true;
    g_autofree char *path = g_find_program_in_path(words[0]);
    return path != NULL || strpbrk(words[0], "=$`~") != NULL;
}

/** From here on standard output goes through a pager, if it is a terminal and one is wanted. */
void pager_open(void)
{
    const char *command = find_command();
    int fds[2];

    if (terminal >= 0 || !verbs_pager || command == NULL || !isatty(STDOUT_FILENO) ||
        g_strcmp0(g_getenv("TERM"), "dumb") == 0 || !is_there(command) || pipe2(fds, O_CLOEXEC) < 0)
        return;
    pager = fork();
    if (pager == 0)
        run(command, fds[0]);
    (void)close(fds[0]);
    terminal = pager > 0 ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1) : -1;
    if (terminal >= 0 && dup2(fds[1], STDOUT_FILENO) < 0) {
        (void)close(terminal);
        terminal = -1;
    }
    (void)close(fds[1]);
    /* ^C is the pager's. */
    if (terminal >= 0)
        (void)signal(SIGINT, SIG_IGN);
}

/** Waits until the pager was left. What it was to show must have been flushed. */
void pager_close(void)
{
    if (terminal < 0)
        return;
    (void)dup2(terminal, STDOUT_FILENO);
    (void)close(terminal);
    terminal = -1;
    while (waitpid(pager, NULL, 0) < 0 && errno == EINTR)
        ;
}

/** Does somebody look at standard output, be it through a pager? */
bool pager_is_terminal(void)
{
    return terminal >= 0 || isatty(STDOUT_FILENO);
}

/** Returns: of the terminal, in cells; 0 if there is none, or it does not tell. COLUMNS wins, as with systemctl(1). */
guint pager_width(void)
{
    struct winsize size = {0};
    guint64 columns = 0;

    if (pager_is_terminal() && g_getenv("COLUMNS") != NULL &&
        g_ascii_string_to_unsigned(g_getenv("COLUMNS"), 10, 1, G_MAXUINT16, &columns, NULL))
        return (guint)columns;
    return ioctl(terminal >= 0 ? terminal : STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
