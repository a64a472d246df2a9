/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/error.h"

G_DEFINE_QUARK(virtnest-error-quark, virtnest_error);
