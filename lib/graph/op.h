/* What an operator is: how its output shapes follow from its inputs, and how it is computed. Each
 * file of ops/ holds one family and ends in a table; ops/registry.c lists the tables. Adding an
 * operator = one row and its two functions. */
#ifndef QDBG_GRAPH_OP_H
#define QDBG_GRAPH_OP_H

#include "../kernels/kernels.h"
#include "graph.h"

/* Room for an operator's own numbers (strides, pads, axis, ...), worked out once by infer. */
#define QDBG__OP_PARAMS_SIZE 512

/* A node under inference. Inputs are known in type and shape. */
typedef struct qdbg__infer {
    qdbg_ctx *ctx;
    const qdbg__node *node;
    uint32_t opset;
    const qdbg_view *const *in; /* [node->n_in], NULL where left out; data is set where the value is
                                   a constant (a parameter, or folded), else NULL */
    qdbg_view *out;             /* [node->n_out], set with qdbg__infer_out */
    void *params;               /* [QDBG__OP_PARAMS_SIZE] zeroed, 64-byte aligned */
    size_t scratch;             /* infer sets it to the bytes of scratch memory that run needs */
} qdbg__infer;

typedef qdbg_status (*qdbg__infer_fn)(qdbg__infer *x);

/* A node being computed. Shapes are those of inference. Runs on any thread: must not touch the
 * context's error record nor allocate; all checks were made by infer, except on the contents of
 * tensors that are not constant (an index out of range returns QDBG_E_INVALID). */
typedef struct qdbg__run {
    const qdbg__node *node;
    const qdbg_view *const *in;  /* [node->n_in], NULL where left out */
    const qdbg_view *const *out; /* [node->n_out], data to be written; NULL where left out */
    const void *params;          /* as infer left it */
    void *scratch;               /* x->scratch bytes, 64-byte aligned */
    const qdbg__kernels *kernels;
} qdbg__run;

typedef qdbg_status (*qdbg__run_fn)(const qdbg__run *r);

/* out[0] may be the memory of in[0] (same shape and type): elementwise operators. */
#define QDBG__OP_IN_PLACE 1u
/* The output is input 0's elements, rearranged or picked (Reshape, Transpose, MaxPool, Slice, ...):
 * an encoding of input 0 holds for the output. */
#define QDBG__OP_PASSES_ENCODING 2u

typedef struct qdbg__op {
    const char *type;
    uint32_t min_in, max_in; /* UINT32_MAX: any number */
    uint32_t max_out;
    uint32_t flags; /* QDBG__OP_ bits */
    qdbg__infer_fn infer;
    qdbg__run_fn run;
} qdbg__op;

typedef struct qdbg__op_table {
    const qdbg__op *ops;
    size_t n;
} qdbg__op_table;

/* The operator of that ONNX type, or NULL. */
const qdbg__op *qdbg__op_find(const char *type);

/* ---- helpers for infer functions ---- */

/* Set output `i` (nothing happens when it is left out). */
void qdbg__infer_out(qdbg__infer *x, uint32_t i, int32_t dtype, uint32_t rank, const int64_t *dims);

/* Record a failure that names the node, as "Conv 'conv1': ...", and return `status`. */
qdbg_status qdbg__infer_fail(qdbg__infer *x, qdbg_status status, const char *fmt, ...)
    QDBG__PRINTF(3, 4);

/* Input `i` when it is there, else NULL. */
const qdbg_view *qdbg__infer_in(const qdbg__infer *x, uint32_t i);

/* An integer list that old opsets have as attribute `name` and new ones as constant int32 or int64
 * input `i` (pass QDBG_NONE for an attribute that never became an input). Returns the count, or -1
 * when absent in both, or -2 after a recorded failure (not constant, wrong type, more than `max`).
 */
int32_t qdbg__infer_ints(qdbg__infer *x, const char *name, uint32_t i, int64_t *values,
                         uint32_t max);

/* The same for one float (Clip's bounds). False after a recorded failure; `*value` is untouched
 * when absent. Accepts float32 and float64 scalars. */
bool qdbg__infer_float(qdbg__infer *x, const char *name, uint32_t i, float *value);

/* NumPy broadcasting of two shapes; false when they do not fit. */
bool qdbg__broadcast(uint32_t rank_a, const int64_t *a, uint32_t rank_b, const int64_t *b,
                     uint32_t *rank, int64_t *dims);

/* Bring an axis that may be negative into 0..rank-1; false when out of range. */
bool qdbg__axis(int64_t axis, uint32_t rank, uint32_t *out);

/* ---- inference over a whole graph ---- */

/* What is known of a value when the graph's inputs have certain shapes. */
typedef struct qdbg__fact {
    qdbg_view
        view;   /* data: the elements where the value is constant (int shape arithmetic folded) */
    bool known; /* dtype and every dimension are known */
    bool owned; /* view.data belongs to the fact, not to the graph */
    bool baked; /* a float parameter whose elements other facts were worked out from */
} qdbg__fact;

typedef struct qdbg__node_plan {
    void *params; /* [QDBG__OP_PARAMS_SIZE] */
    size_t scratch;
    bool folded; /* its outputs are constants already: nothing to run */
    bool inferred;
} qdbg__node_plan;

typedef struct qdbg__facts {
    const qdbg_graph *graph;
    qdbg__fact *values;     /* [graph->n_values] */
    qdbg__node_plan *nodes; /* [graph->n_nodes] */
    char *params;           /* backing of all params */
} qdbg__facts;

/* Infer types and shapes of all values for inputs of the given shapes ([graph->n_inputs] views, of
 * which dtype, rank and dims are read; a negative dim is unknown), and fold nodes whose inputs are
 * all constant and not float (Shape and Size fold whenever their input's shape is known). Behind an
 * unknown operator or shape everything stays unknown; with `strict` that is an error:
 * QDBG_E_UNSUPPORTED listing all unknown operators at once. Free with qdbg__facts_free. */
qdbg_status qdbg__facts_infer(const qdbg_graph *graph, const qdbg_view *inputs, bool strict,
                              qdbg__facts *out);
/* The same, with other elements than the graph's for float parameters: `params` [n_values], NULL
 * where the graph's hold. When those of a `baked` one change, the facts are out of date. */
qdbg_status qdbg__facts_infer_with(const qdbg_graph *graph, const qdbg_view *inputs,
                                   const float *const *params, bool strict, qdbg__facts *out);
void qdbg__facts_free(qdbg__facts *facts);

#endif
