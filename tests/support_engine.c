/* The host of the tests: plain loops over a graph, outside the library and with only its public
 * headers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

/* cmocka's assertions must not jump out of a callback of the library. */
static void need(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "engine: %s\n", what);
    abort();
}

static qdbg_view shape_like(const qdbg_view *x, uint32_t rank)
{
    qdbg_view y = *x;
    y.rank = rank;
    for (uint32_t i = rank; i < QDBG_MAX_RANK; i++)
        y.dims[i] = 0;
    return y;
}

static int64_t product(const qdbg_view *v, uint32_t from)
{
    int64_t n = 1;
    for (uint32_t i = from; i < v->rank; i++)
        n *= v->dims[i];
    return n;
}

/* ---- operators: the output's shape first, then its elements ---- */

typedef struct op {
    const qdbg_view *in[5];
    qdbg_view out;
    float epsilon; /* BatchNormalization */
} op;

static float *room(op *o)
{
    o->out.data = calloc((size_t)qdbg_view_count(&o->out) + 1, sizeof(float));
    need(o->out.data != NULL, "no memory");
    return o->out.data;
}

static void gemm(op *o)
{
    const float *x = o->in[0]->data, *w = o->in[1]->data, *b = o->in[2]->data;
    int64_t k = o->in[1]->dims[0], n = o->in[1]->dims[1];
    o->out = *o->in[0];
    o->out.dims[1] = n;
    float *y = room(o);
    for (int64_t r = 0; r < o->out.dims[0]; r++)
        for (int64_t c = 0; c < n; c++) {
            float sum = 0;
            for (int64_t i = 0; i < k; i++)
                sum += x[r * k + i] * w[i * n + c];
            y[r * n + c] = sum + b[c];
        }
}

/* 1x1 kernels. */
static void conv(op *o)
{
    const float *x = o->in[0]->data, *w = o->in[1]->data, *b = o->in[2]->data;
    int64_t in = o->in[1]->dims[1], n = o->in[1]->dims[0], area = product(o->in[0], 2);
    o->out = *o->in[0];
    o->out.dims[1] = n;
    float *y = room(o);
    for (int64_t s = 0; s < o->out.dims[0]; s++)
        for (int64_t c = 0; c < n; c++)
            for (int64_t p = 0; p < area; p++) {
                float sum = 0;
                for (int64_t i = 0; i < in; i++)
                    sum += x[(s * in + i) * area + p] * w[c * in + i];
                y[(s * n + c) * area + p] = sum + b[c];
            }
}

static void batch_norm(op *o)
{
    const float *x = o->in[0]->data, *gamma = o->in[1]->data, *beta = o->in[2]->data;
    const float *mean = o->in[3]->data, *var = o->in[4]->data;
    int64_t channels = o->in[0]->dims[1], area = product(o->in[0], 2);
    o->out = *o->in[0];
    float *y = room(o);
    for (int64_t i = 0; i < product(&o->out, 0); i++) {
        int64_t c = i / area % channels;
        y[i] = (x[i] - mean[c]) * (gamma[c] / sqrtf(var[c] + o->epsilon)) + beta[c];
    }
}

static void relu(op *o)
{
    const float *x = o->in[0]->data;
    o->out = *o->in[0];
    float *y = room(o);
    for (int64_t i = 0; i < product(&o->out, 0); i++)
        y[i] = x[i] > 0 ? x[i] : 0;
}

static void add(op *o)
{
    const float *a = o->in[0]->data, *b = o->in[1]->data;
    o->out = *o->in[0];
    float *y = room(o);
    for (int64_t i = 0; i < product(&o->out, 0); i++)
        y[i] = a[i] + b[i];
}

static void pool(op *o)
{
    const float *x = o->in[0]->data;
    int64_t area = product(o->in[0], 2);
    o->out = *o->in[0];
    o->out.dims[2] = o->out.dims[3] = 1;
    float *y = room(o);
    for (int64_t i = 0; i < product(&o->out, 0); i++) {
        for (int64_t p = 0; p < area; p++)
            y[i] += x[i * area + p];
        y[i] /= (float)area;
    }
}

static void flatten(op *o)
{
    o->out = shape_like(o->in[0], 2);
    o->out.dims[1] = product(o->in[0], 1);
    memcpy(room(o), o->in[0]->data, (size_t)product(&o->out, 0) * sizeof(float));
}

static void compute(op *o, const char *type)
{
    static const struct {
        const char *type;
        void (*run)(op *);
    } ops[] = {
        {"Gemm", gemm},       {"Conv", conv}, {"BatchNormalization", batch_norm},
        {"Relu", relu},       {"Add", add},   {"GlobalAveragePool", pool},
        {"Flatten", flatten},
    };
    size_t i = 0;
    while (i < sizeof ops / sizeof *ops && strcmp(ops[i].type, type) != 0)
        i++;
    need(i < sizeof ops / sizeof *ops, type);
    ops[i].run(o);
}

/* ---- the tap, with the faults ---- */

static qdbg_status tap_wrongly(engine *e, qdbg_tap *tap, uint32_t v, const qdbg_view *library_input)
{
    qdbg_view view = e->views[v];
    float *copy = NULL;
    switch (e->fault) {
    case FAULT_NO_TAP:
        return QDBG_OK;
    case FAULT_TAP_TWICE:
        if (qdbg_tap_value(tap, v, &view) != QDBG_OK)
            return QDBG_E_INVALID;
        break;
    case FAULT_IGNORE:
        copy = malloc((size_t)qdbg_view_count(&view) * sizeof *copy);
        need(copy != NULL, "no memory");
        memcpy(copy, view.data, (size_t)qdbg_view_count(&view) * sizeof *copy);
        view.data = copy;
        break;
    case FAULT_SHAPE:
    case FAULT_GO_ON:
        view.dims[view.rank - 1]--;
        break;
    case FAULT_BATCH:
        view.dims[0] = 1;
        break;
    case FAULT_DTYPE:
        view.dtype = QDBG_I32;
        break;
    case FAULT_NOT_A_VIEW:
        view.rank = 100;
        break;
    case FAULT_INPUT:
        view = *library_input;
        break;
    default:
        break;
    }
    qdbg_status status = qdbg_tap_value(tap, e->fault == FAULT_NO_VALUE ? 1000000 : v, &view);
    free(copy);
    return status;
}

/* Non-zero to stop. */
static int32_t tap_value(engine *e, qdbg_tap *tap, uint32_t v, const qdbg_view *library_input)
{
    if (!qdbg_tap_wants(tap, v))
        return 0;
    qdbg_status status = e->fault && (v == e->fault_value || e->fault_value == QDBG_NONE)
                             ? tap_wrongly(e, tap, v, library_input)
                             : qdbg_tap_value(tap, v, &e->views[v]);
    if (status == QDBG_OK)
        return 0;
    e->tap_status = status;
    return e->fault == FAULT_GO_ON ? 0 : 99;
}

/* ---- the functions of qdbg_host ---- */

static bool fails(engine *e, uint64_t *count, uint64_t at)
{
    if (!pthread_equal(e->thread, pthread_self()))
        e->wrong_thread = true;
    return ++*count == at;
}

static void give(engine *e, uint32_t v, qdbg_view view)
{
    e->views[v] = view;
    e->values[v] = view.data;
}

static void drop_values(engine *e)
{
    for (uint32_t v = 0; v < ENGINE_VALUES; v++) {
        free(e->values[v]);
        e->values[v] = NULL;
    }
}

static int32_t run_node(engine *e, qdbg_tap *tap, uint32_t number)
{
    qdbg_node_info node = QDBG_NODE_INFO_INIT;
    op o = {{NULL}, QDBG_VIEW_INIT, 1e-5f};
    const float *epsilon;
    uint32_t n;
    need(qdbg_graph_node(e->graph, number, &node) == QDBG_OK, "no such node");
    if (qdbg_graph_get_floats(e->graph, number, "epsilon", &epsilon, &n) == QDBG_OK)
        o.epsilon = *epsilon;
    for (uint32_t i = 0; i < node.n_inputs; i++)
        o.in[i] = &e->views[node.inputs[i]];
    compute(&o, node.op_type);
    give(e, node.outputs[0], o.out);
    return tap_value(e, tap, node.outputs[0], NULL);
}

static int32_t run(void *user, qdbg_tap *tap, const qdbg_view *inputs, uint32_t n_inputs)
{
    engine *e = user;
    if (fails(e, &e->n_runs, e->fail_run))
        return e->code;
    int32_t code = 0;
    for (uint32_t i = 0; i < n_inputs && code == 0; i++) {
        op copy = {{NULL}, inputs[i], 0};
        memcpy(room(&copy), inputs[i].data, (size_t)qdbg_view_count(&inputs[i]) * sizeof(float));
        give(e, qdbg_graph_input(e->graph, i), copy.out);
        code = tap_value(e, tap, qdbg_graph_input(e->graph, i), &inputs[i]);
    }
    for (uint32_t i = 0; i < qdbg_graph_node_count(e->graph) && code == 0; i++)
        code = run_node(e, tap, i);
    drop_values(e);
    return code;
}

static int32_t get(void *user, uint32_t value, float *data, uint64_t count)
{
    engine *e = user;
    if (fails(e, &e->n_gets, e->fail_get))
        return e->code;
    need(count == e->counts[value], "get: count");
    memcpy(data, e->params[value], (size_t)count * sizeof *data);
    return 0;
}

/* A set that fails has copied half of it. */
static int32_t set(void *user, uint32_t value, const float *data, uint64_t count)
{
    engine *e = user;
    bool failed = fails(e, &e->n_sets, e->fail_set);
    need(count == e->counts[value], "set: count");
    if (e->fault == FAULT_DEAF && value == e->fault_value)
        return failed ? e->code : 0;
    memcpy(e->params[value], data, (size_t)(failed ? count / 2 : count) * sizeof *data);
    for (uint64_t i = 0; i < count && e->fault == FAULT_HALF; i++) {
        uint32_t bits;
        memcpy(&bits, &data[i], sizeof bits);
        bits &= 0xffff0000u;
        memcpy(&e->params[value][i], &bits, sizeof bits);
    }
    return failed ? e->code : 0;
}

void engine_init(engine *e, const qdbg_graph *g)
{
    *e = (engine){.graph = g, .thread = pthread_self()};
    need(qdbg_graph_value_count(g) <= ENGINE_VALUES, "the graph is too large");
    for (uint32_t v = 0; v < qdbg_graph_value_count(g); v++) {
        qdbg_view view = QDBG_VIEW_INIT;
        if (qdbg_graph_parameter(g, v, &view) != QDBG_OK)
            continue;
        e->counts[v] = qdbg_view_count(&view);
        e->params[v] = malloc((size_t)e->counts[v] * sizeof(float));
        need(e->params[v] != NULL, "no memory");
        memcpy(e->params[v], view.data, (size_t)e->counts[v] * sizeof(float));
        e->views[v] = view;
        e->views[v].data = e->params[v];
    }
}

void engine_free(engine *e)
{
    for (uint32_t v = 0; v < ENGINE_VALUES; v++)
        free(e->params[v]);
}

qdbg_host engine_host(engine *e)
{
    qdbg_host host = QDBG_HOST_INIT;
    host.user = e;
    host.run = run;
    host.get_parameter = get;
    host.set_parameter = set;
    return host;
}

qdbg_model *engine_model(engine *e, qdbg_graph *g)
{
    qdbg_model *m = NULL;
    qdbg_host host;
    engine_init(e, g);
    host = engine_host(e);
    need(qdbg_model_create_host(g, &host, &m) == QDBG_OK, "no model");
    return m;
}
