#include "adaround_linear.h"

#include <string.h>

/* ---- layers ---- */

static bool read_conv(const qdbg__node *node, const qdbg__value *w, qdbg__linear *l)
{
    bool transpose = qdbg__node_is(node, "ConvTranspose");
    int64_t groups = qdbg__attr_int(node, "group", 1);
    uint64_t taps = 1;
    if (w->rank < 3 || groups < 1 || w->dims[0] % groups != 0)
        return false;
    for (uint32_t i = 2; i < w->rank; i++)
        taps *= (uint64_t)w->dims[i];
    uint64_t first = (uint64_t)(w->dims[0] / groups), second = (uint64_t)w->dims[1];
    l->kind = transpose ? QDBG__LINEAR_CONV_TRANSPOSE : QDBG__LINEAR_CONV;
    l->groups = (uint32_t)groups;
    l->rows = (uint32_t)(transpose ? second : first);
    l->depth = (uint32_t)(taps * (transpose ? first : second));
    l->inner = transpose ? taps : l->depth;
    l->outer_stride = transpose ? l->rows * taps : 0;
    l->row_stride = transpose ? taps : l->depth;
    l->group_stride = (size_t)l->rows * l->depth;
    return true;
}

/* W as [depth, rows] or, with `rows_first`, [rows, depth]. */
static void read_matrix(qdbg__linear *l, int64_t first, int64_t second, bool rows_first)
{
    l->groups = 1;
    l->rows = (uint32_t)(rows_first ? first : second);
    l->depth = (uint32_t)(rows_first ? second : first);
    l->inner = rows_first ? l->depth : 1;
    l->outer_stride = rows_first ? 0 : l->rows;
    l->row_stride = rows_first ? l->depth : 1;
}

static bool read_matmul(const qdbg_graph *g, const qdbg__value *w, qdbg__linear *l)
{
    const qdbg__node *node = &g->nodes[l->node];
    bool left = node->in[0] == l->weight;
    if (node->in[0] == node->in[1] || w->rank < 2)
        return false;
    for (uint32_t i = 0; i + 3 < w->rank; i++)
        if (w->dims[i] != 1)
            return false;
    l->kind = left ? QDBG__LINEAR_W_TIMES_X : QDBG__LINEAR_X_TIMES_W;
    l->input = node->in[left ? 1 : 0];
    read_matrix(l, w->dims[w->rank - 2], w->dims[w->rank - 1], left);
    l->groups = w->rank > 2 ? (uint32_t)w->dims[w->rank - 3] : 1; /* a matrix for each */
    l->group_stride = (size_t)l->rows * l->depth;
    return true;
}

bool qdbg__linear_read(const qdbg_graph *g, uint32_t node, uint32_t weight, qdbg__linear *out)
{
    const qdbg__node *n = &g->nodes[node];
    const qdbg__value *w = &g->values[weight];
    qdbg__linear l = {.node = node, .weight = weight, .alpha = 1};
    bool known = n->op && n->n_in >= 2 && n->n_out >= 1 && n->in[0] != QDBG_NONE &&
                 n->in[1] != QDBG_NONE && n->out[0] != QDBG_NONE;
    if (!known)
        return false;
    l.input = n->in[0];
    l.output = n->out[0];
    if (qdbg__node_is(n, "Conv") || qdbg__node_is(n, "ConvTranspose")) {
        known = n->in[1] == weight && read_conv(n, w, &l);
    } else if (qdbg__node_is(n, "Gemm")) {
        known = n->in[1] == weight && w->rank == 2;
        l.kind = QDBG__LINEAR_GEMM;
        l.alpha = (double)qdbg__attr_float(n, "alpha", 1.0f);
        if (known)
            read_matrix(&l, w->dims[0], w->dims[1], qdbg__attr_int(n, "transB", 0) != 0);
    } else {
        known = qdbg__node_is(n, "MatMul") && read_matmul(g, w, &l);
    }
    if (!known || l.input == weight || (uint64_t)l.groups * l.rows * l.depth == 0 ||
        (uint64_t)l.groups * l.rows * l.depth != w->bytes / sizeof(float))
        return false;
    *out = l;
    return true;
}

size_t qdbg__linear_weight(const qdbg__linear *l, size_t group, size_t row, size_t k)
{
    return group * l->group_stride + row * l->row_stride + k / l->inner * l->outer_stride +
           k % l->inner;
}

void qdbg__linear_gather(const qdbg__linear *l, const float *weight, float *matrix)
{
    for (size_t g = 0; g < l->groups; g++)
        for (size_t r = 0; r < l->rows; r++)
            for (size_t k = 0; k < l->depth; k++)
                *matrix++ = weight[qdbg__linear_weight(l, g, r, k)];
}

void qdbg__linear_scatter(const qdbg__linear *l, const float *matrix, float *weight)
{
    for (size_t g = 0; g < l->groups; g++)
        for (size_t r = 0; r < l->rows; r++)
            for (size_t k = 0; k < l->depth; k++)
                weight[qdbg__linear_weight(l, g, r, k)] = *matrix++;
}

/* ---- columns ---- */

/* Where the windows lie, as the operator itself works it out: its params begin with the window. */
static qdbg_status plan_window(const qdbg_graph *g, const qdbg__linear *l, const qdbg_view *input,
                               qdbg__columns *c)
{
    const qdbg__node *node = &g->nodes[l->node];
    _Alignas(64) unsigned char params[QDBG__OP_PARAMS_SIZE] = {0};
    qdbg_view weight = QDBG_VIEW_INIT, out = QDBG_VIEW_INIT;
    const qdbg_view *in[3] = {input, &weight, NULL};
    weight.dtype = QDBG_F32;
    weight.rank = g->values[l->weight].rank;
    memcpy(weight.dims, g->values[l->weight].dims, sizeof weight.dims);
    qdbg__node bare = *node; /* the bias has no say in it */
    bare.n_in = 2;
    bare.n_out = 1;
    qdbg__infer x = {
        .ctx = g->ctx, .node = &bare, .opset = g->opset, .in = in, .out = &out, .params = params};
    qdbg_status status = node->op->infer(&x);
    if (status != QDBG_OK)
        return status;
    memcpy(&c->window, params, sizeof c->window);
    const qdbg__window *w = &c->window;
    c->taps = w->kernel[0] * w->kernel[1] * w->kernel[2];
    c->in_area = w->in[0] * w->in[1] * w->in[2];
    c->out_area = w->out[0] * w->out[1] * w->out[2];
    c->channels = (int64_t)l->depth / c->taps;
    c->n = input->dims[0] * c->out_area;
    return QDBG_OK;
}

static qdbg_status plan_matrix(const qdbg_graph *g, const qdbg__linear *l, const qdbg_view *input,
                               qdbg__columns *c)
{
    const qdbg__node *node = &g->nodes[l->node];
    int64_t count = (int64_t)qdbg_view_count(input), depth = l->depth;
    uint32_t rank = input->rank;
    bool trans = l->kind == QDBG__LINEAR_GEMM && qdbg__attr_int(node, "transA", 0) != 0;
    bool down = trans || (l->kind == QDBG__LINEAR_W_TIMES_X && rank > 1);
    int64_t found = rank == 0 ? 0
                    : down    ? input->dims[rank - 2 < rank ? rank - 2 : 0]
                              : input->dims[rank - 1];
    int64_t groups = rank > 2 && l->groups > 1 ? input->dims[rank - 3] : 1;
    if (found != depth || (l->kind == QDBG__LINEAR_GEMM && rank != 2) ||
        (groups != 1 && groups != l->groups))
        return qdbg__fail_at(g->ctx, QDBG_E_SHAPE, node->name, NULL,
                             "'%s': the input does not fit the weight", node->name);
    int64_t across = down ? input->dims[rank - 1] : rank > 1 ? input->dims[rank - 2] : 1;
    c->n = count / depth / groups;
    c->span = down || groups > 1 ? across : c->n;
    c->block = depth * across * groups;
    c->step = down ? 1 : depth;
    c->stride = down ? across : 1;
    c->group_block = groups > 1 ? depth * across : 0;
    return QDBG_OK;
}

static bool has_window(const qdbg__linear *l)
{
    return l->kind == QDBG__LINEAR_CONV || l->kind == QDBG__LINEAR_CONV_TRANSPOSE;
}

qdbg_status qdbg__columns_plan(const qdbg_graph *g, const qdbg__linear *l, const qdbg_view *input,
                               qdbg__columns *out)
{
    qdbg__columns c = {.shape = *input, .taps = 1};
    c.shape.data = NULL;
    qdbg_status status =
        has_window(l) ? plan_window(g, l, &c.shape, &c) : plan_matrix(g, l, &c.shape, &c);
    if (status == QDBG_OK)
        *out = c;
    return status;
}

/* Input coordinate under tap `k` of output coordinate `o`; -1 where there is none. */
static int64_t coordinate(const qdbg__window *w, bool transpose, uint32_t axis, int64_t o,
                          int64_t k)
{
    int64_t reach = k * w->dilation[axis], i;
    if (transpose) {
        i = o + w->pad[axis] - reach;
        if (i < 0 || i % w->stride[axis] != 0)
            return -1;
        i /= w->stride[axis];
    } else {
        i = o * w->stride[axis] + reach - w->pad[axis];
    }
    return i >= 0 && i < w->in[axis] ? i : -1;
}

/* Where in a plane each tap of the output position (z, y, x) reads; -1 in the padding. */
static void find_taps(const qdbg__window *w, bool transpose, const int64_t o[3], int64_t *offsets)
{
    for (int64_t kz = 0; kz < w->kernel[0]; kz++) {
        int64_t z = coordinate(w, transpose, 0, o[0], kz);
        for (int64_t ky = 0; ky < w->kernel[1]; ky++) {
            int64_t y = coordinate(w, transpose, 1, o[1], ky);
            for (int64_t kx = 0; kx < w->kernel[2]; kx++) {
                int64_t x = coordinate(w, transpose, 2, o[2], kx);
                bool inside = z >= 0 && y >= 0 && x >= 0;
                *offsets++ = inside ? (z * w->in[1] + y) * w->in[2] + x : -1;
            }
        }
    }
}

static void take_window(const qdbg__columns *c, const qdbg__linear *l, const float *x,
                        int64_t position, int64_t *offsets, float *column, size_t group_stride)
{
    const qdbg__window *w = &c->window;
    int64_t at = position % c->out_area;
    int64_t o[3] = {at / (w->out[1] * w->out[2]), at / w->out[2] % w->out[1], at % w->out[2]};
    const float *plane = x + position / c->out_area * c->in_area * c->channels * (int64_t)l->groups;
    find_taps(w, l->kind == QDBG__LINEAR_CONV_TRANSPOSE, o, offsets);
    for (uint32_t g = 0; g < l->groups; g++) {
        float *dst = column + g * group_stride;
        for (int64_t i = 0; i < c->channels; i++, plane += c->in_area)
            for (int64_t t = 0; t < c->taps; t++)
                *dst++ = offsets[t] < 0 ? 0.0f : plane[offsets[t]];
    }
}

void qdbg__columns_take(const qdbg__columns *c, const qdbg__linear *l, const float *x,
                        int64_t position, int64_t *offsets, float *column, size_t group_stride)
{
    if (has_window(l)) {
        take_window(c, l, x, position, offsets, column, group_stride);
        return;
    }
    const float *src = x + position / c->span * c->block + position % c->span * c->step;
    for (uint32_t g = 0; g < l->groups; g++, src += c->group_block, column += group_stride)
        for (uint32_t k = 0; k < l->depth; k++)
            column[k] = src[k * (size_t)c->stride];
}
