/* What do repairs bring?  usage: mend fashion_mnist.onnx [BITS] < images_u8
 *
 * Weights of BITS bits (default 8), one scale a tensor; activations stay in float32. No labels: the
 * score is how often the quantized model chooses as the float32 model did before anything was done
 * to it, which is kept in references. The first 500 images calibrate, the other 500 score. Each
 * repair is guarded: what lowers the score is undone. */
#include <qdebug/onnx.h>
#include <qdebug/qdebug.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define PIXELS (28 * 28)

static unsigned char pixels[1000 * PIXELS];
static float images[1000 * PIXELS];

typedef struct mend {
    qdbg_ctx *ctx;
    qdbg_graph *loaded, *graph;
    qdbg_model *model;
    qdbg_arrays *arrays[2];
    qdbg_dataset calibration, test;
    qdbg_reference *references[2];    /* of calibration and test */
    qdbg_metric guard_metric, metric; /* likewise */
    qdbg_sim *sim;
} mend;

static qdbg_status open_model(mend *m, const char *path, uint32_t bits)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    o.weight_bits = bits;
    o.activation_bits = QDBG_BITS_BYPASS;
    qdbg_status s = qdbg_ctx_create(NULL, &m->ctx);
    if (s == QDBG_OK)
        s = qdbg_onnx_load_file(m->ctx, path, &m->loaded);
    /* Bounds of ReLU6 become parameters, one number for each channel, that equalization scales. */
    if (s == QDBG_OK)
        s = qdbg_graph_expose_clips(m->loaded, &m->graph);
    if (s == QDBG_OK)
        s = qdbg_model_create(m->graph, &m->model);
    if (s == QDBG_OK)
        s = qdbg_sim_create(m->model, &o, &m->sim);
    return s;
}

static qdbg_status open_data(mend *m)
{
    qdbg_dataset *sets[2] = {&m->calibration, &m->test};
    for (int i = 0; i < 2; i++) {
        qdbg_view view = {sizeof view, QDBG_F32, 4, 0, {500, 1, 28, 28}, images + i * 500 * PIXELS};
        qdbg_status s = qdbg_arrays_create(m->ctx, &view, 1, NULL, 50, &m->arrays[i]);
        if (s == QDBG_OK)
            s = qdbg_arrays_dataset(m->arrays[i], sets[i]);
        /* Now: AdaRound will change the float32 model, too. */
        if (s == QDBG_OK)
            s = qdbg_reference_create(m->model, sets[i], &m->references[i]);
        if (s != QDBG_OK)
            return s;
    }
    m->guard_metric.reference = m->references[0];
    m->metric.reference = m->references[1];
    return qdbg_sim_calibrate(m->sim, &m->calibration);
}

static qdbg_status tell(mend *m, const char *step)
{
    double score;
    qdbg_status s = qdbg_sim_evaluate(m->sim, &m->test, &m->metric, &score);
    if (s == QDBG_OK)
        printf("%-24s %.3f\n", step, score);
    return s;
}

/* Batch-normalizations folded as any engine does it, to see what that costs; then undone. */
static qdbg_status fold_plainly(mend *m)
{
    qdbg_fold *fold;
    qdbg_status s = qdbg_fold_run(m->model, NULL, &fold);
    if (s != QDBG_OK)
        return s;
    s = tell(m, "batch-norms folded");
    qdbg_status undone = qdbg_fold_undo(fold);
    qdbg_fold_destroy(fold);
    return s != QDBG_OK ? s : undone;
}

/* Folded again, and channels that never change moved into biases, whose folded weights are wide. */
static qdbg_status fold(mend *m)
{
    qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
    qdbg_fold *fold;
    o.flags = QDBG_FOLD_NEUTRALIZE;
    o.data = &m->calibration;
    qdbg_status s = qdbg_fold_run(m->model, &o, &fold);
    if (s != QDBG_OK)
        return s;
    for (uint32_t i = 0; i < qdbg_fold_count(fold); i++) {
        qdbg_fold_row row = QDBG_FOLD_ROW_INIT;
        qdbg_node_info node = QDBG_NODE_INFO_INIT;
        if (qdbg_fold_get(fold, i, &row) == QDBG_OK && row.n_neutralized > 0 &&
            qdbg_graph_node(m->graph, row.node, &node) == QDBG_OK)
            printf("    %s: %u dead, up to %.0f times as wide as the others\n", node.name,
                   row.n_neutralized, row.dead_ratio);
    }
    qdbg_fold_destroy(fold);
    return tell(m, "without dead channels");
}

static qdbg_status equalize(mend *m)
{
    qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_equalize *equalize;
    o.calibration = &m->calibration; /* ranges of activations change, where they are quantized */
    o.guard_sim = m->sim;
    o.guard_dataset = &m->calibration;
    o.guard_metric = &m->guard_metric;
    qdbg_status s = qdbg_equalize_run(m->model, &o, &equalize);
    if (s != QDBG_OK)
        return s;
    bool undone = qdbg_equalize_guard(equalize, NULL, NULL);
    qdbg_equalize_destroy(equalize);
    return tell(m, undone ? "equalized: undone" : "equalized");
}

static qdbg_status round_weights(mend *m)
{
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    qdbg_adaround *rounding;
    o.guard_dataset = &m->calibration;
    o.guard_metric = &m->guard_metric;
    qdbg_status s = qdbg_adaround_run(m->sim, &m->calibration, &o, &rounding);
    if (s != QDBG_OK)
        return s;
    for (uint32_t i = 0; i < qdbg_adaround_count(rounding); i++) {
        qdbg_adaround_row row = QDBG_ADAROUND_ROW_INIT;
        qdbg_value_info weight = QDBG_VALUE_INFO_INIT;
        if (qdbg_adaround_get(rounding, i, &row) == QDBG_OK &&
            qdbg_graph_value(m->graph, row.weight, &weight) == QDBG_OK)
            printf("    %s: %.3f of the error of nearest rounding\n", weight.name,
                   row.held_nearest > 0 ? row.held_loss / row.held_nearest : 1);
    }
    bool undone = qdbg_adaround_guard(rounding, NULL, NULL);
    qdbg_adaround_destroy(rounding);
    return tell(m, undone ? "AdaRound: undone" : "AdaRound");
}

int main(int argc, char **argv)
{
    mend m = {.calibration = QDBG_DATASET_INIT, .test = QDBG_DATASET_INIT};
    uint32_t bits = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 8;
    m.metric = (qdbg_metric)QDBG_METRIC_INIT;
    m.metric.kind = QDBG_METRIC_AGREEMENT;
    m.guard_metric = m.metric;
    if (argc < 2 || fread(pixels, 1, sizeof pixels, stdin) != sizeof pixels)
        return 2;
    for (size_t i = 0; i < sizeof pixels; i++)
        images[i] = (pixels[i] - 72.94f) / 90.02f;

    int failed = open_model(&m, argv[1], bits) || open_data(&m) || fold_plainly(&m) || fold(&m) ||
                 equalize(&m) || round_weights(&m);
    if (failed)
        fprintf(stderr, "mend: %s\n", qdbg_ctx_error_message(m.ctx));
    qdbg_sim_destroy(m.sim);
    qdbg_reference_destroy(m.references[1]);
    qdbg_reference_destroy(m.references[0]);
    qdbg_arrays_destroy(m.arrays[1]);
    qdbg_arrays_destroy(m.arrays[0]);
    qdbg_model_destroy(m.model);
    qdbg_graph_destroy(m.graph);
    qdbg_graph_destroy(m.loaded);
    qdbg_ctx_destroy(m.ctx);
    return failed;
}
