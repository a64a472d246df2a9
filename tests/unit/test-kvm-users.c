/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/kvm-users.c: who uses KVM, in a recorded /proc. */

#include "lib/kvm-users.h"

#include "tests/unit/util.h"
#include <string.h>
#include <sys/stat.h>

static void add_process(const UtilRoot *root, const char *pid, const char *comm, const char *cmdline, gsize length,
                        const char *link)
{
    g_autofree char *comm_path = g_build_filename("proc", pid, "comm", NULL);
    g_autofree char *cmdline_path = g_build_filename("proc", pid, "cmdline", NULL);
    g_autofree char *null = g_build_filename("proc", pid, "fd/0", NULL);
    g_autofree char *fd = g_build_filename("proc", pid, "fd/11", NULL);

    util_root_write(root, comm_path, comm);
    util_root_write_bytes(root, cmdline_path, cmdline, length);
    util_root_link(root, null, "/dev/null");
    util_root_link(root, fd, link);
}

static void assert_users(const UtilRoot *root, const char *expected)
{
    g_autoptr(GPtrArray) users = kvm_users_find(root->path, "kvm_amd");

    g_ptr_array_add(users, NULL);
    g_autofree char *joined = g_strjoinv(", ", (char **)users->pdata);
    g_assert_cmpstr(joined, ==, expected);
}

static void test_users(void)
{
    static const char web[] = "/usr/bin/qemu-system-x86_64\0-name\0guest=web1,debug-threads=on\0-S";
    static const char comma[] = "qemu-kvm\0-name\0guest=a,,b=c\0-S";
    static const char plain[] = "firecracker\0--api-sock\0/x";
    g_autoptr(UtilRoot) root = util_root_new();
    g_autofree char *closed = util_root_path(root, "proc/13/fd");

    assert_users(root, "");
    util_root_write(root, "proc/uptime", "1 1\n");
    add_process(root, "10", "qemu-system-x86\n", web, sizeof(web), "anon_inode:kvm-vm");
    add_process(root, "11", "qemu-kvm\n", comma, sizeof(comma), "/dev/kvm");
    add_process(root, "12", "firecracker\n", plain, sizeof(plain), "/dev/kvm");
    add_process(root, "13", "bash\n", "bash", strlen("bash"), "/dev/tty");
    add_process(root, "14", "qemu-system-x86\n", web, sizeof(web), "anon_inode:kvm-vcpu-stats:0");
    assert_users(root, "domain a,b=c, domain web1, firecracker (PID 12)");
    util_root_link(root, "sys/module/kvm_amd/holders/kvmgt", "../../kvmgt");
    assert_users(root, "domain a,b=c, domain web1, firecracker (PID 12), module kvmgt");
    g_assert_cmpint(chmod(closed, 0), ==, 0);
    assert_users(root, "domain a,b=c, domain web1, firecracker (PID 12), module kvmgt");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm-users/users", test_users);
    return g_test_run();
}
