/* Quantized biases: int32 on the grid of the accumulator (simulation.h, QDBG_BIAS), and what the
 * analyses make of them. */
#include <math.h>
#include <stdlib.h>

#include "rules_make.h"

static uint32_t find(rules_world *w, const char *name)
{
    uint32_t i = qdbg_sim_find_quantizer(w->sim, name);
    assert_int_not_equal(i, QDBG_NONE);
    return i;
}

static float scale_of(rules_world *w, const char *name, uint32_t channel)
{
    return rules_encoding(w, name, channel).scale;
}

/* The bias's grid is int32, its scale that of x times that of the weight, times `factor`. */
static void check_scale(rules_world *w, const char *bias, const char *weight, uint32_t channel,
                        double factor)
{
    uint32_t n = rules_info(w, weight).n_encodings;
    qdbg_encoding e = rules_encoding(w, bias, channel);
    double product = (double)scale_of(w, "x", 0) * (double)scale_of(w, weight, channel % n);
    assert_true(e.scale == (float)(product * factor));
    assert_int_equal(e.zero_point, 0);
    assert_int_equal(e.qmin, INT32_MIN);
    assert_int_equal(e.qmax, INT32_MAX);
}

/* x [1, 4] -> Gemm "g" [1, 3]. */
static uint32_t gemm(rules_world *w, const char *name, uint32_t x, uint32_t *node)
{
    uint32_t in[3] = {x, make_random(w->g, "g.w", DIMS(4, 3), &w->seed),
                      make_random(w->g, "g.b", DIMS(3), &w->seed)};
    return make_node(w->g, "Gemm", name, in, 3, node);
}

static void begin_gemm(rules_world *w, const char *preset, bool host)
{
    rules_preset(w, preset);
    uint32_t y = gemm(w, "g", make_input(w->g, "x", DIMS(1, 4)), NULL);
    if (host)
        rules_host_sim(w, y);
    else
        rules_sim(w, y);
    rules_expect(w, "x g.w[1] g.b{x,g.w} g");
}

/* Set the parameter to what its quantizer makes of it, counted by hand. */
static void quantize_by_hand(rules_world *w, const char *bias)
{
    float data[16];
    qdbg_view view = QDBG_VIEW_INIT;
    uint32_t value = value_of(w->g, bias), grids = rules_info(w, bias).n_encodings;
    int changed = 0;
    assert_ok(qdbg_graph_parameter(w->g, value, &view));
    uint64_t n = qdbg_view_count(&view);
    assert_ok(qdbg_model_get_parameter(w->m, value, data, n));
    for (uint32_t c = 0; c < n; c++) {
        float s = scale_of(w, bias, grids == 1 ? 0 : c), before = data[c];
        data[c] = nearbyintf(data[c] / s) * s;
        changed += data[c] != before;
    }
    assert_true(changed > 0);
    assert_ok(qdbg_model_set_parameter(w->m, value, data, n));
}

/* With the biases' quantizers alone at work the model computes what it computes in float32 when the
 * biases are quantized by hand, to the bit. */
static void check_values(rules_world *w, size_t n, const char *const *biases)
{
    assert_ok(qdbg_sim_set_all_enabled(w->sim, 0, 0));
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_BIAS, 1));
    float *got = rules_run(w, n);
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_BIAS, 0));
    float *plain = rules_run(w, n);
    for (; *biases; biases++)
        quantize_by_hand(w, *biases);
    float *want = rules_run(w, n);
    assert_memory_equal(got, want, n * sizeof *got);
    assert_memory_not_equal(got, plain, n * sizeof *got);
    free(got);
    free(plain);
    free(want);
}

#define BIASES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- scales and values ---- */

static void a_bias_has_the_scale_of_input_times_weight(void **state)
{
    rules_world *w = *state;
    begin_gemm(w, "onnxruntime", false);
    qdbg_quantizer_info q = rules_info(w, "g.b");
    assert_int_equal(q.kind, QDBG_BIAS);
    assert_int_equal(q.spec.bits, 32);
    assert_int_equal(q.n_encodings, 0); /* the input has none yet */
    rules_calibrate(w);
    assert_int_equal(rules_info(w, "g.b").n_encodings, 1);
    check_scale(w, "g.b", "g.w", 0, 1);
    check_values(w, 12 * 3, BIASES("g.b"));
}

static void a_host_gets_the_same_biases(void **state)
{
    rules_world *w = *state;
    begin_gemm(w, "onnxruntime", true);
    rules_calibrate(w);
    check_scale(w, "g.b", "g.w", 0, 1);
    check_values(w, 12 * 3, BIASES("g.b"));
}

static void a_bias_has_a_scale_for_each_of_the_weights(void **state)
{
    rules_world *w = *state;
    begin_gemm(w, "tflite", false);
    rules_calibrate(w);
    assert_int_equal(rules_info(w, "g.b").n_encodings, 3);
    assert_int_equal(rules_info(w, "g.b").spec.granularity, QDBG_PER_CHANNEL);
    for (uint32_t c = 0; c < 3; c++)
        check_scale(w, "g.b", "g.w", c, 1);
    assert_true(scale_of(w, "g.b", 0) != scale_of(w, "g.b", 1));
    check_values(w, 12 * 3, BIASES("g.b"));
}

static void gemm_counts_alpha_and_beta(void **state)
{
    rules_world *w = *state;
    uint32_t node;
    rules_preset(w, "onnxruntime");
    uint32_t y = gemm(w, "g", make_input(w->g, "x", DIMS(1, 4)), &node);
    assert_ok(qdbg_graph_set_float(w->g, node, "alpha", 3));
    assert_ok(qdbg_graph_set_float(w->g, node, "beta", -0.5f));
    rules_sim(w, y);
    rules_calibrate(w);
    check_scale(w, "g.b", "g.w", 0, 6);
    check_values(w, 12 * 3, BIASES("g.b"));
}

static void a_bias_times_zero_is_left(void **state)
{
    rules_world *w = *state;
    uint32_t node;
    rules_preset(w, "onnxruntime");
    uint32_t y = gemm(w, "g", make_input(w->g, "x", DIMS(1, 4)), &node);
    assert_ok(qdbg_graph_set_float(w->g, node, "beta", 0));
    rules_sim(w, y);
    rules_expect(w, "x g.w[1] g");
    rules_expect_absent(w, "g.b", QDBG_ABSENT_SHAPE,
                        "a bias that is not one number for each channel, or not its own");
}

static void the_add_behind_a_matmul_is_its_bias(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "tflite");
    uint32_t x = make_input(w->g, "x", DIMS(1, 4));
    uint32_t m = make_random(w->g, "m.w", DIMS(4, 3), &w->seed);
    uint32_t b = make_random(w->g, "m.b", DIMS(1, 3), &w->seed);
    uint32_t y = rules_two(w, "MatMul", "m", x, m);
    rules_sim(w, rules_two(w, "Add", "a", b, y));
    rules_expect(w, "x m.w[1] m.b{x,m.w} a");
    rules_calibrate(w);
    for (uint32_t c = 0; c < 3; c++)
        check_scale(w, "m.b", "m.w", c, 1);
    check_values(w, 12 * 3, BIASES("m.b"));
}

/* Channel c of 4 is channel c % 2 of its group, whose scales the weight has. */
static void groups_of_a_transposed_convolution_share_scales(void **state)
{
    rules_world *w = *state;
    uint32_t node,
        in[3] = {rules_image(w, "x"), make_random(w->g, "t.w", DIMS(4, 2, 1, 1), &w->seed),
                 make_random(w->g, "t.b", DIMS(4), &w->seed)};
    rules_preset(w, "tflite");
    uint32_t y = make_node(w->g, "ConvTranspose", "t", in, 3, &node);
    assert_ok(qdbg_graph_set_int(w->g, node, "group", 2));
    rules_sim(w, y);
    rules_expect(w, "x t.w[1] t.b{x,t.w} t");
    rules_calibrate(w);
    assert_int_equal(rules_info(w, "t.w").n_encodings, 2);
    assert_int_equal(rules_info(w, "t.b").n_encodings, 4);
    for (uint32_t c = 0; c < 4; c++)
        check_scale(w, "t.b", "t.w", c, 1);
    check_values(w, 12 * 4 * 36, BIASES("t.b"));
}

static void the_folded_bias_in_a_norms_shift_is_quantized(void **state)
{
    static const char *const parts[] = {"n.gamma", "n.beta", "n.mean", "n.var"};
    rules_world *w = *state;
    uint32_t folded;
    rules_preset(w, "tflite");
    uint32_t c = rules_conv(w, "c", rules_image(w, "x"), false);
    rules_sim(w, rules_one(w, "Relu", "r", rules_norm(w, "n", c)));
    rules_expect(w, "x c.w[0] n.beta{x,c.w} r");
    for (int i = 0; i < 4; i++) {
        float data[4];
        for (int k = 0; k < 4; k++)
            data[k] = make_float(&w->seed, 0.5f, 2);
        assert_ok(qdbg_model_set_parameter(w->m, value_of(w->g, parts[i]), data, 4));
    }
    assert_ok(qdbg_fold_batch_norms(w->m, &folded));
    assert_int_equal(folded, 1);
    rules_calibrate(w);
    for (uint32_t k = 0; k < 4; k++) /* of the folded weight */
        check_scale(w, "n.beta", "c.w", k, 1);
    check_values(w, 12 * 4 * 36, BIASES("n.beta"));
}

static void input_of_a_chain_tells_the_scale(void **state)
{
    rules_world *w = *state;
    rules_preset(w, "tflite");
    uint32_t m = rules_pool(w, "MaxPool", "m", rules_image(w, "x"));
    rules_sim(w, rules_conv(w, "c", m, true));
    rules_expect(w, "x c.w[0] c.b{x,c.w} c");
    rules_calibrate(w);
    check_scale(w, "c.b", "c.w", 0, 1);
}

/* ---- following ---- */

static void a_bias_follows_its_two_sources(void **state)
{
    rules_world *w = *state;
    begin_gemm(w, "onnxruntime", false);
    assert_ok(qdbg_sim_set_range(w->sim, find(w, "x"), -1, 1));
    check_scale(w, "g.b", "g.w", 0, 1);
    float first = scale_of(w, "g.b", 0);
    assert_ok(qdbg_sim_set_range(w->sim, find(w, "x"), -2, 2));
    check_scale(w, "g.b", "g.w", 0, 1);
    assert_true(scale_of(w, "g.b", 0) == 2 * first);
    assert_ok(qdbg_sim_set_bits(w->sim, find(w, "g.w"), 4));
    check_scale(w, "g.b", "g.w", 0, 1);
    assert_true(scale_of(w, "g.b", 0) > 20 * first);
    assert_ok(qdbg_sim_set_range(w->sim, find(w, "g.w"), -7, 7));
    assert_true(scale_of(w, "g.b", 0) == scale_of(w, "x", 0)); /* times one */
    assert_ok(qdbg_sim_clear_range(w->sim, find(w, "g.w")));
    check_scale(w, "g.b", "g.w", 0, 1);
    float data[12] = {40};
    assert_ok(qdbg_model_set_parameter(w->m, value_of(w->g, "g.w"), data, 12));
    assert_true(scale_of(w, "g.w", 0) == 40 / 7.0f);
    check_scale(w, "g.b", "g.w", 0, 1);
}

static void a_bias_follows_granularity(void **state)
{
    rules_world *w = *state;
    begin_gemm(w, "onnxruntime", false);
    rules_calibrate(w);
    qdbg_quant_spec spec = rules_info(w, "g.w").spec;
    spec.granularity = QDBG_PER_CHANNEL;
    assert_ok(qdbg_sim_set_spec(w->sim, find(w, "g.w"), &spec));
    assert_int_equal(rules_info(w, "g.b").n_encodings, 3);
    for (uint32_t c = 0; c < 3; c++)
        check_scale(w, "g.b", "g.w", c, 1);
    spec.axis = -1; /* the same, counted from the end */
    assert_ok(qdbg_sim_set_spec(w->sim, find(w, "g.w"), &spec));
    assert_int_equal(rules_info(w, "g.b").n_encodings, 3);
    check_scale(w, "g.b", "g.w", 2, 1);
    spec.axis = 0; /* not the outputs' channels */
    assert_ok(qdbg_sim_set_spec(w->sim, find(w, "g.w"), &spec));
    assert_int_equal(rules_info(w, "g.b").n_encodings, 0);
    spec.granularity = QDBG_PER_BLOCK;
    spec.block_size = 2;
    assert_ok(qdbg_sim_set_spec(w->sim, find(w, "g.w"), &spec));
    assert_int_equal(rules_info(w, "g.b").n_encodings, 0);
    spec.granularity = QDBG_PER_TENSOR;
    assert_ok(qdbg_sim_set_spec(w->sim, find(w, "g.w"), &spec));
    assert_int_equal(rules_info(w, "g.b").n_encodings, 1);
    check_scale(w, "g.b", "g.w", 0, 1);
}

/* Without a grid it is as it is, enabled or not. */
static void a_bias_without_sources_is_left_alone(void **state)
{
    rules_world *w = *state;
    begin_gemm(w, "onnxruntime", false);
    rules_calibrate(w);
    assert_ok(qdbg_sim_set_bits(w->sim, find(w, "x"), QDBG_BITS_BYPASS));
    assert_int_equal(rules_info(w, "g.b").n_encodings, 0);
    assert_ok(qdbg_sim_set_all_enabled(w->sim, 0, 0));
    float *plain = rules_run(w, 12 * 3);
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_BIAS, 1));
    float *same = rules_run(w, 12 * 3);
    assert_memory_equal(plain, same, 12 * 3 * sizeof *same);
    free(plain);
    free(same);
    assert_ok(qdbg_sim_set_bits(w->sim, find(w, "x"), 8));
    check_scale(w, "g.b", "g.w", 0, 1);
}

static void a_bias_takes_no_orders(void **state)
{
    rules_world *w = *state;
    begin_gemm(w, "onnxruntime", false);
    uint32_t b = find(w, "g.b");
    qdbg_quant_spec spec = QDBG_QUANT_SPEC_INIT;
    qdbg_range_options r = QDBG_RANGE_OPTIONS_INIT;
    static const char text[] = "bias 'g.b'";
    assert_fails(w->ctx, qdbg_sim_set_bits(w->sim, b, 8), QDBG_E_UNSUPPORTED, text);
    assert_fails(w->ctx, qdbg_sim_set_spec(w->sim, b, &spec), QDBG_E_UNSUPPORTED, text);
    assert_fails(w->ctx, qdbg_sim_set_range(w->sim, b, 0, 1), QDBG_E_UNSUPPORTED, text);
    assert_fails(w->ctx, qdbg_sim_set_quantizer_range_method(w->sim, b, &r), QDBG_E_UNSUPPORTED,
                 text);
    assert_fails(w->ctx, qdbg_sim_set_range_method(w->sim, QDBG_BIAS, &r), QDBG_E_INVALID, "kind");
    r.method = QDBG_RANGE_MSE; /* for all but biases */
    assert_ok(qdbg_sim_set_range_method(w->sim, 0, &r));
    assert_int_equal(rules_info(w, "g.b").range.method, QDBG_RANGE_MIN_MAX);
    assert_int_equal(rules_info(w, "g.w").range.method, QDBG_RANGE_MSE);
}

static void a_bias_tells_statistics(void **state)
{
    rules_world *w = *state;
    qdbg_statistics t = QDBG_STATISTICS_INIT;
    begin_gemm(w, "onnxruntime", false);
    assert_ok(qdbg_sim_statistics(w->sim, find(w, "g.b"), 0, &t));
    assert_int_equal(t.n, 3);
    assert_true(rules_info(w, "g.b").observed_max == t.max);
}

static void a_bias_that_is_not_finite_is_named(void **state)
{
    static const float bad[3] = {0, NAN, 0};
    rules_world *w = *state;
    qdbg_encoding e = QDBG_ENCODING_INIT;
    begin_gemm(w, "onnxruntime", false);
    assert_ok(qdbg_model_set_parameter(w->m, value_of(w->g, "g.b"), bad, 3));
    assert_fails(w->ctx, qdbg_sim_encoding(w->sim, find(w, "x"), 0, &e), QDBG_E_NUMERIC,
                 "bias 'g.b'");
}

static void ties_are_never_rounded_up(void **state)
{
    rules_world *w = *state;
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    begin_gemm(w, "onnxruntime", false);
    qdbg_sim_destroy(w->sim);
    o.rules = w->rules;
    o.rounding = QDBG_ROUND_NEAREST_UP;
    assert_ok(qdbg_sim_create(w->m, &o, &w->sim));
    assert_int_equal(rules_info(w, "g.w").spec.rounding, QDBG_ROUND_NEAREST_UP);
    assert_int_equal(rules_info(w, "g.b").spec.rounding, QDBG_ROUND_NEAREST_EVEN);
}

/* ---- analyses ---- */

#define FLAT 24

/* x -> Gemm "g" -> Relu -> Gemm "h" on 2-bit grids, so that biases are coarse. */
static void begin_coarse(rules_world *w)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    rules_preset(w, "onnxruntime");
    uint32_t r = rules_one(w, "Relu", "r", gemm(w, "g", make_input(w->g, "x", DIMS(1, 4)), NULL));
    uint32_t in[3] = {r, make_random(w->g, "h.w", DIMS(3, 5), &w->seed),
                      make_random(w->g, "h.b", DIMS(5), &w->seed)};
    make_finish(w->g, make_node(w->g, "Gemm", "h", in, 3, NULL));
    w->m = builtin_model(w->g);
    o.rules = w->rules;
    o.weight_bits = o.activation_bits = 3;
    assert_ok(qdbg_sim_create(w->m, &o, &w->sim));
    rules_expect(w, "x g.w[1] g.b{x,g.w} r h.w[1] h.b{r,h.w} h");
    rules_calibrate(w);
}

static double sqnr_of(rules_world *w, const samples *s)
{
    qdbg_metric metric = metric_of(QDBG_METRIC_SQNR);
    double score;
    assert_ok(qdbg_sim_evaluate(w->sim, &s->set, &metric, &score));
    return score;
}

static void sensitivity_takes_biases_one_by_one(void **state)
{
    rules_world *w = *state;
    qdbg_sensitivity *sweep;
    qdbg_metric metric = metric_of(QDBG_METRIC_AGREEMENT);
    int biases = 0;
    begin_coarse(w);
    samples s = samples_make(w->ctx, w->g, FLAT, 5, 0);
    assert_ok(qdbg_sensitivity_run(w->sim, &s.set, &metric, &sweep));
    assert_int_equal(qdbg_sensitivity_count(sweep), 7);
    for (uint32_t i = 0; i < 7; i++) {
        qdbg_sensitivity_row row = QDBG_SENSITIVITY_ROW_INIT;
        qdbg_quantizer_info q = QDBG_QUANTIZER_INFO_INIT;
        assert_ok(qdbg_sensitivity_get(sweep, i, &row));
        assert_ok(qdbg_sim_quantizer(w->sim, row.quantizer, &q));
        biases += q.kind == QDBG_BIAS;
        assert_ok(qdbg_sim_set_all_enabled(w->sim, 0, 0));
        assert_ok(qdbg_sim_set_enabled(w->sim, row.quantizer, 1));
        assert_true(isfinite(row.sqnr_db) && row.sqnr_db == sqnr_of(w, &s));
    }
    assert_int_equal(biases, 2);
    qdbg_sensitivity_destroy(sweep);
    samples_free(&s);
}

static qdbg_diagnosis *diagnosis_of(rules_world *w, const samples *s)
{
    qdbg_diagnose_options o = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_sim_options sim = QDBG_SIM_OPTIONS_INIT;
    qdbg_diagnosis *d;
    o.calibration = o.evaluation = &s->set;
    o.sim = &sim;
    sim.rules = w->rules;
    sim.weight_bits = sim.activation_bits = 3;
    assert_ok(qdbg_diagnose(w->m, &o, &d));
    return d;
}

static qdbg_step step_of(const qdbg_diagnosis *d, const char *name)
{
    qdbg_step step = QDBG_STEP_INIT;
    uint32_t i = 0;
    do {
        assert_ok(qdbg_diagnosis_step(d, i++, &step));
    } while (strcmp(step.name, name) != 0);
    return step;
}

static void the_chart_counts_biases_with_the_weights(void **state)
{
    rules_world *w = *state;
    begin_coarse(w);
    samples s = samples_make(w->ctx, w->g, FLAT, 5, 0);
    assert_ok(qdbg_sim_calibrate(w->sim, &s.set));
    qdbg_diagnosis *d = diagnosis_of(w, &s);
    assert_int_equal(step_of(d, "float32").outcome, QDBG_OUTCOME_PASSED); /* biases bypassed */
    assert_true(step_of(d, "quantized").sqnr_db == sqnr_of(w, &s));
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_ACTIVATION, 0));
    assert_true(step_of(d, "weights").sqnr_db == sqnr_of(w, &s));
    assert_non_null(strstr(step_of(d, "weights").verdict, "Weights and biases only: "));
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_BIAS, 0));
    assert_true(step_of(d, "weights").sqnr_db != sqnr_of(w, &s));
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_WEIGHT, 0));
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_ACTIVATION, 1));
    assert_true(step_of(d, "activations").sqnr_db == sqnr_of(w, &s));
    qdbg_diagnosis_destroy(d);
    samples_free(&s);
}

static void findings_describe_biases(void **state)
{
    rules_world *w = *state;
    qdbg_finding f = QDBG_FINDING_INIT;
    uint32_t i = 0;
    begin_coarse(w);
    samples s = samples_make(w->ctx, w->g, FLAT, 5, 0);
    assert_ok(qdbg_sim_calibrate(w->sim, &s.set));
    qdbg_diagnosis *d = diagnosis_of(w, &s);
    do {
        assert_ok(qdbg_diagnosis_finding(d, i++, &f));
    } while (strcmp(f.name, "h.b") != 0);
    assert_int_equal(f.kind, QDBG_BIAS);
    assert_int_equal(f.bits, 32);
    assert_string_equal(f.node, "h");
    assert_true(f.scale == scale_of(w, "h.b", 0));
    assert_true(f.local_sqnr_db > 0 && f.local_sqnr_db < 40);
    assert_true(isnan(f.channel_spread));
    assert_true(f.culprit); /* it alone changes what the model chooses */
    assert_non_null(strstr(f.reason, "the scale of the input times that of the weight"));
    qdbg_diagnosis_destroy(d);
    samples_free(&s);
}

static void the_summary_tells_what_rules_add(void **state)
{
    rules_world *w = *state;
    qdbg_summary summary = QDBG_SUMMARY_INIT;
    begin_coarse(w);
    rules_preset(w, "tflite");
    samples s = samples_make(w->ctx, w->g, FLAT, 5, 0);
    qdbg_diagnosis *d = diagnosis_of(w, &s);
    assert_ok(qdbg_diagnosis_summary(d, &summary));
    assert_int_equal(summary.weight_granularity, QDBG_PER_CHANNEL);
    assert_int_equal(summary.rounding, QDBG_ROUND_NEAREST_AWAY);
    qdbg_diagnosis_destroy(d);
    samples_free(&s);
}

static void read_params(rules_world *w, float data[35])
{
    static const struct {
        const char *name;
        uint32_t n;
    } all[] = {{"g.w", 12}, {"g.b", 3}, {"h.w", 15}, {"h.b", 5}};
    for (int i = 0; i < 4; data += all[i++].n)
        assert_ok(qdbg_model_get_parameter(w->m, value_of(w->g, all[i].name), data, all[i].n));
}

static void correct(rules_world *w, const samples *s, float data[35])
{
    qdbg_bias_options o = QDBG_BIAS_OPTIONS_INIT;
    qdbg_bias_correction *done;
    o.flags = QDBG_BIAS_SEQUENTIAL | QDBG_BIAS_ACTIVATIONS;
    assert_ok(qdbg_bias_correct(w->sim, &s->set, &o, &done));
    read_params(w, data);
    assert_ok(qdbg_bias_correction_undo(done));
    qdbg_bias_correction_destroy(done);
}

static void bias_correction_measures_biases_in_float32(void **state)
{
    rules_world *w = *state;
    float before[35], with[35], without[35];
    begin_coarse(w);
    samples s = samples_make(w->ctx, w->g, FLAT, 5, 0);
    read_params(w, before);
    correct(w, &s, with);
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_BIAS, 0));
    correct(w, &s, without);
    assert_memory_equal(with, without, sizeof with);
    assert_memory_not_equal(with, before, sizeof with);
    samples_free(&s);
}

static void corrected_biases_are_quantized_anew(void **state)
{
    rules_world *w = *state;
    qdbg_bias_correction *done;
    begin_coarse(w);
    samples s = samples_make(w->ctx, w->g, FLAT, 5, 0);
    assert_ok(qdbg_bias_correct(w->sim, &s.set, NULL, &done));
    check_values(w, 12 * 5, BIASES("g.b", "h.b"));
    qdbg_bias_correction_destroy(done);
    samples_free(&s);
}

static void round_weights(rules_world *w, const samples *s, float data[35])
{
    qdbg_adaround_options o = QDBG_ADAROUND_OPTIONS_INIT;
    qdbg_adaround *done;
    o.flags = QDBG_ADAROUND_ACTIVATIONS;
    o.holdout = 1;
    assert_ok(qdbg_adaround_run(w->sim, &s->set, &o, &done));
    read_params(w, data);
    assert_ok(qdbg_adaround_undo(done));
    qdbg_adaround_destroy(done);
}

static void adaround_rounds_beside_biases_in_float32(void **state)
{
    rules_world *w = *state;
    float before[35], with[35], without[35];
    begin_coarse(w);
    samples s = samples_make(w->ctx, w->g, FLAT, 5, 0);
    read_params(w, before);
    round_weights(w, &s, with);
    assert_ok(qdbg_sim_set_all_enabled(w->sim, QDBG_BIAS, 0));
    round_weights(w, &s, without);
    assert_memory_equal(with, without, sizeof with);
    assert_memory_not_equal(with, before, sizeof with);
    samples_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_bias_has_the_scale_of_input_times_weight),
        TEST(a_host_gets_the_same_biases),
        TEST(a_bias_has_a_scale_for_each_of_the_weights),
        TEST(gemm_counts_alpha_and_beta),
        TEST(a_bias_times_zero_is_left),
        TEST(the_add_behind_a_matmul_is_its_bias),
        TEST(groups_of_a_transposed_convolution_share_scales),
        TEST(the_folded_bias_in_a_norms_shift_is_quantized),
        TEST(input_of_a_chain_tells_the_scale),
        TEST(a_bias_follows_its_two_sources),
        TEST(a_bias_follows_granularity),
        TEST(a_bias_without_sources_is_left_alone),
        TEST(a_bias_takes_no_orders),
        TEST(a_bias_tells_statistics),
        TEST(a_bias_that_is_not_finite_is_named),
        TEST(ties_are_never_rounded_up),
        TEST(sensitivity_takes_biases_one_by_one),
        TEST(the_chart_counts_biases_with_the_weights),
        TEST(findings_describe_biases),
        TEST(the_summary_tells_what_rules_add),
        TEST(bias_correction_measures_biases_in_float32),
        TEST(corrected_biases_are_quantized_anew),
        TEST(adaround_rounds_beside_biases_in_float32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
