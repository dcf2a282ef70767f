/* Real models at 4-bit weights: what rounding must reach. Reads the folder named by the environment
 * variable QDBG_ZOO; skipped without it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <qdebug/adaround.h>
#include <qdebug/fold.h>
#include <qdebug/onnx.h>

#include "graph_make.h"
#include "support.h"
#include "zoo.h"

#define CALIBRATION 200

typedef struct reach {
    const char *model, *inputs,
        *labels; /* inputs and labels to calibrate with; NULL: the model's */
    int32_t granularity;
    double points; /* that may be lost of top-1 */
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

static void test_reach(void **state)
{
    const reach *r = *state;
    const char *folder = getenv("QDBG_ZOO");
    static set calibration, test;
    char path[1024];
    double before, after;
    qdbg_metric top1 = metric_of(QDBG_METRIC_TOP1);
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_graph *g;
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
    assert_ok(qdbg_onnx_load_file(ctx, path, &g));
    qdbg_model *model = builtin_model(g);
    assert_ok(qdbg_fold_batch_norms(model, NULL));
    assert_ok(qdbg_model_evaluate(model, &test.dataset, &top1, &before));
    o.weight_bits = 4;
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
    close_set(&test);
    close_set(&calibration);
    qdbg_ctx_destroy(ctx);
}

static const reach resnet20 = {"resnet20_cifar10", "cifar10_train1000_nhwc_u8",
                               "cifar10_train1000_labels_u8", QDBG_PER_CHANNEL, 1.5};
static const reach ds_cnn = {"kws_ds_cnn", NULL, NULL, QDBG_PER_TENSOR, 3};

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"resnet20, per channel", test_reach, NULL, NULL, (void *)(uintptr_t)&resnet20},
        {"ds-cnn, per tensor", test_reach, NULL, NULL, (void *)(uintptr_t)&ds_cnn},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
