/* Joints of a graph: values whose channels are scaled together. Layer 8. */
#ifndef QDBG_ANALYSIS_EQUALIZE_H
#define QDBG_ANALYSIS_EQUALIZE_H

#include <qdebug/equalize.h>

#include "../graph/layer.h"
#include "../model/journal.h"
#include "../sim/guard.h"

enum { QDBG__RIDER_SHIFT, QDBG__RIDER_MIN, QDBG__RIDER_MAX };

/* Numbers that are scaled with a value: shifts of Add and BatchNormalization, bounds of Clip. */
typedef struct qdbg__rider {
    uint32_t param, root;
    int32_t kind; /* QDBG__RIDER_ */
} qdbg__rider;

typedef struct qdbg__joint {
    uint32_t root; /* of its values */
    uint32_t first_producer, first_consumer;
    uint32_t n_producers, n_consumers; /* layers */
    size_t channels;
    uint32_t value; /* that the first consumer reads */
    double *factor; /* [channels] owned: what values are divided by (absorption: shifted down by) */
    double *peak;   /* [channels] owned: largest activation; NULL: not known */
    int32_t outcome;
    uint32_t node; /* in the way */
    qdbg_equalize_row row;
} qdbg__joint;

typedef struct qdbg__joints {
    qdbg_model *model;
    uint32_t *parent;  /* [n_values] of the union */
    int32_t *reason;   /* [n_values] of roots: QDBG_EQUALIZE_ that is in the way, 0 none */
    uint32_t *culprit; /* [n_values] of roots: its node */
    uint32_t *joint;   /* [n_values] of roots: QDBG_NONE where none */
    bool *bends;       /* [n_values] of roots: negative parts are treated otherwise than positive */
    qdbg__layer *layers;
    size_t n_layers, layers_capacity;
    qdbg__rider *riders;
    size_t n_riders, riders_capacity;
    qdbg__joint *at; /* [n] */
    size_t n, capacity;
} qdbg__joints;

/* Find them all, those that something stands in the way of, too. */
qdbg_status qdbg__joints_find(qdbg_model *model, qdbg__joints *out);
void qdbg__joints_free(qdbg__joints *joints);

uint32_t qdbg__joints_root(const qdbg__joints *joints, uint32_t value);
/* The joint of a value, or NULL. */
qdbg__joint *qdbg__joints_of(const qdbg__joints *joints, uint32_t value);

/* Channel of the joint that weight element `i` of a consumer reads: behind Flatten, several inputs
 * belong to one. */
size_t qdbg__joint_channel(const qdbg__joint *joint, const qdbg__layer *consumer, size_t i);

/* Set every parameter that is in a joint with outcome DONE to what the factors make of it. */
qdbg_status qdbg__joints_apply(const qdbg__joints *joints, qdbg__journal *journal);

struct qdbg_equalize {
    qdbg_model *model;
    qdbg__joints joints;
    qdbg__journal journal;
    qdbg__guard guard;
    double balance;
    bool is_absorption;
};

/* Factors by the ranges of the weights as the model has them now. `balance` 0: RANGES. */
qdbg_status qdbg__equalize_factors(qdbg__joints *joints, double balance, uint32_t max_sweeps);

/* Largest |activation| of each channel into joint->peak (`lowest`: the smallest value, instead). */
qdbg_status qdbg__joints_observe(qdbg__joints *joints, const qdbg_dataset *data, bool lowest);

#endif
