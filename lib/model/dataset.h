/* Batches: fetched, checked, and cut into stretches of runs. */
#ifndef QDBG_MODEL_DATASET_H
#define QDBG_MODEL_DATASET_H

#include "model.h"

/* Some runs of one batch. */
typedef struct qdbg__stretch {
    const qdbg_view *inputs; /* [graph->n_inputs] */
    uint64_t n_runs;
    const int64_t *labels; /* [n_samples] or NULL */
    uint64_t first_sample; /* in the dataset */
    uint64_t n_samples;
} qdbg__stretch;

typedef qdbg_status (*qdbg__stretch_fn)(void *user, const qdbg__stretch *stretch);

/* Check a caller's dataset struct. */
qdbg_status qdbg__dataset_check(qdbg_ctx *ctx, const qdbg_dataset *dataset);

/* Hand the first runs of a dataset (at most `max_runs`) to `fn`, without progress. */
qdbg_status qdbg__dataset_first(qdbg_model *model, const qdbg_dataset *dataset, uint64_t max_runs,
                                qdbg__stretch_fn fn, void *user);

/* Walk a dataset: fetch each batch, check it against the graph, prepare the model and hand
 * stretches of at most `max_runs` runs to `fn` (0: whole batches). Progress is reported under
 * `stage` and a cancel answered after each. `*n_samples` receives the number walked; may be NULL.
 */
qdbg_status qdbg__dataset_walk(qdbg_model *model, const qdbg_dataset *dataset, const char *stage,
                               uint64_t max_runs, qdbg__stretch_fn fn, void *user,
                               uint64_t *n_samples);

#endif
