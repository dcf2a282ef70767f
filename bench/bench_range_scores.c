/* What range methods do to the zoo's networks: top-1 and output SQNR by method and bits.
 *
 *     QDBG_ZOO=FOLDER bench_range_scores [MODEL [LIMIT [CALIBRATION [per-tensor]]]]
 *
 * MODEL: a part of the name, "" for all. LIMIT: samples to score, default all; the transformer is
 * slow, try 50. CALIBRATION: samples to calibrate on, default 256; of CIFAR-10's training set, of
 * the other sets their first. Batch-normalization folded, weights symmetric and per channel
 * (or per tensor), activations asymmetric and per tensor, calibrated once for all methods.
 *
 * Last come the activations that 8 bits over minimum and maximum harm most, by their own
 * statistics.
 *
 * A standard error of top-1 at 1000 samples is about 1 point; SQNR discriminates better. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <qdebug/onnx.h>
#include <qdebug/qdebug.h>

#include "../tests/zoo.h"
#include "front_end.h"
#include "graph/graph.h"
#include "sim/sim.h"

typedef struct data {
    zoo_data zoo;
    int64_t *labels;
    qdbg_arrays *arrays;
    qdbg_dataset set;
} data;

typedef struct setting {
    uint32_t weight_bits, activation_bits;
} setting;

static const setting settings[] = {{8, 8}, {4, 8}, {8, 4}, {6, 6}};
#define SETTINGS 4

typedef struct row {
    const char *name;
    int32_t weights, activations;
    double percentile;
    int32_t last; /* method of the network's output, or -1: as the rest */
} row;

static const row rows[] = {
    {"min-max, min-max", QDBG_RANGE_MIN_MAX, QDBG_RANGE_MIN_MAX, 0, -1},
    {"MSE, min-max", QDBG_RANGE_MSE, QDBG_RANGE_MIN_MAX, 0, -1},
    {"SQNR, min-max", QDBG_RANGE_SQNR, QDBG_RANGE_MIN_MAX, 0, -1},
    {"entropy, min-max", QDBG_RANGE_ENTROPY, QDBG_RANGE_MIN_MAX, 0, -1},
    {"MSE, moving average", QDBG_RANGE_MSE, QDBG_RANGE_MOVING_AVERAGE, 0, -1},
    {"MSE, 99.99 %", QDBG_RANGE_MSE, QDBG_RANGE_PERCENTILE, 99.99, -1},
    {"MSE, 99.9 %", QDBG_RANGE_MSE, QDBG_RANGE_PERCENTILE, 99.9, -1},
    {"MSE, entropy", QDBG_RANGE_MSE, QDBG_RANGE_ENTROPY, 0, -1},
    {"MSE, SQNR", QDBG_RANGE_MSE, QDBG_RANGE_SQNR, 0, -1},
    {"MSE, MSE", QDBG_RANGE_MSE, QDBG_RANGE_MSE, 0, -1},
    {"MSE, MSE, logits x-ent.", QDBG_RANGE_MSE, QDBG_RANGE_MSE, 0, QDBG_RANGE_CROSS_ENTROPY},
    {"MSE, batch-norm 6 sigma", QDBG_RANGE_MSE, QDBG_RANGE_BATCH_NORM, 0, -1},
};
#define ROWS (sizeof rows / sizeof *rows)

static void must(qdbg_ctx *ctx, qdbg_status status, const char *what)
{
    if (status == QDBG_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, qdbg_ctx_error_message(ctx));
    exit(1);
}

static double cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static data load_data(qdbg_ctx *ctx, const char *folder, const zoo_model *m, size_t limit)
{
    data d = {0};
    const char *why;
    if (!zoo_load_data(folder, m, limit, &d.zoo, &why)) {
        fprintf(stderr, "%s: %s\n", m->inputs, why);
        exit(1);
    }
    int64_t dims[QDBG_MAX_RANK];
    uint32_t rank = 0;
    for (; m->dims[rank] >= 0; rank++)
        dims[rank] = m->dims[rank];
    dims[0] = (int64_t)d.zoo.n;
    qdbg_view view;
    must(ctx, qdbg_view_init(&view, QDBG_F32, rank, dims, d.zoo.x), "view");
    d.labels = malloc(d.zoo.n * sizeof *d.labels);
    for (size_t i = 0; i < d.zoo.n && d.labels; i++)
        d.labels[i] = (int64_t)npy_at(&d.zoo.labels, i);
    must(ctx, qdbg_arrays_create(ctx, &view, 1, d.labels, 32, &d.arrays), "arrays");
    must(ctx, qdbg_arrays_dataset(d.arrays, &d.set), "dataset");
    return d;
}

static void free_data(data *d)
{
    qdbg_arrays_destroy(d->arrays);
    free(d->labels);
    zoo_free_data(&d->zoo);
}

static void set_methods(qdbg_ctx *ctx, qdbg_sim *sim, const row *r)
{
    qdbg_range_options o = QDBG_RANGE_OPTIONS_INIT;
    o.method = r->weights;
    must(ctx, qdbg_sim_set_range_method(sim, QDBG_WEIGHT, &o), "weights");
    o.method = r->activations;
    o.percentile = r->percentile;
    must(ctx, qdbg_sim_set_range_method(sim, QDBG_ACTIVATION, &o), "activations");
    if (r->last < 0)
        return;
    o = (qdbg_range_options)QDBG_RANGE_OPTIONS_INIT;
    o.method = r->last;
    for (uint32_t i = qdbg_sim_quantizer_count(sim); i-- > 0;) {
        qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
        must(ctx, qdbg_sim_quantizer(sim, i, &info), "quantizer");
        if (info.kind != QDBG_ACTIVATION)
            continue;
        must(ctx, qdbg_sim_set_quantizer_range_method(sim, i, &o), "logits");
        return;
    }
}

static void set_bits(qdbg_ctx *ctx, qdbg_sim *sim, setting s)
{
    for (uint32_t i = 0; i < qdbg_sim_quantizer_count(sim); i++) {
        qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
        must(ctx, qdbg_sim_quantizer(sim, i, &info), "quantizer");
        must(
            ctx,
            qdbg_sim_set_bits(sim, i, info.kind == QDBG_WEIGHT ? s.weight_bits : s.activation_bits),
            "bits");
    }
}

/* `chosen`: [quantizers] those that are at work */
static void run_row(qdbg_ctx *ctx, qdbg_sim *sim, const row *r, const qdbg_dataset *set,
                    const uint8_t *chosen)
{
    qdbg_metric metrics[2] = {QDBG_METRIC_INIT, QDBG_METRIC_INIT};
    metrics[0].kind = QDBG_METRIC_TOP1;
    metrics[1].kind = QDBG_METRIC_SQNR;
    printf("%-24s", r->name);
    for (int s = 0; s < SETTINGS; s++) {
        double scores[2];
        qdbg_range_options plain = QDBG_RANGE_OPTIONS_INIT; /* bits change without a search */
        must(ctx, qdbg_sim_set_range_method(sim, 0, &plain), "min-max");
        set_bits(ctx, sim, settings[s]);
        set_methods(ctx, sim, r);
        must(ctx, qdbg__sim_score(sim, chosen, set, "score", metrics, 2, scores), "score");
        printf("   %5.1f %6.2f", 100 * scores[0], scores[1]);
        fflush(stdout);
    }
    printf("\n");
}

/* All methods; where the network has a logarithm, once more with what feeds it in float32. */
static void run_rows(qdbg_ctx *ctx, const qdbg_graph *g, qdbg_sim *sim, const qdbg_dataset *set)
{
    uint8_t *chosen = malloc(sim->n);
    bool *front = calloc(g->n_values, 1);
    memset(chosen, 1, sim->n);
    for (size_t r = 0; r < ROWS; r++)
        run_row(ctx, sim, &rows[r], set, chosen);
    if (front_end_mark(g, front)) {
        printf("with the front end, up to the logarithm, in float32:\n");
        for (uint32_t i = 0; i < qdbg_sim_quantizer_count(sim); i++) {
            qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
            must(ctx, qdbg_sim_quantizer(sim, i, &info), "quantizer");
            chosen[i] = !front[info.value];
        }
        for (size_t r = 0; r < ROWS; r++)
            run_row(ctx, sim, &rows[r], set, chosen);
    }
    free(front);
    free(chosen);
}

/* An activation and the SQNR that 8 bits over its minimum and maximum leave of it: E[x^2] / (s^2 /
 * 12), s = (max - min) / 255. */
typedef struct peak {
    double sqnr;
    uint32_t quantizer;
    qdbg_statistics statistics;
} peak;

static int worst_first(const void *a, const void *b)
{
    double x = ((const peak *)a)->sqnr, y = ((const peak *)b)->sqnr;
    return x < y ? -1 : x > y;
}

#define PEAKS 8

static void print_peaks(qdbg_ctx *ctx, qdbg_sim *sim)
{
    uint32_t n = 0, count = qdbg_sim_quantizer_count(sim);
    peak *peaks = calloc(count, sizeof *peaks);
    qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
    for (uint32_t i = 0; i < count; i++) {
        qdbg_statistics s = QDBG_STATISTICS_INIT;
        must(ctx, qdbg_sim_quantizer(sim, i, &info), "quantizer");
        if (info.kind != QDBG_ACTIVATION)
            continue;
        must(ctx, qdbg_sim_statistics(sim, i, 0, &s), "statistics");
        double step = ((double)fmaxf(s.max, 0) - (double)fminf(s.min, 0)) / 255;
        double power = s.variance + s.mean * s.mean;
        peaks[n++] = (peak){10 * log10(12 * power / (step * step)), i, s};
    }
    qsort(peaks, n, sizeof *peaks, worst_first);
    printf("activations that 8 bits over minimum and maximum harm most:\n");
    for (uint32_t i = 0; i < n && i < PEAKS; i++) {
        must(ctx, qdbg_sim_quantizer(sim, peaks[i].quantizer, &info), "quantizer");
        printf("  %6.1f dB  %-12s min %10.4g max %10.4g rms %9.3g  %s\n", peaks[i].sqnr,
               info.op_type, (double)peaks[i].statistics.min, (double)peaks[i].statistics.max,
               sqrt(peaks[i].statistics.variance +
                    peaks[i].statistics.mean * peaks[i].statistics.mean),
               info.name);
    }
    free(peaks);
}

static void run_model(const char *folder, const zoo_model *m, size_t limit, size_t calibration,
                      bool per_tensor)
{
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg_model *model;
    qdbg_sim *sim;
    char path[1024];
    double start = cpu(), score;
    zoo_model other = *m;
    if (strstr(m->name, "cifar10"))
        other.inputs = "cifar10_train1000_nhwc_u8", other.labels = "cifar10_train1000_labels_u8";
    if (qdbg_ctx_create(NULL, &ctx) != QDBG_OK)
        exit(1);
    must(ctx, qdbg_onnx_load_file(ctx, zoo_path(folder, m->name, ".onnx", path, sizeof path), &g),
         m->name);
    must(ctx, qdbg_model_create(g, &model), m->name);
    data test = load_data(ctx, folder, m, limit),
         seen = load_data(ctx, folder, &other, calibration);
    must(ctx, qdbg_fold_batch_norms(model, NULL), "fold");
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    o.weight_granularity = per_tensor ? QDBG_PER_TENSOR : QDBG_PER_CHANNEL;
    o.collect = QDBG_OBSERVE_HISTOGRAM | QDBG_OBSERVE_ROWS | QDBG_OBSERVE_AVERAGE;
    must(ctx, qdbg_sim_create(model, &o, &sim), "simulation");
    double before = cpu();
    must(ctx, qdbg_sim_calibrate(sim, &seen.set), "calibrate");
    double calibrated = cpu() - before;
    qdbg_metric top1 = QDBG_METRIC_INIT;
    top1.kind = QDBG_METRIC_TOP1;
    must(ctx, qdbg_model_evaluate(model, &test.set, &top1, &score), "float32");
    printf("%s: %zu samples, weights %s, float32 top-1 %.1f; %u quantizers calibrated on %zu "
           "samples in %.2f s CPU\n%-24s",
           m->name, test.zoo.n, per_tensor ? "per tensor" : "per channel", 100 * score,
           qdbg_sim_quantizer_count(sim), seen.zoo.n, calibrated, "weights, activations");
    for (int s = 0; s < SETTINGS; s++)
        printf("   W%uA%u     dB", settings[s].weight_bits, settings[s].activation_bits);
    printf("\n");
    run_rows(ctx, g, sim, &test.set);
    print_peaks(ctx, sim);
    printf("(%.1f s CPU)\n\n", cpu() - start);
    qdbg_sim_destroy(sim);
    free_data(&seen);
    free_data(&test);
    qdbg_model_destroy(model);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

int main(int argc, char **argv)
{
    const char *folder = getenv("QDBG_ZOO"), *name = argc > 1 ? argv[1] : "";
    size_t limit = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    size_t calibration = argc > 3 ? strtoul(argv[3], NULL, 10) : 256;
    if (!folder) {
        fprintf(stderr, "set QDBG_ZOO to the folder of the zoo\n");
        return 1;
    }
    for (int i = 0; i < ZOO_MODELS; i++)
        if (strstr(zoo_models[i].name, name))
            run_model(folder, &zoo_models[i], limit ? limit : SIZE_MAX, calibration, argc > 4);
    return 0;
}
