/* Positions of extremes: ArgMax, ArgMin, TopK. */
#include <string.h>

#include "number.h"
#include "ops.h"
#include "walk.h"

/* A tensor seen as [outer, n, inner] with the work along n. */
typedef struct arg_params {
    int64_t outer, n, inner;
    int64_t k; /* of TopK */
    bool largest, sorted, last;
} arg_params;
_Static_assert(sizeof(arg_params) <= QDBG__OP_PARAMS_SIZE, "params");

static qdbg_status infer_axis(qdbg__infer *x, int64_t fallback, uint32_t *axis)
{
    const qdbg_view *in = x->in[0];
    arg_params *p = x->params;
    int64_t a = qdbg__attr_int(x->node, "axis", fallback);
    if (in->dtype == QDBG_F16 || in->dtype == QDBG_BF16)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                qdbg_dtype_name(in->dtype));
    if (!qdbg__axis(a, in->rank, axis))
        return qdbg__infer_fail(x, QDBG_E_INVALID, "axis %lld is out of range for rank %u",
                                (long long)a, in->rank);
    p->outer = qdbg__dims_product(in->dims, 0, *axis);
    p->n = in->dims[*axis];
    p->inner = qdbg__dims_product(in->dims, *axis + 1, in->rank);
    return QDBG_OK;
}

/* Whether element `a` comes before element `b` where the largest (or smallest) is wanted; NaN
 * counts as larger than all numbers, as in NumPy's and PyTorch's sort. */
#define BEFORE(type)                                                                \
    do {                                                                            \
        const type x = ((const type *)data)[a], y = ((const type *)data)[b];        \
        return largest ? x > y || (x != x && y == y) : x < y || (x == x && y != y); \
    } while (0)

static bool before(const void *data, int32_t dtype, bool largest, int64_t a, int64_t b)
{
    switch (dtype) {
    case QDBG_F32:
        BEFORE(float);
    case QDBG_F64:
        BEFORE(double);
    case QDBG_U64:
        BEFORE(uint64_t);
    default: {
        int64_t x = qdbg__load_int(data, dtype, a), y = qdbg__load_int(data, dtype, b);
        return largest ? x > y : x < y;
    }
    }
}

/* ---- ArgMax, ArgMin ---- */

static qdbg_status infer_arg(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    arg_params *p = x->params;
    uint32_t axis, rank = 0;
    int64_t dims[QDBG_MAX_RANK];
    qdbg_status status = infer_axis(x, 0, &axis);
    if (status != QDBG_OK)
        return status;
    if (p->n == 0)
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "axis %u is empty", axis);
    bool keep = qdbg__attr_int(x->node, "keepdims", 1) != 0;
    p->largest = qdbg__node_is(x->node, "ArgMax");
    p->last = qdbg__attr_int(x->node, "select_last_index", 0) != 0;
    for (uint32_t d = 0; d < in->rank; d++) {
        if (d != axis || keep)
            dims[rank++] = d == axis ? 1 : in->dims[d];
    }
    qdbg__infer_out(x, 0, QDBG_I64, rank, dims);
    return QDBG_OK;
}

static qdbg_status run_arg(const qdbg__run *r)
{
    const arg_params *p = r->params;
    const qdbg_view *in = r->in[0];
    int64_t *out = r->out[0]->data;
    for (int64_t o = 0; o < p->outer; o++) {
        for (int64_t i = 0; i < p->inner; i++) {
            int64_t from = o * p->n * p->inner + i, best = 0;
            for (int64_t k = 1; k < p->n; k++) {
                int64_t a = from + k * p->inner, b = from + best * p->inner;
                bool better = p->last ? !before(in->data, in->dtype, p->largest, b, a)
                                      : before(in->data, in->dtype, p->largest, a, b);
                best = better ? k : best;
            }
            out[o * p->inner + i] = best;
        }
    }
    return QDBG_OK;
}

/* ---- TopK ---- */

static qdbg_status infer_top_k(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    arg_params *p = x->params;
    uint32_t axis;
    int64_t dims[QDBG_MAX_RANK];
    qdbg_status status = infer_axis(x, -1, &axis);
    if (status != QDBG_OK)
        return status;
    int32_t n = qdbg__infer_ints(x, "k", 1, &p->k, 1);
    if (n == -2)
        return x->ctx->error_status;
    if (n != 1 || p->k < 0 || p->k > p->n)
        return qdbg__infer_fail(x, QDBG_E_INVALID, "k is %lld, but axis %u has %lld elements",
                                n == 1 ? (long long)p->k : -1LL, axis, (long long)p->n);
    p->largest = qdbg__attr_int(x->node, "largest", 1) != 0;
    p->sorted = qdbg__attr_int(x->node, "sorted", 1) != 0;
    memcpy(dims, in->dims, sizeof dims);
    dims[axis] = p->k;
    qdbg__infer_out(x, 0, in->dtype, in->rank, dims);
    qdbg__infer_out(x, 1, QDBG_I64, in->rank, dims);
    x->scratch = (size_t)p->k * sizeof(int64_t);
    return QDBG_OK;
}

/* A row of elements under selection: `heap` holds positions, the worst at the root. */
typedef struct row {
    const void *data;
    int32_t dtype;
    bool largest;
    int64_t from, step;
    int64_t *heap;
} row;

/* Strict order of the result: equal elements go by position. */
static bool ahead(const row *r, int64_t a, int64_t b)
{
    int64_t ea = r->from + a * r->step, eb = r->from + b * r->step;
    if (before(r->data, r->dtype, r->largest, ea, eb))
        return true;
    return a < b && !before(r->data, r->dtype, r->largest, eb, ea);
}

static void sift_down(const row *r, int64_t i, int64_t size)
{
    for (;;) {
        int64_t worst = i;
        for (int64_t child = 2 * i + 1; child <= 2 * i + 2 && child < size; child++) {
            if (ahead(r, r->heap[worst], r->heap[child]))
                worst = child;
        }
        if (worst == i)
            return;
        int64_t swap = r->heap[i];
        r->heap[i] = r->heap[worst];
        r->heap[worst] = swap;
        i = worst;
    }
}

/* The first k of n positions in order, left in the heap. */
static void select_row(const row *r, int64_t n, int64_t k)
{
    for (int64_t i = 0; i < k; i++)
        r->heap[i] = i;
    for (int64_t i = k / 2; i-- > 0;)
        sift_down(r, i, k);
    for (int64_t i = k; i < n; i++) {
        if (!ahead(r, i, r->heap[0]))
            continue;
        r->heap[0] = i;
        sift_down(r, 0, k);
    }
    for (int64_t size = k; size > 1; size--) { /* heap sort: the worst goes to the end */
        int64_t worst = r->heap[0];
        r->heap[0] = r->heap[size - 1];
        r->heap[size - 1] = worst;
        sift_down(r, 0, size - 1);
    }
}

static qdbg_status run_top_k(const qdbg__run *r)
{
    const arg_params *p = r->params;
    const qdbg_view *in = r->in[0];
    size_t size = qdbg_dtype_size(in->dtype);
    char *values = r->out[0] ? r->out[0]->data : NULL;
    int64_t *indices = r->node->n_out > 1 && r->out[1] ? r->out[1]->data : NULL;
    if (p->k == 0)
        return QDBG_OK;
    for (int64_t o = 0; o < p->outer; o++) {
        for (int64_t i = 0; i < p->inner; i++) {
            row work = {in->data, in->dtype, p->largest, o * p->n * p->inner + i,
                        p->inner, r->scratch};
            select_row(&work, p->n, p->k);
            for (int64_t k = 0; k < p->k; k++) {
                int64_t to = (o * p->k + k) * p->inner + i;
                const char *from =
                    (const char *)in->data + (size_t)(work.from + work.heap[k] * p->inner) * size;
                if (values)
                    memcpy(values + (size_t)to * size, from, size);
                if (indices)
                    indices[to] = work.heap[k];
            }
        }
    }
    return QDBG_OK;
}

static const qdbg__op table[] = {
    {"ArgMax", 1, 1, 1, 0, infer_arg, run_arg},
    {"ArgMin", 1, 1, 1, 0, infer_arg, run_arg},
    {"TopK", 1, 2, 2, QDBG__OP_PASSES_ENCODING, infer_top_k, run_top_k},
};

const qdbg__op_table qdbg__ops_arg = {table, sizeof table / sizeof *table};
