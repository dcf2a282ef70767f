/* What the report formats share. Layer 10. */
#ifndef QDBG_REPORT_REPORT_H
#define QDBG_REPORT_REPORT_H

#include <qdebug/report.h>

#include "../base/text.h"

/* A report on its way out. The first failure stays in text.status, and everything written after it
 * is dropped; loops over findings ask the readers below, which then say false. */
typedef struct qdbg__report {
    qdbg__text text;
    const qdbg_diagnosis *diagnosis;
    qdbg_summary summary;
    const char *model;     /* NULL when not known */
    const double *seconds; /* [summary.n_steps], or NULL */
    uint32_t text_rows;
} qdbg__report;

/* Check the arguments but for `ctx` and write the report to `sink`. */
qdbg_status qdbg__report_run(qdbg_ctx *ctx, const qdbg_diagnosis *diagnosis, int32_t format,
                             const qdbg_report_options *options, qdbg__text_sink sink, void *user);

/* One writer for each format. */
void qdbg__report_text(qdbg__report *r);
void qdbg__report_json(qdbg__report *r);
void qdbg__report_csv(qdbg__report *r);
void qdbg__report_html(qdbg__report *r);

/* Read step or finding `i`: true until the last one, false behind it or after a failure. */
bool qdbg__report_step(qdbg__report *r, uint32_t i, qdbg_step *step);
bool qdbg__report_finding(qdbg__report *r, uint32_t i, qdbg_finding *finding);

/* Wall time of step `i`, NaN when not known. */
double qdbg__report_seconds(const qdbg__report *r, uint32_t i);

/* The same for people: NaN as well for a step that was not walked. */
double qdbg__report_time_shown(const qdbg__report *r, uint32_t i, const qdbg_step *step);

/* Score lost by the whole quantized model, and whether that is more than is allowed. */
double qdbg__report_drop(const qdbg__report *r);
bool qdbg__report_drops_too_far(const qdbg__report *r);

/* "weight" or "activation". */
const char *qdbg__report_kind(const qdbg_finding *finding);

/* "passed", "failed" or "skipped". */
const char *qdbg__report_outcome(int32_t outcome);

/* "nearest-even" ... */
const char *qdbg__report_rounding(int32_t rounding);

/* The number that people read off a score: four decimals, fewer for large ones. */
size_t qdbg__report_format_score(char out[QDBG__NUMBER_SIZE], double score);

/* The next code point of a text from a file, made fit to be shown: what is no UTF-8, controls but
 * newline and tab, and characters that turn the direction of writing become QDBG__REPLACEMENT. */
uint32_t qdbg__report_visible(const char **p);

#endif
