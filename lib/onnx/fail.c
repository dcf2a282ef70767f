#include "fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SHOWN 160

qdbg_status qdbg__onnx_fail(qdbg_ctx *ctx, qdbg_status status, const char *node, const char *value,
                            const char *fmt, ...)
{
    char message[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    return qdbg_ctx_fail(ctx, status, node, value, message);
}

qdbg_status qdbg__onnx_recorded(const qdbg_ctx *ctx)
{
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    qdbg_ctx_error(ctx, &info);
    return info.status;
}

qdbg_status qdbg__onnx_blame_file(qdbg_ctx *ctx, qdbg_status status)
{
    if (status != QDBG_E_INVALID)
        return status;
    qdbg_error_info info = QDBG_ERROR_INFO_INIT;
    qdbg_ctx_error(ctx, &info);
    return qdbg_ctx_fail(ctx, QDBG_E_FORMAT, info.node, info.value, info.message);
}

int qdbg__onnx_shown(const char *name)
{
    size_t n = strlen(name);
    if (n <= SHOWN)
        return (int)n;
    n = SHOWN;
    while (n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80)
        n--;
    return (int)n;
}
