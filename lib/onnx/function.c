#include "function.h"

#include <string.h>

#include "fail.h"
#include "wire.h"

/* 64-bit FNV-1a. A collision would refuse a model that could be loaded: harmless, and not met. */
static uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h;
}

static uint64_t hash_key(const void *domain, size_t n_domain, const void *name, size_t n_name)
{
    uint64_t h = hash_bytes(14695981039346656037u, domain, n_domain);
    h = hash_bytes(hash_bytes(h, "", 1), name, n_name);
    return h ? h : 1;
}

static uint64_t hash_function(const qdbg__onnx_field *function)
{
    qdbg__onnx_field f, name = {0}, domain = {0};
    qdbg__onnx_cursor c = qdbg__onnx_cursor_over(function->data, function->size);
    while (qdbg__onnx_next(&c, &f)) {
        if (f.number == QDBG__ONNX_FUNCTION_NAME && f.wire == QDBG__ONNX_BYTES)
            name = f;
        if (f.number == QDBG__ONNX_FUNCTION_DOMAIN && f.wire == QDBG__ONNX_BYTES)
            domain = f;
    }
    return hash_key(domain.data, domain.size, name.data, name.size);
}

/* The place of a hash, or the free place where it would go. */
static size_t find(const qdbg__onnx_functions *functions, uint64_t hash)
{
    size_t i = (size_t)hash & (functions->capacity - 1);
    while (functions->hashes[i] != 0 && functions->hashes[i] != hash)
        i = (i + 1) & (functions->capacity - 1);
    return i;
}

qdbg_status qdbg__onnx_functions_read(qdbg_ctx *ctx, const uint8_t *model, size_t size,
                                      qdbg__onnx_functions *out)
{
    qdbg__onnx_field f;
    size_t n = 0;
    qdbg__onnx_cursor c = qdbg__onnx_cursor_over(model, size);
    while (qdbg__onnx_next_of(&c, QDBG__ONNX_MODEL_FUNCTION, &f))
        n++;
    qdbg__onnx_functions functions = {NULL, 0};
    if (n > 0) {
        functions.capacity = 4;
        while (functions.capacity < 2 * n)
            functions.capacity *= 2;
        functions.hashes = qdbg_ctx_alloc(ctx, functions.capacity * sizeof *functions.hashes);
        if (!functions.hashes)
            return qdbg__onnx_recorded(ctx);
    }
    c = qdbg__onnx_cursor_over(model, size);
    while (qdbg__onnx_next_of(&c, QDBG__ONNX_MODEL_FUNCTION, &f)) {
        uint64_t hash = hash_function(&f);
        functions.hashes[find(&functions, hash)] = hash;
    }
    *out = functions;
    return QDBG_OK;
}

void qdbg__onnx_functions_free(qdbg_ctx *ctx, qdbg__onnx_functions *functions)
{
    qdbg_ctx_free(ctx, functions->hashes, functions->capacity * sizeof *functions->hashes);
}

bool qdbg__onnx_functions_has(const qdbg__onnx_functions *functions, const char *domain,
                              const char *op_type)
{
    if (!functions->hashes)
        return false;
    uint64_t hash = hash_key(domain, strlen(domain), op_type, strlen(op_type));
    return functions->hashes[find(functions, hash)] == hash;
}
