#include "placement_work.h"

/* ---- what values are ---- */

bool qdbg__one_of(const qdbg__node *node, const char *const *types, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (qdbg__node_is(node, types[i]))
            return true;
    return false;
}

/* Results that are integers or truth values whatever goes in. */
static bool never_float(const qdbg__node *node)
{
    static const char *const types[] = {
        "Shape", "Size",        "ArgMax", "ArgMin", "NonZero", "Equal", "Greater", "GreaterOrEqual",
        "Less",  "LessOrEqual", "And",    "Or",     "Xor",     "Not",   "IsNaN",   "IsInf",
    };
    return QDBG__ONE_OF(node, types);
}

/* Type of a node's outputs where inference did not tell: that of its data input. */
static bool guess_float(const qdbg__placer *p, const qdbg__node *node)
{
    if (never_float(node))
        return false;
    if (qdbg__node_is(node, "Cast"))
        return qdbg__attr_int(node, "to", QDBG_F32) == QDBG_F32;
    uint32_t data = qdbg__node_is(node, "Where") ? 1 : 0;
    if (data >= node->n_in || node->in[data] == QDBG_NONE || !node->op)
        return true;
    return p->fates[node->in[data]].is_float;
}

static void classify(qdbg__placer *p)
{
    const qdbg_graph *g = p->graph;
    for (size_t v = 0; v < g->n_values; v++) {
        int32_t dtype = g->values[v].dtype;
        p->fates[v] = (qdbg__fate){.is_float = dtype == QDBG_F32 ||
                                               (dtype == QDBG_DTYPE_NONE && g->values[v].is_input),
                                   .is_live = g->values[v].is_input,
                                   .fused = QDBG_NONE,
                                   .root = QDBG_NONE,
                                   .group = (uint32_t)v,
                                   .leader = QDBG_NONE,
                                   .place = QDBG_NONE};
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const qdbg__node *n = &g->nodes[i];
        bool live = false;
        for (uint32_t k = 0; k < n->n_in; k++)
            live = live || (n->in[k] != QDBG_NONE && p->fates[n->in[k]].is_live);
        for (uint32_t k = 0; k < n->n_out; k++) {
            uint32_t v = n->out[k];
            if (v == QDBG_NONE)
                continue;
            p->fates[v].is_live = live;
            if (g->values[v].dtype == QDBG_DTYPE_NONE)
                p->fates[v].is_float = k == 0 && guess_float(p, n);
        }
    }
}

/* ---- the sections of activations, in their order ---- */

static void decide(qdbg__placer *p, uint32_t value, bool wanted, bool forced, uint8_t section)
{
    qdbg__fate *f = &p->fates[value];
    f->wanted = wanted;
    f->forced = wanted && forced;
    f->section = section;
}

static void decide_outputs(qdbg__placer *p, const qdbg__node *n)
{
    const qdbg__op_entry *op = qdbg__rules_find_op(p->rules, n->op_type);
    bool wanted = p->rules->defaults.output_quantized == QDBG_RULE_YES;
    bool said = op && op->said.output_quantized != QDBG_RULE_UNSET;
    if (said)
        wanted = op->said.output_quantized == QDBG_RULE_YES;
    for (uint32_t k = 0; k < n->n_out; k++)
        if (n->out[k] != QDBG_NONE)
            decide(p, n->out[k], wanted, said,
                   said ? QDBG__SECTION_OP_TYPE : QDBG__SECTION_DEFAULTS);
}

static void decide_inputs(qdbg__placer *p, const qdbg__node *n)
{
    const qdbg__op_entry *op = qdbg__rules_find_op(p->rules, n->op_type);
    if (!op || op->said.input_quantized != QDBG_RULE_YES)
        return;
    for (uint32_t k = 0; k < n->n_in; k++) {
        if (n->in[k] == QDBG_NONE || !p->fates[n->in[k]].is_live)
            continue;
        if (!p->fates[n->in[k]].wanted)
            p->fates[n->in[k]].asked = op;
        decide(p, n->in[k], true, true, QDBG__SECTION_OP_TYPE);
    }
}

static void decide_ends(qdbg__placer *p, const uint32_t *values, size_t n, int32_t answer,
                        uint8_t section)
{
    for (size_t i = 0; i < n && answer != QDBG_RULE_UNSET; i++)
        decide(p, values[i], answer == QDBG_RULE_YES, true, section);
}

static void decide_all(qdbg__placer *p)
{
    const qdbg_graph *g = p->graph;
    const qdbg_rule_defaults *d = &p->rules->defaults;
    for (size_t i = 0; i < g->n_inputs; i++)
        decide(p, g->inputs[i], false, false, QDBG__SECTION_MODEL_INPUT);
    for (size_t i = 0; i < g->n_nodes; i++)
        decide_outputs(p, &g->nodes[i]);
    for (size_t i = 0; i < g->n_nodes; i++)
        decide_inputs(p, &g->nodes[i]);
    qdbg__place_fuse(p);
    decide_ends(p, g->inputs, g->n_inputs, d->model_input, QDBG__SECTION_MODEL_INPUT);
    decide_ends(p, g->outputs, g->n_outputs, d->model_output, QDBG__SECTION_MODEL_OUTPUT);
}

/* ---- placing ---- */

qdbg_status qdbg__place_add(qdbg__placer *p, const qdbg__place *place)
{
    qdbg__places *out = p->out;
    if (p->fates[place->value].place != QDBG_NONE)
        return QDBG_OK;
    qdbg_status status =
        qdbg__reserve(p->graph->ctx, &out->at, &out->capacity, out->n + 1, sizeof *out->at);
    if (status != QDBG_OK)
        return status;
    p->fates[place->value].place = (uint32_t)out->n;
    out->absent[place->value] =
        (qdbg__absence){.reason = QDBG_ABSENT_NOT, .other = (uint32_t)out->n};
    out->at[out->n] = *place;
    out->at[out->n].group = (uint32_t)out->n;
    out->at[out->n].next = QDBG_NONE;
    out->n++;
    return QDBG_OK;
}

/* Operators whose results are never below zero. */
static bool never_negative(const qdbg_graph *g, uint32_t node)
{
    static const char *const types[] = {"Relu", "Sigmoid", "HardSigmoid", "Softmax",
                                        "Abs",  "Exp",     "Sqrt",        "Softplus"};
    if (node == QDBG_NONE)
        return false;
    const qdbg__node *n = &g->nodes[node];
    if (!qdbg__node_is(n, "Clip"))
        return QDBG__ONE_OF(n, types);
    if (n->n_in > 1 && n->in[1] != QDBG_NONE) {
        const qdbg__value *low = &g->values[n->in[1]];
        return low->dtype == QDBG_F32 && low->data && low->bytes == sizeof(float) &&
               *(const float *)low->data >= 0;
    }
    return qdbg__attr_float(n, "min", -1) >= 0;
}

static void set_grid(const qdbg__placer *p, qdbg__place *place, const qdbg__op_entry *op)
{
    const qdbg_rule_defaults *d = &p->rules->defaults;
    int32_t symmetric = d->output_symmetric;
    if (op && op->said.symmetric != QDBG_RULE_UNSET)
        symmetric = op->said.symmetric;
    if (symmetric != QDBG_RULE_YES) {
        place->symmetry = QDBG_ASYMMETRIC;
        place->is_signed = d->activation_signed == QDBG_RULE_YES ? QDBG_SIGNED : QDBG_UNSIGNED;
        return;
    }
    bool positive = d->unsigned_symmetric == QDBG_RULE_YES && never_negative(p->graph, place->node);
    place->symmetry = d->strict_symmetric == QDBG_RULE_YES ? QDBG_STRICT_SYMMETRIC : QDBG_SYMMETRIC;
    place->is_signed = positive ? QDBG_UNSIGNED : QDBG_SIGNED;
}

qdbg_status qdbg__place_activation(qdbg__placer *p, uint32_t value)
{
    const qdbg__fate *f = &p->fates[value];
    uint32_t node = p->graph->values[value].producer;
    const qdbg__op_entry *op =
        node == QDBG_NONE ? NULL : qdbg__rules_find_op(p->rules, p->graph->nodes[node].op_type);
    qdbg__place place = {.value = value, .node = node, .kind = QDBG_ACTIVATION};
    set_grid(p, &place, f->asked ? f->asked : op);
    if (op && op->said.has_range) {
        place.fixed = op->said.has_range;
        place.fixed_min = (float)op->said.min;
        place.fixed_max = (float)op->said.max;
    }
    p->fates[value].root = value;
    return qdbg__place_add(p, &place);
}

/* ---- absences ---- */

static void begin_absences(qdbg__placer *p)
{
    const qdbg_graph *g = p->graph;
    for (size_t v = 0; v < g->n_values; v++) {
        qdbg__absence *a = &p->out->absent[v];
        a->other = QDBG_NONE;
        if (!p->fates[v].is_float)
            a->reason = QDBG_ABSENT_TYPE;
        else if (g->values[v].is_param)
            a->reason = QDBG_ABSENT_PARAMETER;
        else if (!p->fates[v].is_live)
            a->reason = QDBG_ABSENT_CONSTANT;
        else
            a->reason = QDBG_ABSENT_RULE;
        a->section = p->fates[v].section;
    }
}

/* ---- all ---- */

static qdbg_status place_all(qdbg__placer *p)
{
    const qdbg_graph *g = p->graph;
    qdbg_status status = QDBG_OK;
    classify(p);
    decide_all(p);
    begin_absences(p);
    for (size_t i = 0; i < g->n_inputs && status == QDBG_OK; i++)
        if (p->fates[g->inputs[i]].is_float && p->fates[g->inputs[i]].wanted)
            status = qdbg__place_activation(p, g->inputs[i]);
    for (uint32_t i = 0; i < g->n_nodes && status == QDBG_OK; i++) {
        status = qdbg__place_params(p, i);
        if (status == QDBG_OK)
            status = qdbg__place_outputs(p, i);
    }
    if (status == QDBG_OK)
        qdbg__place_groups(p);
    return status;
}

void qdbg__places_free(qdbg_ctx *ctx, qdbg__places *places)
{
    qdbg__free(ctx, places->at, places->capacity, sizeof *places->at);
    qdbg__free(ctx, places->absent, places->n_values, sizeof *places->absent);
    *places = (qdbg__places){0};
}

static qdbg_status place_by(const qdbg_graph *g, const qdbg_rules *rules, qdbg__places *out)
{
    qdbg__places made = {.n_values = g->n_values};
    qdbg__placer p = {.graph = g, .rules = rules, .out = &made};
    made.absent = qdbg__alloc(g->ctx, g->n_values, sizeof *made.absent);
    p.fates = made.absent ? qdbg__alloc(g->ctx, g->n_values, sizeof *p.fates) : NULL;
    qdbg_status status = p.fates ? place_all(&p) : g->ctx->error_status;
    qdbg__free(g->ctx, p.fates, g->n_values, sizeof *p.fates);
    if (status == QDBG_OK)
        *out = made;
    else
        qdbg__places_free(g->ctx, &made);
    return status;
}

qdbg_status qdbg__place_quantizers(const qdbg_graph *g, const qdbg_rules *rules, qdbg__places *out)
{
    if (rules)
        return place_by(g, rules, out);
    qdbg_rules *by_default = NULL;
    qdbg_status status = qdbg__rules_new(g->ctx, &by_default);
    if (status != QDBG_OK)
        return status;
    status = qdbg__rules_fill(by_default, "default");
    if (status == QDBG_OK)
        status = place_by(g, by_default, out);
    qdbg_rules_destroy(by_default);
    return status;
}
