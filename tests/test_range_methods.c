/* What each range method promises in range.h, and how it meets odd data. The MSE and SQNR searches
 * are in test_range_search.c. */
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
#include "support.h"

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

typedef struct span {
    float min, max;
} span;

static span range_of(const float *x, size_t n, const qdbg_range_options *o,
                     const qdbg_quant_spec *spec)
{
    span s;
    assert_ok(qdbg_range_of_values(ctx, x, n, o, spec, &s.min, &s.max));
    assert_true(s.min <= 0 && s.max >= 0 && isfinite(s.min) && isfinite(s.max));
    return s;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* ---- percentile ---- */

static double bin_width(const float *x, size_t n)
{
    qdbg_observer_options options = QDBG_OBSERVER_OPTIONS_INIT;
    static uint64_t counts[QDBG_HISTOGRAM_BINS];
    qdbg_histogram h = QDBG_HISTOGRAM_INIT;
    qdbg_observer *o;
    options.collect = QDBG_OBSERVE_HISTOGRAM;
    assert_ok(qdbg_observer_create(ctx, &options, &o));
    assert_ok(qdbg_observer_observe(o, x, 1, n));
    assert_ok(qdbg_observer_histogram(o, 0, &h, counts));
    qdbg_observer_destroy(o);
    return h.width;
}

static void percentiles_are_quantiles_within_a_bin(void **state)
{
    enum { N = 20000 };
    static const double shares[] = {99.99, 99.9, 99, 90, 60};
    float *x = malloc(N * sizeof *x), *sorted = malloc(N * sizeof *x);
    qdbg_quant_spec spec = spec_of(8, QDBG_ASYMMETRIC);
    (void)state;
    for (int shape = 0; shape < SHAPES; shape++) {
        fill_shape((enum shape)shape, x, N);
        memcpy(sorted, x, N * sizeof *x);
        qsort(sorted, N, sizeof *x, ascending);
        double width = bin_width(x, N);
        for (int p = 0; p < 5; p++) {
            qdbg_range_options o = method_of(QDBG_RANGE_PERCENTILE);
            o.percentile = shares[p];
            span s = range_of(x, N, &o, &spec);
            size_t cut = (size_t)floor((100 - shares[p]) / 100 * N + 1e-9);
            assert_true(fabs((double)s.min - (double)fminf(sorted[cut], 0)) <= width);
            assert_true(fabs((double)s.max - (double)fmaxf(sorted[N - 1 - cut], 0)) <= width);
        }
    }
    free(sorted);
    free(x);
}

static void percentile_100_is_min_max(void **state)
{
    float x[1000];
    qdbg_quant_spec spec = spec_of(8, QDBG_ASYMMETRIC);
    qdbg_range_options p = method_of(QDBG_RANGE_PERCENTILE), m = method_of(QDBG_RANGE_MIN_MAX);
    (void)state;
    p.percentile = 100;
    fill_shape(CUBED, x, 1000);
    span a = range_of(x, 1000, &p, &spec), b = range_of(x, 1000, &m, &spec);
    assert_true(a.min == b.min && a.max == b.max);
}

/* ---- entropy ---- */

static void entropy_clips_tails_and_knows_any_bits(void **state)
{
    enum { N = 50000 };
    float *x = malloc(N * sizeof *x);
    (void)state;
    fill_shape(LAPLACE, x, N);
    span before = {0, 0};
    for (uint32_t bits = 2; bits <= 8; bits++) {
        for (int32_t symmetry = 0; symmetry <= 2; symmetry++) {
            qdbg_quant_spec spec = spec_of(bits, symmetry);
            qdbg_range_options o = method_of(QDBG_RANGE_ENTROPY);
            span s = range_of(x, N, &o, &spec);
            assert_true(s.max > 1 && s.max < 9); /* of 9.9 */
            assert_true(symmetry == QDBG_ASYMMETRIC || s.min == -s.max);
            if (symmetry == 1)
                assert_true(s.max >= 0.95f * before.max);
            before = symmetry == 1 ? s : before;
        }
    }
    /* A grid finer than the histogram; too few values. */
    qdbg_range_options o = method_of(QDBG_RANGE_ENTROPY), m = method_of(QDBG_RANGE_MIN_MAX);
    qdbg_quant_spec fine = spec_of(16, QDBG_ASYMMETRIC), usual = spec_of(8, QDBG_ASYMMETRIC);
    span a = range_of(x, N, &o, &fine), b = range_of(x, N, &m, &fine);
    assert_true(a.min == b.min && a.max == b.max);
    a = range_of(x, 500, &o, &usual);
    b = range_of(x, 500, &m, &usual);
    assert_true(a.min == b.min && a.max == b.max);
    free(x);
}

/* ---- cross entropy ---- */

static double cross_entropy(const float *x, size_t rows, size_t n, const qdbg_quant_spec *spec,
                            span s)
{
    qdbg_encoding e = QDBG_ENCODING_INIT;
    double sum = 0;
    float *y = malloc(rows * n * sizeof *y);
    assert_ok(qdbg_encoding_from_range(ctx, spec, s.min, s.max, &e));
    assert_ok(qdbg_fakequant_f32(ctx, &e, 0, x, y, rows * n));
    for (size_t r = 0; r < rows; r++) {
        double zx = 0, zy = 0;
        for (size_t i = 0; i < n; i++) {
            zx += exp((double)x[r * n + i]);
            zy += exp((double)y[r * n + i]);
        }
        for (size_t i = 0; i < n; i++)
            sum -= exp((double)x[r * n + i]) / zx * ((double)y[r * n + i] - log(zy));
    }
    free(y);
    return sum;
}

/* Far below the largest logit nothing matters: min-max and MSE waste levels there. */
static void cross_entropy_keeps_the_softmax(void **state)
{
    enum { ROWS = 64, CLASSES = 10 };
    float x[ROWS * CLASSES];
    qdbg_observer_options options = QDBG_OBSERVER_OPTIONS_INIT;
    qdbg_observer *o;
    qdbg_quant_spec spec = spec_of(4, QDBG_ASYMMETRIC);
    span found[3];
    (void)state;
    fill_shape(GAUSS, x, ROWS * CLASSES);
    for (size_t i = 0; i < ROWS * CLASSES; i++)
        x[i] = i % CLASSES == i / CLASSES % CLASSES ? 6 + x[i] : 2 * x[i];
    x[3] = -60;
    options.collect = QDBG_OBSERVE_ROWS | QDBG_OBSERVE_HISTOGRAM;
    assert_ok(qdbg_observer_create(ctx, &options, &o));
    assert_ok(qdbg_observer_observe(o, x, ROWS, CLASSES));
    static const int32_t methods[] = {QDBG_RANGE_MIN_MAX, QDBG_RANGE_MSE, QDBG_RANGE_CROSS_ENTROPY};
    for (int m = 0; m < 3; m++) {
        qdbg_range_options r = method_of(methods[m]);
        assert_ok(qdbg_observer_range(o, 0, &r, &spec, &found[m].min, &found[m].max));
    }
    double least = cross_entropy(x, ROWS, CLASSES, &spec, found[2]);
    assert_true(least < 0.9 * cross_entropy(x, ROWS, CLASSES, &spec, found[0]));
    assert_true(least < cross_entropy(x, ROWS, CLASSES, &spec, found[1]));
    qdbg_observer_destroy(o);
}

/* The span that is tried outside of the observed one ends where float32 does. */
static void cross_entropy_of_the_largest_logits_is_finite(void **state)
{
    static const float x[] = {FLT_MAX, -FLT_MAX, 0, 1, -FLT_MAX, FLT_MAX, 3e38f, -3e38f};
    (void)state;
    for (uint32_t bits = 2; bits <= 8; bits += 3) {
        qdbg_observer_options options = QDBG_OBSERVER_OPTIONS_INIT;
        qdbg_observer *o;
        qdbg_quant_spec spec = spec_of(bits, QDBG_ASYMMETRIC);
        qdbg_range_options r = method_of(QDBG_RANGE_CROSS_ENTROPY);
        span found;
        options.collect = QDBG_OBSERVE_ROWS;
        assert_ok(qdbg_observer_create(ctx, &options, &o));
        assert_ok(qdbg_observer_observe(o, x, 2, 4));
        assert_ok(qdbg_observer_range(o, 0, &r, &spec, &found.min, &found.max));
        assert_true(isfinite(found.min) && isfinite(found.max) && found.min < found.max);
        qdbg_observer_destroy(o);
    }
}

/* ---- moving average ---- */

static void moving_average_goes_by_batches(void **state)
{
    static const float batches[3][2] = {{-1, 2}, {-3, 4}, {0, 1}};
    qdbg_observer_options options = QDBG_OBSERVER_OPTIONS_INIT;
    qdbg_observer *o;
    qdbg_quant_spec spec = spec_of(8, QDBG_ASYMMETRIC);
    qdbg_range_options r = method_of(QDBG_RANGE_MOVING_AVERAGE);
    float min, max;
    (void)state;
    options.collect = QDBG_OBSERVE_AVERAGE;
    options.momentum = 0.5;
    assert_ok(qdbg_observer_create(ctx, &options, &o));
    for (int b = 0; b < 3; b++) {
        assert_ok(qdbg_observer_observe(o, &batches[b][0], 1, 1));
        assert_ok(qdbg_observer_observe(o, &batches[b][1], 1, 1));
        assert_ok(qdbg_observer_end_batch(o));
        assert_ok(qdbg_observer_end_batch(o)); /* an empty one does not count */
    }
    assert_ok(qdbg_observer_range(o, 0, &r, &spec, &min, &max));
    assert_true(min == -1 && max == 2); /* (-1 - 3) / 2 / 2, ((2 + 4) / 2 + 1) / 2 */
    qdbg_observer_destroy(o);
}

/* ---- odd data ---- */

static qdbg_encoding encoding_of(const float *x, size_t n, int32_t method, uint32_t bits,
                                 int32_t symmetry, span *s)
{
    qdbg_quant_spec spec = spec_of(bits, symmetry);
    qdbg_range_options o = method_of(method);
    qdbg_encoding e = QDBG_ENCODING_INIT;
    *s = range_of(x, n, &o, &spec);
    assert_ok(qdbg_encoding_from_range(ctx, &spec, s->min, s->max, &e));
    return e;
}

/* Every method, 2 to 16 bits, symmetric and not, on data that break others. */
static void odd_data_are_met(void **state)
{
    float zeros[9] = {0}, threes[9], below[9], tiny[9], far[1001], mixed[9], one[1] = {-7},
          denormal[2] = {FLT_MIN / 1024, -FLT_MIN / 4096}, huge[2] = {FLT_MAX, -FLT_MAX};
    (void)state;
    for (int i = 0; i < 9; i++) {
        threes[i] = 3;
        below[i] = -5 + 0.5f * (float)i;
        tiny[i] = 1e-6f * (float)(i - 3);
        mixed[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? -INFINITY : (float)i;
    }
    fill_shape(GAUSS, far, 1000);
    far[1000] = 1e30f;
    const struct {
        const float *x;
        size_t n;
    } all[] = {{zeros, 9}, {threes, 9}, {below, 9},    {tiny, 9}, {far, 1001},
               {mixed, 9}, {one, 1},    {denormal, 2}, {huge, 2}};
    for (size_t d = 0; d < sizeof all / sizeof *all; d++)
        for (int32_t method = 0; method <= QDBG_RANGE_MOVING_AVERAGE; method++)
            for (uint32_t bits = 2; bits <= 16; bits++)
                for (int32_t symmetry = 0; symmetry <= 2; symmetry++) {
                    span s;
                    qdbg_encoding e = encoding_of(all[d].x, all[d].n, method, bits, symmetry, &s);
                    assert_true(isnormal(e.scale) && isfinite(e.min) && isfinite(e.max));
                }
}

/* A constant and a tiny range use the grid well: no floor of 0.01 under the range [G29]. */
static void small_ranges_use_all_levels(void **state)
{
    static const int32_t methods[] = {QDBG_RANGE_MIN_MAX, QDBG_RANGE_MSE, QDBG_RANGE_SQNR,
                                      QDBG_RANGE_ENTROPY, QDBG_RANGE_PERCENTILE};
    float x[2000], three = 3;
    span s;
    (void)state;
    fill_shape(GAUSS, x, 2000);
    for (int i = 0; i < 2000; i++)
        x[i] *= 1e-6f;
    for (int m = 0; m < 5; m++) {
        qdbg_encoding e = encoding_of(x, 2000, methods[m], 8, QDBG_ASYMMETRIC, &s);
        assert_true(e.max - e.min < 8e-6f && e.max - e.min > 4e-6f);
        e = encoding_of(&three, 1, methods[m], 8, QDBG_ASYMMETRIC, &s);
        float y;
        assert_ok(qdbg_fakequant_f32(ctx, &e, 0, &three, &y, 1));
        assert_true(fabsf(y - 3) < 1e-6f);
    }
}

/* One outlier of 1e30 takes the rest with it where squares count, as they say; quantiles stand. */
static void far_outlier_does_not_blur_percentiles(void **state)
{
    enum { N = 30001 };
    float *x = malloc(N * sizeof *x);
    span with, without;
    (void)state;
    fill_shape(GAUSS, x, N);
    (void)encoding_of(x, N - 1, QDBG_RANGE_PERCENTILE, 8, QDBG_ASYMMETRIC, &without);
    x[N - 1] = 1e30f;
    (void)encoding_of(x, N, QDBG_RANGE_PERCENTILE, 8, QDBG_ASYMMETRIC, &with);
    assert_true(fabsf(with.max - without.max) < 0.125f * without.max);
    assert_true(fabsf(with.min - without.min) < -0.125f * without.min);
    (void)encoding_of(x, N, QDBG_RANGE_MSE, 8, QDBG_ASYMMETRIC, &with);
    assert_true(with.max > 0.99e30f);
    free(x);
}

/* ---- powers of two ---- */

static void powers_of_two_are_the_best_ones(void **state)
{
    enum { N = 3000 };
    float x[N];
    (void)state;
    for (int shape = 0; shape < SHAPES; shape++)
        for (uint32_t bits = 2; bits <= 8; bits += 2)
            for (int32_t symmetry = 0; symmetry <= 1; symmetry++) {
                qdbg_quant_spec spec = spec_of(bits, symmetry);
                qdbg_range_options o = method_of(QDBG_RANGE_MSE);
                spec.flags = QDBG_SPEC_POWER_OF_TWO;
                fill_shape((enum shape)shape, x, N);
                span s = range_of(x, N, &o, &spec);
                qdbg_encoding e = QDBG_ENCODING_INIT;
                int exponent;
                assert_ok(qdbg_encoding_from_range(ctx, &spec, s.min, s.max, &e));
                assert_true(frexpf(e.scale, &exponent) == 0.5f);
                double ours = cost_of_range(ctx, &spec, s.min, s.max, 1, x, N);
                for (int k = -3; k <= 3; k++) /* others are no better */
                    assert_true(cost_of_range(ctx, &spec, ldexpf(s.min, k), ldexpf(s.max, k), 1, x,
                                              N) >= 0.9999 * ours);
            }
}

static void power_of_two_covers_the_range(void **state)
{
    static const float ranges[][2] = {{-1, 1},    {0, 255},    {-3, 5},    {0, FLT_MAX},
                                      {-0.1f, 0}, {0, 1e-44f}, {-128, 127}};
    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        for (int32_t symmetry = 0; symmetry <= 2; symmetry++) {
            qdbg_quant_spec spec = spec_of(8, symmetry);
            qdbg_encoding e = QDBG_ENCODING_INIT, plain = QDBG_ENCODING_INIT;
            int exponent;
            assert_ok(qdbg_encoding_from_range(ctx, &spec, ranges[i][0], ranges[i][1], &plain));
            spec.flags = QDBG_SPEC_POWER_OF_TWO;
            assert_ok(qdbg_encoding_from_range(ctx, &spec, ranges[i][0], ranges[i][1], &e));
            assert_true(frexpf(e.scale, &exponent) == 0.5f);
            assert_true(isfinite(e.min) && isfinite(e.max));
            assert_true(e.zero_point >= e.qmin && e.zero_point <= e.qmax);
            if (ranges[i][1] < FLT_MAX)
                assert_true(e.scale >= plain.scale && e.scale < 2 * plain.scale);
        }
}

#define TEST(f) cmocka_unit_test(f)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(percentiles_are_quantiles_within_a_bin),
        TEST(percentile_100_is_min_max),
        TEST(entropy_clips_tails_and_knows_any_bits),
        TEST(cross_entropy_keeps_the_softmax),
        TEST(cross_entropy_of_the_largest_logits_is_finite),
        TEST(moving_average_goes_by_batches),
        TEST(odd_data_are_met),
        TEST(small_ranges_use_all_levels),
        TEST(far_outlier_does_not_blur_percentiles),
        TEST(powers_of_two_are_the_best_ones),
        TEST(power_of_two_covers_the_range),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
