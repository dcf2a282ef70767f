/* Fake-quantization on an integer grid, sixteen lanes at a time. The numbers are explained in
 * doc/numerics.md: why the division is exact, and why clamping may come first. */
#ifndef QDBG_KERNELS_SIMD_FAKEQUANT_H
#define QDBG_KERNELS_SIMD_FAKEQUANT_H

#include "../../base/cpu.h"
#include "../ref.h"
#include "v16.h"

/* Beyond these the multiplied reciprocal could leave the normal range, or a half step could fall
 * below the last bit of a float. Such grids, and those without zero (lanes past the end of a tensor
 * are read as zero), are left to the reference. */
#define PLAIN_SCALE_MIN 0x1p-100f
#define PLAIN_SCALE_MAX 0x1p+100f
#define PLAIN_STEPS_MAX 0x1p+20f

/* For fewer elements the cache's size is not asked for: on a virtual machine the answer may take
 * tens of microseconds. */
#define STREAM_MIN (8u << 20)

typedef struct grid16 {
    v16 scale;
    v16 inverse;     /* 1 / scale, correctly rounded */
    v16 least, most; /* values at the grid's ends */
    v16 lo;          /* the lower end in steps from zero */
} grid16;

static int grid_is_plain(const qdbg__grid *grid)
{
    float lo = qdbg__grid_lo(grid), hi = qdbg__grid_hi(grid);
    return grid->scale >= PLAIN_SCALE_MIN && grid->scale <= PLAIN_SCALE_MAX &&
           lo >= -PLAIN_STEPS_MAX && lo <= 0.0f && hi >= 0.0f && hi <= PLAIN_STEPS_MAX;
}

/* `margin` widens the clamp by so many steps on either side. */
V16_FN grid16 grid16_of(const qdbg__grid *grid, float margin)
{
    float lo = (float)(grid->qmin - grid->zero_point);
    float hi = (float)(grid->qmax - grid->zero_point);
    return (grid16){v16_set1(grid->scale), v16_set1(1.0f / grid->scale),
                    v16_set1((lo - margin) * grid->scale), v16_set1((hi + margin) * grid->scale),
                    v16_set1(lo)};
}

/* x / scale, correctly rounded wherever that decides a rounding (Markstein's correction). */
V16_FN v16 divide_by_scale(v16 x, const grid16 *g)
{
    v16 q = v16_mul(x, g->inverse);
    return v16_fma(v16_fnma(q, g->scale, x), g->inverse, q);
}

/* The largest float below a half: added before cutting it rounds halves up, and nothing else. */
#define UNDER_HALF 0x1.fffffep-2f

/* t rounded to whole steps from zero; 0 is +0. */
V16_FN v16 round_steps(v16 t, v16 lo, int rounding)
{
    if (rounding == QDBG__ROUND_EVEN) {
        v16 shifter = v16_set1(0x1.8p+23f);
        return v16_sub(v16_add(t, shifter), shifter);
    }
    if (rounding == QDBG__ROUND_UP) {
        /* t - lo, by the unit that is less busy here. */
        v16 on_grid = v16_fma(t, v16_set1(1.0f), v16_sub(v16_set1(0.0f), lo));
        return v16_trunc_plus(v16_add(on_grid, v16_set1(UNDER_HALF)), lo);
    }
    v16 half = v16_copysign(v16_set1(UNDER_HALF), t);
    return v16_add(v16_trunc(v16_add(t, half)), v16_set1(0.0f));
}

V16_FN v16 clamped_steps(v16 x, const grid16 *g, int rounding)
{
    v16 inside = v16_min(g->most, v16_max(g->least, x));
    return round_steps(divide_by_scale(inside, g), g->lo, rounding);
}

V16_FN v16 fakequant16(v16 x, const grid16 *g, int rounding)
{
    return v16_mul(clamped_steps(x, g, rounding), g->scale);
}

/* The last vector overlaps the one before it; it is read first, so that in place it still sees the
 * source. */
V16_FN void fakequant_run(const float *src, float *dst, size_t n, const grid16 *g, int rounding)
{
    if (n < 16) {
        v16_store_part(dst, n, fakequant16(v16_load_part(src, n), g, rounding));
        return;
    }
    v16 end = v16_load(src + n - 16);
    for (size_t i = 0; i + 16 < n; i += 16)
        v16_store(dst + i, fakequant16(v16_load(src + i), g, rounding));
    v16_store(dst + n - 16, fakequant16(end, g, rounding));
}

V16_FN void fakequant_run_stream(const float *src, float *dst, size_t n, const grid16 *g,
                                 int rounding)
{
    size_t head = (64 - (uintptr_t)dst % 64) % 64 / sizeof *dst;
    if (n < head + 16) {
        fakequant_run(src, dst, n, g, rounding);
        return;
    }
    v16_store_part(dst, head, fakequant16(v16_load_part(src, head), g, rounding));
    size_t i = head;
    for (; i + 16 <= n; i += 16)
        v16_stream(dst + i, fakequant16(v16_load(src + i), g, rounding));
    v16_store_part(dst + i, n - i, fakequant16(v16_load_part(src + i, n - i), g, rounding));
    v16_stream_end();
}

V16_FN void fakequant_rounded(const float *src, float *dst, size_t n, const qdbg__grid *grid,
                              int rounding, int stream)
{
    grid16 g = grid16_of(grid, 0.0f);
    if (stream)
        fakequant_run_stream(src, dst, n, &g, rounding);
    else
        fakequant_run(src, dst, n, &g, rounding);
}

V16_FN void fakequant_any(const float *src, float *dst, size_t n, const qdbg__grid *grid,
                          int stream)
{
    if (n == 0)
        return;
    if (!grid_is_plain(grid))
        qdbg__fakequant_ref(src, dst, n, grid);
    else if (grid->rounding == QDBG__ROUND_EVEN)
        fakequant_rounded(src, dst, n, grid, QDBG__ROUND_EVEN, stream);
    else if (grid->rounding == QDBG__ROUND_UP)
        fakequant_rounded(src, dst, n, grid, QDBG__ROUND_UP, stream);
    else
        fakequant_rounded(src, dst, n, grid, QDBG__ROUND_AWAY, stream);
}

static void fakequant_cached(const float *src, float *dst, size_t n, const qdbg__grid *grid)
{
    fakequant_any(src, dst, n, grid, 0);
}

static void fakequant_stream(const float *src, float *dst, size_t n, const qdbg__grid *grid)
{
    if (src != dst && (uintptr_t)dst % sizeof *dst == 0)
        fakequant_any(src, dst, n, grid, 1);
    else
        fakequant_cached(src, dst, n, grid);
}

static int exceeds_cache(size_t n)
{
    return n >= STREAM_MIN && n * sizeof(float) > qdbg__cpu_last_level_cache();
}

static void fakequant(const float *src, float *dst, size_t n, const qdbg__grid *grid)
{
    if (exceeds_cache(n))
        fakequant_stream(src, dst, n, grid);
    else
        fakequant_cached(src, dst, n, grid);
}

#endif
