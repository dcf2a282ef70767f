/* Loading ONNX models. */
#include "load.h"

#include <string.h>

#include "fail.h"
#include "file.h"
#include "node.h"
#include "onnx.pb-c.h"
#include "value.h"

/* A serialized message is at most 2 GiB long; larger models keep their weights outside. */
#define SIZE_LIMIT ((uint64_t)INT32_MAX)

/* ---- walking the graph ---- */

qdbg__onnx_graph_walk qdbg__onnx_walk_graph(const qdbg__onnx_load *load, uint32_t number)
{
    qdbg__onnx_graph_walk walk = {0};
    walk.model = qdbg__onnx_cursor_over(load->data, load->size);
    walk.number = number;
    walk.index = SIZE_MAX; /* the first one found gets 0 */
    return walk;
}

bool qdbg__onnx_walk_next(qdbg__onnx_graph_walk *walk, qdbg__onnx_field *field)
{
    qdbg__onnx_field graph;
    while (!qdbg__onnx_next_of(&walk->graph, walk->number, field)) {
        if (!qdbg__onnx_next_of(&walk->model, QDBG__ONNX_MODEL_GRAPH, &graph))
            return false;
        walk->graph = qdbg__onnx_cursor_over(graph.data, graph.size);
    }
    walk->index++;
    return true;
}

/* ---- the outer messages ---- */

static qdbg_status fail_malformed(const qdbg__onnx_load *load, const qdbg__onnx_cursor *c,
                                  const char *where)
{
    static const char lfs[] = "version https://git-lfs";
    if (load->size >= sizeof lfs - 1 && memcmp(load->data, lfs, sizeof lfs - 1) == 0)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, NULL, NULL,
                               "this is a Git LFS pointer, not the model it stands for");
    return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, NULL, NULL,
                           "not a well-formed ONNX model: byte %zu of %zu, in %s: %s",
                           (size_t)(c->problem_at - load->data), load->size, where, c->problem);
}

static qdbg_status fail_wire(const qdbg__onnx_load *load, const char *what)
{
    return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, NULL, NULL,
                           "not an ONNX model: %s is a number, not a message", what);
}

static qdbg_status check_graph(const qdbg__onnx_load *load, const qdbg__onnx_field *graph)
{
    qdbg__onnx_field f;
    qdbg__onnx_cursor c = qdbg__onnx_cursor_over(graph->data, graph->size);
    while (qdbg__onnx_next(&c, &f)) {
        bool read = f.number == QDBG__ONNX_GRAPH_NODE || f.number == QDBG__ONNX_GRAPH_INITIALIZER ||
                    f.number == QDBG__ONNX_GRAPH_INPUT || f.number == QDBG__ONNX_GRAPH_OUTPUT;
        if (read && f.wire != QDBG__ONNX_BYTES)
            return fail_wire(load, "a node, initializer, input or output");
        if (f.number == QDBG__ONNX_GRAPH_SPARSE_INITIALIZER)
            return qdbg__onnx_fail(load->ctx, QDBG_E_UNSUPPORTED, NULL, NULL,
                                   "the model has sparse initializers");
    }
    return c.problem ? fail_malformed(load, &c, "the graph") : QDBG_OK;
}

/* After this every walk over the model's and the graph's fields reaches their end. */
static qdbg_status check_outside(const qdbg__onnx_load *load)
{
    qdbg__onnx_field f;
    bool any_graph = false;
    qdbg_status status = QDBG_OK;
    qdbg__onnx_cursor c = qdbg__onnx_cursor_over(load->data, load->size);
    while (status == QDBG_OK && qdbg__onnx_next(&c, &f)) {
        if (f.number != QDBG__ONNX_MODEL_GRAPH)
            continue;
        any_graph = true;
        status = f.wire == QDBG__ONNX_BYTES ? check_graph(load, &f) : fail_wire(load, "the graph");
    }
    if (status != QDBG_OK)
        return status;
    if (c.problem)
        return fail_malformed(load, &c, "the model");
    if (!any_graph)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, NULL, NULL,
                               "not an ONNX model: there is no graph in its %zu bytes", load->size);
    return QDBG_OK;
}

/* ---- operator set ---- */

static qdbg_status merge_opset(qdbg_ctx *ctx, const Qdbg__Onnx__OperatorSet *set, int64_t *opset)
{
    if (set->domain && *set->domain && strcmp(set->domain, "ai.onnx") != 0)
        return QDBG_OK;
    if (*opset != 0 && *opset != set->version)
        return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, NULL,
                               "the model asks for opset %lld and for opset %lld",
                               (long long)*opset, (long long)set->version);
    *opset = set->version;
    return QDBG_OK;
}

static qdbg_status read_opset(qdbg__onnx_load *load, uint32_t *out)
{
    qdbg__onnx_field f;
    qdbg__onnx_cursor c = qdbg__onnx_cursor_over(load->data, load->size);
    int64_t opset = 0;
    for (size_t i = 0; qdbg__onnx_next_of(&c, QDBG__ONNX_MODEL_OPERATOR_SET, &f); i++) {
        ProtobufCMessage *m;
        qdbg_status status = qdbg__onnx_unpack(&load->memory, &qdbg__onnx__operator_set__descriptor,
                                               f.data, f.size, "operator set", i, &m);
        if (status != QDBG_OK)
            return status;
        status = merge_opset(load->ctx, (Qdbg__Onnx__OperatorSet *)m, &opset);
        protobuf_c_message_free_unpacked(m, &load->memory.protobuf);
        if (status != QDBG_OK)
            return status;
    }
    if (opset == 0)
        return qdbg__onnx_fail(load->ctx, QDBG_E_UNSUPPORTED, NULL, NULL,
                               "the model names no opset of ONNX's default domain; opsets %d to %d "
                               "are supported",
                               QDBG_OPSET_MIN, QDBG_OPSET_MAX);
    if (opset < QDBG_OPSET_MIN || opset > QDBG_OPSET_MAX)
        return qdbg__onnx_fail(load->ctx, QDBG_E_UNSUPPORTED, NULL, NULL,
                               "the model uses opset %lld; opsets %d to %d are supported",
                               (long long)opset, QDBG_OPSET_MIN, QDBG_OPSET_MAX);
    *out = (uint32_t)opset;
    return QDBG_OK;
}

/* ---- load ---- */

static qdbg_status run_steps(qdbg__onnx_load *load)
{
    static qdbg_status (*const steps[])(qdbg__onnx_load *) = {
        qdbg__onnx_add_initializers, qdbg__onnx_add_inputs,  qdbg__onnx_add_node_outputs,
        qdbg__onnx_add_nodes,        qdbg__onnx_add_outputs,
    };
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && status == QDBG_OK; i++)
        status = steps[i](load);
    return status;
}

/* An unfinished graph of the model. */
static qdbg_status build(qdbg_ctx *ctx, const uint8_t *data, size_t size, const char *folder,
                         qdbg_graph **out)
{
    qdbg__onnx_load load = {.ctx = ctx, .data = data, .size = size, .folder = folder};
    uint32_t opset = 0;
    if (size == 0)
        return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, NULL, "the model is empty");
    if (size > SIZE_LIMIT)
        return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, NULL,
                               "the model has %zu bytes; the format allows %llu", size,
                               (unsigned long long)SIZE_LIMIT);
    qdbg__onnx_memory_init(&load.memory, ctx, data);
    qdbg_status status = check_outside(&load);
    if (status == QDBG_OK)
        status = read_opset(&load, &opset);
    if (status == QDBG_OK)
        status = qdbg__onnx_functions_read(ctx, data, size, &load.functions);
    if (status == QDBG_OK)
        status = qdbg_graph_create(ctx, opset, &load.graph);
    if (status == QDBG_OK)
        status = run_steps(&load);
    qdbg__onnx_functions_free(ctx, &load.functions);
    if (status != QDBG_OK)
        qdbg_graph_destroy(load.graph);
    else
        *out = load.graph;
    return status;
}

static qdbg_status finish(qdbg_ctx *ctx, qdbg_graph *graph, qdbg_graph **out)
{
    qdbg_status status = qdbg__onnx_blame_file(ctx, qdbg_graph_finish(graph));
    if (status != QDBG_OK)
        qdbg_graph_destroy(graph);
    else
        *out = graph;
    return status;
}

qdbg_status qdbg_onnx_load_memory(qdbg_ctx *ctx, const void *data, size_t size, const char *folder,
                                  qdbg_graph **out)
{
    qdbg_graph *graph;
    if (!ctx)
        return QDBG_E_INVALID;
    if ((!data && size > 0) || !out)
        return qdbg__onnx_fail(ctx, QDBG_E_INVALID, NULL, NULL, "data or out is NULL");
    qdbg_status status = build(ctx, data, size, folder, &graph);
    return status == QDBG_OK ? finish(ctx, graph, out) : status;
}

/* Length of the folder's name in a path, without the slash unless it is the root. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return 0;
    return slash == path ? 1 : (size_t)(slash - path);
}

qdbg_status qdbg_onnx_load_file(qdbg_ctx *ctx, const char *path, qdbg_graph **out)
{
    qdbg_graph *graph;
    qdbg__onnx_bytes bytes = {0};
    if (!ctx)
        return QDBG_E_INVALID;
    if (!path || !out)
        return qdbg__onnx_fail(ctx, QDBG_E_INVALID, NULL, NULL, "path or out is NULL");
    qdbg_status status = qdbg__onnx_read_file(ctx, path, SIZE_LIMIT, &bytes);
    if (status != QDBG_OK)
        return status;
    size_t length = folder_length(path);
    char *folder = qdbg_ctx_alloc(ctx, length + 2);
    if (folder) {
        memcpy(folder, length > 0 ? path : ".", length > 0 ? length : 1);
        status = build(ctx, bytes.data, bytes.size, folder, &graph);
    } else {
        status = qdbg__onnx_recorded(ctx);
    }
    qdbg_ctx_free(ctx, folder, length + 2);
    qdbg__onnx_bytes_free(ctx, &bytes); /* before inference, which may want memory of its own */
    return status == QDBG_OK ? finish(ctx, graph, out) : status;
}
