#include "engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layers.h"

/* ---- parameters ---- */

static bool copy_parameter(engine *e, uint32_t value)
{
    qdbg_view view = QDBG_VIEW_INIT;
    if (qdbg_graph_parameter(e->graph, value, &view) != QDBG_OK || view.dtype != QDBG_F32)
        return true; /* computed, or of no interest here */
    e->counts[value] = (size_t)qdbg_view_count(&view);
    e->parameters[value] = malloc(e->counts[value] * sizeof(float) + 1);
    if (!e->parameters[value])
        return false;
    if (e->counts[value] > 0)
        memcpy(e->parameters[value], view.data, e->counts[value] * sizeof(float));
    return true;
}

engine *engine_new(const qdbg_graph *graph)
{
    engine *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    uint32_t n = qdbg_graph_value_count(graph);
    *e = (engine){.graph = graph, .n_values = n, .tap = engine_tap};
    e->parameters = calloc(n, sizeof *e->parameters);
    e->counts = calloc(n, sizeof *e->counts);
    e->values = calloc(n, sizeof *e->values);
    e->capacities = calloc(n, sizeof *e->capacities);
    bool good = e->parameters && e->counts && e->values && e->capacities;
    for (uint32_t v = 0; v < n && good; v++)
        good = copy_parameter(e, v);
    if (good)
        return e;
    engine_free(e);
    return NULL;
}

void engine_free(engine *e)
{
    if (!e)
        return;
    for (uint32_t v = 0; v < e->n_values; v++) {
        if (e->parameters)
            free(e->parameters[v]);
        if (e->values)
            free(e->values[v].data);
    }
    free(e->parameters);
    free(e->counts);
    free(e->values);
    free(e->capacities);
    free(e->scratch);
    free(e);
}

int32_t engine_get(void *user, uint32_t value, float *data, uint64_t count)
{
    engine *e = user;
    if (value >= e->n_values || !e->parameters[value] || count != e->counts[value])
        return ENGINE_BAD_NODE;
    memcpy(data, e->parameters[value], (size_t)count * sizeof *data);
    return ENGINE_DONE;
}

int32_t engine_set(void *user, uint32_t value, const float *data, uint64_t count)
{
    engine *e = user;
    if (value >= e->n_values || !e->parameters[value] || count != e->counts[value])
        return ENGINE_BAD_NODE;
    memcpy(e->parameters[value], data, (size_t)count * sizeof *data);
    return ENGINE_DONE;
}

bool engine_is_original(const engine *e)
{
    for (uint32_t v = 0; v < e->n_values; v++) {
        qdbg_view view = QDBG_VIEW_INIT;
        if (!e->parameters[v] || e->counts[v] == 0)
            continue;
        if (qdbg_graph_parameter(e->graph, v, &view) != QDBG_OK ||
            memcmp(view.data, e->parameters[v], e->counts[v] * sizeof(float)) != 0)
            return false;
    }
    return true;
}

qdbg_host engine_host(engine *e)
{
    qdbg_host host = QDBG_HOST_INIT;
    host.user = e;
    host.run = engine_run;
    host.get_parameter = engine_get;
    host.set_parameter = engine_set;
    return host;
}

/* ---- reading nodes ---- */

/* A node that is being computed. */
typedef struct work {
    engine *e;
    uint32_t node;
    qdbg_node_info info;
} work;

/* Attribute `name` in pairs (height, width), as many as `n` numbers; untouched when absent. */
static bool read_ints(const work *w, const char *name, int64_t *values, uint32_t n)
{
    const int64_t *given;
    uint32_t count;
    qdbg_status status = qdbg_graph_get_ints(w->e->graph, w->node, name, &given, &count);
    if (status == QDBG_E_NOT_FOUND)
        return true;
    if (status != QDBG_OK || count != n)
        return false;
    memcpy(values, given, n * sizeof *values);
    return true;
}

static bool read_float(const work *w, const char *name, float *value)
{
    const float *given;
    uint32_t count;
    qdbg_status status = qdbg_graph_get_floats(w->e->graph, w->node, name, &given, &count);
    if (status == QDBG_E_NOT_FOUND)
        return true;
    if (status != QDBG_OK || count != 1)
        return false;
    *value = *given;
    return true;
}

static bool has_attribute(const work *w, const char *name)
{
    const int64_t *ints;
    const char *text;
    uint32_t n;
    return qdbg_graph_get_ints(w->e->graph, w->node, name, &ints, &n) == QDBG_OK ||
           qdbg_graph_get_string(w->e->graph, w->node, name, &text) == QDBG_OK;
}

static uint32_t input_value(const work *w, uint32_t index)
{
    return index < w->info.n_inputs ? w->info.inputs[index] : QDBG_NONE;
}

/* The tensor that the node reads first; all these operators read one. */
static const qdbg_view *tensor_in(const work *w)
{
    uint32_t v = input_value(w, 0);
    return v == QDBG_NONE || !w->e->values[v].data ? NULL : &w->e->values[v];
}

static const float *parameter_in(const work *w, uint32_t index, size_t count)
{
    uint32_t v = input_value(w, index);
    return v == QDBG_NONE || w->e->counts[v] != count ? NULL : w->e->parameters[v];
}

/* ---- tensors ---- */

/* Room for a computed tensor; NULL when memory is short. */
static float *make_value(engine *e, uint32_t value, uint32_t rank, const int64_t *dims)
{
    qdbg_view *v = &e->values[value];
    size_t count = 1;
    for (uint32_t i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    if (count > e->capacities[value] || !v->data) {
        free(v->data);
        v->data = malloc(count * sizeof(float) + 1);
        e->capacities[value] = v->data ? count : 0;
    }
    return qdbg_view_init(v, QDBG_F32, rank, dims, v->data) == QDBG_OK ? v->data : NULL;
}

static float *make_output(const work *w, uint32_t rank, const int64_t *dims)
{
    return make_value(w->e, w->info.outputs[0], rank, dims);
}

static float *make_scratch(engine *e, size_t n)
{
    if (n > e->n_scratch) {
        free(e->scratch);
        e->scratch = malloc(n * sizeof *e->scratch);
        e->n_scratch = e->scratch ? n : 0;
    }
    return e->scratch;
}

/* ---- operators ---- */

static bool read_window(const work *w, const qdbg_view *x, window *out)
{
    int64_t pads[4] = {0, 0, 0, 0};
    *out = (window){.in = {x->dims[2], x->dims[3]}, .stride = {1, 1}, .dilation = {1, 1}};
    if (has_attribute(w, "auto_pad") || has_attribute(w, "ceil_mode"))
        return false;
    if (!read_ints(w, "kernel_shape", out->kernel, 2) || !read_ints(w, "strides", out->stride, 2) ||
        !read_ints(w, "dilations", out->dilation, 2) || !read_ints(w, "pads", pads, 4))
        return false;
    memcpy(out->pad, pads, sizeof out->pad);
    memcpy(out->pad_end, pads + 2, sizeof out->pad_end);
    window_slide(out);
    return out->kernel[0] > 0 && out->out[0] > 0 && out->out[1] > 0;
}

static int32_t run_conv(const work *w)
{
    const qdbg_view *x = tensor_in(w);
    qdbg_value_info weight = QDBG_VALUE_INFO_INIT;
    conv_layer c = {.groups = 1};
    if (!x || x->rank != 4 || !read_window(w, x, &c.window) ||
        !read_ints(w, "group", &c.groups, 1) ||
        qdbg_graph_value(w->e->graph, input_value(w, 1), &weight) != QDBG_OK)
        return ENGINE_BAD_NODE;
    c.batch = x->dims[0];
    c.in_channels = x->dims[1];
    c.out_channels = weight.dims[0];
    if (c.groups > 1 && c.groups != c.in_channels)
        return ENGINE_BAD_NODE;
    const float *kernel = w->e->parameters[input_value(w, 1)];
    const float *bias = parameter_in(w, 2, (size_t)c.out_channels);
    const int64_t dims[] = {c.batch, c.out_channels, c.window.out[0], c.window.out[1]};
    float *scratch = make_scratch(w->e, (size_t)conv_scratch(&c)), *y = make_output(w, 4, dims);
    if (!scratch || !y)
        return ENGINE_OUT_OF_MEMORY;
    layer_conv(&c, x->data, kernel, bias, scratch, y);
    return ENGINE_DONE;
}

static int32_t run_batch_norm(const work *w)
{
    const qdbg_view *x = tensor_in(w);
    const float *params[4];
    float epsilon = 1e-5f;
    if (!x || x->rank != 4 || !read_float(w, "epsilon", &epsilon))
        return ENGINE_BAD_NODE;
    for (uint32_t i = 0; i < 4; i++) {
        params[i] = parameter_in(w, i + 1, (size_t)x->dims[1]);
        if (!params[i])
            return ENGINE_BAD_NODE;
    }
    float *y = make_output(w, x->rank, x->dims);
    if (!y)
        return ENGINE_OUT_OF_MEMORY;
    layer_batch_norm(x->dims[0], x->dims[1], x->dims[2] * x->dims[3], params, epsilon, x->data, y);
    return ENGINE_DONE;
}

static int32_t run_relu(const work *w)
{
    const qdbg_view *x = tensor_in(w);
    if (!x)
        return ENGINE_BAD_NODE;
    float *y = make_output(w, x->rank, x->dims);
    if (!y)
        return ENGINE_OUT_OF_MEMORY;
    layer_relu((int64_t)qdbg_view_count(x), x->data, y);
    return ENGINE_DONE;
}

/* Bound of a channel: one of its own, or one for all. */
static float bound(const work *w, uint32_t input, const float *by_channel, size_t channel,
                   float none)
{
    const float *one = parameter_in(w, input, 1);
    return by_channel ? by_channel[channel] : one ? *one : none;
}

static int32_t run_clip(const work *w)
{
    const qdbg_view *x = tensor_in(w);
    if (!x || x->rank != 4)
        return ENGINE_BAD_NODE;
    size_t channels = (size_t)x->dims[1], area = (size_t)(x->dims[2] * x->dims[3]);
    const float *min = parameter_in(w, 1, channels), *max = parameter_in(w, 2, channels);
    float *y = make_output(w, x->rank, x->dims), *to = y;
    if (!y)
        return ENGINE_OUT_OF_MEMORY;
    for (size_t i = 0; i < (size_t)x->dims[0] * channels; i++, to += area)
        layer_clip((int64_t)area, bound(w, 1, min, i % channels, -INFINITY),
                   bound(w, 2, max, i % channels, INFINITY), (const float *)x->data + i * area, to);
    return ENGINE_DONE;
}

static int32_t run_average_pool(const work *w)
{
    const qdbg_view *x = tensor_in(w);
    window win;
    if (!x || x->rank != 4 || !read_window(w, x, &win) || win.pad[0] || win.pad[1] ||
        win.pad_end[0] || win.pad_end[1])
        return ENGINE_BAD_NODE;
    const int64_t dims[] = {x->dims[0], x->dims[1], win.out[0], win.out[1]};
    float *y = make_output(w, 4, dims);
    if (!y)
        return ENGINE_OUT_OF_MEMORY;
    layer_average_pool(&win, dims[0] * dims[1], x->data, y);
    return ENGINE_DONE;
}

static int32_t run_global_average_pool(const work *w)
{
    const qdbg_view *x = tensor_in(w);
    if (!x || x->rank != 4)
        return ENGINE_BAD_NODE;
    const int64_t dims[] = {x->dims[0], x->dims[1], 1, 1};
    float *y = make_output(w, 4, dims);
    if (!y)
        return ENGINE_OUT_OF_MEMORY;
    layer_global_average_pool(dims[0] * dims[1], x->dims[2] * x->dims[3], x->data, y);
    return ENGINE_DONE;
}

static int32_t run_flatten(const work *w)
{
    const qdbg_view *x = tensor_in(w);
    int64_t axis = 1;
    if (!x || x->rank < 1 || x->dims[0] == 0 || !read_ints(w, "axis", &axis, 1) || axis != 1)
        return ENGINE_BAD_NODE;
    size_t count = (size_t)qdbg_view_count(x);
    const int64_t dims[] = {x->dims[0], (int64_t)count / x->dims[0]};
    float *y = make_output(w, 2, dims);
    if (!y)
        return ENGINE_OUT_OF_MEMORY;
    memcpy(y, x->data, count * sizeof *y);
    return ENGINE_DONE;
}

static int32_t run_gemm(const work *w)
{
    const qdbg_view *x = tensor_in(w);
    int64_t trans_a = 0, trans_b = 0;
    float alpha = 1.0f, beta = 1.0f;
    if (!x || x->rank != 2 || !read_ints(w, "transA", &trans_a, 1) ||
        !read_ints(w, "transB", &trans_b, 1) || !read_float(w, "alpha", &alpha) ||
        !read_float(w, "beta", &beta) || trans_a != 0 || trans_b != 1)
        return ENGINE_BAD_NODE;
    uint32_t weight = input_value(w, 1);
    int64_t ins = x->dims[1], outs = (int64_t)w->e->counts[weight] / ins;
    const int64_t dims[] = {x->dims[0], outs};
    float *y = make_output(w, 2, dims);
    if (!y)
        return ENGINE_OUT_OF_MEMORY;
    layer_gemm(x->dims[0], ins, outs, alpha, beta, w->e->parameters[weight],
               parameter_in(w, 2, (size_t)outs), x->data, y);
    return ENGINE_DONE;
}

static const struct {
    const char *op_type;
    int32_t (*run)(const work *w);
} operators[] = {
    {"AveragePool", run_average_pool},
    {"BatchNormalization", run_batch_norm},
    {"Clip", run_clip},
    {"Conv", run_conv},
    {"Flatten", run_flatten},
    {"Gemm", run_gemm},
    {"GlobalAveragePool", run_global_average_pool},
    {"Relu", run_relu},
};

static int32_t run_node(engine *e, uint32_t node)
{
    work w = {e, node, QDBG_NODE_INFO_INIT};
    if (qdbg_graph_node(e->graph, node, &w.info) != QDBG_OK || w.info.n_outputs != 1)
        return ENGINE_BAD_NODE;
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (strcmp(w.info.op_type, operators[i].op_type) == 0)
            return operators[i].run(&w);
    return ENGINE_BAD_NODE;
}

/* ---- the forward pass ---- */

int32_t engine_tap(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    (void)e;
    return qdbg_tap_value(tap, value, tensor) == QDBG_OK ? ENGINE_DONE : ENGINE_TAP_FAILED;
}

static int32_t show(engine *e, qdbg_tap *tap, uint32_t value)
{
    if (!qdbg_tap_wants(tap, value))
        return ENGINE_DONE;
    e->taps++;
    return e->tap(e, tap, value, &e->values[value]);
}

/* The library's inputs are read only: the engine works on copies. */
static int32_t take_input(engine *e, qdbg_tap *tap, uint32_t value, const qdbg_view *input)
{
    float *copy = make_value(e, value, input->rank, input->dims);
    if (!copy)
        return ENGINE_OUT_OF_MEMORY;
    memcpy(copy, input->data, (size_t)qdbg_view_count(input) * sizeof *copy);
    return show(e, tap, value);
}

int32_t engine_run(void *user, qdbg_tap *tap, const qdbg_view *inputs, uint32_t n_inputs)
{
    engine *e = user;
    int32_t code = ENGINE_DONE;
    e->inputs = inputs;
    e->runs++;
    for (uint32_t i = 0; i < n_inputs && code == ENGINE_DONE; i++)
        code = take_input(e, tap, qdbg_graph_input(e->graph, i), &inputs[i]);
    for (uint32_t n = 0; n < qdbg_graph_node_count(e->graph) && code == ENGINE_DONE; n++) {
        qdbg_node_info info = QDBG_NODE_INFO_INIT;
        code = run_node(e, n);
        if (code == ENGINE_DONE && qdbg_graph_node(e->graph, n, &info) == QDBG_OK)
            code = show(e, tap, info.outputs[0]);
    }
    e->inputs = NULL;
    return code;
}
