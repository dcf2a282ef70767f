/**
 * @file range.h
 * From data to ranges: observers, and the methods that choose a quantizer's range.
 *
 * An observer collects statistics of a tensor over any number of calls. What it collects does not
 * depend on the order of the data, on how it is cut into calls, nor on how parts are merged: equal
 * sets of values give equal bytes. (The moving average is the exception: it depends on order by
 * definition.) NaN and infinities are counted and otherwise left out.
 *
 * A simulation observes and chooses by itself (simulation.h); these functions are for programs
 * that have tensors of their own.
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_RANGE_H
#define QDEBUG_RANGE_H

#include <qdebug/quantizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- methods ---- */

/** Smallest and largest value. The default. */
#define QDBG_RANGE_MIN_MAX 0

/** Quantiles: `percentile` of the values lie at or below max, and as many at or above min. Found
 * within one bin of the histogram, or within an eighth of an octave where that is finer, so that an
 * outlier, however far, does not blur the rest. */
#define QDBG_RANGE_PERCENTILE 1

/** Least mean squared error between a tensor and its quantized self, over all scales and zero
 * points. Nagel et al., "A White Paper on Neural Network Quantization" (arXiv 2106.08295), eq. 30.
 * Mind that squares make it follow an outlier: one value of 1e30 makes everything else zero. */
#define QDBG_RANGE_MSE 2

/** As QDBG_RANGE_MSE, but the error of values beyond the range's ends counts `clip_weight` times:
 * the cost of AIMET's "tf_enhanced". */
#define QDBG_RANGE_SQNR 3

/** Least Kullback-Leibler divergence between the histogram and what a code still tells of it: every
 * cell of the grid spread evenly over its non-empty bins, the outermost cells reaching to the ends
 * of the data. For any number of bits, with either end free where the grid is asymmetric. (Migacz,
 * "8-bit inference with TensorRT", GTC 2017, cuts the histogram at the ends and adds what lies
 * beyond to the last bin. With two free ends that collapses: where an end runs into a full bin, the
 * rest of its side costs next to nothing.) The bin of zero, which every grid represents, counts as
 * its neighbour, as with Migacz. It looks at 128 bins, or two a level, since distance does not
 * count: finer ones narrow the range around every peak. Where the grid is finer than the histogram,
 * or fewer than 16 values come to a level: min-max. */
#define QDBG_RANGE_ENTROPY 4

/** For logits: least cross entropy between the softmax over the last axis before and after
 * quantization (the white paper, eq. 31), over some rows that the observer keeps. It keeps those
 * whose bytes hash lowest, so the choice does not depend on order. */
#define QDBG_RANGE_CROSS_ENTROPY 5

/** Exponential moving average of the batches' minima and maxima. Depends on the order and size of
 * the batches. */
#define QDBG_RANGE_MOVING_AVERAGE 6

/** Data-free: beta -+ `sigmas` * |gamma| of the BatchNormalization in front, over all its channels,
 * taken through the Relu or Clip behind it (the white paper, sec. 3.1). Only in simulations. */
#define QDBG_RANGE_BATCH_NORM 7

/** How to choose a range; a zero field means its default. */
typedef struct qdbg_range_options {
    uint32_t struct_size; /**< sizeof(qdbg_range_options) */
    int32_t method;       /**< QDBG_RANGE_ */
    double percentile;    /**< above 50, up to 100; 0 = 99.99 */
    double clip_weight;   /**< QDBG_RANGE_SQNR: 1 to 1e6; 0 = 3 */
    double momentum;      /**< QDBG_RANGE_MOVING_AVERAGE: share of the new batch, up to 1;
                               0 = 0.1 */
    double sigmas;        /**< QDBG_RANGE_BATCH_NORM: above 0; 0 = 6 */
} qdbg_range_options;

#define QDBG_RANGE_OPTIONS_INIT                             \
    {                                                       \
        (uint32_t)sizeof(qdbg_range_options), 0, 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_RANGE_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_range_options_init(qdbg_range_options *options);

/** @return the method's name, such as "min-max"; "unknown" for others; static storage */
QDBG_API const char *qdbg_range_method_name(int32_t method);

/**
 * Choose the range of values in memory. It is widened to hold 0, and is the one that
 * qdbg_encoding_from_range() makes the chosen grid of.
 *
 * Up to 2048 values the search looks at every one of them, above at their histogram, which keeps it
 * under 200 us at 8 bits and within 1 % of the best.
 *
 * @param ctx      gets the error's details and lends the memory
 * @param data     [n] float32; non-finite values are left out
 * @param n        at least 1
 * @param options  NULL = min-max. QDBG_RANGE_CROSS_ENTROPY sees one row; QDBG_RANGE_MOVING_AVERAGE
 *                 one batch
 * @param spec     the grid to choose for: bits 2..16, symmetry, sign and flags are read
 * @param min,max  receive the range
 * @return QDBG_OK; QDBG_E_INVALID (NULL, a bad field, n is 0); QDBG_E_NUMERIC (no finite value);
 *         QDBG_E_UNSUPPORTED (QDBG_RANGE_BATCH_NORM); QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_range_of_values(qdbg_ctx *ctx, const float *data, uint64_t n,
                                          const qdbg_range_options *options,
                                          const qdbg_quant_spec *spec, float *min, float *max);

/* ---- observers ---- */

typedef struct qdbg_observer qdbg_observer;

#define QDBG_OBSERVE_MOMENTS 1u   /**< mean and variance, exact whatever the order */
#define QDBG_OBSERVE_HISTOGRAM 2u /**< for percentile, MSE, SQNR, entropy: 49 KiB a channel */
#define QDBG_OBSERVE_ROWS                                                                        \
    4u                          /**< for cross entropy: at most 512 rows, 256 KiB (8 rows of any \
                                     size) */
#define QDBG_OBSERVE_AVERAGE 8u /**< for the moving average */

/** What to collect; minimum, maximum and counts always are. */
typedef struct qdbg_observer_options {
    uint32_t struct_size; /**< sizeof(qdbg_observer_options) */
    uint32_t collect;     /**< QDBG_OBSERVE_ bits */
    uint32_t n_channels;  /**< each with statistics of its own; 0 = 1: the tensor as a whole */
    uint32_t reserved;
    double momentum; /**< of the moving average, as in qdbg_range_options */
} qdbg_observer_options;

#define QDBG_OBSERVER_OPTIONS_INIT                          \
    {                                                       \
        (uint32_t)sizeof(qdbg_observer_options), 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_OBSERVER_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_observer_options_init(qdbg_observer_options *options);

/**
 * An observer that has seen nothing.
 * @param options  NULL = defaults
 * @param out      receives it; destroy with qdbg_observer_destroy()
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_observer_create(qdbg_ctx *ctx, const qdbg_observer_options *options,
                                          qdbg_observer **out);

/** Free an observer. NULL is ignored. */
QDBG_API void qdbg_observer_destroy(qdbg_observer *observer);

/**
 * Add a tensor, seen as [outer, n_channels, inner]. Channels may be what one likes: for tokens of
 * [N, T, D], outer is N and inner is D. For a tensor as a whole (n_channels 1) the product counts,
 * and `inner` is the length of a row for QDBG_OBSERVE_ROWS: the number of classes.
 * @param data  [outer, n_channels, inner] float32
 * @return QDBG_OK; QDBG_E_INVALID (NULL, too large); QDBG_E_SHAPE (rows of another length than
 *         before); QDBG_E_NOMEM; QDBG_E_LIMIT. After a failure nothing was added
 */
QDBG_API qdbg_status qdbg_observer_observe(qdbg_observer *observer, const float *data,
                                           uint64_t outer, uint64_t inner);

/** End a batch: the moving average takes it in. @return QDBG_OK; QDBG_E_INVALID */
QDBG_API qdbg_status qdbg_observer_end_batch(qdbg_observer *observer);

/**
 * Add all that another observer with the same options has seen, which stays as it is. Of the moving
 * average, the batch that is not yet ended merges.
 * @return QDBG_OK; QDBG_E_INVALID (NULL, the same object, other options, `from` has ended batches);
 *         QDBG_E_SHAPE (other rows); QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_observer_merge(qdbg_observer *into, const qdbg_observer *from);

/** Statistics of one channel. */
typedef struct qdbg_statistics {
    uint32_t struct_size; /**< sizeof(qdbg_statistics), set by the caller */
    uint32_t n_channels;  /**< of the observer */
    uint64_t n;           /**< values seen, all kinds */
    uint64_t n_nan;
    uint64_t n_inf;
    float min; /**< of the finite values; min > max when there were none */
    float max;
    double mean;     /**< of the finite values; NaN when there were none or moments are missing */
    double variance; /**< mean square minus squared mean; NaN as above */
} qdbg_statistics;

#define QDBG_STATISTICS_INIT                                      \
    {                                                             \
        (uint32_t)sizeof(qdbg_statistics), 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*statistics` to QDBG_STATISTICS_INIT. NULL is ignored. */
QDBG_API void qdbg_statistics_init(qdbg_statistics *statistics);

/** @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size); QDBG_E_NOT_FOUND (no such channel) */
QDBG_API qdbg_status qdbg_observer_statistics(const qdbg_observer *observer, uint32_t channel,
                                              qdbg_statistics *statistics);

/** The most bins that a histogram has. */
#define QDBG_HISTOGRAM_BINS 2048

/** Where the bins of a histogram lie: bin i holds [low + i * width, low + (i + 1) * width); below
 * zero it is the upper edge that belongs to the bin. Zero always is an edge. */
typedef struct qdbg_histogram {
    uint32_t struct_size; /**< sizeof(qdbg_histogram), set by the caller */
    uint32_t n_bins;      /**< 0 when nothing finite was seen */
    double width;         /**< a power of two */
    double low;           /**< lower edge of the first bin */
} qdbg_histogram;

#define QDBG_HISTOGRAM_INIT                       \
    {                                             \
        (uint32_t)sizeof(qdbg_histogram), 0, 0, 0 \
    }

/** Set `*histogram` to QDBG_HISTOGRAM_INIT. NULL is ignored. */
QDBG_API void qdbg_histogram_init(qdbg_histogram *histogram);

/**
 * Read a histogram: bins as fine as 2048 of them allow.
 * @param counts  [QDBG_HISTOGRAM_BINS] receives the counts of the n_bins bins, then zeros
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND (no such channel); QDBG_E_STATE (not collected)
 */
QDBG_API qdbg_status qdbg_observer_histogram(const qdbg_observer *observer, uint32_t channel,
                                             qdbg_histogram *histogram, uint64_t *counts);

/**
 * Choose a range for what was observed; as qdbg_range_of_values().
 * @return also QDBG_E_NOT_FOUND (no such channel); QDBG_E_STATE (nothing was observed, or what the
 *         method needs was not collected: the message says what)
 */
QDBG_API qdbg_status qdbg_observer_range(qdbg_observer *observer, uint32_t channel,
                                         const qdbg_range_options *options,
                                         const qdbg_quant_spec *spec, float *min, float *max);

#ifdef __cplusplus
}
#endif

#endif
