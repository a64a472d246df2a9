/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

int leave_guards(void);
