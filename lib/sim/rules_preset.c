/* The presets, as tables. */
#include <string.h>

#include "rules.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const linears[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
static const char *const clamps[] = {"Relu", "Clip", "PRelu", "LeakyRelu"};

/* Each of `first`, one of `second` behind it. */
static qdbg_status add_pairs(qdbg_rules *r, const char *const *first, size_t n_first,
                             const char *const *second, size_t n_second)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < n_first; i++)
        for (size_t k = 0; k < n_second && status == QDBG_OK; k++) {
            const char *pair[] = {first[i], second[k]};
            status = qdbg_rules_add_supergroup(r, pair, 2);
        }
    return status;
}

static qdbg_status set_sharing(qdbg_rules *r, const char *const *types, size_t n, int32_t sharing)
{
    for (size_t i = 0; i < n; i++) {
        qdbg__op_entry *op = qdbg__rules_op(r, types[i]);
        if (!op)
            return r->ctx->error_status;
        op->said.sharing = sharing;
    }
    return QDBG_OK;
}

static qdbg_status set_bias(qdbg_rules *r, int32_t quantized)
{
    qdbg_param_rule bias = QDBG_PARAM_RULE_INIT;
    bias.quantized = quantized;
    return qdbg_rules_set_param(r, NULL, "bias", &bias);
}

static qdbg_status set_range(qdbg_rules *r, const char *type, double min, double max)
{
    qdbg__op_entry *op = qdbg__rules_op(r, type);
    if (!op)
        return r->ctx->error_status;
    op->said.has_range = 1;
    op->said.min = min;
    op->said.max = max;
    return QDBG_OK;
}

/* ---- default and per_channel ---- */

static qdbg_status fill_default(qdbg_rules *r)
{
    static const char *const sums[] = {"Add", "BatchNormalization"};
    r->defaults.output_quantized = QDBG_RULE_YES;
    r->defaults.param_quantized = QDBG_RULE_YES;
    r->defaults.param_symmetric = QDBG_RULE_YES;
    r->defaults.strict_symmetric = QDBG_RULE_NO;
    r->defaults.unsigned_symmetric = QDBG_RULE_YES;
    r->defaults.per_channel = QDBG_RULE_NO;
    r->defaults.model_input = QDBG_RULE_YES;
    qdbg_status status = set_bias(r, QDBG_RULE_NO);
    if (status == QDBG_OK)
        status = add_pairs(r, linears, COUNT(linears), clamps, COUNT(clamps));
    if (status == QDBG_OK)
        status = add_pairs(r, sums, COUNT(sums), clamps, COUNT(clamps));
    return status;
}

static qdbg_status fill_per_channel(qdbg_rules *r)
{
    static const char *const whole[] = {"Gemm", "MatMul"};
    qdbg_status status = fill_default(r);
    r->defaults.per_channel = QDBG_RULE_YES;
    for (size_t i = 0; i < COUNT(whole) && status == QDBG_OK; i++) {
        qdbg__op_entry *op = qdbg__rules_op(r, whole[i]);
        if (op)
            op->said.per_channel = QDBG_RULE_NO;
        else
            status = r->ctx->error_status;
    }
    return status;
}

/* ---- onnxruntime ---- */

static qdbg_status quantize(qdbg_rules *r, const char *const *types, size_t n, bool inputs)
{
    for (size_t i = 0; i < n; i++) {
        qdbg__op_entry *op = qdbg__rules_op(r, types[i]);
        if (!op)
            return r->ctx->error_status;
        op->said.input_quantized = inputs ? QDBG_RULE_YES : QDBG_RULE_UNSET;
        op->said.output_quantized = QDBG_RULE_YES;
    }
    return QDBG_OK;
}

/* Operators that it quantizes together with what they read. Those that hand on an encoding
 * (Reshape, MaxPool, AveragePool, ...) are quantized where their input is; others stay in float32,
 * where their neighbours do not ask for their inputs or outputs. */
static qdbg_status fill_onnxruntime(qdbg_rules *r)
{
    static const char *const around[] = {
        "Conv",      "ConvTranspose",
        "Gemm",      "MatMul",
        "Add",       "Mul",
        "ArgMax",    "BatchNormalization",
        "Concat",    "CumSum",
        "Sigmoid",   "GlobalAveragePool",
        "Softmax",   "InstanceNormalization",
        "Split",     "LayerNormalization",
        "LeakyRelu",
    };
    static const char *const behind[] = {"Relu", "Clip", "Where"};
    static const char *const before[] = {
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "BatchNormalization",
        "InstanceNormalization",
        "Add",
        "LayerNormalization",
        "GlobalAveragePool",
        "Mul",
        "Concat",
        "Sigmoid",
    };
    static const char *const clip[] = {"Relu", "Clip"};
    static const char *const same[] = {"AveragePool", "Resize"};
    static const char *const own[] = {"Concat"};
    r->defaults.output_quantized = QDBG_RULE_NO;
    r->defaults.param_quantized = QDBG_RULE_YES;
    r->defaults.param_symmetric = QDBG_RULE_YES;
    r->defaults.strict_symmetric = QDBG_RULE_YES;
    r->defaults.unsigned_symmetric = QDBG_RULE_NO;
    r->defaults.per_channel = QDBG_RULE_NO;
    qdbg_status status = set_bias(r, QDBG_RULE_YES);
    if (status == QDBG_OK)
        status = quantize(r, around, COUNT(around), true);
    if (status == QDBG_OK)
        status = quantize(r, behind, COUNT(behind), false);
    if (status == QDBG_OK)
        status = set_sharing(r, same, COUNT(same), QDBG_SHARE_INPUT);
    if (status == QDBG_OK)
        status = set_sharing(r, own, COUNT(own), QDBG_SHARE_NONE);
    if (status == QDBG_OK)
        status = set_range(r, "Softmax", 0, 1);
    if (status == QDBG_OK)
        status = add_pairs(r, before, COUNT(before), clip, COUNT(clip));
    return status;
}

/* ---- tflite ---- */

static qdbg_status fill_tflite(qdbg_rules *r)
{
    static const char *const before[] = {"Conv",   "ConvTranspose", "Gemm",
                                         "MatMul", "Add",           "Sub",
                                         "Mul",    "Div",           "BatchNormalization"};
    static const char *const clip[] = {"Relu", "Clip"};
    static const char *const same[] = {"AveragePool", "Resize", "Upsample"};
    static const char *const all[] = {"Max", "Min"};
    r->defaults.output_quantized = QDBG_RULE_YES;
    r->defaults.param_quantized = QDBG_RULE_YES;
    r->defaults.param_symmetric = QDBG_RULE_YES;
    r->defaults.strict_symmetric = QDBG_RULE_YES;
    r->defaults.unsigned_symmetric = QDBG_RULE_NO;
    r->defaults.per_channel = QDBG_RULE_YES;
    r->defaults.model_input = QDBG_RULE_YES;
    r->defaults.activation_signed = QDBG_RULE_YES;
    r->defaults.rounding = QDBG_ROUND_NEAREST_AWAY;
    qdbg_status status = set_bias(r, QDBG_RULE_YES);
    if (status == QDBG_OK)
        status = set_sharing(r, same, COUNT(same), QDBG_SHARE_INPUT);
    if (status == QDBG_OK)
        status = set_sharing(r, all, COUNT(all), QDBG_SHARE_ALL);
    if (status == QDBG_OK) /* scale 1/256, zero point -128 */
        status = set_range(r, "Softmax", 0, 255.0 / 256);
    if (status == QDBG_OK)
        status = set_range(r, "Sigmoid", 0, 255.0 / 256);
    if (status == QDBG_OK) /* 1/128, 0 */
        status = set_range(r, "Tanh", -1, 127.0 / 128);
    if (status == QDBG_OK) /* 16/256, 127 */
        status = set_range(r, "LogSoftmax", -255.0 / 16, 0);
    if (status == QDBG_OK)
        status = add_pairs(r, before, COUNT(before), clip, COUNT(clip));
    return status;
}

/* ---- all ---- */

static qdbg_status fill_nothing(qdbg_rules *r)
{
    (void)r;
    return QDBG_OK;
}

static const struct {
    const char *name;
    qdbg_status (*fill)(qdbg_rules *r);
} presets[] = {
    {"default", fill_default}, {"per_channel", fill_per_channel}, {"onnxruntime", fill_onnxruntime},
    {"tflite", fill_tflite},   {"empty", fill_nothing},
};

qdbg_status qdbg__rules_name(qdbg_ctx *ctx, const qdbg_rules *rules, const char **name)
{
    *name = rules ? "custom" : "default";
    for (size_t i = 0; i < COUNT(presets) && rules; i++) {
        qdbg_rules *r = NULL;
        qdbg_status status = qdbg__rules_new(ctx, &r);
        if (status == QDBG_OK)
            status = presets[i].fill(r);
        bool equal = status == QDBG_OK && qdbg_rules_equal(r, rules);
        qdbg_rules_destroy(r);
        if (status != QDBG_OK)
            return status;
        if (equal) {
            *name = presets[i].name;
            break;
        }
    }
    return QDBG_OK;
}

qdbg_status qdbg__rules_fill(qdbg_rules *r, const char *preset)
{
    for (size_t i = 0; i < COUNT(presets); i++)
        if (strcmp(presets[i].name, preset) == 0)
            return presets[i].fill(r);
    return qdbg__fail(r->ctx, QDBG_E_NOT_FOUND,
                      "there is no preset '%s', only default, per_channel, onnxruntime, tflite and "
                      "empty",
                      preset);
}
