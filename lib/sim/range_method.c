/* Range methods of quantizers, and what they were chosen from. */
#include <math.h>

#include "encode.h"

static bool for_activations_alone(int32_t method)
{
    return method == QDBG_RANGE_CROSS_ENTROPY || method == QDBG_RANGE_MOVING_AVERAGE ||
           method == QDBG_RANGE_BATCH_NORM;
}

static bool for_whole_tensors_alone(int32_t method)
{
    return method == QDBG_RANGE_CROSS_ENTROPY || method == QDBG_RANGE_BATCH_NORM;
}

qdbg_status qdbg__sim_check_method(qdbg_sim *sim, const qdbg__quantizer *q,
                                   const qdbg_quant_spec *spec, const qdbg_range_options *range)
{
    const char *name = qdbg__sim_value(sim, q)->name,
               *method = qdbg_range_method_name(range->method);
    if (qdbg__is_weight(q) && for_activations_alone(range->method))
        return qdbg__fail_at(sim->ctx, QDBG_E_UNSUPPORTED, NULL, name,
                             "weight '%s': the range method '%s' is for activations", name, method);
    if (spec->granularity != QDBG_PER_TENSOR && for_whole_tensors_alone(range->method))
        return qdbg__fail_at(sim->ctx, QDBG_E_UNSUPPORTED, NULL, name,
                             "activation '%s': the range method '%s' is for whole tensors", name,
                             method);
    return QDBG_OK;
}

#define METHOD 2 /* the method changes; 1: only the encoding that is shared with such a one */

static void swap_methods(qdbg_sim *sim, const uint8_t *chosen, qdbg_range_options *ranges)
{
    for (size_t i = 0; i < sim->n; i++) {
        qdbg_range_options before = sim->quantizers[i].range;
        if (chosen[i] != METHOD)
            continue;
        sim->quantizers[i].range = ranges[i];
        ranges[i] = before;
    }
}

/* The methods change for all of them or for none. */
static qdbg_status set_methods(qdbg_sim *sim, uint8_t *chosen, qdbg_range_options *ranges,
                               qdbg__encodings *made)
{
    qdbg_status status = qdbg__sim_refresh(sim);
    for (size_t i = 0; i < sim->n && status == QDBG_OK; i++)
        if (chosen[i])
            status = qdbg__sim_check_method(sim, &sim->quantizers[i], &sim->quantizers[i].spec,
                                            &ranges[i]);
    if (status != QDBG_OK)
        return status;
    swap_methods(sim, chosen, ranges);
    status = qdbg__sim_make_many(sim, chosen, NULL, made);
    for (size_t i = 0; i < sim->n && status == QDBG_OK; i++)
        if (chosen[i])
            qdbg__sim_adopt_encodings(sim, i, &made[i]);
    if (status != QDBG_OK)
        swap_methods(sim, chosen, ranges);
    return status;
}

static qdbg_status set_chosen(qdbg_sim *sim, uint8_t *chosen, const qdbg_range_options *range)
{
    qdbg_ctx *ctx = sim->ctx;
    qdbg_range_options *ranges = qdbg__alloc(ctx, sim->n, sizeof *ranges);
    qdbg__encodings *made = ranges ? qdbg__alloc(ctx, sim->n, sizeof *made) : NULL;
    qdbg_status status = made ? QDBG_OK : ctx->error_status;
    for (size_t i = 0; i < sim->n && status == QDBG_OK; i++)
        ranges[i] = *range;
    if (status == QDBG_OK)
        status = set_methods(sim, chosen, ranges, made);
    qdbg__free(ctx, made, sim->n, sizeof *made);
    qdbg__free(ctx, ranges, sim->n, sizeof *ranges);
    return status;
}

/* Check, mark what is chosen, go. `index` counts where kind is -1. */
static qdbg_status choose(qdbg_sim *sim, int32_t kind, uint32_t index,
                          const qdbg_range_options *range)
{
    qdbg_ctx *ctx = sim->ctx;
    qdbg_range_options use = QDBG_RANGE_OPTIONS_INIT;
    if (range)
        use = *range;
    qdbg_status status = qdbg__range_check(ctx, &use, "range method");
    uint8_t *chosen = status == QDBG_OK ? qdbg__alloc(ctx, sim->n, 1) : NULL;
    if (!chosen)
        return status == QDBG_OK ? ctx->error_status : status;
    for (size_t i = 0; i < sim->n; i++)
        if (kind < 0 ? i == index
                     : !qdbg__is_bias(&sim->quantizers[i]) &&
                           (kind == 0 || sim->quantizers[i].place.kind == kind))
            chosen[i] = METHOD;
    status = set_chosen(sim, chosen, &use);
    qdbg__free(ctx, chosen, sim->n, 1);
    return status;
}

qdbg_status qdbg_sim_set_range_method(qdbg_sim *sim, int32_t kind, const qdbg_range_options *range)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    if (kind != 0 && kind != QDBG_WEIGHT && kind != QDBG_ACTIVATION)
        return qdbg__fail(sim->ctx, QDBG_E_INVALID, "kind %d is unknown", kind);
    return choose(sim, kind, 0, range);
}

qdbg_status qdbg_sim_set_quantizer_range_method(qdbg_sim *sim, uint32_t index,
                                                const qdbg_range_options *range)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    if (index >= sim->n)
        return qdbg__fail(sim->ctx, QDBG_E_NOT_FOUND, "there is no quantizer %u, only %zu", index,
                          sim->n);
    qdbg_status status = qdbg__sim_refuse_bias(sim, &sim->quantizers[index]);
    return status == QDBG_OK ? choose(sim, -1, index, range) : status;
}

/* ---- statistics ---- */

/* A weight is observed on the spot: into `own`, by the channels of its spec. */
static qdbg_status observe_weight(qdbg_sim *sim, const qdbg__quantizer *q, uint32_t collect,
                                  qdbg_observer *own)
{
    const qdbg__value *v = qdbg__sim_value(sim, q);
    qdbg_quant_spec spec = q->spec;
    float *data;
    if (spec.granularity == QDBG_PER_BLOCK) {
        spec.granularity = QDBG_PER_CHANNEL;
        spec.axis = qdbg__channel_axis(q);
    }
    qdbg__cut cut = qdbg__cut_of(v->rank, v->dims, &spec);
    qdbg_status status = qdbg__sim_fetch_weight(sim, q, &data);
    if (status != QDBG_OK)
        return status;
    qdbg__observer_init(own, sim->ctx, collect, cut.n, 1);
    size_t middle = cut.n > 1 || spec.granularity == QDBG_PER_CHANNEL ? cut.length : 1;
    if (middle != cut.length)
        cut.outer *= cut.length;
    status = qdbg__observer_prepare(own, middle, 0);
    if (status == QDBG_OK)
        status = qdbg__observer_add(own, data, cut.outer, middle, cut.inner);
    qdbg__free(sim->ctx, data, qdbg__sim_weight_count(sim, q), sizeof *data);
    return status;
}

/* What quantizer `index` saw: its own observer, or `*own`, which the caller frees. */
static qdbg_status observer_of(qdbg_sim *sim, uint32_t index, uint32_t collect, qdbg_observer *own,
                               const qdbg_observer **out)
{
    qdbg__observer_init(own, sim->ctx, 0, 0, 1);
    if (index >= sim->n)
        return qdbg__fail(sim->ctx, QDBG_E_NOT_FOUND, "there is no quantizer %u, only %zu", index,
                          sim->n);
    const qdbg__quantizer *q = &sim->quantizers[index];
    const char *name = qdbg__sim_value(sim, q)->name;
    *out = &q->observer;
    if (qdbg__is_parameter(q)) {
        *out = own;
        return observe_weight(sim, q, collect, own);
    }
    if (!q->observer.ranges)
        return qdbg__fail_at(sim->ctx, QDBG_E_STATE, NULL, name,
                             "activation '%s' was not observed: calibrate first", name);
    if (collect & ~q->observer.collect)
        return qdbg__fail_at(sim->ctx, QDBG_E_STATE, NULL, name,
                             "activation '%s': no histogram was collected: set "
                             "qdbg_sim_options.collect or a range method that needs it",
                             name);
    return QDBG_OK;
}

static qdbg_status check_channel(qdbg_sim *sim, uint32_t index, uint32_t channel,
                                 const qdbg_observer *o)
{
    if (channel < o->n_channels)
        return QDBG_OK;
    const char *name = qdbg__sim_value(sim, &sim->quantizers[index])->name;
    return qdbg__fail_at(sim->ctx, QDBG_E_NOT_FOUND, NULL, name, "'%s' has no channel %u", name,
                         channel);
}

qdbg_status qdbg_sim_statistics(qdbg_sim *sim, uint32_t index, uint32_t channel,
                                qdbg_statistics *statistics)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    if (!statistics || statistics->struct_size != sizeof *statistics)
        return qdbg__fail(sim->ctx, QDBG_E_INVALID,
                          "statistics are NULL or their struct_size is wrong");
    qdbg_observer own;
    const qdbg_observer *seen;
    qdbg_status status = observer_of(sim, index, QDBG_OBSERVE_MOMENTS, &own, &seen);
    if (status == QDBG_OK)
        status = check_channel(sim, index, channel, seen);
    if (status == QDBG_OK)
        qdbg__observer_statistics(seen, channel, statistics);
    qdbg__observer_free(&own);
    return status;
}

qdbg_status qdbg_sim_histogram(qdbg_sim *sim, uint32_t index, uint32_t channel,
                               qdbg_histogram *histogram, uint64_t *counts)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    if (!histogram || histogram->struct_size != sizeof *histogram || !counts)
        return qdbg__fail(sim->ctx, QDBG_E_INVALID,
                          "counts or histogram are NULL or its struct_size is wrong");
    qdbg_observer own;
    const qdbg_observer *seen;
    qdbg_status status = observer_of(sim, index, QDBG_OBSERVE_HISTOGRAM, &own, &seen);
    if (status == QDBG_OK)
        status = check_channel(sim, index, channel, seen);
    if (status == QDBG_OK)
        status = qdbg_observer_histogram(seen, channel, histogram, counts);
    qdbg__observer_free(&own);
    return status;
}
