/* The graph from inside. Layer 4. */
#ifndef QDBG_GRAPH_GRAPH_H
#define QDBG_GRAPH_GRAPH_H

#include <stdbool.h>
#include <qdebug/graph.h>

#include "../tensor/tensor.h"

typedef enum {
    QDBG__ATTR_INT,
    QDBG__ATTR_INTS,
    QDBG__ATTR_FLOAT,
    QDBG__ATTR_FLOATS,
    QDBG__ATTR_STRING,
    QDBG__ATTR_TENSOR,
} qdbg__attr_kind;

typedef struct qdbg__attr {
    char *name;
    qdbg__attr_kind kind;
    uint32_t n; /* elements of ints or floats */
    int64_t i;
    float f;
    char *s;
    int64_t *ints;
    float *floats;
    qdbg_view tensor; /* owns its data */
} qdbg__attr;

struct qdbg__op;

typedef struct qdbg__node {
    char *op_type;
    char *name;
    uint32_t *in, *out; /* values, QDBG_NONE where left out */
    uint32_t n_in, n_out;
    qdbg__attr *attrs;
    size_t n_attrs, attrs_capacity;
    const struct qdbg__op *op; /* NULL for an unknown operator */
} qdbg__node;

typedef struct qdbg__value {
    char *name;
    int32_t dtype;               /* QDBG_DTYPE_NONE when unknown */
    uint32_t rank;               /* QDBG_RANK_UNKNOWN when unknown */
    int64_t dims[QDBG_MAX_RANK]; /* as declared, else as inferred for one sample */
    bool is_param, is_input, is_output;
    void *data;          /* a parameter's elements, owned */
    size_t bytes;        /* of data */
    uint32_t producer;   /* node or QDBG_NONE */
    uint32_t *consumers; /* [n_consumers] nodes, once for each use; after finish */
    uint32_t n_consumers;
    uint32_t hash_next; /* chain in the name index */
} qdbg__value;

struct qdbg_graph {
    qdbg_ctx *ctx;
    uint32_t opset;
    bool finished, broken;
    qdbg__value *values;
    size_t n_values, values_capacity;
    qdbg__node *nodes; /* in topological order after finish */
    size_t n_nodes, nodes_capacity;
    uint32_t *inputs, *outputs;
    size_t n_inputs, inputs_capacity, n_outputs, outputs_capacity;
    uint32_t *buckets; /* name index: first value of each chain */
    uint32_t n_buckets;
    uint32_t *consumer_store; /* backing of all consumers arrays */
    size_t consumer_store_size;
};

/* A node's attribute by name, or NULL. */
const qdbg__attr *qdbg__node_attr(const qdbg__node *node, const char *name);
/* With a default when the attribute is absent or of another kind. */
int64_t qdbg__attr_int(const qdbg__node *node, const char *name, int64_t fallback);
float qdbg__attr_float(const qdbg__node *node, const char *name, float fallback);
const char *qdbg__attr_string(const qdbg__node *node, const char *name, const char *fallback);
/* ints: returns the count, 0 when absent; `*values` is set when present. */
uint32_t qdbg__attr_ints(const qdbg__node *node, const char *name, const int64_t **values);

/* Free what a node holds. */
void qdbg__node_free(qdbg_ctx *ctx, qdbg__node *node);

bool qdbg__node_is(const qdbg__node *node, const char *op_type);

#endif
