/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whether a guest is to be guarded against migration, save and memory snapshots. */

#include "lib/guard.h"

static GuardWish wish(bool wanted, const char *reason)
{
    return (GuardWish){.wanted = wanted, .reason = reason};
}

/* What the policy's BlockWhen= and OnUnknown= make of the L2 guests. */
static GuardWish decide_by_l2(const GuardPolicy *policy, const GuardInput *input)
{
    const L2 *l2 = input->l2;

    if (policy->block_when == GUARD_WHEN_ALWAYS)
        return wish(true, "BlockWhen=always");
    if (policy->block_when == GUARD_WHEN_NEVER)
        return wish(false, "BlockWhen=never");
    if (!input->watched)
        return wish(false, "");
    if (l2->state == L2_RUNNING)
        return wish(true, "it runs a guest of its own");
    if (l2->state == L2_QUIET)
        return wish(true, "it has run a guest of its own, which may be there still");
    if (policy->block_when == GUARD_WHEN_SEEN && l2->ever)
        return wish(true, "it has run a guest of its own since it was started (BlockWhen=seen)");
    /* Each start, of the guest and of virtnestd, begins with a moment in which nobody has looked yet. */
    if (l2->state == L2_UNKNOWN && !l2->lost)
        return (GuardWish){.undecided = true, .reason = ""};
    if (l2->state == L2_UNKNOWN)
        return policy->block_unknown
                   ? wish(true, "nothing tells whether it runs a guest of its own (OnUnknown=block)")
                   : wish(false, "nothing tells whether it runs a guest of its own (OnUnknown=allow)");
    return wish(false, "");
}

GuardWish guard_decide(const GuardInput *input)
{
    const GuardPolicy fallback = guard_policy_default();

    if (!input->running)
        return wish(false, "");
    if (input->observe)
        return wish(false, "Mode=observe");
    if (input->policy == NULL && !input->scope_all)
        return wish(false, "");
    const GuardPolicy *policy = input->policy != NULL ? input->policy : &fallback;
    GuardWish wanted = decide_by_l2(policy, input);
    if (!wanted.wanted && !wanted.undecided)
        return wanted;
    if (policy->only_unsafe && input->platform == PLATFORM_SAFE)
        return wish(false, "Platforms=unsafe, and on this host it is safe to move");
    wanted.l2 = input->watched && (input->l2->state == L2_RUNNING || input->l2->state == L2_QUIET);
    if (input->released) {
        wanted.wanted = wanted.undecided = false;
        wanted.reason = "released by an operator";
    }
    return wanted;
}
