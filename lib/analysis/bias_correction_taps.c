/* What each tap of a window sees of its input. */
#include <string.h>

#include "bias_correction.h"

static void read_ints(const qdbg__node *n, const char *name, uint32_t axes, int64_t *to)
{
    const int64_t *values;
    uint32_t count = qdbg__attr_ints(n, name, &values);
    for (uint32_t i = 0; i < axes && i < count; i++)
        to[3 - axes + i] = values[i];
}

/* Output lengths and padding before, as auto_pad has them. */
static bool place(const qdbg__node *n, uint32_t axes, qdbg__taps *t)
{
    const char *automatic = qdbg__attr_string(n, "auto_pad", "NOTSET");
    const int64_t *pads;
    uint32_t n_pads = qdbg__attr_ints(n, "pads", &pads);
    bool same = automatic[0] == 'S', given = strcmp(automatic, "NOTSET") == 0;
    for (uint32_t i = 0; i < axes; i++) {
        uint32_t a = 3 - axes + i;
        int64_t end = 0, extent = (t->kernel[a] - 1) * t->dilation[a] + 1;
        if (t->stride[a] < 1 || t->dilation[a] < 1)
            return false;
        if (given && n_pads == 2 * axes) {
            t->pad[a] = pads[i];
            end = pads[axes + i];
        }
        t->out[a] = (t->in[a] + t->pad[a] + end - extent) / t->stride[a] + 1;
        if (same) {
            t->out[a] = (t->in[a] + t->stride[a] - 1) / t->stride[a];
            int64_t total = (t->out[a] - 1) * t->stride[a] + extent - t->in[a];
            total = total > 0 ? total : 0;
            t->pad[a] = strcmp(automatic, "SAME_UPPER") == 0 ? total / 2 : total - total / 2;
        }
        if (t->out[a] < 1)
            return false;
    }
    return true;
}

/* ConvTranspose: the graph tells the output's lengths. */
static bool place_transposed(const qdbg_graph *g, const qdbg__layer *l, uint32_t axes,
                             qdbg__taps *t)
{
    const qdbg__node *n = &g->nodes[l->node];
    const qdbg__value *y = &g->values[l->output];
    const int64_t *pads;
    uint32_t n_pads = qdbg__attr_ints(n, "pads", &pads);
    t->transposed = true;
    if (strcmp(qdbg__attr_string(n, "auto_pad", "NOTSET"), "NOTSET") != 0 || y->rank != axes + 2)
        return false;
    for (uint32_t i = 0; i < axes; i++) {
        uint32_t a = 3 - axes + i;
        t->pad[a] = n_pads == 2 * axes ? pads[i] : 0;
        t->out[a] = y->dims[2 + i];
        if (t->out[a] < 1)
            return false;
    }
    return true;
}

bool qdbg__taps_read(const qdbg_graph *g, const qdbg__layer *l, const qdbg_view *x, qdbg__taps *t)
{
    const qdbg__node *n = &g->nodes[l->node];
    const qdbg__value *w = &g->values[l->weight];
    *t = (qdbg__taps){{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0}, 0, 0, 1};
    if (x->dtype != QDBG_F32 || x->rank < 1)
        return false;
    if (w->rank == 2) {
        t->is_matrix = true;
        if (x->dims[x->rank - 1] != (int64_t)l->ins)
            return false;
        t->positions = (int64_t)(qdbg_view_count(x) / l->ins);
        return t->positions > 0;
    }
    uint32_t axes = x->rank - 2;
    if (x->rank < 3 || x->rank > 5 || w->rank != x->rank || x->dims[1] != (int64_t)l->ins)
        return false;
    for (uint32_t i = 0; i < axes; i++) {
        t->in[3 - axes + i] = x->dims[2 + i];
        t->kernel[3 - axes + i] = w->dims[2 + i];
    }
    read_ints(n, "strides", axes, t->stride);
    read_ints(n, "dilations", axes, t->dilation);
    bool fits =
        qdbg__node_is(n, "ConvTranspose") ? place_transposed(g, l, axes, t) : place(n, axes, t);
    t->positions = x->dims[0] * t->out[0] * t->out[1] * t->out[2];
    return fits && t->positions > 0;
}

/* Positions a in [0, n) along an axis from which tap k falls inside: at a * stride + offset. */
typedef struct stretch {
    int64_t lo, hi, offset;
} stretch;

static stretch inside(const qdbg__taps *t, uint32_t axis, int64_t tap)
{
    int64_t n = t->transposed ? t->in[axis] : t->out[axis];
    int64_t limit = t->transposed ? t->out[axis] : t->in[axis];
    stretch s = {0, n, tap * t->dilation[axis] - t->pad[axis]};
    while (s.lo < s.hi && s.lo * t->stride[axis] + s.offset < 0)
        s.lo++;
    while (s.hi > s.lo && (s.hi - 1) * t->stride[axis] + s.offset >= limit)
        s.hi--;
    return s;
}

static int64_t source(const qdbg__taps *t, uint32_t axis, const stretch *s, int64_t a)
{
    return t->transposed ? a : a * t->stride[axis] + s->offset;
}

/* One tap over one channel of one sample. */
static double sum_tap(const qdbg__taps *t, const float *plane, const int64_t tap[3])
{
    stretch d = inside(t, 0, tap[0]), h = inside(t, 1, tap[1]), w = inside(t, 2, tap[2]);
    int64_t step = t->transposed ? 1 : t->stride[2];
    double sum = 0;
    for (int64_t i = d.lo; i < d.hi; i++)
        for (int64_t k = h.lo; k < h.hi; k++) {
            const float *row =
                plane + (source(t, 0, &d, i) * t->in[1] + source(t, 1, &h, k)) * t->in[2];
            const float *x = row + source(t, 2, &w, w.lo);
            float part = 0;
            for (int64_t p = w.lo; p < w.hi; p++, x += step)
                part += *x;
            sum += (double)part;
        }
    return sum;
}

static void split_tap(const qdbg__taps *t, size_t k, int64_t tap[3])
{
    int64_t at = (int64_t)k;
    tap[0] = at / (t->kernel[1] * t->kernel[2]);
    tap[1] = at / t->kernel[2] % t->kernel[1];
    tap[2] = at % t->kernel[2];
}

double qdbg__taps_share(const qdbg__taps *t, size_t k)
{
    int64_t tap[3];
    double share = 1;
    split_tap(t, k, tap);
    for (uint32_t a = 0; a < 3; a++) {
        stretch s = inside(t, a, tap[a]);
        share *= (double)(s.hi - s.lo) / (double)t->out[a];
    }
    return share;
}

void qdbg__taps_sum(const qdbg__taps *t, const qdbg__layer *l, const qdbg_view *view, double *sums)
{
    const float *x = view->data;
    memset(sums, 0, l->ins * l->taps * sizeof *sums);
    if (t->is_matrix) {
        for (int64_t row = 0; row < t->positions; row++)
            for (size_t c = 0; c < l->ins; c++)
                sums[c] += (double)x[(size_t)row * l->ins + c];
        return;
    }
    int64_t area = t->in[0] * t->in[1] * t->in[2];
    for (int64_t b = 0; b < view->dims[0]; b++)
        for (size_t c = 0; c < l->ins; c++) {
            const float *plane = x + (b * (int64_t)l->ins + (int64_t)c) * area;
            for (size_t k = 0; k < l->taps; k++) {
                int64_t tap[3];
                split_tap(t, k, tap);
                sums[c * l->taps + k] += sum_tap(t, plane, tap);
            }
        }
}
