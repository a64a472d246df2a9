/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A client of the system bus that tells errors by their names, and does not wait for one answer before the next call:
 *
 *     caller USER TIMES interactive|plain reload|sync|release|release-all|revoke|reconcile PATH [stay]
 *
 * makes a call so many times as that user, prints a line for each answer, "done" or the error, and ends with the last, unless
 * it is to stay on the bus. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

/* By default dbus-daemon lets a connection await 128 replies, and it is not its limit that is to be seen. */
#define AT_ONCE 100

static unsigned n_open;

static int on_reply(sd_bus_message *reply, void *data, sd_bus_error *ret_error)
{
    const sd_bus_error *error = sd_bus_message_get_error(reply);

    (void)data;
    (void)ret_error;
    n_open--;
    if (error != NULL)
        printf("%s: %s\n", error->name, error->message);
    else
        printf("done\n");
    return 0;
}

static const struct {
    const char *name, *interface, *member;
    int releases; /* it takes for how long, and why */
} methods[] = {
    {"reload", "org.virtnest1.Manager", "Reload", 0},  {"sync", "org.virtnest1.Manager", "Sync", 0},
    {"release", "org.virtnest1.Domain", "Release", 1}, {"release-all", "org.virtnest1.Manager", "ReleaseAll", 1},
    {"revoke", "org.virtnest1.Domain", "Revoke", 0},   {"reconcile", "org.virtnest1.Domain", "Reconcile", 0},
};

static int call(sd_bus *bus, const char *method, const char *path, int interactive)
{
    sd_bus_message *message = NULL;
    size_t i = 0;

    while (i < sizeof(methods) / sizeof(*methods) - 1 && strcmp(methods[i].name, method) != 0)
        i++;
    int r =
        sd_bus_message_new_method_call(bus, &message, "org.virtnest1", path, methods[i].interface, methods[i].member);
    if (r >= 0 && methods[i].releases)
        r = sd_bus_message_append(message, "ts", (uint64_t)60000000, "because");
    if (r >= 0)
        r = sd_bus_message_append(message, "t", (uint64_t)0);
    if (r >= 0)
        r = sd_bus_message_set_allow_interactive_authorization(message, interactive);
    if (r >= 0)
        r = sd_bus_call_async(bus, NULL, message, on_reply, NULL, 0);
    sd_bus_message_unref(message);
    return r;
}

static int process(sd_bus *bus)
{
    int r = sd_bus_process(bus, NULL);

    return r == 0 ? sd_bus_wait(bus, UINT64_MAX) : r;
}

int main(int argc, char **argv)
{
    unsigned user = argc >= 6 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    unsigned times = argc >= 6 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    sd_bus *bus = NULL;
    int r;

    if (times == 0 || setresgid(user, user, user) < 0 || setresuid(user, user, user) < 0)
        return EXIT_FAILURE;
    setvbuf(stdout, NULL, _IOLBF, 0);
    r = sd_bus_open_system(&bus);
    for (unsigned i = 0; r >= 0 && i < times; i++) {
        r = call(bus, argv[4], argv[5], strcmp(argv[3], "interactive") == 0);
        n_open++;
        while (r >= 0 && n_open >= AT_ONCE)
            r = process(bus);
    }
    while (r >= 0 && (n_open > 0 || argc > 6))
        r = process(bus);
    sd_bus_flush_close_unref(bus);
    if (r < 0)
        fprintf(stderr, "caller: %s\n", strerror(-r));
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
