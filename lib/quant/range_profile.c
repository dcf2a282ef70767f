#include "range_profile.h"

#include <math.h>
#include <string.h>

#define SLOT(i) ((uint32_t)(i) % QDBG__HISTOGRAM_BINS)

/* Magnitudes that bin `i` can hold: the ends of the whole cut the first and the last. */
static void extent(const qdbg__half *h, size_t i, double *lo, double *hi)
{
    *lo = (double)(h->first + (int64_t)i) * h->width;
    *hi = *lo + h->width;
    if (i == 0)
        *lo = h->low;
    if (i + 1 == h->n)
        *hi = h->high;
}

/* ---- from a histogram ---- */

/* Where the bins of one sign lie in the histogram: `n` of them from magnitude bin `first`. */
static void place_half(qdbg__half *h, const qdbg__histogram *g, int sign)
{
    double min = (double)g->range.min, max = (double)g->range.max;
    int32_t first = sign ? -1 - g->last : g->first, last = sign ? -1 - g->first : g->last;
    h->width = ldexp(1, g->exponent);
    h->per_width = ldexp(1, -g->exponent);
    h->first = first < 0 ? 0 : first;
    h->n = last < h->first ? 0 : (size_t)(last - h->first + 1);
    h->low = sign ? fmax(-max, 0) : fmax(min, 0);
    h->high = sign ? -min : max;
    h->values = NULL;
    if (h->n == 0) {
        h->low = 1;
        h->high = 0;
    }
}

static void sum_half(qdbg__half *h, const qdbg__histogram *g, int sign)
{
    qdbg__above sum = {0, 0, 0};
    h->above[h->n] = sum;
    for (size_t i = h->n; i-- > 0;) {
        int32_t bin = (int32_t)(h->first + (int64_t)i);
        double lo, hi, n = (double)g->count[SLOT(sign ? -1 - bin : bin)];
        extent(h, i, &lo, &hi);
        sum.n += n;
        sum.sum += n * (lo + hi) / 2;
        sum.sum2 += n * (lo * lo + lo * hi + hi * hi) / 3;
        h->above[i] = sum;
    }
}

void qdbg__profile_of_histogram(qdbg__profile *profile, const qdbg__histogram *g)
{
    for (int sign = 0; sign < 2; sign++) {
        place_half(&profile->half[sign], g, sign);
        sum_half(&profile->half[sign], g, sign);
    }
}

/* ---- from values ---- */

static void count_starts(qdbg__half *h, const qdbg__histogram *g, int sign, uint32_t at)
{
    for (size_t i = 0; i < h->n; i++) {
        int32_t bin = (int32_t)(h->first + (int64_t)i);
        h->start[i] = at;
        at += (uint32_t)g->count[SLOT(sign ? -1 - bin : bin)];
    }
    h->start[h->n] = at;
}

/* Exact sums in place of those of evenly spread bins. */
static void sum_values(qdbg__half *h)
{
    qdbg__above sum = {0, 0, 0};
    for (size_t i = h->n; i-- > 0;) {
        for (uint32_t k = h->start[i]; k < h->start[i + 1]; k++) {
            double x = (double)h->values[k];
            sum.n += 1;
            sum.sum += x;
            sum.sum2 += x * x;
        }
        h->above[i] = sum;
    }
}

void qdbg__profile_of_values(qdbg__profile *profile, const qdbg__histogram *g, const float *data,
                             size_t n)
{
    uint32_t at = 0;
    for (int sign = 0; sign < 2; sign++) {
        qdbg__half *h = &profile->half[sign];
        place_half(h, g, sign);
        count_starts(h, g, sign, at);
        h->above[h->n] = (qdbg__above){0, 0, 0};
        h->values = profile->values;
        at = h->start[h->n];
    }
    for (size_t k = 0; k < n; k++) { /* start[] moves on to the ends ... */
        if (!isfinite(data[k]))
            continue;
        qdbg__half *h = &profile->half[data[k] < 0];
        double bin = (double)fabsf(data[k]) * h->per_width;
        profile->values[h->start[(int64_t)bin - h->first]++] = fabsf(data[k]);
    }
    for (int sign = 0; sign < 2; sign++) { /* ... and back */
        qdbg__half *h = &profile->half[sign];
        memmove(h->start + 1, h->start, h->n * sizeof *h->start);
        h->start[0] = sign ? profile->half[0].start[profile->half[0].n] : 0;
        sum_values(h);
    }
}

/* ---- look up ---- */

/* Bin that holds magnitude b; h->n when b lies beyond all. Negative: before all. */
static int64_t bin_of(const qdbg__half *h, double b)
{
    if (b >= h->high)
        return (int64_t)h->n;
    return (int64_t)(b * h->per_width) - h->first;
}

static double excess_in_bin(const qdbg__half *h, size_t i, double b)
{
    double sum = 0, lo, hi, n = h->above[i].n - h->above[i + 1].n;
    if (h->values) {
        for (uint32_t k = h->start[i]; k < h->start[i + 1]; k++)
            sum += fmax((double)h->values[k] - b, 0);
        return sum;
    }
    extent(h, i, &lo, &hi);
    if (b <= lo)
        return n * ((lo + hi) / 2 - b);
    return b < hi ? n * (hi - b) * (hi - b) / (2 * (hi - lo)) : 0;
}

double qdbg__half_excess(const qdbg__half *h, double b)
{
    int64_t i = bin_of(h, b);
    if (i >= (int64_t)h->n)
        return 0;
    if (i < 0)
        return h->above[0].sum - b * h->above[0].n;
    const qdbg__above *rest = &h->above[i + 1];
    return rest->sum - b * rest->n + excess_in_bin(h, (size_t)i, b);
}

static double excess2_in_bin(const qdbg__half *h, size_t i, double b)
{
    double sum = 0, lo, hi, n = h->above[i].n - h->above[i + 1].n;
    if (h->values) {
        for (uint32_t k = h->start[i]; k < h->start[i + 1]; k++) {
            double e = fmax((double)h->values[k] - b, 0);
            sum += e * e;
        }
        return sum;
    }
    extent(h, i, &lo, &hi);
    double far = hi - b, near = lo - b;
    if (b <= lo)
        return n * (far * far + far * near + near * near) / 3;
    return b < hi ? n * far * far * far / (3 * (hi - lo)) : 0;
}

double qdbg__half_excess2(const qdbg__half *h, double b)
{
    int64_t i = bin_of(h, b);
    if (i >= (int64_t)h->n)
        return 0;
    size_t next = i < 0 ? 0 : (size_t)i + 1;
    const qdbg__above *rest = &h->above[next];
    double sum = rest->sum2 - 2 * b * rest->sum + b * b * rest->n;
    return i < 0 ? sum : sum + excess2_in_bin(h, (size_t)i, b);
}

double qdbg__half_count(const qdbg__half *h, double b)
{
    int64_t i = bin_of(h, b);
    if (i >= (int64_t)h->n)
        return 0;
    if (i < 0)
        return h->above[0].n;
    double lo, hi, n = h->above[i].n - h->above[i + 1].n;
    extent(h, (size_t)i, &lo, &hi);
    double share = b <= lo ? 1 : hi > lo ? (hi - b) / (hi - lo) : 0;
    return h->above[i + 1].n + n * share;
}
