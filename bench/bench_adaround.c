/* What rounding to the layer's output gains and costs, on the zoo's models:
 *
 *     QDBG_ZOO=FOLDER bench_adaround [MODEL [BITS [IMAGES [ITERATIONS [RUNS]]]]]
 *
 * ITERATIONS 0 leaves out the first table, RUNS 0 the second; a row's name for RUNS has it alone.
 * MODEL is resnet20_cifar10 (default), kws_ds_cnn or mobilenet_v1_0.25_128. Weights symmetric and
 * per channel, batch-normalization folded, activations in float32.
 *
 * First table: the solvers on the same problem for each layer (one pass, inputs of the float32
 * network). Loss on held-out samples over that of nearest rounding, and CPU milliseconds of all
 * threads from the moments to the rounded weights, loss included (for relaxed+flips and sampled,
 * which also look behind the activation, of all layers together: theirs come in several passes, out
 * of order); then the loss behind the activation in the same way, the
 * layer's own where there is none ("-"). Second table: top-1 on the model's 1000 labelled samples
 * and CPU seconds of whole runs. CPU times are as good as a shared machine lets them be: read
 * ratios. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <qdebug/onnx.h>
#include <qdebug/qdebug.h>

#include "../tests/zoo.h"

#define MAX_LAYERS 256

typedef struct bench {
    qdbg_ctx *ctx;
    qdbg_graph *graph;
    qdbg_model *model;
    zoo_data calibration, test;
    int64_t *labels[2];
    qdbg_arrays *arrays[2];
    qdbg_dataset data[2]; /* calibration, test */
    double last, layer_ms[MAX_LAYERS];
    uint32_t n_layers;
} bench;

static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + 1e-6 * (double)u.ru_utime.tv_usec;
}

static double wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A layer is rounded between the end of what came before and its own report. */
static int32_t on_progress(void *user, const qdbg_progress *p)
{
    bench *b = user;
    double now = cpu();
    if (strcmp(p->stage, "adaround: steps") == 0)
        return 0;
    if (strcmp(p->stage, "adaround") == 0 && p->done > 0 && b->n_layers < MAX_LAYERS)
        b->layer_ms[b->n_layers++] = 1e3 * (now - b->last);
    b->last = now;
    return 0;
}

static void must(const bench *b, qdbg_status status)
{
    if (status == QDBG_OK)
        return;
    fprintf(stderr, "%s\n", b->ctx ? qdbg_ctx_error_message(b->ctx) : qdbg_status_name(status));
    exit(1);
}

static void make_dataset(bench *b, int which, const zoo_model *m, const zoo_data *d)
{
    int64_t dims[QDBG_MAX_RANK], *labels = malloc(d->n * sizeof *labels);
    uint32_t rank = 0;
    while (m->dims[rank] >= 0) {
        dims[rank] = m->dims[rank];
        rank++;
    }
    dims[0] = (int64_t)d->n;
    qdbg_view view;
    if (!labels || qdbg_view_init(&view, QDBG_F32, rank, dims, d->x) != QDBG_OK)
        exit(1);
    for (size_t i = 0; i < d->n; i++)
        labels[i] = (int64_t)npy_at(&d->labels, i);
    b->labels[which] = labels;
    must(b, qdbg_arrays_create(b->ctx, &view, 1, labels, 100, &b->arrays[which]));
    must(b, qdbg_arrays_dataset(b->arrays[which], &b->data[which]));
}

static void load(bench *b, const char *folder, const char *name, size_t images)
{
    char path[1024];
    const char *why = "no such model";
    const zoo_model *m = NULL;
    for (int i = 0; i < ZOO_MODELS; i++)
        if (strcmp(zoo_models[i].name, name) == 0)
            m = &zoo_models[i];
    zoo_model train = m ? *m : zoo_models[0];
    if (strcmp(train.name, "resnet20_cifar10") == 0) {
        train.inputs = "cifar10_train1000_nhwc_u8";
        train.labels = "cifar10_train1000_labels_u8";
    }
    if (!m || !zoo_load_data(folder, &train, images, &b->calibration, &why) ||
        !zoo_load_data(folder, m, 1000, &b->test, &why)) {
        fprintf(stderr, "%s in %s: %s\n", name, folder, why);
        exit(1);
    }
    must(b, qdbg_onnx_load_file(b->ctx, zoo_path(folder, name, ".onnx", path, sizeof path),
                                &b->graph));
    must(b, qdbg_model_create(b->graph, &b->model));
    must(b, qdbg_fold_batch_norms(b->model, NULL));
    make_dataset(b, 0, &train, &b->calibration);
    make_dataset(b, 1, m, &b->test);
}

static qdbg_sim *make_sim(const bench *b, uint32_t bits, int32_t granularity)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_sim *sim;
    o.weight_bits = bits;
    o.activation_bits = QDBG_BITS_BYPASS;
    o.weight_granularity = granularity;
    must(b, qdbg_sim_create(b->model, &o, &sim));
    return sim;
}

static double top1(const bench *b, qdbg_sim *sim)
{
    qdbg_metric metric = QDBG_METRIC_INIT;
    double score;
    metric.kind = QDBG_METRIC_TOP1;
    must(b, sim ? qdbg_sim_evaluate(sim, &b->data[1], &metric, &score)
                : qdbg_model_evaluate(b->model, &b->data[1], &metric, &score));
    return score;
}

/* ---- solvers on the same problems ---- */

typedef struct contender {
    const char *name;
    int32_t solver;
    uint32_t flags;
    double ratio[MAX_LAYERS], behind[MAX_LAYERS], ms[MAX_LAYERS];
} contender;

static uint32_t compete(bench *b, qdbg_sim *sim, uint32_t iterations, contender *c,
                        qdbg_adaround_row *rows)
{
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    qdbg_adaround *result;
    o.solver = c->solver;
    o.flags = c->flags | QDBG_ADAROUND_ONE_PASS | QDBG_ADAROUND_NO_REVERT;
    o.iterations = iterations;
    b->n_layers = 0;
    must(b, qdbg_adaround_run(sim, &b->data[0], &o, &result));
    uint32_t n = qdbg_adaround_count(result);
    for (uint32_t i = 0; i < n && i < MAX_LAYERS; i++) {
        rows[i] = (qdbg_adaround_row)QDBG_ADAROUND_ROW_INIT;
        must(b, qdbg_adaround_get(result, i, &rows[i]));
        c->ratio[i] = rows[i].held_loss / rows[i].held_nearest;
        c->behind[i] = rows[i].act_held_loss / rows[i].act_held_nearest;
        c->ms[i] = b->layer_ms[i];
    }
    must(b, qdbg_adaround_undo(result));
    qdbg_adaround_destroy(result);
    return n;
}

enum { SEQUENTIAL, RELAXED, FLIPS, SAMPLED, BEHIND, CONTENDERS };

static contender contenders[CONTENDERS] = {
    {.name = "sequential"},
    {.name = "relaxed", .solver = QDBG_ADAROUND_RELAXED, .flags = QDBG_ADAROUND_NO_POLISH},
    {.name = "relaxed+flips", .solver = QDBG_ADAROUND_RELAXED, .flags = QDBG_ADAROUND_ACT_LOSSES},
    {.name = "sampled", .solver = QDBG_ADAROUND_SAMPLED},
    {.name = "sequential", .flags = QDBG_ADAROUND_ACT_LOSSES}, /* for the loss behind alone */
};

typedef struct means {
    double logs[CONTENDERS], behind[CONTENDERS], worst;
    uint32_t n;
} means;

static void print_layer(const bench *b, const qdbg_adaround_row *row, uint32_t i, means *m)
{
    static const int bent[] = {BEHIND, FLIPS, SAMPLED};
    qdbg_value_info info = QDBG_VALUE_INFO_INIT;
    must(b, qdbg_graph_value(b->graph, row->weight, &info));
    printf("%-24.24s %6llu", info.name, (unsigned long long)row->n_positions);
    for (int c = 0; c < BEHIND; c++) {
        printf(" %8.4f", contenders[c].ratio[i]);
        if (c <= RELAXED)
            printf(" %8.1f", contenders[c].ms[i]);
        m->logs[c] += log(contenders[c].ratio[i]);
    }
    printf(" |");
    for (int k = 0; k < 3; k++) {
        printf(" %7.4f", contenders[bent[k]].behind[i]);
        m->behind[k] += log(contenders[bent[k]].behind[i]);
    }
    printf("%s\n", row->activation == QDBG_NONE ? " -" : "");
    m->worst = fmax(m->worst, contenders[SEQUENTIAL].ratio[i] / contenders[RELAXED].ratio[i]);
    m->n++;
}

static void compare(bench *b, uint32_t bits, uint32_t iterations)
{
    static qdbg_adaround_row rows[MAX_LAYERS];
    qdbg_sim *sim = make_sim(b, bits, QDBG_PER_CHANNEL);
    means m = {{0}, {0}, 0, 0};
    uint32_t n = 0;
    for (int c = 0; c < CONTENDERS; c++)
        n = compete(b, sim, iterations, &contenders[c], rows);
    printf("%-31s", "loss / nearest, CPU ms");
    for (int c = 0; c < BEHIND; c++)
        printf(" %*s", c <= RELAXED ? 17 : 8, c == FLIPS ? "+flips" : contenders[c].name);
    printf(" | behind: sequential, relaxed+flips, sampled\n");
    for (uint32_t i = 0; i < n; i++)
        print_layer(b, &rows[i], i, &m);
    printf("%-31s", "geometric mean");
    for (int c = 0; c < BEHIND; c++)
        printf(" %8.4f%*s", exp(m.logs[c] / m.n), c <= RELAXED ? 9 : 0, "");
    printf(" |");
    for (int k = 0; k < 3; k++)
        printf(" %7.4f", exp(m.behind[k] / m.n));
    printf("\nCPU s in all:");
    for (int c = 0; c < BEHIND; c++) {
        double all = 0;
        for (uint32_t i = 0; i < n; i++)
            all += contenders[c].ms[i] / 1e3;
        printf(" %s %.1f", contenders[c].name, all);
    }
    printf("\nsequential / relaxed, worst layer: %.3f\n\n", m.worst);
    qdbg_sim_destroy(sim);
}

/* ---- whole runs ---- */

typedef struct whole {
    const char *name;
    int32_t granularity;
    qdbg_adaround_options o;
} whole;

static void run_whole(bench *b, uint32_t bits, const whole *w, bool round)
{
    qdbg_sim *sim = make_sim(b, bits, w->granularity);
    qdbg_adaround *result = NULL;
    uint64_t before, peak;
    qdbg_ctx_memory(b->ctx, &before, NULL);
    double c = cpu(), t = wall();
    if (round)
        must(b, qdbg_adaround_run(sim, &b->data[0], &w->o, &result));
    c = cpu() - c;
    t = wall() - t;
    qdbg_ctx_memory(b->ctx, NULL, &peak);
    printf("%-44s %8.3f %8.2f %8.2f %8.1f\n", w->name, top1(b, sim), c, t,
           (double)peak / (1 << 20));
    if (result)
        must(b, qdbg_adaround_undo(result));
    qdbg_adaround_destroy(result);
    qdbg_sim_destroy(sim);
}

static void run_all(bench *b, uint32_t bits, const char *only)
{
    whole all[] = {
        {"per tensor, nearest", QDBG_PER_TENSOR, QDBG_ADAROUND_OPTIONS_INIT},
        {"per tensor, sequential", QDBG_PER_TENSOR, QDBG_ADAROUND_OPTIONS_INIT},
        {"per tensor, ranges + sequential", QDBG_PER_TENSOR, QDBG_ADAROUND_OPTIONS_INIT},
        {"per channel, nearest", QDBG_PER_CHANNEL, QDBG_ADAROUND_OPTIONS_INIT},
        {"per channel, nearest + bias", QDBG_PER_CHANNEL, QDBG_ADAROUND_OPTIONS_INIT},
        {"per channel, ranges (sequential MSE) + bias", QDBG_PER_CHANNEL,
         QDBG_ADAROUND_OPTIONS_INIT},
        {"per channel, one pass", QDBG_PER_CHANNEL, QDBG_ADAROUND_OPTIONS_INIT},
        {"per channel, sequential", QDBG_PER_CHANNEL, QDBG_ADAROUND_OPTIONS_INIT},
        {"per channel, sequential, biases kept", QDBG_PER_CHANNEL, QDBG_ADAROUND_OPTIONS_INIT},
        {"per channel, ranges + sequential", QDBG_PER_CHANNEL, QDBG_ADAROUND_OPTIONS_INIT},
        {"per channel, sequential + scale refit", QDBG_PER_CHANNEL, QDBG_ADAROUND_OPTIONS_INIT},
    };
    all[2].o.range_candidates = all[5].o.range_candidates = all[9].o.range_candidates = 20;
    all[4].o.solver = all[5].o.solver = QDBG_ADAROUND_NEAREST;
    all[6].o.flags = QDBG_ADAROUND_ONE_PASS;
    all[8].o.flags = QDBG_ADAROUND_KEEP_BIAS;
    all[10].o.flags = QDBG_ADAROUND_REFIT_SCALE;
    printf("%-44s %8s %8s %8s %8s\n", "weights", "top-1", "CPU s", "wall s", "peak MiB");
    printf("%-44s %8.3f\n", "float32", top1(b, NULL));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!only || strcmp(only, all[i].name) == 0)
            run_whole(b, bits, &all[i], i != 0 && i != 3);
}

int main(int argc, char **argv)
{
    static bench b;
    const char *folder = getenv("QDBG_ZOO"), *name = argc > 1 ? argv[1] : "resnet20_cifar10";
    uint32_t bits = argc > 2 ? (uint32_t)atoi(argv[2]) : 4;
    size_t images = argc > 3 ? (size_t)atoi(argv[3]) : 1000;
    uint32_t iterations = argc > 4 ? (uint32_t)atoi(argv[4]) : 10000;
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    if (!folder) {
        fprintf(stderr, "QDBG_ZOO must name the zoo's folder\n");
        return 2;
    }
    o.progress = on_progress;
    o.progress_user = &b;
    must(&b, qdbg_ctx_create(&o, &b.ctx));
    load(&b, folder, name, images);
    printf("%s, %u-bit weights, %zu calibration samples, %u iterations, %u threads\n\n", name, bits,
           b.calibration.n, iterations, qdbg_ctx_threads(b.ctx));
    if (iterations > 0)
        compare(&b, bits, iterations);
    const char *runs = argc > 5 ? argv[5] : "1";
    if (strcmp(runs, "0") != 0)
        run_all(&b, bits, strcmp(runs, "1") == 0 ? NULL : runs);
    qdbg_arrays_destroy(b.arrays[0]);
    qdbg_arrays_destroy(b.arrays[1]);
    free(b.labels[0]);
    free(b.labels[1]);
    zoo_free_data(&b.calibration);
    zoo_free_data(&b.test);
    qdbg_model_destroy(b.model);
    qdbg_graph_destroy(b.graph);
    qdbg_ctx_destroy(b.ctx);
    return 0;
}
