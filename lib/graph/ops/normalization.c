/* LayerNormalization, InstanceNormalization, GroupNormalization: mean and variance of stretches of
 * adjacent elements, in double and in two passes; LpNormalization and LRN. */
#include <math.h>
#include <string.h>

#include "ops.h"
#include "walk.h"

#define LANES 8
#define CHUNK 64

/* The scale's and the bias's index for an element. */
typedef enum {
    PER_ELEMENT, /* position in the stretch (LayerNormalization) */
    PER_CHANNEL, /* stretch = `channels` channels, next to each other */
    PER_STRETCH, /* the group (GroupNormalization before opset 21) */
    SINGLE,      /* one number for all */
} affine;

typedef struct norm_params {
    int64_t count;    /* stretches */
    int64_t n;        /* elements of one */
    int64_t groups;   /* stretches of one sample */
    int64_t channels; /* channels of a stretch */
    affine scale, bias;
    double epsilon;
} norm_params;
_Static_assert(sizeof(norm_params) <= QDBG__OP_PARAMS_SIZE, "params");

/* ---- infer ---- */

static qdbg_status check_floats(qdbg__infer *x)
{
    for (uint32_t i = 0; i < x->node->n_in; i++) {
        if (x->in[i] && x->in[i]->dtype != QDBG_F32)
            return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                    qdbg_dtype_name(x->in[i]->dtype));
    }
    return QDBG_OK;
}

static double read_epsilon(const qdbg__infer *x)
{
    return (double)qdbg__attr_float(x->node, "epsilon", 1e-5f);
}

/* A scale or bias that is laid over the normalized dimensions. */
static qdbg_status layer_affine(qdbg__infer *x, uint32_t i, uint32_t axis, affine *kind)
{
    const qdbg_view *in = x->in[0], *v = qdbg__infer_in(x, i);
    char text[128];
    uint32_t n = in->rank - axis, skip = 0;
    *kind = PER_ELEMENT;
    if (!v)
        return QDBG_OK;
    while (skip < v->rank && v->dims[skip] == 1)
        skip++;
    if (skip == v->rank) {
        *kind = SINGLE;
        return QDBG_OK;
    }
    for (; n > 0 && in->dims[in->rank - n] == 1; n--)
        ;
    if (!qdbg__shape_equal(v->rank - skip, v->dims + skip, n, in->dims + in->rank - n))
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED,
                                "input %u of shape %s does not cover the normalized dimensions", i,
                                qdbg__shape_text(v->rank, v->dims, text, sizeof text));
    return QDBG_OK;
}

static qdbg_status infer_layer(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    norm_params *p = x->params;
    uint32_t axis;
    int64_t dims[QDBG_MAX_RANK];
    qdbg_status status = check_floats(x);
    if (status != QDBG_OK)
        return status;
    int64_t value = qdbg__attr_int(x->node, "axis", -1);
    if (!qdbg__axis(value, in->rank, &axis))
        return qdbg__infer_fail(x, QDBG_E_INVALID, "axis %lld is out of range for rank %u",
                                (long long)value, in->rank);
    status = layer_affine(x, 1, axis, &p->scale);
    if (status == QDBG_OK)
        status = layer_affine(x, 2, axis, &p->bias);
    if (status != QDBG_OK)
        return status;
    p->count = qdbg__dims_product(in->dims, 0, axis);
    p->n = qdbg__dims_product(in->dims, axis, in->rank);
    p->groups = p->channels = 1;
    p->epsilon = read_epsilon(x);
    for (uint32_t d = 0; d < in->rank; d++)
        dims[d] = d < axis ? in->dims[d] : 1;
    qdbg__infer_out(x, 0, QDBG_F32, in->rank, in->dims);
    qdbg__infer_out(x, 1, QDBG_F32, in->rank, dims);
    qdbg__infer_out(x, 2, QDBG_F32, in->rank, dims);
    return QDBG_OK;
}

/* Samples of `groups` groups of channels, with scale and bias of `n` entries. */
static qdbg_status infer_groups(qdbg__infer *x, int64_t groups, int64_t n)
{
    const qdbg_view *in = x->in[0];
    norm_params *p = x->params;
    char text[128];
    for (uint32_t i = 1; i <= 2; i++) {
        if (x->in[i]->rank != 1 || x->in[i]->dims[0] != n)
            return qdbg__infer_fail(
                x, QDBG_E_SHAPE, "input %u has the shape %s, not [%lld]", i,
                qdbg__shape_text(x->in[i]->rank, x->in[i]->dims, text, sizeof text), (long long)n);
    }
    p->count = in->dims[0] * groups;
    p->groups = groups;
    p->channels = in->dims[1] / groups;
    p->n = p->channels * qdbg__dims_product(in->dims, 2, in->rank);
    p->scale = p->bias = n == groups ? PER_STRETCH : PER_CHANNEL;
    p->epsilon = read_epsilon(x);
    qdbg__infer_out(x, 0, QDBG_F32, in->rank, in->dims);
    return QDBG_OK;
}

static qdbg_status infer_instance(qdbg__infer *x)
{
    qdbg_status status = check_floats(x);
    if (status != QDBG_OK)
        return status;
    if (x->in[0]->rank < 2 || x->in[0]->dims[1] < 1)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the input has no channels");
    return infer_groups(x, x->in[0]->dims[1], x->in[0]->dims[1]);
}

static qdbg_status infer_group(qdbg__infer *x)
{
    qdbg_status status = check_floats(x);
    if (status != QDBG_OK)
        return status;
    int64_t groups = qdbg__attr_int(x->node, "num_groups", 0);
    if (x->in[0]->rank < 2 || groups < 1 || x->in[0]->dims[1] % groups != 0 ||
        x->in[0]->dims[1] == 0)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the channels cannot be divided into %lld groups",
                                (long long)groups);
    return infer_groups(x, groups, x->opset >= 21 ? x->in[0]->dims[1] : groups);
}

/* ---- run ---- */

/* Sum of (x - shift)^power in a fixed order of lanes. */
#define SUM(name, EXPR)                                          \
    static double name(const float *x, int64_t n, double shift)  \
    {                                                            \
        double lanes[LANES] = {0};                               \
        int64_t i = 0;                                           \
        for (; i + LANES <= n; i += LANES) {                     \
            for (int j = 0; j < LANES; j++) {                    \
                const double v = x[i + j] - shift;               \
                lanes[j] += EXPR;                                \
            }                                                    \
        }                                                        \
        for (int j = 0; i < n; i++, j++) {                       \
            const double v = x[i] - shift;                       \
            lanes[j] += EXPR;                                    \
        }                                                        \
        return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + \
               ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));  \
    }

SUM(sum, v)
SUM(sum_squares, (v * v))

/* y = (x - mean) * inverse * scale + bias for `n` elements; a step of 0 repeats the number. */
static void scale_row(const float *x, float *y, int64_t n, float mean, float inverse,
                      const float *scale, int64_t scale_step, const float *bias, int64_t bias_step)
{
    if (scale_step == 1 && bias_step == 1) {
        for (int64_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * inverse * scale[i] + bias[i];
    } else if (scale_step == 0 && bias_step == 0) {
        const float s = scale[0], b = bias[0];
        for (int64_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * inverse * s + b;
    } else {
        for (int64_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * inverse * scale[i * scale_step] + bias[i * bias_step];
    }
}

static int64_t affine_start(affine kind, const norm_params *p, int64_t group)
{
    return kind == PER_STRETCH ? group : kind == PER_CHANNEL ? group * p->channels : 0;
}

static void apply_affine(const norm_params *p, int64_t group, const float *x, float *y, float mean,
                         float inverse, const float *scale, const float *bias)
{
    const float *s = scale + affine_start(p->scale, p, group);
    const float *b = bias + affine_start(p->bias, p, group);
    int64_t n = p->scale == PER_CHANNEL ? p->n / p->channels : p->n;
    int64_t channels = p->scale == PER_CHANNEL ? p->channels : 1;
    for (int64_t c = 0; c < channels; c++)
        scale_row(x + c * n, y + c * n, n, mean, inverse, s + c, p->scale == PER_ELEMENT, b + c,
                  p->bias == PER_ELEMENT);
}

static qdbg_status run_norm(const qdbg__run *r)
{
    static const float zero = 0.0f;
    const norm_params *p = r->params;
    norm_params local = *p;
    bool has_bias = r->node->n_in > 2 && r->in[2];
    const float *x = r->in[0]->data, *scale = r->in[1]->data;
    const float *bias = has_bias ? r->in[2]->data : &zero;
    float *y = r->out[0] ? r->out[0]->data : NULL;
    float *means = r->node->n_out > 1 && r->out[1] ? r->out[1]->data : NULL;
    float *inverses = r->node->n_out > 2 && r->out[2] ? r->out[2]->data : NULL;
    if (!has_bias)
        local.bias = SINGLE;
    if (p->n == 0)
        return QDBG_OK;
    for (int64_t i = 0; i < p->count; i++) {
        const float *row = x + i * p->n;
        double mean = sum(row, p->n, 0.0) / (double)p->n;
        double variance = sum_squares(row, p->n, mean) / (double)p->n;
        double inverse = 1.0 / sqrt(variance + p->epsilon);
        if (y)
            apply_affine(&local, i % p->groups, row, y + i * p->n, (float)mean, (float)inverse,
                         scale, bias);
        if (means)
            means[i] = (float)mean;
        if (inverses)
            inverses[i] = (float)inverse;
    }
    return QDBG_OK;
}

/* ---- LpNormalization ---- */

typedef struct lp_params {
    int64_t outer, n, inner;
    bool squares; /* p = 2, else 1 */
} lp_params;
_Static_assert(sizeof(lp_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_lp(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    lp_params *p = x->params;
    uint32_t axis;
    int64_t value = qdbg__attr_int(x->node, "axis", -1), power = qdbg__attr_int(x->node, "p", 2);
    qdbg_status status = check_floats(x);
    if (status != QDBG_OK)
        return status;
    if (!qdbg__axis(value, in->rank, &axis) || (power != 1 && power != 2))
        return qdbg__infer_fail(x, QDBG_E_INVALID, "axis %lld or p %lld is out of range",
                                (long long)value, (long long)power);
    p->outer = qdbg__dims_product(in->dims, 0, axis);
    p->n = in->dims[axis];
    p->inner = qdbg__dims_product(in->dims, axis + 1, in->rank);
    p->squares = power == 2;
    qdbg__infer_out(x, 0, QDBG_F32, in->rank, in->dims);
    return QDBG_OK;
}

static qdbg_status run_lp(const qdbg__run *r)
{
    const lp_params *p = r->params;
    for (int64_t o = 0; o < p->outer; o++) {
        for (int64_t j = 0; j < p->inner; j++) {
            const float *x = (const float *)r->in[0]->data + o * p->n * p->inner + j;
            float *y = (float *)r->out[0]->data + o * p->n * p->inner + j;
            double norm = 0.0;
            for (int64_t i = 0; i < p->n; i++) {
                double v = x[i * p->inner];
                norm += p->squares ? v * v : fabs(v);
            }
            norm = p->squares ? sqrt(norm) : norm;
            for (int64_t i = 0; i < p->n; i++)
                y[i * p->inner] = norm == 0.0 ? 0.0f : (float)(x[i * p->inner] / norm);
        }
    }
    return QDBG_OK;
}

/* ---- LRN: over neighbouring channels ---- */

typedef struct lrn_params {
    int64_t samples, channels, inner;
    int64_t before, after; /* channels of the window around its own */
    float alpha, beta, bias;
} lrn_params;
_Static_assert(sizeof(lrn_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_lrn(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    lrn_params *p = x->params;
    int64_t size = qdbg__attr_int(x->node, "size", 0);
    qdbg_status status = check_floats(x);
    if (status != QDBG_OK)
        return status;
    if (in->rank < 2 || size < 1)
        return qdbg__infer_fail(x, QDBG_E_INVALID, "size %lld or rank %u is out of range",
                                (long long)size, in->rank);
    p->samples = in->dims[0];
    p->channels = in->dims[1];
    p->inner = qdbg__dims_product(in->dims, 2, in->rank);
    p->before = (size - 1) / 2;
    p->after = size - 1 - p->before;
    p->alpha = qdbg__attr_float(x->node, "alpha", 1e-4f) / (float)size;
    p->beta = qdbg__attr_float(x->node, "beta", 0.75f);
    p->bias = qdbg__attr_float(x->node, "bias", 1.0f);
    qdbg__infer_out(x, 0, QDBG_F32, in->rank, in->dims);
    return QDBG_OK;
}

/* `n` <= CHUNK elements of channel `c` at x (channel 0) and y (channel c). */
static void lrn_chunk(const lrn_params *p, int64_t c, const float *x, float *y, int64_t n)
{
    float sums[CHUNK] = {0};
    int64_t from = c > p->before ? c - p->before : 0;
    int64_t to = p->after < p->channels - c ? c + p->after : p->channels - 1;
    for (int64_t k = from; k <= to; k++) {
        const float *row = x + k * p->inner;
        for (int64_t j = 0; j < n; j++)
            sums[j] += row[j] * row[j];
    }
    const float *own = x + c * p->inner;
    for (int64_t j = 0; j < n; j++)
        y[j] = own[j] / powf(p->bias + p->alpha * sums[j], p->beta);
}

static qdbg_status run_lrn(const qdbg__run *r)
{
    const lrn_params *p = r->params;
    for (int64_t s = 0; s < p->samples; s++) {
        const float *x = (const float *)r->in[0]->data + s * p->channels * p->inner;
        float *y = (float *)r->out[0]->data + s * p->channels * p->inner;
        for (int64_t c = 0; c < p->channels; c++) {
            for (int64_t j = 0; j < p->inner; j += CHUNK)
                lrn_chunk(p, c, x + j, y + c * p->inner + j,
                          p->inner - j < CHUNK ? p->inner - j : CHUNK);
        }
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"LayerNormalization", 2, 3, 3, QDBG__OP_IN_PLACE, infer_layer, run_norm},
    {"InstanceNormalization", 3, 3, 1, QDBG__OP_IN_PLACE, infer_instance, run_norm},
    {"GroupNormalization", 3, 3, 1, QDBG__OP_IN_PLACE, infer_group, run_norm},
    {"LpNormalization", 1, 1, 1, QDBG__OP_IN_PLACE, infer_lp, run_lp},
    {"LRN", 1, 1, 1, 0, infer_lrn, run_lrn},
};

const qdbg__op_table qdbg__ops_normalization = {table, sizeof table / sizeof *table};
