/* Fake-quantization on an integer grid: the specification. */
#include "ref.h"

#include <math.h>

float qdbg__grid_lo(const qdbg__grid *grid)
{
    return (float)((int64_t)grid->qmin - grid->zero_point);
}

float qdbg__grid_hi(const qdbg__grid *grid)
{
    return (float)((int64_t)grid->qmax - grid->zero_point);
}

/* floor(u + 0.5) without the sum, which would round 0.49999997 up. */
static float round_half_up(float u)
{
    float whole = floorf(u);
    return u - whole >= 0.5f ? whole + 1.0f : whole;
}

float qdbg__grid_round(float x, const qdbg__grid *grid)
{
    float t = x / grid->scale;
    float lo = qdbg__grid_lo(grid);
    if (grid->rounding == QDBG__ROUND_EVEN)
        return rintf(t);
    if (grid->rounding == QDBG__ROUND_AWAY)
        return roundf(t);
    return round_half_up(t - lo) + lo;
}

float qdbg__grid_clamp(float r, const qdbg__grid *grid)
{
    float lo = qdbg__grid_lo(grid), hi = qdbg__grid_hi(grid);
    if (r < lo)
        r = lo;
    if (r > hi)
        r = hi;
    return r + 0.0f; /* an integer has no negative zero */
}

float qdbg__fakequant_one(float x, const qdbg__grid *grid)
{
    if (isnan(x))
        return qdbg__quiet_nan(x);
    return qdbg__grid_clamp(qdbg__grid_round(x, grid), grid) * grid->scale;
}

void qdbg__fakequant_ref(const float *src, float *dst, size_t n, const qdbg__grid *grid)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = qdbg__fakequant_one(src[i], grid);
}

void qdbg__fakequant_channels_ref(const float *src, float *dst, size_t outer, size_t channels,
                                  size_t inner, const qdbg__grid *grids)
{
    for (size_t o = 0; o < outer; o++) {
        for (size_t c = 0; c < channels; c++) {
            size_t at = (o * channels + c) * inner;
            qdbg__fakequant_ref(src + at, dst + at, inner, &grids[c]);
        }
    }
}

void qdbg__fakequant_stats_ref(const float *src, float *dst, size_t n, const qdbg__grid *grid,
                               qdbg__quant_stats *stats)
{
    double xx[QDBG__LANES] = {0}, ee[QDBG__LANES] = {0};
    float lo = qdbg__grid_lo(grid), hi = qdbg__grid_hi(grid);
    for (size_t i = 0; i < n; i++) {
        float x = src[i];
        dst[i] = qdbg__fakequant_one(x, grid);
        if (isnan(x)) {
            stats->n_nan++;
            continue;
        }
        float steps = qdbg__grid_round(x, grid);
        stats->n_low += steps < lo;
        stats->n_high += steps > hi;
        if (isinf(x)) {
            stats->n_inf++;
            continue;
        }
        double e = (double)dst[i] - x;
        xx[i % QDBG__LANES] += (double)x * x;
        ee[i % QDBG__LANES] += e * e;
        stats->max_abs = fabs(e) > stats->max_abs ? fabs(e) : stats->max_abs;
    }
    stats->sum_xx += qdbg__lanes_sum(xx);
    stats->sum_ee += qdbg__lanes_sum(ee);
    stats->n += n;
}

void qdbg__quant_stats_merge(qdbg__quant_stats *into, const qdbg__quant_stats *from)
{
    into->sum_xx += from->sum_xx;
    into->sum_ee += from->sum_ee;
    if (from->max_abs > into->max_abs)
        into->max_abs = from->max_abs;
    into->n += from->n;
    into->n_low += from->n_low;
    into->n_high += from->n_high;
    into->n_nan += from->n_nan;
    into->n_inf += from->n_inf;
}

void qdbg__divide_ref(const float *src, float *dst, size_t n, float divisor)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = isnan(src[i]) ? qdbg__quiet_nan(src[i]) : src[i] / divisor;
}
