/* What a diagnosis says: at the threshold, of whom, and of dead channels (diagnose.h). */
#include <math.h>

#include "../lib/diagnose/walk.h"
#include "rules_make.h"

#define SAMPLES 12

typedef struct world {
    rules_world *r;
    samples s;
    qdbg_metric metric;
    qdbg_sim_options sim;
    qdbg_diagnose_options o;
} world;

/* ---- scores to order ---- */

/* `user` is what is given for outputs that differ from float32; the same ones get 0.16. */
static int32_t compare(void *user, void *state, const qdbg_metric_input *in)
{
    uint64_t n = qdbg_view_count(&in->outputs[0]);
    (void)user;
    if (memcmp(in->outputs[0].data, in->float_outputs[0].data, n * sizeof(float)) != 0)
        *(double *)state = 1;
    return 0;
}

static int32_t give(void *user, const void *state, double *score)
{
    *score = *(const double *)state > 0 ? *(double *)user : 0.16;
    return 0;
}

/* Minus the distance from float32. */
static int32_t add_distance(void *user, void *state, const qdbg_metric_input *in)
{
    (void)user;
    for (uint64_t i = 0; i < qdbg_view_count(&in->outputs[0]); i++)
        *(double *)state -= fabs((double)((float *)in->outputs[0].data)[i] -
                                 (double)((float *)in->float_outputs[0].data)[i]);
    return 0;
}

static int32_t give_sum(void *user, const void *state, double *score)
{
    (void)user;
    *score = *(const double *)state;
    return 0;
}

/* ---- a model ---- */

/* Conv, BatchNormalization and Relu, the model being made. */
static world world_make(rules_world *r)
{
    world w = {.r = r,
               .metric = QDBG_METRIC_INIT,
               .sim = QDBG_SIM_OPTIONS_INIT,
               .o = QDBG_DIAGNOSE_OPTIONS_INIT};
    uint32_t c = rules_conv(r, "c", rules_image(r, "x"), true);
    make_finish(r->g, rules_one(r, "Relu", "r", rules_norm(r, "n", c)));
    r->m = builtin_model(r->g);
    w.s = samples_make(r->ctx, r->g, SAMPLES, 4, 0);
    w.metric.kind = QDBG_METRIC_CUSTOM;
    w.metric.flags = QDBG_METRIC_NEEDS_FLOAT;
    w.metric.state_size = sizeof(double);
    w.metric.update = add_distance;
    w.metric.result = give_sum;
    return w;
}

static qdbg_diagnosis *diagnose(world *w)
{
    qdbg_diagnosis *d = NULL;
    w->o.calibration = w->o.evaluation = &w->s.set;
    w->o.metric = &w->metric;
    w->o.sim = &w->sim;
    assert_ok(qdbg_diagnose(w->r->m, &w->o, &d));
    return d;
}

static qdbg_step step_of(const qdbg_diagnosis *d, const char *name)
{
    qdbg_step s = QDBG_STEP_INIT;
    for (uint32_t i = 0; qdbg_diagnosis_step(d, i, &s) == QDBG_OK; i++)
        if (strcmp(s.name, name) == 0)
            return s;
    fail_msg("no step '%s'", name);
    return s;
}

static qdbg_finding finding_of(const qdbg_diagnosis *d, const char *name)
{
    qdbg_finding f = QDBG_FINDING_INIT;
    for (uint32_t i = 0; qdbg_diagnosis_finding(d, i, &f) == QDBG_OK; i++)
        if (strcmp(f.name, name) == 0)
            return f;
    fail_msg("no finding '%s'", name);
    return f;
}

#define assert_holds(text, part) assert_non_null(strstr(text, part))

/* ---- at the threshold ---- */

static void a_drop_of_what_is_allowed_is_within(void **state)
{
    double score = 0.15; /* 0.16 - 0.15 is 0.010000000000000009 in float64 */
    world w = world_make(*state);
    w.metric.update = compare;
    w.metric.result = give;
    w.metric.user = &score;
    w.sim.weight_bits = w.sim.activation_bits = 2;
    assert_true(0.16 - score > 0.01);
    qdbg_diagnosis *d = diagnose(&w);
    assert_int_equal(step_of(d, "quantized").outcome, QDBG_OUTCOME_PASSED);
    assert_holds(step_of(d, "quantized").verdict, "0.0100, within the 0.0100 allowed");
    assert_int_equal(step_of(d, "weights").outcome, QDBG_OUTCOME_PASSED);
    assert_int_equal(step_of(d, "quantizers").outcome, QDBG_OUTCOME_PASSED);
    assert_int_equal(finding_of(d, "c.w").culprit, 0);
    assert_true(finding_of(d, "c.w").drop_alone > 0.01);
    assert_int_equal(step_of(d, "conclusion").outcome, QDBG_OUTCOME_PASSED);
    qdbg_diagnosis_destroy(d);
    w.o.flags = QDBG_DIAGNOSE_STOP_EARLY;
    d = diagnose(&w);
    assert_int_equal(step_of(d, "weights").outcome, QDBG_OUTCOME_SKIPPED);
    qdbg_diagnosis_destroy(d);
    samples_free(&w.s);
}

static void a_drop_beyond_it_is_told_in_enough_digits(void **state)
{
    double score = 0.16 - 0.0100004;
    world w = world_make(*state);
    w.metric.update = compare;
    w.metric.result = give;
    w.metric.user = &score;
    w.sim.weight_bits = w.sim.activation_bits = 2;
    qdbg_diagnosis *d = diagnose(&w);
    assert_int_equal(step_of(d, "quantized").outcome, QDBG_OUTCOME_FAILED);
    assert_holds(step_of(d, "quantized").verdict, "0.0100004, more than the 0.0100000 allowed");
    qdbg_diagnosis_destroy(d);
    samples_free(&w.s);
}

static void scores_are_compared_with_their_rounding_in_mind(void **state)
{
    (void)state;
    for (uint32_t n = 100; n <= 10000; n += 100)
        for (uint32_t k = n / 10; k <= n; k += n / 10) {
            assert_false(qdbg__drops_too_far((double)k / n, (double)(k - n / 100) / n, 0.01));
            assert_true(qdbg__drops_too_far((double)k / n, (k - n / 100 - 1.0) / n, 0.01));
        }
    assert_false(qdbg__drops_too_far(1e6 + 0.3, 1e6, 0.3)); /* a loss far from 1 */
    assert_true(qdbg__drops_too_far(0, -2e-9, 1e-9));
    assert_false(qdbg__drops_too_far(0.5, 0.6, 0));
    assert_true(qdbg__drops_too_far(0.5, (double)NAN, 0.1));
}

/* ---- without quantizers ---- */

static void rules_without_a_quantizer_are_refused(void **state)
{
    world w = world_make(*state);
    qdbg_diagnosis *d = NULL;
    rules_json(w.r, "{}");
    w.sim.rules = w.r->rules;
    w.o.calibration = w.o.evaluation = &w.s.set;
    w.o.sim = &w.sim;
    assert_fails(w.r->ctx, qdbg_diagnose(w.r->m, &w.o, &d), QDBG_E_INVALID,
                 "the rules place no quantizer");
    assert_null(d);
    samples_free(&w.s);
}

/* ---- which rules ---- */

static void expect_rules(world *w, const char *name, uint32_t n_biases)
{
    qdbg_summary s = QDBG_SUMMARY_INIT;
    qdbg_diagnosis *d = diagnose(w);
    assert_ok(qdbg_diagnosis_summary(d, &s));
    assert_string_equal(s.rules, name);
    assert_int_equal(s.n_biases, n_biases);
    qdbg_diagnosis_destroy(d);
}

static void the_summary_names_the_rules(void **state)
{
    static const char *const presets[] = {"default", "per_channel", "onnxruntime", "tflite"};
    world w = world_make(*state);
    expect_rules(&w, "default", 0);
    for (int i = 0; i < 4; i++) {
        rules_preset(w.r, presets[i]);
        w.sim.rules = w.r->rules;
        expect_rules(&w, presets[i], i < 2 ? 0 : 2); /* the convolution's, and the shift */
    }
    rules_output(w.r, "Sigmoid", QDBG_RULE_NO);
    expect_rules(&w, "custom", 2);
    samples_free(&w.s);
}

/* ---- whom the conclusion is about ---- */

static void set_culprit(qdbg_finding *f, int32_t kind, double drop)
{
    f->kind = kind;
    f->drop_alone = drop;
    f->culprit = drop > 0.01;
}

/* The last step for these scores; three findings: a weight, an activation, a weight again. */
static qdbg_step conclude(world *w, qdbg_diagnosis *d, const char *rules, double weights,
                          double activations)
{
    qdbg_step step = QDBG_STEP_INIT;
    qdbg__chart c = {.ctx = w->r->ctx, .model = w->r->m, .diagnosis = d, .float_score = 1};
    rules_preset(w->r, rules);
    w->sim.rules = w->r->rules;
    assert_ok(qdbg_sim_create(w->r->m, &w->sim, &c.sim));
    c.options.max_drop = 0.01;
    c.quantized.score = 0.5;
    c.weights.score = weights;
    c.activations.score = activations;
    assert_ok(qdbg__tell_conclusion(&c));
    qdbg_sim_destroy(c.sim);
    assert_ok(qdbg_diagnosis_step(d, (uint32_t)d->n_steps - 1, &step));
    return step;
}

static void the_conclusion_blames_whom_it_speaks_of(void **state)
{
    world w = world_make(*state);
    w.sim.weight_bits = w.sim.activation_bits = 2;
    qdbg_diagnosis *d = diagnose(&w); /* x, c.w, r */
    assert_int_equal(d->n_findings, 3);
    set_culprit(&d->findings[0], QDBG_WEIGHT, 0.3);
    set_culprit(&d->findings[1], QDBG_ACTIVATION, 0.2);
    set_culprit(&d->findings[2], QDBG_BIAS, 0.1);
    char first[64], second[64], third[64];
    snprintf(first, sizeof first, "weight '%s'", d->findings[0].name);
    snprintf(second, sizeof second, "activation '%s'", d->findings[1].name);
    snprintf(third, sizeof third, "bias '%s'", d->findings[2].name);

    qdbg_step s = conclude(&w, d, "default", 1, 0.5);
    assert_holds(s.verdict, "The activations lose");
    assert_holds(s.verdict, second);
    assert_null(strstr(s.verdict, first));
    assert_null(strstr(s.verdict, third));
    assert_holds(s.recommendation, d->findings[1].name);

    s = conclude(&w, d, "tflite", 0.5, 1);
    assert_holds(s.verdict, "Weights and biases lose");
    assert_holds(s.verdict, first);
    assert_holds(s.verdict, third);
    assert_null(strstr(s.verdict, second));
    assert_holds(s.recommendation, d->findings[0].name);

    s = conclude(&w, d, "default", 0.5, 0.5);
    assert_holds(s.verdict, "each");
    assert_holds(s.verdict, first);
    assert_holds(s.verdict, second);

    set_culprit(&d->findings[1], QDBG_ACTIVATION, 0); /* no activation alone */
    s = conclude(&w, d, "default", 1, 0.5);
    assert_holds(s.verdict, "None of them alone");
    assert_holds(s.verdict, d->findings[1].name); /* the noisiest of them */
    assert_null(strstr(s.verdict, first));
    qdbg_diagnosis_destroy(d);
    samples_free(&w.s);
}

/* ---- dead channels ---- */

static void set_channel(world *w, const char *name, uint64_t n, uint64_t first, uint64_t count,
                        float to)
{
    float data[144];
    uint32_t value = value_of(w->r->g, name);
    assert_ok(qdbg_model_get_parameter(w->r->m, value, data, n));
    for (uint64_t i = first; i < first + count; i++)
        data[i] = to;
    assert_ok(qdbg_model_set_parameter(w->r->m, value, data, n));
}

static void a_dead_channel_is_told_from_a_large_one(void **state)
{
    world w = world_make(*state);
    set_channel(&w, "n.var", 4, 2, 1, 0);
    qdbg_diagnosis *d = diagnose(&w);
    assert_int_equal(finding_of(d, "c.w").culprit, 1);
    assert_holds(finding_of(d, "c.w").reason, "channel 2 is dead");
    assert_holds(finding_of(d, "c.w").reason, "QDBG_FOLD_NEUTRALIZE");
    assert_null(strstr(finding_of(d, "c.w").reason, "equalize"));
    qdbg_diagnosis_destroy(d);

    set_channel(&w, "n.var", 4, 2, 1, 1);
    set_channel(&w, "c.w", 144, 36, 36, 200);
    d = diagnose(&w);
    assert_holds(finding_of(d, "c.w").reason, "channel 1 sets");
    assert_holds(finding_of(d, "c.w").reason, "qdbg_equalize_run()");
    assert_null(strstr(finding_of(d, "c.w").reason, "dead"));
    qdbg_diagnosis_destroy(d);

    /* Dead, but another one is larger: that one sets the scale. */
    set_channel(&w, "n.var", 4, 2, 1, 0);
    set_channel(&w, "c.w", 144, 36, 36, 2e6f);
    d = diagnose(&w);
    assert_holds(finding_of(d, "c.w").reason, "channel 1 sets");
    qdbg_diagnosis_destroy(d);

    /* Not folded: the weight is as it is, and nothing is wrong with it. */
    w.o.flags = QDBG_DIAGNOSE_NO_FOLD;
    set_channel(&w, "c.w", 144, 36, 36, 1);
    w.sim.weight_bits = 2;
    d = diagnose(&w);
    assert_null(strstr(finding_of(d, "c.w").reason, "dead"));
    assert_holds(finding_of(d, "c.w").reason, "qdbg_adaround_run()");
    qdbg_diagnosis_destroy(d);
    samples_free(&w.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_drop_of_what_is_allowed_is_within),
        TEST(a_drop_beyond_it_is_told_in_enough_digits),
        TEST(scores_are_compared_with_their_rounding_in_mind),
        TEST(rules_without_a_quantizer_are_refused),
        TEST(the_summary_names_the_rules),
        TEST(the_conclusion_blames_whom_it_speaks_of),
        TEST(a_dead_channel_is_told_from_a_large_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
