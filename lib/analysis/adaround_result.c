/* What a run has changed, and the way back. */
#include "adaround_result.h"

void qdbg_adaround_row_init(qdbg_adaround_row *row)
{
    if (row)
        *row = (qdbg_adaround_row)QDBG_ADAROUND_ROW_INIT;
}

/* ---- into the model, and out again ---- */

static qdbg_status set_parameter(qdbg_adaround *a, uint32_t value, const float *data, size_t n)
{
    qdbg_model *m = a->sim->model;
    qdbg_status status = qdbg__journal_note(m, &a->journal, value);
    if (status != QDBG_OK)
        return status;
    m->version++; /* also where it fails: a host may have copied half of it */
    return m->backend->set(m, value, data, n);
}

qdbg_status qdbg__ada_result_apply(qdbg_adaround *a, size_t i, qdbg__ada_layer *layer)
{
    qdbg_status status = QDBG_OK;
    if (layer->set_weight)
        status = set_parameter(a, layer->row.weight, layer->rounded, layer->n_weights);
    if (status == QDBG_OK && layer->bias)
        status = set_parameter(a, layer->site.value, layer->bias, layer->n_bias);
    if (status != QDBG_OK || !layer->frozen.encodings)
        return status;
    layer->frozen.frozen_by = qdbg__journal_id(a->sim->model, &a->journal);
    status = qdbg__sim_swap_frozen(a->sim, layer->row.quantizer, &layer->frozen);
    if (status != QDBG_OK)
        return status;
    a->before[i] = layer->frozen; /* what was there */
    a->swapped[i] = 1;
    layer->frozen = (qdbg__frozen){0};
    return QDBG_OK;
}

qdbg_status qdbg__ada_result_undo(qdbg_adaround *a)
{
    for (size_t i = a->n; i-- > 0;) {
        if (!a->swapped[i])
            continue;
        qdbg__sim_put_frozen_back(a->sim, a->rows[i].quantizer, &a->before[i]);
        a->swapped[i] = 0;
    }
    return qdbg__journal_undo(a->sim->model, &a->journal, 0);
}

void qdbg__ada_result_mark_reverted(qdbg_adaround *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->rows[i].outcome == QDBG_ADAROUND_DONE)
            qdbg__ada_row_revert(&a->rows[i]);
}

qdbg_status qdbg__ada_result_new(qdbg_sim *sim, const qdbg__ada_layer *layers, size_t n,
                                 qdbg_adaround **out)
{
    qdbg_ctx *ctx = sim->ctx;
    qdbg_adaround *a = qdbg__alloc(ctx, 1, sizeof *a);
    if (!a)
        return ctx->error_status;
    a->ctx = ctx;
    a->sim = sim;
    a->n = n;
    a->rows = qdbg__alloc(ctx, n, sizeof *a->rows);
    a->before = a->rows ? qdbg__alloc(ctx, n, sizeof *a->before) : NULL;
    a->swapped = a->before ? qdbg__alloc(ctx, n, 1) : NULL;
    if (!a->swapped) {
        qdbg_adaround_destroy(a);
        return ctx->error_status;
    }
    for (size_t i = 0; i < n; i++)
        a->rows[i] = layers[i].row;
    *out = a;
    return QDBG_OK;
}

/* ---- the result ---- */

void qdbg_adaround_destroy(qdbg_adaround *a)
{
    if (!a)
        return;
    for (size_t i = 0; a->before && i < a->n; i++)
        qdbg__frozen_free(a->ctx, &a->before[i]);
    qdbg__journal_free(a->sim->model, &a->journal);
    qdbg__free(a->ctx, a->swapped, a->n, 1);
    qdbg__free(a->ctx, a->before, a->n, sizeof *a->before);
    qdbg__free(a->ctx, a->rows, a->n, sizeof *a->rows);
    qdbg__free(a->ctx, a, 1, sizeof *a);
}

/* A later run may have frozen encodings only, which no parameter tells. */
static qdbg_status check_undo(const qdbg_adaround *a)
{
    const qdbg_graph *g = a->sim->model->graph;
    for (size_t i = 0; i < a->n; i++) {
        const char *name = g->values[a->rows[i].weight].name;
        if (a->swapped[i] &&
            a->sim->quantizers[a->rows[i].quantizer].frozen.frozen_by != a->journal.id)
            return qdbg__fail_at(a->ctx, QDBG_E_STATE, NULL, name,
                                 "weight '%s' has been rounded again since: undo the later change "
                                 "first",
                                 name);
    }
    return qdbg__journal_check_undo(a->sim->model, &a->journal);
}

qdbg_status qdbg_adaround_undo(qdbg_adaround *a)
{
    if (!a)
        return QDBG_E_INVALID;
    qdbg__clear_error(a->ctx);
    qdbg_status status = check_undo(a);
    if (status != QDBG_OK)
        return status;
    qdbg__ada_result_mark_reverted(a);
    return qdbg__ada_result_undo(a);
}

uint32_t qdbg_adaround_count(const qdbg_adaround *a)
{
    return a ? (uint32_t)a->n : 0;
}

qdbg_status qdbg_adaround_get(const qdbg_adaround *a, uint32_t index, qdbg_adaround_row *row)
{
    if (!a || !row || row->struct_size != sizeof *row)
        return QDBG_E_INVALID;
    if (index >= a->n)
        return QDBG_E_NOT_FOUND;
    *row = a->rows[index];
    return QDBG_OK;
}

int32_t qdbg_adaround_guard(const qdbg_adaround *a, double *before, double *after)
{
    if (before)
        *before = a ? a->score_before : 0;
    if (after)
        *after = a ? a->score_after : 0;
    return a ? a->undone_by_guard : 0;
}
