#include "memory.h"

#include <stdalign.h>
#include <string.h>

#include "fail.h"

/* protobuf-c frees without saying sizes, which the context wants: they lie before each block. */
#define HEADER (alignof(max_align_t) < sizeof(size_t) ? sizeof(size_t) : alignof(max_align_t))

static void *take(void *user, size_t size)
{
    qdbg__onnx_memory *memory = user;
    if (size > SIZE_MAX - HEADER) {
        memory->failed = true;
        qdbg__onnx_fail(memory->ctx, QDBG_E_NOMEM, NULL, NULL, "no memory for %zu bytes", size);
        return NULL;
    }
    size_t whole = size + HEADER;
    char *block = qdbg_ctx_alloc(memory->ctx, whole);
    if (!block) {
        memory->failed = true;
        return NULL;
    }
    memcpy(block, &whole, sizeof whole);
    return block + HEADER;
}

static void give(void *user, void *ptr)
{
    qdbg__onnx_memory *memory = user;
    if (!ptr)
        return;
    char *block = (char *)ptr - HEADER;
    size_t whole;
    memcpy(&whole, block, sizeof whole);
    qdbg_ctx_free(memory->ctx, block, whole);
}

void qdbg__onnx_memory_init(qdbg__onnx_memory *memory, qdbg_ctx *ctx, const void *start)
{
    *memory = (qdbg__onnx_memory){ctx, {take, give, memory}, start, false};
}

void *qdbg__onnx_memory_take(qdbg__onnx_memory *memory, size_t size)
{
    return take(memory, size);
}

void qdbg__onnx_memory_give(qdbg__onnx_memory *memory, void *ptr)
{
    give(memory, ptr);
}

qdbg_status qdbg__onnx_unpack(qdbg__onnx_memory *memory, const ProtobufCMessageDescriptor *kind,
                              const uint8_t *data, size_t size, const char *noun, size_t index,
                              ProtobufCMessage **out)
{
    memory->failed = false;
    ProtobufCMessage *message = protobuf_c_message_unpack(kind, &memory->protobuf, size, data);
    if (message) {
        *out = message;
        return QDBG_OK;
    }
    if (memory->failed)
        return qdbg__onnx_recorded(memory->ctx);
    return qdbg__onnx_fail(memory->ctx, QDBG_E_FORMAT, NULL, NULL,
                           "malformed: %s %zu (%zu bytes from byte %zu on) cannot be read", noun,
                           index, size, (size_t)(data - memory->start));
}
