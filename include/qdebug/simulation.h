/**
 * @file simulation.h
 * Quantizers placed on a model: calibrate them, switch them, score the result.
 *
 * Placement. A weight quantizer sits on every constant float32 weight of Conv, ConvTranspose, Gemm
 * and MatMul that the operator reads directly. An activation quantizer sits on every float32 graph
 * input and on every operator's float32 output, but for:
 *  - values inside a group that engines run as one operator, where nothing else reads them and they
 *    are no graph output: Conv, ConvTranspose, Gemm or MatMul before BatchNormalization; any of
 *    these, Add or BatchNormalization before Relu, Clip, PRelu or LeakyRelu; MatMul before the Add
 *    of a constant. The group's last output has the quantizer;
 *  - outputs of operators that only rearrange or pick elements (Reshape, Transpose, MaxPool, Slice,
 *    Pad, ...), which keep the encoding of their input;
 *  - values that do not depend on a graph input.
 * Biases stay in float32. This is AIMET's default configuration with batch-normalization counted as
 * part of its convolution, as engines fold it.
 *
 * A new simulation has every quantizer enabled; activations have no encoding before
 * qdbg_sim_calibrate() or qdbg_sim_set_range().
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_SIMULATION_H
#define QDEBUG_SIMULATION_H

#include <qdebug/model.h>
#include <qdebug/quantizer.h>
#include <qdebug/range.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qdbg_sim qdbg_sim;

/** Options of qdbg_sim_create(); a zero field means its default. */
typedef struct qdbg_sim_options {
    uint32_t struct_size;       /**< sizeof(qdbg_sim_options) */
    uint32_t weight_bits;       /**< 2..16 or QDBG_BITS_BYPASS; 0 = 8 */
    uint32_t activation_bits;   /**< 2..16 or QDBG_BITS_BYPASS; 0 = 8 */
    int32_t weight_granularity; /**< QDBG_PER_TENSOR or QDBG_PER_CHANNEL (output channels) */
    int32_t rounding;           /**< QDBG_ROUND_ of all quantizers */
    uint32_t collect; /**< QDBG_OBSERVE_ bits: calibration collects these for every activation,
                           beside what its range method needs, so that methods can be compared after
                           one pass. Histograms take 49 KiB a thread and channel */
    const qdbg_range_options *weight_range; /**< how ranges are chosen; NULL = min-max; copied */
    const qdbg_range_options *activation_range; /**< likewise */
} qdbg_sim_options;

#define QDBG_SIM_OPTIONS_INIT                                   \
    {                                                           \
        (uint32_t)sizeof(qdbg_sim_options), 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_SIM_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_sim_options_init(qdbg_sim_options *options);

/**
 * Place quantizers on a model: weights signed and symmetric, activations unsigned and asymmetric.
 * Weights get encodings of their current elements by options->weight_range (default: min-max), and
 * new ones whenever the model's parameters change.
 * @param model    must outlive the simulation; not changed
 * @param options  NULL = defaults
 * @param out      receives the simulation; destroy with qdbg_sim_destroy()
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NUMERIC (a weight is NaN or infinite: names it);
 *         QDBG_E_UNSUPPORTED (a range method that is for activations is given to weights);
 *         QDBG_E_CALLBACK; QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_sim_create(qdbg_model *model, const qdbg_sim_options *options,
                                     qdbg_sim **out);

/** Free a simulation. NULL is ignored. */
QDBG_API void qdbg_sim_destroy(qdbg_sim *sim);

/** @return the model that `sim` stands on; NULL for NULL */
QDBG_API qdbg_model *qdbg_sim_model(const qdbg_sim *sim);

#define QDBG_WEIGHT 1     /**< a quantizer on a parameter */
#define QDBG_ACTIVATION 2 /**< a quantizer on a computed value or a graph input */

/** One quantizer. */
typedef struct qdbg_quantizer_info {
    uint32_t struct_size; /**< sizeof(qdbg_quantizer_info), set by the caller */
    int32_t kind;         /**< QDBG_WEIGHT or QDBG_ACTIVATION */
    uint32_t value;       /**< the value or parameter that it sits on */
    uint32_t node;       /**< weights: first node that reads it; activations: the node that computes
                              it, QDBG_NONE for a graph input */
    const char *name;    /**< name of the value; lives as long as the graph */
    const char *op_type; /**< operator of `node`, "" for a graph input */
    uint32_t enabled;    /**< 1 when it takes part */
    uint32_t n_encodings; /**< 1, or the number of channels or blocks; 0 before calibration */
    qdbg_quant_spec spec;
    float observed_min;       /**< smallest finite value seen (weights: of the elements) */
    float observed_max;       /**< largest; both 0 before calibration */
    uint64_t n_nonfinite;     /**< NaN and infinite values seen and left out */
    qdbg_range_options range; /**< how its range is chosen */
} qdbg_quantizer_info;

#define QDBG_QUANTIZER_INFO_INIT                                                                   \
    {                                                                                              \
        (uint32_t)sizeof(qdbg_quantizer_info), 0, 0, 0, 0, 0, 0, 0, QDBG_QUANT_SPEC_INIT, 0, 0, 0, \
            QDBG_RANGE_OPTIONS_INIT                                                                \
    }

/** Set `*info` to QDBG_QUANTIZER_INFO_INIT. NULL is ignored. */
QDBG_API void qdbg_quantizer_info_init(qdbg_quantizer_info *info);

/** @return the number of quantizers, in the graph's topological order of what they act on */
QDBG_API uint32_t qdbg_sim_quantizer_count(const qdbg_sim *sim);

/** @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size); QDBG_E_NOT_FOUND (no such quantizer) */
QDBG_API qdbg_status qdbg_sim_quantizer(const qdbg_sim *sim, uint32_t index,
                                        qdbg_quantizer_info *info);

/** @return the quantizer on the value or parameter called `name`; QDBG_NONE when there is none */
QDBG_API uint32_t qdbg_sim_find_quantizer(const qdbg_sim *sim, const char *name);

/**
 * Read encoding number `channel` (0 for per-tensor) of a quantizer. Blocks are numbered in the
 * order of [outer][ceil(length / block_size)][inner], the axis in the middle.
 * @param encoding  struct_size must be set
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND (quantizer or channel); QDBG_E_STATE (not
 *         calibrated, or bits are QDBG_BITS_BYPASS)
 */
QDBG_API qdbg_status qdbg_sim_encoding(qdbg_sim *sim, uint32_t index, uint32_t channel,
                                       qdbg_encoding *encoding);

/**
 * Observe every activation over a dataset, in float32, and set encodings by each one's range
 * method. Earlier observations are forgotten; custom ranges stay. The result does not depend on
 * batch order, batch size or thread count (QDBG_RANGE_MOVING_AVERAGE: it does on the batches).
 * After a failure the earlier encodings stand.
 * @return as qdbg_model_evaluate(); QDBG_E_NUMERIC also when a value never was finite (names it)
 */
QDBG_API qdbg_status qdbg_sim_calibrate(qdbg_sim *sim, const qdbg_dataset *dataset);

/** Switch a quantizer. @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND */
QDBG_API qdbg_status qdbg_sim_set_enabled(qdbg_sim *sim, uint32_t index, int32_t enabled);

/**
 * Switch all quantizers of a kind.
 * @param kind  QDBG_WEIGHT, QDBG_ACTIVATION, or 0 for both
 * @return QDBG_OK; QDBG_E_INVALID
 */
QDBG_API qdbg_status qdbg_sim_set_all_enabled(qdbg_sim *sim, int32_t kind, int32_t enabled);

/**
 * Change a quantizer's bits; its range stays.
 * @param bits  2..16, or QDBG_BITS_BYPASS
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND
 */
QDBG_API qdbg_status qdbg_sim_set_bits(qdbg_sim *sim, uint32_t index, uint32_t bits);

/**
 * Change a quantizer's whole specification. Activations take QDBG_PER_CHANNEL on any axis but the
 * batch's (channels, tokens), where they must be calibrated anew; blocks are for weights.
 * @return QDBG_OK; QDBG_E_INVALID (a field; the axis does not exist); QDBG_E_UNSUPPORTED (an
 *         activation in blocks or per sample, or with a range method that is for whole tensors);
 *         QDBG_E_NOT_FOUND; QDBG_E_CALLBACK; QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_sim_set_spec(qdbg_sim *sim, uint32_t index, const qdbg_quant_spec *spec);

/**
 * Give a quantizer a range of the caller's, for all its channels. It outlives calibration.
 * @param min,max  finite, min <= max
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NUMERIC; QDBG_E_NOT_FOUND
 */
QDBG_API qdbg_status qdbg_sim_set_range(qdbg_sim *sim, uint32_t index, float min, float max);

/** Go back from qdbg_sim_set_range() to what was observed. */
QDBG_API qdbg_status qdbg_sim_clear_range(qdbg_sim *sim, uint32_t index);

/**
 * Choose ranges of a kind of quantizers by another method (range.h), at once: weights from their
 * elements, activations from what calibration collected. Where that does not suffice they have no
 * encoding until the next calibration (see qdbg_sim_options.collect). Custom ranges stay.
 * QDBG_RANGE_BATCH_NORM takes the parameters that the model has now, or those of the graph where
 * qdbg_fold_batch_norms() has folded them, and gives encodings without calibration; quantizers that
 * are not behind a BatchNormalization go by minimum and maximum then.
 * @param kind   QDBG_WEIGHT, QDBG_ACTIVATION, or 0 for both
 * @param range  NULL = min-max
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_UNSUPPORTED (cross entropy, moving average, batch-norm
 *         for a weight; cross entropy, batch-norm per channel); QDBG_E_CALLBACK; QDBG_E_NOMEM;
 *         QDBG_E_LIMIT. After a failure nothing has changed.
 */
QDBG_API qdbg_status qdbg_sim_set_range_method(qdbg_sim *sim, int32_t kind,
                                               const qdbg_range_options *range);

/** qdbg_sim_set_range_method() for one quantizer. @return also QDBG_E_NOT_FOUND */
QDBG_API qdbg_status qdbg_sim_set_quantizer_range_method(qdbg_sim *sim, uint32_t index,
                                                         const qdbg_range_options *range);

/**
 * Read statistics: of a weight's elements as they are now, or of what calibration saw of an
 * activation; of the whole tensor (channel 0) or, where the spec is per channel, of a channel.
 * Weights in blocks tell of their output channels.
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND (quantizer or channel); QDBG_E_STATE (not
 *         calibrated); QDBG_E_CALLBACK; QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_sim_statistics(qdbg_sim *sim, uint32_t index, uint32_t channel,
                                         qdbg_statistics *statistics);

/**
 * Read a histogram of the same; see qdbg_observer_histogram().
 * @param counts  [QDBG_HISTOGRAM_BINS]
 * @return as qdbg_sim_statistics(); QDBG_E_STATE also when histograms were not collected
 */
QDBG_API qdbg_status qdbg_sim_histogram(qdbg_sim *sim, uint32_t index, uint32_t channel,
                                        qdbg_histogram *histogram, uint64_t *counts);

/**
 * Score the model with the enabled quantizers at work.
 * @return as qdbg_model_evaluate(); QDBG_E_STATE (an enabled activation quantizer has no encoding:
 *         names it)
 */
QDBG_API qdbg_status qdbg_sim_evaluate(qdbg_sim *sim, const qdbg_dataset *dataset,
                                       const qdbg_metric *metric, double *score);

#ifdef __cplusplus
}
#endif

#endif
