#include "placement.h"

#include <qdebug/simulation.h>

typedef struct placer {
    const qdbg_graph *graph;
    uint8_t *is_float; /* [n_values] float32, as far as one can tell without shapes */
    uint8_t *is_live;  /* [n_values] depends on a graph input */
    uint8_t *placed;   /* [n_values] has a quantizer already */
    qdbg__places *out;
} placer;

static bool one_of(const qdbg__node *node, const char *const *types, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (qdbg__node_is(node, types[i]))
            return true;
    return false;
}

#define ONE_OF(node, types) one_of(node, types, sizeof(types) / sizeof *(types))

/* Results that are integers or truth values whatever goes in. */
static bool never_float(const qdbg__node *node)
{
    static const char *const types[] = {
        "Shape", "Size",        "ArgMax", "ArgMin", "NonZero", "Equal", "Greater", "GreaterOrEqual",
        "Less",  "LessOrEqual", "And",    "Or",     "Xor",     "Not",   "IsNaN",   "IsInf",
    };
    return ONE_OF(node, types);
}

/* Type of a node's outputs where inference did not tell: that of its data input. */
static bool guess_float(const placer *p, const qdbg__node *node)
{
    if (never_float(node))
        return false;
    if (qdbg__node_is(node, "Cast"))
        return qdbg__attr_int(node, "to", QDBG_F32) == QDBG_F32;
    uint32_t data = qdbg__node_is(node, "Where") ? 1 : 0;
    if (data >= node->n_in || node->in[data] == QDBG_NONE || !node->op)
        return true;
    return p->is_float[node->in[data]];
}

static void classify(placer *p)
{
    const qdbg_graph *g = p->graph;
    for (size_t v = 0; v < g->n_values; v++) {
        int32_t dtype = g->values[v].dtype;
        p->is_float[v] = dtype == QDBG_F32 || (dtype == QDBG_DTYPE_NONE && g->values[v].is_input);
        p->is_live[v] = g->values[v].is_input;
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const qdbg__node *n = &g->nodes[i];
        bool live = false;
        for (uint32_t k = 0; k < n->n_in; k++)
            live = live || (n->in[k] != QDBG_NONE && p->is_live[n->in[k]]);
        for (uint32_t k = 0; k < n->n_out; k++) {
            uint32_t v = n->out[k];
            if (v == QDBG_NONE)
                continue;
            p->is_live[v] = live;
            if (g->values[v].dtype == QDBG_DTYPE_NONE)
                p->is_float[v] = k == 0 && guess_float(p, n);
        }
    }
}

static qdbg_status add(placer *p, int32_t kind, uint32_t value, uint32_t node, int32_t axis)
{
    if (p->placed[value])
        return QDBG_OK;
    qdbg_status status = qdbg__reserve(p->graph->ctx, &p->out->at, &p->out->capacity, p->out->n + 1,
                                       sizeof *p->out->at);
    if (status != QDBG_OK)
        return status;
    p->placed[value] = 1;
    p->out->at[p->out->n++] = (qdbg__place){value, node, kind, axis};
    return QDBG_OK;
}

/* ---- weights ---- */

/* Output-channel axis of the weight that is input `i` of the node; -1: input `i` is no weight. */
static int32_t weight_axis(const qdbg__node *node, uint32_t i, uint32_t rank)
{
    if (qdbg__node_is(node, "Conv"))
        return i == 1 ? 0 : -1;
    if (qdbg__node_is(node, "ConvTranspose"))
        return i == 1 ? 1 : -1;
    if (qdbg__node_is(node, "Gemm"))
        return i == 1 ? (qdbg__attr_int(node, "transB", 0) ? 0 : 1) : -1;
    if (!qdbg__node_is(node, "MatMul") || i > 1)
        return -1;
    if (rank < 2)
        return 0;
    return (int32_t)rank - (i == 1 ? 1 : 2);
}

static qdbg_status place_weights(placer *p, uint32_t node)
{
    const qdbg__node *n = &p->graph->nodes[node];
    for (uint32_t i = 0; i < n->n_in && i < 2; i++) {
        if (n->in[i] == QDBG_NONE)
            continue;
        const qdbg__value *v = &p->graph->values[n->in[i]];
        int32_t axis = v->is_param && v->dtype == QDBG_F32 ? weight_axis(n, i, v->rank) : -1;
        if (axis < 0 || axis >= (int32_t)v->rank)
            continue;
        qdbg_status status = add(p, QDBG_WEIGHT, n->in[i], node, axis);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

/* ---- activations ---- */

static bool is_linear(const qdbg__node *n)
{
    static const char *const types[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
    return ONE_OF(n, types);
}

static bool is_clamp(const qdbg__node *n)
{
    static const char *const types[] = {"Relu", "Clip", "PRelu", "LeakyRelu"};
    return ONE_OF(n, types);
}

static bool is_param(const placer *p, uint32_t value)
{
    return value != QDBG_NONE && p->graph->values[value].is_param;
}

/* MatMul with a constant bias behind it is a fully connected layer. */
static bool is_bias_add(const placer *p, const qdbg__node *n)
{
    return qdbg__node_is(n, "Add") && n->n_in == 2 &&
           (is_param(p, n->in[0]) || is_param(p, n->in[1]));
}

/* Do `first` and its only reader `next` make one operator of an engine? */
static bool fuses(const placer *p, const qdbg__node *first, const qdbg__node *next)
{
    if (is_linear(first) && qdbg__node_is(next, "BatchNormalization"))
        return true;
    if (qdbg__node_is(first, "MatMul") && is_bias_add(p, next))
        return true;
    return is_clamp(next) && (is_linear(first) || qdbg__node_is(first, "Add") ||
                              qdbg__node_is(first, "BatchNormalization"));
}

static bool is_fused(const placer *p, const qdbg__node *n, uint32_t value)
{
    const qdbg__value *v = &p->graph->values[value];
    if (v->is_output || v->n_consumers != 1)
        return false;
    const qdbg__node *next = &p->graph->nodes[v->consumers[0]];
    bool is_data = next->in[0] == value || is_bias_add(p, next);
    return is_data && fuses(p, n, next);
}

static bool keeps_encoding(const placer *p, const qdbg__node *n)
{
    return n->op && (n->op->flags & QDBG__OP_PASSES_ENCODING) && n->n_in > 0 &&
           n->in[0] != QDBG_NONE && p->is_live[n->in[0]];
}

static qdbg_status place_activations(placer *p, uint32_t node)
{
    const qdbg__node *n = &p->graph->nodes[node];
    for (uint32_t i = 0; i < n->n_out; i++) {
        uint32_t v = n->out[i];
        if (v == QDBG_NONE || !p->is_float[v] || !p->is_live[v])
            continue;
        if (keeps_encoding(p, n) || is_fused(p, n, v))
            continue;
        qdbg_status status = add(p, QDBG_ACTIVATION, v, node, 0);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

/* ---- all ---- */

static qdbg_status place_all(placer *p)
{
    const qdbg_graph *g = p->graph;
    qdbg_status status = QDBG_OK;
    classify(p);
    for (size_t i = 0; i < g->n_inputs && status == QDBG_OK; i++)
        if (p->is_float[g->inputs[i]])
            status = add(p, QDBG_ACTIVATION, g->inputs[i], QDBG_NONE, 0);
    for (uint32_t i = 0; i < g->n_nodes && status == QDBG_OK; i++) {
        status = place_weights(p, i);
        if (status == QDBG_OK)
            status = place_activations(p, i);
    }
    return status;
}

void qdbg__places_free(qdbg_ctx *ctx, qdbg__places *places)
{
    qdbg__free(ctx, places->at, places->capacity, sizeof *places->at);
    *places = (qdbg__places){0};
}

qdbg_status qdbg__place_quantizers(const qdbg_graph *g, qdbg__places *out)
{
    uint8_t *flags = qdbg__alloc(g->ctx, 3 * g->n_values, 1);
    if (!flags)
        return g->ctx->error_status;
    *out = (qdbg__places){0};
    placer p = {g, flags, flags + g->n_values, flags + 2 * g->n_values, out};
    qdbg_status status = place_all(&p);
    qdbg__free(g->ctx, flags, 3 * g->n_values, 1);
    if (status != QDBG_OK)
        qdbg__places_free(g->ctx, out);
    return status;
}
