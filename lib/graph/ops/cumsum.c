/* CumSum: running totals along an axis, floats accumulated in double. */
#include <string.h>

#include "number.h"
#include "ops.h"
#include "walk.h"

typedef struct cumsum_params {
    int64_t outer, n, inner;
    bool exclusive, reverse;
} cumsum_params;
_Static_assert(sizeof(cumsum_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_cumsum(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    cumsum_params *p = x->params;
    int64_t value;
    uint32_t axis;
    int32_t n = qdbg__infer_ints(x, "axis", 1, &value, 1);
    if (n == -2)
        return x->ctx->error_status;
    if (n != 1 || !qdbg__axis(value, in->rank, &axis))
        return qdbg__infer_fail(x, QDBG_E_INVALID, "the axis is out of range for rank %u",
                                in->rank);
    if (in->dtype != QDBG_F32 && in->dtype != QDBG_F64 && !qdbg__is_int(in->dtype))
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                qdbg_dtype_name(in->dtype));
    p->outer = qdbg__dims_product(in->dims, 0, axis);
    p->n = in->dims[axis];
    p->inner = qdbg__dims_product(in->dims, axis + 1, in->rank);
    p->exclusive = qdbg__attr_int(x->node, "exclusive", 0) != 0;
    p->reverse = qdbg__attr_int(x->node, "reverse", 0) != 0;
    qdbg__infer_out(x, 0, in->dtype, in->rank, in->dims);
    return QDBG_OK;
}

/* n elements at data[from + i * step]. */
static void sum_floats(const qdbg_view *in, const qdbg_view *out, int64_t from, int64_t step,
                       const cumsum_params *p)
{
    double total = 0.0;
    for (int64_t i = 0; i < p->n; i++, from += step) {
        double before = total;
        total += qdbg__load_double(in->data, in->dtype, from);
        qdbg__store_double(out->data, out->dtype, from, p->exclusive ? before : total);
    }
}

static void sum_ints(const qdbg_view *in, const qdbg_view *out, int64_t from, int64_t step,
                     const cumsum_params *p)
{
    uint64_t total = 0;
    for (int64_t i = 0; i < p->n; i++, from += step) {
        uint64_t before = total;
        total += (uint64_t)qdbg__load_int(in->data, in->dtype, from);
        qdbg__store_int(out->data, out->dtype, from, (int64_t)(p->exclusive ? before : total));
    }
}

static qdbg_status run_cumsum(const qdbg__run *r)
{
    const cumsum_params *p = r->params;
    const qdbg_view *in = r->in[0];
    int64_t step = p->reverse ? -p->inner : p->inner;
    if (p->n == 0)
        return QDBG_OK;
    for (int64_t o = 0; o < p->outer; o++) {
        for (int64_t i = 0; i < p->inner; i++) {
            int64_t first = p->reverse ? o * p->n + p->n - 1 : o * p->n;
            if (qdbg__is_float(in->dtype))
                sum_floats(in, r->out[0], first * p->inner + i, step, p);
            else
                sum_ints(in, r->out[0], first * p->inner + i, step, p);
        }
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {{"CumSum", 2, 2, 1, QDBG__OP_IN_PLACE, infer_cumsum, run_cumsum}};

const qdbg__op_table qdbg__ops_cumsum = {table, sizeof table / sizeof *table};
