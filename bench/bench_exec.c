/* The executor's speed on whole models: bench_exec MODEL.onnx ...
 *
 * Columns: multiplications of a run; milliseconds a run takes on one thread and, per run, on two;
 * what the bare matrix products of the same shapes take, and their share of the run; then a sweep
 * over N quantizers, each alone: milliseconds for all N when they reuse the base's values, when
 * each is computed in full, and how many times less that is. All within one process, alternating,
 * the fastest of several rounds: read ratios rather than times. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <qdebug/onnx.h>

#include "../lib/exec/exec.h"

#define ROUNDS 7
#define MAX_SWEEP 32
#define RUNS 16

typedef struct bench {
    qdbg_ctx *ctx;
    qdbg_graph *graph;
    qdbg__exec *exec;
    qdbg_view input; /* RUNS samples */
    const qdbg__fakequant *acts[MAX_SWEEP + 1][4096];
    qdbg__variant variants[MAX_SWEEP + 1];
    uint32_t n_variants;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool open_model(const char *path, uint32_t threads, bench *b)
{
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    memset(b, 0, sizeof *b);
    options.threads = threads;
    if (qdbg_ctx_create(&options, &b->ctx) != QDBG_OK ||
        qdbg_onnx_load_file(b->ctx, path, &b->graph) != QDBG_OK ||
        qdbg_graph_value(b->graph, qdbg_graph_input(b->graph, 0), &info) != QDBG_OK)
        return false;
    qdbg_view one = {.struct_size = sizeof one, .dtype = info.dtype, .rank = info.rank};
    for (uint32_t i = 0; i < info.rank; i++)
        one.dims[i] = info.dims[i] < 0 || i == 0 ? 1 : info.dims[i];
    size_t n = (size_t)qdbg_view_count(&one) * RUNS;
    float *x = malloc(n * sizeof *x);
    if (!x || qdbg__exec_create(b->graph, &one, &b->exec) != QDBG_OK)
        return false;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(i * 2654435761u % 2001) / 1000.0f - 1.0f;
    b->input = one;
    b->input.dims[0] = RUNS;
    b->input.data = x;
    return true;
}

static void close_model(bench *b)
{
    qdbg__exec_destroy(b->exec);
    qdbg_graph_destroy(b->graph);
    free(b->input.data);
    qdbg_ctx_destroy(b->ctx);
}

/* Quantizers spread evenly over the float values that nodes compute. */
static void choose_sweep(bench *b)
{
    static const qdbg__grid grid = {0.05f, 128, 0, 255, QDBG_ROUND_NEAREST_EVEN};
    static const qdbg__fakequant act = {&grid, 1, 0, 0};
    uint32_t candidates[4096], n = 0;
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    for (uint32_t v = 0; v < qdbg_graph_value_count(b->graph) && v < 4096; v++) {
        if (qdbg_graph_value(b->graph, v, &info) == QDBG_OK && info.producer != QDBG_NONE &&
            qdbg__exec_value(b->exec, v)->dtype == QDBG_F32)
            candidates[n++] = v;
    }
    uint32_t take = n < MAX_SWEEP ? n : MAX_SWEEP;
    for (uint32_t k = 0; k < take; k++) {
        b->acts[k + 1][candidates[(uint64_t)k * n / take]] = &act;
        b->variants[k + 1].acts = b->acts[k + 1];
    }
    b->n_variants = take + 1;
}

/* Seconds per run of a job with variants from..from+n-1. */
static double time_job(bench *b, uint32_t from, uint32_t n)
{
    qdbg__exec_job job = {
        .inputs = &b->input, .n_runs = RUNS, .variants = b->variants + from, .n_variants = n};
    double start = now();
    if (qdbg__exec_run(b->exec, &job) != QDBG_OK) {
        fprintf(stderr, "%s\n", qdbg_ctx_error_message(b->ctx));
        exit(1);
    }
    return (now() - start) / RUNS;
}

/* ---- the matrix products in a run ---- */

typedef struct product {
    int64_t m, n, k, times;
    bool dense; /* else it is done by direct loops */
} product;

static product product_of(const bench *b, uint32_t node)
{
    qdbg_node_info info = QDBG_NODE_INFO_INIT;
    product p = {0};
    if (qdbg_graph_node(b->graph, node, &info) != QDBG_OK || info.n_inputs < 2)
        return p;
    const qdbg_view *x = qdbg__exec_value(b->exec, info.inputs[0]);
    const qdbg_view *w = qdbg__exec_value(b->exec, info.inputs[1]);
    const qdbg_view *y = qdbg__exec_value(b->exec, info.outputs[0]);
    int64_t outputs = (int64_t)qdbg_view_count(y);
    if (strcmp(info.op_type, "Conv") == 0) {
        int64_t groups = x->dims[1] / w->dims[1];
        p.m = w->dims[0] / groups;
        p.k = (int64_t)qdbg_view_count(w) / w->dims[0];
        p.n = outputs / w->dims[0];
        p.times = groups;
        p.dense = w->dims[1] > 1 || p.m > 4;
    } else if (strcmp(info.op_type, "MatMul") == 0 || strcmp(info.op_type, "Gemm") == 0) {
        p.n = y->dims[y->rank - 1];
        p.m = w->rank > 2 ? y->dims[y->rank - 2] : outputs / p.n;
        p.k = (int64_t)qdbg_view_count(x) * p.n / outputs;
        p.times = outputs / p.m / p.n;
        p.dense = true;
    }
    return p;
}

static double time_product(const product *p)
{
    size_t a = (size_t)(p->m * p->k), b = (size_t)(p->k * p->n), c = (size_t)(p->m * p->n);
    float *data = aligned_alloc(64, (a + b + c + 16) / 16 * 64);
    double best = 1e9;
    if (!data)
        return 0.0;
    memset(data, 0, (a + b + c) * sizeof *data);
    for (int r = 0; r < ROUNDS; r++) {
        double start = now();
        for (int i = 0; i < RUNS; i++)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)p->m, (int)p->n, (int)p->k,
                        1.0f, data, (int)p->k, data + a, (int)p->n, 0.0f, data + a + b, (int)p->n);
        double t = (now() - start) / RUNS;
        best = t < best ? t : best;
    }
    free(data);
    return best * (double)p->times;
}

static double time_products(const bench *b, double *macs)
{
    double sum = 0.0;
    *macs = 0.0;
    for (uint32_t n = 0; n < qdbg_graph_node_count(b->graph); n++) {
        product p = product_of(b, n);
        *macs += (double)p.m * (double)p.n * (double)p.k * (double)p.times;
        if (p.dense)
            sum += time_product(&p);
    }
    return sum;
}

/* ---- the table ---- */

static double least(double a, double b)
{
    return a < b ? a : b;
}

static bool bench_model(const char *path)
{
    static bench one, two;
    double t1 = 1e9, t2 = 1e9, reuse = 1e9, full = 1e9, macs;
    if (!open_model(path, 1, &one) || !open_model(path, 2, &two)) {
        fprintf(stderr, "%s: %s\n", path, one.ctx ? qdbg_ctx_error_message(one.ctx) : "no context");
        return false;
    }
    choose_sweep(&one);
    for (int r = 0; r < ROUNDS; r++) {
        double sum = 0.0;
        t1 = least(t1, time_job(&one, 0, 1));
        t2 = least(t2, time_job(&two, 0, 1));
        reuse = least(reuse, time_job(&one, 0, one.n_variants));
        for (uint32_t k = 1; k < one.n_variants && r < 3; k++)
            sum += time_job(&one, k, 1);
        full = r < 3 ? least(full, sum) : full;
    }
    double products = time_products(&one, &macs);
    const char *name = strrchr(path, '/');
    printf("%-32s %8.2f %8.3f %8.3f %8.3f %5.0f %% %4u %9.3f %9.3f %6.2f\n", name ? name + 1 : path,
           macs * 1e-6, t1 * 1e3, t2 * 1e3, products * 1e3, 100.0 * products / t1,
           one.n_variants - 1, (reuse - t1) * 1e3, full * 1e3, full / (reuse - t1));
    close_model(&one);
    close_model(&two);
    return true;
}

int main(int argc, char **argv)
{
    bool fine = true;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_exec MODEL.onnx ...\n");
        return 2;
    }
    printf("%-32s %8s %8s %8s %8s %7s %4s %9s %9s %6s\n", "model", "MMAC", "ms, 1 t", "ms, 2 t",
           "sgemm", "share", "N", "reuse ms", "full ms", "ratio");
    for (int i = 1; i < argc; i++)
        fine = bench_model(argv[i]) && fine;
    return fine ? 0 : 1;
}
