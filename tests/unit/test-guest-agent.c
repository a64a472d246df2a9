/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/guest-agent.c: what is asked, and answers of agents, honest ones and others. */

#include "lib/guest-agent.h"

#include "lib/error.h"
#include "tests/unit/util.h"
#include <string.h>

static void test_commands(void)
{
    g_autofree char *info = guest_agent_command("guest-info"), *open = guest_agent_command_open("/proc/cpu\"info"),
                    *read = guest_agent_command_read(1000, 16384), *close = guest_agent_command_close(-1);

    g_assert_cmpstr(info, ==, "{\"execute\":\"guest-info\"}");
    g_assert_cmpstr(open, ==,
                    "{\"execute\":\"guest-file-open\",\"arguments\":{\"path\":\"/proc/cpu\\\"info\",\"mode\":\"r\"}}");
    g_assert_cmpstr(read, ==, "{\"execute\":\"guest-file-read\",\"arguments\":{\"handle\":1000,\"count\":16384}}");
    g_assert_cmpstr(close, ==, "{\"execute\":\"guest-file-close\",\"arguments\":{\"handle\":-1}}");
}

#define COMMAND(name, enabled) "{\"name\":\"" name "\",\"enabled\":" enabled ",\"success-response\":true}"
#define INFO(commands) "{\"return\":{\"version\":\"7.2.9\",\"supported_commands\":[" commands "]}}"

static void test_info(void)
{
    static const struct {
        const char *reply;
        bool files, os;
    } cases[] = {
        {INFO(COMMAND("guest-file-open", "true") "," COMMAND("guest-file-read", "true") "," COMMAND(
             "guest-file-close", "true") "," COMMAND("guest-get-osinfo", "true")),
         true, true},
        {INFO(COMMAND("guest-file-open", "false") "," COMMAND("guest-file-read", "true") "," COMMAND("guest-file-close",
                                                                                                     "true")),
         false, false},
        {INFO(COMMAND("guest-get-osinfo", "true")), false, true},
        {INFO(""), false, false},
        {INFO("1,null,[],{\"name\":5,\"enabled\":true},{\"name\":\"guest-get-osinfo\",\"enabled\":\"yes\"}"), false,
         false},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        GuestAgentInfo info;
        g_assert_true(guest_agent_parse_info(cases[i].reply, &info, &error));
        g_assert_no_error(error);
        g_assert_cmpint(info.reads_files, ==, cases[i].files);
        g_assert_cmpint(info.tells_os, ==, cases[i].os);
    }
}

static void test_os(void)
{
    bool windows = false;

    g_assert_true(guest_agent_parse_os("{\"return\":{\"id\":\"mswindows\",\"name\":\"x\"}}", &windows, NULL));
    g_assert_true(windows);
    g_assert_true(guest_agent_parse_os("{\"return\":{\"id\":\"debian\"}}", &windows, NULL));
    g_assert_false(windows);
    g_assert_true(guest_agent_parse_os("{\"return\":{\"id\":[]}}", &windows, NULL));
    g_assert_false(windows);
}

static void test_handle(void)
{
    gint64 handle = 5;

    g_assert_true(guest_agent_parse_handle("{\"return\":1000}", &handle, NULL));
    g_assert_cmpint(handle, ==, 1000);
}

static void test_read(void)
{
    g_autoptr(GByteArray) content = g_byte_array_new();
    bool end = true;

    g_assert_true(guest_agent_parse_read("{\"return\":{\"count\":3,\"buf-b64\":\"YWJj\",\"eof\":false}}", 3, content,
                                         &end, NULL));
    g_assert_false(end);
    g_assert_true(
        guest_agent_parse_read("{\"return\":{\"count\":2,\"buf-b64\":\"ZGU=\",\"eof\":true}}", 3, content, &end, NULL));
    g_assert_true(end);
    g_assert_cmpmem(content->data, content->len, "abcde", 5);
    /* It could answer so for ever. */
    g_assert_true(
        guest_agent_parse_read("{\"return\":{\"count\":0,\"buf-b64\":\"\",\"eof\":false}}", 3, content, &end, NULL));
    g_assert_true(end);
}

/* None of them is an answer to anything; the last ones only not to guest-file-read. */
static void test_hostile(void)
{
    g_autofree char *deep = g_malloc0(100001), *objects = g_strnfill(20, '{'), *long_one = g_malloc(600001);
    memset(deep, '[', 100000);
    memset(long_one, ' ', 600000);
    memcpy(long_one, "{\"return\":1}", 12);
    long_one[600000] = '\0';
    g_autofree char *nested = g_strdup_printf("{\"return\":%s", deep);
    const char *const replies[] = {
        "",
        "null",
        "1",
        "[]",
        "{}",
        "{",
        "{\"return\"",
        "{\"return\":null}",
        "{\"return\":{\"count\"",
        "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}",
        "{\"return\":\"\xff\xfe\"}",
        "{\"return\":[]}",
        "{\"return\":1.5}",
        "{\"return\":true}",
        "{\"return\":\"1000\"}",
        "{\"return\":1e400}",
        deep,
        nested,
        objects,
        long_one,
        "{\"return\":{}}",
        "{\"return\":{\"count\":3,\"buf-b64\":\"YWJj\"}}",
        "{\"return\":{\"count\":-1,\"buf-b64\":\"\",\"eof\":true}}",
        "{\"return\":{\"count\":2,\"buf-b64\":\"YWJj\",\"eof\":true}}",
        "{\"return\":{\"count\":9223372036854775807,\"buf-b64\":\"YWJj\",\"eof\":true}}",
        "{\"return\":{\"count\":\"3\",\"buf-b64\":\"YWJj\",\"eof\":true}}",
        "{\"return\":{\"count\":3,\"buf-b64\":{},\"eof\":true}}",
        "{\"return\":{\"count\":3,\"buf-b64\":\"YWJj\",\"eof\":1}}",
        "{\"return\":{\"count\":6,\"buf-b64\":\"YWJjZGVm\",\"eof\":true}}", /* more than was asked for */
    };

    for (gsize i = 0; i < G_N_ELEMENTS(replies); i++) {
        g_autoptr(GByteArray) content = g_byte_array_new();
        g_autoptr(GError) info_error = NULL, handle_error = NULL, read_error = NULL;
        GuestAgentInfo info;
        gint64 handle = 5;
        bool end = false;
        g_assert_false(guest_agent_parse_info(replies[i], &info, &info_error));
        g_assert_error(info_error, VIRTNEST_ERROR, VIRTNEST_ERROR_AGENT);
        g_assert_false(guest_agent_parse_handle(replies[i], &handle, &handle_error));
        g_assert_error(handle_error, VIRTNEST_ERROR, VIRTNEST_ERROR_AGENT);
        g_assert_cmpint(handle, ==, 5);
        g_assert_false(guest_agent_parse_read(replies[i], 5, content, &end, &read_error));
        g_assert_error(read_error, VIRTNEST_ERROR, VIRTNEST_ERROR_AGENT);
        g_assert_cmpuint(content->len, ==, 0);
    }
}

static void test_cpuinfo(void)
{
    static const struct {
        const char *text;
        int vmx, svm; /* -1: it is not told */
    } cases[] = {
        {"processor\t: 0\nflags\t\t: fpu vmx lm\nvmx flags\t: ept\n", 1, 0},
        {"flags\t\t: fpu svm\n\nprocessor\t: 1\nflags\t\t: vmx\n", 0, 1},
        {"flags\t\t: fpu svm_lock vmxx npt\n", 0, 0},
        {"flags\t\t:\n", 0, 0},
        {"flags: svm\n", 0, 1},
        {"vmx flags\t: vmx svm\n", -1, -1},
        {"flags\t\t: fpu vmx", -1, -1}, /* cut off: svm might follow */
        {"Features\t: fp asimd\n", -1, -1},
        {"\n\n:\n: :\n", -1, -1},
        {"", -1, -1},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        GuestCpuinfo cpuinfo = {false, false};
        bool told = guest_cpuinfo_parse((const guint8 *)cases[i].text, strlen(cases[i].text), &cpuinfo);
        g_assert_cmpint(told, ==, cases[i].vmx >= 0);
        if (!told)
            continue;
        g_assert_cmpint(cpuinfo.vmx, ==, cases[i].vmx);
        g_assert_cmpint(cpuinfo.svm, ==, cases[i].svm);
    }
    GuestCpuinfo cpuinfo;
    g_assert_false(guest_cpuinfo_parse((const guint8 *)"a\0flags: svm\n", 13, &cpuinfo));
    g_assert_false(guest_cpuinfo_parse(NULL, 0, &cpuinfo));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guest-agent/commands", test_commands);
    g_test_add_func("/guest-agent/info", test_info);
    g_test_add_func("/guest-agent/os", test_os);
    g_test_add_func("/guest-agent/handle", test_handle);
    g_test_add_func("/guest-agent/read", test_read);
    g_test_add_func("/guest-agent/hostile", test_hostile);
    g_test_add_func("/guest-agent/cpuinfo", test_cpuinfo);
    return g_test_run();
}
