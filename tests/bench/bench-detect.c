/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A thousand guests of eight vCPUs, watched through their statistics descriptors: what a tick costs, against bare reads of
 * the same descriptors, and what a guest takes of memory. Where /dev/kvm can be opened each guest is a process with a real
 * VM; elsewhere it is files of the same layout.
 *
 * bench-detect FOLDER [URI]: with the URI of a libvirt that has running guests, the same question is asked there, through
 * virDomainListGetStats() and through virsh.
 */

#include "daemon/detector.h"
#include "lib/kvm-stats.h"
#include "lib/l2-source.h"
#include "tests/bench/bench.h"
#include "tests/unit/stats-blob.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GUESTS 1000
#define VCPUS 8
#define ROUNDS 41
#define TICK_MS 50
/* Where the process numbers of guests begin that are no processes. */
#define FAKE_PIDS 10000000
#define LINK "anon_inode:kvm-vcpu-stats:"

static bool real;
static int files[GUESTS][VCPUS]; /* only if they are not */

/* Guests ----------------------------------------------------------------------------------------------------------- */

/* What QEMU is here: `bench-detect --vm -uuid UUID`. */
static int be_vm(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = kvm >= 0 ? ioctl(kvm, KVM_CREATE_VM, 0) : -1;
    char good = 1, byte;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned long i = 0; i < VCPUS; i++) {
        int vcpu = vm >= 0 ? ioctl(vm, KVM_CREATE_VCPU, i) : -1;
        good &= vcpu >= 0 && ioctl(vcpu, KVM_GET_STATS_FD, 0) >= 0;
    }
    if (write(STDOUT_FILENO, &good, 1) != 1)
        return 1;
    return read(STDIN_FILENO, &byte, 1) == 0 ? 0 : 1;
}

static char *guest_uuid(unsigned number)
{
    return g_strdup_printf("00000000-0000-4000-8000-%012u", number);
}

static GPid start_vm(unsigned number)
{
    g_autofree char *uuid = guest_uuid(number);
    char *argv[] = {(char *)"/proc/self/exe", (char *)"--vm", (char *)"-uuid", uuid, NULL};
    int out = -1, in = -1;
    GPid pid = 0;
    char good = 0;

    g_assert(
        g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, &in, &out, NULL, NULL));
    g_assert(read(out, &good, 1) == 1);
    (void)close(out);
    if (!good) {
        (void)close(in);
        (void)waitpid(pid, NULL, 0);
        return 0;
    }
    return pid;
}

static void write_file(const char *root, const char *name, const char *text, gssize length)
{
    g_autofree char *path = g_build_filename(root, name, NULL), *folder = g_path_get_dirname(path);

    g_assert(g_mkdir_with_parents(folder, 0755) == 0);
    g_assert(g_file_set_contents(path, text, length, NULL));
}

static void write_pid(const char *root, unsigned number, int pid)
{
    g_autofree char *name = g_strdup_printf("run/libvirt/qemu/guest%u.pid", number);
    g_autofree char *text = g_strdup_printf("%d\n", pid);

    write_file(root, name, text, -1);
}

/* A /proc of the guest's own, and its files here. */
static void make_fake(const char *root, unsigned number)
{
    StatsBlob blob = stats_blob_new(NULL);
    int pid = FAKE_PIDS + (int)number;
    g_autofree char *uuid = guest_uuid(number), *stat = g_strdup_printf("proc/%d/stat", pid),
                    *cmdline = g_strdup_printf("proc/%d/cmdline", pid), *fd = g_strdup_printf("proc/%d/fd/x", pid);
    g_autoptr(GString) line = g_string_new("qemu");

    g_string_append_len(line, "\0-uuid", sizeof("\0-uuid"));
    g_string_append_len(line, uuid, (gssize)strlen(uuid) + 1);
    write_file(root, stat, "1 (qemu) S 1 2 3 0 -1 4 5 6 7 8 9 10 11 12 20 0 4 0 4711 99\n", -1);
    write_file(root, cmdline, line->str, (gssize)line->len);
    write_file(root, fd, "", 0);
    for (unsigned i = 0; i < VCPUS; i++) {
        g_autofree char *link = g_strdup_printf(LINK "%u", i);
        g_autofree char *path = g_strdup_printf("%s/proc/%d/fd/%u", root, pid, number * VCPUS + i);
        g_assert(symlink(link, path) == 0);
        files[number][i] = stats_blob_open(&blob);
    }
}

static int fake_pidfd_open(pid_t pid G_GNUC_UNUSED)
{
    return (int)syscall(SYS_pidfd_open, getpid(), 0);
}

/* The number of a descriptor tells its guest and vCPU. */
static int fake_getfd(int pidfd G_GNUC_UNUSED, int number)
{
    int fd = dup(files[number / VCPUS][number % VCPUS]);

    g_assert(fd < G_MAXUINT16);
    return fd;
}

/* They are taken in the order of vCPUs, by several threads at once: each has its own count. */
static char *fake_describe(int fd G_GNUC_UNUSED)
{
    static __thread unsigned taken;

    return g_strdup_printf(LINK "%u", taken++ % VCPUS);
}

static const QemuProcessCalls fake_calls = {
    .pidfd_open = fake_pidfd_open,
    .pidfd_getfd = fake_getfd,
    .describe_fd = fake_describe,
};

static void make_guests(const char *root, GArray *pids)
{
    g_autofree char *proc = g_build_filename(root, "proc", NULL);

    GPid first = access("/dev/kvm", R_OK | W_OK) == 0 ? start_vm(0) : 0;
    real = first != 0;
    if (real)
        g_assert(symlink("/proc", proc) == 0);
    for (unsigned i = 0; i < GUESTS; i++) {
        GPid pid = !real ? 0 : i == 0 ? first : start_vm(i);
        g_assert(!real || pid != 0);
        if (real)
            g_array_append_val(pids, pid);
        else
            make_fake(root, i);
        write_pid(root, i, real ? pid : FAKE_PIDS + (int)i);
    }
}

/* Measurements ----------------------------------------------------------------------------------------------------- */

static gsize resident(void)
{
    g_autofree char *text = NULL;

    g_assert(g_file_get_contents("/proc/self/statm", &text, NULL, NULL));
    return strtoul(strchr(text, ' '), NULL, 10) * (gsize)sysconf(_SC_PAGESIZE);
}

static double thread_seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void on_changed(Domain *domain, const char *const *properties, gpointer data)
{
}

static void on_stopped(gpointer data)
{
    *(bool *)data = true;
}

static gboolean stop_waiting(gpointer waited)
{
    *(bool *)waited = true;
    return G_SOURCE_REMOVE;
}

/* The time of this thread for one tick: of all that the main loop does in some. */
static double time_tick(unsigned ticks)
{
    bool waited = false;
    double begin = thread_seconds();

    g_timeout_add(ticks * TICK_MS, stop_waiting, &waited);
    while (!waited)
        (void)g_main_context_iteration(NULL, TRUE);
    return (thread_seconds() - begin) / ticks;
}

/* Descriptors that the detector has borrowed, with where in them the counters are. */
static GArray *borrowed(void)
{
    GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename("/proc/self/fd", name, NULL), *text = g_file_read_link(path, NULL);
        int fd = atoi(name);
        if (text != NULL && (g_str_has_prefix(text, LINK) || g_str_has_prefix(text, "/memfd:stats")))
            g_array_append_val(fds, fd);
    }
    if (!real) {
        /* Half of them are this program's own. */
        g_array_set_size(fds, 0);
        for (unsigned i = 0; i < GUESTS * VCPUS; i++)
            g_array_append_val(fds, files[i / VCPUS][i % VCPUS]);
    }
    g_assert(fds->len == GUESTS * VCPUS);
    return fds;
}

static double time_bare(const GArray *fds, const KvmStatsLayout *layout)
{
    double begin = thread_seconds();
    char range[4096];

    for (guint i = 0; i < fds->len; i++)
        g_assert(pread(g_array_index(fds, int, i), range, layout->length, (off_t)layout->start) == layout->length);
    return thread_seconds() - begin;
}

static Domain *make_domain(unsigned number)
{
    g_autofree char *uuid = guest_uuid(number), *name = g_strdup_printf("guest%u", number);

    return domain_new(uuid, name);
}

static bool all_open(Domain *const *domains)
{
    for (unsigned i = 0; i < GUESTS; i++)
        if (strcmp(domains[i]->l2_source, "stats-fd") != 0 || domains[i]->l2.state != L2_NONE)
            return false;
    return true;
}

/* Returns: the processor time of a tick, in seconds. */
static double bench_tick(const char *root, bool *stopped, Detector *detector)
{
    static Domain *domains[GUESTS];
    double ours[ROUNDS], bare[ROUNDS];
    KvmStatsLayout layout;
    Reconcile kvm = {.virt_type = (char *)"kvm"};
    Look look = {.running = true, .exposure = CPU_EXPOSURE_YES, .reconcile = &kvm};

    for (unsigned i = 0; i < GUESTS; i++)
        domains[i] = make_domain(i);
    gsize before = resident();
    for (unsigned i = 0; i < GUESTS; i++) {
        look.id = (int)i;
        detector_take_look(detector, domains[i], &look, false);
    }
    while (!all_open(domains))
        (void)g_main_context_iteration(NULL, TRUE);
    /* Every guest is looked at some times, and threads that opened them come to rest. */
    (void)time_tick(20);
    printf("(h) resident memory for a guest: %.2f KiB (limit 4 KiB)%s\n", (double)(resident() - before) / 1024 / GUESTS,
           resident() - before <= (gsize)4096 * GUESTS ? "" : "  OVER THE LIMIT");

    g_autoptr(GArray) fds = borrowed();
    g_assert(kvm_stats_read_layout(g_array_index(fds, int, 0), &layout, NULL));
    for (unsigned i = 0; i < ROUNDS; i++) {
        ours[i] = time_tick(4) * 1e3;
        bare[i] = time_bare(fds, &layout) * 1e3;
    }
    double median = bench_median(ours, ROUNDS);
    g_autofree char *name = g_strdup_printf("(g) a tick over %d guests of %d vCPUs, %s", GUESTS, VCPUS,
                                            real ? "real KVM" : "files (no KVM here)");
    bench_print_ratio(name, median, bench_median(bare, ROUNDS), "ms", 1.3);
    if (real)
        printf("    that is %.1f%% of a processor at 250 ms (limit 4%%)%s\n", median / 2.5,
               median < 10 ? "" : "  OVER THE LIMIT");
    detector_stop(detector);
    while (!*stopped)
        (void)g_main_context_iteration(NULL, TRUE);
    for (unsigned i = 0; i < GUESTS; i++)
        domain_free(domains[i]);
    return median / 1e3;
}

/* The same through libvirt ------------------------------------------------------------------------------------------ */

static double wall_seconds(void)
{
    return (double)g_get_monotonic_time() / 1e6;
}

/* How long a guest's answer takes, in seconds: nobody can ask more often, and libvirtd and QEMU work for that long. */
static double time_list(virConnect *connection, int *ret_n)
{
    virDomainStatsRecordPtr *records = NULL;
    double begin = wall_seconds();
    int n = virConnectGetAllDomainStats(connection, VIR_DOMAIN_STATS_VCPU, &records,
                                        VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE |
                                            VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);

    g_assert(n > 0);
    virDomainStatsRecordListFree(records);
    *ret_n = n;
    return (wall_seconds() - begin) / n;
}

static double time_virsh(virConnect *connection, const char *uri)
{
    virDomain **domains = NULL;
    int n = virConnectListAllDomains(connection, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    double begin = wall_seconds();

    for (int i = 0; i < n; i++) {
        char *argv[] = {(char *)"virsh",
                        (char *)"-q",
                        (char *)"-c",
                        (char *)uri,
                        (char *)"domstats",
                        (char *)"--vcpu",
                        (char *)"--nowait",
                        (char *)virDomainGetName(domains[i]),
                        NULL};
        g_assert(g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                              NULL, NULL, NULL));
        (void)virDomainFree(domains[i]);
    }
    free(domains);
    return (wall_seconds() - begin) / n;
}

static void bench_libvirt(const char *uri, double tick)
{
    virConnect *connection = virConnectOpen(uri);
    double list[ROUNDS], virsh[3];
    int n = 0;

    g_assert(connection != NULL);
    for (unsigned i = 0; i < ROUNDS; i++)
        list[i] = time_list(connection, &n);
    for (unsigned i = 0; i < G_N_ELEMENTS(virsh); i++)
        virsh[i] = time_virsh(connection, uri);
    double ours = tick / GUESTS, list_median = bench_median(list, ROUNDS), virsh_median = bench_median(virsh, 3);
    printf(
        "    for one guest of %d, %.1f us; through virDomainListGetStats() %.0f us: %.0fx; through virsh domstats %.0f "
        "us: %.0fx\n",
        n, ours * 1e6, list_median * 1e6, list_median / ours, virsh_median * 1e6, virsh_median / ours);
    (void)virConnectClose(connection);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--vm") == 0)
        return be_vm();
    g_assert(argc >= 2);
    struct rlimit limit = {GUESTS * VCPUS * 4 + 4096, GUESTS * VCPUS * 4 + 4096};
    g_autoptr(GArray) pids = g_array_new(FALSE, FALSE, sizeof(GPid));
    bool stopped = false;

    (void)setrlimit(RLIMIT_NOFILE, &limit);
    make_guests(argv[1], pids);
    write_file(argv[1], VIRTNEST_SYSCONFDIR "/virtnest.conf", "[Detection]\nStatsFd=yes\nInterval=50ms\n", -1);
    write_file(argv[1], VIRTNEST_VENDORDIR "/policy.d/default.policy", "[CPU]\nMode=host-model\n", -1);
    Configuration *configuration = configuration_new(argv[1]);
    (void)configuration_load(configuration);
    g_assert(configuration->errors->len == 0);
    Detector *detector = detector_new(&(DetectorServices){
        .configuration = configuration,
        .uri = "test:///default",
        .calls = real ? &qemu_process_calls : &fake_calls,
        .changed = on_changed,
        .stopped = on_stopped,
        .data = &stopped,
    });
    double tick = bench_tick(argv[1], &stopped, detector);
    detector_free(detector);
    configuration_free(configuration);
    for (guint i = 0; i < pids->len; i++) {
        (void)kill(g_array_index(pids, GPid, i), SIGKILL);
        (void)waitpid(g_array_index(pids, GPid, i), NULL, 0);
    }
    if (argc > 2)
        bench_libvirt(argv[2], tick);
    return 0;
}
