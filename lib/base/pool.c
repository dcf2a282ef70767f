#define _POSIX_C_SOURCE 200809L
#include "pool.h"

#include <pthread.h>
#include <signal.h>

typedef struct worker {
    struct qdbg__pool *pool;
    pthread_t thread;
    uint32_t number;
} worker;

struct qdbg__pool {
    pthread_mutex_t mutex;
    pthread_cond_t wake, idle;
    worker *workers;
    uint32_t n_workers; /* without the caller */
    uint32_t n_started;
    uint32_t n_busy;
    uint64_t round; /* grows with every parallel call */
    bool stopping;
    qdbg__job_fn job;
    void *arg;
    uint64_t n_items;
    atomic_uint_fast64_t next;
    uint64_t failed_item; /* lowest item that failed; guarded by mutex */
    qdbg_status failed_status;
};

static void note_failure(struct qdbg__pool *p, uint64_t item, qdbg_status status)
{
    pthread_mutex_lock(&p->mutex);
    if (p->failed_status == QDBG_OK || item < p->failed_item) {
        p->failed_item = item;
        p->failed_status = status;
    }
    pthread_mutex_unlock(&p->mutex);
    /* Items are handed out in order, so all lower ones have started: none is lost by stopping. */
    atomic_store(&p->next, p->n_items);
}

static void work(struct qdbg__pool *p, uint32_t number)
{
    for (;;) {
        uint64_t item = atomic_fetch_add(&p->next, 1);
        if (item >= p->n_items)
            return;
        qdbg_status status = p->job(p->arg, item, number);
        if (status != QDBG_OK)
            note_failure(p, item, status);
    }
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    struct qdbg__pool *p = w->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (!p->stopping && p->round == seen)
            pthread_cond_wait(&p->wake, &p->mutex);
        if (p->stopping)
            break;
        seen = p->round;
        pthread_mutex_unlock(&p->mutex);
        work(p, w->number);
        pthread_mutex_lock(&p->mutex);
        if (--p->n_busy == 0)
            pthread_cond_signal(&p->idle);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

void qdbg__pool_destroy(qdbg_ctx *ctx)
{
    struct qdbg__pool *p = ctx->pool;
    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    for (uint32_t i = 0; i < p->n_started; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    qdbg__free(ctx, p->workers, p->n_workers, sizeof *p->workers);
    qdbg__free(ctx, p, 1, sizeof *p);
    ctx->pool = NULL;
}

/* Signals are the host's: none shall be delivered to a thread of the library's. */
static int start_quietly(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *),
                         void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, attr, main, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static qdbg_status pool_create(qdbg_ctx *ctx)
{
    struct qdbg__pool *p = qdbg__alloc(ctx, 1, sizeof *p);
    if (!p)
        return ctx->error_status;
    p->n_workers = ctx->n_threads - 1;
    p->workers = qdbg__alloc(ctx, p->n_workers, sizeof *p->workers);
    if (!p->workers) {
        qdbg__free(ctx, p, 1, sizeof *p);
        return ctx->error_status;
    }
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->idle, NULL);
    ctx->pool = p;
    for (uint32_t i = 0; i < p->n_workers; i++) {
        p->workers[i] = (worker){.pool = p, .number = i + 1};
        if (start_quietly(&p->workers[i].thread, NULL, worker_main, &p->workers[i]) != 0) {
            qdbg__pool_destroy(ctx);
            return qdbg__fail(ctx, QDBG_E_THREAD, "could not start worker thread %u of %u", i + 1,
                              ctx->n_threads);
        }
        p->n_started++;
    }
    return QDBG_OK;
}

static qdbg_status run_alone(uint64_t n, qdbg__job_fn job, void *arg)
{
    for (uint64_t i = 0; i < n; i++) {
        qdbg_status status = job(arg, i, 0);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

qdbg_status qdbg__parallel_for(qdbg_ctx *ctx, uint64_t n, qdbg__job_fn job, void *arg)
{
    if (ctx->n_threads == 1 || n <= 1)
        return run_alone(n, job, arg);
    if (!ctx->pool) {
        qdbg_status status = pool_create(ctx);
        if (status != QDBG_OK)
            return status;
    }
    struct qdbg__pool *p = ctx->pool;
    pthread_mutex_lock(&p->mutex);
    p->job = job;
    p->arg = arg;
    p->n_items = n;
    p->failed_status = QDBG_OK;
    atomic_store(&p->next, 0);
    p->n_busy = p->n_workers;
    p->round++;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);

    work(p, 0);

    pthread_mutex_lock(&p->mutex);
    while (p->n_busy > 0)
        pthread_cond_wait(&p->idle, &p->mutex);
    qdbg_status status = p->failed_status;
    pthread_mutex_unlock(&p->mutex);
    return status;
}
