/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/libvirt-error.h"

#include <libvirt/virterror.h>

G_DEFINE_QUARK(virtnest-libvirt-error, virtnest_libvirt_error);

/** Turns this thread's last libvirt error into a GError, whose code is libvirt's. */
void libvirt_set_error(GError **error, const char *action)
{
    const virError *cause = virGetLastError();
    /* In whatever encoding the locale has; D-Bus takes UTF-8 alone. */
    g_autofree char *message =
        g_utf8_make_valid(cause != NULL && cause->message != NULL ? cause->message : "unknown error", -1);

    g_set_error(error, VIRTNEST_LIBVIRT_ERROR, cause != NULL ? cause->code : VIR_ERR_INTERNAL_ERROR, "%s: %s", action,
                message);
}
