/* A made-up diagnosis with hostile names and numbers that were not measured, and who receives its
 * reports. Helpers assert that they succeed. */
#ifndef TESTS_REPORT_MAKE_H
#define TESTS_REPORT_MAKE_H

#include <qdebug/report.h>

#include "diagnose/diagnosis.h"

#define N_FORMATS 4 /* QDBG_REPORT_TEXT ... QDBG_REPORT_HTML are 1 ... 4 */
#define N_STEPS 6

/* Names of the first findings: markup, quotes, formulas, bad UTF-8, controls, a long one. */
#define N_HOSTILE 9
extern const char *const hostile[N_HOSTILE];

/* Receives a report: everything so far, terminated; call `fail_at` (from 1) returns -77. */
typedef struct sink {
    char *data;
    size_t size, largest; /* bytes in all, and in one call */
    uint32_t n_calls, fail_at;
} sink;

int32_t receive(void *user, const void *data, size_t size);

typedef struct world {
    qdbg_ctx *ctx;
    qdbg_diagnosis *diagnosis;
    double seconds[N_STEPS];
    qdbg_report_options options; /* a model's name */
} world;

/* A diagnosis with `n` findings. */
world world_make(size_t n);
void world_end(world *w);

/* The report as a string to be freed. */
char *world_report(world *w, int32_t format, size_t *size);

#endif
