/* One layer's share of qdbg_adaround_run: from moments to rounded weights. Layer 8. */
#ifndef QDBG_ANALYSIS_ADAROUND_LAYER_H
#define QDBG_ANALYSIS_ADAROUND_LAYER_H

#include <qdebug/adaround.h>

#include "../sim/sim.h"
#include "adaround_gram.h"

/* The parameter that a layer's mean can be corrected by. */
typedef struct qdbg__bias_site {
    uint32_t value; /* QDBG_NONE: none */
    uint32_t norm;  /* the BatchNormalization node whose shift it is, or QDBG_NONE */
    double factor;  /* of a change in units of the output (but for norm's own) */
} qdbg__bias_site;

typedef struct qdbg__ada_layer {
    qdbg__linear linear;
    qdbg__bias_site site;
    qdbg_adaround_row row;
    size_t n_weights;
    bool done;       /* rounded, or left for good */
    bool set_weight; /* `rounded` replaces the model's weights */
    float *rounded;  /* [n_weights] in the parameter's order, owned */
    float *bias;     /* corrected, [n_bias], owned */
    size_t n_bias;
    qdbg__frozen frozen; /* new encodings, owned */
} qdbg__ada_layer;

/* Where the mean of the layer's output can be corrected. */
qdbg__bias_site qdbg__bias_find(const qdbg_graph *g, const qdbg__linear *l);

/* Round a layer whose moments are there: fills in row, rounded, bias and frozen, or says in
 * row.outcome why not. `matrix`: the weights as [groups, rows, depth]. */
qdbg_status qdbg__ada_round(qdbg_sim *sim, const qdbg_adaround_options *o, qdbg__ada_layer *layer,
                            const float *matrix, const qdbg__gatherer *gatherer);

/* Are positions kept for losses behind the activation? */
static inline bool qdbg__ada_keeps(const qdbg_adaround_options *o)
{
    return o->solver == QDBG_ADAROUND_SAMPLED || (o->flags & QDBG_ADAROUND_ACT_LOSSES) != 0;
}

/* Nothing of it stays in place. */
void qdbg__ada_row_revert(qdbg_adaround_row *row);

void qdbg__ada_layer_free(qdbg_ctx *ctx, qdbg__ada_layer *layer);

#endif
