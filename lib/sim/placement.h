/* Where quantizers sit: a rule set applied to a graph. Layer 7. */
#ifndef QDBG_SIM_PLACEMENT_H
#define QDBG_SIM_PLACEMENT_H

#include "../graph/op.h"
#include "rules.h"

typedef struct qdbg__place {
    uint32_t value;
    uint32_t node; /* see qdbg_quantizer_info */
    int32_t kind;  /* QDBG_WEIGHT, QDBG_ACTIVATION or QDBG_BIAS */
    int32_t axis;  /* output channels of a weight or bias */
    int32_t symmetry, is_signed;
    bool per_channel;
    bool one_channel; /* a weight that makes a single output: never per channel */
    uint32_t fixed;   /* QDBG_RULE_RANGE, QDBG_RULE_MIN: what of the range is known beforehand */
    float fixed_min, fixed_max;
    bool shared;                      /* others have the same encoding */
    uint32_t group;                   /* the first place that has the same encoding */
    uint32_t next;                    /* the next of the group, or QDBG_NONE */
    uint32_t from_input, from_weight; /* a bias's scale is the product of these places' ... */
    double factor;                    /* ... times this */
} qdbg__place;

/* Why a value has no quantizer. */
typedef struct qdbg__absence {
    uint8_t reason;  /* QDBG_ABSENT_ */
    uint8_t section; /* QDBG__SECTION_: which rule */
    uint8_t role;    /* of a parameter: QDBG__ROLE_ */
    bool by_name;    /* of a parameter: the rule gives its name, not its role */
    uint32_t other;  /* there is one: its place; fused: node; shared: value that has the quantizer;
                        source: value without;  parameters: node that reads it */
} qdbg__absence;

enum {
    QDBG__SECTION_DEFAULTS,
    QDBG__SECTION_PARAMS,
    QDBG__SECTION_OP_TYPE,
    QDBG__SECTION_MODEL_INPUT,
    QDBG__SECTION_MODEL_OUTPUT,
};

enum { QDBG__ROLE_NONE, QDBG__ROLE_WEIGHT, QDBG__ROLE_BIAS };

typedef struct qdbg__places {
    qdbg__place *at; /* [n] in topological order */
    size_t n, capacity;
    qdbg__absence *absent; /* [n_values] */
    size_t n_values;
} qdbg__places;

/* `rules` NULL: the preset "default". */
qdbg_status qdbg__place_quantizers(const qdbg_graph *graph, const qdbg_rules *rules,
                                   qdbg__places *out);
void qdbg__places_free(qdbg_ctx *ctx, qdbg__places *places);

/* "weight", "bias" */
const char *qdbg__role_name(uint32_t role);

#endif
