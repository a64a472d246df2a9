/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /sys/kernel/debug/kvm/PID-FD/, where KVM shows the sums of a VM's vCPUs: nested_run, and guest_mode, the number of vCPUs
 * that are in an L2 right now. Lockdown of the kernel (integrity, as with Secure Boot) closes nested_run, since it can be
 * written, and leaves guest_mode: then an L2 is seen only if a look falls into its time.
 *
 * An open file here holds a reference on the VM, as one of the statistics descriptors does, and shows its value once
 * (simple_attr_open() is for files that cannot seek): so the folder is held, which holds nothing, and each file is opened
 * for each look.
 */

#include "lib/error.h"
#include "lib/l2-source.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "sys/kernel/debug/kvm"

typedef struct DebugfsVm {
    int folder;
    bool has_nested_run, has_guest_mode; /* at least one */
} DebugfsVm;

typedef struct Debugfs {
    L2Source source;
    GArray *vms; /* of DebugfsVm: QEMU has one */
} Debugfs;

/* Returns: 0, or a negative errno. */
static int read_value(int folder, const char *name, guint64 *ret_value)
{
    char text[32];
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t n;

    if (fd < 0)
        return -errno;
    do
        n = read(fd, text, sizeof(text) - 1);
    while (n < 0 && errno == EINTR);
    int r = n < 0 ? -errno : 0;
    (void)close(fd);
    if (r < 0)
        return r;
    text[n] = '\0';
    return g_ascii_string_to_unsigned(g_strstrip(text), 10, 0, G_MAXUINT64, ret_value, NULL) ? 0 : -EINVAL;
}

static bool add_vm(Debugfs *self, const char *folder, GError **error)
{
    DebugfsVm vm = {.folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC)};
    guint64 value;

    if (vm.folder < 0) {
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "cannot open %s: %s", folder, g_strerror(errno));
        return false;
    }
    int nested_run = read_value(vm.folder, "nested_run", &value);
    vm.has_nested_run = nested_run == 0;
    vm.has_guest_mode = read_value(vm.folder, "guest_mode", &value) == 0;
    g_array_append_val(self->vms, vm);
    if (vm.has_nested_run || vm.has_guest_mode)
        return true;
    g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "cannot read %s/nested_run: %s", folder,
                g_strerror(-nested_run));
    return false;
}

static bool add_vms(Debugfs *self, const QemuProcess *process, GError **error)
{
    g_autofree char *folder = g_strconcat(process->root, "/" FOLDER, NULL);
    g_autofree char *prefix = g_strdup_printf("%d-", (int)process->pid);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, error);
    const char *name;

    if (dir == NULL)
        return false;
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (g_str_has_prefix(name, prefix) && !add_vm(self, path, error))
            return false;
    }
    if (self->vms->len == 0)
        g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "%s has no folder of process %d", folder,
                    (int)process->pid);
    return self->vms->len > 0;
}

static bool debugfs_sample(L2Source *source, GArray *readings, GError **error)
{
    const Debugfs *self = (const Debugfs *)source;

    for (guint i = 0; i < self->vms->len; i++) {
        const DebugfsVm *vm = &g_array_index(self->vms, DebugfsVm, i);
        L2Reading reading = {.vcpu = i, .has_counter = vm->has_nested_run};
        guint64 inside = 0;
        int r = vm->has_nested_run ? read_value(vm->folder, "nested_run", &reading.nested_run) : 0;
        if (r == 0 && vm->has_guest_mode)
            r = read_value(vm->folder, "guest_mode", &inside);
        if (r < 0) {
            g_set_error(error, VIRTNEST_ERROR, VIRTNEST_ERROR_KVM, "cannot read the VM's folder in " FOLDER ": %s",
                        g_strerror(-r));
            return false;
        }
        reading.guest_mode = inside != 0;
        g_array_append_val(readings, reading);
    }
    return true;
}

/* Is there a VM of which only guest_mode can be read? */
static bool lacks_counter(const Debugfs *self)
{
    for (guint i = 0; i < self->vms->len; i++)
        if (!g_array_index(self->vms, DebugfsVm, i).has_nested_run)
            return true;
    return false;
}

static void debugfs_close(L2Source *source)
{
    Debugfs *self = (Debugfs *)source;

    for (guint i = 0; i < self->vms->len; i++)
        (void)close(g_array_index(self->vms, DebugfsVm, i).folder);
    g_array_unref(self->vms);
    g_free(self);
}

static const L2SourceClass debugfs_class = {
    .name = "debugfs",
    .sample = debugfs_sample,
    .close = debugfs_close,
};

static const L2SourceClass debugfs_guest_mode_class = {
    .name = "debugfs-guest-mode",
    .samples_moments = true,
    .sample = debugfs_sample,
    .close = debugfs_close,
};

/**
 * Opens what KVM shows of the process's VM in debugfs.
 * Returns: to be given back with l2_source_close(), or NULL with VIRTNEST_ERROR_KVM or a G_FILE_ERROR.
 */
L2Source *debugfs_open(const QemuProcess *process, GError **error)
{
    Debugfs *self = g_new0(Debugfs, 1);
    g_autoptr(L2Source) source = &self->source;

    self->vms = g_array_new(FALSE, FALSE, sizeof(DebugfsVm));
    source->class = &debugfs_class;
    if (!add_vms(self, process, error))
        return NULL;
    if (lacks_counter(self))
        source->class = &debugfs_guest_mode_class;
    return g_steal_pointer(&source);
}
