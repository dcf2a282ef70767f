#include "attribute.h"

#include <stdio.h>

#include "fail.h"
#include "tensor.h"

int32_t qdbg__onnx_attribute_kind(const Qdbg__Onnx__Attribute *a)
{
    if (a->has_type && a->type != QDBG__ONNX_ATTR_NONE)
        return a->type;
    if (a->has_f)
        return QDBG__ONNX_ATTR_FLOAT;
    if (a->has_i)
        return QDBG__ONNX_ATTR_INT;
    if (a->s)
        return QDBG__ONNX_ATTR_STRING;
    if (a->n_t > 0)
        return QDBG__ONNX_ATTR_TENSOR;
    if (a->has_g)
        return QDBG__ONNX_ATTR_GRAPH;
    if (a->n_floats > 0)
        return QDBG__ONNX_ATTR_FLOATS;
    if (a->n_ints > 0)
        return QDBG__ONNX_ATTR_INTS;
    if (a->n_graphs > 0)
        return QDBG__ONNX_ATTR_GRAPHS;
    return QDBG__ONNX_ATTR_NONE;
}

static qdbg_status set_tensor(qdbg__onnx_load *load, uint32_t id, const Qdbg__Onnx__Attribute *a,
                              const char *label)
{
    char name[256];
    qdbg_view view;
    if (a->n_t == 0)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, label, NULL,
                               "node '%.*s': attribute '%.*s' is a tensor without content",
                               QDBG__ONNX_SHOW(label), QDBG__ONNX_SHOW(a->name));
    snprintf(name, sizeof name, "%.*s.%.64s", QDBG__ONNX_SHOW(label), a->name);
    qdbg_status status =
        qdbg__onnx_tensor_view(&load->memory, a->t[a->n_t - 1], load->folder, name, &view);
    if (status != QDBG_OK)
        return status;
    status = qdbg_graph_set_tensor(load->graph, id, a->name, &view);
    return qdbg__onnx_blame_file(load->ctx, status);
}

qdbg_status qdbg__onnx_check_attribute(qdbg__onnx_load *load, const Qdbg__Onnx__Attribute *a,
                                       const char *label)
{
    if (!a->name || !*a->name)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, label, NULL,
                               "node '%.*s' has an attribute without a name",
                               QDBG__ONNX_SHOW(label));
    if (a->ref_attr_name && *a->ref_attr_name)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, label, NULL,
                               "node '%.*s': attribute '%.*s' refers to a function's attribute",
                               QDBG__ONNX_SHOW(label), QDBG__ONNX_SHOW(a->name));
    return QDBG_OK;
}

qdbg_status qdbg__onnx_set_attribute(qdbg__onnx_load *load, uint32_t id,
                                     const Qdbg__Onnx__Attribute *a, const char *label)
{
    qdbg_graph *graph = load->graph;
    qdbg_status status = QDBG_OK;
    /* A writer may leave out a zero or an empty list: the kind alone then says what is meant. */
    switch (qdbg__onnx_attribute_kind(a)) {
    case QDBG__ONNX_ATTR_FLOAT:
        status = qdbg_graph_set_float(graph, id, a->name, a->f);
        break;
    case QDBG__ONNX_ATTR_INT:
        status = qdbg_graph_set_int(graph, id, a->name, a->i);
        break;
    case QDBG__ONNX_ATTR_STRING:
        status = qdbg_graph_set_string(graph, id, a->name, a->s ? a->s : "");
        break;
    case QDBG__ONNX_ATTR_TENSOR:
        return set_tensor(load, id, a, label);
    case QDBG__ONNX_ATTR_FLOATS:
        status = qdbg_graph_set_floats(graph, id, a->name, a->floats, (uint32_t)a->n_floats);
        break;
    case QDBG__ONNX_ATTR_INTS:
        status = qdbg_graph_set_ints(graph, id, a->name, a->ints, (uint32_t)a->n_ints);
        break;
    default:
        break;
    }
    return qdbg__onnx_blame_file(load->ctx, status);
}
