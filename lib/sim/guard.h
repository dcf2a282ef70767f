/* Keeping a change to the model only where the simulation scores no worse for it. Layer 7. */
#ifndef QDBG_SIM_GUARD_H
#define QDBG_SIM_GUARD_H

#include "../model/journal.h"
#include "sim.h"

typedef struct qdbg__guard {
    qdbg_sim *sim;                   /* NULL: no guard */
    const qdbg_dataset *calibration; /* NULL: encodings of activations stay */
    const qdbg_dataset *dataset;
    const qdbg_metric *metric;
    bool moves_function; /* the change does, so that the float network of now is no measure */
    bool moves_ranges;   /* of activations */
    double before, after;
    int32_t undone;
} qdbg__guard;

/* A metric that compares with float32 needs a reference where the change moves the function. */
qdbg_status qdbg__guard_metric_check(qdbg_ctx *ctx, const qdbg_metric *metric, bool moves_function);

/* Is what a caller gave complete, of that model, and fit to judge the change? */
qdbg_status qdbg__guard_check(qdbg_model *model, const qdbg__guard *guard);

/* Calibrate anew where there is data for it, and score what is enabled. */
qdbg_status qdbg__guard_score(const qdbg__guard *guard, const char *stage, double *score);

/* Where there is a guard: score the change, and undo it where the score fell: `undone` says so. */
qdbg_status qdbg__guard_judge(qdbg__guard *guard, qdbg__journal *journal, const char *stage);

/* What the public functions tell of a guard. @return `undone`; all is 0 for NULL */
int32_t qdbg__guard_tell(const qdbg__guard *guard, double *before, double *after);

#endif
