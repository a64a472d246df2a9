/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Each fuzz-*.c has one: libFuzzer calls it with what it invents, replay.c with what it once found. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
