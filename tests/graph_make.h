/* Graphs built in a few lines, for tests of the executor and its operators. Every helper asserts
 * that it succeeds. */
#ifndef TESTS_GRAPH_MAKE_H
#define TESTS_GRAPH_MAKE_H

#include <qdebug/graph.h>

#include "../lib/exec/exec.h"

/* Uniform in [lo, hi), from a seed that moves on. */
float make_float(uint64_t *seed, float lo, float hi);
int64_t make_int(uint64_t *seed, int64_t lo, int64_t hi); /* both included */
/* A new array, freed with free(). */
float *make_floats(uint64_t *seed, size_t n);

qdbg_ctx *make_ctx(uint32_t threads);
qdbg_graph *make_graph(qdbg_ctx *ctx, uint32_t opset);

/* Dimensions are given as a list that ends in -1: DIMS(1, 3, 8, 8). */
#define DIMS(...) ((const int64_t[]){__VA_ARGS__, -1})
#define SCALAR ((const int64_t[]){-1})
#define VALUES(...) ((const uint32_t[]){__VA_ARGS__}), sizeof((const uint32_t[]){__VA_ARGS__}) / 4

size_t dims_count(const int64_t *dims);
qdbg_view make_view(const int64_t *dims, const float *data);

uint32_t make_input(qdbg_graph *g, const char *name, const int64_t *dims);
uint32_t make_param(qdbg_graph *g, const char *name, const int64_t *dims, const float *data);
/* A parameter of random numbers in [-1, 1). */
uint32_t make_random(qdbg_graph *g, const char *name, const int64_t *dims, uint64_t *seed);
/* A node with one output, which bears the node's name; *node may be NULL. */
uint32_t make_node(qdbg_graph *g, const char *op, const char *name, const uint32_t *inputs,
                   uint32_t n_inputs, uint32_t *node);
void make_ints(qdbg_graph *g, uint32_t node, const char *name, const int64_t *list);

/* Name the output and finish. */
void make_finish(qdbg_graph *g, uint32_t output);

/* Run a finished graph once on one input; the result is freed with free(). */
float *make_run(const qdbg_graph *g, const int64_t *dims, const float *x, qdbg_view *shape);

#endif
