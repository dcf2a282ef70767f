/* Hosts that fail, and hosts that lie: a callback that returns a number of its own at its k-th
 * call, a cancel at the k-th progress report, an engine that gives another result each time, and
 * one whose set_parameter does not keep what it is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <math.h>

#include "trial.h"

/* ---- a host with a fault ---- */

enum { RUN, GET, SET, N_FUNCTIONS };

static const char *const names[N_FUNCTIONS] = {"run", "get_parameter", "set_parameter"};

/* The engine's table of functions with a fault in it. */
typedef struct faulty {
    engine *engine;
    int function;                  /* that fails */
    uint64_t fail_at;              /* its call that fails, from 1; 0: none */
    bool for_good;                 /* all later ones fail too */
    uint64_t n_calls[N_FUNCTIONS]; /* so far */
    int32_t code;                  /* what the failing call returns */
    bool half;                     /* set_parameter keeps 16 bits of each float */
} faulty;

static bool fails(faulty *f, int function)
{
    uint64_t n = ++f->n_calls[function];
    if (f->function != function || f->fail_at == 0)
        return false;
    return f->for_good ? n >= f->fail_at : n == f->fail_at;
}

static int32_t faulty_run(void *user, qdbg_tap *tap, const qdbg_view *inputs, uint32_t n_inputs)
{
    faulty *f = user;
    return fails(f, RUN) ? f->code : engine_run(f->engine, tap, inputs, n_inputs);
}

static int32_t faulty_get(void *user, uint32_t value, float *data, uint64_t count)
{
    faulty *f = user;
    return fails(f, GET) ? f->code : engine_get(f->engine, value, data, count);
}

static void keep_half(float *x)
{
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    bits &= 0xffff0000u;
    memcpy(x, &bits, sizeof bits);
}

static int32_t faulty_set(void *user, uint32_t value, const float *data, uint64_t count)
{
    faulty *f = user;
    if (fails(f, SET)) {
        if (count > 0) /* it breaks off in the middle */
            engine_set(f->engine, value, (float[256]){0}, count);
        return f->code;
    }
    int32_t code = engine_set(f->engine, value, data, count);
    for (uint64_t i = 0; f->half && i < count; i++)
        keep_half(&f->engine->parameters[value][i]);
    return code;
}

static qdbg_model *faulty_model(world *w, faulty *f)
{
    qdbg_host host = QDBG_HOST_INIT;
    qdbg_model *model;
    *f = (faulty){.engine = w->engine};
    host.user = f;
    host.run = faulty_run;
    host.get_parameter = faulty_get;
    host.set_parameter = faulty_set;
    ASSERT_OK(w, qdbg_model_create_host(w->graph, &host, &model));
    return model;
}

static world *w;
static faulty fault;
static trial t;

static int open_world(void **state)
{
    (void)state;
    w = world_open(&network_small);
    assert_non_null(w);
    trial_open(&t, w, faulty_model(w, &fault));
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    trial_close(&t);
    qdbg_model_destroy(t.model);
    world_close(w);
    return 0;
}

/* ---- a callback that fails at its k-th call ---- */

static void assert_told(const trial_call *call, int function, uint64_t k, qdbg_status status)
{
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    assert_int_equal(qdbg_ctx_error(w->ctx, &info), QDBG_OK);
    if (status != QDBG_E_CALLBACK || info.status != QDBG_E_CALLBACK ||
        info.callback_code != fault.code || !strstr(info.message, names[function]))
        fail_msg("%s, call %llu of %s: %s '%s'", call->name, (unsigned long long)k, names[function],
                 qdbg_status_name(status), info.message);
}

/* Fail the first call, then the second, and so on until there are no more. */
static void fail_every_call(const trial_call *call, int function)
{
    for (uint64_t k = 1;; k++) {
        fault.function = function;
        fault.code = k % 2 ? -7 : 1000;
        fault.n_calls[function] = 0;
        fault.fail_at = k;
        qdbg_status status = call->make(&t);
        bool failed = fault.n_calls[function] >= k;
        fault.fail_at = 0;
        if (!failed) {
            ASSERT_OK(w, status);
            return;
        }
        assert_told(call, function, k, status);
        trial_assert_unharmed(&t);
    }
}

static void fail_in_all(int function)
{
    for (size_t i = 0; i < TRIAL_CALLS; i++)
        fail_every_call(&trial_calls[i], function);
    trial_assert_unharmed(&t);
}

static void test_run_that_fails(void **state)
{
    (void)state;
    fail_in_all(RUN);
}

static void test_get_parameter_that_fails(void **state)
{
    (void)state;
    fail_in_all(GET);
}

static void test_set_parameter_that_fails(void **state)
{
    (void)state;
    fail_in_all(SET);
}

/* Nobody can put the parameters back then, but the call ends well and says why. */
static void test_set_parameter_that_fails_for_good(void **state)
{
    (void)state;
    engine *good = w->engine;
    w->engine = fault.engine = engine_new(w->graph);
    assert_non_null(w->engine);
    fault.for_good = true;
    for (size_t i = 0; i < TRIAL_CALLS; i++) {
        fault.n_calls[SET] = 0;
        fault.function = SET;
        fault.code = 9;
        fault.fail_at = 2;
        qdbg_status status = trial_calls[i].make(&t);
        if (fault.n_calls[SET] < 2)
            ASSERT_OK(w, status);
        else
            assert_told(&trial_calls[i], SET, 2, status);
    }
    fault.for_good = false;
    fault.fail_at = 0;
    engine_free(w->engine);
    w->engine = fault.engine = good;
    trial_assert_unharmed(&t);
}

/* A failure to put parameters back does not cover up what went wrong before. */
static void test_first_failure_is_the_one_told(void **state)
{
    (void)state;
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    fault.function = RUN;
    fault.fail_at = 3;
    fault.n_calls[RUN] = 0;
    fault.code = 5;
    assert_int_equal(trial_calls[TRIAL_CALLS - 1].make(&t), QDBG_E_CALLBACK);
    assert_int_equal(qdbg_ctx_error(w->ctx, &info), QDBG_OK);
    assert_int_equal(info.callback_code, 5);
    fault.fail_at = 0;
    trial_assert_unharmed(&t);
}

/* ---- cancel ---- */

typedef struct stopper {
    uint64_t n_calls, stop_at;
} stopper;

static int32_t stop(void *user, const qdbg_progress *progress)
{
    stopper *s = user;
    (void)progress;
    return ++s->n_calls == s->stop_at;
}

static void test_cancel_at_every_report_of_progress(void **state)
{
    (void)state;
    for (size_t i = 0; i < TRIAL_CALLS; i++) {
        for (uint64_t k = 1;; k++) {
            stopper s = {0, k};
            w->progress = stop;
            w->progress_user = &s;
            qdbg_status status = trial_calls[i].make(&t);
            w->progress = NULL;
            if (s.n_calls < k) {
                ASSERT_OK(w, status);
                break;
            }
            assert_int_equal(status, QDBG_E_CANCELLED);
            trial_assert_unharmed(&t);
        }
    }
}

/* ---- hosts that lie ---- */

/* The float32 check of a diagnosis; its texts live as long as that. */
static qdbg_step float32_check(qdbg_model *model, uint32_t flags, qdbg_diagnosis **diagnosis)
{
    qdbg_diagnose_options options = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_step step = QDBG_STEP_INIT;
    options.flags = flags;
    options.calibration = options.evaluation = &w->data;
    ASSERT_OK(w, qdbg_diagnose(model, &options, diagnosis));
    ASSERT_OK(w, qdbg_diagnosis_step(*diagnosis, 0, &step));
    assert_string_equal(step.name, "float32");
    return step;
}

static void assert_check_passes(qdbg_model *model, uint32_t flags)
{
    qdbg_diagnosis *diagnosis;
    qdbg_step step = float32_check(model, flags, &diagnosis);
    assert_int_equal(step.outcome, QDBG_OUTCOME_PASSED);
    qdbg_diagnosis_destroy(diagnosis);
}

static void assert_check_fails(qdbg_model *model, uint32_t flags, const char *at)
{
    qdbg_diagnosis *diagnosis;
    qdbg_step step = float32_check(model, flags, &diagnosis);
    if (step.outcome != QDBG_OUTCOME_FAILED || !strstr(step.verdict, at))
        fail_msg("outcome %d, \"%s\" does not name \"%s\"", step.outcome, step.verdict, at);
    assert_true(step.recommendation[0] != 0);
    qdbg_diagnosis_destroy(diagnosis);
}

/* Each pass gives another last bit in one element. */
static int32_t tap_with_noise(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    if (value == *(const uint32_t *)e->user) {
        float *x = tensor->data;
        for (uint64_t i = 0; i < e->runs % 64; i++)
            x[0] = nextafterf(x[0], INFINITY);
    }
    return engine_tap(e, tap, value, tensor);
}

static void check_noise_at(const char *name)
{
    uint32_t value = qdbg_graph_find_value(w->graph, name);
    char at[64] = "first at value '";
    strcat(strcat(at, name), "'");
    w->engine->user = &value;
    w->engine->tap = tap_with_noise;
    assert_check_fails(t.model, 0, at);
    assert_check_fails(t.model, QDBG_DIAGNOSE_NO_FOLD, at);
    w->engine->tap = engine_tap;
    assert_check_passes(t.model, 0);
    trial_assert_unharmed(&t);
}

static void test_host_that_is_not_deterministic(void **state)
{
    (void)state;
    check_noise_at("x");
    check_noise_at("a");
    check_noise_at("c");
    check_noise_at("y");
}

/* The stem's weight is the first parameter; "a" the first value behind it with a quantizer. */
static void test_host_that_loses_precision(void **state)
{
    (void)state;
    uint32_t flags[] = {0, QDBG_DIAGNOSE_NO_FOLD};
    for (size_t i = 0; i < 2; i++) {
        engine *e = engine_new(w->graph); /* it cannot get its originals back */
        assert_non_null(e);
        faulty lossy;
        qdbg_model *model = faulty_model(w, &lossy);
        lossy.engine = e;
        lossy.half = true;
        assert_check_fails(model, flags[i], "first at value 'a'");
        assert_false(engine_is_original(e));
        qdbg_model_destroy(model);
        engine_free(e);
    }
    trial_assert_unharmed(&t);
}

/* Hands over copies and goes on with its own data (rule 2). */
static int32_t tap_a_copy(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    static float copy[1 << 16];
    uint64_t n = qdbg_view_count(tensor);
    qdbg_view shown = *tensor;
    assert_true(n <= sizeof copy / sizeof *copy);
    memcpy(copy, tensor->data, n * sizeof *copy);
    shown.data = copy;
    return engine_tap(e, tap, value, &shown);
}

static void test_host_that_ignores_the_tap(void **state)
{
    (void)state;
    w->engine->tap = tap_a_copy;
    assert_check_fails(t.model, 0, "does not go on with what the tap leaves");
    w->engine->tap = engine_tap;
    assert_check_passes(t.model, 0);
    trial_assert_unharmed(&t);
}

/* A host whose float32 elements are what they are passes. */
static void test_honest_host_passes_the_check(void **state)
{
    (void)state;
    assert_check_passes(t.model, 0);
    assert_check_passes(t.model, QDBG_DIAGNOSE_NO_FOLD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_honest_host_passes_the_check),
        cmocka_unit_test(test_host_that_ignores_the_tap),
        cmocka_unit_test(test_run_that_fails),
        cmocka_unit_test(test_get_parameter_that_fails),
        cmocka_unit_test(test_set_parameter_that_fails),
        cmocka_unit_test(test_set_parameter_that_fails_for_good),
        cmocka_unit_test(test_first_failure_is_the_one_told),
        cmocka_unit_test(test_cancel_at_every_report_of_progress),
        cmocka_unit_test(test_host_that_is_not_deterministic),
        cmocka_unit_test(test_host_that_loses_precision),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
