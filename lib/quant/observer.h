/* Observers from inside. Layer 3. */
#ifndef QDBG_QUANT_OBSERVER_H
#define QDBG_QUANT_OBSERVER_H

#include "range.h"

/* The moving average of one channel. */
typedef struct qdbg__average {
    qdbg__range batch; /* since the last end of a batch */
    double min, max;   /* mean so far; of no batches: 0 */
    uint64_t n_batches;
} qdbg__average;

/* The rows whose hashes are lowest. Rows with a NaN or infinity are passed over. */
typedef struct qdbg__rows {
    size_t length, capacity, n;
    size_t worst;   /* the row to give up next, once full */
    uint64_t *hash; /* [capacity] */
    float *data;    /* [capacity, length] */
} qdbg__rows;

struct qdbg_observer {
    qdbg_ctx *ctx;
    uint32_t collect;       /* QDBG_OBSERVE_ bits */
    uint32_t n_channels;    /* 0: not known yet */
    int32_t axis;           /* for the owner: where the channels lie */
    double momentum;        /* not 0 */
    qdbg__range *ranges;    /* [n_channels] */
    qdbg__moments *moments; /* [n_channels] each, or NULL where not collected */
    qdbg__histogram *histograms;
    qdbg__octaves *octaves;
    qdbg__average *averages;
    qdbg__rows rows;
};

/* An observer on its own, in the caller's memory; n_channels 0: as the first tensor has. Takes no
 * memory until the first observation. */
void qdbg__observer_init(qdbg_observer *observer, qdbg_ctx *ctx, uint32_t collect,
                         uint32_t n_channels, double momentum);
void qdbg__observer_free(qdbg_observer *observer);

/* Take all memory for tensors of `channels` and rows of length `row` (0: not known) at once, on the
 * context's thread and with details recorded; else it is taken when first needed. */
qdbg_status qdbg__observer_prepare(qdbg_observer *observer, size_t channels, size_t row);

/* Add [outer, channels, inner]. Any thread; records no details. QDBG_E_SHAPE for another number of
 * channels or length of rows. */
qdbg_status qdbg__observer_add(qdbg_observer *observer, const float *data, size_t outer,
                               size_t channels, size_t inner);

void qdbg__observer_end_batch(qdbg_observer *observer);

/* Merge another observer of the same collection; records no details. `from` may have seen nothing.
 */
qdbg_status qdbg__observer_merge(qdbg_observer *into, const qdbg_observer *from);

/* Move the unfinished batch of `from` into that of `into`. */
qdbg_status qdbg__observer_take_batch(qdbg_observer *into, qdbg_observer *from);

/* Choose a channel's range for a method whose needs are collected and of which something finite was
 * seen. `work` is needed by the methods that need histograms. */
qdbg_status qdbg__observer_choose(const qdbg_observer *observer, qdbg__range_work *work,
                                  uint32_t channel, const qdbg_range_options *options,
                                  const qdbg_quant_spec *spec, qdbg__span *out);

/* Statistics as the public function gives them; n_channels > channel. */
void qdbg__observer_statistics(const qdbg_observer *observer, uint32_t channel,
                               qdbg_statistics *statistics);

#endif
