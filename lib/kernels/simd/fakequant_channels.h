/* Per channel. The grids of many channels are made ready at once, a number for each lane. Long runs
 * then take one lane's, spread out. Short runs (the channel axis last, or nearly) take them as a
 * pattern, a grid for each position of a row, that serves row after row. */
#ifndef QDBG_KERNELS_SIMD_FAKEQUANT_CHANNELS_H
#define QDBG_KERNELS_SIMD_FAKEQUANT_CHANNELS_H

#include "fakequant.h"

/* Runs this long fill vectors of their own. */
#define LONG_RUN 16

/* Making a pattern ready costs about as much as this many rows of short runs. */
#define PATTERN_ROWS 4

/* Runs this long are worth a call each, and may go past the caches one by one. */
#define VERY_LONG_RUN 4096

#define PATTERN 512
typedef struct grid_pattern {
    _Alignas(64) float scale[PATTERN];
    _Alignas(64) float inverse[PATTERN]; /* 0 marks a grid for the reference */
    _Alignas(64) float least[PATTERN];
    _Alignas(64) float most[PATTERN];
    _Alignas(64) float lo[PATTERN];
    int plain; /* all grids are, and round alike */
} grid_pattern;

/* A tensor's channels, for functions that would have too many arguments. */
typedef struct channel_grids {
    const qdbg__grid *grids;
    size_t channels, inner;
} channel_grids;

/* Sixteen grids as they are found, before they are made ready. */
typedef struct grids16 {
    float scale[16];
    int32_t zero_point[16], qmin[16], qmax[16];
} grids16;

/* No zero point of a plain grid is larger; below it the differences are exact in float32. */
#define ZERO_POINT_MAX 0x1p+22f

/* Returns whether all sixteen are plain. */
V16_FN int pattern_finish(grid_pattern *p, size_t i, const grids16 *g)
{
    v16 zero = v16_set1(0.0f), steps_max = v16_set1(PLAIN_STEPS_MAX), scale = v16_load(g->scale);
    v16 zero_point = v16_of_int(v16i_load(g->zero_point));
    v16 lo = v16_sub(v16_of_int(v16i_load(g->qmin)), zero_point);
    v16 hi = v16_sub(v16_of_int(v16i_load(g->qmax)), zero_point);
    v16m bad =
        v16m_or(v16_lt(scale, v16_set1(PLAIN_SCALE_MIN)), v16_lt(v16_set1(PLAIN_SCALE_MAX), scale));
    bad = v16m_or(bad, v16m_or(v16_lt(zero, lo), v16_lt(hi, zero)));
    bad = v16m_or(bad, v16m_or(v16_lt(steps_max, v16_sub(zero, lo)), v16_lt(steps_max, hi)));
    bad = v16m_or(bad, v16_lt(v16_set1(ZERO_POINT_MAX), v16_abs(zero_point)));
    v16_store(p->scale + i, scale);
    v16_store(p->inverse + i, v16_select(bad, zero, v16_div(v16_set1(1.0f), scale)));
    v16_store(p->least + i, v16_mul(lo, scale));
    v16_store(p->most + i, v16_mul(hi, scale));
    v16_store(p->lo + i, lo);
    return !v16m_any(bad);
}

/* Make ready positions at .. at + n - 1 of a row, which begins anew after the last channel. */
static void pattern_fill(grid_pattern *p, const channel_grids *cg, size_t at, size_t n)
{
    size_t c = at / cg->inner, left = cg->inner - at % cg->inner;
    p->plain = 1;
    for (size_t i = 0; i < n; i += 16) { /* whole vectors */
        grids16 g;
        for (size_t j = 0; j < 16; j++) {
            const qdbg__grid *grid = &cg->grids[c];
            g.scale[j] = grid->scale;
            g.zero_point[j] = grid->zero_point;
            g.qmin[j] = grid->qmin;
            g.qmax[j] = grid->qmax;
            p->plain &= grid->rounding == cg->grids[0].rounding;
            if (--left == 0) {
                left = cg->inner;
                c = c + 1 == cg->channels ? 0 : c + 1;
            }
        }
        p->plain &= pattern_finish(p, i, &g);
    }
}

V16_FN grid16 pattern_at(const grid_pattern *p, size_t i)
{
    return (grid16){v16_load_once(p->scale + i), v16_load_once(p->inverse + i),
                    v16_load_once(p->least + i), v16_load_once(p->most + i),
                    v16_load_once(p->lo + i)};
}

/* So many rows at a time share what is loaded of the pattern. */
#define ROWS 4

/* `rows` is a constant, at most ROWS. */
V16_FN void rows_rounded(const float *src, float *dst, size_t rows, size_t stride, size_t n,
                         const grid_pattern *p, int rounding)
{
    v16 end[ROWS]; /* overlaps what comes before, and is read first for the sake of in place */
    for (size_t r = 0; r < rows; r++)
        end[r] = v16_load(src + r * stride + n - 16);
    for (size_t i = 0; i + 16 < n; i += 16) {
        grid16 g = pattern_at(p, i);
        for (size_t r = 0; r < rows; r++) {
            size_t at = r * stride + i;
            v16_store(dst + at, fakequant16(v16_load(src + at), &g, rounding));
        }
    }
    grid16 g = pattern_at(p, n - 16);
    for (size_t r = 0; r < rows; r++)
        v16_store(dst + r * stride + n - 16, fakequant16(end[r], &g, rounding));
}

V16_FN void all_rows_rounded(const float *src, float *dst, size_t rows, size_t stride, size_t n,
                             const grid_pattern *p, int rounding)
{
    size_t r = 0;
    if (n < 16) {
        grid16 g = pattern_at(p, 0);
        for (; r < rows; r++) {
            v16 x = v16_load_part(src + r * stride, n);
            v16_store_part(dst + r * stride, n, fakequant16(x, &g, rounding));
        }
        return;
    }
    for (; r + ROWS <= rows; r += ROWS)
        rows_rounded(src + r * stride, dst + r * stride, ROWS, stride, n, p, rounding);
    for (; r < rows; r++)
        rows_rounded(src + r * stride, dst + r * stride, 1, stride, n, p, rounding);
}

static void rows_ref(const float *src, float *dst, size_t rows, size_t stride, size_t n, size_t at,
                     const channel_grids *cg)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < n; i++) {
            const qdbg__grid *grid = &cg->grids[(at + i) / cg->inner % cg->channels];
            dst[r * stride + i] = qdbg__fakequant_one(src[r * stride + i], grid);
        }
    }
}

/* Columns at .. at + n - 1 of `rows` rows; src and dst point at the first. */
static void columns(const float *src, float *dst, size_t rows, size_t stride, size_t n, size_t at,
                    const channel_grids *cg)
{
    grid_pattern p;
    pattern_fill(&p, cg, at, n);
    if (!p.plain)
        rows_ref(src, dst, rows, stride, n, at, cg);
    else if (cg->grids[0].rounding == QDBG__ROUND_EVEN)
        all_rows_rounded(src, dst, rows, stride, n, &p, QDBG__ROUND_EVEN);
    else if (cg->grids[0].rounding == QDBG__ROUND_UP)
        all_rows_rounded(src, dst, rows, stride, n, &p, QDBG__ROUND_UP);
    else
        all_rows_rounded(src, dst, rows, stride, n, &p, QDBG__ROUND_AWAY);
}

/* Several rows together make one where a row alone is shorter than the pattern. */
static void short_runs(const float *src, float *dst, size_t outer, const channel_grids *cg)
{
    size_t row = cg->channels * cg->inner;
    size_t together = row < PATTERN ? PATTERN / row : 1;
    if (together > 16)
        together -= together % 16; /* the rows of the pattern then keep the first one's alignment */
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

/* n runs that lie one after another, of the channels that the pattern begins with. */
V16_FN void runs_rounded(const float *src, float *dst, size_t n, const grid_pattern *p,
                         const channel_grids *cg, size_t at, int rounding)
{
    size_t inner = cg->inner;
    for (size_t c = 0; c < n; c++, src += inner, dst += inner) {
        if (p->inverse[c] == 0.0f) {
            qdbg__fakequant_ref(src, dst, inner, &cg->grids[at + c]);
            continue;
        }
        grid16 g = {v16_set1(p->scale[c]), v16_set1(p->inverse[c]), v16_set1(p->least[c]),
                    v16_set1(p->most[c]), v16_set1(p->lo[c])};
        fakequant_run(src, dst, inner, &g, rounding);
    }
}

/* Runs of channels at .. at + n - 1, all of one rounding. */
static void runs_any(const float *src, float *dst, size_t n, const grid_pattern *p,
                     const channel_grids *cg, size_t at)
{
    int32_t rounding = cg->grids[at].rounding;
    if (rounding == QDBG__ROUND_EVEN)
        runs_rounded(src, dst, n, p, cg, at, QDBG__ROUND_EVEN);
    else if (rounding == QDBG__ROUND_UP)
        runs_rounded(src, dst, n, p, cg, at, QDBG__ROUND_UP);
    else
        runs_rounded(src, dst, n, p, cg, at, QDBG__ROUND_AWAY);
}

/* Channels from `at` that round alike, as many as a pattern holds. */
static size_t alike(const channel_grids *cg, size_t at)
{
    size_t n = 1;
    while (n < PATTERN && at + n < cg->channels &&
           cg->grids[at + n].rounding == cg->grids[at].rounding)
        n++;
    return n;
}

static void long_runs(const float *src, float *dst, size_t outer, const channel_grids *cg)
{
    channel_grids each = {cg->grids, cg->channels, 1};
    grid_pattern p;
    for (size_t at = 0, n; at < cg->channels; at += n) {
        n = alike(cg, at);
        pattern_fill(&p, &each, at, n);
        for (size_t o = 0; o < outer; o++) {
            size_t start = (o * cg->channels + at) * cg->inner;
            runs_any(src + start, dst + start, n, &p, cg, at);
        }
    }
}

static void very_long_runs(const float *src, float *dst, size_t outer, const channel_grids *cg)
{
    size_t runs = outer * cg->channels;
    int stream = exceeds_cache(runs * cg->inner);
    for (size_t r = 0; r < runs; r++, src += cg->inner, dst += cg->inner) {
        const qdbg__grid *grid = &cg->grids[r % cg->channels];
        if (stream)
            fakequant_stream(src, dst, cg->inner, grid);
        else
            fakequant_cached(src, dst, cg->inner, grid);
    }
}

static void fakequant_channels(const float *src, float *dst, size_t outer, size_t channels,
                               size_t inner, const qdbg__grid *grids)
{
    channel_grids cg = {grids, channels, inner};
    if (outer == 0 || channels == 0 || inner == 0)
        return;
    if (channels == 1)
        fakequant(src, dst, outer * inner, grids);
    else if (inner == 1 || (inner < LONG_RUN && outer >= PATTERN_ROWS))
        short_runs(src, dst, outer, &cg);
    else if (inner < VERY_LONG_RUN)
        long_runs(src, dst, outer, &cg);
    else
        very_long_runs(src, dst, outer, &cg);
}

#endif
