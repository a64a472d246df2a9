/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The program that is copied to where libvirt looks for hooks. */
#define HOOK_PROGRAM "virtnest-hook"
/* It stands in each version of that program, and in no other: virtnestctl replaces and removes no other's hook. */
#define HOOK_MARKER "virtnest-hook program 0549cce8489840eb8725102c792e5a9c"

/* Who may come in all the same, below VIRTNEST_RUNDIR: a file named after a UUID, with the second until which, and the file
 * that is there while everybody may. */
#define HOOK_INCOMING "incoming"
#define HOOK_INCOMING_ALL "all"
