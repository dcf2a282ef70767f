/* Elements that lie in a file beside the model. */
#ifndef QDBG_ONNX_EXTERNAL_H
#define QDBG_ONNX_EXTERNAL_H

#include "memory.h"
#include "onnx.pb-c.h"

/* Read a tensor's `bytes` bytes into its raw_data (which is replaced). A location that is absolute
 * or has a ".." is refused; symbolic links are followed, as model caches are made of them. */
qdbg_status qdbg__onnx_external_read(qdbg__onnx_memory *memory, Qdbg__Onnx__Tensor *tensor,
                                     const char *folder, const char *name, size_t bytes);

#endif
