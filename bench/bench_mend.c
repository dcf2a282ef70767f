/* What each repair of weights and biases brings: top-1 of the zoo's models, step by step. Needs
 * QDBG_ZOO.
 *
 *   bench_mend [MODEL [BITS ...]]
 *
 * Without arguments: MobileNet at 8, 6 and 4 bits, the others at 8 and 4. Activations have 8 bits
 * (calibrated min-max) but where the column says "W only"; weights are symmetric. Calibration: 200
 * images without labels; score: top-1 of 1000. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <qdebug/onnx.h>
#include <qdebug/qdebug.h>

#include "../tests/zoo.h"

#define CALIBRATION 200

typedef struct bench {
    qdbg_ctx *ctx;
    qdbg_graph *read, *graph;
    qdbg_model *model;
    zoo_data calibration, test;
    qdbg_arrays *arrays[2];
    qdbg_dataset data[2]; /* calibration, test */
    int64_t *labels[2];
    qdbg_fold *fold;
} bench;

static void must(const bench *b, qdbg_status status)
{
    if (status == QDBG_OK)
        return;
    fprintf(stderr, "%s: %s\n", qdbg_status_name(status), qdbg_ctx_error_message(b->ctx));
    exit(1);
}

static double cpu(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void make_dataset(bench *b, int which, const zoo_model *m, const zoo_data *data)
{
    qdbg_view x = QDBG_VIEW_INIT;
    x.dtype = QDBG_F32;
    while (m->dims[x.rank] >= 0) {
        x.dims[x.rank] = m->dims[x.rank];
        x.rank++;
    }
    x.dims[0] = (int64_t)data->n;
    x.data = data->x;
    b->labels[which] = malloc(data->n * sizeof(int64_t));
    for (size_t i = 0; i < data->n; i++)
        b->labels[which][i] = npy_at(&data->labels, i);
    must(b, qdbg_arrays_create(b->ctx, &x, 1, b->labels[which], 100, &b->arrays[which]));
    must(b, qdbg_arrays_dataset(b->arrays[which], &b->data[which]));
}

/* ResNet20 has training images for calibration; the others show the first of the test's, without
 * labels. */
static void load(bench *b, const char *folder, const zoo_model *m)
{
    char path[1024];
    const char *why = "";
    zoo_model train = *m;
    if (strcmp(train.name, "resnet20_cifar10") == 0) {
        train.inputs = "cifar10_train1000_nhwc_u8";
        train.labels = "cifar10_train1000_labels_u8";
    }
    if (!zoo_load_data(folder, &train, CALIBRATION, &b->calibration, &why) ||
        !zoo_load_data(folder, m, 1000, &b->test, &why)) {
        fprintf(stderr, "%s in %s: %s\n", m->name, folder, why);
        exit(1);
    }
    must(b, qdbg_onnx_load_file(b->ctx, zoo_path(folder, m->name, ".onnx", path, sizeof path),
                                &b->read));
    must(b, qdbg_graph_expose_clips(b->read, &b->graph));
    must(b, qdbg_model_create(b->graph, &b->model));
    make_dataset(b, 0, &train, &b->calibration);
    make_dataset(b, 1, m, &b->test);
}

static void unload(bench *b)
{
    qdbg_fold_destroy(b->fold);
    for (int i = 0; i < 2; i++) {
        qdbg_arrays_destroy(b->arrays[i]);
        free(b->labels[i]);
    }
    zoo_free_data(&b->calibration);
    zoo_free_data(&b->test);
    qdbg_model_destroy(b->model);
    qdbg_graph_destroy(b->graph);
    qdbg_graph_destroy(b->read);
}

/* ---- steps ---- */

static qdbg_sim *make_sim(const bench *b, uint32_t bits, int32_t granularity)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_sim *sim;
    o.weight_bits = bits;
    o.activation_bits = 8;
    o.weight_granularity = granularity;
    must(b, qdbg_sim_create(b->model, &o, &sim));
    return sim;
}

/* Top-1 with quantized weights alone, and with activations, too. */
static void score(const bench *b, qdbg_sim *sim, double top1[2])
{
    qdbg_metric metric = QDBG_METRIC_INIT;
    metric.kind = QDBG_METRIC_TOP1;
    must(b, qdbg_sim_calibrate(sim, &b->data[0]));
    must(b, qdbg_sim_set_all_enabled(sim, QDBG_ACTIVATION, 0));
    must(b, qdbg_sim_evaluate(sim, &b->data[1], &metric, &top1[0]));
    must(b, qdbg_sim_set_all_enabled(sim, QDBG_ACTIVATION, 1));
    must(b, qdbg_sim_evaluate(sim, &b->data[1], &metric, &top1[1]));
}

static void tell(const bench *b, qdbg_sim *sim, const char *step, double seconds)
{
    double top1[2];
    score(b, sim, top1);
    printf("  %-34s %8.3f %8.3f %9.2f\n", step, top1[0], top1[1], seconds);
    fflush(stdout);
}

static void bias_step(bench *b, uint32_t bits, int32_t granularity, const char *name,
                      uint32_t flags)
{
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    qdbg_bias_correction *bias;
    qdbg_sim *sim = make_sim(b, bits, granularity);
    o.flags = flags;
    double t = cpu();
    must(b, qdbg_bias_correct(sim, &b->data[0], &o, &bias));
    tell(b, sim, name, cpu() - t);
    must(b, qdbg_bias_correction_undo(bias));
    qdbg_bias_correction_destroy(bias);
    qdbg_sim_destroy(sim);
}

/* Rounding with free bias, layer by layer, in place of bias correction. */
static void round_step(bench *b, uint32_t bits, int32_t granularity, const char *name)
{
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    qdbg_adaround *rounded;
    qdbg_sim *sim = make_sim(b, bits, granularity);
    double t = cpu();
    must(b, qdbg_adaround_run(sim, &b->data[0], &o, &rounded));
    tell(b, sim, name, cpu() - t);
    must(b, qdbg_adaround_undo(rounded));
    qdbg_adaround_destroy(rounded);
    qdbg_sim_destroy(sim);
}

static void plain_step(bench *b, uint32_t bits, int32_t granularity, const char *name, double t)
{
    qdbg_sim *sim = make_sim(b, bits, granularity);
    tell(b, sim, name, t);
    qdbg_sim_destroy(sim);
}

static void fold_step(bench *b, uint32_t flags, double *seconds)
{
    qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
    double t = cpu();
    o.flags = flags;
    must(b, qdbg_fold_run(b->model, &o, &b->fold));
    *seconds = cpu() - t;
}

static void unfold(bench *b)
{
    must(b, qdbg_fold_undo(b->fold));
    qdbg_fold_destroy(b->fold);
    b->fold = NULL;
}

static const struct {
    const char *name;
    int32_t formula;
    bool has_data;
} equalizations[] = {
    {"+ CLE by ranges", QDBG_EQUALIZE_RANGES, false},
    {"+ CLE by activations, too (0.5)", QDBG_EQUALIZE_ACTIVATIONS, true},
    {"+ CLE, the best by SQNR", QDBG_EQUALIZE_BEST, true},
};

/* The guard of the last one sees the calibration images only. */
static void equalize_steps(bench *b, uint32_t bits, int32_t granularity, size_t kind)
{
    qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_metric metric = QDBG_METRIC_INIT;
    qdbg_equalize *equal;
    qdbg_sim *guard = make_sim(b, bits, granularity);
    char name[64];
    metric.kind = QDBG_METRIC_SQNR;
    o.formula = equalizations[kind].formula;
    o.calibration = equalizations[kind].has_data ? &b->data[0] : NULL;
    if (o.formula == QDBG_EQUALIZE_BEST) {
        o.guard_sim = guard;
        o.guard_dataset = &b->data[0];
        o.guard_metric = &metric;
    }
    double t = cpu();
    must(b, qdbg_equalize_run(b->model, &o, &equal));
    t = cpu() - t;
    snprintf(name, sizeof name, "%s%s", equalizations[kind].name,
             qdbg_equalize_guard(equal, NULL, NULL) ? ": undone" : "");
    plain_step(b, bits, granularity, name, t);
    if (o.formula == QDBG_EQUALIZE_BEST)
        printf("    balance %g\n", qdbg_equalize_balance(equal));
    bias_step(b, bits, granularity, "  + bias correction (one pass)", 0);
    bias_step(b, bits, granularity, "  + bias correction (sequential)", QDBG_BIAS_SEQUENTIAL);
    round_step(b, bits, granularity, "  + AdaRound (free bias)");
    must(b, qdbg_equalize_undo(equal));
    qdbg_equalize_destroy(equal);
    qdbg_sim_destroy(guard);
}

static void run_bits(bench *b, uint32_t bits, int32_t granularity)
{
    double seconds;
    printf("  W%u %s %*s W only      A8       CPU s\n", bits,
           granularity == QDBG_PER_TENSOR ? "per tensor " : "per channel", 16, "");
    fold_step(b, 0, &seconds);
    plain_step(b, bits, granularity, "nearest, folded", seconds);
    unfold(b);
    fold_step(b, QDBG_FOLD_NEUTRALIZE, &seconds);
    plain_step(b, bits, granularity, "+ dead channels neutralised", seconds);
    bias_step(b, bits, granularity, "  + bias correction (one pass)", 0);
    round_step(b, bits, granularity, "  + AdaRound (free bias)");
    for (size_t i = 0; i < sizeof equalizations / sizeof *equalizations; i++)
        equalize_steps(b, bits, granularity, i);
    unfold(b);
}

/* Largest change of a logit by fold and equalization, over the largest logit. */
static double moved(bench *b)
{
    qdbg_view x = QDBG_VIEW_INIT, y[2] = {QDBG_VIEW_INIT, QDBG_VIEW_INIT};
    qdbg_batch batch = {.struct_size = sizeof batch};
    qdbg_equalize *equal;
    double seconds, difference = 0, largest = 0;
    if (b->data[0].batch(b->data[0].user, 0, &batch) != 0)
        exit(1);
    x = batch.inputs[0];
    for (int i = 0; i < 2; i++) {
        must(b, qdbg_model_run(b->model, &x, 1, &y[i], 1));
        y[i].data = malloc((size_t)qdbg_view_count(&y[i]) * sizeof(float));
        must(b, qdbg_model_run(b->model, &x, 1, &y[i], 1));
        if (i == 0) {
            fold_step(b, QDBG_FOLD_NEUTRALIZE, &seconds);
            must(b, qdbg_equalize_run(b->model, NULL, &equal));
        }
    }
    for (uint64_t i = 0; i < qdbg_view_count(&y[0]); i++) {
        double a = ((const float *)y[0].data)[i], c = ((const float *)y[1].data)[i];
        difference = difference > a - c ? difference : a - c;
        difference = difference > c - a ? difference : c - a;
        largest = largest > a ? largest : a;
    }
    must(b, qdbg_equalize_undo(equal));
    qdbg_equalize_destroy(equal);
    unfold(b);
    free(y[0].data);
    free(y[1].data);
    return difference / largest;
}

static void run_model(const char *folder, const zoo_model *m, int argc, char **argv)
{
    bench b = {NULL};
    qdbg_metric metric = QDBG_METRIC_INIT;
    double top1;
    must(&b, qdbg_ctx_create(NULL, &b.ctx));
    load(&b, folder, m);
    metric.kind = QDBG_METRIC_TOP1;
    must(&b, qdbg_model_evaluate(b.model, &b.data[1], &metric, &top1));
    printf("%s: float32 %.3f; fold + CLE move the outputs by %.1e of the largest\n", m->name, top1,
           moved(&b));
    static const uint32_t usual[] = {8, 4, 6};
    int n_usual = strncmp(m->name, "mobilenet", 9) == 0 ? 3 : 2;
    for (int i = 0; i < (argc > 2 ? argc - 2 : n_usual); i++) {
        uint32_t bits = argc > 2 ? (uint32_t)atoi(argv[2 + i]) : usual[i];
        run_bits(&b, bits, QDBG_PER_TENSOR);
        run_bits(&b, bits, QDBG_PER_CHANNEL);
    }
    unload(&b);
    qdbg_ctx_destroy(b.ctx);
}

int main(int argc, char **argv)
{
    const char *folder = getenv("QDBG_ZOO");
    if (!folder) {
        fprintf(stderr, "QDBG_ZOO must name the zoo's folder\n");
        return 2;
    }
    for (size_t i = 0; i < ZOO_MODELS; i++) {
        bool all = argc < 2 && strncmp(zoo_models[i].name, "kwt", 3) != 0;
        if (all || (argc > 1 && strncmp(zoo_models[i].name, argv[1], strlen(argv[1])) == 0))
            run_model(folder, &zoo_models[i], argc, argv);
    }
    return 0;
}
