/* Observers (range.h): what they collect does not depend on order, cuts, merges and threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "range_data.h"
#include "support.h"
#include "graph_make.h"

#define EVERYTHING \
    (QDBG_OBSERVE_MOMENTS | QDBG_OBSERVE_HISTOGRAM | QDBG_OBSERVE_ROWS | QDBG_OBSERVE_AVERAGE)
#define N 6000
#define ROW 10

static qdbg_ctx *ctx;

static int group_begin(void **state)
{
    (void)state;
    ctx = make_ctx(1);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    qdbg_ctx_destroy(ctx);
    return 0;
}

static qdbg_observer *observer_of(uint32_t collect, uint32_t channels)
{
    qdbg_observer_options o = QDBG_OBSERVER_OPTIONS_INIT;
    qdbg_observer *observer;
    o.collect = collect;
    o.n_channels = channels;
    assert_ok(qdbg_observer_create(ctx, &o, &observer));
    return observer;
}

/* All that can be read of an observer. */
typedef struct reading {
    qdbg_statistics statistics;
    qdbg_histogram histogram;
    uint64_t counts[QDBG_HISTOGRAM_BINS];
    float ranges[6][2];
} reading;

static void read_all(qdbg_observer *observer, uint32_t channel, reading *r)
{
    memset(r, 0, sizeof *r);
    r->statistics = (qdbg_statistics)QDBG_STATISTICS_INIT;
    r->histogram = (qdbg_histogram)QDBG_HISTOGRAM_INIT;
    assert_ok(qdbg_observer_statistics(observer, channel, &r->statistics));
    assert_ok(qdbg_observer_histogram(observer, channel, &r->histogram, r->counts));
    qdbg_quant_spec spec = spec_of(5, QDBG_ASYMMETRIC);
    for (int32_t m = 0; m < 6; m++) {
        qdbg_range_options o = method_of(m);
        assert_ok(
            qdbg_observer_range(observer, channel, &o, &spec, &r->ranges[m][0], &r->ranges[m][1]));
    }
}

/* Data with outliers, so that the histogram grows on the way. */
static void fill(float *x)
{
    fill_shape(CUBED, x, N);
    x[N / 3] = 4e4f;
    x[17] = NAN;
    x[2222] = -INFINITY;
}

static void shuffle_rows(float *x, uint64_t seed)
{
    for (size_t i = N / ROW; i-- > 1;) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t k = (size_t)(seed >> 33) % (i + 1);
        for (size_t j = 0; j < ROW; j++) {
            float t = x[i * ROW + j];
            x[i * ROW + j] = x[k * ROW + j];
            x[k * ROW + j] = t;
        }
    }
}

/* Shuffled, split among three observers in pieces of a size, merged in either order. */
static void observe_in_pieces(const float *x, size_t rows, bool backwards, reading *r)
{
    qdbg_observer *part[3];
    for (int i = 0; i < 3; i++)
        part[i] = observer_of(EVERYTHING, 1);
    for (size_t at = 0, i = 0; at < N / ROW; at += rows, i++) {
        size_t n = N / ROW - at < rows ? N / ROW - at : rows;
        assert_ok(qdbg_observer_observe(part[i % 3], x + at * ROW, n, ROW));
    }
    int into = backwards ? 2 : 0;
    for (int i = 1; i < 3; i++)
        assert_ok(qdbg_observer_merge(part[into], part[backwards ? 2 - i : i]));
    read_all(part[into], 0, r);
    for (int i = 0; i < 3; i++)
        qdbg_observer_destroy(part[i]);
}

static void order_cuts_and_merges_do_not_matter(void **state)
{
    static const size_t pieces[] = {1, 7, 100, N};
    static reading want, got;
    float *x = malloc(N * sizeof *x);
    (void)state;
    fill(x);
    observe_in_pieces(x, N, false, &want);
    assert_int_equal(want.statistics.n, N);
    assert_int_equal(want.statistics.n_nan, 1);
    assert_int_equal(want.statistics.n_inf, 1);
    for (uint64_t k = 0; k < 4; k++) {
        shuffle_rows(x, k + 1);
        for (int backwards = 0; backwards < 2; backwards++) {
            observe_in_pieces(x, pieces[k], backwards, &got);
            assert_memory_equal(&got, &want, sizeof got);
        }
    }
    free(x);
}

static void channels_are_observed_each_on_its_own(void **state)
{
    enum { OUTER = 6, CHANNELS = 5, INNER = 7 };
    float x[OUTER * CHANNELS * INNER], one[OUTER * INNER];
    static reading want, got;
    (void)state;
    fill_shape(LAPLACE, x, OUTER * CHANNELS * INNER);
    qdbg_observer *all = observer_of(EVERYTHING & ~QDBG_OBSERVE_ROWS, CHANNELS);
    assert_ok(qdbg_observer_observe(all, x, OUTER, INNER));
    for (uint32_t c = 0; c < CHANNELS; c++) {
        qdbg_observer *single = observer_of(EVERYTHING & ~QDBG_OBSERVE_ROWS, 1);
        for (size_t o = 0; o < OUTER; o++)
            memcpy(one + o * INNER, x + (o * CHANNELS + c) * INNER, INNER * sizeof *x);
        assert_ok(qdbg_observer_observe(single, one, 1, OUTER * INNER));
        qdbg_statistics a = QDBG_STATISTICS_INIT, b = a;
        assert_ok(qdbg_observer_statistics(all, c, &a));
        assert_ok(qdbg_observer_statistics(single, 0, &b));
        assert_int_equal(a.n_channels, CHANNELS);
        a.n_channels = 1;
        assert_memory_equal(&a, &b, sizeof a);
        memset(&want, 0, sizeof want);
        memset(&got, 0, sizeof got);
        want.histogram = got.histogram = (qdbg_histogram)QDBG_HISTOGRAM_INIT;
        assert_ok(qdbg_observer_histogram(all, c, &got.histogram, got.counts));
        assert_ok(qdbg_observer_histogram(single, 0, &want.histogram, want.counts));
        assert_memory_equal(&got, &want, sizeof got);
        qdbg_observer_destroy(single);
    }
    qdbg_observer_destroy(all);
}

static void statistics_are_right(void **state)
{
    static const float x[] = {1, 2, 4, -3, NAN, INFINITY, -INFINITY, 0};
    qdbg_observer *o = observer_of(QDBG_OBSERVE_MOMENTS, 1), *bare = observer_of(0, 1);
    qdbg_statistics s = QDBG_STATISTICS_INIT;
    (void)state;
    assert_ok(qdbg_observer_statistics(o, 0, &s)); /* of nothing */
    assert_true(s.n == 0 && s.min > s.max && isnan(s.mean) && isnan(s.variance));
    assert_ok(qdbg_observer_observe(o, x, 1, 8));
    assert_ok(qdbg_observer_statistics(o, 0, &s));
    assert_true(s.n == 8 && s.n_nan == 1 && s.n_inf == 2 && s.min == -3 && s.max == 4);
    assert_true(fabs(s.mean - 0.8) < 1e-12 && fabs(s.variance - (6 - 0.64)) < 1e-12);
    assert_ok(qdbg_observer_observe(bare, x, 1, 8));
    assert_ok(qdbg_observer_statistics(bare, 0, &s));
    assert_true(s.n == 8 && isnan(s.mean));
    qdbg_observer_destroy(bare);
    qdbg_observer_destroy(o);
}

/* ---- calls that are refused ---- */

static void bad_observers_are_refused(void **state)
{
    qdbg_observer_options o = QDBG_OBSERVER_OPTIONS_INIT;
    qdbg_observer *out = NULL;
    (void)state;
    assert_int_equal(qdbg_observer_create(NULL, &o, &out), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_observer_create(ctx, &o, NULL), QDBG_E_INVALID, "out");
    o.collect = 16;
    assert_fails(ctx, qdbg_observer_create(ctx, &o, &out), QDBG_E_INVALID, "collect");
    o = (qdbg_observer_options)QDBG_OBSERVER_OPTIONS_INIT;
    o.struct_size = 4;
    assert_fails(ctx, qdbg_observer_create(ctx, &o, &out), QDBG_E_INVALID, "struct_size");
    o = (qdbg_observer_options)QDBG_OBSERVER_OPTIONS_INIT;
    o.momentum = NAN;
    assert_fails(ctx, qdbg_observer_create(ctx, &o, &out), QDBG_E_INVALID, "momentum");
    assert_null(out);
    qdbg_observer_destroy(NULL);
    assert_ok(qdbg_observer_create(ctx, NULL, &out));
    qdbg_observer_destroy(out);
}

static void bad_observations_are_refused(void **state)
{
    qdbg_observer *o = observer_of(EVERYTHING, 1), *other = observer_of(0, 1);
    qdbg_statistics s = QDBG_STATISTICS_INIT;
    qdbg_histogram h = QDBG_HISTOGRAM_INIT;
    static uint64_t counts[QDBG_HISTOGRAM_BINS];
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    (void)state;
    assert_int_equal(qdbg_observer_observe(NULL, x, 1, 1), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_observer_observe(o, NULL, 1, 1), QDBG_E_INVALID, "NULL");
    assert_fails(ctx, qdbg_observer_observe(o, x, UINT64_MAX, 2), QDBG_E_INVALID, "elements");
    assert_ok(qdbg_observer_observe(o, NULL, 0, 5));
    assert_ok(qdbg_observer_observe(o, x, 2, 4));
    assert_fails(ctx, qdbg_observer_observe(o, x, 1, 3), QDBG_E_SHAPE, "rows");
    assert_int_equal(qdbg_observer_end_batch(NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_observer_merge(NULL, o), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_observer_merge(o, NULL), QDBG_E_INVALID, "NULL");
    assert_fails(ctx, qdbg_observer_merge(o, o), QDBG_E_INVALID, "itself");
    assert_fails(ctx, qdbg_observer_merge(o, other), QDBG_E_INVALID, "options");
    qdbg_observer_destroy(other);
    other = observer_of(EVERYTHING, 1);
    assert_ok(qdbg_observer_merge(o, other)); /* nothing seen yet */
    assert_ok(qdbg_observer_observe(other, x, 1, 3));
    assert_fails(ctx, qdbg_observer_merge(o, other), QDBG_E_SHAPE, "rows");
    assert_ok(qdbg_observer_end_batch(o));
    assert_fails(ctx, qdbg_observer_merge(other, o), QDBG_E_INVALID, "moving averages");
    assert_int_equal(qdbg_observer_statistics(NULL, 0, &s), QDBG_E_INVALID);
    assert_int_equal(qdbg_observer_statistics(o, 0, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_observer_statistics(o, 1, &s), QDBG_E_NOT_FOUND);
    assert_int_equal(qdbg_observer_histogram(o, 1, &h, counts), QDBG_E_NOT_FOUND);
    assert_int_equal(qdbg_observer_histogram(o, 0, &h, NULL), QDBG_E_INVALID);
    qdbg_observer_destroy(other);
    other = observer_of(0, 1);
    assert_int_equal(qdbg_observer_histogram(other, 0, &h, counts), QDBG_E_STATE);
    qdbg_observer_destroy(other);
    qdbg_observer_destroy(o);
}

static void ranges_need_what_the_method_needs(void **state)
{
    static const float nothing[] = {NAN, INFINITY};
    qdbg_observer *o = observer_of(0, 1);
    qdbg_quant_spec spec = spec_of(8, QDBG_ASYMMETRIC);
    float min = 7, max = 8;
    (void)state;
    qdbg_range_options r = method_of(QDBG_RANGE_MIN_MAX);
    assert_fails(ctx, qdbg_observer_range(o, 0, &r, &spec, &min, &max), QDBG_E_STATE, "nothing");
    assert_ok(qdbg_observer_observe(o, nothing, 1, 2));
    assert_fails(ctx, qdbg_observer_range(o, 0, &r, &spec, &min, &max), QDBG_E_NUMERIC, "NaN");
    assert_fails(ctx, qdbg_observer_range(o, 1, &r, &spec, &min, &max), QDBG_E_NOT_FOUND, "1");
    r.method = QDBG_RANGE_MSE;
    assert_fails(ctx, qdbg_observer_range(o, 0, &r, &spec, &min, &max), QDBG_E_STATE,
                 "QDBG_OBSERVE_HISTOGRAM");
    r.method = QDBG_RANGE_CROSS_ENTROPY;
    assert_fails(ctx, qdbg_observer_range(o, 0, &r, &spec, &min, &max), QDBG_E_STATE,
                 "QDBG_OBSERVE_ROWS");
    r.method = QDBG_RANGE_MOVING_AVERAGE;
    assert_fails(ctx, qdbg_observer_range(o, 0, &r, &spec, &min, &max), QDBG_E_STATE,
                 "QDBG_OBSERVE_AVERAGE");
    r.method = QDBG_RANGE_BATCH_NORM;
    assert_fails(ctx, qdbg_observer_range(o, 0, &r, &spec, &min, &max), QDBG_E_UNSUPPORTED,
                 "simulation");
    assert_true(min == 7 && max == 8);
    qdbg_observer_destroy(o);
}

static void bad_questions_are_refused(void **state)
{
    static const float x[] = {1, 2};
    qdbg_quant_spec spec = spec_of(8, QDBG_ASYMMETRIC);
    qdbg_range_options good = method_of(QDBG_RANGE_PERCENTILE), r = good;
    float min, max;
    (void)state;
#define ASK(r, n) qdbg_range_of_values(ctx, x, n, r, &spec, &min, &max)
    assert_int_equal(qdbg_range_of_values(NULL, x, 2, &r, &spec, &min, &max), QDBG_E_INVALID);
    assert_fails(ctx, ASK(&r, 0), QDBG_E_INVALID, "no values");
    assert_fails(ctx, qdbg_range_of_values(ctx, NULL, 2, &r, &spec, &min, &max), QDBG_E_INVALID,
                 "no values");
    assert_fails(ctx, qdbg_range_of_values(ctx, x, 2, &r, &spec, NULL, &max), QDBG_E_INVALID,
                 "min");
    assert_fails(ctx, qdbg_range_of_values(ctx, x, 2, &r, NULL, &min, &max), QDBG_E_INVALID,
                 "spec");
    r.method = 8;
    assert_fails(ctx, ASK(&r, 2), QDBG_E_INVALID, "method");
    r = good;
    r.percentile = 50;
    assert_fails(ctx, ASK(&r, 2), QDBG_E_INVALID, "percentile");
    r = good;
    r.clip_weight = 0.5;
    assert_fails(ctx, ASK(&r, 2), QDBG_E_INVALID, "clip_weight");
    r = good;
    r.momentum = 2;
    assert_fails(ctx, ASK(&r, 2), QDBG_E_INVALID, "momentum");
    r = good;
    r.sigmas = (double)INFINITY;
    assert_fails(ctx, ASK(&r, 2), QDBG_E_INVALID, "sigmas");
    r = good;
    r.struct_size = 0;
    assert_fails(ctx, ASK(&r, 2), QDBG_E_INVALID, "struct_size");
    spec.bits = QDBG_BITS_BYPASS;
    assert_fails(ctx, ASK(&good, 2), QDBG_E_INVALID, "bypass");
    assert_ok(
        qdbg_range_of_values(ctx, x, 2, NULL, &(qdbg_quant_spec)QDBG_QUANT_SPEC_INIT, &min, &max));
    assert_true(min == 0 && max == 2);
    assert_string_equal(qdbg_range_method_name(QDBG_RANGE_MSE), "MSE");
    assert_string_equal(qdbg_range_method_name(-1), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_cuts_and_merges_do_not_matter),
        cmocka_unit_test(channels_are_observed_each_on_its_own),
        cmocka_unit_test(statistics_are_right),
        cmocka_unit_test(bad_observers_are_refused),
        cmocka_unit_test(bad_observations_are_refused),
        cmocka_unit_test(ranges_need_what_the_method_needs),
        cmocka_unit_test(bad_questions_are_refused),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
