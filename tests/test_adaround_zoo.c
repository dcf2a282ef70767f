/* Real models with few bits: what rounding must reach, alone and behind the other repairs. Reads
 * the folder named by the environment variable QDBG_ZOO; skipped without it.
 *
 * usage: test_adaround_zoo [mobilenet]     that network alone, which takes longer */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <qdebug/adaround.h>
#include <qdebug/equalize.h>
#include <qdebug/fold.h>
#include <qdebug/onnx.h>

#include "graph_make.h"
#include "support.h"
#include "zoo.h"

#define CALIBRATION 200

typedef struct reach {
    const char *model, *inputs,
        *labels; /* inputs and labels to calibrate with; NULL: the model's */
    uint32_t bits;
    int32_t granularity;
    double points;  /* that may be lost of top-1 */
    bool is_mended; /* dead channels neutralised */
    bool equalized; /* then, ranges equalized */
} reach;

typedef struct set {
    zoo_data data;
    int64_t labels[1000];
    qdbg_arrays *arrays;
    qdbg_dataset dataset;
} set;

static void open_set(qdbg_ctx *ctx, const char *folder, const zoo_model *m, size_t n, set *s)
{
    const char *why;
    if (!zoo_load_data(folder, m, n, &s->data, &why))
        fail_msg("%s: %s", m->name, why);
    qdbg_view x = make_view(m->dims, s->data.x);
    x.dims[0] = (int64_t)s->data.n;
    for (size_t i = 0; i < s->data.n; i++)
        s->labels[i] = (int64_t)npy_at(&s->data.labels, i);
    assert_ok(qdbg_arrays_create(ctx, &x, 1, s->labels, 100, &s->arrays));
    assert_ok(qdbg_arrays_dataset(s->arrays, &s->dataset));
}

static void close_set(set *s)
{
    qdbg_arrays_destroy(s->arrays);
    zoo_free_data(&s->data);
}

/* Folded as the case wants it. */
static void fold(qdbg_model *model, const reach *r)
{
    qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
    qdbg_fold *folded;
    qdbg_equalize *equal;
    o.flags = r->is_mended ? QDBG_FOLD_NEUTRALIZE : 0;
    assert_ok(qdbg_fold_run(model, &o, &folded));
    qdbg_fold_destroy(folded);
    if (!r->equalized)
        return;
    assert_ok(qdbg_equalize_run(model, NULL, &equal));
    qdbg_equalize_destroy(equal);
}

static void test_reach(void **state)
{
    const reach *r = *state;
    const char *folder = getenv("QDBG_ZOO");
    static set calibration, test;
    char path[1024];
    double before, after;
    qdbg_metric top1 = metric_of(QDBG_METRIC_TOP1);
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_graph *read, *g;
    qdbg_sim *sim;
    qdbg_adaround *a;
    const zoo_model *m = zoo_models;
    if (!folder)
        skip();
    while (strcmp(m->name, r->model) != 0)
        m++;
    zoo_model other = *m;
    other.inputs = r->inputs ? r->inputs : m->inputs;
    other.labels = r->labels ? r->labels : m->labels;
    qdbg_ctx *ctx = make_ctx(0);
    open_set(ctx, folder, &other, CALIBRATION, &calibration);
    open_set(ctx, folder, m, 1000, &test);
    zoo_path(folder, m->name, ".onnx", path, sizeof path);
    assert_ok(qdbg_onnx_load_file(ctx, path, &read));
    assert_ok(qdbg_graph_expose_clips(read, &g));
    qdbg_model *model = builtin_model(g);
    fold(model, r);
    assert_ok(qdbg_model_evaluate(model, &test.dataset, &top1, &before));
    o.weight_bits = r->bits;
    o.activation_bits = QDBG_BITS_BYPASS;
    o.weight_granularity = r->granularity;
    assert_ok(qdbg_sim_create(model, &o, &sim));
    assert_ok(qdbg_adaround_run(sim, &calibration.dataset, NULL, &a));
    assert_ok(qdbg_sim_evaluate(sim, &test.dataset, &top1, &after));
    if (after < before - r->points / 100)
        fail_msg("%s: top-1 %g, in float32 %g", r->model, after, before);
    qdbg_adaround_destroy(a);
    qdbg_sim_destroy(sim);
    qdbg_model_destroy(model);
    qdbg_graph_destroy(g);
    qdbg_graph_destroy(read);
    close_set(&test);
    close_set(&calibration);
    qdbg_ctx_destroy(ctx);
}

static const reach resnet20 = {"resnet20_cifar10",
                               "cifar10_train1000_nhwc_u8",
                               "cifar10_train1000_labels_u8",
                               4,
                               QDBG_PER_CHANNEL,
                               1.5,
                               false,
                               false};
static const reach ds_cnn = {"kws_ds_cnn", NULL, NULL, 4, QDBG_PER_TENSOR, 3, false, false};
#define MOBILENET "mobilenet_v1_0.25_128", NULL, NULL
static const reach tensor8 = {MOBILENET, 8, QDBG_PER_TENSOR, 0.5, true, true};
static const reach tensor6 = {MOBILENET, 6, QDBG_PER_TENSOR, 2.5, true, true};
static const reach channel4 = {MOBILENET, 4, QDBG_PER_CHANNEL, 12, true, false};

static int mobilenet_tests(void)
{
    const struct CMUnitTest tests[] = {
        {"8 bits, per tensor", test_reach, NULL, NULL, (void *)(uintptr_t)&tensor8},
        {"6 bits, per tensor", test_reach, NULL, NULL, (void *)(uintptr_t)&tensor6},
        {"4 bits, per channel", test_reach, NULL, NULL, (void *)(uintptr_t)&channel4},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "mobilenet") == 0)
        return mobilenet_tests();
    const struct CMUnitTest tests[] = {
        {"resnet20, per channel", test_reach, NULL, NULL, (void *)(uintptr_t)&resnet20},
        {"ds-cnn, per tensor", test_reach, NULL, NULL, (void *)(uintptr_t)&ds_cnn},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
