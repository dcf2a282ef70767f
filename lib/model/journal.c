#include "journal.h"

qdbg_status qdbg__journal_note(qdbg_model *m, qdbg__journal *j, uint32_t value)
{
    qdbg_status status =
        qdbg__reserve(m->ctx, &j->entries, &j->capacity, j->n + 1, sizeof *j->entries);
    if (status != QDBG_OK)
        return status;
    uint64_t count = m->graph->values[value].bytes / sizeof(float);
    float *data = qdbg__alloc(m->ctx, count, sizeof *data);
    if (!data)
        return m->ctx->error_status;
    status = m->backend->get(m, value, data, count);
    if (status != QDBG_OK) {
        qdbg__free(m->ctx, data, count, sizeof *data);
        return status;
    }
    j->entries[j->n++] = (qdbg__journal_entry){value, count, data};
    return QDBG_OK;
}

qdbg_status qdbg__journal_undo(qdbg_model *m, qdbg__journal *j, size_t keep)
{
    qdbg__failure told;
    qdbg_status first = QDBG_OK;
    qdbg__failure_save(m->ctx, &told);
    while (j->n > keep) {
        qdbg__journal_entry *e = &j->entries[--j->n];
        qdbg_status status = m->backend->set(m, e->value, e->data, e->count);
        if (status != QDBG_OK && first == QDBG_OK) {
            first = status;
            if (told.status == QDBG_OK)
                qdbg__failure_save(m->ctx, &told);
        }
        if (status != QDBG_OK) /* what it holds now is anyone's guess: ask once more */
            m->backend->set(m, e->value, e->data, e->count);
        m->version++;
        qdbg__free(m->ctx, e->data, e->count, sizeof *e->data);
    }
    qdbg__failure_restore(m->ctx, &told);
    return first;
}

void qdbg__journal_free(qdbg_model *m, qdbg__journal *j)
{
    for (size_t i = 0; i < j->n; i++)
        qdbg__free(m->ctx, j->entries[i].data, j->entries[i].count, sizeof(float));
    qdbg__free(m->ctx, j->entries, j->capacity, sizeof *j->entries);
    *j = (qdbg__journal){0};
}
