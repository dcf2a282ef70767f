/* Operators that read a shape or give the same elements another one. */
#include <stdio.h>
#include <string.h>

#include "ops.h"
#include "walk.h"

/* ---- the same elements under another shape ---- */

static qdbg_status run_copy(const qdbg__run *r)
{
    const qdbg_view *in = r->in[0], *out = r->out[0];
    size_t bytes = (size_t)qdbg_view_count(in) * qdbg_dtype_size(in->dtype);
    if (out && bytes > 0 && out->data != in->data)
        memcpy(out->data, in->data, bytes);
    return QDBG_OK;
}

static qdbg_status fail_reshape(qdbg__infer *x, uint32_t rank, const int64_t *dims)
{
    const qdbg_view *in = x->in[0];
    char from[128], to[128];
    size_t n = 0;
    to[0] = 0;
    for (uint32_t i = 0; i < rank && n < sizeof to; i++) /* as asked for, -1 and 0 included */
        n += (size_t)snprintf(to + n, sizeof to - n, "%s%lld", i ? "," : "", (long long)dims[i]);
    return qdbg__infer_fail(x, QDBG_E_SHAPE, "cannot reshape %s to [%s]",
                            qdbg__shape_text(in->rank, in->dims, from, sizeof from), to);
}

/* Put numbers for the 0s ("as in the input") and the -1 ("what is left") of a wanted shape. */
static bool resolve_shape(const qdbg_view *in, bool zero_is_zero, uint32_t rank, int64_t *dims)
{
    uint64_t known = 1, total;
    uint32_t open = rank;
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] == 0 && !zero_is_zero) {
            if (i >= in->rank)
                return false;
            dims[i] = in->dims[i];
        } else if (dims[i] == -1) {
            if (open < rank)
                return false;
            open = i;
            dims[i] = 1;
        }
    }
    total = qdbg_view_count(in);
    if (!qdbg__shape_count(rank, dims, &known))
        return false;
    if (open == rank)
        return known == total;
    if (known == 0) /* any number would do: none can be told */
        return false;
    dims[open] = (int64_t)(total / known);
    return total % known == 0;
}

static qdbg_status infer_reshape(qdbg__infer *x)
{
    int64_t wanted[QDBG_MAX_RANK], dims[QDBG_MAX_RANK];
    int32_t n = qdbg__infer_ints(x, "shape", 1, wanted, QDBG_MAX_RANK);
    if (n == -2)
        return x->ctx->error_status;
    if (n < 0)
        return qdbg__infer_fail(x, QDBG_E_INVALID, "the shape is missing");
    memcpy(dims, wanted, sizeof dims);
    bool zero_is_zero = qdbg__attr_int(x->node, "allowzero", 0) != 0;
    if (!resolve_shape(x->in[0], zero_is_zero, (uint32_t)n, dims))
        return fail_reshape(x, (uint32_t)n, wanted);
    qdbg__infer_out(x, 0, x->in[0]->dtype, (uint32_t)n, dims);
    return QDBG_OK;
}

static qdbg_status infer_flatten(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    int64_t value = qdbg__attr_int(x->node, "axis", 1);
    uint32_t axis = in->rank;
    if (value != (int64_t)in->rank && !qdbg__axis(value, in->rank, &axis))
        return qdbg__infer_fail(x, QDBG_E_INVALID, "axis %lld is out of range for rank %u",
                                (long long)value, in->rank);
    int64_t dims[2] = {qdbg__dims_product(in->dims, 0, axis),
                       qdbg__dims_product(in->dims, axis, in->rank)};
    qdbg__infer_out(x, 0, in->dtype, 2, dims);
    return QDBG_OK;
}

/* The axes of Squeeze and Unsqueeze as flags; false after a recorded failure. */
static bool read_axes(qdbg__infer *x, uint32_t rank, bool *flags, int32_t *n)
{
    int64_t axes[QDBG_MAX_RANK];
    uint32_t axis;
    *n = qdbg__infer_ints(x, "axes", 1, axes, QDBG_MAX_RANK);
    for (int32_t i = 0; i < *n; i++) {
        if (!qdbg__axis(axes[i], rank, &axis) || flags[axis]) {
            qdbg__infer_fail(x, QDBG_E_INVALID, "axis %lld is out of range or repeated",
                             (long long)axes[i]);
            return false;
        }
        flags[axis] = true;
    }
    return *n != -2;
}

static qdbg_status infer_squeeze(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    bool flags[QDBG_MAX_RANK] = {false};
    int64_t dims[QDBG_MAX_RANK];
    uint32_t rank = 0;
    int32_t n;
    if (!read_axes(x, in->rank, flags, &n))
        return x->ctx->error_status;
    for (uint32_t d = 0; d < in->rank; d++) {
        bool drop = n < 0 ? in->dims[d] == 1 : flags[d];
        if (drop && in->dims[d] != 1)
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "axis %u has size %lld, not 1", d,
                                    (long long)in->dims[d]);
        if (!drop)
            dims[rank++] = in->dims[d];
    }
    qdbg__infer_out(x, 0, in->dtype, rank, dims);
    return QDBG_OK;
}

static qdbg_status count_axes(qdbg__infer *x, uint32_t *n)
{
    int64_t axes[QDBG_MAX_RANK];
    int32_t count = qdbg__infer_ints(x, "axes", 1, axes, QDBG_MAX_RANK);
    if (count == -2)
        return x->ctx->error_status;
    if (count == -1)
        return qdbg__infer_fail(x, QDBG_E_INVALID, "the axes are missing");
    *n = (uint32_t)count;
    return QDBG_OK;
}

static qdbg_status infer_unsqueeze(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    bool flags[2 * QDBG_MAX_RANK] = {false};
    int64_t dims[2 * QDBG_MAX_RANK];
    uint32_t added = 0, from = 0;
    int32_t n;
    qdbg_status status = count_axes(x, &added);
    if (status != QDBG_OK)
        return status;
    if (!read_axes(x, in->rank + added, flags, &n))
        return x->ctx->error_status;
    for (uint32_t d = 0; d < in->rank + added; d++)
        dims[d] = flags[d] ? 1 : in->dims[from++];
    qdbg__infer_out(x, 0, in->dtype, in->rank + added, dims);
    return QDBG_OK;
}

static qdbg_status infer_identity(qdbg__infer *x)
{
    qdbg__infer_out(x, 0, x->in[0]->dtype, x->in[0]->rank, x->in[0]->dims);
    return QDBG_OK;
}

/* ---- Dropout, which does nothing in inference ---- */

static qdbg_status infer_dropout(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0], *training = qdbg__infer_in(x, 2);
    float ratio = 0.5f;
    if (training && !training->data)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "'training_mode' is not constant");
    if (training && qdbg_view_count(training) > 0 && *(const uint8_t *)training->data) {
        if (!qdbg__infer_float(x, "ratio", 1, &ratio))
            return x->ctx->error_status;
        if (ratio != 0.0f)
            return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "training mode is not supported");
    }
    qdbg__infer_out(x, 0, in->dtype, in->rank, in->dims);
    qdbg__infer_out(x, 1, x->opset < 10 ? in->dtype : QDBG_BOOL, in->rank, in->dims);
    return QDBG_OK;
}

static qdbg_status run_dropout(const qdbg__run *r)
{
    static const uint8_t yes = 1;
    const qdbg_view *mask = r->node->n_out > 1 ? r->out[1] : NULL;
    if (mask && mask->dtype == QDBG_BOOL)
        qdbg__fill(1, mask->data, &yes, (int64_t)qdbg_view_count(mask));
    else if (mask) /* before opset 10 its values were left open: zeros */
        qdbg__fill(qdbg_dtype_size(mask->dtype), mask->data, NULL, (int64_t)qdbg_view_count(mask));
    return run_copy(r);
}

/* ---- Shape and Size ---- */

typedef struct shape_params {
    uint32_t start, count;
} shape_params;
_Static_assert(sizeof(shape_params) <= QDBG__OP_PARAMS_SIZE, "params");

/* A bound of Shape: counts from the end when negative, then clamped. */
static uint32_t clamp_axis(int64_t axis, uint32_t rank)
{
    if (axis < 0)
        axis = axis < -(int64_t)rank ? 0 : axis + (int64_t)rank;
    return axis > (int64_t)rank ? rank : (uint32_t)axis;
}

static qdbg_status infer_shape(qdbg__infer *x)
{
    shape_params *p = x->params;
    uint32_t rank = x->in[0]->rank;
    uint32_t start = clamp_axis(qdbg__attr_int(x->node, "start", 0), rank);
    uint32_t end = clamp_axis(qdbg__attr_int(x->node, "end", (int64_t)rank), rank);
    p->start = start;
    p->count = end > start ? end - start : 0;
    int64_t n = p->count;
    qdbg__infer_out(x, 0, QDBG_I64, 1, &n);
    return QDBG_OK;
}

static qdbg_status run_shape(const qdbg__run *r)
{
    const shape_params *p = r->params;
    if (p->count > 0)
        memcpy(r->out[0]->data, r->in[0]->dims + p->start, p->count * sizeof(int64_t));
    return QDBG_OK;
}

static qdbg_status infer_size(qdbg__infer *x)
{
    qdbg__infer_out(x, 0, QDBG_I64, 0, NULL);
    return QDBG_OK;
}

static qdbg_status run_size(const qdbg__run *r)
{
    *(int64_t *)r->out[0]->data = (int64_t)qdbg_view_count(r->in[0]);
    return QDBG_OK;
}

#define SAME (QDBG__OP_IN_PLACE | QDBG__OP_PASSES_ENCODING)

static const qdbg__op table[] = {
    {"Reshape", 1, 2, 1, SAME, infer_reshape, run_copy},
    {"Flatten", 1, 1, 1, SAME, infer_flatten, run_copy},
    {"Squeeze", 1, 2, 1, SAME, infer_squeeze, run_copy},
    {"Unsqueeze", 1, 2, 1, SAME, infer_unsqueeze, run_copy},
    {"Identity", 1, 1, 1, SAME, infer_identity, run_copy},
    {"Dropout", 1, 3, 2, SAME, infer_dropout, run_dropout},
    {"Shape", 1, 1, 1, 0, infer_shape, run_shape},
    {"Size", 1, 1, 1, 0, infer_size, run_size},
};

const qdbg__op_table qdbg__ops_shape_ops = {table, sizeof table / sizeof *table};
