/* Parameters as they were before something changed them, so that it can be undone. */
#ifndef QDBG_MODEL_JOURNAL_H
#define QDBG_MODEL_JOURNAL_H

#include "model.h"

typedef struct qdbg__journal_entry {
    uint32_t value;
    uint64_t count;
    float *data; /* owned */
} qdbg__journal_entry;

typedef struct qdbg__journal {
    qdbg__journal_entry *entries; /* [n] oldest first */
    size_t n, capacity;
} qdbg__journal;

/* Note a parameter's present elements. */
qdbg_status qdbg__journal_note(qdbg_model *model, qdbg__journal *journal, uint32_t value);

/* Set a parameter, after noting what it held. After a failure it holds that again. */
qdbg_status qdbg__journal_set(qdbg_model *model, qdbg__journal *journal, uint32_t value,
                              const float *data);

/* A parameter's present elements in memory of the context's: *data, *count. QDBG_E_NUMERIC where
 * one is not finite, which names it. Free with qdbg__free(ctx, data, count, sizeof *data). */
qdbg_status qdbg__model_fetch(qdbg_model *model, uint32_t value, float **data, size_t *count);

/* Set entries n - 1 down to `keep` back and forget them. What a host refuses it is asked to take
 * once more; goes on after a failure and returns the first. Where the context's record holds a
 * failure already, that one stays the one told. */
qdbg_status qdbg__journal_undo(qdbg_model *model, qdbg__journal *journal, size_t keep);

/* Forget everything without setting it back. */
void qdbg__journal_free(qdbg_model *model, qdbg__journal *journal);

#endif
