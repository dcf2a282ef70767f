/**
 * @file adaround.h
 * Weights rounded up or down so that each layer's output suffers least.
 *
 * Rounding every weight to the nearest grid point is not what hurts a layer's output least (Nagel
 * et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", arXiv 2004.10568, section
 * 3). The output error of a layer y = W x with rounded weights W_q, whose input in the rounded
 * network is x^, is a quadratic form in e = w_q - w for each output channel o:
 *
 *     E[(w_q x^ - w x)^2] = e H e^T - 2 e b + c,   H = E[x^ x^^T],  b = E[x^ w(x - x^)]
 *
 * (theirs, equation 13, in the asymmetric form of section 4.2.) H and b are gathered in one pass
 * over the data; rounding then needs no data. By default H and b are centred, which leaves the
 * output's mean to the layer's bias: b_q = b + W E[x] - W_q E[x^], so that bias correction (Nagel
 * et al., "Data-Free Quantization", arXiv 1906.04721, section 4.2) is part of it.
 *
 * The order of repairs: fold, with dead channels neutralised (fold.h); equalize, for weights with
 * one scale a tensor (equalize.h); absorb high biases; then either nearest rounding with bias
 * correction (bias_correction.h) or AdaRound, which fits the biases itself. Never bias correction
 * before AdaRound: AdaRound rounds towards the model as it is, and that would be one whose biases
 * make up for nearest rounding.
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_ADAROUND_H
#define QDEBUG_ADAROUND_H

#include <qdebug/simulation.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qdbg_adaround qdbg_adaround;

/** Round a channel's weights one after the other, those that carry most signal first, each making
 * up for the errors so far (Frantar et al., "GPTQ", arXiv 2210.17323, section 3, act-order), then
 * change single weights, best first and by tabu search out of the hollows that end in (Glover,
 * Kochenberger, Alidaee 1998). Channels of at most 9 weights (depthwise) are solved exactly, by
 * branch and bound. Any grid point may be chosen. The default. */
#define QDBG_ADAROUND_SEQUENTIAL 0
/** "Up or Down?", section 3.2: rectified sigmoid, Adam, annealed regularizer (equations 21 to 24),
 * on the quadratic form, which is the expectation of the paper's mini-batches; then single weights
 * are flipped until none helps. Each weight goes to one of its two neighbours. */
#define QDBG_ADAROUND_RELAXED 1
/** Nearest rounding: with `range_candidates` this is sequential-MSE range setting alone. Weights
 * stay as they are; only ranges and biases change. */
#define QDBG_ADAROUND_NEAREST 2
/** "Up or Down?" as it was published (equations 21 to 25): as RELAXED, but on mini-batches of
 * output positions, with the activation that follows in the loss: || f(W x) - f(W~ x^) ||^2. Pays
 * where the activation cuts most of the output off. Elsewhere SEQUENTIAL, which may choose any grid
 * point, leaves less behind the activation, too, and is cheaper by far: here each of `iterations`
 * steps costs as much as running the layer at `batch` positions, back and forth.
 *
 * f is the first Relu, Clip, LeakyRelu or PRelu (with constant bounds and slopes, one or one for
 * each channel) behind the layer, through constant Add, BatchNormalization and Identity, as long as
 * one node alone reads each value. Where there is none it is the identity, and the flips of RELAXED
 * follow. With f there are none, and QDBG_ADAROUND_REFIT_SCALE is left out; a bias is fitted to the
 * loss behind f. Ranges (`range_candidates`) are always judged in front of it.
 *
 * Positions are kept in memory for it: (weights of a row + output channels of a group) x groups x 4
 * bytes each. Kept is what fits in a quarter of the context's memory ceiling, or in 256 MiB where
 * there is none, at most 2^22; of more, as many at random, the same ones for the same seed. Rows
 * say how many. */
#define QDBG_ADAROUND_SAMPLED 3

/** One pass over the data for all layers (fewer where memory is short), each with its input of the
 * float32 network. Without it layers are done in order, each with its input of the network whose
 * earlier layers are rounded already: better, at a pass for every layer (side by side ones share
 * it). */
#define QDBG_ADAROUND_ONE_PASS 1u
/** Leave biases alone. */
#define QDBG_ADAROUND_KEEP_BIAS 2u
/** Keep what the solver found also where it is worse than nearest rounding on held-out samples. */
#define QDBG_ADAROUND_NO_REVERT 4u
/** Refit each scale to the integers found, and improve those again, for as long as it helps; with
 * QDBG_SPEC_POWER_OF_TWO to the nearest power. The deployed kernel must take any scale. Not with
 * NEAREST, and not for low-power blocks, whose scales hang together: row.scales tells. */
#define QDBG_ADAROUND_REFIT_SCALE 8u
/** The rounded network also quantizes activations with the simulation's enabled quantizers, which
 * must have encodings. (Biases are in float32 in it either way; the simulation quantizes them
 * afterwards as it did before.) */
#define QDBG_ADAROUND_ACTIVATIONS 16u
/** RELAXED, SAMPLED: leave out the flips of single weights at the end. */
#define QDBG_ADAROUND_NO_POLISH 32u
/** Tell the losses behind the activation for any solver; costs the memory that SAMPLED does. */
#define QDBG_ADAROUND_ACT_LOSSES 64u

/** Options of qdbg_adaround_run(); a zero field means its default. */
typedef struct qdbg_adaround_options {
    uint32_t struct_size;      /**< sizeof(qdbg_adaround_options) */
    int32_t solver;            /**< QDBG_ADAROUND_SEQUENTIAL ... */
    uint32_t flags;            /**< QDBG_ADAROUND_ bits */
    uint32_t positions;        /**< output positions taken of each sample; 0 = 64 */
    uint32_t holdout;          /**< every n-th sample is held out to judge by; 0 = 8, 1 = none */
    uint32_t range_candidates; /**< of each weight range, evenly from 0 to the present one, judged
                                    by the layer's output error under nearest rounding (sequential
                                    MSE); where a channel has several scales, as blocks have, one
                                    after the other; with QDBG_SPEC_POWER_OF_TWO the powers nearest
                                    to them; not for low-power blocks; at most 1000; 0 = keep the
                                    range */
    uint32_t iterations;       /**< RELAXED, SAMPLED; 0 = 10000 for 8 bits and more, else 15000 */
    uint32_t batch;            /**< SAMPLED: output positions of a step; 0 = 512 */
    double damping;            /**< ridge on H over its mean diagonal, > 0; 0 = 0.01 */
    double learning_rate;      /**< RELAXED, SAMPLED: Adam's; 0 = 0.001 */
    double regularizer;        /**< RELAXED, SAMPLED: lambda of equation 21; 0 = 0.01 */
    const qdbg_dataset *guard_dataset; /**< with guard_metric: all is undone where the simulation's
                                            score falls; NULL = not scored */
    const qdbg_metric *guard_metric;   /**< required with guard_dataset, and needs that. One that
                                            compares with float32 (QDBG_METRIC_AGREEMENT, _SQNR,
                                            QDBG_METRIC_NEEDS_FLOAT) needs a reference made before
                                            the first repair: rounding changes the model that it
                                            would compare with. See qdbg_reference_create() */
} qdbg_adaround_options;

#define QDBG_ADAROUND_OPTIONS_INIT                                                  \
    {                                                                               \
        (uint32_t)sizeof(qdbg_adaround_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_ADAROUND_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_adaround_options_init(qdbg_adaround_options *options);

#define QDBG_ADAROUND_DONE 0 /**< rounded */
#define QDBG_ADAROUND_REVERTED                                                                     \
    1 /**< nearest rounding is in place: the other was worse on held-out samples, or was undone by \
           the guard or qdbg_adaround_undo() */
#define QDBG_ADAROUND_SHARED 2 /**< left: something else reads the weight too */
#define QDBG_ADAROUND_UNSUPPORTED                                     \
    3 /**< left: not a form of layer that is known, or a host's graph \
           does not tell its input's shape */
#define QDBG_ADAROUND_NO_DATA                                                                   \
    4                             /**< left: its input never held finite numbers only, or never \
                                       came */
#define QDBG_ADAROUND_NO_SIGNAL 5 /**< left: its input is zero throughout */

/** row.scales: `range_candidates` were tried, ... */
#define QDBG_ADAROUND_SCALES_SEARCHED 1u
/** ... scales were refitted, ... */
#define QDBG_ADAROUND_SCALES_REFITTED 2u
/** ... or it was asked for and left: the blocks are low-power ones or, for a refit, the solver is
 * NEAREST or looks behind an activation. */
#define QDBG_ADAROUND_SCALES_LEFT 4u

/** What became of one layer. Losses are the mean over output positions of the sum over output
 * channels of the squared error of the layer's own output against float32: the same for every
 * solver. SAMPLED looks at the act_ losses instead: the same mean behind the activation (and what
 * stands before it), over the positions that were kept; what is worse there on held-out positions
 * is reverted. They are 0 for other solvers without QDBG_ADAROUND_ACT_LOSSES.
 *
 * A row that is REVERTED tells of nearest rounding with the range and bias of before, which is then
 * in place: no weight moved, no bias changed, and each loss that of nearest. `scales` tells what
 * was tried, whatever the outcome. */
typedef struct qdbg_adaround_row {
    uint32_t struct_size; /**< sizeof(qdbg_adaround_row), set by the caller */
    uint32_t node;        /**< the layer */
    uint32_t weight;      /**< its parameter */
    uint32_t quantizer;   /**< on the weight, in the simulation */
    int32_t solver;       /**< QDBG_ADAROUND_ */
    int32_t outcome;      /**< QDBG_ADAROUND_DONE ... */
    uint32_t bits;        /**< of the weight */
    uint32_t bias;        /**< the parameter that took the correction; QDBG_NONE: none */
    uint64_t n_weights;   /**< elements of the weight */
    uint64_t n_moved;     /**< of them, those that are not at the nearest grid point */
    uint64_t n_positions; /**< output positions that were fitted to */
    uint64_t n_held_out;  /**< output positions that were held out */
    uint64_t n_nonfinite; /**< output positions left out: an input was NaN or infinite */
    double loss_nearest;  /**< of nearest rounding, on what was fitted to; 0 where nothing was */
    double loss;          /**< of what is in place now */
    double held_nearest;  /**< the same on held-out positions; 0 where there are none */
    double held_loss;
    double bias_change;  /**< largest change of a bias, in units of the layer's output */
    uint32_t activation; /**< the node whose function is in act_ losses; QDBG_NONE: none */
    uint32_t scales;     /**< QDBG_ADAROUND_SCALES_ bits */
    uint64_t n_kept;     /**< of n_positions, those that were in memory */
    uint64_t n_held_kept;
    double act_nearest; /**< behind the activation, as described above */
    double act_loss;
    double act_held_nearest;
    double act_held_loss;
} qdbg_adaround_row;

#define QDBG_ADAROUND_ROW_INIT                                                                     \
    {                                                                                              \
        (uint32_t)sizeof(qdbg_adaround_row), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
            0, 0, 0, 0, 0, 0, 0                                                                    \
    }

/** Set `*row` to QDBG_ADAROUND_ROW_INIT. NULL is ignored. */
QDBG_API void qdbg_adaround_row_init(qdbg_adaround_row *row);

/**
 * Round the weights of every Conv, ConvTranspose, Gemm and MatMul that has an enabled weight
 * quantizer, in topological order.
 *
 * The model's weights become the rounded ones, and the quantizers' encodings are frozen to the
 * grids that they lie on, so that quantizing them changes nothing more; frozen encodings outlive
 * changes of the model's parameters, stand back behind qdbg_sim_set_range() and changed specs, and
 * go with qdbg_adaround_undo(). Corrections of the mean go to the layer's bias or, where it has
 * none, to the shift of a BatchNormalization or the constant Add that alone reads its output.
 * Fold batch-normalizations first (qdbg_fold_batch_norms()), as the engine will.
 *
 * The result depends on the data, the options and the context's seed; not on the thread count nor
 * on how samples are batched. Sums are taken in float32 over stretches of 32 runs and in double
 * from there on. The context's memory ceiling is honoured by taking fewer layers into one pass.
 *
 * @param sim          built-in or host model; must outlive the result
 * @param calibration  samples, labels are not read; 200 to 1000 do
 * @param options      NULL = defaults; not kept
 * @param result       receives the rows; destroy with qdbg_adaround_destroy()
 * @return QDBG_OK; QDBG_E_INVALID (NULL, a bad struct or field, an empty dataset, a guard without
 *         its dataset, metric or the metric's reference); QDBG_E_STATE
 *         (QDBG_ADAROUND_ACTIVATIONS or the guard without calibration: names the value);
 *         QDBG_E_SHAPE, QDBG_E_TYPE, QDBG_E_NUMERIC (as qdbg_model_evaluate(); a weight is NaN or
 *         infinite: names it); QDBG_E_CALLBACK; QDBG_E_HOST; QDBG_E_CANCELLED; QDBG_E_NOMEM;
 *         QDBG_E_LIMIT. After a failure model and simulation are as they were. (A host that refuses
 *         to take its own parameters back keeps what it has.)
 */
QDBG_API qdbg_status qdbg_adaround_run(qdbg_sim *sim, const qdbg_dataset *calibration,
                                       const qdbg_adaround_options *options,
                                       qdbg_adaround **result);

/** Free the result; what was rounded stays so. NULL is ignored. */
QDBG_API void qdbg_adaround_destroy(qdbg_adaround *result);

/**
 * Set weights, biases and encodings back to what they were, bit for bit, and rows to
 * QDBG_ADAROUND_REVERTED. Undo later repairs of the same parameters or encodings first: see
 * qdbg_fold_undo(). A second call does nothing.
 * @return QDBG_OK; QDBG_E_INVALID (NULL); QDBG_E_STATE (a later change stands: names the parameter,
 *         nothing is undone); QDBG_E_CALLBACK (the host refused one: the rest are set back);
 *         QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_adaround_undo(qdbg_adaround *result);

/** @return the number of rows, one for each layer with an enabled weight quantizer; 0 for NULL */
QDBG_API uint32_t qdbg_adaround_count(const qdbg_adaround *result);

/**
 * Read a row, in topological order.
 * @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size); QDBG_E_NOT_FOUND
 */
QDBG_API qdbg_status qdbg_adaround_get(const qdbg_adaround *result, uint32_t index,
                                       qdbg_adaround_row *row);

/**
 * What the guard saw.
 * @param before,after  receive the simulation's scores; either may be NULL
 * @return 1: all was undone; 0: kept, or there is no guard (scores are 0 then); 0 for NULL
 */
QDBG_API int32_t qdbg_adaround_guard(const qdbg_adaround *result, double *before, double *after);

#ifdef __cplusplus
}
#endif

#endif
