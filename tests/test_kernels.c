/* What the kernels' reference defines (doc/numerics.md), and that statistics do not depend on
 * order, split or merge. That other instruction sets do the same is tests/kernels/'s subject. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <qdebug/base.h>

#include "kernels/fills.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const qdbg__kernels *reference;

static int setup(void **state)
{
    (void)state;
    reference = qdbg__kernels_level(QDBG_CPU_REFERENCE);
    return 0;
}

static float fakequant(float x, qdbg__grid grid)
{
    float y;
    reference->fakequant(&x, &y, 1, &grid);
    return y;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- rounding ---- */

static void ties_follow_the_rule(void **state)
{
    (void)state;
    static const float x[] = {-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f};
    static const float even[] = {-2, -2, 0, 0, 2, 2}, up[] = {-2, -1, 0, 1, 2, 3},
                       away[] = {-3, -2, -1, 1, 2, 3};
    for (size_t i = 0; i < COUNT(x); i++) {
        qdbg__grid grid = {1.0f, 0, -8, 7, QDBG__ROUND_EVEN};
        assert_true(fakequant(x[i], grid) == even[i]);
        grid.rounding = QDBG__ROUND_UP;
        assert_true(fakequant(x[i], grid) == up[i]);
        grid.rounding = QDBG__ROUND_AWAY;
        assert_true(fakequant(x[i], grid) == away[i]);
    }
}

/* The float below a half, to which adding 0.5 in float32 gives 1. */
static void just_below_half_stays_down(void **state)
{
    (void)state;
    for (int32_t rounding = 0; rounding < 3; rounding++) {
        qdbg__grid grid = {1.0f, 0, 0, 255, rounding};
        assert_true(fakequant(0.49999997f, grid) == 0.0f);
        assert_true(fakequant(1.4999999f, grid) == 1.0f);
        grid = (qdbg__grid){1.0f, 0, -128, 127, rounding == QDBG__ROUND_UP ? 0 : rounding};
        assert_true(fakequant(0.49999997f, grid) == 0.0f);
        assert_true(fakequant(-0.49999997f, grid) == 0.0f);
    }
}

/* Nearest-up happens on the grid, as AIMET's float32 arithmetic does: with the zero point at 128
 * the sum 0.49999997 + 128 is 128.5. */
static void nearest_up_rounds_the_sum(void **state)
{
    (void)state;
    qdbg__grid grid = {1.0f, 128, 0, 255, QDBG__ROUND_UP};
    assert_true(fakequant(0.49999997f, grid) == 1.0f);
    assert_true(fakequant(0.49999f, grid) == 0.0f);
    assert_true(fakequant(-0.5f, grid) == 0.0f);
}

/* The reciprocal's error moves some halves to the other side. */
static void the_quotient_is_divided(void **state)
{
    (void)state;
    size_t differ = 0;
    for (int d = 3; d < 256; d++) {
        qdbg__grid grid = {1.0f / (float)d, 0, -128, 127, QDBG__ROUND_AWAY};
        for (int k = 0; k < 127; k++) {
            float x = ((float)k + 0.5f) * grid.scale;
            assert_true(fakequant(x, grid) == roundf(x / grid.scale) * grid.scale);
            differ += roundf(x * (1.0f / grid.scale)) != roundf(x / grid.scale);
        }
    }
    assert_true(differ > 0); /* so this can tell a quotient from a product */
}

/* ---- special values ---- */

static void nan_keeps_its_payload(void **state)
{
    (void)state;
    static const uint32_t nans[] = {0x7fc00000, 0xffc12345, 0x7f800001, 0xffbfffff};
    for (size_t i = 0; i < COUNT(nans); i++) {
        for (int32_t rounding = 0; rounding < 3; rounding++) {
            qdbg__grid grid = {0.1f, 3, 0, 255, rounding};
            assert_int_equal(bits_of(fakequant(of_bits(nans[i]), grid)), nans[i] | 0x00400000);
        }
    }
    qdbg__grid grid = {0.1f, 3, 0, 255, 0};
    float x = NAN;
    uint8_t q;
    reference->quantize(&x, &q, 1, &grid, QDBG__STORE_U8);
    assert_int_equal(q, 3); /* an integer has no NaN: the zero point */
}

static void infinities_and_giants_clamp(void **state)
{
    (void)state;
    static const float huge[] = {INFINITY, FLT_MAX, 1e30f, 4e9f, 2147483648.0f};
    for (size_t i = 0; i < COUNT(huge); i++) {
        for (int32_t rounding = 0; rounding < 3; rounding++) {
            qdbg__grid grid = {0.5f, 10, 0, 255, rounding};
            assert_true(fakequant(huge[i], grid) == 122.5f);
            assert_true(fakequant(-huge[i], grid) == -5.0f);
        }
    }
}

static void no_negative_zero(void **state)
{
    (void)state;
    static const float x[] = {-0.0f, -0.2f, -1e-45f, -FLT_MIN};
    for (size_t i = 0; i < COUNT(x); i++) {
        for (int32_t rounding = 0; rounding < 3; rounding++) {
            qdbg__grid grid = {1.0f, 7, 0, 255, rounding};
            assert_int_equal(bits_of(fakequant(x[i], grid)), 0);
            grid = (qdbg__grid){1.0f, 0, 0, 255, rounding};
            assert_int_equal(bits_of(fakequant(x[i], grid)), 0);
        }
    }
}

static void extreme_scales(void **state)
{
    (void)state;
    for (int32_t rounding = 0; rounding < 3; rounding++) {
        qdbg__grid small = {FLT_MIN, 0, -128, 127, rounding};
        assert_true(fakequant(3.0f * FLT_MIN, small) == 3.0f * FLT_MIN);
        assert_true(fakequant(FLT_MAX, small) == 127.0f * FLT_MIN);
        assert_true(fakequant(0.25f * FLT_MIN, small) == 0.0f);
        qdbg__grid large = {FLT_MAX, 0, -128, 127, rounding};
        assert_true(fakequant(FLT_MAX, large) == FLT_MAX);
        assert_true(fakequant(-INFINITY, large) == -INFINITY); /* -128 * FLT_MAX */
    }
}

/* ---- float formats ---- */

static float narrow(float x, int32_t format, int32_t saturate)
{
    qdbg__float_grid grid = {1.0f, format, saturate};
    float y;
    reference->fakequant_float(&x, &y, 1, &grid);
    return y;
}

static void float_formats(void **state)
{
    (void)state;
    assert_true(narrow(1.0f + 0x1p-11f, QDBG__FORMAT_F16, 1) == 1.0f); /* tie to even */
    assert_true(narrow(1.0f + 0x1.8p-10f, QDBG__FORMAT_F16, 1) == 1.0f + 0x1p-9f);
    assert_true(narrow(0x1p-24f, QDBG__FORMAT_F16, 1) == 0x1p-24f); /* smallest denormal */
    assert_true(narrow(0x1p-25f, QDBG__FORMAT_F16, 1) == 0.0f);
    assert_true(narrow(65519.0f, QDBG__FORMAT_F16, 0) == 65504.0f);
    assert_true(narrow(65520.0f, QDBG__FORMAT_F16, 0) == INFINITY);
    assert_true(narrow(65520.0f, QDBG__FORMAT_F16, 1) == 65504.0f);
    assert_true(narrow(1.0f + 0x1p-8f, QDBG__FORMAT_BF16, 1) == 1.0f);
    assert_true(narrow(-FLT_MAX, QDBG__FORMAT_BF16, 0) == -INFINITY);
    assert_true(narrow(464.0f, QDBG__FORMAT_E4M3, 0) == 448.0f); /* tie to even */
    assert_true(isnan(narrow(465.0f, QDBG__FORMAT_E4M3, 0)));
    assert_true(narrow(-INFINITY, QDBG__FORMAT_E4M3, 1) == -448.0f);
    assert_true(narrow(0x1p-9f, QDBG__FORMAT_E4M3, 1) == 0x1p-9f);
    assert_true(narrow(0x1p-10f, QDBG__FORMAT_E4M3, 1) == 0.0f);
    assert_true(narrow(0x1.8p-10f, QDBG__FORMAT_E4M3, 1) == 0x1p-9f);
    assert_true(narrow(61440.0f, QDBG__FORMAT_E5M2, 0) == INFINITY);
    assert_true(narrow(61439.0f, QDBG__FORMAT_E5M2, 0) == 57344.0f);
    assert_true(narrow(0x1p-16f, QDBG__FORMAT_E5M2, 1) == 0x1p-16f);
    assert_int_equal(bits_of(narrow(-0.0f, QDBG__FORMAT_E5M2, 1)), 0x80000000);
    assert_int_equal(bits_of(narrow(of_bits(0x7f800001), QDBG__FORMAT_BF16, 1)), 0x7fc00001);
}

/* Every value of a format maps to itself: all codes of fp8, as the formats' papers list them. */
static void every_code_of_e4m3(void **state)
{
    (void)state;
    for (int code = 0; code < 0x7f; code++) {
        int exponent = code >> 3, mantissa = code & 7;
        float x = exponent == 0 ? (float)mantissa * 0x1p-9f
                                : ldexpf((float)(8 + mantissa), exponent - 7 - 3);
        assert_true(narrow(x, QDBG__FORMAT_E4M3, 1) == x);
        assert_true(narrow(-x, QDBG__FORMAT_E4M3, 0) == -x);
    }
}

/* ---- integers ---- */

static void four_bits_are_packed_low_half_first(void **state)
{
    (void)state;
    static const float x[] = {1, -2, 7, -8, 5};
    uint8_t got[3];
    float back[5];
    qdbg__grid grid = {1.0f, 0, -8, 7, QDBG__ROUND_EVEN};
    reference->quantize(x, got, 5, &grid, QDBG__STORE_I4);
    assert_int_equal(got[0], 0xe1);
    assert_int_equal(got[1], 0x87);
    assert_int_equal(got[2], 0x05);
    reference->dequantize(got, back, 5, &grid, QDBG__STORE_I4);
    assert_memory_equal(back, x, sizeof x);
}

static void sixteen_bits_reach_both_ends(void **state)
{
    (void)state;
    static const float x[] = {-INFINITY, INFINITY, 0.0f};
    uint16_t got[3];
    qdbg__grid grid = {0x1p-10f, 34492, 0, 65535, QDBG__ROUND_UP};
    reference->quantize(x, got, 3, &grid, QDBG__STORE_U16);
    assert_int_equal(got[0], 0);
    assert_int_equal(got[1], 65535);
    assert_int_equal(got[2], 34492);
}

/* ---- statistics ---- */

static void stats_count_and_sum(void **state)
{
    (void)state;
    static const float x[] = {-1.0f, 0.26f, 9.0f, NAN, INFINITY, -INFINITY};
    float y[COUNT(x)];
    qdbg__grid grid = {0.5f, 0, 0, 15, QDBG__ROUND_EVEN};
    qdbg__quant_stats stats = {0};
    reference->fakequant_stats(x, y, COUNT(x), &grid, &stats);
    assert_int_equal(stats.n, 6);
    assert_int_equal(stats.n_low, 2);
    assert_int_equal(stats.n_high, 2);
    assert_int_equal(stats.n_nan, 1);
    assert_int_equal(stats.n_inf, 2);
    double e = 0.5 - (double)0.26f;
    assert_true(fabs(stats.sum_ee - (1.0 + e * e + 1.5 * 1.5)) < 1e-12);
    assert_true(stats.max_abs == 1.5);
}

static void error_metrics(void **state)
{
    (void)state;
    static const float a[] = {3, 4, 0, NAN}, b[] = {3, 5, 0, 1};
    qdbg__error e = {0}, none = {0};
    reference->error(a, b, 4, &e);
    assert_int_equal(e.n_nonfinite, 1);
    assert_true(fabs(qdbg__error_mse(&e) - 1.0 / 3.0) < 1e-15);
    assert_true(fabs(qdbg__error_sqnr_db(&e) - 10.0 * log10(25.0)) < 1e-12);
    assert_true(fabs(qdbg__error_cosine(&e) - 29.0 / sqrt(25.0 * 34.0)) < 1e-15);
    assert_true(e.max_abs == 1.0);
    assert_true(isnan(qdbg__error_mse(&none)) && isnan(qdbg__error_cosine(&none)));
    qdbg__error same = {0};
    reference->error(a, a, 3, &same);
    assert_true(isinf(qdbg__error_sqnr_db(&same)) && qdbg__error_cosine(&same) == 1.0);
}

static void range_tells_the_kinds_apart(void **state)
{
    (void)state;
    static const float x[] = {-0.0f, NAN, 2.0f, -INFINITY, INFINITY};
    qdbg__range r;
    qdbg__range_init(&r);
    assert_true(r.min > r.max);
    reference->range(x, COUNT(x), &r);
    assert_int_equal(bits_of(r.min), 0); /* +0 */
    assert_true(r.max == 2.0f);
    assert_int_equal(r.n, 5);
    assert_int_equal(r.n_nan, 1);
    assert_int_equal(r.n_inf, 2);
}

static void moments_are_exact(void **state)
{
    (void)state;
    static const float x[] = {1e30f, 1.0f, -1e30f, 1.0f, NAN, INFINITY, 1e-40f, -1e-40f};
    qdbg__moments m = {0};
    reference->moments(x, COUNT(x), &m);
    assert_true(qdbg__moments_mean(&m) == 2.0 / 6.0); /* nothing was lost beside 1e30 */
    assert_true(qdbg__moments_mean_square(&m) == (2.0 * (double)1e30f * (double)1e30f) / 6.0);
    /* A variance of 1 beside a mean of 2^23 needs 94 bits of the squares. */
    static const float far[] = {8388607.0f, 8388609.0f, 8388607.0f, 8388609.0f};
    qdbg__moments f = {0}, none = {0};
    reference->moments(far, COUNT(far), &f);
    assert_true(qdbg__moments_mean(&f) == 8388608.0);
    assert_true(qdbg__moments_variance(&f) == 1.0);
    assert_true(isnan(qdbg__moments_mean(&none)));
}

static void moments_of_one_value(void **state)
{
    (void)state;
    rng r = {21};
    qdbg__grid grid = {0.1f, 0, -128, 127, 0};
    for (int k = 0; k < 2000; k++) {
        float x;
        fill(&x, 1, FILL_FINITE, &grid, &r);
        qdbg__moments m = {0};
        reference->moments(&x, 1, &m);
        assert_true(qdbg__moments_mean(&m) == (double)x);
        assert_true(qdbg__moments_mean_square(&m) == (double)x * (double)x);
        assert_true(qdbg__moments_variance(&m) == 0.0);
    }
}

/* ---- histogram ---- */

static uint64_t total(const qdbg__histogram *h)
{
    uint64_t counts[QDBG__HISTOGRAM_BINS], sum = 0;
    size_t n = qdbg__histogram_counts(h, counts);
    for (size_t k = 0; k < n; k++)
        sum += counts[k];
    return sum;
}

static void histogram_of(qdbg__histogram *h, const float *x, size_t n)
{
    qdbg__histogram_init(h);
    reference->histogram(x, n, h);
}

static void histogram_uses_its_bins(void **state)
{
    (void)state;
    static float x[20000];
    static qdbg__histogram h;
    rng r = {22};
    for (int shape = 0; shape < 4; shape++) {
        for (size_t i = 0; i < COUNT(x); i++) {
            float g = rng_normal(&r);
            x[i] = shape == 0 ? g : shape == 1 ? fmaxf(g, 0.0f) : shape == 2 ? g * g * g : g + 100;
        }
        histogram_of(&h, x, COUNT(x));
        assert_int_equal(total(&h), COUNT(x));
        assert_in_range(h.last - h.first + 1, 1024, 2048); /* one-sided and far data too */
    }
}

static void histogram_edges(void **state)
{
    (void)state;
    static qdbg__histogram h;
    static const float fitting[] = {-1023.0f, 1023.0f}, wider[] = {-1024.0f, 1023.0f};
    histogram_of(&h, fitting, 2);
    assert_int_equal(h.exponent, 0);
    assert_int_equal(h.last - h.first, 2047);
    histogram_of(&h, wider, 2); /* -1024 begins a bin of its own, (-1025, -1024] */
    assert_int_equal(h.exponent, 1);
    static const float small[] = {-2.0f, -1.0f, -0.5f, 0.0f, -0.0f, 0.5f, 1.0f};
    uint64_t counts[QDBG__HISTOGRAM_BINS];
    histogram_of(&h, small, COUNT(small));
    size_t n = qdbg__histogram_counts(&h, counts);
    int32_t per_one = (int32_t)ldexp(1.0, -h.exponent);
    assert_int_equal(h.first, -2 * per_one - 1);
    assert_int_equal(h.last, per_one);
    assert_int_equal(n, (size_t)(3 * per_one + 2));
    assert_int_equal(counts[0], 1);                          /* -2 */
    assert_int_equal(counts[-h.first], 2);                   /* both zeros */
    assert_int_equal(counts[-h.first + per_one / 2], 1);     /* 0.5 */
    assert_int_equal(counts[-h.first - per_one / 2 - 1], 1); /* -0.5 */
}

static void histogram_of_odd_data(void **state)
{
    (void)state;
    static qdbg__histogram h, empty;
    static const float zeros[] = {0, -0.0f, 0}, constant[] = {3, 3, 3};
    static const float outlier[] = {1e30f, 1, 2, -1, NAN, INFINITY};
    histogram_of(&h, zeros, 3);
    assert_true(h.first == 0 && h.last == 0 && total(&h) == 3);
    histogram_of(&h, constant, 3);
    assert_true(h.first == h.last && total(&h) == 3);
    histogram_of(&h, outlier, COUNT(outlier));
    assert_int_equal(total(&h), 4);
    assert_int_equal(h.range.n_nan + h.range.n_inf, 2);
    assert_true(h.range.max == 1e30f);
    histogram_of(&h, outlier + 4, 2);
    assert_int_equal(total(&h), 0);
    qdbg__histogram_init(&empty);
    qdbg__histogram_merge(&empty, &h);
    assert_memory_equal(&empty, &h, sizeof h);
    static const float extremes[] = {-FLT_MAX, FLT_MAX, 1e-45f, -1e-45f};
    histogram_of(&h, extremes, COUNT(extremes));
    assert_int_equal(total(&h), 4);
    assert_int_equal(h.count[0], 1); /* a denormal keeps its side of zero on the coarsest bins */
    assert_int_equal(h.count[QDBG__HISTOGRAM_BINS - 1], 1);
}

/* ---- order, split and merge ---- */

typedef struct summary {
    qdbg__range range;
    qdbg__moments moments;
    qdbg__histogram histogram;
} summary;

static void summary_init(summary *s)
{
    memset(s, 0, sizeof *s);
    qdbg__range_init(&s->range);
    qdbg__histogram_init(&s->histogram);
}

static void summary_add(summary *s, const qdbg__kernels *k, const float *x, size_t n)
{
    k->range(x, n, &s->range);
    k->moments(x, n, &s->moments);
    k->histogram(x, n, &s->histogram);
}

static void summary_merge(summary *into, const summary *from)
{
    qdbg__range_merge(&into->range, &from->range);
    qdbg__moments_merge(&into->moments, &from->moments);
    qdbg__histogram_merge(&into->histogram, &from->histogram);
}

static void shuffle(float *x, size_t n, rng *r)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = rng_below(r, i);
        float swap = x[i - 1];
        x[i - 1] = x[j];
        x[j] = swap;
    }
}

/* Shuffled, split anywhere, collected in parts by any instruction set, merged in any tree: the same
 * bytes. */
static void summaries_do_not_depend_on_order(void **state)
{
    (void)state;
    static float x[30000];
    static summary whole, parts[8];
    rng r = {23};
    int32_t found[4];
    size_t n_levels = levels(found);
    for (int round = 0; round < 60; round++) {
        size_t n = 1 + rng_below(&r, COUNT(x));
        qdbg__grid grid = grid_at(rng_below(&r, grid_count()));
        fill(x, n, (int)rng_below(&r, FILLS), &grid, &r);
        summary_init(&whole);
        summary_add(&whole, reference, x, n);
        shuffle(x, n, &r);
        for (size_t p = 0, at = 0; p < 8; p++) {
            size_t m = p == 7 ? n - at : rng_below(&r, n - at + 1);
            size_t level = rng_below(&r, n_levels + 1);
            summary_init(&parts[p]);
            summary_add(&parts[p], level < n_levels ? qdbg__kernels_level(found[level]) : reference,
                        x + at, m);
            at += m;
        }
        for (size_t left = 8; left > 1; left--) {
            size_t into = rng_below(&r, left - 1);
            summary_merge(&parts[into], &parts[left - 1]);
        }
        assert_memory_equal(&parts[0], &whole, sizeof whole);
    }
}

/* Per channel is each channel by itself. */
static void channels_are_collected_apart(void **state)
{
    (void)state;
    static float x[3 * 5 * 40], one[3 * 40];
    static qdbg__histogram histograms[5], h;
    rng r = {24};
    for (size_t inner = 1; inner <= 40; inner += 13) {
        qdbg__moments moments[5] = {{0}};
        qdbg__grid grid = {0.1f, 0, -128, 127, 0};
        fill(x, 3 * 5 * inner, FILL_MIXED, &grid, &r);
        for (size_t c = 0; c < 5; c++)
            qdbg__histogram_init(&histograms[c]);
        qdbg__moments_channels(reference, x, 3, 5, inner, moments);
        qdbg__histogram_channels(reference, x, 3, 5, inner, histograms);
        for (size_t c = 0; c < 5; c++) {
            for (size_t o = 0; o < 3; o++)
                memcpy(one + o * inner, x + (o * 5 + c) * inner, inner * sizeof *x);
            qdbg__moments m = {0};
            reference->moments(one, 3 * inner, &m);
            histogram_of(&h, one, 3 * inner);
            assert_memory_equal(&moments[c], &m, sizeof m);
            assert_memory_equal(&histograms[c], &h, sizeof h);
        }
    }
}

/* ---- dispatch ---- */

static void a_context_can_be_held_to_a_level(void **state)
{
    (void)state;
    static const struct {
        int32_t level;
        const char *name;
    } all[] = {{QDBG_CPU_REFERENCE, "reference"},
               {QDBG_CPU_AVX2, "avx2"},
               {QDBG_CPU_AVX512, "avx512"},
               {QDBG_CPU_NEON, "neon"}};
    for (size_t i = 0; i < COUNT(all); i++) {
        qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
        options.cpu_level = all[i].level;
        qdbg_ctx *ctx;
        if (qdbg_ctx_create(&options, &ctx) != QDBG_OK)
            continue; /* not on this machine */
        assert_string_equal(qdbg__kernels_of(ctx)->name, all[i].name);
        qdbg_ctx_destroy(ctx);
    }
    qdbg_ctx *ctx;
    assert_int_equal(qdbg_ctx_create(NULL, &ctx), QDBG_OK);
    float x = 0.3f, y;
    qdbg__grid grid = {0.1f, 0, -128, 127, QDBG__ROUND_EVEN};
    qdbg__kernels_of(ctx)->fakequant(&x, &y, 1, &grid); /* the best level is one that runs */
    assert_true(y == 3.0f * 0.1f);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ties_follow_the_rule),
        cmocka_unit_test(just_below_half_stays_down),
        cmocka_unit_test(nearest_up_rounds_the_sum),
        cmocka_unit_test(the_quotient_is_divided),
        cmocka_unit_test(nan_keeps_its_payload),
        cmocka_unit_test(infinities_and_giants_clamp),
        cmocka_unit_test(no_negative_zero),
        cmocka_unit_test(extreme_scales),
        cmocka_unit_test(float_formats),
        cmocka_unit_test(every_code_of_e4m3),
        cmocka_unit_test(four_bits_are_packed_low_half_first),
        cmocka_unit_test(sixteen_bits_reach_both_ends),
        cmocka_unit_test(stats_count_and_sum),
        cmocka_unit_test(error_metrics),
        cmocka_unit_test(range_tells_the_kinds_apart),
        cmocka_unit_test(moments_are_exact),
        cmocka_unit_test(moments_of_one_value),
        cmocka_unit_test(histogram_uses_its_bins),
        cmocka_unit_test(histogram_edges),
        cmocka_unit_test(histogram_of_odd_data),
        cmocka_unit_test(summaries_do_not_depend_on_order),
        cmocka_unit_test(channels_are_collected_apart),
        cmocka_unit_test(a_context_can_be_held_to_a_level),
    };
    return cmocka_run_group_tests_name("kernels", tests, setup, NULL);
}
