/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Between guest-checks.c and the files that its checks are in. */

#include "lib/guest-checks.h"

typedef struct GuestJudge {
    const GuestInput *input;
    DomainXml *xml;      /* what is judged */
    xmlDoc *whole;       /* the same with its devices, of which DomainXml keeps none */
    Cpu *cpu;            /* of it */
    Cpu *live;           /* of the running guest; NULL: it does not run */
    Reconcile *domain;   /* what virtnestd makes of the domain */
    char *name;          /* as a shell takes it */
    const char *feature; /* that carries nesting: vmx or svm; NULL: nobody can tell. Static. */
    bool is_x86, is_emulated, is_windows;
    GPtrArray *checks;
} GuestJudge;

bool guest_judge_init(GuestJudge *judge, const GuestInput *input, GError **error);
void guest_judge_clear(GuestJudge *judge);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(GuestJudge, guest_judge_clear)

char *guest_judge_virsh(const GuestJudge *judge, const char *command);
char *guest_judge_virtnestctl(const GuestJudge *judge, const char *command);
char *guest_judge_due(const GuestJudge *judge);
char *guest_judge_edit(const GuestJudge *judge, const char *script);
char *guest_judge_restart(const GuestJudge *judge);
bool guest_judge_is_stale(const GuestJudge *judge, const Cpu *running);
void guest_judge_live(GuestJudge *judge, const char *id, const char *same, const char *other);

void guest_judge_features(GuestJudge *judge);
void guest_judge_moves(GuestJudge *judge);
