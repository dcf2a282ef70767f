/* Min-max encodings beside those of AIMET 1.35 (inputs and results only). libqdebug follows ONNX:
 * scale = (max - min) / (qmax - qmin), zero point rounded half-even, no floor of 0.01 under the
 * range, no silent change of grid. Where that makes another result than AIMET's, the row says so
 * and holds ours. The numbers in brackets are those of the list of facts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <float.h>
#include <math.h>
#include <cmocka.h>

#include "../graph_make.h"
#include "../support.h"

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

static bool near(double got, double want)
{
    return fabs(got - want) <= 1e-5 * fabs(want) + 1e-12;
}

typedef struct row {
    const char *fact;
    uint32_t bits;
    int32_t symmetry;
    float min, max; /* observed */
    double scale, grid_min, grid_max;
} row;

/* Asymmetric grids are unsigned, symmetric ones signed, as AIMET's are. */
static qdbg_encoding encode(uint32_t bits, int32_t symmetry, float min, float max)
{
    qdbg_quant_spec spec = QDBG_QUANT_SPEC_INIT;
    qdbg_encoding e = QDBG_ENCODING_INIT;
    spec.bits = bits;
    spec.symmetry = symmetry;
    spec.is_signed = symmetry != QDBG_ASYMMETRIC;
    assert_ok(qdbg_encoding_from_range(ctx, &spec, min, max, &e));
    return e;
}

static void check_rows(const row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const row *r = &rows[i];
        qdbg_encoding e = encode(r->bits, r->symmetry, r->min, r->max);
        if (near((double)e.scale, r->scale) && near((double)e.min, r->grid_min) &&
            near((double)e.max, r->grid_max))
            continue;
        fail_msg("%s, row %zu: scale %.9g, %.9g to %.9g", r->fact, i, (double)e.scale,
                 (double)e.min, (double)e.max);
    }
}

#define A QDBG_ASYMMETRIC
#define S QDBG_SYMMETRIC
#define T QDBG_STRICT_SYMMETRIC

static void same_grids_as_aimet(void **state)
{
    static const row rows[] = {
        {"G1", 8, A, -40, 80, 0.4705882, -40, 80},
        {"G1", 8, A, 10, 10, 0.0392157, 0, 10},
        {"G1", 8, A, 1000, 1200, 4.7058824, 0, 1200},
        {"G1", 8, A, -8, -5, 0.0313725, -8, 0},
        {"G8", 3, A, -5, 10, 2.1428571, -4.2857143, 10.7142857},
        {"G8", 3, A, -5, 8, 1.8571428, -5.5714283, 7.428571},
        {"G8", 3, A, -4, 3, 1, -4, 3},
        {"G8", 3, A, 0, 10, 1.4285714, 0, 10},
        {"G15", 8, A, 0, 25.5f, 0.1, 0, 25.5},
        {"G15", 8, T, 0, 25.5f, 0.2007874, -25.5, 25.5},
        {"G15", 3, S, -2, 9, 3, -12, 9},
        {"G15", 8, A, 3, 3, 0.0117647, 0, 3},
        {"G15", 8, T, 3, 3, 0.0236220, -3, 3},
        {"G29", 8, S, 3, 3, 0.0236220, -3.02362205, 3},
        {"G29", 8, A, -3, -3, 0.0117647, -3, 0},
        {"G29", 8, A, 1, 4, 0.0156863, 0, 4},
        {"G29", 8, A, -4, -1, 0.0156863, -4, 0},
        {"G29", 2, A, -1, 0.9f, 0.6333333, -1.26666665, 0.633333325},
        {"G29", 2, S, -1, 0.9f, 1, -2, 1},
        {"G29", 2, T, -1, 0.9f, 1, -1, 1},
        {"G29", 16, A, -1, 0.9f, 2.89921412e-5, -34492 * 2.89921412e-5,
         (65535 - 34492) * 2.89921412e-5},
    };
    (void)state;
    check_rows(rows, sizeof rows / sizeof *rows);
}

static void other_grids_than_aimet_on_purpose(void **state)
{
    static const row rows[] = {
        /* AIMET spreads a range below 0.01 to 0.01 and wastes the levels: 77 of 256 remain here */
        {"G29", 8, A, -1e-3f, 2e-3f, 1.1764706e-5, -1e-3, 2e-3},
        {"G29", 8, S, -1e-3f, 2e-3f, 1.5748031e-5, -128 * 1.5748031e-5, 2e-3},
        /* zeros: AIMET 0 to 0.01 (v1), 255 * 2^-23 (v2) */
        {"G1", 8, A, 0, 0, (double)FLT_MIN, 0, 255 * (double)FLT_MIN},
        {"G15", 8, A, 0, 0, (double)FLT_MIN, 0, 255 * (double)FLT_MIN},
        /* zero point 40.5: AIMET rounds it up to 41 (-18.2222 to 9.77778) */
        {"G4", 8, A, -100, 125, 0.88235294, -99.705882, 125.294118},
        {"G5", 6, A, -18, 10, 0.4444444, -40 * 0.4444444, 23 * 0.4444444},
        /* AIMET finds the range symmetric and leaves a level out: -5 to 5, -3 to 3. Ask for it. */
        {"G8", 3, A, -5, 5, 1.4285714, -5.7142857, 4.2857143},
        {"G8", 3, T, -5, 5, 1.6666667, -5, 5},
        {"G8", 3, A, -3, 3, 0.8571429, -3.4285714, 2.5714286},
        {"G8", 3, T, -3, 3, 1, -3, 3},
    };
    (void)state;
    check_rows(rows, sizeof rows / sizeof *rows);
}

static void check_values(qdbg_encoding e, const float *x, const float *want, size_t n)
{
    float y[8];
    assert_true(n <= 8);
    assert_ok(qdbg_fakequant_f32(ctx, &e, QDBG_ROUND_NEAREST_UP, x, y, n));
    for (size_t i = 0; i < n; i++)
        assert_true(fabsf(y[i] - want[i]) <= 5e-6f * fmaxf(1, fabsf(want[i])));
}

/* Ranges that do not hold zero [G7]. */
static void ranges_are_widened_to_zero(void **state)
{
    static const float x[] = {-0.5f, -0.25f, 0, 0.25f, 0.5f, 0.75f};
    static const float high[] = {0, 0, 0, 0.25098041f, 0.49803925f, 0.74901962f};
    static const float point[] = {0, 0, 0, 0.24901962f, 0.5f, 0.5f};
    static const float low[] = {-0.5f, -0.24901962f, 0, 0, 0, 0};
    (void)state;
    check_values(encode(8, A, 0.5f, 1), x, high, 6);
    check_values(encode(8, A, 0.5f, 0.5f), x, point, 6);
    check_values(encode(8, A, -0.5f, -0.1f), x, low, 6);
}

/* Values on AIMET's grids with AIMET's rounding [G2, G6, G29]. */
static void same_values_as_aimet(void **state)
{
    static const float x2[] = {-40, -1, 0, 1, 2, -50, 80};
    static const float y2[] = {-39.7647f, -1.01961f, 0, 1.01961f, 2.03922f, -49.9608f, 80.0392f};
    static const float x6[] = {-0.5f, -0.25f, 0, 0.25f, 0.5f, 0.75f};
    static const float y6[] = {-0.45811754f, -0.2498823f, 0, 0.2498823f, 0.49976459f, 0.72188222f};
    static const float x29[] = {1, 2, 3, 4}, y29[] = {1.003922f, 1.992157f, 2.996078f, 4};
    (void)state;
    check_values(encode(8, A, -50, 80), x2, y2, 7);
    check_values(encode(8, A, -0.46f, 0.72f), x6, y6, 6);
    check_values(encode(8, A, 1, 4), x29, y29, 4);
}

/* AIMET quantizes to 32 bits, x = -1 on (-1, 1) becoming -2147483648 [G9]; here 32 bits mean "leave
 * it in float32" and have no grid. */
static void thirty_two_bits_have_no_grid(void **state)
{
    qdbg_quant_spec spec = QDBG_QUANT_SPEC_INIT;
    qdbg_encoding e = QDBG_ENCODING_INIT;
    (void)state;
    spec.bits = QDBG_BITS_BYPASS;
    assert_fails(ctx, qdbg_encoding_from_range(ctx, &spec, -1, 1, &e), QDBG_E_INVALID, "bypass");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_grids_as_aimet),
        cmocka_unit_test(other_grids_than_aimet_on_purpose),
        cmocka_unit_test(ranges_are_widened_to_zero),
        cmocka_unit_test(same_values_as_aimet),
        cmocka_unit_test(thirty_two_bits_have_no_grid),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
