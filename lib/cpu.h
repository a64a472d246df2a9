/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/xml.h"

typedef enum {
    CPU_MODE_HOST_MODEL,
    CPU_MODE_HOST_PASSTHROUGH,
    CPU_MODE_CUSTOM,
    CPU_MODE_KEEP, /* the domain's own <cpu>, whatever its mode */
} CpuMode;

/* By CpuMode, ended by NULL. */
extern const char *const cpu_mode_names[];

const char *cpu_mode_to_string(CpuMode mode);

/* What a policy wants of a domain's <cpu>. */
typedef struct CpuPolicy {
    CpuMode mode;
    char *model;      /* CPU_MODE_CUSTOM only */
    char *fallback;   /* CPU_MODE_CUSTOM only: forbid or allow; NULL: forbid for a model that is new to the domain */
    char *check;      /* none, partial or full; NULL: what the mode needs */
    char *migratable; /* CPU_MODE_HOST_PASSTHROUGH only: on or off; NULL: libvirt's default */
    GStrv require, disable, optional; /* features; NULL: none */
} CpuPolicy;

void cpu_policy_clear(CpuPolicy *policy);
bool cpu_feature_name_is_valid(const char *name);
bool cpu_model_name_is_valid(const char *name);

/* A <cpu> element, or the absence of one, taken apart into items that can be compared and merged. */
typedef struct Cpu Cpu;

Cpu *cpu_from_domain(const DomainXml *xml, GError **error);
Cpu *cpu_from_text(const char *text, GError **error);
Cpu *cpu_copy(const Cpu *cpu, GError **error);
Cpu *cpu_free(Cpu *cpu);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Cpu, cpu_free)

bool cpu_equal(const Cpu *a, const Cpu *b);
const char *cpu_text(const Cpu *cpu);
const char *cpu_mode(const Cpu *cpu);
const char *cpu_model(const Cpu *cpu);
const char *cpu_feature_policy(const Cpu *cpu, const char *feature);

Cpu *cpu_merge(const Cpu *previous, const Cpu *applied, const Cpu *current, GPtrArray *conflicts, GError **error);
Cpu *cpu_apply_policy(const Cpu *base, const CpuPolicy *policy, const char *feature, GError **error);

typedef enum {
    CPU_LIVE_CURRENT,   /* the running guest has what the definition asks for */
    CPU_LIVE_STALE,     /* it has another CPU until its next start */
    CPU_LIVE_AMBIGUOUS, /* current only if cpu_model(live) is what host-model expands to */
} CpuLive;

CpuLive cpu_live_compare(const Cpu *live, const Cpu *wanted, const char *feature);

/* Can the guest have guests of its own, as far as its <cpu> tells? */
typedef enum {
    CPU_EXPOSURE_UNKNOWN,
    CPU_EXPOSURE_NO,
    CPU_EXPOSURE_YES,
} CpuExposure;

const char *cpu_exposure_to_string(CpuExposure exposure);
CpuExposure cpu_live_exposure(const Cpu *live, const char *feature, bool host_has_it);
