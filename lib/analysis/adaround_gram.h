/* Second moments of what goes into a layer, gathered while a network runs. Layer 8.
 *
 * Columns x (float32 network) and x^ (rounded network) of the layer's input are taken at some
 * output positions of each run. With r = W (x - x^) the error of rounded weights W + e and bias b +
 * delta is e x^ - r + delta, so that all there is to know of the data are the moments of x^ and r.
 */
#ifndef QDBG_ANALYSIS_ADAROUND_GRAM_H
#define QDBG_ANALYSIS_ADAROUND_GRAM_H

#include "../base/pool.h"
#include "adaround_linear.h"
#include "adaround_samples.h"

/* Sums are in float32 over the columns of so many runs, in double from there on. */
#define QDBG__GRAM_RUNS 32

/* Moments; central ones once they are finished. */
typedef struct qdbg__gram {
    uint32_t groups, rows, depth;
    uint64_t n;           /* columns */
    uint64_t n_nonfinite; /* columns that were left out */
    double *h;            /* [groups, depth, depth] covariance of x^ */
    double *mu;           /* [groups, depth] mean of x^ */
    double *b;            /* [groups, rows, depth] covariance of r and x^; NULL: r is zero */
    double *r_mean;       /* [groups, rows]; NULL with b */
    double *r_var;        /* [groups, rows]; NULL with b */
} qdbg__gram;

typedef struct qdbg__gram_options {
    uint32_t positions;  /* columns taken of each sample, at most */
    uint32_t holdout;    /* every n-th run is held out; 1: none */
    bool paired;         /* x^ may differ from x */
    uint64_t keep_bytes; /* for columns that are kept; 0: none are */
    uint64_t runs;       /* of the data, as far as is known */
} qdbg__gram_options;

/* Takes one layer's columns. */
typedef struct qdbg__gatherer {
    qdbg_ctx *ctx;
    const qdbg_graph *graph;
    qdbg__linear linear;
    qdbg__gram_options options;
    const float *weight; /* [groups, rows, depth] in float32; the caller's */
    qdbg__columns columns;
    uint32_t per_run;               /* columns that a run has room for */
    uint64_t n_runs;                /* so far */
    uint32_t n_fit, n_held;         /* runs in the buffers: from the front, from the back */
    uint32_t slot[QDBG__GRAM_RUNS]; /* of each run of the job at hand */
    uint8_t shown[2][QDBG__GRAM_RUNS];
    float *x[2];      /* [groups, QDBG__GRAM_RUNS * per_run, depth]: float32, rounded network */
    uint8_t *spoilt;  /* [QDBG__GRAM_RUNS * per_run] 1: not a column, 2: not finite */
    int64_t *offsets; /* [threads, taps] */
    size_t n_taps;
    float *shift; /* [groups, depth] taken off x^, so that a large mean does not eat the digits */
    bool shifted;
    float *scratch; /* [threads, n_scratch] */
    size_t n_scratch;
    qdbg__gram fit, held;
    qdbg__samples samples; /* of the same columns, where any are to be kept */
} qdbg__gatherer;

/* Bytes that a gatherer will take for an input of that shape. */
uint64_t qdbg__gatherer_bytes(const qdbg_graph *g, const qdbg__linear *l,
                              const qdbg__gram_options *options, const qdbg__columns *columns);

/* `columns`: for the shapes that the data begins with. Free also after a failure. */
qdbg_status qdbg__gatherer_init(qdbg__gatherer *t, const qdbg_graph *g, const qdbg__linear *l,
                                const qdbg__gram_options *options, const qdbg__columns *columns,
                                const float *weight);
void qdbg__gatherer_free(qdbg__gatherer *t);

/* Before a job of `n` runs (at most QDBG__GRAM_RUNS - n_fit - n_held of them) whose input has this
 * shape. Fails where the layer cannot take it. */
qdbg_status qdbg__gatherer_begin(qdbg__gatherer *t, const qdbg_view *input, uint32_t n);
/* Of the job's run `run` in variant 0 (float32) or 1 (rounded); any thread. */
qdbg_status qdbg__gatherer_show(qdbg__gatherer *t, uint32_t worker, uint32_t variant, uint64_t run,
                                const qdbg_view *input);
/* After the job: sums up when the buffers are full. */
qdbg_status qdbg__gatherer_end(qdbg__gatherer *t, uint32_t n);
/* After all data: the moments of `fit` and `held` become central. */
qdbg_status qdbg__gatherer_finish(qdbg__gatherer *t);

/* Mean squared output error of weights that are off by e [groups, rows, depth] and biases off by
 * delta [groups, rows] (NULL: none), summed over channels; 0 without columns. */
qdbg_status qdbg__gram_loss(qdbg_ctx *ctx, const qdbg__gram *gram, const double *e,
                            const double *delta, double *loss);

/* The bias that goes with e: delta = E[r] - e E[x^]. */
void qdbg__gram_best_bias(const qdbg__gram *gram, const double *e, double *delta);

#endif
