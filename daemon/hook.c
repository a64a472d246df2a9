/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * virtnest-hook: libvirt runs it as hooks/qemu.d/virtnest, and it keeps guests out that were moved with guests of their own
 * running in them, by a migration to this host or a restore.
 *
 *     virtnest-hook DOMAIN OPERATION SUBOPERATION EXTRA <domain.xml
 *
 * libvirt runs it for each operation of each guest and waits for it without a limit (src/util/virhook.c), and what it
 * answers counts: a failure of "reconnect" makes a restarting libvirtd kill the guest, and any output of "migrate" and
 * "restore" replaces the guest's definition. So
 *
 *  - it refuses only what it has read and understood. All that it does not understand, and each error of its own, is 0;
 *  - it looks at no input and no file before it knows that it is asked about one of the two operations that it may refuse;
 *  - it never writes to standard output, and ends within some seconds whatever its input does;
 *  - it is linked statically, with nothing but libc: no library that is upgraded under it can break it;
 *  - it asks nobody. A call to libvirt would wait for the libvirtd that waits for it.
 */

#include "lib/hook.h"
#include "daemon/incoming.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A test that includes this file puts everything below a folder of its own. No variable of the environment does that:
 * this runs as root. */
#ifndef HOOK_ROOT
#define HOOK_ROOT ""
#endif

/* libvirt takes no definition of more than 4 MiB from a client (VIR_NET_MESSAGE_STRING_MAX). */
#define INPUT_MAX (8 << 20)
/* libvirt hands over all of it at once. */
#define TIME_LIMIT_S 5
#define NAME_SHOWN_MAX 80

static const char marker[] __attribute__((used)) = HOOK_MARKER;
static char input[INPUT_MAX];

static void on_time_limit(int number)
{
    (void)number;
    _exit(0);
}

/* One limit for all that may take time. Its timer does not follow the clock of the wall. */
static void limit_time(void)
{
    struct sigaction action = {.sa_handler = on_time_limit}, ignore = {.sa_handler = SIG_IGN};
    sigset_t set;

    (void)sigaction(SIGALRM, &action, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGALRM);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    (void)alarm(TIME_LIMIT_S);
}

/* Returns: false if it cannot be read, or there is too much. */
static bool read_input(size_t *ret_length)
{
    size_t length = 0;

    while (length < sizeof(input)) {
        ssize_t n = read(STDIN_FILENO, input + length, sizeof(input) - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0) {
            *ret_length = length;
            return true;
        }
        length += (size_t)n;
    }
    return false;
}

/* Does the file hold a second that is yet to come? */
static bool is_allowed_until(const char *path, long long now)
{
    struct stat status;
    char text[32];
    long long until = INCOMING_NEVER;
    /* Nothing that can be there instead of a file may block. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return false;
    ssize_t n = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? read(fd, text, sizeof(text)) : -1;
    (void)close(fd);
    if (n > 0 && text[n - 1] == '\n')
        n--;
    return n > 0 && incoming_parse_time(text, (size_t)n, &until) && now < until;
}

static bool is_allowed(const char *uuid, long long now)
{
    static const char folder[] = HOOK_ROOT VIRTNEST_RUNDIR "/" HOOK_INCOMING "/";
    char path[sizeof(folder) + INCOMING_UUID_SIZE];

    if (access(HOOK_ROOT VIRTNEST_SYSCONFDIR "/disable", F_OK) == 0 ||
        access(HOOK_ROOT VIRTNEST_RUNDIR "/" HOOK_INCOMING "/" HOOK_INCOMING_ALL, F_OK) == 0)
        return true;
    (void)snprintf(path, sizeof(path), "%s%s", folder, uuid);
    return is_allowed_until(path, now);
}

/* @ret_text: ", since TIME", or "" if the time is not known. In UTC: for the host's own time zone a library would read files. */
static void format_since(long long since, char *ret_text, size_t size)
{
    time_t time = (time_t)since;
    struct tm parts;

    if (since < 0 || gmtime_r(&time, &parts) == NULL || strftime(ret_text, size, ", since %F %T UTC", &parts) == 0)
        *ret_text = '\0';
}

/* A name is whatever the other host says it is. It is cut off between characters of UTF-8. */
static void copy_name(const char *name, char *ret_text, size_t size)
{
    size_t length = 0;

    for (; name[length] != '\0' && length + 1 < size; length++)
        ret_text[length] = (unsigned char)name[length] < 0x20 || name[length] == 0x7f ? '?' : name[length];
    while (length > 0 && ((unsigned char)name[length] & 0xc0) == 0x80)
        length--;
    ret_text[length] = '\0';
}

/* libvirt puts it into the error of whoever asked for the operation. */
static void say_why(const char *domain, IncomingKind kind, const Incoming *incoming)
{
    static const char *const reasons[][2] = {
        [INCOMING_MIGRATE] = {"it runs guests of its own (L2)",
                              "it has run guests of its own (L2) that may be there still"},
        [INCOMING_RESTORE] = {"it was saved while it ran guests of its own (L2)",
                              "it was saved while guests of its own (L2) may have been in it"},
    };
    char text[1024], name[NAME_SHOWN_MAX + 1], since[64];

    copy_name(domain, name, sizeof(name));
    format_since(incoming->since, since, sizeof(since));
    int length =
        snprintf(text, sizeof(text),
                 "virtnest refuses domain '%s': %s%s%s%s%s, and may crash here, and this "
                 "host with it.\nTo let it in all the same, and then try again: virtnestctl hook allow %s\n",
                 name, reasons[kind][incoming->l2 == INCOMING_L2_QUIET], *incoming->host != '\0' ? " on host '" : "",
                 incoming->host, *incoming->host != '\0' ? "'" : "", since, incoming->uuid);
    if (length > 0)
        (void)!write(STDERR_FILENO, text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
}

int main(int argc, char **argv)
{
    IncomingKind kind;
    Incoming incoming;
    size_t length = 0;

    if (argc < 4 || strcmp(argv[3], "begin") != 0)
        return 0;
    if (strcmp(argv[2], "migrate") == 0)
        kind = INCOMING_MIGRATE;
    else if (strcmp(argv[2], "restore") == 0)
        kind = INCOMING_RESTORE;
    else
        return 0;
    limit_time();
    long long now = (long long)time(NULL);
    if (!read_input(&length) || !incoming_read(input, length, &incoming) ||
        !incoming_is_refused(&incoming, kind, now) || is_allowed(incoming.uuid, now))
        return 0;
    say_why(argv[1], kind, &incoming);
    return 1;
}
