#include "one_node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(const one_node *o, qdbg_status status)
{
    if (status == QDBG_OK)
        return;
    fprintf(stderr, "one_node: %s\n", qdbg_ctx_error_message(o->ctx));
    abort();
}

static qdbg_view make_view(const one_node *o, int32_t dtype, const int64_t *dims, const void *data)
{
    qdbg_view view;
    uint32_t rank = 0;
    while (dims[rank] >= 0)
        rank++;
    must(o, qdbg_view_init(&view, dtype, rank, dims, &view)); /* data follows */
    size_t bytes = (size_t)qdbg_view_count(&view) * qdbg_dtype_size(dtype);
    view.data = malloc(bytes);
    if (bytes > 0 && !view.data)
        abort();
    if (bytes > 0)
        memcpy(view.data, data, bytes);
    return view;
}

void one_begin(one_node *o, uint32_t opset)
{
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    options.threads = 1;
    *o = (one_node){0};
    must(o, qdbg_ctx_create(&options, &o->ctx));
    must(o, qdbg_graph_create(o->ctx, opset, &o->graph));
}

void one_input(one_node *o, int32_t dtype, const int64_t *dims, const void *data)
{
    qdbg_view view = make_view(o, dtype, dims, data);
    char name[16];
    snprintf(name, sizeof name, "in%u", o->n_in);
    must(o, qdbg_graph_add_value(o->graph, name, dtype, view.rank, view.dims, &o->in[o->n_in]));
    must(o, qdbg_graph_add_input(o->graph, o->in[o->n_in]));
    o->n_in++;
    o->feeds[o->n_feeds++] = view;
}

void one_param(one_node *o, int32_t dtype, const int64_t *dims, const void *data)
{
    qdbg_view view = make_view(o, dtype, dims, data);
    char name[16];
    snprintf(name, sizeof name, "in%u", o->n_in);
    must(o, qdbg_graph_add_parameter(o->graph, name, &view, &o->in[o->n_in]));
    free(view.data);
    o->n_in++;
}

void one_ints(one_node *o, const int64_t *values, int64_t n)
{
    one_param(o, QDBG_I64, DIMS(n), values);
}

void one_absent(one_node *o)
{
    o->in[o->n_in++] = QDBG_NONE;
}

void one_op(one_node *o, const char *type, uint32_t n_out)
{
    for (uint32_t i = 0; i < n_out; i++) {
        char name[16];
        snprintf(name, sizeof name, "out%u", i);
        must(o, qdbg_graph_add_value(o->graph, name, QDBG_DTYPE_NONE, QDBG_RANK_UNKNOWN, NULL,
                                     &o->out[i]));
        must(o, qdbg_graph_add_output(o->graph, o->out[i]));
    }
    o->n_out = n_out;
    must(o, qdbg_graph_add_node(o->graph, type, "n", o->in, o->n_in, o->out, n_out, &o->node));
}

void one_set_ints(one_node *o, const char *name, const int64_t *values, uint32_t n)
{
    must(o, qdbg_graph_set_ints(o->graph, o->node, name, values, n));
}

void one_set_int(one_node *o, const char *name, int64_t value)
{
    must(o, qdbg_graph_set_int(o->graph, o->node, name, value));
}

void one_set_float(one_node *o, const char *name, float value)
{
    must(o, qdbg_graph_set_float(o->graph, o->node, name, value));
}

void one_set_string(one_node *o, const char *name, const char *value)
{
    must(o, qdbg_graph_set_string(o->graph, o->node, name, value));
}

qdbg_status one_run(one_node *o, qdbg_view *out)
{
    qdbg_status status = qdbg_graph_finish(o->graph);
    return status == QDBG_OK ? interp_run(o->graph, o->feeds, out) : status;
}

void one_end(one_node *o)
{
    for (uint32_t i = 0; i < o->n_feeds; i++)
        free(o->feeds[i].data);
    qdbg_graph_destroy(o->graph);
    qdbg_ctx_destroy(o->ctx);
}
