#include "score.h"

#include <string.h>

/* Outputs of all variants for one stretch may take this much, but a stretch has work for several
 * threads. Not the context's number of them: what a metric sees must not depend on it. */
#define OUTPUT_BYTES ((size_t)32 << 20)
#define MIN_RUNS 8
#define MAX_RUNS 256

typedef struct pass {
    qdbg_model *model;
    qdbg__score_job *job;
    char **states;    /* [n_variants * n_metrics] */
    size_t n_slots;   /* variants, and what a metric's reference holds where there is one */
    void **outputs;   /* [n_slots * n_outputs] into `buffer` */
    qdbg_view *views; /* [2 * n_outputs] of a variant and of float32 */
    char *buffer;
    size_t buffer_size;
} pass;

static size_t run_bytes(const qdbg_model *m)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < m->graph->n_outputs; i++)
        bytes += (qdbg__model_output_bytes(m, i) + 63) / 64 * 64;
    return bytes ? bytes : 64;
}

/* No product below wraps round. */
static qdbg_status check_size(const pass *p, uint64_t n_runs)
{
    double bytes = 0;
    for (uint32_t i = 0; i < p->model->graph->n_outputs; i++)
        bytes += (double)qdbg__model_output_bytes(p->model, i) + 64;
    if (bytes * (double)n_runs * (double)p->n_slots < 1e18)
        return QDBG_OK;
    return qdbg__fail(p->model->ctx, QDBG_E_LIMIT,
                      "the outputs of %llu samples in %u variants are more than can be addressed",
                      (unsigned long long)n_runs, p->job->n_variants);
}

/* Output shapes are known only now that a batch has been seen; they may change with the next. */
static qdbg_status lay_out(pass *p, uint64_t n_runs)
{
    qdbg_model *m = p->model;
    size_t size = run_bytes(m) * n_runs * p->n_slots;
    if (size > p->buffer_size) {
        qdbg__free(m->ctx, p->buffer, p->buffer_size, 1);
        p->buffer_size = 0;
        p->buffer = qdbg__alloc(m->ctx, size, 1);
        if (!p->buffer)
            return m->ctx->error_status;
        p->buffer_size = size;
    }
    char *next = p->buffer;
    for (size_t i = 0; i < p->n_slots * m->graph->n_outputs; i++) {
        size_t bytes = qdbg__model_output_bytes(m, (uint32_t)(i % m->graph->n_outputs));
        p->outputs[i] = next;
        next += (bytes * n_runs + 63) / 64 * 64;
    }
    return QDBG_OK;
}

static void set_views(pass *p, qdbg_view *views, size_t slot, uint64_t n_runs)
{
    size_t n = p->model->graph->n_outputs;
    for (size_t o = 0; o < n; o++) {
        views[o] = p->model->run_outputs[o];
        if (views[o].rank > 0)
            views[o].dims[0] *= (int64_t)n_runs;
        views[o].data = p->outputs[slot * n + o];
    }
}

/* What a metric compares with: outputs of its reference, or of float32 where that runs, or NULL. */
static qdbg_status find_float(pass *p, const qdbg__stretch *s, const qdbg_metric *metric,
                              const qdbg_view **out)
{
    qdbg_view *views = p->views + p->model->graph->n_outputs;
    *out = views;
    if (metric->reference) {
        set_views(p, views, p->n_slots - 1, s->n_runs);
        return qdbg__reference_fetch(metric->reference, p->model, s, views);
    }
    if (p->job->has_float)
        set_views(p, views, 0, s->n_runs);
    else
        *out = NULL;
    return QDBG_OK;
}

static qdbg_status update_metric(pass *p, const qdbg__stretch *s, uint32_t metric)
{
    const qdbg__score_job *j = p->job;
    qdbg_metric_input in = {.struct_size = sizeof in,
                            .n_outputs = (uint32_t)p->model->graph->n_outputs,
                            .outputs = p->views,
                            .labels = s->labels,
                            .first_sample = s->first_sample,
                            .n_samples = s->n_samples};
    qdbg_status status = find_float(p, s, &j->metrics[metric], &in.float_outputs);
    for (uint32_t v = 0; v < j->n_variants && status == QDBG_OK; v++) {
        set_views(p, p->views, v, s->n_runs);
        status = qdbg__metric_update(p->model->ctx, &j->metrics[metric],
                                     p->states[v * j->n_metrics + metric], &in);
    }
    return status;
}

static qdbg_status use_outputs(pass *p, const qdbg__stretch *s)
{
    qdbg_status status = QDBG_OK;
    for (uint32_t k = 0; k < p->job->n_metrics && status == QDBG_OK; k++)
        status = update_metric(p, s, k);
    if (status != QDBG_OK || !p->job->keep)
        return status;
    set_views(p, p->views, 0, s->n_runs);
    return qdbg__reference_keep(p->job->keep, p->model, s, p->views);
}

static qdbg_status score_part(pass *p, const qdbg__stretch *s)
{
    qdbg_status status = lay_out(p, s->n_runs);
    if (status != QDBG_OK)
        return status;
    qdbg__model_job run = {.inputs = s->inputs,
                           .n_runs = s->n_runs,
                           .variants = p->job->variants,
                           .n_variants = p->job->n_variants,
                           .outputs = p->outputs};
    status = p->model->backend->run(p->model, &run);
    return status == QDBG_OK ? use_outputs(p, s) : status;
}

/* A scalar has no dimension along which runs could be joined. */
static bool has_scalar_output(const qdbg_model *m)
{
    for (size_t i = 0; i < m->graph->n_outputs; i++)
        if (m->run_outputs[i].rank == 0)
            return true;
    return false;
}

/* Cut a stretch further where the outputs of all variants would take too much memory. */
static qdbg_status score_stretch(void *user, const qdbg__stretch *s)
{
    pass *p = user;
    qdbg_model *m = p->model;
    qdbg_status status = check_size(p, MIN_RUNS);
    if (status != QDBG_OK)
        return status;
    uint64_t fits = OUTPUT_BYTES / (run_bytes(m) * p->n_slots);
    uint64_t step = fits > MIN_RUNS ? fits : MIN_RUNS;
    if (has_scalar_output(m))
        step = 1;
    if (step >= s->n_runs)
        return score_part(p, s);
    qdbg_view *slice = qdbg__alloc(m->ctx, m->graph->n_inputs, sizeof *slice);
    status = slice ? QDBG_OK : m->ctx->error_status;
    uint64_t per_run = s->n_samples / s->n_runs;
    for (uint64_t at = 0; at < s->n_runs && status == QDBG_OK; at += step) {
        uint64_t n = s->n_runs - at < step ? s->n_runs - at : step;
        qdbg__model_slice(m, s->inputs, at, n, slice);
        qdbg__stretch part = {slice, n, s->labels ? s->labels + at * per_run : NULL,
                              s->first_sample + at * per_run, n * per_run};
        status = score_part(p, &part);
    }
    qdbg__free(m->ctx, slice, m->graph->n_inputs, sizeof *slice);
    return status;
}

static qdbg_status begin(pass *p)
{
    qdbg_ctx *ctx = p->model->ctx;
    const qdbg__score_job *j = p->job;
    size_t n = (size_t)j->n_variants * j->n_metrics;
    bool refers = false;
    for (uint32_t i = 0; i < j->n_metrics; i++) {
        qdbg_status status = qdbg__reference_check(p->model, j->metrics[i].reference);
        if (status != QDBG_OK)
            return status;
        refers = refers || j->metrics[i].reference;
    }
    p->n_slots = (size_t)j->n_variants + refers;
    p->states = qdbg__alloc(ctx, n, sizeof *p->states);
    p->outputs = p->states
                     ? qdbg__alloc(ctx, p->n_slots * p->model->graph->n_outputs, sizeof *p->outputs)
                     : NULL;
    p->views =
        p->outputs ? qdbg__alloc(ctx, 2 * p->model->graph->n_outputs, sizeof *p->views) : NULL;
    if (!p->views)
        return ctx->error_status;
    for (size_t i = 0; i < n; i++) {
        p->states[i] = qdbg__alloc(ctx, qdbg__metric_state_size(&j->metrics[i % j->n_metrics]), 1);
        if (!p->states[i])
            return ctx->error_status;
    }
    return QDBG_OK;
}

static void end(pass *p)
{
    qdbg_ctx *ctx = p->model->ctx;
    const qdbg__score_job *j = p->job;
    size_t n = (size_t)j->n_variants * j->n_metrics;
    for (size_t i = 0; p->states && i < n; i++)
        qdbg__free(ctx, p->states[i], qdbg__metric_state_size(&j->metrics[i % j->n_metrics]), 1);
    qdbg__free(ctx, p->buffer, p->buffer_size, 1);
    qdbg__free(ctx, p->views, 2 * p->model->graph->n_outputs, sizeof *p->views);
    qdbg__free(ctx, p->outputs, p->n_slots * p->model->graph->n_outputs, sizeof *p->outputs);
    qdbg__free(ctx, p->states, n, sizeof *p->states);
}

static qdbg_status take_results(pass *p)
{
    const qdbg__score_job *j = p->job;
    for (size_t i = 0; i < (size_t)j->n_variants * j->n_metrics; i++) {
        qdbg_status status = qdbg__metric_result(p->model->ctx, &j->metrics[i % j->n_metrics],
                                                 p->states[i], &j->scores[i]);
        if (status != QDBG_OK)
            return status;
    }
    return QDBG_OK;
}

qdbg_status qdbg__model_score(qdbg_model *m, qdbg__score_job *job)
{
    pass p = {.model = m, .job = job};
    uint64_t n_samples = 0;
    qdbg_status status = begin(&p);
    if (status == QDBG_OK)
        status = qdbg__dataset_walk(m, job->dataset, job->stage, MAX_RUNS, score_stretch, &p,
                                    &n_samples);
    if (status == QDBG_OK)
        status = take_results(&p);
    if (status == QDBG_OK)
        job->n_samples = n_samples;
    end(&p);
    return status;
}

qdbg_status qdbg_model_evaluate(qdbg_model *m, const qdbg_dataset *dataset,
                                const qdbg_metric *metric, double *score)
{
    if (!m)
        return QDBG_E_INVALID;
    qdbg__clear_error(m->ctx);
    if (!score)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "score is NULL");
    qdbg_status status = qdbg__metric_check(m->ctx, metric);
    if (status != QDBG_OK)
        return status;
    qdbg__variant plain = {NULL, NULL};
    double result;
    qdbg__score_job job = {.dataset = dataset,
                           .stage = "float32",
                           .metrics = metric,
                           .n_metrics = 1,
                           .variants = &plain,
                           .n_variants = 1,
                           .has_float = true,
                           .scores = &result};
    status = qdbg__model_score(m, &job);
    if (status == QDBG_OK)
        *score = result;
    return status;
}
