/* References: what float32 was before repairs changed it (model.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "mend_make.h"

/* ---- worlds ---- */

typedef struct world {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    engine e;
    qdbg_model *m;
    samples s;
    qdbg_reference *r;
    float *y; /* [n, 3] what the model made of the samples */
    bool wrong;
} world;

#define N 37

static float *outputs_of(qdbg_model *m, const samples *s)
{
    outputs o = outputs_take(m, s);
    return o.y;
}

static qdbg_graph *gemms(qdbg_ctx *ctx)
{
    return net_of_gemms(ctx, true);
}

static void begin(world *w, qdbg_graph *(*net)(qdbg_ctx *), bool host, uint32_t threads)
{
    *w = (world){.ctx = make_ctx(threads)};
    w->g = net(w->ctx);
    w->m = host ? engine_model(&w->e, w->g) : builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, N, 5, 3);
    if (net == gemms)
        w->y = outputs_of(w->m, &w->s);
    assert_ok(qdbg_reference_create(w->m, &w->s.set, &w->r));
}

static void end(world *w, bool host)
{
    free(w->y);
    qdbg_reference_destroy(w->r);
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    if (host)
        engine_free(&w->e);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(w->ctx);
}

/* Other outputs for all samples: the last layer's weights and biases are turned round. */
static void ruin(world *w)
{
    static const char *const names[] = {"w2", "b2"};
    static const uint64_t counts[] = {18, 3};
    for (int i = 0; i < 2; i++) {
        float data[18];
        uint32_t value = value_of(w->g, names[i]);
        assert_ok(qdbg_model_get_parameter(w->m, value, data, counts[i]));
        for (uint64_t k = 0; k < counts[i]; k++)
            data[k] = -data[k];
        assert_ok(qdbg_model_set_parameter(w->m, value, data, counts[i]));
    }
}

static qdbg_metric compare_with(int32_t kind, const qdbg_reference *r)
{
    qdbg_metric metric = metric_of(kind);
    metric.reference = r;
    return metric;
}

static double score_of(qdbg_model *m, const qdbg_dataset *set, const qdbg_metric *metric)
{
    double score = -7;
    assert_ok(qdbg_model_evaluate(m, set, metric, &score));
    return score;
}

/* ---- what metrics see ---- */

/* float_outputs are those of before, bit for bit. */
static int32_t look(void *user, void *state, const qdbg_metric_input *in)
{
    world *w = user;
    size_t bytes = (size_t)in->n_samples * 3 * sizeof(float);
    w->wrong = w->wrong || !in->float_outputs ||
               memcmp(in->float_outputs[0].data, w->y + in->first_sample * 3, bytes) != 0 ||
               memcmp(in->outputs[0].data, w->y + in->first_sample * 3, bytes) == 0;
    *(uint64_t *)state += in->n_samples;
    return 0;
}

static int32_t count(void *user, const void *state, double *score)
{
    (void)user;
    *score = (double)*(const uint64_t *)state;
    return 0;
}

/* However the samples were cut then and are cut now, and however many threads there are. */
static void what_was_kept_is_compared_with(void **state)
{
    (void)state;
    for (int host = 0; host < 2; host++)
        for (uint64_t size = 1; size <= N + 2; size += 6) {
            world w;
            begin(&w, gemms, host, host ? 1 : 3);
            ruin(&w);
            samples other = samples_make(w.ctx, w.g, N, size, 3);
            qdbg_metric metric = compare_with(QDBG_METRIC_CUSTOM, w.r);
            metric.user = &w;
            metric.state_size = sizeof(uint64_t);
            metric.update = look;
            metric.result = count;
            assert_true(score_of(w.m, &other.set, &metric) == N);
            assert_false(w.wrong);
            samples_free(&other);
            end(&w, host);
        }
}

static int64_t largest(const float *y)
{
    return y[0] >= y[1] ? (y[0] >= y[2] ? 0 : 2) : (y[1] >= y[2] ? 1 : 2);
}

/* Agreement and SQNR by hand; without a reference the model agrees with itself. */
static void scores_are_those_against_the_model_of_before(void **state)
{
    world w;
    (void)state;
    begin(&w, gemms, false, 2);
    ruin(&w);
    float *now = outputs_of(w.m, &w.s);
    double hits = 0, signal = 0, noise = 0;
    for (size_t i = 0; i < N; i++)
        hits += largest(now + i * 3) == largest(w.y + i * 3);
    for (size_t i = 0; i < (size_t)N * 3; i++) {
        signal += (double)w.y[i] * (double)w.y[i];
        noise += ((double)w.y[i] - (double)now[i]) * ((double)w.y[i] - (double)now[i]);
    }
    qdbg_metric agreement = compare_with(QDBG_METRIC_AGREEMENT, w.r);
    qdbg_metric sqnr = compare_with(QDBG_METRIC_SQNR, w.r);
    assert_true(hits < N && score_of(w.m, &w.s.set, &agreement) == hits / N);
    assert_float_equal(score_of(w.m, &w.s.set, &sqnr), 10 * log10(signal / noise), 1e-9);
    agreement.reference = sqnr.reference = NULL;
    assert_true(score_of(w.m, &w.s.set, &agreement) == 1);
    assert_true(isinf(score_of(w.m, &w.s.set, &sqnr)));
    free(now);
    end(&w, false);
}

/* A simulation's score, the sweep's and the diagnosis's float score come from it as well. */
static void simulations_sweeps_and_diagnoses_heed_it(void **state)
{
    world w;
    qdbg_sim *sim;
    qdbg_sensitivity *sweep;
    qdbg_diagnosis *d;
    qdbg_diagnose_options o = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_sim_options fine = QDBG_SIM_OPTIONS_INIT;
    double score;
    (void)state;
    begin(&w, gemms, false, 2);
    ruin(&w);
    fine.weight_bits = fine.activation_bits = 16;
    qdbg_metric metric = compare_with(QDBG_METRIC_AGREEMENT, w.r);
    double want = score_of(w.m, &w.s.set, &metric);
    assert_true(want < 1);
    assert_ok(qdbg_sim_create(w.m, &fine, &sim));
    assert_ok(qdbg_sim_calibrate(sim, &w.s.set));
    assert_ok(qdbg_sim_evaluate(sim, &w.s.set, &metric, &score));
    assert_float_equal(score, want, 0.06);
    assert_ok(qdbg_sensitivity_run(sim, &w.s.set, &metric, &sweep));
    assert_true(qdbg_sensitivity_float_score(sweep) == want);
    o.calibration = o.evaluation = &w.s.set;
    o.metric = &metric;
    assert_ok(qdbg_diagnose(w.m, &o, &d));
    qdbg_summary summary = QDBG_SUMMARY_INIT;
    assert_ok(qdbg_diagnosis_summary(d, &summary));
    assert_true(summary.float_score == want);
    metric.reference = NULL;
    assert_ok(qdbg_sim_evaluate(sim, &w.s.set, &metric, &score));
    assert_true(score > 0.9);
    qdbg_diagnosis_destroy(d);
    qdbg_sensitivity_destroy(sweep);
    qdbg_sim_destroy(sim);
    end(&w, false);
}

/* Two outputs, one of them a scalar for each run; another model of the same graph. */
static qdbg_graph *two_outputs(qdbg_ctx *ctx)
{
    uint64_t seed = 3;
    uint32_t node;
    qdbg_graph *g = make_graph(ctx, 11);
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    uint32_t y =
        make_node(g, "MatMul", "y", VALUES(x, make_random(g, "w2", DIMS(4, 3), &seed)), NULL);
    uint32_t mean = make_node(g, "ReduceMean", "mean", &y, 1, &node);
    assert_ok(qdbg_graph_set_int(g, node, "keepdims", 0));
    assert_ok(qdbg_graph_add_output(g, mean));
    make_finish(g, y);
    return g;
}

static void every_output_of_every_model_of_the_graph(void **state)
{
    world w;
    float data[12];
    (void)state;
    begin(&w, two_outputs, false, 2);
    qdbg_model *second = builtin_model(w.g);
    qdbg_metric sqnr = compare_with(QDBG_METRIC_SQNR, w.r);
    assert_true(isinf(score_of(second, &w.s.set, &sqnr)));
    assert_ok(qdbg_model_get_parameter(second, value_of(w.g, "w2"), data, 12));
    for (int i = 0; i < 12; i++)
        data[i] *= 1.5f; /* noise is a quarter of the signal */
    assert_ok(qdbg_model_set_parameter(second, value_of(w.g, "w2"), data, 12));
    assert_float_equal(score_of(second, &w.s.set, &sqnr), 10 * log10(4), 1e-3);
    qdbg_model_destroy(second);
    end(&w, false);
}

/* ---- what does not fit ---- */

static qdbg_graph *any_shape(qdbg_ctx *ctx)
{
    qdbg_graph *g = make_graph(ctx, 11);
    uint32_t x = make_input(g, "x", DIMS(1, 2, 6));
    make_finish(g, make_node(g, "Relu", "y", &x, 1, NULL));
    return g;
}

static void other_graphs_samples_and_sizes_are_refused(void **state)
{
    world w, other;
    double score = -7;
    (void)state;
    begin(&w, gemms, false, 1);
    begin(&other, any_shape, false, 1);
    qdbg_metric metric = compare_with(QDBG_METRIC_SQNR, other.r);
    assert_fails(w.ctx, qdbg_model_evaluate(w.m, &w.s.set, &metric, &score), QDBG_E_INVALID,
                 "another graph");
    metric.reference = w.r;
    samples more = samples_make(w.ctx, w.g, N + 1, 4, 0);
    memcpy(more.x, w.s.x, N * 4 * sizeof(float));
    assert_fails(w.ctx, qdbg_model_evaluate(w.m, &more.set, &metric, &score), QDBG_E_INVALID,
                 "holds 37 samples");
    samples fewer = samples_make(w.ctx, w.g, N - 1, 4, 0);
    memcpy(fewer.x, w.s.x, (N - 1) * 4 * sizeof(float));
    assert_true(isinf(score_of(w.m, &fewer.set, &metric)));
    fewer.x[23 * 4 + 3] += 1;
    assert_fails(w.ctx, qdbg_model_evaluate(w.m, &fewer.set, &metric, &score), QDBG_E_INVALID,
                 "sample 23 is not");
    assert_true(score == -7);
    samples_free(&fewer);
    samples_free(&more);
    end(&other, false);
    end(&w, false);
}

/* Batches whose shape the graph leaves open. */
static int32_t give(void *user, uint64_t index, qdbg_batch *batch)
{
    (void)index;
    batch->inputs = user;
    batch->n_inputs = 1;
    batch->n_samples = 2;
    return 0;
}

static void other_output_shapes_are_refused(void **state)
{
    float x[24] = {1, 2, 3, 4};
    double score = -7;
    (void)state;
    qdbg_ctx *ctx = make_ctx(1);
    uint32_t in;
    qdbg_graph *g = make_graph(ctx, 11);
    assert_ok(qdbg_graph_add_value(g, "x", QDBG_F32, QDBG_RANK_UNKNOWN, NULL, &in));
    assert_ok(qdbg_graph_add_input(g, in));
    make_finish(g, make_node(g, "Relu", "y", &in, 1, NULL));
    qdbg_model *m = builtin_model(g);
    qdbg_view view = make_view(DIMS(2, 3, 4), x);
    qdbg_dataset set = {sizeof set, 0, 3, &view, give};
    qdbg_reference *r;
    assert_ok(qdbg_reference_create(m, &set, &r));
    qdbg_metric metric = compare_with(QDBG_METRIC_SQNR, r);
    assert_true(isinf(score_of(m, &set, &metric)));
    view = make_view(DIMS(2, 4, 3), x);
    assert_fails(ctx, qdbg_model_evaluate(m, &set, &metric, &score), QDBG_E_SHAPE, "output 'y'");
    assert_true(score == -7);
    qdbg_reference_destroy(r);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* Where no input has a dimension, a batch says by itself how many samples it has. */
static int32_t give_scalar(void *user, uint64_t index, qdbg_batch *batch)
{
    (void)index;
    batch->inputs = user;
    batch->n_inputs = 1;
    batch->n_samples = batch->inputs[1].rank;
    return 0;
}

static void batches_of_another_size_without_dimensions_are_refused(void **state)
{
    float x = 3;
    double score = -7;
    (void)state;
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 11);
    uint32_t in = make_input(g, "x", SCALAR);
    make_finish(g, make_node(g, "Relu", "y", &in, 1, NULL));
    qdbg_model *m = builtin_model(g);
    qdbg_view views[2] = {make_view(SCALAR, &x), {.rank = 3}};
    qdbg_dataset set = {sizeof set, 0, 4, views, give_scalar};
    qdbg_reference *r;
    assert_ok(qdbg_reference_create(m, &set, &r));
    qdbg_metric metric = compare_with(QDBG_METRIC_SQNR, r);
    assert_true(isinf(score_of(m, &set, &metric)));
    views[1].rank = 2;
    assert_fails(ctx, qdbg_model_evaluate(m, &set, &metric, &score), QDBG_E_SHAPE, "another size");
    assert_true(score == -7);
    qdbg_reference_destroy(r);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- progress, cancel, memory, arguments ---- */

typedef struct watch {
    int calls, stop_at;
    bool bad;
} watch;

static int32_t keep_watch(void *user, const qdbg_progress *p)
{
    watch *w = user;
    w->bad = w->bad || strcmp(p->stage, "reference") != 0;
    return ++w->calls == w->stop_at;
}

static void it_can_be_cancelled_and_has_a_ceiling(void **state)
{
    watch seen = {0, 0, false};
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    qdbg_ctx *ctx;
    (void)state;
    o.progress = keep_watch;
    o.progress_user = &seen;
    o.memory_limit = 400000;
    assert_ok(qdbg_ctx_create(&o, &ctx));
    qdbg_graph *g = net_of_gemms(ctx, true);
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 24, 4, 0), many = samples_make(ctx, g, 30000, 100, 0);
    qdbg_reference *r = NULL;
    uint64_t before, after, peak;
    qdbg_metric top1 = metric_of(QDBG_METRIC_SQNR);
    double score;
    qdbg_ctx_memory(ctx, &before, &peak);
    for (seen.stop_at = 1; !r; seen.stop_at++) {
        seen.calls = 0;
        qdbg_status status = qdbg_reference_create(m, &s.set, &r);
        assert_true(status == (r ? QDBG_OK : QDBG_E_CANCELLED));
    }
    assert_true(seen.stop_at > 6 && !seen.bad);
    qdbg_reference_destroy(r);
    r = NULL;
    seen.stop_at = 0;
    assert_fails(ctx, qdbg_reference_create(m, &many.set, &r), QDBG_E_LIMIT, "");
    assert_null(r);
    assert_ok(qdbg_model_evaluate(m, &many.set, &top1, &score)); /* which needs no such memory */
    qdbg_model_destroy(m);
    m = builtin_model(g);
    assert_fails(ctx, qdbg_reference_create(m, &s.set, NULL), QDBG_E_INVALID, "out");
    assert_fails(ctx, qdbg_reference_create(m, NULL, &r), QDBG_E_INVALID, "dataset");
    assert_int_equal(qdbg_reference_create(NULL, &s.set, &r), QDBG_E_INVALID);
    qdbg_reference_destroy(NULL);
    samples_free(&many);
    samples_free(&s);
    qdbg_ctx_memory(ctx, &after, &peak);
    assert_true(after <= before);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- guards ---- */

typedef struct guarded {
    world w;
    qdbg_sim *sim;
    qdbg_metric metric;
} guarded;

static qdbg_status bias(guarded *x)
{
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    qdbg_bias_correction *b = NULL;
    o.guard_dataset = &x->w.s.set;
    o.guard_metric = &x->metric;
    qdbg_status status = qdbg_bias_correct(x->sim, &x->w.s.set, &o, &b);
    qdbg_bias_correction_destroy(b);
    return status;
}

static qdbg_status rounding(guarded *x)
{
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    qdbg_adaround *a = NULL;
    o.guard_dataset = &x->w.s.set;
    o.guard_metric = &x->metric;
    qdbg_status status = qdbg_adaround_run(x->sim, &x->w.s.set, &o, &a);
    qdbg_adaround_destroy(a);
    return status;
}

static qdbg_status absorption(guarded *x)
{
    qdbg_absorb_options o = QDBG_ABSORB_OPTIONS_INIT;
    qdbg_equalize *e = NULL;
    o.calibration = o.guard_dataset = &x->w.s.set;
    o.guard_sim = x->sim;
    o.guard_metric = &x->metric;
    qdbg_status status = qdbg_absorb_biases(x->w.m, &o, &e);
    qdbg_equalize_destroy(e);
    return status;
}

static qdbg_status equalization(guarded *x)
{
    qdbg_equalize_options o = QDBG_EQUALIZE_OPTIONS_INIT;
    qdbg_equalize *e = NULL;
    o.calibration = o.guard_dataset = &x->w.s.set;
    o.guard_sim = x->sim;
    o.guard_metric = &x->metric;
    qdbg_status status = qdbg_equalize_run(x->w.m, &o, &e);
    qdbg_equalize_destroy(e);
    return status;
}

static qdbg_status folding(guarded *x)
{
    qdbg_fold_options o = QDBG_FOLD_OPTIONS_INIT;
    qdbg_fold *f = NULL;
    o.guard_dataset = &x->w.s.set;
    o.guard_sim = x->sim;
    o.guard_metric = &x->metric;
    qdbg_status status = qdbg_fold_run(x->w.m, &o, &f);
    qdbg_fold_destroy(f);
    return status;
}

static int32_t ignore(void *user, void *state, const qdbg_metric_input *in)
{
    (void)user;
    *(uint64_t *)state += in->float_outputs ? 1 : 1000;
    return 0;
}

/* What changes the function cannot be judged by a metric that would change along. */
static void guards_of_what_changes_the_function_need_one(void **state)
{
    static qdbg_status (*const repairs[])(guarded *) = {bias, rounding, absorption, equalization,
                                                        folding};
    guarded x = {.metric = metric_of(QDBG_METRIC_TOP1)};
    (void)state;
    begin(&x.w, gemms, false, 2);
    assert_ok(qdbg_sim_create(x.w.m, NULL, &x.sim));
    assert_ok(qdbg_sim_calibrate(x.sim, &x.w.s.set));
    for (size_t i = 0; i < sizeof repairs / sizeof *repairs; i++) {
        x.metric = metric_of(QDBG_METRIC_CUSTOM);
        x.metric.update = ignore;
        x.metric.result = count;
        x.metric.state_size = sizeof(uint64_t);
        for (int kind = QDBG_METRIC_CUSTOM; kind <= QDBG_METRIC_SQNR; kind++) {
            saved was = params_save(x.w.m);
            bool compares = kind == QDBG_METRIC_CUSTOM || kind >= QDBG_METRIC_AGREEMENT;
            x.metric.kind = kind;
            x.metric.flags = QDBG_METRIC_NEEDS_FLOAT;
            x.metric.reference = NULL;
            if (compares && i < 3) {
                assert_fails(x.w.ctx, repairs[i](&x), QDBG_E_INVALID, "qdbg_reference_create()");
                assert_true(params_same(x.w.m, &was));
            } else {
                assert_ok(repairs[i](&x));
            }
            x.metric.reference = x.w.r;
            assert_ok(repairs[i](&x));
            params_free(&was);
        }
    }
    qdbg_sim_destroy(x.sim);
    end(&x.w, false);
}

/* Bias correction is made to ruin the network by samples that are not like those it is scored on.
 * Against the network that it leaves nothing is wrong; against the one before, the guard undoes it.
 */
static void a_ruinous_change_is_undone(void **state)
{
    world w;
    qdbg_sim *sim;
    qdbg_sim_options so = QDBG_SIM_OPTIONS_INIT;
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    qdbg_bias_correction *b;
    double before, after;
    (void)state;
    begin(&w, gemms, false, 2);
    samples far = samples_make(w.ctx, w.g, N, 5, 3);
    for (int i = 0; i < N * 4; i++)
        far.x[i] += 3e3f;
    so.weight_bits = 2;
    so.activation_bits = QDBG_BITS_BYPASS;
    assert_ok(qdbg_sim_create(w.m, &so, &sim));
    qdbg_metric metric = compare_with(QDBG_METRIC_SQNR, w.r);
    o.guard_dataset = &w.s.set;
    o.guard_metric = &metric;
    saved was = params_save(w.m);
    assert_ok(qdbg_bias_correct(sim, &far.set, &o, &b));
    assert_int_equal(qdbg_bias_correction_guard(b, &before, &after), 1);
    assert_true(after < before && params_same(w.m, &was));
    qdbg_bias_correction_destroy(b);
    o.guard_dataset = NULL;
    o.guard_metric = NULL;
    assert_ok(qdbg_bias_correct(sim, &far.set, &o, &b)); /* so it was ruinous */
    assert_false(params_same(w.m, &was));
    assert_ok(qdbg_sim_evaluate(sim, &w.s.set, &metric, &after));
    assert_true(after < before);
    metric.reference = NULL;
    assert_ok(qdbg_sim_evaluate(sim, &w.s.set, &metric, &after));
    assert_true(after > before); /* and could not be seen without */
    params_free(&was);
    qdbg_bias_correction_destroy(b);
    samples_free(&far);
    qdbg_sim_destroy(sim);
    end(&w, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_kept_is_compared_with),
        cmocka_unit_test(scores_are_those_against_the_model_of_before),
        cmocka_unit_test(simulations_sweeps_and_diagnoses_heed_it),
        cmocka_unit_test(every_output_of_every_model_of_the_graph),
        cmocka_unit_test(other_graphs_samples_and_sizes_are_refused),
        cmocka_unit_test(other_output_shapes_are_refused),
        cmocka_unit_test(batches_of_another_size_without_dimensions_are_refused),
        cmocka_unit_test(it_can_be_cancelled_and_has_a_ceiling),
        cmocka_unit_test(guards_of_what_changes_the_function_need_one),
        cmocka_unit_test(a_ruinous_change_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
