/**
 * @file model.h
 * The network that is examined, the data it is run on and the score it is judged by.
 *
 * A model is a graph with something that runs it: the library's own executor (built-in), or the
 * caller's engine (host). Every analysis of the library works on either.
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_MODEL_H
#define QDEBUG_MODEL_H

#include <qdebug/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qdbg_model qdbg_model;

/* ---- built-in models ---- */

/**
 * A model that the library's executor runs.
 *
 * Samples are run one by one (a graph whose inputs have a fixed first dimension B > 1: B by B), in
 * parallel on the context's threads; results do not depend on the thread count nor on how samples
 * are batched.
 *
 * @param graph  finished; must outlive the model. Not changed: the model has its own parameters
 * @param out    receives the model; destroy with qdbg_model_destroy()
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_STATE (graph not finished); QDBG_E_UNSUPPORTED (the
 *         message lists every operator that the executor lacks); QDBG_E_SHAPE or QDBG_E_TYPE (from
 *         shape inference); QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_model_create(qdbg_graph *graph, qdbg_model **out);

/* ---- host models ---- */

/** A forward pass in progress, seen from the host. */
typedef struct qdbg_tap qdbg_tap;

/**
 * Run the host's network on `inputs` in float32.
 *
 * Rules:
 *  1. Hand every value that qdbg_tap_wants() asks for to qdbg_tap_value(), once, as soon as it is
 *     computed and before anything reads it; graph inputs too, before the first operator. A value
 *     tapped after one that is computed from it is refused: outputs cannot be collected and tapped
 *     at the end.
 *  2. Go on with what qdbg_tap_value() leaves in the buffer: it may have been quantized in place.
 *     (qdbg_diagnose() notices a host that goes on with its own data at the graph's inputs, or,
 *     where an input cannot be tapped as float32, at every value with a quantizer. One that does so
 *     at some inner values only is not noticed: their quantizers look harmless.)
 *  3. A tapped tensor is float32, dense, row-major, with the graph's shape and the first dimension
 *     multiplied by the number of runs in the batch (samples, where the graph's batch is 1 or
 *     symbolic). A batch is never larger than the one that the dataset gave.
 *  4. Tap on the thread that called `run`, and only until it returns. Another thread is refused;
 *     tapping after the return is undefined.
 *  5. When qdbg_tap_value() fails, stop and return non-zero.
 *  6. Do not touch the inputs' memory: copy an input before tapping it.
 * A broken rule ends the library's call with QDBG_E_HOST and a message that names it.
 *
 * @param user    qdbg_host.user
 * @param tap     valid until the function returns
 * @param inputs  [n_inputs] in the order of the graph's inputs, each [batch, ...]; read only
 * @return 0; anything else ends the library's call with QDBG_E_CALLBACK
 */
typedef int32_t (*qdbg_host_run_fn)(void *user, qdbg_tap *tap, const qdbg_view *inputs,
                                    uint32_t n_inputs);

/**
 * Copy a parameter out of (get) or into (set) the host's network. What was set must come back bit
 * for bit. A set that failed may be asked for again, with the original elements. (qdbg_diagnose()
 * notices a host that sets nothing, or other bits, of a parameter that has a quantizer.)
 * @param value  the parameter's number in the graph
 * @param data   [count] float32 in the graph's shape and layout
 * @return 0; anything else ends the library's call with QDBG_E_CALLBACK
 */
typedef int32_t (*qdbg_host_get_fn)(void *user, uint32_t value, float *data, uint64_t count);
typedef int32_t (*qdbg_host_set_fn)(void *user, uint32_t value, const float *data, uint64_t count);

/** The caller's engine. All three functions run on the thread that called the library. */
typedef struct qdbg_host {
    uint32_t struct_size; /**< sizeof(qdbg_host) */
    uint32_t reserved;
    void *user;                     /**< handed to the functions */
    qdbg_host_run_fn run;           /**< required */
    qdbg_host_get_fn get_parameter; /**< required */
    qdbg_host_set_fn set_parameter; /**< required */
} qdbg_host;

#define QDBG_HOST_INIT                             \
    {                                              \
        (uint32_t)sizeof(qdbg_host), 0, 0, 0, 0, 0 \
    }

/** Set `*host` to QDBG_HOST_INIT. NULL is ignored. */
QDBG_API void qdbg_host_init(qdbg_host *host);

/**
 * A model that the caller's engine runs.
 *
 * The graph describes the network's structure; parameters whose contents only the engine has may be
 * added with any elements, since get_parameter is asked. Operators may be unknown to the library.
 *
 * @param graph  finished; must outlive the model
 * @param host   copied
 * @param out    receives the model; destroy with qdbg_model_destroy()
 * @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size, a function is missing); QDBG_E_STATE;
 *         QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_model_create_host(qdbg_graph *graph, const qdbg_host *host,
                                            qdbg_model **out);

/**
 * Does the library want to see this value in this pass? Values that it does not want need not be
 * tapped, so that an engine may keep fused operators fused.
 * @return 1 or 0; 0 for a value that does not exist
 */
QDBG_API int32_t qdbg_tap_wants(const qdbg_tap *tap, uint32_t value);

/**
 * Hand a tensor over. Depending on what is being done it is observed, quantized in place, recorded
 * or replaced.
 * @param value   its number in the graph
 * @param tensor  float32; the elements may change
 * @return QDBG_OK; QDBG_E_HOST (a rule of qdbg_host_run_fn is broken); QDBG_E_INVALID (NULL);
 *         another failure of the analysis. The library's call fails too, whatever `run` returns.
 */
QDBG_API qdbg_status qdbg_tap_value(qdbg_tap *tap, uint32_t value, const qdbg_view *tensor);

/* ---- both ---- */

/** Free a model. Simulations made on it must be gone. NULL is ignored. */
QDBG_API void qdbg_model_destroy(qdbg_model *model);

/** @return the model's graph; NULL for NULL */
QDBG_API const qdbg_graph *qdbg_model_graph(const qdbg_model *model);

/**
 * Copy a float32 parameter out of the model.
 * @param value  a parameter of the graph
 * @param data   [count] receives the elements
 * @param count  the parameter's number of elements
 * @return QDBG_OK; QDBG_E_INVALID (NULL, not a parameter, count differs); QDBG_E_TYPE (not
 * float32); QDBG_E_CALLBACK; QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_model_get_parameter(qdbg_model *model, uint32_t value, float *data,
                                              uint64_t count);

/** Copy a float32 parameter into the model. @param data  [count], not kept.
 * @return as qdbg_model_get_parameter() */
QDBG_API qdbg_status qdbg_model_set_parameter(qdbg_model *model, uint32_t value, const float *data,
                                              uint64_t count);

/**
 * Run the model in float32.
 *
 * @param inputs   [n_inputs] in the graph's order, each [batch, ...]
 * @param outputs  [n_outputs] in the graph's order, each with its struct_size. data NULL: the shape
 *                 is filled in and nothing is computed for any output. Otherwise dtype, rank and
 *                 dims must be those of the result; data is written
 * @return QDBG_OK; QDBG_E_INVALID (NULL, wrong counts, struct_size); QDBG_E_SHAPE, QDBG_E_TYPE (an
 *         input or output does not fit, a scalar output of several runs; the message names it);
 *         QDBG_E_CALLBACK; QDBG_E_HOST; QDBG_E_CANCELLED; QDBG_E_NOMEM; QDBG_E_LIMIT. Host models:
 *         QDBG_E_STATE where the graph does not tell an output's shape
 */
QDBG_API qdbg_status qdbg_model_run(qdbg_model *model, const qdbg_view *inputs, uint32_t n_inputs,
                                    qdbg_view *outputs, uint32_t n_outputs);

/* ---- channels ---- */

/** What is known of the channels of a value [N, C, ...] without data: each is taken for a normal
 * distribution. Batch-normalization tells its output's (fold.h). */
typedef struct qdbg_channel_stats {
    uint32_t struct_size;   /**< sizeof(qdbg_channel_stats) */
    uint32_t value;         /**< its number in the graph */
    uint64_t n;             /**< channels */
    const float *mean;      /**< [n] */
    const float *deviation; /**< [n] standard deviations, >= 0 */
} qdbg_channel_stats;

#define QDBG_CHANNEL_STATS_INIT                          \
    {                                                    \
        (uint32_t)sizeof(qdbg_channel_stats), 0, 0, 0, 0 \
    }

/** Set `*stats` to QDBG_CHANNEL_STATS_INIT. NULL is ignored. */
QDBG_API void qdbg_channel_stats_init(qdbg_channel_stats *stats);

/* ---- data ---- */

/** Some samples. */
typedef struct qdbg_batch {
    uint32_t struct_size;    /**< set by the library */
    uint32_t n_inputs;       /**< number of `inputs` */
    const qdbg_view *inputs; /**< in the graph's order, each [n_samples, ...] */
    const int64_t *labels;   /**< [n_samples], or NULL when there are none */
    uint64_t n_samples;      /**< at least 1 */
} qdbg_batch;

/**
 * Give batch number `index`, 0 .. n_batches - 1. The memory stays as it is until the next call for
 * the same dataset or until the library's call returns. Every batch may be asked for many times,
 * and must then be the same.
 * @return 0; anything else ends the library's call with QDBG_E_CALLBACK
 */
typedef int32_t (*qdbg_batch_fn)(void *user, uint64_t index, qdbg_batch *batch);

/** Samples to calibrate or score with. */
typedef struct qdbg_dataset {
    uint32_t struct_size; /**< sizeof(qdbg_dataset) */
    uint32_t reserved;
    uint64_t n_batches;
    void *user; /**< handed to batch */
    qdbg_batch_fn batch;
} qdbg_dataset;

#define QDBG_DATASET_INIT                          \
    {                                              \
        (uint32_t)sizeof(qdbg_dataset), 0, 0, 0, 0 \
    }

/** Set `*dataset` to QDBG_DATASET_INIT. NULL is ignored. */
QDBG_API void qdbg_dataset_init(qdbg_dataset *dataset);

/** A dataset over arrays in memory. */
typedef struct qdbg_arrays qdbg_arrays;

/**
 * Cut arrays into batches.
 * @param inputs      [n_inputs] views, each [n, ...]; the elements are kept by reference
 * @param labels      [n] kept by reference, or NULL
 * @param batch_size  samples a batch (the last may be smaller); at least 1
 * @param out         receives the object; destroy with qdbg_arrays_destroy()
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_SHAPE (no samples, or different numbers of them);
 *         QDBG_E_TYPE; QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_arrays_create(qdbg_ctx *ctx, const qdbg_view *inputs, uint32_t n_inputs,
                                        const int64_t *labels, uint64_t batch_size,
                                        qdbg_arrays **out);

/** Fill in a dataset that reads `arrays`, which must outlive it. QDBG_E_INVALID for NULL. */
QDBG_API qdbg_status qdbg_arrays_dataset(qdbg_arrays *arrays, qdbg_dataset *dataset);

/** Free the object, not the arrays. NULL is ignored. */
QDBG_API void qdbg_arrays_destroy(qdbg_arrays *arrays);

/* ---- reference ---- */

/** What a model made of some samples, kept: the measure that stays the same while the model is
 * changed. */
typedef struct qdbg_reference qdbg_reference;

/**
 * Run the model in float32, as it is now, and keep all outputs.
 *
 * Repairs such as bias correction and AdaRound change the float function itself: the model that
 * they leave behind is made to be quantized, and is no longer the network that was trained. A
 * metric that compares with float32 must then compare with the network as it was: make a reference
 * before the first repair, and give it to every metric from there on (qdbg_metric.reference).
 *
 * Samples are known by their position in the dataset; a checksum of its inputs tells each from any
 * other. The reference fits every model of the same graph and every dataset that begins with the
 * same samples, however that cuts them into batches. It takes the memory of the outputs, 8 bytes
 * a sample and some 200 a batch, of the context, whose ceiling is honoured. Progress is told as
 * "reference".
 *
 * @param model    built-in or host
 * @param dataset  samples, labels are not read; not kept
 * @param out      receives the reference; destroy with qdbg_reference_destroy(). The model's graph
 *                 must outlive its use, the model need not
 * @return as qdbg_model_evaluate()
 */
QDBG_API qdbg_status qdbg_reference_create(qdbg_model *model, const qdbg_dataset *dataset,
                                           qdbg_reference **out);

/** Free a reference; no metric may use it any more. NULL is ignored. */
QDBG_API void qdbg_reference_destroy(qdbg_reference *reference);

/* ---- score ---- */

/** What a metric gets to see of a stretch of samples. */
typedef struct qdbg_metric_input {
    uint32_t struct_size;           /**< set by the library */
    uint32_t n_outputs;             /**< the graph's outputs */
    const qdbg_view *outputs;       /**< [n_outputs], each [n_samples, ...] */
    const qdbg_view *float_outputs; /**< the same in float32, from the metric's reference where it
                                       has one, or NULL: see QDBG_METRIC_NEEDS_FLOAT */
    const int64_t *labels;          /**< [n_samples], or NULL */
    uint64_t first_sample;          /**< number of the first sample in the dataset */
    uint64_t n_samples;
} qdbg_metric_input;

#define QDBG_METRIC_CUSTOM 0    /**< the caller's update and result */
#define QDBG_METRIC_TOP1 1      /**< share of samples whose largest output is the label's */
#define QDBG_METRIC_TOP5 2      /**< share of samples whose label is among the five largest */
#define QDBG_METRIC_AGREEMENT 3 /**< share of samples whose largest output is that of float32 */
#define QDBG_METRIC_SQNR 4      /**< 10 log10(sum y^2 / sum (y_q - y)^2) over all outputs, dB */

/** The metric wants float_outputs. */
#define QDBG_METRIC_NEEDS_FLOAT 1u

/**
 * How good the outputs are; more is better.
 *
 * Built-in metrics look at the graph's first output (SQNR: at all of them), reshaped to
 * [n_samples, classes]. Among equal outputs the lowest index is the largest. Top-1 and top-5 need
 * labels in 0 .. classes - 1. SQNR of identical outputs is +infinity.
 *
 * "float32" is the model as it is when it is scored, whatever repairs have made of it, unless
 * there is a `reference`: without one, agreement after a repair that changes the float function
 * says how much of the *changed* model quantization keeps, and nothing of what the repair itself
 * did. A simulation whose weights are rounded already and whose activations are bypassed then
 * agrees with "float32" entirely, however bad it has become.
 */
typedef struct qdbg_metric {
    uint32_t struct_size; /**< sizeof(qdbg_metric) */
    int32_t kind;         /**< QDBG_METRIC_; for all but CUSTOM the rest but
                               `reference` is not read */
    uint32_t flags;       /**< QDBG_METRIC_NEEDS_FLOAT */
    uint32_t reserved;
    const char *name;    /**< such as "mAP"; NULL = "score" */
    void *user;          /**< handed to update and result */
    uint64_t state_size; /**< bytes of state, zeroed before the first update */
    /** Add samples, which come in the dataset's order, each once. 0, or anything else to fail. */
    int32_t (*update)(void *user, void *state, const qdbg_metric_input *input);
    /** Tell the score. 0, or anything else to fail. */
    int32_t (*result)(void *user, const void *state, double *score);
    const qdbg_reference *reference; /**< float_outputs come from it; NULL = from the model as it
                                          is */
} qdbg_metric;

#define QDBG_METRIC_INIT                                         \
    {                                                            \
        (uint32_t)sizeof(qdbg_metric), 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*metric` to QDBG_METRIC_INIT. NULL is ignored. */
QDBG_API void qdbg_metric_init(qdbg_metric *metric);

/** @return the metric's name, such as "top-1"; "" for NULL; lives as long as metric->name */
QDBG_API const char *qdbg_metric_name(const qdbg_metric *metric);

/**
 * Score the model in float32.
 * @param dataset  samples, with labels where the metric needs them
 * @param score    receives the score
 * @return QDBG_OK; QDBG_E_INVALID (NULL, a bad struct, an empty dataset, labels missing or out of
 *         range: the message names the sample; the metric's reference is of another graph, holds
 *         fewer samples or other ones: names the first); QDBG_E_SHAPE, QDBG_E_TYPE (a batch does
 *         not fit the graph, or an output the metric's reference); QDBG_E_NUMERIC (an input is NaN
 * or infinite: names input and sample; or a custom metric gave NaN); QDBG_E_CALLBACK; QDBG_E_HOST;
 * QDBG_E_CANCELLED; QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_model_evaluate(qdbg_model *model, const qdbg_dataset *dataset,
                                         const qdbg_metric *metric, double *score);

#ifdef __cplusplus
}
#endif

#endif
