/* Linear layers seen as matrix products: which weights make a row, which inputs a column. Layer 8.
 */
#ifndef QDBG_ANALYSIS_ADAROUND_LINEAR_H
#define QDBG_ANALYSIS_ADAROUND_LINEAR_H

#include "../graph/op.h"
#include "../graph/ops/window.h"

enum {
    QDBG__LINEAR_CONV,
    QDBG__LINEAR_CONV_TRANSPOSE,
    QDBG__LINEAR_GEMM,      /* y = alpha x W (+ beta c) */
    QDBG__LINEAR_X_TIMES_W, /* MatMul with the weight on the right */
    QDBG__LINEAR_W_TIMES_X  /* ... and on the left */
};

/* `groups` products of W [rows, depth] with columns [depth]. Output channel = group * rows + row.
 */
typedef struct qdbg__linear {
    uint32_t node, weight, input, output; /* input and output: values */
    int32_t kind;                         /* QDBG__LINEAR_ */
    uint32_t groups, rows, depth;
    double alpha; /* the layer's output is that many times the product */
    /* Element k of a row is weight group * group_stride + row * row_stride + k / inner *
     * outer_stride + k % inner. */
    size_t inner, outer_stride, row_stride, group_stride;
} qdbg__linear;

/* What `node` computes with its constant float32 input `weight`; false where that is not a linear
 * layer of a known form. */
bool qdbg__linear_read(const qdbg_graph *g, uint32_t node, uint32_t weight, qdbg__linear *out);

size_t qdbg__linear_weight(const qdbg__linear *l, size_t group, size_t row, size_t k);

/* Copy between the parameter's order and matrices [groups, rows, depth]. */
void qdbg__linear_gather(const qdbg__linear *l, const float *weight, float *matrix);
void qdbg__linear_scatter(const qdbg__linear *l, const float *matrix, float *weight);

/* Where columns lie in an input of a certain shape. */
typedef struct qdbg__columns {
    qdbg_view shape; /* of the input in one run, without data */
    int64_t n;       /* columns in one run: output positions */
    qdbg__window window;
    int64_t in_area, out_area, taps, channels; /* channels of one group */
    int64_t span, block, step, stride; /* without window: column p begins at p / span * block + p %
                                          span * step; its elements are `stride` apart */
    int64_t group_block;               /* ... and it lies so much further in each group */
} qdbg__columns;

/* Work out columns for an input of that shape. QDBG_OK, or a failure that is recorded where the
 * layer does not take such an input. */
qdbg_status qdbg__columns_plan(const qdbg_graph *g, const qdbg__linear *l, const qdbg_view *input,
                               qdbg__columns *out);

/* Copy column `position` of input `x`: group g's part to column + g * group_stride. `offsets` is
 * scratch for c->taps numbers. */
void qdbg__columns_take(const qdbg__columns *c, const qdbg__linear *l, const float *x,
                        int64_t position, int64_t *offsets, float *column, size_t group_stride);

#endif
