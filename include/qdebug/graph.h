/**
 * @file graph.h
 * The network's graph: values (tensors), nodes (operators) and parameters (constant values).
 *
 * Build one by calls, or load it with libqdebug-onnx. The order is: create, add values, parameters
 * and nodes in any order, name the inputs and outputs, qdbg_graph_finish(). After that the graph
 * never changes and may be read from several threads.
 *
 * Operators and their attributes are those of ONNX's default domain, at the graph's opset. Layout
 * is ONNX's: NCHW, row-major. Operators that the library does not know are allowed when the graph
 * is for a host model (model.h); the built-in executor refuses them, all of them by name.
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_GRAPH_H
#define QDEBUG_GRAPH_H

#include <qdebug/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct qdbg_graph qdbg_graph;

/** "No such value or node": an optional input left out, a value without producer. */
#define QDBG_NONE UINT32_MAX

/** "Rank not known", for qdbg_graph_add_value(). */
#define QDBG_RANK_UNKNOWN UINT32_MAX

/** A dimension that is not known: symbolic in the file, or the batch. */
#define QDBG_DIM_UNKNOWN (-1)

/** The opset range that the library implements. */
#define QDBG_OPSET_MIN 7
#define QDBG_OPSET_MAX 21

/**
 * Create an empty graph.
 * @param ctx    must outlive the graph
 * @param opset  version of ONNX's default operator set, QDBG_OPSET_MIN to QDBG_OPSET_MAX
 * @param out    receives the graph; destroy with qdbg_graph_destroy()
 * @return QDBG_OK; QDBG_E_INVALID; QDBG_E_UNSUPPORTED (opset); QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_graph_create(qdbg_ctx *ctx, uint32_t opset, qdbg_graph **out);

/** Free a graph. Models made from it must be gone. NULL is ignored. */
QDBG_API void qdbg_graph_destroy(qdbg_graph *graph);

/**
 * Add a value that a node computes or that is fed from outside.
 * @param name   unique among values, not empty; copied
 * @param dtype  QDBG_F32 ..., or QDBG_DTYPE_NONE to have it inferred
 * @param rank   0 to QDBG_MAX_RANK, or QDBG_RANK_UNKNOWN to have it inferred
 * @param dims   [rank], each >= 0 or QDBG_DIM_UNKNOWN; NULL when rank is 0 or unknown
 * @param id     receives the value's number (0, 1, ...); may be NULL
 * @return QDBG_OK; QDBG_E_INVALID (NULL, bad or repeated name, rank, dims); QDBG_E_TYPE;
 *         QDBG_E_STATE (the graph is finished); QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_graph_add_value(qdbg_graph *graph, const char *name, int32_t dtype,
                                          uint32_t rank, const int64_t *dims, uint32_t *id);

/**
 * Add a constant value: a weight, a bias, a shape.
 * @param view  type, shape and elements; copied
 * @return as qdbg_graph_add_value()
 */
QDBG_API qdbg_status qdbg_graph_add_parameter(qdbg_graph *graph, const char *name,
                                              const qdbg_view *view, uint32_t *id);

/**
 * Add a node.
 * @param op_type  ONNX operator type, such as "Conv"; copied
 * @param name     may be NULL or empty: then the name of the first output; copied
 * @param inputs   [n_inputs] values; QDBG_NONE where an optional input is left out
 * @param outputs  [n_outputs] values that no other node computes; QDBG_NONE where left out
 * @param id       receives the node's number in the order of adding; may be NULL. After
 *                 qdbg_graph_finish() nodes are numbered in topological order
 * @return QDBG_OK; QDBG_E_INVALID (NULL, no output, a number out of range, a value that has a
 *         producer, is a parameter or is an input); QDBG_E_STATE; QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_graph_add_node(qdbg_graph *graph, const char *op_type, const char *name,
                                         const uint32_t *inputs, uint32_t n_inputs,
                                         const uint32_t *outputs, uint32_t n_outputs, uint32_t *id);

/**
 * Give a node an attribute of type INT, before qdbg_graph_finish(). Everything is copied; setting a
 * name twice is an error.
 * @return QDBG_OK; QDBG_E_INVALID (NULL, no such node, name set already); QDBG_E_STATE;
 *         QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_graph_set_int(qdbg_graph *graph, uint32_t node, const char *name,
                                        int64_t value);

/** INTS, likewise. @param values  [n], NULL where n is 0. @return as qdbg_graph_set_int() */
QDBG_API qdbg_status qdbg_graph_set_ints(qdbg_graph *graph, uint32_t node, const char *name,
                                         const int64_t *values, uint32_t n);

/** FLOAT, likewise. @return as qdbg_graph_set_int() */
QDBG_API qdbg_status qdbg_graph_set_float(qdbg_graph *graph, uint32_t node, const char *name,
                                          float value);

/** FLOATS, likewise. @param values  [n], NULL where n is 0. @return as qdbg_graph_set_int() */
QDBG_API qdbg_status qdbg_graph_set_floats(qdbg_graph *graph, uint32_t node, const char *name,
                                           const float *values, uint32_t n);

/** STRING, likewise. @return as qdbg_graph_set_int() */
QDBG_API qdbg_status qdbg_graph_set_string(qdbg_graph *graph, uint32_t node, const char *name,
                                           const char *value);

/** TENSOR, likewise. @return as qdbg_graph_set_int(); QDBG_E_TYPE (of the view) */
QDBG_API qdbg_status qdbg_graph_set_tensor(qdbg_graph *graph, uint32_t node, const char *name,
                                           const qdbg_view *value);

/**
 * Append a value to the graph's inputs. An input has no producer.
 * @return QDBG_OK; QDBG_E_INVALID (NULL, no such value, a parameter as input, named twice);
 *         QDBG_E_STATE; QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_graph_add_input(qdbg_graph *graph, uint32_t value);

/** Append a value to the graph's outputs; an input may be one, too.
 * @return as qdbg_graph_add_input() */
QDBG_API qdbg_status qdbg_graph_add_output(qdbg_graph *graph, uint32_t value);

/**
 * Check the graph, sort its nodes topologically and infer types and shapes (for one sample where
 * the batch is symbolic) of what the library knows.
 *
 * Nodes that read an Identity of a parameter read the parameter itself from here on, so that a
 * weight is known as one; an Identity that then nobody reads is dropped.
 * @return QDBG_OK; QDBG_E_INVALID (no output, a value used that nothing produces, a cycle; the
 *         message names node and value); QDBG_E_SHAPE, QDBG_E_TYPE (inputs of a known operator do
 *         not fit, or contradict a declared shape, of which dimension 0 does not count where the
 *         batch is symbolic); QDBG_E_STATE (finished already); QDBG_E_NOMEM;
 *         QDBG_E_LIMIT. After a failure the graph can only be destroyed.
 */
QDBG_API qdbg_status qdbg_graph_finish(qdbg_graph *graph);

/**
 * Copy a finished graph, with each bound of a Clip (ReLU6 among them) that is one constant number
 * made a parameter of its own with that number for each channel.
 *
 * Cross-layer equalization (equalize.h) scales channels, and with them the bounds that they are
 * clipped to; where a bound is one number for all of them it must leave the layers around the Clip
 * alone. Concerned are Clips of float32 [N, C, ...] with known C. The copy's bounds are called
 * "<output of the Clip>.min_by_channel" and ".max_by_channel" and have the shape [C, 1, ...] that
 * broadcasts along axis 1; a bound that does not bind is left out. This Clip is an extension of
 * ONNX's, which the built-in executor runs; a host must run it with the bounds that set_parameter
 * gave it. Values keep their numbers and names, and nodes theirs.
 *
 * @param graph  finished; not changed
 * @param out    receives the copy, finished; destroy with qdbg_graph_destroy()
 * @return QDBG_OK; QDBG_E_INVALID (NULL; a name above is taken); QDBG_E_STATE (not finished);
 *         QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_graph_expose_clips(const qdbg_graph *graph, qdbg_graph **out);

/** @return numbers of a graph's things; 0 for NULL */
QDBG_API uint32_t qdbg_graph_value_count(const qdbg_graph *graph);

/** @return the number of nodes; 0 for NULL */
QDBG_API uint32_t qdbg_graph_node_count(const qdbg_graph *graph);

/** @return the number of inputs; 0 for NULL */
QDBG_API uint32_t qdbg_graph_input_count(const qdbg_graph *graph);

/** @return the number of outputs; 0 for NULL */
QDBG_API uint32_t qdbg_graph_output_count(const qdbg_graph *graph);

/** @return the opset that qdbg_graph_create() or the file gave, which is what decides where an
 * operator keeps what was an attribute once and is an input now; 0 for NULL */
QDBG_API uint32_t qdbg_graph_opset(const qdbg_graph *graph);

/** @return the value that is input number `index`; QDBG_NONE when there is none */
QDBG_API uint32_t qdbg_graph_input(const qdbg_graph *graph, uint32_t index);

/** @return the value that is output number `index`; QDBG_NONE when there is none */
QDBG_API uint32_t qdbg_graph_output(const qdbg_graph *graph, uint32_t index);

/** @return the number of the value called `name`; QDBG_NONE when there is none */
QDBG_API uint32_t qdbg_graph_find_value(const qdbg_graph *graph, const char *name);

/** What is known of a value. */
typedef struct qdbg_value_info {
    uint32_t struct_size;        /**< sizeof(qdbg_value_info), set by the caller */
    int32_t dtype;               /**< QDBG_F32 ..., QDBG_DTYPE_NONE when unknown */
    uint32_t rank;               /**< or QDBG_RANK_UNKNOWN */
    uint32_t is_parameter;       /**< 1 for a constant */
    int64_t dims[QDBG_MAX_RANK]; /**< [rank]; QDBG_DIM_UNKNOWN where unknown or symbolic */
    const char *name;            /**< lives as long as the graph */
    uint32_t producer;           /**< node, or QDBG_NONE */
    uint32_t n_consumers;        /**< nodes that read it, counted once for each use */
} qdbg_value_info;

#define QDBG_VALUE_INFO_INIT                                                          \
    {                                                                                 \
        (uint32_t)sizeof(qdbg_value_info), 0, 0, 0, {0, 0, 0, 0, 0, 0, 0, 0}, 0, 0, 0 \
    }

/** Set `*info` to QDBG_VALUE_INFO_INIT. NULL is ignored. */
QDBG_API void qdbg_value_info_init(qdbg_value_info *info);

/** @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size); QDBG_E_NOT_FOUND (no such value) */
QDBG_API qdbg_status qdbg_graph_value(const qdbg_graph *graph, uint32_t value,
                                      qdbg_value_info *info);

/** What is known of a node. */
typedef struct qdbg_node_info {
    uint32_t struct_size; /**< sizeof(qdbg_node_info), set by the caller */
    uint32_t n_inputs;
    uint32_t n_outputs;
    uint32_t is_known; /**< 1 when the built-in executor has the operator */
    const char *name;  /**< lives as long as the graph, as do the fields below */
    const char *op_type;
    const uint32_t *inputs;  /**< [n_inputs] values or QDBG_NONE */
    const uint32_t *outputs; /**< [n_outputs] values or QDBG_NONE */
} qdbg_node_info;

#define QDBG_NODE_INFO_INIT                                   \
    {                                                         \
        (uint32_t)sizeof(qdbg_node_info), 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*info` to QDBG_NODE_INFO_INIT. NULL is ignored. */
QDBG_API void qdbg_node_info_init(qdbg_node_info *info);

/** @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size); QDBG_E_NOT_FOUND (no such node) */
QDBG_API qdbg_status qdbg_graph_node(const qdbg_graph *graph, uint32_t node, qdbg_node_info *info);

/**
 * The elements of a parameter, as they were added.
 * @param view  receives type, shape and a pointer that lives as long as the graph; do not write
 * @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size, not a parameter); QDBG_E_NOT_FOUND
 */
QDBG_API qdbg_status qdbg_graph_parameter(const qdbg_graph *graph, uint32_t value, qdbg_view *view);

/**
 * Read an attribute of a node: INT or INTS. One number is read as a list of one, whether it was set
 * as a number or as a list. What is received lives as long as the graph; do not write. Before
 * qdbg_graph_finish() it lives until the next call on the graph.
 * @param values,n  receive the elements, NULL or any pointer where n is 0
 * @return QDBG_OK; QDBG_E_INVALID (NULL, struct_size); QDBG_E_NOT_FOUND (no such node, or it does
 *         not have the attribute: the operator's default holds); QDBG_E_TYPE (the attribute is of
 *         another kind)
 */
QDBG_API qdbg_status qdbg_graph_get_ints(const qdbg_graph *graph, uint32_t node, const char *name,
                                         const int64_t **values, uint32_t *n);

/** FLOAT or FLOATS, likewise. @return as qdbg_graph_get_ints() */
QDBG_API qdbg_status qdbg_graph_get_floats(const qdbg_graph *graph, uint32_t node, const char *name,
                                           const float **values, uint32_t *n);

/** STRING, likewise. @param value  receives the text. @return as qdbg_graph_get_ints() */
QDBG_API qdbg_status qdbg_graph_get_string(const qdbg_graph *graph, uint32_t node, const char *name,
                                           const char **value);

/** TENSOR, likewise. @param value  receives the view; struct_size must be set.
 * @return as qdbg_graph_get_ints() */
QDBG_API qdbg_status qdbg_graph_get_tensor(const qdbg_graph *graph, uint32_t node, const char *name,
                                           qdbg_view *value);

#ifdef __cplusplus
}
#endif

#endif
