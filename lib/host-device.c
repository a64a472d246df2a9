/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Checks of /dev/kvm. */

#include "lib/host-judge.h"
#include <string.h>

static const char device_why[] =
    "QEMU opens /dev/kvm as a user of its own; where it may not, libvirt finds no KVM, and each "
    "definition takes it most of a minute.";

/* Returns: the user in qemu.conf, or the one that distributions have, or root; to be freed with g_free(), or NULL. */
static char *find_qemu_user(const HostSurvey *survey)
{
    static const char *const usual[] = {"libvirt-qemu", "qemu"};
    g_autofree char *text = host_survey_file(survey, "etc/libvirt/qemu.conf");
    g_auto(GStrv) lines = g_strsplit(text != NULL ? text : "", "\n", 0);
    g_autofree char *configured = NULL;

    for (gsize i = 0; lines[i] != NULL; i++) {
        char *line = g_strstrip(lines[i]), *equals = strchr(line, '=');
        if (equals == NULL)
            continue;
        *equals = '\0';
        if (strcmp(g_strchomp(line), "user") != 0)
            continue;
        g_auto(GStrv) parts = g_strsplit(equals + 1, "\"", 3);
        g_free(configured);
        configured = g_strdup(parts[0] != NULL && parts[1] != NULL ? parts[1] : g_strstrip(equals + 1));
    }
    if (configured != NULL && *configured != '\0')
        return g_steal_pointer(&configured);
    for (gsize i = 0; i < G_N_ELEMENTS(usual); i++) {
        g_autoptr(GArray) groups = g_array_new(FALSE, FALSE, sizeof(gid_t));
        uid_t user = 0;
        if (host_survey_find_user(survey, usual[i], &user, groups))
            return g_strdup(usual[i]);
    }
    /* Both start QEMU as root, and Incus lets it become somebody else later. */
    return g_strdup(survey->other_manager != NULL ? "root" : NULL);
}

static bool may_use(const HostSurvey *survey, uid_t user, const GArray *groups)
{
    mode_t wanted = user == survey->device_user ? 0600 : 0006;

    for (guint i = 0; i < groups->len && user != survey->device_user; i++)
        if (g_array_index(groups, gid_t, i) == survey->device_group)
            wanted = 0060;
    return user == 0 || (survey->device_mode & wanted) == wanted;
}

static void check_device_user(Judge *judge)
{
    const HostSurvey *survey = judge->survey;
    g_autofree char *name = find_qemu_user(survey);
    g_autoptr(GArray) groups = g_array_new(FALSE, FALSE, sizeof(gid_t));
    unsigned mode = survey->device_mode & 0777;
    uid_t user = 0;

    if (name != NULL && (strcmp(name, "root") == 0 || strcmp(name, "+0") == 0)) {
        judge_add(judge, "device", CHECK_PASS, device_why, NULL, g_strdup("/dev/kvm is there, and QEMU runs as root"));
    } else if (name == NULL || !host_survey_find_user(survey, name, &user, groups)) {
        bool open = (mode & 0006) == 0006;
        judge_add(judge, "device", open ? CHECK_PASS : CHECK_WARN, device_why,
                  open ? NULL : g_strdup("see user= in /etc/libvirt/qemu.conf, and that this user may open /dev/kvm"),
                  g_strdup_printf("/dev/kvm has mode %04o; %s%s", mode,
                                  name != NULL ? "there is no user " : "QEMU's user is not known",
                                  name != NULL ? name : ""));
    } else {
        bool good = may_use(survey, user, groups);
        judge_add(
            judge, "device", good ? CHECK_PASS : CHECK_FAIL, device_why,
            good ? NULL
                 : g_strdup_printf("chown root:kvm /dev/kvm; chmod 0660 /dev/kvm; usermod -aG kvm %s (and see why no "
                                   "udev rule does)",
                                   name),
            g_strdup_printf("%s %s open /dev/kvm, which has mode %04o", name, good ? "may" : "may not", mode));
    }
}

/** Is the device there, and may QEMU use it? */
void judge_device(Judge *judge)
{
    const HostSurvey *survey = judge->survey;

    if (judge->libvirt->devices_hidden)
        judge_add(judge, "device", survey->kvm_registered ? CHECK_PASS : CHECK_FAIL, device_why,
                  survey->kvm_registered ? NULL : g_strdup("`virtnestctl host check` tells more"),
                  g_strdup(survey->kvm_registered ? "the kernel has it" : "the kernel has no kvm device"));
    else if (survey->has_device)
        check_device_user(judge);
    else if (survey->kvm_registered)
        judge_add(judge, "device", CHECK_FAIL, device_why,
                  g_strdup("mknod /dev/kvm c 10 232; see why udev does not make it"),
                  g_strdup("the kernel has the device, and /dev/kvm is not there"));
    else
        judge_add(judge, "device", CHECK_FAIL, device_why,
                  g_strdup("see to the check of the module (virtnestctl host)"), g_strdup("there is no /dev/kvm"));
}
