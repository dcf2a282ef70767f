/* The histogram that grows by doubling: its rules and the specification of filling it. */
#include "ref.h"

#include <math.h>

#define SLOT(i) ((uint32_t)(i) % QDBG__HISTOGRAM_BINS)

/* No bin's index reaches this: a float32 tells no finer bins apart. */
#define INDEX_LIMIT 0x1p24

void qdbg__histogram_init(qdbg__histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
    qdbg__range_init(&histogram->range);
    histogram->exponent = QDBG__HISTOGRAM_MIN_EXPONENT;
    histogram->last = -1;
}

/* Sizes are cut, not values, so that halving a width halves every index, whatever the sign: -1 - j
 * shifted right is -1 - (j >> 1). */
int32_t qdbg__histogram_index(float x, int32_t exponent)
{
    int32_t j = (int32_t)(ldexp(fabs((double)x), -exponent));
    return x < 0.0f ? -1 - j : j;
}

static int fits(float lo, float hi, int32_t exponent)
{
    double size = fmax(fabs((double)lo), fabs((double)hi));
    if (ldexp(size, -exponent) >= INDEX_LIMIT)
        return 0;
    int32_t span = qdbg__histogram_index(hi, exponent) - qdbg__histogram_index(lo, exponent);
    return span < QDBG__HISTOGRAM_BINS;
}

/* Sum bins in groups of 2^shift. */
static void coarsen(qdbg__histogram *histogram, int32_t shift)
{
    uint64_t old[QDBG__HISTOGRAM_BINS];
    memcpy(old, histogram->count, sizeof old);
    memset(histogram->count, 0, sizeof histogram->count);
    for (int32_t i = histogram->first; i <= histogram->last; i++)
        histogram->count[SLOT(i >> shift)] += old[SLOT(i)];
    histogram->first >>= shift;
    histogram->last >>= shift;
}

static void set_exponent(qdbg__histogram *histogram, int32_t exponent)
{
    int32_t shift = exponent - histogram->exponent;
    if (shift > 0 && histogram->first <= histogram->last)
        coarsen(histogram, shift < 31 ? shift : 31);
    histogram->exponent = exponent;
}

void qdbg__histogram_cover(qdbg__histogram *histogram, float lo, float hi)
{
    float min = fminf(lo, histogram->range.min);
    float max = fmaxf(hi, histogram->range.max);
    int32_t exponent = histogram->exponent;
    while (!fits(min, max, exponent))
        exponent++;
    set_exponent(histogram, exponent);
    histogram->first = qdbg__histogram_index(min, exponent);
    histogram->last = qdbg__histogram_index(max, exponent);
}

void qdbg__histogram_ref(const float *src, size_t n, qdbg__histogram *histogram)
{
    qdbg__range range;
    qdbg__range_init(&range);
    qdbg__range_ref(src, n, &range);
    if (range.min <= range.max)
        qdbg__histogram_cover(histogram, range.min, range.max);
    qdbg__range_merge(&histogram->range, &range);
    for (size_t i = 0; i < n; i++) {
        if (isfinite(src[i]))
            histogram->count[SLOT(qdbg__histogram_index(src[i], histogram->exponent))]++;
    }
}

void qdbg__histogram_merge(qdbg__histogram *into, const qdbg__histogram *from)
{
    if (from->first <= from->last) {
        qdbg__histogram_cover(into, from->range.min, from->range.max);
        /* Both are as fine as their data allows, so `from` is not coarser than the union. */
        int32_t shift = into->exponent - from->exponent;
        if (shift > 31)
            shift = 31;
        for (int32_t i = from->first; i <= from->last; i++)
            into->count[SLOT(i >> shift)] += from->count[SLOT(i)];
    }
    qdbg__range_merge(&into->range, &from->range);
}

size_t qdbg__histogram_counts(const qdbg__histogram *histogram,
                              uint64_t counts[QDBG__HISTOGRAM_BINS])
{
    size_t n = 0;
    for (int32_t i = histogram->first; i <= histogram->last; i++)
        counts[n++] = histogram->count[SLOT(i)];
    return n;
}
