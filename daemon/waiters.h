/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* Problems that there can be with anything. */
#define WAITERS_NO_CONNECTION "there is no connection to libvirt; ConnectionError says why"
#define WAITERS_ENDS "virtnestd ends"

/* Those who wait for something to be done, and are told once. */
typedef GSList Waiters;

/* @problem: why it is not done; NULL: it is */
typedef void (*WaiterTold)(const char *problem, gpointer data);

Waiters *waiters_add(Waiters *waiters, WaiterTold told, gpointer data);
Waiters *waiters_tell(Waiters *waiters, const char *problem);
