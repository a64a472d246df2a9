/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

#define VIRTNEST_ERROR (virtnest_error_quark())

/* Failures that a caller is expected to handle. The message always says what is wrong, where, and what to do. */
typedef enum {
    VIRTNEST_ERROR_XML,         /* a document that virtnest does not dare to edit */
    VIRTNEST_ERROR_TAG,         /* the domain's tag is not one that the schema allows */
    VIRTNEST_ERROR_STATE,       /* virtnest's own state element was damaged or is newer than this version */
    VIRTNEST_ERROR_POLICY,      /* no such policy, or one that does not fit this domain */
    VIRTNEST_ERROR_CONFIG,      /* a configuration or policy file is wrong */
    VIRTNEST_ERROR_KVM,         /* a source of KVM statistics that cannot be used */
    VIRTNEST_ERROR_MONITOR,     /* QEMU's monitor refuses, or says something strange */
    VIRTNEST_ERROR_AGENT,       /* a guest's agent says something strange */
    VIRTNEST_ERROR_RELEASE,     /* a guest that cannot be released as somebody wishes */
    VIRTNEST_ERROR_UNSUPPORTED, /* nothing that virtnest knows gives this domain nesting */
} VirtnestError;

GQuark virtnest_error_quark(void);
