/* Models that the caller's engine runs: the rules of qdbg_host_run_fn, one by one (model.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "graph_make.h"
#include "support.h"

typedef struct world {
    qdbg_ctx *ctx;
    qdbg_graph *g;
    engine e;
    qdbg_model *m; /* the host */
    samples s;
    qdbg_metric metric;
    double score;
} world;

static int begin(void **state)
{
    world *w = calloc(1, sizeof *w);
    w->ctx = make_ctx(2);
    w->g = net_of_gemms(w->ctx, false);
    w->m = engine_model(&w->e, w->g);
    w->s = samples_make(w->ctx, w->g, 12, 4, 3);
    w->metric = metric_of(QDBG_METRIC_TOP1);
    w->score = -7;
    *state = w;
    return 0;
}

static int end(void **state)
{
    world *w = *state;
    assert_false(w->e.wrong_thread); /* callbacks come on the caller's thread */
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    engine_free(&w->e);
    qdbg_graph_destroy(w->g);
    qdbg_ctx_destroy(w->ctx);
    free(w);
    return 0;
}

static qdbg_status evaluate(world *w)
{
    w->score = -7;
    return qdbg_model_evaluate(w->m, &w->s.set, &w->metric, &w->score);
}

static qdbg_sim *calibrated(world *w)
{
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    qdbg_sim *sim = NULL;
    o.weight_bits = o.activation_bits = 4;
    assert_ok(qdbg_sim_create(w->m, &o, &sim));
    assert_ok(qdbg_sim_calibrate(sim, &w->s.set));
    return sim;
}

/* ---- create ---- */

static void host_must_be_whole(void **state)
{
    world *w = *state;
    const qdbg_host good = engine_host(&w->e);
    qdbg_host h = good;
    qdbg_model *m = NULL;
    assert_int_equal(qdbg_model_create_host(NULL, &h, &m), QDBG_E_INVALID);
    assert_fails(w->ctx, qdbg_model_create_host(w->g, NULL, &m), QDBG_E_INVALID, "NULL");
    assert_fails(w->ctx, qdbg_model_create_host(w->g, &h, NULL), QDBG_E_INVALID, "NULL");
    h.struct_size++;
    assert_fails(w->ctx, qdbg_model_create_host(w->g, &h, &m), QDBG_E_INVALID, "struct_size");
    for (int i = 0; i < 3; i++) {
        h = good;
        h.run = i == 0 ? NULL : h.run;
        h.get_parameter = i == 1 ? NULL : h.get_parameter;
        h.set_parameter = i == 2 ? NULL : h.set_parameter;
        assert_fails(w->ctx, qdbg_model_create_host(w->g, &h, &m), QDBG_E_INVALID, "required");
    }
    qdbg_graph *open = make_graph(w->ctx, 13);
    assert_fails(w->ctx, qdbg_model_create_host(open, &good, &m), QDBG_E_STATE, "not finished");
    qdbg_graph_destroy(open);
    assert_null(m);
}

/* ---- what it gives ---- */

static void host_gives_what_the_builtin_executor_gives(void **state)
{
    world *w = *state;
    qdbg_model *builtin = builtin_model(w->g);
    qdbg_view x = samples_view(w->g, &w->s), shape = QDBG_VIEW_INIT;
    float a[36], b[36];
    assert_ok(qdbg_model_run(w->m, &x, 1, &shape, 1));
    assert_int_equal(shape.dims[0], 12);
    assert_int_equal(shape.dims[1], 3);
    assert_int_equal(w->e.n_runs, 0); /* a question about shapes runs nothing */
    qdbg_view ya = make_view(DIMS(12, 3), a), yb = make_view(DIMS(12, 3), b);
    assert_ok(qdbg_model_run(w->m, &x, 1, &ya, 1));
    assert_ok(qdbg_model_run(builtin, &x, 1, &yb, 1));
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal(w->e.n_runs, 1);
    qdbg_model_destroy(builtin);
}

static void parameters_go_through_get_and_set(void **state)
{
    world *w = *state;
    uint32_t bias = value_of(w->g, "b2");
    float data[3] = {4, 5, 6}, got[3];
    assert_ok(qdbg_model_set_parameter(w->m, bias, data, 3));
    assert_memory_equal(w->e.params[bias], data, sizeof data);
    w->e.params[bias][1] = 50;
    assert_ok(qdbg_model_get_parameter(w->m, bias, got, 3));
    assert_true(got[1] == 50);
    w->e.fail_get = w->e.n_gets + 1;
    w->e.code = 31;
    assert_fails(w->ctx, qdbg_model_get_parameter(w->m, bias, got, 3), QDBG_E_CALLBACK,
                 "get_parameter");
    assert_int_equal(error_of(w->ctx).callback_code, 31);
    w->e.fail_set = w->e.n_sets + 1;
    assert_fails(w->ctx, qdbg_model_set_parameter(w->m, bias, got, 3), QDBG_E_CALLBACK,
                 "set_parameter");
    assert_int_equal(error_of(w->ctx).callback_code, 31);
}

static void only_wanted_values_need_be_tapped(void **state)
{
    world *w = *state;
    w->e.fault = FAULT_NO_TAP; /* of a value that nobody asks for in float32 */
    w->e.fault_value = value_of(w->g, "r");
    assert_ok(evaluate(w));
    assert_int_equal(w->e.tap_status, QDBG_OK);
}

/* ---- the rules ---- */

static void expect_rule(world *w, enum fault fault, const char *value, const char *rule)
{
    w->e.fault = fault;
    w->e.fault_value = value_of(w->g, value);
    assert_fails(w->ctx, evaluate(w), QDBG_E_HOST, rule);
    assert_true(w->score == -7);
    w->e.fault = FAULT_NONE;
    assert_ok(evaluate(w)); /* and all is well again */
}

static void rule_1_every_value_is_tapped_once(void **state)
{
    world *w = *state;
    expect_rule(w, FAULT_NO_TAP, "y", "rule 1");
    expect_rule(w, FAULT_TAP_TWICE, "y", "rule 1");
    expect_rule(w, FAULT_NO_VALUE, "y", "rule 1");
    w->e.fault = FAULT_NO_TAP;
    w->e.fault_value = value_of(w->g, "x"); /* graph inputs too, when they are asked for */
    qdbg_sim *sim = NULL;
    assert_ok(qdbg_sim_create(w->m, NULL, &sim));
    assert_fails(w->ctx, qdbg_sim_calibrate(sim, &w->s.set), QDBG_E_HOST, "'x'");
    assert_string_equal(error_of(w->ctx).value, "x");
    qdbg_sim_destroy(sim);
}

/* An evaluation cannot see it: the result is merely less quantized than it should be.
 * (qdbg_diagnose does: test_diagnose_walk.c.) */
static void rule_2_is_the_hosts_own_business(void **state)
{
    world *w = *state;
    qdbg_sim *sim = calibrated(w);
    w->metric = metric_of(QDBG_METRIC_SQNR);
    double honest, careless;
    qdbg_sim_set_all_enabled(sim, QDBG_WEIGHT, 0);
    assert_ok(qdbg_sim_evaluate(sim, &w->s.set, &w->metric, &honest));
    w->e.fault = FAULT_IGNORE;
    w->e.fault_value = value_of(w->g, "x");
    assert_ok(qdbg_sim_evaluate(sim, &w->s.set, &w->metric, &careless));
    assert_true(careless > honest);
    qdbg_sim_destroy(sim);
}

static void rule_3_tensors_have_the_graphs_shape(void **state)
{
    world *w = *state;
    expect_rule(w, FAULT_SHAPE, "y", "rule 3");
    expect_rule(w, FAULT_BATCH, "y", "rule 3");
    expect_rule(w, FAULT_DTYPE, "y", "rule 3");
    expect_rule(w, FAULT_NOT_A_VIEW, "y", "rule 3");
    w->e.fault = FAULT_SHAPE;
    w->e.fault_value = value_of(w->g, "y");
    assert_int_equal(evaluate(w), QDBG_E_HOST);
    assert_non_null(strstr(qdbg_ctx_error_message(w->ctx), "[4,2], expected [4,3]"));
    assert_string_equal(error_of(w->ctx).value, "y");
}

/* Whatever the host returns, and although later taps are in order. */
static void rule_5_a_failed_tap_ends_the_call(void **state)
{
    world *w = *state;
    qdbg_sim *sim = NULL;
    w->e.fault_value = value_of(w->g, "x");
    assert_ok(qdbg_sim_create(w->m, NULL, &sim));
    for (int go_on = 0; go_on < 2; go_on++) {
        w->e.fault = go_on ? FAULT_GO_ON : FAULT_SHAPE;
        w->e.tap_status = QDBG_OK;
        assert_fails(w->ctx, qdbg_sim_calibrate(sim, &w->s.set), QDBG_E_HOST, "rule 3");
        assert_int_equal(w->e.tap_status, QDBG_E_HOST);
    }
    qdbg_sim_destroy(sim);
}

static void rule_6_inputs_are_the_librarys(void **state)
{
    world *w = *state;
    qdbg_sim *sim = NULL;
    assert_ok(qdbg_sim_create(w->m, NULL, &sim));
    w->e.fault = FAULT_INPUT;
    w->e.fault_value = value_of(w->g, "x");
    assert_fails(w->ctx, qdbg_sim_calibrate(sim, &w->s.set), QDBG_E_HOST, "rule 6");
    qdbg_sim_destroy(sim);
}

static void run_failing_at_any_call_ends_with_its_code(void **state)
{
    world *w = *state;
    assert_ok(evaluate(w));
    double score = w->score;
    for (uint64_t k = 1; k <= 3; k++) {
        w->e.fail_run = w->e.n_runs + k;
        w->e.code = (int32_t)(500 + k);
        assert_fails(w->ctx, evaluate(w), QDBG_E_CALLBACK, "run");
        assert_int_equal(error_of(w->ctx).callback_code, 500 + k);
        w->e.fail_run = 0;
        assert_ok(evaluate(w));
        assert_true(w->score == score);
    }
}

/* ---- a run function written for one misdeed each ---- */

typedef struct rogue {
    engine *e;
    qdbg_host honest;
    int deed;
    qdbg_status seen[4];
    float data[12];
} rogue;

enum { TAP_AFTER_FAILURE, TAP_NULL, UNWANTED, SCALAR_IN_BATCH };

static int32_t misbehave(void *user, qdbg_tap *tap, const qdbg_view *inputs, uint32_t n_inputs)
{
    rogue *r = user;
    uint32_t y = qdbg_graph_find_value(r->e->graph, "y");
    uint32_t x = qdbg_graph_find_value(r->e->graph, "x");
    qdbg_view good = make_view(DIMS(4, 3), r->data), bad = make_view(DIMS(4, 4), r->data);
    (void)inputs;
    (void)n_inputs;
    switch (r->deed) {
    case TAP_AFTER_FAILURE:
        r->seen[0] = qdbg_tap_value(tap, y, &bad);
        r->seen[1] = qdbg_tap_value(tap, y, &good); /* too late */
        return 0;
    case TAP_NULL:
        r->seen[0] = qdbg_tap_value(tap, y, NULL);
        return 5;
    case UNWANTED:
        r->seen[0] = qdbg_tap_value(tap, x, &bad); /* not wanted: nothing happens */
        r->seen[1] = qdbg_tap_value(tap, x, &bad);
        r->seen[2] = qdbg_tap_value(tap, y, &good);
        return 0;
    default:
        good.rank = 0;
        r->seen[0] = qdbg_tap_value(tap, y, &good);
        return 0;
    }
}

static qdbg_status run_rogue(world *w, rogue *r)
{
    qdbg_host h = r->honest;
    qdbg_model *m;
    h.user = r;
    h.run = misbehave;
    assert_ok(qdbg_model_create_host(w->g, &h, &m));
    qdbg_status status = qdbg_model_evaluate(m, &w->s.set, &w->metric, &w->score);
    qdbg_error_info info = error_of(w->ctx);
    assert_int_equal(info.status, status);
    qdbg_model_destroy(m);
    return status;
}

static void odd_taps(void **state)
{
    world *w = *state;
    rogue r = {.e = &w->e, .honest = engine_host(&w->e)};
    assert_int_equal(qdbg_tap_value(NULL, 0, NULL), QDBG_E_INVALID);
    assert_int_equal(qdbg_tap_wants(NULL, 0), 0);
    r.deed = TAP_AFTER_FAILURE;
    assert_int_equal(run_rogue(w, &r), QDBG_E_HOST);
    assert_int_equal(r.seen[0], QDBG_E_HOST);
    assert_int_equal(r.seen[1], QDBG_E_HOST);
    r.deed = TAP_NULL;
    assert_int_equal(run_rogue(w, &r), QDBG_E_INVALID);
    assert_int_equal(r.seen[0], QDBG_E_INVALID);
    r.deed = UNWANTED;
    assert_int_equal(run_rogue(w, &r), QDBG_OK);
    assert_true(r.seen[0] == QDBG_OK && r.seen[1] == QDBG_OK && r.seen[2] == QDBG_OK);
    r.deed = SCALAR_IN_BATCH;
    assert_int_equal(run_rogue(w, &r), QDBG_E_HOST);
}

/* ---- the engine's parameters come back ---- */

static float *params_of(const engine *e)
{
    size_t n = 0;
    for (int v = 0; v < ENGINE_VALUES; v++)
        n += e->counts[v];
    float *all = malloc(n * sizeof *all);
    assert_non_null(all);
    n = 0;
    for (int v = 0; v < ENGINE_VALUES; v++)
        if (e->counts[v] > 0) {
            memcpy(all + n, e->params[v], e->counts[v] * sizeof *all);
            n += e->counts[v];
        }
    return all;
}

static void assert_params(const engine *e, const float *want)
{
    for (int v = 0; v < ENGINE_VALUES; v++)
        if (e->counts[v] > 0) {
            assert_memory_equal(e->params[v], want, e->counts[v] * sizeof *want);
            want += e->counts[v];
        }
}

/* Each call of get, set and run fails once, in an evaluation that replaces the weights. A set that
 * fails has copied half of it; the next one works. */
static void originals_come_back_after_any_failure(void **state)
{
    world *w = *state;
    qdbg_sim *sim = calibrated(w);
    float *before = params_of(&w->e);
    double want, score;
    w->metric = metric_of(QDBG_METRIC_SQNR);
    assert_ok(qdbg_sim_evaluate(sim, &w->s.set, &w->metric, &want));
    assert_params(&w->e, before);
    assert_true(w->e.n_sets > 0);
    uint64_t failures = 0;
    for (int which = 0; which < 3; which++)
        for (uint64_t k = 1;; k++) {
            uint64_t *at = which == 0   ? &w->e.fail_get
                           : which == 1 ? &w->e.fail_set
                                        : &w->e.fail_run;
            uint64_t n = which == 0 ? w->e.n_gets : which == 1 ? w->e.n_sets : w->e.n_runs;
            *at = n + k;
            w->e.code = 77;
            score = -7;
            qdbg_status status = qdbg_sim_evaluate(sim, &w->s.set, &w->metric, &score);
            *at = 0;
            assert_params(&w->e, before);
            if (status == QDBG_OK)
                break;
            failures++;
            assert_int_equal(status, QDBG_E_CALLBACK);
            assert_int_equal(error_of(w->ctx).callback_code, 77);
            assert_true(score == -7);
            assert_ok(qdbg_sim_evaluate(sim, &w->s.set, &w->metric, &score));
            assert_true(score == want);
        }
    assert_true(failures > 15);
    free(before);
    qdbg_sim_destroy(sim);
}

static int32_t cancel_here(void *user, uint64_t index, qdbg_batch *batch)
{
    world *w = user;
    if (index == 1)
        qdbg_cancel(w->ctx);
    return w->s.set.batch(w->s.set.user, index, batch);
}

static void originals_come_back_after_a_cancel(void **state)
{
    world *w = *state;
    qdbg_sim *sim = calibrated(w);
    float *before = params_of(&w->e);
    qdbg_dataset set = w->s.set;
    set.user = w;
    set.batch = cancel_here;
    assert_fails(w->ctx, qdbg_sim_evaluate(sim, &set, &w->metric, &w->score), QDBG_E_CANCELLED,
                 "cancelled");
    assert_params(&w->e, before);
    assert_ok(qdbg_sim_evaluate(sim, &w->s.set, &w->metric, &w->score));
    free(before);
    qdbg_sim_destroy(sim);
}

/* ---- graphs that tell little ---- */

static void shape_of_an_unknown_output_must_be_declared(void **state)
{
    world *w = *state;
    qdbg_graph *g = make_graph(w->ctx, 13);
    qdbg_host host = engine_host(&w->e);
    qdbg_model *m;
    float data[4] = {0};
    uint32_t x = make_input(g, "x", DIMS(1, 4));
    make_finish(g, make_node(g, "MyOwnThing", "y", &x, 1, NULL));
    assert_ok(qdbg_model_create_host(g, &host, &m)); /* unknown operators are fine */
    qdbg_view in = make_view(DIMS(1, 4), data), y = QDBG_VIEW_INIT;
    assert_fails(w->ctx, qdbg_model_run(m, &in, 1, &y, 1), QDBG_E_STATE, "'y' is not known");
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
}

/* A parameter may be an output; the engine does not tap it, and is told so. */
static void parameter_as_output_must_be_tapped(void **state)
{
    static const float one = 1;
    world *w = *state;
    qdbg_graph *g = make_graph(w->ctx, 13);
    uint32_t x = make_input(g, "x", DIMS(1, 4)), p = make_param(g, "p", DIMS(1), &one);
    engine e;
    float data[4] = {0};
    assert_ok(qdbg_graph_add_output(g, p));
    make_finish(g, make_node(g, "Relu", "y", &x, 1, NULL));
    qdbg_model *m = engine_model(&e, g);
    qdbg_view in = make_view(DIMS(1, 4), data),
              out[2] = {make_view(DIMS(1), data), make_view(DIMS(1, 4), data)};
    assert_fails(w->ctx, qdbg_model_run(m, &in, 1, out, 2), QDBG_E_HOST, "'p'");
    qdbg_model_destroy(m);
    engine_free(&e);
    qdbg_graph_destroy(g);
}

/* x [1,4], shared scalar k -> MyOwnThing -> y [1,4], and the scalar is an output, too. */
typedef struct scaler {
    const qdbg_graph *g;
    bool bad;
} scaler;

static int32_t scale(void *user, qdbg_tap *tap, const qdbg_view *inputs, uint32_t n_inputs)
{
    scaler *s = user;
    float x[64], y[64], k[16]; /* what lies behind the scalar is not its business */
    qdbg_view vx = inputs[0], vk = inputs[1], vy = inputs[0];
    s->bad = s->bad || n_inputs != 2;
    vx.data = x;
    for (int i = 0; i < 16; i++)
        k[i] = 1e6f;
    k[0] = *(const float *)inputs[1].data;
    vk.data = k;
    vy.data = y;
    memcpy(x, inputs[0].data, (size_t)qdbg_view_count(&vx) * sizeof *x);
    if (qdbg_tap_value(tap, qdbg_graph_input(s->g, 0), &vx) != QDBG_OK ||
        qdbg_tap_value(tap, qdbg_graph_input(s->g, 1), &vk) != QDBG_OK)
        return 1;
    for (uint64_t i = 0; i < qdbg_view_count(&vx); i++)
        y[i] = x[i] * k[0];
    return qdbg_tap_value(tap, qdbg_graph_output(s->g, 0), &vy) != QDBG_OK;
}

static int32_t no_parameter(void *user, uint32_t value, float *data, uint64_t count)
{
    (void)user;
    (void)value;
    (void)data;
    (void)count;
    return 1;
}

static int32_t no_set(void *user, uint32_t value, const float *data, uint64_t count)
{
    (void)user;
    (void)value;
    (void)data;
    (void)count;
    return 1;
}

typedef struct scaled {
    qdbg_view views[2];
    float x[64], k;
} scaled;

static int32_t give_scaled(void *user, uint64_t index, qdbg_batch *batch)
{
    scaled *s = user;
    (void)index;
    batch->inputs = s->views;
    batch->n_inputs = 2;
    batch->n_samples = 16;
    return 0;
}

/* The scalar is observed once for each run: nothing beside it is read. */
static void scalar_input_of_a_host_is_observed(void **state)
{
    world *w = *state;
    qdbg_graph *g = make_graph(w->ctx, 13);
    scaler s = {.g = g};
    scaled *data = calloc(1, sizeof *data);
    uint32_t y;
    const int64_t dims[] = {1, 4};
    assert_non_null(data);
    uint32_t x = make_input(g, "x", DIMS(1, 4)), k = make_input(g, "k", SCALAR);
    assert_ok(qdbg_graph_add_value(g, "y", QDBG_F32, 2, dims, &y));
    assert_ok(qdbg_graph_add_node(g, "MyOwnThing", "n", VALUES(x, k), &y, 1, NULL));
    assert_ok(qdbg_graph_add_output(g, y));
    assert_ok(qdbg_graph_finish(g));
    qdbg_host host = QDBG_HOST_INIT;
    host.user = &s;
    host.run = scale;
    host.get_parameter = no_parameter;
    host.set_parameter = no_set;
    qdbg_model *m;
    qdbg_sim *sim;
    qdbg_quantizer_info info = QDBG_QUANTIZER_INFO_INIT;
    assert_ok(qdbg_model_create_host(g, &host, &m));
    assert_ok(qdbg_sim_create(m, NULL, &sim));
    data->k = 3;
    for (int i = 0; i < 64; i++)
        data->x[i] = (float)(i - 20);
    data->views[0] = make_view(DIMS(16, 4), data->x);
    data->views[1] = make_view(SCALAR, &data->k);
    qdbg_dataset set = QDBG_DATASET_INIT;
    set.n_batches = 1;
    set.user = data;
    set.batch = give_scaled;
    assert_ok(qdbg_sim_calibrate(sim, &set));
    assert_false(s.bad);
    assert_ok(qdbg_sim_quantizer(sim, qdbg_sim_find_quantizer(sim, "k"), &info));
    assert_true(info.observed_min == 3 && info.observed_max == 3);
    assert_ok(qdbg_sim_quantizer(sim, qdbg_sim_find_quantizer(sim, "y"), &info));
    assert_true(info.observed_min == -60 && info.observed_max == 129);
    qdbg_sim_destroy(sim);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    free(data);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(host_must_be_whole),
        TEST(host_gives_what_the_builtin_executor_gives),
        TEST(parameters_go_through_get_and_set),
        TEST(only_wanted_values_need_be_tapped),
        TEST(rule_1_every_value_is_tapped_once),
        TEST(rule_2_is_the_hosts_own_business),
        TEST(rule_3_tensors_have_the_graphs_shape),
        TEST(rule_5_a_failed_tap_ends_the_call),
        TEST(rule_6_inputs_are_the_librarys),
        TEST(run_failing_at_any_call_ends_with_its_code),
        TEST(odd_taps),
        TEST(originals_come_back_after_any_failure),
        TEST(originals_come_back_after_a_cancel),
        TEST(shape_of_an_unknown_output_must_be_declared),
        TEST(parameter_as_output_must_be_tapped),
        TEST(scalar_input_of_a_host_is_observed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
