/* Which tensors of a transformer mind few bits: the zoo's keyword transformer, by what its tensors
 * are for.
 *
 *     QDBG_ZOO=FOLDER bench_transformer [BITS [LIMIT [CALIBRATION]]]
 *
 * BITS: of activations, default 8. LIMIT: clips to score, default all 300. CALIBRATION: clips to
 * calibrate on, the first; default 64. Weights stay in float32; activations lie over their minimum
 * and maximum, asymmetric, one grid a tensor. For each kind of tensor: how many there are; the SQNR
 * that the grid leaves of the worst of them by its own statistics; the worst ratio of the power of
 * the largest element to the mean power (a Gaussian tensor of a million has 14 dB); the score with
 * only these quantized; and with all of the transformer quantized but these. What lies in front of
 * the logarithm of the MFCC front end is a kind of its own, and is quantized only in its own row.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qdebug/onnx.h>
#include <qdebug/qdebug.h>

#include "../tests/zoo.h"
#include "front_end.h"
#include "graph/graph.h"
#include "sim/sim.h"

enum { REST, FRONT, SQUARE, VARIANCE, INVERSE, CUBE, SCORES, SOFTMAX, RESIDUAL, KINDS };
static const char *const kinds[KINDS] = {
    "all else",
    "front end, to the logarithm",
    "LayerNorm: (x - mean)^2",
    "LayerNorm: variance",
    "LayerNorm: 1 / sqrt(variance)",
    "GELU: x^3",
    "attention: scores",
    "attention: softmax",
    "sums of the residual stream",
};

static void must(qdbg_ctx *ctx, qdbg_status status, const char *what)
{
    if (status == QDBG_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, qdbg_ctx_error_message(ctx));
    exit(1);
}

/* ---- what a tensor is for ---- */

static const qdbg__node *producer(const qdbg_graph *g, uint32_t v)
{
    uint32_t n = g->values[v].producer;
    return n == QDBG_NONE ? NULL : &g->nodes[n];
}

static bool made_by(const qdbg_graph *g, uint32_t v, const char *op)
{
    const qdbg__node *n = producer(g, v);
    return n && qdbg__node_is(n, op);
}

static bool read_by(const qdbg_graph *g, uint32_t v, const char *op)
{
    for (uint32_t i = 0; i < g->values[v].n_consumers; i++)
        if (qdbg__node_is(&g->nodes[g->values[v].consumers[i]], op))
            return true;
    return false;
}

static bool in_softmax(const qdbg_graph *g, uint32_t v)
{
    while (read_by(g, v, "Reshape") && g->values[v].n_consumers == 1)
        v = g->nodes[g->values[v].consumers[0]].out[0];
    return read_by(g, v, "Softmax");
}

static uint8_t find_kind(const qdbg_graph *g, const uint8_t *kind, uint32_t v)
{
    const qdbg__node *n = producer(g, v);
    if (!n)
        return REST;
    uint32_t a = n->in[0], b = n->n_in > 1 ? n->in[1] : QDBG_NONE;
    if (qdbg__node_is(n, "Mul") && a == b && read_by(g, v, "ReduceMean"))
        return SQUARE;
    if (qdbg__node_is(n, "ReduceMean") && kind[a] == SQUARE)
        return VARIANCE;
    if ((qdbg__node_is(n, "Add") || qdbg__node_is(n, "Sqrt")) && kind[a] == VARIANCE)
        return VARIANCE;
    if (qdbg__node_is(n, "Reciprocal") && kind[a] == VARIANCE)
        return INVERSE;
    if (qdbg__node_is(n, "Pow") || (qdbg__node_is(n, "Mul") && made_by(g, a, "Pow")))
        return CUBE;
    if (qdbg__node_is(n, "Softmax"))
        return SOFTMAX;
    if (in_softmax(g, v) || (qdbg__node_is(n, "MatMul") && read_by(g, v, "Mul") &&
                             in_softmax(g, g->nodes[g->values[v].consumers[0]].out[0])))
        return SCORES;
    if (qdbg__node_is(n, "Add") && read_by(g, v, "ReduceMean"))
        return RESIDUAL;
    return REST;
}

/* ---- the table ---- */

typedef struct world {
    qdbg_ctx *ctx;
    const qdbg_graph *graph;
    qdbg_sim *sim;
    qdbg_dataset test;
    uint8_t *kind; /* [values of the graph] */
    uint32_t n;    /* quantizers */
    uint32_t bits;
    int *kind_of; /* [n] or -1: a weight */
} world;

static void score(world *w, const uint8_t *chosen)
{
    qdbg_metric metrics[2] = {QDBG_METRIC_INIT, QDBG_METRIC_INIT};
    double scores[2];
    metrics[0].kind = QDBG_METRIC_TOP1;
    metrics[1].kind = QDBG_METRIC_SQNR;
    must(w->ctx, qdbg__sim_score(w->sim, chosen, &w->test, "score", metrics, 2, scores), "score");
    printf("  %5.1f %6.1f", 100 * scores[0], scores[1]);
    fflush(stdout);
}

static void print_kind(world *w, int kind, uint8_t *chosen)
{
    uint32_t count = 0, worst = 0;
    double least = INFINITY, peak = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        qdbg_statistics s = QDBG_STATISTICS_INIT;
        chosen[i] = w->kind_of[i] == kind;
        if (!chosen[i])
            continue;
        must(w->ctx, qdbg_sim_statistics(w->sim, i, 0, &s), "statistics");
        double step =
            ((double)fmaxf(s.max, 0) - (double)fminf(s.min, 0)) / (double)((1u << w->bits) - 1);
        double power = s.variance + s.mean * s.mean;
        double largest = fmax(fabs((double)s.min), fabs((double)s.max));
        double sqnr = 10 * log10(12 * power / (step * step));
        peak = fmax(peak, 20 * log10(largest) - 10 * log10(power));
        if (sqnr < least)
            least = sqnr, worst = i;
        count++;
    }
    if (!count)
        return;
    printf("%-30s %4u  %6.1f  %6.1f", kinds[kind], count, least, peak);
    score(w, chosen);
    if (kind != FRONT) {
        for (uint32_t i = 0; i < w->n; i++)
            chosen[i] = w->kind_of[i] >= 0 && w->kind_of[i] != kind && w->kind_of[i] != FRONT;
        score(w, chosen);
    } else {
        printf("  %12s", "");
    }
    qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
    must(w->ctx, qdbg_sim_quantizer(w->sim, worst, &info), "quantizer");
    printf("  %s\n", info.name);
}

static void print_table(world *w)
{
    uint8_t *chosen = calloc(w->n, 1);
    printf("%-30s %4s  %6s  %6s  %12s  %12s  %s\n", "activations", "n", "SQNR", "peak",
           "only these", "all but these", "worst of them");
    printf("%-30s %4s  %6s  %6s  %5s %6s  %5s %6s\n", "", "", "dB", "dB", "top-1", "dB", "top-1",
           "dB");
    for (int kind = 0; kind < KINDS; kind++)
        print_kind(w, kind, chosen);
    for (uint32_t i = 0; i < w->n; i++)
        chosen[i] = w->kind_of[i] >= 0 && w->kind_of[i] != FRONT;
    printf("%-30s %4s  %6s  %6s", "the whole transformer", "", "", "");
    score(w, chosen);
    printf("\n");
    free(chosen);
}

int main(int argc, char **argv)
{
    const char *folder = getenv("QDBG_ZOO"), *why = "set QDBG_ZOO to the folder of the zoo";
    uint32_t bits = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 8;
    size_t limit = argc > 2 ? strtoul(argv[2], NULL, 10) : SIZE_MAX;
    size_t calibration = argc > 3 ? strtoul(argv[3], NULL, 10) : 64;
    qdbg_sim_options options = QDBG_SIM_OPTIONS_INIT;
    const zoo_model *m = NULL;
    zoo_data data;
    for (int i = 0; i < ZOO_MODELS; i++)
        if (strstr(zoo_models[i].name, "kwt1"))
            m = &zoo_models[i];
    if (!folder || !m || !zoo_load_data(folder, m, limit, &data, &why)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    world w = {0};
    qdbg_graph *g;
    qdbg_model *model;
    char path[1024];
    if (qdbg_ctx_create(NULL, &w.ctx) != QDBG_OK)
        return 1;
    must(w.ctx,
         qdbg_onnx_load_file(w.ctx, zoo_path(folder, m->name, ".onnx", path, sizeof path), &g),
         m->name);
    must(w.ctx, qdbg_model_create(g, &model), m->name);

    int64_t *labels = malloc(data.n * sizeof *labels);
    for (size_t i = 0; i < data.n && labels; i++)
        labels[i] = (int64_t)npy_at(&data.labels, i);
    qdbg_arrays *test, *seen;
    qdbg_dataset first;
    qdbg_view view;
    int64_t dims[2] = {(int64_t)data.n, m->dims[1]};
    must(w.ctx, qdbg_view_init(&view, QDBG_F32, 2, dims, data.x), "view");
    must(w.ctx, qdbg_arrays_create(w.ctx, &view, 1, labels, 32, &test), "arrays");
    must(w.ctx, qdbg_arrays_dataset(test, &w.test), "dataset");
    view.dims[0] = (int64_t)(calibration < data.n ? calibration : data.n);
    must(w.ctx, qdbg_arrays_create(w.ctx, &view, 1, labels, 32, &seen), "arrays");
    must(w.ctx, qdbg_arrays_dataset(seen, &first), "dataset");

    options.activation_bits = w.bits = bits;
    must(w.ctx, qdbg_sim_create(model, &options, &w.sim), "simulation");
    must(w.ctx, qdbg_sim_calibrate(w.sim, &first), "calibrate");
    w.graph = g;
    w.kind = calloc(g->n_values, 1);
    bool *front = calloc(g->n_values, 1);
    front_end_mark(g, front);
    for (size_t v = 0; v < g->n_values; v++)
        w.kind[v] = front[v] ? FRONT : REST;
    free(front);
    for (size_t n = 0; n < g->n_nodes; n++)
        for (uint32_t o = 0; o < g->nodes[n].n_out; o++)
            if (w.kind[g->nodes[n].out[o]] != FRONT)
                w.kind[g->nodes[n].out[o]] = find_kind(g, w.kind, g->nodes[n].out[o]);
    w.n = qdbg_sim_quantizer_count(w.sim);
    w.kind_of = calloc(w.n, sizeof *w.kind_of);
    for (uint32_t i = 0; i < w.n; i++) {
        qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
        must(w.ctx, qdbg_sim_quantizer(w.sim, i, &info), "quantizer");
        w.kind_of[i] = info.kind == QDBG_ACTIVATION ? (int)w.kind[info.value] : -1;
    }
    printf("%s: %zu clips scored, calibrated on %zu; weights float32, activations %u bits\n",
           m->name, data.n, (size_t)view.dims[0], bits);
    print_table(&w);

    free(w.kind_of);
    free(w.kind);
    qdbg_sim_destroy(w.sim);
    qdbg_arrays_destroy(seen);
    qdbg_arrays_destroy(test);
    free(labels);
    zoo_free_data(&data);
    qdbg_model_destroy(model);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(w.ctx);
    return 0;
}
