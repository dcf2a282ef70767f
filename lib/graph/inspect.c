/* Reading a graph. */
#include <string.h>

#include "graph.h"

/* ---- from outside ---- */

void qdbg_value_info_init(qdbg_value_info *info)
{
    if (info)
        *info = (qdbg_value_info)QDBG_VALUE_INFO_INIT;
}

void qdbg_node_info_init(qdbg_node_info *info)
{
    if (info)
        *info = (qdbg_node_info)QDBG_NODE_INFO_INIT;
}

uint32_t qdbg_graph_opset(const qdbg_graph *g)
{
    return g ? g->opset : 0;
}

uint32_t qdbg_graph_value_count(const qdbg_graph *g)
{
    return g ? (uint32_t)g->n_values : 0;
}

uint32_t qdbg_graph_node_count(const qdbg_graph *g)
{
    return g ? (uint32_t)g->n_nodes : 0;
}

uint32_t qdbg_graph_input_count(const qdbg_graph *g)
{
    return g ? (uint32_t)g->n_inputs : 0;
}

uint32_t qdbg_graph_output_count(const qdbg_graph *g)
{
    return g ? (uint32_t)g->n_outputs : 0;
}

uint32_t qdbg_graph_input(const qdbg_graph *g, uint32_t index)
{
    return g && index < g->n_inputs ? g->inputs[index] : QDBG_NONE;
}

uint32_t qdbg_graph_output(const qdbg_graph *g, uint32_t index)
{
    return g && index < g->n_outputs ? g->outputs[index] : QDBG_NONE;
}

qdbg_status qdbg_graph_value(const qdbg_graph *g, uint32_t value, qdbg_value_info *info)
{
    if (!g || !info || info->struct_size != sizeof *info)
        return QDBG_E_INVALID;
    if (value >= g->n_values)
        return QDBG_E_NOT_FOUND;
    const qdbg__value *v = &g->values[value];
    info->dtype = v->dtype;
    info->rank = v->rank;
    info->is_parameter = v->is_param;
    memcpy(info->dims, v->dims, sizeof v->dims);
    info->name = v->name;
    info->producer = v->producer;
    info->n_consumers = v->n_consumers;
    return QDBG_OK;
}

qdbg_status qdbg_graph_node(const qdbg_graph *g, uint32_t node, qdbg_node_info *info)
{
    if (!g || !info || info->struct_size != sizeof *info)
        return QDBG_E_INVALID;
    if (node >= g->n_nodes)
        return QDBG_E_NOT_FOUND;
    const qdbg__node *n = &g->nodes[node];
    info->n_inputs = n->n_in;
    info->n_outputs = n->n_out;
    info->is_known = n->op != NULL;
    info->name = n->name;
    info->op_type = n->op_type;
    info->inputs = n->in;
    info->outputs = n->out;
    return QDBG_OK;
}

qdbg_status qdbg_graph_parameter(const qdbg_graph *g, uint32_t value, qdbg_view *view)
{
    if (!g || !view || view->struct_size != sizeof *view)
        return QDBG_E_INVALID;
    if (value >= g->n_values)
        return QDBG_E_NOT_FOUND;
    const qdbg__value *v = &g->values[value];
    if (!v->is_param)
        return QDBG_E_INVALID;
    view->dtype = v->dtype;
    view->rank = v->rank;
    memcpy(view->dims, v->dims, sizeof v->dims);
    view->data = v->data;
    return QDBG_OK;
}

/* ---- attributes ---- */

/* The attribute `name`, which must be of kind `one` or `list`. */
static qdbg_status find_attr(const qdbg_graph *g, uint32_t node, const char *name,
                             qdbg__attr_kind one, qdbg__attr_kind list, const qdbg__attr **attr)
{
    if (!g || !name)
        return QDBG_E_INVALID;
    const qdbg__attr *a = node < g->n_nodes ? qdbg__node_attr(&g->nodes[node], name) : NULL;
    if (!a)
        return QDBG_E_NOT_FOUND;
    if (a->kind != one && a->kind != list)
        return QDBG_E_TYPE;
    *attr = a;
    return QDBG_OK;
}

qdbg_status qdbg_graph_get_ints(const qdbg_graph *g, uint32_t node, const char *name,
                                const int64_t **values, uint32_t *n)
{
    const qdbg__attr *a = NULL;
    if (!values || !n)
        return QDBG_E_INVALID;
    qdbg_status status = find_attr(g, node, name, QDBG__ATTR_INT, QDBG__ATTR_INTS, &a);
    if (status != QDBG_OK)
        return status;
    bool one = a->kind == QDBG__ATTR_INT;
    *values = one ? &a->i : a->ints;
    *n = one ? 1 : a->n;
    return QDBG_OK;
}

qdbg_status qdbg_graph_get_floats(const qdbg_graph *g, uint32_t node, const char *name,
                                  const float **values, uint32_t *n)
{
    const qdbg__attr *a = NULL;
    if (!values || !n)
        return QDBG_E_INVALID;
    qdbg_status status = find_attr(g, node, name, QDBG__ATTR_FLOAT, QDBG__ATTR_FLOATS, &a);
    if (status != QDBG_OK)
        return status;
    bool one = a->kind == QDBG__ATTR_FLOAT;
    *values = one ? &a->f : a->floats;
    *n = one ? 1 : a->n;
    return QDBG_OK;
}

qdbg_status qdbg_graph_get_string(const qdbg_graph *g, uint32_t node, const char *name,
                                  const char **value)
{
    const qdbg__attr *a = NULL;
    if (!value)
        return QDBG_E_INVALID;
    qdbg_status status = find_attr(g, node, name, QDBG__ATTR_STRING, QDBG__ATTR_STRING, &a);
    if (status == QDBG_OK)
        *value = a->s;
    return status;
}

qdbg_status qdbg_graph_get_tensor(const qdbg_graph *g, uint32_t node, const char *name,
                                  qdbg_view *value)
{
    const qdbg__attr *a = NULL;
    if (!value || value->struct_size != sizeof *value)
        return QDBG_E_INVALID;
    qdbg_status status = find_attr(g, node, name, QDBG__ATTR_TENSOR, QDBG__ATTR_TENSOR, &a);
    if (status == QDBG_OK)
        *value = a->tensor;
    return status;
}

/* ---- attributes, for operators ---- */

const qdbg__attr *qdbg__node_attr(const qdbg__node *node, const char *name)
{
    for (size_t i = 0; i < node->n_attrs; i++)
        if (strcmp(node->attrs[i].name, name) == 0)
            return &node->attrs[i];
    return NULL;
}

int64_t qdbg__attr_int(const qdbg__node *node, const char *name, int64_t fallback)
{
    const qdbg__attr *a = qdbg__node_attr(node, name);
    return a && a->kind == QDBG__ATTR_INT ? a->i : fallback;
}

float qdbg__attr_float(const qdbg__node *node, const char *name, float fallback)
{
    const qdbg__attr *a = qdbg__node_attr(node, name);
    return a && a->kind == QDBG__ATTR_FLOAT ? a->f : fallback;
}

const char *qdbg__attr_string(const qdbg__node *node, const char *name, const char *fallback)
{
    const qdbg__attr *a = qdbg__node_attr(node, name);
    return a && a->kind == QDBG__ATTR_STRING ? a->s : fallback;
}

uint32_t qdbg__attr_ints(const qdbg__node *node, const char *name, const int64_t **values)
{
    const qdbg__attr *a = qdbg__node_attr(node, name);
    if (!a || a->kind != QDBG__ATTR_INTS)
        return 0;
    *values = a->ints;
    return a->n;
}

bool qdbg__node_is(const qdbg__node *node, const char *op_type)
{
    return strcmp(node->op_type, op_type) == 0;
}
