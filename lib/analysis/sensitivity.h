/* The sweep from inside. Layer 8. */
#ifndef QDBG_ANALYSIS_SENSITIVITY_H
#define QDBG_ANALYSIS_SENSITIVITY_H

#include <qdebug/sensitivity.h>

#include "../sim/sim.h"

struct qdbg_sensitivity {
    qdbg_ctx *ctx;
    double float_score;
    qdbg_sensitivity_row *rows; /* [n] most harmful first */
    size_t n;
};

#endif
