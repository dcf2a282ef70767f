/* The thread pool (lib/base/pool.h). */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdatomic.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <cmocka.h>

#include "../lib/base/pool.h"

#include "graph_make.h"
#include "support.h"

#define MAX_ITEMS 1000
#define MAX_THREADS 5

typedef struct tally {
    uint8_t done[MAX_ITEMS]; /* not atomic: each item has its own, and the pool orders them */
    uint64_t per_worker[MAX_THREADS];
    uint32_t n_threads;
    atomic_int strays; /* workers out of range */
} tally;

static qdbg_status count(void *arg, uint64_t index, uint32_t worker)
{
    tally *t = arg;
    if (index >= MAX_ITEMS || worker >= t->n_threads) {
        t->strays++;
        return QDBG_OK;
    }
    t->done[index]++;
    t->per_worker[worker]++;
    return QDBG_OK;
}

static void every_item_is_done_once(void **state)
{
    static const uint64_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 63, 100, 999, 1000};
    (void)state;
    for (uint32_t threads = 1; threads <= MAX_THREADS; threads++) {
        qdbg_ctx *ctx = make_ctx(threads);
        for (int round = 0; round < 20; round++) /* the pool is used again and again */
            for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
                tally t = {.n_threads = threads};
                uint64_t n = sizes[k], sum = 0;
                assert_ok(qdbg__parallel_for(ctx, n, count, &t));
                assert_int_equal(t.strays, 0);
                for (uint64_t i = 0; i < MAX_ITEMS; i++)
                    assert_int_equal(t.done[i], i < n);
                for (uint32_t w = 0; w < MAX_THREADS; w++)
                    sum += t.per_worker[w];
                assert_int_equal(sum, n);
            }
        qdbg_ctx_destroy(ctx);
    }
}

/* Items wait for each other, so the call ends only when all threads take part at once. */
typedef struct meeting {
    atomic_uint there;
    uint32_t wanted;
    pthread_t caller;
    atomic_uint on_caller, bad;
} meeting;

static qdbg_status meet(void *arg, uint64_t index, uint32_t worker)
{
    meeting *m = arg;
    (void)index;
    if (pthread_equal(pthread_self(), m->caller))
        m->on_caller++;
    if ((pthread_equal(pthread_self(), m->caller) != 0) != (worker == 0))
        m->bad++;
    m->there++;
    while (m->there < m->wanted)
        sched_yield();
    return QDBG_OK;
}

static void all_threads_work_and_the_caller_is_worker_0(void **state)
{
    (void)state;
    for (uint32_t threads = 2; threads <= MAX_THREADS; threads++) {
        qdbg_ctx *ctx = make_ctx(threads);
        meeting m = {.wanted = threads, .caller = pthread_self()};
        assert_ok(qdbg__parallel_for(ctx, threads, meet, &m));
        assert_int_equal(m.there, threads);
        assert_int_equal(m.on_caller, 1);
        assert_int_equal(m.bad, 0);
        qdbg_ctx_destroy(ctx);
    }
}

typedef struct failing {
    uint64_t first, second; /* items that fail */
    uint8_t done[MAX_ITEMS];
} failing;

static qdbg_status fail_two(void *arg, uint64_t index, uint32_t worker)
{
    failing *f = arg;
    (void)worker;
    f->done[index] = 1;
    if (index == f->first) {
        for (int i = 0; i < 3; i++)
            sched_yield(); /* let the later one fail earlier */
        return QDBG_E_SHAPE;
    }
    return index == f->second ? QDBG_E_TYPE : QDBG_OK;
}

static void lowest_failure_is_told_whatever_the_timing(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= MAX_THREADS; threads++) {
        qdbg_ctx *ctx = make_ctx(threads);
        for (uint64_t round = 0; round < 300; round++) {
            failing f = {.first = round % 50, .second = round % 50 + 1 + round % 3};
            assert_int_equal(qdbg__parallel_for(ctx, MAX_ITEMS, fail_two, &f), QDBG_E_SHAPE);
            for (uint64_t i = 0; i <= f.first; i++)
                assert_int_equal(f.done[i], 1);
            uint64_t started = 0;
            for (uint64_t i = 0; i < MAX_ITEMS; i++)
                started += f.done[i];
            if (threads == 1)
                assert_int_equal(started, f.first + 1); /* nothing starts after a failure */
        }
        assert_int_equal(error_of(ctx).status, QDBG_OK); /* the words are the caller's business */
        qdbg_ctx_destroy(ctx);
    }
}

static qdbg_status fail_at_0(void *arg, uint64_t index, uint32_t worker)
{
    atomic_uint *n = arg;
    (void)worker;
    ++*n;
    return index == 0 ? QDBG_E_NUMERIC : QDBG_OK;
}

static void one_item_and_none(void **state)
{
    (void)state;
    qdbg_ctx *ctx = make_ctx(3);
    atomic_uint n = 0;
    assert_int_equal(qdbg__parallel_for(ctx, 1, fail_at_0, &n), QDBG_E_NUMERIC);
    assert_int_equal(n, 1);
    assert_ok(qdbg__parallel_for(ctx, 0, fail_at_0, &n));
    assert_int_equal(n, 1);
    qdbg_ctx_destroy(ctx);
}

static qdbg_status allocate(void *arg, uint64_t index, uint32_t worker)
{
    qdbg_ctx *ctx = arg;
    (void)worker;
    size_t size = (size_t)index % 7 + 1;
    void *p = qdbg__try_alloc(ctx, size, 16);
    if (!p)
        return QDBG_E_NOMEM;
    memset(p, 1, size * 16);
    qdbg__free(ctx, p, size, 16);
    return QDBG_OK;
}

static void workers_may_allocate(void **state)
{
    heap h;
    (void)state;
    heap_init(&h);
    qdbg_ctx *ctx = heap_ctx(&h, 4);
    assert_ok(qdbg__parallel_for(ctx, MAX_ITEMS, allocate, ctx));
    heap_arm(&h, 500, false);
    assert_int_equal(qdbg__parallel_for(ctx, MAX_ITEMS, allocate, ctx), QDBG_E_NOMEM);
    heap_arm(&h, 0, false);
    uint64_t current;
    assert_ok(qdbg_ctx_memory(ctx, &current, NULL));
    assert_int_equal(current, h.live_bytes);
    heap_end(&h, ctx);
}

static void threads_start_with_the_first_call_that_needs_them(void **state)
{
    heap h;
    tally t = {.n_threads = 3};
    (void)state;
    heap_init(&h);
    qdbg_ctx *ctx = heap_ctx(&h, 3);
    assert_null(ctx->pool);
    assert_ok(qdbg__parallel_for(ctx, 1, count, &t));
    assert_null(ctx->pool);
    for (uint64_t at = 1; at <= 2; at++) {
        heap_arm(&h, at, false);
        assert_fails(ctx, qdbg__parallel_for(ctx, 2, count, &t), QDBG_E_NOMEM, "memory");
        assert_null(ctx->pool);
        assert_int_equal(t.done[1], 0);
    }
    heap_arm(&h, 0, false);
    assert_ok(qdbg__parallel_for(ctx, 2, count, &t));
    assert_non_null(ctx->pool);
    heap_end(&h, ctx);
}

/* One of two items, each on a thread of its own. */
typedef struct masks {
    meeting m;
    atomic_int open; /* signals that workers let through */
} masks;

static qdbg_status look_at_mask(void *arg, uint64_t index, uint32_t worker)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGALRM, SIGUSR1, SIGCHLD};
    masks *k = arg;
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    for (size_t i = 0; worker > 0 && i < sizeof signals / sizeof *signals; i++)
        k->open += sigismember(&set, signals[i]) != 1;
    return meet(&k->m, index, worker);
}

/* Signals are the host's: its own threads get them, and the calling one's mask stays. */
static void workers_get_no_signals(void **state)
{
    masks k = {.m = {.wanted = MAX_THREADS, .caller = pthread_self()}};
    sigset_t before, after;
    (void)state;
    qdbg_ctx *ctx = make_ctx(MAX_THREADS);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_ok(qdbg__parallel_for(ctx, MAX_THREADS, look_at_mask, &k));
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(k.open, 0);
    for (int s = 1; s < 32; s++)
        assert_int_equal(sigismember(&before, s), sigismember(&after, s));
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_done_once),
        cmocka_unit_test(all_threads_work_and_the_caller_is_worker_0),
        cmocka_unit_test(lowest_failure_is_told_whatever_the_timing),
        cmocka_unit_test(one_item_and_none),
        cmocka_unit_test(workers_may_allocate),
        cmocka_unit_test(workers_get_no_signals),
        cmocka_unit_test(threads_start_with_the_first_call_that_needs_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
