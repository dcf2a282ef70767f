/* The doubling histogram, sixteen lanes at a time. Counters of 16 bits in four copies: a run of
 * equal values then touches four counters in turn, not one, whose increments would each wait for
 * the last. The bin of zero, half of all values behind a ReLU, has a counter for every lane. */
#ifndef QDBG_KERNELS_SIMD_HISTOGRAM_H
#define QDBG_KERNELS_SIMD_HISTOGRAM_H

#include "range.h"

#define COPIES 4
#define COPY_SIZE (QDBG__HISTOGRAM_BINS + 16 / COPIES)

/* Values between flushes: a copy gets a quarter of them, and must not overflow. */
#define PENDING_MAX (COPIES * 65535)

/* Below this, emptying the copies costs more than counting directly. */
#define DIRECT_MAX 2048

typedef struct counters {
    uint16_t count[COPIES * COPY_SIZE];
    size_t pending;
} counters;

typedef struct binning16 {
    v16 per_width; /* 1 / width */
    v16i lane;     /* start of the lane's copy */
    v16i zero;     /* the lane's counter for bin 0 */
} binning16;

static binning16 binning16_of(int32_t exponent)
{
    int32_t lane[16], zero[16];
    for (int32_t j = 0; j < 16; j++) {
        lane[j] = j % COPIES * COPY_SIZE;
        zero[j] = lane[j] + QDBG__HISTOGRAM_BINS + j / COPIES;
    }
    return (binning16){v16_set1(ldexpf(1.0f, -exponent)), v16i_load(lane), v16i_load(zero)};
}

V16_FN v16i bin16(v16 x, const binning16 *b)
{
    v16i j = v16_cut(v16_mul(x, b->per_width));
    return v16i_add(j, v16m_minus_one(v16_lt(x, v16_set1(0.0f))));
}

/* Where sixteen values count. */
V16_FN v16i counter16(v16 x, const binning16 *b)
{
    v16i bin = bin16(x, b);
    v16i at = v16i_add(v16i_and(bin, v16i_set1(QDBG__HISTOGRAM_BINS - 1)), b->lane);
    return v16i_select(v16i_eq(bin, v16i_set1(0)), b->zero, at);
}

/* Values whose counters are found before any is counted: a vector just stored is slow to read. */
#define BATCH 256

static void count_batch(uint16_t *count, const float *src, const binning16 *b)
{
    uint64_t quads[BATCH / 4]; /* four counters of 16 bits each */
    for (size_t i = 0; i < BATCH; i += 16)
        v16i_store16(quads + i / 4, counter16(v16_load(src + i), b));
    for (size_t q = 0; q < BATCH / 4; q++) {
        count[quads[q] & 0xffff]++;
        count[quads[q] >> 16 & 0xffff]++;
        count[quads[q] >> 32 & 0xffff]++;
        count[quads[q] >> 48]++;
    }
}

static void counters_flush(counters *c, qdbg__histogram *histogram)
{
    const uint16_t *a = c->count, *b = a + COPY_SIZE, *d = b + COPY_SIZE, *e = d + COPY_SIZE;
    for (size_t i = 0; i < QDBG__HISTOGRAM_BINS; i++)
        histogram->count[i] += (uint32_t)a[i] + b[i] + d[i] + e[i];
    for (size_t copy = 0; copy < COPIES; copy++) {
        for (size_t k = 0; k < 16 / COPIES; k++)
            histogram->count[0] += a[copy * COPY_SIZE + QDBG__HISTOGRAM_BINS + k];
    }
    memset(c, 0, sizeof *c);
}

static void count_directly(const float *src, size_t n, qdbg__histogram *histogram)
{
    binning16 b = binning16_of(histogram->exponent);
    for (size_t i = 0; i < n; i += 16) {
        size_t m = n - i < 16 ? n - i : 16;
        int32_t bins[16];
        v16i_store(bins, bin16(m < 16 ? v16_load_part(src + i, m) : v16_load(src + i), &b));
        for (size_t j = 0; j < m; j++) {
            if (isfinite(src[i + j]))
                histogram->count[(uint32_t)bins[j] % QDBG__HISTOGRAM_BINS]++;
        }
    }
}

static void count_block(counters *c, const float *src, size_t n, qdbg__histogram *histogram)
{
    binning16 b = binning16_of(histogram->exponent);
    size_t i = 0;
    for (; i + BATCH <= n; i += BATCH)
        count_batch(c->count, src + i, &b);
    c->pending += i;
    count_directly(src + i, n - i, histogram);
}

/* Take in a block's range. What was counted on narrower bins must have been flushed. */
static void cover_block(const qdbg__range *block, qdbg__histogram *histogram)
{
    if (block->min < histogram->range.min || block->max > histogram->range.max)
        qdbg__histogram_cover(histogram, block->min, block->max);
    qdbg__range_merge(&histogram->range, block);
}

static void histogram_long(const float *src, size_t n, qdbg__histogram *histogram)
{
    counters c;
    memset(&c, 0, sizeof c);
    for (size_t i = 0; i < n; i += RANGE_BLOCK) {
        size_t m = n - i < RANGE_BLOCK ? n - i : RANGE_BLOCK;
        qdbg__range block;
        qdbg__range_init(&block);
        range(src + i, m, &block);
        int wider = block.min < histogram->range.min || block.max > histogram->range.max;
        if (c.pending > 0 && (wider || c.pending + m > PENDING_MAX))
            counters_flush(&c, histogram);
        cover_block(&block, histogram);
        if (block.n_nan + block.n_inf == 0)
            count_block(&c, src + i, m, histogram);
        else
            count_directly(src + i, m, histogram);
    }
    if (c.pending > 0)
        counters_flush(&c, histogram);
}

static void histogram(const float *src, size_t n, qdbg__histogram *histogram)
{
    if (n > DIRECT_MAX) {
        histogram_long(src, n, histogram);
        return;
    }
    qdbg__range block;
    qdbg__range_init(&block);
    range(src, n, &block);
    cover_block(&block, histogram);
    count_directly(src, n, histogram);
}

#endif
