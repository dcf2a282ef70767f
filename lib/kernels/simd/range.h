/* Minimum and maximum, sixteen lanes at a time. */
#ifndef QDBG_KERNELS_SIMD_RANGE_H
#define QDBG_KERNELS_SIMD_RANGE_H

#include <math.h>

#include "../ref.h"
#include "v16.h"

/* A block that holds a NaN or an infinity is read again, with more care. */
#define RANGE_BLOCK 4096

typedef struct range16 {
    v16 least, most;
    v16 spoilt; /* 0 while all values are finite, then NaN */
} range16;

V16_FN void range16_add(range16 *r, v16 x)
{
    r->least = v16_min(r->least, x);
    r->most = v16_max(r->most, x);
    r->spoilt = v16_fma(x, v16_set1(0.0f), r->spoilt);
}

V16_FN void range16_merge(range16 *into, const range16 *from)
{
    into->least = v16_min(into->least, from->least);
    into->most = v16_max(into->most, from->most);
    into->spoilt = v16_add(into->spoilt, from->spoilt);
}

/* The block's range in lanes; left as it was when the block holds a NaN or an infinity, which is
 * returned. Two at a time, so that they do not wait for each other. */
V16_FN int range_block(const float *src, size_t n, v16 *least, v16 *most)
{
    range16 a = {*least, *most, v16_set1(0.0f)}, b = a;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        range16_add(&a, v16_load_once(src + i));
        range16_add(&b, v16_load_once(src + i + 16));
    }
    if (i < n)
        range16_add(&a, v16_load(src + i));
    range16_merge(&a, &b);
    if (v16m_any(v16_isnan(a.spoilt)))
        return 1;
    *least = a.least;
    *most = a.most;
    return 0;
}

V16_FN void range_block_careful(const float *src, size_t n, v16 *least, v16 *most,
                                qdbg__range *range)
{
    for (size_t i = 0; i < n; i += 16) {
        v16 x = v16_load(src + i);
        v16m out = v16_nonfinite(x);
        unsigned nan = v16m_count(v16_isnan(x));
        range->n_nan += nan;
        range->n_inf += v16m_count(out) - nan;
        *least = v16_min(*least, v16_select(out, *least, x));
        *most = v16_max(*most, v16_select(out, *most, x));
    }
}

/* Lanes into the range; -0 becomes +0. */
V16_FN void range_close(v16 least, v16 most, qdbg__range *range)
{
    float low[16], high[16];
    v16_store(low, least);
    v16_store(high, most);
    for (size_t j = 0; j < 16; j++) {
        range->min = low[j] < range->min ? low[j] : range->min;
        range->max = high[j] > range->max ? high[j] : range->max;
    }
    range->min += 0.0f;
    range->max += 0.0f;
}

static void range(const float *src, size_t n, qdbg__range *range)
{
    v16 least = v16_set1(INFINITY), most = v16_set1(-INFINITY);
    size_t whole = n / 16 * 16;
    for (size_t i = 0; i < whole; i += RANGE_BLOCK) {
        size_t m = whole - i < RANGE_BLOCK ? whole - i : RANGE_BLOCK;
        if (range_block(src + i, m, &least, &most))
            range_block_careful(src + i, m, &least, &most, range);
    }
    range->n += whole;
    if (whole > 0)
        range_close(least, most, range);
    qdbg__range_ref(src + whole, n - whole, range);
}

/* Short runs (the channel axis last, or nearly): a lane for each of so many positions of a row. */
#define RANGE_COLUMNS 512
typedef struct range_columns {
    float min[RANGE_COLUMNS], max[RANGE_COLUMNS];
    size_t at; /* of the first position in the row */
    size_t channels, inner;
    qdbg__range *ranges;
} range_columns;

static qdbg__range *range_at(const range_columns *rc, size_t i)
{
    return &rc->ranges[(rc->at + i) / rc->inner % rc->channels];
}

static void range_count_nonfinite(range_columns *rc, size_t i, v16 x)
{
    float lanes[16];
    v16_store(lanes, x);
    for (size_t j = 0; j < 16; j++) {
        if (!isfinite(lanes[j])) {
            range_at(rc, i + j)->n_nan += isnan(lanes[j]);
            range_at(rc, i + j)->n_inf += !isnan(lanes[j]);
        }
    }
}

V16_FN void range_columns_add(range_columns *rc, size_t i, v16 x)
{
    v16 least = v16_load(rc->min + i), most = v16_load(rc->max + i);
    v16m out = v16_nonfinite(x);
    v16 low = x, high = x;
    if (__builtin_expect(v16m_any(out), 0)) {
        range_count_nonfinite(rc, i, x);
        low = v16_select(out, least, x);
        high = v16_select(out, most, x);
    }
    v16_store(rc->min + i, v16_min(least, low));
    v16_store(rc->max + i, v16_max(most, high));
}

static void range_columns_row(range_columns *rc, const float *src, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        range_columns_add(rc, i, v16_load(src + i));
    if (i < n)
        range_columns_add(rc, i, v16_load_part(src + i, n - i));
}

static void range_columns_run(range_columns *rc, const float *src, size_t rows, size_t stride,
                              size_t n)
{
    for (size_t i = 0; i < RANGE_COLUMNS; i++) {
        rc->min[i] = INFINITY;
        rc->max[i] = -INFINITY;
    }
    for (size_t r = 0; r < rows; r++)
        range_columns_row(rc, src + r * stride, n);
    for (size_t i = 0; i < n; i++) {
        qdbg__range one = {.min = rc->min[i] + 0.0f, .max = rc->max[i] + 0.0f, .n = rows};
        qdbg__range_merge(range_at(rc, i), &one);
    }
}

static void range_short_runs(const float *src, size_t outer, size_t channels, size_t inner,
                             qdbg__range *ranges)
{
    range_columns rc = {.channels = channels, .inner = inner, .ranges = ranges};
    size_t row = channels * inner;
    size_t together = row < RANGE_COLUMNS ? RANGE_COLUMNS / row : 1;
    if (together > outer)
        together = outer;
    size_t stride = row * together, rows = outer / together;
    for (rc.at = 0; rc.at < stride; rc.at += RANGE_COLUMNS) {
        size_t n = stride - rc.at < RANGE_COLUMNS ? stride - rc.at : RANGE_COLUMNS;
        range_columns_run(&rc, src + rc.at, rows, stride, n);
    }
    rc.at = 0;
    range_columns_run(&rc, src + rows * stride, 1, 0, outer * row - rows * stride);
}

static void range_channels(const float *src, size_t outer, size_t channels, size_t inner,
                           qdbg__range *ranges)
{
    if (outer == 0 || channels == 0 || inner == 0)
        return;
    if (inner < 16) {
        range_short_runs(src, outer, channels, inner, ranges);
        return;
    }
    for (size_t r = 0; r < outer * channels; r++)
        range(src + r * inner, inner, &ranges[r % channels]);
}

#endif
