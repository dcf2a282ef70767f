/* Element types and shapes from inside. Layer 1. */
#ifndef QDBG_TENSOR_TENSOR_H
#define QDBG_TENSOR_TENSOR_H

#include <stdbool.h>
#include <qdebug/tensor.h>

#include "../base/ctx.h"

/* Number of elements of a shape; false when it overflows or a dimension is negative. */
bool qdbg__shape_count(uint32_t rank, const int64_t *dims, uint64_t *count);

bool qdbg__shape_equal(uint32_t rank_a, const int64_t *a, uint32_t rank_b, const int64_t *b);

/* Write "[1,3,?,?]" (a negative dimension is "?"); cut to `size`. Returns `text`. */
char *qdbg__shape_text(uint32_t rank, const int64_t *dims, char *text, size_t size);

/* Check a view that a caller or host handed over: struct_size, dtype, rank, dims, data. `what`
 * names it in the message. */
qdbg_status qdbg__view_check(qdbg_ctx *ctx, const qdbg_view *view, const char *what);

#endif
