/**
 * @file equalize.h
 * Cross-layer equalization and the absorption of high biases.
 *
 * Where channel i of one layer's output goes to the next through something that keeps positive
 * factors (Relu, pooling ...), dividing row i of the first weight and its bias by s_i and
 * multiplying column i of the next by s_i leaves the function as it is. Chosen well, it makes the
 * channels of both weights equally wide, so that one scale for the whole tensor fits them all
 * (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv
 * 1906.04721, section 4.1 and equation 11).
 *
 * A *joint* is a set of values whose channels must be scaled together: those before and behind
 * - Relu, LeakyRelu, PRelu, Abs, Neg, Identity, Dropout, folded BatchNormalization; Mul and Div by
 * a constant; Add and Sub of a constant by channel, which is scaled along;
 * - Clip whose bounds are zero, or do not bind, or are a parameter with a number for each channel,
 *   which is scaled along: qdbg_graph_expose_clips(). It is never replaced by Relu;
 * - MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, ReduceMean, ReduceMax, ReduceMin and
 *   ReduceSum over positions, Pad with zeros, Resize, Upsample;
 * - Flatten, Reshape, Squeeze, Unsqueeze that leave the elements of a sample in order, so that
 *   channels become several, or one again; Transpose that leaves the first two axes;
 * - Add, Sum and Sub of values (residual branches), Concat, Split, and Slice with step 1. Where
 * these put channels side by side, a joint has the channels of all; those that something is in the
 * way of keep the factor 1, and the others are scaled.
 *
 * Equalize after folding (fold.h) and before absorption, bias correction and AdaRound.
 *
 * The layers that compute one of its values are a joint's producers, those that read one its
 * consumers: Conv, ConvTranspose (grouped and depthwise, too), Gemm and MatMul.
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_EQUALIZE_H
#define QDEBUG_EQUALIZE_H

#include <qdebug/simulation.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qdbg_equalize qdbg_equalize;

/** s = sqrt(r1 r2) / r2 with r1, r2 the largest weights of the channel in producer and consumer
 * (equation 11); through depthwise layers (r1 r2 ... rn)^(1/n) for all of the chain at once. With
 * several producers or consumers, r is the largest of their r over the tensor's largest. */
#define QDBG_EQUALIZE_RANGES 0
/** The same with r1^(1-b) a^b in place of r1: a is the largest activation of the channel, b the
 * balance (Xiao et al., "SmoothQuant", arXiv 2211.10438, equation 4, has b = 1). Narrows
 * activations where plain equalization would widen them. Needs calibration data. */
#define QDBG_EQUALIZE_ACTIVATIONS 1
/** Try RANGES and ACTIVATIONS with balance 0.25, 0.5 and 0.75, and keep what the guard scores best.
 * Needs calibration data and a guard. */
#define QDBG_EQUALIZE_BEST 2

/** Change nothing; only tell what would be done. The guard is not asked, so that BEST tells what
 * ACTIVATIONS would do with the same `balance`. */
#define QDBG_EQUALIZE_ADVISE 1u

/** Options of qdbg_equalize_run(); a zero field means its default. */
typedef struct qdbg_equalize_options {
    uint32_t struct_size;            /**< sizeof(qdbg_equalize_options) */
    int32_t formula;                 /**< QDBG_EQUALIZE_RANGES ... */
    uint32_t flags;                  /**< QDBG_EQUALIZE_ADVISE */
    uint32_t max_sweeps;             /**< over all joints, until nothing changes; 0 = 100 */
    double balance;                  /**< ACTIVATIONS: above 0, at most 1; 0 = 0.5 */
    const qdbg_dataset *calibration; /**< required where the formula needs it, labels are not read;
                                          with a guard the simulation is calibrated with it, and
                                          needs it where it quantizes activations: their ranges
                                          change */
    qdbg_sim *guard_sim; /**< of the same model: all is undone where its score falls; NULL = not
                              scored */
    const qdbg_dataset *guard_dataset; /**< required with guard_sim, and needs that */
    const qdbg_metric *guard_metric; /**< likewise. It may compare with float32 without a reference
                                          (model.h): equalization leaves the function as it is.
                                          After a repair that does not, give it one */
} qdbg_equalize_options;

#define QDBG_EQUALIZE_OPTIONS_INIT                                      \
    {                                                                   \
        (uint32_t)sizeof(qdbg_equalize_options), 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_EQUALIZE_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_equalize_options_init(qdbg_equalize_options *options);

#define QDBG_EQUALIZE_DONE 0
#define QDBG_EQUALIZE_REVERTED 1 /**< undone by the guard or qdbg_equalize_undo() */
#define QDBG_EQUALIZE_OPERATOR \
    2 /**< left: `node` does not keep factors (absorption: shifts), or is not known */
#define QDBG_EQUALIZE_CLIP                                        \
    3 /**< left: `node` clips to one number for all channels: see \
           qdbg_graph_expose_clips(); absorption: to zero from above, too */
#define QDBG_EQUALIZE_SHARED                                                                   \
    4 /**< left: something else reads a parameter of `node`, too; absorption: or `node` has no \
           bias, or is not the joint's only producer */
#define QDBG_EQUALIZE_NORM 5   /**< left: `node` is a BatchNormalization that is not folded */
#define QDBG_EQUALIZE_OUTPUT 6 /**< left: an input or output of the graph must stay as it is */
#define QDBG_EQUALIZE_SHAPE                                                              \
    7                            /**< left: how many channels there are is not known, or \
                                      differs, or `node` mixes them */
#define QDBG_EQUALIZE_ABSORBED 8 /**< qdbg_absorb_biases(): biases were absorbed */
#define QDBG_EQUALIZE_PADDED 9   /**< absorption, left: `node` pads, and zeros are not shifted */
#define QDBG_EQUALIZE_LOW 10     /**< absorption: no bias is high enough */
#define QDBG_EQUALIZE_NO_DATA 11 /**< absorption, left: nothing is known of its values */

/** What became of one joint that has a producer and a consumer. */
typedef struct qdbg_equalize_row {
    uint32_t struct_size; /**< sizeof(qdbg_equalize_row), set by the caller */
    uint32_t value;       /**< a value of the joint: what its first consumer reads */
    uint32_t producer;    /**< node of the first producer */
    uint32_t consumer;    /**< node of the first consumer */
    uint32_t n_producers;
    uint32_t n_consumers;
    uint32_t n_channels;
    uint32_t n_scaled;        /**< channels whose factor is not 1; absorption: that were shifted */
    int32_t outcome;          /**< QDBG_EQUALIZE_DONE ... */
    uint32_t node;            /**< in the way (DONE: of some channels only), or QDBG_NONE */
    double smallest, largest; /**< factor s; absorption: shift */
    double before, after; /**< mean over channels of the product of the precisions r_i / max r in
                               producer and consumer (equation 9 over the number of channels): 1 is
                               best */
    double gain_db; /**< predicted: 10 log10(after / before), of the noise of per-tensor weights */
} qdbg_equalize_row;

#define QDBG_EQUALIZE_ROW_INIT                                                        \
    {                                                                                 \
        (uint32_t)sizeof(qdbg_equalize_row), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*row` to QDBG_EQUALIZE_ROW_INIT. NULL is ignored. */
QDBG_API void qdbg_equalize_row_init(qdbg_equalize_row *row);

/**
 * Equalize every joint. Fold batch-normalizations first (fold.h); where nothing can be equalized
 * for want of that, a warning is logged. Channels with a range of zero
 * anywhere in their chain keep the factor 1. The float function stays the same up to rounding.
 *
 * @param model    built-in or host; must outlive the result
 * @param options  NULL = defaults; not kept
 * @param result   receives the rows; destroy with qdbg_equalize_destroy()
 * @return QDBG_OK; QDBG_E_INVALID (NULL, a bad struct or field, data or guard missing, a guard
 *         whose simulation quantizes activations without calibration);
 *         QDBG_E_NUMERIC (a parameter is NaN or infinite: names it); QDBG_E_CALLBACK; with data or
 *         a guard as qdbg_sim_evaluate(), too; QDBG_E_NOMEM; QDBG_E_LIMIT. After a failure the
 *         model is as it was. (A host that refuses to take its own parameters back keeps what it
 *         has.)
 */
QDBG_API qdbg_status qdbg_equalize_run(qdbg_model *model, const qdbg_equalize_options *options,
                                       qdbg_equalize **result);

/** Options of qdbg_absorb_biases(); a zero field means its default. */
typedef struct qdbg_absorb_options {
    uint32_t struct_size;            /**< sizeof(qdbg_absorb_options) */
    uint32_t n_stats;                /**< number of `stats` */
    double deviations;               /**< how many below the mean counts as never reached; 0 = 3 */
    const qdbg_channel_stats *stats; /**< of outputs of layers, or of the BatchNormalization behind,
                                          such as fold.h tells them, divided by what equalization
                                          scaled by; NULL = none */
    const qdbg_dataset *calibration; /**< for values without `stats`: what they never fell below;
                                          with a guard the simulation is calibrated with it, too */
    qdbg_sim *guard_sim;             /**< as in qdbg_equalize_options */
    const qdbg_dataset *guard_dataset;
    const qdbg_metric *guard_metric; /**< one that compares with float32 (QDBG_METRIC_AGREEMENT,
                                          _SQNR, QDBG_METRIC_NEEDS_FLOAT) needs a reference made
                                          before the first repair: absorption changes the function
                                          for inputs that are not like the data or statistics. See
                                          qdbg_reference_create() */
} qdbg_absorb_options;

#define QDBG_ABSORB_OPTIONS_INIT                                   \
    {                                                              \
        (uint32_t)sizeof(qdbg_absorb_options), 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_ABSORB_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_absorb_options_init(qdbg_absorb_options *options);

/**
 * Move high biases to the next layer, which narrows the activations between (1906.04721, section
 * 4.1.3, equations 14 and 15): where a pre-activation is never below c > 0, Relu(x - c) = Relu(x) -
 * c, so b1 -= c and b2 += sum W2 c, with c = max(0, mean - 3 deviations) from statistics, or what
 * was smallest in the data. Bounds by channel (qdbg_graph_expose_clips) go down by c as well.
 *
 * Concerned are joints with one producer whose consumers all have a bias (or a folded
 * BatchNormalization) to take the shift. Where a consumer pads, zeros at the border would not be
 * shifted: such joints are left. The function is the same for all inputs that do not fall below c.
 *
 * @return as qdbg_equalize_run(); QDBG_E_INVALID for a guard whose metric needs a reference, too
 */
QDBG_API qdbg_status qdbg_absorb_biases(qdbg_model *model, const qdbg_absorb_options *options,
                                        qdbg_equalize **result);

/** Free the result; what was changed stays so. NULL is ignored. */
QDBG_API void qdbg_equalize_destroy(qdbg_equalize *result);

/**
 * Set all parameters back to what they were, bit for bit. Undo later repairs of the same parameters
 * first: see qdbg_fold_undo(). A second call does nothing.
 * @return QDBG_OK; QDBG_E_INVALID (NULL); QDBG_E_STATE (a later change stands: names the parameter,
 *         nothing is undone); QDBG_E_CALLBACK (the host refused one: the rest are set back)
 */
QDBG_API qdbg_status qdbg_equalize_undo(qdbg_equalize *result);

/** @return the number of rows; 0 for NULL */
QDBG_API uint32_t qdbg_equalize_count(const qdbg_equalize *result);

/** Read a row, in topological order of producers. @return QDBG_OK; QDBG_E_INVALID;
 * QDBG_E_NOT_FOUND */
QDBG_API qdbg_status qdbg_equalize_get(const qdbg_equalize *result, uint32_t index,
                                       qdbg_equalize_row *row);

/**
 * What the channels of a value were divided by (absorption: what was taken off).
 * @param value   any value of the graph
 * @param factors [count] receives s; 1 (0) where the value is in no joint
 * @param count   its channels; behind Flatten, those before it
 * @return QDBG_OK; QDBG_E_INVALID (NULL, count is not the value's); QDBG_E_NOT_FOUND (no such
 * value)
 */
QDBG_API qdbg_status qdbg_equalize_factors(const qdbg_equalize *result, uint32_t value,
                                           float *factors, uint64_t count);

/**
 * What the guard saw.
 * @param before,after  receive the simulation's scores; either may be NULL
 * @return 1: all was undone; 0: kept, or there is no guard (scores are 0 then); 0 for NULL
 */
QDBG_API int32_t qdbg_equalize_guard(const qdbg_equalize *result, double *before, double *after);

/** @return the balance in place: 0 for QDBG_EQUALIZE_RANGES; 0 for NULL */
QDBG_API double qdbg_equalize_balance(const qdbg_equalize *result);

#ifdef __cplusplus
}
#endif

#endif
