/* Sum, Mean, Max, Min of any number of operands, broadcast together. */
#include <string.h>

#include "arith.h"
#include "ops.h"

typedef struct variadic_params {
    qdbg__arith_fn row;
    bool mean;
} variadic_params;
_Static_assert(sizeof(variadic_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_variadic(qdbg__infer *x)
{
    const qdbg__node *node = x->node;
    variadic_params *p = x->params;
    uint32_t rank = x->in[0]->rank;
    int32_t dtype = x->in[0]->dtype;
    int64_t dims[QDBG_MAX_RANK];
    char text[128];
    memcpy(dims, x->in[0]->dims, sizeof dims);
    for (uint32_t i = 1; i < node->n_in; i++) {
        if (x->in[i]->dtype != dtype)
            return qdbg__infer_fail(x, QDBG_E_TYPE, "operand %u is %s, not %s", i,
                                    qdbg_dtype_name(x->in[i]->dtype), qdbg_dtype_name(dtype));
        if (!qdbg__broadcast(rank, dims, x->in[i]->rank, x->in[i]->dims, &rank, dims))
            return qdbg__infer_fail(
                x, QDBG_E_SHAPE, "operand %u of shape %s does not broadcast with the others", i,
                qdbg__shape_text(x->in[i]->rank, x->in[i]->dims, text, sizeof text));
    }
    p->mean = qdbg__node_is(node, "Mean");
    p->row = qdbg__arith_find(qdbg__node_is(node, "Max")   ? QDBG__ARITH_MAX
                              : qdbg__node_is(node, "Min") ? QDBG__ARITH_MIN
                                                           : QDBG__ARITH_ADD,
                              dtype);
    if (!p->row || (p->mean && dtype != QDBG_F32 && dtype != QDBG_F64))
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                qdbg_dtype_name(dtype));
    qdbg__infer_out(x, 0, dtype, rank, dims);
    return QDBG_OK;
}

static void divide(const qdbg_view *out, uint32_t by)
{
    int64_t n = (int64_t)qdbg_view_count(out);
    if (out->dtype == QDBG_F32) {
        float *data = out->data;
        for (int64_t i = 0; i < n; i++)
            data[i] /= (float)by;
    } else {
        double *data = out->data;
        for (int64_t i = 0; i < n; i++)
            data[i] /= by;
    }
}

static qdbg_status run_variadic(const qdbg__run *r)
{
    const variadic_params *p = r->params;
    const qdbg_view *out = r->out[0];
    size_t size = qdbg_dtype_size(out->dtype);
    qdbg_status status = QDBG_OK;
    const qdbg_view *sum = r->in[0];
    qdbg__walk w;
    /* Rows of two repeated numbers do not exist: the first operand must have the full shape. */
    if (r->node->n_in == 1 || !qdbg__shape_equal(sum->rank, sum->dims, out->rank, out->dims)) {
        qdbg__walk_broadcast(&w, out, 1, r->in);
        if (out->data != sum->data)
            qdbg__walk_copy(&w, size, out->data, sum->data);
        sum = out;
    }
    for (uint32_t i = 1; i < r->node->n_in && status == QDBG_OK; i++, sum = out) {
        const qdbg_view *pair[2] = {sum, r->in[i]};
        qdbg__walk_broadcast(&w, out, 2, pair);
        status = qdbg__arith_run(&w, p->row, size, pair[0]->data, pair[1]->data, size, out->data);
    }
    if (p->mean && status == QDBG_OK)
        divide(out, r->node->n_in);
    return status;
}

#define VARIADIC(type)                                                          \
    {                                                                           \
        type, 1, UINT32_MAX, 1, QDBG__OP_IN_PLACE, infer_variadic, run_variadic \
    }

static const qdbg__op table[] = {VARIADIC("Sum"), VARIADIC("Mean"), VARIADIC("Max"),
                                 VARIADIC("Min")};

const qdbg__op_table qdbg__ops_variadic = {table, sizeof table / sizeof *table};
