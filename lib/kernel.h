/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

bool kernel_holds_vm_for_stats(const char *release, const char *version);
