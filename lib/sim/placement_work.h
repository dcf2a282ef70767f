/* Placement as it is being worked out; for the placement files alone. Layer 7. */
#ifndef QDBG_SIM_PLACEMENT_WORK_H
#define QDBG_SIM_PLACEMENT_WORK_H

#include <qdebug/simulation.h>

#include "placement.h"

/* What is decided of a value. */
typedef struct qdbg__fate {
    bool is_float;               /* float32, as far as one can tell without shapes */
    bool is_live;                /* depends on a graph input */
    bool wanted;                 /* the rules ask for a quantizer */
    bool forced;                 /* ... even where the value keeps its input's encoding */
    uint8_t section;             /* that decided it: QDBG__SECTION_ */
    uint32_t fused;              /* node that it is fused into, or QDBG_NONE */
    uint32_t root;               /* value whose quantizer's encoding it has, or QDBG_NONE */
    uint32_t group;              /* roots: chain to the first value of the group */
    uint32_t leader;             /* first of a group: the first place in it, or QDBG_NONE */
    uint32_t last;               /* likewise: the last place so far */
    uint32_t place;              /* its quantizer, or QDBG_NONE */
    const qdbg__op_entry *asked; /* operator type whose input it is, and which asked for it */
} qdbg__fate;

typedef struct qdbg__placer {
    const qdbg_graph *graph;
    const qdbg_rules *rules;
    qdbg__fate *fates; /* [n_values] */
    qdbg__places *out;
} qdbg__placer;

bool qdbg__one_of(const qdbg__node *node, const char *const *types, size_t n);
#define QDBG__ONE_OF(node, types) qdbg__one_of(node, types, sizeof(types) / sizeof *(types))

/* Add a quantizer; what more there is to say of it goes into the place. */
qdbg_status qdbg__place_add(qdbg__placer *p, const qdbg__place *place);

/* Mark the values that lie inside a group of operators that engines run as one. */
void qdbg__place_fuse(qdbg__placer *p);

/* Place what belongs to a node: its parameters, then its outputs. */
qdbg_status qdbg__place_params(qdbg__placer *p, uint32_t node);
qdbg_status qdbg__place_outputs(qdbg__placer *p, uint32_t node);

/* Place on one value what the rules want there. */
qdbg_status qdbg__place_activation(qdbg__placer *p, uint32_t value);

/* From chains of values to groups of places. */
void qdbg__place_groups(qdbg__placer *p);

#endif
