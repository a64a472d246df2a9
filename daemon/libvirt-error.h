/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

#define VIRTNEST_LIBVIRT_ERROR (virtnest_libvirt_error_quark())
GQuark virtnest_libvirt_error_quark(void);
void libvirt_set_error(GError **error, const char *action);
