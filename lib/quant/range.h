/* Range methods over what observers hold. Layer 3. */
#ifndef QDBG_QUANT_RANGE_H
#define QDBG_QUANT_RANGE_H

#include <qdebug/range.h>

#include "../base/ctx.h"
#include "../kernels/kernels.h"
#include "range_profile.h"

/* A range; min <= 0 <= max unless it says otherwise. */
typedef struct qdbg__span {
    float min, max;
} qdbg__span;

/* Counts of finite values by sign, exponent and the first three bits of the mantissa: eight bins an
 * octave, from the smallest number to the largest. */
#define QDBG__OCTAVE_BINS 4096
typedef struct qdbg__octaves {
    uint64_t count[QDBG__OCTAVE_BINS]; /* by the top 12 bits of the float */
} qdbg__octaves;

void qdbg__octaves_add(qdbg__octaves *octaves, const float *data, size_t n);

/* Check a caller's options; `what` names whose they are in the message. */
qdbg_status qdbg__range_check(qdbg_ctx *ctx, const qdbg_range_options *options, const char *what);

/* The options with defaults filled in. */
qdbg_range_options qdbg__range_defaults(const qdbg_range_options *options);

/* QDBG_OBSERVE_ bits that a method needs. */
uint32_t qdbg__range_needs(int32_t method);

/* The value that `rank` of the finite values lie below, within a bin of the finer of both
 * histograms; `octaves` may be NULL. At least one value was seen. */
float qdbg__quantile(const qdbg__histogram *histogram, const qdbg__octaves *octaves, double rank);

/* MSE and SQNR. The range whose grid has the least cost
 *     sum over values inside the range's ends of (x - x^)^2 + clip_weight * the same beyond them.
 */
qdbg__span qdbg__range_search(const qdbg__profile *profile, const qdbg_quant_spec *spec,
                              double clip_weight);

/* The cost of the best zero point for a scale, and how many steps the grid then has above 0. For
 * tests. */
double qdbg__range_cost(const qdbg__profile *profile, const qdbg_quant_spec *spec,
                        double clip_weight, double scale, int32_t *above);

/* Least Kullback-Leibler divergence. `scratch`: [QDBG__ENTROPY_SCRATCH] doubles. */
#define QDBG__ENTROPY_SCRATCH ((size_t)4 * (QDBG__HISTOGRAM_BINS + 1))
qdbg__span qdbg__range_entropy(const qdbg__histogram *histogram, const qdbg_quant_spec *spec,
                               double *scratch);

/* Least cross entropy of the softmax over rows of finite logits; `observed` holds them all.
 * `scratch`: [2 * n_rows * length] floats. */
qdbg__span qdbg__range_cross_entropy(const qdbg__kernels *kernels, const float *rows, size_t n_rows,
                                     size_t length, qdbg__span observed,
                                     const qdbg_quant_spec *spec, float *scratch);

/* Everything a worker needs to choose ranges of values: on the heap. */
typedef struct qdbg__range_work {
    qdbg__histogram histogram;
    qdbg__octaves octaves;
    qdbg__profile profile;
    double scratch[QDBG__ENTROPY_SCRATCH];
} qdbg__range_work;

/* Choose a range by what a histogram method needs, from histograms or, when `data` is not NULL,
 * from the `n` values that they count (a profile of them is made where they are few). Any thread.
 */
qdbg__span qdbg__range_choose(qdbg__range_work *work, const qdbg__histogram *histogram,
                              const qdbg__octaves *octaves, const float *data, size_t n,
                              const qdbg_range_options *options, const qdbg_quant_spec *spec);

/* The same for values alone, whose histogram is made here; min > max when none is finite. Knows
 * every method but QDBG_RANGE_CROSS_ENTROPY and QDBG_RANGE_BATCH_NORM, for which it gives minimum
 * and maximum. Any thread. */
qdbg__span qdbg__range_of_values(const qdbg__kernels *kernels, qdbg__range_work *work,
                                 const float *data, size_t n, const qdbg_range_options *options,
                                 const qdbg_quant_spec *spec);

#endif
