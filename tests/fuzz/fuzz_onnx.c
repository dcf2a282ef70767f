/* Any bytes as a model, and as a tensor: an error with words or a result, and no memory held after.
 * Breaking a promise aborts. */
#include <qdebug/onnx.h>
#include <stdlib.h>

#include "../../lib/onnx/tensor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void check_outcome(const qdbg_ctx *ctx, qdbg_status status)
{
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    if (status == QDBG_OK)
        return;
    check(qdbg_ctx_error(ctx, &info) == QDBG_OK);
    check(info.status == status && info.message[0]);
    check(status == QDBG_E_FORMAT || status == QDBG_E_UNSUPPORTED || status == QDBG_E_SHAPE ||
          status == QDBG_E_TYPE || status == QDBG_E_NOMEM || status == QDBG_E_LIMIT ||
          status == QDBG_E_INVALID);
}

static void try_model(qdbg_ctx *ctx, const uint8_t *data, size_t size)
{
    qdbg_graph *graph = NULL;
    qdbg_status status = qdbg_onnx_load_memory(ctx, data, size, NULL, &graph);
    check_outcome(ctx, status);
    check((status == QDBG_OK) == (graph != NULL));
    check(!graph || qdbg_graph_output_count(graph) > 0);
    qdbg_graph_destroy(graph);
}

static void try_tensor(qdbg_ctx *ctx, const uint8_t *data, size_t size)
{
    qdbg_view view = QDBG_VIEW_INIT;
    qdbg_status status = qdbg__onnx_read_tensor(ctx, data, size, &view);
    check_outcome(ctx, status);
    if (status != QDBG_OK)
        return;
    size_t bytes = (size_t)qdbg_view_count(&view) * qdbg_dtype_size(view.dtype);
    check(bytes <= 8 * size && (bytes == 0) == (view.data == NULL));
    qdbg_ctx_free(ctx, view.data, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx;
    uint64_t before, after;
    options.threads = 1;
    options.memory_limit = 64u << 20;
    check(qdbg_ctx_create(&options, &ctx) == QDBG_OK);
    qdbg_ctx_memory(ctx, &before, NULL);
    try_model(ctx, data, size);
    try_tensor(ctx, data, size);
    qdbg_ctx_memory(ctx, &after, NULL);
    check(before == after);
    qdbg_ctx_destroy(ctx);
    return 0;
}
