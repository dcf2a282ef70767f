/* Callbacks fail: every public function that calls back is called with the 1st, 2nd, 3rd ... call
 * of one callback failing, until it succeeds. Each time the failure comes back with the callback's
 * own number, the out-parameters are left, nothing leaks, the model's parameters are as they were,
 * and the function works when it is called again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../graph_make.h"
#include "../support.h"

#define UNTOUCHED ((void *)&untouched)
static const char untouched;

enum callback { BATCH, UPDATE, RESULT, PROGRESS, RUN, GET, SET, WRITE, N_CALLBACKS };
static const char *const callback_names[] = {"batch", "update", "result", "progress",
                                             "run",   "get",    "set",    "write"};

#define CODE 4711

typedef struct world {
    heap h;
    qdbg_ctx *ctx;
    qdbg_graph *g;
    engine e;
    bool host;
    qdbg_model *m;
    samples s;
    qdbg_sim *sim;
    qdbg_diagnosis *d;
    qdbg_dataset set;
    qdbg_metric metric;
    uint64_t calls[N_CALLBACKS]; /* since arm() */
    uint64_t fail[N_CALLBACKS];  /* the call that fails, from 1; 0: none */
    /* outs */
    void *out;
    double score;
    uint64_t written;
} world;

/* ---- the callbacks ---- */

static int32_t tick(world *w, enum callback c)
{
    return ++w->calls[c] == w->fail[c] ? CODE : 0;
}

static int32_t on_batch(void *user, uint64_t index, qdbg_batch *batch)
{
    world *w = user;
    int32_t code = tick(w, BATCH);
    return code ? code : w->s.set.batch(w->s.set.user, index, batch);
}

/* The score: how many outputs are positive. */
static int32_t on_update(void *user, void *state, const qdbg_metric_input *in)
{
    for (uint64_t i = 0; i < qdbg_view_count(&in->outputs[0]); i++)
        *(double *)state += ((float *)in->outputs[0].data)[i] > 0;
    return tick(user, UPDATE);
}

static int32_t on_result(void *user, const void *state, double *score)
{
    memcpy(score, state, sizeof *score);
    return tick(user, RESULT);
}

static int32_t on_progress(void *user, const qdbg_progress *progress)
{
    (void)progress;
    return tick(user, PROGRESS);
}

static int32_t on_write(void *user, const void *data, size_t size)
{
    world *w = user;
    (void)data;
    w->written += size;
    return tick(w, WRITE);
}

/* ---- the world ---- */

static void arm(world *w, enum callback c, uint64_t at)
{
    memset(w->calls, 0, sizeof w->calls);
    memset(w->fail, 0, sizeof w->fail);
    w->e.n_runs = w->e.n_gets = w->e.n_sets = 0;
    w->e.fail_run = c == RUN ? at : 0;
    w->e.fail_get = c == GET ? at : 0;
    w->e.fail_set = c == SET ? at : 0;
    w->e.code = CODE;
    w->fail[c] = at;
    w->out = UNTOUCHED;
    w->score = -7;
    w->written = 0;
}

static uint64_t calls_of(const world *w, enum callback c)
{
    return c == RUN ? w->e.n_runs : c == GET ? w->e.n_gets : c == SET ? w->e.n_sets : w->calls[c];
}

static void world_begin(world *w, bool host)
{
    *w = (world){.host = host};
    heap_init(&w->h);
    qdbg_allocator allocator = heap_allocator(&w->h);
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    o.threads = 2;
    o.allocator = &allocator;
    o.progress = on_progress;
    o.progress_user = w;
    assert_ok(qdbg_ctx_create(&o, &w->ctx));
    w->g = net_of_convs(w->ctx);
    w->m = host ? engine_model(&w->e, w->g) : builtin_model(w->g);
    w->s = samples_make(w->ctx, w->g, 20, 6, 0);
    w->set = w->s.set;
    w->set.user = w;
    w->set.batch = on_batch;
    w->metric = metric_of(QDBG_METRIC_CUSTOM);
    w->metric.user = w;
    w->metric.state_size = sizeof(double);
    w->metric.update = on_update;
    w->metric.result = on_result;
    assert_ok(qdbg_sim_create(w->m, NULL, &w->sim));
    assert_ok(qdbg_sim_calibrate(w->sim, &w->set));
}

static void world_end(world *w)
{
    qdbg_diagnosis_destroy(w->d);
    qdbg_sim_destroy(w->sim);
    samples_free(&w->s);
    qdbg_model_destroy(w->m);
    if (w->host)
        engine_free(&w->e);
    qdbg_graph_destroy(w->g);
    heap_end(&w->h, w->ctx);
}

static void assert_parameters(world *w)
{
    for (uint32_t v = 0; v < qdbg_graph_value_count(w->g); v++) {
        qdbg_view was = QDBG_VIEW_INIT;
        float now[64];
        if (qdbg_graph_parameter(w->g, v, &was) != QDBG_OK)
            continue;
        assert_true(qdbg_view_count(&was) <= 64);
        assert_ok(qdbg_model_get_parameter(w->m, v, now, qdbg_view_count(&was)));
        assert_memory_equal(now, was.data, (size_t)qdbg_view_count(&was) * sizeof *now);
    }
}

/* ---- the calls ---- */

typedef struct scenario {
    const char *name;
    qdbg_status (*call)(world *w);
    void (*drop)(world *w); /* w->out */
    unsigned callbacks;     /* bits: which it must call on a built-in model */
    unsigned of_host;       /* further ones on a host */
} scenario;

static qdbg_status model_run(world *w)
{
    float y[60];
    qdbg_view in = samples_view(w->g, &w->s), out = make_view(DIMS(20, 3), y);
    return qdbg_model_run(w->m, &in, 1, &out, 1);
}

static qdbg_status model_evaluate(world *w)
{
    return qdbg_model_evaluate(w->m, &w->set, &w->metric, &w->score);
}

static qdbg_status calibrate(world *w)
{
    return qdbg_sim_calibrate(w->sim, &w->set);
}

static qdbg_status sim_create(world *w)
{
    qdbg_sim *sim = UNTOUCHED;
    qdbg_status status = qdbg_sim_create(w->m, NULL, &sim);
    w->out = sim;
    return status;
}

static void sim_drop(world *w)
{
    qdbg_sim_destroy(w->out);
}

static qdbg_status sim_evaluate(world *w)
{
    return qdbg_sim_evaluate(w->sim, &w->set, &w->metric, &w->score);
}

static qdbg_status sensitivity(world *w)
{
    qdbg_sensitivity *s = UNTOUCHED;
    qdbg_status status = qdbg_sensitivity_run(w->sim, &w->set, &w->metric, &s);
    w->out = s;
    return status;
}

static void sensitivity_drop(world *w)
{
    qdbg_sensitivity_destroy(w->out);
}

static qdbg_status diagnose(world *w)
{
    qdbg_diagnose_options o = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_sim_options sim = QDBG_SIM_OPTIONS_INIT;
    qdbg_diagnosis *d = UNTOUCHED;
    o.calibration = o.evaluation = &w->set;
    o.metric = &w->metric;
    o.sim = &sim;
    sim.weight_bits = 3;
    qdbg_status status = qdbg_diagnose(w->m, &o, &d);
    w->out = d;
    return status;
}

static void diagnosis_drop(world *w)
{
    qdbg_diagnosis_destroy(w->out);
}

static qdbg_status report(world *w, int32_t format)
{
    if (!w->d) {
        qdbg_status status = diagnose(w);
        if (status != QDBG_OK)
            return status;
        w->d = w->out;
        w->out = UNTOUCHED;
    }
    return qdbg_report_write(w->ctx, w->d, format, NULL, on_write, w);
}

static qdbg_status report_text(world *w)
{
    return report(w, QDBG_REPORT_TEXT);
}

static qdbg_status report_json(world *w)
{
    return report(w, QDBG_REPORT_JSON);
}

static qdbg_status report_csv(world *w)
{
    return report(w, QDBG_REPORT_CSV);
}

static qdbg_status report_html(world *w)
{
    return report(w, QDBG_REPORT_HTML);
}

/* ---- the loop ---- */

static void check_told(world *w, const scenario *c, enum callback k, uint64_t at,
                       qdbg_status status)
{
    qdbg_status want = k == PROGRESS ? QDBG_E_CANCELLED : QDBG_E_CALLBACK;
    qdbg_error_info info = error_of(w->ctx);
    if (status != want || info.status != want)
        fail_msg("%s: call %llu of %s failed: %s (%s)", c->name, (unsigned long long)at,
                 callback_names[k], qdbg_status_name(status), info.message);
    assert_int_equal(info.callback_code, k == PROGRESS ? 0 : CODE);
    assert_true(strlen(info.message) > 0);
    assert_true(w->score == -7);
    assert_ptr_equal(w->out, UNTOUCHED);
}

static void drop(world *w, const scenario *c)
{
    if (c->drop && w->out != UNTOUCHED)
        c->drop(w);
    w->out = UNTOUCHED;
}

/* Fail call `at` of a callback; false when there is no such call. */
static bool fail_at(const scenario *c, bool host, enum callback k, uint64_t at, double score)
{
    world w;
    world_begin(&w, host);
    arm(&w, k, at);
    qdbg_status status = c->call(&w);
    bool failed = calls_of(&w, k) >= at;
    if (failed)
        check_told(&w, c, k, at, status);
    else
        assert_int_equal(status, QDBG_OK);
    if (failed) {
        arm(&w, k, 0);
        assert_parameters(&w);
        assert_int_equal(c->call(&w), QDBG_OK);
    }
    assert_true(w.score == score);
    drop(&w, c);
    world_end(&w);
    return failed;
}

/* What a call that nothing disturbs gives, and which callbacks it calls. */
static double clean_score(const scenario *c, bool host, unsigned *seen)
{
    world w;
    world_begin(&w, host);
    arm(&w, BATCH, 0);
    assert_int_equal(c->call(&w), QDBG_OK);
    *seen = 0;
    for (int k = 0; k < N_CALLBACKS; k++)
        *seen |= calls_of(&w, (enum callback)k) > 0 ? 1u << k : 0;
    double score = w.score;
    drop(&w, c);
    world_end(&w);
    return score;
}

static void run(const scenario *c)
{
    for (int host = 0; host < 2; host++) {
        unsigned seen;
        double score = clean_score(c, host, &seen);
        if (seen != (c->callbacks | (host ? c->of_host : 0)))
            fail_msg("%s calls %#x", c->name, seen);
        for (int k = 0; k < N_CALLBACKS; k++) {
            uint64_t at = 1;
            while ((seen >> k & 1) && fail_at(c, host, (enum callback)k, at, score))
                at++;
        }
    }
}

#define B(k) (1u << (k))
#define DATA (B(BATCH) | B(PROGRESS))
#define SCORE (DATA | B(UPDATE) | B(RESULT))

static void models_and_simulations(void **state)
{
    static const scenario all[] = {
        {"run", model_run, NULL, B(PROGRESS), B(RUN)},
        {"evaluate", model_evaluate, NULL, SCORE, B(RUN)},
        {"sim_create", sim_create, sim_drop, 0, B(GET)},
        {"calibrate", calibrate, NULL, DATA, B(RUN)},
        {"sim_evaluate", sim_evaluate, NULL, SCORE, B(RUN) | B(GET) | B(SET)},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        run(&all[i]);
}

static void analyses(void **state)
{
    static const scenario all[] = {
        {"sensitivity", sensitivity, sensitivity_drop, SCORE, B(RUN) | B(GET) | B(SET)},
        {"diagnose", diagnose, diagnosis_drop, SCORE, B(RUN) | B(GET) | B(SET)},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        run(&all[i]);
}

static void reports(void **state)
{
    static const scenario all[] = {
        {"text", report_text, NULL, SCORE | B(WRITE), B(RUN) | B(GET) | B(SET)},
        {"JSON", report_json, NULL, SCORE | B(WRITE), B(RUN) | B(GET) | B(SET)},
        {"CSV", report_csv, NULL, SCORE | B(WRITE), B(RUN) | B(GET) | B(SET)},
        {"HTML", report_html, NULL, SCORE | B(WRITE), B(RUN) | B(GET) | B(SET)},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) { /* the rest is diagnose's */
        for (uint64_t at = 1; fail_at(&all[i], false, WRITE, at, -7); at++)
            ;
    }
}

/* A host whose set_parameter fails from some call on: there is no way back then, but the failure is
 * told, the diagnosis ends, and nothing leaks. */
static int32_t never_set(void *user, uint32_t value, const float *data, uint64_t count)
{
    engine *e = user;
    (void)value;
    (void)data;
    (void)count;
    e->n_sets++;
    return CODE;
}

static void host_that_never_sets(void **state)
{
    world w;
    (void)state;
    world_begin(&w, true);
    qdbg_host host = engine_host(&w.e);
    qdbg_model *mine = w.m, *m;
    host.set_parameter = never_set;
    assert_ok(qdbg_model_create_host(w.g, &host, &m));
    arm(&w, BATCH, 0);
    w.m = m;
    check_told(&w, &(scenario){.name = "diagnose"}, SET, 1, diagnose(&w));
    assert_parameters(&w);
    qdbg_model_destroy(m);
    w.m = mine;
    world_end(&w);
}

/* The failure that is told is the first, also when putting things back fails, too. */
static void first_failure_is_the_one_told(void **state)
{
    world w;
    (void)state;
    world_begin(&w, true);
    arm(&w, UPDATE, 2);
    assert_int_equal(sim_evaluate(&w), QDBG_E_CALLBACK);
    assert_non_null(strstr(qdbg_ctx_error_message(w.ctx), "metric's update"));
    arm(&w, RUN, 1);
    w.e.fail_set = 3; /* the first that puts a weight back */
    assert_int_equal(sim_evaluate(&w), QDBG_E_CALLBACK);
    assert_non_null(strstr(qdbg_ctx_error_message(w.ctx), "host's run"));
    assert_true(w.e.n_sets >= 3);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_and_simulations),
        cmocka_unit_test(analyses),
        cmocka_unit_test(reports),
        cmocka_unit_test(host_that_never_sets),
        cmocka_unit_test(first_failure_is_the_one_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
