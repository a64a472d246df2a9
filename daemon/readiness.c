/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Looks now and then whether this host is ready for nesting, publishes that, and logs what is not. */

#include "daemon/readiness.h"

#include "daemon/autoptr.h"
#include "daemon/log.h"
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

/* Nobody tells when a module is loaded again: who asks gets what was seen no longer ago than this. */
#define AGE_S 2

struct Readiness {
    char *root;
    ReadinessChanged changed;
    gpointer data;
    HostSurvey *survey;
    GPtrArray *checks;
    HostLibvirt libvirt;
    char *capabilities, *capability_error;
    GHashTable *logged; /* id -> what was logged of it last */
    gint64 looked_at;
    bool stopped;
};

/* What each property is worth, in one text, to see whether it is another one. */
static char *describe(const Readiness *self, const char *property)
{
    const HostSurvey *survey = self->survey;
    GString *text;

    if (strcmp(property, "Nested") == 0)
        return g_strdup(host_nested_to_string(survey->nested));
    if (strcmp(property, "NestedAtBoot") == 0)
        return g_strdup(host_nested_to_string(survey->nested_at_boot));
    if (strcmp(property, "RebootRequired") == 0)
        return g_strdup(host_survey_reboot_required(survey) ? "true" : "false");
    if (strcmp(property, "ModuleLoaded") == 0)
        return g_strdup(survey->module_loaded ? "true" : "false");
    if (strcmp(property, "Verdict") == 0)
        return g_strdup(check_verdict_to_string(checks_verdict(self->checks)));
    text = g_string_new(NULL);
    for (guint i = 0; i < self->checks->len; i++) {
        const Check *check = self->checks->pdata[i];
        if (strcmp(property, "Checks") == 0 || check->verdict != CHECK_PASS)
            g_string_append_printf(text, "%s %d %s %s\n", check->id, check->verdict, check->found, check->todo);
    }
    return g_string_free(text, FALSE);
}

static gboolean is_gone(gpointer id, gpointer problem G_GNUC_UNUSED, gpointer data)
{
    const GPtrArray *checks = data;

    for (guint i = 0; i < checks->len; i++)
        if (strcmp(((const Check *)checks->pdata[i])->id, id) == 0)
            return FALSE;
    return TRUE;
}

/* Of a check that is not made any more another one tells why. */
static void log_changes(Readiness *self)
{
    (void)g_hash_table_foreach_remove(self->logged, is_gone, self->checks);
    for (guint i = 0; i < self->checks->len; i++) {
        const Check *check = self->checks->pdata[i];
        g_autofree char *problem = check->verdict != CHECK_PASS ? check_problem(check) : NULL;
        const char *before = g_hash_table_lookup(self->logged, check->id);
        /* It depends on QEMU, which is not known before libvirt was asked. */
        if (g_strcmp0(problem, before) == 0 || (strcmp(check->id, "platform") == 0 && !self->libvirt.asked))
            continue;
        if (problem != NULL) {
            log_write(check->verdict == CHECK_FAIL ? G_LOG_LEVEL_WARNING : G_LOG_LEVEL_MESSAGE,
                      (LogSubject){.message_id = MESSAGE_HOST_PROBLEM, .check = check->id}, "this host, %s", problem);
            g_hash_table_insert(self->logged, g_strdup(check->id), g_steal_pointer(&problem));
        } else {
            log_write(G_LOG_LEVEL_MESSAGE, (LogSubject){.check = check->id}, "this host, %s: %s", check->id,
                      check->found);
            g_hash_table_remove(self->logged, check->id);
        }
    }
}

/** Reads and judges everything again. */
void readiness_look(Readiness *self)
{
    static const char *const properties[] = {"ModuleLoaded", "Nested", "NestedAtBoot", "RebootRequired",
                                             "Verdict",      "Checks", "Problems"};
    char *before[G_N_ELEMENTS(properties)] = {NULL};
    g_autoptr(GPtrArray) changed = g_ptr_array_new();
    bool first = self->survey == NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(properties) && !first; i++)
        before[i] = describe(self, properties[i]);
    host_survey_free(self->survey);
    self->survey = host_survey_read(self->root);
    self->looked_at = g_get_monotonic_time();
    if (self->checks != NULL)
        g_ptr_array_unref(self->checks);
    self->checks = host_checks_run(self->survey, &self->libvirt);
    for (gsize i = 0; i < G_N_ELEMENTS(properties) && !first; i++) {
        g_autofree char *now = describe(self, properties[i]);
        if (strcmp(before[i], now) != 0)
            g_ptr_array_add(changed, (gpointer)properties[i]);
        g_free(before[i]);
    }
    log_changes(self);
    if (changed->len > 0) {
        g_ptr_array_add(changed, NULL);
        self->changed((const char *const *)changed->pdata, self->data);
    }
}

/** Does so if that was not just done. */
void readiness_refresh(Readiness *self)
{
    if (g_get_monotonic_time() - self->looked_at >= AGE_S * G_USEC_PER_SEC)
        readiness_look(self);
}

/**
 * @root: "/", or where everything is looked for in its place
 * Returns: after a first look; to be freed with readiness_free().
 */
Readiness *readiness_new(const char *root, ReadinessChanged changed, gpointer data)
{
    Readiness *self = g_new0(Readiness, 1);

    self->root = g_strdup(root);
    self->changed = changed;
    self->data = data;
    self->logged = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    /* The unit has PrivateDevices=. */
    self->libvirt.devices_hidden = true;
    readiness_look(self);
    return self;
}

Readiness *readiness_free(Readiness *self)
{
    if (self == NULL)
        return NULL;
    host_survey_free(self->survey);
    if (self->checks != NULL)
        g_ptr_array_unref(self->checks);
    g_hash_table_unref(self->logged);
    g_free(self->capabilities);
    g_free(self->capability_error);
    g_free(self->root);
    g_free(self);
    return NULL;
}

/* libvirt -------------------------------------------------------------------------------------------------------- */

typedef struct AskJob {
    Readiness *readiness;
    Link *link;
    virConnect *connection;
    char *capabilities;
    char *error; /* why there are none; NULL also if this libvirt has no such call */
} AskJob;

static void ask_job_free(AskJob *job)
{
    vir_connect_unref(job->connection);
    g_free(job->capabilities);
    g_free(job->error);
    g_free(job);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AskJob, ask_job_free)

/* libvirt may look at each QEMU that is installed before it answers. */
static void ask_job_work(gpointer data)
{
    AskJob *job = data;
    g_autoptr(mallocString) text = virConnectGetDomainCapabilities(job->connection, NULL, NULL, NULL, "kvm", 0);

    if (text != NULL)
        job->capabilities = g_strdup(text);
    else if (virGetLastErrorCode() != VIR_ERR_NO_SUPPORT)
        job->error = g_strdup(virGetLastErrorMessage());
}

static void ask_job_done(gpointer data)
{
    g_autoptr(AskJob) job = data;
    Readiness *self = job->readiness;

    if (job->connection != link_connection(job->link) || self->stopped)
        return;
    g_free(self->capabilities);
    g_free(self->capability_error);
    self->capabilities = g_steal_pointer(&job->capabilities);
    self->capability_error = g_steal_pointer(&job->error);
    self->libvirt = (HostLibvirt){.asked = true,
                                  .version = link_libvirt_version_number(job->link),
                                  .qemu = link_hypervisor_version_number(job->link),
                                  .capabilities = self->capabilities,
                                  .capability_error = self->capability_error,
                                  .devices_hidden = true};
    readiness_look(self);
}

/** Asks what libvirt can give guests here. What it said stays when the connection is lost: that is told elsewhere. */
void readiness_ask_libvirt(Readiness *self, Link *link)
{
    AskJob *job = g_new0(AskJob, 1);

    log_write(G_LOG_LEVEL_DEBUG, (LogSubject){0}, "asking libvirt what it offers");
    job->readiness = self;
    job->link = link;
    job->connection = link_connection(link);
    (void)virConnectRef(job->connection);
    (void)link_run(link, ask_job_work, ask_job_done, job);
}

/** From here on a call that is under way changes nothing any more. */
void readiness_stop(Readiness *self)
{
    self->stopped = true;
}

/* What is published ---------------------------------------------------------------------------------------------- */

const HostSurvey *readiness_survey(const Readiness *self)
{
    return self->survey;
}

/** Returns: Check in their order. */
const GPtrArray *readiness_checks(const Readiness *self)
{
    return self->checks;
}
