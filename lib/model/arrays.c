/* Datasets over arrays in memory. */
#include <string.h>

#include "model.h"

struct qdbg_arrays {
    qdbg_ctx *ctx;
    qdbg_view *inputs; /* [n_inputs] whole arrays */
    qdbg_view *batch;  /* [n_inputs] the batch last given */
    uint32_t n_inputs;
    const int64_t *labels;
    uint64_t n_samples, batch_size;
};

static qdbg_status check_arrays(qdbg_ctx *ctx, const qdbg_view *inputs, uint32_t n_inputs)
{
    for (uint32_t i = 0; i < n_inputs; i++) {
        qdbg_status status = qdbg__view_check(ctx, &inputs[i], "inputs");
        if (status != QDBG_OK)
            return status;
        if (inputs[i].rank == 0 || inputs[i].dims[0] == 0)
            return qdbg__fail(ctx, QDBG_E_SHAPE, "array %u has no samples", i);
        if (inputs[i].dims[0] != inputs[0].dims[0])
            return qdbg__fail(ctx, QDBG_E_SHAPE, "array %u has %lld samples, array 0 has %lld", i,
                              (long long)inputs[i].dims[0], (long long)inputs[0].dims[0]);
    }
    return QDBG_OK;
}

qdbg_status qdbg_arrays_create(qdbg_ctx *ctx, const qdbg_view *inputs, uint32_t n_inputs,
                               const int64_t *labels, uint64_t batch_size, qdbg_arrays **out)
{
    if (!ctx)
        return QDBG_E_INVALID;
    qdbg__clear_error(ctx);
    if (!inputs || n_inputs == 0 || batch_size == 0 || !out)
        return qdbg__fail(ctx, QDBG_E_INVALID, "arrays: inputs or out is NULL, or a number is 0");
    qdbg_status status = check_arrays(ctx, inputs, n_inputs);
    if (status != QDBG_OK)
        return status;
    qdbg_arrays *a = qdbg__alloc(ctx, 1, sizeof *a);
    if (!a)
        return ctx->error_status;
    *a = (qdbg_arrays){.ctx = ctx,
                       .n_inputs = n_inputs,
                       .labels = labels,
                       .n_samples = (uint64_t)inputs[0].dims[0],
                       .batch_size = batch_size};
    a->inputs = qdbg__alloc(ctx, n_inputs, sizeof *a->inputs);
    a->batch = a->inputs ? qdbg__alloc(ctx, n_inputs, sizeof *a->batch) : NULL;
    if (!a->batch) {
        status = ctx->error_status;
        qdbg_arrays_destroy(a);
        return status;
    }
    memcpy(a->inputs, inputs, n_inputs * sizeof *inputs);
    *out = a;
    return QDBG_OK;
}

void qdbg_arrays_destroy(qdbg_arrays *a)
{
    if (!a)
        return;
    qdbg__free(a->ctx, a->batch, a->n_inputs, sizeof *a->batch);
    qdbg__free(a->ctx, a->inputs, a->n_inputs, sizeof *a->inputs);
    qdbg__free(a->ctx, a, 1, sizeof *a);
}

static int32_t give_batch(void *user, uint64_t index, qdbg_batch *batch)
{
    qdbg_arrays *a = user;
    if (index > (a->n_samples - 1) / a->batch_size)
        return 1;
    uint64_t start = index * a->batch_size, left = a->n_samples - start;
    uint64_t n = left < a->batch_size ? left : a->batch_size;
    for (uint32_t i = 0; i < a->n_inputs; i++) {
        const qdbg_view *all = &a->inputs[i];
        size_t bytes = qdbg_view_count(all) / a->n_samples * qdbg_dtype_size(all->dtype);
        a->batch[i] = *all;
        a->batch[i].dims[0] = (int64_t)n;
        a->batch[i].data = (char *)all->data + start * bytes;
    }
    batch->inputs = a->batch;
    batch->n_inputs = a->n_inputs;
    batch->labels = a->labels ? a->labels + start : NULL;
    batch->n_samples = n;
    return 0;
}

qdbg_status qdbg_arrays_dataset(qdbg_arrays *a, qdbg_dataset *dataset)
{
    if (!a || !dataset)
        return QDBG_E_INVALID;
    *dataset = (qdbg_dataset)QDBG_DATASET_INIT;
    dataset->n_batches = (a->n_samples - 1) / a->batch_size + 1;
    dataset->user = a;
    dataset->batch = give_batch;
    return QDBG_OK;
}
