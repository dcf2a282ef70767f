/* Fake-quantization to narrow floating-point formats, and plain division. */
#ifndef QDBG_KERNELS_SIMD_FLOATS_H
#define QDBG_KERNELS_SIMD_FLOATS_H

#include "fakequant.h"

#define INFINITY_BITS 0x7f800000
#define QUIET_BIT 0x00400000

/* A format in terms of float32's bits. */
typedef struct format16 {
    int drop;        /* mantissa bits that go */
    v16i below_half; /* the dropped bits of a number just below half of the last kept place */
    v16i kept;       /* mask of the bits that stay */
    v16i min_normal, max;
    v16i beyond;  /* what follows max */
    v16 denormal; /* adding this number cuts denormals to their places */
    v16 scale;    /* of the grid */
} format16;

static v16i float_bits16(float x)
{
    return v16_bits(v16_set1(x));
}

static float power_of_two(int exponent)
{
    uint32_t bits = (uint32_t)(exponent + 127) << 23;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

V16_FN format16 format16_of(const qdbg__float_grid *grid)
{
    const qdbg__format *f = &qdbg__formats[grid->format];
    int drop = 23 - f->mantissa_bits;
    return (format16){
        .drop = drop,
        .below_half = v16i_set1((1 << (drop - 1)) - 1),
        .kept = v16i_set1(-(1 << drop)),
        .min_normal = float_bits16(power_of_two(f->min_exponent)),
        .max = float_bits16(f->max),
        .beyond = float_bits16(grid->saturate ? f->max : f->beyond),
        .denormal = v16_set1(power_of_two(f->min_exponent + drop)),
        .scale = v16_set1(grid->scale),
    };
}

/* Rounding in the bits works because a carry out of the mantissa steps to the next exponent.
 * Without a scale (a constant 0), which is a scale of 1, the division is saved. */
V16_FN v16 narrow16(v16 x, const format16 *f, int scaled)
{
    v16 t = scaled ? v16_div(x, f->scale) : x, size = v16_abs(t);
    v16i bits = v16_bits(size);
    v16i odd = v16i_and(v16i_shr(bits, f->drop), v16i_set1(1));
    v16i normal = v16i_and(v16i_add(v16i_add(bits, f->below_half), odd), f->kept);
    v16i denormal = v16_bits(v16_sub(v16_add(size, f->denormal), f->denormal));
    v16i rounded = v16i_select(v16i_lt(bits, f->min_normal), denormal, normal);
    rounded = v16i_select(v16i_lt(f->max, rounded), f->beyond, rounded);
    v16 y = v16_mul(v16_copysign(v16i_float_bits(rounded), t), f->scale);
    v16i nan = v16i_or(v16_bits(x), v16i_set1(QUIET_BIT));
    return v16_select(v16_isnan(x), v16i_float_bits(nan), y);
}

V16_FN void narrow_run(const float *src, float *dst, size_t n, const qdbg__float_grid *grid,
                       int scaled)
{
    format16 f = format16_of(grid);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(dst + i, narrow16(v16_load(src + i), &f, scaled));
    if (i < n)
        v16_store_part(dst + i, n - i, narrow16(v16_load_part(src + i, n - i), &f, scaled));
}

static void fakequant_float(const float *src, float *dst, size_t n, const qdbg__float_grid *grid)
{
    if (grid->scale == 1.0f)
        narrow_run(src, dst, n, grid, 0);
    else
        narrow_run(src, dst, n, grid, 1);
}

/* Quotients and numerators within these sizes keep Markstein's remainder exact. */
#define DIVIDE_MIN 0x1p-100f
#define DIVIDE_MAX 0x1p+100f

typedef struct divisor16 {
    v16 divisor, inverse;
    v16 least, most; /* sizes between which the correction is exact */
} divisor16;

/* Zeros are divided too: the correction would lose the sign of -0. */
V16_FN v16 divide16(v16 x, const divisor16 *d)
{
    v16 size = v16_abs(x);
    v16m out = v16m_or(v16_lt(size, d->least), v16_lt(d->most, size));
    if (__builtin_expect(v16m_any(v16m_or(out, v16_isnan(x))), 0))
        return v16_div(x, d->divisor);
    v16 q = v16_mul(x, d->inverse);
    return v16_fma(v16_fnma(q, d->divisor, x), d->inverse, q);
}

/* For a divisor out of bounds nothing lies between the sizes. */
static divisor16 divisor16_of(float divisor)
{
    int plain = divisor >= DIVIDE_MIN && divisor <= DIVIDE_MAX;
    float least = divisor > 1.0f ? DIVIDE_MIN * divisor : DIVIDE_MIN;
    float most = divisor < 1.0f ? DIVIDE_MAX * divisor : DIVIDE_MAX;
    return (divisor16){v16_set1(divisor), v16_set1(1.0f / divisor), v16_set1(plain ? least : 1.0f),
                       v16_set1(plain ? most : 0.0f)};
}

static void divide(const float *src, float *dst, size_t n, float divisor)
{
    divisor16 d = divisor16_of(divisor);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(dst + i, divide16(v16_load(src + i), &d));
    if (i < n)
        v16_store_part(dst + i, n - i, divide16(v16_load_part(src + i, n - i), &d));
}

#endif
