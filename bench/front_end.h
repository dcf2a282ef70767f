/* What lies in front of a network's logarithm: the spectrum of a speech front end, which engines
 * compute outside the network or in float32. */
#ifndef BENCH_FRONT_END_H
#define BENCH_FRONT_END_H

#include <stdbool.h>
#include <qdebug/graph.h>

/* Set `front[v]` for every value that a Log depends on; false where there is no Log.
 * `front`: [values of the graph], zero before. */
bool front_end_mark(const qdbg_graph *graph, bool *front);

#endif
