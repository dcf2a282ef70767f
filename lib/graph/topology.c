#include "topology.h"

#include <string.h>

static bool has_source(const qdbg__value *v)
{
    return v->is_param || v->is_input || v->producer != QDBG_NONE;
}

static qdbg_status check_sources(const qdbg_graph *g)
{
    if (g->n_outputs == 0)
        return qdbg__fail(g->ctx, QDBG_E_INVALID, "the graph has no output");
    for (size_t i = 0; i < g->n_outputs; i++) {
        const qdbg__value *v = &g->values[g->outputs[i]];
        if (!has_source(v))
            return qdbg__fail_at(g->ctx, QDBG_E_INVALID, NULL, v->name,
                                 "nothing computes the graph's output '%s'", v->name);
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const qdbg__node *n = &g->nodes[i];
        for (uint32_t k = 0; k < n->n_in; k++) {
            if (n->in[k] == QDBG_NONE || has_source(&g->values[n->in[k]]))
                continue;
            const char *name = g->values[n->in[k]].name;
            return qdbg__fail_at(g->ctx, QDBG_E_INVALID, n->name, name,
                                 "node '%s' reads '%s', which nothing computes", n->name, name);
        }
    }
    return QDBG_OK;
}

/* ---- copies of parameters ---- */

/* What a value is a copy of by an Identity, or QDBG_NONE. */
static uint32_t copied_by(const qdbg_graph *g, uint32_t value)
{
    uint32_t producer = g->values[value].producer;
    if (producer == QDBG_NONE)
        return QDBG_NONE;
    const qdbg__node *n = &g->nodes[producer];
    return qdbg__node_is(n, "Identity") && n->n_in == 1 && n->n_out == 1 ? n->in[0] : QDBG_NONE;
}

/* originals[v]: the parameter that v is a copy of, through any number of Identity nodes; or v. Each
 * value is gone through twice at most, in whatever order nodes were added; there may be cycles. */
static void find_originals(const qdbg_graph *g, uint32_t *originals)
{
    for (uint32_t v = 0; v < g->n_values; v++)
        originals[v] = QDBG_NONE;
    for (uint32_t v = 0; v < g->n_values; v++) {
        uint32_t end = v, next;
        while (originals[end] == QDBG_NONE && (next = copied_by(g, end)) != QDBG_NONE) {
            originals[end] = end;
            end = next;
        }
        if (originals[end] == QDBG_NONE)
            originals[end] = end;
        uint32_t found = originals[end];
        if (!g->values[found].is_param)
            continue;
        for (uint32_t at = v; at != end; at = copied_by(g, at))
            originals[at] = found;
    }
}

static bool is_idle_copy(const qdbg_graph *g, const qdbg__node *n, const uint32_t *originals)
{
    return qdbg__node_is(n, "Identity") && n->n_out == 1 && n->out[0] != QDBG_NONE &&
           !g->values[n->out[0]].is_output && originals[n->out[0]] != n->out[0];
}

static void drop_idle_copies(qdbg_graph *g, const uint32_t *originals)
{
    size_t kept = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        qdbg__node n = g->nodes[i];
        if (is_idle_copy(g, &n, originals)) {
            g->values[n.out[0]].producer = QDBG_NONE;
            qdbg__node_free(g->ctx, &n);
            continue;
        }
        for (uint32_t k = 0; k < n.n_out; k++)
            if (n.out[k] != QDBG_NONE)
                g->values[n.out[k]].producer = (uint32_t)kept;
        g->nodes[kept++] = n;
    }
    g->n_nodes = kept;
}

qdbg_status qdbg__topology_resolve_copies(qdbg_graph *g)
{
    uint32_t *originals = qdbg__alloc(g->ctx, g->n_values, sizeof *originals);
    if (!originals)
        return g->ctx->error_status;
    find_originals(g, originals);
    for (size_t i = 0; i < g->n_nodes; i++)
        for (uint32_t k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] != QDBG_NONE)
                g->nodes[i].in[k] = originals[g->nodes[i].in[k]];
    drop_idle_copies(g, originals);
    qdbg__free(g->ctx, originals, g->n_values, sizeof *originals);
    return QDBG_OK;
}

/* ---- order ---- */

/* consumers of each value, as node numbers of the current order. */
static qdbg_status fill_consumers(qdbg_graph *g)
{
    size_t total = 0;
    for (size_t i = 0; i < g->n_values; i++)
        g->values[i].n_consumers = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (uint32_t k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] != QDBG_NONE) {
                g->values[g->nodes[i].in[k]].n_consumers++;
                total++;
            }
    if (!g->consumer_store) {
        g->consumer_store = qdbg__alloc(g->ctx, total, sizeof *g->consumer_store);
        if (!g->consumer_store)
            return g->ctx->error_status;
        g->consumer_store_size = total;
    }
    uint32_t *next = g->consumer_store;
    for (size_t i = 0; i < g->n_values; i++) {
        g->values[i].consumers = next;
        next += g->values[i].n_consumers;
        g->values[i].n_consumers = 0;
    }
    for (size_t i = 0; i < g->n_nodes; i++)
        for (uint32_t k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] != QDBG_NONE) {
                qdbg__value *v = &g->values[g->nodes[i].in[k]];
                v->consumers[v->n_consumers++] = (uint32_t)i;
            }
    return QDBG_OK;
}

/* A binary heap of node numbers, smallest first: the ready node added earliest comes next. */
static void heap_push(uint32_t *heap, size_t n, uint32_t node)
{
    size_t i = n;
    for (; i > 0 && heap[(i - 1) / 2] > node; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = node;
}

static uint32_t heap_pop(uint32_t *heap, size_t n)
{
    uint32_t top = heap[0], last = heap[n - 1];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n - 1)
            break;
        if (child + 1 < n - 1 && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= last)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* Kahn's algorithm. waiting[i]: inputs of node i not computed yet. */
static size_t order_nodes(const qdbg_graph *g, uint32_t *waiting, uint32_t *heap, uint32_t *order)
{
    size_t n_heap = 0, n_order = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        for (uint32_t k = 0; k < g->nodes[i].n_in; k++) {
            uint32_t v = g->nodes[i].in[k];
            if (v != QDBG_NONE && g->values[v].producer != QDBG_NONE)
                waiting[i]++;
        }
        if (waiting[i] == 0)
            heap_push(heap, n_heap++, (uint32_t)i);
    }
    while (n_heap > 0) {
        uint32_t node = heap_pop(heap, n_heap--);
        order[n_order++] = node;
        for (uint32_t k = 0; k < g->nodes[node].n_out; k++) {
            if (g->nodes[node].out[k] == QDBG_NONE)
                continue;
            const qdbg__value *v = &g->values[g->nodes[node].out[k]];
            for (uint32_t c = 0; c < v->n_consumers; c++)
                if (--waiting[v->consumers[c]] == 0)
                    heap_push(heap, n_heap++, v->consumers[c]);
        }
    }
    return n_order;
}

static void apply_order(qdbg_graph *g, qdbg__node *sorted, const uint32_t *order)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        sorted[i] = g->nodes[order[i]];
        for (uint32_t k = 0; k < sorted[i].n_out; k++)
            if (sorted[i].out[k] != QDBG_NONE)
                g->values[sorted[i].out[k]].producer = (uint32_t)i;
    }
    if (g->n_nodes > 0)
        memcpy(g->nodes, sorted, g->n_nodes * sizeof *sorted);
}

qdbg_status qdbg__topology_sort(qdbg_graph *g)
{
    qdbg_status status = check_sources(g);
    if (status == QDBG_OK)
        status = fill_consumers(g);
    if (status != QDBG_OK)
        return status;
    size_t n = g->n_nodes;
    uint32_t *work = qdbg__alloc(g->ctx, 3 * n, sizeof *work);
    qdbg__node *sorted = work ? qdbg__alloc(g->ctx, n, sizeof *sorted) : NULL;
    if (!sorted) {
        status = g->ctx->error_status;
        goto out;
    }
    uint32_t *waiting = work, *order = work + 2 * n;
    if (order_nodes(g, waiting, work + n, order) < n) {
        size_t i = 0;
        while (waiting[i] == 0)
            i++;
        status = qdbg__fail_at(g->ctx, QDBG_E_INVALID, g->nodes[i].name, NULL,
                               "node '%s' is on or behind a cycle", g->nodes[i].name);
        goto out;
    }
    apply_order(g, sorted, order);
    status = fill_consumers(g);
out:
    qdbg__free(g->ctx, sorted, n, sizeof *sorted);
    qdbg__free(g->ctx, work, 3 * n, sizeof *work);
    return status;
}
