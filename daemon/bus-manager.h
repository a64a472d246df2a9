/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/manager.h"

bool bus_manager_register(sd_bus *bus, Manager *manager, GError **error);
void bus_manager_changed(sd_bus *bus, const char *const *properties);
