/* A bounded sample of rows that depends on the set of rows alone. Layer 3. */
#ifndef QDBG_QUANT_OBSERVER_ROWS_H
#define QDBG_QUANT_OBSERVER_ROWS_H

#include "observer.h"

/* qdbg__alloc on the context's thread, qdbg__try_alloc on others. */
typedef void *(*qdbg__alloc_fn)(qdbg_ctx *ctx, size_t n, size_t element_size);

/* Have room for rows of this length; QDBG_E_SHAPE when they had another one. */
qdbg_status qdbg__rows_prepare(qdbg_ctx *ctx, qdbg__alloc_fn alloc, qdbg__rows *rows,
                               size_t length);

qdbg_status qdbg__rows_add(qdbg_ctx *ctx, qdbg__rows *rows, const float *data, size_t n,
                           size_t length);
qdbg_status qdbg__rows_merge(qdbg_ctx *ctx, qdbg__rows *into, const qdbg__rows *from);

/* Sort the rows, so that what is summed over them does not depend on how they came. */
void qdbg__rows_copy_sorted(const qdbg__rows *rows, float *out, size_t *scratch);

void qdbg__rows_free(qdbg_ctx *ctx, qdbg__rows *rows);

#endif
