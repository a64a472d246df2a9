/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/xml.h"
#include <limits.h>

#define VIRTNEST_RUNTIME_NAMESPACE "urn:virtnest:runtime:1"
#define VIRTNEST_RUNTIME_ELEMENT "runtime"
/* For how long one counts that nobody renews. */
#define RUNTIME_LEASE_S (7 * 24 * 60 * 60)

/*
 * What the live definition of a guest says while guests of its own run in it: libvirt takes it along in a migration and in
 * a saved image, where virtnest-hook reads it. Times are seconds since the epoch.
 */
typedef struct Runtime {
    bool running;                 /* an L2 runs, or may be there still */
    guint64 since;                /* when it was first seen */
    guint64 until;                /* then nobody has looked for long, and it does not count for a migration any more */
    guint64 released_until;       /* an operator lets it be moved until then; 0: none does */
    char host[HOST_NAME_MAX + 1]; /* where that was seen */
} Runtime;

bool runtime_parse(const DomainXml *xml, Runtime *ret_runtime);
char *runtime_format(const Runtime *runtime);
bool runtime_serves(const Runtime *have, const Runtime *wanted);
