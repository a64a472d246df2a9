/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

const char *advice_for_state(const char *state);
const char *advice_for_move(const char *l2_state);
