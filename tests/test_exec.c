/* The executor: what it computes anew, what it shows, what it refuses, and how it ends. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"

#define MAX_SEEN 64

/* ---- a small residual network ---- */

typedef struct net {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg__exec *exec;
    uint32_t x, w, conv, relu, side, add, pool, gemm_w, y;
    uint32_t n_values;
} net;

#define X_DIMS DIMS(1, 2, 6, 6)
#define X_COUNT 72
#define Y_COUNT 3

static qdbg_graph *build(qdbg_ctx *ctx, net *n)
{
    uint64_t seed = 77;
    uint32_t node;
    n->ctx = ctx;
    n->g = make_graph(ctx, 13);
    n->x = make_input(n->g, "x", X_DIMS);
    n->w = make_random(n->g, "w", DIMS(2, 2, 3, 3), &seed);
    n->conv = make_node(n->g, "Conv", "conv", VALUES(n->x, n->w), &node);
    make_ints(n->g, node, "pads", DIMS(1, 1, 1, 1));
    n->relu = make_node(n->g, "Relu", "relu", &n->conv, 1, NULL);
    n->side = make_node(n->g, "Sigmoid", "side", &n->x, 1, NULL);
    n->add = make_node(n->g, "Add", "add", VALUES(n->relu, n->side), NULL);
    n->pool = make_node(n->g, "GlobalAveragePool", "pool", &n->add, 1, NULL);
    uint32_t flat = make_node(n->g, "Flatten", "flat", &n->pool, 1, NULL);
    n->gemm_w = make_random(n->g, "gw", DIMS(2, Y_COUNT), &seed);
    n->y = make_node(n->g, "Gemm", "y", VALUES(flat, n->gemm_w), NULL);
    make_finish(n->g, n->y);
    n->n_values = qdbg_graph_value_count(n->g);
    assert_true(n->n_values <= MAX_SEEN);
    return n->g;
}

static net make_net(qdbg_ctx *ctx)
{
    net n;
    qdbg_view shape = make_view(X_DIMS, NULL);
    assert_int_equal(qdbg__exec_create(build(ctx, &n), &shape, &n.exec), QDBG_OK);
    return n;
}

static void free_net(net *n)
{
    qdbg__exec_destroy(n->exec);
    qdbg_graph_destroy(n->g);
}

static const qdbg__grid fine_grid = {0.05f, 0, -20, 20, QDBG__ROUND_EVEN};
static const qdbg__grid two_grids[2] = {{0.05f, 0, -20, 20, QDBG__ROUND_EVEN},
                                        {0.2f, 0, -20, 20, QDBG__ROUND_EVEN}};
static const qdbg__fakequant fine = {&fine_grid, 1, 0}, twin = {&fine_grid, 1, 0};
static const qdbg__fakequant channels = {two_grids, 2, 1};

/* ---- a log of what was shown ---- */

typedef struct log_of_values {
    uint32_t n, value[4 * MAX_SEEN], variant[4 * MAX_SEEN];
} log_of_values;

static qdbg_status log_value(void *user, uint32_t worker, uint32_t variant, uint64_t run,
                             uint32_t value, const qdbg_view *view)
{
    log_of_values *l = user;
    assert_int_equal(worker, 0);
    assert_int_equal(run, 0);
    assert_non_null(view->data);
    l->value[l->n] = value;
    l->variant[l->n++] = variant;
    return QDBG_OK;
}

static size_t shown(const log_of_values *l, uint32_t variant)
{
    size_t n = 0;
    for (uint32_t i = 0; i < l->n; i++)
        n += l->variant[i] == variant;
    return n;
}

static bool was_shown(const log_of_values *l, uint32_t variant, uint32_t value)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->variant[i] == variant && l->value[i] == value)
            return true;
    }
    return false;
}

static log_of_values run_logged(net *n, const qdbg__variant *variants, uint32_t n_variants,
                                float *y)
{
    uint64_t seed = 5;
    log_of_values l = {0};
    float *x = make_floats(&seed, X_COUNT);
    qdbg_view in = make_view(X_DIMS, x);
    void *outputs[8];
    for (uint32_t k = 0; k < n_variants; k++)
        outputs[k] = y + k * Y_COUNT;
    qdbg__exec_job job = {.inputs = &in, .n_runs = 1, .variants = variants,
                          .n_variants = n_variants, .outputs = outputs, .observe = log_value,
                          .observe_user = &l};
    assert_int_equal(qdbg__exec_run(n->exec, &job), QDBG_OK);
    free(x);
    return l;
}

/* The base shows the input and every computed value, in topological order, no parameter. */
static void test_shows_base_in_order(void **state)
{
    net n = make_net(make_ctx(1));
    qdbg__variant base = {0};
    float y[Y_COUNT];
    log_of_values l = run_logged(&n, &base, 1, y);
    uint32_t last = 0;
    (void)state;
    assert_int_equal(l.n, n.n_values - 2); /* all but two weights */
    assert_int_equal(l.value[0], n.x);
    for (uint32_t i = 1; i < l.n; i++) {
        uint32_t node = n.g->values[l.value[i]].producer;
        assert_true(node != QDBG_NONE && node >= last);
        last = node;
    }
    free_net(&n);
    qdbg_ctx_destroy(n.ctx);
}

/* Only what a difference reaches is computed. */
static void test_computes_what_differs(void **state)
{
    net n = make_net(make_ctx(1));
    const qdbg__fakequant *at_relu[MAX_SEEN] = {0}, *at_y[MAX_SEEN] = {0}, *at_x[MAX_SEEN] = {0};
    const float *other_w[MAX_SEEN] = {0};
    float w[36] = {1}, y[6 * Y_COUNT];
    (void)state;
    at_relu[n.relu] = &channels;
    at_y[n.y] = &fine;
    at_x[n.x] = &fine;
    other_w[n.w] = w;
    qdbg__variant variants[] = {{0}, {at_relu, NULL}, {at_y, NULL}, {NULL, NULL}, {NULL, other_w},
                                {at_x, NULL}};
    log_of_values l = run_logged(&n, variants, 6, y);
    assert_int_equal(shown(&l, 1), 5); /* relu, add, pool, flat, y */
    assert_false(was_shown(&l, 1, n.conv));
    assert_false(was_shown(&l, 1, n.side));
    assert_int_equal(shown(&l, 2), 1);
    assert_int_equal(shown(&l, 3), 0);
    assert_int_equal(shown(&l, 4), 6);
    assert_false(was_shown(&l, 4, n.side));
    assert_int_equal(shown(&l, 5), n.n_values - 2);
    assert_memory_equal(y, y + 3 * Y_COUNT, sizeof(float) * Y_COUNT);
    assert_memory_not_equal(y, y + 4 * Y_COUNT, sizeof(float) * Y_COUNT);
    free_net(&n);
    qdbg_ctx_destroy(n.ctx);
}

/* A quantizer that changes nothing is seen through: what follows is not computed. */
static void test_stops_where_nothing_changed(void **state)
{
    net n = make_net(make_ctx(1));
    const qdbg__fakequant *base_acts[MAX_SEEN] = {0}, *twin_acts[MAX_SEEN] = {0};
    const float *same_w[MAX_SEEN] = {0};
    float w[36], y[3 * Y_COUNT];
    qdbg_view view = QDBG_VIEW_INIT;
    (void)state;
    assert_int_equal(qdbg_graph_parameter(n.g, n.w, &view), QDBG_OK);
    memcpy(w, view.data, sizeof w);
    base_acts[n.relu] = &fine;
    twin_acts[n.relu] = &twin;
    same_w[n.w] = w; /* equal elements elsewhere */
    qdbg__variant variants[] = {{base_acts, NULL}, {twin_acts, NULL}, {base_acts, same_w}};
    log_of_values l = run_logged(&n, variants, 3, y);
    assert_int_equal(shown(&l, 1), 1); /* relu again, and found the same */
    assert_int_equal(shown(&l, 2), 0); /* seen at the parameter already */
    assert_memory_equal(y, y + Y_COUNT, sizeof(float) * Y_COUNT);
    assert_memory_equal(y, y + 2 * Y_COUNT, sizeof(float) * Y_COUNT);
    free_net(&n);
    qdbg_ctx_destroy(n.ctx);
}

/* ---- sources ---- */

/* An input, a parameter and a folded constant may be outputs, all of them quantized too; an input of
 * rank 0, and one with the planned batch, serve all runs. */
static void test_sources_as_outputs(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = make_graph(ctx, 13);
    uint64_t seed = 3;
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4)), s = make_input(g, "s", SCALAR);
    uint32_t row = make_input(g, "row", DIMS(1, 4)), w = make_random(g, "w", DIMS(4), &seed);
    uint32_t shape = make_node(g, "Shape", "shape", &x, 1, NULL), node;
    uint32_t folded = make_node(g, "Cast", "folded", &shape, 1, &node);
    qdbg_graph_set_int(g, node, "to", QDBG_F32);
    uint32_t xs = make_node(g, "Add", "xs", VALUES(x, s), NULL);
    uint32_t y = make_node(g, "Add", "y", VALUES(xs, row), NULL);
    uint32_t all[] = {x, w, folded, y};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(qdbg_graph_add_output(g, all[i]), QDBG_OK);
    assert_int_equal(qdbg_graph_finish(g), QDBG_OK);
    float xd[12], sd = 0.3f, rd[4] = {1, 2, 3, 4}, out[2][4][12];
    for (int i = 0; i < 12; i++)
        xd[i] = 0.11f * (float)i;
    qdbg_view in[] = {make_view(DIMS(1, 4), xd), make_view(SCALAR, &sd), make_view(DIMS(1, 4), rd)};
    qdbg__exec *exec = NULL;
    assert_int_equal(qdbg__exec_create(g, in, &exec), QDBG_OK);
    const qdbg__fakequant *acts[MAX_SEEN] = {0};
    acts[x] = acts[w] = acts[folded] = acts[y] = &fine;
    qdbg__variant variants[] = {{0}, {acts, NULL}};
    void *outputs[8];
    for (int i = 0; i < 8; i++)
        outputs[i] = out[i / 4][i % 4];
    in[0].dims[0] = 3;
    qdbg__exec_job job = {.inputs = in, .n_runs = 3, .variants = variants, .n_variants = 2,
                          .outputs = outputs};
    assert_int_equal(qdbg__exec_run(exec, &job), QDBG_OK);
    qdbg_view wv = QDBG_VIEW_INIT;
    qdbg_graph_parameter(g, w, &wv);
    for (int i = 0; i < 12; i++) {
        float want[4] = {xd[i], ((float *)wv.data)[i % 4], (float[]){1, 4}[i % 2],
                         xd[i] + sd + rd[i % 4]};
        float qx, quantized;
        qdbg__fakequant_apply(qdbg__kernels_of(ctx), &fine, 1, DIMS(1), &xd[i], &qx);
        for (int o = 0; o < 4; o++) {
            float source = o == 3 ? qx + sd + rd[i % 4] : want[o];
            qdbg__fakequant_apply(qdbg__kernels_of(ctx), &fine, 1, DIMS(1), &source, &quantized);
            if (o == 2 && i >= 6)
                continue; /* two elements a run */
            assert_true(out[0][o][i] == want[o]);
            assert_true(out[1][o][i] == quantized);
        }
    }
    qdbg__exec_destroy(exec);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* The job's table of parameters replaces the graph's, a variant's that one. */
static void test_parameter_tables(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    float one = 1, two = 2, three = 3, x = 10, y[3];
    (void)state;
    uint32_t in = make_input(g, "x", DIMS(1)), p = make_param(g, "p", DIMS(1), &one);
    make_finish(g, make_node(g, "Mul", "y", VALUES(in, p), NULL));
    const float *table[MAX_SEEN] = {0}, *own[MAX_SEEN] = {0};
    qdbg_view view = make_view(DIMS(1), &x);
    qdbg__exec *exec = NULL;
    assert_int_equal(qdbg__exec_create(g, &view, &exec), QDBG_OK);
    own[p] = &three;
    qdbg__variant variants[] = {{0}, {NULL, own}};
    void *outputs[] = {&y[0], &y[1]};
    qdbg__exec_job job = {.inputs = &view, .n_runs = 1, .variants = variants, .n_variants = 2,
                          .outputs = outputs};
    assert_int_equal(qdbg__exec_run(exec, &job), QDBG_OK);
    assert_true(y[0] == 10 && y[1] == 30);
    table[p] = &two;
    job.params = table;
    assert_int_equal(qdbg__exec_run(exec, &job), QDBG_OK);
    assert_true(y[0] == 20 && y[1] == 30);
    qdbg__exec_destroy(exec);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- memory ---- */

/* A chain of operators that can work in place needs one buffer, however long. */
static void test_reuses_memory(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t v = make_input(g, "x", DIMS(1, 1000));
    qdbg_view shape = make_view(DIMS(1, 1000), NULL);
    qdbg__exec *exec = NULL;
    char name[16];
    (void)state;
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "r%d", i);
        v = make_node(g, "Relu", name, &v, 1, NULL);
    }
    make_finish(g, v);
    assert_int_equal(qdbg__exec_create(g, &shape, &exec), QDBG_OK);
    assert_int_equal(qdbg__exec_worker_bytes(exec), 4032); /* 4000, rounded to 64 */
    assert_true(qdbg__exec_worker_bytes_max(exec) >= 50 * 4000);
    qdbg__exec_destroy(exec);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* What a job takes lies between the two estimates, and the memory limit holds. */
static void test_memory_estimates_and_limit(void **state)
{
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx = NULL;
    uint64_t before, after;
    float y[2 * Y_COUNT];
    (void)state;
    options.threads = 1;
    options.memory_limit = 100000;
    assert_int_equal(qdbg_ctx_create(&options, &ctx), QDBG_OK);
    net n = make_net(ctx);
    const qdbg__fakequant *acts[MAX_SEEN] = {0};
    acts[n.conv] = &fine;
    qdbg__variant variants[] = {{0}, {acts, NULL}};
    assert_int_equal(qdbg_ctx_memory(ctx, &before, NULL), QDBG_OK);
    run_logged(&n, variants, 2, y);
    assert_int_equal(qdbg_ctx_memory(ctx, &after, NULL), QDBG_OK);
    assert_true(after - before >= qdbg__exec_worker_bytes(n.exec));
    assert_true(n.exec != NULL && qdbg__exec_worker_bytes(n.exec) <= qdbg__exec_worker_bytes_max(n.exec));
    free_net(&n);

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
    assert_int_equal(qdbg__exec_run(exec, &job), QDBG_E_LIMIT); /* and stays usable */
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
    build(ctx, &n);
    const qdbg__fakequant *acts[MAX_SEEN] = {0};
    acts[n.conv] = acts[n.x] = &fine;
    qdbg__variant variants[] = {{0}, {acts, NULL}};
    void *outputs[] = {y, y + 4 * Y_COUNT};
    qdbg_view one = make_view(X_DIMS, NULL), four = make_view(X_DIMS, x);
    four.dims[0] = 4;
    qdbg__exec_job job = {.inputs = &four, .n_runs = 4, .variants = variants, .n_variants = 2,
                          .outputs = outputs};
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
    qdbg__exec_job job = {.inputs = &in, .n_runs = runs, .variants = variants, .n_variants = 2,
                          .observe = observe, .observe_user = user};
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
    static const qdbg__fakequant three = {two_grids, 3, 1}, far_axis = {two_grids, 2, 4};
    static const qdbg__fakequant last_axis = {two_grids, 2, -3};
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
    build(ctx, &n);
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
        cmocka_unit_test(test_shows_base_in_order),
        cmocka_unit_test(test_computes_what_differs),
        cmocka_unit_test(test_stops_where_nothing_changed),
        cmocka_unit_test(test_sources_as_outputs),
        cmocka_unit_test(test_parameter_tables),
        cmocka_unit_test(test_reuses_memory),
        cmocka_unit_test(test_memory_estimates_and_limit),
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
