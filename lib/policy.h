/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/cpu.h"
#include "lib/tag.h"

#define VIRTNEST_DEFAULT_POLICY "default"

/* One fleet policy, virtnest.policy(5). */
typedef struct Policy {
    char *name;
    char *path; /* the file that it was read from */
    char *description;
    CpuPolicy cpu;
    bool rewrite_owned; /* rewrite domains of OpenStack nova, oVirt and KubeVirt too */
} Policy;

/* All policies of one moment. Immutable and counted, so that workers can hold it while a new one is swapped in. */
typedef struct PolicySet PolicySet;

PolicySet *policy_set_load(const char *root, GPtrArray *errors);
PolicySet *policy_set_ref(PolicySet *set);
PolicySet *policy_set_unref(PolicySet *set);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PolicySet, policy_set_unref)

const Policy *policy_set_resolve(const PolicySet *set, const Tag *tag, GError **error);
