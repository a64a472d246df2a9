/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/blocker.h"

#include "tests/unit/util.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_image(void)
{
    static const gsize sizes[] = {[BLOCKER_VDI] = 512, [BLOCKER_VPC] = 1024};

    for (BlockerFormat format = BLOCKER_VDI; format < BLOCKER_FORMATS; format++) {
        g_autoptr(GBytes) image = blocker_image(format);
        g_autoptr(GError) error = NULL;
        char read_back[2048];
        gsize size = 0;
        const void *data = g_bytes_get_data(image, &size);
        g_assert_cmpuint(size, ==, sizes[format]);
        int fd = blocker_open(format, &error);
        g_assert_no_error(error);
        g_assert_cmpint(pread(fd, read_back, sizeof(read_back), 0), ==, (gssize)size);
        g_assert_cmpmem(read_back, size, data, size);
        close(fd);
    }
}

/* The file that is shipped for QEMUs that may not read a memfd. */
static void test_installed_image(void)
{
    g_autofree char *path = g_test_build_filename(G_TEST_DIST, "..", "policy", BLOCKER_NODE ".vdi", NULL);
    g_autoptr(GBytes) image = blocker_image(BLOCKER_VDI);
    g_autofree char *data = NULL;
    g_autoptr(GError) error = NULL;
    gsize length = 0;

    g_assert_true(g_file_get_contents(path, &data, &length, &error));
    g_assert_no_error(error);
    g_assert_cmpmem(data, length, g_bytes_get_data(image, NULL), g_bytes_get_size(image));
}

/* Nobody can write to it: not through this descriptor, nor through one that is opened anew. */
static void test_sealed(void)
{
    int fd = blocker_open(BLOCKER_VDI, NULL);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

    g_assert_cmpint(fcntl(fd, F_GETFL) & O_ACCMODE, ==, O_RDONLY);
    g_assert_cmpint(fcntl(fd, F_GET_SEALS), ==, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    int again = open(path, O_RDWR | O_CLOEXEC);
    if (again >= 0) {
        g_assert_cmpint(pwrite(again, "x", 1, 0), ==, -1);
        g_assert_cmpint(ftruncate(again, 0), ==, -1);
        close(again);
    }
    close(fd);
}

/* QEMU itself opens each of them, and tells that it blocks migration. */
static void test_qemu(void)
{
    g_autofree char *program = g_find_program_in_path("qemu-system-x86_64");

    if (program == NULL) {
        g_test_skip("no qemu-system-x86_64");
        return;
    }
    for (BlockerFormat format = BLOCKER_VDI; format < BLOCKER_FORMATS; format++) {
        int fd = blocker_open(format, NULL);
        g_autofree char *node =
            g_strdup_printf("driver=%s,node-name=" BLOCKER_NODE ",read-only=on,file.driver=file,file.read-only=on,"
                            "file.filename=/proc/%d/fd/%d",
                            blocker_format_to_string(format), (int)getpid(), fd);
        const char *const argv[] = {program, "-nodefaults", "-machine",  "none", "-display", "none",
                                    "-qmp",  "stdio",       "-blockdev", node,   NULL};
        g_autoptr(GSubprocess) qemu = NULL;
        g_autoptr(GError) error = NULL;
        g_autofree char *answers = NULL;
        qemu = g_subprocess_newv(argv, G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error);
        g_assert_no_error(error);
        g_assert_true(g_subprocess_communicate_utf8(qemu,
                                                    "{\"execute\":\"qmp_capabilities\"}\n"
                                                    "{\"execute\":\"query-migrate\"}\n{\"execute\":\"quit\"}\n",
                                                    NULL, &answers, NULL, &error));
        g_assert_no_error(error);
        util_assert_contains(answers, "blocked-reasons");
        util_assert_contains(answers, BLOCKER_NODE);
        util_assert_contains(answers, blocker_format_to_string(format));
        close(fd);
    }
}

static void test_commands(void)
{
    char *commands[] = {blocker_command_add_fd(),         blocker_command_remove_fd(), blocker_command_add(BLOCKER_VDI),
                        blocker_command_add(BLOCKER_VPC), blocker_command_remove(),    blocker_command_find()};

    util_assert_contains(commands[2], "\"driver\":\"vdi\"");
    util_assert_contains(commands[3], "\"driver\":\"vpc\"");
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autoptr(JsonParser) parser = json_parser_new();
        g_autoptr(GError) error = NULL;
        g_assert_true(json_parser_load_from_data(parser, commands[i], -1, &error));
        g_assert_no_error(error);
        g_free(commands[i]);
    }
}

static void test_replies(void)
{
    static const struct {
        const char *text;
        BlockerReply reply;
        const char *message; /* NULL: no error */
    } cases[] = {
        {"{\"return\":{},\"id\":\"libvirt-11\"}", BLOCKER_REPLY_DONE, NULL},
        {"{\"return\":{\"fdset-id\":1447971374,\"fd\":31}}", BLOCKER_REPLY_DONE, NULL},
        {"{\"error\":{\"class\":\"GenericError\",\"desc\":\"Duplicate nodes with node-name='virtnest-l2-running'\"}}",
         BLOCKER_REPLY_THERE, NULL},
        {"{\"error\":{\"class\":\"GenericError\",\"desc\":\"Failed to find node with node-name='virtnest-l2-running'\"}}",
         BLOCKER_REPLY_NOT_THERE, NULL},
        {"{\"error\":{\"class\":\"GenericError\",\"desc\":\"disallowing migration blocker (migration/snapshot in progress) "
         "for: The vdi format\"}}",
         BLOCKER_REPLY_TOO_LATE, "in progress"},
        {"{\"error\":{\"class\":\"GenericError\",\"desc\":\"Driver 'vdi' is not whitelisted\"}}", BLOCKER_REPLY_REFUSED,
         "not whitelisted"},
        {"{\"error\":{\"class\":\"GenericError\"}}", BLOCKER_REPLY_REFUSED, "QEMU: "},
        {"{\"error\":7}", BLOCKER_REPLY_REFUSED, "QEMU: "},
        {"{}", BLOCKER_REPLY_DONE, NULL},
        {"[]", BLOCKER_REPLY_REFUSED, "something else than JSON"},
        {"", BLOCKER_REPLY_REFUSED, "something else than JSON"},
        {"{\"return\":", BLOCKER_REPLY_REFUSED, "something else than JSON"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_test_message("%s", cases[i].text);
        g_assert_cmpint(blocker_parse_reply(cases[i].text, &error), ==, cases[i].reply);
        if (cases[i].message == NULL) {
            g_assert_no_error(error);
        } else {
            g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_MONITOR);
            util_assert_contains(error->message, cases[i].message);
        }
    }
}

static void test_nodes(void)
{
    static const struct {
        const char *text;
        int found; /* -1: an error */
    } cases[] = {
        {"{\"return\":[]}", 0},
        {"{\"return\":[{\"node-name\":\"a\"},{\"node-name\":\"virtnest-l2-running\",\"drv\":\"vdi\"}]}", 1},
        {"{\"return\":[{\"node-name\":\"virtnest-l2-running-not\"},7,{}]}", 0},
        {"{\"return\":{}}", -1},
        {"{\"error\":{\"desc\":\"no\"}}", -1},
        {"x", -1},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        bool found = cases[i].found != 1;
        g_assert_cmpint(blocker_parse_nodes(cases[i].text, &found, &error), ==, cases[i].found >= 0);
        if (cases[i].found >= 0)
            g_assert_cmpint(found, ==, cases[i].found);
        else
            g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_MONITOR);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/blocker/image", test_image);
    g_test_add_func("/blocker/installed-image", test_installed_image);
    g_test_add_func("/blocker/sealed", test_sealed);
    g_test_add_func("/blocker/qemu", test_qemu);
    g_test_add_func("/blocker/commands", test_commands);
    g_test_add_func("/blocker/replies", test_replies);
    g_test_add_func("/blocker/nodes", test_nodes);
    return g_test_run();
}
