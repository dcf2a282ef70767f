/* Each quantizer alone (sensitivity.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

typedef struct world {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    engine e;
    bool host;
    qdbg_model *m;
    samples s;
    qdbg_sim *sim;
} world;

static void world_begin(world *w, qdbg_graph *net(qdbg_ctx *), bool host, uint32_t threads,
                        uint64_t batch_size)
{
    *w = (world){.ctx = make_ctx(threads), .host = host};
    w->g = net(w->ctx);
    w->m = host ? engine_model(&w->e, w->g) : builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, 40, batch_size, 3);
    assert_ok(qdbg_sim_create(w->m, NULL, &w->sim));
    for (uint32_t i = 0; i < qdbg_sim_quantizer_count(w->sim); i++)
        assert_ok(qdbg_sim_set_bits(w->sim, i, 3 + i % 2));
    assert_ok(qdbg_sim_calibrate(w->sim, &w->s.set));
}

static void world_end(world *w)
{
    qdbg_sim_destroy(w->sim);
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    if (w->host)
        engine_free(&w->e);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(w->ctx);
}

static qdbg_graph *gemms(qdbg_ctx *ctx)
{
    return net_of_gemms(ctx, false);
}

static qdbg_sensitivity *run(world *w, int32_t kind)
{
    qdbg_metric metric = metric_of(kind);
    qdbg_sensitivity *s = NULL;
    assert_ok(qdbg_sensitivity_run(w->sim, &w->s.set, &metric, &s));
    return s;
}

static qdbg_sensitivity_row row_at(const qdbg_sensitivity *s, uint32_t rank)
{
    qdbg_sensitivity_row row = QDBG_SENSITIVITY_ROW_INIT;
    assert_ok(qdbg_sensitivity_get(s, rank, &row));
    return row;
}

static double alone(world *w, uint32_t quantizer, int32_t kind)
{
    qdbg_metric metric = metric_of(kind);
    double score = 0;
    assert_ok(qdbg_sim_set_all_enabled(w->sim, 0, 0));
    assert_ok(qdbg_sim_set_enabled(w->sim, quantizer, 1));
    assert_ok(qdbg_sim_evaluate(w->sim, &w->s.set, &metric, &score));
    assert_ok(qdbg_sim_set_all_enabled(w->sim, 0, 1));
    return score;
}

/* ---- rows ---- */

/* To the bit, for all networks and metrics, on both kinds of models. */
static void rows_equal_each_quantizer_alone(void **state)
{
    static const int32_t kinds[] = {QDBG_METRIC_TOP1, QDBG_METRIC_AGREEMENT, QDBG_METRIC_SQNR};
    (void)state;
    for (int net = 0; net < 2; net++)
        for (int host = 0; host < 2; host++)
            for (int k = 0; k < 3; k++) {
                world w;
                world_begin(&w, net ? net_of_convs : gemms, host, 2, 7);
                qdbg_sensitivity *s = run(&w, kinds[k]);
                uint32_t n = qdbg_sensitivity_count(s), seen = 0;
                assert_int_equal(n, qdbg_sim_quantizer_count(w.sim));
                for (uint32_t i = 0; i < n; i++) {
                    qdbg_sensitivity_row row = row_at(s, i);
                    seen |= 1u << row.quantizer;
                    assert_true(row.score == alone(&w, row.quantizer, kinds[k]));
                    assert_true(row.sqnr_db == alone(&w, row.quantizer, QDBG_METRIC_SQNR));
                }
                assert_int_equal(seen, (1u << n) - 1);
                qdbg_sensitivity_destroy(s);
                world_end(&w);
            }
}

static void float_score_is_that_of_the_model(void **state)
{
    world w;
    qdbg_metric metric = metric_of(QDBG_METRIC_TOP1);
    double score;
    (void)state;
    world_begin(&w, gemms, false, 2, 7);
    assert_ok(qdbg_model_evaluate(w.m, &w.s.set, &metric, &score));
    qdbg_sensitivity *s = run(&w, QDBG_METRIC_TOP1);
    assert_true(qdbg_sensitivity_float_score(s) == score);
    qdbg_sensitivity_destroy(s);
    world_end(&w);
}

static bool in_order(const qdbg_sensitivity_row *a, const qdbg_sensitivity_row *b)
{
    if (a->score != b->score)
        return a->score < b->score;
    if (a->sqnr_db != b->sqnr_db)
        return a->sqnr_db < b->sqnr_db;
    return a->quantizer < b->quantizer;
}

/* Lowest score first, then lowest SQNR, then lowest number. */
static void rows_come_in_order_of_harm(void **state)
{
    world w;
    (void)state;
    world_begin(&w, gemms, false, 2, 7);
    for (uint32_t i = 2; i < 4; i++) /* two that change nothing: equal in all but number */
        assert_ok(qdbg_sim_set_bits(w.sim, i, QDBG_BITS_BYPASS));
    qdbg_sensitivity *s = run(&w, QDBG_METRIC_AGREEMENT);
    for (uint32_t i = 1; i < 5; i++) {
        qdbg_sensitivity_row a = row_at(s, i - 1), b = row_at(s, i);
        assert_true(in_order(&a, &b));
    }
    qdbg_sensitivity_row last = row_at(s, 4), before = row_at(s, 3);
    assert_true(before.quantizer == 2 && last.quantizer == 3);
    assert_true(last.sqnr_db == (double)INFINITY && last.noise_share == 0 && last.score == 1);
    qdbg_sensitivity_destroy(s);
    world_end(&w);
}

static void noise_shares_are_shares(void **state)
{
    world w;
    double sum = 0, noise = 0;
    (void)state;
    world_begin(&w, net_of_convs, false, 2, 7);
    qdbg_sensitivity *s = run(&w, QDBG_METRIC_TOP1);
    uint32_t n = qdbg_sensitivity_count(s);
    for (uint32_t i = 0; i < n; i++)
        noise += pow(10, -row_at(s, i).sqnr_db / 10);
    for (uint32_t i = 0; i < n; i++) {
        qdbg_sensitivity_row row = row_at(s, i);
        assert_true(row.noise_share >= 0 && row.noise_share <= 1);
        assert_true(fabs(row.noise_share - pow(10, -row.sqnr_db / 10) / noise) < 1e-12);
        sum += row.noise_share;
    }
    assert_true(fabs(sum - 1) < 1e-12);
    qdbg_sensitivity_destroy(s);
    world_end(&w);
}

/* log(x) where a coarse grid makes 0 of small numbers: the outputs become infinite. */
static qdbg_graph *net_that_drowns(qdbg_ctx *ctx)
{
    qdbg_graph *g = make_graph(ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    make_finish(g, make_node(g, "Log", "y", &x, 1, NULL));
    return g;
}

static void infinite_noise_takes_all_of_it(void **state)
{
    world w;
    (void)state;
    world_begin(&w, net_that_drowns, false, 1, 7);
    for (int i = 0; i < 160; i++)
        w.s.x[i] = i % 4 ? 8 : 0.01f;
    assert_ok(qdbg_sim_calibrate(w.sim, &w.s.set));
    qdbg_sensitivity *s = run(&w, QDBG_METRIC_SQNR);
    qdbg_sensitivity_row row = row_at(s, 0);
    assert_int_equal(row.quantizer, 0);
    assert_true(row.sqnr_db == -(double)INFINITY && row.noise_share == 1);
    row = row_at(s, 1);
    assert_true(isfinite(row.sqnr_db) && row.noise_share == 0);
    qdbg_sensitivity_destroy(s);
    world_end(&w);
}

static void only_enabled_quantizers_are_run_and_nothing_changes(void **state)
{
    world w;
    (void)state;
    world_begin(&w, gemms, false, 2, 7);
    assert_ok(qdbg_sim_set_all_enabled(w.sim, QDBG_WEIGHT, 0));
    qdbg_sensitivity *s = run(&w, QDBG_METRIC_TOP1);
    assert_int_equal(qdbg_sensitivity_count(s), 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(row_at(s, i).quantizer % 2 == 0);
    qdbg_sensitivity_destroy(s);
    for (uint32_t i = 0; i < 5; i++) {
        qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
        assert_ok(qdbg_sim_quantizer(w.sim, i, &q));
        assert_int_equal(q.enabled, i % 2 == 0);
        assert_int_equal(q.spec.bits, 3 + i % 2);
    }
    assert_ok(qdbg_sim_set_all_enabled(w.sim, 0, 0));
    s = run(&w, QDBG_METRIC_TOP1);
    assert_int_equal(qdbg_sensitivity_count(s), 0);
    qdbg_sensitivity_destroy(s);
    world_end(&w);
}

/* ---- one answer ---- */

static void collect(const qdbg_sensitivity *s, qdbg_sensitivity_row *rows)
{
    for (uint32_t i = 0; i < qdbg_sensitivity_count(s); i++)
        rows[i] = row_at(s, i);
}

static void rows_do_not_depend_on_batches_and_threads(void **state)
{
    static const uint64_t sizes[] = {1, 9, 40};
    qdbg_sensitivity_row want[6], got[6];
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++)
        for (int k = 0; k < 3; k++) {
            world w;
            world_begin(&w, net_of_convs, false, threads, sizes[k]);
            qdbg_sensitivity *s = run(&w, QDBG_METRIC_TOP1);
            assert_int_equal(qdbg_sensitivity_count(s), 6);
            collect(s, threads == 1 && k == 0 ? want : got);
            if (threads > 1 || k > 0)
                assert_memory_equal(got, want, sizeof want);
            qdbg_sensitivity_destroy(s);
            world_end(&w);
        }
}

/* Grids whose scales are powers of two: every sum is exact, on whatever engine. */
static void exact_grids(world *w)
{
    assert_ok(qdbg_sim_set_range(w->sim, 0, -8, -8 + 7 * 2.0f));
    assert_ok(qdbg_sim_set_range(w->sim, 1, -1.75f, 1.75f));
    assert_ok(qdbg_sim_set_range(w->sim, 2, 0, 7 * 8.0f));
    assert_ok(qdbg_sim_set_range(w->sim, 3, -1.75f, 1.75f));
    assert_ok(qdbg_sim_set_range(w->sim, 4, -64, -64 + 7 * 16.0f));
}

static void host_equals_builtin_given_the_same_arithmetic(void **state)
{
    qdbg_sensitivity_row rows[2][5];
    (void)state;
    for (int host = 0; host < 2; host++) {
        world w;
        world_begin(&w, gemms, host, 2, 11);
        exact_grids(&w);
        qdbg_sensitivity *s = run(&w, QDBG_METRIC_TOP1);
        collect(s, rows[host]);
        qdbg_sensitivity_destroy(s);
        world_end(&w);
    }
    assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
}

/* ---- refusals ---- */

static void bad_calls_are_refused(void **state)
{
    world w;
    qdbg_metric metric = metric_of(QDBG_METRIC_TOP1), bad = metric_of(-1);
    qdbg_sensitivity *s = NULL;
    qdbg_sensitivity_row row = QDBG_SENSITIVITY_ROW_INIT, small = row;
    (void)state;
    world_begin(&w, gemms, false, 2, 7);
    assert_int_equal(qdbg_sensitivity_run(NULL, &w.s.set, &metric, &s), QDBG_E_INVALID);
    assert_fails(w.ctx, qdbg_sensitivity_run(w.sim, NULL, &metric, &s), QDBG_E_INVALID, "dataset");
    assert_fails(w.ctx, qdbg_sensitivity_run(w.sim, &w.s.set, NULL, &s), QDBG_E_INVALID, "metric");
    assert_fails(w.ctx, qdbg_sensitivity_run(w.sim, &w.s.set, &bad, &s), QDBG_E_INVALID, "kind");
    assert_fails(w.ctx, qdbg_sensitivity_run(w.sim, &w.s.set, &metric, NULL), QDBG_E_INVALID,
                 "out");
    w.s.labels[39] = 99;
    assert_fails(w.ctx, qdbg_sensitivity_run(w.sim, &w.s.set, &metric, &s), QDBG_E_INVALID,
                 "sample 39");
    assert_null(s);
    assert_int_equal(qdbg_sensitivity_count(NULL), 0);
    assert_true(qdbg_sensitivity_float_score(NULL) == 0);
    qdbg_sensitivity_destroy(NULL);
    w.s.labels[39] = 0;
    s = run(&w, QDBG_METRIC_TOP1);
    small.struct_size = 4;
    assert_int_equal(qdbg_sensitivity_get(NULL, 0, &row), QDBG_E_INVALID);
    assert_int_equal(qdbg_sensitivity_get(s, 0, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_sensitivity_get(s, 0, &small), QDBG_E_INVALID);
    assert_int_equal(qdbg_sensitivity_get(s, 5, &row), QDBG_E_NOT_FOUND);
    memset(&row, 0xff, sizeof row);
    qdbg_sensitivity_row_init(&row);
    assert_int_equal(row.struct_size, sizeof row);
    qdbg_sensitivity_row_init(NULL);
    qdbg_sensitivity_destroy(s);
    world_end(&w);
}

static void uncalibrated_activation_is_named(void **state)
{
    world w;
    qdbg_metric metric = metric_of(QDBG_METRIC_TOP1);
    qdbg_sensitivity *s = NULL;
    qdbg_sim *fresh;
    (void)state;
    world_begin(&w, gemms, false, 2, 7);
    assert_ok(qdbg_sim_create(w.m, NULL, &fresh));
    assert_fails(w.ctx, qdbg_sensitivity_run(fresh, &w.s.set, &metric, &s), QDBG_E_STATE, "'x'");
    assert_null(s);
    assert_ok(qdbg_sim_set_all_enabled(fresh, QDBG_ACTIVATION, 0));
    assert_ok(qdbg_sensitivity_run(fresh, &w.s.set, &metric, &s)); /* weights need none */
    assert_int_equal(qdbg_sensitivity_count(s), 2);
    qdbg_sensitivity_destroy(s);
    qdbg_sim_destroy(fresh);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_equal_each_quantizer_alone),
        cmocka_unit_test(float_score_is_that_of_the_model),
        cmocka_unit_test(rows_come_in_order_of_harm),
        cmocka_unit_test(noise_shares_are_shares),
        cmocka_unit_test(infinite_noise_takes_all_of_it),
        cmocka_unit_test(only_enabled_quantizers_are_run_and_nothing_changes),
        cmocka_unit_test(rows_do_not_depend_on_batches_and_threads),
        cmocka_unit_test(host_equals_builtin_given_the_same_arithmetic),
        cmocka_unit_test(bad_calls_are_refused),
        cmocka_unit_test(uncalibrated_activation_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
