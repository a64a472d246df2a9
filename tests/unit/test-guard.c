/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/guard.h"

#include "tests/unit/util.h"

static const GuardPolicy always = {.block_when = GUARD_WHEN_ALWAYS, .block_unknown = true};
static const GuardPolicy running = {.block_when = GUARD_WHEN_RUNNING, .block_unknown = true};
static const GuardPolicy seen = {.block_when = GUARD_WHEN_SEEN, .block_unknown = true};
static const GuardPolicy never = {.block_when = GUARD_WHEN_NEVER, .block_unknown = true};
static const GuardPolicy trusting = {.block_when = GUARD_WHEN_RUNNING};
static const GuardPolicy only_unsafe = {.block_when = GUARD_WHEN_RUNNING, .only_unsafe = true};

static const L2 none = {.state = L2_NONE, .observed = true};
static const L2 was = {.state = L2_NONE, .observed = true, .ever = true};
static const L2 runs = {.state = L2_RUNNING, .ever = true};
static const L2 quiet = {.state = L2_QUIET, .ever = true};
static const L2 not_yet = {.state = L2_UNKNOWN};
static const L2 lost = {.state = L2_UNKNOWN, .lost = true};

static void test_decide(void)
{
    static const struct {
        const char *name, *reason;
        GuardInput input;
        bool wanted;
        bool l2;
    } cases[] = {
        {"off", "", {.policy = &always, .l2 = &runs}, false},
        {"running", "runs a guest", {true, .watched = true, .policy = &running, .l2 = &runs}, true, true},
        {"quiet", "may be there still", {true, .watched = true, .policy = &running, .l2 = &quiet}, true, true},
        {"none", "", {true, .watched = true, .policy = &running, .l2 = &none}, false},
        {"gone", "", {true, .watched = true, .policy = &running, .l2 = &was}, false},
        {"seen", "BlockWhen=seen", {true, .watched = true, .policy = &seen, .l2 = &was}, true},
        {"seen-none", "", {true, .watched = true, .policy = &seen, .l2 = &none}, false},
        {"always", "BlockWhen=always", {true, .policy = &always, .l2 = &none}, true},
        {"always-running", "BlockWhen=always", {true, .watched = true, .policy = &always, .l2 = &runs}, true, true},
        {"never", "BlockWhen=never", {true, .watched = true, .policy = &never, .l2 = &runs}, false},
        /* A start is no reason. */
        {"not-looked-at-yet", "", {true, .watched = true, .policy = &running, .l2 = &not_yet}, false},
        {"unknown", "OnUnknown=block", {true, .watched = true, .policy = &running, .l2 = &lost}, true},
        {"unknown-allowed", "OnUnknown=allow", {true, .watched = true, .policy = &trusting, .l2 = &lost}, false},
        {"not-watched", "", {true, .policy = &running, .l2 = &lost}, false},
        {"no-policy", "", {true, .watched = true, .l2 = &runs}, false},
        {"scope-all", "runs a guest", {true, .scope_all = true, .watched = true, .l2 = &runs}, true, true},
        {"scope-all-emulated", "", {true, .scope_all = true, .l2 = &none}, false},
        {"observe", "Mode=observe", {true, .observe = true, .watched = true, .policy = &running, .l2 = &runs}, false},
        {"safe",
         "Platforms=unsafe",
         {true, .watched = true, .policy = &only_unsafe, .l2 = &runs, .platform = PLATFORM_SAFE},
         false},
        {"unsafe",
         "runs a guest",
         {true, .watched = true, .policy = &only_unsafe, .l2 = &runs, .platform = PLATFORM_UNSAFE},
         true,
         true},
        {"platform-unknown", "runs a guest", {true, .watched = true, .policy = &only_unsafe, .l2 = &runs}, true, true},
        {"safe-but-all",
         "runs a guest",
         {true, .watched = true, .policy = &running, .l2 = &runs, .platform = PLATFORM_SAFE},
         true,
         true},
        {"released",
         "released",
         {true, .watched = true, .policy = &always, .l2 = &runs, .released = true},
         false,
         true},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].name);
        GuardWish wish = guard_decide(&cases[i].input);
        g_assert_cmpint(wish.wanted, ==, cases[i].wanted);
        g_assert_cmpint(wish.l2, ==, cases[i].l2);
        util_assert_contains(wish.reason, cases[i].reason);
        if (*cases[i].reason == '\0')
            g_assert_cmpstr(wish.reason, ==, "");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guard/decide", test_decide);
    return g_test_run();
}
