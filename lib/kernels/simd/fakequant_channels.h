/* Per channel. Long runs go one by one. Short ones (the channel axis last, or nearly) are laid out
 * as a pattern, a grid for each position, that serves row after row. */
#ifndef QDBG_KERNELS_SIMD_FAKEQUANT_CHANNELS_H
#define QDBG_KERNELS_SIMD_FAKEQUANT_CHANNELS_H

#include "fakequant.h"

/* Runs this long fill vectors of their own. */
#define LONG_RUN 16

/* Laying out a pattern costs about as much as this many rows of short runs. */
#define PATTERN_ROWS 4

/* Runs this long may go past the caches one by one. */
#define STREAM_RUN 4096

#define PATTERN 512
typedef struct grid_pattern {
    float scale[PATTERN], inverse[PATTERN], least[PATTERN], most[PATTERN], lo[PATTERN];
} grid_pattern;

/* A tensor's channels, for functions that would have too many arguments. */
typedef struct channel_grids {
    const qdbg__grid *grids;
    size_t channels, inner;
} channel_grids;

static void pattern_set(grid_pattern *p, size_t i, const qdbg__grid *grid)
{
    p->scale[i] = grid->scale;
    p->inverse[i] = 1.0f / grid->scale;
    p->least[i] = qdbg__grid_lo(grid) * grid->scale;
    p->most[i] = qdbg__grid_hi(grid) * grid->scale;
    p->lo[i] = qdbg__grid_lo(grid);
}

/* Lay out positions at .. at + n - 1 of a row, which begins anew after the last channel. False when
 * a grid is not plain or rounds unlike the first. */
static int pattern_fill(grid_pattern *p, const channel_grids *cg, size_t at, size_t n)
{
    size_t c = at / cg->inner, left = cg->inner - at % cg->inner;
    for (size_t i = 0; i < n; i++) {
        const qdbg__grid *grid = &cg->grids[c];
        if (!grid_is_plain(grid) || grid->rounding != cg->grids[0].rounding)
            return 0;
        pattern_set(p, i, grid);
        if (--left == 0) {
            left = cg->inner;
            c = c + 1 == cg->channels ? 0 : c + 1;
        }
    }
    for (size_t i = n; i < 16; i++) /* a vector reads sixteen */
        pattern_set(p, i, &cg->grids[0]);
    return 1;
}

V16_FN v16 pattern16(v16 x, const grid_pattern *p, size_t i, int rounding)
{
    grid16 g = {v16_load(p->scale + i), v16_load(p->inverse + i), v16_load(p->least + i),
                v16_load(p->most + i), v16_load(p->lo + i)};
    return fakequant16(x, &g, rounding);
}

V16_FN void pattern_row(const float *src, float *dst, size_t n, const grid_pattern *p, int rounding)
{
    if (n < 16) {
        v16_store_part(dst, n, pattern16(v16_load_part(src, n), p, 0, rounding));
        return;
    }
    v16 end = v16_load(src + n - 16);
    for (size_t i = 0; i + 16 < n; i += 16)
        v16_store(dst + i, pattern16(v16_load(src + i), p, i, rounding));
    v16_store(dst + n - 16, pattern16(end, p, n - 16, rounding));
}

static void row_any(const float *src, float *dst, size_t n, const grid_pattern *p, int32_t rounding)
{
    if (rounding == QDBG__ROUND_EVEN)
        pattern_row(src, dst, n, p, QDBG__ROUND_EVEN);
    else if (rounding == QDBG__ROUND_UP)
        pattern_row(src, dst, n, p, QDBG__ROUND_UP);
    else
        pattern_row(src, dst, n, p, QDBG__ROUND_AWAY);
}

static void row_ref(const float *src, float *dst, size_t n, const channel_grids *cg, size_t at)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = qdbg__fakequant_one(src[i], &cg->grids[(at + i) / cg->inner % cg->channels]);
}

/* Columns at .. at + n - 1 of `rows` rows; src and dst point at the first. */
static void columns(const float *src, float *dst, size_t rows, size_t stride, size_t n, size_t at,
                    const channel_grids *cg)
{
    grid_pattern p;
    int plain = pattern_fill(&p, cg, at, n);
    for (size_t r = 0; r < rows; r++) {
        if (plain)
            row_any(src + r * stride, dst + r * stride, n, &p, cg->grids[0].rounding);
        else
            row_ref(src + r * stride, dst + r * stride, n, cg, at);
    }
}

/* Several rows together make one where a row alone is shorter than the pattern. */
static void short_runs(const float *src, float *dst, size_t outer, const channel_grids *cg)
{
    size_t row = cg->channels * cg->inner;
    size_t together = row < PATTERN ? PATTERN / row : 1;
    if (together > outer)
        together = outer;
    size_t stride = row * together, rows = outer / together;
    for (size_t at = 0; at < stride; at += PATTERN) {
        size_t n = stride - at < PATTERN ? stride - at : PATTERN;
        columns(src + at, dst + at, rows, stride, n, at, cg);
    }
    size_t done = rows * stride, rest = outer * row - done;
    if (rest > 0)
        columns(src + done, dst + done, 1, 0, rest, 0, cg);
}

static void fakequant_channels(const float *src, float *dst, size_t outer, size_t channels,
                               size_t inner, const qdbg__grid *grids)
{
    channel_grids cg = {grids, channels, inner};
    size_t runs = outer * channels;
    if (runs == 0 || inner == 0)
        return;
    if (channels == 1) {
        fakequant(src, dst, outer * inner, grids);
    } else if (inner == 1 || (inner < LONG_RUN && outer >= PATTERN_ROWS)) {
        short_runs(src, dst, outer, &cg);
    } else {
        int stream = inner >= STREAM_RUN && exceeds_cache(runs * inner);
        for (size_t r = 0; r < runs; r++) {
            const qdbg__grid *grid = &grids[r % channels];
            size_t at = r * inner;
            (stream ? fakequant_stream : fakequant_cached)(src + at, dst + at, inner, grid);
        }
    }
}

#endif
