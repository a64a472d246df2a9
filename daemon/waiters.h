/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* Those who wait for something to be done, and are told once. */
typedef GSList Waiters;

/* @problem: why it is not done; NULL: it is */
typedef void (*WaiterTold)(const char *problem, gpointer data);

Waiters *waiters_add(Waiters *waiters, WaiterTold told, gpointer data);
Waiters *waiters_tell(Waiters *waiters, const char *problem);
