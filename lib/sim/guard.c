#include "guard.h"

qdbg_status qdbg__guard_metric_check(qdbg_ctx *ctx, const qdbg_metric *metric, bool moves_function)
{
    qdbg_status status = qdbg__metric_check(ctx, metric);
    if (status != QDBG_OK || !moves_function || metric->reference ||
        !qdbg__metric_needs_float(metric))
        return status;
    return qdbg__fail(ctx, QDBG_E_INVALID,
                      "guard_metric '%s' compares with the float32 model, which this changes: give "
                      "it a reference made before the first repair, qdbg_reference_create()",
                      qdbg_metric_name(metric));
}

static bool quantizes_activations(const qdbg_sim *sim)
{
    for (size_t i = 0; i < sim->n; i++)
        if (sim->quantizers[i].place.kind == QDBG_ACTIVATION && sim->quantizers[i].enabled &&
            !qdbg__sim_is_bypassed(sim, i))
            return true;
    return false;
}

qdbg_status qdbg__guard_check(qdbg_model *m, const qdbg__guard *g)
{
    if (!g->sim && !g->dataset && !g->metric)
        return QDBG_OK;
    if (!g->sim)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "the guard needs a simulation");
    if (g->sim->model != m)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "the guard's simulation is of another model");
    if (!g->dataset || !g->metric)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "the guard needs a dataset and a metric");
    if (g->moves_ranges && !g->calibration && quantizes_activations(g->sim))
        return qdbg__fail(m->ctx, QDBG_E_INVALID,
                          "the guard's simulation quantizes activations and needs calibration: "
                          "their ranges change");
    qdbg_status status = qdbg__dataset_check(m->ctx, g->dataset);
    if (status == QDBG_OK && g->calibration)
        status = qdbg__dataset_check(m->ctx, g->calibration);
    return status == QDBG_OK ? qdbg__guard_metric_check(m->ctx, g->metric, g->moves_function)
                             : status;
}

static qdbg_status calibrate(const qdbg__guard *g)
{
    if (!g->sim || !g->calibration)
        return QDBG_OK;
    return qdbg__sim_calibrate(g->sim, g->calibration, NULL);
}

qdbg_status qdbg__guard_score(const qdbg__guard *g, const char *stage, double *score)
{
    qdbg_sim *sim = g->sim;
    qdbg_status status = calibrate(g);
    if (status != QDBG_OK)
        return status;
    uint8_t *chosen = qdbg__alloc(sim->ctx, sim->n, 1);
    if (!chosen)
        return sim->ctx->error_status;
    for (size_t i = 0; i < sim->n; i++)
        chosen[i] = sim->quantizers[i].enabled;
    status = qdbg__sim_score(sim, chosen, g->dataset, stage, g->metric, 1, score);
    qdbg__free(sim->ctx, chosen, sim->n, 1);
    return status;
}

qdbg_status qdbg__guard_judge(qdbg__guard *g, qdbg__journal *journal, const char *stage)
{
    if (!g->sim)
        return QDBG_OK;
    qdbg_status status = qdbg__guard_score(g, stage, &g->after);
    if (status != QDBG_OK || g->after >= g->before)
        return status;
    g->undone = 1;
    status = qdbg__journal_undo(g->sim->model, journal, 0);
    return status == QDBG_OK ? calibrate(g) : status;
}

int32_t qdbg__guard_tell(const qdbg__guard *g, double *before, double *after)
{
    if (before)
        *before = g ? g->before : 0;
    if (after)
        *after = g ? g->after : 0;
    return g ? g->undone : 0;
}
