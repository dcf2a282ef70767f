/* qdbg_adaround_run on small networks: what it changes, that it can be undone, and what it makes of
 * odd networks and data. Solvers and moments have tests of their own. */
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

#define SAMPLES 24

/* ---- networks ---- */

/* x [1,2,6,6] -> Conv "c1" 3x3 -> Relu -> depthwise Conv "c2" (no bias), BatchNormalization -> Relu
 * -> Conv "c3" 1x1 -> GlobalAveragePool -> Flatten -> Gemm "y" [1,3]. */
static qdbg_graph *net(qdbg_ctx *ctx)
{
    static const float gamma[] = {1, 2, -1, 0.5f}, beta[] = {0.5f, 1, 1, 0}, mean[] = {0, 1, 0, 0};
    static const float var[] = {1, 4, 1, 0.25f};
    uint64_t seed = 61;
    uint32_t node;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 2, 6, 6));
    uint32_t v = make_node(g, "Conv", "c1",
                           VALUES(x, make_random(g, "w1", DIMS(4, 2, 3, 3), &seed),
                                  make_random(g, "b1", DIMS(4), &seed)),
                           &node);
    make_ints(g, node, "pads", DIMS(1, 1, 1, 1));
    v = make_node(g, "Relu", "r1", &v, 1, NULL);
    v = make_node(g, "Conv", "c2", VALUES(v, make_random(g, "w2", DIMS(4, 1, 3, 3), &seed)), &node);
    assert_ok(qdbg_graph_set_int(g, node, "group", 4));
    v = make_node(g, "BatchNormalization", "n",
                  VALUES(v, make_param(g, "gamma", DIMS(4), gamma),
                         make_param(g, "beta", DIMS(4), beta), make_param(g, "mean", DIMS(4), mean),
                         make_param(g, "var", DIMS(4), var)),
                  NULL);
    v = make_node(g, "Relu", "r2", &v, 1, NULL);
    v = make_node(g, "Conv", "c3",
                  VALUES(v, make_random(g, "w3", DIMS(16, 4, 1, 1), &seed),
                         make_random(g, "b3", DIMS(16), &seed)),
                  NULL);
    v = make_node(g, "GlobalAveragePool", "p", &v, 1, NULL);
    v = make_node(g, "Flatten", "f", &v, 1, NULL);
    make_finish(g, make_node(g, "Gemm", "y",
                             VALUES(v, make_random(g, "w4", DIMS(16, 3), &seed),
                                    make_random(g, "b4", DIMS(3), &seed)),
                             NULL));
    return g;
}

/* x [1,4] through `op` "h" and Gemm "y" with weights w [4,3]. */
static qdbg_graph *net_behind(qdbg_ctx *ctx, const char *op)
{
    uint64_t seed = 67;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    uint32_t h = make_node(g, op, "h", &x, 1, NULL);
    make_finish(g, make_node(g, "Gemm", "y",
                             VALUES(h, make_random(g, "w", DIMS(4, 3), &seed),
                                    make_random(g, "b", DIMS(3), &seed)),
                             NULL));
    return g;
}

/* ---- a world ---- */

typedef struct world {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg_model *m;
    qdbg_sim *sim;
    samples s;
    qdbg_adaround *a;
} world;

static qdbg_sim *make_sim(qdbg_model *m, uint32_t bits, int32_t granularity)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_sim *sim;
    o.weight_bits = bits;
    o.weight_granularity = granularity;
    assert_ok(qdbg_sim_create(m, &o, &sim));
    return sim;
}

static void open_on(world *w, qdbg_ctx *ctx, qdbg_graph *g, uint64_t batch, int32_t granularity)
{
    w->ctx = ctx;
    w->g = g;
    w->m = builtin_model(g);
    w->sim = make_sim(w->m, 3, granularity);
    w->s = samples_make(ctx, g, SAMPLES, batch, 3);
    w->a = NULL;
}

static void open_world(world *w, uint32_t threads, uint64_t batch, int32_t granularity)
{
    qdbg_ctx *ctx = make_ctx(threads);
    open_on(w, ctx, net(ctx), batch, granularity);
}

static void close_world(world *w)
{
    qdbg_ctx *ctx = w->ctx;
    qdbg_adaround_destroy(w->a);
    qdbg_sim_destroy(w->sim);
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(ctx);
}

static qdbg_adaround_row row_of(const world *w, uint32_t i)
{
    qdbg_adaround_row row = QDBG_ADAROUND_ROW_INIT;
    assert_ok(qdbg_adaround_get(w->a, i, &row));
    return row;
}

/* All parameters and encodings, as one lump. */
typedef struct snapshot {
    float params[2048];
    size_t n;
    qdbg_encoding encodings[64];
    size_t n_encodings;
} snapshot;

static void take(const world *w, snapshot *s)
{
    memset(s, 0, sizeof *s);
    for (uint32_t v = 0; v < qdbg_graph_value_count(w->g); v++) {
        qdbg_value_info info = QDBG_VALUE_INFO_INIT;
        assert_ok(qdbg_graph_value(w->g, v, &info));
        uint64_t count = 1;
        for (uint32_t i = 0; i < info.rank; i++)
            count *= (uint64_t)info.dims[i];
        if (!info.is_parameter)
            continue;
        assert_true(s->n + count <= 2048);
        assert_ok(qdbg_model_get_parameter(w->m, v, s->params + s->n, count));
        s->n += count;
    }
    for (uint32_t i = 0; i < qdbg_sim_quantizer_count(w->sim); i++) {
        qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
        assert_ok(qdbg_sim_quantizer(w->sim, i, &info));
        for (uint32_t c = 0; c < info.n_encodings && info.kind == QDBG_WEIGHT; c++) {
            assert_true(s->n_encodings < 64);
            s->encodings[s->n_encodings].struct_size = sizeof *s->encodings;
            assert_ok(qdbg_sim_encoding(w->sim, i, c, &s->encodings[s->n_encodings++]));
        }
    }
}

static bool same(const snapshot *a, const snapshot *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static double sqnr(world *w)
{
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    double score;
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_ACTIVATION, 0));
    assert_ok(qdbg_sim_evaluate(w->sim, &w->s.set, &metric, &score));
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_ACTIVATION, 1));
    return score;
}

static void run(world *w, const qdbg_adaround_options *o)
{
    assert_ok(qdbg_adaround_run(w->sim, &w->s.set, o, &w->a));
}

/* ---- what it does ---- */

/* Quantizing what has been rounded changes nothing: what the simulation runs is what is there. */
static void assert_on_grid(const world *w, const qdbg_adaround_row *row)
{
    float data[512], back[512];
    qdbg_value_info value = QDBG_VALUE_INFO_INIT;
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
    assert_ok(qdbg_graph_value(w->g, row->weight, &value));
    assert_ok(qdbg_sim_quantizer(w->sim, row->quantizer, &q));
    assert_true(row->n_weights <= 512);
    assert_ok(qdbg_model_get_parameter(w->m, row->weight, data, row->n_weights));
    uint64_t inner = 1;
    for (uint32_t i = (uint32_t)q.spec.axis + 1; i < value.rank; i++)
        inner *= (uint64_t)value.dims[i];
    for (uint64_t i = 0; i < row->n_weights; i++) {
        qdbg_encoding e = QDBG_ENCODING_INIT;
        uint32_t channel =
            q.n_encodings == 1 ? 0 : (uint32_t)(i / inner % (uint64_t)value.dims[q.spec.axis]);
        assert_ok(qdbg_sim_encoding(w->sim, row->quantizer, channel, &e));
        assert_ok(qdbg_fakequant_f32(w->ctx, &e, q.spec.rounding, data + i, back + i, 1));
    }
    assert_memory_equal(data, back, row->n_weights * sizeof *data);
}

static void rounding_helps_and_lies_on_the_grid(void **state)
{
    static const uint32_t flags[] = {0, QDBG_ADAROUND_ONE_PASS, QDBG_ADAROUND_KEEP_BIAS,
                                     QDBG_ADAROUND_REFIT_SCALE, QDBG_ADAROUND_NO_POLISH};
    (void)state;
    for (int32_t granularity = QDBG_PER_TENSOR; granularity <= QDBG_PER_CHANNEL; granularity++)
        for (int32_t solver = QDBG_ADAROUND_SEQUENTIAL; solver <= QDBG_ADAROUND_SAMPLED; solver++)
            for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
                world w;
                qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
                open_world(&w, 2, 5, granularity);
                double before = sqnr(&w);
                o.solver = solver;
                o.flags = flags[f];
                o.iterations = 500;
                o.learning_rate = 0.01;
                o.range_candidates = f % 2 ? 20 : 0;
                run(&w, &o);
                assert_int_equal(qdbg_adaround_count(w.a), 4);
                bool bias = !(flags[f] & QDBG_ADAROUND_KEEP_BIAS);
                uint32_t done = 0;
                for (uint32_t i = 0; i < 4; i++) {
                    qdbg_adaround_row row = row_of(&w, i);
                    if (solver == QDBG_ADAROUND_SAMPLED) {
                        assert_true(row.act_loss <= row.act_nearest * 1.5);
                        assert_true(row.act_held_loss <= row.act_held_nearest);
                        assert_true(row.n_kept > 0 && row.n_held_kept > 0);
                    } else {
                        assert_true(row.loss <= row.loss_nearest * 1.5);
                        assert_true(row.held_loss <= row.held_nearest);
                    }
                    assert_true(row.n_positions > 0 && row.n_held_out > 0);
                    assert_int_equal(row.bits, 3);
                    if (row.outcome != QDBG_ADAROUND_DONE)
                        continue;
                    done++;
                    assert_true((row.bias != QDBG_NONE) == bias);
                    if (solver != QDBG_ADAROUND_NEAREST)
                        assert_on_grid(&w, &row);
                }
                assert_true(done > 1);
                if (bias || solver != QDBG_ADAROUND_NEAREST)
                    assert_true(sqnr(&w) > before);
                close_world(&w);
            }
}

/* The correction of a layer without bias goes to the BatchNormalization behind it. */
static void the_bias_is_where_the_network_has_one(void **state)
{
    world w;
    (void)state;
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    open_world(&w, 1, SAMPLES, QDBG_PER_CHANNEL);
    o.flags = QDBG_ADAROUND_NO_REVERT;
    run(&w, &o);
    assert_int_equal(row_of(&w, 0).bias, value_of(w.g, "b1"));
    assert_int_equal(row_of(&w, 1).bias, value_of(w.g, "beta"));
    assert_int_equal(row_of(&w, 3).weight, value_of(w.g, "w4"));
    assert_true(row_of(&w, 0).bias_change > 0);
    close_world(&w);
}

/* The mean of each output channel is what it was, up to float32: that is what the bias is for. */
static void means_are_kept(void **state)
{
    world w;
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    double sum[2][3] = {{0}};
    float out[SAMPLES * 3];
    (void)state;
    qdbg_ctx *ctx = make_ctx(1);
    open_on(&w, ctx, net_behind(ctx, "Relu"), SAMPLES, QDBG_PER_TENSOR);
    o.holdout = 1;
    for (int after = 0; after < 2; after++) {
        qdbg_view x = samples_view(w.g, &w.s), y = make_view(DIMS(SAMPLES, 3), out);
        assert_ok(qdbg_model_run(w.m, &x, 1, &y, 1));
        for (int i = 0; i < SAMPLES * 3; i++)
            sum[after][i % 3] += (double)out[i];
        if (!after)
            run(&w, &o);
    }
    assert_int_equal(row_of(&w, 0).outcome, QDBG_ADAROUND_DONE);
    for (int i = 0; i < 3; i++)
        assert_true(fabs(sum[0][i] - sum[1][i]) < 1e-4 * SAMPLES);
    close_world(&w);
}

static void undo_restores_every_bit(void **state)
{
    static snapshot before, after, back;
    world w;
    (void)state;
    open_world(&w, 2, 7, QDBG_PER_CHANNEL);
    take(&w, &before);
    run(&w, NULL);
    take(&w, &after);
    assert_false(same(&before, &after));
    assert_ok(qdbg_adaround_undo(w.a));
    take(&w, &back);
    assert_true(same(&before, &back));
    assert_ok(qdbg_adaround_undo(w.a)); /* once is enough */
    take(&w, &back);
    assert_true(same(&before, &back));
    /* One run on top of another, undone in turn. */
    qdbg_adaround *first = NULL;
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    assert_ok(qdbg_adaround_run(w.sim, &w.s.set, NULL, &first));
    take(&w, &after);
    qdbg_adaround_destroy(w.a);
    o.flags = QDBG_ADAROUND_NO_REVERT | QDBG_ADAROUND_REFIT_SCALE;
    run(&w, &o);
    assert_ok(qdbg_adaround_undo(w.a));
    take(&w, &back);
    assert_true(same(&after, &back));
    assert_ok(qdbg_adaround_undo(first));
    take(&w, &back);
    assert_true(same(&before, &back));
    qdbg_adaround_destroy(first);
    close_world(&w);
}

/* Frozen encodings stay through changed weights and come back with the spec that they belong to. */
static void frozen_encodings_outlive_changes(void **state)
{
    world w;
    float zeros[72] = {0};
    qdbg_encoding before = QDBG_ENCODING_INIT, now = QDBG_ENCODING_INIT;
    (void)state;
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    open_world(&w, 1, 8, QDBG_PER_CHANNEL);
    o.flags = QDBG_ADAROUND_NO_REVERT | QDBG_ADAROUND_REFIT_SCALE;
    run(&w, &o);
    uint32_t q = row_of(&w, 0).quantizer, w1 = value_of(w.g, "w1");
    assert_ok(qdbg_sim_encoding(w.sim, q, 1, &before));
    assert_ok(qdbg_model_set_parameter(w.m, w1, zeros, 72));
    assert_ok(qdbg_sim_encoding(w.sim, q, 1, &now));
    assert_memory_equal(&before, &now, sizeof now);
    assert_ok(qdbg_sim_set_bits(w.sim, q, 8));
    assert_ok(qdbg_sim_encoding(w.sim, q, 1, &now));
    assert_int_equal(now.qmax, 127);
    assert_ok(qdbg_sim_set_bits(w.sim, q, 3));
    assert_ok(qdbg_sim_encoding(w.sim, q, 1, &now));
    assert_memory_equal(&before, &now, sizeof now);
    assert_ok(qdbg_sim_set_range(w.sim, q, -6, 6));
    assert_ok(qdbg_sim_encoding(w.sim, q, 1, &now));
    assert_true(now.scale == 2);
    assert_ok(qdbg_sim_clear_range(w.sim, q));
    assert_ok(qdbg_sim_encoding(w.sim, q, 1, &now));
    assert_memory_equal(&before, &now, sizeof now);
    close_world(&w);
}

static void threads_and_batches_do_not_show(void **state)
{
    static snapshot s[3];
    static const uint32_t threads[] = {1, 4, 2};
    static const uint64_t batches[] = {SAMPLES, 1, 7};
    (void)state;
    for (int i = 0; i < 3; i++) {
        world w;
        open_world(&w, threads[i], batches[i], QDBG_PER_CHANNEL);
        run(&w, NULL);
        take(&w, &s[i]);
        close_world(&w);
    }
    assert_true(same(&s[0], &s[1]) && same(&s[0], &s[2]));
}

/* A host that computes the same gets the same. */
static void host_and_builtin_agree(void **state)
{
    static snapshot s[2];
    (void)state;
    for (uint32_t flags = 0; flags <= QDBG_ADAROUND_ONE_PASS; flags++) {
        for (int host = 0; host < 2; host++) {
            world w;
            engine e;
            qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
            qdbg_ctx *ctx = make_ctx(1);
            w.ctx = ctx;
            w.g = net_of_gemms(ctx, false);
            w.m = host ? engine_model(&e, w.g) : builtin_model(w.g);
            w.sim = make_sim(w.m, 2, QDBG_PER_TENSOR);
            w.s = samples_make(ctx, w.g, SAMPLES, 6, 3);
            o.flags = flags;
            run(&w, &o);
            take(&w, &s[host]);
            close_world(&w);
            if (host)
                engine_free(&e);
        }
        assert_int_equal(s[0].n, s[1].n);
        assert_memory_equal(s[0].encodings, s[1].encodings, sizeof s[0].encodings);
        for (size_t i = 0; i < s[0].n; i++) /* the sums of rounded weights are not exact */
            assert_true(fabsf(s[0].params[i] - s[1].params[i]) <= (flags ? 0 : 1e-4f));
    }
}

/* ---- the guard ---- */

static int32_t worse_each_time(void *user, const void *sum, double *score)
{
    (void)sum;
    *score = -(double)++*(int *)user;
    return 0;
}

static int32_t see_nothing(void *user, void *sum, const qdbg_metric_input *input)
{
    (void)user;
    (void)sum;
    (void)input;
    return 0;
}

static void the_guard_undoes_what_scores_worse(void **state)
{
    static snapshot before, after;
    world w;
    int calls = 0;
    double scores[2];
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    qdbg_metric worse = metric_of(QDBG_METRIC_CUSTOM), good = metric_of(QDBG_METRIC_SQNR);
    (void)state;
    worse.user = &calls;
    worse.update = see_nothing;
    worse.result = worse_each_time;
    worse.state_size = 8;
    open_world(&w, 1, 8, QDBG_PER_CHANNEL);
    assert_ok(qdbg_sim_calibrate(w.sim, &w.s.set));
    take(&w, &before);
    o.guard_dataset = &w.s.set;
    assert_fails(w.ctx, qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a), QDBG_E_INVALID, "guard");
    o.guard_metric = &worse;
    run(&w, &o);
    assert_int_equal(qdbg_adaround_guard(w.a, &scores[0], &scores[1]), 1);
    assert_true(scores[0] == -1 && scores[1] == -2);
    assert_int_equal(row_of(&w, 0).outcome, QDBG_ADAROUND_REVERTED);
    take(&w, &after);
    assert_true(same(&before, &after));
    qdbg_adaround_destroy(w.a);
    w.a = NULL;
    o.guard_dataset = NULL; /* it would not be guarded */
    assert_fails(w.ctx, qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a), QDBG_E_INVALID,
                 "guard_dataset");
    o.guard_dataset = &w.s.set;
    o.guard_metric = &good;
    qdbg_reference *r;
    assert_ok(qdbg_reference_create(w.m, &w.s.set, &r));
    good.reference = r;
    run(&w, &o);
    assert_int_equal(qdbg_adaround_guard(w.a, &scores[0], &scores[1]), 0);
    assert_true(scores[1] > scores[0]);
    take(&w, &after);
    assert_false(same(&before, &after));
    qdbg_reference_destroy(r);
    close_world(&w);
}

static void activations_may_take_part(void **state)
{
    world w;
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    (void)state;
    open_world(&w, 2, 8, QDBG_PER_CHANNEL);
    o.flags = QDBG_ADAROUND_ACTIVATIONS;
    assert_fails(w.ctx, qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a), QDBG_E_STATE, "calibrate");
    assert_ok(qdbg_sim_calibrate(w.sim, &w.s.set));
    run(&w, &o);
    assert_true(row_of(&w, 2).held_loss <= row_of(&w, 2).held_nearest);
    close_world(&w);
}

/* ---- odd networks and data ---- */

static void shared_weights_are_left_alone(void **state)
{
    world w;
    uint64_t seed = 71;
    (void)state;
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 4)), m = make_random(g, "w", DIMS(4, 4), &seed);
    uint32_t a = make_node(g, "Gemm", "a", VALUES(x, m), NULL);
    uint32_t b = make_node(g, "Gemm", "b", VALUES(a, m), NULL);
    uint32_t last = make_random(g, "w2", DIMS(4, 3), &seed);
    make_finish(g, make_node(g, "MatMul", "y", VALUES(b, last), NULL));
    open_on(&w, ctx, g, 8, QDBG_PER_TENSOR);
    float before[16], after[16];
    assert_ok(qdbg_model_get_parameter(w.m, m, before, 16));
    run(&w, NULL);
    assert_int_equal(qdbg_adaround_count(w.a), 2);
    assert_int_equal(row_of(&w, 0).outcome, QDBG_ADAROUND_SHARED);
    assert_int_equal(row_of(&w, 1).outcome, QDBG_ADAROUND_DONE);
    assert_ok(qdbg_model_get_parameter(w.m, m, after, 16));
    assert_memory_equal(before, after, sizeof before);
    close_world(&w);
}

static void set_samples(world *w, float value)
{
    for (int i = 0; i < SAMPLES * 4; i++)
        w->s.x[i] = value;
}

static void constant_and_zero_inputs_are_defined(void **state)
{
    static const struct {
        float x;
        int32_t outcome;
    } cases[] = {
        {0, QDBG_ADAROUND_NO_SIGNAL}, {-3, QDBG_ADAROUND_NO_SIGNAL}, {2, QDBG_ADAROUND_DONE}};
    (void)state;
    for (int i = 0; i < 3; i++) {
        world w;
        qdbg_ctx *ctx = make_ctx(1);
        open_on(&w, ctx, net_behind(ctx, "Relu"), 8, QDBG_PER_CHANNEL);
        set_samples(&w, cases[i].x);
        run(&w, NULL);
        qdbg_adaround_row row = row_of(&w, 0);
        assert_int_equal(row.outcome, cases[i].outcome);
        if (row.outcome == QDBG_ADAROUND_DONE) /* the bias makes up for everything */
            assert_true(row.held_loss < 1e-9 && row.held_nearest > 1e-4);
        close_world(&w);
    }
}

/* Log of what is not positive: most inputs of the layer are NaN or infinite. */
static void positions_that_are_not_finite_are_left_out(void **state)
{
    (void)state;
    for (int all = 0; all < 2; all++) {
        world w;
        qdbg_ctx *ctx = make_ctx(1);
        open_on(&w, ctx, net_behind(ctx, "Log"), 8, QDBG_PER_CHANNEL);
        set_samples(&w, 1.5f);
        for (int i = 0; i < SAMPLES * 4; i++)
            w.s.x[i] = all || i < 40 ? -1.0f : 1.0f + (float)(i % 7);
        run(&w, NULL);
        qdbg_adaround_row row = row_of(&w, 0);
        assert_int_equal(row.n_nonfinite, all ? SAMPLES : 10);
        assert_int_equal(row.n_positions + row.n_held_out, all ? 0 : SAMPLES - 10);
        assert_int_equal(row.outcome, all ? QDBG_ADAROUND_NO_DATA : QDBG_ADAROUND_DONE);
        assert_true(isfinite(row.loss) && isfinite(row.held_loss));
        close_world(&w);
    }
}

static void weights_without_range_are_defined(void **state)
{
    (void)state;
    for (int32_t granularity = QDBG_PER_TENSOR; granularity <= QDBG_PER_CHANNEL; granularity++) {
        world w;
        float data[72] = {0};
        qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
        open_world(&w, 1, 8, granularity);
        uint32_t w1 = value_of(w.g, "w1"), w3 = value_of(w.g, "w3");
        assert_ok(qdbg_model_set_parameter(w.m, w3, data, 64)); /* all zero */
        assert_ok(qdbg_model_get_parameter(w.m, w1, data, 72));
        memset(data + 18, 0, 18 * sizeof *data); /* one channel */
        assert_ok(qdbg_model_set_parameter(w.m, w1, data, 72));
        o.flags = QDBG_ADAROUND_REFIT_SCALE | QDBG_ADAROUND_NO_REVERT;
        o.range_candidates = 10;
        run(&w, &o);
        assert_ok(qdbg_model_get_parameter(w.m, w1, data, 72));
        for (int i = 18; i < 36; i++)
            assert_true(data[i] == 0);
        assert_ok(qdbg_model_get_parameter(w.m, w3, data, 64));
        for (int i = 0; i < 64; i++)
            assert_true(data[i] == 0);
        assert_true(isfinite(row_of(&w, 0).loss) && isfinite(row_of(&w, 3).loss));
        close_world(&w);
    }
}

/* One sample, nothing held out: H has rank one. */
static void fewer_samples_than_weights_are_enough(void **state)
{
    world w;
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    (void)state;
    open_world(&w, 1, 1, QDBG_PER_CHANNEL);
    w.s.set.n_batches = 1;
    o.positions = 1;
    o.flags = QDBG_ADAROUND_KEEP_BIAS;
    run(&w, &o);
    for (uint32_t i = 0; i < 4; i++) {
        qdbg_adaround_row row = row_of(&w, i);
        assert_true(row.outcome == QDBG_ADAROUND_DONE && row.loss <= row.loss_nearest);
        assert_int_equal(row.n_positions, 1);
        assert_int_equal(row.n_held_out, 0);
    }
    close_world(&w);
}

static void only_enabled_weight_quantizers_take_part(void **state)
{
    world w;
    (void)state;
    open_world(&w, 1, 8, QDBG_PER_CHANNEL);
    assert_ok(qdbg_sim_set_enabled(w.sim, qdbg_sim_find_quantizer(w.sim, "w2"), 0));
    assert_ok(qdbg_sim_set_bits(w.sim, qdbg_sim_find_quantizer(w.sim, "w3"), QDBG_BITS_BYPASS));
    run(&w, NULL);
    assert_int_equal(qdbg_adaround_count(w.a), 2);
    assert_int_equal(row_of(&w, 1).weight, value_of(w.g, "w4"));
    qdbg_adaround_destroy(w.a);
    w.a = NULL;
    assert_ok(qdbg_sim_set_all_enabled(w.sim, QDBG_WEIGHT, 0));
    run(&w, NULL);
    assert_int_equal(qdbg_adaround_count(w.a), 0);
    close_world(&w);
}

/* Ranges alone: weights stay, encodings shrink. */
static void sequential_mse_changes_ranges_only(void **state)
{
    static snapshot before, after;
    world w;
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    (void)state;
    open_world(&w, 1, 8, QDBG_PER_TENSOR);
    take(&w, &before);
    o.solver = QDBG_ADAROUND_NEAREST;
    o.range_candidates = 20;
    o.flags = QDBG_ADAROUND_KEEP_BIAS;
    run(&w, &o);
    take(&w, &after);
    assert_memory_equal(before.params, after.params, sizeof before.params);
    bool smaller = false;
    for (size_t i = 0; i < before.n_encodings; i++) {
        assert_true(after.encodings[i].scale <= before.encodings[i].scale);
        smaller = smaller || after.encodings[i].scale < before.encodings[i].scale;
    }
    assert_true(smaller);
    close_world(&w);
}

/* ---- failures ---- */

static void bad_arguments_are_refused(void **state)
{
    world w;
    qdbg_adaround_options good = QDBG_ADAROUND_OPTIONS_INIT, o;
    qdbg_adaround_row row = QDBG_ADAROUND_ROW_INIT;
    qdbg_dataset empty = QDBG_DATASET_INIT;
    (void)state;
    open_world(&w, 1, 8, QDBG_PER_TENSOR);
    assert_int_equal(qdbg_adaround_run(NULL, &w.s.set, NULL, &w.a), QDBG_E_INVALID);
    assert_fails(w.ctx, qdbg_adaround_run(w.sim, NULL, NULL, &w.a), QDBG_E_INVALID, "dataset");
    assert_fails(w.ctx, qdbg_adaround_run(w.sim, &empty, NULL, &w.a), QDBG_E_INVALID, "dataset");
    assert_fails(w.ctx, qdbg_adaround_run(w.sim, &w.s.set, NULL, NULL), QDBG_E_INVALID, "result");
#define REFUSED(field, value, text) \
    o = good;                       \
    o.field = value;                \
    assert_fails(w.ctx, qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a), QDBG_E_INVALID, text)
    REFUSED(struct_size, 7, "struct_size");
    REFUSED(solver, 9, "solver");
    REFUSED(solver, -1, "solver");
    REFUSED(flags, 128, "flags");
    REFUSED(range_candidates, 1001, "range_candidates");
    REFUSED(damping, -1, "damping");
    REFUSED(learning_rate, (double)NAN, "learning_rate");
    REFUSED(regularizer, (double)INFINITY, "regularizer");
    assert_null(w.a);
    assert_int_equal(qdbg_adaround_count(NULL), 0);
    assert_int_equal(qdbg_adaround_get(NULL, 0, &row), QDBG_E_INVALID);
    assert_int_equal(qdbg_adaround_undo(NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_adaround_guard(NULL, NULL, NULL), 0);
    qdbg_adaround_destroy(NULL);
    run(&w, NULL);
    assert_int_equal(qdbg_adaround_get(w.a, 4, &row), QDBG_E_NOT_FOUND);
    row.struct_size = 0;
    assert_int_equal(qdbg_adaround_get(w.a, 0, &row), QDBG_E_INVALID);
    close_world(&w);
}

typedef struct counter {
    uint64_t n, stop_at;
} counter;

static int32_t count(void *user, const qdbg_progress *p)
{
    counter *c = user;
    assert_true(p->done <= p->total);
    return ++c->n == c->stop_at;
}

static void cancel_at_every_report_leaves_all_as_it_was(void **state)
{
    static snapshot before, after;
    counter c = {0, 0};
    world w;
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx;
    (void)state;
    options.threads = 2;
    options.progress = count;
    options.progress_user = &c;
    assert_ok(qdbg_ctx_create(&options, &ctx));
    open_on(&w, ctx, net(ctx), 12, QDBG_PER_CHANNEL);
    take(&w, &before);
    for (uint64_t at = 1;; at++) {
        c = (counter){0, at};
        qdbg_status status = qdbg_adaround_run(w.sim, &w.s.set, NULL, &w.a);
        if (status == QDBG_OK)
            break;
        assert_int_equal(status, QDBG_E_CANCELLED);
        assert_null(w.a);
        take(&w, &after);
        assert_true(same(&before, &after));
    }
    assert_true(c.n > 15); /* four layers, two batches each, and more */
    qdbg_adaround_destroy(w.a);
    w.a = NULL;
    qdbg_cancel(ctx);
    assert_fails(ctx, qdbg_adaround_run(w.sim, &w.s.set, NULL, &w.a), QDBG_E_CANCELLED, "cancel");
    close_world(&w);
}

/* With every allocation failing in turn, once or from there on. */
static void failed_allocations_leave_all_as_it_was(void **state)
{
    static snapshot before, after;
    (void)state;
    for (int persistent = 0; persistent < 2; persistent++) {
        heap h;
        world w;
        heap_init(&h);
        w.ctx = heap_ctx(&h, 1);
        w.g = net(w.ctx);
        w.m = builtin_model(w.g);
        w.sim = make_sim(w.m, 3, QDBG_PER_CHANNEL);
        w.s = samples_make(w.ctx, w.g, 12, 12, 3);
        w.a = NULL;
        qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
        qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
        assert_ok(qdbg_sim_calibrate(w.sim, &w.s.set));
        o.flags = QDBG_ADAROUND_REFIT_SCALE | QDBG_ADAROUND_ACTIVATIONS;
        o.range_candidates = 3;
        o.guard_dataset = &w.s.set;
        o.guard_metric = &metric;
        qdbg_reference *r;
        assert_ok(qdbg_reference_create(w.m, &w.s.set, &r));
        metric.reference = r;
        take(&w, &before);
        qdbg_status status = QDBG_E_NOMEM;
        for (uint64_t at = 1; status != QDBG_OK; at++) {
            heap_arm(&h, at, persistent);
            status = qdbg_adaround_run(w.sim, &w.s.set, &o, &w.a);
            uint64_t failed = h.n_failed;
            heap_arm(&h, 0, false);
            if (status == QDBG_OK && failed == 0)
                break;
            if (status == QDBG_OK) { /* done without: undo, and go on */
                assert_ok(qdbg_adaround_undo(w.a));
                qdbg_adaround_destroy(w.a);
                w.a = NULL;
                status = QDBG_E_NOMEM;
            }
            assert_int_equal(status, QDBG_E_NOMEM);
            assert_null(w.a);
            take(&w, &after);
            assert_true(same(&before, &after));
        }
        qdbg_adaround_destroy(w.a);
        qdbg_reference_destroy(r);
        qdbg_sim_destroy(w.sim);
        samples_free(&w.s);
        qdbg_model_destroy(w.m);
        qdbg_graph_destroy(w.g);
        heap_end(&h, w.ctx);
    }
}

/* Every call of the host failing in turn. */
static void a_failing_host_gets_its_parameters_back(void **state)
{
    static snapshot before, after;
    world w;
    engine e;
    (void)state;
    w.ctx = make_ctx(1);
    w.g = net_of_gemms(w.ctx, false);
    w.m = engine_model(&e, w.g);
    w.sim = make_sim(w.m, 2, QDBG_PER_TENSOR);
    w.s = samples_make(w.ctx, w.g, SAMPLES, 6, 3);
    w.a = NULL;
    take(&w, &before);
    uint64_t *const faults[] = {&e.fail_run, &e.fail_get, &e.fail_set};
    for (int f = 0; f < 3; f++)
        for (uint64_t at = 1;; at++) {
            e.n_runs = e.n_gets = e.n_sets = 0;
            e.code = 77;
            *faults[f] = at;
            qdbg_status status = qdbg_adaround_run(w.sim, &w.s.set, NULL, &w.a);
            *faults[f] = 0;
            if (status == QDBG_OK) {
                assert_ok(qdbg_adaround_undo(w.a));
                qdbg_adaround_destroy(w.a);
                w.a = NULL;
                break;
            }
            assert_int_equal(status, QDBG_E_CALLBACK);
            assert_int_equal(error_of(w.ctx).callback_code, 77);
            take(&w, &after);
            assert_true(same(&before, &after));
        }
    close_world(&w);
    engine_free(&e);
}

/* Under a ceiling that has room for one layer at a time the result is the same. */
static void a_memory_ceiling_is_honoured(void **state)
{
    static snapshot s[2];
    uint64_t peaks[2];
    (void)state;
    for (int tight = 0; tight < 2; tight++) {
        world w;
        qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
        qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
        qdbg_ctx *ctx;
        options.threads = 1;
        options.memory_limit = tight ? peaks[0] * 3 / 4 : 0;
        assert_ok(qdbg_ctx_create(&options, &ctx));
        open_on(&w, ctx, net(ctx), 8, QDBG_PER_CHANNEL);
        o.flags = QDBG_ADAROUND_ONE_PASS;
        run(&w, &o);
        take(&w, &s[tight]);
        assert_ok(qdbg_ctx_memory(ctx, NULL, &peaks[tight]));
        close_world(&w);
    }
    assert_true(same(&s[0], &s[1]));
    assert_true(peaks[1] <= peaks[0] * 3 / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_helps_and_lies_on_the_grid),
        cmocka_unit_test(the_bias_is_where_the_network_has_one),
        cmocka_unit_test(means_are_kept),
        cmocka_unit_test(undo_restores_every_bit),
        cmocka_unit_test(frozen_encodings_outlive_changes),
        cmocka_unit_test(threads_and_batches_do_not_show),
        cmocka_unit_test(host_and_builtin_agree),
        cmocka_unit_test(the_guard_undoes_what_scores_worse),
        cmocka_unit_test(activations_may_take_part),
        cmocka_unit_test(shared_weights_are_left_alone),
        cmocka_unit_test(constant_and_zero_inputs_are_defined),
        cmocka_unit_test(positions_that_are_not_finite_are_left_out),
        cmocka_unit_test(weights_without_range_are_defined),
        cmocka_unit_test(fewer_samples_than_weights_are_enough),
        cmocka_unit_test(only_enabled_weight_quantizers_take_part),
        cmocka_unit_test(sequential_mse_changes_ranges_only),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(cancel_at_every_report_leaves_all_as_it_was),
        cmocka_unit_test(failed_allocations_leave_all_as_it_was),
        cmocka_unit_test(a_failing_host_gets_its_parameters_back),
        cmocka_unit_test(a_memory_ceiling_is_honoured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
