/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/autoptr.h"
#include "lib/blocker.h"
#include "lib/runtime.h"

/* What is asked of libvirt and of a guest's QEMU to guard it. Each call blocks, for as long as they like. */

BlockerReply guard_calls_set(virDomain *domain, const char *image, GError **error);
bool guard_calls_lift(virDomain *domain, GError **error);
bool guard_calls_find(virDomain *domain, bool *ret_found, GError **error);
void guard_calls_remove_fd(virDomain *domain);
const char *guard_calls_find_job(virDomain *domain);
bool guard_calls_is_leaving(virDomain *domain);
bool guard_calls_note(virDomain *domain, const Runtime *runtime, unsigned where, GError **error);
