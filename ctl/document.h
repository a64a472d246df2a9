/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

char *document_read(const char *path);
bool document_read_version(const char *text, unsigned long *ret_version);
