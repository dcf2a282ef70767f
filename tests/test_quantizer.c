/* Grids from ranges, and fake-quantization through the public door (quantizer.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
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

static qdbg_quant_spec spec_of(uint32_t bits, int32_t symmetry, int32_t is_signed)
{
    qdbg_quant_spec s = QDBG_QUANT_SPEC_INIT;
    s.bits = bits;
    s.symmetry = symmetry;
    s.is_signed = is_signed;
    return s;
}

static qdbg_encoding encode(const qdbg_quant_spec *s, float min, float max)
{
    qdbg_encoding e = QDBG_ENCODING_INIT;
    assert_ok(qdbg_encoding_from_range(ctx, s, min, max, &e));
    return e;
}

/* ---- structs ---- */

static void init_functions_do_what_the_macros_do(void **state)
{
    qdbg_quant_spec s, want_s = QDBG_QUANT_SPEC_INIT;
    qdbg_encoding e, want_e = QDBG_ENCODING_INIT;
    (void)state;
    memset(&s, 0xff, sizeof s);
    memset(&e, 0xff, sizeof e);
    qdbg_quant_spec_init(&s);
    qdbg_encoding_init(&e);
    assert_memory_equal(&s, &want_s, sizeof s);
    assert_memory_equal(&e, &want_e, sizeof e);
    assert_int_equal(s.bits, 8);
    assert_int_equal(s.struct_size, sizeof s);
    qdbg_quant_spec_init(NULL);
    qdbg_encoding_init(NULL);
}

/* ---- what every grid promises ---- */

/* Ranges of all sizes; each is used as [a, b] with a <= b, whatever the signs. */
static const float ends[] = {
    -FLT_MAX, -3e38f, -1.7e38f, -1e30f,  -70000.5f, -300.0f, -128.0f, -7.5f,   -1.0f,
    -0.3f,    -1e-3f, -1e-20f,  -1e-37f, -FLT_MIN,  -1e-40f, -1e-45f, -0.0f,   0.0f,
    1e-45f,   1e-40f, FLT_MIN,  1e-37f,  1e-20f,    1e-3f,   0.1f,    1.0f,    3.14159f,
    127.0f,   255.0f, 1000.0f,  1e6f,    1e30f,     1.7e38f, 3e38f,   FLT_MAX,
};
#define N_ENDS (sizeof ends / sizeof *ends)

typedef void (*check_fn)(const qdbg_quant_spec *s, float min, float max, const qdbg_encoding *e);

static void for_all_ranges(const qdbg_quant_spec *s, check_fn check)
{
    for (size_t a = 0; a < N_ENDS; a++)
        for (size_t b = a; b < N_ENDS; b++) {
            qdbg_encoding e = encode(s, ends[a], ends[b]);
            check(s, ends[a], ends[b], &e);
        }
}

static void for_all_specs(check_fn check)
{
    for (uint32_t bits = 2; bits <= 16; bits++)
        for (int32_t symmetry = 0; symmetry < 3; symmetry++)
            for (int32_t is_signed = 0; is_signed < 2; is_signed++) {
                qdbg_quant_spec s = spec_of(bits, symmetry, is_signed);
                for_all_ranges(&s, check);
            }
}

static void check_form(const qdbg_quant_spec *s, float min, float max, const qdbg_encoding *e)
{
    int32_t levels = 1 << s->bits;
    (void)min;
    (void)max;
    assert_int_equal(e->struct_size, sizeof *e);
    assert_int_equal(e->qmax, s->is_signed ? levels / 2 - 1 : levels - 1);
    assert_int_equal(e->qmin, !s->is_signed                          ? 0
                              : s->symmetry == QDBG_STRICT_SYMMETRIC ? -e->qmax
                                                                     : -levels / 2);
    if (s->symmetry != QDBG_ASYMMETRIC)
        assert_int_equal(e->zero_point, 0);
    assert_true(e->qmin <= e->zero_point && e->zero_point <= e->qmax); /* 0 is exact */
    assert_true(isnormal(e->scale) && e->scale > 0);
    assert_true(isfinite(e->min) && isfinite(e->max));
    assert_true(e->min == (float)(e->qmin - e->zero_point) * e->scale);
    assert_true(e->max == (float)(e->qmax - e->zero_point) * e->scale);
    assert_true(e->min <= 0 && e->max >= 0);
}

static void every_grid_is_well_formed_and_holds_zero(void **state)
{
    (void)state;
    for_all_specs(check_form);
}

/* The formula of the header once more, in long double. */
static void check_formula(const qdbg_quant_spec *s, float min, float max, const qdbg_encoding *e)
{
    long double lo = min < 0 ? min : 0, hi = max > 0 ? max : 0, scale;
    if (s->symmetry == QDBG_ASYMMETRIC)
        scale = (hi - lo) / (e->qmax - e->qmin);
    else
        scale = (s->is_signed && -lo > hi ? -lo : hi) / e->qmax;
    if (scale < FLT_MIN)
        scale = FLT_MIN;
    float want = (float)scale;
    if (s->symmetry == QDBG_ASYMMETRIC)
        assert_true(fabsl(e->qmin - lo / scale - e->zero_point) <= 0.5L + 1e-12L);
    long double reach = fmaxl(e->zero_point - e->qmin, e->qmax - e->zero_point);
    if (reach * (long double)want > FLT_MAX) { /* half a step would fall off the end of float32 */
        assert_true(e->scale < want);
        assert_true(reach * (long double)e->scale > FLT_MAX * (1 - 1e-6L));
        return;
    }
    assert_true(e->scale == want);
}

static void every_grid_follows_the_formula(void **state)
{
    (void)state;
    for_all_specs(check_formula);
}

/* No end of the range is clipped by more than half a step (asymmetric), or at all (symmetric, but
 * for rounding of the scale); near FLT_MAX by one step. */
static void check_cover(const qdbg_quant_spec *s, float min, float max, const qdbg_encoding *e)
{
    double lo = min < 0 ? (double)min : 0, hi = max > 0 ? (double)max : 0, step = (double)e->scale;
    double near = fmax(-lo, hi) > 1e38 ? 1.0 : s->symmetry == QDBG_ASYMMETRIC ? 0.5 : 0.0;
    double slack = step * (near + 1e-7 * (double)(e->qmax - e->qmin));
    assert_true((double)e->max >= hi - slack);
    if (s->symmetry == QDBG_ASYMMETRIC || s->is_signed)
        assert_true((double)e->min <= lo + slack);
}

static void ranges_are_covered(void **state)
{
    (void)state;
    for_all_specs(check_cover);
}

static void small_ranges_use_the_smallest_normal_scale(void **state)
{
    (void)state;
    for (int32_t symmetry = 0; symmetry < 3; symmetry++) {
        qdbg_quant_spec s = spec_of(8, symmetry, QDBG_SIGNED);
        static const float tiny[] = {0.0f, 1e-45f, 1e-40f, FLT_MIN};
        for (int i = 0; i < 4; i++) {
            qdbg_encoding e = encode(&s, -tiny[i], tiny[i]);
            assert_true(e.scale == FLT_MIN);
        }
    }
}

static void symmetric_range_is_a_tie_that_goes_to_even(void **state)
{
    uint64_t seed = 5;
    (void)state;
    for (int i = 0; i < 1000; i++) {
        float a = make_float(&seed, 1e-6f, 1e6f);
        qdbg_quant_spec s = spec_of(8, QDBG_ASYMMETRIC, QDBG_UNSIGNED);
        assert_int_equal(encode(&s, -a, a).zero_point, 128);
        s.is_signed = QDBG_SIGNED;
        assert_int_equal(encode(&s, -a, a).zero_point, 0);
    }
}

static void known_grids(void **state)
{
    static const struct {
        uint32_t bits;
        int32_t symmetry, is_signed;
        float min, max, scale;
        int32_t zero_point;
    } rows[] = {
        {8, QDBG_ASYMMETRIC, 0, -1, 1, 2.0f / 255, 128}, /* 127.5 rounds to even */
        {8, QDBG_ASYMMETRIC, 1, -1, 1, 2.0f / 255, 0},   /* -0.5 does, too */
        {2, QDBG_ASYMMETRIC, 0, -1, 1, 2.0f / 3, 2},     /* 1.5 */
        {2, QDBG_ASYMMETRIC, 0, -1, 5, 2, 0},            /* 0.5: the minimum is clipped */
        {8, QDBG_ASYMMETRIC, 0, 3, 255, 1, 0},
        {8, QDBG_ASYMMETRIC, 0, -255, -3, 1, 255},
        {8, QDBG_ASYMMETRIC, 1, -128, 127, 1, 0},
        {8, QDBG_SYMMETRIC, 1, -127, 10, 1, 0},
        {8, QDBG_SYMMETRIC, 1, -5, 254, 2, 0},
        {8, QDBG_STRICT_SYMMETRIC, 1, -254, 3, 2, 0},
        {8, QDBG_SYMMETRIC, 0, -1000, 510, 2, 0}, /* negative values are clipped */
        {8, QDBG_SYMMETRIC, 0, -5, -1, FLT_MIN, 0},
        {16, QDBG_ASYMMETRIC, 0, 0, 65535, 1, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qdbg_quant_spec s = spec_of(rows[i].bits, rows[i].symmetry, rows[i].is_signed);
        qdbg_encoding e = encode(&s, rows[i].min, rows[i].max);
        assert_true(e.scale == rows[i].scale);
        assert_int_equal(e.zero_point, rows[i].zero_point);
    }
}

/* ---- what is refused ---- */

static void bad_ranges_and_specs_are_refused(void **state)
{
    const qdbg_quant_spec good = QDBG_QUANT_SPEC_INIT;
    qdbg_encoding e = QDBG_ENCODING_INIT, small = e, before;
    qdbg_quant_spec s = good;
    (void)state;
    e.scale = 42;
    before = e;
    assert_int_equal(qdbg_encoding_from_range(NULL, &s, 0, 1, &e), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_encoding_from_range(ctx, NULL, 0, 1, &e), QDBG_E_INVALID, "NULL");
    assert_fails(ctx, qdbg_encoding_from_range(ctx, &s, 0, 1, NULL), QDBG_E_INVALID, "NULL");
    small.struct_size = 4;
    assert_fails(ctx, qdbg_encoding_from_range(ctx, &s, 0, 1, &small), QDBG_E_INVALID, "size");
    static const float bad[] = {(float)NAN, (float)INFINITY, -(float)INFINITY};
    for (int i = 0; i < 3; i++) {
        assert_fails(ctx, qdbg_encoding_from_range(ctx, &s, bad[i], 1, &e), QDBG_E_NUMERIC,
                     "not finite");
        assert_fails(ctx, qdbg_encoding_from_range(ctx, &s, 0, bad[i], &e), QDBG_E_NUMERIC,
                     "not finite");
    }
    assert_fails(ctx, qdbg_encoding_from_range(ctx, &s, 1, 0.5f, &e), QDBG_E_INVALID, "upside");
    assert_memory_equal(&e, &before, sizeof e);
    assert_ok(qdbg_encoding_from_range(ctx, &s, 1, 1, &e));
}

static void each_field_of_a_spec_is_checked(void **state)
{
    const struct {
        size_t offset;
        int32_t bad[3];
    } fields[] = {
        {offsetof(qdbg_quant_spec, struct_size), {0, 4, 1000}},
        {offsetof(qdbg_quant_spec, bits), {0, 1, 17}},
        {offsetof(qdbg_quant_spec, bits), {31, 33, -1}},
        {offsetof(qdbg_quant_spec, bits), {QDBG_BITS_BYPASS, QDBG_BITS_BYPASS, QDBG_BITS_BYPASS}},
        {offsetof(qdbg_quant_spec, symmetry), {-1, 3, INT32_MAX}},
        {offsetof(qdbg_quant_spec, is_signed), {-1, 2, INT32_MIN}},
        {offsetof(qdbg_quant_spec, granularity), {-1, 99, INT32_MAX}},
        {offsetof(qdbg_quant_spec, rounding), {-1, 3, 4}},
    };
    qdbg_encoding e = QDBG_ENCODING_INIT;
    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (int k = 0; k < 3; k++) {
            qdbg_quant_spec s = QDBG_QUANT_SPEC_INIT;
            memcpy((char *)&s + fields[i].offset, &fields[i].bad[k], sizeof(int32_t));
            assert_fails(ctx, qdbg_encoding_from_range(ctx, &s, 0, 1, &e), QDBG_E_INVALID, "");
        }
}

/* ---- fake-quantization ---- */

static qdbg_encoding grid(float scale, int32_t zero_point, int32_t qmin, int32_t qmax)
{
    qdbg_encoding e = QDBG_ENCODING_INIT;
    e.scale = scale;
    e.zero_point = zero_point;
    e.qmin = qmin;
    e.qmax = qmax;
    return e;
}

static void ties_go_where_the_rounding_says(void **state)
{
    static const float x[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 0.4f, -0.6f, 200, -200};
    static const float want[3][10] = {
        {0, 2, 2, 0, -2, -2, 0, -1, 127, -128},
        {1, 2, 3, 0, -1, -2, 0, -1, 127, -128},
        {1, 2, 3, -1, -2, -3, 0, -1, 127, -128},
    };
    qdbg_encoding e = grid(1, 0, -128, 127);
    float y[10];
    (void)state;
    for (int32_t rounding = 0; rounding < 3; rounding++) {
        assert_ok(qdbg_fakequant_f32(ctx, &e, rounding, x, y, 10));
        for (int i = 0; i < 10; i++)
            assert_true(y[i] == want[rounding][i]);
    }
}

static void nan_stays_and_infinity_clips(void **state)
{
    static const float x[] = {(float)NAN, (float)INFINITY, -(float)INFINITY, FLT_MAX, -1e-45f};
    qdbg_encoding e = grid(0.5f, 3, 0, 255);
    float y[5];
    (void)state;
    assert_ok(qdbg_fakequant_f32(ctx, &e, QDBG_ROUND_NEAREST_EVEN, x, y, 5));
    assert_true(isnan(y[0]));
    assert_true(y[1] == 126 && y[2] == -1.5f && y[3] == 126 && y[4] == 0);
}

static void in_place_equals_apart_at_any_alignment(void **state)
{
    uint64_t seed = 3;
    qdbg_encoding e = grid(0.01f, 10, -20, 100);
    (void)state;
    for (size_t n = 0; n <= 70; n++)
        for (size_t shift = 0; shift < 4; shift++) {
            float *x = make_floats(&seed, n), *y = malloc((n + 4) * sizeof *y);
            char *bytes = malloc((n + 1) * sizeof *x);
            assert_true(y && bytes);
            float *odd = (float *)(void *)(bytes + shift);
            if (n > 0)
                memcpy(bytes + shift, x, n * sizeof *x);
            assert_ok(qdbg_fakequant_f32(ctx, &e, 0, x, y, n));
            assert_ok(qdbg_fakequant_f32(ctx, &e, 0, odd, odd, n));
            if (n > 0)
                assert_memory_equal(bytes + shift, y, n * sizeof *y);
            free(bytes);
            free(y);
            free(x);
        }
}

static void partial_overlap_is_refused(void **state)
{
    static float memory[64];
    qdbg_encoding e = grid(1, 0, -8, 7);
    float before[64];
    (void)state;
    for (int i = 0; i < 64; i++)
        before[i] = memory[i] = (float)i + 0.25f;
    for (size_t n = 1; n <= 16; n++)
        for (int gap = -20; gap <= 20; gap++) {
            float *src = memory + 24, *dst = src + gap;
            bool overlap = gap != 0 && (size_t)abs(gap) < n;
            qdbg_status want = overlap ? QDBG_E_INVALID : QDBG_OK;
            assert_int_equal(qdbg_fakequant_f32(ctx, &e, 0, src, dst, n), want);
            if (overlap)
                assert_memory_equal(memory, before, sizeof memory); /* untouched */
            memcpy(memory, before, sizeof memory);
        }
    float *askew = (float *)(void *)((char *)memory + 1);
    assert_fails(ctx, qdbg_fakequant_f32(ctx, &e, 0, memory, askew, 1), QDBG_E_INVALID, "overlap");
}

static void nothing_is_allowed(void **state)
{
    qdbg_encoding e = grid(1, 0, -8, 7);
    float x = 0.3f;
    (void)state;
    assert_ok(qdbg_fakequant_f32(ctx, &e, 0, NULL, NULL, 0));
    assert_ok(qdbg_fakequant_f32(ctx, &e, 0, &x, &x, 0));
    assert_true(x == 0.3f);
}

static void bad_encodings_are_refused(void **state)
{
    const qdbg_encoding good = grid(1, 0, -8, 7);
    float x = 0.3f, y = 5;
    (void)state;
    assert_int_equal(qdbg_fakequant_f32(NULL, &good, 0, &x, &y, 1), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_fakequant_f32(ctx, NULL, 0, &x, &y, 1), QDBG_E_INVALID, "encoding");
    assert_fails(ctx, qdbg_fakequant_f32(ctx, &good, 0, NULL, &y, 1), QDBG_E_INVALID, "NULL");
    assert_fails(ctx, qdbg_fakequant_f32(ctx, &good, 0, &x, NULL, 1), QDBG_E_INVALID, "NULL");
    assert_fails(ctx, qdbg_fakequant_f32(ctx, &good, -1, &x, &y, 1), QDBG_E_INVALID, "rounding");
    assert_fails(ctx, qdbg_fakequant_f32(ctx, &good, 3, &x, &y, 1), QDBG_E_INVALID, "rounding");
    const qdbg_encoding bad[] = {
        grid(0, 0, -8, 7),          grid(-1, 0, -8, 7),
        grid((float)NAN, 0, -8, 7), grid((float)INFINITY, 0, -8, 7),
        grid(1e-40f, 0, -8, 7),     grid(1, 0, 7, 7),
        grid(1, 0, 8, 7),           grid(1, 8, -8, 7),
        grid(1, -9, -8, 7),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(ctx, qdbg_fakequant_f32(ctx, &bad[i], 0, &x, &y, 1), QDBG_E_INVALID,
                     "encoding");
    qdbg_encoding small = good;
    small.struct_size = 0;
    assert_fails(ctx, qdbg_fakequant_f32(ctx, &small, 0, &x, &y, 1), QDBG_E_INVALID, "encoding");
    assert_true(y == 5);
}

/* Grids beyond 16 bits are the caller's own business, but nothing may go wrong on them. */
static void widest_grids_work(void **state)
{
    static const float x[] = {-1, 1, -3e9f, 3e9f, 1e30f, (float)NAN, 0.25f};
    const qdbg_encoding all[] = {
        grid(1, 0, INT32_MIN, INT32_MAX),         grid(1, INT32_MAX, INT32_MIN, INT32_MAX),
        grid(1, INT32_MIN, INT32_MIN, INT32_MAX), grid(FLT_MAX, 0, INT32_MIN, INT32_MAX),
        grid(FLT_MIN, 0, INT32_MIN, INT32_MAX),
    };
    float y[7];
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int32_t rounding = 0; rounding < 3; rounding++) {
            assert_ok(qdbg_fakequant_f32(ctx, &all[i], rounding, x, y, 7));
            assert_true(isnan(y[5]));
        }
    assert_ok(qdbg_fakequant_f32(ctx, &all[0], 0, x, y, 7));
    assert_true(y[0] == -1 && y[1] == 1);
}

/* A grid from a range: its ends and zero are fixed points, values between move by half a step at
 * most. */
static void values_move_by_half_a_step_at_most(void **state)
{
    (void)state;
    for (uint32_t bits = 2; bits <= 16; bits += 2) {
        qdbg_quant_spec s = spec_of(bits, QDBG_ASYMMETRIC, QDBG_UNSIGNED);
        qdbg_encoding e = encode(&s, -1.3f, 2.6f);
        float x[200], y[200];
        for (int i = 0; i < 200; i++)
            x[i] = e.min + (e.max - e.min) * (float)i / 199.0f;
        x[100] = 0;
        assert_ok(qdbg_fakequant_f32(ctx, &e, 0, x, y, 200));
        for (int i = 0; i < 200; i++)
            assert_true(fabsf(y[i] - x[i]) <= e.scale * 0.501f);
        assert_true(y[100] == 0 && y[0] == e.min && y[199] == e.max);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_functions_do_what_the_macros_do),
        cmocka_unit_test(every_grid_is_well_formed_and_holds_zero),
        cmocka_unit_test(every_grid_follows_the_formula),
        cmocka_unit_test(ranges_are_covered),
        cmocka_unit_test(small_ranges_use_the_smallest_normal_scale),
        cmocka_unit_test(symmetric_range_is_a_tie_that_goes_to_even),
        cmocka_unit_test(known_grids),
        cmocka_unit_test(bad_ranges_and_specs_are_refused),
        cmocka_unit_test(each_field_of_a_spec_is_checked),
        cmocka_unit_test(ties_go_where_the_rounding_says),
        cmocka_unit_test(nan_stays_and_infinity_clips),
        cmocka_unit_test(in_place_equals_apart_at_any_alignment),
        cmocka_unit_test(partial_overlap_is_refused),
        cmocka_unit_test(nothing_is_allowed),
        cmocka_unit_test(bad_encodings_are_refused),
        cmocka_unit_test(widest_grids_work),
        cmocka_unit_test(values_move_by_half_a_step_at_most),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
