/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/notes.h"

#include "daemon/guard-calls.h"
#include "daemon/log.h"
#include <libvirt/virterror.h>
#include <string.h>

#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 60000
/* Whoever waits for a note waits no longer. */
#define PATIENCE_S 5

/* An element, or none. */
typedef struct Content {
    bool there;
    Runtime runtime;
} Content;

struct Note {
    Notes *notes;
    Domain *domain;
    guint64 serial; /* no other has it */
    int run;        /* libvirt's number of it */
    bool decided;   /* what is wanted is known; before that nothing is touched */
    Content have, wanted;
    gint64 written_at; /* monotonic; a look from before saw what was there before */
    LaneCall *call;    /* NULL: none is under way */
    bool given_up;     /* whoever waits need not any more */
    char *error;
    guint retry_timer, patience_timer;
    unsigned retry_ms;
};

struct Notes {
    NotesHandlers handlers;
    gpointer data;
    Lanes *lanes;
    GHashTable *notes; /* serial -> Note */
    guint64 serial;
    bool stopping;
};

/* One call for one guest. */
typedef struct NoteJob {
    Notes *notes;
    guint64 serial;
    virConnect *connection;
    char uuid[VIR_UUID_STRING_BUFLEN];
    int run;
    Content content;
    GError *error;
} NoteJob;

static void converge(Note *note);

static Content content(const Runtime *runtime)
{
    return runtime != NULL ? (Content){true, *runtime} : (Content){0};
}

static bool is_as_wanted(const Note *note)
{
    return runtime_serves(note->have.there ? &note->have.runtime : NULL,
                          note->wanted.there ? &note->wanted.runtime : NULL);
}

static void job_work(gpointer data)
{
    NoteJob *job = data;
    g_autoptr(VirDomain) domain = virDomainLookupByUUIDString(job->connection, job->uuid);

    if (domain == NULL)
        libvirt_set_error(&job->error, "cannot find the domain");
    else if (virDomainGetID(domain) != (unsigned)job->run)
        g_set_error(&job->error, VIRTNEST_LIBVIRT_ERROR, VIR_ERR_NO_DOMAIN, "it was started anew meanwhile");
    else
        (void)guard_calls_note(domain, job->content.there ? &job->content.runtime : NULL, VIR_DOMAIN_AFFECT_LIVE,
                               &job->error);
}

static void job_free(NoteJob *job)
{
    (void)virConnectClose(job->connection);
    g_clear_error(&job->error);
    g_free(job);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NoteJob, job_free)

static gboolean on_retry(gpointer data)
{
    Note *note = data;

    note->retry_timer = 0;
    converge(note);
    return G_SOURCE_REMOVE;
}

/* Each cause is told once. */
static void take_error(Note *note, const GError *error)
{
    const Domain *domain = note->domain;
    const char *text = error != NULL ? error->message : NULL;
    /* The guest has ended meanwhile, and its definition with it. */
    bool ended = error != NULL && (error->code == VIR_ERR_NO_DOMAIN || error->code == VIR_ERR_OPERATION_INVALID);

    if (text != NULL && !ended && g_strcmp0(text, note->error) != 0)
        log_write(G_LOG_LEVEL_WARNING, (LogSubject){NULL, domain->name, domain->uuid, domain->view->policy},
                  "domain '%s': its live definition does not tell virtnest-hook of other hosts %s: %s; trying again",
                  domain_label(domain),
                  !note->wanted.there                       ? "that no guest of its own runs in it any more"
                  : note->wanted.runtime.released_until > 0 ? "that it may be moved"
                                                            : "that a guest of its own runs in it",
                  text);
    g_free(note->error);
    note->error = g_strdup(text);
}

static void job_done(gpointer data)
{
    g_autoptr(NoteJob) job = data;
    Notes *self = job->notes;
    Note *note = g_hash_table_lookup(self->notes, &job->serial);

    if (note == NULL)
        return;
    note->call = NULL;
    note->written_at = g_get_monotonic_time();
    take_error(note, job->error);
    if (job->error == NULL) {
        note->have = job->content;
        note->retry_ms = 0;
        converge(note);
    } else if (!self->stopping) {
        note->given_up = true;
        note->retry_ms = CLAMP(note->retry_ms * 2, RETRY_MIN_MS, RETRY_MAX_MS);
        note->retry_timer = g_timeout_add(note->retry_ms, on_retry, note);
    }
    if (note_is_settled(note))
        self->handlers.settled(note->domain, self->data);
}

/* Makes what is there and what is wanted equal, as far as a call can be made now. */
static void converge(Note *note)
{
    Notes *self = note->notes;

    if (!note->decided || is_as_wanted(note) || note->call != NULL || note->retry_timer != 0 || self->stopping ||
        !lanes_is_free(self->lanes, false))
        return;
    NoteJob *job = g_new0(NoteJob, 1);
    job->notes = self;
    job->serial = note->serial;
    job->content = note->wanted;
    job->run = note->run;
    g_strlcpy(job->uuid, note->domain->uuid, sizeof(job->uuid));
    note->call = lanes_run(self->lanes, &job->connection, job_work, job_done, job);
}

static void on_lanes_ready(gpointer data)
{
    Notes *self = data;
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, self->notes);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        converge(value);
}

static gboolean on_patience_over(gpointer data)
{
    Note *note = data;

    note->patience_timer = 0;
    note->given_up = true;
    note->notes->handlers.settled(note->domain, note->notes->data);
    return G_SOURCE_REMOVE;
}

/* Notes ------------------------------------------------------------------------------------------------------------ */

/**
 * For a run of a guest that has none. What is in its definition stays there until note_want() is called.
 * @run: libvirt's number of it
 * Returns: to be freed with note_free(), before @domain and @notes.
 */
Note *note_new(Notes *notes, Domain *domain, int run)
{
    Note *note = g_new0(Note, 1);

    note->notes = notes;
    note->domain = domain;
    note->run = run;
    note->serial = ++notes->serial;
    g_hash_table_insert(notes->notes, &note->serial, note);
    return note;
}

/** What is in the definition stays there. */
Note *note_free(Note *note)
{
    if (note == NULL)
        return NULL;
    (void)g_hash_table_remove(note->notes->notes, &note->serial);
    g_clear_handle_id(&note->retry_timer, g_source_remove);
    g_clear_handle_id(&note->patience_timer, g_source_remove);
    g_free(note->error);
    g_free(note);
    return NULL;
}

/**
 * Somebody has read the live definition.
 * @found: NULL: there is none in it
 * @looked_at: when that began, monotonic
 */
void note_found(Note *note, const Runtime *found, gint64 looked_at)
{
    if (note->call != NULL || looked_at <= note->written_at)
        return;
    note->have = content(found);
    converge(note);
}

/** @wanted: NULL: there is to be none. A time that is a little later is the same. */
void note_want(Note *note, const Runtime *wanted)
{
    const Runtime *before = note->wanted.there ? &note->wanted.runtime : NULL;

    if (!note->decided || !runtime_serves(before, wanted)) {
        note->decided = true;
        note->given_up = false;
        note->retry_ms = 0;
        g_clear_handle_id(&note->retry_timer, g_source_remove);
        g_clear_handle_id(&note->patience_timer, g_source_remove);
        note->wanted = content(wanted);
        if (!is_as_wanted(note))
            note->patience_timer = g_timeout_add_seconds(PATIENCE_S, on_patience_over, note);
    }
    converge(note);
}

/** Returns: what is in the definition as far as is known, or NULL. */
const Runtime *note_have(const Note *note)
{
    return note->have.there ? &note->have.runtime : NULL;
}

/** Is it as wanted, or has it turned out that this does not come to be soon? */
bool note_is_settled(const Note *note)
{
    return note->given_up || !note->decided || is_as_wanted(note);
}

/* Life ------------------------------------------------------------------------------------------------------------- */

static void on_lanes_stopped(gpointer data)
{
    Notes *self = data;

    self->handlers.stopped(self->data);
}

/** @handlers: copied. To be freed with notes_free(). */
Notes *notes_new(const char *uri, const NotesHandlers *handlers, gpointer data)
{
    static const LanesHandlers lanes_handlers = {
        .ready = on_lanes_ready,
        .stopped = on_lanes_stopped,
    };
    Notes *self = g_new0(Notes, 1);

    self->handlers = *handlers;
    self->data = data;
    self->notes = g_hash_table_new(g_int64_hash, g_int64_equal);
    self->lanes = lanes_new(uri, &lanes_handlers, self);
    return self;
}

/** Begins nothing any more. handlers.stopped is called once all is over, which may be at once. */
void notes_stop(Notes *self)
{
    self->stopping = true;
    lanes_stop(self->lanes);
}

/** As lanes_count_calls() does. */
void notes_count_calls(const Notes *self, unsigned *ret_calls, unsigned *ret_hung)
{
    lanes_count_calls(self->lanes, ret_calls, ret_hung);
}

/** Returns: whether there is nothing whose end handlers.stopped would tell. */
bool notes_are_stopped(const Notes *self)
{
    return lanes_are_stopped(self->lanes);
}

/** There may be no note any more. What calls under way still need is left alone. */
Notes *notes_free(Notes *self)
{
    if (self == NULL || !lanes_are_stopped(self->lanes))
        return NULL;
    self->lanes = lanes_free(self->lanes);
    g_hash_table_unref(self->notes);
    g_free(self);
    return NULL;
}
