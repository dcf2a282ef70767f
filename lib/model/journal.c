#include "journal.h"

#include <math.h>

uint64_t qdbg__journal_id(qdbg_model *m, qdbg__journal *j)
{
    if (j->id == 0)
        j->id = ++m->n_changes;
    return j->id;
}

qdbg_status qdbg__journal_check_undo(qdbg_model *m, const qdbg__journal *j)
{
    for (size_t i = 0; i < j->n; i++) {
        uint32_t value = j->entries[i].value;
        const char *name = m->graph->values[value].name;
        if (m->changed_by[value] != j->id)
            return qdbg__fail_at(m->ctx, QDBG_E_STATE, NULL, name,
                                 "parameter '%s' has been changed again since: undo the later "
                                 "change first",
                                 name);
    }
    return QDBG_OK;
}

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
    j->entries[j->n++] = (qdbg__journal_entry){value, count, m->changed_by[value], data};
    m->changed_by[value] = qdbg__journal_id(m, j);
    return QDBG_OK;
}

qdbg_status qdbg__journal_set(qdbg_model *m, qdbg__journal *j, uint32_t value, const float *data)
{
    qdbg_status status = qdbg__journal_note(m, j, value);
    if (status != QDBG_OK)
        return status;
    m->version++; /* also where it fails: a host may have copied half of it */
    status = m->backend->set(m, value, data, j->entries[j->n - 1].count);
    if (status != QDBG_OK)
        qdbg__journal_undo(m, j, j->n - 1);
    return status;
}

qdbg_status qdbg__model_fetch(qdbg_model *m, uint32_t value, float **data, size_t *count)
{
    const qdbg__value *v = &m->graph->values[value];
    size_t n = v->bytes / sizeof(float);
    float *fresh = qdbg__alloc(m->ctx, n, sizeof *fresh);
    if (!fresh)
        return m->ctx->error_status;
    qdbg_status status = m->backend->get(m, value, fresh, n);
    for (size_t i = 0; i < n && status == QDBG_OK; i++)
        if (!isfinite(fresh[i]))
            status = qdbg__fail_at(m->ctx, QDBG_E_NUMERIC, NULL, v->name,
                                   "parameter '%s', element %zu is not finite", v->name, i);
    if (status != QDBG_OK) {
        qdbg__free(m->ctx, fresh, n, sizeof *fresh);
        return status;
    }
    *data = fresh;
    *count = n;
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
        m->changed_by[e->value] = e->changed_by;
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
