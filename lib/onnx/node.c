#include "node.h"

#include <stdio.h>
#include <string.h>

#include "attribute.h"
#include "fail.h"
#include "tensor.h"

/* More is an attack: a node's attributes are searched one by one. */
#define ATTRIBUTES_LIMIT 1024

/* ---- what every step asks of a node ---- */

static bool in_default_domain(const Qdbg__Onnx__Node *n)
{
    return !n->domain || !*n->domain || strcmp(n->domain, "ai.onnx") == 0;
}

static bool is_constant(const Qdbg__Onnx__Node *n)
{
    return in_default_domain(n) && strcmp(n->op_type, "Constant") == 0;
}

/* Its name in errors: a node need not have one. */
static const char *label_of(const Qdbg__Onnx__Node *n)
{
    if (n->name && *n->name)
        return n->name;
    for (size_t i = 0; i < n->n_output; i++)
        if (*n->output[i])
            return n->output[i];
    return "";
}

/* Number of names without the empty ones at the end, which mean nothing. */
static size_t count_names(char *const *names, size_t n)
{
    while (n > 0 && !*names[n - 1])
        n--;
    return n;
}

typedef qdbg_status (*node_fn)(qdbg__onnx_load *load, Qdbg__Onnx__Node *n, size_t index,
                               void *user);

static qdbg_status for_each_node(qdbg__onnx_load *load, node_fn fn, void *user)
{
    qdbg__onnx_field f;
    qdbg__onnx_graph_walk walk = qdbg__onnx_walk_graph(load, QDBG__ONNX_GRAPH_NODE);
    qdbg_status status = QDBG_OK;
    while (status == QDBG_OK && qdbg__onnx_walk_next(&walk, &f)) {
        ProtobufCMessage *m;
        status = qdbg__onnx_unpack(&load->memory, &qdbg__onnx__node__descriptor, f.data, f.size,
                                   "node", walk.index, &m);
        if (status != QDBG_OK)
            break;
        status = fn(load, (Qdbg__Onnx__Node *)m, walk.index, user);
        protobuf_c_message_free_unpacked(m, &load->memory.protobuf);
    }
    return status;
}

/* ---- refused nodes ---- */

/* What is refused, in words, as much as a message holds. */
typedef struct refusals {
    char text[400];
    size_t used;
    size_t more; /* that found no room */
} refusals;

static void refuse(refusals *r, const Qdbg__Onnx__Node *n, const char *why)
{
    char text[256];
    const char *label = label_of(n);
    int length = snprintf(text, sizeof text, "%s%.40s '%.*s' %s", r->used ? ", " : "", n->op_type,
                          QDBG__ONNX_SHOW(label), why);
    if (length < 0 || (size_t)length >= sizeof text || r->more > 0 ||
        r->used + (size_t)length >= sizeof r->text) {
        r->more++;
        return;
    }
    memcpy(r->text + r->used, text, (size_t)length + 1);
    r->used += (size_t)length;
}

static bool has_subgraph(const Qdbg__Onnx__Node *n)
{
    for (size_t i = 0; i < n->n_attribute; i++) {
        int32_t kind = qdbg__onnx_attribute_kind(n->attribute[i]);
        if (kind == QDBG__ONNX_ATTR_GRAPH || kind == QDBG__ONNX_ATTR_GRAPHS)
            return true;
    }
    return false;
}

static void collect_refusals(const qdbg__onnx_load *load, const Qdbg__Onnx__Node *n, refusals *r)
{
    const char *domain = n->domain ? n->domain : "";
    if (has_subgraph(n))
        refuse(r, n, "has a sub-graph");
    else if (qdbg__onnx_functions_has(&load->functions, domain, n->op_type))
        refuse(r, n, "calls a function of the model");
}

static qdbg_status report_refusals(qdbg_ctx *ctx, const refusals *r)
{
    if (r->used == 0 && r->more == 0)
        return QDBG_OK;
    if (r->more == 0)
        return qdbg__onnx_fail(ctx, QDBG_E_UNSUPPORTED, NULL, NULL, "unsupported: %s", r->text);
    return qdbg__onnx_fail(ctx, QDBG_E_UNSUPPORTED, NULL, NULL,
                           "unsupported: %s and %zu more nodes", r->text, r->more);
}

/* ---- Constant ---- */

static const Qdbg__Onnx__Attribute *find_constant_value(const Qdbg__Onnx__Node *n)
{
    for (size_t i = 0; i < n->n_attribute; i++) {
        const char *name = n->attribute[i]->name;
        if (name && (strncmp(name, "value", 5) == 0 || strcmp(name, "sparse_value") == 0))
            return n->attribute[i];
    }
    return NULL;
}

static qdbg_status view_constant(qdbg__onnx_load *load, Qdbg__Onnx__Attribute *a, const char *label,
                                 const char *output, qdbg_view *view)
{
    int64_t n_floats = (int64_t)a->n_floats, n_ints = (int64_t)a->n_ints;
    qdbg_status status = QDBG_OK;
    switch (qdbg__onnx_attribute_kind(a)) {
    case QDBG__ONNX_ATTR_TENSOR:
        if (a->n_t > 0)
            return qdbg__onnx_tensor_view(&load->memory, a->t[a->n_t - 1], load->folder, output,
                                          view);
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, label, output,
                               "Constant '%.*s' has a tensor without content",
                               QDBG__ONNX_SHOW(label));
    case QDBG__ONNX_ATTR_FLOAT:
        status = qdbg_view_init(view, QDBG_F32, 0, NULL, &a->f);
        break;
    case QDBG__ONNX_ATTR_INT:
        status = qdbg_view_init(view, QDBG_I64, 0, NULL, &a->i);
        break;
    case QDBG__ONNX_ATTR_FLOATS:
        status = qdbg_view_init(view, QDBG_F32, 1, &n_floats, a->floats);
        break;
    case QDBG__ONNX_ATTR_INTS:
        status = qdbg_view_init(view, QDBG_I64, 1, &n_ints, a->ints);
        break;
    default:
        return qdbg__onnx_fail(
            load->ctx, QDBG_E_UNSUPPORTED, label, output,
            "Constant '%.*s' holds strings, a sparse tensor or no tensor ('%.40s')",
            QDBG__ONNX_SHOW(label), a->name);
    }
    if (status != QDBG_OK)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, label, output,
                               "Constant '%.*s' is too large", QDBG__ONNX_SHOW(label));
    return QDBG_OK;
}

static qdbg_status add_constant(qdbg__onnx_load *load, const Qdbg__Onnx__Node *n)
{
    const char *label = label_of(n), *output = n->output[0];
    qdbg_view view;
    const Qdbg__Onnx__Attribute *found = find_constant_value(n);
    if (!found || n->n_output != 1)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, label, output,
                               "Constant '%.*s' has no value or more than one output",
                               QDBG__ONNX_SHOW(label));
    Qdbg__Onnx__Attribute *a = (Qdbg__Onnx__Attribute *)found;
    qdbg_status status = qdbg__onnx_check_attribute(load, a, label);
    if (status == QDBG_OK)
        status = view_constant(load, a, label, output, &view);
    if (status != QDBG_OK)
        return status;
    status = qdbg_graph_add_parameter(load->graph, output, &view, NULL);
    return qdbg__onnx_blame_file(load->ctx, status);
}

/* ---- outputs of nodes ---- */

/* Why a name cannot be computed by a node. */
static const char *role_of(const qdbg_graph *graph, uint32_t value)
{
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    qdbg_graph_value(graph, value, &info);
    if (info.is_parameter)
        return "an initializer or a Constant";
    for (uint32_t i = 0; i < qdbg_graph_input_count(graph); i++)
        if (qdbg_graph_input(graph, i) == value)
            return "an input of the model";
    return "computed by another node";
}

static qdbg_status check_name(qdbg__onnx_load *load, const char *label, const char *name)
{
    uint32_t value = qdbg_graph_find_value(load->graph, name);
    if (value == QDBG_NONE)
        return QDBG_OK;
    return qdbg__onnx_fail(
        load->ctx, QDBG_E_FORMAT, label, name, "node '%.*s' computes '%.*s', which is already %s",
        QDBG__ONNX_SHOW(label), QDBG__ONNX_SHOW(name), role_of(load->graph, value));
}

static qdbg_status check_node(qdbg__onnx_load *load, const Qdbg__Onnx__Node *n, size_t index)
{
    const char *label = label_of(n);
    if (!n->op_type || !*n->op_type)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, label, NULL,
                               "node %zu ('%.*s') has no operator type", index,
                               QDBG__ONNX_SHOW(label));
    if (count_names(n->output, n->n_output) == 0)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, label, NULL,
                               "node %zu (%.40s '%.*s') has no output", index, n->op_type,
                               QDBG__ONNX_SHOW(label));
    if (n->n_attribute > ATTRIBUTES_LIMIT)
        return qdbg__onnx_fail(load->ctx, QDBG_E_UNSUPPORTED, label, NULL,
                               "node '%.*s' has %zu attributes; %d are supported",
                               QDBG__ONNX_SHOW(label), n->n_attribute, ATTRIBUTES_LIMIT);
    return QDBG_OK;
}

static qdbg_status add_outputs(qdbg__onnx_load *load, Qdbg__Onnx__Node *n, size_t index, void *user)
{
    qdbg_status status = check_node(load, n, index);
    if (status != QDBG_OK)
        return status;
    collect_refusals(load, n, user);
    for (size_t i = 0; i < n->n_output && status == QDBG_OK; i++) {
        if (!*n->output[i])
            continue;
        status = check_name(load, label_of(n), n->output[i]);
        if (status == QDBG_OK && !is_constant(n))
            status = qdbg_graph_add_value(load->graph, n->output[i], QDBG_DTYPE_NONE,
                                          QDBG_RANK_UNKNOWN, NULL, NULL);
    }
    if (status == QDBG_OK && is_constant(n))
        status = add_constant(load, n);
    return status;
}

qdbg_status qdbg__onnx_add_node_outputs(qdbg__onnx_load *load)
{
    refusals refused = {.used = 0};
    qdbg_status status = for_each_node(load, add_outputs, &refused);
    return status == QDBG_OK ? report_refusals(load->ctx, &refused) : status;
}

/* ---- nodes ---- */

/* ids: [n] values of the names; an empty name is none. */
static qdbg_status find_values(qdbg__onnx_load *load, const Qdbg__Onnx__Node *n, char *const *names,
                               size_t count, uint32_t *ids)
{
    for (size_t i = 0; i < count; i++) {
        ids[i] = *names[i] ? qdbg_graph_find_value(load->graph, names[i]) : QDBG_NONE;
        if (ids[i] != QDBG_NONE || !*names[i])
            continue;
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, label_of(n), names[i],
                               "node '%.*s' (%.40s) reads '%.*s', which nothing computes",
                               QDBG__ONNX_SHOW(label_of(n)), n->op_type, QDBG__ONNX_SHOW(names[i]));
    }
    return QDBG_OK;
}

/* An operator of another domain is never mistaken for ONNX's own: its type becomes "domain::Op". */
static qdbg_status add_under_type(qdbg__onnx_load *load, const Qdbg__Onnx__Node *n,
                                  const uint32_t *in, size_t n_in, const uint32_t *out,
                                  size_t n_out, uint32_t *id)
{
    if (in_default_domain(n))
        return qdbg_graph_add_node(load->graph, n->op_type, label_of(n), in, (uint32_t)n_in, out,
                                   (uint32_t)n_out, id);
    size_t size = strlen(n->domain) + strlen(n->op_type) + 3;
    char *type = qdbg_ctx_alloc(load->ctx, size);
    if (!type)
        return qdbg__onnx_recorded(load->ctx);
    snprintf(type, size, "%s::%s", n->domain, n->op_type);
    qdbg_status status = qdbg_graph_add_node(load->graph, type, label_of(n), in, (uint32_t)n_in,
                                             out, (uint32_t)n_out, id);
    qdbg_ctx_free(load->ctx, type, size);
    return status;
}

static qdbg_status add_node(qdbg__onnx_load *load, Qdbg__Onnx__Node *n, size_t index, void *user)
{
    (void)index;
    (void)user;
    if (is_constant(n))
        return QDBG_OK;
    size_t n_in = count_names(n->input, n->n_input), n_out = count_names(n->output, n->n_output);
    size_t bytes = (n_in + n_out) * sizeof(uint32_t);
    uint32_t id, *ids = qdbg_ctx_alloc(load->ctx, bytes);
    if (!ids)
        return qdbg__onnx_recorded(load->ctx);
    qdbg_status status = find_values(load, n, n->input, n_in, ids);
    if (status == QDBG_OK)
        status = find_values(load, n, n->output, n_out, ids + n_in);
    if (status == QDBG_OK)
        status = qdbg__onnx_blame_file(load->ctx,
                                       add_under_type(load, n, ids, n_in, ids + n_in, n_out, &id));
    for (size_t i = 0; i < n->n_attribute && status == QDBG_OK; i++) {
        status = qdbg__onnx_check_attribute(load, n->attribute[i], label_of(n));
        if (status == QDBG_OK)
            status = qdbg__onnx_set_attribute(load, id, n->attribute[i], label_of(n));
    }
    qdbg_ctx_free(load->ctx, ids, bytes);
    return status;
}

qdbg_status qdbg__onnx_add_nodes(qdbg__onnx_load *load)
{
    return for_each_node(load, add_node, NULL);
}
