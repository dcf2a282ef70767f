#include "trial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

static qdbg_status call_run(trial *t)
{
    float y[64];
    qdbg_view out = QDBG_VIEW_INIT;
    qdbg_status status = qdbg_model_run(t->model, &t->w->samples.inputs, 1, &out, 1);
    out.data = y;
    return status == QDBG_OK ? qdbg_model_run(t->model, &t->w->samples.inputs, 1, &out, 1) : status;
}

static qdbg_status call_create(trial *t)
{
    qdbg_sim *sim = NULL;
    qdbg_status status = qdbg_sim_create(t->model, NULL, &sim);
    if (status == QDBG_OK)
        status = qdbg_sim_calibrate(sim, &t->w->data);
    qdbg_sim_destroy(sim);
    return status;
}

static qdbg_status call_calibrate(trial *t)
{
    return qdbg_sim_calibrate(t->sim, &t->w->data);
}

static qdbg_status call_evaluate(trial *t)
{
    qdbg_metric metric = QDBG_METRIC_INIT;
    double score;
    metric.kind = QDBG_METRIC_SQNR;
    return qdbg_sim_evaluate(t->sim, &t->w->data, &metric, &score);
}

static qdbg_status call_sweep(trial *t)
{
    qdbg_metric metric = QDBG_METRIC_INIT;
    qdbg_sensitivity *rows = NULL;
    metric.kind = QDBG_METRIC_TOP1;
    qdbg_status status = qdbg_sensitivity_run(t->sim, &t->w->data, &metric, &rows);
    qdbg_sensitivity_destroy(rows);
    return status;
}

static qdbg_status call_diagnose(trial *t)
{
    qdbg_diagnose_options options = QDBG_DIAGNOSE_OPTIONS_INIT;
    qdbg_diagnosis *diagnosis = NULL;
    options.calibration = options.evaluation = &t->w->data;
    qdbg_status status = qdbg_diagnose(t->model, &options, &diagnosis);
    qdbg_diagnosis_destroy(diagnosis);
    return status;
}

const trial_call trial_calls[TRIAL_CALLS] = {
    {"run", call_run, false},
    {"new simulation", call_create, true},
    {"calibration", call_calibrate, true},
    {"evaluation", call_evaluate, true},
    {"sweep", call_sweep, true},
    {"diagnosis", call_diagnose, true},
};

static double score(trial *t)
{
    qdbg_metric metric = QDBG_METRIC_INIT;
    double found;
    metric.kind = QDBG_METRIC_SQNR;
    ASSERT_OK(t->w, qdbg_sim_evaluate(t->sim, &t->w->data, &metric, &found));
    return found;
}

void trial_open(trial *t, world *w, qdbg_model *model)
{
    *t = (trial){.w = w, .model = model};
    ASSERT_OK(w, qdbg_sim_create(model, NULL, &t->sim));
    ASSERT_OK(w, qdbg_sim_calibrate(t->sim, &w->data));
    t->reference = score(t);
}

void trial_close(trial *t)
{
    qdbg_sim_destroy(t->sim);
}

void trial_assert_unharmed(trial *t)
{
    size_t n, m;
    assert_true(engine_is_original(t->w->engine));
    double now = score(t);
    assert_memory_equal(&now, &t->reference, sizeof now);
    float *a = world_run(t->w, t->w->built_in, &n), *b = world_run(t->w, t->model, &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n * sizeof *a);
    free(a);
    free(b);
    assert_true(engine_is_original(t->w->engine));
    assert_string_equal(qdbg_ctx_error_message(t->w->ctx), "");
}
