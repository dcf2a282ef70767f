#include "small.h"

#include <stdlib.h>
#include <string.h>

#define SIDE 9
#define CLASSES 5

/* ---- numbers ---- */

/* Uniform in [-1, 1). */
static float draw(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(*seed >> 32) / 2147483648.0f;
}

bool small_samples(size_t n, samples *out, const char **why)
{
    uint64_t seed = 7;
    const int64_t dims[] = {(int64_t)n, 1, SIDE, SIDE};
    float *x = malloc(n * SIDE * SIDE * sizeof *x);
    int64_t *labels = malloc(n * sizeof *labels);
    *why = "no memory";
    *out = (samples){QDBG_VIEW_INIT, labels};
    if (!x || !labels || qdbg_view_init(&out->inputs, QDBG_F32, 4, dims, x) != QDBG_OK) {
        free(x);
        free(labels);
        return false;
    }
    for (size_t i = 0; i < n * SIDE * SIDE; i++)
        x[i] = 2.0f * draw(&seed);
    for (size_t i = 0; i < n; i++)
        labels[i] = (int64_t)i % CLASSES;
    return true;
}

/* ---- graph ---- */

/* A graph that grows; once something fails the rest is skipped. */
typedef struct build {
    qdbg_graph *graph;
    uint64_t seed;
    qdbg_status status;
    uint32_t node; /* the last one added */
} build;

static void keep(build *b, qdbg_status status)
{
    if (b->status == QDBG_OK)
        b->status = status;
}

/* Random elements in low + [0, 2 * spread). */
static uint32_t parameter(build *b, const char *name, uint32_t rank, const int64_t *dims, float low,
                          float spread)
{
    float data[256];
    qdbg_view view;
    uint32_t id = QDBG_NONE;
    keep(b, qdbg_view_init(&view, QDBG_F32, rank, dims, data));
    for (uint64_t i = 0; i < qdbg_view_count(&view); i++)
        data[i] = low + spread * (1.0f + draw(&b->seed));
    keep(b, qdbg_graph_add_parameter(b->graph, name, &view, &id));
    return id;
}

static uint32_t node(build *b, const char *op, const char *name, const uint32_t *inputs, uint32_t n)
{
    uint32_t out = QDBG_NONE;
    keep(b, qdbg_graph_add_value(b->graph, name, QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &out));
    keep(b, qdbg_graph_add_node(b->graph, op, name, inputs, n, &out, 1, &b->node));
    return out;
}

static uint32_t unary(build *b, const char *op, const char *name, uint32_t x)
{
    return node(b, op, name, &x, 1);
}

static void ints(build *b, const char *name, const int64_t *values, uint32_t n)
{
    keep(b, qdbg_graph_set_ints(b->graph, b->node, name, values, n));
}

/* Text in storage of its own: "stem" + suffix. */
static const char *join(char text[32], const char *stem, const char *suffix)
{
    strcpy(text, stem);
    return strcat(text, suffix);
}

static uint32_t conv(build *b, const char *name, uint32_t x, const int64_t weight[4], bool bias)
{
    char text[32];
    uint32_t in[3] = {x, QDBG_NONE, QDBG_NONE};
    in[1] = parameter(b, join(text, name, ".w"), 4, weight, -0.5f, 0.5f);
    if (bias)
        in[2] = parameter(b, join(text, name, ".b"), 1, weight, -0.2f, 0.2f);
    return node(b, "Conv", name, in, bias ? 3 : 2);
}

static uint32_t batch_norm(build *b, const char *name, uint32_t x, int64_t channels)
{
    char text[32];
    uint32_t in[5] = {x, QDBG_NONE, QDBG_NONE, QDBG_NONE, QDBG_NONE};
    in[1] = parameter(b, join(text, name, ".gamma"), 1, &channels, 0.5f, 0.5f);
    in[2] = parameter(b, join(text, name, ".beta"), 1, &channels, -0.5f, 0.5f);
    in[3] = parameter(b, join(text, name, ".mean"), 1, &channels, -0.5f, 0.5f);
    in[4] = parameter(b, join(text, name, ".var"), 1, &channels, 0.5f, 0.5f);
    return node(b, "BatchNormalization", name, in, 5);
}

static uint32_t clip6(build *b, const char *name, uint32_t x)
{
    float bounds[] = {0.0f, 6.0f};
    uint32_t in[] = {x, QDBG_NONE, QDBG_NONE};
    qdbg_view low = QDBG_VIEW_INIT, high = QDBG_VIEW_INIT;
    low.dtype = high.dtype = QDBG_F32;
    low.data = &bounds[0];
    high.data = &bounds[1];
    keep(b, qdbg_graph_add_parameter(b->graph, "low", &low, &in[1]));
    keep(b, qdbg_graph_add_parameter(b->graph, "high", &high, &in[2]));
    return node(b, "Clip", name, in, 3);
}

static uint32_t gemm(build *b, const char *name, uint32_t x, int64_t ins)
{
    const int64_t weight[] = {CLASSES, ins};
    uint32_t in[] = {x, QDBG_NONE, QDBG_NONE};
    in[1] = parameter(b, "y.w", 2, weight, -1.0f, 1.0f);
    in[2] = parameter(b, "y.b", 1, weight, -0.1f, 0.1f);
    uint32_t y = node(b, "Gemm", name, in, 3);
    keep(b, qdbg_graph_set_int(b->graph, b->node, "transB", 1));
    return y;
}

static uint32_t features(build *b, uint32_t x)
{
    static const int64_t stem[] = {6, 1, 3, 3}, depthwise[] = {6, 1, 3, 3},
                         pointwise[] = {8, 6, 1, 1};
    static const int64_t ones[] = {1, 1, 1, 1}, twos[] = {2, 2};
    x = conv(b, "stem", x, stem, true);
    ints(b, "pads", ones, 4);
    ints(b, "kernel_shape", stem + 2, 2);
    x = unary(b, "Relu", "a", batch_norm(b, "stem_bn", x, 6));
    x = conv(b, "dw", x, depthwise, false);
    ints(b, "strides", twos, 2);
    ints(b, "kernel_shape", depthwise + 2, 2);
    keep(b, qdbg_graph_set_int(b->graph, b->node, "group", 6));
    x = clip6(b, "b", batch_norm(b, "dw_bn", x, 6));
    x = conv(b, "pw", x, pointwise, true);
    ints(b, "kernel_shape", pointwise + 2, 2);
    x = unary(b, "AveragePool", "pool", unary(b, "Relu", "c", x));
    ints(b, "kernel_shape", twos, 2);
    return x;
}

bool small_graph(qdbg_ctx *ctx, qdbg_graph **out, const char **why)
{
    static const int64_t input[] = {QDBG_DIM_UNKNOWN, 1, SIDE, SIDE};
    build b = {.seed = 1};
    uint32_t x = QDBG_NONE;
    *why = "the small network cannot be built";
    b.status = qdbg_graph_create(ctx, 13, &b.graph);
    keep(&b, qdbg_graph_add_value(b.graph, "x", QDBG_F32, 4, input, &x));
    keep(&b, qdbg_graph_add_input(b.graph, x));
    x = unary(&b, "GlobalAveragePool", "mean", features(&b, x));
    x = gemm(&b, "y", unary(&b, "Flatten", "flat", x), 8);
    keep(&b, qdbg_graph_add_output(b.graph, x));
    keep(&b, qdbg_graph_finish(b.graph));
    if (b.status == QDBG_OK) {
        *out = b.graph;
        return true;
    }
    qdbg_graph_destroy(b.graph);
    return false;
}
