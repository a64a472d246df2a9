/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/l2.h"
#include "lib/platform.h"
#include "lib/policy.h"

/* What it hangs on whether a guest is to be guarded. */
typedef struct GuardInput {
    bool running;
    bool observe;              /* Mode=observe: nothing is done to anybody */
    bool scope_all;            /* Scope=all: not only domains that have a policy */
    bool watched;              /* KVM, with vmx or svm: it can have L2 guests */
    const GuardPolicy *policy; /* NULL: the domain has none */
    const L2 *l2;
    PlatformVerdict platform;
    bool released; /* by an operator, for now */
} GuardInput;

typedef struct GuardWish {
    bool wanted;
    bool undecided;     /* nobody has looked yet: what is there is to stay */
    bool l2;            /* so it is or would be without a release, and an L2 is or may be there */
    const char *reason; /* static, for a human; "" where there is nothing to say */
} GuardWish;

GuardWish guard_decide(const GuardInput *input);
