/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What to do next, for each state that virtnestd publishes. The manual of virtnestd tells more under TROUBLESHOOTING. */

#include "ctl/advice.h"

#include <glib.h>
#include <string.h>

typedef struct Advice {
    const char *state;
    const char *text;
} Advice;

static const char *find(const Advice *advices, gsize n, const char *state)
{
    for (gsize i = 0; i < n; i++)
        if (strcmp(advices[i].state, state) == 0)
            return advices[i].text;
    return "";
}

/** @state: a value of State; one that is not known has no advice. Returns: "" if nothing is to be done. */
const char *advice_for_state(const char *state)
{
    static const Advice advices[] = {
        {"unknown", "wait a moment, and see whether virtnestd has a connection: virtnestctl status"},
        {"untagged", "nothing; to switch nesting on for it: virtnestctl tag DOMAIN"},
        {"in-sync", ""},
        {"pending-restart", "shut it down and start it again; a reboot from inside is not enough"},
        {"managed-save",
         "start it, shut it down and start it again; or drop the image: virsh managedsave-remove DOMAIN"},
        {"transient", "give it the CPU where it is created, or make it persistent: virsh define"},
        {"host-not-ready", "make the host ready: virtnestctl host tells how"},
        {"owned", "switch nesting on in the manager that owns it, or set RewriteOwned=yes in the policy"},
        {"held", "see what holds it: rm /etc/virtnest/disable, Mode=, or RewritesPerMinute= in virtnest.conf(5)"},
        {"error", "mend what the reason names; it is tried again by itself, or at once: virtnestctl reconcile DOMAIN"},
    };

    return find(advices, G_N_ELEMENTS(advices), state);
}

/** What may be done about a domain that should not be moved. @l2_state: a value of L2State. Returns: never "". */
const char *advice_for_move(const char *l2_state)
{
    static const Advice advices[] = {
        {"running", "shut its guests down"},
        {"quiet", "wait for ReleaseAfter=, or shut its guests down if they are paused"},
        {"unknown", "see L2Reason for what cannot be read"},
    };
    const char *text = find(advices, G_N_ELEMENTS(advices), l2_state);

    return *text != '\0' ? text : "see BlockWhen= of its policy, or release it";
}
