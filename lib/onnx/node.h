/* The graph's nodes. */
#ifndef QDBG_ONNX_NODE_H
#define QDBG_ONNX_NODE_H

#include "load.h"

/* Add every value that a node computes, and the parameters that Constant nodes hold. Comes before
 * qdbg__onnx_add_nodes, so that nodes may be in any order. Refuses, naming all of them at once, the
 * nodes that have sub-graphs or call the model's own functions. */
qdbg_status qdbg__onnx_add_node_outputs(qdbg__onnx_load *load);

/* Add the nodes but for Constant. */
qdbg_status qdbg__onnx_add_nodes(qdbg__onnx_load *load);

#endif
