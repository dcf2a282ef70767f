/* Folding that can be undone. Layer 8. */
#ifndef QDBG_ANALYSIS_FOLD_H
#define QDBG_ANALYSIS_FOLD_H

#include <qdebug/fold.h>

#include "../graph/layer.h"
#include "../model/journal.h"

/* qdbg_fold_batch_norms that notes in `journal` what it changes. */
qdbg_status qdbg__fold_batch_norms(qdbg_model *model, uint32_t *n_folded, qdbg__journal *journal);

/* ---- one BatchNormalization, seen by the parts of folding ---- */

/* Whether dead channels are constant on data: what they showed, by channel. */
typedef struct qdbg__fold_seen {
    const qdbg__range *channels; /* NULL: there is no data */
    float largest;               /* of all channels, in size */
    bool asked;                  /* data was given: without a look at it nothing is constant */
} qdbg__fold_seen;

typedef struct qdbg__fold_site {
    uint32_t bn;
    bool has_layer;
    qdbg__layer layer; /* before or behind */
    size_t channels;
    qdbg_fold_row row;
    float *mean, *deviation; /* [channels] owned: what it told of its output; NULL */
} qdbg__fold_site;

/* What can be done with node `bn`: outcome, layer and channels. QDBG_FOLD_ flags. */
void qdbg__fold_plan(const qdbg_graph *graph, uint32_t bn, uint32_t flags, qdbg__fold_site *site);

/* Do it, or nothing. */
qdbg_status qdbg__fold_do(qdbg_model *model, qdbg__fold_site *site, double threshold,
                          uint32_t flags, const qdbg__fold_seen *seen, qdbg__journal *journal);

void qdbg__fold_site_free(qdbg_ctx *ctx, qdbg__fold_site *site);

#define QDBG__DEAD_THRESHOLD 1e-8
#define QDBG__DEAD_SPREAD 1e-4f /* what counts as constant, of the value's largest */

#endif
