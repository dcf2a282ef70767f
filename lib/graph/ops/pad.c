/* Pad: constant, reflect, edge, wrap; negative pads cut. */
#include <string.h>

#include "ops.h"
#include "walk.h"

typedef enum { CONSTANT, REFLECT, EDGE, WRAP } pad_mode;

typedef struct pad_params {
    pad_mode mode;
    float value;                   /* where it is an attribute */
    int64_t before[QDBG_MAX_RANK]; /* elements added in front of each axis */
    qdbg__walk walk;               /* the part that is copied (CONSTANT) */
    int64_t out_start, in_start;   /* its first element */
} pad_params;
_Static_assert(sizeof(pad_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status read_mode(qdbg__infer *x, pad_mode *mode)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    const char *name = qdbg__attr_string(x->node, "mode", "constant");
    for (int m = CONSTANT; m <= WRAP; m++) {
        if (strcmp(name, names[m]) == 0) {
            *mode = (pad_mode)m;
            return QDBG_OK;
        }
    }
    return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "unknown mode '%s'", name);
}

/* Pads in front of and behind each axis. */
static qdbg_status read_pads(qdbg__infer *x, int64_t *before, int64_t *after)
{
    int64_t pads[2 * QDBG_MAX_RANK], axes[QDBG_MAX_RANK];
    bool used[QDBG_MAX_RANK] = {false};
    uint32_t rank = x->in[0]->rank, axis;
    int32_t n = qdbg__infer_ints(x, "pads", 1, pads, 2 * QDBG_MAX_RANK);
    if (n == -2)
        return x->ctx->error_status;
    int32_t n_axes = qdbg__infer_ints(x, "axes", 3, axes, QDBG_MAX_RANK);
    if (n_axes == -2)
        return x->ctx->error_status;
    int32_t wanted = n_axes < 0 ? (int32_t)rank : n_axes;
    if (n != 2 * wanted)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "%d pads for %d axes", n, wanted);
    for (int32_t i = 0; i < wanted; i++) {
        if (!qdbg__axis(n_axes < 0 ? i : axes[i], rank, &axis) || used[axis])
            return qdbg__infer_fail(x, QDBG_E_INVALID, "an axis is out of range or repeated");
        used[axis] = true;
        before[axis] = pads[i];
        after[axis] = pads[i + wanted];
    }
    return QDBG_OK;
}

static qdbg_status check_value(qdbg__infer *x, pad_params *p)
{
    const qdbg_view *value = qdbg__infer_in(x, 2);
    p->value = qdbg__attr_float(x->node, "value", 0.0f);
    if (value && (value->dtype != x->in[0]->dtype || qdbg_view_count(value) != 1))
        return qdbg__infer_fail(x, QDBG_E_TYPE, "the value must be one %s number",
                                qdbg_dtype_name(x->in[0]->dtype));
    return QDBG_OK;
}

/* The box of the input that stays, and where it goes. */
static void plan_box(pad_params *p, const qdbg_view *in, const int64_t *out_dims)
{
    int64_t strides[QDBG__WALK_OPERANDS][QDBG_MAX_RANK], box[QDBG_MAX_RANK];
    qdbg__strides(in->rank, out_dims, strides[0]);
    qdbg__strides(in->rank, in->dims, strides[1]);
    for (uint32_t d = 0; d < in->rank; d++) {
        int64_t from = p->before[d] < 0 ? -p->before[d] : 0; /* in the input */
        int64_t to = out_dims[d] - p->before[d];             /* one behind the last */
        to = to < in->dims[d] ? to : in->dims[d];
        box[d] = to > from ? to - from : 0;
        if (box[d] > 0) {
            p->in_start += from * strides[1][d];
            p->out_start += (p->before[d] > 0 ? p->before[d] : 0) * strides[0][d];
        }
    }
    qdbg__walk_init(&p->walk, in->rank, box, 2, (const int64_t(*)[QDBG_MAX_RANK])strides);
}

static qdbg_status infer_pad(qdbg__infer *x)
{
    const int64_t limit = (int64_t)1 << 59;
    const qdbg_view *in = x->in[0];
    pad_params *p = x->params;
    int64_t after[QDBG_MAX_RANK] = {0}, dims[QDBG_MAX_RANK];
    uint64_t count;
    qdbg_status status = read_mode(x, &p->mode);
    if (status == QDBG_OK)
        status = read_pads(x, p->before, after);
    if (status == QDBG_OK)
        status = check_value(x, p);
    if (status != QDBG_OK)
        return status;
    for (uint32_t d = 0; d < in->rank; d++) {
        if (p->before[d] < -limit || p->before[d] > limit || after[d] < -limit || after[d] > limit)
            return qdbg__infer_fail(x, QDBG_E_INVALID, "a pad is out of range");
        dims[d] = in->dims[d] + p->before[d] + after[d];
        if (dims[d] < 0)
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "axis %u of size %lld cannot lose %lld", d,
                                    (long long)in->dims[d], (long long)-(p->before[d] + after[d]));
        if (p->mode != CONSTANT && in->dims[d] == 0 && dims[d] > 0)
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "axis %u is empty", d);
    }
    if (!qdbg__shape_count(in->rank, dims, &count))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the result is too large");
    if (p->mode == CONSTANT)
        plan_box(p, in, dims);
    qdbg__infer_out(x, 0, in->dtype, in->rank, dims);
    return QDBG_OK;
}

static void pad_constant(const qdbg__run *r)
{
    const pad_params *p = r->params;
    const qdbg_view *in = r->in[0], *out = r->out[0];
    const void *value = r->node->n_in > 2 && r->in[2] ? r->in[2]->data : NULL;
    size_t size = qdbg_dtype_size(in->dtype);
    if (!value && in->dtype == QDBG_F32) /* an attribute means floats */
        value = &p->value;
    qdbg__fill(size, out->data, value, (int64_t)qdbg_view_count(out));
    if (p->walk.outer > 0)
        qdbg__walk_copy(&p->walk, size, (char *)out->data + p->out_start * (int64_t)size,
                        (const char *)in->data + p->in_start * (int64_t)size);
}

/* Where position `i` (which may lie outside) of an axis of n elements is read. */
static int64_t mirror(pad_mode mode, int64_t i, int64_t n)
{
    if (i >= 0 && i < n)
        return i;
    if (mode == EDGE)
        return i < 0 ? 0 : n - 1;
    int64_t period = mode == WRAP ? n : 2 * (n - 1);
    if (period == 0) /* one element, reflected */
        return 0;
    i %= period;
    i += i < 0 ? period : 0;
    return i < n ? i : period - i;
}

static void pad_row(const pad_params *p, size_t size, char *out, int64_t n_out, const char *in,
                    int64_t n_in, int64_t before)
{
    int64_t i = 0, first = before > 0 ? before : 0, end = before + n_in;
    end = end < n_out ? end : n_out;
    for (; i < n_out; i++) {
        if (i == first && end > first) { /* the middle, as it is */
            memcpy(out + (size_t)i * size, in + (size_t)(i - before) * size,
                   (size_t)(end - first) * size);
            i = end - 1;
            continue;
        }
        int64_t from = mirror(p->mode, i - before, n_in);
        memcpy(out + (size_t)i * size, in + (size_t)from * size, size);
    }
}

static void pad_mirrored(const qdbg__run *r)
{
    const pad_params *p = r->params;
    const qdbg_view *in = r->in[0], *out = r->out[0];
    size_t size = qdbg_dtype_size(in->dtype);
    int64_t strides[QDBG_MAX_RANK], index[QDBG_MAX_RANK] = {0};
    if (out->rank == 0) {
        memcpy(out->data, in->data, size);
        return;
    }
    uint32_t last = out->rank - 1;
    int64_t n = out->dims[last], rows = qdbg__dims_product(out->dims, 0, last);
    qdbg__strides(in->rank, in->dims, strides);
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = 0;
        for (uint32_t d = 0; d < last; d++)
            at += mirror(p->mode, index[d] - p->before[d], in->dims[d]) * strides[d];
        pad_row(p, size, (char *)out->data + (size_t)(row * n) * size, n,
                (const char *)in->data + (size_t)at * size, in->dims[last], p->before[last]);
        for (uint32_t d = last; d-- > 0;) {
            if (++index[d] < out->dims[d])
                break;
            index[d] = 0;
        }
    }
}

static qdbg_status run_pad(const qdbg__run *r)
{
    const pad_params *p = r->params;
    if (qdbg_view_count(r->out[0]) == 0)
        return QDBG_OK;
    if (p->mode == CONSTANT)
        pad_constant(r);
    else
        pad_mirrored(r);
    return QDBG_OK;
}

static const qdbg__op table[] = {{"Pad", 1, 4, 1, QDBG__OP_PASSES_ENCODING, infer_pad, run_pad}};

const qdbg__op_table qdbg__ops_pad = {table, sizeof table / sizeof *table};
