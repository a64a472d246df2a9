/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Which modes of <cpu> a hypervisor offers. */
typedef struct Capabilities {
    bool host_model, host_passthrough;
} Capabilities;

bool capabilities_parse(const char *xml, Capabilities *ret_capabilities, GError **error);
char *capabilities_host_model(const char *xml);
char **capabilities_hyperv(const char *xml);
