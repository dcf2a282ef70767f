/* A copy of a graph whose Clips have their bounds as parameters, a number for each channel. */
#include <math.h>
#include <string.h>

#include "layer.h"

typedef struct copying {
    const qdbg_graph *from;
    qdbg_graph *to;
} copying;

static qdbg_status copy_values(copying *c)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < c->from->n_values && status == QDBG_OK; i++) {
        const qdbg__value *v = &c->from->values[i];
        qdbg_view view = QDBG_VIEW_INIT;
        if (!v->is_param) {
            status = qdbg_graph_add_value(c->to, v->name, v->dtype, v->rank, v->dims, NULL);
            continue;
        }
        view.dtype = v->dtype;
        view.rank = v->rank;
        memcpy(view.dims, v->dims, sizeof v->dims);
        view.data = v->data;
        status = qdbg_graph_add_parameter(c->to, v->name, &view, NULL);
    }
    return status;
}

static qdbg_status copy_attr(qdbg_graph *to, uint32_t node, const qdbg__attr *a)
{
    switch (a->kind) {
    case QDBG__ATTR_INT:
        return qdbg_graph_set_int(to, node, a->name, a->i);
    case QDBG__ATTR_INTS:
        return qdbg_graph_set_ints(to, node, a->name, a->ints, a->n);
    case QDBG__ATTR_FLOAT:
        return qdbg_graph_set_float(to, node, a->name, a->f);
    case QDBG__ATTR_FLOATS:
        return qdbg_graph_set_floats(to, node, a->name, a->floats, a->n);
    case QDBG__ATTR_STRING:
        return qdbg_graph_set_string(to, node, a->name, a->s);
    default:
        return qdbg_graph_set_tensor(to, node, a->name, &a->tensor);
    }
}

/* ---- Clip ---- */

/* Is the bound one constant number (or left out)? *bound is untouched where it is left out. */
static bool constant_bound(const copying *c, const qdbg__node *n, uint32_t input, const char *name,
                           float *bound)
{
    *bound = qdbg__attr_float(n, name, *bound);
    if (input >= n->n_in || n->in[input] == QDBG_NONE)
        return true;
    const qdbg__value *v = &c->from->values[n->in[input]];
    if (!v->is_param || v->dtype != QDBG_F32 || v->bytes != sizeof(float))
        return false;
    memcpy(bound, v->data, sizeof *bound);
    return true;
}

static bool is_exposable(const copying *c, const qdbg__node *n, float bounds[2])
{
    bounds[0] = -INFINITY;
    bounds[1] = INFINITY;
    if (!qdbg__node_is(n, "Clip") || n->n_in < 1 || n->in[0] == QDBG_NONE ||
        n->out[0] == QDBG_NONE || qdbg__channels_of(c->from, n->in[0]) == 0)
        return false;
    const qdbg__value *x = &c->from->values[n->in[0]];
    return x->dtype == QDBG_F32 && constant_bound(c, n, 1, "min", &bounds[0]) &&
           constant_bound(c, n, 2, "max", &bounds[1]);
}

static char *join(qdbg_ctx *ctx, const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    char *text = qdbg__alloc(ctx, n + m + 1, 1);
    if (text) {
        memcpy(text, a, n);
        memcpy(text + n, b, m);
    }
    return text;
}

/* A parameter [C, 1, ...] of equal numbers, called as the Clip's output with `suffix`. */
static qdbg_status add_bound(copying *c, const qdbg__node *n, const char *suffix, float bound,
                             uint32_t *id)
{
    qdbg_ctx *ctx = c->to->ctx;
    const qdbg__value *x = &c->from->values[n->in[0]];
    const char *name = c->from->values[n->out[0]].name;
    size_t channels = (size_t)x->dims[1], length = strlen(name) + strlen(suffix) + 1;
    float *data = qdbg__alloc(ctx, channels, sizeof *data);
    char *text = data ? join(ctx, name, suffix) : NULL;
    qdbg_view view = QDBG_VIEW_INIT;
    qdbg_status status = text ? QDBG_OK : ctx->error_status;
    view.dtype = QDBG_F32;
    view.rank = x->rank - 1;
    view.data = data;
    for (uint32_t i = 0; i < view.rank; i++)
        view.dims[i] = i == 0 ? x->dims[1] : 1;
    for (size_t i = 0; data && i < channels; i++)
        data[i] = bound;
    if (status == QDBG_OK)
        status = qdbg_graph_add_parameter(c->to, text, &view, id);
    if (text)
        qdbg__free(ctx, text, length, 1);
    qdbg__free(ctx, data, channels, sizeof *data);
    return status;
}

static qdbg_status add_clip(copying *c, const qdbg__node *n, const float bounds[2])
{
    uint32_t in[3] = {n->in[0], QDBG_NONE, QDBG_NONE};
    qdbg_status status = QDBG_OK;
    if (bounds[0] != -INFINITY)
        status = add_bound(c, n, ".min_by_channel", bounds[0], &in[1]);
    if (status == QDBG_OK && bounds[1] != INFINITY)
        status = add_bound(c, n, ".max_by_channel", bounds[1], &in[2]);
    if (status != QDBG_OK)
        return status;
    return qdbg_graph_add_node(c->to, "Clip", n->name, in, 3, n->out, n->n_out, NULL);
}

/* ---- all ---- */

static qdbg_status copy_node(copying *c, const qdbg__node *n)
{
    uint32_t id;
    float bounds[2];
    if (is_exposable(c, n, bounds))
        return add_clip(c, n, bounds);
    qdbg_status status =
        qdbg_graph_add_node(c->to, n->op_type, n->name, n->in, n->n_in, n->out, n->n_out, &id);
    for (size_t i = 0; i < n->n_attrs && status == QDBG_OK; i++)
        status = copy_attr(c->to, id, &n->attrs[i]);
    return status;
}

static qdbg_status copy_graph(copying *c)
{
    qdbg_status status = copy_values(c);
    for (size_t i = 0; i < c->from->n_inputs && status == QDBG_OK; i++)
        status = qdbg_graph_add_input(c->to, c->from->inputs[i]);
    for (size_t i = 0; i < c->from->n_nodes && status == QDBG_OK; i++)
        status = copy_node(c, &c->from->nodes[i]);
    for (size_t i = 0; i < c->from->n_outputs && status == QDBG_OK; i++)
        status = qdbg_graph_add_output(c->to, c->from->outputs[i]);
    return status == QDBG_OK ? qdbg_graph_finish(c->to) : status;
}

qdbg_status qdbg_graph_expose_clips(const qdbg_graph *graph, qdbg_graph **out)
{
    if (!graph)
        return QDBG_E_INVALID;
    qdbg__clear_error(graph->ctx);
    if (!out)
        return qdbg__fail(graph->ctx, QDBG_E_INVALID, "out is NULL");
    if (!graph->finished)
        return qdbg__fail(graph->ctx, QDBG_E_STATE, "the graph is not finished");
    copying c = {.from = graph};
    qdbg_status status = qdbg_graph_create(graph->ctx, graph->opset, &c.to);
    if (status != QDBG_OK)
        return status;
    status = copy_graph(&c);
    if (status != QDBG_OK) {
        qdbg_graph_destroy(c.to);
        return status;
    }
    *out = c.to;
    return QDBG_OK;
}
