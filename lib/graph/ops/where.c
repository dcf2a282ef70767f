/* Where: pick from two tensors by a condition, all three broadcast together. */
#include <string.h>

#include "ops.h"
#include "walk.h"

typedef struct where_params {
    qdbg__walk walk;
} where_params;
_Static_assert(sizeof(where_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_where(qdbg__infer *x)
{
    const qdbg_view *cond = x->in[0], *a = x->in[1], *b = x->in[2];
    where_params *p = x->params;
    qdbg_view out = QDBG_VIEW_INIT;
    if (cond->dtype != QDBG_BOOL || a->dtype != b->dtype)
        return qdbg__infer_fail(x, QDBG_E_TYPE, "condition is %s, operands are %s and %s",
                                qdbg_dtype_name(cond->dtype), qdbg_dtype_name(a->dtype),
                                qdbg_dtype_name(b->dtype));
    if (!qdbg__broadcast(a->rank, a->dims, b->rank, b->dims, &out.rank, out.dims) ||
        !qdbg__broadcast(out.rank, out.dims, cond->rank, cond->dims, &out.rank, out.dims))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "the shapes do not broadcast");
    qdbg__walk_broadcast(&p->walk, &out, 3, x->in);
    qdbg__infer_out(x, 0, a->dtype, out.rank, out.dims);
    return QDBG_OK;
}

typedef struct where_row {
    const uint8_t *cond;
    const char *a, *b;
    char *out;
    const int64_t *step; /* of out, cond, a, b */
    int64_t n;
} where_row;

#define PICK(bytes)                                                   \
    for (int64_t i = 0; i < w->n; i++)                                \
    memcpy(w->out + i * (bytes),                                      \
           w->cond[i * w->step[1]] ? w->a + i * w->step[2] * (bytes)  \
                                   : w->b + i * w->step[3] * (bytes), \
           bytes)

static void pick(const where_row *w, size_t size)
{
    if (size == 1)
        PICK(1);
    else if (size == 2)
        PICK(2);
    else if (size == 4)
        PICK(4);
    else
        PICK(8);
}

static qdbg_status run_where(const qdbg__run *r)
{
    const qdbg__walk *w = &((const where_params *)r->params)->walk;
    size_t size = qdbg_dtype_size(r->out[0]->dtype);
    int64_t index[QDBG_MAX_RANK] = {0}, at[QDBG__WALK_OPERANDS] = {0}, bytes = (int64_t)size;
    for (int64_t i = 0; i < w->outer; i++, qdbg__walk_next(w, index, at)) {
        where_row row = {(const uint8_t *)r->in[0]->data + at[1],
                         (const char *)r->in[1]->data + at[2] * bytes,
                         (const char *)r->in[2]->data + at[3] * bytes,
                         (char *)r->out[0]->data + at[0] * bytes,
                         w->inner_stride,
                         w->inner};
        pick(&row, size);
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {{"Where", 3, 3, 1, 0, infer_where, run_where}};

const qdbg__op_table qdbg__ops_where = {table, sizeof table / sizeof *table};
