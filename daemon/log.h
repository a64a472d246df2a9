/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* By which journalctl -t finds them. */
#define LOG_IDENTIFIER "virtnestd"

/*
 * One MESSAGE_ID for each event that an operator acts on; units/virtnest.catalog explains each. Made with
 * `systemd-id128 new`; an id never changes its meaning.
 */
#define MESSAGE_RECONCILED "53a8835db7654922a435cedc38c2df27"
#define MESSAGE_PENDING_RESTART "53ca3378691745db93be6bb2b20d6a6d"
#define MESSAGE_RECONCILE_FAILED "76f5795905fa4108acae77cc1c893383"
#define MESSAGE_RECONCILE_CONFLICT "a47d008c68d34d1fa467817ac92fdedb"
#define MESSAGE_RECONCILE_HELD "dd647cbcdd0642ffb416999a4a391762"
#define MESSAGE_DEFINED_AGAIN "3e16a4fba97441199be89c2569b9825e"
#define MESSAGE_LIBVIRT_LOST "3c899683d1564febb8c0471c9c359f44"
#define MESSAGE_LIBVIRT_BACK "ac48d0224043444cad2f206bba3d877b"
#define MESSAGE_CONFIGURATION_LOADED "1122f00900a3464698f29a27ad2d0977"
#define MESSAGE_CONFIGURATION_REJECTED "dde1e44b59564a82b1bf767372743f70"
#define MESSAGE_L2_RUNS "ca575c4c42b944eca795dc15223a436f"
#define MESSAGE_L2_GONE "97cf83e3a51a42e7b94c84da45072117"
#define MESSAGE_L2_UNKNOWN "9338f662ea9e4bf7a45ec214ff6f06b6"
#define MESSAGE_GUARDED "f251166e3ec649ec82c3241137a26b2c"
#define MESSAGE_UNGUARDED "584eaed624a04f39ab9354d20d35ea64"
#define MESSAGE_GUARD_FAILED "cd295fe4fdfa4ede99ae8c2be8a88239"
#define MESSAGE_LOADED_WITH_L2 "1c47b31a8d2d4ad39a1711bd3fb4dff4"
#define MESSAGE_MOVED_WITH_L2 "b7acfe0363a34a7e87150d8fed1ab1b7"
#define MESSAGE_GUARD_TAKEN "7dfe199fd2ed4010b0a00e38211cdef5"
#define MESSAGE_JOB_ABORTED "b8357da306384c7d86da1cd0e4df3a68"
#define MESSAGE_JOB_NOT_ABORTED "8a02b9cc05d741afbc3cb04b04048fc7"
#define MESSAGE_RELEASED "38b0d209a8f14ae9be57d1b5bbe4e32c"
#define MESSAGE_RELEASE_ENDED "7b7a27056ca2498190a8bcce59fb8c53"
#define MESSAGE_METRICS_FAILED "b38dfc5e85e24b3a8d4f735088566c3b"
#define MESSAGE_HOST_PROBLEM "798ed020edcc4c96a1989fa5cc3adb2c"

/* Whom a message is about; any may be NULL. */
typedef struct LogSubject {
    const char *message_id;
    const char *domain;
    const char *uuid;
    const char *policy;
    const char *const *policies; /* of a message about several */
    const char *check;           /* of the host */
    const char *by;              /* who wanted it, such as "user 1000" */
} LogSubject;

void log_setup(void);
bool log_set_level(const char *level);
const char *log_level(void);
bool log_set_target(const char *target);
const char *log_target(void);
void log_write(GLogLevelFlags level, LogSubject subject, const char *format, ...) G_GNUC_PRINTF(3, 4);
