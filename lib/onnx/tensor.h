/* The format's tensors as views. */
#ifndef QDBG_ONNX_TENSOR_H
#define QDBG_ONNX_TENSOR_H

#include <qdebug/tensor.h>

#include "memory.h"
#include "onnx.pb-c.h"

/* View an unpacked tensor, whatever form its elements have in the file. The view borrows from
 * `tensor`, which is changed for it (elements are narrowed in place, external data are read into
 * raw_data) and must be viewed only once. `name` is for errors. `folder`: where external data lie,
 * or NULL. Fails with QDBG_E_FORMAT, QDBG_E_UNSUPPORTED, QDBG_E_IO, QDBG_E_INVALID (external data
 * without a folder), QDBG_E_NOMEM, QDBG_E_LIMIT. */
qdbg_status qdbg__onnx_tensor_view(qdbg__onnx_memory *memory, Qdbg__Onnx__Tensor *tensor,
                                   const char *folder, const char *name, qdbg_view *view);

/* Parse a serialized tensor, such as the .pb files of the format's own test data. `out` gets fresh
 * memory: qdbg_ctx_free(ctx, out->data, elements * element size); data is NULL when there are no
 * elements. Fails as qdbg__onnx_tensor_view. */
qdbg_status qdbg__onnx_read_tensor(qdbg_ctx *ctx, const void *data, size_t size, qdbg_view *out);

/* Reverse the bytes of each of `n` elements: the format is little-endian, the host may not be. */
void qdbg__onnx_swap_bytes(void *data, size_t n, size_t element_size);

/* "[2,3]" in `text`; returns `text`. */
char *qdbg__onnx_shape_text(const int64_t *dims, size_t rank, char *text, size_t size);

/* A type's name for errors, also of types that qdbg_dtype_name does not know. */
const char *qdbg__onnx_type_name(int32_t type);

#endif
