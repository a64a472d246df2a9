/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnestctl host, and host check: is this host ready for nesting? */

#include "ctl/host.h"

#include "ctl/checks.h"
#include "ctl/libvirt.h"
#include "lib/host-checks.h"
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

/* libvirt -------------------------------------------------------------------------------------------------------- */

/* What libvirt says; each text is of the caller's. */
typedef struct Answer {
    char *capabilities, *capability_error;
    GError *error;
} Answer;

static void answer_clear(Answer *answer)
{
    g_free(answer->capabilities);
    g_free(answer->capability_error);
    g_clear_error(&answer->error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Answer, answer_clear)

/* @answer: holds the texts that @libvirt points to */
static void ask_libvirt(const char *uri, HostLibvirt *libvirt, Answer *answer)
{
    libvirt->asked = *uri != '\0';
    if (!libvirt->asked)
        return;
    g_autoptr(VirConnect) connection = libvirt_peek(uri, &answer->error);
    if (connection == NULL) {
        libvirt->error = answer->error->message;
        return;
    }
    (void)virConnectGetLibVersion(connection, &libvirt->version);
    if (g_strcmp0(virConnectGetType(connection), "QEMU") == 0)
        (void)virConnectGetVersion(connection, &libvirt->qemu);
    g_autoptr(mallocString) text = virConnectGetDomainCapabilities(connection, NULL, NULL, NULL, "kvm", 0);
    if (text != NULL)
        answer->capabilities = g_strdup(text);
    else if (virGetLastErrorCode() != VIR_ERR_NO_SUPPORT && virGetLastErrorCode() != VIR_ERR_OPERATION_DENIED)
        answer->capability_error = g_strdup(virGetLastErrorMessage());
    libvirt->capabilities = answer->capabilities;
    libvirt->capability_error = answer->capability_error;
}

/* Commands -------------------------------------------------------------------------------------------------------- */

static int verb_check(const Verb *verb, int argc, char **argv)
{
    static const GOptionEntry options[] = {CHECKS_ENTRIES, {NULL, 0, 0, 0, NULL, NULL, NULL}};
    g_auto(Answer) answer = {0};
    HostLibvirt libvirt = {0};
    JsonFormat format = JSON_OFF;

    json_replace_j(argc, argv);
    if (!verb_parse(verb, options, 0, 0, &argc, &argv) || !checks_parse_format(&format))
        return STATUS_USAGE;
    g_autoptr(HostSurvey) survey = host_survey_read(verbs_root);
    ask_libvirt(verbs_connect, &libvirt, &answer);
    g_autoptr(GPtrArray) checks = host_checks_run(survey, &libvirt);
    return checks_print(checks, format);
}

int verb_host(const Verb *verb, int argc, char **argv)
{
    static const Verb verbs[] = {
        {"check", "", "See whether this host is ready for nesting, and what to do; the same as no command", verb_check,
         VERB_HERE},
        {"enable", "", "Switch nesting on, for now or from the next boot on", verb_host_enable, VERB_HERE},
        {"disable", "", "Switch it off", verb_host_disable, VERB_HERE},
        {"apply", "", "Do what [Host] in virtnest.conf says", verb_host_apply, VERB_HERE},
        {NULL, NULL, NULL, NULL, VERB_HERE},
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
