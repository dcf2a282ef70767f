/* Matrix products over CBLAS, cut so that small ones are quick. */
#ifndef QDBG_GRAPH_OPS_SGEMM_H
#define QDBG_GRAPH_OPS_SGEMM_H

#include <stdbool.h>
#include <stdint.h>

/* The longest side of a matrix that CBLAS takes. */
#define QDBG__SGEMM_MAX ((int64_t)INT32_MAX)

/* A row-major matrix; `trans` means that what is multiplied is its transpose. */
typedef struct qdbg__matrix {
    const float *data;
    int64_t stride; /* elements from one stored row to the next, at least a row's length */
    bool trans;
} qdbg__matrix;

/* c[m,n] = alpha * a[m,k] * b[k,n] + beta * c. Sizes and strides in 0..QDBG__SGEMM_MAX; c is not
 * read when beta is 0. How the work is cut depends on the sizes alone, so equal inputs give equal
 * bits. */
void qdbg__sgemm(int64_t m, int64_t n, int64_t k, float alpha, qdbg__matrix a, qdbg__matrix b,
                 float beta, float *c, int64_t c_stride);

#endif
