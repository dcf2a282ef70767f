/* Operators that make a tensor from numbers: Constant, ConstantOfShape, Range, OneHot, EyeLike,
 * Trilu. */
#include <math.h>
#include <string.h>

#include "number.h"
#include "ops.h"
#include "walk.h"

/* ---- Constant ---- */

static qdbg_status infer_constant(qdbg__infer *x)
{
    static const char *const names[] = {"value", "value_int", "value_ints", "value_float",
                                        "value_floats"};
    const qdbg__attr *a = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !a; i++)
        a = qdbg__node_attr(x->node, names[i]);
    if (!a || a->kind == QDBG__ATTR_STRING)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "no value of a kind that is supported");
    int64_t n = a->n;
    if (a->kind == QDBG__ATTR_TENSOR)
        qdbg__infer_out(x, 0, a->tensor.dtype, a->tensor.rank, a->tensor.dims);
    else if (a->kind == QDBG__ATTR_INT || a->kind == QDBG__ATTR_FLOAT)
        qdbg__infer_out(x, 0, a->kind == QDBG__ATTR_INT ? QDBG_I64 : QDBG_F32, 0, NULL);
    else
        qdbg__infer_out(x, 0, a->kind == QDBG__ATTR_INTS ? QDBG_I64 : QDBG_F32, 1, &n);
    memcpy(x->params, &a, sizeof a);
    return QDBG_OK;
}

static qdbg_status run_constant(const qdbg__run *r)
{
    const qdbg__attr *a;
    const qdbg_view *out = r->out[0];
    size_t bytes = (size_t)qdbg_view_count(out) * qdbg_dtype_size(out->dtype);
    memcpy(&a, r->params, sizeof a);
    const void *from = a->kind == QDBG__ATTR_TENSOR  ? a->tensor.data
                       : a->kind == QDBG__ATTR_INT   ? (const void *)&a->i
                       : a->kind == QDBG__ATTR_FLOAT ? (const void *)&a->f
                       : a->kind == QDBG__ATTR_INTS  ? (const void *)a->ints
                                                     : (const void *)a->floats;
    if (bytes > 0)
        memcpy(out->data, from, bytes);
    return QDBG_OK;
}

/* ---- ConstantOfShape ---- */

typedef struct fill_params {
    uint64_t bits; /* the element, from the first byte on */
} fill_params;
_Static_assert(sizeof(fill_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_constant_of_shape(qdbg__infer *x)
{
    fill_params *p = x->params;
    const qdbg__attr *a = qdbg__node_attr(x->node, "value");
    int64_t dims[QDBG_MAX_RANK];
    int32_t n = qdbg__infer_ints(x, "shape", 0, dims, QDBG_MAX_RANK), dtype = QDBG_F32;
    if (n == -2)
        return x->ctx->error_status;
    if (a) {
        if (a->kind != QDBG__ATTR_TENSOR || qdbg_view_count(&a->tensor) != 1)
            return qdbg__infer_fail(x, QDBG_E_INVALID, "'value' must be one number");
        dtype = a->tensor.dtype;
        memcpy(&p->bits, a->tensor.data, qdbg_dtype_size(dtype));
    }
    qdbg__infer_out(x, 0, dtype, (uint32_t)n, dims);
    return QDBG_OK;
}

static qdbg_status run_constant_of_shape(const qdbg__run *r)
{
    const fill_params *p = r->params;
    const qdbg_view *out = r->out[0];
    qdbg__fill(qdbg_dtype_size(out->dtype), out->data, &p->bits, (int64_t)qdbg_view_count(out));
    return QDBG_OK;
}

/* ---- Range ---- */

static qdbg_status infer_range(qdbg__infer *x)
{
    int32_t dtype = x->in[0]->dtype;
    int64_t n;
    for (uint32_t i = 0; i < 3; i++) {
        if (x->in[i]->dtype != dtype || qdbg_view_count(x->in[i]) != 1)
            return qdbg__infer_fail(x, QDBG_E_TYPE, "inputs must be single numbers of one type");
        if (!x->in[i]->data)
            return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "input %u is not constant", i);
    }
    if (dtype == QDBG_F32 || dtype == QDBG_F64) {
        double start = qdbg__load_double(x->in[0]->data, dtype, 0);
        double limit = qdbg__load_double(x->in[1]->data, dtype, 0);
        double count = ceil((limit - start) / qdbg__load_double(x->in[2]->data, dtype, 0));
        if (!isfinite(count) || count > 0x1p50)
            return qdbg__infer_fail(x, QDBG_E_INVALID, "the range has no end");
        n = count > 0 ? (int64_t)count : 0;
    } else if (qdbg__is_int(dtype) && dtype != QDBG_U64) {
        int64_t start = qdbg__load_int(x->in[0]->data, dtype, 0);
        int64_t limit = qdbg__load_int(x->in[1]->data, dtype, 0);
        int64_t delta = qdbg__load_int(x->in[2]->data, dtype, 0);
        if (delta == 0)
            return qdbg__infer_fail(x, QDBG_E_INVALID, "the step is 0");
        /* Differences and the step's size as unsigned numbers: nothing overflows. */
        uint64_t span =
            delta > 0 ? (uint64_t)limit - (uint64_t)start : (uint64_t)start - (uint64_t)limit;
        uint64_t step = delta > 0 ? (uint64_t)delta : 0 - (uint64_t)delta;
        bool empty = delta > 0 ? limit <= start : limit >= start;
        uint64_t count = empty ? 0 : (span - 1) / step + 1;
        if (count > (uint64_t)1 << 50)
            return qdbg__infer_fail(x, QDBG_E_INVALID, "the range is too long");
        n = (int64_t)count;
    } else {
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                qdbg_dtype_name(dtype));
    }
    qdbg__infer_out(x, 0, dtype, 1, &n);
    return QDBG_OK;
}

static qdbg_status run_range(const qdbg__run *r)
{
    const qdbg_view *out = r->out[0], *start = r->in[0], *delta = r->in[2];
    for (int64_t i = 0; i < out->dims[0]; i++) {
        if (out->dtype == QDBG_F32)
            ((float *)out->data)[i] =
                *(const float *)start->data + (float)i * *(const float *)delta->data;
        else if (out->dtype == QDBG_F64)
            ((double *)out->data)[i] =
                *(const double *)start->data + (double)i * *(const double *)delta->data;
        else
            qdbg__store_int(
                out->data, out->dtype, i,
                (int64_t)((uint64_t)qdbg__load_int(start->data, start->dtype, 0) +
                          (uint64_t)i * (uint64_t)qdbg__load_int(delta->data, delta->dtype, 0)));
    }
    return QDBG_OK;
}

/* ---- OneHot ---- */

typedef struct one_hot_params {
    int64_t outer, depth, inner;
} one_hot_params;
_Static_assert(sizeof(one_hot_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_one_hot(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0], *depth = x->in[1], *values = x->in[2];
    one_hot_params *p = x->params;
    int64_t dims[QDBG_MAX_RANK + 1];
    uint32_t axis;
    if (!depth->data)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "'depth' is not constant");
    if (qdbg_view_count(depth) != 1 || qdbg_view_count(values) != 2)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "'depth' must be one number, 'values' two");
    double d = qdbg__load_double(depth->data, depth->dtype, 0);
    if (!(d >= 1) || d > 0x1p40)
        return qdbg__infer_fail(x, QDBG_E_INVALID, "depth %g is out of range", d);
    int64_t value = qdbg__attr_int(x->node, "axis", -1);
    if (!qdbg__axis(value, in->rank + 1, &axis))
        return qdbg__infer_fail(x, QDBG_E_INVALID, "axis %lld is out of range for rank %u",
                                (long long)value, in->rank + 1);
    p->outer = qdbg__dims_product(in->dims, 0, axis);
    p->depth = (int64_t)d;
    p->inner = qdbg__dims_product(in->dims, axis, in->rank);
    for (uint32_t i = 0; i <= in->rank; i++)
        dims[i] = i == axis ? p->depth : in->dims[i < axis ? i : i - 1];
    qdbg__infer_out(x, 0, values->dtype, in->rank + 1, dims);
    return QDBG_OK;
}

static qdbg_status run_one_hot(const qdbg__run *r)
{
    const one_hot_params *p = r->params;
    const qdbg_view *in = r->in[0], *values = r->in[2], *out = r->out[0];
    size_t size = qdbg_dtype_size(values->dtype);
    int64_t bytes = (int64_t)size;
    const char *off = values->data, *on = off + bytes;
    qdbg__fill(size, out->data, off, (int64_t)qdbg_view_count(out));
    for (int64_t o = 0; o < p->outer; o++) {
        for (int64_t i = 0; i < p->inner; i++) {
            int64_t hot =
                qdbg__double_to_i64(qdbg__load_double(in->data, in->dtype, o * p->inner + i));
            if (hot < 0)
                hot += p->depth;
            if (hot >= 0 && hot < p->depth) /* out of range: all off */
                memcpy((char *)out->data + ((o * p->depth + hot) * p->inner + i) * bytes, on, size);
        }
    }
    return QDBG_OK;
}

/* ---- EyeLike, Trilu ---- */

typedef struct diagonal_params {
    int64_t k; /* of the diagonal, within +-2^50 */
    bool upper;
} diagonal_params;
_Static_assert(sizeof(diagonal_params) <= QDBG__OP_PARAMS_SIZE, "params");

/* Far enough outside of any matrix, and safe to add to. */
static int64_t limit_diagonal(int64_t k)
{
    const int64_t far = (int64_t)1 << 50;
    return k < -far ? -far : k > far ? far : k;
}

static qdbg_status infer_eye(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    diagonal_params *p = x->params;
    int64_t dtype = qdbg__attr_int(x->node, "dtype", in->dtype);
    if (in->rank != 2)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the input has rank %u, not 2", in->rank);
    if (dtype < 0 || dtype > INT32_MAX || qdbg_dtype_size((int32_t)dtype) == 0)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %lld is not supported",
                                (long long)dtype);
    p->k = limit_diagonal(qdbg__attr_int(x->node, "k", 0));
    qdbg__infer_out(x, 0, (int32_t)dtype, 2, in->dims);
    return QDBG_OK;
}

static qdbg_status run_eye(const qdbg__run *r)
{
    const diagonal_params *p = r->params;
    const qdbg_view *out = r->out[0];
    qdbg__fill(qdbg_dtype_size(out->dtype), out->data, NULL, (int64_t)qdbg_view_count(out));
    for (int64_t i = 0; i < out->dims[0]; i++) {
        int64_t j = i + p->k;
        if (j >= 0 && j < out->dims[1])
            qdbg__store_double(out->data, out->dtype, i * out->dims[1] + j, 1.0);
    }
    return QDBG_OK;
}

static qdbg_status infer_trilu(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    diagonal_params *p = x->params;
    int64_t k = 0;
    if (in->rank < 2)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the input has rank %u, not 2 or more", in->rank);
    if (qdbg__infer_in(x, 1) && qdbg__infer_ints(x, "k", 1, &k, 1) != 1)
        return x->ctx->error_status ? x->ctx->error_status
                                    : qdbg__infer_fail(x, QDBG_E_SHAPE, "'k' is empty");
    p->k = limit_diagonal(k);
    p->upper = qdbg__attr_int(x->node, "upper", 1) != 0;
    qdbg__infer_out(x, 0, in->dtype, in->rank, in->dims);
    return QDBG_OK;
}

static qdbg_status run_trilu(const qdbg__run *r)
{
    const diagonal_params *p = r->params;
    const qdbg_view *in = r->in[0];
    size_t size = qdbg_dtype_size(in->dtype);
    int64_t rows = in->dims[in->rank - 2], n = in->dims[in->rank - 1];
    int64_t count = qdbg__dims_product(in->dims, 0, in->rank - 1);
    for (int64_t i = 0; i < count && n > 0; i++) {
        int64_t edge = i % rows + p->k + (p->upper ? 0 : 1); /* first kept, or first cleared */
        edge = edge < 0 ? 0 : edge > n ? n : edge;
        int64_t from = p->upper ? edge : 0, to = p->upper ? n : edge;
        char *out = (char *)r->out[0]->data + (size_t)(i * n) * size;
        const char *src = (const char *)in->data + (size_t)(i * n) * size;
        if (out != src)
            memcpy(out + (size_t)from * size, src + (size_t)from * size,
                   (size_t)(to - from) * size);
        qdbg__fill(size, out, NULL, from);
        qdbg__fill(size, out + (size_t)to * size, NULL, n - to);
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"Constant", 0, 0, 1, 0, infer_constant, run_constant},
    {"ConstantOfShape", 1, 1, 1, 0, infer_constant_of_shape, run_constant_of_shape},
    {"Range", 3, 3, 1, 0, infer_range, run_range},
    {"OneHot", 3, 3, 1, 0, infer_one_hot, run_one_hot},
    {"EyeLike", 1, 1, 1, 0, infer_eye, run_eye},
    {"Trilu", 1, 2, 1, QDBG__OP_IN_PLACE | QDBG__OP_PASSES_ENCODING, infer_trilu, run_trilu},
};

const qdbg__op_table qdbg__ops_fill = {table, sizeof table / sizeof *table};
