/* Repairs that are undone in and out of order, and guards that would measure nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "mend_make.h"

typedef struct world {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    engine e;
    qdbg_model *m;
    qdbg_sim *sim;
    samples s;
    saved was;
} world;

#define C 4

/* x [1,4] -> Gemm "a" -> BatchNormalization "n" -> Relu -> Gemm "b" -> Relu -> Gemm "c". */
static qdbg_graph *net(qdbg_ctx *ctx)
{
    static const char *const names[] = {"a", "b", "c"};
    uint64_t seed = 12;
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t v = make_input(g, "x", DIMS(1, C));
    for (int i = 0; i < 3; i++) {
        char w[8], b[8], r[8];
        snprintf(w, sizeof w, "%s.w", names[i]);
        snprintf(b, sizeof b, "%s.b", names[i]);
        snprintf(r, sizeof r, "%s.r", names[i]);
        v = make_node(
            g, "Gemm", names[i],
            VALUES(v, make_random(g, w, DIMS(C, C), &seed), make_random(g, b, DIMS(C), &seed)),
            NULL);
        if (i == 0)
            v = make_norm(g, "n", v, C, NULL, &seed);
        if (i < 2)
            v = make_node(g, "Relu", r, &v, 1, NULL);
    }
    make_finish(g, v);
    return g;
}

static int n_warnings;

static void listen(void *user, int32_t level, const char *message)
{
    (void)user;
    n_warnings += level == QDBG_LOG_WARNING && strstr(message, "fold first") != NULL;
}

static void begin(world *w, bool host, uint32_t weight_bits, uint32_t activation_bits)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_ctx_options co = QDBG_CTX_OPTIONS_INIT;
    *w = (world){.ctx = NULL};
    co.log = listen;
    assert_ok(qdbg_ctx_create(&co, &w->ctx));
    w->g = net(w->ctx);
    w->m = host ? engine_model(&w->e, w->g) : builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, 24, 5, 3);
    o.weight_bits = weight_bits;
    o.activation_bits = activation_bits;
    assert_ok(qdbg_sim_create(w->m, &o, &w->sim));
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
    w->was = params_save(w->m);
}

static void end(world *w, bool host)
{
    params_free(&w->was);
    qdbg_sim_destroy(w->sim);
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    if (host)
        engine_free(&w->e);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(w->ctx);
}

static qdbg_fold *fold(world *w)
{
    qdbg_fold *f;
    assert_ok(qdbg_fold_run(w->m, NULL, &f));
    return f;
}

static qdbg_equalize *equalize(world *w)
{
    qdbg_equalize *e;
    assert_ok(qdbg_equalize_run(w->m, NULL, &e));
    return e;
}

static qdbg_bias_correction *correct(world *w)
{
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    qdbg_bias_correction *b;
    o.flags = QDBG_BIAS_SEQUENTIAL | QDBG_BIAS_NO_REVERT; /* which notes biases twice */
    assert_ok(qdbg_bias_correct(w->sim, &w->s.set, &o, &b));
    return b;
}

static qdbg_adaround *adaround(world *w, int32_t solver)
{
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    qdbg_adaround *a;
    o.solver = solver;
    o.range_candidates = 8;
    o.flags = QDBG_ADAROUND_NO_REVERT;
    assert_ok(qdbg_adaround_run(w->sim, &w->s.set, &o, &a));
    return a;
}

/* ---- order ---- */

#define LATER "undo the later change first"

/* Every call out of order is refused and changes nothing, rows neither; in order all come back. */
static void only_the_last_change_can_be_undone(void **state)
{
    (void)state;
    for (int host = 0; host < 2; host++) {
        world w;
        begin(&w, host, 3, QDBG_BITS_BYPASS);
        qdbg_fold *f = fold(&w);
        saved folded = params_save(w.m);
        qdbg_equalize *e = equalize(&w);
        saved equalized = params_save(w.m);
        qdbg_bias_correction *b = correct(&w);
        saved corrected = params_save(w.m);
        qdbg_adaround *a = adaround(&w, QDBG_ADAROUND_SEQUENTIAL);
        saved rounded = params_save(w.m);
        assert_fails(w.ctx, qdbg_fold_undo(f), QDBG_E_STATE, LATER);
        assert_fails(w.ctx, qdbg_equalize_undo(e), QDBG_E_STATE, LATER);
        assert_fails(w.ctx, qdbg_bias_correction_undo(b), QDBG_E_STATE, LATER);
        assert_true(params_same(w.m, &rounded));
        qdbg_fold_row row = QDBG_FOLD_ROW_INIT;
        assert_ok(qdbg_fold_get(f, 0, &row));
        assert_int_equal(row.outcome, QDBG_FOLD_BACKWARD);
        assert_ok(qdbg_adaround_undo(a));
        assert_true(params_same(w.m, &corrected));
        assert_fails(w.ctx, qdbg_equalize_undo(e), QDBG_E_STATE, LATER);
        assert_ok(qdbg_adaround_undo(a)); /* again: nothing is left to do */
        assert_ok(qdbg_bias_correction_undo(b));
        assert_true(params_same(w.m, &equalized));
        assert_fails(w.ctx, qdbg_fold_undo(f), QDBG_E_STATE, LATER);
        assert_ok(qdbg_equalize_undo(e));
        assert_true(params_same(w.m, &folded));
        assert_ok(qdbg_fold_undo(f));
        assert_true(params_same(w.m, &w.was));
        qdbg_equalize_destroy(e);
        e = equalize(&w); /* the normalization is in the way of one joint; the other is scaled */
        assert_ok(qdbg_fold_undo(f));
        assert_ok(qdbg_bias_correction_undo(b));
        assert_false(params_same(w.m, &w.was)); /* second undos left the new change alone */
        assert_ok(qdbg_equalize_undo(e));
        assert_true(params_same(w.m, &w.was));
        params_free(&rounded);
        params_free(&corrected);
        params_free(&equalized);
        params_free(&folded);
        qdbg_adaround_destroy(a);
        qdbg_bias_correction_destroy(b);
        qdbg_equalize_destroy(e);
        qdbg_fold_destroy(f);
        end(&w, host);
    }
}

/* A result that is gone stands for good; so does plain folding. What shares no parameter with it
 * can still be undone. */
static void what_is_destroyed_stands(void **state)
{
    world w;
    (void)state;
    begin(&w, false, 3, QDBG_BITS_BYPASS);
    qdbg_fold *f = fold(&w);
    saved folded = params_save(w.m);
    qdbg_equalize *e = equalize(&w);
    saved equalized = params_save(w.m);
    qdbg_equalize_destroy(e);
    assert_fails(w.ctx, qdbg_fold_undo(f), QDBG_E_STATE, LATER);
    assert_true(params_same(w.m, &equalized));
    params_free(&equalized);
    params_free(&folded);
    qdbg_fold_destroy(f);
    end(&w, false);

    begin(&w, false, 3, QDBG_BITS_BYPASS);
    e = equalize(&w);                            /* of b and c */
    assert_ok(qdbg_fold_batch_norms(w.m, NULL)); /* into a */
    folded = params_save(w.m);
    assert_ok(qdbg_equalize_undo(e));
    assert_false(params_same(w.m, &folded));
    qdbg_equalize_destroy(e);
    params_free(&folded);
    end(&w, false);
}

/* A diagnosis folds and takes it back: what came before can be undone. */
static void a_diagnosis_leaves_no_trace(void **state)
{
    world w;
    qdbg_diagnosis *d;
    qdbg_diagnose_options o = QDBG_DIAGNOSE_OPTIONS_INIT;
    (void)state;
    begin(&w, false, 3, QDBG_BITS_BYPASS);
    qdbg_bias_correction *b = correct(&w);
    o.calibration = o.evaluation = &w.s.set;
    assert_ok(qdbg_diagnose(w.m, &o, &d));
    assert_ok(qdbg_bias_correction_undo(b));
    assert_true(params_same(w.m, &w.was));
    qdbg_diagnosis_destroy(d);
    qdbg_bias_correction_destroy(b);
    end(&w, false);
}

/* Two runs that freeze ranges and leave the weights alone. */
static void encodings_are_undone_in_order_too(void **state)
{
    world w;
    double plain, first_score, score;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    qdbg_reference *r;
    (void)state;
    begin(&w, false, 3, QDBG_BITS_BYPASS);
    assert_ok(qdbg_reference_create(w.m, &w.s.set, &r));
    metric.reference = r;
    assert_ok(qdbg_sim_evaluate(w.sim, &w.s.set, &metric, &plain));
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    qdbg_adaround *first, *second;
    o.solver = QDBG_ADAROUND_NEAREST;
    o.range_candidates = 8;
    o.flags = QDBG_ADAROUND_KEEP_BIAS | QDBG_ADAROUND_NO_REVERT;
    assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &first));
    assert_true(params_same(w.m, &w.was));
    assert_ok(qdbg_sim_evaluate(w.sim, &w.s.set, &metric, &first_score));
    assert_true(first_score != plain);
    assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &second));
    assert_fails(w.ctx, qdbg_adaround_undo(first), QDBG_E_STATE, LATER);
    assert_ok(qdbg_adaround_undo(second));
    assert_ok(qdbg_sim_evaluate(w.sim, &w.s.set, &metric, &score));
    assert_true(score == first_score);
    assert_ok(qdbg_adaround_undo(first));
    assert_ok(qdbg_sim_evaluate(w.sim, &w.s.set, &metric, &score));
    assert_true(score == plain);
    qdbg_adaround_destroy(second);
    qdbg_adaround_destroy(first);
    qdbg_reference_destroy(r);
    end(&w, false);
}

/* ---- rows ---- */

static void assert_nearest(const qdbg_adaround *a)
{
    for (uint32_t i = 0; i < qdbg_adaround_count(a); i++) {
        qdbg_adaround_row row = QDBG_ADAROUND_ROW_INIT;
        assert_ok(qdbg_adaround_get(a, i, &row));
        assert_int_equal(row.outcome, QDBG_ADAROUND_REVERTED);
        assert_int_equal(row.n_moved, 0);
        assert_int_equal(row.bias, QDBG_NONE);
        assert_true(row.bias_change == 0);
        assert_true(row.loss == row.loss_nearest && row.held_loss == row.held_nearest);
    }
}

static int32_t see_nothing(void *user, void *state, const qdbg_metric_input *in)
{
    (void)user;
    (void)state;
    (void)in;
    return 0;
}

static int32_t less_each_time(void *user, const void *state, double *score)
{
    (void)state;
    *score = -(double)++*(int *)user;
    return 0;
}

static void undone_roundings_tell_of_nearest(void **state)
{
    world w;
    int calls = 0;
    uint64_t n_moved = 0;
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    qdbg_metric metric = metric_of(QDBG_METRIC_CUSTOM);
    (void)state;
    begin(&w, false, 3, QDBG_BITS_BYPASS);
    qdbg_adaround *a = adaround(&w, QDBG_ADAROUND_SEQUENTIAL);
    for (uint32_t i = 0; i < qdbg_adaround_count(a); i++) {
        qdbg_adaround_row row = QDBG_ADAROUND_ROW_INIT;
        assert_ok(qdbg_adaround_get(a, i, &row));
        assert_true(row.outcome == QDBG_ADAROUND_DONE && row.bias_change > 0);
        n_moved += row.n_moved;
    }
    assert_true(n_moved > 0);
    assert_ok(qdbg_adaround_undo(a));
    assert_nearest(a);
    qdbg_adaround_destroy(a);
    metric.user = &calls;
    metric.update = see_nothing;
    metric.result = less_each_time;
    metric.state_size = 1;
    o.guard_dataset = &w.s.set;
    o.guard_metric = &metric;
    assert_ok(qdbg_adaround_run(w.sim, &w.s.set, &o, &a));
    assert_int_equal(qdbg_adaround_guard(a, NULL, NULL), 1);
    assert_nearest(a);
    qdbg_adaround_destroy(a);
    end(&w, false);
}

/* ---- guards and warnings ---- */

/* Ranges of activations that belong to the network of before would be scored with. */
static void stale_ranges_are_refused(void **state)
{
    (void)state;
    for (int bypassed = 0; bypassed < 2; bypassed++) {
        world w;
        qdbg_metric metric = metric_of(QDBG_METRIC_TOP1);
        qdbg_equalize_options eo = QDBG_EQUALIZE_OPTIONS_INIT;
        qdbg_absorb_options ao = QDBG_ABSORB_OPTIONS_INIT;
        qdbg_equalize *e = NULL;
        begin(&w, false, 8, bypassed ? QDBG_BITS_BYPASS : 8);
        eo.guard_sim = ao.guard_sim = w.sim;
        eo.guard_dataset = ao.guard_dataset = &w.s.set;
        eo.guard_metric = ao.guard_metric = &metric;
        if (bypassed) {
            assert_ok(qdbg_equalize_run(w.m, &eo, &e));
            qdbg_equalize_destroy(e);
            assert_ok(qdbg_absorb_biases(w.m, &ao, &e));
            qdbg_equalize_destroy(e);
        } else {
            const char *why = "needs calibration";
            assert_fails(w.ctx, qdbg_equalize_run(w.m, &eo, &e), QDBG_E_INVALID, why);
            assert_fails(w.ctx, qdbg_absorb_biases(w.m, &ao, &e), QDBG_E_INVALID, why);
            assert_null(e);
            assert_true(params_same(w.m, &w.was));
            eo.flags = QDBG_EQUALIZE_ADVISE; /* is not scored */
            assert_ok(qdbg_equalize_run(w.m, &eo, &e));
            qdbg_equalize_destroy(e);
            for (uint32_t i = 0; i < qdbg_sim_quantizer_count(w.sim); i++)
                assert_ok(qdbg_sim_set_enabled(w.sim, i, 0));
            eo.flags = 0;
            assert_ok(qdbg_equalize_run(w.m, &eo, &e));
            qdbg_equalize_destroy(e);
        }
        end(&w, false);
    }
}

/* Data and a metric, and nothing to score: it would not be guarded. */
static void guards_without_a_simulation_are_refused(void **state)
{
    world w;
    qdbg_metric metric = metric_of(QDBG_METRIC_TOP1);
    qdbg_equalize_options eo = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_absorb_options ao = QDBG_ABSORB_OPTIONS_INIT;
    qdbg_fold_options fo = QDBG_FOLD_OPTIONS_INIT;
    qdbg_equalize *e = NULL;
    qdbg_fold *f = NULL;
    (void)state;
    begin(&w, false, 8, 8);
    eo.guard_metric = ao.guard_metric = &metric;
    fo.guard_dataset = &w.s.set;
    const char *why = "needs a simulation";
    assert_fails(w.ctx, qdbg_equalize_run(w.m, &eo, &e), QDBG_E_INVALID, why);
    assert_fails(w.ctx, qdbg_absorb_biases(w.m, &ao, &e), QDBG_E_INVALID, why);
    assert_fails(w.ctx, qdbg_fold_run(w.m, &fo, &f), QDBG_E_INVALID, why);
    assert_true(!e && !f && params_same(w.m, &w.was));
    end(&w, false);
}

/* x -> Gemm -> BatchNormalization -> Relu -> Gemm has no other joint. */
static void unfolded_normalizations_are_warned_of(void **state)
{
    uint64_t seed = 5;
    qdbg_ctx_options co = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx;
    (void)state;
    co.log = listen;
    assert_ok(qdbg_ctx_create(&co, &ctx));
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t v = make_input(g, "x", DIMS(1, C));
    v = make_node(
        g, "Gemm", "a",
        VALUES(v, make_random(g, "w", DIMS(C, C), &seed), make_random(g, "b", DIMS(C), &seed)),
        NULL);
    v = make_norm(g, "n", v, C, NULL, &seed);
    v = make_node(g, "Relu", "r", &v, 1, NULL);
    make_finish(g, make_node(g, "Gemm", "c",
                             VALUES(v, make_random(g, "w2", DIMS(C, C), &seed),
                                    make_random(g, "b2", DIMS(C), &seed)),
                             NULL));
    qdbg_model *m = builtin_model(g);
    qdbg_equalize *e;
    n_warnings = 0;
    assert_ok(qdbg_equalize_run(m, NULL, &e));
    assert_int_equal(n_warnings, 1);
    qdbg_equalize_destroy(e);
    assert_ok(qdbg_fold_batch_norms(m, NULL));
    assert_ok(qdbg_equalize_run(m, NULL, &e));
    assert_int_equal(n_warnings, 1);
    qdbg_equalize_destroy(e);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_last_change_can_be_undone),
        cmocka_unit_test(what_is_destroyed_stands),
        cmocka_unit_test(a_diagnosis_leaves_no_trace),
        cmocka_unit_test(encodings_are_undone_in_order_too),
        cmocka_unit_test(undone_roundings_tell_of_nearest),
        cmocka_unit_test(stale_ranges_are_refused),
        cmocka_unit_test(guards_without_a_simulation_are_refused),
        cmocka_unit_test(unfolded_normalizations_are_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
