/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
    HOST_VENDOR_OTHER,
    HOST_VENDOR_INTEL,
    HOST_VENDOR_AMD, /* and Hygon, whose CPUs have SVM */
} HostVendor;

typedef enum {
    HOST_NESTED_ABSENT, /* the module is not loaded, has no such parameter, or a value of it that is not known */
    HOST_NESTED_NO,
    HOST_NESTED_YES,
} HostNested;

/* What this host's CPU and kernel say about nesting. */
typedef struct HostFacts {
    bool is_x86;
    HostVendor vendor;
    bool has_feature;   /* the CPU shows vmx (Intel) or svm (AMD) */
    bool module_loaded; /* kvm_intel or kvm_amd */
    HostNested nested;
} HostFacts;

const char *host_vendor_to_string(HostVendor vendor);
HostFacts host_facts_read(const char *root);
const char *host_facts_feature(const HostFacts *facts);
const char *host_facts_module(const HostFacts *facts);
char *host_facts_problem(const HostFacts *facts);
