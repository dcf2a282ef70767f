/* An inference engine that links libqdebug: it tells the library what its network looks like, shows
 * it the tensors while it runs, and learns which of them quantization spoils.  usage: host */
#include <qdebug/qdebug.h>
#include <stdio.h>
#include <string.h>

enum { INS = 8, HIDDEN = 16, OUTS = 4, SAMPLES = 256, BATCH = 64 };

/* The engine's network: h = max(0, x w1'), y = h w2'. Ids are the library's numbers for its parts.
 */
typedef struct network {
    float w1[HIDDEN * INS], w2[OUTS * HIDDEN];
    uint32_t id_x, id_w1, id_sum, id_h, id_w2, id_y;
} network;

/* The engine as it was before it met the library. */
static void dense(int64_t n, int ins, int outs, const float *x, const float *w, float low, float *y)
{
    for (int64_t i = 0; i < n; i++)
        for (int o = 0; o < outs; o++) {
            float sum = 0;
            for (int k = 0; k < ins; k++)
                sum += x[i * ins + k] * w[o * ins + k];
            y[i * outs + o] = sum > low ? sum : low;
        }
}

/* Show a tensor; the library may quantize it where it lies. */
static qdbg_status show(qdbg_tap *tap, uint32_t value, int64_t n, int64_t width, float *data)
{
    const int64_t dims[] = {n, width};
    qdbg_view view;
    if (!qdbg_tap_wants(tap, value))
        return QDBG_OK;
    qdbg_status status = qdbg_view_init(&view, QDBG_F32, 2, dims, data);
    return status ? status : qdbg_tap_value(tap, value, &view);
}

/* One forward pass. Relu is fused into the first layer and may stay so: between the two the library
 * puts no quantizer, so it does not ask for "sum". */
static int32_t run(void *user, qdbg_tap *tap, const qdbg_view *inputs, uint32_t n_inputs)
{
    const network *net = user;
    static float x[BATCH * INS], h[BATCH * HIDDEN], y[BATCH * OUTS];
    int64_t n = inputs[0].dims[0]; /* never more than our dataset has in a batch */
    (void)n_inputs;
    memcpy(x, inputs[0].data, (size_t)n * INS * sizeof *x); /* inputs are not ours to change */
    if (show(tap, net->id_x, n, INS, x))
        return 1;
    dense(n, INS, HIDDEN, x, net->w1, 0.0f, h);
    if (show(tap, net->id_h, n, HIDDEN, h))
        return 1;
    dense(n, HIDDEN, OUTS, h, net->w2, -1e30f, y);
    return show(tap, net->id_y, n, OUTS, y) != QDBG_OK;
}

/* The library reads our weights and puts quantized ones in their place, then ours back again. */
static int32_t get(void *user, uint32_t value, float *data, uint64_t count)
{
    const network *net = user;
    memcpy(data, value == net->id_w1 ? net->w1 : net->w2, (size_t)count * sizeof *data);
    return 0;
}

static int32_t set(void *user, uint32_t value, const float *data, uint64_t count)
{
    network *net = user;
    memcpy(value == net->id_w1 ? net->w1 : net->w2, data, (size_t)count * sizeof *data);
    return 0;
}

/* The network described in ONNX's terms. */
static int layer(qdbg_graph *g, const char *name, uint32_t x, uint32_t w, uint32_t *y)
{
    const uint32_t in[] = {x, w};
    uint32_t node;
    return qdbg_graph_add_value(g, name, QDBG_F32, QDBG_RANK_UNKNOWN, NULL, y) ||
           qdbg_graph_add_node(g, "Gemm", name, in, 2, y, 1, &node) ||
           qdbg_graph_set_int(g, node, "transB", 1);
}

static int describe(qdbg_graph *g, network *net)
{
    const int64_t dims[] = {QDBG_DIM_UNKNOWN, INS};
    qdbg_view w1 = {sizeof w1, QDBG_F32, 2, 0, {HIDDEN, INS}, net->w1};
    qdbg_view w2 = {sizeof w2, QDBG_F32, 2, 0, {OUTS, HIDDEN}, net->w2};
    return qdbg_graph_add_value(g, "x", QDBG_F32, 2, dims, &net->id_x) ||
           qdbg_graph_add_parameter(g, "w1", &w1, &net->id_w1) ||
           qdbg_graph_add_parameter(g, "w2", &w2, &net->id_w2) ||
           layer(g, "sum", net->id_x, net->id_w1, &net->id_sum) ||
           qdbg_graph_add_value(g, "h", QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &net->id_h) ||
           qdbg_graph_add_node(g, "Relu", "h", &net->id_sum, 1, &net->id_h, 1, NULL) ||
           layer(g, "y", net->id_h, net->id_w2, &net->id_y) || qdbg_graph_add_input(g, net->id_x) ||
           qdbg_graph_add_output(g, net->id_y) || qdbg_graph_finish(g);
}

static void draw(float *data, int n)
{
    static uint32_t seed = 1;
    for (int i = 0; i < n; i++, seed = seed * 1664525u + 1013904223u)
        data[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
}

/* Channel 3 is large in one layer and small in the next: float32 does not mind, 8 bits do. */
static void invent(network *net, float *x)
{
    draw(net->w1, HIDDEN * INS);
    draw(net->w2, OUTS * HIDDEN);
    draw(x, SAMPLES * INS);
    for (int i = 0; i < INS; i++)
        net->w1[3 * INS + i] *= 300.0f;
    for (int o = 0; o < OUTS; o++)
        net->w2[o * HIDDEN + 3] /= 300.0f;
}

int main(void)
{
    static network net;
    static float x[SAMPLES * INS]; /* no labels: the score is agreement with float32 */
    qdbg_ctx *ctx = NULL;
    qdbg_graph *graph = NULL;
    qdbg_model *model = NULL;
    qdbg_arrays *arrays = NULL;
    qdbg_diagnosis *diagnosis = NULL;
    qdbg_host host = {sizeof host, 0, &net, run, get, set};
    qdbg_view samples = {sizeof samples, QDBG_F32, 2, 0, {SAMPLES, INS}, x};
    qdbg_dataset data = QDBG_DATASET_INIT;
    qdbg_diagnose_options options = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_finding worst = QDBG_FINDING_INIT;

    invent(&net, x);
    options.calibration = options.evaluation = &data;
    int failed = qdbg_ctx_create(NULL, &ctx) || qdbg_graph_create(ctx, 13, &graph) ||
                 describe(graph, &net) || qdbg_model_create_host(graph, &host, &model) ||
                 qdbg_arrays_create(ctx, &samples, 1, NULL, BATCH, &arrays) ||
                 qdbg_arrays_dataset(arrays, &data) || qdbg_diagnose(model, &options, &diagnosis) ||
                 qdbg_diagnosis_finding(diagnosis, 0, &worst);
    if (failed)
        fprintf(stderr, "host: %s\n", qdbg_ctx_error_message(ctx));
    else
        printf("%s is to blame, agreement %.3f: %s\n", worst.name, worst.score_alone, worst.reason);

    qdbg_diagnosis_destroy(diagnosis);
    qdbg_arrays_destroy(arrays);
    qdbg_model_destroy(model);
    qdbg_graph_destroy(graph);
    qdbg_ctx_destroy(ctx);
    return failed;
}
