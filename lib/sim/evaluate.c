/* The simulation at work: calibrate, make variants, score. */
#include <string.h>

#include "sim.h"

/* ---- calibrate ---- */

typedef struct calibration {
    qdbg_sim *sim;
    uint32_t *index_of;  /* [n_values] quantizer, or QDBG_NONE */
    uint8_t *wanted;     /* [n_values] */
    qdbg__range *ranges; /* [threads * n] */
    const qdbg__kernels *kernels;
} calibration;

/* Minimum, maximum and counts come out the same whichever worker sees which sample. */
static qdbg_status observe(void *user, uint32_t worker, uint32_t variant, uint64_t run,
                           uint32_t value, const qdbg_view *view)
{
    calibration *c = user;
    (void)variant;
    (void)run;
    qdbg__range *r = &c->ranges[worker * c->sim->n + c->index_of[value]];
    if (view->dtype != QDBG_F32)
        return QDBG_E_TYPE;
    c->kernels->range(view->data, qdbg_view_count(view), r);
    return QDBG_OK;
}

static qdbg_status calibrate_stretch(void *user, const qdbg__stretch *s)
{
    calibration *c = user;
    qdbg_model *m = c->sim->model;
    qdbg__variant plain = {NULL, NULL};
    qdbg__model_job job = {.inputs = s->inputs,
                           .n_runs = s->n_runs,
                           .variants = &plain,
                           .n_variants = 1,
                           .observe = observe,
                           .observe_values = c->wanted,
                           .observe_user = c};
    return m->backend->run(m, &job);
}

/* All workers' ranges into those of worker 0; fails where a value never was finite. */
static qdbg_status merge_ranges(calibration *c)
{
    qdbg_sim *sim = c->sim;
    for (size_t i = 0; i < sim->n; i++) {
        qdbg__range *r = &c->ranges[i];
        for (uint32_t w = 1; w < sim->ctx->n_threads; w++)
            qdbg__range_merge(r, &c->ranges[w * sim->n + i]);
        if (sim->quantizers[i].place.kind != QDBG_ACTIVATION || r->n == 0)
            continue;
        const char *name = sim->model->graph->values[sim->quantizers[i].place.value].name;
        if (r->min > r->max)
            return qdbg__fail_at(sim->ctx, QDBG_E_NUMERIC, NULL, name,
                                 "value '%s' was NaN or infinite throughout calibration", name);
        if (r->n_nan + r->n_inf > 0)
            qdbg__log(sim->ctx, QDBG_LOG_WARNING,
                      "value '%s': %llu NaN and %llu infinite elements were left out", name,
                      (unsigned long long)r->n_nan, (unsigned long long)r->n_inf);
    }
    return QDBG_OK;
}

/* Change places with what quantizer `i` has observed; doing it again undoes it. */
static qdbg_status swap_range(calibration *c, size_t i)
{
    qdbg__quantizer *q = &c->sim->quantizers[i];
    qdbg__range before = q->observed;
    uint8_t *seen = &c->wanted[q->place.value], was_seen = q->seen;
    q->observed = c->ranges[i];
    q->seen = *seen != 0;
    c->ranges[i] = before;
    *seen = was_seen;
    return qdbg__sim_encode(c->sim, i);
}

/* All or none. Going back takes no memory: an encoding is there already, or is dropped. */
static qdbg_status adopt_ranges(calibration *c)
{
    qdbg_status status = QDBG_OK;
    size_t i = 0;
    for (; i < c->sim->n && status == QDBG_OK; i++)
        if (c->sim->quantizers[i].place.kind == QDBG_ACTIVATION)
            status = swap_range(c, i);
    while (status != QDBG_OK && i-- > 0)
        if (c->sim->quantizers[i].place.kind == QDBG_ACTIVATION)
            (void)swap_range(c, i);
    return status;
}

static qdbg_status begin_calibration(calibration *c)
{
    qdbg_sim *sim = c->sim;
    size_t n_values = sim->model->graph->n_values, n_ranges = sim->ctx->n_threads * sim->n;
    c->kernels = qdbg__kernels_of(sim->ctx);
    c->index_of = qdbg__alloc(sim->ctx, n_values, sizeof *c->index_of);
    c->wanted = c->index_of ? qdbg__alloc(sim->ctx, n_values, 1) : NULL;
    c->ranges = c->wanted ? qdbg__alloc(sim->ctx, n_ranges, sizeof *c->ranges) : NULL;
    if (!c->ranges)
        return sim->ctx->error_status;
    for (size_t i = 0; i < n_ranges; i++)
        qdbg__range_init(&c->ranges[i]);
    for (uint32_t i = 0; i < sim->n; i++) {
        const qdbg__place *place = &sim->quantizers[i].place;
        if (place->kind != QDBG_ACTIVATION)
            continue;
        c->wanted[place->value] = 1;
        c->index_of[place->value] = i;
    }
    return QDBG_OK;
}

qdbg_status qdbg__sim_calibrate(qdbg_sim *sim, const qdbg_dataset *dataset, uint64_t *n_samples)
{
    calibration c = {.sim = sim};
    size_t n_values = sim->model->graph->n_values;
    qdbg_status status = begin_calibration(&c);
    if (status == QDBG_OK)
        status = qdbg__dataset_walk(sim->model, dataset, "calibrate", 256, calibrate_stretch, &c,
                                    n_samples);
    if (status == QDBG_OK)
        status = merge_ranges(&c);
    if (status == QDBG_OK)
        status = adopt_ranges(&c);
    qdbg__free(sim->ctx, c.ranges, sim->ctx->n_threads * sim->n, sizeof *c.ranges);
    qdbg__free(sim->ctx, c.wanted, n_values, 1);
    qdbg__free(sim->ctx, c.index_of, n_values, sizeof *c.index_of);
    return status;
}

qdbg_status qdbg_sim_calibrate(qdbg_sim *sim, const qdbg_dataset *dataset)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    return qdbg__sim_calibrate(sim, dataset, NULL);
}

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
    if (q->place.kind == QDBG_WEIGHT) {
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

static bool any_needs_float(const qdbg_metric *metrics, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (qdbg__metric_needs_float(&metrics[i]))
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
