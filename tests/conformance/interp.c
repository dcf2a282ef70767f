#include "interp.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN ((size_t)64)

typedef struct interp {
    const qdbg_graph *graph;
    qdbg__facts facts;
    qdbg_view *views; /* [n_values] */
    void **owned;     /* [n_values] memory of views that was allocated here */
} interp;

static void *aligned(size_t bytes)
{
    void *p = aligned_alloc(ALIGN, (bytes + ALIGN) / ALIGN * ALIGN);
    if (!p)
        abort();
    return p;
}

static size_t view_bytes(const qdbg_view *v)
{
    return (size_t)qdbg_view_count(v) * qdbg_dtype_size(v->dtype);
}

static qdbg_status run_node(interp *t, size_t n)
{
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

qdbg_status interp_run(const qdbg_graph *graph, const qdbg_view *inputs, qdbg_view *out)
{
    interp t = {.graph = graph};
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
