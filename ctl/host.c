/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl host, and host check: is this host ready for nesting? */

#include "ctl/host.h"

#include "ctl/checks.h"
#include "lib/host-checks.h"
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* libvirt -------------------------------------------------------------------------------------------------------- */

static void ignore_error(void *data G_GNUC_UNUSED, virErrorPtr error G_GNUC_UNUSED)
{
}

static char *last_message(void)
{
    const char *message = virGetLastErrorMessage();

    return g_strdup(message != NULL ? message : "it does not tell why");
}

/* Each text is of the caller's. */
static void ask_libvirt(const char *uri, HostLibvirt *libvirt, char **error, char **capabilities,
                        char **capability_error)
{
    virConnect *connection;

    libvirt->asked = *uri != '\0';
    if (!libvirt->asked)
        return;
    virSetErrorFunc(NULL, ignore_error);
    /* Domain capabilities are not for those who may only read; who is not root would be asked for a password otherwise. */
    connection = geteuid() == 0 ? virConnectOpen(uri) : virConnectOpenReadOnly(uri);
    if (connection == NULL) {
        g_autofree char *message = last_message();
        *error = g_strdup_printf("no connection to %s: %s", uri, message);
        libvirt->error = *error;
        return;
    }
    (void)virConnectGetLibVersion(connection, &libvirt->version);
    if (g_strcmp0(virConnectGetType(connection), "QEMU") == 0)
        (void)virConnectGetVersion(connection, &libvirt->qemu);
    char *text = virConnectGetDomainCapabilities(connection, NULL, NULL, NULL, "kvm", 0);
    if (text != NULL)
        *capabilities = g_strdup(text);
    else if (virGetLastErrorCode() != VIR_ERR_NO_SUPPORT && virGetLastErrorCode() != VIR_ERR_OPERATION_DENIED)
        *capability_error = last_message();
    free(text);
    libvirt->capabilities = *capabilities;
    libvirt->capability_error = *capability_error;
    (void)virConnectClose(connection);
}

/* Commands -------------------------------------------------------------------------------------------------------- */

static int verb_check(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {CHECKS_ENTRIES, {NULL, 0, 0, 0, NULL, NULL, NULL}};
    g_autofree char *error = NULL, *capabilities = NULL, *capability_error = NULL;
    HostLibvirt libvirt = {0};
    JsonFormat format = JSON_OFF;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 0, 0, &argc, &argv) || !checks_parse_format(&format))
        return STATUS_USAGE;
    g_autoptr(HostSurvey) survey = host_survey_read(verbs_root);
    ask_libvirt(verbs_connect, &libvirt, &error, &capabilities, &capability_error);
    g_autoptr(GPtrArray) checks = host_checks_run(survey, &libvirt);
    return checks_print(checks, format);
}

int verb_host(const Verb *verb, int argc, char **argv)
{
    static const Verb verbs[] = {
        {"check", "", "See whether this host is ready for nesting, and what to do; the same as no command", verb_check},
        {"enable", "", "Switch nesting on, for now or from the next boot on", verb_host_enable},
        {"disable", "", "Switch it off", verb_host_disable},
        {"apply", "", "Do what [Host] in virtnest.conf says", verb_host_apply},
        {NULL, NULL, NULL, NULL},
    };

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        g_autofree char *summary = verbs_summary(verbs);
        printf("Usage:\n  virtnestctl host [COMMAND] ...\n\n%s\n", summary);
        return STATUS_DONE;
    }
    /* With nothing but options it is the check. */
    if (argc == 1 || argv[1][0] == '-')
        return verb_check(&verbs[0], argc, argv);
    return verbs_run(verbs, verb->name, argc, argv);
}
