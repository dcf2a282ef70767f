#include "ctx.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "pool.h"

#define ALIGN ((size_t)64)

static void *libc_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void libc_free(void *user, void *ptr, size_t size, size_t align)
{
    (void)user;
    (void)size;
    (void)align;
    free(ptr);
}

void qdbg_ctx_options_init(qdbg_ctx_options *options)
{
    if (options)
        *options = (qdbg_ctx_options)QDBG_CTX_OPTIONS_INIT;
}

void qdbg_error_info_init(qdbg_error_info *info)
{
    if (info)
        *info = (qdbg_error_info)QDBG_ERROR_INFO_INIT;
}

static bool options_valid(const qdbg_ctx_options *o)
{
    if (o->struct_size != sizeof *o || o->flags & ~QDBG_CTX_KEEP_BLAS_THREADS)
        return false;
    if (o->cpu_level < QDBG_CPU_BEST || o->cpu_level > QDBG_CPU_NEON)
        return false;
    if (o->cpu_level != QDBG_CPU_BEST && !qdbg__cpu_allows(o->cpu_level))
        return false;
    if (o->threads > 1024 || o->log_level < 0 || o->log_level > QDBG_LOG_DEBUG)
        return false;
    const qdbg_allocator *a = o->allocator;
    return !a || (a->struct_size == sizeof *a && a->alloc && a->free);
}

/* The weak reference lets any CBLAS be linked; only OpenBLAS has threads of its own to stop. */
#if defined(__GNUC__)
extern void openblas_set_num_threads(int n) __attribute__((weak));
#endif

static void single_thread_blas(void)
{
#if defined(__GNUC__)
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
#endif
}

qdbg_status qdbg_ctx_create(const qdbg_ctx_options *options, qdbg_ctx **out)
{
    qdbg_ctx_options o = QDBG_CTX_OPTIONS_INIT;
    if (options)
        o = *options;
    if (!out || !options_valid(&o))
        return QDBG_E_INVALID;

    qdbg_allocator a = {sizeof a, 0, NULL, libc_alloc, libc_free};
    if (o.allocator)
        a = *o.allocator;
    if (o.memory_limit && o.memory_limit < sizeof(qdbg_ctx))
        return QDBG_E_LIMIT;
    qdbg_ctx *ctx = a.alloc(a.user, sizeof *ctx, ALIGN);
    if (!ctx)
        return QDBG_E_NOMEM;
    memset(ctx, 0, sizeof *ctx);
    ctx->allocator = a;
    ctx->memory_limit = o.memory_limit;
    atomic_init(&ctx->memory_current, sizeof *ctx);
    atomic_init(&ctx->memory_peak, sizeof *ctx);
    atomic_init(&ctx->cancelled, 0);
    ctx->seed = o.seed;
    ctx->n_threads = o.threads ? o.threads : qdbg__cpu_cores();
    ctx->cpu_level = o.cpu_level ? o.cpu_level : qdbg__cpu_best();
    ctx->log = o.log;
    ctx->log_user = o.log_user;
    ctx->log_level = o.log_level ? o.log_level : QDBG_LOG_WARNING;
    ctx->progress = o.progress;
    ctx->progress_user = o.progress_user;
    if (!(o.flags & QDBG_CTX_KEEP_BLAS_THREADS))
        single_thread_blas();
    *out = ctx;
    return QDBG_OK;
}

void qdbg_ctx_destroy(qdbg_ctx *ctx)
{
    if (!ctx)
        return;
    qdbg__pool_destroy(ctx);
    ctx->allocator.free(ctx->allocator.user, ctx, sizeof *ctx, ALIGN);
}

/* ---- errors ---- */

void qdbg__clear_error(qdbg_ctx *ctx)
{
    ctx->error_status = QDBG_OK;
    ctx->error_code = 0;
    ctx->error_message[0] = 0;
    ctx->error_node[0] = 0;
    ctx->error_value[0] = 0;
}

/* snprintf cuts in the middle of a UTF-8 sequence; take the broken tail away. */
static void trim_utf8(char *text)
{
    size_t n = strlen(text), i = n;
    while (i > 0 && n - i < 4 && ((unsigned char)text[i - 1] & 0xc0) == 0x80)
        i--;
    if (i == 0)
        return;
    unsigned char lead = (unsigned char)text[i - 1];
    size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (need > n - (i - 1))
        text[i - 1] = 0;
}

static void copy_text(char *dst, size_t size, const char *src)
{
    snprintf(dst, size, "%s", src ? src : "");
    trim_utf8(dst);
}

static void record(qdbg_ctx *ctx, qdbg_status status, const char *node, const char *value,
                   const char *fmt, va_list args)
{
    char message[QDBG__MESSAGE_SIZE], node_copy[QDBG__NAME_SIZE], value_copy[QDBG__NAME_SIZE];
    /* The arguments may point into the record that is being replaced. */
    vsnprintf(message, sizeof message, fmt, args);
    copy_text(node_copy, sizeof node_copy, node);
    copy_text(value_copy, sizeof value_copy, value);
    trim_utf8(message);
    /* Before the record is made: the callback may call the library, which clears it. */
    qdbg_ctx_log(ctx, QDBG_LOG_ERROR, message);
    memcpy(ctx->error_message, message, sizeof message);
    memcpy(ctx->error_node, node_copy, sizeof node_copy);
    memcpy(ctx->error_value, value_copy, sizeof value_copy);
    ctx->error_status = status;
    ctx->error_code = 0;
}

qdbg_status qdbg__fail(qdbg_ctx *ctx, qdbg_status status, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    record(ctx, status, NULL, NULL, fmt, args);
    va_end(args);
    return status;
}

qdbg_status qdbg__fail_at(qdbg_ctx *ctx, qdbg_status status, const char *node, const char *value,
                          const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    record(ctx, status, node, value, fmt, args);
    va_end(args);
    return status;
}

qdbg_status qdbg__fail_callback(qdbg_ctx *ctx, const char *what, int32_t code)
{
    qdbg__fail(ctx, QDBG_E_CALLBACK, "%s returned %d", what, (int)code);
    ctx->error_code = code;
    return QDBG_E_CALLBACK;
}

void qdbg__failure_save(const qdbg_ctx *ctx, qdbg__failure *f)
{
    f->status = ctx->error_status;
    f->code = ctx->error_code;
    memcpy(f->message, ctx->error_message, sizeof f->message);
    memcpy(f->node, ctx->error_node, sizeof f->node);
    memcpy(f->value, ctx->error_value, sizeof f->value);
}

void qdbg__failure_restore(qdbg_ctx *ctx, const qdbg__failure *f)
{
    ctx->error_status = f->status;
    ctx->error_code = f->code;
    memcpy(ctx->error_message, f->message, sizeof f->message);
    memcpy(ctx->error_node, f->node, sizeof f->node);
    memcpy(ctx->error_value, f->value, sizeof f->value);
}

qdbg_status qdbg_ctx_fail(qdbg_ctx *ctx, qdbg_status status, const char *node, const char *value,
                          const char *message)
{
    if (!ctx)
        return status;
    return qdbg__fail_at(ctx, status, node, value, "%s",
                         message ? message : qdbg_status_name(status));
}

qdbg_status qdbg_ctx_error(const qdbg_ctx *ctx, qdbg_error_info *info)
{
    if (!ctx || !info || info->struct_size != sizeof *info)
        return QDBG_E_INVALID;
    info->status = ctx->error_status;
    info->callback_code = ctx->error_code;
    info->message = ctx->error_message;
    info->node = ctx->error_node;
    info->value = ctx->error_value;
    return QDBG_OK;
}

const char *qdbg_ctx_error_message(const qdbg_ctx *ctx)
{
    return ctx ? ctx->error_message : "";
}

/* ---- log, progress, cancel ---- */

void qdbg_ctx_log(qdbg_ctx *ctx, int32_t level, const char *message)
{
    if (ctx && ctx->log && message && level <= ctx->log_level)
        ctx->log(ctx->log_user, level, message);
}

void qdbg__log(qdbg_ctx *ctx, int32_t level, const char *fmt, ...)
{
    if (!ctx->log || level > ctx->log_level)
        return;
    char message[QDBG__MESSAGE_SIZE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    trim_utf8(message);
    ctx->log(ctx->log_user, level, message);
}

void qdbg_cancel(qdbg_ctx *ctx)
{
    if (ctx)
        atomic_store(&ctx->cancelled, 1);
}

void qdbg_cancel_clear(qdbg_ctx *ctx)
{
    if (ctx)
        atomic_store(&ctx->cancelled, 0);
}

bool qdbg__cancel_wanted(qdbg_ctx *ctx)
{
    return atomic_load_explicit(&ctx->cancelled, memory_order_relaxed) != 0;
}

qdbg_status qdbg__answer_cancel(qdbg_ctx *ctx, const char *stage)
{
    if (atomic_exchange(&ctx->cancelled, 0) == 0)
        return QDBG_OK;
    return qdbg__fail(ctx, QDBG_E_CANCELLED, "cancelled during %s", stage);
}

qdbg_status qdbg__progress(qdbg_ctx *ctx, const char *stage, uint64_t done, uint64_t total)
{
    if (ctx->progress) {
        qdbg_progress p = {sizeof p, 0, stage, done, total};
        if (ctx->progress(ctx->progress_user, &p) != 0)
            qdbg_cancel(ctx);
    }
    return qdbg__answer_cancel(ctx, stage);
}

uint32_t qdbg_ctx_threads(const qdbg_ctx *ctx)
{
    return ctx ? ctx->n_threads : 0;
}

int32_t qdbg_ctx_cpu_level(const qdbg_ctx *ctx)
{
    return ctx ? ctx->cpu_level : 0;
}

/* ---- memory ---- */

qdbg_status qdbg_ctx_memory(const qdbg_ctx *ctx, uint64_t *current, uint64_t *peak)
{
    if (!ctx)
        return QDBG_E_INVALID;
    if (current)
        *current = atomic_load(&ctx->memory_current);
    if (peak)
        *peak = atomic_load(&ctx->memory_peak);
    return QDBG_OK;
}

static bool total_size(size_t n, size_t element_size, size_t *size)
{
    if (element_size != 0 && n > (SIZE_MAX / 2) / element_size)
        return false;
    *size = n * element_size;
    if (*size == 0)
        *size = 1;
    return true;
}

static bool charge(qdbg_ctx *ctx, size_t size)
{
    uint64_t now = atomic_fetch_add(&ctx->memory_current, size) + size;
    if (ctx->memory_limit && now > ctx->memory_limit) {
        atomic_fetch_sub(&ctx->memory_current, size);
        return false;
    }
    uint_fast64_t peak = atomic_load(&ctx->memory_peak);
    while (now > peak && !atomic_compare_exchange_weak(&ctx->memory_peak, &peak, now))
        ;
    return true;
}

static void *allocate(qdbg_ctx *ctx, size_t n, size_t element_size, qdbg_status *status)
{
    size_t size;
    *status = QDBG_E_NOMEM;
    if (!total_size(n, element_size, &size))
        return NULL;
    if (!charge(ctx, size)) {
        *status = QDBG_E_LIMIT;
        return NULL;
    }
    void *ptr = ctx->allocator.alloc(ctx->allocator.user, size, ALIGN);
    if (!ptr) {
        atomic_fetch_sub(&ctx->memory_current, size);
        return NULL;
    }
    memset(ptr, 0, size);
    *status = QDBG_OK;
    return ptr;
}

void *qdbg__try_alloc(qdbg_ctx *ctx, size_t n, size_t element_size)
{
    qdbg_status status;
    return allocate(ctx, n, element_size, &status);
}

void *qdbg__alloc(qdbg_ctx *ctx, size_t n, size_t element_size)
{
    qdbg_status status;
    void *ptr = allocate(ctx, n, element_size, &status);
    if (ptr)
        return ptr;
    if (status == QDBG_E_LIMIT)
        qdbg__fail(ctx, status, "%zu x %zu bytes would pass the memory ceiling of %llu bytes", n,
                   element_size, (unsigned long long)ctx->memory_limit);
    else
        qdbg__fail(ctx, status, "no memory for %zu x %zu bytes", n, element_size);
    return NULL;
}

void qdbg__free(qdbg_ctx *ctx, void *ptr, size_t n, size_t element_size)
{
    size_t size;
    if (!ptr || !total_size(n, element_size, &size))
        return;
    ctx->allocator.free(ctx->allocator.user, ptr, size, ALIGN);
    atomic_fetch_sub(&ctx->memory_current, size);
}

void *qdbg_ctx_alloc(qdbg_ctx *ctx, size_t size)
{
    return ctx ? qdbg__alloc(ctx, size, 1) : NULL;
}

void qdbg_ctx_free(qdbg_ctx *ctx, void *ptr, size_t size)
{
    if (ctx)
        qdbg__free(ctx, ptr, size, 1);
}

qdbg_status qdbg__reserve(qdbg_ctx *ctx, void *array, size_t *capacity, size_t needed,
                          size_t element_size)
{
    if (needed <= *capacity)
        return QDBG_OK;
    size_t grown = *capacity < 8 ? 8 : *capacity * 2;
    if (grown < needed)
        grown = needed;
    void *fresh = qdbg__alloc(ctx, grown, element_size);
    if (!fresh)
        return ctx->error_status;
    void *old;
    memcpy(&old, array, sizeof old);
    if (old)
        memcpy(fresh, old, *capacity * element_size);
    qdbg__free(ctx, old, *capacity, element_size);
    memcpy(array, &fresh, sizeof fresh);
    *capacity = grown;
    return QDBG_OK;
}

char *qdbg__strdup(qdbg_ctx *ctx, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = qdbg__alloc(ctx, size, 1);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

void qdbg__strfree(qdbg_ctx *ctx, char *text)
{
    if (text)
        qdbg__free(ctx, text, strlen(text) + 1, 1);
}
