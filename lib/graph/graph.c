/* Building a graph and checking it. */
#include "graph.h"

#include <string.h>

#include "op.h"
#include "topology.h"

/* ---- create and destroy ---- */

qdbg_status qdbg_graph_create(qdbg_ctx *ctx, uint32_t opset, qdbg_graph **out)
{
    if (!ctx)
        return QDBG_E_INVALID;
    qdbg__clear_error(ctx);
    if (!out)
        return qdbg__fail(ctx, QDBG_E_INVALID, "out is NULL");
    if (opset < QDBG_OPSET_MIN || opset > QDBG_OPSET_MAX)
        return qdbg__fail(ctx, QDBG_E_UNSUPPORTED, "opset %u is outside %d..%d", opset,
                          QDBG_OPSET_MIN, QDBG_OPSET_MAX);
    qdbg_graph *g = qdbg__alloc(ctx, 1, sizeof *g);
    if (!g)
        return ctx->error_status;
    g->ctx = ctx;
    g->opset = opset;
    *out = g;
    return QDBG_OK;
}

static void free_attr(qdbg_ctx *ctx, qdbg__attr *a)
{
    qdbg__strfree(ctx, a->name);
    qdbg__strfree(ctx, a->s);
    qdbg__free(ctx, a->ints, a->n, sizeof *a->ints);
    qdbg__free(ctx, a->floats, a->n, sizeof *a->floats);
    qdbg__free(ctx, a->tensor.data, qdbg_view_count(&a->tensor), qdbg_dtype_size(a->tensor.dtype));
}

void qdbg__node_free(qdbg_ctx *ctx, qdbg__node *n)
{
    for (size_t i = 0; i < n->n_attrs; i++)
        free_attr(ctx, &n->attrs[i]);
    qdbg__free(ctx, n->attrs, n->attrs_capacity, sizeof *n->attrs);
    qdbg__free(ctx, n->in, n->n_in, sizeof *n->in);
    qdbg__free(ctx, n->out, n->n_out, sizeof *n->out);
    qdbg__strfree(ctx, n->op_type);
    qdbg__strfree(ctx, n->name);
}

void qdbg_graph_destroy(qdbg_graph *g)
{
    if (!g)
        return;
    qdbg_ctx *ctx = g->ctx;
    for (size_t i = 0; i < g->n_values; i++) {
        qdbg__strfree(ctx, g->values[i].name);
        qdbg__free(ctx, g->values[i].data, g->values[i].bytes, 1);
    }
    for (size_t i = 0; i < g->n_nodes; i++)
        qdbg__node_free(ctx, &g->nodes[i]);
    qdbg__free(ctx, g->values, g->values_capacity, sizeof *g->values);
    qdbg__free(ctx, g->nodes, g->nodes_capacity, sizeof *g->nodes);
    qdbg__free(ctx, g->inputs, g->inputs_capacity, sizeof *g->inputs);
    qdbg__free(ctx, g->outputs, g->outputs_capacity, sizeof *g->outputs);
    qdbg__free(ctx, g->buckets, g->n_buckets, sizeof *g->buckets);
    qdbg__free(ctx, g->consumer_store, g->consumer_store_size, sizeof *g->consumer_store);
    qdbg__free(ctx, g, 1, sizeof *g);
}

/* Every building call begins so. */
static qdbg_status open_for_change(qdbg_graph *g)
{
    if (!g)
        return QDBG_E_INVALID;
    qdbg__clear_error(g->ctx);
    if (g->finished || g->broken)
        return qdbg__fail(g->ctx, QDBG_E_STATE, "the graph is finished and cannot change");
    return QDBG_OK;
}

/* ---- values ---- */

static uint32_t hash_name(const char *name)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return h;
}

static uint32_t find_value(const qdbg_graph *g, const char *name)
{
    if (g->n_buckets == 0)
        return QDBG_NONE;
    uint32_t v = g->buckets[hash_name(name) % g->n_buckets];
    while (v != QDBG_NONE && strcmp(g->values[v].name, name) != 0)
        v = g->values[v].hash_next;
    return v;
}

uint32_t qdbg_graph_find_value(const qdbg_graph *g, const char *name)
{
    return g && name ? find_value(g, name) : QDBG_NONE;
}

static void index_value(qdbg_graph *g, uint32_t v)
{
    uint32_t *bucket = &g->buckets[hash_name(g->values[v].name) % g->n_buckets];
    g->values[v].hash_next = *bucket;
    *bucket = v;
}

static qdbg_status grow_index(qdbg_graph *g)
{
    if (g->n_values < g->n_buckets)
        return QDBG_OK;
    uint32_t n = g->n_buckets ? g->n_buckets * 2 : 64;
    uint32_t *buckets = qdbg__alloc(g->ctx, n, sizeof *buckets);
    if (!buckets)
        return g->ctx->error_status;
    qdbg__free(g->ctx, g->buckets, g->n_buckets, sizeof *g->buckets);
    g->buckets = buckets;
    g->n_buckets = n;
    for (uint32_t i = 0; i < n; i++)
        buckets[i] = QDBG_NONE;
    for (uint32_t v = 0; v < g->n_values; v++)
        index_value(g, v);
    return QDBG_OK;
}

static qdbg_status check_declared(qdbg_graph *g, const char *name, int32_t dtype, uint32_t rank,
                                  const int64_t *dims)
{
    if (!name || !*name)
        return qdbg__fail(g->ctx, QDBG_E_INVALID, "a value needs a name");
    if (find_value(g, name) != QDBG_NONE)
        return qdbg__fail_at(g->ctx, QDBG_E_INVALID, NULL, name, "value '%s' is there already",
                             name);
    if (dtype != QDBG_DTYPE_NONE && qdbg_dtype_size(dtype) == 0)
        return qdbg__fail_at(g->ctx, QDBG_E_TYPE, NULL, name, "value '%s': unknown type %d", name,
                             dtype);
    if (rank == QDBG_RANK_UNKNOWN)
        return QDBG_OK;
    if (rank > QDBG_MAX_RANK || (rank > 0 && !dims))
        return qdbg__fail_at(g->ctx, QDBG_E_INVALID, NULL, name,
                             "value '%s': rank %u is above %d or has no dimensions", name, rank,
                             QDBG_MAX_RANK);
    for (uint32_t i = 0; i < rank; i++)
        if (dims[i] < QDBG_DIM_UNKNOWN)
            return qdbg__fail_at(g->ctx, QDBG_E_INVALID, NULL, name,
                                 "value '%s': dimension %u is %lld", name, i, (long long)dims[i]);
    return QDBG_OK;
}

static qdbg_status append_value(qdbg_graph *g, const char *name, int32_t dtype, uint32_t rank,
                                const int64_t *dims, uint32_t *id)
{
    qdbg_status status = check_declared(g, name, dtype, rank, dims);
    if (status != QDBG_OK)
        return status;
    status =
        qdbg__reserve(g->ctx, &g->values, &g->values_capacity, g->n_values + 1, sizeof *g->values);
    if (status == QDBG_OK)
        status = grow_index(g);
    if (status != QDBG_OK)
        return status;
    qdbg__value *v = &g->values[g->n_values];
    *v = (qdbg__value){.dtype = dtype, .rank = rank, .producer = QDBG_NONE};
    v->name = qdbg__strdup(g->ctx, name);
    if (!v->name)
        return g->ctx->error_status;
    if (rank != QDBG_RANK_UNKNOWN && rank > 0)
        memcpy(v->dims, dims, rank * sizeof *dims);
    *id = (uint32_t)g->n_values++;
    index_value(g, *id);
    return QDBG_OK;
}

qdbg_status qdbg_graph_add_value(qdbg_graph *g, const char *name, int32_t dtype, uint32_t rank,
                                 const int64_t *dims, uint32_t *id)
{
    uint32_t v;
    qdbg_status status = open_for_change(g);
    if (status == QDBG_OK)
        status = append_value(g, name, dtype, rank, dims, &v);
    if (status == QDBG_OK && id)
        *id = v;
    return status;
}

qdbg_status qdbg_graph_add_parameter(qdbg_graph *g, const char *name, const qdbg_view *view,
                                     uint32_t *id)
{
    qdbg_status status = open_for_change(g);
    if (status == QDBG_OK)
        status = qdbg__view_check(g->ctx, view, name ? name : "parameter");
    if (status != QDBG_OK)
        return status;
    size_t bytes = qdbg_view_count(view) * qdbg_dtype_size(view->dtype);
    void *data = qdbg__alloc(g->ctx, bytes, 1);
    if (!data)
        return g->ctx->error_status;
    uint32_t v;
    status = append_value(g, name, view->dtype, view->rank, view->dims, &v);
    if (status != QDBG_OK) {
        qdbg__free(g->ctx, data, bytes, 1);
        return status;
    }
    if (bytes > 0)
        memcpy(data, view->data, bytes);
    g->values[v].is_param = true;
    g->values[v].data = data;
    g->values[v].bytes = bytes;
    if (id)
        *id = v;
    return QDBG_OK;
}

/* ---- nodes ---- */

static qdbg_status check_inputs(qdbg_graph *g, const char *name, const uint32_t *in, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (in[i] != QDBG_NONE && in[i] >= g->n_values)
            return qdbg__fail_at(g->ctx, QDBG_E_INVALID, name, NULL,
                                 "node '%s': input %u is value %u, which does not exist", name, i,
                                 in[i]);
    return QDBG_OK;
}

static qdbg_status check_outputs(qdbg_graph *g, const char *name, const uint32_t *out, uint32_t n)
{
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        if (out[i] == QDBG_NONE)
            continue;
        any = true;
        if (out[i] >= g->n_values)
            return qdbg__fail_at(g->ctx, QDBG_E_INVALID, name, NULL,
                                 "node '%s': output %u is value %u, which does not exist", name, i,
                                 out[i]);
        const qdbg__value *v = &g->values[out[i]];
        bool twice = v->producer != QDBG_NONE;
        for (uint32_t k = 0; k < i; k++)
            twice = twice || out[k] == out[i];
        if (twice || v->is_param || v->is_input)
            return qdbg__fail_at(g->ctx, QDBG_E_INVALID, name, v->name,
                                 "node '%s': output '%s' is %s already", name, v->name,
                                 v->is_param   ? "a parameter"
                                 : v->is_input ? "a graph input"
                                               : "computed by a node");
    }
    if (!any)
        return qdbg__fail_at(g->ctx, QDBG_E_INVALID, name, NULL, "node '%s' has no output", name);
    return QDBG_OK;
}

static uint32_t *copy_ids(qdbg_ctx *ctx, const uint32_t *ids, uint32_t n)
{
    uint32_t *copy = qdbg__alloc(ctx, n, sizeof *copy);
    if (copy && n > 0)
        memcpy(copy, ids, n * sizeof *copy);
    return copy;
}

static const char *node_name(const qdbg_graph *g, const char *name, const uint32_t *out, uint32_t n)
{
    if (name && *name)
        return name;
    for (uint32_t i = 0; i < n; i++)
        if (out[i] < g->n_values)
            return g->values[out[i]].name;
    return "?";
}

qdbg_status qdbg_graph_add_node(qdbg_graph *g, const char *op_type, const char *name,
                                const uint32_t *inputs, uint32_t n_inputs, const uint32_t *outputs,
                                uint32_t n_outputs, uint32_t *id)
{
    qdbg_status status = open_for_change(g);
    if (status != QDBG_OK)
        return status;
    if (!op_type || !*op_type || (n_inputs > 0 && !inputs) || !outputs)
        return qdbg__fail(g->ctx, QDBG_E_INVALID,
                          "a node needs an operator type, its inputs and its outputs");
    const char *label = node_name(g, name, outputs, n_outputs);
    status = check_inputs(g, label, inputs, n_inputs);
    if (status == QDBG_OK)
        status = check_outputs(g, label, outputs, n_outputs);
    if (status == QDBG_OK)
        status =
            qdbg__reserve(g->ctx, &g->nodes, &g->nodes_capacity, g->n_nodes + 1, sizeof *g->nodes);
    if (status != QDBG_OK)
        return status;
    qdbg__node n = {.n_in = n_inputs, .n_out = n_outputs};
    n.op_type = qdbg__strdup(g->ctx, op_type);
    n.name = n.op_type ? qdbg__strdup(g->ctx, label) : NULL;
    n.in = n.name ? copy_ids(g->ctx, inputs, n_inputs) : NULL;
    n.out = n.in ? copy_ids(g->ctx, outputs, n_outputs) : NULL;
    if (!n.out) {
        qdbg__node_free(g->ctx, &n);
        return g->ctx->error_status;
    }
    n.op = qdbg__op_find(op_type);
    for (uint32_t i = 0; i < n_outputs; i++)
        if (outputs[i] != QDBG_NONE)
            g->values[outputs[i]].producer = (uint32_t)g->n_nodes;
    if (id)
        *id = (uint32_t)g->n_nodes;
    g->nodes[g->n_nodes++] = n;
    return QDBG_OK;
}

/* A fresh attribute at the end of the node's list; counted only by commit_attr. */
static qdbg_status begin_attr(qdbg_graph *g, uint32_t node, const char *name, qdbg__attr_kind kind,
                              qdbg__attr *a)
{
    qdbg_status status = open_for_change(g);
    if (status != QDBG_OK)
        return status;
    if (node >= g->n_nodes || !name || !*name)
        return qdbg__fail(g->ctx, QDBG_E_INVALID, "attribute '%s': node %u does not exist",
                          name ? name : "", node);
    qdbg__node *n = &g->nodes[node];
    if (qdbg__node_attr(n, name))
        return qdbg__fail_at(g->ctx, QDBG_E_INVALID, n->name, NULL,
                             "node '%s': attribute '%s' is set twice", n->name, name);
    status = qdbg__reserve(g->ctx, &n->attrs, &n->attrs_capacity, n->n_attrs + 1, sizeof *n->attrs);
    if (status != QDBG_OK)
        return status;
    *a = (qdbg__attr){.kind = kind};
    a->name = qdbg__strdup(g->ctx, name);
    return a->name ? QDBG_OK : g->ctx->error_status;
}

static qdbg_status commit_attr(qdbg_graph *g, uint32_t node, const qdbg__attr *a)
{
    qdbg__node *n = &g->nodes[node];
    n->attrs[n->n_attrs++] = *a;
    return QDBG_OK;
}

qdbg_status qdbg_graph_set_int(qdbg_graph *g, uint32_t node, const char *name, int64_t value)
{
    qdbg__attr a;
    qdbg_status status = begin_attr(g, node, name, QDBG__ATTR_INT, &a);
    if (status != QDBG_OK)
        return status;
    a.i = value;
    return commit_attr(g, node, &a);
}

qdbg_status qdbg_graph_set_float(qdbg_graph *g, uint32_t node, const char *name, float value)
{
    qdbg__attr a;
    qdbg_status status = begin_attr(g, node, name, QDBG__ATTR_FLOAT, &a);
    if (status != QDBG_OK)
        return status;
    a.f = value;
    return commit_attr(g, node, &a);
}

/* Copy `bytes` of `data` into the attribute's field, or drop the attribute. */
static qdbg_status commit_copy(qdbg_graph *g, uint32_t node, qdbg__attr *a, void *field,
                               const void *data, size_t bytes)
{
    void *copy = qdbg__alloc(g->ctx, bytes, 1);
    if (!copy) {
        qdbg__strfree(g->ctx, a->name);
        return g->ctx->error_status;
    }
    if (bytes > 0)
        memcpy(copy, data, bytes);
    memcpy(field, &copy, sizeof copy);
    return commit_attr(g, node, a);
}

static qdbg_status need(qdbg_graph *g, const void *data)
{
    if (g && !data)
        return qdbg__fail(g->ctx, QDBG_E_INVALID, "the attribute's value is NULL");
    return QDBG_OK;
}

qdbg_status qdbg_graph_set_ints(qdbg_graph *g, uint32_t node, const char *name,
                                const int64_t *values, uint32_t n)
{
    qdbg__attr a;
    qdbg_status status = n > 0 ? need(g, values) : QDBG_OK;
    if (status == QDBG_OK)
        status = begin_attr(g, node, name, QDBG__ATTR_INTS, &a);
    if (status != QDBG_OK)
        return status;
    a.n = n;
    return commit_copy(g, node, &a, &a.ints, values, n * sizeof *values);
}

qdbg_status qdbg_graph_set_floats(qdbg_graph *g, uint32_t node, const char *name,
                                  const float *values, uint32_t n)
{
    qdbg__attr a;
    qdbg_status status = n > 0 ? need(g, values) : QDBG_OK;
    if (status == QDBG_OK)
        status = begin_attr(g, node, name, QDBG__ATTR_FLOATS, &a);
    if (status != QDBG_OK)
        return status;
    a.n = n;
    return commit_copy(g, node, &a, &a.floats, values, n * sizeof *values);
}

qdbg_status qdbg_graph_set_string(qdbg_graph *g, uint32_t node, const char *name, const char *value)
{
    qdbg__attr a;
    qdbg_status status = need(g, value);
    if (status == QDBG_OK)
        status = begin_attr(g, node, name, QDBG__ATTR_STRING, &a);
    if (status != QDBG_OK)
        return status;
    return commit_copy(g, node, &a, &a.s, value, strlen(value) + 1);
}

qdbg_status qdbg_graph_set_tensor(qdbg_graph *g, uint32_t node, const char *name,
                                  const qdbg_view *value)
{
    qdbg__attr a;
    if (!g)
        return QDBG_E_INVALID;
    qdbg__clear_error(g->ctx);
    qdbg_status status = qdbg__view_check(g->ctx, value, name ? name : "attribute");
    if (status == QDBG_OK)
        status = begin_attr(g, node, name, QDBG__ATTR_TENSOR, &a);
    if (status != QDBG_OK)
        return status;
    a.tensor = *value;
    a.tensor.data = NULL;
    size_t bytes = qdbg_view_count(value) * qdbg_dtype_size(value->dtype);
    return commit_copy(g, node, &a, &a.tensor.data, value->data, bytes);
}

/* ---- inputs and outputs ---- */

static qdbg_status append_end(qdbg_graph *g, uint32_t value, uint32_t **list, size_t *n,
                              size_t *capacity)
{
    for (size_t i = 0; i < *n; i++)
        if ((*list)[i] == value)
            return qdbg__fail_at(g->ctx, QDBG_E_INVALID, NULL, g->values[value].name,
                                 "'%s' is named twice among the graph's inputs or outputs",
                                 g->values[value].name);
    qdbg_status status = qdbg__reserve(g->ctx, list, capacity, *n + 1, sizeof **list);
    if (status == QDBG_OK)
        (*list)[(*n)++] = value;
    return status;
}

static qdbg_status check_end(qdbg_graph *g, uint32_t value)
{
    qdbg_status status = open_for_change(g);
    if (status == QDBG_OK && value >= g->n_values)
        return qdbg__fail(g->ctx, QDBG_E_INVALID, "value %u does not exist", value);
    return status;
}

qdbg_status qdbg_graph_add_input(qdbg_graph *g, uint32_t value)
{
    qdbg_status status = check_end(g, value);
    if (status != QDBG_OK)
        return status;
    qdbg__value *v = &g->values[value];
    if (v->is_param || v->producer != QDBG_NONE)
        return qdbg__fail_at(g->ctx, QDBG_E_INVALID, NULL, v->name,
                             "input '%s' is a parameter or computed by a node", v->name);
    status = append_end(g, value, &g->inputs, &g->n_inputs, &g->inputs_capacity);
    if (status == QDBG_OK)
        v->is_input = true;
    return status;
}

qdbg_status qdbg_graph_add_output(qdbg_graph *g, uint32_t value)
{
    qdbg_status status = check_end(g, value);
    if (status == QDBG_OK)
        status = append_end(g, value, &g->outputs, &g->n_outputs, &g->outputs_capacity);
    if (status == QDBG_OK)
        g->values[value].is_output = true;
    return status;
}

/* ---- finish ---- */

/* Does what was declared agree with what was inferred? Where the batch is symbolic, inference took
 * one sample, which says nothing of a first dimension. */
static qdbg_status check_agrees(qdbg_graph *g, const qdbg__value *v, const qdbg_view *found,
                                bool symbolic)
{
    char declared[128], inferred[128];
    if (v->dtype != QDBG_DTYPE_NONE && v->dtype != found->dtype)
        return qdbg__fail_at(g->ctx, QDBG_E_TYPE, NULL, v->name,
                             "value '%s' is declared as %s, but is %s", v->name,
                             qdbg_dtype_name(v->dtype), qdbg_dtype_name(found->dtype));
    if (v->rank == QDBG_RANK_UNKNOWN)
        return QDBG_OK;
    bool agrees = v->rank == found->rank;
    for (uint32_t i = symbolic ? 1 : 0; i < v->rank && agrees; i++)
        agrees = v->dims[i] == QDBG_DIM_UNKNOWN || v->dims[i] == found->dims[i];
    if (agrees)
        return QDBG_OK;
    qdbg__shape_text(v->rank, v->dims, declared, sizeof declared);
    qdbg__shape_text(found->rank, found->dims, inferred, sizeof inferred);
    return qdbg__fail_at(g->ctx, QDBG_E_SHAPE, NULL, v->name,
                         "value '%s' is declared as %s, but is %s", v->name, declared, inferred);
}

static qdbg_status adopt_fact(qdbg_graph *g, qdbg__value *v, const qdbg__fact *f, bool symbolic)
{
    if (v->is_input || v->is_param || !f->known)
        return QDBG_OK;
    qdbg_status status = check_agrees(g, v, &f->view, symbolic);
    if (status != QDBG_OK)
        return status;
    v->dtype = f->view.dtype;
    v->rank = f->view.rank;
    memcpy(v->dims, f->view.dims, sizeof v->dims);
    return QDBG_OK;
}

/* For inference at finish: one sample where the batch is symbolic. */
static qdbg_status adopt_shapes(qdbg_graph *g)
{
    bool symbolic = false;
    qdbg_view *in = qdbg__alloc(g->ctx, g->n_inputs, sizeof *in);
    if (!in)
        return g->ctx->error_status;
    for (size_t i = 0; i < g->n_inputs; i++) {
        const qdbg__value *v = &g->values[g->inputs[i]];
        in[i] = (qdbg_view)QDBG_VIEW_INIT;
        if (v->dtype == QDBG_DTYPE_NONE || v->rank == QDBG_RANK_UNKNOWN)
            continue;
        in[i].dtype = v->dtype;
        in[i].rank = v->rank;
        memcpy(in[i].dims, v->dims, sizeof v->dims);
        if (v->rank > 0 && in[i].dims[0] == QDBG_DIM_UNKNOWN) {
            in[i].dims[0] = 1;
            symbolic = true;
        }
    }
    qdbg__facts facts;
    qdbg_status status = qdbg__facts_infer(g, in, false, &facts);
    qdbg__free(g->ctx, in, g->n_inputs, sizeof *in);
    if (status != QDBG_OK)
        return status;
    for (size_t i = 0; i < g->n_values && status == QDBG_OK; i++)
        status = adopt_fact(g, &g->values[i], &facts.values[i], symbolic);
    qdbg__facts_free(&facts);
    return status;
}

qdbg_status qdbg_graph_finish(qdbg_graph *g)
{
    qdbg_status status = open_for_change(g);
    if (status != QDBG_OK)
        return status;
    g->broken = true;
    status = qdbg__topology_resolve_copies(g);
    if (status == QDBG_OK)
        status = qdbg__topology_sort(g);
    if (status == QDBG_OK)
        status = adopt_shapes(g);
    if (status != QDBG_OK)
        return status;
    g->broken = false;
    g->finished = true;
    return QDBG_OK;
}
