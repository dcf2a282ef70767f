/* Gather, GatherElements, GatherND. Indices may be negative; one out of range ends the run with
 * QDBG_E_INVALID. */
#include <string.h>

#include "number.h"
#include "ops.h"
#include "walk.h"

static qdbg_status check_indices(qdbg__infer *x)
{
    int32_t dtype = x->in[1]->dtype;
    if (dtype != QDBG_I32 && dtype != QDBG_I64)
        return qdbg__infer_fail(x, QDBG_E_TYPE, "indices are %s, not int32 or int64",
                                qdbg_dtype_name(dtype));
    return QDBG_OK;
}

/* ---- Gather: whole blocks ---- */

typedef struct gather_params {
    int64_t outer, n, inner; /* the data as [outer, n, inner] */
} gather_params;
_Static_assert(sizeof(gather_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_gather(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0], *indices = x->in[1];
    gather_params *p = x->params;
    int64_t value = qdbg__attr_int(x->node, "axis", 0), dims[2 * QDBG_MAX_RANK];
    uint32_t axis, rank = 0;
    qdbg_status status = check_indices(x);
    if (status != QDBG_OK)
        return status;
    if (!qdbg__axis(value, in->rank, &axis))
        return qdbg__infer_fail(x, QDBG_E_INVALID, "axis %lld is out of range for rank %u",
                                (long long)value, in->rank);
    for (uint32_t d = 0; d < axis; d++)
        dims[rank++] = in->dims[d];
    for (uint32_t d = 0; d < indices->rank; d++)
        dims[rank++] = indices->dims[d];
    for (uint32_t d = axis + 1; d < in->rank; d++)
        dims[rank++] = in->dims[d];
    p->outer = qdbg__dims_product(in->dims, 0, axis);
    p->n = in->dims[axis];
    p->inner = qdbg__dims_product(in->dims, axis + 1, in->rank);
    qdbg__infer_out(x, 0, in->dtype, rank, dims);
    return QDBG_OK;
}

static qdbg_status run_gather(const qdbg__run *r)
{
    const gather_params *p = r->params;
    const qdbg_view *in = r->in[0], *indices = r->in[1];
    size_t block = (size_t)p->inner * qdbg_dtype_size(in->dtype);
    int64_t count = (int64_t)qdbg_view_count(indices), index;
    char *out = r->out[0]->data;
    if (qdbg_view_count(r->out[0]) == 0)
        return QDBG_OK;
    for (int64_t o = 0; o < p->outer; o++) {
        for (int64_t i = 0; i < count; i++, out += block) {
            if (!qdbg__read_index(indices, i, p->n, &index))
                return QDBG_E_INVALID;
            memcpy(out, (const char *)in->data + (size_t)(o * p->n + index) * block, block);
        }
    }
    return QDBG_OK;
}

/* ---- GatherElements: one index for each element ---- */

typedef struct elements_params {
    uint32_t axis;
    int64_t step;                   /* stride of the axis in the data */
    int64_t strides[QDBG_MAX_RANK]; /* of the data; 0 for the axis */
} elements_params;
_Static_assert(sizeof(elements_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_elements(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0], *indices = x->in[1];
    elements_params *p = x->params;
    int64_t value = qdbg__attr_int(x->node, "axis", 0);
    qdbg_status status = check_indices(x);
    if (status != QDBG_OK)
        return status;
    if (in->rank == 0 || indices->rank != in->rank || !qdbg__axis(value, in->rank, &p->axis))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "ranks %u and %u or axis %lld do not fit",
                                in->rank, indices->rank, (long long)value);
    for (uint32_t d = 0; d < in->rank; d++) {
        if (d != p->axis && indices->dims[d] > in->dims[d])
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "the indices are larger along axis %u", d);
    }
    qdbg__strides(in->rank, in->dims, p->strides);
    p->step = p->strides[p->axis];
    p->strides[p->axis] = 0;
    qdbg__infer_out(x, 0, in->dtype, indices->rank, indices->dims);
    return QDBG_OK;
}

static qdbg_status run_elements(const qdbg__run *r)
{
    const elements_params *p = r->params;
    const qdbg_view *in = r->in[0], *indices = r->in[1];
    size_t size = qdbg_dtype_size(in->dtype);
    int64_t count = (int64_t)qdbg_view_count(indices), at[QDBG_MAX_RANK] = {0}, base = 0, index;
    for (int64_t i = 0; i < count; i++) {
        if (!qdbg__read_index(indices, i, in->dims[p->axis], &index))
            return QDBG_E_INVALID;
        memcpy((char *)r->out[0]->data + (size_t)i * size,
               (const char *)in->data + (size_t)(base + index * p->step) * size, size);
        for (uint32_t d = in->rank; d-- > 0;) {
            base += p->strides[d];
            if (++at[d] < indices->dims[d])
                break;
            base -= p->strides[d] * indices->dims[d];
            at[d] = 0;
        }
    }
    return QDBG_OK;
}

/* ---- GatherND: tuples of indices ---- */

typedef struct nd_params {
    int64_t batches, per_batch;                          /* tuples */
    int64_t width;                                       /* indices of a tuple */
    int64_t batch_step;                                  /* elements of the data in a batch */
    int64_t block;                                       /* elements that a tuple picks */
    int64_t dims[QDBG_MAX_RANK], strides[QDBG_MAX_RANK]; /* [width] of the data */
} nd_params;
_Static_assert(sizeof(nd_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_nd(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0], *indices = x->in[1];
    nd_params *p = x->params;
    int64_t batch_dims = qdbg__attr_int(x->node, "batch_dims", 0), dims[2 * QDBG_MAX_RANK];
    int64_t strides[QDBG_MAX_RANK];
    uint32_t rank = 0;
    qdbg_status status = check_indices(x);
    if (status != QDBG_OK)
        return status;
    if (in->rank < 1 || indices->rank < 1 || batch_dims < 0 || batch_dims >= in->rank ||
        batch_dims >= indices->rank)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "ranks %u and %u or batch_dims %lld do not fit",
                                in->rank, indices->rank, (long long)batch_dims);
    uint32_t b = (uint32_t)batch_dims, last = indices->rank - 1;
    p->width = indices->dims[last];
    if (!qdbg__shape_equal(b, in->dims, b, indices->dims) || p->width < 1 ||
        p->width > (int64_t)(in->rank - b))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "tuples of %lld indices do not fit the data",
                                (long long)p->width);
    uint32_t picked = b + (uint32_t)p->width;
    qdbg__strides(in->rank, in->dims, strides);
    memcpy(p->dims, in->dims + b, (size_t)p->width * sizeof *p->dims);
    memcpy(p->strides, strides + b, (size_t)p->width * sizeof *p->strides);
    p->batches = qdbg__dims_product(in->dims, 0, b);
    p->per_batch = qdbg__dims_product(indices->dims, b, last);
    p->batch_step = qdbg__dims_product(in->dims, b, in->rank);
    p->block = qdbg__dims_product(in->dims, picked, in->rank);
    for (uint32_t d = 0; d < last; d++)
        dims[rank++] = indices->dims[d];
    for (uint32_t d = picked; d < in->rank; d++)
        dims[rank++] = in->dims[d];
    qdbg__infer_out(x, 0, in->dtype, rank, dims);
    return QDBG_OK;
}

static qdbg_status run_nd(const qdbg__run *r)
{
    const nd_params *p = r->params;
    size_t size = qdbg_dtype_size(r->in[0]->dtype), bytes = (size_t)p->block * size;
    char *out = r->out[0]->data;
    int64_t index;
    if (qdbg_view_count(r->out[0]) == 0)
        return QDBG_OK;
    for (int64_t t = 0; t < p->batches * p->per_batch; t++, out += bytes) {
        int64_t at = t / p->per_batch * p->batch_step;
        for (int64_t k = 0; k < p->width; k++) {
            if (!qdbg__read_index(r->in[1], t * p->width + k, p->dims[k], &index))
                return QDBG_E_INVALID;
            at += index * p->strides[k];
        }
        memcpy(out, (const char *)r->in[0]->data + (size_t)at * size, bytes);
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"Gather", 2, 2, 1, QDBG__OP_PASSES_ENCODING, infer_gather, run_gather},
    {"GatherElements", 2, 2, 1, QDBG__OP_PASSES_ENCODING, infer_elements, run_elements},
    {"GatherND", 2, 2, 1, QDBG__OP_PASSES_ENCODING, infer_nd, run_nd},
};

const qdbg__op_table qdbg__ops_gather = {table, sizeof table / sizeof *table};
