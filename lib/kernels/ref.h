/* The reference kernels, for the tables to start from, and the steps that they are made of. */
#ifndef QDBG_KERNELS_REF_H
#define QDBG_KERNELS_REF_H

#include <string.h>

#include "kernels.h"

/* Sums run in this many lanes: element i of a call adds to lane i % 16. */
#define QDBG__LANES 16

/* Lanes to one sum: lane j += lane j + 8, then 4, 2, 1. */
double qdbg__lanes_sum(const double lanes[QDBG__LANES]);

/* The grid's ends in steps from zero. */
float qdbg__grid_lo(const qdbg__grid *grid);
float qdbg__grid_hi(const qdbg__grid *grid);

/* x / scale rounded to whole steps from zero, not yet clamped; x is not NaN. */
float qdbg__grid_round(float x, const qdbg__grid *grid);

/* Steps within the grid. */
float qdbg__grid_clamp(float steps, const qdbg__grid *grid);

float qdbg__fakequant_one(float x, const qdbg__grid *grid);

/* The NaN that goes out for the NaN `x`: sign and payload kept, quiet. */
static inline float qdbg__quiet_nan(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits |= 0x00400000u;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* Element `i` of integers in a `store` layout. Writing an even 4-bit element clears its odd
 * neighbour. */
int32_t qdbg__store_get(const void *data, size_t i, int32_t store);
void qdbg__store_put(void *data, size_t i, int32_t value, int32_t store);

/* A narrow float format, by QDBG__FORMAT_. */
typedef struct qdbg__format {
    int32_t mantissa_bits; /* stored ones */
    int32_t min_exponent;  /* of a normal number */
    float max;             /* largest finite value */
    float beyond;          /* what follows it: infinity or NaN */
} qdbg__format;
extern const qdbg__format qdbg__formats[QDBG__FORMATS];

/* Add exact values: `sum` a multiple of 2^-149 and `sum2` one of 2^-298, below 2^140 and 2^268. */
void qdbg__moments_add(qdbg__moments *moments, double sum, double sum2);

/* Make room for the finite values lo..hi: grow bins and window until both have one. The counts and
 * the range are the caller's to add. */
void qdbg__histogram_cover(qdbg__histogram *histogram, float lo, float hi);

/* Bin of a finite x for bins of width 2^exponent; |x| / 2^exponent is below 2^31. */
int32_t qdbg__histogram_index(float x, int32_t exponent);

void qdbg__fakequant_ref(const float *src, float *dst, size_t n, const qdbg__grid *grid);
void qdbg__fakequant_channels_ref(const float *src, float *dst, size_t outer, size_t channels,
                                  size_t inner, const qdbg__grid *grids);
void qdbg__fakequant_stats_ref(const float *src, float *dst, size_t n, const qdbg__grid *grid,
                               qdbg__quant_stats *stats);
void qdbg__fakequant_float_ref(const float *src, float *dst, size_t n,
                               const qdbg__float_grid *grid);
void qdbg__quantize_ref(const float *src, void *dst, size_t n, const qdbg__grid *grid,
                        int32_t store);
void qdbg__dequantize_ref(const void *src, float *dst, size_t n, const qdbg__grid *grid,
                          int32_t store);
void qdbg__divide_ref(const float *src, float *dst, size_t n, float divisor);
void qdbg__range_ref(const float *src, size_t n, qdbg__range *range);
void qdbg__range_channels_ref(const float *src, size_t outer, size_t channels, size_t inner,
                              qdbg__range *ranges);
void qdbg__error_ref(const float *a, const float *b, size_t n, qdbg__error *error);
void qdbg__moments_ref(const float *src, size_t n, qdbg__moments *moments);
void qdbg__histogram_ref(const float *src, size_t n, qdbg__histogram *histogram);

#endif
