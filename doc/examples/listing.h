/* The table of --list-quantizers. */
#ifndef LISTING_H
#define LISTING_H

#include <stdbool.h>

#include <qdebug/qdebug.h>

/* Write to stdout, in the graph's order, every value and parameter of the simulation's model: its
 * quantizer, or why it has none. False after a line on stderr. */
bool listing_print(qdbg_ctx *ctx, qdbg_sim *sim, const qdbg_graph *graph);

#endif
