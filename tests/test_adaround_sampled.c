/* The sampled solver of qdbg_adaround_run: what it takes for the activation, that its losses are
 * those of the network's outputs, that the activation is worth it, and that neither threads nor
 * batches nor failures show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <qdebug/adaround.h>

#include "graph_make.h"
#include "support.h"

#define SAMPLES 48
#define MAX_OUT (SAMPLES * 8 * 49)

/* ---- networks of one layer ---- */

typedef struct scene {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg_model *m;
    qdbg_sim *sim;
    samples s;
    qdbg_adaround *a;
} scene;

/* Elements of a sample go together: where they do not, nearest rounding is the best there is. */
static void fill_samples(float *x, size_t per_sample, uint64_t seed)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        float all = make_float(&seed, -5, 5);
        for (size_t k = 0; k < per_sample; k++)
            x[i * per_sample + k] = all + make_float(&seed, -3, 3);
    }
}

static void open_on(scene *w, qdbg_ctx *ctx, qdbg_graph *g, uint64_t batch)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    w->ctx = ctx;
    w->g = g;
    w->m = builtin_model(g);
    o.weight_bits = 3;
    o.weight_granularity = QDBG_PER_CHANNEL;
    assert_ok(qdbg_sim_create(w->m, &o, &w->sim));
    w->s = samples_make(ctx, g, SAMPLES, batch, 3);
    qdbg_view x = samples_view(g, &w->s);
    fill_samples(w->s.x, qdbg_view_count(&x) / SAMPLES, 97);
    w->a = NULL;
}

static void close_scene(scene *w)
{
    qdbg_ctx *ctx = w->ctx;
    qdbg_adaround_destroy(w->a);
    qdbg_sim_destroy(w->sim);
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(ctx);
}

static qdbg_adaround_row row_of(const scene *w, uint32_t i)
{
    qdbg_adaround_row row = QDBG_ADAROUND_ROW_INIT;
    assert_ok(qdbg_adaround_get(w->a, i, &row));
    return row;
}

static qdbg_adaround_options sampled(uint32_t iterations)
{
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    o.solver = QDBG_ADAROUND_SAMPLED;
    o.iterations = iterations;
    o.learning_rate = 0.01;
    o.batch = 256;
    return o;
}

static uint32_t conv(qdbg_graph *g, uint32_t x, const char *name, const int64_t *w, int64_t group,
                     uint64_t *seed)
{
    uint32_t node;
    char weight[16];
    snprintf(weight, sizeof weight, "w_%s", name);
    uint32_t v = make_node(g, "Conv", name, VALUES(x, make_random(g, weight, w, seed)), &node);
    assert_ok(qdbg_graph_set_int(g, node, "group", group));
    return v;
}

/* A parameter of 8 numbers from `lo` on. */
static uint32_t by_channel(qdbg_graph *g, const char *name, const int64_t *dims, float lo,
                           float step)
{
    float data[8];
    for (int i = 0; i < 8; i++)
        data[i] = lo + step * (float)i;
    return make_param(g, name, dims, data);
}

static uint32_t relu(qdbg_graph *g, uint32_t v)
{
    return make_node(g, "Relu", "f", &v, 1, NULL);
}

static uint32_t conv_relu(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 4, 6, 6)), node;
    uint32_t v = make_node(
        g, "Conv", "c",
        VALUES(x, make_random(g, "w", DIMS(8, 4, 3, 3), seed), by_channel(g, "b", DIMS(8), -24, 1)),
        &node);
    make_ints(g, node, "pads", DIMS(1, 1, 1, 1));
    return relu(g, v);
}

static uint32_t conv_add_clip(qdbg_graph *g, uint64_t *seed)
{
    static const float zero = 0, six = 6;
    uint32_t x = make_input(g, "x", DIMS(1, 4, 6, 6));
    uint32_t v = conv(g, x, "c", DIMS(8, 4, 2, 2), 1, seed);
    v = make_node(g, "Add", "a", VALUES(by_channel(g, "s", DIMS(1, 8, 1, 1), -9, 1), v), NULL);
    return make_node(
        g, "Clip", "f",
        VALUES(v, make_param(g, "lo", SCALAR, &zero), make_param(g, "hi", SCALAR, &six)), NULL);
}

static uint32_t conv_clip_by_channel(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 4, 6, 6));
    uint32_t v = conv(g, x, "c", DIMS(8, 4, 2, 2), 1, seed);
    return make_node(g, "Clip", "f",
                     VALUES(v, by_channel(g, "lo", DIMS(8, 1, 1), -4, 1),
                            by_channel(g, "hi", DIMS(8, 1, 1), 5, 2)),
                     NULL);
}

static uint32_t depthwise_norm_leaky(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 8, 6)), node;
    uint32_t v = conv(g, x, "c", DIMS(8, 1, 3), 8, seed);
    v = make_node(g, "BatchNormalization", "n",
                  VALUES(v, by_channel(g, "gamma", DIMS(8), -1, 0.5f),
                         by_channel(g, "beta", DIMS(8), -2, 0.25f),
                         by_channel(g, "mean", DIMS(8), 1, -0.25f),
                         by_channel(g, "var", DIMS(8), 0.5f, 1)),
                  NULL);
    v = make_node(g, "Identity", "i", &v, 1, NULL);
    v = make_node(g, "LeakyRelu", "f", &v, 1, &node);
    assert_ok(qdbg_graph_set_float(g, node, "alpha", 0.125f));
    return v;
}

static uint32_t grouped_prelu(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 4, 5, 5));
    uint32_t v = conv(g, x, "c", DIMS(8, 2, 3, 3), 2, seed);
    return make_node(g, "PRelu", "f", VALUES(v, by_channel(g, "p", DIMS(8, 1, 1), -0.5f, 0.25f)),
                     NULL);
}

static uint32_t transpose_relu(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 4, 3, 3)), node;
    uint32_t v = make_node(
        g, "ConvTranspose", "c",
        VALUES(x, make_random(g, "w", DIMS(4, 8, 3, 3), seed), by_channel(g, "b", DIMS(8), -6, 1)),
        &node);
    make_ints(g, node, "strides", DIMS(2, 2));
    return relu(g, v);
}

static uint32_t gemm_relu(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 12)), node;
    uint32_t v = make_node(
        g, "Gemm", "c",
        VALUES(x, make_random(g, "w", DIMS(12, 8), seed), by_channel(g, "b", DIMS(8), -8, 1)),
        &node);
    assert_ok(qdbg_graph_set_float(g, node, "alpha", 0.5f));
    assert_ok(qdbg_graph_set_float(g, node, "beta", 0.5f));
    return relu(g, v);
}

static uint32_t matmul_add_relu(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 3, 12));
    uint32_t v =
        make_node(g, "MatMul", "c", VALUES(x, make_random(g, "w", DIMS(12, 8), seed)), NULL);
    v = make_node(g, "Add", "a", VALUES(v, by_channel(g, "s", DIMS(8), -8, 1)), NULL);
    return relu(g, v);
}

static uint32_t matmuls_relu(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 2, 3, 12));
    uint32_t v =
        make_node(g, "MatMul", "c", VALUES(x, make_random(g, "w", DIMS(2, 12, 4), seed)), NULL);
    return relu(g, v);
}

/* Without an activation that is known, or with one that is not alone. */
static uint32_t conv_sigmoid(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 4, 6, 6));
    uint32_t v = conv(g, x, "c", DIMS(8, 4, 2, 2), 1, seed);
    return make_node(g, "Sigmoid", "f", &v, 1, NULL);
}

static uint32_t conv_two_readers(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 4, 6, 6));
    uint32_t v = conv(g, x, "c", DIMS(8, 4, 2, 2), 1, seed), r = relu(g, v);
    return make_node(g, "Add", "y", VALUES(v, r), NULL);
}

static uint32_t conv_alone(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 4, 6, 6));
    return make_node(
        g, "Conv", "c",
        VALUES(x, make_random(g, "w", DIMS(8, 4, 2, 2), seed), by_channel(g, "b", DIMS(8), -1, 1)),
        NULL);
}

typedef uint32_t (*builder)(qdbg_graph *g, uint64_t *seed);

static void open_scene(scene *w, builder build, uint32_t threads, uint64_t batch)
{
    uint64_t seed = 83;
    qdbg_ctx *ctx = make_ctx(threads);
    qdbg_graph *g = make_graph(ctx, 13);
    make_finish(g, build(g, &seed));
    open_on(w, ctx, g, batch);
}

/* ---- outputs ---- */

typedef struct outputs {
    float x[MAX_OUT];
    size_t n, channels, inner; /* elements; of [N, channels, inner] */
} outputs;

static void run_network(const scene *w, const qdbg_view *x, outputs *out)
{
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    qdbg_view y = QDBG_VIEW_INIT;
    assert_ok(qdbg_graph_value(w->g, qdbg_graph_output(w->g, 0), &info));
    y.dtype = QDBG_F32;
    y.rank = info.rank;
    y.data = out->x;
    memcpy(y.dims, info.dims, sizeof y.dims);
    y.dims[0] = SAMPLES;
    out->n = qdbg_view_count(&y);
    assert_true(out->n <= MAX_OUT);
    assert_ok(qdbg_model_run(w->m, x, 1, &y, 1));
}

/* Mean over positions of the sum over 8 channels. */
static double error_of_outputs(const outputs *a, const outputs *b)
{
    double sum = 0;
    for (size_t i = 0; i < a->n; i++)
        sum += ((double)a->x[i] - (double)b->x[i]) * ((double)a->x[i] - (double)b->x[i]);
    return sum * 8 / (double)a->n;
}

static void assert_close(const char *what, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * fabs(want)))
        fail_msg("%s: %g instead of %g", what, got, want);
}

static const struct {
    const char *name;
    builder build;
} bent[] = {
    {"Conv, Relu", conv_relu},
    {"Conv, Add, Clip", conv_add_clip},
    {"Conv, Clip by channel", conv_clip_by_channel},
    {"depthwise, BatchNormalization, Identity, LeakyRelu", depthwise_norm_leaky},
    {"grouped, PRelu", grouped_prelu},
    {"ConvTranspose, Relu", transpose_relu},
    {"Gemm, Relu", gemm_relu},
    {"MatMul, Add, Relu", matmul_add_relu},
};

/* The network is a layer and what bends it: rounded, its outputs are off by what the row says. */
static void losses_are_those_behind_the_activation(void **state)
{
    static outputs before, after;
    (void)state;
    for (size_t i = 0; i < sizeof bent / sizeof *bent; i++) {
        scene w;
        qdbg_adaround_options o = sampled(300);
        open_scene(&w, bent[i].build, 2, 7);
        qdbg_view x = samples_view(w.g, &w.s);
        o.holdout = 1;
        o.flags = QDBG_ADAROUND_NO_REVERT | QDBG_ADAROUND_REFIT_SCALE;
        run_network(&w, &x, &before);
        assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a));
        run_network(&w, &x, &after);
        qdbg_adaround_row row = row_of(&w, 0);
        qdbg_node_info node = QDBG_NODE_INFO_INIT;
        assert_int_equal(row.outcome, QDBG_ADAROUND_DONE);
        if (row.activation == QDBG_NONE)
            fail_msg("%s: nothing found", bent[i].name);
        assert_ok(qdbg_graph_node(w.g, row.activation, &node));
        assert_string_equal(node.name, "f");
        assert_int_equal(row.n_kept, row.n_positions);
        assert_int_equal(row.n_held_kept, 0);
        assert_int_equal(row.scales, QDBG_ADAROUND_SCALES_LEFT);
        assert_close(bent[i].name, row.act_loss, error_of_outputs(&before, &after), 1e-4);
        if (!(row.act_loss < row.act_nearest))
            fail_msg("%s: %g, nearest %g", bent[i].name, row.act_loss, row.act_nearest);
        close_scene(&w);
    }
}

/* Other solvers tell them on request. */
static void any_solver_can_tell_them(void **state)
{
    static outputs before, after;
    (void)state;
    for (int asked = 0; asked < 2; asked++) {
        scene w;
        qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
        open_scene(&w, conv_add_clip, 2, 7);
        qdbg_view x = samples_view(w.g, &w.s);
        o.holdout = 1;
        o.flags = asked ? QDBG_ADAROUND_ACT_LOSSES : 0;
        run_network(&w, &x, &before);
        assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a));
        run_network(&w, &x, &after);
        qdbg_adaround_row row = row_of(&w, 0);
        assert_int_equal(row.outcome, QDBG_ADAROUND_DONE);
        assert_int_equal(row.n_kept, asked ? row.n_positions : 0);
        assert_true((row.activation != QDBG_NONE) == asked);
        if (asked)
            assert_close("sequential", row.act_loss, error_of_outputs(&before, &after), 1e-4);
        else
            assert_true(row.act_loss == 0 && row.act_nearest == 0);
        close_scene(&w);
    }
}

/* Two matrices of 4 channels make 8. */
static void every_matrix_has_its_say(void **state)
{
    static outputs before, after;
    scene w;
    qdbg_adaround_options o = sampled(300);
    (void)state;
    open_scene(&w, matmuls_relu, 2, 7);
    qdbg_view x = samples_view(w.g, &w.s);
    o.holdout = 1;
    run_network(&w, &x, &before);
    assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a));
    run_network(&w, &x, &after);
    assert_int_equal(row_of(&w, 0).outcome, QDBG_ADAROUND_DONE);
    assert_int_equal(row_of(&w, 0).bias, QDBG_NONE);
    assert_close("MatMuls", row_of(&w, 0).act_loss, error_of_outputs(&before, &after), 1e-4);
    close_scene(&w);
}

/* Two matrices of one channel: two numbers along the last axis are for both of them. */
static uint32_t matmuls_of_one(qdbg_graph *g, uint64_t *seed)
{
    uint32_t x = make_input(g, "x", DIMS(1, 2, 3, 8));
    uint32_t v =
        make_node(g, "MatMul", "m", VALUES(x, make_random(g, "w", DIMS(2, 8, 1), seed)), NULL);
    v = make_node(g, "Add", "a", VALUES(v, make_random(g, "b", DIMS(2), seed)), NULL);
    return relu(g, v);
}

static void numbers_for_all_matrices_are_no_bias(void **state)
{
    scene w;
    qdbg_adaround_options o = sampled(100);
    (void)state;
    open_scene(&w, matmuls_of_one, 1, 7);
    o.flags = QDBG_ADAROUND_NO_REVERT;
    assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a));
    assert_int_equal(row_of(&w, 0).outcome, QDBG_ADAROUND_DONE);
    assert_int_equal(row_of(&w, 0).bias, QDBG_NONE);
    assert_int_equal(row_of(&w, 0).activation, QDBG_NONE);
    close_scene(&w);
}

/* Finite columns whose products are not. */
static void overflow_is_no_better(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        static const float sizes[] = {1e18f, 1e30f, 2e38f};
        scene w;
        qdbg_adaround_options o = sampled(60);
        open_scene(&w, conv_relu, 2, 7);
        qdbg_view x = samples_view(w.g, &w.s);
        for (uint64_t k = 0; k < qdbg_view_count(&x); k++)
            w.s.x[k] = k % 2 ? sizes[i] : -sizes[i] / 2;
        qdbg_status status = qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a);
        if (status == QDBG_OK) {
            float data[288];
            qdbg_adaround_row row = row_of(&w, 0);
            assert_ok(qdbg_model_get_parameter(w.m, row.weight, data, 288));
            for (int k = 0; k < 288; k++)
                assert_true(isfinite(data[k]));
            assert_ok(qdbg_model_get_parameter(w.m, value_of(w.g, "b"), data, 8));
            for (int k = 0; k < 8; k++)
                assert_true(isfinite(data[k]));
        } else {
            assert_int_equal(status, QDBG_E_NUMERIC);
        }
        close_scene(&w);
    }
}

static void other_activations_are_not_looked_behind(void **state)
{
    static const builder builds[] = {conv_sigmoid, conv_two_readers, conv_alone};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        scene w;
        qdbg_adaround_options o = sampled(100);
        open_scene(&w, builds[i], 1, 16);
        assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a));
        qdbg_adaround_row row = row_of(&w, 0);
        assert_int_equal(row.activation, QDBG_NONE);
        assert_close("fitted", row.act_loss, row.loss, 1e-4);
        assert_close("held out", row.act_held_loss, row.held_loss, 1e-4);
        assert_close("nearest", row.act_held_nearest, row.held_nearest, 1e-4);
        assert_int_equal(row.n_held_kept, row.n_held_out);
        close_scene(&w);
    }
}

/* ---- what it is worth ---- */

/* On samples that neither has seen. */
static double fresh_error(builder build, const qdbg_adaround_options *o)
{
    static outputs before, after;
    scene w;
    uint64_t seed = 89;
    open_scene(&w, build, 2, 16);
    qdbg_view x = samples_view(w.g, &w.s);
    float *fresh = make_floats(&seed, qdbg_view_count(&x));
    fill_samples(fresh, qdbg_view_count(&x) / SAMPLES, 101);
    x.data = fresh;
    run_network(&w, &x, &before);
    assert_ok(qdbg_adaround_run(w.sim, &w.s.set, o, &w.a));
    run_network(&w, &x, &after);
    close_scene(&w);
    free(fresh);
    return error_of_outputs(&before, &after);
}

static void behind_a_relu_it_beats_the_gram_form(void **state)
{
    qdbg_adaround_options o = sampled(2000), relaxed = o;
    (void)state;
    relaxed.solver = QDBG_ADAROUND_RELAXED;
    double here = fresh_error(conv_relu, &o), there = fresh_error(conv_relu, &relaxed);
    if (!(here < 0.7 * there))
        fail_msg("sampled %g, relaxed %g", here, there);
}

/* All columns in every step, and nothing behind: the same gradients, up to float32. */
static void without_activation_it_is_the_relaxed_form(void **state)
{
    static float w[2][128];
    qdbg_adaround_row rows[2];
    (void)state;
    for (int i = 0; i < 2; i++)
        for (uint32_t flags = 0; flags <= QDBG_ADAROUND_KEEP_BIAS; flags += 2) {
            scene s;
            qdbg_adaround_options o = sampled(1000);
            open_scene(&s, conv_alone, 1, 16);
            o.solver = i ? QDBG_ADAROUND_RELAXED : QDBG_ADAROUND_SAMPLED;
            o.batch = 1 << 20;
            o.holdout = 1;
            o.flags = flags | QDBG_ADAROUND_NO_REVERT | QDBG_ADAROUND_NO_POLISH;
            assert_ok(qdbg_adaround_run(s.sim, &s.s.set, &o, &s.a));
            assert_ok(qdbg_model_get_parameter(s.m, value_of(s.g, "w"), w[i], 128));
            rows[i] = row_of(&s, 0);
            close_scene(&s);
        }
    size_t differ = 0;
    for (int i = 0; i < 128; i++)
        differ += fabsf(w[0][i] - w[1][i]) > 1e-6f;
    if (differ > 3)
        fail_msg("%zu of 128 weights differ", differ);
    assert_close("loss", rows[0].loss, rows[1].loss, 0.02);
}

/* ---- what must not show ---- */

static uint32_t two_layers(qdbg_graph *g, uint64_t *seed)
{
    uint32_t v = conv_relu(g, seed);
    v = conv(g, v, "d", DIMS(8, 1, 3, 3), 8, seed);
    v = make_node(g, "Relu", "f2", &v, 1, NULL);
    return v;
}

static void get_all(const scene *w, float *data)
{
    assert_ok(qdbg_model_get_parameter(w->m, value_of(w->g, "w"), data, 288));
    assert_ok(qdbg_model_get_parameter(w->m, value_of(w->g, "w_d"), data + 288, 72));
    assert_ok(qdbg_model_get_parameter(w->m, value_of(w->g, "b"), data + 360, 8));
}

static void threads_and_batches_do_not_show(void **state)
{
    static float data[4][368];
    static const uint32_t threads[] = {1, 2, 2, 1};
    static const uint64_t batches[] = {SAMPLES, 1, 7, 7};
    (void)state;
    for (uint64_t limit = 0; limit < 2; limit++) {
        qdbg_adaround_row rows[4];
        for (int i = 0; i < 4; i++) {
            scene w;
            uint64_t seed = 83;
            qdbg_ctx_options c = QDBG_CTX_OPTIONS_INIT;
            qdbg_ctx *ctx;
            qdbg_adaround_options o = sampled(200);
            c.threads = threads[i];
            c.memory_limit = limit * 900000;
            c.seed = i == 3 ? 5 : 4;
            assert_ok(qdbg_ctx_create(&c, &ctx));
            qdbg_graph *g = make_graph(ctx, 13);
            make_finish(g, two_layers(g, &seed));
            open_on(&w, ctx, g, batches[i]);
            assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a));
            get_all(&w, data[i]);
            rows[i] = row_of(&w, 0);
            close_scene(&w);
        }
        assert_memory_equal(data[0], data[1], sizeof data[0]);
        assert_memory_equal(data[0], data[2], sizeof data[0]);
        assert_memory_not_equal(data[0], data[3], sizeof data[0]); /* the seed does */
        assert_memory_equal(&rows[0], &rows[1], sizeof rows[0]);
        assert_memory_equal(&rows[0], &rows[2], sizeof rows[0]);
        assert_true(limit ? rows[0].n_kept < rows[0].n_positions / 2
                          : rows[0].n_kept == rows[0].n_positions);
        assert_true(rows[0].n_kept > 100 && rows[0].n_held_kept > 10);
    }
}

static void a_host_gets_the_same(void **state)
{
    float data[2][18];
    (void)state;
    for (int host = 0; host < 2; host++) {
        scene w;
        engine e;
        qdbg_sim_options so = QDBG_SIM_OPTIONS_INIT;
        qdbg_adaround_options o = sampled(300);
        so.weight_bits = 2;
        w.ctx = make_ctx(1);
        w.g = net_of_gemms(w.ctx, false);
        w.m = host ? engine_model(&e, w.g) : builtin_model(w.g);
        assert_ok(qdbg_sim_create(w.m, &so, &w.sim));
        w.s = samples_make(w.ctx, w.g, SAMPLES, 6, 3);
        o.flags = QDBG_ADAROUND_ONE_PASS;
        assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a));
        assert_true(row_of(&w, 0).activation != QDBG_NONE);
        assert_int_equal(row_of(&w, 1).activation, QDBG_NONE);
        assert_ok(qdbg_model_get_parameter(w.m, value_of(w.g, "w2"), data[host], 18));
        close_scene(&w);
        if (host)
            engine_free(&e);
    }
    assert_memory_equal(data[0], data[1], sizeof data[0]);
}

/* ---- failures ---- */

typedef struct watch {
    uint64_t steps, stop_at; /* reports from within layers */
} watch;

static int32_t on_progress(void *user, const qdbg_progress *p)
{
    watch *w = user;
    assert_true(p->done <= p->total);
    return strcmp(p->stage, "adaround: steps") == 0 && ++w->steps == w->stop_at;
}

static void it_can_be_cancelled_within_a_layer(void **state)
{
    static float before[368], after[368];
    watch seen = {0, 0};
    scene w;
    uint64_t seed = 83;
    qdbg_ctx_options c = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx;
    qdbg_adaround_options o = sampled(100);
    (void)state;
    c.threads = 2;
    c.progress = on_progress;
    c.progress_user = &seen;
    assert_ok(qdbg_ctx_create(&c, &ctx));
    qdbg_graph *g = make_graph(ctx, 13);
    make_finish(g, two_layers(g, &seed));
    open_on(&w, ctx, g, 16);
    get_all(&w, before);
    for (uint64_t at = 1;; at += 3) {
        seen = (watch){0, at};
        qdbg_status status = qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a);
        if (status == QDBG_OK)
            break;
        assert_int_equal(status, QDBG_E_CANCELLED);
        assert_null(w.a);
        get_all(&w, after);
        assert_memory_equal(before, after, sizeof before);
    }
    assert_int_equal(seen.steps, 40);
    close_scene(&w);
}

static void failed_allocations_leave_all_as_it_was(void **state)
{
    static float before[368], after[368];
    (void)state;
    for (int persistent = 0; persistent < 2; persistent++) {
        heap h;
        scene w;
        uint64_t seed = 83, n = 0;
        qdbg_adaround_options o = sampled(3);
        heap_init(&h);
        qdbg_ctx *ctx = heap_ctx(&h, 1);
        qdbg_graph *g = make_graph(ctx, 13);
        make_finish(g, two_layers(g, &seed));
        open_on(&w, ctx, g, 5); /* stores grow: the first batch tells too little */
        w.s.set.n_batches = 3;
        o.flags = QDBG_ADAROUND_NO_REVERT;
        get_all(&w, before);
        for (uint64_t at = 1;; at++) {
            heap_arm(&h, at, persistent);
            qdbg_status status = qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a);
            uint64_t failed = h.n_failed;
            heap_arm(&h, 0, false);
            if (status == QDBG_OK && failed == 0)
                break;
            n++;
            if (status == QDBG_OK) {
                assert_ok(qdbg_adaround_undo(w.a));
                qdbg_adaround_destroy(w.a);
                w.a = NULL;
                continue;
            }
            assert_int_equal(status, QDBG_E_NOMEM);
            assert_null(w.a);
            get_all(&w, after);
            assert_memory_equal(before, after, sizeof before);
        }
        assert_true(n > 60);
        qdbg_adaround_destroy(w.a);
        qdbg_sim_destroy(w.sim);
        samples_free(&w.s);
        qdbg_model_destroy(w.m);
        qdbg_graph_destroy(w.g);
        heap_end(&h, ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_those_behind_the_activation),
        cmocka_unit_test(any_solver_can_tell_them),
        cmocka_unit_test(every_matrix_has_its_say),
        cmocka_unit_test(numbers_for_all_matrices_are_no_bias),
        cmocka_unit_test(overflow_is_no_better),
        cmocka_unit_test(other_activations_are_not_looked_behind),
        cmocka_unit_test(behind_a_relu_it_beats_the_gram_form),
        cmocka_unit_test(without_activation_it_is_the_relaxed_form),
        cmocka_unit_test(threads_and_batches_do_not_show),
        cmocka_unit_test(a_host_gets_the_same),
        cmocka_unit_test(it_can_be_cancelled_within_a_layer),
        cmocka_unit_test(failed_allocations_leave_all_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
