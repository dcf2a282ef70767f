/* An engine outside the library (engine.c) that does the same arithmetic as the built-in executor
 * gets, through the host model, the same results to the bit: forward, calibration, isolation,
 * sweep, folding and the whole diagnosis.  usage: test_host fashion_mnist.onnx */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

/* The network that the tests of a group run on; NULL when it is not there. */
static world *w;

static int open_network(const network *net)
{
    w = world_open(net);
    return 0;
}

static int open_demo(void **state)
{
    (void)state;
    return open_network(&network_demo);
}

static int open_kws(void **state)
{
    (void)state;
    return open_network(&network_kws);
}

static int open_small(void **state)
{
    (void)state;
    return open_network(&network_small);
}

static int close_network(void **state)
{
    (void)state;
    if (w)
        world_close(w);
    w = NULL;
    return 0;
}

#define NEEDS_NETWORK() \
    if (!w)             \
    skip()

static void assert_same_double(double a, double b, const char *what)
{
    if (memcmp(&a, &b, sizeof a) != 0)
        fail_msg("%s: %.17g by the executor, %.17g by the host", what, a, b);
}

/* ---- the graph read from outside ---- */

/* A node with an attribute of every kind. */
static uint32_t node_with_attributes(qdbg_graph *g)
{
    float number = 2.5f;
    const int64_t list[] = {3, 4};
    const float floats[] = {0.5f, 0.25f};
    qdbg_view tensor = QDBG_VIEW_INIT;
    uint32_t out, node;
    tensor.dtype = QDBG_F32;
    tensor.data = &number;
    assert_int_equal(qdbg_graph_add_value(g, "out", QDBG_F32, 0, NULL, &out), QDBG_OK);
    assert_int_equal(qdbg_graph_add_node(g, "Own", NULL, NULL, 0, &out, 1, &node), QDBG_OK);
    assert_int_equal(qdbg_graph_set_int(g, node, "int", 7), QDBG_OK);
    assert_int_equal(qdbg_graph_set_ints(g, node, "ints", list, 2), QDBG_OK);
    assert_int_equal(qdbg_graph_set_ints(g, node, "none", NULL, 0), QDBG_OK);
    assert_int_equal(qdbg_graph_set_float(g, node, "float", number), QDBG_OK);
    assert_int_equal(qdbg_graph_set_floats(g, node, "floats", floats, 2), QDBG_OK);
    assert_int_equal(qdbg_graph_set_string(g, node, "string", "text"), QDBG_OK);
    assert_int_equal(qdbg_graph_set_tensor(g, node, "tensor", &tensor), QDBG_OK);
    assert_int_equal(qdbg_graph_add_output(g, out), QDBG_OK);
    assert_int_equal(qdbg_graph_finish(g), QDBG_OK);
    return 0; /* the only one */
}

static void check_numbers(const qdbg_graph *g, uint32_t node)
{
    const int64_t *ints;
    const float *floats;
    uint32_t n;
    assert_int_equal(qdbg_graph_get_ints(g, node, "int", &ints, &n), QDBG_OK);
    assert_true(n == 1 && ints[0] == 7);
    assert_int_equal(qdbg_graph_get_ints(g, node, "ints", &ints, &n), QDBG_OK);
    assert_true(n == 2 && ints[0] == 3 && ints[1] == 4);
    assert_int_equal(qdbg_graph_get_ints(g, node, "none", &ints, &n), QDBG_OK);
    assert_int_equal(n, 0);
    assert_int_equal(qdbg_graph_get_floats(g, node, "float", &floats, &n), QDBG_OK);
    assert_true(n == 1 && floats[0] == 2.5f);
    assert_int_equal(qdbg_graph_get_floats(g, node, "floats", &floats, &n), QDBG_OK);
    assert_true(n == 2 && floats[0] == 0.5f && floats[1] == 0.25f);
    n = 99;
    assert_int_equal(qdbg_graph_get_ints(g, node, "float", &ints, &n), QDBG_E_TYPE);
    assert_int_equal(qdbg_graph_get_floats(g, node, "ints", &floats, &n), QDBG_E_TYPE);
    assert_int_equal(qdbg_graph_get_ints(g, node, "missing", &ints, &n), QDBG_E_NOT_FOUND);
    assert_int_equal(qdbg_graph_get_ints(g, 99, "int", &ints, &n), QDBG_E_NOT_FOUND);
    assert_int_equal(qdbg_graph_get_ints(NULL, node, "int", &ints, &n), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_ints(g, node, NULL, &ints, &n), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_ints(g, node, "int", NULL, &n), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_floats(g, node, "float", &floats, NULL), QDBG_E_INVALID);
    assert_int_equal(n, 99); /* untouched by failures */
}

static void check_text_and_tensor(const qdbg_graph *g, uint32_t node)
{
    const char *text = NULL;
    qdbg_view tensor = QDBG_VIEW_INIT, bad = {0};
    assert_int_equal(qdbg_graph_get_string(g, node, "string", &text), QDBG_OK);
    assert_string_equal(text, "text");
    assert_int_equal(qdbg_graph_get_string(g, node, "int", &text), QDBG_E_TYPE);
    assert_int_equal(qdbg_graph_get_string(g, node, "string", NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_graph_get_tensor(g, node, "tensor", &tensor), QDBG_OK);
    assert_true(tensor.dtype == QDBG_F32 && tensor.rank == 0 && *(float *)tensor.data == 2.5f);
    assert_int_equal(qdbg_graph_get_tensor(g, node, "string", &tensor), QDBG_E_TYPE);
    assert_int_equal(qdbg_graph_get_tensor(g, node, "tensor", &bad), QDBG_E_INVALID);
}

static void test_attributes_can_be_read(void **state)
{
    (void)state;
    qdbg_ctx *ctx;
    qdbg_graph *g;
    assert_int_equal(qdbg_ctx_create(NULL, &ctx), QDBG_OK);
    assert_int_equal(qdbg_graph_create(ctx, 13, &g), QDBG_OK);
    uint32_t node = node_with_attributes(g);
    check_numbers(g, node);
    check_text_and_tensor(g, node);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

/* ---- forward ---- */

static void assert_same_outputs(void)
{
    size_t n, m;
    float *a = world_run(w, w->built_in, &n), *b = world_run(w, w->host, &m);
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("output %zu: %.9g by the executor, %.9g by the host", i, (double)a[i],
                     (double)b[i]);
    free(a);
    free(b);
}

static void test_forward_pass_has_the_same_bits(void **state)
{
    (void)state;
    NEEDS_NETWORK();
    assert_same_outputs();
}

static void test_plain_run_wants_the_output_only(void **state)
{
    (void)state;
    NEEDS_NETWORK();
    size_t n;
    uint64_t taps = w->engine->taps, runs = w->engine->runs;
    free(world_run(w, w->host, &n));
    assert_int_equal(w->engine->runs - runs, 1); /* asking for the shape runs nothing */
    assert_int_equal(w->engine->taps - taps, 1);
}

/* ---- calibration ---- */

typedef struct sims {
    qdbg_sim *built_in, *host;
} sims;

static sims make_sims(const qdbg_sim_options *options, bool calibrate)
{
    sims s;
    ASSERT_OK(w, qdbg_sim_create(w->built_in, options, &s.built_in));
    ASSERT_OK(w, qdbg_sim_create(w->host, options, &s.host));
    if (calibrate) {
        ASSERT_OK(w, qdbg_sim_calibrate(s.built_in, &w->data));
        ASSERT_OK(w, qdbg_sim_calibrate(s.host, &w->data));
    }
    return s;
}

static void destroy_sims(sims s)
{
    qdbg_sim_destroy(s.host);
    qdbg_sim_destroy(s.built_in);
}

static void assert_same_quantizer(sims s, uint32_t index)
{
    qdbg_quantizer_info a = QDBG_QUANTIZER_INFO_INIT, b = QDBG_QUANTIZER_INFO_INIT;
    ASSERT_OK(w, qdbg_sim_quantizer(s.built_in, index, &a));
    ASSERT_OK(w, qdbg_sim_quantizer(s.host, index, &b));
    assert_string_equal(a.name, b.name);
    assert_memory_equal(&a.spec, &b.spec, sizeof a.spec);
    assert_memory_equal(&a.observed_min, &b.observed_min, sizeof a.observed_min);
    assert_memory_equal(&a.observed_max, &b.observed_max, sizeof a.observed_max);
    assert_int_equal(a.n_nonfinite, b.n_nonfinite);
    assert_true(a.n_encodings > 0);
    assert_int_equal(a.n_encodings, b.n_encodings);
    for (uint32_t c = 0; c < a.n_encodings; c++) {
        qdbg_encoding x = QDBG_ENCODING_INIT, y = QDBG_ENCODING_INIT;
        ASSERT_OK(w, qdbg_sim_encoding(s.built_in, index, c, &x));
        ASSERT_OK(w, qdbg_sim_encoding(s.host, index, c, &y));
        assert_memory_equal(&x, &y, sizeof x);
    }
}

static void assert_same_encodings(sims s)
{
    uint32_t n = qdbg_sim_quantizer_count(s.built_in);
    assert_true(n > 10);
    assert_int_equal(n, qdbg_sim_quantizer_count(s.host));
    for (uint32_t i = 0; i < n; i++)
        assert_same_quantizer(s, i);
}

static void check_calibration(int32_t granularity, uint32_t bits)
{
    qdbg_sim_options options = QDBG_SIM_OPTIONS_INIT;
    options.weight_granularity = granularity;
    options.weight_bits = options.activation_bits = bits;
    sims s = make_sims(&options, true);
    assert_same_encodings(s);
    destroy_sims(s);
}

static void test_calibration_gives_the_same_encodings(void **state)
{
    (void)state;
    NEEDS_NETWORK();
    check_calibration(QDBG_PER_TENSOR, 8);
    check_calibration(QDBG_PER_CHANNEL, 8);
    check_calibration(QDBG_PER_TENSOR, 4);
}

/* The host gets its samples in batches of another size than the executor. */
static void test_calibration_does_not_depend_on_the_hosts_batches(void **state)
{
    (void)state;
    NEEDS_NETWORK();
    qdbg_arrays *ones;
    qdbg_dataset one_by_one;
    sims s = make_sims(NULL, false);
    ASSERT_OK(w, qdbg_arrays_create(w->ctx, &w->samples.inputs, 1, NULL, 1, &ones));
    ASSERT_OK(w, qdbg_arrays_dataset(ones, &one_by_one));
    ASSERT_OK(w, qdbg_sim_calibrate(s.built_in, &w->data));
    ASSERT_OK(w, qdbg_sim_calibrate(s.host, &one_by_one));
    assert_same_encodings(s);
    destroy_sims(s);
    qdbg_arrays_destroy(ones);
}

/* ---- isolation ---- */

static void assert_same_score(sims s, int32_t metric_kind)
{
    qdbg_metric metric = QDBG_METRIC_INIT;
    double a, b;
    metric.kind = metric_kind;
    ASSERT_OK(w, qdbg_sim_evaluate(s.built_in, &w->data, &metric, &a));
    ASSERT_OK(w, qdbg_sim_evaluate(s.host, &w->data, &metric, &b));
    assert_same_double(a, b, qdbg_metric_name(&metric));
    assert_true(engine_is_original(w->engine));
}

static void assert_same_scores(sims s)
{
    assert_same_score(s, QDBG_METRIC_TOP1);
    assert_same_score(s, QDBG_METRIC_AGREEMENT);
    assert_same_score(s, QDBG_METRIC_SQNR);
}

static void enable_only(sims s, int32_t kind)
{
    qdbg_sim *const both[] = {s.built_in, s.host};
    for (int i = 0; i < 2; i++) {
        ASSERT_OK(w, qdbg_sim_set_all_enabled(both[i], 0, 0));
        ASSERT_OK(w, qdbg_sim_set_all_enabled(both[i], kind, 1));
    }
}

static void check_isolation(int32_t granularity, uint32_t bits)
{
    qdbg_sim_options options = QDBG_SIM_OPTIONS_INIT;
    options.weight_granularity = granularity;
    options.weight_bits = options.activation_bits = bits;
    sims s = make_sims(&options, true);
    assert_same_scores(s);
    enable_only(s, QDBG_WEIGHT);
    assert_same_scores(s);
    enable_only(s, QDBG_ACTIVATION);
    assert_same_scores(s);
    destroy_sims(s);
}

static void test_isolation_gives_the_same_scores(void **state)
{
    (void)state;
    NEEDS_NETWORK();
    check_isolation(QDBG_PER_TENSOR, 8);
    check_isolation(QDBG_PER_CHANNEL, 4);
}

static void test_bypassed_quantizers_change_nothing(void **state)
{
    (void)state;
    NEEDS_NETWORK();
    qdbg_sim_options options = QDBG_SIM_OPTIONS_INIT;
    qdbg_metric metric = QDBG_METRIC_INIT;
    double score;
    options.weight_bits = options.activation_bits = QDBG_BITS_BYPASS;
    metric.kind = QDBG_METRIC_SQNR;
    sims s = make_sims(&options, true);
    ASSERT_OK(w, qdbg_sim_evaluate(s.host, &w->data, &metric, &score));
    assert_true(score > 1e300); /* infinite */
    destroy_sims(s);
}

/* ---- sweep ---- */

static void assert_same_sweep(sims s, int32_t metric_kind)
{
    qdbg_metric metric = QDBG_METRIC_INIT;
    qdbg_sensitivity *a, *b;
    metric.kind = metric_kind;
    ASSERT_OK(w, qdbg_sensitivity_run(s.built_in, &w->data, &metric, &a));
    ASSERT_OK(w, qdbg_sensitivity_run(s.host, &w->data, &metric, &b));
    assert_same_double(qdbg_sensitivity_float_score(a), qdbg_sensitivity_float_score(b), "float32");
    uint32_t n = qdbg_sensitivity_count(a);
    assert_int_equal(n, qdbg_sim_quantizer_count(s.built_in));
    assert_int_equal(n, qdbg_sensitivity_count(b));
    for (uint32_t i = 0; i < n; i++) {
        qdbg_sensitivity_row x = QDBG_SENSITIVITY_ROW_INIT, y = QDBG_SENSITIVITY_ROW_INIT;
        ASSERT_OK(w, qdbg_sensitivity_get(a, i, &x));
        ASSERT_OK(w, qdbg_sensitivity_get(b, i, &y));
        assert_int_equal(x.quantizer, y.quantizer);
        assert_same_double(x.score, y.score, "score");
        assert_same_double(x.sqnr_db, y.sqnr_db, "SQNR");
        assert_same_double(x.noise_share, y.noise_share, "noise share");
    }
    qdbg_sensitivity_destroy(a);
    qdbg_sensitivity_destroy(b);
    assert_true(engine_is_original(w->engine));
}

static void test_sweep_gives_the_same_rows(void **state)
{
    (void)state;
    NEEDS_NETWORK();
    sims s = make_sims(NULL, true);
    assert_same_sweep(s, QDBG_METRIC_TOP1);
    destroy_sims(s);
}

/* ---- folding ---- */

static void test_folding_gives_the_same_parameters(void **state)
{
    (void)state;
    NEEDS_NETWORK();
    uint32_t a, b;
    ASSERT_OK(w, qdbg_fold_batch_norms(w->built_in, &a));
    ASSERT_OK(w, qdbg_fold_batch_norms(w->host, &b));
    assert_true(a > 1);
    assert_int_equal(a, b);
    for (uint32_t v = 0; v < w->engine->n_values; v++) {
        const size_t n = w->engine->counts[v];
        float *folded = malloc(n * sizeof *folded + 1);
        assert_non_null(folded);
        if (w->engine->parameters[v]) {
            ASSERT_OK(w, qdbg_model_get_parameter(w->built_in, v, folded, n));
            assert_memory_equal(folded, w->engine->parameters[v], n * sizeof *folded);
        }
        free(folded);
    }
    assert_same_outputs();
    for (uint32_t v = 0; v < w->engine->n_values; v++) { /* undo */
        qdbg_view view = QDBG_VIEW_INIT;
        if (!w->engine->parameters[v])
            continue;
        ASSERT_OK(w, qdbg_graph_parameter(w->graph, v, &view));
        ASSERT_OK(w, qdbg_model_set_parameter(w->built_in, v, view.data, w->engine->counts[v]));
        ASSERT_OK(w, qdbg_model_set_parameter(w->host, v, view.data, w->engine->counts[v]));
    }
    assert_true(engine_is_original(w->engine));
}

/* ---- diagnosis ---- */

/* A report as text. */
typedef struct text {
    char *data;
    size_t size;
} text;

static int32_t append(void *user, const void *data, size_t size)
{
    text *t = user;
    char *grown = realloc(t->data, t->size + size + 1);
    if (!grown)
        return 1;
    memcpy(grown + t->size, data, size);
    t->data = grown;
    t->size += size;
    t->data[t->size] = 0;
    return 0;
}

static text report_of(const qdbg_diagnosis *diagnosis, int32_t format)
{
    text t = {NULL, 0};
    ASSERT_OK(w, qdbg_report_write(w->ctx, diagnosis, format, NULL, append, &t));
    assert_non_null(t.data);
    return t;
}

static void assert_same_reports(const qdbg_diagnosis *a, const qdbg_diagnosis *b, int32_t format)
{
    text x = report_of(a, format), y = report_of(b, format);
    assert_string_equal(x.data, y.data);
    free(x.data);
    free(y.data);
}

static void assert_same_findings(const qdbg_diagnosis *a, const qdbg_diagnosis *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        qdbg_finding x = QDBG_FINDING_INIT, y = QDBG_FINDING_INIT;
        ASSERT_OK(w, qdbg_diagnosis_finding(a, i, &x));
        ASSERT_OK(w, qdbg_diagnosis_finding(b, i, &y));
        assert_string_equal(x.name, y.name);
        assert_string_equal(x.reason, y.reason);
        assert_int_equal(x.culprit, y.culprit);
        assert_same_double((double)x.scale, (double)y.scale, x.name);
        assert_same_double(x.score_alone, y.score_alone, x.name);
        assert_same_double(x.output_sqnr_db, y.output_sqnr_db, x.name);
        assert_same_double(x.local_sqnr_db, y.local_sqnr_db, x.name);
        assert_same_double(x.channel_spread, y.channel_spread, x.name);
    }
}

static void assert_same_steps(const qdbg_diagnosis *a, const qdbg_diagnosis *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        qdbg_step x = QDBG_STEP_INIT, y = QDBG_STEP_INIT;
        ASSERT_OK(w, qdbg_diagnosis_step(a, i, &x));
        ASSERT_OK(w, qdbg_diagnosis_step(b, i, &y));
        assert_string_equal(x.name, y.name);
        assert_string_equal(x.verdict, y.verdict);
        assert_string_equal(x.recommendation, y.recommendation);
        assert_int_equal(x.outcome, y.outcome);
        assert_same_double(x.score, y.score, x.name);
        assert_same_double(x.half_width, y.half_width, x.name);
        assert_same_double(x.sqnr_db, y.sqnr_db, x.name);
    }
}

static void check_diagnosis(uint32_t flags, int32_t granularity, uint32_t bits, int32_t metric_kind)
{
    qdbg_diagnose_options options = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_sim_options sim = QDBG_SIM_OPTIONS_INIT;
    qdbg_metric metric = QDBG_METRIC_INIT;
    qdbg_diagnosis *a, *b;
    qdbg_summary x = QDBG_SUMMARY_INIT, y = QDBG_SUMMARY_INIT;
    metric.kind = metric_kind;
    options.flags = flags;
    options.calibration = options.evaluation = &w->data;
    options.metric = &metric;
    options.sim = &sim;
    sim.weight_bits = sim.activation_bits = bits;
    sim.weight_granularity = granularity;
    ASSERT_OK(w, qdbg_diagnose(w->built_in, &options, &a));
    ASSERT_OK(w, qdbg_diagnose(w->host, &options, &b));
    ASSERT_OK(w, qdbg_diagnosis_summary(a, &x));
    ASSERT_OK(w, qdbg_diagnosis_summary(b, &y));
    assert_int_equal(x.n_steps, y.n_steps);
    assert_int_equal(x.n_findings, y.n_findings);
    assert_same_double(x.float_score, y.float_score, "float32");
    assert_same_double(x.quantized_score, y.quantized_score, "quantized");
    assert_same_steps(a, b, x.n_steps);
    assert_same_findings(a, b, x.n_findings);
    assert_same_reports(a, b, QDBG_REPORT_JSON);
    assert_same_reports(a, b, QDBG_REPORT_CSV);
    qdbg_diagnosis_destroy(a);
    qdbg_diagnosis_destroy(b);
    assert_true(engine_is_original(w->engine));
}

static void test_diagnosis_is_the_same(void **state)
{
    (void)state;
    NEEDS_NETWORK();
    check_diagnosis(0, QDBG_PER_TENSOR, 8, QDBG_METRIC_TOP1);
    check_diagnosis(QDBG_DIAGNOSE_NO_FOLD, QDBG_PER_CHANNEL, 4, QDBG_METRIC_AGREEMENT);
    check_diagnosis(QDBG_DIAGNOSE_STOP_EARLY, QDBG_PER_TENSOR, 16, QDBG_METRIC_TOP1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward_pass_has_the_same_bits),
        cmocka_unit_test(test_plain_run_wants_the_output_only),
        cmocka_unit_test(test_calibration_gives_the_same_encodings),
        cmocka_unit_test(test_calibration_does_not_depend_on_the_hosts_batches),
        cmocka_unit_test(test_isolation_gives_the_same_scores),
        cmocka_unit_test(test_bypassed_quantizers_change_nothing),
        cmocka_unit_test(test_sweep_gives_the_same_rows),
        cmocka_unit_test(test_folding_gives_the_same_parameters),
        cmocka_unit_test(test_diagnosis_is_the_same),
    };
    world_demo_path = argc > 1 ? argv[1] : NULL;
    const struct CMUnitTest graph_tests[] = {cmocka_unit_test(test_attributes_can_be_read)};
    int failed = cmocka_run_group_tests_name("graph", graph_tests, NULL, NULL);
    failed += cmocka_run_group_tests_name("small", tests, open_small, close_network);
    failed += cmocka_run_group_tests_name("demo", tests, open_demo, close_network);
    return failed + cmocka_run_group_tests_name("kws", tests, open_kws, close_network);
}
