/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/domain.h"
#include "daemon/lanes.h"

/*
 * Keeps the runtime element in the live definitions of guests as it should be, on a connection of its own: libvirt makes a
 * change of metadata wait for other jobs of the guest, of which a migration takes minutes. Main thread only.
 */
typedef struct Notes Notes;

/* That of one run of a guest. */
typedef struct Note Note;

typedef struct NotesHandlers {
    void (*settled)(Domain *domain, gpointer data); /* note_is_settled() may hold now */
    void (*stopped)(gpointer data);
} NotesHandlers;

Notes *notes_new(const char *uri, const NotesHandlers *handlers, gpointer data);
void notes_stop(Notes *self);
bool notes_are_stopped(const Notes *self);
Notes *notes_free(Notes *self);

void notes_count_calls(const Notes *self, unsigned *ret_calls, unsigned *ret_hung);

Note *note_new(Notes *notes, Domain *domain, int run);
Note *note_free(Note *note);
void note_found(Note *note, const Runtime *found, gint64 looked_at);
void note_want(Note *note, const Runtime *wanted);
const Runtime *note_have(const Note *note);
bool note_is_settled(const Note *note);
