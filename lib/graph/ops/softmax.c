/* Softmax, LogSoftmax, Hardmax. Before opset 13 the axis splits the tensor into a matrix whose rows
 * are normalized; since then it is the one dimension that is. */
#include <math.h>
#include <string.h>

#include "ops.h"
#include "walk.h"

#define CHUNK 32
#define LANES 8

typedef enum { SOFT, LOG, HARD } softmax_kind;

/* The tensor seen as [outer, n, inner], normalized along n. */
typedef struct softmax_params {
    softmax_kind kind;
    int64_t outer, n, inner;
} softmax_params;
_Static_assert(sizeof(softmax_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_softmax(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    softmax_params *p = x->params;
    bool matrix = x->opset < 13;
    int64_t value = qdbg__attr_int(x->node, "axis", matrix ? 1 : -1);
    uint32_t axis;
    if (in->dtype != QDBG_F32)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                qdbg_dtype_name(in->dtype));
    if (matrix && value == (int64_t)in->rank) /* rows of one element: legal, if of no use */
        axis = in->rank;
    else if (!qdbg__axis(value, in->rank, &axis))
        return qdbg__infer_fail(x, QDBG_E_INVALID, "axis %lld is out of range for rank %u",
                                (long long)value, in->rank);
    p->outer = qdbg__dims_product(in->dims, 0, axis);
    p->n = matrix ? qdbg__dims_product(in->dims, axis, in->rank) : in->dims[axis];
    p->inner = matrix ? 1 : qdbg__dims_product(in->dims, axis + 1, in->rank);
    p->kind = qdbg__node_is(x->node, "Softmax")      ? SOFT
              : qdbg__node_is(x->node, "LogSoftmax") ? LOG
                                                     : HARD;
    qdbg__infer_out(x, 0, QDBG_F32, in->rank, in->dims);
    return QDBG_OK;
}

/* The largest number; NaN is passed over here, but comes back through the exponentials. The lanes
 * break the chain of dependent operations, so that the compiler can vectorize. */
static float row_max(const float *x, int64_t n)
{
    float lanes[LANES];
    int64_t i = 0;
    for (int j = 0; j < LANES; j++)
        lanes[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++)
            lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    }
    for (; i < n; i++)
        lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    for (int j = 1; j < LANES; j++)
        lanes[0] = lanes[j] > lanes[0] ? lanes[j] : lanes[0];
    return lanes[0];
}

static double row_sum(const float *x, int64_t n)
{
    double lanes[LANES] = {0}, sum = 0.0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++)
            lanes[j] += x[i + j];
    }
    for (; i < n; i++)
        lanes[0] += x[i];
    for (int j = 0; j < LANES; j++)
        sum += lanes[j];
    return sum;
}

static void soft_row(const float *x, float *y, int64_t n)
{
    const float max = row_max(x, n);
    for (int64_t i = 0; i < n; i++)
        y[i] = expf(x[i] - max);
    const float total = (float)row_sum(y, n);
    for (int64_t i = 0; i < n; i++)
        y[i] /= total;
}

static void log_row(const float *x, float *y, int64_t n)
{
    const float max = row_max(x, n);
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += expf(x[i] - max);
    const float shift = (float)log(sum);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] - max - shift;
}

/* Columns are handled a chunk at a time, so that the memory is still read in rows. `width` <= CHUNK
 * columns of rows that are p->inner apart. */
static void soft_columns(const softmax_params *p, const float *x, float *y, int64_t width)
{
    float max[CHUNK];
    double sum[CHUNK] = {0};
    memcpy(max, x, (size_t)width * sizeof *max);
    for (int64_t i = 1; i < p->n; i++) {
        const float *row = x + i * p->inner;
        for (int64_t j = 0; j < width; j++)
            max[j] = row[j] > max[j] || row[j] != row[j] ? row[j] : max[j];
    }
    for (int64_t i = 0; i < p->n; i++) {
        for (int64_t j = 0; j < width; j++) {
            float shifted = x[i * p->inner + j] - max[j], power = expf(shifted);
            y[i * p->inner + j] = p->kind == LOG ? shifted : power;
            sum[j] += power;
        }
    }
    for (int64_t j = 0; j < width; j++)
        max[j] = p->kind == LOG ? (float)log(sum[j]) : (float)sum[j];
    for (int64_t i = 0; i < p->n; i++) {
        float *row = y + i * p->inner;
        if (p->kind == LOG) {
            for (int64_t j = 0; j < width; j++)
                row[j] -= max[j];
        } else {
            for (int64_t j = 0; j < width; j++)
                row[j] /= max[j];
        }
    }
}

/* One column: 1 at the first maximum, 0 elsewhere. */
static void hard_column(const softmax_params *p, const float *x, float *y)
{
    int64_t best = 0;
    for (int64_t i = 1; i < p->n; i++) {
        if (x[i * p->inner] > x[best * p->inner])
            best = i;
    }
    for (int64_t i = 0; i < p->n; i++)
        y[i * p->inner] = i == best ? 1.0f : 0.0f;
}

static void run_slice(const softmax_params *p, const float *x, float *y)
{
    if (p->kind == HARD) {
        for (int64_t j = 0; j < p->inner; j++)
            hard_column(p, x + j, y + j);
    } else if (p->inner > 1) {
        for (int64_t j = 0; j < p->inner; j += CHUNK)
            soft_columns(p, x + j, y + j, p->inner - j < CHUNK ? p->inner - j : CHUNK);
    } else if (p->kind == SOFT) {
        soft_row(x, y, p->n);
    } else {
        log_row(x, y, p->n);
    }
}

static qdbg_status run_softmax(const qdbg__run *r)
{
    const softmax_params *p = r->params;
    const float *x = r->in[0]->data;
    float *y = r->out[0]->data;
    if (p->n == 0 || p->inner == 0)
        return QDBG_OK;
    for (int64_t o = 0; o < p->outer; o++)
        run_slice(p, x + o * p->n * p->inner, y + o * p->n * p->inner);
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"Softmax", 1, 1, 1, QDBG__OP_IN_PLACE, infer_softmax, run_softmax},
    {"LogSoftmax", 1, 1, 1, QDBG__OP_IN_PLACE, infer_softmax, run_softmax},
    {"Hardmax", 1, 1, 1, QDBG__OP_IN_PLACE, infer_softmax, run_softmax},
};

const qdbg__op_table qdbg__ops_softmax = {table, sizeof table / sizeof *table};
