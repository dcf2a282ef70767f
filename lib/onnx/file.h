/* Files, with reasons in words. Texts are our own: strerror is neither thread-safe nor the same in
 * every locale. */
#ifndef QDBG_ONNX_FILE_H
#define QDBG_ONNX_FILE_H

#include <stdio.h>
#include <qdebug/base.h>

#define QDBG__ONNX_REASON_SIZE 32

/* Why a call failed with `error` (an errno value); static text or `text`. */
const char *qdbg__onnx_reason(int error, char text[QDBG__ONNX_REASON_SIZE]);

typedef struct qdbg__onnx_bytes {
    uint8_t *data;
    size_t size;
    size_t capacity; /* as allocated from the context */
} qdbg__onnx_bytes;

/* Read a whole file of at most `limit` bytes (more is QDBG_E_FORMAT); pipes are fine. Free with
 * qdbg__onnx_bytes_free. Fails with QDBG_E_IO, QDBG_E_FORMAT, QDBG_E_NOMEM, QDBG_E_LIMIT. */
qdbg_status qdbg__onnx_read_file(qdbg_ctx *ctx, const char *path, uint64_t limit,
                                 qdbg__onnx_bytes *out);
void qdbg__onnx_bytes_free(qdbg_ctx *ctx, qdbg__onnx_bytes *bytes);

/* Open a regular file and tell its size. NULL with `*error` set: an errno value, or 0 when it is
 * not a regular file. */
FILE *qdbg__onnx_open(const char *path, uint64_t *size, int *error);

/* Read `n` bytes from `offset` on: 0, or an errno value, or -1 when the file ends first. */
int qdbg__onnx_read_at(FILE *file, uint64_t offset, void *dst, size_t n);

#endif
