/* Tests of a single operator: a graph of one node, random shapes, plain indexing, assertions (with
 * cmocka). Everything but one_run ends the test program when it fails. */
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

/* ---- random shapes ---- */

typedef struct shape {
    uint32_t rank;
    int64_t dims[QDBG_MAX_RANK + 1]; /* ends in -1 */
} shape;

/* Uniform in lo..hi, always the same sequence, or another from another start (1 by default). */
int64_t pick(int64_t lo, int64_t hi);
void pick_from(uint64_t start);
shape random_shape(uint32_t min_rank, uint32_t max_rank, int64_t min_dim, int64_t max_dim);
/* A shape that broadcasts into `full`. */
shape part_of(const shape *full);
/* Multiples of 1/256, freed with free(). */
float *random_floats(int64_t n);

int64_t count(const shape *s);
void unravel(int64_t i, const shape *s, int64_t *at);
int64_t ravel(const shape *s, const int64_t *at);
/* The element of a broadcast operand that belongs to position `at` of a result of rank `rank`. */
int64_t broadcast_index(const shape *s, const int64_t *at, uint32_t rank);

/* ---- assertions ---- */

void assert_shape(const qdbg_view *v, int32_t dtype, const int64_t *dims);
void assert_floats(const qdbg_view *v, const float *want, size_t n);
void assert_ints(const qdbg_view *v, const int64_t *want, size_t n);
/* Run, expecting that status and a message with that text; then one_end. */
void assert_fails(one_node *o, qdbg_status want, const char *text);

#endif
