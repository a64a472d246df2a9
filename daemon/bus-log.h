/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/autoptr.h"
#include <stdbool.h>

bool bus_log_register(sd_bus *bus, GError **error);
