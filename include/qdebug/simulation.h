/**
 * @file simulation.h
 * Quantizers placed on a model: calibrate them, switch them, score the result.
 *
 * Placement follows rules (rules.h; qdbg_sim_options.rules). Without any, those of the preset
 * "default": a weight quantizer sits on every constant float32 weight of Conv, ConvTranspose, Gemm
 * and MatMul that the operator reads directly. An activation quantizer sits on every float32 graph
 * input and on every operator's float32 output, but for:
 *  - values inside a group that engines run as one operator, where nothing else reads them and they
 *    are no graph output: Conv, ConvTranspose, Gemm or MatMul before BatchNormalization; any of
 *    these, Add or BatchNormalization before Relu, Clip, PRelu or LeakyRelu; MatMul before the Add
 *    of a constant. The group's last output has the quantizer;
 *  - outputs of operators that only rearrange or pick elements (Reshape, Transpose, MaxPool, Slice,
 *    Pad, Resize to the nearest, ...), which keep the encoding of their input; and of Concat, whose
 *    inputs share one encoding (its output has a quantizer where an input has none, such as a
 *    constant);
 *  - values that do not depend on a graph input.
 * Biases stay in float32. This is AIMET's default configuration with batch-normalization counted as
 * part of its convolution, as engines fold it. qdbg_sim_absence() tells why a value has no
 * quantizer.
 *
 * Sharing. Quantizers that share an encoding (qdbg_quantizer_info.group) have one spec and the
 * union of the ranges that their methods choose. A spec, bits or a range of the caller's that is
 * given to one is given to all; each keeps its own switch and its own range method. They cannot be
 * per channel. There is no encoding before all of them are calibrated.
 *
 * Ranges that rules fix (Softmax 0 to 1) need no calibration, and outrank range methods; a range of
 * the caller's outranks them. Where a rule fixes the lower end alone, the upper one is the range
 * method's.
 *
 * Calls that need encodings of weights read parameters that have changed since: they also return
 * what reading gives, QDBG_E_NUMERIC (one is NaN or infinite: names it), QDBG_E_CALLBACK,
 * QDBG_E_NOMEM and QDBG_E_LIMIT.
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
#include <qdebug/rules.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qdbg_sim qdbg_sim;

/** Options of qdbg_sim_create(); a zero field means its default. */
typedef struct qdbg_sim_options {
    uint32_t struct_size;       /**< sizeof(qdbg_sim_options) */
    uint32_t weight_bits;       /**< 2..16 or QDBG_BITS_BYPASS; 0 = 8 */
    uint32_t activation_bits;   /**< 2..16 or QDBG_BITS_BYPASS; 0 = 8 */
    int32_t weight_granularity; /**< QDBG_PER_TENSOR (or as the rules have it) or QDBG_PER_CHANNEL
                                     (output channels) */
    int32_t rounding;           /**< QDBG_ROUND_ of all quantizers; 0: the rules' */
    uint32_t collect; /**< QDBG_OBSERVE_ bits: calibration collects these for every activation,
                           beside what its range method needs, so that methods can be compared after
                           one pass. Histograms take 49 KiB a thread and channel */
    const qdbg_range_options *weight_range; /**< how ranges are chosen; NULL = min-max; copied */
    const qdbg_range_options *activation_range; /**< likewise */
    const qdbg_rules *rules; /**< where quantizers sit, and their symmetry and sign; NULL = the
                                  preset "default"; read now, not kept */
} qdbg_sim_options;

#define QDBG_SIM_OPTIONS_INIT                                      \
    {                                                              \
        (uint32_t)sizeof(qdbg_sim_options), 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_SIM_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_sim_options_init(qdbg_sim_options *options);

/**
 * Place quantizers on a model, by options->rules; without any: weights signed and symmetric,
 * activations unsigned and asymmetric.
 * Weights get encodings of their current elements by options->weight_range (default: min-max), and
 * new ones whenever the model's parameters change.
 * Rules that speak of an operator type or a parameter that neither the library nor the graph knows
 * are no error: a warning in the log names each.
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
/** A quantizer on a bias: int32 (spec.bits is 32), symmetric, with the scale of its operator's
 * input times the scale of its weight, a scale for each channel where the weight has one for each
 * output channel: what an integer engine adds to its accumulator. (Gemm: times alpha / beta.) It
 * follows every change of the two encodings, and leaves the bias as it is while one of them is
 * missing or is of another granularity. Its spec, range and method cannot be set. Rounds ties to
 * even, or away from zero where that is the simulation's rounding.
 *
 * Where a BatchNormalization with constant parameters follows the operator, its shift has such a
 * quantizer, too, since folding (fold.h) leaves the folded bias there; a bias of the operator
 * itself keeps its own, so that the sum of the two may be off by one step. Before folding the
 * shift's grid is that of the operator in front: fold first, as engines do. */
#define QDBG_BIAS 3

/** One quantizer. */
typedef struct qdbg_quantizer_info {
    uint32_t struct_size; /**< sizeof(qdbg_quantizer_info), set by the caller */
    int32_t kind;         /**< QDBG_WEIGHT, QDBG_ACTIVATION or QDBG_BIAS */
    uint32_t value;       /**< the value or parameter that it sits on */
    uint32_t node;        /**< weights: first node that reads it; biases: the linear operator;
                               activations: the node that computes it, QDBG_NONE for a graph's
                               input */
    const char *name;     /**< name of the value; lives as long as the graph */
    const char *op_type;  /**< operator of `node`, "" for a graph input */
    uint32_t enabled;     /**< 1 when it takes part */
    uint32_t n_encodings; /**< 1, or the number of channels or blocks; 0 before calibration */
    qdbg_quant_spec spec;
    float observed_min;       /**< smallest finite value seen (weights: of the elements) */
    float observed_max;       /**< largest; both 0 before calibration */
    uint64_t n_nonfinite;     /**< NaN and infinite values seen and left out */
    qdbg_range_options range; /**< how its range is chosen */
    uint32_t group; /**< the first quantizer that shares its encoding; its own number where none
                         does */
    uint32_t has_fixed_range; /**< QDBG_RULE_RANGE or QDBG_RULE_MIN: a rule tells its range or the
                                   lower end of it; else 0 */
    uint32_t from_input; /**< biases: the quantizers whose scales make its own; else QDBG_NONE */
    uint32_t from_weight;
} qdbg_quantizer_info;

#define QDBG_QUANTIZER_INFO_INIT                                                                   \
    {                                                                                              \
        (uint32_t)sizeof(qdbg_quantizer_info), 0, 0, 0, 0, 0, 0, 0, QDBG_QUANT_SPEC_INIT, 0, 0, 0, \
            QDBG_RANGE_OPTIONS_INIT, 0, 0, 0, 0                                                    \
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

#define QDBG_ABSENT_NOT 0       /**< there is a quantizer */
#define QDBG_ABSENT_FUSED 1     /**< inside a group of operators that engines run as one */
#define QDBG_ABSENT_SHARED 2    /**< keeps the encoding of another value, which has the quantizer */
#define QDBG_ABSENT_RULE 3      /**< a rule says no, or none says yes */
#define QDBG_ABSENT_TYPE 4      /**< not float32 */
#define QDBG_ABSENT_CONSTANT 5  /**< does not depend on a graph input */
#define QDBG_ABSENT_PARAMETER 6 /**< a parameter that no rule speaks of */
/** It keeps the encoding of a value that has none; a bias: the operator's input or weight has no
 * quantizer, or its weight is no constant. */
#define QDBG_ABSENT_SOURCE 7
/** A bias that is not one number for each channel, that something else reads, too, or that Gemm
 * multiplies by zero. */
#define QDBG_ABSENT_SHAPE 8

/** Why a value or parameter has no quantizer. */
typedef struct qdbg_absence_info {
    uint32_t struct_size; /**< sizeof(qdbg_absence_info), set by the caller */
    int32_t reason;       /**< QDBG_ABSENT_ */
    uint32_t quantizer;   /**< its quantizer, or the one whose encoding it keeps; else QDBG_NONE */
    uint32_t node;        /**< QDBG_ABSENT_FUSED: the last node of the group; else QDBG_NONE */
    const char *text; /**< in words: "fused into 'relu1' (Conv, BatchNormalization, Relu)", "shares
                           the encoding of 'x'", "rule: op_type Squeeze has is_output_quantized
                           False", "int64"; "" where there is a quantizer. Lives until the next call
                           of qdbg_sim_absence() for the simulation */
} qdbg_absence_info;

#define QDBG_ABSENCE_INFO_INIT                          \
    {                                                   \
        (uint32_t)sizeof(qdbg_absence_info), 0, 0, 0, 0 \
    }

/** Set `*info` to QDBG_ABSENCE_INFO_INIT. NULL is ignored. */
QDBG_API void qdbg_absence_info_init(qdbg_absence_info *info);

/**
 * Tell why a value has no quantizer.
 * @param value  its number in the graph
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND (no such value); QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_sim_absence(qdbg_sim *sim, uint32_t value, qdbg_absence_info *info);

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
 * @param kind  QDBG_WEIGHT, QDBG_ACTIVATION, QDBG_BIAS, or 0 for all
 * @return QDBG_OK; QDBG_E_INVALID
 */
QDBG_API qdbg_status qdbg_sim_set_all_enabled(qdbg_sim *sim, int32_t kind, int32_t enabled);

/**
 * Change a quantizer's bits; its range stays.
 * @param bits  2..16, or QDBG_BITS_BYPASS
 * @return as qdbg_sim_set_spec()
 */
QDBG_API qdbg_status qdbg_sim_set_bits(qdbg_sim *sim, uint32_t index, uint32_t bits);

/**
 * Change a quantizer's whole specification. Activations take QDBG_PER_CHANNEL on any axis but the
 * batch's (channels, tokens), where they must be calibrated anew; blocks are for weights.
 * @return QDBG_OK; QDBG_E_INVALID (a field; the axis does not exist); QDBG_E_UNSUPPORTED (an
 *         activation in blocks or per sample, or with a range method that is for whole tensors; one
 *         per channel that shares its encoding; a bias);
 *         QDBG_E_NOT_FOUND; QDBG_E_CALLBACK; QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_sim_set_spec(qdbg_sim *sim, uint32_t index, const qdbg_quant_spec *spec);

/**
 * Give a quantizer a range of the caller's, for all its channels. It outlives calibration.
 * @param min,max  finite, min <= max
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NUMERIC; QDBG_E_NOT_FOUND; QDBG_E_UNSUPPORTED (a bias)
 */
QDBG_API qdbg_status qdbg_sim_set_range(qdbg_sim *sim, uint32_t index, float min, float max);

/** Go back from qdbg_sim_set_range() to what was observed, or to what a rule fixes.
 * @return QDBG_OK; QDBG_E_NOT_FOUND; QDBG_E_NOMEM; QDBG_E_LIMIT; QDBG_E_CALLBACK */
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
 *         for a weight; cross entropy, batch-norm per channel; a bias); QDBG_E_CALLBACK;
 *         QDBG_E_NOMEM; QDBG_E_LIMIT. After a failure nothing has changed.
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
