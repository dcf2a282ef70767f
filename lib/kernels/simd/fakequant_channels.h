/* Per channel. Where rows repeat, each position of a row gets its grid once, as a pattern that
 * serves row after row; that works for any length of run. Where they do not, as in weights, the
 * runs go one by one, each with its grid spread out. */
#ifndef QDBG_KERNELS_SIMD_FAKEQUANT_CHANNELS_H
#define QDBG_KERNELS_SIMD_FAKEQUANT_CHANNELS_H

#include "fakequant.h"

/* So many rows at a time share what is loaded of a pattern. */
#define ROWS 4

/* Runs from this length on lose nothing by going one by one. Neither do shorter ones that come in
 * few rows: making the pattern costs about as much as a row for every four elements of a run. */
#define LONG_RUN 128

/* Runs this long are worth a call each, and may go past the caches one by one. */
#define VERY_LONG_RUN 4096

/* A grid for each position or channel. Vectors may be written beyond the last. */
#define PATTERN 512
typedef struct grid_pattern {
    _Alignas(64) float scale[PATTERN + 16];
    _Alignas(64) float inverse[PATTERN + 16]; /* 0 marks a grid for the reference */
    _Alignas(64) float least[PATTERN + 16];
    _Alignas(64) float most[PATTERN + 16];
    _Alignas(64) float lo[PATTERN + 16];
    int plain; /* all grids are, and round alike */
} grid_pattern;

/* A tensor's channels, for functions that would have too many arguments. */
typedef struct channel_grids {
    const qdbg__grid *grids;
    size_t channels, inner;
} channel_grids;

/* No zero point of a plain grid is larger; below it the differences are exact in float32. */
#define ZERO_POINT_MAX 0x1p+22f

/* Copy what the grids of n channels from `c` hold, beginning anew after the last: zero_point, qmin
 * and qmax stay integers for now, in the places of inverse, least and most. */
static void pattern_gather(grid_pattern *p, const channel_grids *cg, size_t c, size_t n)
{
    int32_t unlike = 0;
    for (size_t i = 0; i < n; i++) {
        const qdbg__grid *grid = &cg->grids[c];
        p->scale[i] = grid->scale;
        memcpy(&p->inverse[i], &grid->zero_point, sizeof(float));
        memcpy(&p->least[i], &grid->qmin, sizeof(float));
        memcpy(&p->most[i], &grid->qmax, sizeof(float));
        unlike |= grid->rounding ^ cg->grids[0].rounding;
        c = c + 1 == cg->channels ? 0 : c + 1;
    }
    p->plain = unlike == 0;
}

V16_FN v16 gathered(const float *p)
{
    return v16_of_int(v16_bits(v16_load(p)));
}

/* From what was gathered, the rest; p->plain becomes 0 unless all sixteen are plain. */
V16_FN void pattern_finish(grid_pattern *p, size_t i)
{
    v16 zero = v16_set1(0.0f), steps_max = v16_set1(PLAIN_STEPS_MAX),
        scale = v16_load(p->scale + i);
    v16 zero_point = gathered(p->inverse + i);
    v16 lo = v16_sub(gathered(p->least + i), zero_point);
    v16 hi = v16_sub(gathered(p->most + i), zero_point);
    v16m bad =
        v16m_or(v16_lt(scale, v16_set1(PLAIN_SCALE_MIN)), v16_lt(v16_set1(PLAIN_SCALE_MAX), scale));
    bad = v16m_or(bad, v16m_or(v16_lt(zero, lo), v16_lt(hi, zero)));
    bad = v16m_or(bad, v16m_or(v16_lt(steps_max, v16_sub(zero, lo)), v16_lt(steps_max, hi)));
    bad = v16m_or(bad, v16_lt(v16_set1(ZERO_POINT_MAX), v16_abs(zero_point)));
    p->plain &= !v16m_any(bad);
    v16_store(p->inverse + i, v16_select(bad, zero, v16_div(v16_set1(1.0f), scale)));
    v16_store(p->least + i, v16_mul(lo, scale));
    v16_store(p->most + i, v16_mul(hi, scale));
    v16_store(p->lo + i, lo);
}

V16_FN void pattern_store(grid_pattern *p, size_t i, const grid16 *g)
{
    v16_store(p->scale + i, g->scale);
    v16_store(p->inverse + i, g->inverse);
    v16_store(p->least + i, g->least);
    v16_store(p->most + i, g->most);
    v16_store(p->lo + i, g->lo);
}

V16_FN grid16 pattern_load(const grid_pattern *p, size_t i)
{
    return (grid16){v16_load_once(p->scale + i), v16_load_once(p->inverse + i),
                    v16_load_once(p->least + i), v16_load_once(p->most + i),
                    v16_load_once(p->lo + i)};
}

/* The one grid at `i` in all lanes. */
V16_FN grid16 pattern_spread(const grid_pattern *p, size_t i)
{
    return (grid16){v16_set1(p->scale[i]), v16_set1(p->inverse[i]), v16_set1(p->least[i]),
                    v16_set1(p->most[i]), v16_set1(p->lo[i])};
}

/* A grid for each of n channels from `c`. In two sweeps: a vector of numbers just stored one by one
 * is slow to read. */
static void pattern_of_channels(grid_pattern *p, const channel_grids *cg, size_t c, size_t n)
{
    pattern_gather(p, cg, c, (n + 15) / 16 * 16);
    for (size_t i = 0; i < n; i += 16)
        pattern_finish(p, i);
}

/* A grid for each of n positions from `at` of a row; rows may be several in one. Each run is filled
 * with whole vectors, and what they spill over its end the next run overwrites. */
static void pattern_of_positions(grid_pattern *p, const channel_grids *cg, size_t at, size_t n)
{
    grid_pattern of_channels;
    size_t c = at / cg->inner, left = cg->inner - at % cg->inner;
    size_t channels = (n + cg->inner - 1) / cg->inner + 1;
    if (cg->inner == 1) {
        pattern_of_channels(p, cg, c % cg->channels, n);
        return;
    }
    pattern_of_channels(&of_channels, cg, c % cg->channels, channels);
    p->plain = of_channels.plain;
    for (size_t i = 0, k = 0; i < n; k++) {
        grid16 g = pattern_spread(&of_channels, k);
        size_t run = left < n - i ? left : n - i;
        for (size_t j = 0; j < run; j += 16)
            pattern_store(p, i + j, &g);
        i += run;
        left = cg->inner;
    }
}

/* `rows` is a constant, at most ROWS. */
V16_FN void rows_rounded(const float *src, float *dst, size_t rows, size_t stride, size_t n,
                         const grid_pattern *p, int rounding)
{
    v16 end[ROWS]; /* overlaps what comes before, and is read first for the sake of in place */
    for (size_t r = 0; r < rows; r++)
        end[r] = v16_load(src + r * stride + n - 16);
    for (size_t i = 0; i + 16 < n; i += 16) {
        grid16 g = pattern_load(p, i);
        for (size_t r = 0; r < rows; r++) {
            size_t at = r * stride + i;
            v16_store(dst + at, fakequant16(v16_load(src + at), &g, rounding));
        }
    }
    grid16 g = pattern_load(p, n - 16);
    for (size_t r = 0; r < rows; r++)
        v16_store(dst + r * stride + n - 16, fakequant16(end[r], &g, rounding));
}

V16_FN void all_rows_rounded(const float *src, float *dst, size_t rows, size_t stride, size_t n,
                             const grid_pattern *p, int rounding)
{
    size_t r = 0;
    if (n < 16) {
        grid16 g = pattern_load(p, 0);
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
    pattern_of_positions(&p, cg, at, n);
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
static void patterned_rows(const float *src, float *dst, size_t outer, const channel_grids *cg)
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
        grid16 g = pattern_spread(p, c);
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

static void single_runs(const float *src, float *dst, size_t outer, const channel_grids *cg)
{
    grid_pattern p;
    for (size_t at = 0, n; at < cg->channels; at += n) {
        n = alike(cg, at);
        pattern_of_channels(&p, cg, at, n);
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
    else if (inner < LONG_RUN && ROWS * outer > inner)
        patterned_rows(src, dst, outer, &cg);
    else if (inner < VERY_LONG_RUN)
        single_runs(src, dst, outer, &cg);
    else
        very_long_runs(src, dst, outer, &cg);
}

#endif
