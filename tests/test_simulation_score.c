/* A model with quantizers at work computes what one gets by quantizing by hand, on the built-in
 * executor and on a host alike (simulation.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

#define N 20
enum { X, W1, R, W2, Y, QUANTIZERS };
static const char *const names[] = {"x", "w1", "r", "w2", "y"};

typedef struct world {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    engine e;
    qdbg_model *models[2]; /* built-in, host */
    qdbg_sim *sims[2];
    samples s;
} world;

/* Weights whose output channels reach exactly to 7 * 2^-k: 4-bit scales are powers of two, so that
 * all sums are exact and do not depend on their order. */
static void set_weight(world *w, const char *name, int rows, int columns, uint64_t seed)
{
    float data[24];
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < rows; r++) {
            float end = ldexpf(7, -(c % 3));
            data[r * columns + c] = r == 0 ? end : make_float(&seed, -end, end);
        }
    for (int m = 0; m < 2; m++)
        assert_ok(qdbg_model_set_parameter(w->models[m], value_of(w->g, name), data,
                                           (uint64_t)(rows * columns)));
}

static int begin(void **state)
{
    world *w = calloc(1, sizeof *w);
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    w->ctx = make_ctx(2);
    w->g = net_of_gemms(w->ctx, false);
    w->models[0] = builtin_model(w->g);
    w->models[1] = engine_model(&w->e, w->g);
    set_weight(w, "w1", 4, 6, 3);
    set_weight(w, "w2", 6, 3, 4);
    w->s = samples_make(w->ctx, w->g, N, 6, 3);
    uint64_t seed = 5;
    for (int i = 0; i < N * 4; i++)
        w->s.x[i] = make_float(&seed, -8, 8);
    o.weight_bits = 4;
    for (int m = 0; m < 2; m++) {
        assert_ok(qdbg_sim_create(w->models[m], &o, &w->sims[m]));
        assert_ok(qdbg_sim_set_range(w->sims[m], X, -8, -8 + 255.0f / 16));
        assert_ok(qdbg_sim_set_range(w->sims[m], R, 0, 255.0f / 2));
        assert_ok(qdbg_sim_set_range(w->sims[m], Y, -512, -512 + 255 * 4.0f));
    }
    *state = w;
    return 0;
}

static int end(void **state)
{
    world *w = *state;
    samples_free(&w->s);
    for (int m = 0; m < 2; m++) {
        qdbg_sim_destroy(w->sims[m]);
        qdbg_model_destroy(w->models[m]);
    }
    engine_free(&w->e);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(w->ctx);
    free(w);
    return 0;
}

/* ---- what the library computes ---- */

static int32_t keep_outputs(void *user, void *state, const qdbg_metric_input *in)
{
    float *all = user;
    (void)state;
    memcpy(all + in->first_sample * 3, in->outputs[0].data,
           (size_t)qdbg_view_count(&in->outputs[0]) * sizeof *all);
    return 0;
}

static int32_t no_score(void *user, const void *state, double *score)
{
    (void)user;
    (void)state;
    *score = 0;
    return 0;
}

static void outputs_of(world *w, int m, float *y)
{
    qdbg_metric metric = metric_of(QDBG_METRIC_CUSTOM);
    double score;
    metric.user = y;
    metric.update = keep_outputs;
    metric.result = no_score;
    assert_ok(qdbg_sim_evaluate(w->sims[m], &w->s.set, &metric, &score));
}

/* ---- the same by hand ---- */

static void quantize(world *w, uint32_t i, float *x, size_t n, size_t columns)
{
    qdbg_sim *sim = w->sims[0];
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
    assert_ok(qdbg_sim_quantizer(sim, i, &q));
    if (!q.enabled || q.spec.bits == QDBG_BITS_BYPASS)
        return;
    for (size_t k = 0; k < n; k++) {
        qdbg_encoding e = QDBG_ENCODING_INIT;
        int exponent;
        assert_ok(qdbg_sim_encoding(sim, i, q.n_encodings == 1 ? 0 : (uint32_t)(k % columns), &e));
        assert_true(frexpf(e.scale, &exponent) == 0.5f);
        assert_ok(qdbg_fakequant_f32(w->ctx, &e, q.spec.rounding, &x[k], &x[k], 1));
    }
}

static void layer(world *w, const char *weight, const char *bias, uint32_t quantizer,
                  const float *x, float *y, int in, int out)
{
    float a[24], b[6];
    assert_ok(
        qdbg_model_get_parameter(w->models[0], value_of(w->g, weight), a, (uint64_t)(in * out)));
    assert_ok(qdbg_model_get_parameter(w->models[0], value_of(w->g, bias), b, (uint64_t)out));
    quantize(w, quantizer, a, (size_t)(in * out), (size_t)out);
    for (int o = 0; o < out; o++) {
        y[o] = b[o];
        for (int i = 0; i < in; i++)
            y[o] += x[i] * a[i * out + o];
    }
}

static void outputs_by_hand(world *w, float *y)
{
    for (int s = 0; s < N; s++, y += 3) {
        float x[4], r[6];
        memcpy(x, w->s.x + s * 4, sizeof x);
        quantize(w, X, x, 4, 4);
        layer(w, "w1", "b1", W1, x, r, 4, 6);
        for (int i = 0; i < 6; i++)
            r[i] = r[i] > 0 ? r[i] : 0;
        quantize(w, R, r, 6, 6);
        layer(w, "w2", "b2", W2, r, y, 6, 3);
        quantize(w, Y, y, 3, 3);
    }
}

static void compare(world *w)
{
    float want[N * 3], got[2][N * 3];
    outputs_by_hand(w, want);
    for (int m = 0; m < 2; m++) {
        outputs_of(w, m, got[m]);
        assert_memory_equal(got[m], want, sizeof want);
    }
}

/* Disable those whose bit is not set. x and both weights stay quantized or sums would not be exact;
 * the test without any quantizer is another one. */
static void enable(world *w, unsigned mask)
{
    for (uint32_t i = 0; i < QUANTIZERS; i++)
        for (int m = 0; m < 2; m++)
            assert_ok(qdbg_sim_set_enabled(w->sims[m], i, (mask >> i) & 1));
}

static void set_spec(world *w, uint32_t i, const qdbg_quant_spec *spec)
{
    for (int m = 0; m < 2; m++)
        assert_ok(qdbg_sim_set_spec(w->sims[m], i, spec));
}

static qdbg_quant_spec spec_of(world *w, uint32_t i)
{
    qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
    assert_ok(qdbg_sim_quantizer(w->sims[0], i, &q));
    assert_string_equal(q.name, names[i]);
    return q.spec;
}

static void quantized_model_equals_quantizing_by_hand(void **state)
{
    world *w = *state;
    (void)spec_of(w, X);
    compare(w);
    enable(w, 1u << X | 1u << W1 | 1u << W2 | 1u << R);
    compare(w);
    enable(w, 1u << X | 1u << W1 | 1u << W2 | 1u << Y);
    compare(w);
    enable(w, 1u << X | 1u << W1 | 1u << W2);
    compare(w);
}

static void per_channel_too(void **state)
{
    world *w = *state;
    float per_tensor[N * 3], per_channel[N * 3];
    outputs_by_hand(w, per_tensor);
    for (uint32_t i = W1; i <= W2; i += 2) {
        qdbg_quant_spec spec = spec_of(w, i);
        spec.granularity = QDBG_PER_CHANNEL;
        set_spec(w, i, &spec);
        compare(w);
    }
    outputs_by_hand(w, per_channel);
    assert_memory_not_equal(per_tensor, per_channel, sizeof per_tensor);
}

static void every_rounding_too(void **state)
{
    world *w = *state;
    float first[N * 3], last[N * 3];
    for (int i = 0; i < N * 4; i++) /* plenty of ties */
        w->s.x[i] = ((float)i - 40) / 32;
    outputs_by_hand(w, first);
    for (int32_t rounding = 0; rounding < 3; rounding++) {
        for (uint32_t i = 0; i < QUANTIZERS; i++) {
            qdbg_quant_spec spec = spec_of(w, i);
            spec.rounding = rounding;
            set_spec(w, i, &spec);
        }
        compare(w);
    }
    outputs_by_hand(w, last);
    assert_memory_not_equal(first, last, sizeof first);
}

static void changed_parameters_are_quantized_anew(void **state)
{
    world *w = *state;
    float before[N * 3], after[N * 3];
    outputs_of(w, 0, before);
    set_weight(w, "w1", 4, 6, 99);
    compare(w);
    outputs_of(w, 0, after);
    assert_memory_not_equal(before, after, sizeof before);
}

/* Nothing enabled, or everything bypassed: the float model's bits. */
static void bypassed_model_is_the_float_model(void **state)
{
    world *w = *state;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    for (int m = 0; m < 2; m++) {
        double score = 0;
        assert_ok(qdbg_sim_set_all_enabled(w->sims[m], 0, 0));
        assert_ok(qdbg_sim_evaluate(w->sims[m], &w->s.set, &metric, &score));
        assert_true(score == (double)INFINITY);
        assert_ok(qdbg_sim_set_all_enabled(w->sims[m], 0, 1));
        assert_ok(qdbg_sim_evaluate(w->sims[m], &w->s.set, &metric, &score));
        assert_true(isfinite(score));
        for (uint32_t i = 0; i < QUANTIZERS; i++)
            assert_ok(qdbg_sim_set_bits(w->sims[m], i, QDBG_BITS_BYPASS));
        assert_ok(qdbg_sim_evaluate(w->sims[m], &w->s.set, &metric, &score));
        assert_true(score == (double)INFINITY);
    }
}

static void evaluation_leaves_the_model_alone(void **state)
{
    world *w = *state;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    for (int m = 0; m < 2; m++) {
        float before[24], after[24];
        double score;
        assert_ok(qdbg_model_get_parameter(w->models[m], value_of(w->g, "w1"), before, 24));
        assert_ok(qdbg_sim_evaluate(w->sims[m], &w->s.set, &metric, &score));
        assert_ok(qdbg_model_get_parameter(w->models[m], value_of(w->g, "w1"), after, 24));
        assert_memory_equal(before, after, sizeof before);
    }
}

static void activation_without_encoding_is_named(void **state)
{
    world *w = *state;
    qdbg_metric metric = metric_of(QDBG_METRIC_AGREEMENT);
    double score = -7;
    assert_ok(qdbg_sim_clear_range(w->sims[0], R));
    assert_fails(w->ctx, qdbg_sim_evaluate(w->sims[0], &w->s.set, &metric, &score), QDBG_E_STATE,
                 "'r'");
    assert_string_equal(error_of(w->ctx).value, "r");
    assert_true(score == -7);
    assert_ok(qdbg_sim_set_enabled(w->sims[0], R, 0));
    assert_ok(qdbg_sim_evaluate(w->sims[0], &w->s.set, &metric, &score));
    assert_ok(qdbg_sim_set_enabled(w->sims[0], R, 1));
    assert_ok(qdbg_sim_set_bits(w->sims[0], R, QDBG_BITS_BYPASS)); /* needs none */
    assert_ok(qdbg_sim_evaluate(w->sims[0], &w->s.set, &metric, &score));
}

static void bad_calls_are_refused(void **state)
{
    world *w = *state;
    qdbg_metric metric = metric_of(QDBG_METRIC_AGREEMENT), bad = metric_of(17);
    double score = -7;
    assert_int_equal(qdbg_sim_evaluate(NULL, &w->s.set, &metric, &score), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_sim_evaluate(w->sims[0], NULL, &metric, &score), QDBG_E_INVALID,
                 "dataset");
    assert_fails(w->ctx, qdbg_sim_evaluate(w->sims[0], &w->s.set, NULL, &score), QDBG_E_INVALID,
                 "metric");
    assert_fails(w->ctx, qdbg_sim_evaluate(w->sims[0], &w->s.set, &bad, &score), QDBG_E_INVALID,
                 "17");
    assert_fails(w->ctx, qdbg_sim_evaluate(w->sims[0], &w->s.set, &metric, NULL), QDBG_E_INVALID,
                 "score");
    assert_true(score == -7);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(quantized_model_equals_quantizing_by_hand),
        TEST(per_channel_too),
        TEST(every_rounding_too),
        TEST(changed_parameters_are_quantized_anew),
        TEST(bypassed_model_is_the_float_model),
        TEST(evaluation_leaves_the_model_alone),
        TEST(activation_without_encoding_is_named),
        TEST(bad_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
