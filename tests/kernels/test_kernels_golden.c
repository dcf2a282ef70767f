/* What AIMET computes (shared/facts/aimet-golden.md), under nearest-up rounding, by every
 * instruction set that the machine offers and by the reference. A test names its fact. Ranges and
 * scales are given here; finding them is lib/quant's work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "fills.h"

/* The table that the tests use; each test runs once for each. */
static const qdbg__kernels *kernels;

static qdbg__grid grid(double scale, int32_t zero_point, int32_t qmin, int32_t qmax)
{
    return (qdbg__grid){(float)scale, zero_point, qmin, qmax, QDBG__ROUND_UP};
}

static void expect_values(const qdbg__grid *g, const float *x, const float *want, size_t n)
{
    float got[32];
    kernels->fakequant(x, got, n, g);
    for (size_t i = 0; i < n; i++)
        assert_true(fabsf(got[i] - want[i]) <= 1e-6f * fmaxf(1.0f, fabsf(want[i])));
}

static void expect_integers(const qdbg__grid *g, const float *x, const int *want, size_t n)
{
    int16_t got[32];
    kernels->quantize(x, got, n, g, QDBG__STORE_I16);
    for (size_t i = 0; i < n; i++)
        assert_int_equal((uint16_t)got[i], (uint16_t)want[i]);
}

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void g2_range_50_80(void **state)
{
    (void)state;
    static const float x[] = {-40, -1, 0, 1, 2, -50, 80};
    static const float want[] = {-39.76470588f, -1.01960784f, 0,           1.01960784f,
                                 2.03921569f,   -49.9607843f, 80.03921569f};
    static const int integers[] = {20, 96, 98, 100, 102, 0, 255};
    qdbg__grid g = grid(130.0 / 255, 98, 0, 255);
    expect_values(&g, x, want, COUNT(x));
    expect_integers(&g, x, integers, COUNT(x));
}

static void g3_ties_up(void **state)
{
    (void)state;
    static const float x[] = {-10, -.5f, 0, 1.5f, 2.5f, 3, 3.1f, 3.9f, 255, 255.1f, 300};
    static const float want[] = {0, 0, 0, 2, 3, 3, 3, 4, 255, 255, 255};
    qdbg__grid g = grid(1, 0, 0, 255);
    float got[COUNT(x)];
    kernels->fakequant(x, got, COUNT(x), &g);
    assert_memory_equal(got, want, sizeof want);
}

static void g4_clipped(void **state)
{
    (void)state;
    static const float x[] = {200, 100, -50, -500};
    static const float want[] = {125.294118f, 99.7058824f, -50.2941176f, -99.7058824f};
    qdbg__grid g = grid(225.0 / 255, 113, 0, 255);
    expect_values(&g, x, want, COUNT(x));
    qdbg__quant_stats stats = {0};
    float got[COUNT(x)];
    kernels->fakequant_stats(x, got, COUNT(x), &g, &stats);
    assert_int_equal(stats.n_low, 1);
    assert_int_equal(stats.n_high, 1);
}

static void g6_unsigned_and_signed(void **state)
{
    (void)state;
    static const float x[] = {-.5f, -.25f, 0, .25f, .5f, .75f};
    static const float want[] = {-.45811754f, -.2498823f, 0, .2498823f, .49976459f, .72188222f};
    static const int integers[] = {0, 45, 99, 153, 207, 255};
    static const int negative[] = {-128, -83, -29, 25, 79, 127};
    qdbg__grid g = grid(1.18 / 255, 99, 0, 255);
    expect_values(&g, x, want, COUNT(x));
    expect_integers(&g, x, integers, COUNT(x));
    qdbg__grid s = grid(1.18 / 255, 99 - 128, -128, 127);
    expect_values(&s, x, want, COUNT(x));
    expect_integers(&s, x, negative, COUNT(x));
}

static void g7_gated(void **state)
{
    (void)state;
    static const float x[] = {-.5f, -.25f, 0, .25f, .5f, .75f};
    static const float to_1[] = {0, 0, 0, .25098041f, .49803925f, .74901962f};
    static const float to_half[] = {0, 0, 0, .24901962f, .5f, .5f};
    static const float negative[] = {-.5f, -.24901962f, 0, 0, 0, 0};
    qdbg__grid g = grid(1.0 / 255, 0, 0, 255);
    expect_values(&g, x, to_1, COUNT(x));
    g = grid(.5 / 255, 0, 0, 255);
    expect_values(&g, x, to_half, COUNT(x));
    g = grid(.5 / 255, 255, 0, 255);
    expect_values(&g, x, negative, COUNT(x));
}

static void g9_thirty_two_bits(void **state)
{
    (void)state;
    float x = -1.0f, got;
    qdbg__grid g = grid(2.0 / 4294967295.0, 0, INT32_MIN, INT32_MAX);
    kernels->fakequant(&x, &got, 1, &g);
    assert_true(got / g.scale == -2147483648.0f);
}

static const int g10_asymmetric[4][15] = {
    {0, 9, 17, 26, 34, 43, 51, 60, 68, 77, 85, 94, 102, 111, 119},
    {0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238},
    {0, 18, 36, 55, 73, 91, 109, 128, 146, 164, 182, 200, 219, 237, 255},
    {132, 141, 149, 158, 167, 176, 185, 193, 202, 211, 220, 229, 237, 246, 255},
};
static const int g10_strict[4][15] = {
    {-127, -123, -119, -114, -110, -106, -102, -97, -93, -89, -85, -80, -76, -72, -68},
    {-127, -119, -110, -102, -93, -85, -76, -68, -59, -51, -42, -34, -25, -17, -8},
    {0, 9, 18, 27, 36, 45, 54, 64, 73, 82, 91, 100, 109, 118, 127},
    {66, 70, 74, 79, 83, 88, 92, 96, 101, 105, 109, 114, 118, 123, 127},
};

static void g10_per_channel(void **state)
{
    (void)state;
    float x[60];
    for (int i = 0; i < 60; i++)
        x[i] = -15.0f + 0.5f * (float)i;
    qdbg__grid asymmetric[] = {grid(15.0 / 255, 255, 0, 255), grid(7.5 / 255, 255, 0, 255),
                               grid(7.0 / 255, 0, 0, 255), grid(14.5 / 255, 0, 0, 255)};
    qdbg__grid strict[] = {grid(15.0 / 127, 0, -127, 127), grid(7.5 / 127, 0, -127, 127),
                           grid(7.0 / 127, 0, -127, 127), grid(14.5 / 127, 0, -127, 127)};
    uint8_t got[60];
    int8_t negative[60];
    qdbg__quantize_channels(kernels, x, got, 1, 4, 15, asymmetric, QDBG__STORE_U8);
    qdbg__quantize_channels(kernels, x, negative, 1, 4, 15, strict, QDBG__STORE_I8);
    for (int i = 0; i < 60; i++) {
        assert_int_equal(got[i], g10_asymmetric[i / 15][i % 15]);
        assert_int_equal(negative[i], g10_strict[i / 15][i % 15]);
    }
}

static void g11_two_rows(void **state)
{
    (void)state;
    static const float x[] = {-40, -1, 0,  1, 2, -50, 80, 1, /* row 1 */
                              30,  10, 25, 3, 2, -50, 70, 1};
    static const int integers[] = {20,  96,  98,  100, 102, 0, 255, 100, /* row 1 */
                                   170, 127, 159, 112, 110, 0, 255, 108};
    static const float row_2[] = {30.1176471f, 9.88235294f,  24.9411765f, 2.82352941f,
                                  1.88235294f, -49.8823529f, 70.1176471f, .941176471f};
    qdbg__grid grids[] = {grid(130.0 / 255, 98, 0, 255), grid(120.0 / 255, 106, 0, 255)};
    uint8_t got[16];
    float back[16];
    qdbg__quantize_channels(kernels, x, got, 1, 2, 8, grids, QDBG__STORE_U8);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(got[i], integers[i]);
    qdbg__dequantize_channels(kernels, got, back, 1, 2, 8, grids, QDBG__STORE_U8);
    for (size_t i = 0; i < 8; i++)
        assert_true(fabsf(back[8 + i] - row_2[i]) < 1e-5f);
}

/* Scales [2,1,1,2] on a tensor [2,2,2,2]: a block of the two middle axes for each. */
static void g12_broadcast(void **state)
{
    (void)state;
    static const float row[] = {-125.1f, -125.1f, 48.3f, 48.3f, 68.3f, 68.3f, -3.1f, -3.1f};
    static const float want[] = {-64,  -125, 48.5f, 48, 63.5f, 68, -3, -3,
                                 -126, -124, 48,    48, 68,    68, -4, -4};
    qdbg__grid grids[] = {grid(.5, 128, 0, 255), grid(1, 128, 0, 255), grid(2, 128, 0, 255),
                          grid(4, 128, 0, 255)};
    float x[16], got[16];
    memcpy(x, row, sizeof row);
    memcpy(x + 8, row, sizeof row);
    qdbg__fakequant_blocks(kernels, x, got, 2, 4, 2, 4, grids);
    assert_memory_equal(got, want, sizeof want);
}

static void g13_onnx_per_channel(void **state)
{
    (void)state;
    static const float x[] = {-7, -5, -3, 0, .1f, 2.5f};
    static const float want_3[] = {-3.84f, -3.84f, -3, 0, .09f, 2.49f};
    static const float want_5[] = {-6.4f, -5, -3, 0, .1f, 2.5f};
    qdbg__grid g = grid(.03, 128, 0, 255);
    expect_values(&g, x, want_3, COUNT(x));
    g = grid(.05, 128, 0, 255);
    expect_values(&g, x, want_5, COUNT(x));
}

/* Low-power blocks: the blocks' scales on a grid of their own, 1 .. 16 or 256 channel scales. */
static void g14_block_scales(void **state)
{
    (void)state;
    static const float scales[] = {1.6f, 1.1222f, 1e-5f, 16, 2.56f, 4.9f};
    static const float want[] = {1.6f, 1.1f, .1f, 16, 3, 5};
    static const int integers[] = {16, 11, 1, 16, 3, 5};
    qdbg__grid grids[] = {grid(.1, 0, 1, 16), grid(1, 0, 1, 16)};
    for (size_t c = 0; c < 2; c++) {
        expect_values(&grids[c], scales + 3 * c, want + 3 * c, 3);
        expect_integers(&grids[c], scales + 3 * c, integers + 3 * c, 3);
    }
    static const float wide[] = {25.6f, 11.111f, 256, 25.555f};
    static const float wide_want[] = {25.6f, 11.1f, 256, 26};
    qdbg__grid g = grid(.1, 0, 1, 256);
    expect_values(&g, wide, wide_want, 2);
    g = grid(1, 0, 1, 256);
    expect_values(&g, wide + 2, wide_want + 2, 2);
}

/* Values of the fine histogram from `lo` up to below `hi`. */
static uint64_t count_between(const qdbg__histogram *h, double lo, double hi)
{
    uint64_t counts[QDBG__HISTOGRAM_BINS], sum = 0;
    size_t n = qdbg__histogram_counts(h, counts);
    for (size_t k = 0; k < n; k++) {
        double edge = ldexp((double)h->first + (double)k, h->exponent);
        if (edge >= lo && edge < hi)
            sum += counts[k];
    }
    return sum;
}

/* AIMET's three growing bins are sums of ours. */
static void g16_histogram(void **state)
{
    (void)state;
    static const float first[] = {2, 3.5f, 4.2f, 5}, second[] = {5.3f, 6.4f, 7, 8};
    static const float third[] = {-4.2f, 0, 2.3f, 4.5f};
    qdbg__histogram h;
    qdbg__histogram_init(&h);
    kernels->histogram(first, 4, &h);
    assert_int_equal(count_between(&h, 2, 3), 1);
    assert_int_equal(count_between(&h, 3, 4), 1);
    assert_int_equal(count_between(&h, 4, 9), 2);
    kernels->histogram(second, 4, &h);
    assert_int_equal(count_between(&h, 2, 4), 2);
    assert_int_equal(count_between(&h, 4, 6), 3);
    assert_int_equal(count_between(&h, 6, 9), 3);
    kernels->histogram(third, 4, &h);
    assert_int_equal(count_between(&h, -9, 0), 1);
    assert_int_equal(count_between(&h, 0, 4), 4);
    assert_int_equal(count_between(&h, 4, 9), 7);
}

static void g29_edge_cases(void **state)
{
    (void)state;
    static const float x[] = {1, 2, 3, 4}, negative[] = {-4, -3, -2, -1};
    static const float want[] = {1.00392157f, 1.99215686f, 2.99607843f, 4};
    float mirrored[4];
    for (size_t i = 0; i < 4; i++)
        mirrored[i] = -want[3 - i];
    qdbg__grid g = grid(4.0 / 255, 0, 0, 255);
    expect_values(&g, x, want, 4);
    g = grid(4.0 / 255, 255, 0, 255);
    expect_values(&g, negative, mirrored, 4);
    /* Zero is exact on the 16-bit grid of dataset A too. */
    float zero = 0.0f, got = 1.0f;
    g = grid(2.89921412e-5, 34492, 0, 65535);
    kernels->fakequant(&zero, &got, 1, &g);
    assert_true(got == 0.0f);
}

static void g32_ties(void **state)
{
    (void)state;
    static const float x[] = {.00390625f, -.00390625f, .01171875f, -.01171875f};
    static const float want[] = {.0078125f, 0, .015625f, -.0078125f};
    qdbg__grid g = grid(1.0 / 128, 128, 0, 255);
    float got[4];
    kernels->fakequant(x, got, 4, &g);
    assert_memory_equal(got, want, sizeof want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(g2_range_50_80),   cmocka_unit_test(g3_ties_up),
        cmocka_unit_test(g4_clipped),       cmocka_unit_test(g6_unsigned_and_signed),
        cmocka_unit_test(g7_gated),         cmocka_unit_test(g9_thirty_two_bits),
        cmocka_unit_test(g10_per_channel),  cmocka_unit_test(g11_two_rows),
        cmocka_unit_test(g12_broadcast),    cmocka_unit_test(g13_onnx_per_channel),
        cmocka_unit_test(g14_block_scales), cmocka_unit_test(g16_histogram),
        cmocka_unit_test(g29_edge_cases),   cmocka_unit_test(g32_ties),
    };
    int32_t found[4];
    size_t n = levels(found);
    int failed = 0;
    for (size_t l = 0; l <= n; l++) {
        kernels = qdbg__kernels_level(l < n ? found[l] : QDBG_CPU_REFERENCE);
        failed += cmocka_run_group_tests_name(kernels->name, tests, NULL, NULL);
    }
    return failed;
}
