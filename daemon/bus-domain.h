/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/reconciler.h"

bool bus_domain_register(sd_bus *bus, Reconciler *reconciler, GError **error);
void bus_domain_added(sd_bus *bus, const Domain *domain);
void bus_domain_removed(sd_bus *bus, const Domain *domain);
void bus_domain_changed(sd_bus *bus, const Domain *domain, const char *const *properties);
