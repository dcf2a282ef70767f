/* The paper's own form of rounding: mini-batches, with the activation in the loss. Layer 8. */
#ifndef QDBG_ANALYSIS_ADAROUND_SAMPLED_H
#define QDBG_ANALYSIS_ADAROUND_SAMPLED_H

#include "adaround_activation.h"
#include "adaround_samples.h"
#include "adaround_solve.h"

typedef struct qdbg__sampled {
    const qdbg__samples *samples;
    const qdbg__activation *f;
    qdbg__relax_options options;
    uint32_t batch; /* columns of a step */
    bool frees_bias;
} qdbg__sampled;

/* Rounded weights into p->q, and the changes of the bias that went with them, in units of the
 * product, into delta [groups, rows], which is left alone where there is no bias. */
qdbg_status qdbg__solve_sampled(qdbg_ctx *ctx, qdbg__rounding *p, const qdbg__sampled *s,
                                double *delta);

/* Make delta the bias that is best behind the activation, beginning with what it is. e [groups,
 * rows, depth]: errors of weights. */
qdbg_status qdbg__sampled_bias(qdbg_ctx *ctx, const qdbg__rounding *p, const qdbg__sampled *s,
                               const double *e, double *delta);

/* Mean squared error behind the activation, summed over output channels; 0 without columns. delta:
 * NULL for none. */
qdbg_status qdbg__sampled_loss(qdbg_ctx *ctx, const qdbg__rounding *p, const qdbg__sampled *s,
                               const qdbg__sample_set *set, const double *e, const double *delta,
                               double *loss);

#endif
