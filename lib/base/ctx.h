/* The context from inside: memory, errors, cancel, worker threads. Layer 0: includes nothing of
 * ours but the public base.h. */
#ifndef QDBG_BASE_CTX_H
#define QDBG_BASE_CTX_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <qdebug/base.h>

#define QDBG__MESSAGE_SIZE 512
#define QDBG__NAME_SIZE 256

struct qdbg__pool;

struct qdbg_ctx {
    qdbg_allocator allocator;
    uint64_t memory_limit;
    atomic_uint_fast64_t memory_current;
    atomic_uint_fast64_t memory_peak;
    uint64_t seed;
    uint32_t n_threads;
    int32_t cpu_level;
    struct qdbg__pool *pool; /* NULL until the first parallel call */
    qdbg_log_fn log;
    void *log_user;
    int32_t log_level;
    qdbg_progress_fn progress;
    void *progress_user;
    atomic_int cancelled;
    int32_t error_status;
    int32_t error_code;
    char error_message[QDBG__MESSAGE_SIZE];
    char error_node[QDBG__NAME_SIZE];
    char error_value[QDBG__NAME_SIZE];
};

#if defined(__GNUC__)
#define QDBG__PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define QDBG__PRINTF(a, b)
#endif

/* Every fallible public function starts with this, so that details never outlive the next call. */
void qdbg__clear_error(qdbg_ctx *ctx);

/* Record details and return `status`. Only on the thread that owns the context: worker jobs return
 * a status and leave the words to their caller. `node` and `value` may be NULL. */
qdbg_status qdbg__fail(qdbg_ctx *ctx, qdbg_status status, const char *fmt, ...) QDBG__PRINTF(3, 4);
qdbg_status qdbg__fail_at(qdbg_ctx *ctx, qdbg_status status, const char *node, const char *value,
                          const char *fmt, ...) QDBG__PRINTF(5, 6);

/* A copy of the error record, for clean-up that makes calls of its own after a failure. */
typedef struct qdbg__failure {
    int32_t status, code;
    char message[QDBG__MESSAGE_SIZE];
    char node[QDBG__NAME_SIZE];
    char value[QDBG__NAME_SIZE];
} qdbg__failure;

void qdbg__failure_save(const qdbg_ctx *ctx, qdbg__failure *failure);
void qdbg__failure_restore(qdbg_ctx *ctx, const qdbg__failure *failure);

/* Record that the callback `what` returned `code`. */
qdbg_status qdbg__fail_callback(qdbg_ctx *ctx, const char *what, int32_t code);

void qdbg__log(qdbg_ctx *ctx, int32_t level, const char *fmt, ...) QDBG__PRINTF(3, 4);

/* Zeroed, 64-byte aligned memory for `n` elements; NULL with the failure recorded. Thread-safe but
 * for the record: from a worker thread use qdbg__try_alloc and return QDBG_E_NOMEM. n == 0 gives a
 * pointer that can be freed. */
void *qdbg__alloc(qdbg_ctx *ctx, size_t n, size_t element_size);
void *qdbg__try_alloc(qdbg_ctx *ctx, size_t n, size_t element_size);
void qdbg__free(qdbg_ctx *ctx, void *ptr, size_t n, size_t element_size);

/* Grow `*array` (of `*capacity` elements) so that it holds `needed`; contents kept. */
qdbg_status qdbg__reserve(qdbg_ctx *ctx, void *array, size_t *capacity, size_t needed,
                          size_t element_size);

/* Copy of a string, freed with qdbg__strfree. */
char *qdbg__strdup(qdbg_ctx *ctx, const char *text);
void qdbg__strfree(qdbg_ctx *ctx, char *text);

/* Report progress on the calling thread and answer a cancel: QDBG_OK or QDBG_E_CANCELLED. */
qdbg_status qdbg__progress(qdbg_ctx *ctx, const char *stage, uint64_t done, uint64_t total);

/* The second half of qdbg__progress: take the waiting request and record it, if there is one. */
qdbg_status qdbg__answer_cancel(qdbg_ctx *ctx, const char *stage);

/* True when a cancel waits to be answered; for worker jobs, which then return early. */
bool qdbg__cancel_wanted(qdbg_ctx *ctx);

#endif
