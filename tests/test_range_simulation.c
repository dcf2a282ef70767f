/* Range methods, granularity and statistics of a simulation's quantizers (simulation.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "range_data.h"
#include "sim/encode.h"
#include "support.h"

typedef struct world {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg_model *m;
    samples s;
    qdbg_sim *sim;
} world;

static void world_make(world *w, uint32_t threads, bool convs, uint64_t batch,
                       const qdbg_sim_options *o)
{
    w->ctx = make_ctx(threads);
    w->g = convs ? net_of_convs(w->ctx) : net_of_gemms(w->ctx, true);
    w->m = builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, 29, batch, 3);
    for (uint64_t i = 0; i < w->s.n * (convs ? 32 : 4); i++)
        w->s.x[i] *= 0.01f * (float)(i % 97) + 0.3f; /* no whole numbers: ranges differ */
    assert_ok(qdbg_sim_create(w->m, o, &w->sim));
}

static void world_free(world *w)
{
    qdbg_sim_destroy(w->sim);
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(w->ctx);
}

static int begin(void **state)
{
    world *w = calloc(1, sizeof *w);
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    o.weight_bits = o.activation_bits = 4;
    o.collect = QDBG_OBSERVE_HISTOGRAM | QDBG_OBSERVE_ROWS | QDBG_OBSERVE_AVERAGE;
    world_make(w, 2, false, 8, &o);
    *state = w;
    return 0;
}

static int end(void **state)
{
    world_free(*state);
    free(*state);
    return 0;
}

static uint32_t find(const qdbg_sim *sim, const char *name)
{
    uint32_t i = qdbg_sim_find_quantizer(sim, name);
    assert_true(i != QDBG_NONE);
    return i;
}

static qdbg_quantizer_info info_of(const qdbg_sim *sim, const char *name)
{
    qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
    assert_ok(qdbg_sim_quantizer(sim, find(sim, name), &info));
    return info;
}

static qdbg_encoding encoding_of(qdbg_sim *sim, const char *name, uint32_t channel)
{
    qdbg_encoding e = QDBG_ENCODING_INIT;
    assert_ok(qdbg_sim_encoding(sim, find(sim, name), channel, &e));
    return e;
}

static float *weight_of(world *w, const char *name, uint64_t *n)
{
    uint32_t v = value_of(w->g, name);
    *n = w->g->values[v].bytes / sizeof(float);
    float *x = malloc(*n * sizeof *x);
    assert_ok(qdbg_model_get_parameter(w->m, v, x, *n));
    return x;
}

/* ---- methods ---- */

static void weights_go_by_their_method(void **state)
{
    world *w = *state;
    uint64_t n;
    float *x = weight_of(w, "w1", &n), min, max;
    qdbg_quant_spec spec = info_of(w->sim, "w1").spec;
    for (int32_t m = 0; m <= QDBG_RANGE_ENTROPY; m++) {
        qdbg_range_options o = method_of(m);
        qdbg_encoding want = QDBG_ENCODING_INIT;
        assert_ok(qdbg_sim_set_range_method(w->sim, QDBG_WEIGHT, &o));
        assert_int_equal(info_of(w->sim, "w1").range.method, m);
        assert_int_equal(info_of(w->sim, "x").range.method, QDBG_RANGE_MIN_MAX);
        assert_ok(qdbg_range_of_values(w->ctx, x, n, &o, &spec, &min, &max));
        assert_ok(qdbg_encoding_from_range(w->ctx, &spec, min, max, &want));
        qdbg_encoding got = encoding_of(w->sim, "w1", 0);
        assert_memory_equal(&got, &want, sizeof got);
    }
    /* New elements, new ranges. */
    qdbg_range_options o = method_of(QDBG_RANGE_MSE);
    assert_ok(qdbg_sim_set_range_method(w->sim, QDBG_WEIGHT, &o));
    x[3] *= 100;
    assert_ok(qdbg_model_set_parameter(w->m, value_of(w->g, "w1"), x, n));
    assert_ok(qdbg_range_of_values(w->ctx, x, n, &o, &spec, &min, &max));
    assert_true(fabsf(encoding_of(w->sim, "w1", 0).max - max) < 1e-4f * max);
    free(x);
}

static void methods_are_compared_after_one_calibration(void **state)
{
    world *w = *state;
    float ends[7];
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    for (int32_t m = 0; m <= QDBG_RANGE_MOVING_AVERAGE; m++) {
        qdbg_range_options o = method_of(m);
        o.percentile = 90;
        assert_ok(qdbg_sim_set_quantizer_range_method(w->sim, find(w->sim, "y"), &o));
        ends[m] = encoding_of(w->sim, "y", 0).max;
        assert_int_equal(info_of(w->sim, "r").range.method, QDBG_RANGE_MIN_MAX);
    }
    assert_true(ends[QDBG_RANGE_PERCENTILE] < ends[QDBG_RANGE_MIN_MAX]);
    assert_true(ends[QDBG_RANGE_MSE] < ends[QDBG_RANGE_MIN_MAX]);
    assert_true(ends[QDBG_RANGE_SQNR] >= ends[QDBG_RANGE_MSE]);
    assert_true(ends[QDBG_RANGE_MOVING_AVERAGE] <= ends[QDBG_RANGE_MIN_MAX]);
    double score;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    assert_ok(qdbg_sim_evaluate(w->sim, &w->s.set, &metric, &score));
}

static void uncollected_needs_a_calibration(void **state)
{
    (void)state;
    world w;
    world_make(&w, 1, false, 8, NULL);
    qdbg_range_options o = method_of(QDBG_RANGE_MSE);
    qdbg_encoding e = QDBG_ENCODING_INIT;
    static uint64_t counts[QDBG_HISTOGRAM_BINS];
    qdbg_histogram h = QDBG_HISTOGRAM_INIT;
    assert_ok(qdbg_sim_calibrate(w.sim, &w.s.set));
    assert_fails(w.ctx, qdbg_sim_histogram(w.sim, 0, 0, &h, counts), QDBG_E_STATE, "'x'");
    assert_ok(qdbg_sim_set_range_method(w.sim, 0, &o));
    assert_fails(w.ctx, qdbg_sim_encoding(w.sim, find(w.sim, "y"), 0, &e), QDBG_E_STATE, "'y'");
    assert_ok(qdbg_sim_calibrate(w.sim, &w.s.set));
    assert_ok(qdbg_sim_encoding(w.sim, find(w.sim, "y"), 0, &e));
    assert_ok(qdbg_sim_histogram(w.sim, 0, 0, &h, counts));
    assert_true(h.n_bins > 0);
    assert_ok(qdbg_sim_set_range_method(w.sim, 0, NULL)); /* back to min-max */
    assert_int_equal(info_of(w.sim, "y").n_encodings, 1);
    world_free(&w);
}

static void refused_methods_change_nothing(void **state)
{
    world *w = *state;
    qdbg_encoding before[5];
    static const int32_t for_activations[] = {QDBG_RANGE_CROSS_ENTROPY, QDBG_RANGE_MOVING_AVERAGE,
                                              QDBG_RANGE_BATCH_NORM};
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    for (uint32_t i = 0; i < 5; i++) {
        before[i] = (qdbg_encoding)QDBG_ENCODING_INIT;
        assert_ok(qdbg_sim_encoding(w->sim, i, 0, &before[i]));
    }
    for (int m = 0; m < 3; m++) {
        qdbg_range_options o = method_of(for_activations[m]);
        assert_fails(w->ctx, qdbg_sim_set_range_method(w->sim, 0, &o), QDBG_E_UNSUPPORTED, "'w1'");
        assert_fails(w->ctx, qdbg_sim_set_range_method(w->sim, QDBG_WEIGHT, &o), QDBG_E_UNSUPPORTED,
                     "'w1'");
    }
    qdbg_range_options bad = method_of(77), good = method_of(QDBG_RANGE_MSE);
    assert_fails(w->ctx, qdbg_sim_set_range_method(w->sim, 0, &bad), QDBG_E_INVALID, "method");
    assert_fails(w->ctx, qdbg_sim_set_range_method(w->sim, 9, &good), QDBG_E_INVALID, "kind");
    assert_int_equal(qdbg_sim_set_range_method(NULL, 0, &good), QDBG_E_INVALID);
    assert_int_equal(qdbg_sim_set_quantizer_range_method(NULL, 0, &good), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_sim_set_quantizer_range_method(w->sim, 5, &good), QDBG_E_NOT_FOUND,
                 "5");
    for (uint32_t i = 0; i < 5; i++) {
        qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
        qdbg_encoding after = QDBG_ENCODING_INIT;
        assert_ok(qdbg_sim_encoding(w->sim, i, 0, &after));
        assert_memory_equal(&after, &before[i], sizeof after);
        assert_ok(qdbg_sim_quantizer(w->sim, i, &info));
        assert_int_equal(info.range.method, QDBG_RANGE_MIN_MAX);
    }
}

static void bad_range_options_are_refused(void **state)
{
    world *w = *state;
    qdbg_sim *sim = NULL;
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_range_options range = method_of(99);
    o.weight_range = &range;
    assert_fails(w->ctx, qdbg_sim_create(w->m, &o, &sim), QDBG_E_INVALID, "weights");
    o = (qdbg_sim_options)QDBG_SIM_OPTIONS_INIT;
    range.method = QDBG_RANGE_BATCH_NORM;
    o.weight_range = &range;
    assert_fails(w->ctx, qdbg_sim_create(w->m, &o, &sim), QDBG_E_UNSUPPORTED, "'w1'");
    o = (qdbg_sim_options)QDBG_SIM_OPTIONS_INIT;
    range.struct_size = 0;
    o.activation_range = &range;
    assert_fails(w->ctx, qdbg_sim_create(w->m, &o, &sim), QDBG_E_INVALID, "activations");
    o = (qdbg_sim_options)QDBG_SIM_OPTIONS_INIT;
    o.collect = 1u << 20;
    assert_fails(w->ctx, qdbg_sim_create(w->m, &o, &sim), QDBG_E_INVALID, "collect");
    assert_null(sim);
}

/* ---- order, batches, threads ---- */

#define MOST_ENCODINGS 64

static size_t all_encodings(uint32_t threads, uint64_t batch, int32_t method, bool per_channel,
                            qdbg_encoding *out)
{
    world w;
    size_t n = 0;
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    o.weight_granularity = per_channel;
    qdbg_range_options activations = method_of(method), weights = activations;
    if (method == QDBG_RANGE_CROSS_ENTROPY)
        weights.method = QDBG_RANGE_MSE;
    o.activation_range = &activations;
    o.weight_range = &weights;
    world_make(&w, threads, true, batch, &o);
    if (per_channel) {
        qdbg_quant_spec spec = info_of(w.sim, "r").spec;
        spec.granularity = QDBG_PER_CHANNEL;
        spec.axis = 1;
        assert_ok(qdbg_sim_set_spec(w.sim, find(w.sim, "r"), &spec));
    }
    assert_ok(qdbg_sim_calibrate(w.sim, &w.s.set));
    for (uint32_t i = 0; i < qdbg_sim_quantizer_count(w.sim); i++) {
        qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
        assert_ok(qdbg_sim_quantizer(w.sim, i, &info));
        assert_true(info.n_encodings > 0 && n + info.n_encodings <= MOST_ENCODINGS);
        for (uint32_t c = 0; c < info.n_encodings; c++, n++) {
            out[n] = (qdbg_encoding)QDBG_ENCODING_INIT;
            assert_ok(qdbg_sim_encoding(w.sim, i, c, &out[n]));
        }
    }
    world_free(&w);
    return n;
}

static void ranges_do_not_depend_on_batches_and_threads(void **state)
{
    static const uint64_t batches[] = {1, 4, 29};
    qdbg_encoding want[MOST_ENCODINGS], got[MOST_ENCODINGS];
    (void)state;
    for (int32_t method = 0; method <= QDBG_RANGE_CROSS_ENTROPY; method++)
        for (int per_channel = 0; per_channel < 2; per_channel++) {
            if (per_channel && method == QDBG_RANGE_CROSS_ENTROPY)
                continue;
            size_t n = all_encodings(1, 29, method, per_channel, want);
            for (uint32_t threads = 1; threads <= 4; threads++)
                for (int b = 0; b < 3; b++) {
                    assert_int_equal(all_encodings(threads, batches[b], method, per_channel, got),
                                     n);
                    assert_memory_equal(got, want, n * sizeof *got);
                }
        }
}

/* Within a batch the threads do not matter either. */
static void moving_average_depends_on_batches_alone(void **state)
{
    qdbg_encoding want[MOST_ENCODINGS], got[MOST_ENCODINGS];
    (void)state;
    for (uint64_t batch = 4; batch <= 8; batch += 4) {
        world w[2];
        for (uint32_t t = 0; t < 2; t++) {
            qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
            qdbg_range_options average = method_of(QDBG_RANGE_MOVING_AVERAGE);
            o.activation_range = &average;
            world_make(&w[t], 1 + 2 * t, true, batch, &o);
            assert_ok(qdbg_sim_calibrate(w[t].sim, &w[t].s.set));
            for (uint32_t i = 0; i < qdbg_sim_quantizer_count(w[t].sim); i++) {
                qdbg_encoding *e = t ? &got[i] : &want[i];
                *e = (qdbg_encoding)QDBG_ENCODING_INIT;
                assert_ok(qdbg_sim_encoding(w[t].sim, i, 0, e));
            }
        }
        assert_memory_equal(got, want, qdbg_sim_quantizer_count(w[0].sim) * sizeof *got);
        world_free(&w[0]);
        world_free(&w[1]);
    }
}

/* ---- granularity ---- */

/* w1 [4,6] in blocks of 3 rows: [ceil(4 / 3)][6] grids. */
static void blocks_have_grids_of_their_own(void **state)
{
    world *w = *state;
    uint64_t n;
    float *x = weight_of(w, "w1", &n);
    uint32_t i = find(w->sim, "w1");
    qdbg_quant_spec spec = info_of(w->sim, "w1").spec;
    const float *y;
    spec.granularity = QDBG_PER_BLOCK;
    spec.axis = 0;
    spec.block_size = 3;
    for (uint32_t scale_bits = 0; scale_bits <= 4; scale_bits += 4) {
        spec.block_scale_bits = scale_bits;
        assert_ok(qdbg_sim_set_spec(w->sim, i, &spec));
        assert_int_equal(info_of(w->sim, "w1").n_encodings, 12);
        assert_ok(qdbg__sim_quantized_weight(w->sim, i, &y));
        for (uint32_t b = 0; b < 2; b++)
            for (uint32_t c = 0; c < 6; c++) {
                qdbg_encoding e = encoding_of(w->sim, "w1", b * 6 + c);
                float end = 0, one;
                for (uint32_t r = 3 * b; r < 4 && r < 3 * b + 3; r++) {
                    end = fmaxf(end, fabsf(x[r * 6 + c]));
                    assert_ok(qdbg_fakequant_f32(w->ctx, &e, 0, &x[r * 6 + c], &one, 1));
                    assert_true(y[r * 6 + c] == one);
                }
                if (scale_bits == 0)
                    assert_true(e.block_scale == 0 &&
                                fabsf(e.scale - fmaxf(end / 7, FLT_MIN)) <= 1e-6f * end);
                else
                    assert_true(e.block_scale >= 1 && e.block_scale <= 16);
                if (scale_bits > 0) { /* both blocks of a channel share a scale */
                    qdbg_encoding other = encoding_of(w->sim, "w1", (1 - b) * 6 + c);
                    float unit = e.scale / (float)e.block_scale;
                    assert_true(fabsf(other.scale / (float)other.block_scale - unit) <
                                1e-6f * unit);
                    assert_true(e.block_scale == 16 || other.block_scale == 16);
                }
            }
    }
    double score;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    assert_ok(qdbg_sim_evaluate(w->sim, &w->s.set, &metric, &score));
    qdbg_range_options mse = method_of(QDBG_RANGE_MSE);
    assert_ok(qdbg_sim_set_range_method(w->sim, QDBG_WEIGHT, &mse));
    assert_ok(qdbg_sim_evaluate(w->sim, &w->s.set, &metric, &score));
    assert_ok(qdbg_sim_set_range(w->sim, i, -1, 1)); /* all blocks at once */
    assert_true(encoding_of(w->sim, "w1", 11).max == encoding_of(w->sim, "w1", 0).max);
    free(x);
}

static void bad_blocks_are_refused(void **state)
{
    world *w = *state;
    uint32_t w1 = find(w->sim, "w1"), x = find(w->sim, "x");
    qdbg_quant_spec good = info_of(w->sim, "w1").spec, spec = good;
    spec.granularity = QDBG_PER_BLOCK;
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, w1, &spec), QDBG_E_INVALID, "block_size");
    spec.block_size = 2;
    spec.block_scale_bits = 16;
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, w1, &spec), QDBG_E_INVALID, "block_scale_bits");
    spec.block_scale_bits = 4;
    spec.symmetry = QDBG_ASYMMETRIC;
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, w1, &spec), QDBG_E_INVALID, "symmetric");
    spec.block_scale_bits = 0;
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, x, &spec), QDBG_E_UNSUPPORTED, "'x'");
    spec.flags = 2;
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, w1, &spec), QDBG_E_INVALID, "flags");
}

/* r [N,6] per channel: each of its six numbers has a range. */
static void activations_are_quantized_per_channel(void **state)
{
    world *w = *state;
    uint32_t r = find(w->sim, "r");
    qdbg_quant_spec spec = info_of(w->sim, "r").spec;
    double score;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    spec.granularity = QDBG_PER_CHANNEL;
    spec.axis = -1;
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    assert_ok(qdbg_sim_set_spec(w->sim, r, &spec)); /* what was collected does not fit any more */
    assert_fails(w->ctx, qdbg_sim_evaluate(w->sim, &w->s.set, &metric, &score), QDBG_E_STATE,
                 "'r'");
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    assert_int_equal(info_of(w->sim, "r").n_encodings, 6);
    float total = 0;
    for (uint32_t c = 0; c < 6; c++) {
        qdbg_statistics s = QDBG_STATISTICS_INIT;
        assert_ok(qdbg_sim_statistics(w->sim, r, c, &s));
        assert_int_equal(s.n, w->s.n);
        assert_int_equal(s.n_channels, 6);
        qdbg_encoding e = encoding_of(w->sim, "r", c);
        assert_true(fabsf(e.max - s.max) < 1e-4f * s.max + 1e-30f);
        total = fmaxf(total, s.max);
    }
    assert_true(total == info_of(w->sim, "r").observed_max);
    assert_ok(qdbg_sim_evaluate(w->sim, &w->s.set, &metric, &score));
    qdbg_range_options ce = method_of(QDBG_RANGE_CROSS_ENTROPY);
    assert_fails(w->ctx, qdbg_sim_set_quantizer_range_method(w->sim, r, &ce), QDBG_E_UNSUPPORTED,
                 "whole tensors");
    spec.granularity = QDBG_PER_TENSOR;
    assert_ok(qdbg_sim_set_spec(w->sim, r, &spec));
    assert_int_equal(info_of(w->sim, "r").n_encodings, 0);
}

/* ---- statistics ---- */

static void statistics_of_weights_and_activations(void **state)
{
    world *w = *state;
    uint64_t n;
    float *x = weight_of(w, "w1", &n);
    double sum = 0;
    qdbg_statistics s = QDBG_STATISTICS_INIT;
    uint32_t w1 = find(w->sim, "w1");
    static uint64_t counts[QDBG_HISTOGRAM_BINS];
    qdbg_histogram h = QDBG_HISTOGRAM_INIT;
    for (uint64_t i = 0; i < n; i++)
        sum += (double)x[i];
    assert_ok(qdbg_sim_statistics(w->sim, w1, 0, &s));
    assert_true(s.n == n && s.n_channels == 1 && fabs(s.mean - sum / (double)n) < 1e-12);
    assert_fails(w->ctx, qdbg_sim_statistics(w->sim, w1, 1, &s), QDBG_E_NOT_FOUND, "'w1'");
    assert_ok(qdbg_sim_histogram(w->sim, w1, 0, &h, counts));
    uint64_t all = 0;
    for (uint32_t i = 0; i < h.n_bins; i++)
        all += counts[i];
    assert_int_equal(all, n);
    qdbg_quant_spec spec = info_of(w->sim, "w1").spec;
    spec.granularity = QDBG_PER_CHANNEL;
    spec.axis = 1;
    assert_ok(qdbg_sim_set_spec(w->sim, w1, &spec));
    assert_ok(qdbg_sim_statistics(w->sim, w1, 5, &s));
    assert_true(s.n == 4 && s.n_channels == 6);
    assert_fails(w->ctx, qdbg_sim_statistics(w->sim, 0, 0, &s), QDBG_E_STATE, "'x'");
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    assert_ok(qdbg_sim_statistics(w->sim, 0, 0, &s));
    assert_int_equal(s.n, w->s.n * 4);
    assert_fails(w->ctx, qdbg_sim_statistics(w->sim, 5, 0, &s), QDBG_E_NOT_FOUND, "5");
    assert_int_equal(qdbg_sim_statistics(NULL, 0, 0, &s), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_sim_statistics(w->sim, 0, 0, NULL), QDBG_E_INVALID, "struct_size");
    assert_int_equal(qdbg_sim_histogram(NULL, 0, 0, &h, counts), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_sim_histogram(w->sim, 0, 0, &h, NULL), QDBG_E_INVALID, "counts");
    free(x);
}

static void empty_dataset_is_told(void **state)
{
    world *w = *state;
    qdbg_dataset empty = w->s.set;
    empty.n_batches = 0;
    assert_fails(w->ctx, qdbg_sim_calibrate(w->sim, &empty), QDBG_E_INVALID, "empty");
}

/* ---- batch-norm ---- */

/* "n" is BatchNormalization, "r" the Relu behind it. */
static void batch_norm_gives_ranges_without_data(void **state)
{
    world w;
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_range_options again = method_of(QDBG_RANGE_BATCH_NORM);
    (void)state;
    again.sigmas = 4;
    o.activation_range = &again;
    world_make(&w, 1, true, 8, &o);
    const qdbg__value *r = &w.g->values[value_of(w.g, "r")], *n = NULL;
    n = &w.g->values[w.g->nodes[r->producer].in[0]];
    const qdbg__node *bn = &w.g->nodes[n->producer];
    const float *gamma = w.g->values[bn->in[1]].data, *beta = w.g->values[bn->in[2]].data;
    float want = 0;
    for (size_t c = 0; c < w.g->values[bn->in[1]].bytes / sizeof(float); c++)
        want = fmaxf(want, beta[c] + 4 * fabsf(gamma[c]));
    assert_true(want > 0);
    qdbg_encoding e = encoding_of(w.sim, "r", 0); /* not calibrated */
    assert_true(e.min == 0 && fabsf(e.max - want) < 1e-5f * want);
    assert_int_equal(info_of(w.sim, "x").n_encodings, 0);
    assert_ok(qdbg_sim_calibrate(w.sim, &w.s.set)); /* the rest: minimum and maximum */
    assert_int_equal(info_of(w.sim, "x").n_encodings, 1);
    assert_true(encoding_of(w.sim, "r", 0).max == e.max);
    assert_ok(qdbg_fold_batch_norms(w.m, NULL)); /* what was folded is remembered */
    assert_ok(qdbg_sim_set_range_method(w.sim, QDBG_ACTIVATION, &again));
    assert_true(encoding_of(w.sim, "r", 0).max == e.max);
    world_free(&w);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(weights_go_by_their_method),
        TEST(methods_are_compared_after_one_calibration),
        cmocka_unit_test(uncollected_needs_a_calibration),
        TEST(refused_methods_change_nothing),
        TEST(bad_range_options_are_refused),
        cmocka_unit_test(ranges_do_not_depend_on_batches_and_threads),
        cmocka_unit_test(moving_average_depends_on_batches_alone),
        TEST(blocks_have_grids_of_their_own),
        TEST(bad_blocks_are_refused),
        TEST(activations_are_quantized_per_channel),
        TEST(statistics_of_weights_and_activations),
        TEST(empty_dataset_is_told),
        cmocka_unit_test(batch_norm_gives_ranges_without_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
