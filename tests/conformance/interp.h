/* Runs a finished graph node by node with freshly allocated memory for every value: the operators
 * alone, without the executor's planning, layouts and threads. */
#ifndef TESTS_CONFORMANCE_INTERP_H
#define TESTS_CONFORMANCE_INTERP_H

#include "../../lib/graph/op.h"

/* Strict inference for inputs of these shapes and a run with their elements. `out`:
 * [graph->n_outputs] views whose data the caller frees with free(). On failure nothing is to be
 * freed and the context tells why. */
qdbg_status interp_run(const qdbg_graph *graph, const qdbg_view *inputs, qdbg_view *out);

/* The same, but an operator that may write over its first input does, as the executor lets it (same
 * type, same size, not read twice): the results must be the same. */
qdbg_status interp_run_in_place(const qdbg_graph *graph, const qdbg_view *inputs, qdbg_view *out);

#endif
