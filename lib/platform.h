/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/host.h"

/* Whether a guest may be migrated or saved on this host while it runs a guest of its own. */
typedef enum {
    PLATFORM_UNKNOWN,
    PLATFORM_SAFE,
    PLATFORM_UNSAFE,
} PlatformVerdict;

typedef struct Platform {
    PlatformVerdict verdict;
    const char *reason; /* static */
    const char *source; /* static: where that is written */
} Platform;

const char *platform_verdict_to_string(PlatformVerdict verdict);
Platform platform_judge(HostVendor vendor, const char *arch, unsigned long linux_version, unsigned long qemu_version);
