/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtnest-hook as it is, but that it looks for its files below the folder "root" of wherever it is run. */

#define HOOK_ROOT "root"
// NOLINTNEXTLINE(bugprone-suspicious-include): it is the program under test.
#include "daemon/hook.c"
