/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/workers.h"

struct Workers {
    GThreadPool *pool;
    GQueue jobs;         /* of WorkerJob, not done yet; main thread only */
    GAsyncQueue *worked; /* jobs whose work is over */
    GSource *finisher;   /* hands them to the main thread, as many as there are at once */
    void (*idle)(gpointer data);
    gpointer data;
};

struct WorkerJob {
    Workers *workers;
    WorkerWork work;
    WorkerDone done;
    gpointer data;
    GList link;  /* in workers->jobs */
    int started; /* monotonic seconds, 0 while it waits for a worker; atomic */
};

static gboolean jobs_finish(gpointer data)
{
    Workers *workers = data;
    WorkerJob *job;

    g_source_set_ready_time(workers->finisher, -1);
    while ((job = g_async_queue_try_pop(workers->worked)) != NULL) {
        g_queue_unlink(&workers->jobs, &job->link);
        job->done(job->data);
        g_free(job);
    }
    /* May be the end of the workers. */
    if (workers->jobs.length == 0 && workers->idle != NULL)
        workers->idle(workers->data);
    return G_SOURCE_CONTINUE;
}

static gboolean finisher_dispatch(GSource *source G_GNUC_UNUSED, GSourceFunc callback, gpointer data)
{
    return callback(data);
}

static GSource *finisher_new(const char *name, Workers *workers)
{
    static GSourceFuncs functions = {.dispatch = finisher_dispatch};
    GSource *source = g_source_new(&functions, sizeof(GSource));

    g_source_set_name(source, name);
    g_source_set_callback(source, jobs_finish, workers, NULL);
    g_source_attach(source, NULL);
    return source;
}

static void job_thread(gpointer data, gpointer pool_data G_GNUC_UNUSED)
{
    WorkerJob *job = data;
    Workers *workers = job->workers;

    g_atomic_int_set(&job->started, MAX((int)(g_get_monotonic_time() / G_USEC_PER_SEC), 1));
    job->work(job->data);
    g_async_queue_push(workers->worked, job);
    g_source_set_ready_time(workers->finisher, 0);
}

/**
 * @name: of what they are for
 * @idle: called on the main thread when the last job is done; NULL for none
 * Returns: no thread yet; to be freed with workers_free().
 */
Workers *workers_new(const char *name, unsigned max_threads, void (*idle)(gpointer data), gpointer data)
{
    Workers *workers = g_new0(Workers, 1);

    g_queue_init(&workers->jobs);
    workers->worked = g_async_queue_new();
    workers->idle = idle;
    workers->data = data;
    workers->finisher = finisher_new(name, workers);
    workers->pool = g_thread_pool_new(job_thread, NULL, (int)max_threads, FALSE, NULL);
    return workers;
}

/** With jobs under way nothing is freed: they may hang for ever, and the process is about to end. */
Workers *workers_free(Workers *workers)
{
    if (workers == NULL || workers->jobs.length > 0)
        return NULL;
    g_thread_pool_free(workers->pool, FALSE, TRUE);
    g_source_destroy(workers->finisher);
    g_source_unref(workers->finisher);
    g_async_queue_unref(workers->worked);
    g_free(workers);
    return NULL;
}

/**
 * Runs a call on a worker, as soon as one is free.
 * Returns: the job, valid until @done is called; there is no way to take it back.
 */
WorkerJob *workers_run(Workers *workers, WorkerWork work, WorkerDone done, gpointer data)
{
    WorkerJob *job = g_new0(WorkerJob, 1);

    *job = (WorkerJob){.workers = workers, .work = work, .done = done, .data = data};
    job->link.data = job;
    g_queue_push_tail_link(&workers->jobs, &job->link);
    g_thread_pool_push(workers->pool, job, NULL);
    return job;
}

/** Returns: how many jobs are not done yet. */
unsigned workers_count_jobs(const Workers *workers)
{
    return workers->jobs.length;
}

/** Returns: how many of them a worker has been at for so long. */
unsigned workers_count_slow(const Workers *workers, unsigned seconds)
{
    unsigned n = 0;

    for (const GList *l = workers->jobs.head; l != NULL; l = l->next)
        n += worker_job_seconds(l->data) >= seconds;
    return n;
}

/** Returns: for how long a worker has been at it, 0 while it waits for one. */
unsigned worker_job_seconds(const WorkerJob *job)
{
    int started = g_atomic_int_get(&job->started);

    return started == 0 ? 0 : (unsigned)MAX((int)(g_get_monotonic_time() / G_USEC_PER_SEC) - started, 0);
}
