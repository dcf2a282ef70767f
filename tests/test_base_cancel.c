/* Progress, cancel, and contexts side by side (base.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

typedef struct watch {
    int calls, stop_at; /* stop_at 0: never */
    qdbg_ctx *cancel;   /* qdbg_cancel() there instead of returning non-zero */
    bool bad;
    uint64_t last;
} watch;

static int32_t keep_watch(void *user, const qdbg_progress *p)
{
    watch *w = user;
    w->bad = w->bad || p->struct_size != sizeof *p || strcmp(p->stage, "float32") != 0 ||
             p->done > p->total || p->total == 0 || (w->calls > 0 && p->done < w->last);
    w->last = p->done;
    if (++w->calls != w->stop_at)
        return 0;
    if (w->cancel)
        qdbg_cancel(w->cancel);
    return w->cancel ? 0 : 7;
}

/* A model with 12 samples in 4 batches. */
typedef struct job {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg_model *m;
    samples s;
    qdbg_metric metric;
    watch w;
    double score;
} job;

static void job_begin(job *j)
{
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    *j = (job){.metric = metric_of(QDBG_METRIC_TOP1), .score = -1};
    o.threads = 2;
    o.progress = keep_watch;
    o.progress_user = &j->w;
    assert_ok(qdbg_ctx_create(&o, &j->ctx));
    j->g = net_of_gemms(j->ctx, true);
    j->m = builtin_model(j->g);
    j->s = samples_make(j->ctx, j->g, 12, 3, 3);
}

static void job_end(job *j)
{
    samples_free(&j->s);
    qdbg_model_destroy(j->m);
    qdbg_graph_destroy(j->g);
    qdbg_ctx_destroy(j->ctx);
}

static qdbg_status job_run(job *j)
{
    j->score = -1;
    j->w.calls = 0;
    return qdbg_model_evaluate(j->m, &j->s.set, &j->metric, &j->score);
}

static void assert_cancelled(job *j)
{
    assert_fails(j->ctx, job_run(j), QDBG_E_CANCELLED, "cancelled");
    assert_true(j->score == -1);
}

static void progress_tells_each_batch(void **state)
{
    job j;
    (void)state;
    job_begin(&j);
    assert_ok(job_run(&j));
    assert_true(j.w.calls >= 4);
    assert_false(j.w.bad);
    job_end(&j);
}

/* Both ways, at every call; a cancel is answered before the next batch, and the context goes on. */
static void progress_can_cancel(void **state)
{
    job j;
    (void)state;
    job_begin(&j);
    assert_ok(job_run(&j));
    double score = j.score;
    int calls = j.w.calls;
    for (int at = 1; at <= calls; at++)
        for (int way = 0; way < 2; way++) {
            j.w.stop_at = at;
            j.w.cancel = way ? j.ctx : NULL;
            assert_cancelled(&j);
            assert_int_equal(j.w.calls, at);
            j.w.stop_at = 0;
            assert_ok(job_run(&j));
            assert_true(j.score == score);
        }
    job_end(&j);
}

static void cancel_made_before_holds_for_one_call(void **state)
{
    job j;
    (void)state;
    job_begin(&j);
    qdbg_cancel(j.ctx);
    assert_cancelled(&j);
    assert_ok(job_run(&j));
    qdbg_cancel(j.ctx);
    qdbg_cancel_clear(j.ctx);
    assert_ok(job_run(&j));
    qdbg_cancel(NULL);
    qdbg_cancel_clear(NULL);
    job_end(&j);
}

static qdbg_ctx *interrupted;

static void on_signal(int number)
{
    (void)number;
    qdbg_cancel(interrupted);
}

static int32_t raise_signal(void *user, uint64_t index, qdbg_batch *batch)
{
    job *j = user;
    if (index == 1)
        raise(SIGUSR1);
    return j->s.set.batch(j->s.set.user, index, batch);
}

static void signal_handler_can_cancel(void **state)
{
    job j;
    (void)state;
    job_begin(&j);
    qdbg_dataset set = j.s.set;
    set.user = &j;
    set.batch = raise_signal;
    interrupted = j.ctx;
    void (*before)(int) = signal(SIGUSR1, on_signal);
    assert_int_equal(qdbg_model_evaluate(j.m, &set, &j.metric, &j.score), QDBG_E_CANCELLED);
    signal(SIGUSR1, before);
    assert_ok(job_run(&j));
    job_end(&j);
}

/* Endless data: only the other thread ends it. */
static int32_t endless(void *user, uint64_t index, qdbg_batch *batch)
{
    job *j = user;
    return j->s.set.batch(j->s.set.user, index % 4, batch);
}

static void *cancel_soon(void *arg)
{
    job *j = arg;
    qdbg_cancel(j->ctx);
    return NULL;
}

static void another_thread_can_cancel(void **state)
{
    job j;
    pthread_t thread;
    (void)state;
    job_begin(&j);
    qdbg_dataset set = j.s.set;
    set.user = &j;
    set.batch = endless;
    set.n_batches = 1000000000;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &j), 0);
    assert_int_equal(qdbg_model_evaluate(j.m, &set, &j.metric, &j.score), QDBG_E_CANCELLED);
    pthread_join(thread, NULL);
    assert_ok(job_run(&j));
    job_end(&j);
}

/* ---- several contexts ---- */

static void *work_alone(void *arg)
{
    double *score = arg;
    job j;
    job_begin(&j);
    for (int i = 0; i < 5; i++)
        assert_ok(job_run(&j));
    *score = j.score;
    job_end(&j);
    return NULL;
}

static void contexts_run_side_by_side(void **state)
{
    pthread_t threads[3];
    double scores[4] = {0};
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work_alone, &scores[i]), 0);
    work_alone(&scores[3]);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++)
        assert_true(scores[i] == scores[3]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_tells_each_batch),
        cmocka_unit_test(progress_can_cancel),
        cmocka_unit_test(cancel_made_before_holds_for_one_call),
        cmocka_unit_test(signal_handler_can_cancel),
        cmocka_unit_test(another_thread_can_cancel),
        cmocka_unit_test(contexts_run_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
