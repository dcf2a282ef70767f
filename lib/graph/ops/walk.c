#include "walk.h"

#include <string.h>

/* A walk is laid out before its result is found to be too large, and refused: until then products
 * of dimensions may wrap round. */
static int64_t times(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a * (uint64_t)b);
}

void qdbg__strides(uint32_t rank, const int64_t *dims, int64_t *strides)
{
    int64_t stride = 1;
    for (uint32_t d = rank; d-- > 0;) {
        strides[d] = stride;
        stride = times(stride, dims[d] > 0 ? dims[d] : 1);
    }
}

void qdbg__strides_broadcast(const qdbg_view *view, uint32_t rank, int64_t *strides)
{
    int64_t own[QDBG_MAX_RANK];
    qdbg__strides(view->rank, view->dims, own);
    for (uint32_t i = 0; i < rank; i++) { /* i counts from the last dimension */
        bool there = i < view->rank && view->dims[view->rank - 1 - i] != 1;
        strides[rank - 1 - i] = there ? own[view->rank - 1 - i] : 0;
    }
}

/* Whether dimension `outer` of all operands is stepped over by walking through `inner`. */
static bool mergeable(const qdbg__walk *w, uint32_t outer, const int64_t (*strides)[QDBG_MAX_RANK],
                      uint32_t inner, int64_t inner_dim)
{
    for (uint32_t k = 0; k < w->n; k++) {
        if (w->strides[k][outer] != times(strides[k][inner], inner_dim))
            return false;
    }
    return true;
}

void qdbg__walk_init(qdbg__walk *w, uint32_t rank, const int64_t *dims, uint32_t n,
                     const int64_t (*strides)[QDBG_MAX_RANK])
{
    uint32_t r = 0; /* dimensions collected */
    *w = (qdbg__walk){.n = n, .outer = 1, .inner = 1};
    for (uint32_t d = 0; d < rank; d++) {
        if (dims[d] == 0) {
            w->outer = 0;
            return;
        }
    }
    for (uint32_t d = 0; d < rank; d++) {
        if (dims[d] == 1)
            continue;
        bool merge = r > 0 && mergeable(w, r - 1, strides, d, dims[d]);
        uint32_t to = merge ? r - 1 : r++;
        w->dims[to] = merge ? times(w->dims[to], dims[d]) : dims[d];
        for (uint32_t k = 0; k < n; k++)
            w->strides[k][to] = strides[k][d];
    }
    if (r == 0)
        return;
    w->rank = r - 1;
    w->inner = w->dims[r - 1];
    for (uint32_t k = 0; k < n; k++)
        w->inner_stride[k] = w->strides[k][r - 1];
    for (uint32_t d = 0; d < w->rank; d++)
        w->outer = times(w->outer, w->dims[d]);
}

void qdbg__walk_broadcast(qdbg__walk *w, const qdbg_view *out, uint32_t n_in,
                          const qdbg_view *const *in)
{
    int64_t strides[QDBG__WALK_OPERANDS][QDBG_MAX_RANK];
    qdbg__strides(out->rank, out->dims, strides[0]);
    for (uint32_t k = 0; k < n_in; k++)
        qdbg__strides_broadcast(in[k], out->rank, strides[k + 1]);
    qdbg__walk_init(w, out->rank, out->dims, n_in + 1, (const int64_t(*)[QDBG_MAX_RANK])strides);
}

/* memcpy of a constant size is a plain load and store, free of aliasing and alignment rules. */
#define COPY_STRIDED(bytes)         \
    for (int64_t i = 0; i < n; i++) \
    memcpy(dst + i * step * bytes, src + i * src_step * bytes, bytes)

void qdbg__copy_row(size_t size, char *dst, int64_t step, const char *src, int64_t src_step,
                    int64_t n)
{
    if (n <= 0)
        return;
    if (step == 1 && src_step == 1)
        memcpy(dst, src, (size_t)n * size);
    else if (size == 1)
        COPY_STRIDED(1);
    else if (size == 2)
        COPY_STRIDED(2);
    else if (size == 4)
        COPY_STRIDED(4);
    else
        COPY_STRIDED(8);
}

void qdbg__walk_copy(const qdbg__walk *w, size_t size, void *dst, const void *src)
{
    int64_t index[QDBG_MAX_RANK] = {0}, at[QDBG__WALK_OPERANDS] = {0};
    int64_t bytes = (int64_t)size;
    for (int64_t i = 0; i < w->outer; i++, qdbg__walk_next(w, index, at))
        qdbg__copy_row(size, (char *)dst + at[0] * bytes, w->inner_stride[0],
                       (const char *)src + at[1] * bytes, w->inner_stride[1], w->inner);
}

void qdbg__fill(size_t size, void *dst, const void *value, int64_t n)
{
    if (n <= 0)
        return;
    if (!value)
        memset(dst, 0, (size_t)n * size);
    else
        qdbg__copy_row(size, dst, 1, value, 0, n);
}

int64_t qdbg__dims_product(const int64_t *dims, uint32_t from, uint32_t to)
{
    int64_t n = 1;
    for (uint32_t d = from; d < to; d++)
        n *= dims[d];
    return n;
}
