/* Columns of a layer's input kept one by one, beside what the layer makes of them in float32: what
 * a loss needs that is no quadratic form. Layer 8. */
#ifndef QDBG_ANALYSIS_ADAROUND_SAMPLES_H
#define QDBG_ANALYSIS_ADAROUND_SAMPLES_H

#include "adaround_linear.h"

/* Those that are fitted to, or those held out. */
typedef struct qdbg__sample_set {
    float *x;       /* [capacity, groups * depth] columns of the rounded network's input */
    float *y;       /* [capacity, groups * rows] W times the float32 network's */
    uint64_t *keys; /* [capacity] random: the least are kept, and are put in their order */
    size_t n, capacity, limit;
    uint64_t offered; /* columns so far */
    uint64_t bar;     /* keys from here on are refused */
} qdbg__sample_set;

typedef struct qdbg__samples {
    qdbg_ctx *ctx;
    size_t across, outputs; /* groups * depth, groups * rows */
    qdbg__sample_set fit, held;
} qdbg__samples;

/* Bytes of one column with all that goes with it. */
uint64_t qdbg__sample_bytes(const qdbg__linear *l);

/* Room for `expected` columns is made now, for more when they come, at most `limit`; a `holdout`-th
 * of each is for those held out (1: none). Of more columns as many are kept at random, the same
 * whatever the thread count and the batches. Free also after a failure. */
qdbg_status qdbg__samples_init(qdbg__samples *s, qdbg_ctx *ctx, const qdbg__linear *l,
                               size_t expected, size_t limit, uint32_t holdout);
void qdbg__samples_free(qdbg__samples *s);

#define QDBG__SAMPLE_ROWS 64

/* Some columns: of the rounded network's input, x [groups, stride, depth], and of the float32
 * network's, `plain`. */
typedef struct qdbg__sample_batch {
    const qdbg__linear *linear;
    const float *weight; /* [groups, rows, depth] */
    const float *x, *plain;
    size_t stride, first, n; /* columns first .. first + n - 1 */
    const uint8_t *spoilt;   /* [stride] not 0: leave the column out */
    float *scratch;          /* [threads, n_scratch] */
    size_t n_scratch;        /* QDBG__SAMPLE_ROWS columns of as many rows, or of what there is */
} qdbg__sample_batch;

/* Of the columns that are not spoilt take those whose turn it is. */
qdbg_status qdbg__samples_take(qdbg__samples *s, qdbg__sample_set *set,
                               const qdbg__sample_batch *batch);

/* Put them into random order. */
qdbg_status qdbg__samples_finish(qdbg__samples *s);

/* A random number that depends on its arguments alone. */
uint64_t qdbg__sample_key(uint64_t seed, uint64_t index);

#endif
