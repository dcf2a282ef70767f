/* Biases that can take a correction of the mean, wherever exporters and folding leave them. */
#include "adaround_activation.h"
#include "adaround_layer.h"

/* A float32 parameter of `n` elements that only this use reads. */
static bool own_param(const qdbg_graph *g, const qdbg__node *node, uint32_t input, size_t n)
{
    if (input >= node->n_in || node->in[input] == QDBG_NONE)
        return false;
    const qdbg__value *v = &g->values[node->in[input]];
    return v->is_param && v->dtype == QDBG_F32 && v->n_consumers == 1 && !v->is_output &&
           v->bytes == n * sizeof(float);
}

static bool param_of(const qdbg_graph *g, const qdbg__node *node, uint32_t input, size_t n)
{
    if (input >= node->n_in || node->in[input] == QDBG_NONE)
        return false;
    const qdbg__value *v = &g->values[node->in[input]];
    return v->is_param && v->dtype == QDBG_F32 && v->bytes == n * sizeof(float);
}

static bool last_dim_is(const qdbg_graph *g, uint32_t value, size_t n)
{
    const qdbg__value *v = &g->values[value];
    return v->rank > 0 && v->dims[v->rank - 1] == (int64_t)n;
}

static bool is_norm(const qdbg_graph *g, const qdbg__linear *l, const qdbg__node *next, size_t n)
{
    return qdbg__node_is(next, "BatchNormalization") && next->n_in >= 5 &&
           next->in[0] == l->output && qdbg__linear_channels_second(g, l) &&
           own_param(g, next, 2, n) && param_of(g, next, 1, n) && param_of(g, next, 4, n) &&
           qdbg__attr_int(next, "training_mode", 0) == 0;
}

static qdbg__bias_site find_behind(const qdbg_graph *g, const qdbg__linear *l, size_t n)
{
    qdbg__bias_site site = {QDBG_NONE, QDBG_NONE, 1};
    const qdbg__value *y = &g->values[l->output];
    if (y->n_consumers != 1 || y->is_output)
        return site;
    const qdbg__node *next = &g->nodes[y->consumers[0]];
    if (is_norm(g, l, next, n)) {
        site.value = next->in[2];
        site.norm = y->consumers[0];
    } else if (qdbg__node_is(next, "Add") && next->n_in == 2) {
        uint32_t other = next->in[0] == l->output ? 1 : 0;
        if (own_param(g, next, other, n) && qdbg__linear_is_channel_param(g, l, next->in[other]))
            site.value = next->in[other];
    }
    return site;
}

qdbg__bias_site qdbg__bias_find(const qdbg_graph *g, const qdbg__linear *l)
{
    const qdbg__node *node = &g->nodes[l->node];
    size_t n = (size_t)l->groups * l->rows;
    qdbg__bias_site site = {QDBG_NONE, QDBG_NONE, 1};
    bool has_bias = node->n_in > 2 && node->in[2] != QDBG_NONE;
    if (qdbg__node_is(node, "MatMul") || !has_bias)
        return find_behind(g, l, n);
    if (!own_param(g, node, 2, n) || !last_dim_is(g, node->in[2], n))
        return site;
    if (l->kind == QDBG__LINEAR_GEMM) {
        double beta = (double)qdbg__attr_float(node, "beta", 1.0f);
        if (beta == 0)
            return site;
        site.factor = 1 / beta;
    }
    site.value = node->in[2];
    return site;
}
