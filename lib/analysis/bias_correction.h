/* Bias correction from inside. Layer 8. */
#ifndef QDBG_ANALYSIS_BIAS_CORRECTION_H
#define QDBG_ANALYSIS_BIAS_CORRECTION_H

#include <qdebug/bias_correction.h>

#include "../graph/layer.h"
#include "../model/journal.h"
#include "../sim/guard.h"

/* How a layer's window moves over its input; axes are right-aligned in three. */
typedef struct qdbg__taps {
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
    bool transposed;
    bool is_matrix;    /* channels are the last axis, there is no window */
    int64_t positions; /* of the output, in one run */
} qdbg__taps;

/* False where the layer does not take such an input. */
bool qdbg__taps_read(const qdbg_graph *graph, const qdbg__layer *layer, const qdbg_view *input,
                     qdbg__taps *taps);

/* Sums of what each tap of each input channel sees of `x`: sums[ins * taps], overwritten. Over
 * positions, they are the mean column: mean output = W * column. */
void qdbg__taps_sum(const qdbg__taps *taps, const qdbg__layer *layer, const qdbg_view *x,
                    double *sums);

/* Share of the output's positions from which tap `k` falls inside. */
double qdbg__taps_share(const qdbg__taps *taps, size_t k);

typedef struct qdbg__bias_layer {
    qdbg__layer layer;
    qdbg_bias_row row;
    double unit;
    bool by_norm;
    bool has_column, has_mean; /* `column` and `mean` are known */
    double *scale;             /* [outs] of the normalization, when by_norm; else NULL */
    double *column, *other;    /* [n_column] mean columns in float32 and in the quantized network */
    double *mean;              /* [outs] W * column in float32, before anything was corrected */
    double *error;             /* [outs] of the means */
    double *changed;           /* [outs] what was added to the outputs so far */
    size_t n_column;
    size_t entry; /* of the bias in the journal, plus 1; 0: not changed */
} qdbg__bias_layer;

struct qdbg_bias_correction {
    qdbg_sim *sim;
    const qdbg_dataset *data;
    qdbg_bias_options options;
    qdbg__bias_layer *layers; /* [n] of n_allocated */
    size_t n, n_allocated;
    qdbg__journal journal;
    qdbg__guard guard;
};

/* Mean columns of the chosen layers in a variant, averaged over the data: columns[i] is written
 * where wanted[i]; false in has[i] where there is none. */
qdbg_status qdbg__bias_columns(qdbg_bias_correction *b, const qdbg__variant *variant,
                               const uint8_t *wanted, double *const *columns, bool *has);

/* Mean columns from statistics. */
qdbg_status qdbg__bias_analytical(qdbg_bias_correction *b);

#endif
