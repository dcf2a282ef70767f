#include "dataset.h"

#include <math.h>

void qdbg_dataset_init(qdbg_dataset *dataset)
{
    if (dataset)
        *dataset = (qdbg_dataset)QDBG_DATASET_INIT;
}

qdbg_status qdbg__dataset_check(qdbg_ctx *ctx, const qdbg_dataset *dataset)
{
    if (!dataset || dataset->struct_size != sizeof *dataset || !dataset->batch)
        return qdbg__fail(ctx, QDBG_E_INVALID,
                          "dataset is NULL, has a wrong struct_size or no batch function");
    if (dataset->n_batches == 0)
        return qdbg__fail(ctx, QDBG_E_INVALID, "the dataset is empty: n_batches is 0");
    return QDBG_OK;
}

static qdbg_status fetch(qdbg_model *m, const qdbg_dataset *dataset, uint64_t index, qdbg_batch *b)
{
    *b = (qdbg_batch){.struct_size = sizeof *b};
    int32_t code = dataset->batch(dataset->user, index, b);
    if (code != 0)
        return qdbg__fail_callback(m->ctx, "the dataset's batch function", code);
    if (b->n_samples == 0)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "batch %llu has no samples",
                          (unsigned long long)index);
    return QDBG_OK;
}

/* Every float input must be finite: one NaN would silently spoil every score. */
static qdbg_status check_finite(qdbg_model *m, const qdbg_batch *b, uint64_t first_sample)
{
    const qdbg__kernels *kernels = qdbg__kernels_of(m->ctx);
    for (uint32_t i = 0; i < b->n_inputs; i++) {
        const qdbg_view *in = &b->inputs[i];
        uint64_t count = qdbg_view_count(in);
        qdbg__range range;
        qdbg__range_init(&range);
        if (in->dtype != QDBG_F32 || count == 0)
            continue;
        kernels->range(in->data, count, &range);
        if (range.n_nan + range.n_inf == 0)
            continue;
        uint64_t at = 0;
        while (isfinite(((const float *)in->data)[at]))
            at++;
        const char *name = m->graph->values[m->graph->inputs[i]].name;
        uint64_t per_sample = in->rank > 0 ? count / b->n_samples : 1;
        uint64_t sample = first_sample + at / per_sample;
        return qdbg__fail_at(m->ctx, QDBG_E_NUMERIC, NULL, name,
                             "input '%s', sample %llu: an element is NaN or infinite", name,
                             (unsigned long long)sample);
    }
    return QDBG_OK;
}

static qdbg_status check_batch(qdbg_model *m, const qdbg_batch *b, uint64_t first_sample,
                               uint64_t *n_runs)
{
    qdbg_status status = qdbg__model_prepare(m, b->inputs, b->n_inputs, n_runs);
    if (status != QDBG_OK)
        return status;
    for (uint32_t i = 0; i < b->n_inputs; i++) {
        const qdbg_view *in = &b->inputs[i];
        const char *name = m->graph->values[m->graph->inputs[i]].name;
        if (in->rank > 0 && (uint64_t)in->dims[0] != b->n_samples)
            return qdbg__fail_at(m->ctx, QDBG_E_SHAPE, NULL, name,
                                 "input '%s' holds %lld samples, but the batch says %llu", name,
                                 (long long)in->dims[0], (unsigned long long)b->n_samples);
    }
    return check_finite(m, b, first_sample);
}

typedef struct walk {
    qdbg_model *model;
    const qdbg_dataset *dataset;
    const char *stage;
    uint64_t max_runs;
    qdbg__stretch_fn fn;
    void *user;
    qdbg_view *slice; /* [n_inputs] */
    uint64_t n_samples;
} walk;

/* Units of progress in a batch, so that one large batch moves the bar too. */
#define UNITS 1000

static qdbg_status walk_batch(walk *w, uint64_t index)
{
    qdbg_model *m = w->model;
    qdbg_batch b;
    uint64_t n_runs;
    qdbg_status status = fetch(m, w->dataset, index, &b);
    if (status == QDBG_OK)
        status = check_batch(m, &b, w->n_samples, &n_runs);
    if (status != QDBG_OK)
        return status;
    uint64_t step = w->max_runs ? w->max_runs : n_runs, per_run = b.n_samples / n_runs;
    for (uint64_t at = 0; at < n_runs; at += step) {
        uint64_t n = n_runs - at < step ? n_runs - at : step;
        qdbg__model_slice(m, b.inputs, at, n, w->slice);
        qdbg__stretch s = {w->slice, n, b.labels ? b.labels + at * per_run : NULL,
                           w->n_samples + at * per_run, n * per_run};
        status = w->fn(w->user, &s);
        if (status == QDBG_OK)
            status = qdbg__progress(m->ctx, w->stage, index * UNITS + (at + n) * UNITS / n_runs,
                                    w->dataset->n_batches * UNITS);
        if (status != QDBG_OK)
            return status;
    }
    w->n_samples += b.n_samples;
    return QDBG_OK;
}

qdbg_status qdbg__dataset_walk(qdbg_model *m, const qdbg_dataset *dataset, const char *stage,
                               uint64_t max_runs, qdbg__stretch_fn fn, void *user,
                               uint64_t *n_samples)
{
    walk w = {m, dataset, stage, max_runs, fn, user, NULL, 0};
    qdbg_status status = qdbg__dataset_check(m->ctx, dataset);
    if (status == QDBG_OK)
        status = qdbg__progress(m->ctx, stage, 0, dataset->n_batches * UNITS);
    if (status != QDBG_OK)
        return status;
    w.slice = qdbg__alloc(m->ctx, m->graph->n_inputs, sizeof *w.slice);
    if (!w.slice)
        return m->ctx->error_status;
    for (uint64_t i = 0; i < dataset->n_batches && status == QDBG_OK; i++)
        status = walk_batch(&w, i);
    qdbg__free(m->ctx, w.slice, m->graph->n_inputs, sizeof *w.slice);
    if (status == QDBG_OK && n_samples)
        *n_samples = w.n_samples;
    return status;
}

qdbg_status qdbg__dataset_first(qdbg_model *m, const qdbg_dataset *dataset, uint64_t max_runs,
                                qdbg__stretch_fn fn, void *user)
{
    size_t n_inputs = m->graph->n_inputs;
    qdbg_batch b;
    uint64_t n_runs;
    qdbg_status status = qdbg__dataset_check(m->ctx, dataset);
    if (status == QDBG_OK)
        status = fetch(m, dataset, 0, &b);
    if (status == QDBG_OK)
        status = check_batch(m, &b, 0, &n_runs);
    if (status != QDBG_OK)
        return status;
    qdbg_view *slice = qdbg__alloc(m->ctx, n_inputs, sizeof *slice);
    if (!slice)
        return m->ctx->error_status;
    uint64_t n = n_runs < max_runs ? n_runs : max_runs;
    qdbg__model_slice(m, b.inputs, 0, n, slice);
    qdbg__stretch s = {slice, n, b.labels, 0, n * (b.n_samples / n_runs)};
    status = fn(user, &s);
    qdbg__free(m->ctx, slice, n_inputs, sizeof *slice);
    return status;
}
