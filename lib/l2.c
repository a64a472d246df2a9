/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Decides from readings whether a guest runs guests of its own.
 *
 * What is certain: a counter of nested entries that moved, and a vCPU that is in an L2 right now, mean that an L2 runs.
 * That nothing moves means little, since an L2 that idles or is paused moves nothing. So an L2 that was seen counts as
 * there until the guest's hypervisor is known to be switched off, or for ReleaseAfter= of quiet. Only time in which an L2
 * could have shown itself counts as quiet: not while the guest was paused, and not while nobody looked, unless a counter
 * shows that nothing happened meanwhile.
 */

#include "lib/l2.h"

/* Without a counter, what happened between two looks is not known: of a longer time only that much counts as quiet. */
#define UNCOUNTED_GAP_MAX_USEC G_USEC_PER_SEC

typedef struct Counter {
    guint32 vcpu;
    bool has_counter;
    guint64 nested_run;
} Counter;

static const char *const state_names[] = {
    [L2_NONE] = "none",
    [L2_RUNNING] = "running",
    [L2_QUIET] = "quiet",
    [L2_UNKNOWN] = "unknown",
};

const char *l2_state_to_string(L2State state)
{
    return state_names[state];
}

/** A QEMU process began, or was found: nothing is known of it. Whatever @l2 held is given back. */
void l2_begin(L2 *l2, gint64 now)
{
    l2_clear(l2);
    l2->state = L2_UNKNOWN;
    l2->looked_at = now;
}

/** Frees what @l2 holds and leaves L2_NONE: the state of a guest that is off. */
void l2_clear(L2 *l2)
{
    g_clear_pointer(&l2->counters, g_array_unref);
    *l2 = (L2){.state = L2_NONE};
}

/** The next readings come from another source, whose counters have nothing to do with those before. */
void l2_rebase(L2 *l2)
{
    if (l2->counters != NULL)
        g_array_set_size(l2->counters, 0);
    l2->observed = false;
    l2->lost = false;
}

static void decide(L2 *l2, const L2Limits *limits)
{
    guint64 release = limits->release_after_usec;

    if (l2->seen && l2->active && l2->quiet_usec < limits->quiet_after_usec) {
        l2->state = L2_RUNNING;
        return;
    }
    /* Neither sum can overflow: "never" is the largest number. */
    if (l2->seen && !l2->lost && release < G_MAXUINT64 - limits->quiet_after_usec &&
        l2->quiet_usec >= limits->quiet_after_usec + release)
        l2->seen = l2->active = false;
    if (l2->seen)
        l2->state = L2_QUIET;
    else
        l2->state = l2->observed && !l2->lost ? L2_NONE : L2_UNKNOWN;
}

/**
 * The guest was loaded from a state in which an L2 ran: it is there, even if it is paused and moves nothing. To be called
 * after l2_begin().
 */
void l2_presume(L2 *l2, const L2Limits *limits)
{
    l2->ever = l2->seen = true;
    l2->moved_at = l2->looked_at;
    decide(l2, limits);
}

/** The policy's limits may have changed. */
void l2_update(L2 *l2, const L2Limits *limits)
{
    decide(l2, limits);
}

/* Time that never goes back. Returns: how much has passed since the last look. */
static guint64 pass_time(L2 *l2, gint64 now)
{
    guint64 gap = now > l2->looked_at ? (guint64)(now - l2->looked_at) : 0;

    l2->looked_at = MAX(l2->looked_at, now);
    return gap;
}

static Counter *find_counter(const L2 *l2, gsize hint, guint32 vcpu)
{
    Counter *counters = (Counter *)(gpointer)l2->counters->data;

    /* vCPUs come in the same order each time. */
    if (hint < l2->counters->len && counters[hint].vcpu == vcpu)
        return &counters[hint];
    for (guint i = 0; i < l2->counters->len; i++)
        if (counters[i].vcpu == vcpu)
            return &counters[i];
    return NULL;
}

/* What the readings say beside the state: has an L2 moved, are there traces of one, can movement be missed? */
typedef struct Findings {
    bool moved, traces, in_guest, counted;
    bool new_vcpus;
    guint64 sum;
} Findings;

static Findings compare(const L2 *l2, const L2Reading *readings, gsize n)
{
    Findings findings = {.counted = n > 0};

    for (gsize i = 0; i < n; i++) {
        const L2Reading *reading = &readings[i];
        const Counter *counter = find_counter(l2, i, reading->vcpu);
        findings.in_guest |= reading->guest_mode;
        findings.new_vcpus |= counter == NULL || counter->has_counter != reading->has_counter;
        if (!reading->has_counter) {
            findings.counted = false;
            continue;
        }
        findings.sum += reading->nested_run;
        findings.traces |= reading->nested_run > 0;
        /*
         * A vCPU that appears brings what it once counted. A counter that went back belongs to another process
         * (restored, reverted to, migrated), of which nobody told: what it has counted since is movement.
         */
        if (counter != NULL && counter->has_counter && counter->nested_run != reading->nested_run)
            findings.moved |= reading->nested_run > 0;
    }
    return findings;
}

static void keep_counters(L2 *l2, const L2Reading *readings, gsize n)
{
    if (l2->counters->len != n)
        g_array_set_size(l2->counters, (guint)n);
    for (gsize i = 0; i < n; i++)
        g_array_index(l2->counters, Counter, i) =
            (Counter){readings[i].vcpu, readings[i].has_counter, readings[i].nested_run};
}

/**
 * Takes one reading of each vCPU that there is now. In the order of before it is quickest.
 */
void l2_observe(L2 *l2, const L2Limits *limits, const L2Reading *readings, gsize n, gint64 now)
{
    if (l2->counters == NULL)
        l2->counters = g_array_new(FALSE, TRUE, sizeof(Counter));
    Findings findings = compare(l2, readings, n);
    guint64 gap = pass_time(l2, now);
    /* Between the last look and this one an L2 left: it may have run until just now. */
    bool left = l2->in_guest && !findings.in_guest;
    guint64 before = l2->nested_runs;

    /* Another source shows the same counters, added up or one by one: the sum tells whether they moved meanwhile. */
    if (!l2->observed && l2->counted && findings.counted && findings.sum > before)
        findings.moved = true;
    l2->counted = findings.counted;
    l2->nested_runs = findings.sum;
    l2->in_guest = findings.in_guest;
    if (findings.moved || findings.in_guest || left) {
        l2->ever = l2->seen = l2->active = true;
        l2->moved_at = l2->looked_at;
        l2->quiet_usec = 0;
    } else if (!l2->seen && findings.traces && findings.new_vcpus && findings.sum != before) {
        /* It ran before anybody looked. */
        l2->ever = l2->seen = true;
        l2->active = false;
        l2->moved_at = l2->looked_at;
        l2->quiet_usec = 0;
    } else if (l2->seen && l2->observed && !l2->paused) {
        guint64 credit = findings.counted && !findings.new_vcpus ? gap : MIN(gap, UNCOUNTED_GAP_MAX_USEC);
        l2->quiet_usec = l2->quiet_usec > G_MAXUINT64 - credit ? G_MAXUINT64 : l2->quiet_usec + credit;
    }
    l2->observed = true;
    l2->lost = false;
    keep_counters(l2, readings, n);
    decide(l2, limits);
}

/**
 * No source can be read, now and until l2_rebase(). An L2 that was seen stays quiet, for as long as nobody can tell that it
 * is gone. To be called again while the state is L2_RUNNING, so that it becomes so after QuietAfter=.
 */
void l2_lose(L2 *l2, const L2Limits *limits, gint64 now)
{
    guint64 gap = pass_time(l2, now);

    if (l2->lost && l2->seen && !l2->paused)
        l2->quiet_usec = MIN(l2->quiet_usec + MIN(gap, G_MAXUINT32), limits->quiet_after_usec);
    l2->lost = true;
    decide(l2, limits);
}

/** The guest is paused, or goes on: while it is paused nothing in it can move, and that means nothing. */
void l2_set_paused(L2 *l2, bool paused, gint64 now)
{
    if (l2->paused == paused)
        return;
    l2->paused = paused;
    (void)pass_time(l2, now);
}

/**
 * The guest's registers tell whether a hypervisor is switched on in it: CR4.VMXE or EFER.SVME of any vCPU. If not, then
 * there is no L2, whatever moves or does not. That it is on means nothing: Linux from 6.12 on never switches it off.
 * @asked_at: when they were asked for; what moved since then counts
 */
void l2_take_registers(L2 *l2, bool hypervisor_on, gint64 asked_at)
{
    if (hypervisor_on || !l2->seen || l2->moved_at >= asked_at)
        return;
    l2->seen = l2->active = l2->in_guest = false;
    l2->quiet_usec = 0;
    if (l2->state == L2_RUNNING || l2->state == L2_QUIET)
        l2->state = l2->lost ? L2_UNKNOWN : L2_NONE;
}
