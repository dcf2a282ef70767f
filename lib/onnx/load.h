/* A load in progress: what its steps share. Each step walks the model's graph once; order matters.
 */
#ifndef QDBG_ONNX_LOAD_H
#define QDBG_ONNX_LOAD_H

#include <qdebug/onnx.h>

#include "function.h"
#include "memory.h"
#include "wire.h"

typedef struct qdbg__onnx_load {
    qdbg_ctx *ctx;
    const uint8_t *data; /* [size] the model */
    size_t size;
    const char *folder; /* where external data lie, or NULL */
    qdbg__onnx_memory memory;
    qdbg__onnx_functions functions;
    qdbg_graph *graph;
} qdbg__onnx_load;

/* Walks the graph's fields of one number, over all pieces in which the graph may be written. */
typedef struct qdbg__onnx_graph_walk {
    qdbg__onnx_cursor model, graph;
    uint32_t number;
    size_t index; /* of the field found last */
} qdbg__onnx_graph_walk;

qdbg__onnx_graph_walk qdbg__onnx_walk_graph(const qdbg__onnx_load *load, uint32_t number);
bool qdbg__onnx_walk_next(qdbg__onnx_graph_walk *walk, qdbg__onnx_field *field);

#endif
