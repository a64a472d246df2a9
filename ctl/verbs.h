/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Exit statuses, virtnestctl(1). */
#define STATUS_DONE 0
#define STATUS_FAILED 1
#define STATUS_USAGE 2
#define STATUS_NOT_CLEAR 3
/* Of `wait`, as of timeout(1): the time is over. */
#define STATUS_TIMEOUT 124
/* Of `hook status`: it is not there, is another version's, or is not virtnest's. */
#define STATUS_HOOK_ABSENT 3
#define STATUS_HOOK_OUTDATED 4
#define STATUS_HOOK_FOREIGN 5

#define VERBS_ONE_HOST "that works on one --host at a time"

/* What --host makes of a command. */
typedef enum VerbReach {
    VERB_HERE,     /* nothing: it is about this host's own files or libvirt */
    VERB_ONE_HOST, /* it may be about another */
    VERB_HOSTS,    /* or about several */
} VerbReach;

/* A command, or a command of a command. */
typedef struct Verb {
    const char *name;
    const char *arguments; /* as its usage shows them */
    const char *help;
    int (*run)(const struct Verb *verb, int argc, char **argv);
    VerbReach reach;
} Verb;

/* Where configuration is looked for: "/" but for --root. */
extern char *verbs_root;
/* The bus on which virtnestd is: "system" but for --bus. */
extern char *verbs_bus;
/* The hosts of --host (char *); none: this one. */
extern GPtrArray *verbs_hosts;
/* The libvirt that is used directly: "qemu:///system" but for --connect; "": none is to be. */
extern char *verbs_connect;
/* May polkit ask for a password? Yes but for --no-ask-password. */
extern bool verbs_ask_password;
/* May what is long go through a pager? Yes but for --no-pager. */
extern bool verbs_pager;
/* Set once a thread is left behind that hangs, and that may come to itself again: what it uses is not freed then. */
extern bool verbs_thread_left;

extern const GOptionEntry verbs_host_options[];

int verbs_run(const Verb *verbs, const char *parent, int argc, char **argv);
char *verbs_summary(const Verb *verbs);
bool verb_parse(const Verb *verb, const GOptionEntry *options, int least, int most, int *argc, char ***argv);
bool verb_parse_time(const char *option, const char *text, guint64 *ret_usec);
bool verb_check_all(const Verb *verb, int argc, bool all);
char *verbs_domain_word(const char *name, const char *uuid);
int verb_fail(const char *format, ...) G_GNUC_PRINTF(1, 2);
int verb_misused(const char *format, ...) G_GNUC_PRINTF(1, 2);
const char *verbs_nearest(const char *word, const char *const *words);
bool verbs_colours(void);

int verb_status(const Verb *verb, int argc, char **argv);
int verb_list(const Verb *verb, int argc, char **argv);
int verb_show(const Verb *verb, int argc, char **argv);
int verb_monitor(const Verb *verb, int argc, char **argv);
int verb_wait(const Verb *verb, int argc, char **argv);
int verb_reconcile(const Verb *verb, int argc, char **argv);
int verb_baseline(const Verb *verb, int argc, char **argv);
int verb_policy(const Verb *verb, int argc, char **argv);
int verb_cat_config(const Verb *verb, int argc, char **argv);
int verb_render(const Verb *verb, int argc, char **argv);
int verb_hook(const Verb *verb, int argc, char **argv);
int verb_release(const Verb *verb, int argc, char **argv);
int verb_revoke(const Verb *verb, int argc, char **argv);
int verb_tag(const Verb *verb, int argc, char **argv);
int verb_untag(const Verb *verb, int argc, char **argv);
int verb_host(const Verb *verb, int argc, char **argv);
int verb_metrics(const Verb *verb, int argc, char **argv);
int verb_drain(const Verb *verb, int argc, char **argv);
int verb_lint(const Verb *verb, int argc, char **argv);
int verb_verify(const Verb *verb, int argc, char **argv);
