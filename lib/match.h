/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/key-file.h"
#include "lib/xml.h"

/* What a policy's [Match] looks at in a domain. */
typedef struct Subject {
    char *name;
    char *uuid;       /* "" if the document has none */
    char *title;      /* "" if it has none */
    char *os;         /* libosinfo's id, "" if it has none */
    GStrv namespaces; /* of the elements in its metadata */
} Subject;

Subject *subject_new(const DomainXml *xml);
Subject *subject_free(Subject *subject);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Subject, subject_free)

/* Which domains a policy takes by itself, without being named by their tag. */
typedef struct Match {
    GStrv names, uuids, titles, oses, namespaces; /* each NULL: no condition; otherwise one of it must hold */
    bool tagged;                                  /* tagged domains alone */
    int priority;                                 /* the highest one that matches counts */
} Match;

void match_clear(Match *match);
bool match_has_condition(const Match *match);
bool match_takes(const Match *match, const Subject *subject);
char *match_describe(const Match *match);
