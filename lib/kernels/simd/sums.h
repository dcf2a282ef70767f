/* Sums of squares and products in the fixed 16-lane order. */
#ifndef QDBG_KERNELS_SIMD_SUMS_H
#define QDBG_KERNELS_SIMD_SUMS_H

#include "fakequant.h"

V16_FN double v16d_sum(v16d x)
{
    double lanes[QDBG__LANES];
    v16d_store(lanes, x);
    return qdbg__lanes_sum(lanes);
}

V16_FN double v16d_largest(v16d x)
{
    double lanes[QDBG__LANES], largest = 0.0;
    v16d_store(lanes, x);
    for (size_t j = 0; j < QDBG__LANES; j++)
        largest = lanes[j] > largest ? lanes[j] : largest;
    return largest;
}

typedef struct error16 {
    v16d aa, bb, ab, ee, largest;
    uint64_t n_nonfinite;
} error16;

/* A lane left out counts as a pair of zeros, which changes no sum. */
V16_FN void error16_add(error16 *s, v16 a, v16 b)
{
    v16m out = v16m_or(v16_nonfinite(a), v16_nonfinite(b));
    if (__builtin_expect(v16m_any(out), 0)) {
        s->n_nonfinite += v16m_count(out);
        a = v16_select(out, v16_set1(0.0f), a);
        b = v16_select(out, v16_set1(0.0f), b);
    }
    v16d x = v16d_of(a), y = v16d_of(b), e = v16d_sub(y, x);
    s->aa = v16d_fma(x, x, s->aa); /* products of two float32 are exact: fused or not is the same */
    s->bb = v16d_fma(y, y, s->bb);
    s->ab = v16d_fma(x, y, s->ab);
    s->ee = v16d_add(s->ee, v16d_mul(e, e));
    s->largest = v16d_max(s->largest, v16d_abs(e));
}

static void error_sums(const float *a, const float *b, size_t n, qdbg__error *error)
{
    v16d zero = v16d_set1(0.0);
    error16 s = {zero, zero, zero, zero, zero, 0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        error16_add(&s, v16_load(a + i), v16_load(b + i));
    if (i < n)
        error16_add(&s, v16_load_part(a + i, n - i), v16_load_part(b + i, n - i));
    double largest = v16d_largest(s.largest);
    error->sum_aa += v16d_sum(s.aa);
    error->sum_bb += v16d_sum(s.bb);
    error->sum_ab += v16d_sum(s.ab);
    error->sum_ee += v16d_sum(s.ee);
    error->max_abs = largest > error->max_abs ? largest : error->max_abs;
    error->n += n;
    error->n_nonfinite += s.n_nonfinite;
}

typedef struct stats16 {
    v16d xx, ee, largest;
    uint64_t low, high, nan, inf;
} stats16;

/* Which lanes rounded to steps outside lo .. hi. The widened clamp keeps them one step outside. */
V16_FN void stats16_clipped(stats16 *s, v16 t, v16 steps, v16 lo, v16 hi, int rounding)
{
    v16 half = v16_set1(0.5f);
    v16m low = v16_lt(steps, lo), high = v16_lt(hi, steps);
    if (rounding == QDBG__ROUND_UP) { /* its steps are right from lo upward only */
        v16 on_grid = v16_sub(t, lo);
        low = v16_lt(on_grid, v16_set1(-0.5f));
        high = v16_le(v16_add(v16_sub(hi, lo), half), on_grid);
    }
    s->low += v16m_count(low);
    s->high += v16m_count(high);
}

/* `g` was widened by one step. */
V16_FN v16 stats16_add(stats16 *s, v16 x, const grid16 *g, v16 hi, int rounding)
{
    v16 inside = v16_min(g->most, v16_max(g->least, x));
    v16 t = divide_by_scale(inside, g);
    v16 steps = round_steps(t, g->lo, rounding);
    stats16_clipped(s, t, steps, g->lo, hi, rounding);
    v16 clamped = v16_add(v16_min(hi, v16_max(g->lo, steps)), v16_set1(0.0f));
    v16 y = v16_mul(clamped, g->scale), kept = y;
    v16m out = v16_nonfinite(x);
    if (__builtin_expect(v16m_any(out), 0)) {
        unsigned nan = v16m_count(v16_isnan(x));
        s->nan += nan;
        s->inf += v16m_count(out) - nan;
        x = v16_select(out, v16_set1(0.0f), x);
        kept = v16_select(out, v16_set1(0.0f), y);
    }
    v16d a = v16d_of(x), e = v16d_sub(v16d_of(kept), a);
    s->xx = v16d_fma(a, a, s->xx);
    s->ee = v16d_add(s->ee, v16d_mul(e, e));
    s->largest = v16d_max(s->largest, v16d_abs(e));
    return y;
}

V16_FN void stats_rounded(const float *src, float *dst, size_t n, const qdbg__grid *grid,
                          qdbg__quant_stats *stats, int rounding)
{
    v16d zero = v16d_set1(0.0);
    stats16 s = {zero, zero, zero, 0, 0, 0, 0};
    grid16 g = grid16_of(grid, 1.0f);
    v16 hi = v16_set1(qdbg__grid_hi(grid));
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(dst + i, stats16_add(&s, v16_load(src + i), &g, hi, rounding));
    if (i < n) {
        v16 y = stats16_add(&s, v16_load_part(src + i, n - i), &g, hi, rounding);
        v16_store_part(dst + i, n - i, y);
    }
    double largest = v16d_largest(s.largest);
    stats->sum_xx += v16d_sum(s.xx);
    stats->sum_ee += v16d_sum(s.ee);
    stats->max_abs = largest > stats->max_abs ? largest : stats->max_abs;
    stats->n += n;
    stats->n_low += s.low;
    stats->n_high += s.high;
    stats->n_nan += s.nan;
    stats->n_inf += s.inf;
}

static void fakequant_stats(const float *src, float *dst, size_t n, const qdbg__grid *grid,
                            qdbg__quant_stats *stats)
{
    if (!grid_is_plain(grid))
        qdbg__fakequant_stats_ref(src, dst, n, grid, stats);
    else if (grid->rounding == QDBG__ROUND_EVEN)
        stats_rounded(src, dst, n, grid, stats, QDBG__ROUND_EVEN);
    else if (grid->rounding == QDBG__ROUND_UP)
        stats_rounded(src, dst, n, grid, stats, QDBG__ROUND_UP);
    else
        stats_rounded(src, dst, n, grid, stats, QDBG__ROUND_AWAY);
}

#endif
