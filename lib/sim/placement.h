/* Where quantizers sit: the rules of simulation.h. Layer 7. */
#ifndef QDBG_SIM_PLACEMENT_H
#define QDBG_SIM_PLACEMENT_H

#include "../graph/op.h"

typedef struct qdbg__place {
    uint32_t value;
    uint32_t node; /* see qdbg_quantizer_info */
    int32_t kind;  /* QDBG_WEIGHT or QDBG_ACTIVATION */
    int32_t axis;  /* output channels of a weight */
} qdbg__place;

typedef struct qdbg__places {
    qdbg__place *at; /* [n] in topological order */
    size_t n, capacity;
} qdbg__places;

qdbg_status qdbg__place_quantizers(const qdbg_graph *graph, qdbg__places *out);
void qdbg__places_free(qdbg_ctx *ctx, qdbg__places *places);

#endif
