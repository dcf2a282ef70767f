/* The simulation at work: variants are made and scored. */
#include <string.h>

#include "sim.h"

/* ---- variants ---- */

void qdbg__sim_variant_free(qdbg_sim *sim, qdbg__sim_variant *v)
{
    size_t n = sim->model->graph->n_values;
    qdbg__free(sim->ctx, v->acts, n, sizeof *v->acts);
    qdbg__free(sim->ctx, v->params, n, sizeof *v->params);
    *v = (qdbg__sim_variant){NULL, NULL};
}

static qdbg_status choose(qdbg_sim *sim, size_t i, qdbg__sim_variant *v)
{
    size_t n = sim->model->graph->n_values;
    const qdbg__quantizer *q = &sim->quantizers[i];
    const char *name = sim->model->graph->values[q->place.value].name;
    if (q->place.kind != QDBG_ACTIVATION) {
        if (!v->params)
            v->params = qdbg__alloc(sim->ctx, n, sizeof *v->params);
        if (!v->params)
            return sim->ctx->error_status;
        return qdbg__sim_quantized_weight(sim, i, &v->params[q->place.value]);
    }
    if (q->n_grids == 0)
        return qdbg__fail_at(sim->ctx, QDBG_E_STATE, NULL, name,
                             "activation quantizer '%s' has no encoding: calibrate first", name);
    if (!v->acts)
        v->acts = qdbg__alloc(sim->ctx, n, sizeof *v->acts);
    if (!v->acts)
        return sim->ctx->error_status;
    v->acts[q->place.value] = &q->fq;
    return QDBG_OK;
}

qdbg_status qdbg__sim_variant_make(qdbg_sim *sim, const uint8_t *chosen, qdbg__sim_variant *out)
{
    qdbg__sim_variant v = {NULL, NULL};
    qdbg_status status = qdbg__sim_refresh(sim);
    for (size_t i = 0; i < sim->n && status == QDBG_OK; i++)
        if (chosen[i] && !qdbg__sim_is_bypassed(sim, i))
            status = choose(sim, i, &v);
    if (status != QDBG_OK) {
        qdbg__sim_variant_free(sim, &v);
        return status;
    }
    *out = v;
    return QDBG_OK;
}

qdbg__variant qdbg__sim_variant_view(const qdbg__sim_variant *v)
{
    return (qdbg__variant){v->acts, v->params};
}

/* ---- score ---- */

/* Does a metric compare with what float32 makes of the samples now? */
static bool any_needs_float(const qdbg_metric *metrics, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (qdbg__metric_needs_float(&metrics[i]) && !metrics[i].reference)
            return true;
    return false;
}

qdbg_status qdbg__sim_score(qdbg_sim *sim, const uint8_t *chosen, const qdbg_dataset *dataset,
                            const char *stage, const qdbg_metric *metrics, uint32_t n_metrics,
                            double *scores)
{
    qdbg__sim_variant made;
    qdbg_status status = qdbg__sim_variant_make(sim, chosen, &made);
    if (status != QDBG_OK)
        return status;
    uint32_t base = any_needs_float(metrics, n_metrics) ? 1 : 0; /* float32 runs too */
    qdbg__variant variants[2] = {{NULL, NULL}, {NULL, NULL}};
    variants[base] = qdbg__sim_variant_view(&made);
    double *all = qdbg__alloc(sim->ctx, 2 * (size_t)n_metrics, sizeof *all);
    status = all ? QDBG_OK : sim->ctx->error_status;
    qdbg__score_job job = {.dataset = dataset,
                           .stage = stage,
                           .metrics = metrics,
                           .n_metrics = n_metrics,
                           .variants = variants,
                           .n_variants = base + 1,
                           .has_float = base == 1,
                           .scores = all};
    if (status == QDBG_OK)
        status = qdbg__model_score(sim->model, &job);
    if (status == QDBG_OK)
        memcpy(scores, all + base * n_metrics, n_metrics * sizeof *scores);
    qdbg__free(sim->ctx, all, 2 * (size_t)n_metrics, sizeof *all);
    qdbg__sim_variant_free(sim, &made);
    return status;
}

qdbg_status qdbg_sim_evaluate(qdbg_sim *sim, const qdbg_dataset *dataset, const qdbg_metric *metric,
                              double *score)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg_ctx *ctx = sim->ctx;
    qdbg__clear_error(ctx);
    if (!score)
        return qdbg__fail(ctx, QDBG_E_INVALID, "score is NULL");
    qdbg_status status = qdbg__metric_check(ctx, metric);
    if (status != QDBG_OK)
        return status;
    uint8_t *chosen = qdbg__alloc(ctx, sim->n, 1);
    if (!chosen)
        return ctx->error_status;
    for (size_t i = 0; i < sim->n; i++)
        chosen[i] = sim->quantizers[i].enabled;
    status = qdbg__sim_score(sim, chosen, dataset, "quantized", metric, 1, score);
    qdbg__free(ctx, chosen, sim->n, 1);
    return status;
}
