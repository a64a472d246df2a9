/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/host.h"
#include "lib/modprobe-d.h"
#include <sys/types.h>

/* All that lies in the files of a host and matters to nesting, as it was at one moment. */
typedef struct HostSurvey {
    char *root;
    char *arch; /* as uname(2) has it */
    HostFacts facts;

    char *cpu_name;  /* "" if there is none */
    GStrv cpu_flags; /* "flags" on x86, "features" on s390x; never NULL */
    GStrv vmx_flags; /* NULL before Linux 5.6, and where there are none */
    unsigned cpu_family, cpu_model;

    char *hypervisor; /* that this host is a guest of, "" if it is one of an unknown kind, NULL if it is none */
    char *container;  /* "" for one of an unknown kind, NULL: none */

    char *linux_release; /* "" if not known */
    unsigned long linux_version;

    const char *module;   /* that has the parameter "nested" on this host; NULL: none. Static. */
    const char *stranger; /* loaded, and of no use on this CPU; or NULL. Static. */
    bool kvm_loaded, module_loaded, module_is_builtin;
    int users;          /* of the module; -1 if the kernel does not tell */
    char *nested_value; /* as the module has it; NULL: it has none */
    HostNested nested;  /* HOST_NESTED_ABSENT also if the value is a new one */
    ModprobeConfig *modprobe;
    HostNested nested_at_boot;         /* HOST_NESTED_ABSENT: nobody can tell */
    const ModprobeEntry *nested_entry; /* that says so; NULL: the module's own default */

    bool kvm_registered; /* the kernel has the device, whether there is a node of it or not */
    bool has_device;     /* /dev/kvm */
    mode_t device_mode;
    uid_t device_user;
    gid_t device_group;

    const char *other_manager; /* installed, and runs QEMU without libvirt: "Proxmox VE", "Incus"; or NULL. Static. */

    bool libvirt_guests; /* the service is enabled */
    char *on_shutdown;   /* what it does to guests */
    char *on_shutdown_place;
    int n_guarded; /* guests with a guard; -1: it may not be read */
} HostSurvey;

HostSurvey *host_survey_read(const char *root);
HostSurvey *host_survey_free(HostSurvey *survey);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HostSurvey, host_survey_free)

char *host_survey_file(const HostSurvey *survey, const char *path);
char *host_survey_parameter(const HostSurvey *survey, const char *module, const char *name);
bool host_survey_has_flag(const HostSurvey *survey, const char *flag);
bool host_survey_has_vmx_flag(const HostSurvey *survey, const char *flag);
bool host_survey_reboot_required(const HostSurvey *survey);
const char *host_nested_to_string(HostNested nested);
HostNested host_nested_parse(const char *value);
bool host_survey_find_user(const HostSurvey *survey, const char *name, uid_t *ret_user, GArray *groups);
