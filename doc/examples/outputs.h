/* The reports that qdebug-diagnose writes. */
#ifndef OUTPUTS_H
#define OUTPUTS_H

#include <stdbool.h>

#include <qdebug/qdebug.h>

#include "options.h"

/* Can the files be written? Asked before the long run. False after a line on stderr. */
bool outputs_check(const options *o);

/* Write the files that the command line asks for. False after a line on stderr. */
bool outputs_save(const options *o, qdbg_ctx *ctx, const qdbg_diagnosis *diagnosis,
                  const qdbg_report_options *report);

/* Write the text report, time and memory to stdout. False after a line on stderr. */
bool outputs_print(qdbg_ctx *ctx, const qdbg_diagnosis *diagnosis,
                   const qdbg_report_options *report, double seconds, double peak_mib);

#endif
