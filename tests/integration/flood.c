/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Many clients of the system bus that call virtnestd as fast as it answers:
 *
 *     flood CLIENTS CALLS [deaf|pushy|nobody]
 *
 * Each has so many calls under way at any time, of those with long answers and short ones. With "deaf" there is one client more,
 * which calls for as long as the bus takes its calls, and never reads an answer. With "pushy" its calls are of those that are to
 * change something, and most want no answer, so that the bus does not count them. With "nobody" all are clients of the user
 * nobody, and half of their calls are to change something, which that user may not, and the others are those with the longest
 * answers. Prints "calling" once all have begun, "busy"
 * once every client has had an answer, and at SIGTERM how many there were, and how many of these were errors. Rests between
 * SIGUSR1 and SIGUSR2, and prints "resting" once no answer is due. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define NAME "org.virtnest1"
#define ROOT "/org/virtnest1"
#define MANAGER "org.virtnest1.Manager"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define CLIENTS_MAX 1000
#define NOBODY 65534
/* Of the deaf one in one go. */
#define BURST 64

typedef struct Client {
    sd_bus *bus;
    unsigned next; /* which call */
    unsigned answers;
    unsigned parked; /* calls that are not made while all rest */
} Client;

static Client clients[CLIENTS_MAX];
static unsigned long n_answers, n_errors;
static unsigned n_answered; /* clients */
static unsigned n_parked;   /* of all clients */
static volatile sig_atomic_t over, resting;

static void on_terminate(int number)
{
    (void)number;
    over = 1;
}

static void on_rest(int number)
{
    resting = number == SIGUSR1;
}

static int nobody;

static int call(Client *client);

static int on_reply(sd_bus_message *reply, void *data, sd_bus_error *error)
{
    Client *client = data;

    (void)error;
    n_answers++;
    n_errors += sd_bus_message_is_method_error(reply, NULL) > 0;
    if (client->answers++ == 0)
        n_answered++;
    if (!resting)
        return call(client);
    client->parked++;
    n_parked++;
    return 0;
}

static int sync_new(Client *client, uint64_t flags, sd_bus_message **ret_message)
{
    int r = sd_bus_message_new_method_call(client->bus, ret_message, NAME, ROOT, MANAGER, "Sync");

    return r < 0 ? r : sd_bus_message_append(*ret_message, "t", flags);
}

static int message_new(Client *client, sd_bus_message **ret_message)
{
    int r;

    client->next++;
    if (nobody && client->next % 2 == 0)
        return sync_new(client, 0, ret_message);
    switch (nobody ? 0 : client->next % 4) {
    case 0:
        return sd_bus_message_new_method_call(client->bus, ret_message, NAME, ROOT,
                                              "org.freedesktop.DBus.ObjectManager", "GetManagedObjects");
    case 1:
        return sd_bus_message_new_method_call(client->bus, ret_message, NAME, ROOT, MANAGER, "ListDomains");
    case 2:
        r = sd_bus_message_new_method_call(client->bus, ret_message, NAME, ROOT, PROPERTIES, "GetAll");
        return r < 0 ? r : sd_bus_message_append(*ret_message, "s", MANAGER);
    default:
        r = sd_bus_message_new_method_call(client->bus, ret_message, NAME, ROOT, MANAGER, "GetMetrics");
        return r < 0 ? r : sd_bus_message_append(*ret_message, "s", "prometheus");
    }
}

static int call(Client *client)
{
    sd_bus_message *message = NULL;
    int r = message_new(client, &message);

    if (r >= 0)
        r = sd_bus_call_async(client->bus, NULL, message, on_reply, client, UINT64_MAX);
    sd_bus_message_unref(message);
    return r;
}

static int call_parked(Client *client)
{
    int r = 0;

    for (; r >= 0 && client->parked > 0; client->parked--, n_parked--)
        r = call(client);
    return r;
}

/* It has its calls written, as far as the socket takes them, and nothing read. With no cookie asked for, a call wants no answer. */
static int be_deaf(Client *client, int pushy)
{
    uint64_t unsent = 0, cookie;
    int r = sd_bus_get_n_queued_write(client->bus, &unsent);

    for (unsigned i = 0; r >= 0 && unsent == 0 && i < BURST; i++) {
        sd_bus_message *message = NULL;
        /* The first of a burst keeps the answers to the others from being sent. */
        /* Refused because of its flags, which are known when it comes to the head of its queue. */
        r = pushy && i > 0 ? sync_new(client, 1, &message) : message_new(client, &message);
        if (r >= 0)
            r = sd_bus_send(client->bus, message, (pushy ? i > 0 : client->next % 8 < 4) ? NULL : &cookie);
        sd_bus_message_unref(message);
        if (r >= 0)
            r = sd_bus_get_n_queued_write(client->bus, &unsent);
    }
    return r;
}

static int process(Client *client)
{
    int r;

    while ((r = sd_bus_process(client->bus, NULL)) > 0)
        ;
    return r;
}

/* Until it has a name of the bus: who waits with that for too long is thrown out. */
static int open_bus(sd_bus **ret_bus)
{
    int r = sd_bus_open_system(ret_bus);

    while (r >= 0 && sd_bus_is_ready(*ret_bus) == 0) {
        r = sd_bus_process(*ret_bus, NULL);
        if (r == 0)
            r = sd_bus_wait(*ret_bus, UINT64_MAX);
    }
    return r;
}

int main(int argc, char **argv)
{
    unsigned n = argc > 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    unsigned calls = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    struct pollfd fds[CLIENTS_MAX];
    Client deaf = {0};
    int r = 0, busy = 0, rests = 0;

    if (n == 0 || n > CLIENTS_MAX)
        return EXIT_FAILURE;
    setvbuf(stdout, NULL, _IOLBF, 0);
    (void)signal(SIGTERM, on_terminate);
    (void)signal(SIGUSR1, on_rest);
    (void)signal(SIGUSR2, on_rest);
    nobody = argc > 3 && strcmp(argv[3], "nobody") == 0;
    if (nobody && setuid(NOBODY) < 0)
        return EXIT_FAILURE;
    for (unsigned i = 0; r >= 0 && i < n; i++) {
        clients[i].next = i;
        r = open_bus(&clients[i].bus);
    }
    if (r >= 0 && argc > 3 && !nobody)
        r = open_bus(&deaf.bus);
    for (unsigned i = 0; r >= 0 && i < n; i++) {
        for (unsigned j = 0; r >= 0 && j < calls; j++)
            r = call(&clients[i]);
        if (r >= 0)
            r = process(&clients[i]);
    }
    if (r >= 0)
        puts("calling");
    while (r >= 0 && !over) {
        for (unsigned i = 0; i < n; i++)
            fds[i] = (struct pollfd){sd_bus_get_fd(clients[i].bus), (short)sd_bus_get_events(clients[i].bus), 0};
        if (poll(fds, n, 10) < 0 && errno != EINTR)
            r = -errno;
        for (unsigned i = 0; r >= 0 && i < n; i++)
            if (fds[i].revents != 0)
                r = process(&clients[i]);
        for (unsigned i = 0; r >= 0 && !resting && n_parked > 0 && i < n; i++)
            r = call_parked(&clients[i]);
        if (!rests && n_parked == n * calls)
            puts("resting");
        rests = n_parked == n * calls;
        /* Where the bus has closed the connection it has served its time. */
        if (r >= 0 && !resting && deaf.bus != NULL && be_deaf(&deaf, strcmp(argv[3], "pushy") == 0) < 0)
            deaf.bus = NULL;
        if (!busy && n_answered == n) {
            busy = 1;
            puts("busy");
        }
    }
    if (r < 0)
        fprintf(stderr, "flood: %s\n", strerror(-r));
    printf("%lu answers, %lu errors\n", n_answers, n_errors);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
