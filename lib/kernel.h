/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

unsigned long kernel_version_number(const char *release);
bool kernel_holds_vm_for_stats(const char *release, const char *version);
