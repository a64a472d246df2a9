/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "lib/cpu.h"
#include "lib/hyperv.h"
#include "lib/xml.h"

#define VIRTNEST_STATE_NAMESPACE "urn:virtnest:state:1"
#define VIRTNEST_STATE_ELEMENT "state"

/* What virtnest remembers, in a rewritten definition itself, of the one before. */
typedef struct State {
    char *policy;  /* the policy that was applied */
    bool matched;  /* it was chosen by its [Match], not by a tag */
    Cpu *previous; /* the <cpu> that was there */
    Cpu *applied;  /* the <cpu> that virtnest wrote */
    HypervRecord hyperv;
    char *container; /* how <metadata> was written if the state made it or opened it: "" absent; NULL: it was there */
    xmlNode *node;   /* where the document that it was read from has it; NULL for a new one */
} State;

bool state_parse(const DomainXml *xml, State **ret_state, GError **error);
State *state_free(State *state);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(State, state_free)

/* What is to be remembered of a rewrite; nothing of it is the struct's own. */
typedef struct StateContent {
    const char *policy;
    bool matched;
    const Cpu *previous;
    const Cpu *applied;
    const HypervRecord *hyperv; /* NULL: nothing was written of it */
} StateContent;

XmlEdit state_edit_write(const DomainXml *xml, const State *old, const StateContent *content);
XmlEdit state_edit_remove(const DomainXml *xml, const State *state);
