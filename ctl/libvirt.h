/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/autoptr.h"
#include <stdbool.h>

/* libvirt itself, for what must work without virtnestd. What takes no GError says on stderr why it fails. */

void libvirt_prepare(void);
virConnect *libvirt_open(void);
char *libvirt_remote_host(const char *uri);
virConnect *libvirt_peek(const char *uri, GError **error);
virDomain *libvirt_find(virConnect *connection, const char *text);
GPtrArray *libvirt_list(virConnect *connection, unsigned flags);

/* Returns: false with an error. Is called on a thread of its own. */
typedef bool (*LibvirtWork)(virDomain *domain, gpointer data, GError **error);

unsigned libvirt_for_each(const GPtrArray *domains, LibvirtWork work, gpointer data, gint64 limit_usec);
