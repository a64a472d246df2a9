/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* QEMU's guest agent: what it is asked, and what of its answers is believed. */

/* Which of the commands that are needed it takes. */
typedef struct GuestAgentInfo {
    bool reads_files; /* guest-file-open, guest-file-read and guest-file-close */
    bool tells_os;    /* guest-get-osinfo */
} GuestAgentInfo;

char *guest_agent_command(const char *name);
char *guest_agent_command_open(const char *path);
char *guest_agent_command_read(gint64 handle, gint64 count);
char *guest_agent_command_close(gint64 handle);

bool guest_agent_parse_info(const char *reply, GuestAgentInfo *ret_info, GError **error);
bool guest_agent_parse_os(const char *reply, bool *ret_is_windows, GError **error);
bool guest_agent_parse_handle(const char *reply, gint64 *ret_handle, GError **error);
bool guest_agent_parse_read(const char *reply, gsize most, GByteArray *content, bool *ret_end, GError **error);

/* What /proc/cpuinfo of a guest says. */
typedef struct GuestCpuinfo {
    bool vmx, svm;
} GuestCpuinfo;

bool guest_cpuinfo_parse(const guint8 *content, gsize length, GuestCpuinfo *ret_cpuinfo);
