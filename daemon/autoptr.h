/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Cleanup of libvirt's and sd-bus's types. What libvirt and sd-bus allocated goes to free(), not to g_free(). */

#include <glib.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <systemd/sd-bus.h>

typedef virDomain VirDomain;
typedef virConnect VirConnect;

static inline void vir_domain_unref(virDomain *domain)
{
    if (domain != NULL)
        (void)virDomainFree(domain);
}

static inline void vir_connect_unref(virConnect *connection)
{
    if (connection != NULL)
        (void)virConnectClose(connection);
}

static inline void malloc_string_free(char *string)
{
    free(string);
}

/* A string that libvirt or sd-bus allocated. */
typedef char mallocString;

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirDomain, vir_domain_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirConnect, vir_connect_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(mallocString, malloc_string_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(sd_bus, sd_bus_flush_close_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(sd_bus_message, sd_bus_message_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(sd_bus_creds, sd_bus_creds_unref)
