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
    uint32_t param, value;
    int32_t kind; /* QDBG__RIDER_ */
} qdbg__rider;

/* What keeps the channels of a value as they are. */
typedef struct qdbg__obstacle {
    uint32_t value;
    int32_t reason; /* QDBG_EQUALIZE_ */
    uint32_t node;  /* or QDBG_NONE */
    bool is_whole;  /* all channels of the joint, not only the value's */
} qdbg__obstacle;

/* Of a joint's channel; free to be scaled are those that are made, read and not held. */
enum { QDBG__CHANNEL_HELD = 1, QDBG__CHANNEL_MADE = 2, QDBG__CHANNEL_READ = 4 };

typedef struct qdbg__joint {
    uint32_t root; /* of its values */
    uint32_t first_producer, first_consumer;
    uint32_t n_producers, n_consumers; /* layers */
    int64_t low;                       /* smallest offset of a value */
    size_t channels;
    uint32_t value; /* that the first consumer reads */
    double *factor; /* [channels] owned: what values are divided by (absorption: shifted down by) */
    double *peak;   /* [channels] owned: largest activation; NULL: not known */
    uint8_t *states; /* [channels] owned: QDBG__CHANNEL_ */
    int32_t outcome;
    uint32_t node; /* in the way, maybe of some channels only */
    qdbg_equalize_row row;
} qdbg__joint;

typedef struct qdbg__joints {
    qdbg_model *model;
    uint32_t *parent; /* [n_values] of the union */
    int64_t *offset;  /* [n_values] channels from the parent's first to the value's first */
    size_t *repeat;   /* [n_values] channels of the value that are one of the joint's: Flatten */
    uint32_t *joint;  /* [n_values] of roots: QDBG_NONE where none */
    bool *bends;      /* [n_values] of roots: negative parts are treated otherwise than positive */
    qdbg__layer *layers;
    size_t n_layers, layers_capacity;
    qdbg__rider *riders;
    size_t n_riders, riders_capacity;
    qdbg__obstacle *obstacles;
    size_t n_obstacles, obstacles_capacity;
    qdbg__joint *at; /* [n] */
    size_t n, capacity;
} qdbg__joints;

/* Find them all, those that something stands in the way of, too. */
qdbg_status qdbg__joints_find(qdbg_model *model, qdbg__joints *out);
void qdbg__joints_free(qdbg__joints *joints);

/* The joint of a value, or NULL. */
qdbg__joint *qdbg__joints_of(const qdbg__joints *joints, uint32_t value);

/* Where the channels of a value lie in its joint. */
typedef struct qdbg__port {
    qdbg__joint *joint; /* NULL: in none */
    size_t first, repeat;
    size_t n; /* channels of the joint that it has; 0 where that is not known */
} qdbg__port;

/* May the joint's channel be scaled? */
bool qdbg__joint_is_free(const qdbg__joint *joint, size_t channel);

qdbg__port qdbg__joints_port(const qdbg__joints *joints, uint32_t value);

/* Channel of the joint that channel `i` of the value is. */
static inline size_t qdbg__port_channel(const qdbg__port *port, size_t i)
{
    return port->first + i / port->repeat;
}

/* Set every parameter that is in a joint with outcome DONE to what the factors make of it. */
qdbg_status qdbg__joints_apply(const qdbg__joints *joints, qdbg__journal *journal);

/* ---- what nodes are to joints; used while they are found ---- */

/* The value's channels stay as they are (is_whole: all of its joint). */
qdbg_status qdbg__joints_hold(qdbg__joints *joints, uint32_t value, int32_t reason, uint32_t node,
                              bool is_whole);
/* `part` is channels `first` and so on of `whole`, counted in the joint's. */
qdbg_status qdbg__joints_unite(qdbg__joints *joints, uint32_t whole, uint32_t part, int64_t first,
                               uint32_t node);
/* Channels of a value as the joint counts them; 0 where that is not known. */
size_t qdbg__joints_channels(const qdbg__joints *joints, uint32_t value);
void qdbg__joints_bend(qdbg__joints *joints, uint32_t value);

qdbg_status qdbg__joints_take_node(qdbg__joints *joints, uint32_t node);

/* Is the operator one of those? The list ends in NULL. */
bool qdbg__node_is_in(const qdbg__node *node, const char *const *types);
/* Is f(x / s) = f(x) / s for each channel by itself, s > 0? */
bool qdbg__keeps_factors(const qdbg_graph *graph, const qdbg__node *node);

/* Integers of attribute `name` or of constant input `input`; -1: there are none, -2: they cannot be
 * had. */
#define QDBG__MOST_INTS (2 * QDBG_MAX_RANK)
int32_t qdbg__read_ints(const qdbg_graph *graph, const qdbg__node *node, const char *name,
                        uint32_t input, int64_t *to);
int64_t qdbg__axis_of(const qdbg_graph *graph, uint32_t value, int64_t axis);

/* Does the normalization, which is constant, multiply by 1 and take nothing off? */
qdbg_status qdbg__norm_is_folded(qdbg_model *model, const qdbg__node *norm, size_t channels,
                                 bool *folded);
/* Bound number `input` of a Clip where it is one number; infinite: none, NaN: not one number. */
qdbg_status qdbg__clip_bound(qdbg_model *model, const qdbg__node *clip, uint32_t input,
                             float *bound);

struct qdbg_equalize {
    qdbg_model *model;
    qdbg__joints joints;
    qdbg__journal journal;
    qdbg__guard guard;
    double balance;
    bool is_absorption;
};

/* Let the guard judge what was done to the joints; those that it undid are told as reverted. */
qdbg_status qdbg__equalize_judge(qdbg_equalize *e, const char *stage);

/* Factors by the ranges of the weights as the model has them now. `balance` 0: RANGES. */
qdbg_status qdbg__equalize_factors(qdbg__joints *joints, double balance, uint32_t max_sweeps);

/* Largest |activation| of each channel into joint->peak (`lowest`: the smallest value, instead). */
qdbg_status qdbg__joints_observe(qdbg__joints *joints, const qdbg_dataset *data, bool lowest);

#endif
