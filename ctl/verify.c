/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl verify: whether a running guest really can have guests of its own, by libvirt and by the guest itself. */

#include "ctl/checks.h"
#include "ctl/guest.h"
#include "ctl/libvirt.h"
#include "ctl/verbs.h"
#include "daemon/libvirt-error.h"
#include "lib/error.h"
#include <libvirt/libvirt-qemu.h>
#include <string.h>

/* For one answer, and for all of them. */
#define ANSWER_S 5
#define ALL_S 20
/* The flags of the first processor come in its first kilobytes. */
#define READ_SIZE (16 * 1024)
#define READ_MAX (64 * 1024)
/* What a guest says of an error is shown, and not at any length. */
#define MESSAGE_MAX 300

static gboolean arg_no_agent;

typedef struct Agent {
    virDomain *domain;
    gint64 end; /* CLOCK_MONOTONIC: until then it may answer */
} Agent;

typedef struct Inside {
    GuestInside inside;
    GuestCpuinfo cpuinfo;
    char *agent_error, *cpuinfo_error, *device_error;
} Inside;

static void inside_clear(Inside *inside)
{
    g_free(inside->agent_error);
    g_free(inside->cpuinfo_error);
    g_free(inside->device_error);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Inside, inside_clear)

/* Takes over @command. Returns: the answer, to be freed with free(), or NULL with an error. */
static char *ask(const Agent *agent, char *command, GError **error)
{
    g_autofree char *owned = command;
    gint64 left_s = (agent->end - g_get_monotonic_time()) / G_USEC_PER_SEC;

    if (left_s <= 0) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_AGENT, "the guest's agent takes longer than %d s", ALL_S);
        return NULL;
    }
    char *answer = virDomainQemuAgentCommand(agent->domain, owned, (int)MIN(left_s, ANSWER_S), 0);
    if (answer == NULL)
        libvirt_set_error(error, "no answer of the guest's agent");
    return answer;
}

static void close_file(const Agent *agent, gint64 handle)
{
    g_autoptr(mallocString) answer = ask(agent, guest_agent_command_close(handle), NULL);
}

static bool open_file(const Agent *agent, const char *path, gint64 *ret_handle, GError **error)
{
    g_autoptr(mallocString) answer = ask(agent, guest_agent_command_open(path), error);

    return answer != NULL && guest_agent_parse_handle(answer, ret_handle, error);
}

/* Returns: whether the line of flags was found. */
static bool read_flags(const Agent *agent, gint64 handle, GuestCpuinfo *ret_cpuinfo, GError **error)
{
    g_autoptr(GByteArray) content = g_byte_array_new();
    bool at_end = false;

    while (!at_end && content->len < READ_MAX) {
        g_autoptr(mallocString) answer = ask(agent, guest_agent_command_read(handle, READ_SIZE), error);
        if (answer == NULL || !guest_agent_parse_read(answer, READ_SIZE, content, &at_end, error))
            return false;
        if (guest_cpuinfo_parse(content->data, content->len, ret_cpuinfo))
            return true;
    }
    g_set_error_literal(error, VIRTNEST_ERROR, VIRTNEST_ERROR_AGENT, "it has no line of flags");
    return false;
}

static bool read_cpuinfo(const Agent *agent, GuestCpuinfo *ret_cpuinfo, GError **error)
{
    gint64 handle = 0;

    if (!open_file(agent, "/proc/cpuinfo", &handle, error))
        return false;
    bool good = read_flags(agent, handle, ret_cpuinfo, error);
    close_file(agent, handle);
    return good;
}

/* To open it shows that there is a KVM behind it. */
static bool open_device(const Agent *agent, GError **error)
{
    gint64 handle = 0;

    if (!open_file(agent, "/dev/kvm", &handle, error))
        return false;
    close_file(agent, handle);
    return true;
}

/* Returns: what is wrong, cut to a length that can be read; takes the error over. */
static char *describe(GError *error)
{
    g_autoptr(GError) owned = error;
    g_autofree char *start = g_strndup(owned->message, MESSAGE_MAX);

    return g_utf8_make_valid(start, -1);
}

static bool ask_what_it_is(const Agent *agent, bool *ret_is_windows, GError **error)
{
    g_autoptr(mallocString) answer = ask(agent, guest_agent_command("guest-info"), error);
    GuestAgentInfo info;

    if (answer == NULL || !guest_agent_parse_info(answer, &info, error))
        return false;
    if (info.tells_os) {
        g_autoptr(mallocString) os = ask(agent, guest_agent_command("guest-get-osinfo"), error);
        if (os == NULL || !guest_agent_parse_os(os, ret_is_windows, error))
            return false;
    }
    if (*ret_is_windows || info.reads_files)
        return true;
    g_set_error_literal(
        error, VIRTNEST_ERROR, VIRTNEST_ERROR_AGENT,
        "the guest's agent answers, and is not allowed to read files (block-rpcs= in its configuration)");
    return false;
}

static void look_inside(virDomain *domain, Inside *inside)
{
    const Agent agent = {.domain = domain, .end = g_get_monotonic_time() + ALL_S * G_USEC_PER_SEC};
    GError *error = NULL;

    if (!ask_what_it_is(&agent, &inside->inside.is_windows, &error)) {
        inside->agent_error = describe(error);
        return;
    }
    if (inside->inside.is_windows)
        return;
    if (read_cpuinfo(&agent, &inside->cpuinfo, &error))
        inside->inside.cpuinfo = &inside->cpuinfo;
    else
        inside->cpuinfo_error = describe(g_steal_pointer(&error));
    if (!open_device(&agent, &error))
        inside->device_error = describe(g_steal_pointer(&error));
}

int verb_verify(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {
        CHECKS_ENTRIES,
        {"no-agent", 0, 0, G_OPTION_ARG_NONE, &arg_no_agent, "Ask libvirt alone, and not the guest's agent", NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    JsonFormat format = JSON_OFF;
    g_auto(Inside) inside = {0};
    g_autoptr(GError) error = NULL;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 1, 1, &argc, &argv) || !checks_parse_format(&format))
        return STATUS_USAGE;
    g_autoptr(VirConnect) connection = libvirt_open();
    g_autoptr(VirDomain) domain = connection != NULL ? libvirt_find(connection, argv[1]) : NULL;
    if (domain == NULL)
        return STATUS_FAILED;
    g_autoptr(Guest) guest = guest_new(NULL, NULL, &error);
    if (guest == NULL)
        return verb_fail("%s", error->message);
    if (!guest_read(guest, domain, &error))
        return verb_fail("domain '%s': %s", argv[1], error->message);
    if (arg_no_agent)
        inside.agent_error = g_strdup("it was not asked");
    else if (guest->live_xml != NULL)
        look_inside(domain, &inside);
    inside.inside.agent_error = inside.agent_error;
    inside.inside.cpuinfo_error = inside.cpuinfo_error;
    inside.inside.device_error = inside.device_error;
    g_autoptr(GPtrArray) checks = guest_checks_verify(&guest->input, &inside.inside, &error);
    return checks != NULL ? checks_print(checks, format) : verb_fail("domain '%s': %s", argv[1], error->message);
}
