/* The handle that qdbg_adaround_run gives. Layer 8. */
#ifndef QDBG_ANALYSIS_ADAROUND_RESULT_H
#define QDBG_ANALYSIS_ADAROUND_RESULT_H

#include "../model/journal.h"
#include "adaround_layer.h"

struct qdbg_adaround {
    qdbg_ctx *ctx;
    qdbg_sim *sim;
    qdbg_adaround_row *rows; /* [n] */
    qdbg__frozen *before;    /* [n] what the quantizers had frozen, where `swapped` */
    uint8_t *swapped;        /* [n] */
    size_t n;
    qdbg__journal journal;
    double score_before, score_after;
    int32_t undone_by_guard;
};

/* With the layers' rows; nothing is changed yet. */
qdbg_status qdbg__ada_result_new(qdbg_sim *sim, const qdbg__ada_layer *layers, size_t n,
                                 qdbg_adaround **out);

/* Put layer `i` into model and simulation. After a failure undo what has been done. */
qdbg_status qdbg__ada_result_apply(qdbg_adaround *a, size_t i, qdbg__ada_layer *layer);

/* Rows say that all is undone. */
void qdbg__ada_result_mark_reverted(qdbg_adaround *a);

/* Set everything back. A failure that the context has recorded stays the one told. */
qdbg_status qdbg__ada_result_undo(qdbg_adaround *a);

#endif
