/* The tensor core's kernels: one table of functions for each instruction set. Layer 2.
 * *_ref.c is the specification (doc/numerics.md explains it); every other set gives the same bits.
 * Kernels check nothing: their callers have. They never allocate. Vectors need no alignment beyond
 * that of their elements. Source and destination are the same memory or do not overlap; where the
 * element types differ they do not overlap. */
#ifndef QDBG_KERNELS_KERNELS_H
#define QDBG_KERNELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "../base/ctx.h"

/* Rounding rules; the numbers are those of QDBG_ROUND_ in quantizer.h. */
enum {
    QDBG__ROUND_EVEN = 0, /* nearest, ties to even, on x / scale (ONNX, PyTorch) */
    QDBG__ROUND_UP = 1, /* nearest, ties up, on the grid: floor(x / scale - qmin' + 0.5) (AIMET) */
    QDBG__ROUND_AWAY = 2, /* nearest, ties away from zero, on x / scale (TFLite) */
};

/* An integer grid: x_q = clamp(round(x / scale) + zero_point, qmin, qmax). */
typedef struct qdbg__grid {
    float scale; /* > 0, finite, normal */
    int32_t zero_point;
    int32_t qmin, qmax;
    int32_t rounding;
} qdbg__grid;

/* How integers lie in memory. 4-bit ones are packed two a byte, the even index in the low half; the
 * last high half of an odd count is written as 0. */
enum {
    QDBG__STORE_I8 = 0,
    QDBG__STORE_U8 = 1,
    QDBG__STORE_I16 = 2,
    QDBG__STORE_U16 = 3,
    QDBG__STORE_I4 = 4,
    QDBG__STORE_U4 = 5,
};

/* Floating-point formats narrower than float32. Rounding is to nearest, ties to even. */
enum {
    QDBG__FORMAT_F16 = 0,
    QDBG__FORMAT_BF16 = 1,
    QDBG__FORMAT_E4M3 = 2, /* fp8 "E4M3FN": largest 448, no infinity */
    QDBG__FORMAT_E5M2 = 3, /* fp8 "E5M2": largest 57344, with infinity */
    QDBG__FORMATS = 4,
};

/* A float grid: x^ = narrow(x / scale) * scale. */
typedef struct qdbg__float_grid {
    float scale; /* > 0, finite, normal; 1 for a plain cast */
    int32_t format;
    int32_t saturate; /* beyond the largest value: 1 = becomes it; 0 = infinity (E4M3: NaN) */
} qdbg__float_grid;

/* What fake-quantization did to a stretch of values. Sums in double in the fixed 16-lane order over
 * the finite values. */
typedef struct qdbg__quant_stats {
    double sum_xx;   /* sum x^2 */
    double sum_ee;   /* sum (x^ - x)^2 */
    double max_abs;  /* max |x^ - x| */
    uint64_t n;      /* values seen, all kinds */
    uint64_t n_low;  /* rounded below qmin and clipped, -inf among them */
    uint64_t n_high; /* rounded above qmax and clipped, +inf among them */
    uint64_t n_nan, n_inf;
} qdbg__quant_stats;

/* Range of a stretch of values. min > max (+inf, -inf) when no finite value was seen. An end that
 * is zero is +0. */
typedef struct qdbg__range {
    float min, max; /* of the finite values */
    uint64_t n;     /* values seen, all kinds */
    uint64_t n_nan, n_inf;
} qdbg__range;

/* Error of b against a, sums in double in the fixed 16-lane order. Pairs where either side is not
 * finite are counted and left out of the sums. */
typedef struct qdbg__error {
    double sum_aa;  /* sum a^2 */
    double sum_bb;  /* sum b^2 */
    double sum_ab;  /* sum a*b */
    double sum_ee;  /* sum (b-a)^2 */
    double max_abs; /* max |b-a| */
    uint64_t n, n_nonfinite;
} qdbg__error;

/* Sums of the finite values and of their squares, exact: fixed-point numbers wide enough for any
 * float32, so they do not depend on order, split or merge. All zero = empty. Limb k weighs
 * 2^(32k - 149) in `sum` and 2^(32k - 298) in `sum2`; all but the last lie in [0, 2^32). */
#define QDBG__SUM_LIMBS 11
#define QDBG__SUM2_LIMBS 20
typedef struct qdbg__moments {
    uint64_t n, n_nan, n_inf;
    int64_t sum[QDBG__SUM_LIMBS];
    int64_t sum2[QDBG__SUM2_LIMBS];
} qdbg__moments;

/* Counts in bins of width w = 2^exponent that lie on the multiples of w: bin i >= 0 holds
 * [i*w, (i+1)*w), bin i < 0 holds (i*w, (i+1)*w] without 0. Only the 2048 bins that the data needs
 * are kept, wherever they lie: `exponent` is the smallest for which first..last are at most 2048
 * bins and no index passes 2^24 in size. When data outgrows the window, bins are summed in pairs
 * and w doubles. All of it depends on the set of values only, not on order, split or merge. */
#define QDBG__HISTOGRAM_BINS 2048
#define QDBG__HISTOGRAM_MIN_EXPONENT (-126)
typedef struct qdbg__histogram {
    qdbg__range range;
    int32_t exponent;
    int32_t first, last;                  /* bins of min and max; first > last when empty */
    uint32_t reserved;                    /* zero, so that equal histograms are equal bytes */
    uint64_t count[QDBG__HISTOGRAM_BINS]; /* bin i is count[i & 2047] */
} qdbg__histogram;

typedef struct qdbg__kernels {
    const char *name; /* "reference", "avx2", "avx512", "neon" */

    /* dst[i] = fake-quantized src[i]; dst == src allowed. */
    void (*fakequant)(const float *src, float *dst, size_t n, const qdbg__grid *grid);

    /* A tensor seen as [outer, channels, inner]; channel c uses grids[c]. dst == src allowed. */
    void (*fakequant_channels)(const float *src, float *dst, size_t outer, size_t channels,
                               size_t inner, const qdbg__grid *grids);

    /* Add src[0..n-1] to `range`, which the caller set up with qdbg__range_init. */
    void (*range)(const float *src, size_t n, qdbg__range *range);

    /* Add the pair to `error`, zeroed by the caller before the first call. */
    void (*error)(const float *a, const float *b, size_t n, qdbg__error *error);

    /* As fakequant, for a part of a tensor that as a whole exceeds the last-level cache: the stores
     * go past the caches. (fakequant itself does so when n alone exceeds it.) */
    void (*fakequant_stream)(const float *src, float *dst, size_t n, const qdbg__grid *grid);

    /* As fakequant, and add to `stats`, zeroed by the caller before the first call. */
    void (*fakequant_stats)(const float *src, float *dst, size_t n, const qdbg__grid *grid,
                            qdbg__quant_stats *stats);

    /* dst[i] = src[i] on a float grid; NaN stays, -0 stays; dst == src allowed. */
    void (*fakequant_float)(const float *src, float *dst, size_t n, const qdbg__float_grid *grid);

    /* x_q of each value in the `store` layout, which holds qmin..qmax. NaN becomes zero_point. */
    void (*quantize)(const float *src, void *dst, size_t n, const qdbg__grid *grid, int32_t store);

    /* dst[i] = (src[i] - zero_point) * scale. */
    void (*dequantize)(const void *src, float *dst, size_t n, const qdbg__grid *grid,
                       int32_t store);

    /* dst[i] = src[i] / divisor, correctly rounded; divisor normal and > 0; dst == src allowed. */
    void (*divide)(const float *src, float *dst, size_t n, float divisor);

    /* A tensor seen as [outer, channels, inner]; channel c adds to ranges[c]. */
    void (*range_channels)(const float *src, size_t outer, size_t channels, size_t inner,
                           qdbg__range *ranges);

    /* Add src[0..n-1] to `moments`, zeroed by the caller before the first call. */
    void (*moments)(const float *src, size_t n, qdbg__moments *moments);

    /* Add src[0..n-1] to `histogram`, which the caller set up with qdbg__histogram_init. */
    void (*histogram)(const float *src, size_t n, qdbg__histogram *histogram);
} qdbg__kernels;

/* The table for the context's cpu level. */
const qdbg__kernels *qdbg__kernels_of(const qdbg_ctx *ctx);

/* The table for a QDBG_CPU_ level other than QDBG_CPU_BEST; the reference for a level that this
 * build lacks. The caller made sure that the machine runs it. */
const qdbg__kernels *qdbg__kernels_level(int32_t level);

void qdbg__range_init(qdbg__range *range);
void qdbg__range_merge(qdbg__range *into, const qdbg__range *from);

/* Merging stats or errors adds sums: merge the parts of a tensor in a fixed order. */
void qdbg__quant_stats_merge(qdbg__quant_stats *into, const qdbg__quant_stats *from);
void qdbg__error_merge(qdbg__error *into, const qdbg__error *from);

/* Metrics of a pair; NaN when no finite pair was seen. */
double qdbg__error_mse(const qdbg__error *error);
double qdbg__error_sqnr_db(
    const qdbg__error *error); /* 10 log10(sum a^2 / sum e^2); +inf if equal */
double qdbg__error_cosine(
    const qdbg__error *error); /* 1 when both sides are all zero, 0 when one */

void qdbg__moments_merge(qdbg__moments *into, const qdbg__moments *from);

/* Mean, mean square and variance (mean square minus squared mean) of the finite values, each from
 * the exact sums; NaN when there are none. */
double qdbg__moments_mean(const qdbg__moments *moments);
double qdbg__moments_mean_square(const qdbg__moments *moments);
double qdbg__moments_variance(const qdbg__moments *moments);

void qdbg__histogram_init(qdbg__histogram *histogram);
void qdbg__histogram_merge(qdbg__histogram *into, const qdbg__histogram *from);

/* Bins first..last in order; returns their number (0 when empty). The lower edge of counts[k] is
 * (first + k) * 2^exponent. */
size_t qdbg__histogram_counts(const qdbg__histogram *histogram,
                              uint64_t counts[QDBG__HISTOGRAM_BINS]);

/* Blocks: a tensor seen as [outer, length, inner] with a grid for every `block` steps of the middle
 * axis: grids[outer][ceil(length / block)][inner] (the layout of ONNX's blocked scales). */
void qdbg__fakequant_blocks(const qdbg__kernels *kernels, const float *src, float *dst,
                            size_t outer, size_t length, size_t inner, size_t block,
                            const qdbg__grid *grids);

/* The rest per channel of a tensor seen as [outer, channels, inner]; integers lie in the same
 * order as the floats, 4-bit ones packed over the whole tensor. */
void qdbg__quantize_channels(const qdbg__kernels *kernels, const float *src, void *dst,
                             size_t outer, size_t channels, size_t inner, const qdbg__grid *grids,
                             int32_t store);
void qdbg__dequantize_channels(const qdbg__kernels *kernels, const void *src, float *dst,
                               size_t outer, size_t channels, size_t inner, const qdbg__grid *grids,
                               int32_t store);
void qdbg__moments_channels(const qdbg__kernels *kernels, const float *src, size_t outer,
                            size_t channels, size_t inner, qdbg__moments *moments);
void qdbg__histogram_channels(const qdbg__kernels *kernels, const float *src, size_t outer,
                              size_t channels, size_t inner, qdbg__histogram *histograms);

#endif
