/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Whether a guest runs guests of its own, as its runtime element tells. */
typedef enum {
    INCOMING_L2_UNTOLD, /* there is no such element, or it says none, unknown or what is not known here */
    INCOMING_L2_RUNNING,
    INCOMING_L2_QUIET,
} IncomingL2;

/* How a guest comes to this host. */
typedef enum {
    INCOMING_MIGRATE,
    INCOMING_RESTORE,
} IncomingKind;

#define INCOMING_UUID_SIZE 37
#define INCOMING_HOST_SIZE 65
/* A time that is not told. */
#define INCOMING_NEVER (-1)

/* What the definition of an incoming guest tells. Times are CLOCK_REALTIME, in seconds. */
typedef struct Incoming {
    char uuid[INCOMING_UUID_SIZE]; /* as libvirt writes it; "" if there is none */
    IncomingL2 l2;
    long long since;
    long long until;
    long long released_until;
    char host[INCOMING_HOST_SIZE]; /* where it ran; printable ASCII, and may be "" */
} Incoming;

bool incoming_read(const char *text, size_t length, Incoming *ret_incoming);
bool incoming_is_refused(const Incoming *incoming, IncomingKind kind, long long now);
bool incoming_parse_time(const char *text, size_t length, long long *ret_time);
