/* Operators that engines run as one. */
#include <string.h>

#include "placement_work.h"

static bool is_linear(const qdbg__node *n)
{
    static const char *const types[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
    return QDBG__ONE_OF(n, types);
}

/* Operators that a value may enter at either side. */
static bool is_symmetric(const qdbg__node *n)
{
    static const char *const types[] = {"Add", "Mul", "Sub", "Div", "Max", "Min", "Sum"};
    return QDBG__ONE_OF(n, types);
}

static bool is_param(const qdbg_graph *g, uint32_t value)
{
    return value != QDBG_NONE && g->values[value].is_param;
}

/* MatMul with a constant bias behind it is a fully connected layer. */
static bool is_bias_add(const qdbg_graph *g, const qdbg__node *n)
{
    return qdbg__node_is(n, "Add") && n->n_in == 2 &&
           (is_param(g, n->in[0]) || is_param(g, n->in[1]));
}

/* The node that alone reads a node's output, as its data; QDBG_NONE where there is none. */
static uint32_t reader(const qdbg_graph *g, uint32_t node)
{
    const qdbg__node *n = &g->nodes[node];
    if (n->n_out == 0 || n->out[0] == QDBG_NONE)
        return QDBG_NONE;
    const qdbg__value *v = &g->values[n->out[0]];
    if (v->is_output || v->n_consumers != 1)
        return QDBG_NONE;
    const qdbg__node *next = &g->nodes[v->consumers[0]];
    return next->in[0] == n->out[0] || is_symmetric(next) ? v->consumers[0] : QDBG_NONE;
}

/* The node behind `node` that is a part of it: batch-normalization behind a linear operator, the
 * bias behind MatMul. */
static uint32_t part_behind(const qdbg_graph *g, uint32_t node)
{
    uint32_t next = reader(g, node);
    if (next == QDBG_NONE)
        return QDBG_NONE;
    if (is_linear(&g->nodes[node]) && qdbg__node_is(&g->nodes[next], "BatchNormalization"))
        return next;
    if (qdbg__node_is(&g->nodes[node], "MatMul") && is_bias_add(g, &g->nodes[next]))
        return next;
    return QDBG_NONE;
}

static void fuse(qdbg__placer *p, uint32_t node, uint32_t into)
{
    qdbg__fate *f = &p->fates[p->graph->nodes[node].out[0]];
    f->fused = into;
    f->wanted = f->forced = false;
}

/* The next node of a chain that is to be of `type`: the reader, or what reads the reader where that
 * is a part of the node. `*between` receives the part. */
static uint32_t step(const qdbg_graph *g, uint32_t node, const char *type, uint32_t *between)
{
    uint32_t next = reader(g, node);
    *between = QDBG_NONE;
    if (next == QDBG_NONE || strcmp(g->nodes[next].op_type, type) == 0)
        return next;
    uint32_t part = part_behind(g, node);
    next = part == QDBG_NONE ? QDBG_NONE : reader(g, part);
    if (next == QDBG_NONE || strcmp(g->nodes[next].op_type, type) != 0)
        return QDBG_NONE;
    *between = part;
    return next;
}

/* Does the chain begin at `node`? With `mark` its inner values are fused. */
static bool follow(qdbg__placer *p, const qdbg__supergroup *group, uint32_t node, bool mark)
{
    if (strcmp(p->graph->nodes[node].op_type, group->ops[0]) != 0)
        return false;
    for (size_t i = 1; i < group->n; i++) {
        uint32_t between, next = step(p->graph, node, group->ops[i], &between);
        if (next == QDBG_NONE)
            return false;
        if (mark && between != QDBG_NONE)
            fuse(p, between, next);
        if (mark)
            fuse(p, node, between == QDBG_NONE ? next : between);
        node = next;
    }
    return true;
}

void qdbg__place_fuse(qdbg__placer *p)
{
    for (uint32_t node = 0; node < p->graph->n_nodes; node++) {
        uint32_t part = part_behind(p->graph, node);
        if (part != QDBG_NONE)
            fuse(p, node, part);
        for (size_t i = 0; i < p->rules->n_groups; i++)
            if (follow(p, &p->rules->groups[i], node, false))
                follow(p, &p->rules->groups[i], node, true);
    }
}
