/**
 * @file fold.h
 * Batch-normalization folding.
 *
 * Inference engines fold batch-normalization into a neighbouring layer before they quantize, so
 * what is quantized is W[o] * gamma[o] / sqrt(var[o] + eps) (Jacob et al., "Quantization and
 * Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", arXiv 1712.05877,
 * section 3.2). The graph stays as it is: the BatchNormalization is left with scale 1, mean 0,
 * variance 1 - eps and the folded bias as its shift, so that the function is the same up to
 * rounding and host models need nothing but get and set parameter.
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_FOLD_H
#define QDEBUG_FOLD_H

#include <qdebug/simulation.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Fold batch-normalization into the layer before it.
 *
 * For every Conv, ConvTranspose or Gemm whose only reader is a BatchNormalization, with constant
 * parameters that nothing else reads: W[o] *= s[o] and b[o] *= s[o] with s = gamma / sqrt(var +
 * eps). Undo by setting the parameters back; what qdbg_fold_run() and other repairs did to them
 * before cannot be undone any more. qdbg_fold_run() does more and tells what it did.
 *
 * @param model     built-in or host
 * @param n_folded  receives the number of folded pairs; may be NULL
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NUMERIC (a parameter is not finite, or var + eps <= 0:
 *         names it); QDBG_E_CALLBACK; QDBG_E_NOMEM; QDBG_E_LIMIT. After a failure the pairs before
 *         the failed one are folded and the rest are as they were; each is whole.
 */
QDBG_API qdbg_status qdbg_fold_batch_norms(qdbg_model *model, uint32_t *n_folded);

typedef struct qdbg_fold qdbg_fold;

/**
 * Neutralise dead channels: those whose variance was next to nothing in training, so that the
 * BatchNormalization is given the same number whatever the network is. Folding multiplies their
 * weights by gamma / sqrt(eps), and those then own the range of the whole tensor. Neutralised, the
 * channel's weights (backward: with the bias; standalone: the scale) are zero and its number is the
 * shift, beta.
 */
#define QDBG_FOLD_NEUTRALIZE 1u
/** Do not fold into the layer behind. */
#define QDBG_FOLD_NO_FORWARD 2u
/** Leave a BatchNormalization that cannot be folded as it is, instead of turning it into one scale
 * (gamma) and one shift (beta) a channel. */
#define QDBG_FOLD_NO_STANDALONE 4u

/** Options of qdbg_fold_run(); a zero field means its default. */
typedef struct qdbg_fold_options {
    uint32_t struct_size;     /**< sizeof(qdbg_fold_options) */
    uint32_t flags;           /**< QDBG_FOLD_ bits */
    double dead_threshold;    /**< a channel is dead when var <= threshold * eps; 0 = 1e-8: what is
                                   left of its input is then at most gamma / 10000 */
    const qdbg_dataset *data; /**< samples that dead channels must be constant on to be neutralised
                                   (to 1e-4 of the value's largest), labels are not read; the shift
                                   is then what they show. NULL = take the statistics' word */
    qdbg_sim *guard_sim;      /**< of the same model: all is undone where its score falls; NULL =
                                   not scored */
    const qdbg_dataset *guard_calibration; /**< the guard calibrates with it; NULL = it does not */
    const qdbg_dataset *guard_dataset;     /**< required with guard_sim, and needs that */
    const qdbg_metric *guard_metric;       /**< likewise. It may compare with float32 without a
                                                reference (model.h): folding leaves the function as
                                                it is */
} qdbg_fold_options;

#define QDBG_FOLD_OPTIONS_INIT                                   \
    {                                                            \
        (uint32_t)sizeof(qdbg_fold_options), 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_FOLD_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_fold_options_init(qdbg_fold_options *options);

#define QDBG_FOLD_BACKWARD 0   /**< folded into the layer before */
#define QDBG_FOLD_FORWARD 1    /**< folded into the layer behind */
#define QDBG_FOLD_STANDALONE 2 /**< one scale and one shift a channel, no layer to fold into */
#define QDBG_FOLD_SHARED                                                                       \
    3                        /**< left: something else reads one of its parameters, one is not \
                                  constant, or it is in training mode */
#define QDBG_FOLD_PADDED 4   /**< left: the layer behind pads, and zeros are not shifted */
#define QDBG_FOLD_NO_LAYER 5 /**< left: neither neighbour is a layer that could take it */
#define QDBG_FOLD_REVERTED 6 /**< undone by the guard or qdbg_fold_undo() */

/** What became of one BatchNormalization. */
typedef struct qdbg_fold_row {
    uint32_t struct_size; /**< sizeof(qdbg_fold_row), set by the caller */
    uint32_t node;        /**< the BatchNormalization */
    uint32_t layer;       /**< node that it was folded into; QDBG_NONE: none */
    int32_t outcome;      /**< QDBG_FOLD_BACKWARD ... */
    uint32_t n_channels;
    uint32_t n_dead;        /**< channels with next to no variance */
    uint32_t n_neutralized; /**< of them */
    uint32_t reserved;
    double dead_ratio; /**< largest folded weight (standalone: scale) of dead channels over that of
                            the others, 0 where there are none: how far they widen the range unless
                            they are neutralised */
} qdbg_fold_row;

#define QDBG_FOLD_ROW_INIT                                      \
    {                                                           \
        (uint32_t)sizeof(qdbg_fold_row), 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*row` to QDBG_FOLD_ROW_INIT. NULL is ignored. */
QDBG_API void qdbg_fold_row_init(qdbg_fold_row *row);

/**
 * Fold every BatchNormalization: into the layer before it; else into the Conv or Gemm behind it
 * that alone reads it (W[:,i] *= s[i], b += sum W[:,i] (beta - mean s)[i]; where that layer pads,
 * only without shift); else, where no layer is near, to one scale and one shift. What is left as it
 * was has its reason in its row.
 *
 * The guard is there for the care of dead channels. What it scores before is the network with its
 * batch-normalizations *not* folded, which no engine runs: quantized, that may score better than
 * any folded one, and to undo the fold for it would be no gain. To see what neutralising brings,
 * compare folded with folded: fold without QDBG_FOLD_NEUTRALIZE, score, undo, fold with it, score.
 *
 * @param model    built-in or host; must outlive the result
 * @param options  NULL = defaults; not kept
 * @param result   receives the rows; destroy with qdbg_fold_destroy()
 * @return as qdbg_fold_batch_norms(), with `data` or a guard as qdbg_sim_evaluate(), too. After a
 *         failure the model is as it was. (A host that refuses to take its own parameters back
 *         keeps what it has.)
 */
QDBG_API qdbg_status qdbg_fold_run(qdbg_model *model, const qdbg_fold_options *options,
                                   qdbg_fold **result);

/** Free the result; what was folded stays so. NULL is ignored. */
QDBG_API void qdbg_fold_destroy(qdbg_fold *result);

/**
 * Set all parameters back to what they were, bit for bit. Undo later repairs of the same parameters
 * first, be it of this or of another kind: while one stands this is refused and nothing changes.
 * The change of a result that was destroyed without undo, and that of qdbg_fold_batch_norms(),
 * stands for good. What qdbg_model_set_parameter() has set since is overwritten. A second call does
 * nothing.
 * @return QDBG_OK; QDBG_E_INVALID (NULL); QDBG_E_STATE (a later change stands: names the
 *         parameter); QDBG_E_CALLBACK (the host refused one: the rest are set back)
 */
QDBG_API qdbg_status qdbg_fold_undo(qdbg_fold *result);

/** @return the number of rows, one for each BatchNormalization; 0 for NULL */
QDBG_API uint32_t qdbg_fold_count(const qdbg_fold *result);

/** Read a row, in topological order. @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND */
QDBG_API qdbg_status qdbg_fold_get(const qdbg_fold *result, uint32_t index, qdbg_fold_row *row);

/**
 * What the BatchNormalization of a row told of its output before it was folded: mean beta, standard
 * deviation |gamma| sqrt(var / (var + eps)).
 * @param stats  struct_size must be set; the arrays live as long as the result
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND (no such row, or its parameters could not be
 *         read as one number a channel)
 */
QDBG_API qdbg_status qdbg_fold_stats(const qdbg_fold *result, uint32_t index,
                                     qdbg_channel_stats *stats);

/**
 * What the guard saw.
 * @param before,after  receive the simulation's scores; either may be NULL
 * @return 1: all was undone; 0: kept, or there is no guard (scores are 0 then); 0 for NULL
 */
QDBG_API int32_t qdbg_fold_guard(const qdbg_fold *result, double *before, double *after);

#ifdef __cplusplus
}
#endif

#endif
