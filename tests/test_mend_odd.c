/* Repairs of odd networks on odd data (fold.h, equalize.h, bias_correction.h): values that are not
 * finite, ranges of zero, weights that are shared. What is done is defined, told in rows, and can
 * be undone. */
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

enum { PLAIN, SHARED, ZERO_FIRST, ZERO_SECOND, DEAD };

/* x [1,4,5,5] -> Log -> Conv "c" -> BatchNormalization "n" -> Relu "r" -> Conv "d". */
static qdbg_graph *net(qdbg_ctx *ctx, int what)
{
    uint64_t seed = 19;
    float zeros[C * C] = {0}, var[C] = {1, 1, 1, what == DEAD ? 1e-30f : 1};
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, C, 5, 5));
    uint32_t w = what == ZERO_FIRST ? make_param(g, "c.w", DIMS(C, C, 1, 1), zeros)
                                    : make_random(g, "c.w", DIMS(C, C, 1, 1), &seed);
    uint32_t b = make_random(g, "c.b", DIMS(C), &seed);
    uint32_t c = make_node(g, "Log", "log", &x, 1, NULL);
    c = make_node(g, "Conv", "c", VALUES(c, w, b), NULL);
    c = make_norm(g, "n", c, C, var, &seed);
    uint32_t r = make_node(g, "Relu", "r", &c, 1, NULL);
    uint32_t v = what == ZERO_SECOND ? make_param(g, "d.w", DIMS(C, C, 1, 1), zeros)
                                     : make_random(g, "d.w", DIMS(C, C, 1, 1), &seed);
    uint32_t e = make_random(g, "d.b", DIMS(C), &seed);
    make_finish(g, make_node(g, "Conv", "d", VALUES(r, what == SHARED ? w : v, e), NULL));
    return g;
}

typedef struct world {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    qdbg_model *m;
    samples s;
    saved was;
} world;

static world open_world(int what)
{
    world w = {.ctx = make_ctx(2)};
    w.g = net(w.ctx, what);
    w.m = builtin_model(w.g);
    w.s = samples_make(w.ctx, w.g, 6, 2, 0);
    for (size_t i = 0; i < 6 * C * 25; i++)
        w.s.x[i] = fabsf(w.s.x[i]) + 1;
    w.was = params_save(w.m);
    return w;
}

static void remember(world *w)
{
    params_free(&w->was);
    w->was = params_save(w->m);
}

static void close_world(world *w)
{
    params_free(&w->was);
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(w->ctx);
}

static void assert_finite(const world *w)
{
    saved now = params_save(w->m);
    for (uint32_t v = 0; v < now.n; v++)
        for (uint64_t i = 0; now.of[v] && i < now.counts[v]; i++)
            assert_true(isfinite(now.of[v][i]));
    params_free(&now);
}

static void assert_undone(world *w, qdbg_status status)
{
    assert_ok(status);
    assert_true(params_same(w->m, &w->was));
}

/* ---- data that is not finite ---- */

static const float not_finite[] = {(float)NAN, INFINITY, -INFINITY};

static qdbg_sim *coarse_sim(const world *w)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_sim *sim;
    o.weight_bits = 3;
    o.activation_bits = QDBG_BITS_BYPASS;
    assert_ok(qdbg_sim_create(w->m, &o, &sim));
    return sim;
}

static void inputs_must_be_finite(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        qdbg_fold *f = NULL;
        qdbg_equalize *e = NULL;
        qdbg_bias_correction *b = NULL;
        qdbg_fold_options fo = QDBG_FOLD_OPTIONS_INIT;
        qdbg_equalize_options eo = QDBG_EQUALIZE_OPTIONS_INIT;
        qdbg_absorb_options ao = QDBG_ABSORB_OPTIONS_INIT;
        world w = open_world(PLAIN);
        qdbg_sim *sim = coarse_sim(&w);
        w.s.x[7] = not_finite[i];
        fo.data = eo.calibration = ao.calibration = &w.s.set;
        assert_fails(w.ctx, qdbg_fold_run(w.m, &fo, &f), QDBG_E_NUMERIC, "'x'");
        assert_fails(w.ctx, qdbg_bias_correct(sim, &w.s.set, NULL, &b), QDBG_E_NUMERIC, "'x'");
        assert_true(params_same(w.m, &w.was));
        assert_ok(qdbg_fold_batch_norms(w.m, NULL));
        remember(&w);
        eo.formula = QDBG_EQUALIZE_ACTIVATIONS;
        assert_fails(w.ctx, qdbg_equalize_run(w.m, &eo, &e), QDBG_E_NUMERIC, "'x'");
        assert_fails(w.ctx, qdbg_absorb_biases(w.m, &ao, &e), QDBG_E_NUMERIC, "'x'");
        assert_true(params_same(w.m, &w.was) && !f && !e && !b);
        qdbg_sim_destroy(sim);
        close_world(&w);
    }
}

/* Activations are not: these have no logarithm, or an infinite one. */
static const float odd[] = {-1, 0};
#define N_ODD (sizeof odd / sizeof *odd)

/* What is not known to be constant is not neutralised. */
static void odd_data_neutralises_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i <= N_ODD; i++) {
        qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
        qdbg_fold_row row = QDBG_FOLD_ROW_INIT;
        qdbg_fold *f;
        float c[C * C];
        world w = open_world(DEAD);
        assert_ok(qdbg_model_get_parameter(w.m, value_of(w.g, "c.w"), c, C * C));
        memset(c + 3 * C, 0, C * sizeof *c);
        assert_ok(qdbg_model_set_parameter(w.m, value_of(w.g, "c.w"), c, C * C));
        remember(&w);
        if (i < N_ODD)
            w.s.x[7] = odd[i];
        o.flags = QDBG_FOLD_NEUTRALIZE;
        o.data = &w.s.set;
        assert_ok(qdbg_fold_run(w.m, &o, &f));
        assert_ok(qdbg_fold_get(f, 0, &row));
        assert_int_equal(row.outcome, QDBG_FOLD_BACKWARD);
        assert_int_equal(row.n_dead, 1);
        assert_int_equal(row.n_neutralized, i == N_ODD);
        assert_finite(&w);
        assert_undone(&w, qdbg_fold_undo(f));
        qdbg_fold_destroy(f);
        close_world(&w);
    }
}

/* Channels whose activations are not known are scaled by their weights alone. */
static void odd_data_leaves_weights_to_decide(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ODD; i++) {
        qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
        qdbg_equalize *e;
        float plain[C], factors[C];
        world w = open_world(PLAIN);
        assert_ok(qdbg_fold_batch_norms(w.m, NULL));
        remember(&w);
        assert_ok(qdbg_equalize_run(w.m, &o, &e));
        assert_ok(qdbg_equalize_factors(e, value_of(w.g, "r"), plain, C));
        assert_undone(&w, qdbg_equalize_undo(e));
        qdbg_equalize_destroy(e);
        for (size_t k = 0; k < C; k++) /* all channels of one position */
            w.s.x[k * 25] = odd[i];
        o.formula = QDBG_EQUALIZE_ACTIVATIONS;
        o.calibration = &w.s.set;
        assert_ok(qdbg_equalize_run(w.m, &o, &e));
        assert_ok(qdbg_equalize_factors(e, value_of(w.g, "r"), factors, C));
        for (size_t c = 0; c < C && odd[i] < 0; c++)
            assert_true(fabsf(factors[c] - plain[c]) < 1e-3f * plain[c]);
        assert_finite(&w);
        assert_undone(&w, qdbg_equalize_undo(e));
        qdbg_equalize_destroy(e);
        close_world(&w);
    }
}

/* Nothing is known to stay above zero. */
static void odd_data_absorbs_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i <= N_ODD; i++) {
        qdbg_absorb_options o = QDBG_ABSORB_OPTIONS_INIT;
        qdbg_equalize_row row = QDBG_EQUALIZE_ROW_INIT;
        qdbg_equalize *e;
        float high[C] = {90, 90, 90, 90};
        world w = open_world(PLAIN);
        assert_ok(qdbg_fold_batch_norms(w.m, NULL));
        assert_ok(qdbg_model_set_parameter(w.m, value_of(w.g, "n.beta"), high, C));
        remember(&w);
        for (size_t k = 0; k < C && i < N_ODD; k++)
            w.s.x[k * 25] = odd[i];
        o.calibration = &w.s.set;
        assert_ok(qdbg_absorb_biases(w.m, &o, &e));
        assert_ok(qdbg_equalize_get(e, 0, &row));
        assert_int_equal(row.outcome, i == N_ODD ? QDBG_EQUALIZE_ABSORBED : QDBG_EQUALIZE_LOW);
        assert_int_equal(params_same(w.m, &w.was), i < N_ODD);
        assert_undone(&w, qdbg_equalize_undo(e));
        qdbg_equalize_destroy(e);
        close_world(&w);
    }
}

/* No mean can be told: the layers are left. */
static void odd_data_corrects_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * N_ODD; i++) {
        qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
        qdbg_bias_row row = QDBG_BIAS_ROW_INIT;
        qdbg_bias_correction *b;
        world w = open_world(PLAIN);
        qdbg_sim *sim = coarse_sim(&w);
        w.s.x[7] = odd[i / 2];
        o.flags = i % 2 ? QDBG_BIAS_SEQUENTIAL : 0;
        assert_ok(qdbg_bias_correct(sim, &w.s.set, &o, &b));
        assert_int_equal(qdbg_bias_correction_count(b), 2);
        assert_ok(qdbg_bias_correction_get(b, 0, &row));
        assert_int_equal(row.outcome, QDBG_BIAS_NO_DATA);
        assert_finite(&w);
        assert_undone(&w, qdbg_bias_correction_undo(b));
        qdbg_bias_correction_destroy(b);
        qdbg_sim_destroy(sim);
        close_world(&w);
    }
}

/* ---- weights ---- */

/* One weight of two layers is nobody's to change. */
static void shared_weights_are_left(void **state)
{
    qdbg_fold *f;
    qdbg_equalize *e;
    qdbg_bias_correction *b;
    qdbg_fold_row fr = QDBG_FOLD_ROW_INIT;
    qdbg_equalize_row er = QDBG_EQUALIZE_ROW_INIT;
    qdbg_absorb_options ao = QDBG_ABSORB_OPTIONS_INIT;
    (void)state;
    world w = open_world(SHARED);
    qdbg_sim *sim = coarse_sim(&w);
    assert_ok(qdbg_fold_run(w.m, NULL, &f));
    assert_ok(qdbg_fold_get(f, 0, &fr));
    assert_true(fr.outcome != QDBG_FOLD_BACKWARD && fr.outcome != QDBG_FOLD_FORWARD);
    assert_ok(qdbg_equalize_run(w.m, NULL, &e));
    assert_ok(qdbg_equalize_get(e, 0, &er));
    assert_true(er.outcome != QDBG_EQUALIZE_DONE);
    qdbg_equalize_destroy(e);
    ao.calibration = &w.s.set;
    assert_ok(qdbg_absorb_biases(w.m, &ao, &e));
    assert_ok(qdbg_equalize_get(e, 0, &er));
    assert_true(er.outcome != QDBG_EQUALIZE_ABSORBED);
    qdbg_equalize_destroy(e);
    assert_undone(&w, qdbg_fold_undo(f));
    assert_ok(qdbg_bias_correct(sim, &w.s.set, NULL, &b));
    assert_int_equal(qdbg_bias_correction_count(b), 0);
    assert_true(params_same(w.m, &w.was));
    qdbg_bias_correction_destroy(b);
    qdbg_fold_destroy(f);
    qdbg_sim_destroy(sim);
    close_world(&w);
}

/* A weight of nothing but zeros has no range to give or take. */
static void zero_weights_keep_their_factors(void **state)
{
    (void)state;
    for (int what = ZERO_FIRST; what <= ZERO_SECOND; what++) {
        qdbg_equalize *e;
        qdbg_equalize_row row = QDBG_EQUALIZE_ROW_INIT;
        qdbg_bias_correction *b;
        world w = open_world(what);
        assert_ok(qdbg_fold_batch_norms(w.m, NULL));
        remember(&w);
        assert_ok(qdbg_equalize_run(w.m, NULL, &e));
        assert_ok(qdbg_equalize_get(e, 0, &row));
        assert_int_equal(row.outcome, QDBG_EQUALIZE_DONE);
        assert_int_equal(row.n_scaled, 0);
        assert_true(row.smallest == 1 && row.largest == 1 && row.before == 0 && row.gain_db == 0);
        assert_true(params_same(w.m, &w.was));
        qdbg_equalize_destroy(e);
        qdbg_sim *sim = coarse_sim(&w);
        assert_ok(qdbg_bias_correct(sim, &w.s.set, NULL, &b));
        assert_finite(&w);
        assert_undone(&w, qdbg_bias_correction_undo(b));
        qdbg_bias_correction_destroy(b);
        qdbg_sim_destroy(sim);
        close_world(&w);
    }
}

/* A parameter that is not finite is named, and nothing is changed. */
static void odd_weights_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        qdbg_fold *f = NULL;
        qdbg_equalize *e = NULL;
        qdbg_bias_correction *b = NULL;
        qdbg_absorb_options ao = QDBG_ABSORB_OPTIONS_INIT;
        float beta[C] = {90, 90, 90, 90}, v[C * C];
        world w = open_world(PLAIN);
        qdbg_sim *sim = coarse_sim(&w);
        assert_ok(qdbg_fold_batch_norms(w.m, NULL));
        assert_ok(qdbg_model_set_parameter(w.m, value_of(w.g, "n.beta"), beta, C));
        assert_ok(qdbg_model_get_parameter(w.m, value_of(w.g, "d.w"), v, C * C));
        v[5] = not_finite[i];
        assert_ok(qdbg_model_set_parameter(w.m, value_of(w.g, "d.w"), v, C * C));
        remember(&w);
        ao.calibration = &w.s.set;
        assert_fails(w.ctx, qdbg_equalize_run(w.m, NULL, &e), QDBG_E_NUMERIC, "'d.w'");
        assert_fails(w.ctx, qdbg_absorb_biases(w.m, &ao, &e), QDBG_E_NUMERIC, "'d.w'");
        assert_fails(w.ctx, qdbg_bias_correct(sim, &w.s.set, NULL, &b), QDBG_E_NUMERIC, "'d.w'");
        assert_true(params_same(w.m, &w.was));
        beta[2] = not_finite[i];
        assert_ok(qdbg_model_set_parameter(w.m, value_of(w.g, "n.beta"), beta, C));
        remember(&w);
        assert_fails(w.ctx, qdbg_fold_run(w.m, NULL, &f), QDBG_E_NUMERIC, "'n.beta'");
        assert_true(params_same(w.m, &w.was) && !f && !e && !b);
        qdbg_sim_destroy(sim);
        close_world(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_must_be_finite),
        cmocka_unit_test(odd_data_neutralises_nothing),
        cmocka_unit_test(odd_data_leaves_weights_to_decide),
        cmocka_unit_test(odd_data_absorbs_nothing),
        cmocka_unit_test(odd_data_corrects_nothing),
        cmocka_unit_test(shared_weights_are_left),
        cmocka_unit_test(zero_weights_keep_their_factors),
        cmocka_unit_test(odd_weights_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
