/* Parameters as they were before something changed them, so that it can be undone. */
#ifndef QDBG_MODEL_JOURNAL_H
#define QDBG_MODEL_JOURNAL_H

#include "model.h"

typedef struct qdbg__journal_entry {
    uint32_t value;
    uint64_t count;
    uint64_t changed_by; /* the journal that had changed it before; 0: none */
    float *data;         /* owned */
} qdbg__journal_entry;

typedef struct qdbg__journal {
    qdbg__journal_entry *entries; /* [n] oldest first */
    size_t n, capacity;
    uint64_t id; /* among the model's journals; 0: not asked for yet */
} qdbg__journal;

/* What the journal is known by. */
uint64_t qdbg__journal_id(qdbg_model *model, qdbg__journal *journal);

/* May all entries be set back? QDBG_E_STATE where another journal has changed one of the parameters
 * since and that change stands, be it for good since its journal was freed: what this one noted
 * would come back, and what that one noted would be lost or, undone later, wrong. */
qdbg_status qdbg__journal_check_undo(qdbg_model *model, const qdbg__journal *journal);

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
