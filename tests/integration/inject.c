/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Preloaded into virtnestd or libvirtd, runs a script of the test's at the points where a race can happen, and carries
 * on when the script ends. Around a call of FUNCTION for a domain, $INJECT_DIR/FUNCTION.before and .after are run where
 * they exist, with the domain's name and the number of this call for that name and that point, counted from 1.
 *
 * Statistics and registers are invented: virDomainListGetStats() answers with what $INJECT_DIR/statistics-NAME holds, lines
 * of a type, a field and a value, and virDomainQemuMonitorCommand() with $INJECT_DIR/registers-NAME
 * where that is. virDomainGetXMLDesc() tells of a guest that QEMU emulates that it is one of KVM while
 * $INJECT_DIR/kvm-NAME is there: so that counters can be invented for a real QEMU. An answer of D-Bus to METHOD is awaited
 * for as many microseconds as $INJECT_DIR/timeout-METHOD says, where that is, and the socket to the bus takes as many bytes at
 * a time as $INJECT_DIR/buffer-bus says.
 *
 * With $INJECT_DIR/fail-live-NAME it tells so of the running guest alone. While $INJECT_DIR/fail-answer is there, QEMU's answers are
 * lost, after it has done what it was told.
 *
 * The monotonic clock is ahead by as many seconds as $INJECT_DIR/clock says, where that is.
 *
 * QEMU is without the format vdi while $INJECT_DIR/fail-vdi is there, and gets no memfd while $INJECT_DIR/fail-memfd is, as
 * where a security policy keeps it from that.
 *
 * The script does the rest: change something with virsh, kill a process ($PPID is this one), or wait on a FIFO that the
 * test opens when it is ready. It can come and go while the process runs. */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#define COUNTERS_MAX 512

typedef struct {
    char *key;
    unsigned calls;
} Counter;

static Counter counters[COUNTERS_MAX];
static pthread_mutex_t counters_lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned count_call(const char *point, const char *name)
{
    unsigned calls = 0;
    char key[1024];

    snprintf(key, sizeof(key), "%s %s", point, name);
    pthread_mutex_lock(&counters_lock);
    for (size_t i = 0; i < COUNTERS_MAX; i++) {
        if (counters[i].key == NULL)
            counters[i].key = strdup(key);
        if (counters[i].key != NULL && strcmp(counters[i].key, key) == 0) {
            calls = ++counters[i].calls;
            break;
        }
    }
    pthread_mutex_unlock(&counters_lock);
    return calls;
}

/** The environment for the script: ours, without what would preload this library into each of its commands. */
static char **clean_environment(void)
{
    size_t n = 0, kept = 0;
    char **copy;

    while (environ[n] != NULL)
        n++;
    copy = calloc(n + 1, sizeof(*copy));
    for (size_t i = 0; copy != NULL && i < n; i++)
        if (strncmp(environ[i], "LD_PRELOAD=", strlen("LD_PRELOAD=")) != 0)
            copy[kept++] = environ[i];
    return copy;
}

static void run_script(const char *function, const char *when, const char *name)
{
    const char *folder = getenv("INJECT_DIR");
    char point[128], path[4096], number[16];
    char *argv[] = {path, (char *)name, number, NULL};
    char **environment = NULL;
    pid_t pid;
    int saved_errno = errno;

    snprintf(point, sizeof(point), "%s.%s", function, when);
    snprintf(path, sizeof(path), "%s/%s", folder != NULL ? folder : "", point);
    snprintf(number, sizeof(number), "%u", count_call(point, name));
    if (folder == NULL || access(path, X_OK) != 0)
        goto out;
    environment = clean_environment();
    if (environment == NULL || posix_spawn(&pid, path, NULL, NULL, argv, environment) != 0)
        goto out;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
out:
    free(environment);
    errno = saved_errno;
}

/** The text of the first <name>, as it stands in the document: libvirt puts it before any other of that name. */
static void name_of_xml(const char *xml, char *ret_name, size_t size)
{
    const char *begin = xml != NULL ? strstr(xml, "<name>") : NULL;
    const char *end = begin != NULL ? strstr(begin, "</name>") : NULL;

    if (end == NULL)
        snprintf(ret_name, size, "?");
    else
        snprintf(ret_name, size, "%.*s", (int)(end - begin - strlen("<name>")), begin + strlen("<name>"));
}

/* While $INJECT_DIR/fail-WHAT is there. */
static int is_to_fail(const char *what)
{
    char path[1024];

    snprintf(path, sizeof(path), "%s/fail-%s", getenv("INJECT_DIR"), what);
    return access(path, F_OK) == 0;
}

/* Makes an emulated guest one of KVM, in the eyes of the process that this is loaded into. */
static void pose(char *xml, const char *name)
{
    static const char was[] = "type='qemu'", becomes[] = "type='kvm'";
    char path[1024];
    char *found = xml != NULL ? strstr(xml, was) : NULL;

    snprintf(path, sizeof(path), "%s/kvm-%s", getenv("INJECT_DIR"), name);
    if (found == NULL || access(path, F_OK) != 0)
        return;
    memcpy(found, becomes, sizeof(becomes) - 1);
    memmove(found + sizeof(becomes) - 1, found + sizeof(was) - 1, strlen(found + sizeof(was) - 1) + 1);
}

/* POSIX lets dlsym() return a function through an object pointer; ISO C has no cast for it. */
#define NEXT(function, pointer) (*(void **)(&(pointer)) = dlsym(RTLD_NEXT, #function))

__attribute__((visibility("default"))) char *virDomainGetXMLDesc(virDomainPtr domain, unsigned int flags)
{
    char *(*next)(virDomainPtr, unsigned int);
    const char *name = virDomainGetName(domain);
    char *xml;

    NEXT(virDomainGetXMLDesc, next);
    char live_only[600];
    snprintf(live_only, sizeof(live_only), "live-%s", name);
    run_script("virDomainGetXMLDesc", "before", name);
    xml = next(domain, flags);
    run_script("virDomainGetXMLDesc", "after", name);
    if (!(flags & VIR_DOMAIN_XML_INACTIVE) || !is_to_fail(live_only))
        pose(xml, name);
    return xml;
}

__attribute__((visibility("default"))) virDomainPtr virDomainDefineXMLFlags(virConnectPtr conn, const char *xml,
                                                                            unsigned int flags)
{
    virDomainPtr (*next)(virConnectPtr, const char *, unsigned int);
    virDomainPtr domain;
    char name[512];

    name_of_xml(xml, name, sizeof(name));
    NEXT(virDomainDefineXMLFlags, next);
    run_script("virDomainDefineXMLFlags", "before", name);
    domain = next(conn, xml, flags);
    run_script("virDomainDefineXMLFlags", "after", name);
    return domain;
}

/* Inside libvirtd: the moment at which a definition is written to its file. A private symbol of libvirt, all of whose
 * arguments are pointers; where a version no longer calls it, the script never runs, and the test says so. */
int virDomainDefSave(void *def, void *xmlopt, const char *folder);

__attribute__((visibility("default"))) int virDomainDefSave(void *def, void *xmlopt, const char *folder)
{
    int (*next)(void *, void *, const char *);
    int result;

    NEXT(virDomainDefSave, next);
    run_script("virDomainDefSave", "before", folder);
    result = next(def, xmlopt, folder);
    run_script("virDomainDefSave", "after", folder);
    return result;
}

static FILE *open_invented(const char *what, const char *name)
{
    const char *folder = getenv("INJECT_DIR");
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s-%s", folder != NULL ? folder : "", what, name);
    return fopen(path, "re");
}

/* Nothing where there is no file, as of a guest that has a job. */
static void invent_record(virDomainPtr domain, virDomainStatsRecordPtr record)
{
    FILE *file = open_invented("statistics", virDomainGetName(domain));
    char type[16], field[128];
    unsigned long long value;
    int maximum = 0;

    virDomainRef(domain);
    record->dom = domain;
    while (file != NULL && fscanf(file, "%15s %127s %llu", type, field, &value) == 3) {
        if (strcmp(type, "boolean") == 0)
            virTypedParamsAddBoolean(&record->params, &record->nparams, &maximum, field, value != 0);
        else
            virTypedParamsAddULLong(&record->params, &record->nparams, &maximum, field, value);
    }
    if (file != NULL)
        fclose(file);
}

__attribute__((visibility("default"))) int virDomainListGetStats(virDomainPtr *doms, unsigned int stats,
                                                                 virDomainStatsRecordPtr **retStats, unsigned int flags)
{
    virDomainStatsRecordPtr *records;
    int n = 0;

    (void)stats;
    (void)flags;
    while (doms[n] != NULL)
        n++;
    records = calloc((size_t)n + 1, sizeof(*records));
    for (int i = 0; records != NULL && i < n; i++) {
        run_script("virDomainListGetStats", "before", virDomainGetName(doms[i]));
        records[i] = calloc(1, sizeof(**records));
        if (records[i] != NULL)
            invent_record(doms[i], records[i]);
    }
    for (int i = 0; records != NULL && i < n; i++)
        run_script("virDomainListGetStats", "after", virDomainGetName(doms[i]));
    *retStats = records;
    return records != NULL ? n : -1;
}

int virDomainQemuMonitorCommand(virDomainPtr domain, const char *command, char **ret_result, unsigned int flags);

__attribute__((visibility("default"))) int virDomainQemuMonitorCommand(virDomainPtr domain, const char *command,
                                                                       char **ret_result, unsigned int flags)
{
    int (*next)(virDomainPtr, const char *, char **, unsigned int);
    /* Those are read by a command for humans. */
    FILE *file = flags != 0 ? open_invented("registers", virDomainGetName(domain)) : NULL;

    run_script("virDomainQemuMonitorCommand", "before", virDomainGetName(domain));
    if (strstr(command, "\"driver\":\"vdi\"") != NULL && is_to_fail("vdi")) {
        /* bdrv_open_driver() of QEMU. */
        *ret_result =
            strdup("{\"id\":\"libvirt-1\",\"error\":{\"class\":\"GenericError\",\"desc\":\"Driver 'vdi' is not "
                   "whitelisted\"}}");
        return 0;
    }
    if (file == NULL) {
        NEXT(virDomainQemuMonitorCommand, next);
        int result = next(domain, command, ret_result, flags);
        run_script("virDomainQemuMonitorCommand", "after", virDomainGetName(domain));
        if (is_to_fail("answer")) {
            free(*ret_result);
            *ret_result = NULL;
            result = -1;
        }
        return result;
    }
    *ret_result = calloc(1, 65536);
    int result = *ret_result != NULL && fread(*ret_result, 1, 65535, file) > 0 ? 0 : -1;
    fclose(file);
    return result;
}

static int is_memfd(int fd)
{
    char path[64], target[64] = "";

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return readlink(path, target, sizeof(target) - 1) > 0 && strncmp(target, "/memfd:", strlen("/memfd:")) == 0;
}

int virDomainQemuMonitorCommandWithFiles(virDomainPtr domain, const char *command, unsigned int n_in, int *in,
                                         unsigned int *ret_n_out, int **ret_out, char **ret_result, unsigned int flags);

__attribute__((visibility("default"))) int virDomainQemuMonitorCommandWithFiles(virDomainPtr domain,
                                                                                const char *command, unsigned int n_in,
                                                                                int *in, unsigned int *ret_n_out,
                                                                                int **ret_out, char **ret_result,
                                                                                unsigned int flags)
{
    int (*next)(virDomainPtr, const char *, unsigned int, int *, unsigned int *, int **, char **, unsigned int);

    NEXT(virDomainQemuMonitorCommandWithFiles, next);
    run_script("virDomainQemuMonitorCommandWithFiles", "before", virDomainGetName(domain));
    /* The first as with a libvirt that does not have the call. */
    int result = is_to_fail("virDomainQemuMonitorCommandWithFiles") || (is_memfd(in[0]) && is_to_fail("memfd"))
                     ? -1
                     : next(domain, command, n_in, in, ret_n_out, ret_out, ret_result, flags);
    run_script("virDomainQemuMonitorCommandWithFiles", "after", virDomainGetName(domain));
    return result;
}

__attribute__((visibility("default"))) int virDomainGetJobStats(virDomainPtr domain, int *type,
                                                                virTypedParameterPtr *params, int *nparams,
                                                                unsigned int flags)
{
    int (*next)(virDomainPtr, int *, virTypedParameterPtr *, int *, unsigned int);

    NEXT(virDomainGetJobStats, next);
    run_script("virDomainGetJobStats", "before", virDomainGetName(domain));
    return next(domain, type, params, nparams, flags);
}

__attribute__((visibility("default"))) int virDomainSetMetadata(virDomainPtr domain, int type, const char *metadata,
                                                                const char *key, const char *uri, unsigned int flags)
{
    int (*next)(virDomainPtr, int, const char *, const char *, const char *, unsigned int);

    NEXT(virDomainSetMetadata, next);
    run_script("virDomainSetMetadata", "before", virDomainGetName(domain));
    return next(domain, type, metadata, key, uri, flags);
}

__attribute__((visibility("default"))) int sd_bus_call_async(sd_bus *bus, sd_bus_slot **slot, sd_bus_message *message,
                                                             sd_bus_message_handler_t callback, void *data,
                                                             uint64_t usec)
{
    int (*next)(sd_bus *, sd_bus_slot **, sd_bus_message *, sd_bus_message_handler_t, void *, uint64_t);
    const char *(*get_member)(sd_bus_message *);
    unsigned long long injected = 0;
    FILE *file;

    NEXT(sd_bus_call_async, next);
    /* Not linked with: libvirtd may have no such library. */
    NEXT(sd_bus_message_get_member, get_member);
    file = open_invented("timeout", get_member(message));
    if (file != NULL) {
        if (fscanf(file, "%llu", &injected) == 1)
            usec = injected;
        fclose(file);
    }
    return next(bus, slot, message, callback, data, usec);
}

__attribute__((visibility("default"))) int sd_bus_start(sd_bus *bus)
{
    int (*next)(sd_bus *), (*get_fd)(sd_bus *);
    int result, bytes = 0;
    FILE *file;

    NEXT(sd_bus_start, next);
    NEXT(sd_bus_get_fd, get_fd);
    result = next(bus);
    file = open_invented("buffer", "bus");
    if (file != NULL) {
        if (result >= 0 && fscanf(file, "%d", &bytes) == 1)
            (void)setsockopt(get_fd(bus), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
        fclose(file);
    }
    return result;
}

/* Nothing here allocates: a sanitizer asks for the time where it must not be asked for memory. */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's are reserved for it */
__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*next)(clockid_t, struct timespec *);
    const char *folder = getenv("INJECT_DIR");
    char path[1024], text[32] = "";

    if (next == NULL)
        NEXT(clock_gettime, next);
    int r = next(clock, now);
    if (r != 0 || clock != CLOCK_MONOTONIC || folder == NULL)
        return r;
    snprintf(path, sizeof(path), "%s/clock", folder);
    int saved_errno = errno, fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
        now->tv_sec += strtol(text, NULL, 10);
    if (fd >= 0)
        close(fd);
    errno = saved_errno;
    return r;
}
