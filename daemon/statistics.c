/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * virDomainListGetStats() asks the monitor of each guest in turn: one that hangs holds up all that come after it, for as
 * long as it hangs. So guests are asked a few at a time, and each such batch has a deadline. Those of a batch that misses
 * it are asked one by one from then on, until it comes back: only the one that hangs goes without an answer.
 */

#include "daemon/statistics.h"

#include "daemon/lanes.h"
#include "lib/qemu-process.h"
#include "lib/registers.h"
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <string.h>

#define BATCH_MAX 8
/* libvirt leaves statistics out while a job runs. So many answers in a row without them mean that there are none, and then
 * so many turns pass before the next question. */
#define USELESS_ANSWERS 3
#define USELESS_TURNS 30

typedef enum {
    ASK_STATISTICS,
    ASK_REGISTERS,
} Question;

typedef struct Answer {
    char uuid[VIR_UUID_STRING_BUFLEN];
    GArray *readings; /* of L2Reading; empty: there are no such statistics */
} Answer;

/* One call. */
typedef struct Batch {
    Statistics *statistics;
    virConnect *connection;
    LaneCall *call;
    Question question;
    GPtrArray *uuids;
    char *status_file; /* of libvirt: whether the guest is tainted; only with ASK_REGISTERS */
    gint64 asked_at;
    bool overdue;
    /* What came of it. */
    GArray *answers; /* of Answer */
    bool hypervisor_on, tainted;
    GError *error;
} Batch;

/* A guest that is asked about. */
typedef struct Asked {
    char uuid[VIR_UUID_STRING_BUFLEN];
    Batch *batch; /* the call that is out for it */
    bool due, alone;
    unsigned useless_answers; /* in a row */
    unsigned turns_to_wait;
} Asked;

struct Statistics {
    char *root;
    StatisticsHandlers handlers;
    gpointer data;
    Lanes *lanes;
    GPtrArray *batches; /* that are out */
    GHashTable *asked;  /* uuid -> Asked */
    guint64 interval_usec;
    guint timer;
    bool stopping;
};

static void dispatch(Statistics *self);

/* On a worker ------------------------------------------------------------------------------------------------------ */

static void answer_clear(gpointer data)
{
    g_array_unref(((Answer *)data)->readings);
}

/* The reading of a vCPU, which is made if there is none yet. */
static L2Reading *reading_of(GArray *readings, guint32 vcpu)
{
    for (guint i = 0; i < readings->len; i++)
        if (g_array_index(readings, L2Reading, i).vcpu == vcpu)
            return &g_array_index(readings, L2Reading, i);
    L2Reading reading = {.vcpu = vcpu};
    g_array_append_val(readings, reading);
    return &g_array_index(readings, L2Reading, readings->len - 1);
}

/* guest_mode is a boolean since Linux 5.19, and a number before. */
static bool is_inside(const virTypedParameter *parameter)
{
    return parameter->type == VIR_TYPED_PARAM_BOOLEAN  ? parameter->value.b != 0
           : parameter->type == VIR_TYPED_PARAM_ULLONG ? parameter->value.ul > 0
                                                       : false;
}

/* vcpu.N.nested_run.sum and vcpu.N.guest_mode.cur, as virConnectGetAllDomainStats() documents them. */
static void take_parameter(GArray *readings, const virTypedParameter *parameter)
{
    const char *name = parameter->field, *prefix = "vcpu.";
    char *rest = NULL;

    if (!g_str_has_prefix(name, prefix) || !g_ascii_isdigit(name[strlen(prefix)]))
        return;
    guint64 vcpu = g_ascii_strtoull(name + strlen(prefix), &rest, 10);
    if (vcpu > G_MAXUINT16)
        return;
    if (strcmp(rest, ".nested_run.sum") == 0 && parameter->type == VIR_TYPED_PARAM_ULLONG) {
        L2Reading *reading = reading_of(readings, (guint32)vcpu);
        reading->has_counter = true;
        reading->nested_run = parameter->value.ul;
    } else if (strcmp(rest, ".guest_mode.cur") == 0) {
        reading_of(readings, (guint32)vcpu)->guest_mode = is_inside(parameter);
    }
}

static void take_record(Batch *batch, const virDomainStatsRecord *record)
{
    Answer answer = {.readings = g_array_new(FALSE, FALSE, sizeof(L2Reading))};

    if (virDomainGetUUIDString(record->dom, answer.uuid) < 0)
        answer.uuid[0] = '\0';
    for (int i = 0; i < record->nparams; i++)
        take_parameter(answer.readings, &record->params[i]);
    g_array_append_val(batch->answers, answer);
}

static void destroy_domain(gpointer domain)
{
    (void)virDomainFree(domain);
}

static GPtrArray *look_up(const Batch *batch)
{
    GPtrArray *domains = g_ptr_array_new_with_free_func(destroy_domain);

    for (guint i = 0; i < batch->uuids->len; i++) {
        virDomain *domain = virDomainLookupByUUIDString(batch->connection, batch->uuids->pdata[i]);
        if (domain != NULL)
            g_ptr_array_add(domains, domain);
    }
    return domains;
}

static void ask_statistics(Batch *batch)
{
    g_autoptr(GPtrArray) domains = look_up(batch);
    virDomainStatsRecordPtr *records = NULL;

    if (domains->len == 0)
        return;
    g_ptr_array_add(domains, NULL);
    /* NOWAIT leaves out guests that have a job, such as a migration, instead of waiting for its end. */
    int n = virDomainListGetStats((virDomainPtr *)domains->pdata, VIR_DOMAIN_STATS_VCPU, &records,
                                  VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (n < 0)
        libvirt_set_error(&batch->error, "libvirt gives no statistics");
    for (int i = 0; i < n; i++)
        take_record(batch, records[i]);
    virDomainStatsRecordListFree(records);
}

/* A monitor command taints a guest, once for its run: only one that is tainted already is asked. */
static void ask_registers(Batch *batch)
{
    g_autoptr(mallocString) text = NULL;

    batch->tainted = batch->tainted || qemu_status_is_tainted(batch->status_file);
    if (!batch->tainted)
        return;
    g_autoptr(GPtrArray) domains = look_up(batch);
    if (domains->len == 0) {
        libvirt_set_error(&batch->error, "no such domain");
        return;
    }
    if (virDomainQemuMonitorCommand(domains->pdata[0], "info registers -a", &text,
                                    VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP) < 0)
        libvirt_set_error(&batch->error, "cannot read the registers");
    else
        (void)registers_parse(text, &batch->hypervisor_on, &batch->error);
}

static void batch_work(gpointer data)
{
    Batch *batch = data;

    if (batch->question == ASK_STATISTICS)
        ask_statistics(batch);
    else
        ask_registers(batch);
}

/* Answers ---------------------------------------------------------------------------------------------------------- */

static void batch_free(Batch *batch)
{
    g_ptr_array_unref(batch->uuids);
    g_array_unref(batch->answers);
    g_free(batch->status_file);
    (void)virConnectClose(batch->connection);
    g_clear_error(&batch->error);
    g_free(batch);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Batch, batch_free)

static const Answer *find_answer(const Batch *batch, const char *uuid)
{
    for (guint i = 0; i < batch->answers->len; i++)
        if (strcmp(g_array_index(batch->answers, Answer, i).uuid, uuid) == 0)
            return &g_array_index(batch->answers, Answer, i);
    return NULL;
}

static void take_answer(Statistics *self, Asked *asked, const Batch *batch)
{
    const Answer *answer = find_answer(batch, asked->uuid);

    if (answer != NULL && answer->readings->len > 0) {
        asked->useless_answers = 0;
        self->handlers.answered(asked->uuid, (const L2Reading *)(gconstpointer)answer->readings->data,
                                answer->readings->len, self->data);
    } else if (answer != NULL) {
        bool useless = ++asked->useless_answers >= USELESS_ANSWERS;
        asked->turns_to_wait = useless ? USELESS_TURNS : 0;
        self->handlers.silent(asked->uuid, useless,
                              "libvirt: no statistics of nested entries; it takes QEMU 7.1 and Linux 5.14", self->data);
    } else {
        self->handlers.silent(asked->uuid, false, batch->error != NULL ? batch->error->message : "libvirt: no answer",
                              self->data);
    }
}

static void batch_done(gpointer data)
{
    g_autoptr(Batch) batch = data;
    Statistics *self = batch->statistics;

    (void)g_ptr_array_remove_fast(self->batches, batch);
    if (self->stopping)
        return;
    if (batch->question == ASK_REGISTERS && batch->tainted && batch->error == NULL && !batch->overdue)
        self->handlers.registers(batch->uuids->pdata[0], batch->hypervisor_on, batch->asked_at, self->data);
    for (guint i = 0; batch->question == ASK_STATISTICS && i < batch->uuids->len; i++) {
        Asked *asked = g_hash_table_lookup(self->asked, batch->uuids->pdata[i]);
        if (asked == NULL)
            continue;
        asked->alone = false;
        if (asked->batch != batch)
            continue;
        asked->batch = NULL;
        /* What came too late is older than what may have come since. */
        if (!batch->overdue)
            take_answer(self, asked, batch);
    }
}

/* Questions -------------------------------------------------------------------------------------------------------- */

static Batch *batch_new(Statistics *self, Question question)
{
    Batch *batch = g_new0(Batch, 1);

    batch->statistics = self;
    batch->question = question;
    batch->uuids = g_ptr_array_new_with_free_func(g_free);
    batch->answers = g_array_new(FALSE, FALSE, sizeof(Answer));
    g_array_set_clear_func(batch->answers, answer_clear);
    batch->asked_at = g_get_monotonic_time();
    return batch;
}

static void batch_send(Batch *batch)
{
    g_ptr_array_add(batch->statistics->batches, batch);
    batch->call = lanes_run(batch->statistics->lanes, &batch->connection, batch_work, batch_done, batch);
}

/* Takes guests that are due into a batch: one that is to be asked alone, or some of the others. */
static void batch_fill(Statistics *self, Batch *batch)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->asked);
    while (batch->uuids->len < BATCH_MAX && g_hash_table_iter_next(&iter, NULL, &value)) {
        Asked *asked = value;
        if (!asked->due || asked->batch != NULL || (asked->alone && batch->uuids->len > 0))
            continue;
        asked->due = false;
        asked->batch = batch;
        g_ptr_array_add(batch->uuids, g_strdup(asked->uuid));
        if (asked->alone)
            return;
    }
}

static bool anybody_due(const Statistics *self)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->asked);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (((const Asked *)value)->due && ((const Asked *)value)->batch == NULL)
            return true;
    return false;
}

/* Asks about as many of those that are due as connections take. */
static void dispatch(Statistics *self)
{
    while (anybody_due(self) && lanes_is_free(self->lanes, false)) {
        Batch *batch = batch_new(self, ASK_STATISTICS);
        batch_fill(self, batch);
        batch_send(batch);
    }
}

/* Nobody answers: of several one hangs, and the others need not wait for it. */
static void batch_give_up(Statistics *self, Batch *batch)
{
    batch->overdue = true;
    for (guint i = 0; i < batch->uuids->len; i++) {
        Asked *asked = g_hash_table_lookup(self->asked, batch->uuids->pdata[i]);
        if (asked == NULL || asked->batch != batch || batch->uuids->len == 1)
            continue;
        asked->batch = NULL;
        asked->alone = asked->due = true;
    }
}

/* Returns: why there is no answer about a guest, static; NULL if one may still come. */
static const char *silence_reason(const Asked *asked)
{
    if (asked->batch == NULL)
        return asked->due ? "libvirt: no connection that answers" : NULL;
    return asked->batch->overdue ? "libvirt: its monitor does not answer" : NULL;
}

/* Tells of those that nobody could be asked about, or nobody answers for. */
static void tell_silence(Statistics *self)
{
    /* A handler may have a guest taken out. */
    g_autoptr(GList) uuids = g_hash_table_get_keys(self->asked);

    for (GList *l = uuids; l != NULL; l = l->next) {
        const Asked *asked = g_hash_table_lookup(self->asked, l->data);
        const char *reason = asked != NULL ? silence_reason(asked) : NULL;
        if (reason != NULL)
            self->handlers.silent(asked->uuid, false, reason, self->data);
    }
}

static gboolean on_timer(gpointer data)
{
    Statistics *self = data;
    GHashTableIter iter;
    gpointer value;

    for (guint i = 0; i < self->batches->len; i++) {
        Batch *batch = self->batches->pdata[i];
        if (!batch->overdue && lane_call_is_overdue(batch->call))
            batch_give_up(self, batch);
    }
    g_hash_table_iter_init(&iter, self->asked);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Asked *asked = value;
        if (asked->turns_to_wait > 0)
            asked->turns_to_wait--;
        else
            asked->due = true;
    }
    dispatch(self);
    tell_silence(self);
    return G_SOURCE_CONTINUE;
}

static void set_timer(Statistics *self)
{
    bool wanted = g_hash_table_size(self->asked) > 0 && !self->stopping;

    if (!wanted)
        g_clear_handle_id(&self->timer, g_source_remove);
    else if (self->timer == 0)
        self->timer = g_timeout_add((guint)(self->interval_usec / 1000), on_timer, self);
}

/** @usec: between two questions about a guest */
void statistics_set_interval(Statistics *self, guint64 usec)
{
    if (usec == self->interval_usec)
        return;
    self->interval_usec = usec;
    g_clear_handle_id(&self->timer, g_source_remove);
    set_timer(self);
}

/** Asks about a running guest from now on. The handlers of it are called later, not from here. */
void statistics_add(Statistics *self, const char *uuid)
{
    Asked *asked = g_new0(Asked, 1);

    g_strlcpy(asked->uuid, uuid, sizeof(asked->uuid));
    asked->due = true;
    g_hash_table_replace(self->asked, asked->uuid, asked);
    set_timer(self);
    dispatch(self);
}

void statistics_remove(Statistics *self, const char *uuid)
{
    (void)g_hash_table_remove(self->asked, uuid);
    set_timer(self);
}

/**
 * Has the registers of a guest read, unless that would taint it, or nobody has time for it now. handlers.registers tells
 * what came of it, if anything did.
 * @tainted: it is known to be; otherwise libvirt's record is asked, which may not have been written since
 */
void statistics_ask_registers(Statistics *self, const char *uuid, const char *name, bool tainted)
{
    for (guint i = 0; i < self->batches->len; i++) {
        const Batch *out = self->batches->pdata[i];
        if (out->question == ASK_REGISTERS && strcmp(out->uuids->pdata[0], uuid) == 0)
            return;
    }
    if (!lanes_is_free(self->lanes, false))
        return;
    Batch *batch = batch_new(self, ASK_REGISTERS);
    g_ptr_array_add(batch->uuids, g_strdup(uuid));
    batch->tainted = tainted;
    batch->status_file = qemu_status_path(self->root, name);
    batch_send(batch);
}

static void on_lanes_ready(gpointer data)
{
    dispatch(data);
}

static void on_lanes_stopped(gpointer data)
{
    Statistics *self = data;

    self->handlers.stopped(self->data);
}

/* Life ------------------------------------------------------------------------------------------------------------- */

/**
 * Connects when there is something to ask.
 * @root: "/", or where libvirt's state is looked for in its place
 * @handlers: copied
 * Returns: to be freed with statistics_free().
 */
Statistics *statistics_new(const char *root, const char *uri, const StatisticsHandlers *handlers, gpointer data)
{
    static const LanesHandlers lanes_handlers = {
        .ready = on_lanes_ready,
        .stopped = on_lanes_stopped,
    };
    Statistics *self = g_new0(Statistics, 1);

    self->root = g_strdup(root);
    self->handlers = *handlers;
    self->data = data;
    self->lanes = lanes_new(uri, &lanes_handlers, self);
    self->batches = g_ptr_array_new();
    self->asked = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
    self->interval_usec = 2 * G_USEC_PER_SEC;
    return self;
}

/** Asks nothing any more. Once the connections are closed, which may be at once, handlers.stopped is called. */
void statistics_stop(Statistics *self)
{
    self->stopping = true;
    set_timer(self);
    lanes_stop(self->lanes);
}

/** As lanes_count_calls() does. */
void statistics_count_calls(const Statistics *self, unsigned *ret_calls, unsigned *ret_hung)
{
    lanes_count_calls(self->lanes, ret_calls, ret_hung);
}

/** Returns: whether there is no connection whose end handlers.stopped would tell. */
bool statistics_is_idle(const Statistics *self)
{
    return lanes_are_stopped(self->lanes);
}

/** To be called after handlers.stopped; otherwise what calls under way still need is left alone. */
Statistics *statistics_free(Statistics *self)
{
    if (self == NULL || !lanes_are_stopped(self->lanes))
        return NULL;
    self->lanes = lanes_free(self->lanes);
    g_ptr_array_unref(self->batches);
    g_hash_table_unref(self->asked);
    g_free(self->root);
    g_free(self);
    return NULL;
}
