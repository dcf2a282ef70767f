/* The executor: what it computes anew, what it shows, where its elements come from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../lib/exec/program.h"
#include "exec_net.h"

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
    qdbg__exec_job job = {.inputs = &in,
                          .n_runs = 1,
                          .variants = variants,
                          .n_variants = n_variants,
                          .outputs = outputs,
                          .observe = log_value,
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
    qdbg__variant variants[] = {{0},          {at_relu, NULL}, {at_y, NULL},
                                {NULL, NULL}, {NULL, other_w}, {at_x, NULL}};
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

/* An input, a parameter and a folded constant may be outputs, all of them quantized too; an input
 * of rank 0, and one with the planned batch, serve all runs. */
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
    qdbg__exec_job job = {
        .inputs = in, .n_runs = 3, .variants = variants, .n_variants = 2, .outputs = outputs};
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
    qdbg__exec_job job = {
        .inputs = &view, .n_runs = 1, .variants = variants, .n_variants = 2, .outputs = outputs};
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

/* What a job takes lies between the two estimates. */
static void test_memory_estimates(void **state)
{
    net n = make_net(make_ctx(1));
    const qdbg__fakequant *acts[MAX_SEEN] = {0};
    qdbg__variant variants[] = {{0}, {acts, NULL}};
    float y[2 * Y_COUNT];
    (void)state;
    acts[n.conv] = &fine;
    run_logged(&n, variants, 1, y);
    assert_int_equal(n.exec->workers[0].buffer_bytes, qdbg__exec_worker_bytes(n.exec));
    run_logged(&n, variants, 2, y);
    assert_true(n.exec->workers[0].buffer_bytes > qdbg__exec_worker_bytes(n.exec));
    assert_true(n.exec->workers[0].buffer_bytes <= qdbg__exec_worker_bytes_max(n.exec));
    free_net(&n);
    qdbg_ctx_destroy(n.ctx);
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
        cmocka_unit_test(test_memory_estimates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
