/* The last and longest step of sequential rounding. Layer 8. */
#ifndef QDBG_ANALYSIS_ADAROUND_TABU_H
#define QDBG_ANALYSIS_ADAROUND_TABU_H

#include "adaround_solve.h"

/* Doubles of scratch for a row. */
size_t qdbg__tabu_scratch(size_t depth);

/* Improve one row's integers. h is [depth, depth], symmetric; g = e h - b of what comes in. The
 * result is never worse than what came in. */
void qdbg__tabu_row(const qdbg__step *steps, const double *h, size_t depth, int32_t *q,
                    const double *g, double *scratch);

#endif
