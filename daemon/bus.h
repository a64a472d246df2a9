/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/autoptr.h"
#include <stdbool.h>
#include <sys/types.h>

#define VIRTNEST_BUS_NAME "org.virtnest1"
#define VIRTNEST_BUS_PATH "/org/virtnest1"

bool bus_set_error(GError **error, int negative_errno, const char *what);
sd_bus *bus_open(const char *address, GError **error);
bool bus_own_name(sd_bus *bus, GError **error);

/* When something is due that must not wait for a client's call, as g_get_monotonic_time() counts; -1: nothing is. */
typedef gint64 (*BusNextLook)(gpointer data);

GSource *bus_attach(sd_bus *bus, GSourceFunc on_lost, BusNextLook next_look, gpointer data);

void bus_reply_later(const char *problem, gpointer message);
