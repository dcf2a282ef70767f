/* A graph of one node, for tests of a single operator. Everything but one_run ends the test program
 * when it fails. */
#ifndef TESTS_CONFORMANCE_ONE_NODE_H
#define TESTS_CONFORMANCE_ONE_NODE_H

#include "interp.h"

#define ONE_MAX 8

typedef struct one_node {
    qdbg_ctx *ctx;
    qdbg_graph *graph;
    uint32_t node;
    uint32_t in[ONE_MAX], out[ONE_MAX], n_in, n_out;
    qdbg_view feeds[ONE_MAX]; /* of the graph's inputs */
    uint32_t n_feeds;
} one_node;

/* Dimensions as a list that ends in -1: DIMS(2, 3). */
#define DIMS(...) ((const int64_t[]){__VA_ARGS__, -1})
#define SCALAR ((const int64_t[]){-1})

#define FLOATS(...) ((float[]){__VA_ARGS__})
#define INTS(...) ((int64_t[]){__VA_ARGS__})

void one_begin(one_node *o, uint32_t opset);
/* The next input: fed, constant, or left out. Fed data must stay until one_run; it is aligned as
 * the caller aligned it. */
void one_input(one_node *o, int32_t dtype, const int64_t *dims, const void *data);
void one_param(one_node *o, int32_t dtype, const int64_t *dims, const void *data);
void one_absent(one_node *o);
/* A constant list of int64. */
void one_ints(one_node *o, const int64_t *values, int64_t n);
/* The node, with that many outputs. Attributes follow, then one_run. */
void one_op(one_node *o, const char *type, uint32_t n_out);
void one_set_ints(one_node *o, const char *name, const int64_t *values, uint32_t n);
void one_set_int(one_node *o, const char *name, int64_t value);
void one_set_float(one_node *o, const char *name, float value);
void one_set_string(one_node *o, const char *name, const char *value);

/* Finish the graph (also where that must fail) and run it. `out`: [n_out], data freed with free().
 */
qdbg_status one_run(one_node *o, qdbg_view *out);
void one_end(one_node *o);

#endif
