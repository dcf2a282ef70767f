/* The table of --list-quantizers. */
#ifndef LISTING_H
#define LISTING_H

#include <stdbool.h>

#include <qdebug/qdebug.h>

/* Write to stdout, in the graph's order, every value and parameter of the simulation's model: its
 * quantizer, or why it has none; then how many there are. Constants that no rule speaks of are
 * counted only. False after a line on stderr. */
bool listing_print(qdbg_ctx *ctx, qdbg_sim *sim, const qdbg_graph *graph);

#endif
