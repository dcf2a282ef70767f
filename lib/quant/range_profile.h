/* A tensor's values made ready for range searches: what lies beyond any magnitude is found in
 * constant time. Layer 3. */
#ifndef QDBG_QUANT_RANGE_PROFILE_H
#define QDBG_QUANT_RANGE_PROFILE_H

#include "../kernels/kernels.h"

/* Up to this many values a profile knows each of them. */
#define QDBG__PROFILE_VALUES 2048

/* The magnitudes from some bin on. */
typedef struct qdbg__above {
    double n, sum, sum2;
} qdbg__above;

/* The values of one sign, by magnitude. Zero counts as positive. */
typedef struct qdbg__half {
    double width;     /* of a bin: a power of two */
    double per_width; /* 1 / width */
    double low, high; /* smallest and largest magnitude; low > high when empty */
    int64_t first;    /* number of the first bin: it starts at first * width */
    size_t n;         /* bins */
    qdbg__above above[QDBG__HISTOGRAM_BINS + 1]; /* bins i.. ; [n] is zero */
    /* Where each value is known: magnitudes by bin, those of bin i are values[start[i]] to
     * values[start[i + 1] - 1]. Else `values` is NULL and each bin's are spread evenly over it. */
    const float *values;
    uint32_t start[QDBG__HISTOGRAM_BINS + 1];
} qdbg__half;

enum { QDBG__POSITIVE = 0, QDBG__NEGATIVE = 1 };

/* Large: lives on the heap. */
typedef struct qdbg__profile {
    qdbg__half half[2];
    float values[QDBG__PROFILE_VALUES];
} qdbg__profile;

void qdbg__profile_of_histogram(qdbg__profile *profile, const qdbg__histogram *histogram);

/* As above, of the very values that the histogram counts, of which at most QDBG__PROFILE_VALUES are
 * finite. */
void qdbg__profile_of_values(qdbg__profile *profile, const qdbg__histogram *histogram,
                             const float *data, size_t n);

/* Sum of (x - b)+ and of its square over the magnitudes x of a half; b >= 0. */
double qdbg__half_excess(const qdbg__half *half, double b);
double qdbg__half_excess2(const qdbg__half *half, double b);

/* Magnitudes above b. */
double qdbg__half_count(const qdbg__half *half, double b);

#endif
