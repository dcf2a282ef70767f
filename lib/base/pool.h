/* The library's one thread pool. */
#ifndef QDBG_BASE_POOL_H
#define QDBG_BASE_POOL_H

#include "ctx.h"

/* A job: does item `index`, on worker `worker` in 0..threads-1, so that per-worker scratch needs no
 * lock. Returns a status; must not touch the context's error record. */
typedef qdbg_status (*qdbg__job_fn)(void *arg, uint64_t index, uint32_t worker);

/* Run items 0..n-1 on all threads of the context, the caller's among them (as worker 0). Items are
 * handed out in order. After a failure no new item starts; the status of the lowest failed item is
 * returned, so that the result does not depend on timing. Not re-entrant. Fails with
 * QDBG_E_THREAD or QDBG_E_NOMEM (recorded) when the workers cannot be started. */
qdbg_status qdbg__parallel_for(qdbg_ctx *ctx, uint64_t n, qdbg__job_fn job, void *arg);

/* Stop and free the workers; used by qdbg_ctx_destroy. */
void qdbg__pool_destroy(qdbg_ctx *ctx);

#endif
