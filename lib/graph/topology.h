/* Order of a graph's nodes and who reads what. */
#ifndef QDBG_GRAPH_TOPOLOGY_H
#define QDBG_GRAPH_TOPOLOGY_H

#include "graph.h"

/* Who reads an Identity of a parameter (or of such a one) is made to read the parameter itself, so
 * that it is known as one; an Identity that is left without a reader is dropped. Part of
 * qdbg_graph_finish, before sorting. */
qdbg_status qdbg__topology_resolve_copies(qdbg_graph *graph);

/* Check that every value read has a source, bring the nodes into topological order (stable: nodes
 * keep the order of adding where they may) and fill in consumers. Part of qdbg_graph_finish. */
qdbg_status qdbg__topology_sort(qdbg_graph *graph);

#endif
