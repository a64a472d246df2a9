/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/domain.h"

/* Who may call what changes something: root, and whom polkit lets. Main thread only. */
typedef struct Authority Authority;

/* What somebody wants to do. */
typedef struct AuthorityQuestion {
    const char *action;   /* polkit's, static; org.virtnest1.policy has it */
    const char *what;     /* the same in words, static, such as "reload the configuration" */
    const Domain *domain; /* that it is done to; NULL: to none */
} AuthorityQuestion;

Authority *authority_new(sd_bus *bus);
Authority *authority_free(Authority *self);
bool authority_knows(const Authority *self, const sd_bus_message *message);
unsigned authority_count_waiting(const Authority *self);
int authority_check(Authority *self, sd_bus_message *message, guint64 flags, const AuthorityQuestion *question,
                    char **ret_by, sd_bus_error *error);
int authority_check_flags(Authority *self, sd_bus_message *message, const AuthorityQuestion *question, char **ret_by,
                          sd_bus_error *error);
