/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The sources against the real KVM: another process makes a VM with vCPUs, and its statistics are read from here. Where
 * /dev/kvm cannot be opened there is nothing to test. Nested guests there are none; their counters stand at 0.
 */

#include "lib/l2-source.h"

#include "tests/unit/fake-qemu.h"
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "web1"
#define UUID "5f0a7c52-0a5b-4b63-9d1c-8a8f7f3e6b42"
#define VCPUS 4
#define DEBUGFS "/sys/kernel/debug/kvm"

/* The other process: `PROGRAM --vm -uuid UUID`, as QEMU has it in its command line. Says what it has got, and waits. */
static int be_vm(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), n = 0;
    int vm = kvm >= 0 ? ioctl(kvm, KVM_CREATE_VM, 0) : -1;
    char byte;

    for (unsigned long i = 0; vm >= 0 && i < VCPUS; i++) {
        int vcpu = ioctl(vm, KVM_CREATE_VCPU, i);
        if (vcpu >= 0 && ioctl(vcpu, KVM_GET_STATS_FD, 0) >= 0)
            n++;
    }
    printf("%d\n", n);
    (void)fflush(stdout);
    return read(STDIN_FILENO, &byte, 1) == 0 ? 0 : 1;
}

typedef struct Vm {
    UtilRoot *root;
    GPid pid;
    int in, out;
    bool works;
} Vm;

static void vm_end(Vm *vm)
{
    if (vm->pid == 0)
        return;
    (void)kill(vm->pid, SIGKILL);
    (void)waitpid(vm->pid, NULL, 0);
    (void)close(vm->in);
    (void)close(vm->out);
    vm->pid = 0;
}

static Vm *vm_free(Vm *vm)
{
    if (vm == NULL)
        return NULL;
    vm_end(vm);
    util_root_free(vm->root);
    g_free(vm);
    return NULL;
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Vm, vm_free)

/* Returns: NULL, and the test counts as skipped, where there is no KVM with statistics. */
static Vm *vm_new(void)
{
    char program[] = "/proc/self/exe", mode[] = "--vm", option[] = "-uuid", uuid[] = UUID, answer[16] = "";
    char *argv[] = {program, mode, option, uuid, NULL};
    g_autoptr(Vm) vm = g_new0(Vm, 1);
    g_autoptr(GError) error = NULL;

    vm->root = util_root_new();
    util_root_link(vm->root, "/proc", "/proc");
    g_assert_true(g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &vm->pid, &vm->in,
                                           &vm->out, NULL, &error));
    g_assert_no_error(error);
    g_assert_cmpint(read(vm->out, answer, sizeof(answer) - 1), >, 0);
    if (atoi(answer) != VCPUS) {
        g_test_skip("no KVM with binary statistics here");
        return NULL;
    }
    g_autofree char *pid = g_strdup_printf("%d", (int)vm->pid);
    util_root_write(vm->root, "/run/libvirt/qemu/" NAME ".pid", pid);
    return g_steal_pointer(&vm);
}

static QemuProcess *open_process(const Vm *vm)
{
    g_autoptr(GError) error = NULL;
    QemuProcess *process = qemu_process_open(vm->root->path, NAME, UUID, &qemu_process_calls, &error);

    g_assert_no_error(error);
    return process;
}

static char *debugfs_folder(const Vm *vm)
{
    g_autofree char *prefix = g_strdup_printf("%d-", (int)vm->pid);
    g_autoptr(GDir) dir = g_dir_open(DEBUGFS, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        if (g_str_has_prefix(name, prefix))
            return g_build_filename(DEBUGFS, name, NULL);
    return NULL;
}

static void assert_quiet(L2Source *source, guint vcpus)
{
    g_autoptr(GArray) readings = g_array_new(FALSE, FALSE, sizeof(L2Reading));
    g_autoptr(GError) error = NULL;

    g_assert_true(l2_source_sample(source, readings, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(readings->len, ==, vcpus);
    for (guint i = 0; i < vcpus; i++) {
        const L2Reading *reading = &g_array_index(readings, L2Reading, i);
        g_assert_cmpuint(reading->vcpu, ==, i);
        g_assert_true(reading->has_counter);
        g_assert_cmpuint(reading->nested_run, ==, 0);
        g_assert_false(reading->guest_mode);
    }
}

/* What was borrowed holds the VM; once it is given back, the VM is gone. */
static void test_stats_fd(void)
{
    g_autoptr(Vm) vm = vm_new();

    if (vm == NULL)
        return;
    g_autofree char *folder = debugfs_folder(vm);
    g_autoptr(QemuProcess) process = open_process(vm);
    g_autoptr(GError) error = NULL;
    g_autoptr(L2Source) source = stats_fd_open(process, &error);
    g_assert_no_error(error);
    assert_quiet(source, VCPUS);
    g_autoptr(GArray) numbers = stats_fd_list_vcpus(process->root, process->pid, &error);
    g_assert_no_error(error);
    g_assert_true(l2_source_has_vcpus(source, numbers));

    vm_end(vm);
    struct pollfd ended = {.fd = process->pidfd, .events = POLLIN};
    g_assert_cmpint(poll(&ended, 1, -1), ==, 1);
    assert_quiet(source, VCPUS);
    if (folder != NULL)
        g_assert_true(g_file_test(folder, G_FILE_TEST_EXISTS));
    (void)l2_source_close(g_steal_pointer(&source));
    if (folder != NULL)
        g_assert_false(g_file_test(folder, G_FILE_TEST_EXISTS));
    else
        g_test_message("debugfs is not mounted: not looked whether the VM is gone");
}

static void test_debugfs(void)
{
    g_autoptr(Vm) vm = vm_new();
    g_autofree char *folder = vm != NULL ? debugfs_folder(vm) : NULL;

    if (vm != NULL && folder == NULL)
        g_test_skip("debugfs is not mounted");
    if (folder == NULL)
        return;
    util_root_link(vm->root, "/sys", "/sys");
    g_autoptr(QemuProcess) process = open_process(vm);
    g_autoptr(GError) error = NULL;
    g_autoptr(L2Source) source = debugfs_open(process, &error);
    g_assert_no_error(error);
    if (l2_source_counts(source))
        assert_quiet(source, 1);
    /* Nothing is held: the VM is gone with its process, and the source knows. */
    vm_end(vm);
    g_assert_false(g_file_test(folder, G_FILE_TEST_EXISTS));
    g_autoptr(GArray) readings = g_array_new(FALSE, FALSE, sizeof(L2Reading));
    g_assert_false(l2_source_sample(source, readings, &error));
    g_assert_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM);
}

/* A debugfs of the test's own, if the machine has none and the test may. */
static void mount_debugfs(void)
{
    if (g_file_test(DEBUGFS, G_FILE_TEST_EXISTS) || unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return;
    (void)mount("none", "/sys/kernel/debug", "debugfs", 0, NULL);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--vm") == 0)
        return be_vm();
    if (!fake_qemu_works()) {
        puts("1..0 # SKIP no pidfd_open(2) here");
        return 0;
    }
    mount_debugfs();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/stats-fd", test_stats_fd);
    g_test_add_func("/kvm/debugfs", test_debugfs);
    return g_test_run();
}
