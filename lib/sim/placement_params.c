/* Weights and biases. */
#include <math.h>
#include <string.h>

#include "../graph/layer.h"
#include "placement_work.h"

const char *qdbg__role_name(uint32_t role)
{
    static const char *const names[] = {"parameter", "weight", "bias"};
    return names[role];
}

/* ---- rules ---- */

typedef struct verdict {
    bool quantized, symmetric;
    bool by_type; /* the operator type's own section asks for it */
    bool by_name; /* its name in the graph decided, not its role */
    uint8_t section;
} verdict;

static void hear(verdict *v, const qdbg__param_entry *entry, uint8_t section, bool by_name)
{
    if (!entry)
        return;
    if (entry->quantized != QDBG_RULE_UNSET) {
        v->quantized = entry->quantized == QDBG_RULE_YES;
        v->by_type = v->quantized && section == QDBG__SECTION_OP_TYPE;
        v->by_name = by_name;
        v->section = section;
    }
    if (entry->symmetric != QDBG_RULE_UNSET)
        v->symmetric = entry->symmetric == QDBG_RULE_YES;
}

/* What the rules say of a parameter that is `role` to the node. */
static verdict judge(const qdbg__placer *p, const qdbg__node *n, uint32_t role, uint32_t value)
{
    const qdbg_rules *r = p->rules;
    const char *name = p->graph->values[value].name, *as = qdbg__role_name(role);
    const qdbg__op_entry *op = qdbg__rules_find_op(r, n->op_type);
    verdict v = {.quantized = r->defaults.param_quantized == QDBG_RULE_YES,
                 .symmetric = r->defaults.param_symmetric == QDBG_RULE_YES,
                 .section = QDBG__SECTION_DEFAULTS};
    hear(&v, qdbg__rules_find_param(&r->params, as), QDBG__SECTION_PARAMS, false);
    hear(&v, qdbg__rules_find_param(&r->params, name), QDBG__SECTION_PARAMS, true);
    if (op) {
        hear(&v, qdbg__rules_find_param(&op->params, as), QDBG__SECTION_OP_TYPE, false);
        hear(&v, qdbg__rules_find_param(&op->params, name), QDBG__SECTION_OP_TYPE, true);
    }
    return v;
}

static void absent(qdbg__placer *p, uint32_t value, uint8_t reason, uint8_t role, const verdict *v,
                   uint32_t node)
{
    if (p->fates[value].place == QDBG_NONE && p->fates[value].is_float)
        p->out->absent[value] = (qdbg__absence){reason, v->section, role, v->by_name, node};
}

/* ---- weights ---- */

/* Output-channel axis of the weight that is input `i` of a linear operator; -1: it is no weight. */
static int32_t linear_axis(const qdbg__node *node, uint32_t i, uint32_t rank)
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

/* The same for operators whose weights are only quantized when they are asked for by name. */
static int32_t other_axis(const qdbg__node *node, uint32_t i, uint32_t rank)
{
    static const char *const norms[] = {"BatchNormalization", "LayerNormalization",
                                        "InstanceNormalization", "GroupNormalization", "PRelu"};
    if (i == 1 && QDBG__ONE_OF(node, norms))
        return 0;
    int64_t axis = qdbg__attr_int(node, "axis", 0);
    if (i != 0 || !qdbg__node_is(node, "Gather") || axis < -(int64_t)rank || axis >= (int64_t)rank)
        return -1;
    return (int32_t)(axis < 0 ? axis + (int64_t)rank : axis);
}

static bool per_channel(const qdbg__placer *p, const qdbg__node *n)
{
    const qdbg__op_entry *op = qdbg__rules_find_op(p->rules, n->op_type);
    if (op && op->said.per_channel != QDBG_RULE_UNSET)
        return op->said.per_channel == QDBG_RULE_YES;
    return p->rules->defaults.per_channel == QDBG_RULE_YES;
}

static qdbg_status place_weight(qdbg__placer *p, uint32_t node, uint32_t value, int32_t axis,
                                bool only_by_type)
{
    const qdbg__node *n = &p->graph->nodes[node];
    const qdbg_rule_defaults *d = &p->rules->defaults;
    verdict v = judge(p, n, QDBG__ROLE_WEIGHT, value);
    if (!v.quantized || (only_by_type && !v.by_type)) {
        absent(p, value, v.quantized ? QDBG_ABSENT_PARAMETER : QDBG_ABSENT_RULE, QDBG__ROLE_WEIGHT,
               &v, node);
        return QDBG_OK;
    }
    qdbg__place place = {.value = value,
                         .node = node,
                         .kind = QDBG_WEIGHT,
                         .axis = axis,
                         .per_channel = per_channel(p, n),
                         .one_channel =
                             qdbg__node_is(n, "MatMul") && p->graph->values[value].rank < 2};
    place.is_signed =
        v.symmetric || d->weight_signed == QDBG_RULE_YES ? QDBG_SIGNED : QDBG_UNSIGNED;
    if (v.symmetric)
        place.symmetry =
            d->strict_symmetric == QDBG_RULE_YES ? QDBG_STRICT_SYMMETRIC : QDBG_SYMMETRIC;
    return qdbg__place_add(p, &place);
}

static qdbg_status place_weights(qdbg__placer *p, uint32_t node)
{
    const qdbg__node *n = &p->graph->nodes[node];
    for (uint32_t i = 0; i < n->n_in && i < 2; i++) {
        if (n->in[i] == QDBG_NONE)
            continue;
        const qdbg__value *v = &p->graph->values[n->in[i]];
        int32_t axis = linear_axis(n, i, v->rank);
        bool by_type = axis < 0;
        if (by_type)
            axis = other_axis(n, i, v->rank);
        if (!v->is_param || v->dtype != QDBG_F32 || axis < 0 || axis >= (int32_t)v->rank)
            continue;
        qdbg_status status = place_weight(p, node, n->in[i], axis, by_type);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

/* ---- biases ---- */

/* Where integers of the accumulator are added to: Gemm multiplies by alpha and beta. */
static double factor_of(const qdbg_graph *g, const qdbg__layer *l, uint32_t bias)
{
    const qdbg__node *n = &g->nodes[l->node];
    if (!qdbg__node_is(n, "Gemm"))
        return 1;
    double alpha = fabs((double)qdbg__attr_float(n, "alpha", 1));
    double beta = fabs((double)qdbg__attr_float(n, "beta", 1));
    return bias == l->bias ? alpha / beta : alpha;
}

/* A bias that has `fits` one element for each output channel. */
static qdbg_status place_bias(qdbg__placer *p, const qdbg__layer *l, uint32_t value, bool fits)
{
    const qdbg__value *b = &p->graph->values[value];
    uint32_t root = p->fates[l->input].root, weight = p->fates[l->weight].place;
    double factor = factor_of(p->graph, l, value);
    verdict v = judge(p, &p->graph->nodes[l->node], QDBG__ROLE_BIAS, value);
    if (!v.quantized) {
        absent(p, value, QDBG_ABSENT_RULE, QDBG__ROLE_BIAS, &v, l->node);
        return QDBG_OK;
    }
    if (root == QDBG_NONE || weight == QDBG_NONE) {
        absent(p, value, QDBG_ABSENT_SOURCE, QDBG__ROLE_BIAS, &v, l->node);
        return QDBG_OK;
    }
    if (!fits || b->rank == 0 || !(factor > 0) || isinf(factor)) {
        absent(p, value, QDBG_ABSENT_SHAPE, QDBG__ROLE_BIAS, &v, l->node);
        return QDBG_OK;
    }
    qdbg__place place = {.value = value,
                         .node = l->node,
                         .kind = QDBG_BIAS,
                         .axis = (int32_t)b->rank - 1,
                         .symmetry = QDBG_SYMMETRIC,
                         .is_signed = QDBG_SIGNED,
                         .from_input = p->fates[root].place,
                         .from_weight = weight,
                         .factor = factor};
    return qdbg__place_add(p, &place);
}

static bool is_float_param(const qdbg_graph *g, uint32_t value)
{
    return value != QDBG_NONE && g->values[value].is_param && g->values[value].dtype == QDBG_F32;
}

/* An operator without a constant weight, or of constants only, has no grid for its bias. */
static void leave_bias(qdbg__placer *p, uint32_t node)
{
    static const char *const types[] = {"Conv", "ConvTranspose", "Gemm"};
    const qdbg__node *n = &p->graph->nodes[node];
    if (!QDBG__ONE_OF(n, types) || n->n_in < 3 || !is_float_param(p->graph, n->in[2]))
        return;
    verdict v = judge(p, n, QDBG__ROLE_BIAS, n->in[2]);
    absent(p, n->in[2], v.quantized ? QDBG_ABSENT_SOURCE : QDBG_ABSENT_RULE, QDBG__ROLE_BIAS, &v,
           node);
}

static qdbg_status place_biases(qdbg__placer *p, uint32_t node)
{
    const qdbg_graph *g = p->graph;
    qdbg__layer l;
    double unit;
    bool by_norm;
    if (!qdbg__layer_read(g, node, &l) || !p->fates[l.input].is_live) {
        leave_bias(p, node);
        return QDBG_OK;
    }
    qdbg_status status = QDBG_OK;
    if (is_float_param(g, l.bias))
        status = place_bias(p, &l, l.bias, l.own_bias);
    if (status == QDBG_OK && l.norm != QDBG_NONE)
        status = place_bias(p, &l, g->nodes[l.norm].in[QDBG__BN_BETA], true);
    if (status != QDBG_OK || l.norm != QDBG_NONE || !qdbg__node_is(&g->nodes[node], "MatMul"))
        return status;
    uint32_t added = qdbg__layer_bias_site(g, &l, &unit, &by_norm);
    return added == QDBG_NONE ? QDBG_OK : place_bias(p, &l, added, true);
}

qdbg_status qdbg__place_params(qdbg__placer *p, uint32_t node)
{
    qdbg_status status = place_weights(p, node);
    return status == QDBG_OK ? place_biases(p, node) : status;
}
