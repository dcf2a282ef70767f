#include "value.h"

#include "fail.h"
#include "tensor.h"

/* ---- initializers ---- */

static qdbg_status add_initializer(qdbg__onnx_load *load, Qdbg__Onnx__Tensor *t, size_t index)
{
    qdbg_view view;
    if (!t->name || !*t->name)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, NULL, NULL, "initializer %zu has no name",
                               index);
    if (qdbg_graph_find_value(load->graph, t->name) != QDBG_NONE)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, NULL, t->name,
                               "initializer '%.*s' is there twice", QDBG__ONNX_SHOW(t->name));
    qdbg_status status = qdbg__onnx_tensor_view(&load->memory, t, load->folder, t->name, &view);
    if (status != QDBG_OK)
        return status;
    status = qdbg_graph_add_parameter(load->graph, t->name, &view, NULL);
    return qdbg__onnx_blame_file(load->ctx, status);
}

qdbg_status qdbg__onnx_add_initializers(qdbg__onnx_load *load)
{
    qdbg__onnx_field f;
    qdbg__onnx_graph_walk walk = qdbg__onnx_walk_graph(load, QDBG__ONNX_GRAPH_INITIALIZER);
    qdbg_status status = QDBG_OK;
    while (status == QDBG_OK && qdbg__onnx_walk_next(&walk, &f)) {
        ProtobufCMessage *m;
        status = qdbg__onnx_unpack(&load->memory, &qdbg__onnx__tensor__descriptor, f.data, f.size,
                                   "initializer", walk.index, &m);
        if (status != QDBG_OK)
            break;
        status = add_initializer(load, (Qdbg__Onnx__Tensor *)m, walk.index);
        protobuf_c_message_free_unpacked(m, &load->memory.protobuf);
    }
    return status;
}

/* ---- inputs ---- */

/* The type that an input declares; NULL when it is no tensor. */
static const Qdbg__Onnx__TensorType *tensor_type(const Qdbg__Onnx__ValueInfo *v)
{
    const Qdbg__Onnx__Type *type = v->type[v->n_type - 1];
    return type->n_tensor_type > 0 ? type->tensor_type[type->n_tensor_type - 1] : NULL;
}

static qdbg_status declared_type(qdbg_ctx *ctx, const Qdbg__Onnx__ValueInfo *v, int32_t *dtype)
{
    const Qdbg__Onnx__TensorType *type = tensor_type(v);
    if (!type)
        return qdbg__onnx_fail(ctx, QDBG_E_UNSUPPORTED, NULL, v->name,
                               "input '%.*s' is not a tensor", QDBG__ONNX_SHOW(v->name));
    *dtype = type->elem_type;
    if (*dtype != QDBG_DTYPE_NONE && qdbg_dtype_size(*dtype) == 0)
        return qdbg__onnx_fail(ctx, QDBG_E_UNSUPPORTED, NULL, v->name,
                               "input '%.*s' has element type %s (%d)", QDBG__ONNX_SHOW(v->name),
                               qdbg__onnx_type_name(*dtype), (int)*dtype);
    return QDBG_OK;
}

static qdbg_status declared_shape(qdbg_ctx *ctx, const Qdbg__Onnx__ValueInfo *v, uint32_t *rank,
                                  int64_t dims[QDBG_MAX_RANK])
{
    const Qdbg__Onnx__TensorType *type = tensor_type(v);
    if (type->n_shape == 0)
        return QDBG_OK;
    const Qdbg__Onnx__Shape *shape = type->shape[type->n_shape - 1];
    if (shape->n_dim > QDBG_MAX_RANK)
        return qdbg__onnx_fail(ctx, QDBG_E_UNSUPPORTED, NULL, v->name,
                               "input '%.*s' has %zu dimensions; %d are supported",
                               QDBG__ONNX_SHOW(v->name), shape->n_dim, QDBG_MAX_RANK);
    *rank = (uint32_t)shape->n_dim;
    /* Exporters write 0 or -1 where they mean "any". */
    for (size_t i = 0; i < shape->n_dim; i++) {
        int64_t d = shape->dim[i]->dim_value;
        dims[i] = d > 0 ? d : QDBG_DIM_UNKNOWN;
    }
    return QDBG_OK;
}

static qdbg_status add_input(qdbg__onnx_load *load, const Qdbg__Onnx__ValueInfo *v, size_t index)
{
    int32_t dtype = QDBG_DTYPE_NONE;
    uint32_t id, rank = QDBG_RANK_UNKNOWN;
    int64_t dims[QDBG_MAX_RANK];
    qdbg_status status = QDBG_OK;
    if (!v->name || !*v->name)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, NULL, NULL, "input %zu has no name",
                               index);
    id = qdbg_graph_find_value(load->graph, v->name);
    if (id != QDBG_NONE) {
        qdbg_value_info info = QDBG_VALUE_INFO_INIT;
        qdbg_graph_value(load->graph, id, &info);
        if (info.is_parameter)
            return QDBG_OK;
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, NULL, v->name,
                               "input '%.*s' is there twice", QDBG__ONNX_SHOW(v->name));
    }
    if (v->n_type > 0)
        status = declared_type(load->ctx, v, &dtype);
    if (v->n_type > 0 && status == QDBG_OK)
        status = declared_shape(load->ctx, v, &rank, dims);
    if (status != QDBG_OK)
        return status;
    status = qdbg_graph_add_value(load->graph, v->name, dtype, rank, dims, &id);
    if (status == QDBG_OK)
        status = qdbg_graph_add_input(load->graph, id);
    return qdbg__onnx_blame_file(load->ctx, status);
}

static qdbg_status add_output(qdbg__onnx_load *load, const Qdbg__Onnx__ValueInfo *v, size_t index)
{
    if (!v->name || !*v->name)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, NULL, NULL, "output %zu has no name",
                               index);
    uint32_t id = qdbg_graph_find_value(load->graph, v->name);
    if (id == QDBG_NONE)
        return qdbg__onnx_fail(load->ctx, QDBG_E_FORMAT, NULL, v->name,
                               "nothing computes the model's output '%.*s'",
                               QDBG__ONNX_SHOW(v->name));
    return qdbg__onnx_blame_file(load->ctx, qdbg_graph_add_output(load->graph, id));
}

typedef qdbg_status (*add_fn)(qdbg__onnx_load *load, const Qdbg__Onnx__ValueInfo *v, size_t index);

static qdbg_status add_each(qdbg__onnx_load *load, uint32_t number, const char *noun, add_fn add)
{
    qdbg__onnx_field f;
    qdbg__onnx_graph_walk walk = qdbg__onnx_walk_graph(load, number);
    qdbg_status status = QDBG_OK;
    while (status == QDBG_OK && qdbg__onnx_walk_next(&walk, &f)) {
        ProtobufCMessage *m;
        status = qdbg__onnx_unpack(&load->memory, &qdbg__onnx__value_info__descriptor, f.data,
                                   f.size, noun, walk.index, &m);
        if (status != QDBG_OK)
            break;
        status = add(load, (Qdbg__Onnx__ValueInfo *)m, walk.index);
        protobuf_c_message_free_unpacked(m, &load->memory.protobuf);
    }
    return status;
}

qdbg_status qdbg__onnx_add_inputs(qdbg__onnx_load *load)
{
    return add_each(load, QDBG__ONNX_GRAPH_INPUT, "input", add_input);
}

qdbg_status qdbg__onnx_add_outputs(qdbg__onnx_load *load)
{
    return add_each(load, QDBG__ONNX_GRAPH_OUTPUT, "output", add_output);
}
