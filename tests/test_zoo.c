/* Real models on real data: the logits of ONNX Runtime, and its number of correct samples. Reads
 * the folder named by the environment variable QDBG_ZOO; skipped without it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <qdebug/onnx.h>

#include "graph_make.h"
#include "zoo.h"

typedef struct results {
    size_t n, classes;
    float *y; /* [n, classes] */
} results;

/* All samples through the built-in executor, one a run. */
static results run_model(const char *folder, const zoo_model *model, const zoo_data *data)
{
    char path[1024];
    qdbg_ctx *ctx = make_ctx(0);
    qdbg_graph *graph = NULL;
    qdbg__exec *exec = NULL;
    qdbg_view one = make_view(model->dims, NULL);
    zoo_path(folder, model->name, ".onnx", path, sizeof path);
    if (qdbg_onnx_load_file(ctx, path, &graph) != QDBG_OK ||
        qdbg__exec_create(graph, &one, &exec) != QDBG_OK)
        fail_msg("%s: %s", path, qdbg_ctx_error_message(ctx));
    qdbg_view all = make_view(model->dims, data->x);
    all.dims[0] = (int64_t)data->n;
    results r = {data->n, 0, NULL};
    r.classes = (size_t)qdbg_view_count(qdbg__exec_value(exec, qdbg_graph_output(graph, 0)));
    r.y = malloc(r.n * r.classes * sizeof *r.y);
    assert_non_null(r.y);
    qdbg__variant base = {0};
    void *outputs[] = {r.y};
    qdbg__exec_job job = {
        .inputs = &all, .n_runs = data->n, .variants = &base, .n_variants = 1, .outputs = outputs};
    if (qdbg__exec_run(exec, &job) != QDBG_OK)
        fail_msg("%s: %s", path, qdbg_ctx_error_message(ctx));
    qdbg__exec_destroy(exec);
    qdbg_graph_destroy(graph);
    qdbg_ctx_destroy(ctx);
    return r;
}

/* Samples whose largest logit is the label's; *near counts those where the label's logit and the
 * best other one are closer than float32 rounding may move them. */
static size_t count_correct(const results *r, const npy *labels, size_t *near)
{
    size_t correct = 0;
    *near = 0;
    for (size_t i = 0; i < r->n; i++) {
        const float *y = r->y + i * r->classes;
        size_t label = (size_t)npy_at(labels, i);
        float other = -INFINITY;
        assert_true(label < r->classes);
        for (size_t c = 0; c < r->classes; c++)
            other = c != label && y[c] > other ? y[c] : other;
        correct += y[label] > other;
        *near += fabsf(y[label] - other) < 1e-4f * fabsf(other);
    }
    return correct;
}

/* The largest difference from the reference, against the largest logit of the sample. */
static double compare_logits(const char *folder, const zoo_model *model, const results *r)
{
    char path[1024];
    npy reference;
    const char *why;
    double worst = 0.0;
    if (!npy_load(zoo_path(folder, model->name, "_reference_logits.npy", path, sizeof path),
                  &reference, &why))
        fail_msg("%s %s", path, why);
    assert_int_equal(reference.array.dims[1], r->classes);
    for (size_t i = 0; i < (size_t)reference.array.dims[0]; i++) {
        double scale = 0.0, error = 0.0;
        for (size_t c = 0; c < r->classes; c++) {
            double want = npy_at(&reference, i * r->classes + c);
            scale = fmax(scale, fabs(want));
            error = fmax(error, fabs(want - (double)r->y[i * r->classes + c]));
        }
        worst = fmax(worst, error / scale);
    }
    npy_free(&reference);
    return worst;
}

static void test_model(void **state)
{
    const zoo_model *model = *state;
    const char *folder = getenv("QDBG_ZOO"), *why;
    zoo_data data;
    if (!folder || !*folder) {
        print_message("skipped: QDBG_ZOO is not set\n");
        skip();
    }
    if (!zoo_load_data(folder, model, SIZE_MAX, &data, &why))
        fail_msg("%s: %s", model->name, why);
    results r = run_model(folder, model, &data);
    size_t near, correct = count_correct(&r, &data.labels, &near);
    double worst = compare_logits(folder, model, &r);
    print_message("%s: %zu of %zu correct (%zu near a tie), logits within %.2g\n", model->name,
                  correct, r.n, near, worst);
    assert_true(worst < 1e-3);
    assert_true(correct + near >= model->correct && correct <= model->correct + near);
    free(r.y);
    zoo_free_data(&data);
}

int main(void)
{
    struct CMUnitTest tests[ZOO_MODELS];
    for (size_t i = 0; i < ZOO_MODELS; i++)
        tests[i] = (struct CMUnitTest){zoo_models[i].name, test_model, NULL, NULL,
                                       (void *)(uintptr_t)&zoo_models[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
