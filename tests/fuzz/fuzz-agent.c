/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Any bytes as an answer of a guest's agent: either they are one, of the size that was asked for, or it is told what is wrong.
 * And as a guest's /proc/cpuinfo.
 *
 * "make check" replays the corpus. To look for more, from the top of the tree:
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -std=gnu17 -D_GNU_SOURCE -I. \
 *     $(pkg-config --cflags json-glib-1.0) tests/fuzz/fuzz-agent.c lib/guest-agent.c lib/error.c \
 *     $(pkg-config --libs json-glib-1.0) -o /tmp/fuzz-agent
 *   mkdir /tmp/found && /tmp/fuzz-agent /tmp/found tests/fuzz/corpus/agent
 */

#include "tests/fuzz/fuzz.h"

#include "lib/error.h"
#include "lib/guest-agent.h"

#define MOST 1000

static void check(bool good, const GError *error)
{
    if (good) {
        g_assert_no_error(error);
    } else {
        g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_AGENT);
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *reply = g_strndup(size > 0 ? (const char *)data : "", size);
    g_autoptr(GError) info_error = NULL, os_error = NULL, handle_error = NULL, read_error = NULL;
    g_autoptr(GByteArray) content = g_byte_array_new();
    GuestAgentInfo info;
    GuestCpuinfo cpuinfo;
    gint64 handle;
    bool windows, end;

    bool good = guest_agent_parse_info(reply, &info, &info_error);
    check(good, info_error);
    good = guest_agent_parse_os(reply, &windows, &os_error);
    check(good, os_error);
    good = guest_agent_parse_handle(reply, &handle, &handle_error);
    check(good, handle_error);
    good = guest_agent_parse_read(reply, MOST, content, &end, &read_error);
    check(good, read_error);
    g_assert_cmpuint(content->len, <=, good ? MOST : 0);
    (void)guest_cpuinfo_parse(content->data, content->len, &cpuinfo);
    (void)guest_cpuinfo_parse(data, size, &cpuinfo);
    return 0;
}
