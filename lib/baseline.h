/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* A host of a fleet, and the CPU that libvirt's host-model is there. */
typedef struct BaselineHost {
    char *name; /* as the user has it */
    char *arch, *machine, *emulator;
    char *model, *vendor; /* vendor: NULL if it is not told */
    char *cpu;            /* <cpu> of it, as virConnectBaselineHypervisorCPU() takes it */
    GStrv features;       /* all that this CPU has, sorted; NULL: not known so far */
} BaselineHost;

/* A CPU that all of them have. */
typedef struct Baseline {
    char *model;
    const char *feature; /* that gives nesting: vmx or svm */
    GStrv require;       /* beyond the model; that feature is among them */
    GStrv disable;       /* of the model */
    char *cpu;           /* as <cpu>, to be compared with what a host has */
} Baseline;

BaselineHost *baseline_host_new(const char *name, const char *capabilities, GError **error);
BaselineHost *baseline_host_free(BaselineHost *host);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BaselineHost, baseline_host_free)

GStrv baseline_read_features(const char *cpu, GError **error);
bool baseline_check_hosts(const GPtrArray *hosts, GError **error);
GStrv baseline_lacks(const BaselineHost *host, const GPtrArray *hosts);

Baseline *baseline_new(const char *cpu, const char *feature, GError **error);
Baseline *baseline_free(Baseline *baseline);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Baseline, baseline_free)

const char *baseline_feature(const BaselineHost *host);
char *baseline_to_policy(const Baseline *baseline, const GPtrArray *hosts);
