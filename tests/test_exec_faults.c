/* The executor under want of memory, cancel, failing nodes and observers, and bad jobs. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "exec_net.h"

/* The memory limit holds while buffers grow, and the plan stays usable. */
static void test_memory_limit(void **state)
{
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx = NULL;
    (void)state;
    options.threads = 1;
    options.memory_limit = 100000;
    assert_int_equal(qdbg_ctx_create(&options, &ctx), QDBG_OK);
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t v = make_input(g, "x", DIMS(1, 3));
    uint32_t wide = make_random(g, "wide", DIMS(100, 1), &(uint64_t){1});
    uint32_t big = make_node(g, "Add", "big", VALUES(v, wide), NULL);
    uint32_t wider = make_random(g, "wider", DIMS(100, 1, 1), &(uint64_t){1});
    make_finish(g, make_node(g, "Add", "huge", VALUES(big, wider), NULL)); /* 120 kB */
    qdbg_view in = make_view(DIMS(1, 3), (float[]){1, 2, 3});
    qdbg__exec *exec = NULL;
    qdbg__variant base = {0};
    qdbg__exec_job job = {.inputs = &in, .n_runs = 1, .variants = &base, .n_variants = 1};
    assert_int_equal(qdbg__exec_create(g, &in, &exec), QDBG_OK);
    assert_int_equal(qdbg__exec_run(exec, &job), QDBG_E_LIMIT);
    assert_int_equal(qdbg__exec_run(exec, &job), QDBG_E_LIMIT);
    qdbg__exec_destroy(exec);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

typedef struct counter {
    long calls, fail_at;
    atomic_long held;
} counter;

static void *counted_alloc(void *user, size_t size, size_t align)
{
    counter *c = user;
    if (c->calls++ == c->fail_at)
        return NULL;
    atomic_fetch_add(&c->held, 1);
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void counted_free(void *user, void *ptr, size_t size, size_t align)
{
    counter *c = user;
    (void)size;
    (void)align;
    atomic_fetch_sub(&c->held, 1);
    free(ptr);
}

/* Whichever allocation fails, the call says so and leaves nothing behind. */
static void test_each_allocation_may_fail(void **state)
{
    counter c = {.fail_at = -1};
    qdbg_allocator allocator = {sizeof allocator, 0, &c, counted_alloc, counted_free};
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx = NULL;
    net n;
    uint64_t seed = 1;
    float *x = make_floats(&seed, 4 * X_COUNT), y[8 * Y_COUNT];
    (void)state;
    options.threads = 2;
    options.allocator = &allocator;
    assert_int_equal(qdbg_ctx_create(&options, &ctx), QDBG_OK);
    build_net(ctx, &n);
    const qdbg__fakequant *acts[MAX_SEEN] = {0};
    acts[n.conv] = acts[n.x] = &fine;
    qdbg__variant variants[] = {{0}, {acts, NULL}};
    void *outputs[] = {y, y + 4 * Y_COUNT};
    qdbg_view one = make_view(X_DIMS, NULL), four = make_view(X_DIMS, x);
    four.dims[0] = 4;
    qdbg__exec_job job = {
        .inputs = &four, .n_runs = 4, .variants = variants, .n_variants = 2, .outputs = outputs};
    qdbg_status status = QDBG_E_NOMEM;
    long attempts = 0, held = atomic_load(&c.held);
    for (; status == QDBG_E_NOMEM; attempts++) {
        qdbg__exec *exec = NULL;
        c.calls = 0;
        c.fail_at = attempts;
        status = qdbg__exec_create(n.g, &one, &exec);
        if (status == QDBG_OK)
            status = qdbg__exec_run(exec, &job);
        c.fail_at = -1;
        qdbg__exec_destroy(exec);
        if (!ctx->pool) /* the worker threads stay once they have started */
            assert_int_equal(atomic_load(&c.held), held);
    }
    assert_int_equal(status, QDBG_OK);
    assert_true(attempts > 20);
    qdbg_graph_destroy(n.g);
    qdbg_ctx_destroy(ctx);
    assert_int_equal(atomic_load(&c.held), 0);
    free(x);
}

/* ---- cancel ---- */

typedef struct stopper {
    qdbg_ctx *ctx;
    atomic_int seen, stop;
    uint64_t at_run;
} stopper;

static qdbg_status cancel_at_run(void *user, uint32_t worker, uint32_t variant, uint64_t run,
                                 uint32_t value, const qdbg_view *view)
{
    stopper *s = user;
    (void)worker;
    (void)variant;
    (void)value;
    (void)view;
    atomic_fetch_add(&s->seen, 1);
    if (run == s->at_run)
        qdbg_cancel(s->ctx);
    return QDBG_OK;
}

static qdbg_status run_until_cancelled(net *n, uint64_t runs, qdbg__observe_fn observe, void *user)
{
    uint64_t seed = 1;
    float *x = make_floats(&seed, X_COUNT);
    qdbg_view in = make_view(X_DIMS, x);
    qdbg__variant variants[2] = {{0}, {0}};
    qdbg__exec_job job = {.inputs = &in,
                          .n_runs = runs,
                          .variants = variants,
                          .n_variants = 2,
                          .observe = observe,
                          .observe_user = user};
    qdbg_status status = qdbg__exec_run(n->exec, &job);
    free(x);
    return status;
}

static void test_cancel(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        net n = make_net(make_ctx(threads));
        stopper s = {.ctx = n.ctx, .at_run = 5};
        assert_int_equal(run_until_cancelled(&n, 1000, cancel_at_run, &s), QDBG_E_CANCELLED);
        assert_true(atomic_load(&s.seen) < 20 * (int)n.n_values);
        assert_string_equal(qdbg_ctx_error_message(n.ctx), "cancelled");
        /* the request still waits for whoever answers it */
        assert_int_equal(run_until_cancelled(&n, 1, NULL, NULL), QDBG_E_CANCELLED);
        qdbg_cancel_clear(n.ctx);
        assert_int_equal(run_until_cancelled(&n, 1000, NULL, NULL), QDBG_OK);
        free_net(&n);
        qdbg_ctx_destroy(n.ctx);
    }
}

static qdbg_status note_start(void *user, uint32_t worker, uint32_t variant, uint64_t run,
                              uint32_t value, const qdbg_view *view)
{
    stopper *s = user;
    (void)worker;
    (void)variant;
    (void)run;
    (void)value;
    (void)view;
    atomic_store(&s->seen, 1);
    return QDBG_OK;
}

static void *cancel_when_running(void *user)
{
    stopper *s = user;
    while (!atomic_load(&s->seen))
        ;
    qdbg_cancel(s->ctx);
    return NULL;
}

static void test_cancel_from_another_thread(void **state)
{
    net n = make_net(make_ctx(2));
    stopper s = {.ctx = n.ctx};
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, cancel_when_running, &s), 0);
    assert_int_equal(run_until_cancelled(&n, UINT64_C(1) << 40, note_start, &s), QDBG_E_CANCELLED);
    pthread_join(thread, NULL);
    free_net(&n);
    qdbg_ctx_destroy(n.ctx);
}

/* ---- failures ---- */

/* A node that fails on its data is named, with the lowest run that it failed in. */
static void test_failing_node_is_named(void **state)
{
    qdbg_ctx *ctx = make_ctx(3);
    qdbg_graph *g = make_graph(ctx, 13);
    int64_t index[40] = {0};
    uint32_t i;
    uint64_t seed = 1;
    (void)state;
    index[7] = index[8] = index[30] = 99;
    uint32_t table = make_random(g, "table", DIMS(10, 3), &seed);
    assert_int_equal(qdbg_graph_add_value(g, "i", QDBG_I64, 1, DIMS(1), &i), QDBG_OK);
    assert_int_equal(qdbg_graph_add_input(g, i), QDBG_OK);
    make_finish(g, make_node(g, "Gather", "lookup", VALUES(table, i), NULL));
    qdbg_view in = make_view(DIMS(1), NULL);
    qdbg__exec *exec = NULL;
    in.dtype = QDBG_I64;
    in.data = index;
    assert_int_equal(qdbg__exec_create(g, &in, &exec), QDBG_OK);
    in.dims[0] = 40;
    qdbg__variant base = {0};
    qdbg__exec_job job = {.inputs = &in, .n_runs = 40, .variants = &base, .n_variants = 1};
    assert_int_equal(qdbg__exec_run(exec, &job), QDBG_E_INVALID);
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    assert_int_equal(qdbg_ctx_error(ctx, &info), QDBG_OK);
    assert_string_equal(info.node, "lookup");
    assert_non_null(strstr(info.message, "Gather 'lookup'"));
    assert_non_null(strstr(info.message, "run 7,"));
    index[7] = index[8] = index[30] = 1;
    assert_int_equal(qdbg__exec_run(exec, &job), QDBG_OK);
    qdbg__exec_destroy(exec);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static qdbg_status refuse_add(void *user, uint32_t worker, uint32_t variant, uint64_t run,
                              uint32_t value, const qdbg_view *view)
{
    (void)worker;
    (void)variant;
    (void)view;
    return value == *(uint32_t *)user && run == 2 ? QDBG_E_NUMERIC : QDBG_OK;
}

static void test_failing_observer(void **state)
{
    net n = make_net(make_ctx(2));
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    (void)state;
    assert_int_equal(run_until_cancelled(&n, 10, refuse_add, &n.add), QDBG_E_NUMERIC);
    assert_int_equal(qdbg_ctx_error(n.ctx, &info), QDBG_OK);
    assert_string_equal(info.value, "add");
    assert_non_null(strstr(info.message, "run 2,"));
    free_net(&n);
    qdbg_ctx_destroy(n.ctx);
}

static qdbg_status refused(net *n, const qdbg_view *in, uint64_t runs, const qdbg__fakequant *act,
                           uint32_t at)
{
    const qdbg__fakequant *acts[MAX_SEEN] = {0};
    qdbg__variant variants[] = {{0}, {acts, NULL}};
    qdbg__exec_job job = {.inputs = in, .n_runs = runs, .variants = variants, .n_variants = 2};
    acts[at] = act;
    return qdbg__exec_run(n->exec, &job);
}

static void test_refuses_bad_jobs(void **state)
{
    static const qdbg__fakequant three = {two_grids, 3, 1, 0}, far_axis = {two_grids, 2, 4, 0};
    static const qdbg__fakequant last_axis = {two_grids, 2, -3, 0};
    net n = make_net(make_ctx(1));
    float x[2 * X_COUNT] = {0};
    qdbg_view in = make_view(X_DIMS, x);
    (void)state;
    assert_int_equal(refused(&n, &in, 1, &channels, n.conv), QDBG_OK);
    assert_int_equal(refused(&n, &in, 1, &last_axis, n.conv), QDBG_OK);
    assert_int_equal(refused(&n, &in, 1, &three, n.conv), QDBG_E_SHAPE);
    assert_int_equal(refused(&n, &in, 1, &far_axis, n.conv), QDBG_E_SHAPE);
    in.dims[0] = 2;
    assert_int_equal(refused(&n, &in, 2, NULL, 0), QDBG_OK);
    assert_int_equal(refused(&n, &in, 3, NULL, 0), QDBG_E_SHAPE);
    assert_int_equal(refused(&n, &in, 0, NULL, 0), QDBG_E_SHAPE);
    in.dims[0] = 1;
    assert_int_equal(refused(&n, &in, 0, NULL, 0), QDBG_OK);
    in.dims[2] = 7;
    assert_int_equal(refused(&n, &in, 1, NULL, 0), QDBG_E_SHAPE);
    assert_false(qdbg__exec_fits(n.exec, &in));
    in = make_view(X_DIMS, NULL);
    assert_int_equal(refused(&n, &in, 1, NULL, 0), QDBG_E_INVALID);
    assert_true(qdbg__exec_fits(n.exec, &in));
    in.dtype = QDBG_I32;
    assert_int_equal(refused(&n, &in, 1, NULL, 0), QDBG_E_TYPE);
    qdbg__exec_job none = {.inputs = &in, .n_runs = 1};
    assert_int_equal(qdbg__exec_run(n.exec, &none), QDBG_E_INVALID);
    free_net(&n);
    qdbg_ctx_destroy(n.ctx);
}

/* Unknown operators are listed at plan time; so are inputs that contradict the graph. */
static void test_refuses_bad_plans(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    qdbg__exec *exec = NULL;
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    uint32_t a = make_node(g, "Mystery", "m1", &x, 1, NULL);
    qdbg_view in = make_view(DIMS(1, 4), NULL);
    (void)state;
    make_finish(g, make_node(g, "Riddle", "r1", &a, 1, NULL));
    assert_int_equal(qdbg__exec_create(g, &in, &exec), QDBG_E_UNSUPPORTED);
    assert_non_null(strstr(qdbg_ctx_error_message(ctx), "Mystery"));
    assert_non_null(strstr(qdbg_ctx_error_message(ctx), "Riddle"));
    assert_null(exec);
    qdbg_graph_destroy(g);
    net n;
    build_net(ctx, &n);
    in = make_view(DIMS(1, 2, 6), NULL);
    assert_int_equal(qdbg__exec_create(n.g, &in, &exec), QDBG_E_SHAPE);
    in = make_view(X_DIMS, NULL);
    in.dtype = QDBG_I64;
    assert_int_equal(qdbg__exec_create(n.g, &in, &exec), QDBG_E_TYPE);
    in = make_view(DIMS(INT32_MAX, 2, INT32_MAX, INT32_MAX), NULL);
    assert_int_equal(qdbg__exec_create(n.g, &in, &exec), QDBG_E_SHAPE);
    assert_null(exec);
    qdbg_graph_destroy(n.g);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_each_allocation_may_fail),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_from_another_thread),
        cmocka_unit_test(test_failing_node_is_named),
        cmocka_unit_test(test_failing_observer),
        cmocka_unit_test(test_refuses_bad_jobs),
        cmocka_unit_test(test_refuses_bad_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
