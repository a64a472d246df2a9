/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/host.h"
#include "lib/policy.h"

typedef enum {
    RECONCILE_UNKNOWN,         /* not looked at yet */
    RECONCILE_UNTAGGED,        /* not ours: no tag, and no policy that matches */
    RECONCILE_IN_SYNC,         /* the definition, and the running guest if there is one, are as the policy wants */
    RECONCILE_PENDING_RESTART, /* the definition is; the guest has another CPU until its next start */
    RECONCILE_MANAGED_SAVE,    /* the definition is; the managed-save image brings an older CPU for one more start */
    RECONCILE_TRANSIENT,       /* there is no persistent definition */
    RECONCILE_HOST_NOT_READY,  /* the guest would not start here with what the policy wants */
    RECONCILE_OWNED,           /* another manager generates this domain's XML */
    RECONCILE_HELD,            /* a rewrite is due and held back: Mode=, kill switch, rewrite limit */
    RECONCILE_ERROR,
} ReconcileState;

const char *reconcile_state_to_string(ReconcileState state);

/* What libvirt says about a domain at one moment. The texts stay the caller's. */
typedef struct ReconcileInput {
    const char *xml;       /* VIR_DOMAIN_XML_INACTIVE|SECURE */
    const char *live_xml;  /* the running guest's; NULL if it is shut off */
    const char *saved_xml; /* the managed-save image's; NULL if there is none or it cannot be read */
    const char *
        matched_by; /* the policy whose [Match] last took it, as far as is known otherwise than from its state; nullable */
    const Tag *tag; /* counts in place of the domain's own, whatever that is; NULL but for a dry run */
    bool persistent;
    bool has_managed_save;
    const PolicySet *policies; /* NULL if there never were valid ones */
    const HostFacts *host;
    unsigned long libvirt_version;     /* as virConnectGetLibVersion() gives it; 0: unknown */
    const char *const *hyperv_offered; /* as capabilities_hyperv() gives it; NULL: unknown */
} ReconcileInput;

/* What follows from it. All strings belong to the struct; "" or NULL where nothing applies. */
typedef struct Reconcile {
    ReconcileState state; /* once new_xml, if any, is defined */
    char *reason;
    char *name;
    bool tagged;
    char *policy;
    char *policy_path;
    char *policy_reason; /* why it is this one */
    char *matched_by;    /* to be given in the next input */
    bool policy_unknown; /* which it is cannot be told; there is none then */
    GuardPolicy guard;   /* of the policy; only if there is one */
    const char *owner;   /* static */
    const char *feature; /* static: vmx or svm */
    char *cpu_mode;      /* of the persistent definition, before new_xml */
    char *wanted_cpu_mode;
    bool has_runtime;     /* the definition has a runtime element, which only a live one may have */
    bool asks_hyperv;     /* it comes to enlightenments that depend on what the hypervisor offers */
    GPtrArray *skipped;   /* of strings: what the policy asks for and cannot be had here; nullable */
    GPtrArray *conflicts; /* of strings: edits that an untag leaves in place */

    char *new_xml;   /* to be defined, or NULL */
    char *summary;   /* what defining new_xml does, in words */
    char *probe_cpu; /* a <cpu> that the hypervisor must be able to give before new_xml is defined, or NULL */

    char *ambiguous_model; /* pending-restart unless host-model expands to this model, or NULL */

    /* What the choice of the policy hung on, so that it can be made again without a look; see reconcile_outcome(). */
    Subject *subject; /* NULL: nothing was read */
    Tag *tag;         /* NULL: none, or a wrong one */
    char *former;     /* the policy in the state element */
    char *outcome;

    /* For libvirt's questions about what this domain's hypervisor can do. */
    char *emulator, *arch, *machine, *virt_type;
} Reconcile;

Reconcile *reconcile_decide(const ReconcileInput *input);
Reconcile *reconcile_free(Reconcile *reconcile);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Reconcile, reconcile_free)
char *reconcile_outcome(const Reconcile *reconcile, const PolicySet *policies);

void reconcile_set_state(Reconcile *reconcile, ReconcileState state, const char *format, ...) G_GNUC_PRINTF(3, 4);
