/* A walk along the chart in progress: shared by the walk itself and the words for it. Layer 9. */
#ifndef QDBG_DIAGNOSE_WALK_H
#define QDBG_DIAGNOSE_WALK_H

#include "../analysis/sensitivity.h"
#include "../base/text.h"
#include "diagnosis.h"

/* What a variant of the quantization scored. */
typedef struct qdbg__outcome {
    double score, sqnr_db;
} qdbg__outcome;

typedef struct qdbg__chart {
    qdbg_ctx *ctx;
    qdbg_model *model;
    qdbg_diagnose_options options; /* defaults filled in */
    qdbg_metric metric;
    qdbg_sim *sim;
    qdbg_diagnosis *diagnosis; /* grows along the walk */
    double float_score;
    uint32_t n_folded;
    double fold_difference;   /* of outputs, relative; 0 when nothing was folded */
    bool bypass_same;         /* bypassed quantizers leave every bit as it was */
    bool tap_obeyed;          /* the model goes on with what quantizers make of its values */
    uint32_t lost_parameter;  /* that a host's set_parameter left as it was, or QDBG_NONE */
    uint32_t first_different; /* value where they do not, or QDBG_NONE */
    qdbg__outcome quantized, weights, activations;
    uint8_t **dead; /* [sim->n] NULL, or [n_channels] 1: dead before it was folded; or NULL */
} qdbg__chart;

/* Fold and bypass differences up to this are rounding: outputs relative to the largest. */
#define QDBG__FOLD_TOLERANCE 1e-3

bool qdbg__within(const qdbg__chart *c, double score);

/* The boxes' answers in words, appended to the diagnosis. */
qdbg_status qdbg__tell_float32(qdbg__chart *chart);
qdbg_status qdbg__tell_quantized(qdbg__chart *chart);
qdbg_status qdbg__tell_kind(qdbg__chart *chart, int32_t kind);
qdbg_status qdbg__tell_quantizers(qdbg__chart *chart);
qdbg_status qdbg__tell_conclusion(qdbg__chart *chart);
qdbg_status qdbg__tell_skipped(qdbg__chart *chart, const char *name);

/* Ask a host for what shows whether it keeps its rules: tap_obeyed, lost_parameter. `before`: the
 * model as it came. */
struct qdbg__probe;
qdbg_status qdbg__check_host(qdbg__chart *chart, const struct qdbg__probe *before);

/* Note which channels of weights are dead, before they are folded; c->dead. */
qdbg_status qdbg__note_dead(qdbg__chart *chart);
bool qdbg__is_dead(const qdbg__chart *chart, size_t quantizer, uint32_t channel);
void qdbg__forget_dead(qdbg__chart *chart);

/* Fill the diagnosis's findings from the simulation and the sweep (NULL: not run). */
qdbg_status qdbg__take_findings(qdbg__chart *chart, const qdbg_sensitivity *sweep);

#endif
