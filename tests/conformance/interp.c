#define _POSIX_C_SOURCE 200809L
#include "interp.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN ((size_t)64)

typedef struct interp {
    const qdbg_graph *graph;
    qdbg__facts facts;
    qdbg_view *views; /* [n_values] */
    void **owned;     /* [n_values] memory of views that was allocated here */
    bool in_place;
} interp;

/* Not a byte more than is asked for, so that a checker of memory sees a step beyond it. */
static void *aligned(size_t bytes)
{
    void *p;
    if (posix_memalign(&p, ALIGN, bytes + (bytes == 0)) != 0)
        abort();
    return p;
}

static size_t view_bytes(const qdbg_view *v)
{
    return (size_t)qdbg_view_count(v) * qdbg_dtype_size(v->dtype);
}

/* Give the node its first input in the memory of its first output, unless it reads it twice. */
static void share_memory(const qdbg__node *node, qdbg_view *first, const qdbg_view **in,
                         const qdbg_view *out)
{
    if (!in[0] || !out || in[0]->dtype != out->dtype || view_bytes(in[0]) != view_bytes(out))
        return;
    for (uint32_t i = 1; i < node->n_in; i++) {
        if (node->in[i] == node->in[0])
            return;
    }
    *first = *in[0];
    first->data = out->data;
    if (view_bytes(out) > 0)
        memcpy(out->data, in[0]->data, view_bytes(out));
    in[0] = first;
}

static qdbg_status run_node(interp *t, size_t n)
{
    qdbg_view first;
    const qdbg__node *node = &t->graph->nodes[n];
    const qdbg__node_plan *plan = &t->facts.nodes[n];
    const qdbg_view **in = calloc(node->n_in + 1, sizeof *in);
    const qdbg_view **out = calloc(node->n_out + 1, sizeof *out);
    void *scratch = plan->scratch ? aligned(plan->scratch) : NULL;
    if (!in || !out)
        abort();
    for (uint32_t i = 0; i < node->n_in; i++)
        in[i] = node->in[i] == QDBG_NONE ? NULL : &t->views[node->in[i]];
    for (uint32_t i = 0; i < node->n_out; i++) {
        if (node->out[i] == QDBG_NONE)
            continue;
        qdbg_view *v = &t->views[node->out[i]];
        v->data = t->owned[node->out[i]] = aligned(view_bytes(v));
        memset(v->data, 0xa5, view_bytes(v)); /* nothing may be left unwritten */
        out[i] = v;
    }
    if (t->in_place && node->n_in > 0 && node->op->flags & QDBG__OP_IN_PLACE)
        share_memory(node, &first, in, out[0]);
    qdbg__run run = {node,         in,      (const qdbg_view *const *)out,
                     plan->params, scratch, qdbg__kernels_of(t->graph->ctx)};
    qdbg_status status = node->op->run(&run);
    if (status != QDBG_OK)
        qdbg__fail_at(t->graph->ctx, status, node->name, NULL, "%s '%s' failed to run",
                      node->op_type, node->name);
    free(scratch);
    free((void *)in);
    free((void *)out);
    return status;
}

static qdbg_status run_all(interp *t, const qdbg_view *inputs)
{
    const qdbg_graph *g = t->graph;
    for (size_t v = 0; v < g->n_values; v++)
        t->views[v] = t->facts.values[v].view;
    for (size_t i = 0; i < g->n_inputs; i++)
        t->views[g->inputs[i]].data = inputs[i].data;
    for (size_t n = 0; n < g->n_nodes; n++) {
        if (t->facts.nodes[n].folded)
            continue;
        qdbg_status status = run_node(t, n);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

static qdbg_status run_graph(const qdbg_graph *graph, const qdbg_view *inputs, bool in_place,
                             qdbg_view *out)
{
    interp t = {.graph = graph, .in_place = in_place};
    qdbg_status status = qdbg__facts_infer(graph, inputs, true, &t.facts);
    if (status != QDBG_OK)
        return status;
    t.views = calloc(graph->n_values + 1, sizeof *t.views);
    t.owned = calloc(graph->n_values + 1, sizeof *t.owned);
    if (!t.views || !t.owned)
        abort();
    status = run_all(&t, inputs);
    for (size_t i = 0; i < graph->n_outputs && status == QDBG_OK; i++) {
        const qdbg_view *v = &t.views[graph->outputs[i]];
        out[i] = *v;
        out[i].data = aligned(view_bytes(v));
        if (view_bytes(v) > 0)
            memcpy(out[i].data, v->data, view_bytes(v));
    }
    for (size_t v = 0; v < graph->n_values; v++)
        free(t.owned[v]);
    free(t.views);
    free(t.owned);
    qdbg__facts_free(&t.facts);
    return status;
}

qdbg_status interp_run(const qdbg_graph *graph, const qdbg_view *inputs, qdbg_view *out)
{
    return run_graph(graph, inputs, false, out);
}

qdbg_status interp_run_in_place(const qdbg_graph *graph, const qdbg_view *inputs, qdbg_view *out)
{
    return run_graph(graph, inputs, true, out);
}
