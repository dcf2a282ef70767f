/* Reduce...: sums, means, extremes over any axes. Floats are accumulated in double in an order that
 * depends on the shape alone. */
#include <math.h>
#include <string.h>

#include "number.h"
#include "ops.h"
#include "walk.h"

#define LANES 16
#define CHUNK 64

typedef enum { SUM, MEAN, MAX, MIN, PROD, L1, L2, SUM_SQUARE, LOG_SUM, LOG_SUM_EXP } reduction;

typedef struct reduce_op {
    const char *type;
    reduction kind;
} reduce_op;

static const reduce_op reduce_ops[] = {
    {"ReduceSum", SUM},        {"ReduceMean", MEAN},
    {"ReduceMax", MAX},        {"ReduceMin", MIN},
    {"ReduceProd", PROD},      {"ReduceL1", L1},
    {"ReduceL2", L2},          {"ReduceSumSquare", SUM_SQUARE},
    {"ReduceLogSum", LOG_SUM}, {"ReduceLogSumExp", LOG_SUM_EXP},
};

/* Some dimensions of the input, as loops of their own. */
typedef struct nest {
    uint32_t rank;
    int64_t count; /* product of dims */
    int64_t dims[QDBG_MAX_RANK], strides[QDBG_MAX_RANK];
} nest;

typedef struct reduce_params {
    reduction kind;
    bool identity;  /* nothing is reduced */
    nest kept;      /* all kept dimensions but those counted in `inner` */
    nest reduced;   /* all reduced dimensions but those counted in `run` */
    int64_t run;    /* reduced elements that lie side by side; 1 when the last axis is kept */
    int64_t inner;  /* kept elements that lie side by side; 1 when the last axis is reduced */
    int64_t extent; /* elements that make one result */
} reduce_params;
_Static_assert(sizeof(reduce_params) <= QDBG__OP_PARAMS_SIZE, "params");

/* ---- infer ---- */

static qdbg_status read_axes(qdbg__infer *x, bool *reduced, bool *identity)
{
    int64_t axes[QDBG_MAX_RANK];
    uint32_t rank = x->in[0]->rank, axis;
    int32_t n = qdbg__infer_ints(x, "axes", 1, axes, QDBG_MAX_RANK);
    if (n == -2)
        return x->ctx->error_status;
    *identity = n <= 0 && qdbg__attr_int(x->node, "noop_with_empty_axes", 0) != 0;
    for (uint32_t d = 0; d < rank; d++)
        reduced[d] = n <= 0 && !*identity;
    for (int32_t i = 0; i < n; i++) {
        if (!qdbg__axis(axes[i], rank, &axis))
            return qdbg__infer_fail(x, QDBG_E_INVALID, "axis %lld is out of range for rank %u",
                                    (long long)axes[i], rank);
        reduced[axis] = true;
    }
    return QDBG_OK;
}

static void nest_add(nest *n, int64_t dim, int64_t stride)
{
    n->count *= dim;
    if (n->rank > 0 && n->strides[n->rank - 1] == stride * dim) {
        n->dims[n->rank - 1] *= dim;
        n->strides[n->rank - 1] = stride;
    } else if (dim != 1) {
        n->dims[n->rank] = dim;
        n->strides[n->rank++] = stride;
    }
}

/* Take the innermost loop out of a nest when it runs over adjacent elements. */
static int64_t nest_pop(nest *n)
{
    if (n->rank == 0 || n->strides[n->rank - 1] != 1)
        return 1;
    n->rank--;
    n->count /= n->dims[n->rank];
    return n->dims[n->rank];
}

static void split_nests(reduce_params *p, const qdbg_view *in, const bool *reduced)
{
    int64_t strides[QDBG_MAX_RANK];
    qdbg__strides(in->rank, in->dims, strides);
    p->kept = (nest){.count = 1};
    p->reduced = (nest){.count = 1};
    for (uint32_t d = 0; d < in->rank; d++)
        nest_add(reduced[d] ? &p->reduced : &p->kept, in->dims[d], strides[d]);
    p->extent = p->reduced.count;
    p->run = p->extent > 0 ? nest_pop(&p->reduced) : 1;
    p->inner = p->kept.count > 0 ? nest_pop(&p->kept) : 1;
}

static qdbg_status check_type(qdbg__infer *x, reduction kind, int64_t extent)
{
    int32_t dtype = x->in[0]->dtype;
    bool floats = dtype == QDBG_F32 || dtype == QDBG_F64;
    bool ints = qdbg__is_int(dtype) && dtype != QDBG_U64;
    if (!floats && (!ints || kind == L2 || kind == LOG_SUM || kind == LOG_SUM_EXP))
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "element type %s is not supported",
                                qdbg_dtype_name(dtype));
    if (ints && extent == 0 && (kind == MEAN || kind == MAX || kind == MIN))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "no elements to reduce");
    return QDBG_OK;
}

static qdbg_status infer_reduce(qdbg__infer *x)
{
    const qdbg_view *in = x->in[0];
    reduce_params *p = x->params;
    bool reduced[QDBG_MAX_RANK], keep = qdbg__attr_int(x->node, "keepdims", 1) != 0;
    int64_t dims[QDBG_MAX_RANK];
    uint32_t rank = 0;
    size_t op = 0;
    while (!qdbg__node_is(x->node, reduce_ops[op].type))
        op++;
    p->kind = reduce_ops[op].kind;
    qdbg_status status = read_axes(x, reduced, &p->identity);
    if (status != QDBG_OK)
        return status;
    split_nests(p, in, reduced);
    status = check_type(x, p->kind, p->extent);
    if (status != QDBG_OK)
        return status;
    for (uint32_t d = 0; d < in->rank; d++) {
        if (!reduced[d] || keep)
            dims[rank++] = reduced[d] ? 1 : in->dims[d];
    }
    qdbg__infer_out(x, 0, in->dtype, rank, dims);
    return QDBG_OK;
}

/* ---- run: float32 ---- */

/* How one kind accumulates: `a` is the accumulator, `v` the element, `m` the maximum (LogSumExp).
 */
typedef struct kernel {
    double start;
    double (*run)(const float *x, int64_t n, double m);                    /* adjacent elements */
    void (*rows)(double *acc, const float *x, int64_t n, const double *m); /* a row into a row */
    double (*join)(double a, double b);
} kernel;

/* The lanes break the chain of dependent additions, so that the compiler can vectorize. */
#define KERNEL(name, START, STEP, JOIN)                                                   \
    static double name##_join(double a, double b)                                         \
    {                                                                                     \
        return JOIN;                                                                      \
    }                                                                                     \
    static double name##_run(const float *x, int64_t n, double m)                         \
    {                                                                                     \
        double lanes[LANES];                                                              \
        int64_t i = 0;                                                                    \
        (void)m;                                                                          \
        for (int j = 0; j < LANES; j++)                                                   \
            lanes[j] = START;                                                             \
        for (; i + LANES <= n; i += LANES) {                                              \
            for (int j = 0; j < LANES; j++) {                                             \
                const double a = lanes[j], v = x[i + j];                                  \
                lanes[j] = STEP;                                                          \
            }                                                                             \
        }                                                                                 \
        for (int j = 0; i < n; i++, j++) {                                                \
            const double a = lanes[j], v = x[i];                                          \
            lanes[j] = STEP;                                                              \
        }                                                                                 \
        for (int width = LANES / 2; width > 0; width /= 2) {                              \
            for (int j = 0; j < width; j++)                                               \
                lanes[j] = name##_join(lanes[j], lanes[j + width]);                       \
        }                                                                                 \
        return lanes[0];                                                                  \
    }                                                                                     \
    static void name##_rows(double *acc, const float *x, int64_t n, const double *maxima) \
    {                                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                 \
            const double a = acc[i], v = x[i], m = maxima[i];                             \
            (void)m;                                                                      \
            acc[i] = STEP;                                                                \
        }                                                                                 \
    }

KERNEL(sum, 0.0, a + v, a + b)
KERNEL(abs, 0.0, a + fabs(v), a + b)
KERNEL(square, 0.0, a + v * v, a + b)
KERNEL(exp, 0.0, a + exp(v - m), a + b)
KERNEL(prod, 1.0, (a * v), (a * b))
KERNEL(max, -INFINITY, v > a || v != v ? v : a, b > a || b != b ? b : a)
KERNEL(min, INFINITY, v < a || v != v ? v : a, b < a || b != b ? b : a)

#define ROW(name, start)                            \
    {                                               \
        start, name##_run, name##_rows, name##_join \
    }
static const kernel kernels[] = {
    [SUM] = ROW(sum, 0.0),         [MEAN] = ROW(sum, 0.0),          [MAX] = ROW(max, -INFINITY),
    [MIN] = ROW(min, INFINITY),    [PROD] = ROW(prod, 1.0),         [L1] = ROW(abs, 0.0),
    [L2] = ROW(square, 0.0),       [SUM_SQUARE] = ROW(square, 0.0), [LOG_SUM] = ROW(sum, 0.0),
    [LOG_SUM_EXP] = ROW(exp, 0.0),
};

static double finish(const reduce_params *p, double acc, double m)
{
    switch (p->kind) {
    case MEAN:
        return acc / (double)p->extent;
    case L2:
        return sqrt(acc);
    case LOG_SUM:
        return log(acc);
    case LOG_SUM_EXP:
        return isfinite(m) ? log(acc) + m : m;
    default:
        return acc;
    }
}

static int64_t nest_next(const nest *n, int64_t *index, int64_t at)
{
    for (uint32_t d = n->rank; d-- > 0;) {
        at += n->strides[d];
        if (++index[d] < n->dims[d])
            return at;
        index[d] = 0;
        at -= n->strides[d] * n->dims[d];
    }
    return at;
}

/* One result from runs of adjacent elements. */
static double reduce_runs(const reduce_params *p, const kernel *k, const float *x, double m)
{
    int64_t index[QDBG_MAX_RANK] = {0}, at = 0;
    double acc = k->start;
    for (int64_t i = 0; i < p->reduced.count; i++, at = nest_next(&p->reduced, index, at))
        acc = k->join(acc, k->run(x + at, p->run, m));
    return acc;
}

/* `n` <= CHUNK adjacent results. */
static void reduce_rows(const reduce_params *p, const kernel *k, const float *x, int64_t n,
                        const double *m, double *acc)
{
    int64_t index[QDBG_MAX_RANK] = {0}, at = 0;
    for (int64_t j = 0; j < n; j++)
        acc[j] = k->start;
    for (int64_t i = 0; i < p->reduced.count; i++, at = nest_next(&p->reduced, index, at))
        k->rows(acc, x + at, n, m);
}

static void reduce_chunk(const reduce_params *p, const float *x, int64_t n, float *out)
{
    double acc[CHUNK], m[CHUNK] = {0};
    if (p->kind == LOG_SUM_EXP)
        reduce_rows(p, &kernels[MAX], x, n, m, m);
    reduce_rows(p, &kernels[p->kind], x, n, m, acc);
    for (int64_t j = 0; j < n; j++)
        out[j] = (float)finish(p, acc[j], m[j]);
}

static void reduce_f32(const reduce_params *p, const float *x, float *out)
{
    int64_t index[QDBG_MAX_RANK] = {0}, at = 0;
    for (int64_t i = 0; i < p->kept.count; i++, at = nest_next(&p->kept, index, at)) {
        if (p->inner == 1) {
            double m = 0.0;
            if (p->kind == LOG_SUM_EXP)
                m = reduce_runs(p, &kernels[MAX], x + at, 0.0);
            *out++ = (float)finish(p, reduce_runs(p, &kernels[p->kind], x + at, m), m);
            continue;
        }
        for (int64_t j = 0; j < p->inner; j += CHUNK) {
            int64_t n = p->inner - j < CHUNK ? p->inner - j : CHUNK;
            reduce_chunk(p, x + at + j, n, out + j);
        }
        out += p->inner;
    }
}

/* ---- run: other types, element by element ---- */

static double step_double(const kernel *k, reduction kind, double a, double v, double m)
{
    switch (kind) {
    case L1:
        return a + fabs(v);
    case L2:
    case SUM_SQUARE:
        return a + v * v;
    case LOG_SUM_EXP:
        return a + exp(v - m);
    default:
        return k->join(a, v);
    }
}

/* All elements that make the result whose first element lies at `at`. */
static double reduce_double(const reduce_params *p, reduction kind, const double *x, double m)
{
    const kernel *k = &kernels[kind];
    int64_t index[QDBG_MAX_RANK] = {0}, at = 0;
    double acc = k->start;
    for (int64_t i = 0; i < p->reduced.count; i++, at = nest_next(&p->reduced, index, at)) {
        for (int64_t j = 0; j < p->run; j++)
            acc = step_double(k, kind, acc, x[at + j], m);
    }
    return acc;
}

static int64_t step_int(reduction kind, int64_t a, int64_t v)
{
    uint64_t ua = (uint64_t)a, uv = (uint64_t)v;
    switch (kind) {
    case MAX:
        return v > a ? v : a;
    case MIN:
        return v < a ? v : a;
    case PROD:
        return (int64_t)(ua * uv);
    case L1:
        return (int64_t)(ua + (v < 0 ? 0 - uv : uv));
    case SUM_SQUARE:
        return (int64_t)(ua + uv * uv);
    default:
        return (int64_t)(ua + uv);
    }
}

static int64_t reduce_int(const reduce_params *p, const qdbg_view *in, int64_t from)
{
    int64_t index[QDBG_MAX_RANK] = {0}, at = from;
    int64_t acc = p->kind == MAX ? INT64_MIN : p->kind == MIN ? INT64_MAX : p->kind == PROD ? 1 : 0;
    for (int64_t i = 0; i < p->reduced.count; i++, at = nest_next(&p->reduced, index, at)) {
        for (int64_t j = 0; j < p->run; j++)
            acc = step_int(p->kind, acc, qdbg__load_int(in->data, in->dtype, at + j));
    }
    return p->kind == MEAN ? acc / p->extent : acc;
}

static void reduce_other(const reduce_params *p, const qdbg_view *in, const qdbg_view *out)
{
    int64_t index[QDBG_MAX_RANK] = {0}, at = 0, to = 0;
    for (int64_t i = 0; i < p->kept.count; i++, at = nest_next(&p->kept, index, at)) {
        for (int64_t j = 0; j < p->inner; j++, to++) {
            if (in->dtype != QDBG_F64) {
                qdbg__store_int(out->data, out->dtype, to, reduce_int(p, in, at + j));
                continue;
            }
            const double *x = (const double *)in->data + at + j;
            double m = p->kind == LOG_SUM_EXP ? reduce_double(p, MAX, x, 0.0) : 0.0;
            ((double *)out->data)[to] = finish(p, reduce_double(p, p->kind, x, m), m);
        }
    }
}

/* Results over no elements at all. */
static void reduce_nothing(const reduce_params *p, const qdbg_view *out, int64_t n)
{
    double value = finish(p, kernels[p->kind].start, p->kind == LOG_SUM_EXP ? -INFINITY : 0.0);
    for (int64_t i = 0; i < n; i++)
        qdbg__store_double(out->data, out->dtype, i, value);
}

static qdbg_status run_reduce(const qdbg__run *r)
{
    const reduce_params *p = r->params;
    const qdbg_view *in = r->in[0], *out = r->out[0];
    uint64_t n = qdbg_view_count(out);
    if (n == 0)
        return QDBG_OK;
    if (p->identity)
        memcpy(out->data, in->data, (size_t)n * qdbg_dtype_size(in->dtype));
    else if (p->extent == 0)
        reduce_nothing(p, out, (int64_t)n);
    else if (in->dtype == QDBG_F32)
        reduce_f32(p, in->data, out->data);
    else
        reduce_other(p, in, out);
    return QDBG_OK;
}

#define REDUCE(type, flags)                            \
    {                                                  \
        type, 1, 2, 1, flags, infer_reduce, run_reduce \
    }

static const qdbg__op table[] = {
    REDUCE("ReduceSum", 0),
    REDUCE("ReduceMean", 0),
    REDUCE("ReduceMax", QDBG__OP_PASSES_ENCODING),
    REDUCE("ReduceMin", QDBG__OP_PASSES_ENCODING),
    REDUCE("ReduceProd", 0),
    REDUCE("ReduceL1", 0),
    REDUCE("ReduceL2", 0),
    REDUCE("ReduceSumSquare", 0),
    REDUCE("ReduceLogSum", 0),
    REDUCE("ReduceLogSumExp", 0),
};

const qdbg__op_table qdbg__ops_reduce = {table, sizeof table / sizeof *table};
