/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What more than one unit test needs. */

#include "lib/check.h"
#include "lib/error.h"
#include "lib/reconcile.h"

/* The documents in tests/data/domain/, without ".xml". */
extern const char *const util_domains[];

char *util_domain(const char *name);
char *util_big_domain(unsigned n_vcpus, unsigned n_devices);

DomainXml *util_parse(const char *text);
char *util_slice(const DomainXml *xml, const xmlNode *node);
char *util_replace(const char *text, const char *from, const char *to);
char *util_insert_before(const char *text, const char *place, const char *inserted);
char *util_with_metadata(const char *text, const char *inserted);
char *util_tagged(const char *domain, const char *tag);
char *util_crlf(const char *text);
char *util_tabs(const char *text);
char *util_one_line(const char *text);
char *util_libvirt_metadata(const char *text);

/* A file system root of a test's own; with all that is in it gone when it leaves the scope. */
typedef struct UtilRoot {
    char *path;
} UtilRoot;

UtilRoot *util_root_new(void);
UtilRoot *util_root_free(UtilRoot *root);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(UtilRoot, util_root_free)

char *util_root_path(const UtilRoot *root, const char *path);
void util_root_write(const UtilRoot *root, const char *path, const char *text);
void util_root_write_bytes(const UtilRoot *root, const char *path, const char *data, gsize length);
void util_root_link(const UtilRoot *root, const char *path, const char *target);
void util_root_folder(const UtilRoot *root, const char *path);
bool util_set_override(bool allowed);

/* A host that is ready, and a policy of each mode. */
extern const HostFacts util_amd_host;
const PolicySet *util_all_policies(void);

Reconcile *util_decide(const HostFacts *host, const char *xml, const char *live_xml);
char *util_restored(const char *xml);
char *util_cpu_of(const char *text);
char *util_with_cpu(const char *text, const char *cpu);

void util_assert_contains_at(const char *place, const char *text, const char *part);
void util_assert_lacks_at(const char *place, const char *text, const char *part);
void util_assert_same_at(const char *place, const char *text, const char *expected);
void util_assert_state_at(const char *place, const Reconcile *reconcile, ReconcileState state);

/* Each says where it stands and shows the text if it does not hold. */
#define util_assert_contains(text, part) util_assert_contains_at(G_STRLOC, text, part)
#define util_assert_lacks(text, part) util_assert_lacks_at(G_STRLOC, text, part)
#define util_assert_same(text, expected) util_assert_same_at(G_STRLOC, text, expected)
#define util_assert_state(reconcile, state) util_assert_state_at(G_STRLOC, reconcile, state)

const Check *util_check(const GPtrArray *checks, const char *id);
void util_assert_checks(const GPtrArray *checks);
void util_assert_check(const GPtrArray *checks, const char *id, const char *expected);
