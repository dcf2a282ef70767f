/* Folding that can be undone. Layer 8. */
#ifndef QDBG_ANALYSIS_FOLD_H
#define QDBG_ANALYSIS_FOLD_H

#include <qdebug/fold.h>

#include "../model/journal.h"

/* qdbg_fold_batch_norms that notes in `journal` what it changes. */
qdbg_status qdbg__fold_batch_norms(qdbg_model *model, uint32_t *n_folded, qdbg__journal *journal);

#endif
