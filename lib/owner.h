/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/xml.h"

const char *owner_detect(const DomainXml *xml);
