/* ScatterElements (and its old name Scatter) and ScatterND. */
#include <string.h>

#include "arith.h"
#include "number.h"
#include "ops.h"

typedef struct scatter_params {
    qdbg__arith_fn combine;         /* of `reduction`, or NULL: the update replaces */
    uint32_t axis;                  /* ScatterElements */
    int64_t width, block;           /* ScatterND: indices of a tuple, elements it places */
    int64_t strides[QDBG_MAX_RANK]; /* of the data; ScatterElements: 0 for the axis */
    int64_t step;                   /* of the axis */
} scatter_params;
_Static_assert(sizeof(scatter_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status read_reduction(qdbg__infer *x, scatter_params *p)
{
    static const struct {
        const char *name;
        qdbg__arith op;
    } rules[] = {{"add", QDBG__ARITH_ADD},
                 {"mul", QDBG__ARITH_MUL},
                 {"max", QDBG__ARITH_MAX},
                 {"min", QDBG__ARITH_MIN}};
    const char *name = qdbg__attr_string(x->node, "reduction", "none");
    if (strcmp(name, "none") == 0)
        return QDBG_OK;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (strcmp(name, rules[i].name) == 0)
            p->combine = qdbg__arith_find(rules[i].op, x->in[0]->dtype);
    }
    if (!p->combine)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "reduction '%s' of %s is not supported",
                                name, qdbg_dtype_name(x->in[0]->dtype));
    return QDBG_OK;
}

static qdbg_status check_types(qdbg__infer *x)
{
    int32_t data = x->in[0]->dtype, indices = x->in[1]->dtype, updates = x->in[2]->dtype;
    if ((indices != QDBG_I32 && indices != QDBG_I64) || updates != data)
        return qdbg__infer_fail(x, QDBG_E_TYPE, "data is %s, indices are %s, updates are %s",
                                qdbg_dtype_name(data), qdbg_dtype_name(indices),
                                qdbg_dtype_name(updates));
    return QDBG_OK;
}

static void copy_data(const qdbg__run *r)
{
    size_t bytes = (size_t)qdbg_view_count(r->in[0]) * qdbg_dtype_size(r->in[0]->dtype);
    if (bytes > 0 && r->out[0]->data != r->in[0]->data)
        memcpy(r->out[0]->data, r->in[0]->data, bytes);
}

static void place(const scatter_params *p, char *to, const char *from, int64_t n, size_t size)
{
    if (p->combine)
        p->combine(to, 1, from, 1, to, n);
    else
        memcpy(to, from, (size_t)n * size);
}

/* ---- ScatterElements ---- */

static qdbg_status infer_elements(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0], *indices = x->in[1], *updates = x->in[2];
    scatter_params *p = x->params;
    int64_t value = qdbg__attr_int(x->node, "axis", 0);
    qdbg_status status = check_types(x);
    if (status == QDBG_OK)
        status = read_reduction(x, p);
    if (status != QDBG_OK)
        return status;
    if (in->rank == 0 || indices->rank != in->rank || !qdbg__axis(value, in->rank, &p->axis) ||
        !qdbg__shape_equal(indices->rank, indices->dims, updates->rank, updates->dims))
        return qdbg__infer_fail(x, QDBG_E_SHAPE,
                                "shapes of data, indices and updates or axis %lld do not fit",
                                (long long)value);
    for (uint32_t d = 0; d < in->rank; d++) {
        if (d != p->axis && indices->dims[d] > in->dims[d])
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "the indices are larger along axis %u", d);
    }
    qdbg__strides(in->rank, in->dims, p->strides);
    p->step = p->strides[p->axis];
    p->strides[p->axis] = 0;
    qdbg__infer_out(x, 0, in->dtype, in->rank, in->dims);
    return QDBG_OK;
}

static qdbg_status run_elements(const qdbg__run *r)
{
    const scatter_params *p = r->params;
    const qdbg_view *out = r->out[0], *indices = r->in[1];
    size_t size = qdbg_dtype_size(out->dtype);
    int64_t count = (int64_t)qdbg_view_count(indices), at[QDBG_MAX_RANK] = {0}, base = 0, index;
    copy_data(r);
    for (int64_t i = 0; i < count; i++) {
        if (!qdbg__read_index(indices, i, out->dims[p->axis], &index))
            return QDBG_E_INVALID;
        place(p, (char *)out->data + (size_t)(base + index * p->step) * size,
              (const char *)r->in[2]->data + (size_t)i * size, 1, size);
        for (uint32_t d = out->rank; d-- > 0;) {
            base += p->strides[d];
            if (++at[d] < indices->dims[d])
                break;
            base -= p->strides[d] * indices->dims[d];
            at[d] = 0;
        }
    }
    return QDBG_OK;
}

/* ---- ScatterND ---- */

/* updates = indices[:-1] + data[width:] */
static bool updates_fit(const qdbg_view *in, const qdbg_view *indices, const qdbg_view *updates,
                        int64_t width)
{
    uint32_t tuples = indices->rank - 1, w = (uint32_t)width;
    return updates->rank == tuples + in->rank - w &&
           qdbg__shape_equal(tuples, indices->dims, tuples, updates->dims) &&
           qdbg__shape_equal(in->rank - w, in->dims + w, in->rank - w, updates->dims + tuples);
}

static qdbg_status infer_nd(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0], *indices = x->in[1], *updates = x->in[2];
    scatter_params *p = x->params;
    qdbg_status status = check_types(x);
    if (status == QDBG_OK)
        status = read_reduction(x, p);
    if (status != QDBG_OK)
        return status;
    p->width = indices->rank > 0 ? indices->dims[indices->rank - 1] : 0;
    if (p->width < 1 || p->width > (int64_t)in->rank ||
        !updates_fit(in, indices, updates, p->width))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "shapes of data, indices and updates do not fit");
    p->block = qdbg__dims_product(in->dims, (uint32_t)p->width, in->rank);
    qdbg__strides(in->rank, in->dims, p->strides);
    qdbg__infer_out(x, 0, in->dtype, in->rank, in->dims);
    return QDBG_OK;
}

static qdbg_status run_nd(const qdbg__run *r)
{
    const scatter_params *p = r->params;
    const qdbg_view *out = r->out[0], *indices = r->in[1];
    size_t size = qdbg_dtype_size(out->dtype);
    int64_t tuples = qdbg__dims_product(indices->dims, 0, indices->rank - 1), index;
    copy_data(r);
    if (p->block == 0)
        return QDBG_OK;
    for (int64_t t = 0; t < tuples; t++) {
        int64_t at = 0;
        for (int64_t k = 0; k < p->width; k++) {
            if (!qdbg__read_index(indices, t * p->width + k, out->dims[k], &index))
                return QDBG_E_INVALID;
            at += index * p->strides[k];
        }
        place(p, (char *)out->data + (size_t)at * size,
              (const char *)r->in[2]->data + (size_t)(t * p->block) * size, p->block, size);
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"ScatterElements", 3, 3, 1, QDBG__OP_IN_PLACE, infer_elements, run_elements},
    {"Scatter", 3, 3, 1, QDBG__OP_IN_PLACE, infer_elements, run_elements},
    {"ScatterND", 3, 3, 1, QDBG__OP_IN_PLACE, infer_nd, run_nd},
};

const qdbg__op_table qdbg__ops_scatter = {table, sizeof table / sizeof *table};
