/* A simulation from inside. Layer 7. */
#ifndef QDBG_SIM_SIM_H
#define QDBG_SIM_SIM_H

#include <qdebug/simulation.h>

#include "../model/score.h"
#include "../quant/observer.h"
#include "placement.h"

/* Encodings that a weight keeps whatever its elements: those that it was rounded to. */
typedef struct qdbg__frozen {
    qdbg_encoding *encodings; /* [n] owned; NULL: none */
    uint32_t n;
    qdbg_quant_spec spec; /* that they belong to */
    uint64_t frozen_by;   /* the journal (journal.h) of what froze them */
} qdbg__frozen;

typedef struct qdbg__quantizer {
    qdbg__place place;
    qdbg_quant_spec spec;
    qdbg_range_options range; /* how its range is chosen */
    bool enabled;
    bool seen;   /* `observed` holds something */
    bool custom; /* custom_min and custom_max overrule what was observed */
    float custom_min, custom_max;
    qdbg__frozen frozen;           /* stands in for what was observed while the spec is its own */
    qdbg__range observed;          /* of the whole tensor */
    qdbg__range *channel_observed; /* weights per channel: [n_channels] of the spec's axis */
    uint32_t n_channels;
    qdbg_observer observer;   /* activations: what calibration collected */
    qdbg_encoding *encodings; /* [n_grids]; n_grids == 0: none yet; biases: [n_room] */
    qdbg__grid *grids;        /* likewise */
    uint32_t n_grids;
    uint32_t n_room; /* biases: elements */
    uint32_t biases; /* the first bias whose scale comes from this one, or QDBG_NONE */
    uint32_t next_by_input, next_by_weight; /* biases: the next with the same source */
    qdbg__fakequant fq;
    float *quantized; /* weights: the fake-quantized elements, made when needed */
    bool quantized_valid;
} qdbg__quantizer;

struct qdbg_sim {
    qdbg_ctx *ctx;
    qdbg_model *model;
    qdbg__quantizer *quantizers; /* [n] */
    size_t n;
    uint32_t collect;       /* QDBG_OBSERVE_ bits for every activation */
    uint64_t model_version; /* that the weights' encodings belong to */
    qdbg__absence *absent;  /* [graph->n_values] */
    char *absence_text;     /* told last; or NULL */
};

/* The quantizer on a value or parameter, or QDBG_NONE. */
uint32_t qdbg__sim_quantizer_on(const qdbg_sim *sim, uint32_t value);

/* Bring weight encodings up to date with the model's parameters. */
qdbg_status qdbg__sim_refresh(qdbg_sim *sim);

/* Set the encodings of quantizer `i`, and of those that share them, to its range and spec; to none
 * where it has no range or is bypassed. After a failure they are as they were. */
qdbg_status qdbg__sim_encode(qdbg_sim *sim, size_t i);

/* Exchange what quantizer `i` has frozen with `*frozen` and encode anew; doing it again undoes it.
 * `n` is the number of channels where the spec is per channel, else 1. A range of the caller's
 * overrules frozen encodings, and a changed spec suspends them. After a failure nothing has
 * changed. */
qdbg_status qdbg__sim_swap_frozen(qdbg_sim *sim, size_t i, qdbg__frozen *frozen);
/* The exchange for clean-up, which cannot fail: encodings are made anew when they are next asked
 * for. */
void qdbg__sim_put_frozen_back(qdbg_sim *sim, size_t i, qdbg__frozen *frozen);
void qdbg__frozen_free(qdbg_ctx *ctx, qdbg__frozen *frozen);

/* Whether quantizer `i` changes anything when enabled. */
bool qdbg__sim_is_bypassed(const qdbg_sim *sim, size_t i);

/* A variant with tables of its own; they refer to the simulation's quantizers. */
typedef struct qdbg__sim_variant {
    const qdbg__fakequant **acts;
    const float **params;
} qdbg__sim_variant;

/* The variant in which the quantizers with chosen[i] != 0 are at work. Fails with QDBG_E_STATE for
 * an activation that has no encoding. */
qdbg_status qdbg__sim_variant_make(qdbg_sim *sim, const uint8_t *chosen, qdbg__sim_variant *out);
void qdbg__sim_variant_free(qdbg_sim *sim, qdbg__sim_variant *variant);
qdbg__variant qdbg__sim_variant_view(const qdbg__sim_variant *variant);

/* The fake-quantized elements of a weight (brought up to date), and its count. */
qdbg_status qdbg__sim_quantized_weight(qdbg_sim *sim, size_t i, const float **data);

/* Score the variant `chosen` beside float32: `scores` receives the n_metrics scores of the variant.
 */
qdbg_status qdbg__sim_score(qdbg_sim *sim, const uint8_t *chosen, const qdbg_dataset *dataset,
                            const char *stage, const qdbg_metric *metrics, uint32_t n_metrics,
                            double *scores);

/* qdbg_sim_calibrate, telling the number of samples. */
qdbg_status qdbg__sim_calibrate(qdbg_sim *sim, const qdbg_dataset *dataset, uint64_t *n_samples);

#endif
