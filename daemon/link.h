/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/autoptr.h"
#include "daemon/libvirt-error.h"
#include "daemon/workers.h"
#include <stdbool.h>

/* The connection to libvirt: opened, watched and opened again, with a few workers for calls that may block. */
typedef struct Link Link;

/* A call that takes longer counts as hung. */
#define LINK_SLOW_S 30

/* What happened to a domain, as far as it makes a difference: whatever it was, the domain is to be looked at. */
typedef enum {
    LINK_EVENT_OTHER,
    LINK_EVENT_ADDED,    /* it is defined, and had no definition before */
    LINK_EVENT_SAVED,    /* it runs no more, and its state is in a file */
    LINK_EVENT_MIGRATED, /* it runs on another host */
} LinkEvent;

/* Called on the main thread. */
typedef struct LinkHandlers {
    void (*connected)(gpointer data);
    void (*disconnected)(gpointer data); /* also for an attempt that failed; link_error() says why */
    /* NULL: events are not asked for. */
    void (*domain_event)(virDomain *domain, LinkEvent event, gpointer data);
    /* QEMU begins to migrate or save a guest, or to receive one. NULL: not asked for. */
    void (*migration)(virDomain *domain, gpointer data);
    void (*stopped)(gpointer data);
} LinkHandlers;

Link *link_new(const char *uri, const LinkHandlers *handlers, gpointer data);
void link_start(Link *link);
void link_stop(Link *link);
Link *link_free(Link *link);

WorkerJob *link_run(Link *link, WorkerWork work, WorkerDone done, gpointer data);
void link_count_calls(const Link *link, unsigned *ret_calls, unsigned *ret_hung);

virConnect *link_connection(const Link *link);
const char *link_uri(const Link *link);
const char *link_error(const Link *link);
const char *link_libvirt_version(const Link *link);
unsigned long link_libvirt_version_number(const Link *link);
unsigned long link_hypervisor_version_number(const Link *link);
char *link_hypervisor_version(const Link *link);
