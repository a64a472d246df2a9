/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* polkit's agent for terminals: pkttyagent(1) as a child. */
typedef struct Agent Agent;

bool agent_is_wanted(void);
Agent *agent_new(void);
Agent *agent_free(Agent *agent);
