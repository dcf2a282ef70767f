/* Nested loops over tensors of one shape but different strides: what broadcasting, transposing and
 * slicing have in common. Strides count elements; a broadcast dimension has stride 0. */
#ifndef QDBG_GRAPH_OPS_WALK_H
#define QDBG_GRAPH_OPS_WALK_H

#include "../op.h"

#define QDBG__WALK_OPERANDS 4

/* The innermost loop is the caller's:
 *     int64_t index[QDBG_MAX_RANK] = {0}, at[QDBG__WALK_OPERANDS] = {0};
 *     for (int64_t i = 0; i < w->outer; i++, qdbg__walk_next(w, index, at))
 *         row(a + at[0], w->inner_stride[0], b + at[1], w->inner_stride[1], w->inner);
 * Nothing depends on the memory, so that infer can set it up and run use it. */
typedef struct qdbg__walk {
    uint32_t rank; /* of the outer loops */
    uint32_t n;    /* operands */
    int64_t outer; /* rows; 0 when the shape is empty */
    int64_t inner; /* elements of a row */
    int64_t inner_stride[QDBG__WALK_OPERANDS];
    int64_t dims[QDBG_MAX_RANK];
    int64_t strides[QDBG__WALK_OPERANDS][QDBG_MAX_RANK];
} qdbg__walk;

/* Row-major strides of a shape. */
void qdbg__strides(uint32_t rank, const int64_t *dims, int64_t *strides);

/* Strides that broadcast `view` to a shape of `rank` dimensions (its own are the last). */
void qdbg__strides_broadcast(const qdbg_view *view, uint32_t rank, int64_t *strides);

/* Loops over `dims` for `n` operands with strides[k][0..rank-1]; dimensions of size 1 are dropped
 * and neighbours merged where all operands allow it. */
void qdbg__walk_init(qdbg__walk *w, uint32_t rank, const int64_t *dims, uint32_t n,
                     const int64_t (*strides)[QDBG_MAX_RANK]);

/* Loops over the shape of `out` with operand 0 = out and operands 1.. = `in`, broadcast. */
void qdbg__walk_broadcast(qdbg__walk *w, const qdbg_view *out, uint32_t n_in,
                          const qdbg_view *const *in);

/* Step to the next row. */
static inline void qdbg__walk_next(const qdbg__walk *w, int64_t *index, int64_t *at)
{
    for (uint32_t d = w->rank; d-- > 0;) {
        for (uint32_t k = 0; k < w->n; k++)
            at[k] += w->strides[k][d];
        if (++index[d] < w->dims[d])
            return;
        index[d] = 0;
        for (uint32_t k = 0; k < w->n; k++)
            at[k] -= w->strides[k][d] * w->dims[d];
    }
}

/* dst[...] = src[...] for operand 0 = dst and operand 1 = src, with elements of `size` bytes (1, 2,
 * 4 or 8). The memories must not overlap. */
void qdbg__walk_copy(const qdbg__walk *w, size_t size, void *dst, const void *src);

/* dst[i * step] = src[i * src_step] for i < n; steps in elements. */
void qdbg__copy_row(size_t size, char *dst, int64_t step, const char *src, int64_t src_step,
                    int64_t n);

/* Fill `n` elements of `size` bytes with the one at `value` (NULL: zero bytes). */
void qdbg__fill(size_t size, void *dst, const void *value, int64_t n);

/* Product of dims[from..to-1]; the shape's count is known to fit. */
int64_t qdbg__dims_product(const int64_t *dims, uint32_t from, uint32_t to);

#endif
