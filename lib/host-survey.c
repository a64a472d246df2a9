/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads what the files of a host say about nesting. What cannot be read counts as not there. */

#include "lib/host-survey.h"

#include "lib/kernel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#define GUARDS_FOLDER VIRTNEST_RUNDIR "/guards"
/* The blocks of two processors fit; on a host with hundreds the whole file takes the kernel milliseconds. */
#define CPUINFO_BYTES 16384

/** Returns: what is in a file below the root, without space around it; to be freed with g_free(), or NULL. */
char *host_survey_file(const HostSurvey *survey, const char *path)
{
    g_autofree char *full = g_build_filename(survey->root, path, NULL);
    char *text = NULL;

    return g_file_test(full, G_FILE_TEST_IS_REGULAR) && g_file_get_contents(full, &text, NULL, NULL) ? g_strstrip(text)
                                                                                                     : NULL;
}

static bool exists(const HostSurvey *survey, const char *path)
{
    g_autofree char *full = g_build_filename(survey->root, path, NULL);

    /* A link that leads to a place below the real root is there as well. */
    return g_file_test(full, G_FILE_TEST_EXISTS) || g_file_test(full, G_FILE_TEST_IS_SYMLINK);
}

/** Returns: the value of a parameter of a loaded module, to be freed with g_free(), or NULL. */
char *host_survey_parameter(const HostSurvey *survey, const char *module, const char *name)
{
    g_autofree char *path = g_build_filename("sys/module", module, "parameters", name, NULL);

    return host_survey_file(survey, path);
}

bool host_survey_has_flag(const HostSurvey *survey, const char *flag)
{
    return g_strv_contains((const char *const *)survey->cpu_flags, flag);
}

bool host_survey_has_vmx_flag(const HostSurvey *survey, const char *flag)
{
    return survey->vmx_flags != NULL && g_strv_contains((const char *const *)survey->vmx_flags, flag);
}

const char *host_nested_to_string(HostNested nested)
{
    return nested == HOST_NESTED_YES ? "yes" : nested == HOST_NESTED_NO ? "no" : "unknown";
}

/**
 * @value: of the parameter, as the kernel shows it or as it takes it (kstrtobool(), kstrtoint()); NULL: it was named only
 * Returns: HOST_NESTED_ABSENT if that is nothing that is known.
 */
HostNested host_nested_parse(const char *value)
{
    char *end = NULL;

    if (value == NULL)
        return HOST_NESTED_YES;
    if (g_ascii_strcasecmp(value, "y") == 0 || g_ascii_strcasecmp(value, "yes") == 0 ||
        g_ascii_strcasecmp(value, "on") == 0)
        return HOST_NESTED_YES;
    if (g_ascii_strcasecmp(value, "n") == 0 || g_ascii_strcasecmp(value, "no") == 0 ||
        g_ascii_strcasecmp(value, "off") == 0)
        return HOST_NESTED_NO;
    long number = strtol(value, &end, 0);
    return end == value || *end != '\0' ? HOST_NESTED_ABSENT
           : number == 1                ? HOST_NESTED_YES
           : number == 0                ? HOST_NESTED_NO
                                        : HOST_NESTED_ABSENT;
}

/* CPU -------------------------------------------------------------------------------------------------------------- */

static bool name_is(const char *name, const char *const *names)
{
    return g_strv_contains(names, name);
}

/* The first block alone. Each architecture has names of its own. */
static void read_cpuinfo(HostSurvey *survey)
{
    static const char *const flags[] = {"flags", "features", "Features", NULL};
    static const char *const models[] = {"model name", "cpu", "CPU part", NULL};
    g_autofree char *path = g_build_filename(survey->root, "proc/cpuinfo", NULL);
    g_autofree char *text = g_malloc0(CPUINFO_BYTES + 1);
    FILE *file = fopen(path, "re");

    if (file != NULL) {
        text[fread(text, 1, CPUINFO_BYTES, file)] = '\0';
        (void)fclose(file);
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    for (gsize i = 0; lines[i] != NULL; i++) {
        char *colon = strchr(lines[i], ':');
        if (colon == NULL)
            continue;
        *colon = '\0';
        const char *name = g_strstrip(lines[i]), *value = g_strstrip(colon + 1);
        if (survey->cpu_flags == NULL && name_is(name, flags))
            survey->cpu_flags = g_strsplit(value, " ", 0);
        else if (survey->vmx_flags == NULL && strcmp(name, "vmx flags") == 0)
            survey->vmx_flags = g_strsplit(value, " ", 0);
        else if (survey->cpu_name == NULL && name_is(name, models))
            survey->cpu_name = g_strdup(value);
        else if (survey->cpu_family == 0 && strcmp(name, "cpu family") == 0)
            survey->cpu_family = (unsigned)g_ascii_strtoull(value, NULL, 10);
        else if (survey->cpu_model == 0 && strcmp(name, "model") == 0)
            survey->cpu_model = (unsigned)g_ascii_strtoull(value, NULL, 10);
    }
    if (survey->cpu_flags == NULL)
        survey->cpu_flags = g_new0(char *, 1);
    if (survey->cpu_name == NULL)
        survey->cpu_name = g_strdup("");
}

/* Where the host is ---------------------------------------------------------------------------------------------- */

/* As systemd-detect-virt(1) tells them by the firmware's names (systemd src/basic/virt.c). */
static char *detect_by_dmi(const HostSurvey *survey)
{
    static const char *const files[] = {"product_name", "sys_vendor", "board_vendor", "bios_vendor"};
    static const struct {
        const char *begin, *name;
    } table[] = {
        {"KVM", "kvm"},
        {"OpenStack", "kvm"},
        {"QEMU", "qemu"},
        {"VMware", "vmware"},
        {"VMW", "vmware"},
        {"innotek GmbH", "oracle"},
        {"VirtualBox", "oracle"},
        {"Oracle Corporation", "oracle"},
        {"Xen", "xen"},
        {"Bochs", "bochs"},
        {"Parallels", "parallels"},
        {"BHYVE", "bhyve"},
        {"Hyper-V", "microsoft"},
        {"Apple Virtualization", "apple"},
        {"Amazon EC2", "amazon"},
        {"Google Compute Engine", "google"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename("sys/class/dmi/id", files[i], NULL);
        g_autofree char *text = host_survey_file(survey, path);
        for (gsize j = 0; text != NULL && j < G_N_ELEMENTS(table); j++)
            if (g_str_has_prefix(text, table[j].begin))
                return g_strdup(table[j].name);
    }
    return NULL;
}

/* "VM00 Control Program: KVM/Linux": what LPARs there are is no hypervisor of that kind. */
static char *detect_by_sysinfo(const HostSurvey *survey)
{
    g_autofree char *text = host_survey_file(survey, "proc/sysinfo");
    const char *found = text != NULL ? strstr(text, "VM00 Control Program:") : NULL;

    if (found == NULL)
        return NULL;
    found = strchr(found, ':') + 1;
    g_autofree char *program = g_strstrip(g_strndup(found, strcspn(found, "\n")));
    return g_strdup(g_str_has_prefix(program, "KVM") ? "kvm" : g_str_has_prefix(program, "z/VM") ? "zvm" : program);
}

static bool has_firmware_device(const HostSurvey *survey)
{
    g_autofree char *path = g_build_filename(survey->root, "proc/device-tree", NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        if (strstr(name, "fw-cfg") != NULL)
            return true;
    return false;
}

/* By the names in the device tree of ARM and POWER, as systemd-detect-virt(1) does. */
static char *detect_by_tree(const HostSurvey *survey)
{
    g_autofree char *hypervisor = host_survey_file(survey, "proc/device-tree/hypervisor/compatible");
    g_autofree char *machine = host_survey_file(survey, "proc/device-tree/compatible");

    if (hypervisor != NULL)
        return g_strdup(strstr(hypervisor, "kvm") != NULL      ? "kvm"
                        : strstr(hypervisor, "xen") != NULL    ? "xen"
                        : strstr(hypervisor, "vmware") != NULL ? "vmware"
                                                               : "");
    /* An LPAR, which no hypervisor node tells of. */
    if (exists(survey, "proc/device-tree/ibm,partition-name") && exists(survey, "proc/device-tree/hmc-managed?"))
        return g_strdup("powervm");
    if (has_firmware_device(survey) || g_strcmp0(machine, "qemu,pseries") == 0)
        return g_strdup("qemu");
    return g_strcmp0(machine, "linux,dummy-virt") == 0 ? g_strdup("") : NULL;
}

/* The CPU's flag decides on x86: a bare host of a cloud has that cloud's names in its firmware too. */
static char *detect_hypervisor(const HostSurvey *survey)
{
    g_autofree char *type = host_survey_file(survey, "sys/hypervisor/type");
    g_autofree char *dmi = detect_by_dmi(survey);

    if (survey->facts.is_x86)
        return !host_survey_has_flag(survey, "hypervisor") ? NULL
               : type != NULL                              ? g_steal_pointer(&type)
               : dmi != NULL                               ? g_steal_pointer(&dmi)
                                                           : g_strdup("");
    if (strcmp(survey->arch, "s390x") == 0)
        return detect_by_sysinfo(survey);
    char *tree = detect_by_tree(survey);
    return tree != NULL ? tree : type != NULL ? g_steal_pointer(&type) : g_steal_pointer(&dmi);
}

/* Where systemd-detect-virt(1) looks for one; nothing of it is there on a plain host. */
static char *detect_container(const HostSurvey *survey)
{
    g_autofree char *name = host_survey_file(survey, "run/systemd/container");
    g_autofree char *path = g_build_filename(survey->root, "proc/1/environ", NULL);
    g_autofree char *environment = NULL;
    gsize length = 0;

    if (name != NULL)
        return g_steal_pointer(&name);
    if (exists(survey, "run/.containerenv"))
        return g_strdup("podman");
    if (exists(survey, ".dockerenv"))
        return g_strdup("docker");
    if (!g_file_get_contents(path, &environment, &length, NULL))
        return NULL;
    for (const char *p = environment; p < environment + length; p += strlen(p) + 1)
        if (g_str_has_prefix(p, "container=") && p[strlen("container=")] != '\0')
            return g_strdup(p + strlen("container="));
    return NULL;
}

/* Modules -------------------------------------------------------------------------------------------------------- */

static bool is_loaded(const HostSurvey *survey, const char *module)
{
    g_autofree char *path = g_build_filename("sys/module", module, NULL);

    return exists(survey, path);
}

/* Each has a parameter "nested": arch/x86/kvm, arch/s390/kvm/kvm-s390.c, arch/powerpc/kvm/book3s_hv.c. */
static const char *module_of(const HostSurvey *survey)
{
    if (survey->facts.is_x86)
        return host_facts_module(&survey->facts);
    if (strcmp(survey->arch, "s390x") == 0)
        return "kvm";
    return g_str_has_prefix(survey->arch, "ppc64") ? "kvm_hv" : NULL;
}

/* What the module does if nothing tells it, as far as that is known of any kernel of this version. */
static HostNested module_default(const HostSurvey *survey)
{
    if (survey->module == NULL)
        return HOST_NESTED_ABSENT;
    if (strcmp(survey->module, "kvm_amd") == 0)
        return HOST_NESTED_YES;
    if (strcmp(survey->module, "kvm") == 0)
        return HOST_NESTED_NO;
    /* kvm_intel: Linux 4.20. A distribution may have an older kernel that does as well. */
    return survey->linux_version >= 4020000 ? HOST_NESTED_YES : HOST_NESTED_ABSENT;
}

/* On ARM the kernel's command line alone decides, as KVM is built in there. */
static void read_arm_mode(HostSurvey *survey)
{
    const ModprobeEntry *entry = modprobe_config_command_line(survey->modprobe, "kvm_arm", "mode");

    survey->nested_entry = entry;
    survey->nested = survey->nested_at_boot =
        entry != NULL && g_str_has_prefix(entry->value, "nested") ? HOST_NESTED_YES : HOST_NESTED_NO;
}

static void read_modules(HostSurvey *survey)
{
    survey->users = -1;
    survey->modprobe = modprobe_config_read(survey->root);
    survey->module = module_of(survey);
    survey->kvm_loaded = is_loaded(survey, "kvm");
    survey->kvm_registered = exists(survey, "sys/class/misc/kvm") || exists(survey, "sys/devices/virtual/misc/kvm");
    if (survey->facts.is_x86 && g_strcmp0(survey->module, "kvm_intel") != 0 && is_loaded(survey, "kvm_intel"))
        survey->stranger = "kvm_intel";
    if (survey->facts.is_x86 && g_strcmp0(survey->module, "kvm_amd") != 0 && is_loaded(survey, "kvm_amd"))
        survey->stranger = "kvm_amd";
    if (strcmp(survey->arch, "aarch64") == 0)
        read_arm_mode(survey);
    if (survey->module == NULL)
        return;

    g_autofree char *state = g_build_filename("sys/module", survey->module, "initstate", NULL);
    g_autofree char *refcnt = g_build_filename("sys/module", survey->module, "refcnt", NULL);
    g_autofree char *users = host_survey_file(survey, refcnt);
    survey->module_loaded = is_loaded(survey, survey->module);
    /* Modules that were loaded have a state, the kernel's own have not (kernel/module/sysfs.c). */
    survey->module_is_builtin = survey->module_loaded && !exists(survey, state);
    if (users != NULL)
        survey->users = atoi(users);
    survey->nested_value = host_survey_parameter(survey, survey->module, "nested");
    if (survey->nested_value != NULL)
        survey->nested = host_nested_parse(survey->nested_value);
    survey->nested_entry = survey->module_is_builtin
                               ? modprobe_config_command_line(survey->modprobe, survey->module, "nested")
                               : modprobe_config_option(survey->modprobe, survey->module, "nested");
    survey->nested_at_boot =
        survey->nested_entry != NULL ? host_nested_parse(survey->nested_entry->value) : module_default(survey);
}

/** Would a reboot, or loading the module again, make nesting other than it is now? */
bool host_survey_reboot_required(const HostSurvey *survey)
{
    return survey->module_loaded && survey->nested != HOST_NESTED_ABSENT &&
           survey->nested_at_boot != HOST_NESTED_ABSENT && survey->nested != survey->nested_at_boot;
}

/* The device, and who may use it ----------------------------------------------------------------------------------- */

static void read_device(HostSurvey *survey)
{
    g_autofree char *path = g_build_filename(survey->root, "dev/kvm", NULL);
    struct stat status;

    if (stat(path, &status) != 0)
        return;
    survey->has_device = true;
    survey->device_mode = status.st_mode;
    survey->device_user = status.st_uid;
    survey->device_group = status.st_gid;
}

/**
 * Looks a user up in the files below the root, as a recorded host has no other place.
 * @groups: gets the gid_t of all groups that the user is in
 */
bool host_survey_find_user(const HostSurvey *survey, const char *name, uid_t *ret_user, GArray *groups)
{
    g_autofree char *passwd = host_survey_file(survey, "etc/passwd"), *group = host_survey_file(survey, "etc/group");
    g_auto(GStrv) users = g_strsplit(passwd != NULL ? passwd : "", "\n", 0);
    g_auto(GStrv) lines = g_strsplit(group != NULL ? group : "", "\n", 0);
    bool found = false;

    for (gsize i = 0; users[i] != NULL && !found; i++) {
        g_auto(GStrv) fields = g_strsplit(users[i], ":", 0);
        if (g_strv_length(fields) < 4 || strcmp(fields[0], name) != 0)
            continue;
        gid_t first = (gid_t)g_ascii_strtoull(fields[3], NULL, 10);
        *ret_user = (uid_t)g_ascii_strtoull(fields[2], NULL, 10);
        g_array_append_val(groups, first);
        found = true;
    }
    for (gsize i = 0; lines[i] != NULL && found; i++) {
        g_auto(GStrv) fields = g_strsplit(lines[i], ":", 0);
        if (g_strv_length(fields) < 4)
            continue;
        g_auto(GStrv) members = g_strsplit(fields[3], ",", 0);
        gid_t number = (gid_t)g_ascii_strtoull(fields[2], NULL, 10);
        if (g_strv_contains((const char *const *)members, name))
            g_array_append_val(groups, number);
    }
    return found;
}

/* Who else runs guests ---------------------------------------------------------------------------------------------- */

/* By what each has wherever it is installed. A host may have libvirt beside. */
static const char *find_other_manager(const HostSurvey *survey)
{
    return exists(survey, "usr/bin/pveversion") ? "Proxmox VE" : exists(survey, "var/lib/incus") ? "Incus" : NULL;
}

/* libvirt-guests ------------------------------------------------------------------------------------------------- */

/* Returns: the value of the last NAME= of a shell script's plain assignments, or NULL. */
static char *shell_value(const char *text, const char *name)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    char *value = NULL;

    for (gsize i = 0; lines[i] != NULL; i++) {
        const char *line = g_strstrip(lines[i]);
        if (!g_str_has_prefix(line, name) || line[strlen(name)] != '=')
            continue;
        const char *begin = line + strlen(name) + 1;
        g_free(value);
        value = *begin == '"' || *begin == '\'' ? g_strndup(begin + 1, strcspn(begin + 1, "\"'"))
                                                : g_strndup(begin, strcspn(begin, " \t;#"));
    }
    return value;
}

/* Its configuration comes from one of two places. Its own default is in the script, and no distribution has the same. */
static void read_libvirt_guests(HostSurvey *survey)
{
    static const char *const wanted_by[] = {"etc/systemd/system/multi-user.target.wants/libvirt-guests.service",
                                            "run/systemd/system/multi-user.target.wants/libvirt-guests.service"};
    static const char *const files[] = {"etc/default/libvirt-guests", "etc/sysconfig/libvirt-guests"};
    static const char *const scripts[] = {"usr/lib/libvirt/libvirt-guests.sh", "usr/libexec/libvirt-guests.sh"};

    for (gsize i = 0; i < G_N_ELEMENTS(wanted_by); i++)
        survey->libvirt_guests = survey->libvirt_guests || exists(survey, wanted_by[i]);
    for (gsize i = 0; i < G_N_ELEMENTS(files) && survey->on_shutdown == NULL; i++) {
        g_autofree char *text = host_survey_file(survey, files[i]);
        survey->on_shutdown = text != NULL ? shell_value(text, "ON_SHUTDOWN") : NULL;
        if (survey->on_shutdown != NULL)
            survey->on_shutdown_place = g_strconcat("/", files[i], NULL);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(scripts) && survey->on_shutdown == NULL; i++) {
        g_autofree char *text = host_survey_file(survey, scripts[i]);
        /* The assignments further down are those of single commands. */
        char *end = text != NULL ? strstr(text, "libvirt-guests &&") : NULL;
        if (end != NULL)
            *end = '\0';
        survey->on_shutdown = text != NULL ? shell_value(text, "ON_SHUTDOWN") : NULL;
    }
    if (survey->on_shutdown == NULL)
        survey->on_shutdown = g_strdup("suspend");
    if (survey->on_shutdown_place == NULL)
        survey->on_shutdown_place = g_strdup("its default");
}

static void count_guards(HostSurvey *survey)
{
    g_autofree char *path = g_build_filename(survey->root, GUARDS_FOLDER, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &error);
    const char *name;

    if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_ACCES))
        survey->n_guarded = -1;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        survey->n_guarded += name[0] != '.';
}

/* All of it ------------------------------------------------------------------------------------------------------ */

/** @root: "/", or where a recorded host lies. Returns: to be freed with host_survey_free(). */
HostSurvey *host_survey_read(const char *root)
{
    HostSurvey *survey = g_new0(HostSurvey, 1);
    struct utsname name;

    survey->root = g_strdup(root);
    survey->facts = host_facts_read(root);
    survey->arch = host_survey_file(survey, "proc/sys/kernel/arch");
    if (survey->arch == NULL)
        survey->arch = g_strdup(uname(&name) == 0 ? name.machine : "");
    survey->linux_release = host_survey_file(survey, "proc/sys/kernel/osrelease");
    if (survey->linux_release == NULL)
        survey->linux_release = g_strdup("");
    survey->linux_version = kernel_version_number(survey->linux_release);
    read_cpuinfo(survey);
    survey->hypervisor = detect_hypervisor(survey);
    survey->container = detect_container(survey);
    read_modules(survey);
    read_device(survey);
    survey->other_manager = find_other_manager(survey);
    read_libvirt_guests(survey);
    count_guards(survey);
    return survey;
}

HostSurvey *host_survey_free(HostSurvey *survey)
{
    if (survey == NULL)
        return NULL;
    g_free(survey->root);
    g_free(survey->arch);
    g_free(survey->cpu_name);
    g_strfreev(survey->cpu_flags);
    g_strfreev(survey->vmx_flags);
    g_free(survey->hypervisor);
    g_free(survey->container);
    g_free(survey->linux_release);
    g_free(survey->nested_value);
    modprobe_config_free(survey->modprobe);
    g_free(survey->on_shutdown);
    g_free(survey->on_shutdown_place);
    g_free(survey);
    return NULL;
}
