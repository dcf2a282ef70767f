/* Rounding as a problem of its own: which grid points make e H e^T - 2 e b least. Layer 8. */
#ifndef QDBG_ANALYSIS_ADAROUND_SOLVE_H
#define QDBG_ANALYSIS_ADAROUND_SOLVE_H

#include "../base/pool.h"

/* Channels of at most so many weights are solved exactly. */
#define QDBG__EXACT_DEPTH 9

/* The grid of one weight: q * scale, low <= q <= high (q counts from the zero point). */
typedef struct qdbg__step {
    float scale;
    int32_t low, high;
} qdbg__step;

/* All arrays are the caller's. Weights are [groups, rows, depth]. */
typedef struct qdbg__rounding {
    uint32_t groups, rows, depth;
    const float *w;
    const qdbg__step *steps;
    double *h;       /* [groups, depth, depth] with the ridge on its diagonal */
    const double *b; /* [groups, rows, depth], or NULL: zero */
    double *factor;  /* [groups, depth, depth] room; see qdbg__rounding_factor */
    uint32_t *order; /* [groups, depth] room */
    double *ridge;   /* [groups] what was added to the diagonal */
    int32_t *q;      /* in: a start (nearest), out: the solution */
} qdbg__rounding;

/* Add the ridge, `damping` times the mean of the diagonal, to each h. A group without signal gets
 * the identity, for which nearest rounding is best. */
void qdbg__rounding_damp(qdbg__rounding *p, double damping);

/* order: by ascending diagonal. factor: lower Cholesky factor of h in that order. */
qdbg_status qdbg__rounding_factor(qdbg_ctx *ctx, qdbg__rounding *p);

/* Sequential rounding and single changes; exact for short rows. Needs the factor. */
qdbg_status qdbg__solve_sequential(qdbg_ctx *ctx, qdbg__rounding *p);

/* Change single weights until none helps. `neighbours`: only to a weight's two neighbours. */
qdbg_status qdbg__solve_single(qdbg_ctx *ctx, qdbg__rounding *p, bool neighbours);

typedef struct qdbg__relax_options {
    uint32_t iterations;
    double learning_rate, regularizer;
} qdbg__relax_options;

/* The paper's relaxation; without the ridge. */
qdbg_status qdbg__solve_relaxed(qdbg_ctx *ctx, qdbg__rounding *p, const qdbg__relax_options *o);

/* Its pieces: the variable for which the rectified sigmoid is `fraction`; h of it; beta of an
 * iteration; one weight's term of the regularizer. Zeta 1.1, gamma -0.1, beta 20 to 2, warm start
 * 0.2. */
double qdbg__relax_alpha(double fraction);
double qdbg__relax_h(double alpha);
double qdbg__relax_beta(uint32_t iteration, uint32_t iterations);
double qdbg__relax_term(double h, double beta);

/* For each row the scale that fits their integers best, least
 * squares under h: (q h w + q b) / (q h q); 0 where there is none. All steps of a row are equal. */
qdbg_status qdbg__refit_scales(qdbg_ctx *ctx, const qdbg__rounding *p, double *scales);

/* e H e^T - 2 e b, ridge included, for each row: [groups, rows]. */
qdbg_status qdbg__rounding_losses(qdbg_ctx *ctx, const qdbg__rounding *p, double *losses);

/* Run `job` over blocks of rows on all threads: `scratch` doubles for each. */
#define QDBG__BLOCK_ROWS 16
typedef struct qdbg__block {
    const qdbg__rounding *p;
    const void *arg;
    size_t group, row, n; /* rows row .. row + n - 1 of the group */
    size_t at;            /* of the first in [groups, rows] */
    double *scratch;
} qdbg__block;
typedef void (*qdbg__block_fn)(const qdbg__block *b);
qdbg_status qdbg__for_blocks(qdbg_ctx *ctx, const qdbg__rounding *p, qdbg__block_fn fn,
                             const void *arg, size_t scratch);

static inline double qdbg__clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

#endif
