/* Columns and moments (lib/analysis/adaround_linear.h, adaround_gram.h) beside direct computation:
 * a layer's output, as the executor computes it, is its weights times its columns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../lib/analysis/adaround_gram.h"
#include "../lib/graph/graph.h"
#include "graph_make.h"
#include "support.h"

#define MAX_COLUMN 512

/* ---- every kind of layer ---- */

typedef struct attribute {
    const char *name;
    int64_t values[5]; /* ended by -1 */
} attribute;

typedef struct layer_case {
    const char *name, *op;
    int64_t x[5], w[6]; /* ended by -1 */
    attribute ints[4];
    const char *number; /* an attribute of one integer */
    int64_t number_value;
    bool weight_first;
    float alpha;
} layer_case;

static const layer_case cases[] = {
    {"conv 1-D",
     "Conv",
     {1, 3, 11, -1},
     {4, 3, 3, -1},
     {{"strides", {2, -1}}, {"pads", {1, 2, -1}}},
     NULL,
     0,
     false,
     0},
    {"conv 2-D",
     "Conv",
     {1, 2, 7, 6, -1},
     {3, 2, 3, 2, -1},
     {{"strides", {2, 1, -1}}, {"pads", {1, 0, 2, 1, -1}}, {"dilations", {1, 2, -1}}},
     NULL,
     0,
     false,
     0},
    {"depthwise",
     "Conv",
     {1, 4, 5, 5, -1},
     {4, 1, 3, 3, -1},
     {{"pads", {1, 1, 1, 1, -1}}},
     "group",
     4,
     false,
     0},
    {"grouped",
     "Conv",
     {1, 4, 5, 5, -1},
     {6, 2, 3, 3, -1},
     {{"pads", {1, 1, 0, 0, -1}}},
     "group",
     2,
     false,
     0},
    {"two samples a run", "Conv", {2, 2, 5, 5, -1}, {3, 2, 3, 3, -1}, {{0}}, NULL, 0, false, 0},
    {"conv 3-D", "Conv", {1, 2, 3, 4, 5}, {2, 2, 2, 2, 3, -1}, {{0}}, NULL, 0, false, 0},
    {"transpose",
     "ConvTranspose",
     {1, 3, 4, 5, -1},
     {3, 2, 3, 3, -1},
     {{"strides", {2, 3, -1}}, {"pads", {1, 0, 0, 1, -1}}, {"output_padding", {1, 0, -1}}},
     NULL,
     0,
     false,
     0},
    {"transpose, grouped",
     "ConvTranspose",
     {1, 4, 4, -1},
     {4, 3, 3, -1},
     {{"strides", {2, -1}}, {"dilations", {2, -1}}},
     "group",
     2,
     false,
     0},
    {"gemm", "Gemm", {1, 6, -1}, {6, 4, -1}, {{0}}, NULL, 0, false, 1},
    {"gemm transB, alpha", "Gemm", {2, 6, -1}, {4, 6, -1}, {{0}}, "transB", 1, false, 0.5f},
    {"gemm transA", "Gemm", {6, 3, -1}, {6, 4, -1}, {{0}}, "transA", 1, false, 1},
    {"matmul right", "MatMul", {2, 3, 5, -1}, {5, 4, -1}, {{0}}, NULL, 0, false, 0},
    {"matmul left", "MatMul", {2, 5, 3, -1}, {4, 5, -1}, {{0}}, NULL, 0, true, 0},
    {"matmul each right", "MatMul", {2, 3, 4, 5, -1}, {3, 5, 2, -1}, {{0}}, NULL, 0, false, 0},
    {"matmul each left", "MatMul", {2, 3, 5, 4, -1}, {1, 3, 2, 5, -1}, {{0}}, NULL, 0, true, 0},
    {"matmul for all", "MatMul", {2, 1, 4, 5, -1}, {3, 5, 2, -1}, {{0}}, NULL, 0, false, 0},
    {"matmul of a matrix", "MatMul", {4, 5, -1}, {3, 5, 2, -1}, {{0}}, NULL, 0, false, 0},
};

static const int64_t *ended(const int64_t *dims, uint32_t n, int64_t *copy)
{
    uint32_t i = 0;
    for (; i < n && dims[i] >= 0; i++)
        copy[i] = dims[i];
    copy[i] = -1;
    return copy;
}

/* A graph of one layer; *w receives the weight's number. */
static qdbg_graph *build(qdbg_ctx *ctx, const layer_case *c, uint32_t *node, uint32_t *w)
{
    int64_t x_dims[8], w_dims[8];
    uint64_t seed = 31;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", ended(c->x, 5, x_dims));
    *w = make_random(g, "w", ended(c->w, 6, w_dims), &seed);
    uint32_t inputs[2] = {c->weight_first ? *w : x, c->weight_first ? x : *w};
    uint32_t y = make_node(g, c->op, "y", inputs, 2, node);
    for (int i = 0; i < 4 && c->ints[i].name; i++)
        make_ints(g, *node, c->ints[i].name, c->ints[i].values);
    if (c->number)
        assert_ok(qdbg_graph_set_int(g, *node, c->number, c->number_value));
    if (c->alpha != 0)
        assert_ok(qdbg_graph_set_float(g, *node, "alpha", c->alpha));
    make_finish(g, y);
    return g;
}

/* Where the output of channel `o` (over all groups) at column `p` lies. */
static size_t output_at(const qdbg__linear *l, const qdbg_view *y, const qdbg__columns *c, size_t o,
                        size_t p)
{
    size_t outputs = (size_t)l->groups * l->rows;
    if (l->kind == QDBG__LINEAR_CONV || l->kind == QDBG__LINEAR_CONV_TRANSPOSE)
        return (p / (size_t)c->out_area * outputs + o) * (size_t)c->out_area +
               p % (size_t)c->out_area;
    size_t width = (size_t)y->dims[y->rank - 1];
    if (l->kind == QDBG__LINEAR_W_TIMES_X)
        return (p / width * outputs + o) * width + p % width;
    if (l->groups > 1) { /* [..., groups, height, rows] */
        size_t height = (size_t)y->dims[y->rank - 2];
        return ((p / height * l->groups + o / l->rows) * height + p % height) * l->rows +
               o % l->rows;
    }
    return p * outputs + o;
}

static void check_case(const layer_case *k)
{
    qdbg_ctx *ctx = make_ctx(1);
    uint32_t node, weight;
    int64_t dims[8], offsets[64];
    float column[MAX_COLUMN];
    uint64_t seed = 37;
    qdbg_graph *g = build(ctx, k, &node, &weight);
    ended(k->x, 5, dims);
    float *x = make_floats(&seed, dims_count(dims));
    qdbg_view y, in = make_view(dims, x);
    float *want = make_run(g, dims, x, &y);
    qdbg__linear l;
    qdbg__columns c;
    assert_true(qdbg__linear_read(g, g->values[weight].consumers[0], weight, &l));
    assert_int_equal(qdbg__columns_plan(g, &l, &in, &c), QDBG_OK);
    size_t outputs = (size_t)l.groups * l.rows;
    assert_true((size_t)c.n * outputs == qdbg_view_count(&y) && c.taps <= 64);
    assert_true((size_t)l.groups * l.depth <= MAX_COLUMN);
    const float *w = g->values[weight].data;
    for (int64_t p = 0; p < c.n; p++) {
        qdbg__columns_take(&c, &l, x, p, offsets, column, l.depth);
        for (size_t o = 0; o < outputs; o++) {
            double sum = 0;
            for (size_t i = 0; i < l.depth; i++)
                sum += (double)w[qdbg__linear_weight(&l, o / l.rows, o % l.rows, i)] *
                       (double)column[o / l.rows * l.depth + i];
            double got = l.alpha * sum, there = (double)want[output_at(&l, &y, &c, o, (size_t)p)];
            if (fabs(got - there) > 1e-5)
                fail_msg("%s, output %zu, position %lld: %g instead of %g", k->name, o,
                         (long long)p, got, there);
        }
    }
    free(want);
    free(x);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void columns_times_weights_are_the_output(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_case(&cases[i]);
}

static void scatter_undoes_gather(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qdbg_ctx *ctx = make_ctx(1);
        uint32_t node, weight;
        qdbg__linear l;
        float matrix[MAX_COLUMN] = {0}, back[MAX_COLUMN] = {0};
        qdbg_graph *g = build(ctx, &cases[i], &node, &weight);
        assert_true(qdbg__linear_read(g, g->values[weight].consumers[0], weight, &l));
        qdbg__linear_gather(&l, g->values[weight].data, matrix);
        qdbg__linear_scatter(&l, matrix, back);
        assert_memory_equal(back, g->values[weight].data, g->values[weight].bytes);
        qdbg_graph_destroy(g);
        qdbg_ctx_destroy(ctx);
    }
}

/* ---- moments ---- */

#define RUNS 70
#define DEPTH 18 /* 2 channels, 3x3 */
#define ROWS 3
#define AREA 9

typedef struct data {
    float x[2][RUNS * 2 * 25];
} data;

static void make_data(data *d)
{
    uint64_t seed = 41;
    for (size_t i = 0; i < RUNS * 50; i++) {
        d->x[0][i] = 5 + make_float(&seed, -1, 1); /* a mean that dwarfs the rest */
        d->x[1][i] = d->x[0][i] + make_float(&seed, -0.1f, 0.1f);
    }
}

/* Show all runs in jobs of at most `step`; a run that is a multiple of 5 is the same in both. */
static void gather(qdbg__gatherer *t, const data *d, uint32_t step)
{
    for (uint32_t at = 0; at < RUNS;) {
        uint32_t room = QDBG__GRAM_RUNS - t->n_fit - t->n_held;
        uint32_t n = RUNS - at < step ? RUNS - at : step;
        n = n < room ? n : room;
        qdbg_view view = make_view(DIMS(1, 2, 5, 5), d->x[0]);
        assert_ok(qdbg__gatherer_begin(t, &view, n));
        for (uint32_t r = 0; r < n; r++)
            for (uint32_t v = 0; v < 2; v++) {
                view.data = (void *)(uintptr_t)(d->x[v] + (at + r) * 50);
                if (v == 0 || (t->x[1] && (at + r) % 5 != 0))
                    assert_ok(qdbg__gatherer_show(t, 0, v, r, &view));
            }
        assert_ok(qdbg__gatherer_end(t, n));
        at += n;
    }
    assert_ok(qdbg__gatherer_finish(t));
}

typedef struct scene {
    qdbg_ctx *ctx;
    qdbg_graph *graph;
    qdbg__linear linear;
    qdbg__columns columns;
    qdbg__gatherer t;
} scene;

static void open_scene(scene *s, uint32_t threads, uint32_t positions, uint32_t holdout,
                       bool paired)
{
    static const layer_case conv = {
        "", "Conv", {1, 2, 5, 5, -1}, {ROWS, 2, 3, 3, -1}, {{0}}, NULL, 0, false, 0};
    uint32_t node, weight;
    qdbg__gram_options o = {.positions = positions, .holdout = holdout, .paired = paired};
    qdbg_view in = make_view(DIMS(1, 2, 5, 5), NULL);
    s->ctx = make_ctx(threads);
    s->graph = build(s->ctx, &conv, &node, &weight);
    assert_true(qdbg__linear_read(s->graph, 0, weight, &s->linear));
    assert_ok(qdbg__columns_plan(s->graph, &s->linear, &in, &s->columns));
    assert_ok(qdbg__gatherer_init(&s->t, s->graph, &s->linear, &o, &s->columns,
                                  s->graph->values[weight].data));
}

static void close_scene(scene *s)
{
    qdbg__gatherer_free(&s->t);
    qdbg_graph_destroy(s->graph);
    qdbg_ctx_destroy(s->ctx);
}

/* The mean squared error by hand: all positions of the fitted or held out runs. */
static double direct_loss(const scene *s, const data *d, bool held, const double *e,
                          const double *delta)
{
    const float *w = s->t.weight;
    float x[2][DEPTH];
    int64_t offsets[9];
    double total = 0;
    size_t n = 0;
    for (size_t r = 0; r < RUNS; r++) {
        if ((r % 4 == 3) != held)
            continue;
        for (int64_t p = 0; p < AREA; p++, n++) {
            for (int v = 0; v < 2; v++)
                qdbg__columns_take(&s->columns, &s->linear, d->x[r % 5 == 0 ? 0 : v] + r * 50, p,
                                   offsets, x[v], DEPTH);
            for (size_t o = 0; o < ROWS; o++) {
                double error = delta[o];
                for (size_t k = 0; k < DEPTH; k++)
                    error += ((double)w[o * DEPTH + k] + e[o * DEPTH + k]) * (double)x[1][k] -
                             (double)w[o * DEPTH + k] * (double)x[0][k];
                total += error * error;
            }
        }
    }
    return total / (double)n;
}

static void the_loss_is_that_of_the_outputs(void **state)
{
    static data d;
    static scene s;
    double e[ROWS * DEPTH], delta[ROWS] = {0.01, -0.02, 0}, loss;
    uint64_t seed = 43;
    (void)state;
    make_data(&d);
    open_scene(&s, 2, 64, 4, true);
    gather(&s.t, &d, 7);
    for (size_t i = 0; i < ROWS * DEPTH; i++)
        e[i] = (double)make_float(&seed, -0.1f, 0.1f);
    assert_int_equal(s.t.fit.n, 53 * AREA);
    assert_int_equal(s.t.held.n, 17 * AREA);
    for (int best = 0; best < 2; best++) {
        assert_ok(qdbg__gram_loss(s.ctx, &s.t.fit, e, delta, &loss));
        double want = direct_loss(&s, &d, false, e, delta);
        assert_true(fabs(loss - want) <= 1e-5 * want);
        assert_ok(qdbg__gram_loss(s.ctx, &s.t.held, e, delta, &loss));
        want = direct_loss(&s, &d, true, e, delta);
        assert_true(fabs(loss - want) <= 1e-5 * want);
        qdbg__gram_best_bias(&s.t.fit, e, delta);
    }
    /* No other bias is better. */
    double best = direct_loss(&s, &d, false, e, delta);
    for (size_t o = 0; o < ROWS; o++)
        for (int sign = -1; sign <= 1; sign += 2) {
            delta[o] += 0.01 * sign;
            assert_true(direct_loss(&s, &d, false, e, delta) > best);
            delta[o] -= 0.01 * sign;
        }
    close_scene(&s);
}

/* Bit for bit. */
static void moments_depend_on_neither_threads_nor_batches(void **state)
{
    static data d;
    static scene s[3];
    static const uint32_t steps[] = {RUNS, 1, 9}, threads[] = {1, 3, 2};
    (void)state;
    make_data(&d);
    for (int i = 0; i < 3; i++) {
        open_scene(&s[i], threads[i], 4, 8, true);
        gather(&s[i].t, &d, steps[i]);
    }
    for (int i = 1; i < 3; i++)
        for (int part = 0; part < 2; part++) {
            const qdbg__gram *a = part ? &s[0].t.held : &s[0].t.fit;
            const qdbg__gram *b = part ? &s[i].t.held : &s[i].t.fit;
            assert_true(a->n > 0 && a->n == b->n);
            assert_memory_equal(a->h, b->h, DEPTH * DEPTH * sizeof *a->h);
            assert_memory_equal(a->mu, b->mu, DEPTH * sizeof *a->mu);
            assert_memory_equal(a->b, b->b, ROWS * DEPTH * sizeof *a->b);
            assert_memory_equal(a->r_var, b->r_var, ROWS * sizeof *a->r_var);
        }
    for (int i = 0; i < 3; i++)
        close_scene(&s[i]);
}

static void columns_that_are_not_finite_are_left_out(void **state)
{
    static data d;
    static scene s, clean;
    (void)state;
    make_data(&d);
    open_scene(&clean, 1, 64, 1, true);
    gather(&clean.t, &d, 16);
    d.x[0][3 * 50] = (float)NAN; /* the corner: one column of run 3 */
    d.x[1][3 * 50] = (float)INFINITY;
    d.x[1][6 * 50 + 12] = -(float)INFINITY; /* the middle: all nine of run 6, only behind */
    open_scene(&s, 2, 64, 1, true);
    gather(&s.t, &d, 16);
    assert_int_equal(s.t.fit.n_nonfinite, 10);
    assert_int_equal(s.t.fit.n, clean.t.fit.n - 10);
    for (size_t i = 0; i < DEPTH * DEPTH; i++)
        assert_true(fabs(s.t.fit.h[i] - clean.t.fit.h[i]) < 0.05);
    close_scene(&s);
    close_scene(&clean);
}

/* H of inputs that vary by 1e-3 about 5: without a shift float32 would see nothing but noise. */
static void a_large_mean_does_not_drown_the_variance(void **state)
{
    static data d;
    static scene s;
    uint64_t seed = 47;
    (void)state;
    for (size_t i = 0; i < RUNS * 50; i++)
        d.x[0][i] = 5 + make_float(&seed, -1e-3f, 1e-3f);
    open_scene(&s, 1, 64, 1, false);
    gather(&s.t, &d, 16);
    for (size_t i = 0; i < DEPTH; i++) {
        double variance = s.t.fit.h[i * DEPTH + i];
        assert_true(variance > 2.8e-7 && variance < 3.9e-7); /* 1e-6 / 3 */
    }
    assert_null(s.t.fit.b);
    close_scene(&s);
}

static void odd_layers_are_not_read(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    uint64_t seed = 53;
    qdbg__linear l;
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(2, 3, 1, 4));
    uint32_t w = make_random(g, "w", DIMS(2, 3, 4, 2), &seed); /* matrices along two axes */
    uint32_t y = make_node(g, "MatMul", "y", VALUES(x, w), NULL);
    make_finish(g, y);
    assert_false(qdbg__linear_read(g, 0, w, &l));
    assert_false(qdbg__linear_read(g, 0, x, &l));
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_times_weights_are_the_output),
        cmocka_unit_test(scatter_undoes_gather),
        cmocka_unit_test(the_loss_is_that_of_the_outputs),
        cmocka_unit_test(moments_depend_on_neither_threads_nor_batches),
        cmocka_unit_test(columns_that_are_not_finite_are_left_out),
        cmocka_unit_test(a_large_mean_does_not_drown_the_variance),
        cmocka_unit_test(odd_layers_are_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
