#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64

#include "file.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "fail.h"

const char *qdbg__onnx_reason(int error, char text[QDBG__ONNX_REASON_SIZE])
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return "no such file";
    case EACCES:
    case EPERM:
        return "permission denied";
    case EISDIR:
        return "is a directory";
    case EMFILE:
    case ENFILE:
        return "too many open files";
    case ENAMETOOLONG:
        return "the name is too long";
    case ELOOP:
        return "too many symbolic links";
    case EIO:
        return "input/output error";
    default:
        snprintf(text, QDBG__ONNX_REASON_SIZE, "system error %d", error);
        return text;
    }
}

static qdbg_status fail_io(qdbg_ctx *ctx, const char *verb, const char *path, int error)
{
    char text[QDBG__ONNX_REASON_SIZE];
    return qdbg__onnx_fail(ctx, QDBG_E_IO, NULL, NULL, "cannot %s '%.*s': %s", verb,
                           QDBG__ONNX_SHOW(path), qdbg__onnx_reason(error, text));
}

static qdbg_status fail_too_large(qdbg_ctx *ctx, const char *path, uint64_t limit)
{
    return qdbg__onnx_fail(ctx, QDBG_E_FORMAT, NULL, NULL,
                           "'%.*s' is larger than %llu bytes, the most that the format allows",
                           QDBG__ONNX_SHOW(path), (unsigned long long)limit);
}

static qdbg_status grow(qdbg_ctx *ctx, qdbg__onnx_bytes *b, size_t capacity)
{
    uint8_t *data = qdbg_ctx_alloc(ctx, capacity);
    if (!data)
        return qdbg__onnx_recorded(ctx);
    if (b->size > 0)
        memcpy(data, b->data, b->size);
    qdbg__onnx_bytes_free(ctx, &(qdbg__onnx_bytes){b->data, 0, b->capacity});
    b->data = data;
    b->capacity = capacity;
    return QDBG_OK;
}

/* One byte of room beyond the file's size lets the end be seen without growing. */
static qdbg_status read_all(qdbg_ctx *ctx, FILE *file, const char *path, uint64_t limit,
                            qdbg__onnx_bytes *b)
{
    for (;;) {
        size_t room = b->capacity - b->size;
        size_t n = fread(b->data + b->size, 1, room, file);
        b->size += n;
        if (n < room)
            return ferror(file) ? fail_io(ctx, "read", path, errno) : QDBG_OK;
        if (b->size > limit)
            return fail_too_large(ctx, path, limit);
        qdbg_status status = grow(ctx, b, b->capacity * 2);
        if (status != QDBG_OK)
            return status;
    }
}

qdbg_status qdbg__onnx_read_file(qdbg_ctx *ctx, const char *path, uint64_t limit,
                                 qdbg__onnx_bytes *out)
{
    qdbg__onnx_bytes b = {0};
    struct stat st;
    FILE *file = fopen(path, "rbe");
    if (!file)
        return fail_io(ctx, "open", path, errno);
    qdbg_status status = QDBG_OK;
    if (fstat(fileno(file), &st) != 0)
        status = fail_io(ctx, "read", path, errno);
    else if (S_ISDIR(st.st_mode))
        status = fail_io(ctx, "read", path, EISDIR);
    else if (st.st_size > 0 && (uint64_t)st.st_size > limit)
        status = fail_too_large(ctx, path, limit);
    if (status == QDBG_OK)
        status = grow(ctx, &b, (st.st_size > 0 ? (size_t)st.st_size : (size_t)65535) + 1);
    if (status == QDBG_OK)
        status = read_all(ctx, file, path, limit, &b);
    fclose(file);
    if (status != QDBG_OK)
        qdbg__onnx_bytes_free(ctx, &b);
    else
        *out = b;
    return status;
}

void qdbg__onnx_bytes_free(qdbg_ctx *ctx, qdbg__onnx_bytes *bytes)
{
    qdbg_ctx_free(ctx, bytes->data, bytes->capacity);
}

FILE *qdbg__onnx_open(const char *path, uint64_t *size, int *error)
{
    struct stat st;
    /* Asked before opening: to open a pipe would wait for its other end. */
    if (stat(path, &st) != 0) {
        *error = errno;
        return NULL;
    }
    *error = 0;
    if (!S_ISREG(st.st_mode))
        return NULL;
    FILE *file = fopen(path, "rbe");
    if (!file)
        *error = errno;
    *size = (uint64_t)st.st_size;
    return file;
}

int qdbg__onnx_read_at(FILE *file, uint64_t offset, void *dst, size_t n)
{
    if (fseeko(file, (off_t)offset, SEEK_SET) != 0)
        return errno;
    if (fread(dst, 1, n, file) == n)
        return 0;
    return ferror(file) ? errno : -1;
}
