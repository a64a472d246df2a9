/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* The name of the node, which QEMU puts into the error that people read. */
#define BLOCKER_NODE "virtnest-l2-running"

/* The formats of QEMU that block migration while an image is open, in the order in which they are tried. */
typedef enum {
    BLOCKER_VDI,
    BLOCKER_VPC, /* where a QEMU of a distribution does not have the other one on its list */
    BLOCKER_FORMATS,
} BlockerFormat;

const char *blocker_format_to_string(BlockerFormat format);
GBytes *blocker_image(BlockerFormat format);
int blocker_open(BlockerFormat format, GError **error);

char *blocker_command_add_fd(void);
char *blocker_command_remove_fd(void);
char *blocker_command_add(BlockerFormat format);
char *blocker_command_remove(void);
char *blocker_command_find(void);

typedef enum {
    BLOCKER_REPLY_DONE,
    BLOCKER_REPLY_THERE,     /* there is one already */
    BLOCKER_REPLY_NOT_THERE, /* there is none */
    BLOCKER_REPLY_TOO_LATE,  /* a migration or a snapshot is under way */
    BLOCKER_REPLY_REFUSED,
} BlockerReply;

BlockerReply blocker_parse_reply(const char *text, GError **error);
bool blocker_parse_nodes(const char *text, bool *ret_found, GError **error);
