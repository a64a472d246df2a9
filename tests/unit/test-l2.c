/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* lib/l2.c: what follows from readings, in an order that the tests make, on a clock that they turn. */

#include "lib/l2.h"

#include "tests/unit/util.h"

#define SECOND ((gint64)G_USEC_PER_SEC)
#define TICK (SECOND / 4)
#define START (1000 * SECOND)

static const L2Limits limits = {5 * SECOND, 600 * SECOND};

/* A guest, its clock, and its two vCPUs. */
typedef struct Guest {
    L2 l2;
    gint64 now;
    L2Reading readings[2];
    gsize n;
} Guest;

static void guest_clear(Guest *guest)
{
    l2_clear(&guest->l2);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Guest, guest_clear)

static Guest guest_new(void)
{
    Guest guest = {
        .now = START, .readings = {{.vcpu = 0, .has_counter = true}, {.vcpu = 1, .has_counter = true}}, .n = 2};

    l2_begin(&guest.l2, guest.now);
    return guest;
}

static void look(Guest *guest, gint64 after)
{
    guest->now += after;
    l2_observe(&guest->l2, &limits, guest->readings, guest->n, guest->now);
}

/* Looks at it for so long, each tick. */
static void look_for(Guest *guest, gint64 usec)
{
    for (gint64 end = guest->now + usec; guest->now < end;)
        look(guest, TICK);
}

static void enter(Guest *guest)
{
    guest->readings[1].nested_run += 7;
}

#define assert_state(guest, wanted) \
    g_assert_cmpstr(l2_state_to_string((guest)->l2.state), ==, l2_state_to_string(wanted))

static void test_begins(void)
{
    g_auto(Guest) guest = guest_new();

    assert_state(&guest, L2_UNKNOWN);
    g_assert_false(guest.l2.lost);
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
    look_for(&guest, 3600 * SECOND);
    assert_state(&guest, L2_NONE);
    g_assert_false(guest.l2.ever);
}

static void test_runs_and_ends(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    assert_state(&guest, L2_RUNNING);
    g_assert_cmpuint(guest.l2.nested_runs, ==, 7);
    g_assert_cmpint(guest.l2.moved_at, ==, guest.now);
    /* To the very moment. */
    look_for(&guest, 5 * SECOND - TICK);
    assert_state(&guest, L2_RUNNING);
    look(&guest, TICK - 1);
    assert_state(&guest, L2_RUNNING);
    look(&guest, 1);
    assert_state(&guest, L2_QUIET);
    look_for(&guest, 600 * SECOND - TICK);
    assert_state(&guest, L2_QUIET);
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
    g_assert_true(guest.l2.ever);
    /* The old counters say nothing new; a new entry does. */
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
    enter(&guest);
    look(&guest, TICK);
    assert_state(&guest, L2_RUNNING);
}

static void test_never_leaves(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    guest.readings[0].nested_run = 1;
    guest.readings[0].guest_mode = true;
    look_for(&guest, 60 * SECOND);
    assert_state(&guest, L2_RUNNING);
    /* Nobody knows when it left: it may have been just now. */
    guest.readings[0].guest_mode = false;
    look(&guest, 300 * SECOND);
    assert_state(&guest, L2_RUNNING);
    look_for(&guest, 5 * SECOND);
    assert_state(&guest, L2_QUIET);
}

static void test_found_running(void)
{
    g_auto(Guest) guest = guest_new();

    enter(&guest);
    look(&guest, TICK);
    assert_state(&guest, L2_QUIET);
    g_assert_true(guest.l2.ever);
    enter(&guest);
    look(&guest, TICK);
    assert_state(&guest, L2_RUNNING);
}

static void test_found_and_released(void)
{
    g_auto(Guest) guest = guest_new();

    enter(&guest);
    look(&guest, TICK);
    look_for(&guest, 604 * SECOND);
    assert_state(&guest, L2_QUIET);
    look_for(&guest, 2 * SECOND);
    assert_state(&guest, L2_NONE);
}

static void test_never_released(void)
{
    static const L2Limits never = {5 * SECOND, G_MAXUINT64};
    g_auto(Guest) guest = guest_new();

    enter(&guest);
    look(&guest, TICK);
    guest.now += 1000 * 86400 * SECOND;
    l2_observe(&guest.l2, &never, guest.readings, guest.n, guest.now);
    assert_state(&guest, L2_QUIET);
}

static void test_limits_change(void)
{
    static const L2Limits patient = {3600 * SECOND, 0};
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    look_for(&guest, 10 * SECOND);
    assert_state(&guest, L2_QUIET);
    l2_update(&guest.l2, &patient);
    assert_state(&guest, L2_RUNNING);
    l2_update(&guest.l2, &limits);
    assert_state(&guest, L2_QUIET);
    l2_update(&guest.l2, &(L2Limits){SECOND, 0});
    assert_state(&guest, L2_NONE);
}

/* Restored, reverted or migrated, and nobody told: counters begin anew. */
static void test_counters_reset(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    guest.readings[0].nested_run = 1000;
    look(&guest, TICK);
    look_for(&guest, 60 * SECOND);
    assert_state(&guest, L2_QUIET);
    guest.readings[0].nested_run = 0;
    look(&guest, TICK);
    /* It may have come along, paused. */
    assert_state(&guest, L2_QUIET);
    guest.readings[0].nested_run = 3;
    look(&guest, TICK);
    assert_state(&guest, L2_RUNNING);
    look_for(&guest, 60 * SECOND);
    /* Back, and already counting again. */
    guest.readings[0].nested_run = 2;
    look(&guest, TICK);
    assert_state(&guest, L2_RUNNING);
    g_assert_cmpuint(guest.l2.nested_runs, ==, 2);
}

static void test_new_process(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    l2_begin(&guest.l2, guest.now);
    guest.readings[1].nested_run = 0;
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
    g_assert_false(guest.l2.ever);
}

static void test_hotplug(void)
{
    g_auto(Guest) guest = guest_new();

    guest.n = 1;
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
    guest.n = 2;
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
    enter(&guest);
    look(&guest, TICK);
    assert_state(&guest, L2_RUNNING);
    look_for(&guest, 6 * SECOND);
    assert_state(&guest, L2_QUIET);
    /* Unplugged and plugged again: KVM keeps the vCPU and its counter. That is no movement. */
    guest.n = 1;
    look(&guest, TICK);
    assert_state(&guest, L2_QUIET);
    guest.n = 2;
    look(&guest, TICK);
    assert_state(&guest, L2_QUIET);
}

/* A vCPU comes that has run an L2 before anybody could look at it. */
static void test_hotplug_with_traces(void)
{
    g_auto(Guest) guest = guest_new();

    guest.n = 1;
    look(&guest, TICK);
    enter(&guest);
    guest.n = 2;
    look(&guest, TICK);
    assert_state(&guest, L2_QUIET);
}

static void test_vcpus_in_another_order(void)
{
    g_auto(Guest) guest = guest_new();

    guest.readings[0].nested_run = 5;
    look(&guest, TICK);
    look_for(&guest, 620 * SECOND);
    assert_state(&guest, L2_NONE);
    guest.readings[0] = (L2Reading){.vcpu = 1, .has_counter = true};
    guest.readings[1] = (L2Reading){.vcpu = 0, .has_counter = true, .nested_run = 5};
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
}

static void test_clock_jumps(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    look(&guest, -500 * SECOND);
    assert_state(&guest, L2_RUNNING);
    g_assert_cmpint(guest.l2.moved_at, ==, START + 2 * TICK);
    guest.now = START + 2 * TICK;
    look_for(&guest, 4 * SECOND);
    assert_state(&guest, L2_RUNNING);
    look_for(&guest, SECOND);
    assert_state(&guest, L2_QUIET);
}

/* The host sleeps, and with it the guests and the clock: nothing has passed. */
static void test_host_suspended(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    look_for(&guest, 4 * SECOND);
    for (unsigned i = 0; i < 100; i++)
        look(&guest, 0);
    assert_state(&guest, L2_RUNNING);
    look_for(&guest, SECOND);
    assert_state(&guest, L2_QUIET);
}

/* A tick that comes late by minutes: the counter vouches for the time in between, a mere moment does not. */
static void test_late_tick(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    look(&guest, 300 * SECOND);
    assert_state(&guest, L2_QUIET);
    look(&guest, 400 * SECOND);
    assert_state(&guest, L2_NONE);
}

static void test_late_tick_uncounted(void)
{
    g_auto(Guest) guest = guest_new();

    guest.readings[0] = (L2Reading){.vcpu = 0};
    guest.n = 1;
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
    guest.readings[0].guest_mode = true;
    look(&guest, TICK);
    guest.readings[0].guest_mode = false;
    look(&guest, TICK);
    for (unsigned i = 0; i < 4; i++)
        look(&guest, 300 * SECOND);
    assert_state(&guest, L2_RUNNING);
    look(&guest, 300 * SECOND);
    assert_state(&guest, L2_QUIET);
}

static void test_paused(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    l2_set_paused(&guest.l2, true, guest.now);
    look_for(&guest, 3600 * SECOND);
    assert_state(&guest, L2_RUNNING);
    guest.now += TICK;
    l2_set_paused(&guest.l2, false, guest.now);
    look_for(&guest, 6 * SECOND);
    assert_state(&guest, L2_QUIET);
    l2_set_paused(&guest.l2, true, guest.now);
    look_for(&guest, 3600 * SECOND);
    assert_state(&guest, L2_QUIET);
    l2_set_paused(&guest.l2, false, guest.now);
    look_for(&guest, 600 * SECOND);
    assert_state(&guest, L2_NONE);
}

/* Nobody looked between pause and resume: that time does not count either. */
static void test_paused_unobserved(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    l2_set_paused(&guest.l2, true, guest.now + TICK);
    guest.now += 3600 * SECOND;
    l2_set_paused(&guest.l2, false, guest.now);
    look(&guest, TICK);
    assert_state(&guest, L2_RUNNING);
}

static void test_registers(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    look_for(&guest, 6 * SECOND);
    assert_state(&guest, L2_QUIET);
    l2_take_registers(&guest.l2, true, guest.now);
    assert_state(&guest, L2_QUIET);
    /* Something moved after they were asked for. */
    l2_take_registers(&guest.l2, false, guest.l2.moved_at - 1);
    assert_state(&guest, L2_QUIET);
    l2_take_registers(&guest.l2, false, guest.now);
    assert_state(&guest, L2_NONE);
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
    enter(&guest);
    look(&guest, TICK);
    assert_state(&guest, L2_RUNNING);
}

/* Loaded from a state in which an L2 ran: its counters begin at zero, and it may be paused. */
static void test_presumed(void)
{
    g_auto(Guest) guest = guest_new();

    l2_presume(&guest.l2, &limits);
    assert_state(&guest, L2_QUIET);
    look(&guest, TICK);
    assert_state(&guest, L2_QUIET);
    enter(&guest);
    look(&guest, TICK);
    assert_state(&guest, L2_RUNNING);

    g_auto(Guest) paused = guest_new();
    l2_presume(&paused.l2, &limits);
    look_for(&paused, 6 * SECOND);
    assert_state(&paused, L2_QUIET);
    l2_take_registers(&paused.l2, false, paused.now);
    assert_state(&paused, L2_NONE);

    g_auto(Guest) forgotten = guest_new();
    l2_presume(&forgotten.l2, &limits);
    look_for(&forgotten, (gint64)limits.quiet_after_usec + (gint64)limits.release_after_usec + TICK);
    assert_state(&forgotten, L2_NONE);
}

static void test_lost(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    l2_lose(&guest.l2, &limits, guest.now);
    assert_state(&guest, L2_UNKNOWN);
    g_assert_true(guest.l2.lost);
    l2_take_registers(&guest.l2, false, guest.now);
    assert_state(&guest, L2_UNKNOWN);
    l2_rebase(&guest.l2);
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
}

/* It is not known to be gone, and nobody can tell that it is. */
static void test_lost_while_running(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    for (unsigned i = 0; i < 21; i++) {
        assert_state(&guest, L2_RUNNING);
        l2_lose(&guest.l2, &limits, guest.now);
        guest.now += TICK;
    }
    assert_state(&guest, L2_QUIET);
    guest.now += 86400 * SECOND;
    l2_lose(&guest.l2, &limits, guest.now);
    assert_state(&guest, L2_QUIET);
    l2_take_registers(&guest.l2, false, guest.now);
    assert_state(&guest, L2_UNKNOWN);
}

/* Time in which nobody could look releases nobody, whatever the policy says by now. */
static void test_lost_and_limits(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    look_for(&guest, 300 * SECOND);
    assert_state(&guest, L2_QUIET);
    l2_lose(&guest.l2, &limits, guest.now);
    l2_update(&guest.l2, &(L2Limits){5 * SECOND, SECOND});
    assert_state(&guest, L2_QUIET);
}

/* Another source shows the same counters as a sum: that is no news, unless it has grown. */
static void test_other_source(void)
{
    g_auto(Guest) guest = guest_new();

    look(&guest, TICK);
    enter(&guest);
    look(&guest, TICK);
    look_for(&guest, 606 * SECOND);
    assert_state(&guest, L2_NONE);
    l2_rebase(&guest.l2);
    guest.readings[0] = (L2Reading){.vcpu = 0, .has_counter = true, .nested_run = 7};
    guest.n = 1;
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
    l2_rebase(&guest.l2);
    guest.readings[0].nested_run = 8;
    look(&guest, TICK);
    assert_state(&guest, L2_RUNNING);
}

static void test_no_vcpus(void)
{
    g_auto(Guest) guest = guest_new();

    guest.n = 0;
    look(&guest, TICK);
    assert_state(&guest, L2_NONE);
}

static void test_off(void)
{
    g_auto(Guest) guest = guest_new();

    enter(&guest);
    look(&guest, TICK);
    l2_clear(&guest.l2);
    assert_state(&guest, L2_NONE);
    g_assert_false(guest.l2.ever);
}

/* Random readings ------------------------------------------------------------------------------------------------- */

static bool chance(int one_in)
{
    return g_test_rand_int_range(0, one_in) == 0;
}

/* What the test itself knows of the guest. */
typedef struct Model {
    gint64 last_move; /* seen by two looks; only with moved */
    bool evidence;    /* of any L2 so far */
    bool moved;
    bool seen; /* and neither released nor known to be gone */
    gint64 quiet_from;
    bool paused;
} Model;

static gint64 random_gap(void)
{
    switch (g_test_rand_int_range(0, 12)) {
    case 0:
        return -g_test_rand_int_range(0, 100) * SECOND;
    case 1:
        return g_test_rand_int_range(1, 1200) * SECOND;
    case 2:
        return 0;
    default:
        return g_test_rand_int_range(1, 2000000);
    }
}

static void random_step(Guest *guest, Model *model, gint64 *clock)
{
    bool moves = chance(30), inside = chance(40), was_inside = guest->l2.in_guest;
    gint64 gap = random_gap();

    /* The clock that the guest goes by never goes back, whatever is told. */
    guest->now += gap;
    *clock = MAX(*clock, guest->now);
    for (gsize i = 0; i < G_N_ELEMENTS(guest->readings); i++)
        guest->readings[i].guest_mode = false;
    guest->readings[0].guest_mode = inside;
    if (moves)
        guest->readings[0].nested_run += (guint64)g_test_rand_int_range(1, 1000);
    else if (chance(200))
        guest->readings[0].nested_run = 0;
    if (chance(50))
        guest->n = 3 - guest->n;
    model->evidence |= moves || inside;
    /* At the first look at a source nobody can tell when its counters moved. */
    if ((moves && guest->l2.observed) || inside) {
        model->last_move = *clock;
        model->moved = model->seen = true;
    }
    if (moves || inside || was_inside)
        model->quiet_from = *clock;
    l2_observe(&guest->l2, &limits, guest->readings, guest->n, guest->now);
}

static void check(const Guest *guest, Model *model, gint64 clock)
{
    L2State state = guest->l2.state;

    if (!model->evidence)
        g_assert_cmpint(state, !=, L2_RUNNING);
    if (model->moved && model->seen && clock - model->last_move < (gint64)limits.quiet_after_usec)
        g_assert_cmpint(state, ==, L2_RUNNING);
    if (model->seen && state == L2_NONE) {
        g_assert_cmpint(clock - model->quiet_from, >=, (gint64)(limits.quiet_after_usec + limits.release_after_usec));
        model->seen = false;
    }
}

static void test_random(void)
{
    for (unsigned round = 0; round < 200; round++) {
        g_auto(Guest) guest = guest_new();
        Model model = {0};
        gint64 clock = guest.now;

        for (unsigned step = 0; step < 500; step++) {
            if (chance(60)) {
                l2_set_paused(&guest.l2, chance(2), guest.now);
            } else if (chance(60)) {
                bool on = chance(2);
                l2_take_registers(&guest.l2, on, clock + 1);
                if (!on)
                    model.seen = false;
            } else if (chance(100)) {
                l2_lose(&guest.l2, &limits, guest.now);
                l2_rebase(&guest.l2);
            } else {
                random_step(&guest, &model, &clock);
            }
            check(&guest, &model, clock);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/l2/begins", test_begins);
    g_test_add_func("/l2/runs-and-ends", test_runs_and_ends);
    g_test_add_func("/l2/never-leaves", test_never_leaves);
    g_test_add_func("/l2/found-running", test_found_running);
    g_test_add_func("/l2/found-and-released", test_found_and_released);
    g_test_add_func("/l2/never-released", test_never_released);
    g_test_add_func("/l2/limits-change", test_limits_change);
    g_test_add_func("/l2/counters-reset", test_counters_reset);
    g_test_add_func("/l2/new-process", test_new_process);
    g_test_add_func("/l2/hotplug", test_hotplug);
    g_test_add_func("/l2/hotplug-with-traces", test_hotplug_with_traces);
    g_test_add_func("/l2/vcpus-in-another-order", test_vcpus_in_another_order);
    g_test_add_func("/l2/clock-jumps", test_clock_jumps);
    g_test_add_func("/l2/host-suspended", test_host_suspended);
    g_test_add_func("/l2/late-tick", test_late_tick);
    g_test_add_func("/l2/late-tick-uncounted", test_late_tick_uncounted);
    g_test_add_func("/l2/paused", test_paused);
    g_test_add_func("/l2/paused-unobserved", test_paused_unobserved);
    g_test_add_func("/l2/registers", test_registers);
    g_test_add_func("/l2/presumed", test_presumed);
    g_test_add_func("/l2/lost", test_lost);
    g_test_add_func("/l2/lost-while-running", test_lost_while_running);
    g_test_add_func("/l2/lost-and-limits", test_lost_and_limits);
    g_test_add_func("/l2/other-source", test_other_source);
    g_test_add_func("/l2/no-vcpus", test_no_vcpus);
    g_test_add_func("/l2/off", test_off);
    g_test_add_func("/l2/random", test_random);
    return g_test_run();
}
