/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Stands in for polkit on the bus of a temporary host. It prints a line for each thing that it is asked, and answers as the
 * test has told it last: `busctl call org.freedesktop.PolicyKit1 /mock org.virtnest1.Mock Answer s ANSWER`, where ANSWER is
 * allowed, denied, challenge or error. With "wait" it does not answer; the next ANSWER is also one to what waits. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

/* As polkit does, it runs as another user than root: its answers must come through the policy of the bus. dbus-daemon wants
 * to know the user, and there is one of this number on every machine. */
#define USER 2

#define WAITING_MAX 1024

static char answer[32] = "allowed";
static sd_bus_message *waiting[WAITING_MAX];
static unsigned n_waiting;

static int reply_to(sd_bus_message *message)
{
    if (strcmp(answer, "error") == 0)
        return sd_bus_reply_method_errorf(message, "org.freedesktop.PolicyKit1.Error.Failed", "out of sorts");
    return sd_bus_reply_method_return(message, "(bba{ss})", strcmp(answer, "allowed") == 0,
                                      strcmp(answer, "challenge") == 0, 0);
}

static int print_details(sd_bus_message *message)
{
    const char *key = NULL, *value = NULL;
    int r = sd_bus_message_enter_container(message, 'a', "{ss}");

    while (r >= 0 && (r = sd_bus_message_read(message, "{ss}", &key, &value)) > 0)
        printf("\t%s=%s", key, value);
    return r < 0 ? r : sd_bus_message_exit_container(message);
}

static int on_check(sd_bus_message *message, void *data, sd_bus_error *error)
{
    const char *kind = NULL, *key = NULL, *name = NULL, *action = NULL, *id = NULL;
    unsigned flags = 0;
    int r = sd_bus_message_read(message, "(sa{sv})s", &kind, 1, &key, "s", &name, &action);

    (void)data;
    (void)error;
    if (r < 0)
        return r;
    printf("check\tsubject=%s\t%s=%s\taction=%s", kind, key, name, action);
    r = print_details(message);
    if (r >= 0)
        r = sd_bus_message_read(message, "us", &flags, &id);
    if (r < 0)
        return r;
    printf("\tflags=%u\tid=%s\n", flags, id);
    if (strcmp(answer, "wait") != 0)
        return reply_to(message);
    if (n_waiting == WAITING_MAX)
        return -ENOBUFS;
    waiting[n_waiting++] = sd_bus_message_ref(message);
    return 1;
}

static int on_cancel(sd_bus_message *message, void *data, sd_bus_error *error)
{
    const char *id = NULL;
    int r = sd_bus_message_read(message, "s", &id);

    (void)data;
    (void)error;
    if (r < 0)
        return r;
    printf("cancel\tid=%s\n", id);
    return sd_bus_reply_method_return(message, "");
}

static int on_answer(sd_bus_message *message, void *data, sd_bus_error *error)
{
    const char *text = NULL;
    int r = sd_bus_message_read(message, "s", &text);

    (void)data;
    (void)error;
    if (r < 0)
        return r;
    snprintf(answer, sizeof(answer), "%s", text);
    while (strcmp(answer, "wait") != 0 && n_waiting > 0) {
        (void)reply_to(waiting[--n_waiting]);
        sd_bus_message_unref(waiting[n_waiting]);
    }
    return sd_bus_reply_method_return(message, "");
}

static const sd_bus_vtable authority[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", on_check, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("CancelCheckAuthorization", "s", "", on_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static const sd_bus_vtable mock[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Answer", "s", "", on_answer, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

int main(void)
{
    sd_bus *bus = NULL;
    int r = setresgid(USER, USER, USER) < 0 || setresuid(USER, USER, USER) < 0 ? -EPERM : sd_bus_open_system(&bus);

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (r >= 0)
        r = sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/PolicyKit1/Authority",
                                     "org.freedesktop.PolicyKit1.Authority", authority, NULL);
    if (r >= 0)
        r = sd_bus_add_object_vtable(bus, NULL, "/mock", "org.virtnest1.Mock", mock, NULL);
    if (r >= 0)
        r = sd_bus_request_name(bus, "org.freedesktop.PolicyKit1", 0);
    while (r >= 0) {
        r = sd_bus_process(bus, NULL);
        if (r == 0)
            r = sd_bus_wait(bus, UINT64_MAX);
    }
    fprintf(stderr, "mock-polkit: %s\n", strerror(-r));
    return EXIT_FAILURE;
}
