/* MaxPool, AveragePool and their global forms. */
#include <math.h>

#include "ops.h"
#include "window.h"

typedef struct pool {
    qdbg__window window;
    int64_t planes;            /* batch * channels */
    int64_t in_area, out_area; /* of a plane */
    bool count_padding;
} pool;

/* Taps of the window at output position `o` of an axis that lie in the input: begin..end-1; `span`
 * counts those that lie in the input or its padding. */
typedef struct taps {
    int64_t start; /* input position of tap 0 */
    int64_t begin, end, span;
} taps;

/* ---- inference ---- */

static qdbg_status check_outputs(qdbg__infer *x)
{
    if (x->node->n_out > 1 && x->node->out[1] != QDBG_NONE)
        return qdbg__infer_fail(x, QDBG_E_UNSUPPORTED, "the output Indices is not supported");
    return QDBG_OK;
}

/* A window must touch the input, else its maximum or mean would not exist. */
static qdbg_status check_pads(qdbg__infer *x, const qdbg__window *w)
{
    for (uint32_t i = 0; i < 3; i++) {
        if (w->pad[i] >= w->extent[i] || w->pad_end[i] >= w->extent[i])
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "padding must be less than the window");
    }
    return QDBG_OK;
}

static qdbg_status measure(qdbg__infer *x, const qdbg_view *in, pool *p)
{
    uint64_t count;
    char shape[128];
    if (!qdbg__shape_count(in->rank, in->dims, &count))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "an input of %s is too large",
                                qdbg__shape_text(in->rank, in->dims, shape, sizeof shape));
    p->planes = count > 0 ? in->dims[0] * in->dims[1] : 0;
    p->in_area = p->window.in[0] * p->window.in[1] * p->window.in[2];
    p->out_area = p->window.out[0] * p->window.out[1] * p->window.out[2];
    return QDBG_OK;
}

static qdbg_status pool_infer(qdbg__infer *x)
{
    pool *p = x->params;
    const qdbg_view *in = x->in[0];
    bool ceil_mode = qdbg__attr_int(x->node, "ceil_mode", 0) != 0;
    p->count_padding = qdbg__attr_int(x->node, "count_include_pad", 0) != 0;
    qdbg_status status = qdbg__infer_float32_only(x);
    if (status == QDBG_OK)
        status = check_outputs(x);
    if (status == QDBG_OK)
        status = qdbg__window_read(x, in, NULL, &p->window);
    if (status == QDBG_OK)
        status = qdbg__window_slide(x, ceil_mode, &p->window);
    if (status == QDBG_OK)
        status = check_pads(x, &p->window);
    if (status == QDBG_OK)
        status = qdbg__window_out(x, &p->window, in->dims[0], in->dims[1]);
    if (status != QDBG_OK)
        return status;
    /* One collapsed row, and the taps of each output of a row. */
    x->scratch = (size_t)p->window.out[2] * sizeof(taps) + (size_t)p->window.in[2] * sizeof(float);
    return measure(x, in, p);
}

static qdbg_status global_infer(qdbg__infer *x)
{
    pool *p = x->params;
    const qdbg_view *in = x->in[0];
    int64_t dims[QDBG_MAX_RANK];
    uint64_t count;
    qdbg_status status = qdbg__infer_float32_only(x);
    if (status != QDBG_OK)
        return status;
    if (in->rank < 2 || in->rank > QDBG_MAX_RANK || !qdbg__shape_count(in->rank, in->dims, &count))
        return qdbg__infer_fail(x, QDBG_E_SHAPE, "an input of rank %u cannot be pooled", in->rank);
    p->in_area = 1;
    for (uint32_t i = 0; i < in->rank; i++) {
        dims[i] = i < 2 ? in->dims[i] : 1;
        if (i >= 2 && in->dims[i] == 0)
            return qdbg__infer_fail(x, QDBG_E_SHAPE, "spatial axis %u is empty", i - 2);
        if (i >= 2 && count > 0)
            p->in_area *= in->dims[i];
    }
    p->planes = count > 0 ? in->dims[0] * in->dims[1] : 0;
    qdbg__infer_out(x, 0, QDBG_F32, in->rank, dims);
    return QDBG_OK;
}

/* ---- running ---- */

/* A NaN in the window is the maximum, so that it is seen in the output. */
static inline float max_of(float a, float b)
{
    return b <= a || a != a ? a : b;
}

static void max_into(float *restrict row, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        row[i] = max_of(row[i], src[i]);
}

static void add_into(float *restrict row, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        row[i] += src[i];
}

static taps taps_at(const qdbg__window *w, uint32_t axis, int64_t o)
{
    taps t = {.start = o * w->stride[axis] - w->pad[axis]};
    int64_t first, padded_end;
    qdbg__window_valid(t.start, w->dilation[axis], w->in[axis], w->kernel[axis], &t.begin, &t.end);
    qdbg__window_valid(t.start + w->pad[axis], w->dilation[axis],
                       w->in[axis] + w->pad[axis] + w->pad_end[axis], w->kernel[axis], &first,
                       &padded_end);
    t.span = padded_end - first;
    return t;
}

/* Collapse depth and height: row[i] = the maximum (sum) over those axes of the window. */
static void collapse(const qdbg__window *w, const float *plane, const taps *tz, const taps *ty,
                     bool max, float *row)
{
    int64_t width = w->in[2];
    for (int64_t i = 0; i < width; i++)
        row[i] = max ? -INFINITY : 0.0f;
    for (int64_t kz = tz->begin; kz < tz->end; kz++) {
        for (int64_t ky = ty->begin; ky < ty->end; ky++) {
            int64_t z = tz->start + kz * w->dilation[0], y = ty->start + ky * w->dilation[1];
            const float *src = plane + (z * w->in[1] + y) * width;
            if (max)
                max_into(row, src, width);
            else
                add_into(row, src, width);
        }
    }
}

static float max_of_taps(const float *row, const taps *t, int64_t step)
{
    float m = -INFINITY;
    for (int64_t k = t->begin; k < t->end; k++)
        m = max_of(m, row[t->start + k * step]);
    return m;
}

static float sum_of_taps(const float *row, const taps *t, int64_t step)
{
    float sum = 0.0f;
    for (int64_t k = t->begin; k < t->end; k++)
        sum += row[t->start + k * step];
    return sum;
}

static void pool_row(const pool *p, const taps *tz, const taps *ty, const taps *columns, bool max,
                     const float *row, float *y)
{
    const qdbg__window *w = &p->window;
    int64_t inside = (tz->end - tz->begin) * (ty->end - ty->begin), padded = tz->span * ty->span;
    for (int64_t ox = 0; ox < w->out[2]; ox++) {
        const taps *t = &columns[ox];
        if (max) {
            y[ox] = max_of_taps(row, t, w->dilation[2]);
        } else {
            int64_t n = p->count_padding ? padded * t->span : inside * (t->end - t->begin);
            y[ox] = n > 0 ? sum_of_taps(row, t, w->dilation[2]) / (float)n : 0.0f;
        }
    }
}

static qdbg_status run_pool(const qdbg__run *r, bool max)
{
    const pool *p = r->params;
    const qdbg__window *w = &p->window;
    float *y = r->out[0]->data;
    taps *columns = r->scratch;
    float *row = (float *)(columns + w->out[2]);
    for (int64_t ox = 0; ox < w->out[2]; ox++)
        columns[ox] = taps_at(w, 2, ox);
    for (int64_t i = 0; i < p->planes; i++) {
        const float *x = (const float *)r->in[0]->data + i * p->in_area;
        for (int64_t oz = 0; oz < w->out[0]; oz++) {
            taps tz = taps_at(w, 0, oz);
            for (int64_t oy = 0; oy < w->out[1]; oy++) {
                taps ty = taps_at(w, 1, oy);
                collapse(w, x, &tz, &ty, max, row);
                pool_row(p, &tz, &ty, columns, max, row, y);
                y += w->out[2];
            }
        }
    }
    return QDBG_OK;
}

static qdbg_status max_pool_run(const qdbg__run *r)
{
    return run_pool(r, true);
}

static qdbg_status average_pool_run(const qdbg__run *r)
{
    return run_pool(r, false);
}

/* Eight interleaved partial results, then those: quick, and always the same order. */
static float reduce(const float *x, int64_t n, bool max)
{
    float lane[8];
    int64_t i = 0;
    for (int l = 0; l < 8; l++)
        lane[l] = max ? -INFINITY : 0.0f;
    for (; i + 8 <= n; i += 8) {
        for (int l = 0; l < 8; l++)
            lane[l] = max ? max_of(lane[l], x[i + l]) : lane[l] + x[i + l];
    }
    for (int l = 0; i < n; i++, l++)
        lane[l] = max ? max_of(lane[l], x[i]) : lane[l] + x[i];
    for (int l = 1; l < 8; l++)
        lane[0] = max ? max_of(lane[0], lane[l]) : lane[0] + lane[l];
    return lane[0];
}

static qdbg_status global_max_run(const qdbg__run *r)
{
    const pool *p = r->params;
    const float *x = r->in[0]->data;
    float *y = r->out[0]->data;
    for (int64_t i = 0; i < p->planes; i++)
        y[i] = reduce(x + i * p->in_area, p->in_area, true);
    return QDBG_OK;
}

static qdbg_status global_average_run(const qdbg__run *r)
{
    const pool *p = r->params;
    const float *x = r->in[0]->data;
    float *y = r->out[0]->data;
    for (int64_t i = 0; i < p->planes; i++)
        y[i] = reduce(x + i * p->in_area, p->in_area, false) / (float)p->in_area;
    return QDBG_OK;
}

static const qdbg__op ops[] = {
    {"MaxPool", 1, 1, 2, QDBG__OP_PASSES_ENCODING, pool_infer, max_pool_run},
    {"AveragePool", 1, 1, 1, 0, pool_infer, average_pool_run},
    {"GlobalMaxPool", 1, 1, 1, QDBG__OP_PASSES_ENCODING, global_infer, global_max_run},
    {"GlobalAveragePool", 1, 1, 1, 0, global_infer, global_average_run},
};

const qdbg__op_table qdbg__ops_pool = {ops, sizeof ops / sizeof *ops};
