/* Exact sums, sixteen lanes at a time. Doubles add without error as long as all terms are whole
 * multiples of one unit and the sum stays below 2^53 of it, so each number is cut into slices of at
 * most 40 bits on units fixed for a block of 4096 numbers. Whatever the order, the sum is exact. */
#ifndef QDBG_KERNELS_SIMD_MOMENTS_H
#define QDBG_KERNELS_SIMD_MOMENTS_H

#include <math.h>

#include "sums.h"

#define MOMENTS_BLOCK 4096
#define SLICE_BITS 40

/* A pass over a block takes the numbers from 2^top down to 2^(top - PASS_BITS); their squares then
 * span 2 * PASS_BITS + 2 + 46 bits, which is three slices. Smaller numbers wait for another pass.
 */
#define PASS_BITS 36

typedef struct moments16 {
    v16d sum[2], sum2[3];
    v16i rest; /* bits of the largest number left for the next pass */
} moments16;

typedef struct slices16 {
    v16i least, most;  /* bits of the sizes that this pass takes */
    v16d cut, cut2[2]; /* adding and subtracting one leaves whole units of a slice */
} slices16;

/* Exponent of the number of these bits, which may be denormal. */
static int bits_exponent(int32_t bits)
{
    if (bits >= 0x00800000)
        return (bits >> 23) - 127;
    return -118 - __builtin_clz((unsigned)bits);
}

static double unit_cutter(int unit)
{
    return ldexp(1.5, unit + 52);
}

static slices16 slices16_of(int32_t most)
{
    int top = bits_exponent(most) + 1; /* all sizes of the pass lie below 2^top */
    int bottom = top - 1 - PASS_BITS;
    float least = bottom < -149 ? 0.0f : ldexpf(1.0f, bottom);
    int32_t least_bits;
    memcpy(&least_bits, &least, sizeof least_bits);
    return (slices16){
        .least = v16i_set1(least_bits > 0 ? least_bits : 1),
        .most = v16i_set1(most),
        .cut = v16d_set1(unit_cutter(top - SLICE_BITS)),
        .cut2 = {v16d_set1(unit_cutter(2 * top - SLICE_BITS)),
                 v16d_set1(unit_cutter(2 * top - 2 * SLICE_BITS))},
    };
}

/* sum + x, by the unit that the other additions leave idle. */
V16_FN v16d sum_with(v16d sum, v16d x)
{
    return v16d_fma(x, v16d_set1(1.0), sum);
}

V16_FN v16d whole_units(v16d x, v16d cutter)
{
    return v16d_sub(v16d_add(x, cutter), cutter);
}

V16_FN void moments16_add(moments16 *m, v16 value, const slices16 *s)
{
    v16i size = v16_bits(v16_abs(value)), none = v16i_set1(0);
    v16m below = v16i_lt(size, s->least);
    m->rest = v16i_max(m->rest, v16i_select(below, size, none));
    v16m out = v16m_or(below, v16i_lt(s->most, size));
    v16d x = v16d_of(v16_select(out, v16_set1(0.0f), value));
    v16d high = whole_units(x, s->cut);
    m->sum[0] = sum_with(m->sum[0], high);
    m->sum[1] = sum_with(m->sum[1], v16d_sub(x, high));
    v16d square = v16d_mul(x, x);
    for (int k = 0; k < 2; k++) {
        high = whole_units(square, s->cut2[k]);
        m->sum2[k] = sum_with(m->sum2[k], high);
        square = v16d_sub(square, high);
    }
    m->sum2[2] = sum_with(m->sum2[2], square);
}

static int32_t largest_bits(v16i x)
{
    int32_t lanes[16], largest = 0;
    v16i_store(lanes, x);
    for (size_t j = 0; j < 16; j++)
        largest = lanes[j] > largest ? lanes[j] : largest;
    return largest;
}

/* One pass over a block of whole vectors; `most` is the largest size that it takes, the bits of the
 * largest one left are returned. */
static int32_t moments_pass(const float *src, size_t n, int32_t most, qdbg__moments *moments)
{
    v16d zero = v16d_set1(0.0);
    moments16 m = {{zero, zero}, {zero, zero, zero}, v16i_set1(0)};
    slices16 s = slices16_of(most);
    for (size_t i = 0; i < n; i += 16)
        moments16_add(&m, v16_load(src + i), &s);
    for (int k = 0; k < 2; k++)
        qdbg__moments_add(moments, v16d_sum(m.sum[k]), v16d_sum(m.sum2[k]));
    qdbg__moments_add(moments, 0.0, v16d_sum(m.sum2[2]));
    return largest_bits(m.rest);
}

/* Bits of the largest finite size, and the count of the others. */
static int32_t moments_scan(const float *src, size_t n, qdbg__moments *moments)
{
    v16i largest = v16i_set1(0);
    for (size_t i = 0; i < n; i += 16) {
        v16 x = v16_load(src + i);
        v16i size = v16_bits(v16_abs(x));
        v16m out = v16_nonfinite(x);
        if (__builtin_expect(v16m_any(out), 0)) {
            unsigned nan = v16m_count(v16_isnan(x));
            moments->n_nan += nan;
            moments->n_inf += v16m_count(out) - nan;
            size = v16i_select(out, v16i_set1(0), size);
        }
        largest = v16i_max(largest, size);
    }
    return largest_bits(largest);
}

static void moments(const float *src, size_t n, qdbg__moments *moments)
{
    size_t whole = n / 16 * 16;
    for (size_t i = 0; i < whole; i += MOMENTS_BLOCK) {
        size_t m = whole - i < MOMENTS_BLOCK ? whole - i : MOMENTS_BLOCK;
        int32_t most = moments_scan(src + i, m, moments);
        while (most > 0)
            most = moments_pass(src + i, m, most, moments);
    }
    moments->n += whole;
    qdbg__moments_ref(src + whole, n - whole, moments);
}

#endif
