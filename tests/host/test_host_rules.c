/* Every rule of qdbg_host_run_fn (model.h) broken on purpose, one at a time, in every kind of call:
 * the library says which rule and where, and everything is as usable afterwards as before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <pthread.h>

#include "trial.h"

static world *w;
static trial t;

static int open_world(void **state)
{
    (void)state;
    w = world_open(&network_small);
    assert_non_null(w);
    trial_open(&t, w, w->host);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    trial_close(&t);
    world_close(w);
    return 0;
}

/* ---- breaking a rule ---- */

/* What the bad tap does it does to this value. */
typedef struct victim {
    uint32_t value;
    qdbg_tap *tap;
    qdbg_view *tensor; /* kept back, to be tapped too late */
    qdbg_status got;   /* of the tap that broke the rule */
    qdbg_status again; /* of a tap behind it */
} victim;

static int32_t code_of(qdbg_status status)
{
    return status == QDBG_OK ? ENGINE_DONE : ENGINE_TAP_FAILED;
}

static int32_t tap_never(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    const victim *v = e->user;
    return value == v->value ? ENGINE_DONE : engine_tap(e, tap, value, tensor);
}

static int32_t tap_twice(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    victim *v = e->user;
    int32_t code = engine_tap(e, tap, value, tensor);
    if (value != v->value || code != ENGINE_DONE)
        return code;
    v->got = qdbg_tap_value(tap, value, tensor);
    return code_of(v->got);
}

/* Tap the victim only behind the value that is wanted next. */
static int32_t tap_late(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    victim *v = e->user;
    if (value == v->value) {
        v->tensor = tensor;
        return ENGINE_DONE;
    }
    int32_t code = engine_tap(e, tap, value, tensor);
    if (!v->tensor || code != ENGINE_DONE)
        return code;
    v->got = qdbg_tap_value(tap, v->value, v->tensor);
    v->tensor = NULL;
    return code_of(v->got);
}

static int32_t tap_unknown_value(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    victim *v = e->user;
    if (value != v->value)
        return engine_tap(e, tap, value, tensor);
    v->got = qdbg_tap_value(tap, e->n_values, tensor);
    return code_of(v->got);
}

/* Taps the victim as `changed`, which is its tensor but for one mistake. */
static int32_t tap_changed(engine *e, qdbg_tap *tap, uint32_t value, const qdbg_view *changed)
{
    victim *v = e->user;
    v->got = qdbg_tap_value(tap, value, changed);
    return code_of(v->got);
}

static int32_t tap_wrong_shape(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    const victim *v = e->user;
    qdbg_view changed = *tensor;
    if (value != v->value)
        return engine_tap(e, tap, value, tensor);
    changed.dims[changed.rank - 1]--;
    return tap_changed(e, tap, value, &changed);
}

static int32_t tap_wrong_rank(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    const victim *v = e->user;
    qdbg_view changed = *tensor;
    if (value != v->value)
        return engine_tap(e, tap, value, tensor);
    changed.dims[changed.rank++] = 1;
    return tap_changed(e, tap, value, &changed);
}

/* One sample of the batch instead of all. */
static int32_t tap_one_sample(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    const victim *v = e->user;
    qdbg_view changed = *tensor;
    if (value != v->value || changed.dims[0] == 1)
        return engine_tap(e, tap, value, tensor);
    changed.dims[0] = 1;
    return tap_changed(e, tap, value, &changed);
}

static int32_t tap_integers(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    const victim *v = e->user;
    qdbg_view changed = *tensor;
    if (value != v->value)
        return engine_tap(e, tap, value, tensor);
    changed.dtype = QDBG_I32;
    return tap_changed(e, tap, value, &changed);
}

static int32_t tap_ignoring_failure(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    victim *v = e->user;
    tap_integers(e, tap, value, tensor);
    if (v->got != QDBG_OK) /* what comes behind is answered with the same failure */
        v->again = qdbg_tap_value(tap, value, tensor);
    return ENGINE_DONE;
}

static int32_t tap_null(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    const victim *v = e->user;
    return value == v->value ? tap_changed(e, tap, value, NULL) : engine_tap(e, tap, value, tensor);
}

static void *tap_there(void *user)
{
    victim *v = user;
    v->got = qdbg_tap_value(v->tap, v->value, v->tensor);
    return NULL;
}

static int32_t tap_on_another_thread(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    victim *v = e->user;
    pthread_t thread;
    if (value != v->value)
        return engine_tap(e, tap, value, tensor);
    v->tap = tap;
    v->tensor = tensor;
    if (pthread_create(&thread, NULL, tap_there, v) != 0)
        return ENGINE_OUT_OF_MEMORY;
    pthread_join(thread, NULL);
    return code_of(v->got);
}

static int32_t tap_input_itself(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    const victim *v = e->user;
    return value == v->value ? tap_changed(e, tap, value, &e->inputs[0])
                             : engine_tap(e, tap, value, tensor);
}

/* ---- and being told ---- */

typedef struct breach {
    engine_tap_fn tap;
    qdbg_status status;
    const char *text;
    bool unnamed; /* the message cannot name the value */
} breach;

static void assert_told(const breach *b, const char *name, const victim *v, qdbg_status status)
{
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    qdbg_value_info value = QDBG_VALUE_INFO_INIT;
    ASSERT_OK(w, qdbg_graph_value(w->graph, v->value, &value));
    assert_int_equal(qdbg_ctx_error(w->ctx, &info), QDBG_OK);
    if (status != b->status || info.status != b->status || !strstr(info.message, b->text))
        fail_msg("%s, value '%s': %s '%s' instead of %s '%s'", name, value.name,
                 qdbg_status_name(status), info.message, qdbg_status_name(b->status), b->text);
    if (b->unnamed)
        return;
    assert_string_equal(info.value, value.name);
    assert_non_null(strstr(info.message, value.name));
}

/* Break the rule at `value` in every call that wants it. */
static void break_at(const breach *b, const char *value_name)
{
    victim v = {.value = qdbg_graph_find_value(w->graph, value_name)};
    assert_int_not_equal(v.value, QDBG_NONE);
    for (size_t i = 0; i < TRIAL_CALLS; i++) {
        if (!trial_calls[i].quantizes && v.value != qdbg_graph_output(w->graph, 0))
            continue;
        v.got = v.again = QDBG_OK;
        v.tensor = NULL;
        w->engine->user = &v;
        w->engine->tap = b->tap;
        qdbg_status status = trial_calls[i].make(&t);
        w->engine->tap = engine_tap;
        assert_told(b, trial_calls[i].name, &v, status);
        if (b->tap != tap_never)
            assert_int_equal(v.got, b->status);
        if (b->tap == tap_ignoring_failure)
            assert_int_equal(v.again, b->status);
        trial_assert_unharmed(&t);
    }
}

/* At the input, in the middle and at the output. */
static void break_everywhere(const breach *b)
{
    break_at(b, "x");
    break_at(b, "b");
    break_at(b, "y");
}

static void test_rule_1_never_tapped(void **state)
{
    (void)state;
    break_everywhere(&(breach){tap_never, QDBG_E_HOST, "rule 1 is broken at value", false});
}

static void test_rule_1_tapped_twice(void **state)
{
    (void)state;
    break_everywhere(&(breach){tap_twice, QDBG_E_HOST, "rule 1 is broken at value", false});
}

static void test_rule_1_tapped_too_late(void **state)
{
    (void)state;
    breach b = {tap_late, QDBG_E_HOST, "tapped after one that is computed from it", false};
    break_at(&b, "x");
    break_at(&b, "b");
}

static void test_rule_1_unknown_value(void **state)
{
    (void)state;
    break_everywhere(&(breach){tap_unknown_value, QDBG_E_HOST, "rule 1 is broken", true});
}

static void test_rule_3_wrong_shape(void **state)
{
    (void)state;
    break_everywhere(&(breach){tap_wrong_shape, QDBG_E_HOST, "rule 3 is broken at value", false});
    break_everywhere(&(breach){tap_wrong_rank, QDBG_E_HOST, "rule 3 is broken at value", false});
    break_everywhere(&(breach){tap_one_sample, QDBG_E_HOST, ", expected [", false});
}

static void test_rule_3_not_float32(void **state)
{
    (void)state;
    break_everywhere(&(breach){tap_integers, QDBG_E_HOST, "the tensor is not float32", false});
}

static void test_rule_4_on_another_thread(void **state)
{
    (void)state;
    break_everywhere(&(breach){tap_on_another_thread, QDBG_E_HOST, "rule 4 is broken", true});
}

static void test_rule_5_goes_on_after_failure(void **state)
{
    (void)state;
    breach b = {tap_ignoring_failure, QDBG_E_HOST, "the tensor is not float32", false};
    break_everywhere(&b);
}

static void test_rule_6_taps_the_input_itself(void **state)
{
    (void)state;
    break_at(&(breach){tap_input_itself, QDBG_E_HOST, "rule 6 is broken at value", false}, "x");
}

static void test_no_tensor_at_all(void **state)
{
    (void)state;
    break_everywhere(&(breach){tap_null, QDBG_E_INVALID, "is NULL", true});
}

/* ---- what is no breach ---- */

static int32_t tap_everything(engine *e, qdbg_tap *tap, uint32_t value, qdbg_view *tensor)
{
    for (uint32_t v = 0; v < e->n_values; v++)
        if (!qdbg_tap_wants(tap, v) && e->values[v].data &&
            qdbg_tap_value(tap, v, &e->values[v]) != QDBG_OK)
            return ENGINE_TAP_FAILED;
    return engine_tap(e, tap, value, tensor);
}

static void test_tapping_what_is_not_wanted_is_allowed(void **state)
{
    (void)state;
    w->engine->tap = tap_everything;
    for (size_t i = 0; i < TRIAL_CALLS; i++)
        ASSERT_OK(w, trial_calls[i].make(&t));
    w->engine->tap = engine_tap;
    trial_assert_unharmed(&t);
}

static void test_values_that_do_not_exist_are_not_wanted(void **state)
{
    (void)state;
    assert_int_equal(qdbg_tap_wants(NULL, 0), 0);
    assert_int_equal(qdbg_tap_value(NULL, 0, NULL), QDBG_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rule_1_never_tapped),
        cmocka_unit_test(test_rule_1_tapped_twice),
        cmocka_unit_test(test_rule_1_tapped_too_late),
        cmocka_unit_test(test_rule_1_unknown_value),
        cmocka_unit_test(test_rule_3_wrong_shape),
        cmocka_unit_test(test_rule_3_not_float32),
        cmocka_unit_test(test_rule_4_on_another_thread),
        cmocka_unit_test(test_rule_5_goes_on_after_failure),
        cmocka_unit_test(test_rule_6_taps_the_input_itself),
        cmocka_unit_test(test_no_tensor_at_all),
        cmocka_unit_test(test_tapping_what_is_not_wanted_is_allowed),
        cmocka_unit_test(test_values_that_do_not_exist_are_not_wanted),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
