/* Cast and CastLike between all numeric types. */
#include <string.h>

#include "number.h"
#include "ops.h"

static qdbg_status infer_to(qdbg__infer *x, int64_t to)
{
    const qdbg_view *in = x->in[0];
    if (to < 0 || to > INT32_MAX || qdbg_dtype_size((int32_t)to) == 0)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %lld is not supported",
                                (long long)to);
    qdbg__infer_out(x, 0, (int32_t)to, in->rank, in->dims);
    return QDBG_OK;
}

static qdbg_status infer_cast(qdbg__infer *x)
{
    return infer_to(x, qdbg__attr_int(x->node, "to", QDBG_DTYPE_NONE));
}

static qdbg_status infer_cast_like(qdbg__infer *x)
{
    return infer_to(x, x->in[1]->dtype);
}

/* float to integer, the commonest cast of activations; the rest goes element by element. */
static void cast_f32(const float *src, const qdbg_view *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        qdbg__store_double(out->data, out->dtype, i, src[i]);
}

static void cast_ints(const qdbg_view *in, const qdbg_view *out, int64_t n)
{
    bool to_float = qdbg__is_float(out->dtype);
    for (int64_t i = 0; i < n; i++) {
        int64_t value = qdbg__load_int(in->data, in->dtype, i);
        if (!to_float)
            qdbg__store_int(out->data, out->dtype, i, value);
        else if (out->dtype == QDBG_F32) /* rounded once, not by way of double */
            ((float *)out->data)[i] = in->dtype == QDBG_U64 ? (float)(uint64_t)value : (float)value;
        else
            qdbg__store_double(out->data, out->dtype, i,
                               in->dtype == QDBG_U64 ? (double)(uint64_t)value : (double)value);
    }
}

static qdbg_status run_cast(const qdbg__run *r)
{
    const qdbg_view *in = r->in[0], *out = r->out[0];
    int64_t n = (int64_t)qdbg_view_count(in);
    if (n == 0)
        return QDBG_OK;
    if (in->dtype == out->dtype) {
        memmove(out->data, in->data, (size_t)n * qdbg_dtype_size(in->dtype));
    } else if (in->dtype == QDBG_F32) {
        cast_f32(in->data, out, n);
    } else if (qdbg__is_float(in->dtype)) {
        for (int64_t i = 0; i < n; i++)
            qdbg__store_double(out->data, out->dtype, i, qdbg__load_double(in->data, in->dtype, i));
    } else {
        cast_ints(in, out, n);
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"Cast", 1, 1, 1, QDBG__OP_IN_PLACE, infer_cast, run_cast},
    {"CastLike", 2, 2, 1, QDBG__OP_IN_PLACE, infer_cast_like, run_cast},
};

const qdbg__op_table qdbg__ops_cast = {table, sizeof table / sizeof *table};
