/**
 * @file diagnose.h
 * The debugging flow chart for quantized networks in one call.
 * (Nagel et al., "A White Paper on Neural Network Quantization", arXiv 2106.08295, section 3.7.)
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_DIAGNOSE_H
#define QDEBUG_DIAGNOSE_H

#include <qdebug/sensitivity.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qdbg_diagnosis qdbg_diagnosis;

/** Leave batch-normalization as it is. Default: fold it first (fold.h), as engines do. */
#define QDBG_DIAGNOSE_NO_FOLD 1u
/** End the walk once the whole quantized model is within max_drop. */
#define QDBG_DIAGNOSE_STOP_EARLY 2u

/** Options of qdbg_diagnose(); a zero field means its default. */
typedef struct qdbg_diagnose_options {
    uint32_t struct_size;            /**< sizeof(qdbg_diagnose_options) */
    uint32_t flags;                  /**< QDBG_DIAGNOSE_ bits */
    const qdbg_dataset *calibration; /**< required */
    const qdbg_dataset *evaluation;  /**< required; may be the same as calibration */
    const qdbg_metric *metric;       /**< NULL = QDBG_METRIC_AGREEMENT. With a reference the float32
                                          score is against it as well */
    const qdbg_sim_options *sim;     /**< quantization to diagnose; NULL = its defaults */
    double max_drop;                 /**< score that may be lost, > 0; 0 = 0.01. What float64
                                          rounds off the difference of two scores (1e-12 of the
                                          larger of the float score and 1) is forgiven */
} qdbg_diagnose_options;

#define QDBG_DIAGNOSE_OPTIONS_INIT                                \
    {                                                             \
        (uint32_t)sizeof(qdbg_diagnose_options), 0, 0, 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_DIAGNOSE_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_diagnose_options_init(qdbg_diagnose_options *options);

/**
 * Walk the chart: float32 check, whole model, weights only, activations only, each quantizer alone,
 * conclusion. Biases that the rules quantize are bypassed in the float32 check like everything
 * else, and count among the weights in "weights only".
 *
 * Progress stages: "float32", "calibrate", "quantized", "weights", "activations", "quantizers". The
 * model's parameters are as they were when the call returns, whether it succeeds or not.
 *
 * @param model    built-in or host
 * @param options  data, metric and target
 * @param out      receives the diagnosis; destroy with qdbg_diagnosis_destroy(). It holds its own
 *                 copies and outlives the model
 * @return as qdbg_sim_evaluate(), qdbg_fold_batch_norms() and qdbg_sim_create(); QDBG_E_INVALID
 *         also for a bad option, and where the rules place no quantizer at all
 */
QDBG_API qdbg_status qdbg_diagnose(qdbg_model *model, const qdbg_diagnose_options *options,
                                   qdbg_diagnosis **out);

/** Free a diagnosis. NULL is ignored. */
QDBG_API void qdbg_diagnosis_destroy(qdbg_diagnosis *diagnosis);

#define QDBG_OUTCOME_PASSED 1  /**< nothing to mend here */
#define QDBG_OUTCOME_FAILED 2  /**< here accuracy is lost */
#define QDBG_OUTCOME_SKIPPED 3 /**< not walked; the verdict says why */

/** One box of the chart. */
typedef struct qdbg_step {
    uint32_t struct_size;       /**< sizeof(qdbg_step), set by the caller */
    int32_t outcome;            /**< QDBG_OUTCOME_ */
    const char *name;           /**< "float32", "quantized", "weights", "activations", "quantizers",
                                     "conclusion"; texts live as long as the diagnosis */
    const char *title;          /**< the question that the box asks */
    const char *verdict;        /**< the answer in words */
    const char *recommendation; /**< what to do next, or "" */
    double score;               /**< the score found here; NaN when there is none */
    double drop;                /**< float score minus score; NaN when there is none */
    double half_width; /**< half the width of the 95 % Wilson interval of a share of samples; NaN
                          for other metrics */
    double sqnr_db;    /**< output SQNR found here; NaN when not measured */
} qdbg_step;

#define QDBG_STEP_INIT                                         \
    {                                                          \
        (uint32_t)sizeof(qdbg_step), 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*step` to QDBG_STEP_INIT. NULL is ignored. */
QDBG_API void qdbg_step_init(qdbg_step *step);

/** One quantizer's findings. */
typedef struct qdbg_finding {
    uint32_t struct_size; /**< sizeof(qdbg_finding), set by the caller */
    int32_t kind;         /**< QDBG_WEIGHT, QDBG_ACTIVATION or QDBG_BIAS */
    const char *name;     /**< value or parameter; texts live as long as the diagnosis */
    const char *node; /**< node that computes it (weights: that reads it), "" for a graph input */
    const char *op_type; /**< operator of the node, "" for a graph input */
    const char *reason;  /**< why it harms and what to do, "" when it does not */
    uint32_t bits;
    uint32_t n_channels;   /**< encodings: 1, or the number of channels */
    float scale;           /**< of the first channel; the largest scale when per channel */
    int32_t zero_point;    /**< that goes with `scale` */
    float min;             /**< smallest value on the grid(s) */
    float max;             /**< largest */
    double score_alone;    /**< score with only this quantizer at work; NaN when not run */
    double drop_alone;     /**< float score minus score_alone; NaN when not run */
    double output_sqnr_db; /**< output SQNR of the same run; +infinity: outputs unchanged; NaN when
                                not run */
    double noise_share; /**< share of the summed output noise of all quantizers, 0..1; NaN when not
                               run */
    double local_sqnr_db;  /**< weights, biases: SQNR of the quantized tensor itself; else NaN */
    double channel_spread; /**< weights: largest over median channel range, of channels that are not
                                zero; activations: NaN */
    uint32_t order;        /**< position in topological order */
    uint32_t culprit;      /**< 1 when this quantizer alone loses more than max_drop */
} qdbg_finding;

#define QDBG_FINDING_INIT                                                                       \
    {                                                                                           \
        (uint32_t)sizeof(qdbg_finding), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*finding` to QDBG_FINDING_INIT. NULL is ignored. */
QDBG_API void qdbg_finding_init(qdbg_finding *finding);

/** The whole in numbers. */
typedef struct qdbg_summary {
    uint32_t struct_size; /**< sizeof(qdbg_summary), set by the caller */
    uint32_t n_steps;
    uint32_t n_findings;
    uint32_t n_folded; /**< batch-normalizations folded */
    uint64_t samples;  /**< evaluation samples */
    uint64_t calibration_samples;
    double float_score;
    double quantized_score;
    double max_drop;
    uint32_t weight_bits;
    uint32_t activation_bits;
    int32_t weight_granularity; /**< QDBG_PER_TENSOR, or QDBG_PER_CHANNEL where any weight has it */
    int32_t rounding;           /**< QDBG_ROUND_ */
    const char *metric;         /**< its name */
    const char *conclusion;     /**< the last step's verdict */
    int32_t weight_range;       /**< QDBG_RANGE_ method of weights */
    int32_t activation_range;   /**< QDBG_RANGE_ method of activations */
    const char *rules; /**< the preset (rules.h) that qdbg_sim_options.rules are equal to, "default"
                            where they are NULL, else "custom" */
    uint32_t n_biases; /**< biases that are quantized to int32; 0: all are in float32 */
    uint32_t reserved;
} qdbg_summary;

#define QDBG_SUMMARY_INIT                                                                       \
    {                                                                                           \
        (uint32_t)sizeof(qdbg_summary), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*summary` to QDBG_SUMMARY_INIT. NULL is ignored. */
QDBG_API void qdbg_summary_init(qdbg_summary *summary);

/** @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size) */
QDBG_API qdbg_status qdbg_diagnosis_summary(const qdbg_diagnosis *diagnosis, qdbg_summary *summary);

/** Read step `index` in the order walked. @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND */
QDBG_API qdbg_status qdbg_diagnosis_step(const qdbg_diagnosis *diagnosis, uint32_t index,
                                         qdbg_step *step);

/** Read finding `rank`, the most harmful first. @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND
 */
QDBG_API qdbg_status qdbg_diagnosis_finding(const qdbg_diagnosis *diagnosis, uint32_t rank,
                                            qdbg_finding *finding);

#ifdef __cplusplus
}
#endif

#endif
