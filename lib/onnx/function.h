/* The functions that a model brings along. They are not inlined: a node that calls one is refused.
 */
#ifndef QDBG_ONNX_FUNCTION_H
#define QDBG_ONNX_FUNCTION_H

#include <stdbool.h>
#include <stddef.h>
#include <qdebug/base.h>

typedef struct qdbg__onnx_functions {
    uint64_t *hashes; /* [capacity] open addressing, 0 = free; NULL when there are none */
    size_t capacity;  /* a power of two */
} qdbg__onnx_functions;

/* Collect the functions of a model that is well-formed on the outside. */
qdbg_status qdbg__onnx_functions_read(qdbg_ctx *ctx, const uint8_t *model, size_t size,
                                      qdbg__onnx_functions *out);
void qdbg__onnx_functions_free(qdbg_ctx *ctx, qdbg__onnx_functions *functions);

/* True when the model brings the function `op_type` of that domain. */
bool qdbg__onnx_functions_has(const qdbg__onnx_functions *functions, const char *domain,
                              const char *op_type);

#endif
