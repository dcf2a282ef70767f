#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/reason.h"
#include "report.h"

#define TEMPORARY_NAMES 1000 /* tries before the folder counts as full of left-overs */
#define SUFFIX_SIZE ((size_t)16)

/* The path comes last, where cutting it is no loss. */
static qdbg_status fail_io(qdbg_ctx *ctx, const char *path, int error)
{
    char text[QDBG__REASON_SIZE];
    return qdbg__fail(ctx, QDBG_E_IO, "cannot write the report, %s: '%s'",
                      qdbg__reason(error, true, text), path);
}

/* A report on its way to a file. */
typedef struct job {
    qdbg_ctx *ctx;
    const qdbg_diagnosis *diagnosis;
    const qdbg_report_options *options;
    const char *path;
    int32_t format;
    int fd;
} job;

static qdbg_status write_all(void *user, const char *data, size_t size)
{
    const job *j = user;
    while (size > 0) {
        ssize_t n = write(j->fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_io(j->ctx, j->path, errno);
        data += n;
        size -= (size_t)n;
    }
    return QDBG_OK;
}

/* Write the report and close the file. */
static qdbg_status fill(job *j)
{
    qdbg_status status =
        qdbg__report_run(j->ctx, j->diagnosis, j->format, j->options, write_all, j);
    /* Without this a crash of the machine could leave an empty file under the name; what cannot be
     * synchronized, such as a pipe, says EINVAL. */
    if (status == QDBG_OK && fsync(j->fd) != 0 && errno != EINVAL && errno != ENOTSUP)
        status = fail_io(j->ctx, j->path, errno);
    if (close(j->fd) != 0 && errno != EINTR && status == QDBG_OK)
        status = fail_io(j->ctx, j->path, errno);
    return status;
}

/* Create a new file beside `path`; its name goes to `name`. */
static int create_beside(const char *path, char *name, size_t size)
{
    for (int i = 0; i < TEMPORARY_NAMES; i++) {
        snprintf(name, size, "%s.%d.tmp", path, i);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

static qdbg_status replace(job *j, const struct stat *old)
{
    size_t size = strlen(j->path) + SUFFIX_SIZE;
    char *name = qdbg__alloc(j->ctx, size, 1);
    if (!name)
        return j->ctx->error_status;
    qdbg_status status = QDBG_OK;
    j->fd = create_beside(j->path, name, size);
    if (j->fd < 0) {
        status = fail_io(j->ctx, j->path, errno);
        goto out;
    }
    if (old) /* who could read the old file may read the new one; if it fails, no harm is done */
        (void)!fchmod(j->fd, old->st_mode & 0777);
    status = fill(j);
    if (status == QDBG_OK && rename(name, j->path) != 0)
        status = fail_io(j->ctx, j->path, errno);
    if (status != QDBG_OK)
        (void)unlink(name);
out:
    qdbg__free(j->ctx, name, size, 1);
    return status;
}

qdbg_status qdbg_report_save(qdbg_ctx *ctx, const qdbg_diagnosis *diagnosis, int32_t format,
                             const qdbg_report_options *options, const char *path)
{
    job j = {ctx, diagnosis, options, path, format, -1};
    struct stat old;
    if (!ctx)
        return QDBG_E_INVALID;
    qdbg__clear_error(ctx);
    if (!path || !path[0])
        return qdbg__fail(ctx, QDBG_E_INVALID, "the path is %s", path ? "empty" : "NULL");
    bool exists = lstat(path, &old) == 0;
    if (!exists || S_ISREG(old.st_mode))
        return replace(&j, exists ? &old : NULL);

    /* A terminal, a pipe or a link, such as /dev/stdout, must not be replaced by a file. */
    j.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return j.fd < 0 ? fail_io(ctx, path, errno) : fill(&j);
}
