/* Scoring many variants in one pass over the data. */
#ifndef QDBG_MODEL_SCORE_H
#define QDBG_MODEL_SCORE_H

#include "dataset.h"
#include "metric.h"
#include "reference.h"

typedef struct qdbg__score_job {
    const qdbg_dataset *dataset;
    const char *stage;
    const qdbg_metric *metrics; /* [n_metrics] */
    uint32_t n_metrics;
    const qdbg__variant *variants; /* [n_variants]; variant 0's outputs are float_outputs
                                      of metrics without a reference where `has_float` */
    uint32_t n_variants;
    bool has_float;
    qdbg_reference *keep; /* keeps variant 0's outputs; or NULL */
    double *scores;       /* [n_variants * n_metrics] variant-major, written on success */
    uint64_t n_samples;   /* written on success */
} qdbg__score_job;

qdbg_status qdbg__model_score(qdbg_model *model, qdbg__score_job *job);

#endif
