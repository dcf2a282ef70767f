/* protobuf-c on the context's memory. */
#ifndef QDBG_ONNX_MEMORY_H
#define QDBG_ONNX_MEMORY_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <qdebug/base.h>

typedef struct qdbg__onnx_memory {
    qdbg_ctx *ctx;
    ProtobufCAllocator protobuf; /* refers to this struct, which must stay where it is */
    const uint8_t *start;        /* of the file: errors count bytes from here */
    bool failed;                 /* an allocation of the last unpack failed, and is recorded */
} qdbg__onnx_memory;

void qdbg__onnx_memory_init(qdbg__onnx_memory *memory, qdbg_ctx *ctx, const void *start);

/* Unpack a message of the given kind; `noun` and `index` name it in the error, as "node 3". Free it
 * with protobuf_c_message_free_unpacked and &memory->protobuf. Fails with QDBG_E_FORMAT,
 * QDBG_E_NOMEM, QDBG_E_LIMIT. */
qdbg_status qdbg__onnx_unpack(qdbg__onnx_memory *memory, const ProtobufCMessageDescriptor *kind,
                              const uint8_t *data, size_t size, const char *noun, size_t index,
                              ProtobufCMessage **out);

/* Memory that protobuf-c may free as its own, such as a message's bytes; NULL with the failure
 * recorded. */
void *qdbg__onnx_memory_take(qdbg__onnx_memory *memory, size_t size);
void qdbg__onnx_memory_give(qdbg__onnx_memory *memory, void *ptr);

#endif
