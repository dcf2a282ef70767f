/* Pieces of the HTML report. Every text goes through qdbg__html_text, every number through one of
 * the functions below it: a true minus sign, "\u2013" for what was not measured, an infinity sign.
 */
#ifndef QDBG_REPORT_REPORT_HTML_H
#define QDBG_REPORT_REPORT_HTML_H

#include "report.h"

/* NULL-terminated lines of report_html_assets.c. */
extern const char *const qdbg__html_style[];
extern const char *const qdbg__html_script[];

/* Escaped for content and for attributes in double quotes. */
void qdbg__html_text(qdbg__text *t, const char *s);

/* The same for content only: a long name may break behind / . _ and : */
void qdbg__html_name(qdbg__text *t, const char *s);

void qdbg__html_score(qdbg__text *t, double v);
void qdbg__html_fixed(qdbg__text *t, double v, int decimals);
void qdbg__html_digits(qdbg__text *t, double v, int digits);

/* A share of 1 as "61.2 %". */
void qdbg__html_percent(qdbg__text *t, double share);

/* `n` and a noun: "1 quantizer", "57 quantizers". */
void qdbg__html_count(qdbg__text *t, uint64_t n, const char *noun);

/* "name: v%;" for a style attribute, v within 0..100. */
void qdbg__html_style_percent(qdbg__text *t, const char *name, double percent);

/* The symbol of an outcome: tick, cross or dash. */
void qdbg__html_icon(qdbg__text *t, int32_t outcome);

/* A W in a filled frame or an A in an empty one. */
void qdbg__html_chip(qdbg__text *t, const qdbg_finding *f);

/* The name of finding `rank` as a link to its row in the table. */
void qdbg__html_link(qdbg__text *t, const qdbg_finding *f, uint32_t rank);

/* Whether quantizers were put to work one by one. */
bool qdbg__html_were_run(qdbg__report *r);

/* Sections of the page, in order. */
void qdbg__html_verdict(qdbg__report *r);
void qdbg__html_cards(qdbg__report *r);
void qdbg__html_flow(qdbg__report *r);
void qdbg__html_scores(qdbg__report *r);
void qdbg__html_bars(qdbg__report *r);
void qdbg__html_culprits(qdbg__report *r);
void qdbg__html_depth(qdbg__report *r);
void qdbg__html_table(qdbg__report *r);

/* Round distances for a scale. */
typedef struct qdbg__html_axis {
    double low, high, tick;
    int decimals;
} qdbg__html_axis;

/* A scale over low..high with about `n` ticks. */
qdbg__html_axis qdbg__html_axis_make(double low, double high, int n);

/* Tick `i`, from 0: false behind the last one. */
bool qdbg__html_axis_tick(const qdbg__html_axis *axis, int i, double *v);

/* Where `v` lies between the ends: 0..100. */
double qdbg__html_axis_percent(const qdbg__html_axis *axis, double v);

#endif
