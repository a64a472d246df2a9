/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/policy.h"
#include <stdbool.h>

char *document_read(const char *path);
PolicySet *document_read_policies(char **policy, GPtrArray *errors);
bool document_read_version(const char *text, unsigned long *ret_version);
