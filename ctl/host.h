/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/verbs.h"

/* The libvirt that is asked; NULL or "": none. */

int verb_host_enable(const Verb *verb, int argc, char **argv);
int verb_host_disable(const Verb *verb, int argc, char **argv);
int verb_host_apply(const Verb *verb, int argc, char **argv);
