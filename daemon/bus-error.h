/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The errors of org.virtnest1, as org.virtnest1(5) has them. Others are those of D-Bus itself. */
#define BUS_ERROR_NO_SUCH_DOMAIN "org.virtnest1.Error.NoSuchDomain"
#define BUS_ERROR_CONFIGURATION_INVALID "org.virtnest1.Error.ConfigurationInvalid"
#define BUS_ERROR_NOT_RELEASED "org.virtnest1.Error.NotReleased"
#define BUS_ERROR_UNAVAILABLE "org.virtnest1.Error.Unavailable"

void bus_errors_register(void);
