/* Keeping a change to the model only where the simulation scores no worse for it. Layer 7. */
#ifndef QDBG_SIM_GUARD_H
#define QDBG_SIM_GUARD_H

#include "sim.h"

typedef struct qdbg__guard {
    qdbg_sim *sim;                   /* NULL: no guard */
    const qdbg_dataset *calibration; /* NULL: encodings of activations stay */
    const qdbg_dataset *dataset;
    const qdbg_metric *metric;
    double before, after;
    int32_t undone;
} qdbg__guard;

/* Is what a caller gave complete, and of that model? */
qdbg_status qdbg__guard_check(qdbg_model *model, const qdbg__guard *guard);

/* Calibrate anew where there is data for it, and score what is enabled. */
qdbg_status qdbg__guard_score(const qdbg__guard *guard, const char *stage, double *score);

/* Only the calibration: after a change was undone. */
qdbg_status qdbg__guard_calibrate(const qdbg__guard *guard);

#endif
