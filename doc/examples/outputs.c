#define _GNU_SOURCE

#include "outputs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "console.h"

#define N_FILES 3

typedef struct output {
    int32_t format;
    const char *path; /* NULL: not wanted */
} output;

static void list_outputs(const options *o, output out[N_FILES])
{
    out[0] = (output){QDBG_REPORT_HTML, o->html};
    out[1] = (output){QDBG_REPORT_JSON, o->json};
    out[2] = (output){QDBG_REPORT_CSV, o->csv};
}

/* ---- before the run ---- */

/* The only sure way to learn whether a file can be made in a folder is to make one. */
static bool can_create_beside(const char *path)
{
    char *probe = NULL;
    if (asprintf(&probe, "%s.XXXXXX", path) < 0)
        return false;
    const int fd = mkstemp(probe);
    if (fd >= 0) {
        unlink(probe);
        close(fd);
    }
    free(probe);
    return fd >= 0;
}

static bool same_file(const struct stat *a, const char *path)
{
    struct stat b;
    return path && stat(path, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

/* A report must not replace what the diagnosis reads. */
static bool is_an_input(const options *o, const struct stat *st)
{
    if (same_file(st, o->model) || same_file(st, o->labels) || same_file(st, o->rules))
        return true;
    for (uint32_t i = 0; i < o->inputs.n; i++) {
        if (same_file(st, o->inputs.paths[i]))
            return true;
    }
    for (uint32_t i = 0; i < o->calibration.n; i++) {
        if (same_file(st, o->calibration.paths[i]))
            return true;
    }
    return false;
}

static bool check_output(const options *o, const char *path)
{
    struct stat st;
    const bool exists = stat(path, &st) == 0;
    if (exists && S_ISDIR(st.st_mode)) {
        console_error("%s: cannot write: Is a directory", path);
        return false;
    }
    if (exists && is_an_input(o, &st)) {
        console_error("%s: is an input; it will not be written over", path);
        return false;
    }
    /* Devices and pipes are written as they are; all else is replaced by a new file. */
    const bool ok =
        exists && !S_ISREG(st.st_mode) ? access(path, W_OK) == 0 : can_create_beside(path);
    if (!ok)
        console_error("%s: cannot write: %s", path, strerror(errno));
    return ok;
}

bool outputs_check(const options *o)
{
    output out[N_FILES];
    list_outputs(o, out);
    for (int i = 0; i < N_FILES; i++) {
        if (out[i].path && !check_output(o, out[i].path))
            return false;
        for (int k = 0; k < i; k++) {
            if (out[i].path && out[k].path && strcmp(out[i].path, out[k].path) == 0) {
                console_error("%s: named for two reports", out[i].path);
                return false;
            }
        }
    }
    return true;
}

/* ---- after it ---- */

static int32_t write_to_stream(void *user, const void *data, size_t size)
{
    return fwrite(data, 1, size, user) == size ? 0 : errno ? errno : EIO;
}

bool outputs_save(const options *o, qdbg_ctx *ctx, const qdbg_diagnosis *diagnosis,
                  const qdbg_report_options *report)
{
    output out[N_FILES];
    list_outputs(o, out);
    for (int i = 0; i < N_FILES; i++) {
        if (!out[i].path)
            continue;
        /* A link shall go on pointing to the report, not be replaced by it. */
        char *real = realpath(out[i].path, NULL);
        const qdbg_status status =
            qdbg_report_save(ctx, diagnosis, out[i].format, report, real ? real : out[i].path);
        free(real);
        if (status != QDBG_OK) {
            console_failure(out[i].path, qdbg_ctx_error_message(ctx));
            return false;
        }
    }
    return true;
}

bool outputs_print(qdbg_ctx *ctx, const qdbg_diagnosis *diagnosis,
                   const qdbg_report_options *report, double seconds, double peak_mib)
{
    errno = 0;
    const qdbg_status status =
        qdbg_report_write(ctx, diagnosis, QDBG_REPORT_TEXT, report, write_to_stream, stdout);
    if (status != QDBG_OK && status != QDBG_E_CALLBACK) {
        console_failure("standard output", qdbg_ctx_error_message(ctx));
        return false;
    }
    if (status != QDBG_OK ||
        printf("\ntime %.1f s, peak memory %.0f MiB\n", seconds, peak_mib) < 0 ||
        fflush(stdout) != 0) {
        console_error("standard output: cannot write: %s", strerror(errno));
        return false;
    }
    return true;
}
