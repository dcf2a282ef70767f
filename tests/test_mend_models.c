/* Repairs on real models: folding with neutralised dead channels, equalization with bounds by
 * channel and absorption leave the outputs within 1e-4 of the largest, and undoing brings every bit
 * back. Argument: the demo model. With QDBG_ZOO the zoo's classifiers on their data, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <qdebug/onnx.h>

#include "graph_make.h"
#include "mend_make.h"
#include "zoo.h"

#define MOST 1e-4

static const char *demo;

static void check_step(qdbg_model *m, const samples *s, const outputs *before, const char *step)
{
    outputs now = outputs_take(m, s);
    double moved = outputs_difference(before, &now);
    if (moved > MOST)
        fail_msg("%s moves the outputs by %g", step, moved);
    outputs_free(&now);
}

/* `s` holds samples of the model's input. */
static void repair(const char *path, qdbg_ctx *ctx, const samples *s, bool has_dead)
{
    qdbg_graph *read, *g;
    qdbg_fold *fold;
    qdbg_equalize *equal, *absorbed;
    qdbg_fold_options fo = QDBG_FOLD_OPTIONS_INIT;
    qdbg_absorb_options ao = QDBG_ABSORB_OPTIONS_INIT;
    assert_ok(qdbg_onnx_load_file(ctx, path, &read));
    assert_ok(qdbg_graph_expose_clips(read, &g));
    qdbg_model *m = builtin_model(g);
    outputs before = outputs_take(m, s);
    saved was = params_save(m);
    uint32_t n_neutralized = 0, n_scaled = 0;
    fo.flags = QDBG_FOLD_NEUTRALIZE;
    assert_ok(qdbg_fold_run(m, &fo, &fold));
    for (uint32_t i = 0; i < qdbg_fold_count(fold); i++) {
        qdbg_fold_row row = QDBG_FOLD_ROW_INIT;
        assert_ok(qdbg_fold_get(fold, i, &row));
        assert_int_equal(row.outcome, QDBG_FOLD_BACKWARD);
        n_neutralized += row.n_neutralized;
    }
    assert_int_equal(n_neutralized > 0, has_dead);
    check_step(m, s, &before, "folding");
    assert_ok(qdbg_equalize_run(m, NULL, &equal));
    for (uint32_t i = 0; i < qdbg_equalize_count(equal); i++) {
        qdbg_equalize_row row = QDBG_EQUALIZE_ROW_INIT;
        assert_ok(qdbg_equalize_get(equal, i, &row));
        n_scaled += row.outcome == QDBG_EQUALIZE_DONE && row.n_scaled > 0;
    }
    assert_true(n_scaled > 2);
    check_step(m, s, &before, "equalization");
    ao.calibration = &s->set;
    assert_ok(qdbg_absorb_biases(m, &ao, &absorbed));
    check_step(m, s, &before, "absorption");
    assert_ok(qdbg_equalize_undo(absorbed));
    assert_ok(qdbg_equalize_undo(equal));
    assert_ok(qdbg_fold_undo(fold));
    assert_true(params_same(m, &was));
    qdbg_equalize_destroy(absorbed);
    qdbg_equalize_destroy(equal);
    qdbg_fold_destroy(fold);
    params_free(&was);
    outputs_free(&before);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_graph_destroy(read);
}

static samples samples_over(qdbg_ctx *ctx, const int64_t *dims, float *x, uint64_t n)
{
    samples s = {.n = n, .x = x};
    qdbg_view all = make_view(dims, x);
    all.dims[0] = (int64_t)n;
    assert_ok(qdbg_arrays_create(ctx, &all, 1, NULL, 4, &s.arrays));
    assert_ok(qdbg_arrays_dataset(s.arrays, &s.set));
    return s;
}

static void demo_keeps_its_function(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    uint64_t seed = 3;
    (void)state;
    float *x = malloc(8 * 784 * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < 8 * 784; i++)
        x[i] = make_float(&seed, 0, 1);
    samples s = samples_over(ctx, DIMS(1, 1, 28, 28), x, 8);
    repair(demo, ctx, &s, true);
    samples_free(&s);
    qdbg_ctx_destroy(ctx);
}

static void zoo_keeps_its_function(void **state)
{
    const char *folder = getenv("QDBG_ZOO"), *why;
    (void)state;
    if (!folder)
        skip();
    for (size_t i = 0; i < ZOO_MODELS; i++) {
        char path[1024];
        zoo_data data;
        const zoo_model *z = &zoo_models[i];
        if (strncmp(z->name, "kwt", 3) == 0) /* its normalizations are of another kind */
            continue;
        qdbg_ctx *ctx = make_ctx(2);
        if (!zoo_load_data(folder, z, 16, &data, &why))
            fail_msg("%s: %s", z->name, why);
        samples s = samples_over(ctx, z->dims, data.x, data.n);
        repair(zoo_path(folder, z->name, ".onnx", path, sizeof path), ctx, &s,
               strncmp(z->name, "mobilenet", 9) == 0);
        qdbg_arrays_destroy(s.arrays);
        zoo_free_data(&data);
        qdbg_ctx_destroy(ctx);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demo_keeps_its_function),
        cmocka_unit_test(zoo_keeps_its_function),
    };
    demo = argc > 1 ? argv[1] : "doc/examples/fashion_mnist.onnx";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
