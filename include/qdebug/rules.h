/**
 * @file rules.h
 * Placement rules: where quantizers sit, which of them share an encoding, and what they are like.
 *
 * A rule set is data. It is made from a preset, read from a configuration file of AIMET's, or
 * changed by calls, and given to a simulation in qdbg_sim_options.rules (simulation.h), which reads
 * it once. Quantizers sit on values and parameters, never on the edges between operators.
 *
 * Sections apply in this order, and a later one overrides an earlier:
 *  1. defaults: operators' outputs, and parameters;
 *  2. params: parameters by what they are to their operator ("weight", "bias"), or by their name in
 *     the graph;
 *  3. op_type: outputs, inputs and parameters of operators of an ONNX type. Asking for inputs puts
 *     quantizers on values that would otherwise have none, such as both operands of a MatMul;
 *  4. supergroups: operators that follow each other, with no other reader between, are run as one:
 *     only the last one's output keeps its quantizer. BatchNormalization behind a linear operator
 *     (Conv, ConvTranspose, Gemm, MatMul), and the Add of a constant behind MatMul, are part of
 *     that operator whatever the rules say;
 *  5. model_input: the graph's inputs;
 *  6. model_output: the graph's outputs.
 * What is not said is "no": an empty rule set places nothing.
 *
 * Parameters that rules speak of: "weight" of Conv, ConvTranspose, Gemm and MatMul; "bias" of these
 * (of MatMul: the constant Add behind it; where a BatchNormalization with constant parameters is
 * part of the operator: its shift, too, because that is where fold.h leaves the folded bias). And,
 * only where the section op_type asks for them by name: "weight" of BatchNormalization,
 * LayerNormalization, InstanceNormalization, GroupNormalization, PRelu, and of Gather (a constant
 * table).
 *
 * Biases that are quantized are int32, with the scale of the operator's input times the weight's:
 * simulation.h, QDBG_BIAS.
 *
 * Sharing. Operators that only rearrange or pick elements (Reshape, Transpose, MaxPool, Slice, Pad,
 * Resize to the nearest, ...) hand on the encoding of their input, and have no quantizer where the
 * input has one. Concat does so with all its inputs, which then share one encoding: that of the
 * union of their ranges. qdbg_op_rule.sharing says otherwise.
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_RULES_H
#define QDEBUG_RULES_H

#include <qdebug/quantizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qdbg_rules qdbg_rules;

#define QDBG_RULE_UNSET 0 /**< nothing is said: earlier sections decide */
#define QDBG_RULE_NO 1    /**< "False" */
#define QDBG_RULE_YES 2   /**< "True" */

/* ---- whole sets ---- */

/**
 * Make a rule set from a preset:
 *  - "default": weights signed and symmetric, outputs and graph inputs unsigned and asymmetric,
 *    biases in float32; Conv, ConvTranspose, Gemm, MatMul, Add and BatchNormalization are one with
 *    a Relu, Clip, PRelu or LeakyRelu behind. It is AIMET's default configuration with longer
 *    lists; AIMET's own file also leaves the outputs of Cast, Mean and Gather in float32.
 *  - "per_channel": the same, weights per channel but for Gemm and MatMul.
 *  - "onnxruntime": as quantize_static() of ONNX Runtime does to QDQ by default, with uint8
 *    activations, on a model whose batch-normalizations are folded: only inputs and outputs of the
 *    operators that it lists; weights int8 from -127; biases int32; Concat does not share;
 *    AveragePool and every Resize do; Softmax is 0..1. (Compared with version 1.32 on a ResNet, a
 *    MobileNet, a DS-CNN and a keyword transformer by minimum and maximum: the same tensors, the
 *    same zero points, weights' scales to the bit, others to 2e-6, which is float32 summed in
 *    another order.) Different are: constants that Add, Mul, Concat and Gather read stay in
 *    float32; MatMul and the constant Add behind it are one operator; Relu, Clip and Where have a
 *    quantizer also where their input has none; MaxPool hands on its encoding before opset 12, too.
 *  - "tflite": int8 activations, weights int8 from -127 and per channel, biases int32, ties away
 *    from zero; average pooling, every Resize, Max and Min share encodings; Softmax, Sigmoid, Tanh
 *    and LogSoftmax have the grids that TensorFlow Lite's specification gives them.
 *  - "empty": nothing is said.
 * @param ctx     must outlive the rules
 * @param preset  NULL = "default"
 * @param out     receives the rules; destroy with qdbg_rules_destroy()
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOT_FOUND (no such preset); QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_rules_create(qdbg_ctx *ctx, const char *preset, qdbg_rules **out);

/** Copy a rule set. @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOMEM; QDBG_E_LIMIT */
QDBG_API qdbg_status qdbg_rules_copy(const qdbg_rules *rules, qdbg_rules **out);

/** Free a rule set. NULL is ignored. */
QDBG_API void qdbg_rules_destroy(qdbg_rules *rules);

/** @return 1 when both say the same in the same order; 0 otherwise and for NULL */
QDBG_API int32_t qdbg_rules_equal(const qdbg_rules *a, const qdbg_rules *b);

/* ---- AIMET's configuration files ---- */

/**
 * Read a configuration file of AIMET's (quantsim_config, JSON) from memory.
 *
 * Known are "defaults" ("ops": "is_output_quantized", "is_symmetric"; "params": "is_quantized",
 * "is_symmetric"; "strict_symmetric", "unsigned_symmetric", "per_channel_quantization",
 * "hw_version", "supported_kernels"), "params", "op_type" ("is_input_quantized",
 * "is_output_quantized", "is_symmetric", "params", "per_channel_quantization", "supported_kernels",
 * "encoding_constraints": "min", "max"), "supergroups" ("op_list"), "supergroup_pass_list",
 * "model_input" ("is_input_quantized") and "model_output" ("is_output_quantized"). Answers are the
 * strings "True" and "False"; an op_type's "is_input_quantized" can only be "True". A section that
 * is missing says nothing. Anything else is refused by its path, such as "op_type.Conv.foo".
 * "hw_version", "supported_kernels" and "supergroup_pass_list" are kept and written, but nothing
 * follows from them. (Of the passes that AIMET 2 has, "MatmulAdd" is what every rule set does.
 * "LayerNormalization", "RMSNormalization" and "MaskedSoftmax" find these operators where they are
 * spelled out in simpler ones; here the simpler ones have quantizers.) A warning in the log names
 * every pass but "MatmulAdd".
 *
 * One section is ours, "qdebug", for what the format cannot say: "rounding" ("nearest_even",
 * "nearest_up", "nearest_away"), "activation_signed", "weight_signed" (of asymmetric grids), and
 * "op_type": {type: {"sharing": "none", "input" or "all"}}.
 *
 * The JSON reader, jansson, takes its memory from malloc() while it reads, not from the context.
 *
 * @param data,size  UTF-8; not kept
 * @param out        receives the rules; destroy with qdbg_rules_destroy()
 * @return QDBG_OK; QDBG_E_INVALID (NULL); QDBG_E_FORMAT (no JSON: line and column; an unknown key
 *         or a value of the wrong kind: its path); QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_rules_load_memory(qdbg_ctx *ctx, const void *data, size_t size,
                                            qdbg_rules **out);

/**
 * Read a configuration file.
 * @param path  file name in the system's encoding
 * @return as qdbg_rules_load_memory(); QDBG_E_IO (names the file); QDBG_E_LIMIT also for a file of
 *         more than 16 MiB
 */
QDBG_API qdbg_status qdbg_rules_load_file(qdbg_ctx *ctx, const char *path, qdbg_rules **out);

/** For qdbg_rules_write(): only what AIMET reads. It refuses files that have the section "qdebug",
 * which is written where the rules say something that needs it; an answer "False" for the defaults'
 * "is_output_quantized", for "model_input" and for "model_output"; and some kernels. */
#define QDBG_RULES_AIMET 1u
/** With QDBG_RULES_AIMET: leave out what its format cannot say (rounding, the sign of asymmetric
 * grids, sharing) instead of refusing. A warning in the log names each such thing when the text is
 * written, and read again the rules are equal to a set without them. */
#define QDBG_RULES_LOSSY 2u

/**
 * Write a rule set as such a file. Read again it is equal.
 * @param flags   0, QDBG_RULES_AIMET, or QDBG_RULES_AIMET | QDBG_RULES_LOSSY
 * @param text    [size] receives the text with a zero behind; NULL where size is 0
 * @param size    bytes of room; 0 asks for the length alone
 * @param length  receives the length of the text without the zero, also where room is short
 * @return QDBG_OK; QDBG_E_INVALID (NULL, flags); QDBG_E_LIMIT (room is short, but not 0: *length is
 *         set, text is untouched; or the context's memory); QDBG_E_UNSUPPORTED (QDBG_RULES_AIMET
 *         alone, and the rules say more: all that it is); QDBG_E_NOMEM
 */
QDBG_API qdbg_status qdbg_rules_write(const qdbg_rules *rules, uint32_t flags, char *text,
                                      size_t size, size_t *length);

/* ---- one by one ---- */

/** Sections defaults, model_input, model_output, and what "qdebug" has beside operators. Answers
 * are QDBG_RULE_; zero means "not said". */
typedef struct qdbg_rule_defaults {
    uint32_t struct_size;       /**< sizeof(qdbg_rule_defaults) */
    int32_t output_quantized;   /**< operators' outputs have quantizers */
    int32_t output_symmetric;   /**< they are symmetric, then signed */
    int32_t param_quantized;    /**< parameters have quantizers */
    int32_t param_symmetric;    /**< they are symmetric */
    int32_t strict_symmetric;   /**< symmetric ones have as many levels below 0 as above */
    int32_t unsigned_symmetric; /**< symmetric ones on outputs that cannot be negative (Relu,
                                     Sigmoid, Softmax, Clip from 0, ...) are unsigned */
    int32_t per_channel;        /**< weights per output channel */
    int32_t model_input;        /**< graph inputs have quantizers */
    int32_t model_output;       /**< graph outputs have quantizers */
    int32_t activation_signed;  /**< asymmetric grids of activations are signed */
    int32_t weight_signed;      /**< asymmetric grids of weights are signed */
    int32_t rounding; /**< QDBG_ROUND_ of all quantizers, where qdbg_sim_options has none */
    uint32_t reserved;
} qdbg_rule_defaults;

#define QDBG_RULE_DEFAULTS_INIT                                                     \
    {                                                                               \
        (uint32_t)sizeof(qdbg_rule_defaults), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*defaults` to QDBG_RULE_DEFAULTS_INIT. NULL is ignored. */
QDBG_API void qdbg_rule_defaults_init(qdbg_rule_defaults *defaults);

/** Read the defaults. @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size) */
QDBG_API qdbg_status qdbg_rules_get_defaults(const qdbg_rules *rules, qdbg_rule_defaults *defaults);

/** Replace the defaults. @return QDBG_OK; QDBG_E_INVALID (NULL, a field) */
QDBG_API qdbg_status qdbg_rules_set_defaults(qdbg_rules *rules, const qdbg_rule_defaults *defaults);

#define QDBG_SHARE_UNSET 0 /**< as the head of this file says */
#define QDBG_SHARE_NONE 1  /**< outputs have encodings of their own */
#define QDBG_SHARE_INPUT 2 /**< outputs share the first input's encoding */
#define QDBG_SHARE_ALL 3   /**< all float32 inputs and outputs share one encoding */

#define QDBG_RULE_RANGE 1u /**< both ends are told */
#define QDBG_RULE_MIN 2u   /**< the lower end is; the upper one is the range method's */

/** What is said of operators of a type; zero means "not said". */
typedef struct qdbg_op_rule {
    uint32_t struct_size;     /**< sizeof(qdbg_op_rule) */
    int32_t input_quantized;  /**< QDBG_RULE_UNSET or QDBG_RULE_YES: the values that it reads have
                                   quantizers */
    int32_t output_quantized; /**< QDBG_RULE_ */
    int32_t symmetric;        /**< QDBG_RULE_: its outputs, and inputs it asked for */
    int32_t per_channel;      /**< QDBG_RULE_: its weight */
    int32_t sharing;          /**< QDBG_SHARE_. Outputs that are not merely picked elements keep a
                                   quantizer, with the shared encoding; with QDBG_SHARE_INPUT they
                                   have one wherever the input has, but for an output_quantized of
                                   QDBG_RULE_NO */
    uint32_t has_range;       /**< QDBG_RULE_RANGE or QDBG_RULE_MIN: the outputs' range is `min` to
                                   `max`, or begins at `min`, whatever is observed */
    uint32_t reserved;
    double min; /**< finite, min <= max */
    double max; /**< zero for QDBG_RULE_MIN */
} qdbg_op_rule;

#define QDBG_OP_RULE_INIT                                         \
    {                                                             \
        (uint32_t)sizeof(qdbg_op_rule), 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*rule` to QDBG_OP_RULE_INIT. NULL is ignored. */
QDBG_API void qdbg_op_rule_init(qdbg_op_rule *rule);

/** @return the number of operator types that something is said of; 0 for NULL */
QDBG_API uint32_t qdbg_rules_op_count(const qdbg_rules *rules);

/** @return the operator type number `index`, valid until the rules change; NULL: there is none */
QDBG_API const char *qdbg_rules_op_type(const qdbg_rules *rules, uint32_t index);

/** Read what is said of an operator type: nothing where it is unknown.
 * @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size) */
QDBG_API qdbg_status qdbg_rules_get_op(const qdbg_rules *rules, const char *op_type,
                                       qdbg_op_rule *rule);

/** Replace what is said of an operator type; its parameters' rules stay. Where nothing is left, it
 * is forgotten.
 * @return QDBG_OK; QDBG_E_INVALID (NULL, a type that is empty or no UTF-8, a field: which);
 * QDBG_E_NOMEM; QDBG_E_LIMIT */
QDBG_API qdbg_status qdbg_rules_set_op(qdbg_rules *rules, const char *op_type,
                                       const qdbg_op_rule *rule);

/** What is said of a parameter; zero means "not said". */
typedef struct qdbg_param_rule {
    uint32_t struct_size; /**< sizeof(qdbg_param_rule) */
    int32_t quantized;    /**< QDBG_RULE_ */
    int32_t symmetric;    /**< QDBG_RULE_; biases always are */
    uint32_t reserved;
} qdbg_param_rule;

#define QDBG_PARAM_RULE_INIT                       \
    {                                              \
        (uint32_t)sizeof(qdbg_param_rule), 0, 0, 0 \
    }

/** Set `*rule` to QDBG_PARAM_RULE_INIT. NULL is ignored. */
QDBG_API void qdbg_param_rule_init(qdbg_param_rule *rule);

/** Read what is said of a parameter: nothing where it is unknown.
 * @param op_type  NULL = in the section params
 * @param param    "weight", "bias", or a parameter's name in the graph
 * @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size) */
QDBG_API qdbg_status qdbg_rules_get_param(const qdbg_rules *rules, const char *op_type,
                                          const char *param, qdbg_param_rule *rule);

/** Replace what is said of a parameter. One of which nothing is said is forgotten.
 * @return QDBG_OK; QDBG_E_INVALID (NULL, a name that is empty or no UTF-8, a field: which);
 * QDBG_E_NOMEM; QDBG_E_LIMIT */
QDBG_API qdbg_status qdbg_rules_set_param(qdbg_rules *rules, const char *op_type, const char *param,
                                          const qdbg_param_rule *rule);

/** Add a supergroup: operator types in the order of computation.
 * @param op_types  [n] UTF-8; copied
 * @param n         at least 2
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_NOMEM; QDBG_E_LIMIT */
QDBG_API qdbg_status qdbg_rules_add_supergroup(qdbg_rules *rules, const char *const *op_types,
                                               uint32_t n);

/** @return the number of supergroups; 0 for NULL */
QDBG_API uint32_t qdbg_rules_supergroup_count(const qdbg_rules *rules);

/** @return operator type number `position` of a supergroup, valid until the rules change; NULL:
 * there is none */
QDBG_API const char *qdbg_rules_supergroup_op(const qdbg_rules *rules, uint32_t index,
                                              uint32_t position);

/** Remove a supergroup; those behind it move up.
 * @return QDBG_OK; QDBG_E_INVALID (NULL); QDBG_E_NOT_FOUND */
QDBG_API qdbg_status qdbg_rules_remove_supergroup(qdbg_rules *rules, uint32_t index);

#ifdef __cplusplus
}
#endif

#endif
