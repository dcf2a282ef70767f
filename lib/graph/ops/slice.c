/* Slice. */
#include <string.h>

#include "ops.h"
#include "walk.h"

typedef struct slice_params {
    qdbg__walk walk; /* operand 0 = out, 1 = in */
    int64_t start;   /* first element in the input */
} slice_params;
_Static_assert(sizeof(slice_params) <= QDBG__OP_PARAMS_SIZE, "params");

/* What to take of each axis. */
typedef struct ranges {
    int32_t n;
    int64_t starts[QDBG_MAX_RANK], ends[QDBG_MAX_RANK], axes[QDBG_MAX_RANK], steps[QDBG_MAX_RANK];
} ranges;

static qdbg_status read_ranges(qdbg__infer *x, ranges *s)
{
    s->n = qdbg__infer_ints(x, "starts", 1, s->starts, QDBG_MAX_RANK);
    if (s->n == -2)
        return x->ctx->error_status;
    int32_t ends = qdbg__infer_ints(x, "ends", 2, s->ends, QDBG_MAX_RANK);
    if (ends == -2)
        return x->ctx->error_status;
    int32_t axes = qdbg__infer_ints(x, "axes", 3, s->axes, QDBG_MAX_RANK);
    if (axes == -2)
        return x->ctx->error_status;
    int32_t steps = qdbg__infer_ints(x, "steps", 4, s->steps, QDBG_MAX_RANK);
    if (steps == -2)
        return x->ctx->error_status;
    if (s->n < 0 || ends != s->n || (axes >= 0 && axes != s->n) || (steps >= 0 && steps != s->n))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "%d starts, %d ends, %d axes and %d steps", s->n,
                                ends, axes, steps);
    for (int32_t i = 0; i < s->n; i++) {
        s->axes[i] = axes < 0 ? i : s->axes[i];
        s->steps[i] = steps < 0 ? 1 : s->steps[i];
    }
    return QDBG_OK;
}

static int64_t clamp(int64_t value, int64_t lo, int64_t hi)
{
    return value < lo ? lo : value > hi ? hi : value;
}

/* Python's rule for start:end:step on `size` elements; step is not 0. Returns the count. */
static int64_t resolve(int64_t size, int64_t *start, int64_t end, int64_t step)
{
    int64_t from = *start < 0 ? clamp(*start, -size - 1, 0) + size : *start;
    int64_t to = end < 0 ? clamp(end, -size - 1, 0) + size : end;
    if (step > 0) {
        *start = clamp(from, 0, size);
        to = clamp(to, 0, size);
        return to > *start ? (to - *start - 1) / step + 1 : 0;
    }
    *start = clamp(from, -1, size - 1);
    to = clamp(to, -1, size - 1);
    if (to >= *start)
        return 0;
    return step < to - *start ? 1 : (*start - to - 1) / -step + 1;
}

static qdbg_status infer_slice(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    slice_params *p = x->params;
    int64_t strides[QDBG__WALK_OPERANDS][QDBG_MAX_RANK], dims[QDBG_MAX_RANK];
    bool used[QDBG_MAX_RANK] = {false};
    ranges s;
    qdbg_status status = read_ranges(x, &s);
    if (status != QDBG_OK)
        return status;
    memcpy(dims, in->dims, sizeof dims);
    qdbg__strides(in->rank, in->dims, strides[1]);
    for (int32_t i = 0; i < s.n; i++) {
        uint32_t axis;
        if (!qdbg__axis(s.axes[i], in->rank, &axis) || used[axis] || s.steps[i] == 0)
            return qdbg__infer_fail(x, QDBG_E_INVALID,
                                    "axis %lld is out of range or repeated, or its step is 0",
                                    (long long)s.axes[i]);
        used[axis] = true;
        dims[axis] = resolve(in->dims[axis], &s.starts[i], s.ends[i], s.steps[i]);
        if (dims[axis] > 0)
            p->start += s.starts[i] * strides[1][axis];
        /* With one element the step is not taken, and may be of any size. */
        strides[1][axis] = dims[axis] > 1 ? strides[1][axis] * s.steps[i] : 0;
    }
    qdbg__strides(in->rank, dims, strides[0]);
    qdbg__walk_init(&p->walk, in->rank, dims, 2, (const int64_t(*)[QDBG_MAX_RANK])strides);
    qdbg__infer_out(x, 0, in->dtype, in->rank, dims);
    return QDBG_OK;
}

static qdbg_status run_slice(const qdbg__run *r)
{
    const slice_params *p = r->params;
    size_t size = qdbg_dtype_size(r->in[0]->dtype);
    if (p->walk.outer > 0)
        qdbg__walk_copy(&p->walk, size, r->out[0]->data,
                        (const char *)r->in[0]->data + p->start * (int64_t)size);
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"Slice", 1, 5, 1, QDBG__OP_PASSES_ENCODING, infer_slice, run_slice}};

const qdbg__op_table qdbg__ops_slice = {table, sizeof table / sizeof *table};
