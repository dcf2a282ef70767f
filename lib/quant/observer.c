/* Statistics that do not depend on the order in which they were gathered. */
#include "observer.h"

#include <math.h>
#include <string.h>

#include "encoding.h"
#include "observer_rows.h"

void qdbg_observer_options_init(qdbg_observer_options *options)
{
    if (options)
        *options = (qdbg_observer_options)QDBG_OBSERVER_OPTIONS_INIT;
}

void qdbg_statistics_init(qdbg_statistics *statistics)
{
    if (statistics)
        *statistics = (qdbg_statistics)QDBG_STATISTICS_INIT;
}

void qdbg_histogram_init(qdbg_histogram *histogram)
{
    if (histogram)
        *histogram = (qdbg_histogram)QDBG_HISTOGRAM_INIT;
}

/* ---- memory ---- */

void qdbg__observer_init(qdbg_observer *o, qdbg_ctx *ctx, uint32_t collect, uint32_t n_channels,
                         double momentum)
{
    *o = (qdbg_observer){
        .ctx = ctx, .collect = collect, .n_channels = n_channels, .momentum = momentum};
}

void qdbg__observer_free(qdbg_observer *o)
{
    qdbg__free(o->ctx, o->ranges, o->n_channels, sizeof *o->ranges);
    qdbg__free(o->ctx, o->moments, o->n_channels, sizeof *o->moments);
    qdbg__free(o->ctx, o->histograms, o->n_channels, sizeof *o->histograms);
    qdbg__free(o->ctx, o->octaves, o->n_channels, sizeof *o->octaves);
    qdbg__free(o->ctx, o->averages, o->n_channels, sizeof *o->averages);
    qdbg__rows_free(o->ctx, &o->rows);
    o->ranges = NULL;
    o->moments = NULL;
    o->histograms = NULL;
    o->octaves = NULL;
    o->averages = NULL;
}

static bool take(qdbg_observer *o, qdbg__alloc_fn alloc, uint32_t bit, size_t size, void *array)
{
    if (bit != 0 && !(o->collect & bit))
        return true;
    void *memory = alloc(o->ctx, o->n_channels, size);
    memcpy(array, &memory, sizeof memory);
    return memory != NULL;
}

/* All of the memory or none. */
static qdbg_status open(qdbg_observer *o, qdbg__alloc_fn alloc, size_t channels)
{
    if (o->ranges)
        return channels == o->n_channels ? QDBG_OK : QDBG_E_SHAPE;
    if (o->n_channels == 0)
        o->n_channels = (uint32_t)channels;
    if (o->n_channels != channels)
        return QDBG_E_SHAPE;
    bool good = take(o, alloc, 0, sizeof *o->ranges, &o->ranges) &&
                take(o, alloc, QDBG_OBSERVE_MOMENTS, sizeof *o->moments, &o->moments) &&
                take(o, alloc, QDBG_OBSERVE_HISTOGRAM, sizeof *o->histograms, &o->histograms) &&
                take(o, alloc, QDBG_OBSERVE_HISTOGRAM, sizeof *o->octaves, &o->octaves) &&
                take(o, alloc, QDBG_OBSERVE_AVERAGE, sizeof *o->averages, &o->averages);
    if (!good) {
        qdbg__observer_free(o);
        return QDBG_E_NOMEM;
    }
    for (size_t c = 0; c < channels; c++) {
        qdbg__range_init(&o->ranges[c]);
        if (o->histograms)
            qdbg__histogram_init(&o->histograms[c]);
        if (o->averages)
            qdbg__range_init(&o->averages[c].batch);
    }
    return QDBG_OK;
}

qdbg_status qdbg__observer_prepare(qdbg_observer *o, size_t channels, size_t row)
{
    qdbg_status status = open(o, qdbg__alloc, channels);
    if (status == QDBG_OK && (o->collect & QDBG_OBSERVE_ROWS) && row > 0)
        status = qdbg__rows_prepare(o->ctx, qdbg__alloc, &o->rows, row);
    return status == QDBG_E_NOMEM ? o->ctx->error_status : status;
}

/* ---- observe and merge ---- */

static void add_octaves(qdbg_observer *o, const float *data, size_t outer, size_t inner)
{
    for (size_t r = 0; r < outer * o->n_channels; r++)
        qdbg__octaves_add(&o->octaves[r % o->n_channels], data + r * inner, inner);
}

qdbg_status qdbg__observer_add(qdbg_observer *o, const float *data, size_t outer, size_t channels,
                               size_t inner)
{
    const qdbg__kernels *k = qdbg__kernels_of(o->ctx);
    qdbg_status status = open(o, qdbg__try_alloc, channels);
    if (status == QDBG_OK && (o->collect & QDBG_OBSERVE_ROWS))
        status = qdbg__rows_add(o->ctx, &o->rows, data, inner ? outer * channels : 0, inner);
    if (status != QDBG_OK)
        return status;
    if (channels == 1) {
        inner *= outer;
        outer = 1;
    }
    k->range_channels(data, outer, channels, inner, o->ranges);
    if (o->moments)
        qdbg__moments_channels(k, data, outer, channels, inner, o->moments);
    if (o->histograms) {
        qdbg__histogram_channels(k, data, outer, channels, inner, o->histograms);
        add_octaves(o, data, outer, inner);
    }
    for (size_t c = 0; o->averages && c < channels; c++)
        for (size_t r = 0; r < outer; r++)
            k->range(data + (r * channels + c) * inner, inner, &o->averages[c].batch);
    return QDBG_OK;
}

void qdbg__observer_end_batch(qdbg_observer *o)
{
    for (uint32_t c = 0; o->averages && c < o->n_channels; c++) {
        qdbg__average *a = &o->averages[c];
        if (a->batch.min <= a->batch.max) {
            double share = a->n_batches == 0 ? 1 : o->momentum;
            a->min += share * ((double)a->batch.min - a->min);
            a->max += share * ((double)a->batch.max - a->max);
            a->n_batches++;
        }
        qdbg__range_init(&a->batch);
    }
}

static void merge_channel(qdbg_observer *into, const qdbg_observer *from, uint32_t c)
{
    qdbg__range_merge(&into->ranges[c], &from->ranges[c]);
    if (into->moments)
        qdbg__moments_merge(&into->moments[c], &from->moments[c]);
    if (into->averages)
        qdbg__range_merge(&into->averages[c].batch, &from->averages[c].batch);
    if (!into->histograms)
        return;
    qdbg__histogram_merge(&into->histograms[c], &from->histograms[c]);
    for (size_t i = 0; i < QDBG__OCTAVE_BINS; i++)
        into->octaves[c].count[i] += from->octaves[c].count[i];
}

qdbg_status qdbg__observer_merge(qdbg_observer *into, const qdbg_observer *from)
{
    if (!from->ranges)
        return QDBG_OK;
    qdbg_status status = open(into, qdbg__try_alloc, from->n_channels);
    if (status == QDBG_OK)
        status = qdbg__rows_merge(into->ctx, &into->rows, &from->rows);
    for (uint32_t c = 0; c < into->n_channels && status == QDBG_OK; c++)
        merge_channel(into, from, c);
    return status;
}

qdbg_status qdbg__observer_take_batch(qdbg_observer *into, qdbg_observer *from)
{
    if (!from->averages)
        return QDBG_OK;
    qdbg_status status = open(into, qdbg__try_alloc, from->n_channels);
    for (uint32_t c = 0; c < from->n_channels && status == QDBG_OK; c++) {
        qdbg__range_merge(&into->averages[c].batch, &from->averages[c].batch);
        qdbg__range_init(&from->averages[c].batch);
    }
    return status;
}

/* ---- choose ---- */

static qdbg_status choose_by_logits(const qdbg_observer *o, qdbg__span observed,
                                    const qdbg_quant_spec *spec, qdbg__span *out)
{
    const qdbg__rows *rows = &o->rows;
    size_t count = rows->n * rows->length;
    if (count == 0) {
        *out = observed;
        return QDBG_OK;
    }
    float *room = qdbg__alloc(o->ctx, 3 * count, sizeof *room);
    size_t *order = room ? qdbg__alloc(o->ctx, rows->n, sizeof *order) : NULL;
    if (order) {
        qdbg__rows_copy_sorted(rows, room, order);
        *out = qdbg__range_cross_entropy(qdbg__kernels_of(o->ctx), room, rows->n, rows->length,
                                         observed, spec, room + count);
    }
    qdbg__free(o->ctx, order, rows->n, sizeof *order);
    qdbg__free(o->ctx, room, 3 * count, sizeof *room);
    return order ? QDBG_OK : o->ctx->error_status;
}

qdbg_status qdbg__observer_choose(const qdbg_observer *o, qdbg__range_work *work, uint32_t channel,
                                  const qdbg_range_options *options, const qdbg_quant_spec *spec,
                                  qdbg__span *out)
{
    const qdbg__range *r = &o->ranges[channel];
    qdbg__span span = {r->min, r->max};
    uint32_t needs = qdbg__range_needs(options->method);
    if (needs & QDBG_OBSERVE_ROWS)
        return choose_by_logits(o, span, spec, out);
    if (needs & QDBG_OBSERVE_HISTOGRAM)
        span = qdbg__range_choose(work, &o->histograms[channel], &o->octaves[channel], NULL, 0,
                                  options, spec);
    if (needs & QDBG_OBSERVE_AVERAGE) {
        qdbg__average a = o->averages[channel];
        if (a.n_batches > 0)
            span = (qdbg__span){(float)a.min, (float)a.max};
    }
    *out = span;
    return QDBG_OK;
}

void qdbg__observer_statistics(const qdbg_observer *o, uint32_t channel, qdbg_statistics *s)
{
    qdbg__range r;
    qdbg__range_init(&r);
    if (o->ranges)
        r = o->ranges[channel];
    bool known = o->moments && r.min <= r.max;
    *s = (qdbg_statistics){.struct_size = sizeof *s,
                           .n_channels = o->n_channels,
                           .n = r.n,
                           .n_nan = r.n_nan,
                           .n_inf = r.n_inf,
                           .min = r.min,
                           .max = r.max,
                           .mean = known ? qdbg__moments_mean(&o->moments[channel]) : (double)NAN,
                           .variance =
                               known ? qdbg__moments_variance(&o->moments[channel]) : (double)NAN};
}
