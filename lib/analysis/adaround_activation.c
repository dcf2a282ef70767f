#include "adaround_activation.h"

#include <math.h>

#include "../graph/layer.h"

/* ---- numbers by channel ---- */

/* How many axes of the layer's output lie behind the one of its channels. */
static uint32_t axes_behind(const qdbg_graph *g, const qdbg__linear *l)
{
    if (l->kind == QDBG__LINEAR_CONV || l->kind == QDBG__LINEAR_CONV_TRANSPOSE)
        return g->values[l->weight].rank - 2;
    return l->kind == QDBG__LINEAR_W_TIMES_X ? 1 : 0;
}

bool qdbg__linear_is_channel_param(const qdbg_graph *g, const qdbg__linear *l, uint32_t value)
{
    const qdbg__value *v = &g->values[value];
    uint32_t behind = axes_behind(g, l), rank = behind + 2; /* batch, channels, the rest */
    size_t n = (size_t)l->groups * l->rows;
    if (l->kind == QDBG__LINEAR_X_TIMES_W || l->kind == QDBG__LINEAR_W_TIMES_X) {
        rank = QDBG_MAX_RANK; /* any number of batch axes */
        if (l->groups > 1)    /* one of which channels are along, too */
            return false;
    }
    return v->is_param && v->dtype == QDBG_F32 && v->bytes == n * sizeof(float) &&
           v->rank > behind && v->rank <= rank && v->dims[v->rank - 1 - behind] == (int64_t)n;
}

bool qdbg__linear_channels_second(const qdbg_graph *g, const qdbg__linear *l)
{
    bool matmul = l->kind == QDBG__LINEAR_X_TIMES_W || l->kind == QDBG__LINEAR_W_TIMES_X;
    return !matmul || (l->kind == QDBG__LINEAR_X_TIMES_W && g->values[l->output].rank == 2);
}

static bool is_one_number(const qdbg_graph *g, uint32_t value)
{
    const qdbg__value *v = &g->values[value];
    return v->is_param && v->dtype == QDBG_F32 && v->bytes == sizeof(float);
}

typedef struct reader {
    qdbg_model *model;
    const qdbg_graph *graph;
    const qdbg__linear *linear;
    qdbg__activation *a;
    float *room; /* [4, n] */
    uint32_t node;
    bool known; /* what has been seen is understood */
    qdbg_status status;
} reader;

/* Input `i` of a node into `dst`: one number for all channels, or one for each. */
static void read_channels(reader *r, const qdbg__node *node, uint32_t i, float *dst)
{
    bool there = r->known && i < node->n_in && node->in[i] != QDBG_NONE;
    bool one = there && is_one_number(r->graph, node->in[i]);
    r->known = one || (there && qdbg__linear_is_channel_param(r->graph, r->linear, node->in[i]));
    if (!r->known || r->status != QDBG_OK)
        return;
    r->status = r->model->backend->get(r->model, node->in[i], dst, one ? 1 : r->a->n);
    for (size_t c = 1; c < r->a->n && one; c++)
        dst[c] = dst[0];
}

static void fill(float *dst, size_t n, float x)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = x;
}

/* ---- what is affine ---- */

static void add_shift(reader *r, const qdbg__node *node, uint32_t input, float factor)
{
    read_channels(r, node, input, r->room);
    for (size_t c = 0; c < r->a->n && r->known && r->status == QDBG_OK; c++)
        r->a->offset[c] += factor * r->room[c];
}

/* A Conv's bias is [channels] and not of a shape to broadcast. */
static void read_own_bias(reader *r)
{
    const qdbg_graph *g = r->graph;
    const qdbg__node *node = &g->nodes[r->linear->node];
    bool gemm = r->linear->kind == QDBG__LINEAR_GEMM;
    if (node->n_in < 3 || node->in[2] == QDBG_NONE)
        return;
    if (gemm) {
        add_shift(r, node, 2, qdbg__attr_float(node, "beta", 1.0f));
        return;
    }
    const qdbg__value *v = &g->values[node->in[2]];
    r->known = v->is_param && v->dtype == QDBG_F32 && v->bytes == r->a->n * sizeof(float);
    if (r->known)
        r->status = r->model->backend->get(r->model, node->in[2], r->a->offset, r->a->n);
}

static void pass_norm(reader *r, const qdbg__node *node)
{
    size_t n = r->a->n;
    r->known = r->known && qdbg__linear_channels_second(r->graph, r->linear) &&
               qdbg__norm_is_constant(r->graph, node, n);
    for (uint32_t i = 0; i < 4 && r->known && r->status == QDBG_OK; i++)
        r->status = r->model->backend->get(r->model, node->in[i + 1], r->room + i * n, n);
    double epsilon = (double)qdbg__attr_float(node, "epsilon", 1e-5f);
    for (size_t c = 0; c < n && r->known && r->status == QDBG_OK; c++) {
        const float *x = r->room + c;
        double factor = (double)x[0] / sqrt((double)x[3 * n] + epsilon);
        r->a->gain[c] = (float)((double)r->a->gain[c] * factor);
        r->a->offset[c] =
            (float)(((double)r->a->offset[c] - (double)x[2 * n]) * factor + (double)x[n]);
    }
}

/* Go past a node that multiplies and adds; false where it does anything else. */
static bool pass(reader *r, const qdbg__node *node, uint32_t value)
{
    if (qdbg__node_is(node, "Identity"))
        return true;
    if (qdbg__node_is(node, "Add") && node->n_in == 2) {
        add_shift(r, node, node->in[0] == value ? 1 : 0, 1);
        return r->known;
    }
    bool norm = qdbg__node_is(node, "BatchNormalization") && node->in[0] == value;
    if (norm)
        pass_norm(r, node);
    return norm && r->known;
}

/* ---- what bends ---- */

static void read_bound(reader *r, const qdbg__node *node, uint32_t input, const char *name,
                       float *dst)
{
    if (input < node->n_in && node->in[input] != QDBG_NONE)
        read_channels(r, node, input, dst);
    else
        fill(dst, r->a->n, qdbg__attr_float(node, name, dst[0]));
}

static bool read_bend(reader *r, const qdbg__node *node, uint32_t value)
{
    qdbg__activation *a = r->a;
    if (node->n_in == 0 || node->in[0] != value)
        return false;
    if (qdbg__node_is(node, "Relu")) {
        fill(a->low, a->n, 0);
    } else if (qdbg__node_is(node, "LeakyRelu")) {
        fill(a->slope, a->n, qdbg__attr_float(node, "alpha", 0.01f));
    } else if (qdbg__node_is(node, "PRelu")) {
        read_channels(r, node, 1, a->slope);
    } else if (qdbg__node_is(node, "Clip")) {
        read_bound(r, node, 1, "min", a->low);
        read_bound(r, node, 2, "max", a->high);
    } else {
        return false;
    }
    return r->known;
}

/* ---- all of it ---- */

static void clear(reader *r)
{
    qdbg__activation *a = r->a;
    a->node = QDBG_NONE;
    fill(a->gain, a->n, (float)r->linear->alpha);
    fill(a->offset, a->n, 0);
    fill(a->slope, a->n, 1);
    fill(a->low, a->n, -INFINITY);
    fill(a->high, a->n, INFINITY);
}

/* The one node that reads the value, or NULL. */
static const qdbg__node *only_reader(const reader *r, uint32_t value, uint32_t *index)
{
    const qdbg__value *v = &r->graph->values[value];
    if (v->n_consumers != 1 || v->is_output)
        return NULL;
    *index = v->consumers[0];
    const qdbg__node *node = &r->graph->nodes[*index];
    return node->n_out > 0 && node->out[0] != QDBG_NONE ? node : NULL;
}

static void read_all(reader *r)
{
    uint32_t value = r->linear->output, index;
    read_own_bias(r);
    while (r->known && r->status == QDBG_OK) {
        const qdbg__node *node = only_reader(r, value, &index);
        if (!node)
            return;
        if (read_bend(r, node, value)) {
            r->a->node = index;
            return;
        }
        if (!pass(r, node, value))
            return;
        value = node->out[0];
    }
}

qdbg_status qdbg__activation_read(qdbg_model *m, const qdbg__linear *l, qdbg__activation *out)
{
    size_t n = (size_t)l->groups * l->rows;
    *out = (qdbg__activation){.node = QDBG_NONE, .n = n};
    out->gain = qdbg__alloc(m->ctx, 5 * n, sizeof *out->gain);
    float *room = out->gain ? qdbg__alloc(m->ctx, 4 * n, sizeof *room) : NULL;
    if (!room)
        return m->ctx->error_status;
    out->offset = out->gain + n;
    out->slope = out->offset + n;
    out->low = out->slope + n;
    out->high = out->low + n;
    reader r = {.model = m, .graph = m->graph, .linear = l, .a = out, .room = room, .known = true};
    clear(&r);
    read_all(&r);
    if (out->node == QDBG_NONE || !r.known)
        clear(&r);
    qdbg__free(m->ctx, room, 4 * n, sizeof *room);
    return r.status;
}

void qdbg__activation_free(qdbg_ctx *ctx, qdbg__activation *a)
{
    qdbg__free(ctx, a->gain, 5 * a->n, sizeof *a->gain);
    *a = (qdbg__activation){.node = QDBG_NONE};
}
