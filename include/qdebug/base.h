/**
 * @file base.h
 * Contexts, status codes, memory, log, progress and cancel: what every other header stands on.
 *
 * A context (qdbg_ctx) belongs to one thread at a time; different contexts may be used in
 * parallel. Every object made from a context must be destroyed before it. The library keeps no
 * mutable global state, never prints, never exits and never touches the process's locale, signal
 * handlers or floating-point environment. A context does not survive fork(): its worker threads
 * stay with the parent.
 *
 * Every fallible function returns a qdbg_status. When one fails, its out-parameters are left as
 * they were, nothing is left to free, and qdbg_ctx_error() tells the details until the next
 * fallible call on the same context. Functions that only read a const object, and those that have
 * no context to reach, return a status without recording details.
 *
 * Callbacks run on the thread that made the call, never under a lock. A callback reports failure
 * by returning non-zero: the call then ends with QDBG_E_CALLBACK and the callback's own number is
 * found in qdbg_error_info.callback_code.
 *
 * @since 0.1 for everything in this file
 */
#ifndef QDEBUG_BASE_H
#define QDEBUG_BASE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define QDBG_API __attribute__((visibility("default")))
#else
#define QDBG_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Version of this header; qdbg_version() gives that of the loaded library. */
#define QDBG_VERSION_MAJOR 0
#define QDBG_VERSION_MINOR 1
#define QDBG_VERSION_PATCH 0

/** @return the loaded library's version as major * 1000000 + minor * 1000 + patch */
QDBG_API uint32_t qdbg_version(void);

/** @return the loaded library's version as text, such as "0.1.0"; static storage */
QDBG_API const char *qdbg_version_string(void);

/** Result of a call: QDBG_OK or one of the negative QDBG_E_ codes. Codes are never renumbered. */
typedef int32_t qdbg_status;

#define QDBG_OK 0               /**< done */
#define QDBG_E_INVALID (-1)     /**< an argument is NULL, out of range or contradicts another */
#define QDBG_E_NOMEM (-2)       /**< the allocator gave no memory */
#define QDBG_E_LIMIT (-3)       /**< the context's memory ceiling would be passed */
#define QDBG_E_CALLBACK (-4)    /**< a callback returned non-zero: see callback_code */
#define QDBG_E_CANCELLED (-5)   /**< qdbg_cancel() was called, or progress asked to stop */
#define QDBG_E_UNSUPPORTED (-6) /**< an operator, type or feature that this build does not have */
#define QDBG_E_SHAPE (-7)       /**< dimensions do not fit together */
#define QDBG_E_TYPE (-8)        /**< an element type that is not allowed here */
#define QDBG_E_FORMAT (-9)      /**< a file or buffer is truncated or malformed */
#define QDBG_E_IO (-10)         /**< the operating system refused to open, read or write */
#define QDBG_E_NOT_FOUND (-11)  /**< no object of that name or number */
#define QDBG_E_STATE (-12)      /**< the call comes too early, too late or twice */
#define QDBG_E_HOST (-13)       /**< a host model broke a rule of model.h: the message names it */
#define QDBG_E_NUMERIC (-14)    /**< NaN or infinity where a finite number is needed */
#define QDBG_E_THREAD (-15)     /**< a worker thread could not be started */

/** @return the code's name without its prefix, such as "OK" or "SHAPE"; "UNKNOWN" for others */
QDBG_API const char *qdbg_status_name(qdbg_status status);

/** The library's root object; see the file comment for its rules. */
typedef struct qdbg_ctx qdbg_ctx;

/**
 * Memory functions of the caller. `alloc` returns `size` bytes aligned to `align` (a power of two,
 * at most 64) or NULL; `free` gets the same numbers back. Both may be called from the library's
 * worker threads and must be thread-safe.
 */
typedef struct qdbg_allocator {
    uint32_t struct_size; /**< sizeof(qdbg_allocator) */
    uint32_t reserved;    /**< zero */
    void *user;           /**< handed to both functions */
    void *(*alloc)(void *user, size_t size, size_t align);
    void (*free)(void *user, void *ptr, size_t size, size_t align);
} qdbg_allocator;

#define QDBG_LOG_ERROR 1
#define QDBG_LOG_WARNING 2
#define QDBG_LOG_INFO 3
#define QDBG_LOG_DEBUG 4

/** Receives a line of text without newline; valid only during the call. */
typedef void (*qdbg_log_fn)(void *user, int32_t level, const char *message);

/** State of a long call. */
typedef struct qdbg_progress {
    uint32_t struct_size; /**< set by the library */
    uint32_t reserved;
    const char *stage; /**< what is being done, such as "calibrate"; static text */
    uint64_t done;     /**< units finished in this stage */
    uint64_t total;    /**< units in this stage; 0 when unknown */
} qdbg_progress;

/** Called at least once a batch. Return 0 to go on, anything else to end with QDBG_E_CANCELLED. */
typedef int32_t (*qdbg_progress_fn)(void *user, const qdbg_progress *progress);

/** Instruction-set levels for qdbg_ctx_options.cpu_level. */
#define QDBG_CPU_BEST 0      /**< the best that this machine runs */
#define QDBG_CPU_REFERENCE 1 /**< the portable reference kernels */
#define QDBG_CPU_AVX2 2      /**< at most AVX2 with FMA */
#define QDBG_CPU_AVX512 3    /**< at most AVX-512 F, BW, DQ, VL */
#define QDBG_CPU_NEON 4      /**< at most Advanced SIMD (AArch64) */

/** Leave OpenBLAS's thread count alone (see qdbg_ctx_create). */
#define QDBG_CTX_KEEP_BLAS_THREADS 1u

/** Options of qdbg_ctx_create(); a zero field means its default. */
typedef struct qdbg_ctx_options {
    uint32_t struct_size;  /**< sizeof(qdbg_ctx_options) */
    uint32_t flags;        /**< QDBG_CTX_ bits */
    uint32_t threads;      /**< worker threads with the caller's; 0 = the machine's cores */
    int32_t cpu_level;     /**< QDBG_CPU_ */
    uint64_t seed;         /**< start of every random sequence */
    uint64_t memory_limit; /**< ceiling in bytes over all allocations; 0 = none */
    const qdbg_allocator *allocator; /**< NULL = the C library's; copied */
    qdbg_log_fn log;                 /**< NULL = silent */
    void *log_user;                  /**< handed to log */
    qdbg_progress_fn progress;       /**< NULL = none */
    void *progress_user;             /**< handed to progress */
    int32_t log_level;               /**< the most detailed QDBG_LOG_ level sent; 0 = warnings */
    uint32_t reserved;
} qdbg_ctx_options;

#define QDBG_CTX_OPTIONS_INIT                                                  \
    {                                                                          \
        (uint32_t)sizeof(qdbg_ctx_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
    }

/** Set `*options` to QDBG_CTX_OPTIONS_INIT. NULL is ignored. */
QDBG_API void qdbg_ctx_options_init(qdbg_ctx_options *options);

/**
 * Create a context.
 *
 * The library runs its own worker threads and calls BLAS from each of them, so OpenBLAS (where it
 * is the BLAS in use) is set to one thread, for the whole process, unless
 * QDBG_CTX_KEEP_BLAS_THREADS is given. Worker threads start with the first call that needs them.
 *
 * @param options  NULL = defaults; not kept
 * @param out      receives the context; destroy with qdbg_ctx_destroy()
 * @return QDBG_OK; QDBG_E_INVALID (out is NULL, a struct_size is wrong, an allocator lacks a
 *         function, threads is above 1024, log_level or flags are unknown, cpu_level is unknown or
 *         more than this machine has); QDBG_E_NOMEM; QDBG_E_LIMIT. There is no
 *         context to ask for details when this call fails.
 */
QDBG_API qdbg_status qdbg_ctx_create(const qdbg_ctx_options *options, qdbg_ctx **out);

/** Stop the worker threads and free the context. NULL is ignored. Objects made from it must be
 * gone. */
QDBG_API void qdbg_ctx_destroy(qdbg_ctx *ctx);

/** Details of the last failed call on a context. Texts live until the next call on it. */
typedef struct qdbg_error_info {
    uint32_t struct_size;  /**< sizeof(qdbg_error_info), set by the caller */
    qdbg_status status;    /**< QDBG_OK when the last call succeeded */
    int32_t callback_code; /**< what the callback returned, for QDBG_E_CALLBACK; else 0 */
    uint32_t reserved;
    const char *message; /**< one line, names the culprit; "" when none */
    const char *node;    /**< name of the graph node concerned, or "" */
    const char *value;   /**< name of the tensor or parameter concerned, or "" */
} qdbg_error_info;

#define QDBG_ERROR_INFO_INIT                                \
    {                                                       \
        (uint32_t)sizeof(qdbg_error_info), 0, 0, 0, 0, 0, 0 \
    }

/** Set `*info` to QDBG_ERROR_INFO_INIT. NULL is ignored. */
QDBG_API void qdbg_error_info_init(qdbg_error_info *info);

/**
 * Read the details of the last fallible call on `ctx`.
 * @return QDBG_OK; QDBG_E_INVALID if a pointer is NULL or struct_size is wrong
 */
QDBG_API qdbg_status qdbg_ctx_error(const qdbg_ctx *ctx, qdbg_error_info *info);

/** @return the message of qdbg_ctx_error(), "" when there is none, never NULL */
QDBG_API const char *qdbg_ctx_error_message(const qdbg_ctx *ctx);

/**
 * Record a failure on behalf of a companion library or a host, as the library's own functions do.
 * @param status   the code to record and return
 * @param node,value  names concerned, or NULL
 * @param message  one line; copied, cut at 511 bytes; NULL = the status's name
 * @return `status`
 */
QDBG_API qdbg_status qdbg_ctx_fail(qdbg_ctx *ctx, qdbg_status status, const char *node,
                                   const char *value, const char *message);

/** Send a line to the context's log callback, as the library does; dropped when none is set. */
QDBG_API void qdbg_ctx_log(qdbg_ctx *ctx, int32_t level, const char *message);

/**
 * Ask the long call that runs on `ctx` to end. It returns QDBG_E_CANCELLED within one batch and
 * leaves the context and its objects usable. A request made while nothing runs holds for the next
 * long call. Safe from any thread and from a signal handler. NULL is ignored.
 */
QDBG_API void qdbg_cancel(qdbg_ctx *ctx);

/** Withdraw a qdbg_cancel() that no call has answered yet. NULL is ignored. */
QDBG_API void qdbg_cancel_clear(qdbg_ctx *ctx);

/** @return the number of threads that `ctx` uses, the caller's included; 0 for NULL */
QDBG_API uint32_t qdbg_ctx_threads(const qdbg_ctx *ctx);

/** @return the QDBG_CPU_ level in use; 0 for NULL */
QDBG_API int32_t qdbg_ctx_cpu_level(const qdbg_ctx *ctx);

/**
 * Bytes held through the context's allocator.
 * @param current,peak  receive the figures; either may be NULL
 * @return QDBG_OK; QDBG_E_INVALID if ctx is NULL
 */
QDBG_API qdbg_status qdbg_ctx_memory(const qdbg_ctx *ctx, uint64_t *current, uint64_t *peak);

/**
 * Allocate through the context, for companion libraries: 64-byte aligned, counted, zeroed.
 * @return NULL with QDBG_E_NOMEM or QDBG_E_LIMIT recorded; never NULL for size 0 otherwise
 */
QDBG_API void *qdbg_ctx_alloc(qdbg_ctx *ctx, size_t size);

/** Free what qdbg_ctx_alloc() gave; `size` as it was asked for. NULL `ptr` is ignored. */
QDBG_API void qdbg_ctx_free(qdbg_ctx *ctx, void *ptr, size_t size);

#ifdef __cplusplus
}
#endif

#endif
