/* Elementwise functions of one tensor: activations and mathematics in float32, where NaN stays NaN;
 * the plain ones in float64 and integers too; Not, IsNaN, IsInf. */
#include <math.h>
#include <string.h>

#include "number.h"
#include "ops.h"

#define MAX_NUMBERS 2

/* out[i] = f(in[i]); `out` may be `in`. The attributes are p[...] in the formulas. */
typedef void (*map_fn)(const float *in, float *out, int64_t n, const float *p);

#define MAP(name, EXPR)                                                            \
    static void name(const float *in, float *out, int64_t n, const float *numbers) \
    {                                                                              \
        const float p[MAX_NUMBERS] = {numbers[0], numbers[1]};                     \
        (void)p;                                                                   \
        for (int64_t i = 0; i < n; i++) {                                          \
            const float x = in[i];                                                 \
            out[i] = (EXPR);                                                       \
        }                                                                          \
    }

static float clamp(float x, float lo, float hi)
{
    x = x < lo ? lo : x;
    return x > hi ? hi : x;
}

static float softplus(float x)
{
    return log1pf(expf(-fabsf(x))) + (x < 0.0f ? 0.0f : x);
}

static float shrink(float x, float lambda, float bias)
{
    if (x < -lambda)
        return x + bias;
    if (x > lambda)
        return x - bias;
    return x != x ? x : 0.0f;
}

static float sign(float x)
{
    return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x;
}

MAP(map_relu, x < 0.0f ? 0.0f : x)
MAP(map_leaky, (x * (x < 0.0f ? p[0] : 1.0f)))
MAP(map_thresholded, x <= p[0] ? 0.0f : x)
MAP(map_elu, x < 0.0f ? p[0] * expm1f(x) : x)
MAP(map_selu, x <= 0.0f ? p[1] * (p[0] * expm1f(x)) : p[1] * x)
MAP(map_celu, x < 0.0f ? p[0] * expm1f(x / p[0]) : x)
MAP(map_shrink, shrink(x, p[0], p[1]))
MAP(map_sigmoid, 1.0f / (1.0f + expf(-x)))
MAP(map_hard_sigmoid, clamp(p[0] * x + p[1], 0.0f, 1.0f))
MAP(map_mish, (x * tanhf(softplus(x))))
MAP(map_softplus, softplus(x))
MAP(map_softsign, x / (1.0f + fabsf(x)))
MAP(map_gelu, 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)))
MAP(map_gelu_tanh, 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x))))

/* x * HardSigmoid(x) in two steps, each of which the compiler can vectorize. */
static void map_hard_swish(const float *in, float *out, int64_t n, const float *numbers)
{
    static const float gate[MAX_NUMBERS] = {1.0f / 6.0f, 0.5f};
    float block[64];
    const int64_t size = sizeof block / sizeof *block;
    (void)numbers;
    for (int64_t i = 0; i < n; i += size) {
        const int64_t m = n - i < size ? n - i : size;
        map_hard_sigmoid(in + i, block, m, gate);
        for (int64_t j = 0; j < m; j++)
            out[i + j] = in[i + j] * block[j];
    }
}

MAP(map_exp, expf(x))
MAP(map_log, logf(x))
MAP(map_sqrt, sqrtf(x))
MAP(map_reciprocal, 1.0f / x)
MAP(map_abs, fabsf(x))
MAP(map_neg, -x)
MAP(map_floor, floorf(x))
MAP(map_ceil, ceilf(x))
MAP(map_round, rintf(x)) /* nearest even: nobody changes the rounding mode */
MAP(map_sign, sign(x))
MAP(map_erf, erff(x))
MAP(map_sin, sinf(x))
MAP(map_cos, cosf(x))
MAP(map_tan, tanf(x))
MAP(map_asin, asinf(x))
MAP(map_acos, acosf(x))
MAP(map_atan, atanf(x))
MAP(map_sinh, sinhf(x))
MAP(map_cosh, coshf(x))
MAP(map_tanh, tanhf(x))
MAP(map_asinh, asinhf(x))
MAP(map_acosh, acoshf(x))
MAP(map_atanh, atanhf(x))

typedef struct number {
    const char *name;
    float fallback;
} number;

/* The same for other types, where the operator has them: one element at a time. */
typedef double (*double_fn)(double x);
typedef int64_t (*int_fn)(int64_t x);

static double neg_double(double x)
{
    return -x;
}

static double sign_double(double x)
{
    return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : x;
}

static double reciprocal_double(double x)
{
    return 1.0 / x;
}

static double relu_double(double x)
{
    return x < 0.0 ? 0.0 : x;
}

static int64_t neg_int(int64_t x)
{
    return (int64_t)(0 - (uint64_t)x);
}

static int64_t abs_int(int64_t x)
{
    return x < 0 ? neg_int(x) : x;
}

static int64_t sign_int(int64_t x)
{
    return (x > 0) - (x < 0);
}

static int64_t relu_int(int64_t x)
{
    return x < 0 ? 0 : x;
}

typedef struct map_op {
    const char *type;
    map_fn fn;
    number numbers[MAX_NUMBERS];
    double_fn fn_double;
    int_fn fn_int; /* signed integers */
} map_op;

static const map_op maps[] = {
    {"Relu", map_relu, {{0}}, relu_double, relu_int},
    {"LeakyRelu", map_leaky, {{"alpha", 0.01f}}, 0, 0},
    {"ThresholdedRelu", map_thresholded, {{"alpha", 1.0f}}, 0, 0},
    {"Elu", map_elu, {{"alpha", 1.0f}}, 0, 0},
    {"Selu",
     map_selu,
     {{"alpha", 1.67326319217681884765625f}, {"gamma", 1.05070102214813232421875f}},
     0,
     0},
    {"Celu", map_celu, {{"alpha", 1.0f}}, 0, 0},
    {"Shrink", map_shrink, {{"lambd", 0.5f}, {"bias", 0.0f}}, 0, 0},
    {"Sigmoid", map_sigmoid, {{0}}, 0, 0},
    {"HardSigmoid", map_hard_sigmoid, {{"alpha", 0.2f}, {"beta", 0.5f}}, 0, 0},
    {"HardSwish", map_hard_swish, {{0}}, 0, 0},
    {"Mish", map_mish, {{0}}, 0, 0},
    {"Softplus", map_softplus, {{0}}, 0, 0},
    {"Softsign", map_softsign, {{0}}, 0, 0},
    {"Gelu", map_gelu, {{0}}, 0, 0},
    {"Exp", map_exp, {{0}}, exp, 0},
    {"Log", map_log, {{0}}, log, 0},
    {"Sqrt", map_sqrt, {{0}}, sqrt, 0},
    {"Reciprocal", map_reciprocal, {{0}}, reciprocal_double, 0},
    {"Abs", map_abs, {{0}}, fabs, abs_int},
    {"Neg", map_neg, {{0}}, neg_double, neg_int},
    {"Floor", map_floor, {{0}}, floor, 0},
    {"Ceil", map_ceil, {{0}}, ceil, 0},
    {"Round", map_round, {{0}}, rint, 0},
    {"Sign", map_sign, {{0}}, sign_double, sign_int},
    {"Erf", map_erf, {{0}}, erf, 0},
    {"Sin", map_sin, {{0}}, sin, 0},
    {"Cos", map_cos, {{0}}, cos, 0},
    {"Tan", map_tan, {{0}}, tan, 0},
    {"Asin", map_asin, {{0}}, asin, 0},
    {"Acos", map_acos, {{0}}, acos, 0},
    {"Atan", map_atan, {{0}}, atan, 0},
    {"Sinh", map_sinh, {{0}}, sinh, 0},
    {"Cosh", map_cosh, {{0}}, cosh, 0},
    {"Tanh", map_tanh, {{0}}, tanh, 0},
    {"Asinh", map_asinh, {{0}}, asinh, 0},
    {"Acosh", map_acosh, {{0}}, acosh, 0},
    {"Atanh", map_atanh, {{0}}, atanh, 0},
};

typedef struct map_params {
    map_fn fn;
    double_fn fn_double;
    int_fn fn_int;
    float numbers[MAX_NUMBERS];
} map_params;
_Static_assert(sizeof(map_params) <= QDBG__OP_PARAMS_SIZE, "params");

static const map_op *find_map(const char *type)
{
    size_t i = 0;
    while (strcmp(maps[i].type, type) != 0)
        i++;
    return &maps[i];
}

static qdbg_status infer_map(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    const map_op *op = find_map(x->node->op_type);
    map_params *p = x->params;
    p->fn = op->fn;
    p->fn_double = op->fn_double;
    p->fn_int = op->fn_int;
    for (size_t i = 0; i < MAX_NUMBERS; i++) {
        if (op->numbers[i].name)
            p->numbers[i] = qdbg__attr_float(x->node, op->numbers[i].name, op->numbers[i].fallback);
    }
    bool supported = in->dtype == QDBG_F32 || (in->dtype == QDBG_F64 && p->fn_double) ||
                     (qdbg__is_signed(in->dtype) && p->fn_int);
    if (!supported)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                qdbg_dtype_name(in->dtype));
    qdbg__infer_out(x, 0, in->dtype, in->rank, in->dims);
    return QDBG_OK;
}

static qdbg_status infer_gelu(qdbg__infer *x)
{
    const char *form = qdbg__attr_string(x->node, "approximate", "none");
    bool tanh_form = strcmp(form, "tanh") == 0;
    if (!tanh_form && strcmp(form, "none") != 0)
        return qdbg__infer_fail(x, QDBG_E_INVALID, "unknown approximation '%s'", form);
    qdbg_status status = infer_map(x);
    if (tanh_form)
        ((map_params *)x->params)->fn = map_gelu_tanh;
    return status;
}

static qdbg_status run_map(const qdbg__run *r)
{
    const map_params *p = r->params;
    const qdbg_view *in = r->in[0], *out = r->out[0];
    int64_t n = (int64_t)qdbg_view_count(in);
    if (in->dtype == QDBG_F32) {
        p->fn(in->data, out->data, n, p->numbers);
    } else if (in->dtype == QDBG_F64) {
        for (int64_t i = 0; i < n; i++)
            ((double *)out->data)[i] = p->fn_double(((const double *)in->data)[i]);
    } else {
        for (int64_t i = 0; i < n; i++)
            qdbg__store_int(out->data, out->dtype, i,
                            p->fn_int(qdbg__load_int(in->data, in->dtype, i)));
    }
    return QDBG_OK;
}

/* ---- results that are bool ---- */

typedef struct test_params {
    bool negative, positive; /* the infinities that IsInf looks for */
} test_params;
_Static_assert(sizeof(test_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_test(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    test_params *p = x->params;
    p->negative = qdbg__attr_int(x->node, "detect_negative", 1) != 0;
    p->positive = qdbg__attr_int(x->node, "detect_positive", 1) != 0;
    if (!qdbg__is_float(in->dtype))
        return qdbg__infer_fail(x, QDBG_E_TYPE, "%s is not a float type",
                                qdbg_dtype_name(in->dtype));
    qdbg__infer_out(x, 0, QDBG_BOOL, in->rank, in->dims);
    return QDBG_OK;
}

static qdbg_status run_is_nan(const qdbg__run *r)
{
    int64_t n = (int64_t)qdbg_view_count(r->in[0]);
    uint8_t *out = r->out[0]->data;
    for (int64_t i = 0; i < n; i++)
        out[i] = isnan(qdbg__load_double(r->in[0]->data, r->in[0]->dtype, i)) != 0;
    return QDBG_OK;
}

static qdbg_status run_is_inf(const qdbg__run *r)
{
    const test_params *p = r->params;
    int64_t n = (int64_t)qdbg_view_count(r->in[0]);
    uint8_t *out = r->out[0]->data;
    for (int64_t i = 0; i < n; i++) {
        double value = qdbg__load_double(r->in[0]->data, r->in[0]->dtype, i);
        out[i] = isinf(value) && (value < 0 ? p->negative : p->positive);
    }
    return QDBG_OK;
}

static qdbg_status infer_not(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    if (in->dtype != QDBG_BOOL)
        return qdbg__infer_fail(x, QDBG_E_TYPE, "%s is not bool", qdbg_dtype_name(in->dtype));
    qdbg__infer_out(x, 0, QDBG_BOOL, in->rank, in->dims);
    return QDBG_OK;
}

static qdbg_status run_not(const qdbg__run *r)
{
    int64_t n = (int64_t)qdbg_view_count(r->in[0]);
    const uint8_t *in = r->in[0]->data;
    uint8_t *out = r->out[0]->data;
    for (int64_t i = 0; i < n; i++)
        out[i] = !in[i];
    return QDBG_OK;
}

#define UNARY(type)                                          \
    {                                                        \
        type, 1, 1, 1, QDBG__OP_IN_PLACE, infer_map, run_map \
    }

static const qdbg__op table[] = {
    UNARY("Relu"),
    UNARY("LeakyRelu"),
    UNARY("ThresholdedRelu"),
    UNARY("Elu"),
    UNARY("Selu"),
    UNARY("Celu"),
    UNARY("Shrink"),
    UNARY("Sigmoid"),
    UNARY("HardSigmoid"),
    UNARY("HardSwish"),
    UNARY("Mish"),
    UNARY("Softplus"),
    UNARY("Softsign"),
    UNARY("Exp"),
    UNARY("Log"),
    UNARY("Sqrt"),
    UNARY("Reciprocal"),
    UNARY("Abs"),
    UNARY("Neg"),
    UNARY("Floor"),
    UNARY("Ceil"),
    UNARY("Round"),
    UNARY("Sign"),
    UNARY("Erf"),
    UNARY("Sin"),
    UNARY("Cos"),
    UNARY("Tan"),
    UNARY("Asin"),
    UNARY("Acos"),
    UNARY("Atan"),
    UNARY("Sinh"),
    UNARY("Cosh"),
    UNARY("Tanh"),
    UNARY("Asinh"),
    UNARY("Acosh"),
    UNARY("Atanh"),
    {"Gelu", 1, 1, 1, QDBG__OP_IN_PLACE, infer_gelu, run_map},
    {"IsNaN", 1, 1, 1, 0, infer_test, run_is_nan},
    {"IsInf", 1, 1, 1, 0, infer_test, run_is_inf},
    {"Not", 1, 1, 1, QDBG__OP_IN_PLACE, infer_not, run_not},
};

const qdbg__op_table qdbg__ops_unary = {table, sizeof table / sizeof *table};
