/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/autoptr.h"
#include "daemon/manager.h"

bool bus_host_register(sd_bus *bus, Manager *manager, GError **error);
void bus_host_changed(sd_bus *bus, const char *const *properties);
