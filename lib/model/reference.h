/* Outputs of the float32 network that are kept while the network is changed. */
#ifndef QDBG_MODEL_REFERENCE_H
#define QDBG_MODEL_REFERENCE_H

#include "dataset.h"

/* The outputs of a stretch. */
typedef struct qdbg__kept {
    uint64_t first_sample, n_samples, n_runs;
    qdbg_view *shapes; /* [n_outputs] of one run */
    uint64_t *sums;    /* [n_runs] of the inputs, to tell samples apart */
    char *data;        /* [size] output after output */
    size_t size;
} qdbg__kept;

struct qdbg_reference {
    qdbg_ctx *ctx;
    const qdbg_graph *graph;
    size_t n_outputs;
    qdbg__kept *kept; /* [n] in the samples' order */
    size_t n, capacity;
    uint64_t n_samples;
};

/* Is what a metric refers to of this model's graph? NULL is. */
qdbg_status qdbg__reference_check(qdbg_model *model, const qdbg_reference *reference);

/* Keep a stretch's outputs, which come in the samples' order: `outputs` is [n_outputs], of all of
 * its runs. */
qdbg_status qdbg__reference_keep(qdbg_reference *reference, const qdbg_model *model,
                                 const qdbg__stretch *stretch, const qdbg_view *outputs);

/* Copy what was kept of a stretch's samples, however they were cut then, to where the [n_outputs]
 * views' data lies. */
qdbg_status qdbg__reference_fetch(const qdbg_reference *reference, const qdbg_model *model,
                                  const qdbg__stretch *stretch, const qdbg_view *outputs);

#endif
