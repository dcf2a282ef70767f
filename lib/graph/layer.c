#include "layer.h"

#include <string.h>

bool qdbg__own_param(const qdbg_graph *g, const qdbg__node *node, uint32_t input)
{
    if (input >= node->n_in || node->in[input] == QDBG_NONE)
        return false;
    const qdbg__value *v = &g->values[node->in[input]];
    return v->is_param && v->dtype == QDBG_F32 && v->n_consumers == 1 && !v->is_output;
}

size_t qdbg__channels_of(const qdbg_graph *g, uint32_t value)
{
    const qdbg__value *v = &g->values[value];
    if (v->rank == QDBG_RANK_UNKNOWN || v->rank < 2 || v->dims[1] <= 0)
        return 0;
    return (size_t)v->dims[1];
}

bool qdbg__is_channel_param(const qdbg_graph *g, uint32_t value, uint32_t rank, size_t channels)
{
    const qdbg__value *v = &g->values[value];
    if (!v->is_param || v->dtype != QDBG_F32 || rank < 2 || rank == QDBG_RANK_UNKNOWN ||
        v->bytes != channels * sizeof(float) || v->rank + 1 < rank || v->rank > rank)
        return false;
    return v->dims[v->rank - (rank - 1)] == (int64_t)channels;
}

bool qdbg__norm_is_constant(const qdbg_graph *g, const qdbg__node *n, size_t channels)
{
    if (!qdbg__node_is(n, "BatchNormalization") || n->n_in < 5 || n->in[0] == QDBG_NONE ||
        channels == 0 || qdbg__attr_int(n, "training_mode", 0) != 0)
        return false;
    for (uint32_t i = QDBG__BN_GAMMA; i <= QDBG__BN_VAR; i++)
        if (!qdbg__own_param(g, n, i) || g->values[n->in[i]].bytes != channels * sizeof(float))
            return false;
    return true;
}

/* ---- weights ---- */

static bool read_conv(const qdbg__node *n, const qdbg__value *w, qdbg__layer *l)
{
    int64_t group = qdbg__attr_int(n, "group", 1);
    l->out_first = qdbg__node_is(n, "Conv");
    if (w->rank < 3 || group <= 0 || w->dims[0] <= 0 || w->dims[0] % group != 0)
        return false;
    l->groups = (size_t)group;
    l->second = (size_t)w->dims[1];
    size_t first = (size_t)w->dims[0], second = l->second * l->groups;
    l->outs = l->out_first ? first : second;
    l->ins = l->out_first ? second : first;
    for (uint32_t i = 2; i < w->rank; i++)
        l->taps *= (size_t)w->dims[i];
    return true;
}

static bool read_matrix(const qdbg__value *w, bool out_first, qdbg__layer *l)
{
    if (w->rank != 2)
        return false;
    l->out_first = out_first;
    l->second = (size_t)w->dims[1];
    l->outs = (size_t)w->dims[out_first ? 0 : 1];
    l->ins = (size_t)w->dims[out_first ? 1 : 0];
    return true;
}

static void find_bias(const qdbg_graph *g, qdbg__layer *l)
{
    const qdbg__node *n = &g->nodes[l->node];
    if (qdbg__node_is(n, "MatMul") || n->n_in < 3 || n->in[2] == QDBG_NONE)
        return;
    const qdbg__value *b = &g->values[n->in[2]];
    l->bias = n->in[2];
    l->own_bias = qdbg__own_param(g, n, 2) && b->bytes == l->outs * sizeof(float) && b->rank > 0 &&
                  b->dims[b->rank - 1] == (int64_t)l->outs;
}

/* Channels of MatMul lie along the last axis, those of a normalization along the second. */
static void find_norm(const qdbg_graph *g, qdbg__layer *l)
{
    const qdbg__value *y = &g->values[l->output];
    if (y->n_consumers != 1 || y->is_output ||
        (qdbg__node_is(&g->nodes[l->node], "MatMul") && y->rank != 2))
        return;
    const qdbg__node *next = &g->nodes[y->consumers[0]];
    if (!qdbg__node_is(next, "BatchNormalization") || next->n_in < 1 || next->in[0] != l->output ||
        !qdbg__norm_is_constant(g, next, l->outs))
        return;
    l->norm = y->consumers[0];
    l->result = next->out[0];
}

bool qdbg__layer_read(const qdbg_graph *g, uint32_t node, qdbg__layer *out)
{
    const qdbg__node *n = &g->nodes[node];
    qdbg__layer l = {.node = node, .bias = QDBG_NONE, .norm = QDBG_NONE, .groups = 1, .taps = 1};
    if (n->n_in < 2 || n->n_out < 1 || n->in[0] == QDBG_NONE || n->in[1] == QDBG_NONE ||
        n->out[0] == QDBG_NONE)
        return false;
    const qdbg__value *w = &g->values[n->in[1]];
    if (!w->is_param || w->dtype != QDBG_F32 || w->bytes == 0)
        return false;
    bool known = false;
    if (qdbg__node_is(n, "Conv") || qdbg__node_is(n, "ConvTranspose"))
        known = read_conv(n, w, &l);
    else if (qdbg__node_is(n, "Gemm"))
        known = qdbg__attr_int(n, "transA", 0) == 0 &&
                read_matrix(w, qdbg__attr_int(n, "transB", 0) != 0, &l);
    else if (qdbg__node_is(n, "MatMul"))
        known = read_matrix(w, false, &l);
    if (!known)
        return false;
    l.weight = n->in[1];
    l.input = n->in[0];
    l.output = l.result = n->out[0];
    l.own_weight = qdbg__own_param(g, n, 1);
    l.n_weights = w->bytes / sizeof(float);
    find_bias(g, &l);
    find_norm(g, &l);
    *out = l;
    return true;
}

/* Channel along the weight's second axis: each group has its own. */
static size_t second_channel(const qdbg__layer *l, size_t i)
{
    size_t first = i / (l->second * l->taps);
    size_t per_group = (l->out_first ? l->outs : l->ins) / l->groups;
    return first / per_group * l->second + i / l->taps % l->second;
}

size_t qdbg__layer_out(const qdbg__layer *l, size_t i)
{
    return l->out_first ? i / (l->second * l->taps) : second_channel(l, i);
}

size_t qdbg__layer_in(const qdbg__layer *l, size_t i)
{
    return l->out_first ? second_channel(l, i) : i / (l->second * l->taps);
}

bool qdbg__layer_is_depthwise(const qdbg__layer *l)
{
    return l->groups > 1 && l->groups == l->ins && l->groups == l->outs;
}

bool qdbg__layer_has_borders(const qdbg_graph *g, const qdbg__layer *l)
{
    const qdbg__node *n = &g->nodes[l->node];
    const int64_t *pads;
    if (qdbg__node_is(n, "Gemm") || qdbg__node_is(n, "MatMul"))
        return false;
    if (qdbg__node_is(n, "ConvTranspose")) /* windows overlap as the strides have it */
        return true;
    const char *automatic = qdbg__attr_string(n, "auto_pad", "NOTSET");
    if (strcmp(automatic, "NOTSET") != 0)
        return strcmp(automatic, "VALID") != 0;
    uint32_t n_pads = qdbg__attr_ints(n, "pads", &pads);
    for (uint32_t i = 0; i < n_pads; i++)
        if (pads[i] != 0)
            return true;
    return false;
}

/* A constant Add that alone reads the output of a layer without bias. */
static uint32_t add_behind(const qdbg_graph *g, const qdbg__layer *l)
{
    const qdbg__value *y = &g->values[l->output];
    if (y->n_consumers != 1 || y->is_output)
        return QDBG_NONE;
    const qdbg__node *n = &g->nodes[y->consumers[0]];
    if (!qdbg__node_is(n, "Add") || n->n_in != 2)
        return QDBG_NONE;
    uint32_t other = n->in[0] == l->output ? 1 : 0;
    if (!qdbg__own_param(g, n, other))
        return QDBG_NONE;
    const qdbg__value *b = &g->values[n->in[other]];
    bool by_channel = qdbg__is_channel_param(g, n->in[other], y->rank, l->outs);
    if (qdbg__node_is(&g->nodes[l->node], "MatMul"))
        by_channel = b->rank > 0 && b->bytes == l->outs * sizeof(float) &&
                     b->dims[b->rank - 1] == (int64_t)l->outs;
    return by_channel ? n->in[other] : QDBG_NONE;
}

uint32_t qdbg__layer_bias_site(const qdbg_graph *g, const qdbg__layer *l, double *unit,
                               bool *by_norm)
{
    const qdbg__node *n = &g->nodes[l->node];
    *unit = 1;
    *by_norm = false;
    if (l->own_bias && qdbg__node_is(n, "Gemm")) {
        *unit = 1 / (double)qdbg__attr_float(n, "beta", 1);
        return qdbg__attr_float(n, "beta", 1) != 0 ? l->bias : QDBG_NONE;
    }
    if (l->own_bias)
        return l->bias;
    if (l->norm != QDBG_NONE) {
        *by_norm = true;
        return g->nodes[l->norm].in[QDBG__BN_BETA];
    }
    return l->bias == QDBG_NONE ? add_behind(g, l) : QDBG_NONE;
}
