/**
 * @file bias_correction.h
 * Biases that make up for the shift of the mean that quantized weights bring.
 *
 * Quantizing W to W_q moves the mean of a layer's outputs by (W_q - W) E[x], which the bias can
 * take back: b -= (W_q - W) E[x] (Nagel et al., "Data-Free Quantization Through Weight Equalization
 * and Bias Correction", arXiv 1906.04721, section 4.2, equation 17). Depthwise layers, whose sums
 * are short, need it most.
 *
 * The order of repairs: fold, with dead channels neutralised (fold.h); equalize, for weights with
 * one scale a tensor (equalize.h); absorb high biases; then either nearest rounding with bias
 * correction or AdaRound (adaround.h), which fits the biases itself. Never bias correction before
 * AdaRound: that rounds towards the model as it is, and its biases would be those that make up for
 * nearest rounding.
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_BIAS_CORRECTION_H
#define QDEBUG_BIAS_CORRECTION_H

#include <qdebug/simulation.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qdbg_bias_correction qdbg_bias_correction;

/** E[x] is measured: one pass over the data for all layers, for each tap of the window by itself,
 * so that padded borders count as they are. */
#define QDBG_BIAS_EMPIRICAL 0
/** E[x] is worked out from batch-normalization statistics: the mean of a normal distribution that
 * is clipped by the operator between (1906.04721, section 4.2.1 and appendix C; here for any
 * bounds). Needs no data. */
#define QDBG_BIAS_ANALYTICAL 1

/** After that, layer by layer: measure how far the mean still is from float32 in the network whose
 * earlier layers are corrected, and correct it. One pass for each layer; needs data. */
#define QDBG_BIAS_SEQUENTIAL 1u
/** The quantized network of QDBG_BIAS_SEQUENTIAL, and of the errors that rows tell, has the enabled
 * activation quantizers, too, which must have encodings. (Biases are in float32 during the call;
 * the simulation quantizes the corrected ones as it did those before.) */
#define QDBG_BIAS_ACTIVATIONS 2u
/** Keep corrections also where the layer's mean ends up farther from float32 than before. */
#define QDBG_BIAS_NO_REVERT 4u

/** Options of qdbg_bias_correct(); a zero field means its default. */
typedef struct qdbg_bias_options {
    uint32_t struct_size;              /**< sizeof(qdbg_bias_options) */
    int32_t kind;                      /**< QDBG_BIAS_EMPIRICAL or QDBG_BIAS_ANALYTICAL */
    uint32_t flags;                    /**< QDBG_BIAS_ bits */
    uint32_t n_stats;                  /**< number of `stats` */
    const qdbg_channel_stats *stats;   /**< ANALYTICAL: of outputs of BatchNormalizations that are
                                            folded already (fold.h tells them), as they are now.
                                            Those that are not folded tell by themselves */
    const qdbg_dataset *guard_dataset; /**< with guard_metric: all is undone where the simulation's
                                            score falls; NULL = not scored */
    const qdbg_metric *guard_metric;   /**< required with guard_dataset, and needs that. One that
                                            compares with float32 (QDBG_METRIC_AGREEMENT, _SQNR,
                                            QDBG_METRIC_NEEDS_FLOAT) needs a reference made before
                                            the first repair: the correction changes the model that
                                            it would compare with. See qdbg_reference_create() */
} qdbg_bias_options;

#define QDBG_BIAS_OPTIONS_INIT                                \
    {                                                         \
        (uint32_t)sizeof(qdbg_bias_options), 0, 0, 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_BIAS_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_bias_options_init(qdbg_bias_options *options);

#define QDBG_BIAS_DONE 0
#define QDBG_BIAS_REVERTED                                                        \
    1                        /**< the layer's mean got no nearer, or the guard or \
                                  qdbg_bias_correction_undo() undid it */
#define QDBG_BIAS_NO_SITE 2  /**< left: no bias, shift or constant Add of its own to take it */
#define QDBG_BIAS_NO_STATS 3 /**< left: ANALYTICAL, and nothing is known of its input */
#define QDBG_BIAS_NO_DATA                                                    \
    4 /**< left: its input was never finite throughout, never came, or has a \
           shape that cannot be followed */

/** What became of one layer with an enabled weight quantizer. Errors are the root of the mean
 * square over output channels of the difference of means from float32, as data showed them; 0
 * without data. */
typedef struct qdbg_bias_row {
    uint32_t struct_size; /**< sizeof(qdbg_bias_row), set by the caller */
    uint32_t node;        /**< the layer */
    uint32_t weight;      /**< its parameter */
    uint32_t bias;        /**< the parameter that took the correction; QDBG_NONE: none */
    uint32_t quantizer;   /**< on the weight, in the simulation */
    int32_t outcome;      /**< QDBG_BIAS_DONE ... */
    double error_before;
    double error_after;
    double change; /**< largest change of a bias, in units of the layer's output */
} qdbg_bias_row;

#define QDBG_BIAS_ROW_INIT                                      \
    {                                                           \
        (uint32_t)sizeof(qdbg_bias_row), 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*row` to QDBG_BIAS_ROW_INIT. NULL is ignored. */
QDBG_API void qdbg_bias_row_init(qdbg_bias_row *row);

/**
 * Correct the bias of every Conv, ConvTranspose, Gemm and MatMul (constant on the right) that has
 * an enabled weight quantizer.
 *
 * Corrections go to the layer's bias or, where it has none, to the shift of a BatchNormalization or
 * the constant Add that alone reads its output. This changes the float32 function; the simulation
 * is what gets better. The result does not depend on the thread count nor on how samples are
 * batched.
 *
 * @param sim          built-in or host model; must outlive the result
 * @param calibration  samples, labels are not read; NULL: only for ANALYTICAL without SEQUENTIAL,
 *                     and then no layer is reverted
 * @param options      NULL = defaults; not kept
 * @param result       receives the rows; destroy with qdbg_bias_correction_destroy()
 * @return as qdbg_sim_evaluate(); QDBG_E_INVALID for a guard without its dataset, metric or the
 *         metric's reference, too. After a failure the model is as it was. (A host that refuses to
 *         take its own parameters back keeps what it has.)
 */
QDBG_API qdbg_status qdbg_bias_correct(qdbg_sim *sim, const qdbg_dataset *calibration,
                                       const qdbg_bias_options *options,
                                       qdbg_bias_correction **result);

/** Free the result; what was corrected stays so. NULL is ignored. */
QDBG_API void qdbg_bias_correction_destroy(qdbg_bias_correction *result);

/**
 * Set all biases back to what they were, bit for bit. Undo later repairs of the same parameters
 * first: see qdbg_fold_undo(). A second call does nothing.
 * @return QDBG_OK; QDBG_E_INVALID (NULL); QDBG_E_STATE (a later change stands: names the parameter,
 *         nothing is undone); QDBG_E_CALLBACK (the host refused one: the rest are set back)
 */
QDBG_API qdbg_status qdbg_bias_correction_undo(qdbg_bias_correction *result);

/** @return the number of rows; 0 for NULL */
QDBG_API uint32_t qdbg_bias_correction_count(const qdbg_bias_correction *result);

/** Read a row, in topological order. @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND */
QDBG_API qdbg_status qdbg_bias_correction_get(const qdbg_bias_correction *result, uint32_t index,
                                              qdbg_bias_row *row);

/**
 * What the guard saw.
 * @param before,after  receive the simulation's scores; either may be NULL
 * @return 1: all was undone; 0: kept, or there is no guard (scores are 0 then); 0 for NULL
 */
QDBG_API int32_t qdbg_bias_correction_guard(const qdbg_bias_correction *result, double *before,
                                            double *after);

/**
 * Mean of a normal distribution whose values are clipped to [low, high]:
 * low Phi(a) + high (1 - Phi(b)) + mean (Phi(b) - Phi(a)) - deviation (phi(b) - phi(a)) with a =
 * (low - mean) / deviation, b = (high - mean) / deviation. (1906.04721, appendix C, takes high to
 * be infinite.)
 * @param deviation  its size counts, not its sign; 0: the clipped mean
 * @param low,high   may be infinite
 */
QDBG_API double qdbg_clipped_normal_mean(double mean, double deviation, double low, double high);

#ifdef __cplusplus
}
#endif

#endif
