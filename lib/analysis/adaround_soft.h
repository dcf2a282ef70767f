/* Weights on their way up or down: the relaxation of "Up or Down?", section 3.2. A weight is
 * (floor(w / s) + h(alpha)) s; Adam moves alpha. Where the loss's gradient comes from is the
 * solvers' business. Float32 inside. Layer 8. */
#ifndef QDBG_ANALYSIS_ADAROUND_SOFT_H
#define QDBG_ANALYSIS_ADAROUND_SOFT_H

#include "adaround_solve.h"

/* Some rows' weights. Arrays are [n, d]. */
typedef struct qdbg__soft {
    float *alpha, *m, *v; /* kept from step to step; m and v are Adam's moments */
    float *base, *scale;  /* floor(w / s); s */
    float *low, *high;    /* the grid */
    float *w;             /* in float32 */
    float *e;             /* soft weights less w */
    float *g;             /* derivative of a soft weight by alpha */
    size_t n, d;
    const qdbg__relax_options *options;
} qdbg__soft;

#define QDBG__SOFT_KEPT 3 /* arrays that outlive a block's turn */
#define QDBG__SOFT_ROOM 7 /* ... and that do not */

/* Lay the arrays into `kept` and `room`, which hold QDBG__SOFT_KEPT and QDBG__SOFT_ROOM of them,
 * and read weights and grids. */
void qdbg__soft_open(qdbg__soft *x, const qdbg__block *b, const qdbg__relax_options *options,
                     float *kept, float *room);

/* Soft weights equal w, where the grid reaches; Adam is at rest. */
void qdbg__soft_start(const qdbg__soft *x);

/* Find e and g. */
void qdbg__soft_weights(const qdbg__soft *x);

/* Step number `it`, from 0. `gradient`: of the loss by alpha; the regularizer's is added to it. */
void qdbg__soft_step(const qdbg__soft *x, float *gradient, uint32_t it);

/* Decide: every weight up or down, into the problem's q. */
void qdbg__soft_decide(const qdbg__soft *x, const qdbg__block *b);

#endif
