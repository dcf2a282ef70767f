/**
 * @file onnx.h
 * Load ONNX models. In the companion library libqdebug-onnx, so that libqdebug itself needs no
 * protobuf.
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_ONNX_H
#define QDEBUG_ONNX_H

#include <qdebug/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Read an ONNX model from a file. External data files are looked for beside it; a location that
 * leaves its folder is refused.
 *
 * Understood: IR versions 3 and later, default-domain opsets QDBG_OPSET_MIN to QDBG_OPSET_MAX,
 * weights in initializers (also when repeated as graph inputs) and in Constant nodes, raw or typed
 * data, external data, symbolic dimensions. Fields that the library has no use for are skipped.
 * Operators that the library does not know are kept (see qdbg_graph_finish).
 *
 * @param ctx   must outlive the graph
 * @param path  file name in the system's encoding
 * @param out   receives a finished graph; destroy with qdbg_graph_destroy()
 * @return QDBG_OK; QDBG_E_INVALID (NULL); QDBG_E_IO; QDBG_E_FORMAT (truncated or malformed; the
 *         message says what and where); QDBG_E_UNSUPPORTED (opset, an element type, sub-graphs,
 * sparse tensors); QDBG_E_SHAPE, QDBG_E_TYPE (from qdbg_graph_finish); QDBG_E_NOMEM; QDBG_E_LIMIT
 */
QDBG_API qdbg_status qdbg_onnx_load_file(qdbg_ctx *ctx, const char *path, qdbg_graph **out);

/**
 * Read an ONNX model from memory.
 * @param data,size  the file's bytes; not kept
 * @param folder     where external data files lie, or NULL when there are none
 * @return as qdbg_onnx_load_file()
 */
QDBG_API qdbg_status qdbg_onnx_load_memory(qdbg_ctx *ctx, const void *data, size_t size,
                                           const char *folder, qdbg_graph **out);

#ifdef __cplusplus
}
#endif

#endif
