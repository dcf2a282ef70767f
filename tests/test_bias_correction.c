/* Bias correction (bias_correction.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "mend_make.h"

/* ---- one linear layer: the mean of its outputs becomes that of float32 ---- */

typedef struct layer_case {
    const char *op;
    int64_t weight[5];
    int64_t group, outs;
    const char *attrs; /* p: pads, s: strides 2, d: dilations 2, a: SAME_UPPER */
    bool image, bias;
} layer_case;

static const layer_case cases[] = {
    {"Conv", {6, 4, 3, 3, -1}, 1, 6, "p", true, true},
    {"Conv", {6, 2, 3, 3, -1}, 2, 6, "ps", true, true},
    {"Conv", {4, 1, 3, 3, -1}, 4, 4, "pd", true, true},
    {"Conv", {4, 1, 3, 2, -1}, 4, 4, "as", true, true},
    {"Conv", {5, 4, 1, 1, -1}, 1, 5, "", true, false},
    {"ConvTranspose", {4, 3, 3, 3, -1}, 2, 6, "ps", true, true},
    {"ConvTranspose", {4, 5, 2, 2, -1}, 1, 5, "", true, true},
    {"Gemm", {8, 5, -1}, 0, 5, "", false, true},
    {"MatMul", {8, 5, -1}, 0, 5, "", false, false},
};
#define N_CASES (sizeof cases / sizeof *cases)

static qdbg_graph *layer_net(qdbg_ctx *ctx, const layer_case *k)
{
    uint64_t seed = 21;
    uint32_t node, in[3];
    qdbg_graph *g = make_graph(ctx, 13);
    in[0] = make_input(g, "x", k->image ? DIMS(1, 4, 7, 7) : DIMS(1, 8));
    in[1] = make_random(g, "w", k->weight, &seed);
    in[2] = make_random(g, "b", DIMS(k->outs), &seed);
    uint32_t y = make_node(g, k->op, "layer", in, k->bias ? 3 : 2, &node);
    if (k->image)
        assert_ok(qdbg_graph_set_int(g, node, "group", k->group));
    if (strchr(k->attrs, 'p'))
        make_ints(g, node, "pads", DIMS(1, 1, 1, 0));
    if (strchr(k->attrs, 's'))
        make_ints(g, node, "strides", DIMS(2, 2));
    if (strchr(k->attrs, 'd'))
        make_ints(g, node, "dilations", DIMS(2, 1));
    if (strchr(k->attrs, 'a'))
        assert_ok(qdbg_graph_set_string(g, node, "auto_pad", "SAME_UPPER"));
    if (!k->bias && k->image)
        y = make_norm(g, "n", y, k->outs, NULL, &seed);
    else if (!k->bias)
        y = make_node(g, "Add", "sum", VALUES(y, in[2]), NULL);
    make_finish(g, y);
    return g;
}

static qdbg_sim *coarse_sim(qdbg_model *m, uint32_t bits)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_sim *sim;
    o.weight_bits = bits;
    o.activation_bits = QDBG_BITS_BYPASS;
    assert_ok(qdbg_sim_create(m, &o, &sim));
    return sim;
}

/* Means of the first output by channel, as a metric sees them. */
typedef struct means {
    double of[64];
    size_t channels;
    double count;
} means;

static int32_t add_means(void *user, void *state, const qdbg_metric_input *in)
{
    means *m = user;
    const qdbg_view *y = &in->outputs[0];
    const float *x = y->data;
    size_t inner = 1, n = (size_t)qdbg_view_count(y);
    (void)state;
    for (uint32_t i = 2; i < y->rank; i++)
        inner *= (size_t)y->dims[i];
    m->channels = (size_t)y->dims[1];
    for (size_t i = 0; i < n; i++)
        m->of[i / inner % m->channels] += (double)x[i];
    m->count += (double)(n / m->channels);
    return 0;
}

static int32_t no_result(void *user, const void *state, double *score)
{
    (void)user;
    (void)state;
    *score = 0;
    return 0;
}

static means means_of(qdbg_model *m, qdbg_sim *sim, const samples *s)
{
    means x = {{0}, 0, 0};
    double score;
    qdbg_metric metric = QDBG_METRIC_INIT;
    metric.update = add_means;
    metric.result = no_result;
    metric.user = &x;
    metric.state_size = 1;
    assert_ok(sim ? qdbg_sim_evaluate(sim, &s->set, &metric, &score)
                  : qdbg_model_evaluate(m, &s->set, &metric, &score));
    for (size_t c = 0; c < x.channels; c++)
        x.of[c] /= x.count;
    return x;
}

static double apart(const means *a, const means *b)
{
    double worst = 0;
    for (size_t c = 0; c < a->channels; c++)
        worst = fmax(worst, fabs(a->of[c] - b->of[c]));
    return worst;
}

static qdbg_bias_row row_of(const qdbg_bias_correction *b, uint32_t i)
{
    qdbg_bias_row row = QDBG_BIAS_ROW_INIT;
    assert_ok(qdbg_bias_correction_get(b, i, &row));
    return row;
}

/* Also at padded borders, with strides, dilations and groups. */
static void mean_of_one_layer_is_exact_in_one_pass(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    (void)state;
    for (size_t k = 0; k < N_CASES; k++) {
        qdbg_bias_correction *b;
        qdbg_graph *g = layer_net(ctx, &cases[k]);
        qdbg_model *m = builtin_model(g);
        samples s = samples_make(ctx, g, 9, 4, 0);
        qdbg_sim *sim = coarse_sim(m, 3);
        saved was = params_save(m);
        means want = means_of(m, NULL, &s), before = means_of(m, sim, &s);
        assert_ok(qdbg_bias_correct(sim, &s.set, NULL, &b));
        means after = means_of(m, sim, &s);
        assert_true(apart(&before, &want) > 1e-3);
        if (apart(&after, &want) > 1e-5)
            fail_msg("case %zu: %g from float32, was %g", k, apart(&after, &want),
                     apart(&before, &want));
        assert_int_equal(qdbg_bias_correction_count(b), 1);
        assert_int_equal(row_of(b, 0).outcome, QDBG_BIAS_DONE);
        assert_true(row_of(b, 0).error_before > 1e-3 && row_of(b, 0).error_after < 1e-6);
        assert_true(row_of(b, 0).change > 0);
        assert_ok(qdbg_bias_correction_undo(b));
        assert_true(params_same(m, &was));
        params_free(&was);
        qdbg_bias_correction_destroy(b);
        qdbg_sim_destroy(sim);
        samples_free(&s);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* ---- several layers ---- */

/* x -> Conv "c" -> n -> Relu -> Conv "d" -> Relu -> Conv "e". */
static qdbg_graph *deep_net(qdbg_ctx *ctx)
{
    uint64_t seed = 6;
    uint32_t node;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 2, 6, 6));
    uint32_t c =
        make_node(g, "Conv", "c", VALUES(x, make_random(g, "c.w", DIMS(4, 2, 3, 3), &seed)), &node);
    make_ints(g, node, "pads", DIMS(1, 1, 1, 1));
    uint32_t n = make_norm(g, "n", c, 4, NULL, &seed), r = make_node(g, "Relu", "r", &n, 1, NULL);
    uint32_t d = make_node(g, "Conv", "d",
                           VALUES(r, make_random(g, "d.w", DIMS(4, 4, 3, 3), &seed),
                                  make_random(g, "d.b", DIMS(4), &seed)),
                           &node);
    make_ints(g, node, "pads", DIMS(1, 1, 1, 1));
    uint32_t q = make_node(g, "Relu", "q", &d, 1, NULL);
    make_finish(g, make_node(g, "Conv", "e",
                             VALUES(q, make_random(g, "e.w", DIMS(3, 4, 1, 1), &seed),
                                    make_random(g, "e.b", DIMS(3), &seed)),
                             NULL));
    return g;
}

/* Layer after layer, the mean is that of float32 in the network as it is corrected. */
static void sequential_correction_is_exact_throughout(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    qdbg_bias_correction *b;
    (void)state;
    qdbg_graph *g = deep_net(ctx);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 9, 4, 0);
    qdbg_sim *sim = coarse_sim(m, 3);
    means want = means_of(m, NULL, &s);
    o.flags = QDBG_BIAS_SEQUENTIAL;
    assert_ok(qdbg_bias_correct(sim, &s.set, &o, &b));
    means after = means_of(m, sim, &s);
    assert_true(apart(&after, &want) < 1e-5);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(row_of(b, i).error_after < 1e-5 && row_of(b, i).outcome == QDBG_BIAS_DONE);
    qdbg_bias_correction_destroy(b);
    qdbg_sim_destroy(sim);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* The same bits for any number of threads and any batch size. */
static void result_is_reproducible(void **state)
{
    float first[3], d[4];
    (void)state;
    for (int i = 0; i < 3; i++) {
        qdbg_ctx *ctx = make_ctx(i == 0 ? 1 : 3);
        qdbg_bias_correction *b;
        qdbg_graph *g = deep_net(ctx);
        qdbg_model *m = builtin_model(g);
        samples s = samples_make(ctx, g, 70, i == 2 ? 70 : 7, 0);
        qdbg_sim *sim = coarse_sim(m, 3);
        float now[3];
        assert_ok(qdbg_bias_correct(sim, &s.set, NULL, &b));
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "e.b"), now, 3));
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "d.b"), d, 4));
        if (i == 0)
            memcpy(first, now, sizeof first);
        assert_memory_equal(first, now, sizeof first);
        qdbg_bias_correction_destroy(b);
        qdbg_sim_destroy(sim);
        samples_free(&s);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
        qdbg_ctx_destroy(ctx);
    }
}

/* ---- analytical ---- */

/* Mean of a clipped normal against a sum over its density. */
static void clipped_mean_is_the_integral(void **state)
{
    static const double rows[][4] = {{0.3, 1, 0, 6}, {-2, 0.5, 0, 6},  {5, 3, 0, 6},  {1, -2, 0, 6},
                                     {0, 1, -1, 1},  {2, 0.1, -3, -1}, {4, 1, 0.5, 3}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double sum = 0, weight = 0, s = fabs(rows[i][1]);
        for (int k = -8000; k <= 8000; k++) {
            double z = k / 1000.0, p = exp(-z * z / 2);
            sum += p * fmin(fmax(rows[i][0] + s * z, rows[i][2]), rows[i][3]);
            weight += p;
        }
        double got = qdbg_clipped_normal_mean(rows[i][0], rows[i][1], rows[i][2], rows[i][3]);
        assert_true(fabs(got - sum / weight) < 1e-6);
    }
    assert_true(qdbg_clipped_normal_mean(2, 0, 0, 1) == 1);
    assert_true(qdbg_clipped_normal_mean(2, 3, -(double)INFINITY, (double)INFINITY) == 2);
}

/* From the normalization's own parameters, and from what folding saw: the same correction of the
 * layer behind. */
static void analytical_correction_needs_no_data(void **state)
{
    float bias[2][4], was[4], w[144];
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int folded = 0; folded < 2; folded++) {
        qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
        qdbg_channel_stats stats = QDBG_CHANNEL_STATS_INIT;
        qdbg_bias_correction *b;
        qdbg_fold *f = NULL;
        qdbg_graph *g = deep_net(ctx);
        qdbg_model *m = builtin_model(g);
        if (folded) {
            assert_ok(qdbg_fold_run(m, NULL, &f));
            assert_ok(qdbg_fold_stats(f, 0, &stats));
            o.stats = &stats;
            o.n_stats = 1;
        }
        qdbg_sim *sim = coarse_sim(m, 3);
        o.kind = QDBG_BIAS_ANALYTICAL;
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "d.b"), was, 4));
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "d.w"), w, 144));
        assert_ok(qdbg_bias_correct(sim, NULL, &o, &b));
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "d.b"), bias[folded], 4));
        assert_int_equal(row_of(b, 0).outcome, QDBG_BIAS_NO_STATS); /* x has none */
        assert_int_equal(row_of(b, 1).outcome, QDBG_BIAS_DONE);
        assert_int_equal(row_of(b, 2).outcome, QDBG_BIAS_NO_STATS); /* no normalization before */
        assert_true(memcmp(was, bias[folded], sizeof was) != 0);
        qdbg_bias_correction_destroy(b);
        qdbg_fold_destroy(f);
        qdbg_sim_destroy(sim);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    for (int o = 0; o < 4; o++)
        assert_true(fabsf(bias[0][o] - bias[1][o]) < 1e-5f);
    qdbg_ctx_destroy(ctx);
}

/* b -= (W_q - W) E[x], E[x] by the formula for the bounds at hand: none, Relu's, one pair for all,
 * a pair for each channel. Some gammas are negative. */
static void analytical_correction_heeds_bounds(void **state)
{
    enum { OPEN, RELU, CLIP, CLIP_BY_CHANNEL };
    static const float lows[4] = {-0.3f, 0, 0.1f, -2}, highs[4] = {0.4f, 0.2f, 6, 0.5f};
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int what = OPEN; what <= CLIP_BY_CHANNEL; what++) {
        uint64_t seed = 77;
        qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
        qdbg_encoding e = QDBG_ENCODING_INIT;
        qdbg_bias_correction *b;
        float gamma[4], beta[4], var[4], was[4], now[4], d[16];
        bool wide = what == CLIP_BY_CHANNEL;
        qdbg_graph *g = make_graph(ctx, 13);
        uint32_t x = make_input(g, "x", DIMS(1, 4, 3, 3));
        uint32_t w = make_random(g, "c.w", DIMS(4, 4, 1, 1), &seed);
        uint32_t y =
            make_norm(g, "n", make_node(g, "Conv", "c", VALUES(x, w), NULL), 4, NULL, &seed);
        uint32_t low = make_param(g, "low", wide ? DIMS(1, 4, 1, 1) : SCALAR, lows);
        uint32_t high = make_param(g, "high", wide ? DIMS(1, 4, 1, 1) : SCALAR, highs);
        if (what == RELU)
            y = make_node(g, "Relu", "r", &y, 1, NULL);
        else if (what != OPEN)
            y = make_node(g, "Clip", "r", VALUES(y, low, high), NULL);
        uint32_t v = make_random(g, "d.w", DIMS(4, 4, 1, 1), &seed);
        make_finish(g, make_node(g, "Conv", "d",
                                 VALUES(y, v, make_random(g, "d.b", DIMS(4), &seed)), NULL));
        qdbg_model *m = builtin_model(g);
        qdbg_sim *sim = coarse_sim(m, 3);
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "n.gamma"), gamma, 4));
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "n.beta"), beta, 4));
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "n.var"), var, 4));
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "d.w"), d, 16));
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "d.b"), was, 4));
        assert_true(gamma[0] < 0 || gamma[1] < 0 || gamma[2] < 0 || gamma[3] < 0);
        o.kind = QDBG_BIAS_ANALYTICAL;
        assert_ok(qdbg_bias_correct(sim, NULL, &o, &b));
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "d.b"), now, 4));
        assert_ok(qdbg_sim_encoding(sim, row_of(b, 1).quantizer, 0, &e));
        for (size_t i = 0; i < 16; i++) {
            double deviation = (double)gamma[i % 4] *
                               sqrt((double)var[i % 4] / ((double)var[i % 4] + MEND_EPSILON));
            size_t at = wide ? i % 4 : 0;
            double lo = what == OPEN ? -(double)INFINITY : what == RELU ? 0 : (double)lows[at];
            double hi = what < CLIP ? (double)INFINITY : (double)highs[at];
            double q = (double)rintf(d[i] / e.scale) * (double)e.scale;
            was[i / 4] -= (float)((q - (double)d[i]) *
                                  qdbg_clipped_normal_mean((double)beta[i % 4], deviation, lo, hi));
        }
        for (size_t k = 0; k < 4; k++)
            if (fabsf(now[k] - was[k]) > 1e-5f)
                fail_msg("bounds %d, channel %zu: %g, not %g", what, k, (double)now[k],
                         (double)was[k]);
        qdbg_bias_correction_destroy(b);
        qdbg_sim_destroy(sim);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* ---- reverting, guard, arguments ---- */

static void wrong_statistics_are_reverted(void **state)
{
    static const float mean[] = {90, -90, 70, 50}, deviation[] = {1, 1, 1, 1};
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    qdbg_channel_stats stats = QDBG_CHANNEL_STATS_INIT;
    qdbg_bias_correction *b;
    (void)state;
    qdbg_graph *g = deep_net(ctx);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 9, 4, 0);
    qdbg_sim *sim = coarse_sim(m, 3);
    saved was = params_save(m);
    stats.value = value_of(g, "n");
    stats.n = 4;
    stats.mean = mean;
    stats.deviation = deviation;
    o.kind = QDBG_BIAS_ANALYTICAL;
    o.stats = &stats;
    o.n_stats = 1;
    assert_ok(qdbg_bias_correct(sim, &s.set, &o, &b));
    assert_int_equal(row_of(b, 0).outcome, QDBG_BIAS_NO_STATS);
    assert_int_equal(row_of(b, 1).outcome, QDBG_BIAS_REVERTED);
    assert_true(params_same(m, &was));
    qdbg_bias_correction_destroy(b);
    o.flags = QDBG_BIAS_NO_REVERT;
    assert_ok(qdbg_bias_correct(sim, &s.set, &o, &b));
    assert_int_equal(row_of(b, 1).outcome, QDBG_BIAS_DONE);
    assert_false(params_same(m, &was));
    qdbg_bias_correction_destroy(b);
    params_free(&was);
    qdbg_sim_destroy(sim);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void guard_tells_scores(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    qdbg_bias_correction *b;
    double before, after;
    (void)state;
    qdbg_graph *g = deep_net(ctx);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 9, 4, 0);
    qdbg_sim *sim = coarse_sim(m, 3);
    saved was = params_save(m);
    o.guard_dataset = &s.set;
    o.guard_metric = &metric;
    qdbg_reference *r;
    assert_ok(qdbg_reference_create(m, &s.set, &r));
    metric.reference = r;
    assert_ok(qdbg_bias_correct(sim, &s.set, &o, &b));
    int32_t undone = qdbg_bias_correction_guard(b, &before, &after);
    assert_int_equal(undone, after < before);
    assert_int_equal(undone, params_same(m, &was));
    qdbg_reference_destroy(r);
    qdbg_bias_correction_destroy(b);
    params_free(&was);
    qdbg_sim_destroy(sim);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void bad_arguments_are_refused(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    qdbg_bias_correction *b = NULL;
    (void)state;
    qdbg_graph *g = deep_net(ctx);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 3, 3, 0);
    qdbg_sim *sim = coarse_sim(m, 3);
    assert_int_equal(qdbg_bias_correct(NULL, &s.set, NULL, &b), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_bias_correct(sim, &s.set, NULL, NULL), QDBG_E_INVALID, "result");
    assert_fails(ctx, qdbg_bias_correct(sim, NULL, NULL, &b), QDBG_E_INVALID, "data");
    o.kind = 2;
    assert_fails(ctx, qdbg_bias_correct(sim, &s.set, &o, &b), QDBG_E_INVALID, "kind");
    o.kind = QDBG_BIAS_ANALYTICAL;
    o.flags = QDBG_BIAS_SEQUENTIAL;
    assert_fails(ctx, qdbg_bias_correct(sim, NULL, &o, &b), QDBG_E_INVALID, "data");
    o.flags = 0;
    o.guard_dataset = &s.set;
    assert_fails(ctx, qdbg_bias_correct(sim, &s.set, &o, &b), QDBG_E_INVALID, "metric");
    qdbg_metric metric = metric_of(QDBG_METRIC_TOP1);
    o.guard_dataset = NULL;
    o.guard_metric = &metric;
    assert_fails(ctx, qdbg_bias_correct(sim, &s.set, &o, &b), QDBG_E_INVALID, "dataset");
    assert_null(b);
    assert_int_equal(qdbg_bias_correction_undo(NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_bias_correction_count(NULL), 0);
    qdbg_bias_correction_destroy(NULL);
    qdbg_sim_destroy(sim);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* A host that fails at any one call has its parameters back. */
static void failed_host_has_its_parameters_back(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int call = 0; call < 3; call++) {
        uint64_t k = 1;
        for (bool done = false; !done; k++) {
            qdbg_bias_correction *b = NULL;
            engine e;
            qdbg_graph *g = net_of_gemms(ctx, false);
            qdbg_model *m = engine_model(&e, g);
            samples s = samples_make(ctx, g, 5, 3, 0);
            qdbg_sim *sim = coarse_sim(m, 3);
            saved was = params_save(m);
            uint64_t *at = call == 0 ? &e.fail_get : call == 1 ? &e.fail_set : &e.fail_run;
            *at = k + (call == 0 ? e.n_gets : call == 1 ? e.n_sets : e.n_runs);
            e.code = 9;
            qdbg_status status = qdbg_bias_correct(sim, &s.set, NULL, &b);
            *at = 0;
            done = status == QDBG_OK;
            assert_true(done || (status == QDBG_E_CALLBACK && !b && params_same(m, &was)));
            params_free(&was);
            qdbg_bias_correction_destroy(b);
            qdbg_sim_destroy(sim);
            samples_free(&s);
            qdbg_model_destroy(m);
            engine_free(&e);
            qdbg_graph_destroy(g);
        }
        assert_true(k > 3);
    }
    qdbg_ctx_destroy(ctx);
}

/* MatMul's channels are the last axis: what is by the second is not a bias of theirs, even where
 * there are as many. */
static void other_axes_take_no_bias(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int with_norm = 0; with_norm < 2; with_norm++) {
        uint64_t seed = 3;
        qdbg_bias_correction *b;
        qdbg_bias_row row = QDBG_BIAS_ROW_INIT;
        qdbg_graph *g = make_graph(ctx, 13);
        uint32_t x = make_input(g, "x", DIMS(1, 3, 4, 5));
        uint32_t w = make_random(g, "w", DIMS(5, 3), &seed);
        uint32_t y = make_node(g, "MatMul", "m", VALUES(x, w), NULL);
        if (with_norm)
            make_finish(g, make_norm(g, "n", y, 3, NULL, &seed));
        else
            make_finish(g, make_node(g, "Add", "a",
                                     VALUES(y, make_random(g, "k", DIMS(3, 1, 1), &seed)), NULL));
        qdbg_model *m = builtin_model(g);
        qdbg_sim *sim = coarse_sim(m, 3);
        samples s = samples_make(ctx, g, 6, 3, 0);
        saved was = params_save(m);
        assert_ok(qdbg_bias_correct(sim, &s.set, NULL, &b));
        assert_ok(qdbg_bias_correction_get(b, 0, &row));
        assert_int_equal(row.outcome, QDBG_BIAS_NO_SITE);
        assert_true(params_same(m, &was));
        params_free(&was);
        qdbg_bias_correction_destroy(b);
        samples_free(&s);
        qdbg_sim_destroy(sim);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_of_one_layer_is_exact_in_one_pass),
        cmocka_unit_test(sequential_correction_is_exact_throughout),
        cmocka_unit_test(result_is_reproducible),
        cmocka_unit_test(clipped_mean_is_the_integral),
        cmocka_unit_test(analytical_correction_needs_no_data),
        cmocka_unit_test(analytical_correction_heeds_bounds),
        cmocka_unit_test(wrong_statistics_are_reverted),
        cmocka_unit_test(guard_tells_scores),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(failed_host_has_its_parameters_back),
        cmocka_unit_test(other_axes_take_no_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
