/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* A few threads for calls that may block. */
typedef struct Workers Workers;

/* One call on a worker. */
typedef struct WorkerJob WorkerJob;
typedef void (*WorkerWork)(gpointer data); /* on a worker */
typedef void (*WorkerDone)(gpointer data); /* on the main thread, after the work; owns data */

Workers *workers_new(const char *name, unsigned max_threads, void (*idle)(gpointer data), gpointer data);
Workers *workers_free(Workers *workers);
WorkerJob *workers_run(Workers *workers, WorkerWork work, WorkerDone done, gpointer data);
unsigned workers_count_jobs(const Workers *workers);
unsigned workers_count_slow(const Workers *workers, unsigned seconds);
unsigned worker_job_seconds(const WorkerJob *job);
