#include "front_end.h"

#include "graph/graph.h"

bool front_end_mark(const qdbg_graph *graph, bool *front)
{
    bool any = false;
    for (size_t n = graph->n_nodes; n-- > 0;) {
        const qdbg__node *node = &graph->nodes[n];
        bool in_front = qdbg__node_is(node, "Log");
        any |= in_front;
        for (uint32_t o = 0; o < node->n_out; o++)
            in_front |= front[node->out[o]];
        for (uint32_t i = 0; in_front && i < node->n_in; i++)
            if (node->in[i] != QDBG_NONE)
                front[node->in[i]] = true;
    }
    return any;
}
