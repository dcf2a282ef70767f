/* Errors with words, recorded through the public qdbg_ctx_fail. libqdebug-onnx stands on
 * libqdebug's public headers alone. */
#ifndef QDBG_ONNX_FAIL_H
#define QDBG_ONNX_FAIL_H

#include <qdebug/base.h>

#if defined(__GNUC__)
#define QDBG__ONNX_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define QDBG__ONNX_PRINTF(a, b)
#endif

/* Record details and return `status`. `node` and `value` may be NULL. */
qdbg_status qdbg__onnx_fail(qdbg_ctx *ctx, qdbg_status status, const char *node, const char *value,
                            const char *fmt, ...) QDBG__ONNX_PRINTF(5, 6);

/* The status recorded last, for calls that report failure by NULL. */
qdbg_status qdbg__onnx_recorded(const qdbg_ctx *ctx);

/* A builder call that says "invalid argument" means a malformed file here: record the same words
 * under QDBG_E_FORMAT. Other codes pass unchanged. */
qdbg_status qdbg__onnx_blame_file(qdbg_ctx *ctx, qdbg_status status);

/* Bytes of `name` that a message shows, never part of a UTF-8 sequence: names in a hostile or a
 * generated file would push the reason out of the message. For "%.*s" with QDBG__ONNX_SHOW. */
int qdbg__onnx_shown(const char *name);
#define QDBG__ONNX_SHOW(name) qdbg__onnx_shown(name), (name)

#endif
