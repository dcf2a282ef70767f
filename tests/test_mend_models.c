/* Repairs on real models: folding with neutralised dead channels, equalization by each formula with
 * bounds by channel, and absorption leave the outputs within 1e-4 of the largest, and undoing
 * brings every bit back. Argument: the demo model. With QDBG_ZOO all of the zoo on its data, too.
 */
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

/* Fold; the number of channels that were neutralised. */
static uint32_t fold(qdbg_model *m, qdbg_fold **result)
{
    qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
    uint32_t n = 0;
    o.flags = QDBG_FOLD_NEUTRALIZE;
    assert_ok(qdbg_fold_run(m, &o, result));
    for (uint32_t i = 0; i < qdbg_fold_count(*result); i++) {
        qdbg_fold_row row = QDBG_FOLD_ROW_INIT;
        assert_ok(qdbg_fold_get(*result, i, &row));
        assert_int_equal(row.outcome, QDBG_FOLD_BACKWARD);
        n += row.n_neutralized;
    }
    return n;
}

/* The number of joints that have a factor that is not 1; the others say why. */
static uint32_t n_scaled(const qdbg_equalize *e)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < qdbg_equalize_count(e); i++) {
        qdbg_equalize_row row = QDBG_EQUALIZE_ROW_INIT;
        assert_ok(qdbg_equalize_get(e, i, &row));
        n += row.outcome == QDBG_EQUALIZE_DONE && row.n_scaled > 0;
        assert_true(row.outcome == QDBG_EQUALIZE_DONE || row.n_scaled == 0);
    }
    return n;
}

/* Equalize, absorb, undo both. */
static void equalize(qdbg_model *m, const samples *s, const outputs *before, int32_t formula,
                     uint32_t least)
{
    qdbg_equalize *equal, *absorbed;
    qdbg_equalize_options eo = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_absorb_options ao = QDBG_ABSORB_OPTIONS_INIT;
    saved was = params_save(m);
    eo.formula = formula;
    eo.calibration = ao.calibration = &s->set;
    assert_ok(qdbg_equalize_run(m, &eo, &equal));
    if (n_scaled(equal) < least)
        fail_msg("only %u joints were scaled", n_scaled(equal));
    check_step(m, s, before, "equalization");
    assert_ok(qdbg_absorb_biases(m, &ao, &absorbed));
    check_step(m, s, before, "absorption");
    assert_ok(qdbg_equalize_undo(absorbed));
    assert_ok(qdbg_equalize_undo(equal));
    assert_true(params_same(m, &was));
    params_free(&was);
    qdbg_equalize_destroy(absorbed);
    qdbg_equalize_destroy(equal);
}

typedef struct expectation {
    const char *name;     /* as it begins */
    bool has_norms, dead; /* are there normalizations, and dead channels? */
    uint32_t joints;      /* that are scaled, at the least */
} expectation;

/* `s` holds samples of the model's input. */
static void repair(const char *path, qdbg_ctx *ctx, const samples *s, const expectation *want)
{
    qdbg_graph *read, *g;
    qdbg_fold *folded;
    assert_ok(qdbg_onnx_load_file(ctx, path, &read));
    assert_ok(qdbg_graph_expose_clips(read, &g));
    qdbg_model *m = builtin_model(g);
    outputs before = outputs_take(m, s);
    saved was = params_save(m);
    assert_int_equal(fold(m, &folded) > 0, want->dead);
    assert_int_equal(qdbg_fold_count(folded) > 0, want->has_norms);
    check_step(m, s, &before, "folding");
    equalize(m, s, &before, QDBG_EQUALIZE_RANGES, want->joints);
    equalize(m, s, &before, QDBG_EQUALIZE_ACTIVATIONS, want->joints);
    assert_ok(qdbg_fold_undo(folded));
    assert_true(params_same(m, &was));
    qdbg_fold_destroy(folded);
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
    repair(demo, ctx, &s, &(expectation){"demo", true, true, 10});
    samples_free(&s);
    qdbg_ctx_destroy(ctx);
}

/* In KWT-1 only LayerNormalization, Softmax and Gelu lie between layers: nothing is to be done. */
static const expectation zoo[] = {
    {"mobilenet", true, true, 26},
    {"resnet20", true, false, 9},
    {"kws_ds_cnn", true, false, 8},
    {"kwt1", false, false, 0},
};

static const expectation *find_want(const char *name)
{
    for (size_t i = 0; i < sizeof zoo / sizeof *zoo; i++)
        if (strncmp(name, zoo[i].name, strlen(zoo[i].name)) == 0)
            return &zoo[i];
    fail_msg("nothing is known of %s", name);
    return NULL;
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
        qdbg_ctx *ctx = make_ctx(2);
        if (!zoo_load_data(folder, z, 16, &data, &why))
            fail_msg("%s: %s", z->name, why);
        samples s = samples_over(ctx, z->dims, data.x, data.n);
        repair(zoo_path(folder, z->name, ".onnx", path, sizeof path), ctx, &s, find_want(z->name));
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
