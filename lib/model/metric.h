/* Metrics: the library's own and the caller's behind one face. */
#ifndef QDBG_MODEL_METRIC_H
#define QDBG_MODEL_METRIC_H

#include <stdbool.h>
#include <qdebug/model.h>

#include "../kernels/kernels.h"

qdbg_status qdbg__metric_check(qdbg_ctx *ctx, const qdbg_metric *metric);
bool qdbg__metric_needs_float(const qdbg_metric *metric);
size_t qdbg__metric_state_size(const qdbg_metric *metric);

qdbg_status qdbg__metric_update(qdbg_ctx *ctx, const qdbg_metric *metric, void *state,
                                const qdbg_metric_input *input);
qdbg_status qdbg__metric_result(qdbg_ctx *ctx, const qdbg_metric *metric, const void *state,
                                double *score);

/* 10 log10(signal / noise): +infinity without noise, -infinity where noise drowned everything. */
double qdbg__sqnr_db(double signal, double noise);

#endif
