/* Concat and Split: whole blocks along one axis. */
#include <string.h>

#include "ops.h"
#include "walk.h"

/* The joined tensor is seen as [outer, sizes.., inner]; each part's size is its own dimension. */
typedef struct concat_params {
    uint32_t axis;
    int64_t outer, inner, total;
    const int64_t *list; /* sizes of Split's parts, in the graph or its facts; NULL = `each` */
    int64_t each;
} concat_params;
_Static_assert(sizeof(concat_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_axis(qdbg__infer *x, int64_t value)
{
    const qdbg_view *in = x->in[0];
    concat_params *p = x->params;
    if (!qdbg__axis(value, in->rank, &p->axis))
        return qdbg__infer_fail(x, QDBG_E_INVALID, "axis %lld is out of range for rank %u",
                                (long long)value, in->rank);
    p->outer = qdbg__dims_product(in->dims, 0, p->axis);
    p->inner = qdbg__dims_product(in->dims, p->axis + 1, in->rank);
    return QDBG_OK;
}

/* ---- Concat ---- */

static bool fits(const qdbg_view *a, const qdbg_view *b, uint32_t axis)
{
    if (a->rank != b->rank)
        return false;
    for (uint32_t d = 0; d < a->rank; d++) {
        if (d != axis && a->dims[d] != b->dims[d])
            return false;
    }
    return true;
}

static qdbg_status infer_concat(qdbg__infer *x)
{
    const qdbg_view *first = x->in[0];
    concat_params *p = x->params;
    int64_t dims[QDBG_MAX_RANK];
    char ta[128], tb[128];
    qdbg_status status = infer_axis(x, qdbg__attr_int(x->node, "axis", 1));
    if (status != QDBG_OK)
        return status;
    memcpy(dims, first->dims, sizeof dims);
    for (uint32_t i = 1; i < x->node->n_in; i++) {
        const qdbg_view *in = x->in[i];
        if (in->dtype != first->dtype)
            return qdbg__infer_fail(x, QDBG_E_TYPE, "input %u is %s, not %s", i,
                                    qdbg_dtype_name(in->dtype), qdbg_dtype_name(first->dtype));
        if (!fits(first, in, p->axis))
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "cannot join %s and %s along axis %u",
                                    qdbg__shape_text(first->rank, first->dims, ta, sizeof ta),
                                    qdbg__shape_text(in->rank, in->dims, tb, sizeof tb), p->axis);
        if (in->dims[p->axis] > INT64_MAX - dims[p->axis])
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "the result is too long");
        dims[p->axis] += in->dims[p->axis];
    }
    p->total = dims[p->axis];
    qdbg__infer_out(x, 0, first->dtype, first->rank, dims);
    return QDBG_OK;
}

static qdbg_status run_concat(const qdbg__run *r)
{
    const concat_params *p = r->params;
    size_t size = qdbg_dtype_size(r->out[0]->dtype), at = 0;
    size_t row = (size_t)(p->total * p->inner) * size;
    char *out = r->out[0]->data;
    for (uint32_t i = 0; i < r->node->n_in; i++) {
        const qdbg_view *in = r->in[i];
        size_t bytes = (size_t)(in->dims[p->axis] * p->inner) * size;
        for (int64_t o = 0; o < p->outer && bytes > 0; o++)
            memcpy(out + (size_t)o * row + at, (const char *)in->data + (size_t)o * bytes, bytes);
        at += bytes;
    }
    return QDBG_OK;
}

/* ---- Split ---- */

/* The sizes of the parts: a list (attribute, later input), or as equal as can be. */
static qdbg_status read_sizes(qdbg__infer *x)
{
    concat_params *p = x->params;
    const qdbg_view *in = qdbg__infer_in(x, 1);
    const qdbg__attr *attr = qdbg__node_attr(x->node, "split");
    int64_t parts = x->node->n_out, n = parts;
    if (in) {
        if (in->dtype != QDBG_I64 || in->rank > 1)
            return qdbg__infer_fail(x, QDBG_E_TYPE, "'split' must be a list of int64");
        if (!in->data)
            return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "'split' is not constant");
        p->list = in->data;
        n = (int64_t)qdbg_view_count(in);
    } else if (attr && attr->kind == QDBG__ATTR_INTS) {
        p->list = attr->ints;
        n = attr->n;
    }
    if (n != parts)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "%lld sizes for %lld outputs", (long long)n,
                                (long long)parts);
    int64_t wanted = qdbg__attr_int(x->node, "num_outputs", parts);
    if (!p->list && (wanted != parts || (x->opset < 18 && p->total % parts != 0)))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "cannot split %lld into %lld equal parts",
                                (long long)p->total, (long long)wanted);
    p->each = p->total / parts + (p->total % parts != 0);
    return QDBG_OK;
}

static int64_t part_size(const concat_params *p, uint32_t i, int64_t left)
{
    return p->list ? p->list[i] : p->each < left ? p->each : left;
}

static qdbg_status infer_split(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    concat_params *p = x->params;
    int64_t left, dims[QDBG_MAX_RANK];
    qdbg_status status = infer_axis(x, qdbg__attr_int(x->node, "axis", 0));
    if (status != QDBG_OK)
        return status;
    p->total = left = in->dims[p->axis];
    status = read_sizes(x);
    if (status != QDBG_OK)
        return status;
    memcpy(dims, in->dims, sizeof dims);
    for (uint32_t i = 0; i < x->node->n_out; i++) {
        int64_t size = part_size(p, i, left);
        if (size < 0 || size > left)
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "part %u of %lld elements does not fit", i,
                                    (long long)size);
        left -= size;
        dims[p->axis] = size;
        qdbg__infer_out(x, i, in->dtype, in->rank, dims);
    }
    if (left != 0)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "%lld of %lld elements are left over",
                                (long long)left, (long long)p->total);
    return QDBG_OK;
}

static qdbg_status run_split(const qdbg__run *r)
{
    const concat_params *p = r->params;
    size_t size = qdbg_dtype_size(r->in[0]->dtype), at = 0;
    size_t row = (size_t)(p->total * p->inner) * size;
    const char *in = r->in[0]->data;
    int64_t left = p->total;
    for (uint32_t i = 0; i < r->node->n_out; i++) {
        int64_t part = part_size(p, i, left);
        size_t bytes = (size_t)(part * p->inner) * size;
        for (int64_t o = 0; r->out[i] && o < p->outer && bytes > 0; o++)
            memcpy((char *)r->out[i]->data + (size_t)o * bytes, in + (size_t)o * row + at, bytes);
        left -= part;
        at += bytes;
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"Concat", 1, UINT32_MAX, 1, 0, infer_concat, run_concat},
    {"Split", 1, 2, UINT32_MAX, QDBG__OP_PASSES_ENCODING, infer_split, run_split},
};

const qdbg__op_table qdbg__ops_concat = {table, sizeof table / sizeof *table};
