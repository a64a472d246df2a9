/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus-error.h"

#include <errno.h>
#include <systemd/sd-bus.h>

static const sd_bus_error_map errors[] = {
    SD_BUS_ERROR_MAP(BUS_ERROR_NO_SUCH_DOMAIN, ENOENT),
    SD_BUS_ERROR_MAP(BUS_ERROR_CONFIGURATION_INVALID, EBADMSG),
    SD_BUS_ERROR_MAP(BUS_ERROR_NOT_RELEASED, EBUSY),
    SD_BUS_ERROR_MAP(BUS_ERROR_UNAVAILABLE, EAGAIN),
    SD_BUS_ERROR_MAP_END,
};

/** Tells sd-bus which errno each of them is, for who calls and for who answers; without it all are EIO. Idempotent. */
void bus_errors_register(void)
{
    (void)sd_bus_error_add_map(errors);
}
