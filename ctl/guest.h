/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/autoptr.h"
#include "lib/guest-checks.h"

/* A domain as libvirt has it now, or as a document. */
typedef struct Guest {
    char *xml, *live_xml, *saved_xml, *host_model;
    char **hyperv_offered;
    bool persistent, has_managed_save;
    unsigned long libvirt_version, qemu_version;
    PolicySet *policies;
    HostSurvey *host;
    GuestInput input; /* made of the above */
} Guest;

Guest *guest_new(const char *host_root, char **policy, GError **error);
Guest *guest_free(Guest *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Guest, guest_free)

bool guest_read(Guest *guest, virDomain *domain, GError **error);
void guest_take_document(Guest *guest, char *xml, unsigned long libvirt_version);
