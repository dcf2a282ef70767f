/* Encodings of a simulation's quantizers: made from ranges, kept, frozen. Layer 7. */
#ifndef QDBG_SIM_ENCODE_H
#define QDBG_SIM_ENCODE_H

#include "sim.h"

/* Encodings that are made but not yet a quantizer's own. */
typedef struct qdbg__encodings {
    qdbg_encoding *at; /* [n] */
    qdbg__grid *grids; /* [n] */
    uint32_t n;        /* 0: none */
} qdbg__encodings;

/* A tensor cut for its grids: [outer, length, inner], the spec's axis in the middle. */
typedef struct qdbg__cut {
    size_t outer, length, inner;
    size_t block; /* steps of the axis that share a grid; 0: per channel or per tensor */
    uint32_t n;   /* grids */
} qdbg__cut;

qdbg__cut qdbg__cut_of(uint32_t rank, const int64_t *dims, const qdbg_quant_spec *spec);

/* Make quantizer `i`'s encodings by its spec and range method. `data` are a weight's elements, or
 * NULL: they are read when needed. `observers` [n] are what the ranges of activations come from;
 * NULL: the quantizers' own. For one that shares its encoding all that share it are looked at.
 * Nothing is made for a bias. */
qdbg_status qdbg__sim_make_encodings(qdbg_sim *sim, size_t i, const qdbg_observer *observers,
                                     const float *data, qdbg__encodings *out);

/* The same for all that are chosen[i] != 0; those that share an encoding are made together, and
 * `chosen` comes to hold them all. `made` [n] is empty, and empty again after a failure. */
qdbg_status qdbg__sim_make_many(qdbg_sim *sim, uint8_t *chosen, const qdbg_observer *observers,
                                qdbg__encodings *made);

/* Room for encodings. */
qdbg_status qdbg__encodings_make_room(qdbg_ctx *ctx, uint32_t n, qdbg__encodings *out);

/* One encoding that covers a range, or zero where min > max. */
qdbg_encoding qdbg__sim_encoding_of(const qdbg__quantizer *q, qdbg__span span);

/* One range for all of an activation, where it does not come from observation. */
qdbg_status qdbg__sim_given_range(qdbg_sim *sim, const qdbg__quantizer *q, bool *found,
                                  qdbg__span *span);

/* A range that was chosen, where a rule fixes the lower end of it. */
void qdbg__sim_fix_min(const qdbg__quantizer *q, qdbg__span *span);

/* Is what was observed enough for the quantizer's method and granularity? */
bool qdbg__sim_observed_enough(const qdbg__quantizer *q, const qdbg_observer *observer);

/* The range of the whole of activation `i` and of all that share its encoding. *known: there is one
 * yet. */
qdbg_status qdbg__sim_shared_range(qdbg_sim *sim, size_t i, const qdbg_observer *observers,
                                   bool *known, qdbg__span *span);

/* Encode all that share quantizer `i`'s encoding. */
qdbg_status qdbg__sim_encode_group(qdbg_sim *sim, size_t i);

/* Biases: take memory once; then follow the encodings of quantizer `i`, which cannot fail. */
qdbg_status qdbg__sim_prepare_bias(qdbg_sim *sim, size_t i);
void qdbg__sim_derive_biases(qdbg_sim *sim, size_t i);
qdbg_status qdbg__sim_refuse_bias(qdbg_sim *sim, const qdbg__quantizer *q);

/* Make them the quantizer's own. Cannot fail. */
void qdbg__sim_adopt_encodings(qdbg_sim *sim, size_t i, qdbg__encodings *made);
void qdbg__encodings_free(qdbg_ctx *ctx, qdbg__encodings *made);

/* The encodings of a weight by a method that looks at every element: out [cut->n]. */
qdbg_status qdbg__sim_weight_encodings(qdbg_sim *sim, const qdbg__quantizer *q, const float *data,
                                       const qdbg__cut *cut, qdbg_encoding *out);

/* Data-free: where a BatchNormalization stands before `value`, perhaps with Relu or Clip between,
 * *found is set and *out receives the range. */
qdbg_status qdbg__sim_batch_norm_range(qdbg_sim *sim, uint32_t value, double sigmas, bool *found,
                                       qdbg__span *out);

const qdbg__value *qdbg__sim_value(const qdbg_sim *sim, const qdbg__quantizer *q);
size_t qdbg__sim_weight_count(const qdbg_sim *sim, const qdbg__quantizer *q);
bool qdbg__is_weight(const qdbg__quantizer *q);
bool qdbg__is_parameter(const qdbg__quantizer *q); /* a weight or a bias */
bool qdbg__is_bias(const qdbg__quantizer *q);

/* Read a weight's or bias's elements anew and encode it. */
qdbg_status qdbg__sim_refresh_weight(qdbg_sim *sim, size_t i);

/* Its elements, to be freed by the caller: [qdbg__sim_weight_count]. */
qdbg_status qdbg__sim_fetch_weight(qdbg_sim *sim, const qdbg__quantizer *q, float **data);

/* Axis of the channels whose ranges are reported: the spec's, or the output channels' of blocks. */
int32_t qdbg__channel_axis(const qdbg__quantizer *q);

/* Whether a quantizer can have both. */
qdbg_status qdbg__sim_check_method(qdbg_sim *sim, const qdbg__quantizer *q,
                                   const qdbg_quant_spec *spec, const qdbg_range_options *range);

#endif
