/* The flow chart in one call (diagnose.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

#define N 120

typedef struct world {
    heap h;
    qdbg_ctx *ctx;
    qdbg_graph *g;
    engine e;
    bool host;
    qdbg_model *m;
    samples s;
    qdbg_diagnose_options o;
    qdbg_sim_options sim;
} world;

static void world_begin(world *w, qdbg_graph *net(qdbg_ctx *), bool host, uint32_t threads)
{
    *w = (world){.host = host, .o = QDBG_DIAGNOSE_OPTIONS_INIT, .sim = QDBG_SIM_OPTIONS_INIT};
    heap_init(&w->h);
    w->ctx = heap_ctx(&w->h, threads);
    w->g = net(w->ctx);
    w->m = host ? engine_model(&w->e, w->g) : builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, N, 25, 3);
    for (uint64_t i = 0; i < N; i++)
        w->s.x[i * 4 + 3] = 0; /* see ruin() */
    w->o.calibration = w->o.evaluation = &w->s.set;
    w->o.max_drop = 0.1;
    w->o.sim = &w->sim;
}

static void world_end(world *w)
{
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    if (w->host)
        engine_free(&w->e);
    qdbg_graph_destroy(w->g);
    heap_end(&w->h, w->ctx);
}

static qdbg_graph *gemms(qdbg_ctx *ctx)
{
    return net_of_gemms(ctx, false);
}

/* A huge weight in output channel 2, behind an input that is always 0: the float model does not
 * feel it, but the grid of all other weights becomes useless. */
static void ruin(world *w)
{
    float data[24];
    assert_ok(qdbg_model_get_parameter(w->m, value_of(w->g, "w1"), data, 24));
    data[3 * 6 + 2] = 5000;
    assert_ok(qdbg_model_set_parameter(w->m, value_of(w->g, "w1"), data, 24));
}

static qdbg_diagnosis *diagnose(world *w)
{
    qdbg_diagnosis *d = NULL;
    assert_ok(qdbg_diagnose(w->m, &w->o, &d));
    return d;
}

static qdbg_summary summary_of(const qdbg_diagnosis *d)
{
    qdbg_summary s = QDBG_SUMMARY_INIT;
    assert_ok(qdbg_diagnosis_summary(d, &s));
    return s;
}

static qdbg_step step_of(const qdbg_diagnosis *d, const char *name)
{
    qdbg_step s = QDBG_STEP_INIT;
    for (uint32_t i = 0; i < summary_of(d).n_steps; i++) {
        assert_ok(qdbg_diagnosis_step(d, i, &s));
        if (strcmp(s.name, name) == 0)
            return s;
    }
    fail_msg("no step '%s'", name);
    return s;
}

static qdbg_finding finding_at(const qdbg_diagnosis *d, uint32_t rank)
{
    qdbg_finding f = QDBG_FINDING_INIT;
    assert_ok(qdbg_diagnosis_finding(d, rank, &f));
    return f;
}

static qdbg_finding finding_of(const qdbg_diagnosis *d, const char *name)
{
    for (uint32_t i = 0; i < summary_of(d).n_findings; i++)
        if (strcmp(finding_at(d, i).name, name) == 0)
            return finding_at(d, i);
    fail_msg("no finding '%s'", name);
    return finding_at(d, 0);
}

#define assert_holds(text, part) assert_non_null(strstr(text, part))

/* ---- the walk ---- */

static void steps_come_in_the_order_of_the_chart(void **state)
{
    static const char *const names[] = {"float32",     "quantized",  "weights",
                                        "activations", "quantizers", "conclusion"};
    world w;
    (void)state;
    world_begin(&w, gemms, false, 2);
    qdbg_diagnosis *d = diagnose(&w);
    assert_int_equal(summary_of(d).n_steps, 6);
    for (uint32_t i = 0; i < 6; i++) {
        qdbg_step s = QDBG_STEP_INIT;
        assert_ok(qdbg_diagnosis_step(d, i, &s));
        assert_string_equal(s.name, names[i]);
        assert_true(strlen(s.title) > 0 && strlen(s.verdict) > 0);
        assert_non_null(s.recommendation);
        assert_in_range(s.outcome, QDBG_OUTCOME_PASSED, QDBG_OUTCOME_SKIPPED);
    }
    qdbg_step last = QDBG_STEP_INIT;
    assert_ok(qdbg_diagnosis_step(d, 5, &last));
    assert_string_equal(summary_of(d).conclusion, last.verdict);
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

static void good_model_passes(void **state)
{
    world w;
    (void)state;
    world_begin(&w, gemms, false, 2);
    qdbg_diagnosis *d = diagnose(&w);
    static const char *const names[] = {"float32",     "quantized",  "weights",
                                        "activations", "quantizers", "conclusion"};
    for (int i = 0; i < 6; i++)
        assert_int_equal(step_of(d, names[i]).outcome, QDBG_OUTCOME_PASSED);
    for (uint32_t i = 0; i < summary_of(d).n_findings; i++)
        assert_int_equal(finding_at(d, i).culprit, 0);
    assert_holds(step_of(d, "float32").verdict, "bit for bit");
    assert_holds(summary_of(d).conclusion, "can be quantized");
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

static void ruined_weight_is_named_with_its_channel(void **state)
{
    (void)state;
    for (int host = 0; host < 2; host++) {
        world w;
        world_begin(&w, gemms, host, 2);
        ruin(&w);
        qdbg_diagnosis *d = diagnose(&w);
        assert_int_equal(step_of(d, "float32").outcome, QDBG_OUTCOME_PASSED);
        assert_int_equal(step_of(d, "quantized").outcome, QDBG_OUTCOME_FAILED);
        assert_int_equal(step_of(d, "weights").outcome, QDBG_OUTCOME_FAILED);
        assert_int_equal(step_of(d, "activations").outcome, QDBG_OUTCOME_PASSED);
        assert_int_equal(step_of(d, "quantizers").outcome, QDBG_OUTCOME_FAILED);
        assert_int_equal(step_of(d, "conclusion").outcome, QDBG_OUTCOME_FAILED);
        qdbg_finding f = finding_at(d, 0);
        assert_string_equal(f.name, "w1");
        assert_int_equal(f.kind, QDBG_WEIGHT);
        assert_string_equal(f.node, "h");
        assert_string_equal(f.op_type, "Gemm");
        assert_int_equal(f.culprit, 1);
        assert_holds(f.reason, "channel 2");
        assert_holds(f.reason, "per channel");
        assert_true(f.channel_spread > 1000 && f.noise_share > 0.9);
        for (uint32_t i = 1; i < summary_of(d).n_findings; i++)
            assert_int_equal(finding_at(d, i).culprit, 0);
        assert_holds(step_of(d, "quantizers").verdict, "'w1'");
        assert_holds(step_of(d, "quantizers").recommendation, "channel 2");
        assert_holds(step_of(d, "weights").recommendation, "per channel");
        assert_holds(summary_of(d).conclusion, "'w1'");
        qdbg_diagnosis_destroy(d);
        w.sim.weight_granularity = QDBG_PER_CHANNEL; /* the cure */
        d = diagnose(&w);
        assert_int_equal(finding_of(d, "w1").culprit, 0);
        assert_int_equal(finding_of(d, "w1").n_channels, 6);
        qdbg_diagnosis_destroy(d);
        world_end(&w);
    }
}

/* What a diagnosis says is what the other functions say. */
static void numbers_are_those_of_the_single_functions(void **state)
{
    world w;
    qdbg_sim *sim;
    double score;
    qdbg_metric agreement = metric_of(QDBG_METRIC_AGREEMENT), sqnr = metric_of(QDBG_METRIC_SQNR);
    (void)state;
    world_begin(&w, gemms, false, 2);
    ruin(&w);
    qdbg_diagnosis *d = diagnose(&w);
    assert_ok(qdbg_sim_create(w.m, NULL, &sim));
    assert_ok(qdbg_sim_calibrate(sim, &w.s.set));
    static const char *const boxes[] = {"quantized", "weights", "activations"};
    static const int32_t kinds[] = {0, QDBG_WEIGHT, QDBG_ACTIVATION};
    for (int i = 0; i < 3; i++) {
        qdbg_step s = step_of(d, boxes[i]);
        assert_ok(qdbg_sim_set_all_enabled(sim, 0, 0));
        assert_ok(qdbg_sim_set_all_enabled(sim, kinds[i], 1));
        assert_ok(qdbg_sim_evaluate(sim, &w.s.set, &agreement, &score));
        assert_true(s.score == score && s.drop == 1 - score);
        double n = N, z = 1.96; /* Wilson's interval */
        double half = z / (1 + z * z / n) * sqrt(score * (1 - score) / n + z * z / 4 / n / n);
        assert_true(fabs(s.half_width - half) < 1e-12);
        assert_ok(qdbg_sim_evaluate(sim, &w.s.set, &sqnr, &score));
        assert_true(s.sqnr_db == score);
    }
    qdbg_sensitivity *rows;
    assert_ok(qdbg_sim_set_all_enabled(sim, 0, 1));
    assert_ok(qdbg_sensitivity_run(sim, &w.s.set, &agreement, &rows));
    for (uint32_t i = 0; i < qdbg_sensitivity_count(rows); i++) {
        qdbg_sensitivity_row row = QDBG_SENSITIVITY_ROW_INIT;
        qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
        qdbg_encoding e = QDBG_ENCODING_INIT;
        qdbg_finding f = finding_at(d, i);
        assert_ok(qdbg_sensitivity_get(rows, i, &row));
        assert_ok(qdbg_sim_quantizer(sim, row.quantizer, &q));
        assert_ok(qdbg_sim_encoding(sim, row.quantizer, 0, &e));
        assert_string_equal(f.name, q.name);
        assert_true(f.order == row.quantizer && f.kind == q.kind && f.bits == q.spec.bits);
        assert_true(f.score_alone == row.score && f.output_sqnr_db == row.sqnr_db);
        assert_true(f.noise_share == row.noise_share && f.drop_alone == 1 - row.score);
        assert_int_equal(f.culprit, 1 - row.score > 0.1);
        assert_true(f.scale == e.scale && f.zero_point == e.zero_point);
        assert_true(f.min == e.min && f.max == e.max);
    }
    qdbg_sensitivity_destroy(rows);
    qdbg_sim_destroy(sim);
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

static void summary_tells_the_whole(void **state)
{
    world w;
    (void)state;
    world_begin(&w, net_of_convs, false, 2);
    samples calibration = samples_make(w.ctx, w.g, 11, 4, 0);
    qdbg_metric metric = metric_of(QDBG_METRIC_TOP1);
    double score;
    w.o.calibration = &calibration.set;
    w.o.metric = &metric;
    w.sim.weight_bits = 6;
    w.sim.activation_bits = 7;
    w.sim.rounding = QDBG_ROUND_NEAREST_UP;
    w.o.max_drop = 0;
    qdbg_diagnosis *d = diagnose(&w);
    qdbg_summary s = summary_of(d);
    assert_ok(qdbg_model_evaluate(w.m, &w.s.set, &metric, &score));
    assert_true(s.float_score == score && step_of(d, "float32").score == score);
    assert_true(s.quantized_score == step_of(d, "quantized").score);
    assert_true(s.samples == N && s.calibration_samples == 11);
    assert_true(s.max_drop == 0.01); /* the default */
    assert_true(s.weight_bits == 6 && s.activation_bits == 7 && s.n_folded == 1);
    assert_int_equal(s.rounding, QDBG_ROUND_NEAREST_UP);
    assert_int_equal(s.weight_granularity, QDBG_PER_TENSOR);
    assert_string_equal(s.metric, "top-1");
    assert_int_equal(s.n_findings, 6);
    qdbg_diagnosis_destroy(d);
    samples_free(&calibration);
    world_end(&w);
}

/* ---- options ---- */

static void early_stop_skips_what_is_not_needed(void **state)
{
    static const char *const skipped[] = {"weights", "activations", "quantizers"};
    world w;
    (void)state;
    world_begin(&w, gemms, false, 2);
    w.o.flags = QDBG_DIAGNOSE_STOP_EARLY;
    qdbg_diagnosis *d = diagnose(&w);
    for (int i = 0; i < 3; i++) {
        qdbg_step s = step_of(d, skipped[i]);
        assert_int_equal(s.outcome, QDBG_OUTCOME_SKIPPED);
        assert_true(isnan(s.score) && isnan(s.drop) && isnan(s.half_width) && isnan(s.sqnr_db));
        assert_holds(s.verdict, "Not needed");
    }
    assert_int_equal(step_of(d, "conclusion").outcome, QDBG_OUTCOME_PASSED);
    assert_int_equal(summary_of(d).n_findings, 5); /* in topological order, without scores */
    for (uint32_t i = 0; i < 5; i++) {
        qdbg_finding f = finding_at(d, i);
        assert_int_equal(f.order, i);
        assert_true(isnan(f.score_alone) && isnan(f.drop_alone) && isnan(f.output_sqnr_db));
        assert_true(f.scale > 0 && f.culprit == 0);
        assert_string_equal(f.reason, "");
    }
    qdbg_diagnosis_destroy(d);
    ruin(&w);
    d = diagnose(&w); /* not good enough: the walk goes on */
    assert_int_equal(step_of(d, "weights").outcome, QDBG_OUTCOME_FAILED);
    assert_false(isnan(finding_at(d, 0).score_alone));
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

static void batch_norms_are_folded_unless_told_not_to(void **state)
{
    (void)state;
    for (int no_fold = 0; no_fold < 2; no_fold++) {
        world w;
        world_begin(&w, net_of_convs, false, 2);
        w.o.flags = no_fold ? QDBG_DIAGNOSE_NO_FOLD : 0;
        qdbg_diagnosis *d = diagnose(&w);
        assert_int_equal(summary_of(d).n_folded, !no_fold);
        assert_int_equal(strstr(step_of(d, "float32").verdict, "folded") != NULL, !no_fold);
        qdbg_finding f = finding_of(d, "cw");
        qdbg_view weight = QDBG_VIEW_INIT;
        float end = 0;
        assert_ok(qdbg_graph_parameter(w.g, value_of(w.g, "cw"), &weight));
        for (int i = 0; i < 8; i++)
            end = fmaxf(end, fabsf(((float *)weight.data)[i]));
        assert_int_equal(fabsf(f.max - end) < 1e-4f, no_fold); /* folding moved the range */
        qdbg_diagnosis_destroy(d);
        world_end(&w);
    }
}

static void bypassed_kinds_lose_nothing(void **state)
{
    world w;
    (void)state;
    world_begin(&w, gemms, false, 2);
    ruin(&w);
    w.sim.weight_bits = QDBG_BITS_BYPASS;
    qdbg_diagnosis *d = diagnose(&w);
    qdbg_step s = step_of(d, "weights");
    assert_true(s.score == 1 && s.drop == 0 && s.sqnr_db == (double)INFINITY);
    assert_int_equal(finding_of(d, "w1").n_channels, 0);
    assert_true(isnan(finding_of(d, "w1").local_sqnr_db));
    assert_int_equal(step_of(d, "conclusion").outcome, QDBG_OUTCOME_PASSED);
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

static void bad_options_are_refused(void **state)
{
    world w;
    qdbg_diagnosis *d = NULL;
    qdbg_metric bad_metric = metric_of(9), custom = metric_of(QDBG_METRIC_CUSTOM);
    qdbg_dataset empty = QDBG_DATASET_INIT;
    (void)state;
    world_begin(&w, gemms, false, 2);
    const qdbg_diagnose_options good = w.o;
    qdbg_sim_options sims[3] = {QDBG_SIM_OPTIONS_INIT, QDBG_SIM_OPTIONS_INIT,
                                QDBG_SIM_OPTIONS_INIT};
    sims[0].struct_size = 0;
    sims[1].weight_bits = 1;
    sims[2].rounding = 7;
    qdbg_diagnose_options o;
    assert_int_equal(qdbg_diagnose(NULL, &good, &d), QDBG_E_INVALID);
    assert_fails(w.ctx, qdbg_diagnose(w.m, NULL, &d), QDBG_E_INVALID, "options");
    assert_fails(w.ctx, qdbg_diagnose(w.m, &good, NULL), QDBG_E_INVALID, "out");
#define WITH(change, status, text) \
    o = good;                      \
    change;                        \
    assert_fails(w.ctx, qdbg_diagnose(w.m, &o, &d), status, text)
    WITH(o.struct_size = 8, QDBG_E_INVALID, "struct_size");
    WITH(o.flags = 4, QDBG_E_INVALID, "flags");
    WITH(o.max_drop = -0.5, QDBG_E_INVALID, "max_drop");
    WITH(o.max_drop = (double)NAN, QDBG_E_INVALID, "max_drop");
    WITH(o.max_drop = (double)INFINITY, QDBG_E_INVALID, "max_drop");
    WITH(o.calibration = NULL, QDBG_E_INVALID, "dataset");
    WITH(o.evaluation = NULL, QDBG_E_INVALID, "dataset");
    WITH(o.evaluation = &empty, QDBG_E_INVALID, "batch");
    WITH(o.metric = &bad_metric, QDBG_E_INVALID, "kind");
    WITH(o.metric = &custom, QDBG_E_INVALID, "update");
    WITH(o.sim = &sims[0], QDBG_E_INVALID, "struct_size");
    WITH(o.sim = &sims[1], QDBG_E_INVALID, "bits");
    WITH(o.sim = &sims[2], QDBG_E_INVALID, "rounding");
#undef WITH
    assert_null(d);
    qdbg_diagnosis_destroy(NULL);
    world_end(&w);
}

static int32_t no_batch(void *user, uint64_t index, qdbg_batch *batch)
{
    int *asked = user;
    (void)index, (void)batch;
    ++*asked;
    return 1;
}

/* A long walk over the data must not end in words about an option. */
static void bad_simulations_are_refused_before_the_data_are_read(void **state)
{
    world w;
    int asked = 0;
    qdbg_diagnosis *d = NULL;
    qdbg_dataset set = QDBG_DATASET_INIT;
    (void)state;
    world_begin(&w, gemms, false, 2);
    set.n_batches = 3;
    set.user = &asked;
    set.batch = no_batch;
    w.o.calibration = w.o.evaluation = &set;
    w.sim.weight_bits = 99;
    assert_fails(w.ctx, qdbg_diagnose(w.m, &w.o, &d), QDBG_E_INVALID, "bits");
    assert_int_equal(asked, 0);
    w.sim.weight_bits = 8;
    assert_fails(w.ctx, qdbg_diagnose(w.m, &w.o, &d), QDBG_E_CALLBACK, "");
    assert_int_equal(asked, 1);
    world_end(&w);
}

/* ---- metrics ---- */

static int32_t sum_outputs(void *user, void *state, const qdbg_metric_input *in)
{
    (void)user;
    for (uint64_t i = 0; i < qdbg_view_count(&in->outputs[0]); i++)
        *(double *)state -= fabs((double)((float *)in->outputs[0].data)[i]);
    return 0;
}

static int32_t give_sum(void *user, const void *state, double *score)
{
    (void)user;
    memcpy(score, state, sizeof *score);
    return 0;
}

static void custom_metric_is_what_is_judged_by(void **state)
{
    world w;
    qdbg_metric metric = metric_of(QDBG_METRIC_CUSTOM);
    char name[] = "loss";
    (void)state;
    world_begin(&w, gemms, false, 2);
    metric.name = name;
    metric.state_size = sizeof(double);
    metric.update = sum_outputs;
    metric.result = give_sum;
    w.o.metric = &metric;
    qdbg_diagnosis *d = diagnose(&w);
    memset(name, 'x', 4); /* the diagnosis has its own copy */
    double score;
    assert_ok(qdbg_model_evaluate(w.m, &w.s.set, &metric, &score));
    assert_true(summary_of(d).float_score == score);
    assert_string_equal(summary_of(d).metric, "loss");
    assert_true(isnan(step_of(d, "quantized").half_width)); /* no share of samples */
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

/* Minus the distance from float32: a score without jumps, in which errors add up. */
static int32_t add_distance(void *user, void *state, const qdbg_metric_input *in)
{
    (void)user;
    for (uint64_t i = 0; i < qdbg_view_count(&in->outputs[0]); i++)
        *(double *)state -= fabs((double)((float *)in->outputs[0].data)[i] -
                                 (double)((float *)in->float_outputs[0].data)[i]);
    return 0;
}

static void errors_that_only_add_up_have_no_culprit(void **state)
{
    world w;
    qdbg_metric metric = metric_of(QDBG_METRIC_CUSTOM);
    double alone = 0;
    (void)state;
    world_begin(&w, gemms, false, 2);
    metric.flags = QDBG_METRIC_NEEDS_FLOAT;
    metric.state_size = sizeof(double);
    metric.update = add_distance;
    metric.result = give_sum;
    w.o.metric = &metric;
    qdbg_diagnosis *d = diagnose(&w);
    for (uint32_t i = 0; i < 5; i++)
        alone = fmax(alone, finding_at(d, i).drop_alone);
    double whole = step_of(d, "quantized").drop, weights = step_of(d, "weights").drop;
    double together = fmax(weights, step_of(d, "activations").drop);
    qdbg_diagnosis_destroy(d);
    assert_true(alone < together && together < whole);
    w.o.max_drop = (alone + together) / 2; /* no quantizer, but one kind of them */
    d = diagnose(&w);
    assert_int_equal(step_of(d, "quantizers").outcome, QDBG_OUTCOME_PASSED);
    assert_holds(step_of(d, "quantizers").verdict, "None of 5");
    assert_holds(summary_of(d).conclusion, "add up");
    assert_holds(summary_of(d).conclusion, "% of the noise");
    assert_holds(summary_of(d).conclusion, together == weights ? "The weights" : "The activations");
    qdbg_diagnosis_destroy(d);
    w.o.max_drop = (together + whole) / 2; /* both kinds together only */
    d = diagnose(&w);
    assert_int_equal(step_of(d, "weights").outcome, QDBG_OUTCOME_PASSED);
    assert_int_equal(step_of(d, "activations").outcome, QDBG_OUTCOME_PASSED);
    assert_holds(summary_of(d).conclusion, "together");
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

/* Two bits are too few for anything: everybody is named, activations with their range. */
static void coarse_grids_are_all_named(void **state)
{
    world w;
    (void)state;
    world_begin(&w, gemms, false, 2);
    w.sim.weight_bits = w.sim.activation_bits = 2;
    w.o.max_drop = 1e-9;
    qdbg_diagnosis *d = diagnose(&w);
    assert_holds(summary_of(d).conclusion, "Weights and activations each");
    assert_holds(step_of(d, "weights").recommendation, "per channel");
    assert_holds(step_of(d, "activations").recommendation, "activations");
    assert_int_equal(finding_of(d, "r").culprit, 1);
    assert_holds(finding_of(d, "r").reason, "values from 0 to ");
    assert_int_equal(finding_of(d, "w2").culprit, 1);
    assert_holds(finding_of(d, "w2").reason, "2 bits");
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

static void sqnr_has_nothing_to_compare_with(void **state)
{
    world w;
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    qdbg_diagnosis *d = NULL;
    (void)state;
    world_begin(&w, gemms, false, 2);
    w.o.metric = &metric;
    assert_fails(w.ctx, qdbg_diagnose(w.m, &w.o, &d), QDBG_E_INVALID, "SQNR");
    assert_null(d);
    world_end(&w);
}

/* ---- reading ---- */

static void diagnosis_outlives_the_model(void **state)
{
    world w;
    (void)state;
    world_begin(&w, gemms, false, 2);
    ruin(&w);
    qdbg_diagnosis *d = diagnose(&w);
    samples_free(&w.s);
    qdbg_model_destroy(w.m);
    qdbg_graph_destroy(w.g);
    assert_string_equal(finding_at(d, 0).name, "w1");
    assert_holds(finding_at(d, 0).reason, "channel 2");
    assert_holds(summary_of(d).conclusion, "'w1'");
    qdbg_diagnosis_destroy(d);
    heap_end(&w.h, w.ctx);
}

static void reading_checks_its_arguments(void **state)
{
    world w;
    qdbg_summary s = QDBG_SUMMARY_INIT, bad_s = {0};
    qdbg_step t = QDBG_STEP_INIT, bad_t = {0};
    qdbg_finding f = QDBG_FINDING_INIT, bad_f = {0};
    (void)state;
    world_begin(&w, gemms, false, 1);
    qdbg_diagnosis *d = diagnose(&w);
    assert_int_equal(qdbg_diagnosis_summary(NULL, &s), QDBG_E_INVALID);
    assert_int_equal(qdbg_diagnosis_summary(d, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_diagnosis_summary(d, &bad_s), QDBG_E_INVALID);
    assert_int_equal(qdbg_diagnosis_step(NULL, 0, &t), QDBG_E_INVALID);
    assert_int_equal(qdbg_diagnosis_step(d, 0, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_diagnosis_step(d, 0, &bad_t), QDBG_E_INVALID);
    assert_int_equal(qdbg_diagnosis_step(d, 6, &t), QDBG_E_NOT_FOUND);
    assert_int_equal(qdbg_diagnosis_finding(NULL, 0, &f), QDBG_E_INVALID);
    assert_int_equal(qdbg_diagnosis_finding(d, 0, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_diagnosis_finding(d, 0, &bad_f), QDBG_E_INVALID);
    assert_int_equal(qdbg_diagnosis_finding(d, 5, &f), QDBG_E_NOT_FOUND);
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

static void init_functions_set_the_size(void **state)
{
    qdbg_diagnose_options o, want_o = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_step t;
    qdbg_finding f;
    qdbg_summary s;
    (void)state;
    memset(&o, 0xff, sizeof o);
    qdbg_diagnose_options_init(&o);
    assert_int_equal(o.struct_size, sizeof o);
    assert_memory_equal(&o, &want_o, sizeof o);
    assert_true(o.max_drop == 0 && !o.sim && !o.metric && !o.calibration && !o.evaluation);
    qdbg_step_init(&t);
    qdbg_finding_init(&f);
    qdbg_summary_init(&s);
    assert_true(t.struct_size == sizeof t && f.struct_size == sizeof f &&
                s.struct_size == sizeof s);
    qdbg_diagnose_options_init(NULL);
    qdbg_step_init(NULL);
    qdbg_finding_init(NULL);
    qdbg_summary_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_come_in_the_order_of_the_chart),
        cmocka_unit_test(good_model_passes),
        cmocka_unit_test(ruined_weight_is_named_with_its_channel),
        cmocka_unit_test(numbers_are_those_of_the_single_functions),
        cmocka_unit_test(summary_tells_the_whole),
        cmocka_unit_test(early_stop_skips_what_is_not_needed),
        cmocka_unit_test(batch_norms_are_folded_unless_told_not_to),
        cmocka_unit_test(bypassed_kinds_lose_nothing),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(bad_simulations_are_refused_before_the_data_are_read),
        cmocka_unit_test(custom_metric_is_what_is_judged_by),
        cmocka_unit_test(errors_that_only_add_up_have_no_culprit),
        cmocka_unit_test(coarse_grids_are_all_named),
        cmocka_unit_test(sqnr_has_nothing_to_compare_with),
        cmocka_unit_test(diagnosis_outlives_the_model),
        cmocka_unit_test(reading_checks_its_arguments),
        cmocka_unit_test(init_functions_set_the_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
