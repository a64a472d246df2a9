/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/xml.h"

/* Those of Hyper-V's enlightenments that make a Hyper-V inside of the guest faster: its nested guests exit less. */
typedef enum {
    HYPERV_EVMCS,
    HYPERV_EMSR_BITMAP,
    HYPERV_TLBFLUSH_DIRECT,
    HYPERV_N,
} HypervEnlightenment;

typedef enum {
    HYPERV_LEAVE,
    HYPERV_ON,
    HYPERV_OFF,
} HypervWish;

typedef struct HypervPolicy {
    HypervWish wishes[HYPERV_N];
} HypervPolicy;

/* What virtnest remembers of one that it wrote: the element's text before ("" absent) and as written. NULL, NULL: not
 * written. */
typedef struct HypervRecord {
    char *previous[HYPERV_N];
    char *applied[HYPERV_N];
} HypervRecord;

void hyperv_record_clear(HypervRecord *record);
bool hyperv_record_is_empty(const HypervRecord *record);

const char *hyperv_element(HypervEnlightenment which);
const char *hyperv_name(HypervEnlightenment which);

/* What the domain's hypervisor offers. */
typedef struct HypervHost {
    bool is_kvm;
    const char *feature; /* vmx or svm; NULL: neither */
    unsigned long
        libvirt_version;        /* as virConnectGetLibVersion(): 1000000 * major + 1000 * minor + release; 0: unknown */
    const char *const *offered; /* elements of <hyperv> that KVM and QEMU have here; NULL: unknown */
} HypervHost;

typedef struct HypervPlan {
    GArray *edits;       /* of XmlEdit, which own their texts */
    HypervRecord record; /* to be kept in the state after the edits */
    bool differs_live;   /* the running guest has not what the definition asks for */
    GPtrArray *skipped;  /* texts: what was wished for and cannot be had, why, and the way out */
    GPtrArray *conflicts;
} HypervPlan;

HypervPlan *hyperv_plan(const DomainXml *xml, const DomainXml *live, const HypervPolicy *policy,
                        const HypervRecord *recorded, const HypervHost *host);
HypervPlan *hyperv_plan_free(HypervPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HypervPlan, hyperv_plan_free)
