/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/cpu.h"
#include "lib/hyperv.h"
#include "lib/match.h"
#include "lib/tag.h"

#define VIRTNEST_DEFAULT_POLICY "default"

typedef enum {
    GUARD_WHEN_RUNNING, /* while an L2 runs, or may */
    GUARD_WHEN_SEEN,    /* from the first L2 on until the guest stops */
    GUARD_WHEN_ALWAYS,
    GUARD_WHEN_NEVER,
} GuardWhen;

/* When a guest may not be migrated or saved. */
typedef struct GuardPolicy {
    GuardWhen block_when;
    guint64 quiet_after_usec;   /* without a nested entry: the L2 counts as quiet */
    guint64 release_after_usec; /* of quiet: the L2 counts as gone; DURATION_INFINITE: never */
    bool block_unknown;         /* guard a guest whose L2s cannot be seen */
    bool only_unsafe;           /* not where moving a live L2 is known to work */
} GuardPolicy;

const char *guard_when_to_string(GuardWhen when);
GuardPolicy guard_policy_default(void);

/* One fleet policy, virtnest.policy(5). */
typedef struct Policy {
    char *name;
    char *path;     /* the file that it was read from */
    GStrv drop_ins; /* the files that change it, in the order in which they count */
    char *description;
    char *digest; /* of all values in force: as long as it is the same, so is what the policy does */
    Match match;
    CpuPolicy cpu;
    HypervPolicy hyperv;
    GuardPolicy guard;
    bool apply_unready; /* write even where the host would not start the guest */
    bool rewrite_owned; /* rewrite domains of OpenStack nova, oVirt and KubeVirt too */
} Policy;

Policy *policy_load_file(const char *path, GPtrArray *errors);
void policy_check_drop_in(const char *path, GPtrArray *errors);
Policy *policy_free(Policy *policy);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Policy, policy_free)

/* All policies of one moment. Immutable and counted, so that workers can hold it while a new one is swapped in. */
typedef struct PolicySet PolicySet;

PolicySet *policy_set_load(const char *root, GPtrArray *errors);
PolicySet *policy_set_load_with(const char *root, const char *path, GPtrArray *errors);
PolicySet *policy_set_ref(PolicySet *set);
PolicySet *policy_set_unref(PolicySet *set);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PolicySet, policy_set_unref)

GPtrArray *policy_set_list(const PolicySet *set);
GPtrArray *policy_set_compare(const PolicySet *before, const PolicySet *now, GPtrArray *names);
char *policy_name_of_error(const char *error);
const Policy *policy_set_lookup(const PolicySet *set, const char *name);
const char *policy_set_nearest(const PolicySet *set, const char *name);

typedef enum {
    POLICY_CHOSEN_NONE,       /* no policy is for this domain */
    POLICY_CHOSEN_BY_TAG,     /* the tag names it */
    POLICY_CHOSEN_BY_MATCH,   /* its [Match] takes the domain */
    POLICY_CHOSEN_BY_DEFAULT, /* the tag names none, and no [Match] takes the domain */
} PolicyChosen;

/* Which policy is a domain's, and why. */
typedef struct PolicyChoice {
    const Policy *policy; /* owned by the set; NULL with POLICY_CHOSEN_NONE */
    PolicyChosen chosen;
    char *reason; /* for a human */
} PolicyChoice;

void policy_choice_clear(PolicyChoice *choice);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(PolicyChoice, policy_choice_clear)

bool policy_set_resolve(const PolicySet *set, const Tag *tag, const Subject *subject, PolicyChoice *ret_choice,
                        GError **error);
