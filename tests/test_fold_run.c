/* Folding that tells what it did and can be undone (fold.h: qdbg_fold_run). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "mend_make.h"

#define C 4

/* x -> Conv "c" [4,2,3,3] -> BatchNormalization "n" -> Clip 0..6 -> Conv "d". Channel 2 is dead:
 * its weights and its variance are next to nothing. */
static qdbg_graph *net_with_dead_channel(qdbg_ctx *ctx)
{
    uint64_t seed = 3;
    float w[C * 18], var[C] = {1, 2, 1e-30f, 0.5f}, zero = 0, six = 6;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 2, 6, 6));
    for (size_t i = 0; i < C * 18; i++)
        w[i] = make_float(&seed, -1, 1) * (i / 18 == 2 ? 1e-12f : 1);
    uint32_t c =
        make_node(g, "Conv", "c", VALUES(x, make_param(g, "w", DIMS(C, 2, 3, 3), w)), NULL);
    uint32_t n = make_norm(g, "n", c, C, var, &seed);
    uint32_t low = make_param(g, "low", SCALAR, &zero), high = make_param(g, "high", SCALAR, &six);
    uint32_t r = make_node(g, "Clip", "r", VALUES(n, low, high), NULL);
    uint32_t v = make_random(g, "v", DIMS(3, C, 1, 1), &seed);
    make_finish(g, make_node(g, "Conv", "d", VALUES(r, v), NULL));
    return g;
}

/* ... and the statistics know it. */
static qdbg_model *model_with_dead_channel(qdbg_graph *g)
{
    qdbg_model *m = builtin_model(g);
    float mean[C];
    assert_ok(qdbg_model_get_parameter(m, value_of(g, "n.mean"), mean, C));
    mean[2] = 0;
    assert_ok(qdbg_model_set_parameter(m, value_of(g, "n.mean"), mean, C));
    return m;
}

static qdbg_fold_row row_of(const qdbg_fold *f, uint32_t i)
{
    qdbg_fold_row row = QDBG_FOLD_ROW_INIT;
    assert_ok(qdbg_fold_get(f, i, &row));
    return row;
}

static void dead_channels_are_reported(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_fold *f;
    (void)state;
    qdbg_graph *g = net_with_dead_channel(ctx);
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_fold_run(m, NULL, &f));
    assert_int_equal(qdbg_fold_count(f), 1);
    qdbg_fold_row row = row_of(f, 0);
    assert_int_equal(row.outcome, QDBG_FOLD_BACKWARD);
    assert_int_equal(row.n_channels, C);
    assert_int_equal(row.n_dead, 1);
    assert_int_equal(row.n_neutralized, 0);
    assert_true(row.dead_ratio > 0 && row.dead_ratio < 1e-6);
    qdbg_fold_destroy(f);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* With data and without: weights are zero, the function stays, undo brings every bit back. */
static void dead_channels_are_neutralised_and_the_function_stays(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    (void)state;
    for (int with_data = 0; with_data < 2; with_data++) {
        qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
        qdbg_fold *f;
        float w[C * 18];
        qdbg_graph *g = net_with_dead_channel(ctx);
        qdbg_model *m = model_with_dead_channel(g);
        samples s = samples_make(ctx, g, 7, 3, 0);
        outputs before = outputs_take(m, &s), after;
        saved was = params_save(m);
        o.flags = QDBG_FOLD_NEUTRALIZE;
        o.data = with_data ? &s.set : NULL;
        assert_ok(qdbg_fold_run(m, &o, &f));
        assert_int_equal(row_of(f, 0).n_neutralized, 1);
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "w"), w, C * 18));
        for (size_t i = 0; i < C * 18; i++)
            assert_true((w[i] == 0) == (i / 18 == 2));
        after = outputs_take(m, &s);
        assert_true(outputs_difference(&before, &after) <= 1e-5);
        assert_ok(qdbg_fold_undo(f));
        assert_int_equal(row_of(f, 0).outcome, QDBG_FOLD_REVERTED);
        assert_true(params_same(m, &was));
        params_free(&was);
        outputs_free(&before);
        outputs_free(&after);
        qdbg_fold_destroy(f);
        samples_free(&s);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* Statistics say dead, data says alive: the channel stays. */
static void data_overrules_statistics(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
    qdbg_fold *f;
    float w[C * 18];
    (void)state;
    qdbg_graph *g = net_with_dead_channel(ctx);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 7, 3, 0);
    assert_ok(qdbg_model_get_parameter(m, value_of(g, "w"), w, C * 18));
    for (size_t i = 36; i < 54; i++)
        w[i] = 0.5f;
    assert_ok(qdbg_model_set_parameter(m, value_of(g, "w"), w, C * 18));
    o.flags = QDBG_FOLD_NEUTRALIZE;
    o.data = &s.set;
    assert_ok(qdbg_fold_run(m, &o, &f));
    assert_int_equal(row_of(f, 0).n_dead, 1);
    assert_int_equal(row_of(f, 0).n_neutralized, 0);
    qdbg_fold_destroy(f);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void statistics_are_those_from_before(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_fold *f;
    float gamma[C], beta[C], var[C];
    qdbg_channel_stats stats = QDBG_CHANNEL_STATS_INIT;
    (void)state;
    qdbg_graph *g = net_with_dead_channel(ctx);
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_model_get_parameter(m, value_of(g, "n.gamma"), gamma, C));
    assert_ok(qdbg_model_get_parameter(m, value_of(g, "n.beta"), beta, C));
    assert_ok(qdbg_model_get_parameter(m, value_of(g, "n.var"), var, C));
    assert_ok(qdbg_fold_run(m, NULL, &f));
    assert_ok(qdbg_fold_stats(f, 0, &stats));
    assert_int_equal(stats.value, value_of(g, "n"));
    assert_int_equal(stats.n, C);
    for (size_t c = 0; c < C; c++) {
        double want =
            fabs((double)gamma[c]) * sqrt((double)var[c] / ((double)var[c] + (double)MEND_EPSILON));
        assert_true(stats.mean[c] == beta[c]);
        assert_true(fabs((double)stats.deviation[c] - want) <= 1e-6 * fmax(want, 1e-6));
    }
    assert_int_equal(qdbg_fold_stats(f, 1, &stats), QDBG_E_NOT_FOUND);
    assert_int_equal(qdbg_fold_stats(NULL, 0, &stats), QDBG_E_INVALID);
    qdbg_fold_destroy(f);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- forward and alone ---- */

enum { PLAIN, PADDED, NO_BIAS, NO_BIAS_NORM, GEMM, BRANCH, N_FORWARD };

static qdbg_graph *forward_net(qdbg_ctx *ctx, int what)
{
    uint64_t seed = 17;
    uint32_t node, in[3];
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", what == GEMM ? DIMS(1, 4) : DIMS(1, 4, 5, 5));
    uint32_t n = make_norm(g, "n", x, 4, NULL, &seed);
    in[0] = n;
    in[1] = make_random(g, "w", what == GEMM ? DIMS(4, 6) : DIMS(6, 2, 3, 3), &seed);
    in[2] = make_random(g, "b", DIMS(6), &seed);
    bool bias = what != NO_BIAS && what != NO_BIAS_NORM;
    uint32_t y = make_node(g, what == GEMM ? "Gemm" : "Conv", "c", in, bias ? 3 : 2, &node);
    if (what == GEMM) {
        assert_ok(qdbg_graph_set_float(g, node, "alpha", 0.5f));
        assert_ok(qdbg_graph_set_float(g, node, "beta", 2));
    } else {
        assert_ok(qdbg_graph_set_int(g, node, "group", 2));
    }
    if (what == PADDED)
        make_ints(g, node, "pads", DIMS(1, 1, 1, 1));
    if (what == NO_BIAS_NORM)
        y = make_norm(g, "m", y, 6, NULL, &seed);
    if (what == BRANCH)
        assert_ok(qdbg_graph_add_output(g, n));
    make_finish(g, y);
    return g;
}

static void norms_before_layers_fold_forward(void **state)
{
    static const int32_t want[N_FORWARD] = {QDBG_FOLD_FORWARD,  QDBG_FOLD_PADDED,
                                            QDBG_FOLD_NO_LAYER, QDBG_FOLD_FORWARD,
                                            QDBG_FOLD_FORWARD,  QDBG_FOLD_STANDALONE};
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int what = 0; what < N_FORWARD; what++) {
        qdbg_fold *f;
        qdbg_graph *g = forward_net(ctx, what);
        qdbg_model *m = builtin_model(g);
        samples s = samples_make(ctx, g, 3, 3, 0);
        outputs before = outputs_take(m, &s), after;
        saved was = params_save(m);
        assert_ok(qdbg_fold_run(m, NULL, &f));
        if (row_of(f, 0).outcome != want[what])
            fail_msg("case %d: outcome %d", what, row_of(f, 0).outcome);
        after = outputs_take(m, &s);
        assert_true(outputs_difference(&before, &after) <= 1e-5);
        assert_ok(qdbg_fold_undo(f));
        assert_true(params_same(m, &was));
        params_free(&was);
        outputs_free(&before);
        outputs_free(&after);
        qdbg_fold_destroy(f);
        samples_free(&s);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* A channel that is nothing but a number, at a normalization that folds into the layer behind, that
 * is padded, or that stands alone. */
static void dead_channels_elsewhere_are_cared_for(void **state)
{
    static const int32_t want[] = {QDBG_FOLD_FORWARD, QDBG_FOLD_PADDED, QDBG_FOLD_FORWARD,
                                   QDBG_FOLD_STANDALONE};
    static const int what[] = {PLAIN, PADDED, GEMM, BRANCH};
    qdbg_ctx *ctx = make_ctx(2);
    (void)state;
    for (int i = 0; i < 12; i++) { /* neutralise: no, by statistics, by data */
        qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
        qdbg_fold *f;
        float mean[4], var[4], w[108];
        qdbg_graph *g = forward_net(ctx, what[i / 3]);
        qdbg_model *m = builtin_model(g);
        samples s = samples_make(ctx, g, 3, 3, 0);
        size_t area = what[i / 3] == GEMM ? 1 : 25;
        for (size_t k = 0; k < 3 * 4 * area; k++)
            if (k / area % 4 == 1)
                s.x[k] = 2;
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "n.mean"), mean, 4));
        assert_ok(qdbg_model_get_parameter(m, value_of(g, "n.var"), var, 4));
        mean[1] = 2;
        var[1] = 0;
        assert_ok(qdbg_model_set_parameter(m, value_of(g, "n.mean"), mean, 4));
        assert_ok(qdbg_model_set_parameter(m, value_of(g, "n.var"), var, 4));
        outputs before = outputs_take(m, &s), after;
        saved was = params_save(m);
        o.flags = i % 3 ? QDBG_FOLD_NEUTRALIZE : 0;
        o.data = i % 3 == 2 ? &s.set : NULL;
        assert_ok(qdbg_fold_run(m, &o, &f));
        qdbg_fold_row row = row_of(f, 0);
        assert_int_equal(row.outcome, want[i / 3]);
        assert_int_equal(row.n_dead, 1);
        assert_true(row.dead_ratio > 2); /* epsilon is 0.01, and variances are not below 0.1 */
        assert_int_equal(row.n_neutralized, i % 3 > 0 && row.outcome != QDBG_FOLD_PADDED);
        if (row.n_neutralized && what[i / 3] == PLAIN) {
            assert_ok(qdbg_model_get_parameter(m, value_of(g, "w"), w, 108));
            for (size_t k = 0; k < 108; k++) /* [6,2,3,3] in 2 groups: the first three see it */
                assert_true((w[k] == 0) == (k < 54 && k / 9 % 2 == 1));
        }
        after = outputs_take(m, &s);
        assert_true(outputs_difference(&before, &after) <= 1e-5);
        assert_ok(qdbg_fold_undo(f));
        assert_true(params_same(m, &was));
        params_free(&was);
        outputs_free(&before);
        outputs_free(&after);
        qdbg_fold_destroy(f);
        samples_free(&s);
        qdbg_model_destroy(m);
        qdbg_graph_destroy(g);
    }
    qdbg_ctx_destroy(ctx);
}

/* ---- guard and failures ---- */

static void guard_tells_scores(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    qdbg_fold *f;
    qdbg_sim *sim;
    double before, after;
    (void)state;
    qdbg_graph *g = net_with_dead_channel(ctx);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 7, 3, 0);
    assert_ok(qdbg_sim_create(m, NULL, &sim));
    saved was = params_save(m);
    o.guard_sim = sim;
    o.guard_calibration = o.guard_dataset = &s.set;
    o.guard_metric = &metric;
    assert_ok(qdbg_fold_run(m, &o, &f));
    int32_t undone = qdbg_fold_guard(f, &before, &after);
    assert_int_equal(undone, after < before);
    assert_int_equal(undone, params_same(m, &was));
    params_free(&was);
    qdbg_fold_destroy(f);
    o.guard_metric = NULL;
    assert_fails(ctx, qdbg_fold_run(m, &o, &f), QDBG_E_INVALID, "guard");
    qdbg_sim_destroy(sim);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void bad_arguments_are_refused(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
    qdbg_fold_row row = QDBG_FOLD_ROW_INIT;
    qdbg_fold *f = NULL;
    (void)state;
    qdbg_graph *g = net_with_dead_channel(ctx);
    qdbg_model *m = builtin_model(g);
    assert_int_equal(qdbg_fold_run(NULL, NULL, &f), QDBG_E_INVALID);
    assert_fails(ctx, qdbg_fold_run(m, NULL, NULL), QDBG_E_INVALID, "result");
    o.flags = 64;
    assert_fails(ctx, qdbg_fold_run(m, &o, &f), QDBG_E_INVALID, "flags");
    o.flags = 0;
    o.dead_threshold = (double)NAN;
    assert_fails(ctx, qdbg_fold_run(m, &o, &f), QDBG_E_INVALID, "dead_threshold");
    assert_null(f);
    assert_int_equal(qdbg_fold_undo(NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_fold_count(NULL), 0);
    assert_int_equal(qdbg_fold_guard(NULL, NULL, NULL), 0);
    assert_ok(qdbg_fold_run(m, NULL, &f));
    assert_int_equal(qdbg_fold_get(f, 1, &row), QDBG_E_NOT_FOUND);
    row.struct_size = 4;
    assert_int_equal(qdbg_fold_get(f, 0, &row), QDBG_E_INVALID);
    qdbg_fold_destroy(f);
    qdbg_fold_destroy(NULL);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* A host that fails at any one call: all parameters are as they were. */
static void failed_host_has_its_parameters_back(void **state)
{
    qdbg_ctx *ctx = make_ctx(1);
    (void)state;
    for (int set = 0; set < 2; set++) {
        uint64_t k = 1;
        for (bool done = false; !done; k++) {
            qdbg_fold *f = NULL;
            engine e;
            qdbg_graph *g = net_of_convs(ctx);
            qdbg_model *m = engine_model(&e, g);
            saved was = params_save(m);
            *(set ? &e.fail_set : &e.fail_get) = k + (set ? e.n_sets : e.n_gets);
            e.code = 9;
            qdbg_status status = qdbg_fold_run(m, NULL, &f);
            done = status == QDBG_OK;
            *(set ? &e.fail_set : &e.fail_get) = 0;
            if (!done) {
                assert_int_equal(status, QDBG_E_CALLBACK);
                assert_null(f);
                assert_true(params_same(m, &was));
            }
            params_free(&was);
            qdbg_fold_destroy(f);
            qdbg_model_destroy(m);
            engine_free(&e);
            qdbg_graph_destroy(g);
        }
        assert_true(k > 5);
    }
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_channels_are_reported),
        cmocka_unit_test(dead_channels_are_neutralised_and_the_function_stays),
        cmocka_unit_test(data_overrules_statistics),
        cmocka_unit_test(statistics_are_those_from_before),
        cmocka_unit_test(norms_before_layers_fold_forward),
        cmocka_unit_test(dead_channels_elsewhere_are_cared_for),
        cmocka_unit_test(guard_tells_scores),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(failed_host_has_its_parameters_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
