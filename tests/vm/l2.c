// SPDX-License-Identifier: LGPL-2.1-or-later

/* An L2: the smallest guest that KVM runs, one vCPU in real mode. It runs in an L1, as a static program.
 *
 *     l2 [--spin|--busy] [--from=COUNT]
 *
 * It counts, and writes each count to a port, which leads out of it: some hundred times a second, or with --busy as often
 * as it can. With --spin it does so once, and then loops without ever leaving by itself. SIGSTOP pauses it. On SIGTERM it
 * ends and prints the count that it came to, from which another one may go on. */

#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PORT 0x10

static const uint8_t count_code[] = {
    0x66, 0xff, 0xc3, /*       inc %ebx        */
    0xe6, PORT,       /*       out %al, $PORT  */
    0xeb, 0xf9,       /*       jmp back to inc */
};
static const uint8_t spin_code[] = {
    0xe6, PORT, /* out %al, $PORT */
    0xeb, 0xfe, /* jmp to itself  */
};

static struct kvm_run *run;
static volatile sig_atomic_t ended;

static void end(int signum)
{
    (void)signum;
    ended = 1;
    run->immediate_exit = 1;
}

int main(int argc, char *argv[])
{
    struct sigaction action = {.sa_handler = end};
    struct kvm_userspace_memory_region region = {.memory_size = 0x1000};
    const uint8_t *code = count_code;
    size_t code_size = sizeof(count_code);
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rflags = 2};
    useconds_t pause = 4000;
    int kvm, vm, vcpu, size, exits = 0;
    void *memory;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--spin") == 0) {
            code = spin_code;
            code_size = sizeof(spin_code);
        } else if (strcmp(argv[i], "--busy") == 0)
            pause = 0;
        else if (strncmp(argv[i], "--from=", 7) == 0)
            regs.rbx = strtoull(argv[i] + 7, NULL, 10);
        else
            errx(2, "what is %s?", argv[i]);
    }

    kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        err(1, "/dev/kvm");
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0)
        err(1, "KVM_CREATE_VM");
    memory = mmap(NULL, region.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        err(1, "mmap");
    memcpy(memory, code, code_size);
    region.userspace_addr = (uintptr_t)memory;
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        err(1, "KVM_SET_USER_MEMORY_REGION");
    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu < 0)
        err(1, "KVM_CREATE_VCPU");
    size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED)
        err(1, "mmap");
    if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
        err(1, "KVM_GET_SREGS");
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
        err(1, "KVM_SET_REGS");
    sigaction(SIGTERM, &action, NULL);

    while (!ended) {
        if (ioctl(vcpu, KVM_RUN, 0) < 0)
            continue; /* a signal */
        if (run->exit_reason != KVM_EXIT_IO)
            errx(1, "exit %u", run->exit_reason);
        if (exits++ == 0) {
            printf("l2: runs\n");
            fflush(stdout);
        }
        if (pause)
            usleep(pause);
    }

    if (ioctl(vcpu, KVM_GET_REGS, &regs) < 0)
        err(1, "KVM_GET_REGS");
    printf("l2: ended at %llu\n", regs.rbx);
    return 0;
}
