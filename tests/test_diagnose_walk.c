/* A diagnosis on its way: progress, cancel, hosts that break its rules, and that the model is left
 * as it was (diagnose.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../lib/analysis/probe.h"

#include "graph_make.h"
#include "support.h"

/* ---- a model with batch-normalization, built-in or host ---- */

typedef struct trace {
    qdbg_ctx *ctx;
    int calls, stop_at;
    bool by_cancel, bad;
    char stages[512];  /* each stage as it begins */
    const char *stage; /* the last one */
    uint64_t done;
} trace;

typedef struct world {
    heap h;
    trace t;
    qdbg_ctx *ctx;
    qdbg_graph *g;
    engine e;
    bool host;
    qdbg_model *m;
    samples s;
    qdbg_diagnose_options o;
    qdbg_sim_options sim;
} world;

static int32_t on_progress(void *user, const qdbg_progress *p)
{
    trace *t = user;
    size_t used = strlen(t->stages);
    bool same = t->stage && strcmp(t->stage, p->stage) == 0;
    if (!same)
        snprintf(t->stages + used, sizeof t->stages - used, "%s%s", used ? " " : "", p->stage);
    t->bad = t->bad || p->done > p->total || p->total == 0 || (same && p->done < t->done);
    t->stage = p->stage;
    t->done = p->done;
    if (++t->calls != t->stop_at)
        return 0;
    if (t->by_cancel)
        qdbg_cancel(t->ctx);
    return !t->by_cancel;
}

static void world_begin(world *w, bool host, uint32_t threads)
{
    *w = (world){.host = host, .o = QDBG_DIAGNOSE_OPTIONS_INIT, .sim = QDBG_SIM_OPTIONS_INIT};
    heap_init(&w->h);
    qdbg_allocator allocator = heap_allocator(&w->h);
    qdbg_ctx_options options = QDBG_CTX_OPTIONS_INIT;
    options.threads = threads;
    options.allocator = &allocator;
    options.progress = on_progress;
    options.progress_user = &w->t;
    assert_ok(qdbg_ctx_create(&options, &w->ctx));
    w->t.ctx = w->ctx;
    w->g = net_of_convs(w->ctx);
    w->m = host ? engine_model(&w->e, w->g) : builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, 30, 8, 3);
    w->o.calibration = w->o.evaluation = &w->s.set;
    w->o.sim = &w->sim;
    w->sim.weight_bits = w->sim.activation_bits = 3;
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

/* All parameters are what the graph was made with. */
static void assert_restored(world *w)
{
    for (uint32_t v = 0; v < qdbg_graph_value_count(w->g); v++) {
        qdbg_view was = QDBG_VIEW_INIT;
        float now[256];
        if (qdbg_graph_parameter(w->g, v, &was) != QDBG_OK)
            continue;
        uint64_t n = qdbg_view_count(&was);
        assert_true(n <= 256);
        assert_ok(qdbg_model_get_parameter(w->m, v, now, n));
        assert_memory_equal(now, was.data, (size_t)n * sizeof *now);
    }
}

/* ---- a diagnosis as text, to the bit ---- */

typedef struct page {
    char text[16384];
    size_t used;
} page;

static void put_double(page *p, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    p->used += (size_t)snprintf(p->text + p->used, sizeof p->text - p->used, "%llx ",
                                (unsigned long long)bits);
    assert_true(p->used < sizeof p->text);
}

static void put(page *p, const char *text)
{
    p->used += (size_t)snprintf(p->text + p->used, sizeof p->text - p->used, "%s|", text);
    assert_true(p->used < sizeof p->text);
}

static void write_page(const qdbg_diagnosis *d, page *p)
{
    qdbg_summary s = QDBG_SUMMARY_INIT;
    assert_ok(qdbg_diagnosis_summary(d, &s));
    p->used = 0;
    for (uint32_t i = 0; i < s.n_steps; i++) {
        qdbg_step t = QDBG_STEP_INIT;
        assert_ok(qdbg_diagnosis_step(d, i, &t));
        put(p, t.name);
        put(p, t.verdict);
        put(p, t.recommendation);
        put_double(p, t.score);
        put_double(p, t.half_width);
        put_double(p, t.sqnr_db);
        put_double(p, t.outcome);
    }
    for (uint32_t i = 0; i < s.n_findings; i++) {
        qdbg_finding f = QDBG_FINDING_INIT;
        assert_ok(qdbg_diagnosis_finding(d, i, &f));
        put(p, f.name);
        put(p, f.reason);
        put_double(p, f.score_alone);
        put_double(p, f.output_sqnr_db);
        put_double(p, f.noise_share);
        put_double(p, f.local_sqnr_db);
        put_double(p, f.channel_spread);
        put_double(p, (double)f.scale);
    }
}

static void diagnose_page(bool host, uint32_t threads, page *p)
{
    world w;
    qdbg_diagnosis *d;
    world_begin(&w, host, threads);
    assert_ok(qdbg_diagnose(w.m, &w.o, &d));
    write_page(d, p);
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

static void same_diagnosis_on_any_number_of_threads(void **state)
{
    static page want, got;
    (void)state;
    for (int host = 0; host < 2; host++) {
        diagnose_page(host, 1, &want);
        for (uint32_t threads = 1; threads <= 4; threads++) {
            diagnose_page(host, threads, &got);
            assert_string_equal(got.text, want.text);
        }
    }
}

/* ---- progress and cancel ---- */

static void progress_names_the_stages_in_order(void **state)
{
    (void)state;
    for (int host = 0; host < 2; host++) {
        world w;
        qdbg_diagnosis *d;
        world_begin(&w, host, 2);
        assert_ok(qdbg_diagnose(w.m, &w.o, &d));
        assert_string_equal(w.t.stages,
                            "float32 calibrate quantized weights activations quantizers");
        assert_false(w.t.bad); /* no bar goes back */
        qdbg_diagnosis_destroy(d);
        world_end(&w);
    }
}

/* By the callback's result and by qdbg_cancel(), at every call. */
static void cancel_at_any_moment_leaves_the_model_as_it_was(void **state)
{
    (void)state;
    for (int host = 0; host < 2; host++)
        for (int by_cancel = 0; by_cancel < 2; by_cancel++) {
            world w;
            qdbg_diagnosis *d = NULL;
            world_begin(&w, host, 2);
            w.t.by_cancel = by_cancel;
            for (w.t.stop_at = 1;; w.t.stop_at++) {
                w.t.calls = 0;
                uint64_t live = w.h.n_live;
                qdbg_status status = qdbg_diagnose(w.m, &w.o, &d);
                assert_int_equal(error_of(w.ctx).status, status);
                assert_restored(&w);
                if (status == QDBG_OK)
                    break;
                assert_int_equal(status, QDBG_E_CANCELLED);
                assert_int_equal(w.t.calls, w.t.stop_at); /* not called again */
                assert_null(d);
                /* What the executor and the model keep for the next run may have grown once. */
                if (w.t.stop_at > 60)
                    assert_int_equal(w.h.n_live, live);
            }
            assert_true(w.t.stop_at > 25);
            assert_int_equal(w.t.calls, w.t.stop_at - 1);
            qdbg_diagnosis_destroy(d);
            world_end(&w);
        }
}

/* ---- the model afterwards ---- */

static void parameters_are_as_they_were(void **state)
{
    (void)state;
    for (int host = 0; host < 2; host++) {
        world w;
        qdbg_diagnosis *d;
        world_begin(&w, host, 2);
        assert_ok(qdbg_diagnose(w.m, &w.o, &d));
        qdbg_summary s = QDBG_SUMMARY_INIT;
        assert_ok(qdbg_diagnosis_summary(d, &s));
        assert_int_equal(s.n_folded, 1);
        assert_restored(&w);
        qdbg_diagnosis_destroy(d);
        world_end(&w);
    }
}

/* ---- hosts that break the rules ---- */

static qdbg_step float32_step(const qdbg_diagnosis *d)
{
    qdbg_step s = QDBG_STEP_INIT;
    assert_ok(qdbg_diagnosis_step(d, 0, &s));
    assert_string_equal(s.name, "float32");
    return s;
}

/* set_parameter keeps half of the bits: bypassed weights are not the float model's any more, and
 * the first value behind them says so. */
static void host_that_rounds_parameters_fails_the_float32_check(void **state)
{
    world w;
    qdbg_diagnosis *d;
    (void)state;
    world_begin(&w, true, 2);
    uint32_t v = value_of(w.g, "fw");
    for (uint64_t i = 0; i < w.e.counts[v]; i++)
        w.e.params[v][i] += 1.0f / 3; /* needs all bits of a float32 */
    w.e.fault = FAULT_HALF;
    w.o.flags = QDBG_DIAGNOSE_NO_FOLD;
    assert_ok(qdbg_diagnose(w.m, &w.o, &d));
    qdbg_step s = float32_step(d);
    assert_int_equal(s.outcome, QDBG_OUTCOME_FAILED);
    assert_non_null(strstr(s.verdict, "first at value 'y'"));
    assert_non_null(strstr(s.recommendation, "set_parameter"));
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

/* set_parameter does nothing: the outputs are the float model's whatever is asked for. */
static void host_that_sets_nothing_fails_the_float32_check(void **state)
{
    static const char *const names[] = {"cw", "fw"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        world w;
        qdbg_diagnosis *d;
        char text[64];
        world_begin(&w, true, 2);
        w.e.fault = FAULT_DEAF;
        w.e.fault_value = value_of(w.g, names[i]);
        w.o.flags = QDBG_DIAGNOSE_NO_FOLD;
        w.e.params[w.e.fault_value][0] = i ? 0 : 5; /* zeros have no sign to turn */
        assert_ok(qdbg_diagnose(w.m, &w.o, &d));
        qdbg_step s = float32_step(d);
        snprintf(text, sizeof text, "set_parameter with other elements '%s'", names[i]);
        assert_int_equal(s.outcome, QDBG_OUTCOME_FAILED);
        assert_non_null(strstr(s.verdict, text));
        assert_non_null(strstr(s.recommendation, "set_parameter must keep"));
        qdbg_diagnosis_destroy(d);
        world_end(&w);
    }
}

/* The value named is the first that differs, not the last. */
static void first_value_that_differs_is_named(void **state)
{
    world w;
    qdbg_diagnosis *d;
    (void)state;
    world_begin(&w, true, 2);
    uint32_t v = value_of(w.g, "cw");
    for (uint64_t i = 0; i < w.e.counts[v]; i++)
        w.e.params[v][i] += 1.0f / 3;
    w.e.fault = FAULT_HALF;
    assert_ok(qdbg_diagnose(w.m, &w.o, &d));
    qdbg_step s = float32_step(d);
    assert_int_equal(s.outcome, QDBG_OUTCOME_FAILED);
    assert_non_null(strstr(s.verdict, "first at value 'r'"));
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

/* Rule 2: its outputs stay as they are whatever the quantizers do. */
static void host_that_ignores_quantizers_fails_the_float32_check(void **state)
{
    world w;
    qdbg_diagnosis *d;
    (void)state;
    world_begin(&w, true, 2);
    w.e.fault = FAULT_IGNORE;
    w.e.fault_value = QDBG_NONE; /* any */
    assert_ok(qdbg_diagnose(w.m, &w.o, &d));
    qdbg_step s = float32_step(d);
    assert_int_equal(s.outcome, QDBG_OUTCOME_FAILED);
    assert_non_null(strstr(s.recommendation, "rule 2"));
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

/* One that goes on with its own copy of the input alone breaks the rule as well. */
static void host_that_ignores_the_inputs_quantizer_is_found(void **state)
{
    world w;
    qdbg_diagnosis *d;
    (void)state;
    world_begin(&w, true, 2);
    w.e.fault = FAULT_IGNORE;
    w.e.fault_value = value_of(w.g, "x");
    assert_ok(qdbg_diagnose(w.m, &w.o, &d));
    assert_non_null(strstr(float32_step(d).recommendation, "rule 2"));
    qdbg_diagnosis_destroy(d);
    world_end(&w);
}

/* The last layer multiplies everything by zero: no quantizer can change an output, whatever the
 * host does, and none is accused. */
static void dead_network_is_no_disobedience(void **state)
{
    (void)state;
    for (int ignores = 0; ignores < 2; ignores++) {
        world w;
        qdbg_diagnosis *d;
        world_begin(&w, true, 2);
        uint32_t v = value_of(w.g, "fw");
        memset(w.e.params[v], 0, (size_t)w.e.counts[v] * sizeof(float));
        w.e.fault = ignores ? FAULT_IGNORE : FAULT_NONE;
        w.e.fault_value = QDBG_NONE;
        assert_ok(qdbg_diagnose(w.m, &w.o, &d));
        qdbg_step s = float32_step(d);
        assert_int_equal(s.outcome, QDBG_OUTCOME_PASSED);
        assert_null(strstr(s.recommendation, "rule 2"));
        qdbg_diagnosis_destroy(d);
        world_end(&w);
    }
}

/* y = x + table[ids]: the other inputs are zeros for x, and the ids in reverse order. */
static void other_inputs_are_ones_that_the_model_may_be_given(void **state)
{
    static float x[] = {5, 6, 7, 8}, table[] = {10, 20, 30};
    static int64_t ids[] = {2, 0, 1, 1};
    static const float want[] = {20, 20, 10, 30};
    qdbg_ctx *ctx = make_ctx(1);
    qdbg_graph *g = make_graph(ctx, 13);
    qdbg_view in[2] = {make_view(DIMS(2, 2), x), make_view(DIMS(2, 2), NULL)};
    uint32_t v[2] = {make_input(g, "x", DIMS(1, 2))}, t[2] = {0};
    (void)state;
    assert_ok(qdbg_graph_add_value(g, "ids", QDBG_I64, 2, DIMS(1, 2), &t[1]));
    assert_ok(qdbg_graph_add_input(g, t[1]));
    t[0] = make_param(g, "table", DIMS(3), table);
    v[1] = make_node(g, "Gather", "rows", t, 2, NULL);
    make_finish(g, make_node(g, "Add", "y", v, 2, NULL));
    qdbg_model *m = builtin_model(g);
    assert_ok(qdbg_view_init(&in[1], QDBG_I64, 2, DIMS(2, 2), ids));
    qdbg_arrays *arrays;
    qdbg_dataset set;
    qdbg__probe p;
    assert_ok(qdbg_arrays_create(ctx, in, 2, NULL, 2, &arrays));
    assert_ok(qdbg_arrays_dataset(arrays, &set));
    assert_ok(qdbg__probe_take_others(m, &set, &p));
    assert_int_equal(p.bytes[0], sizeof want);
    assert_memory_equal(p.outputs[0], want, sizeof want);
    qdbg__probe_free(m, &p);
    qdbg_arrays_destroy(arrays);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

static void broken_rule_ends_the_diagnosis(void **state)
{
    world w;
    qdbg_diagnosis *d = NULL;
    (void)state;
    world_begin(&w, true, 2);
    w.e.fault = FAULT_NO_TAP;
    w.e.fault_value = value_of(w.g, "r");
    assert_fails(w.ctx, qdbg_diagnose(w.m, &w.o, &d), QDBG_E_HOST, "rule 1 is broken at value 'r'");
    assert_null(d);
    assert_restored(&w);
    world_end(&w);
}

/* ---- outputs that are not finite ---- */

/* y = log(relu(x)): -infinity wherever x is not positive. Identical outputs are identical. */
static void infinite_outputs_are_no_difference(void **state)
{
    qdbg_ctx *ctx = make_ctx(2);
    qdbg_graph *g = make_graph(ctx, 13);
    qdbg_diagnose_options o = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_diagnosis *d;
    (void)state;
    uint32_t x = make_input(g, "x", DIMS(1, 4)), r = make_node(g, "Relu", "r", &x, 1, NULL);
    make_finish(g, make_node(g, "Log", "y", &r, 1, NULL));
    qdbg_model *m = builtin_model(g);
    samples s = samples_make(ctx, g, 10, 5, 0);
    o.calibration = o.evaluation = &s.set;
    assert_ok(qdbg_diagnose(m, &o, &d));
    assert_int_equal(float32_step(d).outcome, QDBG_OUTCOME_PASSED);
    qdbg_diagnosis_destroy(d);
    samples_free(&s);
    qdbg_model_destroy(m);
    qdbg_graph_destroy(g);
    qdbg_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_diagnosis_on_any_number_of_threads),
        cmocka_unit_test(progress_names_the_stages_in_order),
        cmocka_unit_test(cancel_at_any_moment_leaves_the_model_as_it_was),
        cmocka_unit_test(parameters_are_as_they_were),
        cmocka_unit_test(host_that_rounds_parameters_fails_the_float32_check),
        cmocka_unit_test(host_that_sets_nothing_fails_the_float32_check),
        cmocka_unit_test(first_value_that_differs_is_named),
        cmocka_unit_test(host_that_ignores_quantizers_fails_the_float32_check),
        cmocka_unit_test(host_that_ignores_the_inputs_quantizer_is_found),
        cmocka_unit_test(dead_network_is_no_disobedience),
        cmocka_unit_test(other_inputs_are_ones_that_the_model_may_be_given),
        cmocka_unit_test(broken_rule_ends_the_diagnosis),
        cmocka_unit_test(infinite_outputs_are_no_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
