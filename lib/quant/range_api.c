/* The public face of observers and range methods: range.h. */
#include <math.h>
#include <string.h>

#include "encoding.h"
#include "observer.h"

#define COLLECTIONS \
    (QDBG_OBSERVE_MOMENTS | QDBG_OBSERVE_HISTOGRAM | QDBG_OBSERVE_ROWS | QDBG_OBSERVE_AVERAGE)

/* ---- observers ---- */

qdbg_status qdbg_observer_create(qdbg_ctx *ctx, const qdbg_observer_options *options,
                                 qdbg_observer **out)
{
    qdbg_observer_options o = QDBG_OBSERVER_OPTIONS_INIT;
    if (!ctx)
        return QDBG_E_INVALID;
    qdbg__clear_error(ctx);
    if (options)
        o = *options;
    if (!out)
        return qdbg__fail(ctx, QDBG_E_INVALID, "out is NULL");
    if (o.struct_size != sizeof o || (o.collect & ~COLLECTIONS) ||
        (o.momentum != 0 && !(o.momentum > 0 && o.momentum <= 1)))
        return qdbg__fail(ctx, QDBG_E_INVALID,
                          "observer options: struct_size, collect or momentum is bad");
    qdbg_observer *observer = qdbg__alloc(ctx, 1, sizeof *observer);
    if (!observer)
        return ctx->error_status;
    qdbg__observer_init(observer, ctx, o.collect, o.n_channels ? o.n_channels : 1,
                        o.momentum != 0 ? o.momentum : 0.1);
    *out = observer;
    return QDBG_OK;
}

void qdbg_observer_destroy(qdbg_observer *observer)
{
    if (!observer)
        return;
    qdbg__observer_free(observer);
    qdbg__free(observer->ctx, observer, 1, sizeof *observer);
}

/* Put words to a status that came without: memory was taken before, with its own. */
static qdbg_status tell(qdbg_ctx *ctx, qdbg_status status)
{
    if (status == QDBG_E_SHAPE)
        return qdbg__fail(ctx, status, "rows differ in length from those observed before");
    return status;
}

qdbg_status qdbg_observer_observe(qdbg_observer *observer, const float *data, uint64_t outer,
                                  uint64_t inner)
{
    if (!observer)
        return QDBG_E_INVALID;
    qdbg__clear_error(observer->ctx);
    uint64_t rows, count;
    if (__builtin_mul_overflow(outer, (uint64_t)observer->n_channels, &rows) ||
        __builtin_mul_overflow(rows, inner, &count) || count > SIZE_MAX / sizeof *data)
        return qdbg__fail(observer->ctx, QDBG_E_INVALID, "more elements than memory can hold");
    if (!data && count > 0)
        return qdbg__fail(observer->ctx, QDBG_E_INVALID, "data is NULL");
    if (count == 0)
        return QDBG_OK;
    qdbg_status status = qdbg__observer_prepare(observer, observer->n_channels, inner);
    if (status == QDBG_OK)
        status = qdbg__observer_add(observer, data, outer, observer->n_channels, inner);
    return tell(observer->ctx, status);
}

qdbg_status qdbg_observer_end_batch(qdbg_observer *observer)
{
    if (!observer)
        return QDBG_E_INVALID;
    qdbg__clear_error(observer->ctx);
    qdbg__observer_end_batch(observer);
    return QDBG_OK;
}

static bool ended_batches(const qdbg_observer *o)
{
    for (uint32_t c = 0; o->averages && c < o->n_channels; c++)
        if (o->averages[c].n_batches > 0)
            return true;
    return false;
}

qdbg_status qdbg_observer_merge(qdbg_observer *into, const qdbg_observer *from)
{
    if (!into)
        return QDBG_E_INVALID;
    qdbg__clear_error(into->ctx);
    if (!from || from == into)
        return qdbg__fail(into->ctx, QDBG_E_INVALID, "from is NULL or into itself");
    if (into->collect != from->collect || into->n_channels != from->n_channels)
        return qdbg__fail(into->ctx, QDBG_E_INVALID, "the observers have different options");
    if (ended_batches(from))
        return qdbg__fail(into->ctx, QDBG_E_INVALID, "moving averages do not merge");
    qdbg_status status = QDBG_OK;
    if (from->ranges)
        status = qdbg__observer_prepare(into, from->n_channels, from->rows.length);
    if (status == QDBG_OK)
        status = qdbg__observer_merge(into, from);
    return tell(into->ctx, status);
}

static bool has_channel(const qdbg_observer *observer, uint32_t channel)
{
    return channel < observer->n_channels;
}

qdbg_status qdbg_observer_statistics(const qdbg_observer *observer, uint32_t channel,
                                     qdbg_statistics *statistics)
{
    if (!observer || !statistics || statistics->struct_size != sizeof *statistics)
        return QDBG_E_INVALID;
    if (!has_channel(observer, channel))
        return QDBG_E_NOT_FOUND;
    qdbg__observer_statistics(observer, channel, statistics);
    return QDBG_OK;
}

_Static_assert(QDBG_HISTOGRAM_BINS == QDBG__HISTOGRAM_BINS, "the header tells the kernel's size");

qdbg_status qdbg_observer_histogram(const qdbg_observer *observer, uint32_t channel,
                                    qdbg_histogram *histogram, uint64_t *counts)
{
    if (!observer || !histogram || histogram->struct_size != sizeof *histogram || !counts)
        return QDBG_E_INVALID;
    if (!has_channel(observer, channel))
        return QDBG_E_NOT_FOUND;
    if (!(observer->collect & QDBG_OBSERVE_HISTOGRAM))
        return QDBG_E_STATE;
    memset(counts, 0, QDBG_HISTOGRAM_BINS * sizeof *counts);
    histogram->n_bins = 0;
    histogram->width = histogram->low = 0;
    if (!observer->histograms)
        return QDBG_OK;
    const qdbg__histogram *g = &observer->histograms[channel];
    histogram->n_bins = (uint32_t)qdbg__histogram_counts(g, counts);
    histogram->width = ldexp(1, g->exponent);
    histogram->low = g->first * histogram->width;
    return QDBG_OK;
}

/* ---- ranges ---- */

static qdbg_status check_question(qdbg_ctx *ctx, const qdbg_range_options *options,
                                  const qdbg_quant_spec *spec, const float *min, const float *max)
{
    qdbg_status status = qdbg__range_check(ctx, options, "range");
    if (status == QDBG_OK)
        status = qdbg__spec_check(ctx, spec, "range");
    if (status != QDBG_OK)
        return status;
    if (!min || !max)
        return qdbg__fail(ctx, QDBG_E_INVALID, "min or max is NULL");
    if (spec->bits == QDBG_BITS_BYPASS)
        return qdbg__fail(ctx, QDBG_E_INVALID, "a bypassed quantizer has no range");
    if (options->method == QDBG_RANGE_BATCH_NORM)
        return qdbg__fail(ctx, QDBG_E_UNSUPPORTED,
                          "batch-norm ranges come from a graph: use a simulation");
    return QDBG_OK;
}

/* The range that the grid covers starts or ends at zero. */
static void give(qdbg__span span, float *min, float *max)
{
    *min = fminf(span.min, 0);
    *max = fmaxf(span.max, 0);
}

static const char *missing(uint32_t needs)
{
    if (needs & QDBG_OBSERVE_HISTOGRAM)
        return "QDBG_OBSERVE_HISTOGRAM";
    return needs & QDBG_OBSERVE_ROWS ? "QDBG_OBSERVE_ROWS" : "QDBG_OBSERVE_AVERAGE";
}

static qdbg_status check_seen(const qdbg_observer *o, uint32_t channel, int32_t method)
{
    uint32_t needs = qdbg__range_needs(method);
    if (!has_channel(o, channel))
        return qdbg__fail(o->ctx, QDBG_E_NOT_FOUND, "there is no channel %u, only %u", channel,
                          o->n_channels);
    if (needs & ~o->collect)
        return qdbg__fail(o->ctx, QDBG_E_STATE, "the method '%s' needs an observer with %s",
                          qdbg_range_method_name(method), missing(needs));
    if (!o->ranges || o->ranges[channel].n == 0)
        return qdbg__fail(o->ctx, QDBG_E_STATE, "nothing was observed");
    if (o->ranges[channel].min > o->ranges[channel].max)
        return qdbg__fail(o->ctx, QDBG_E_NUMERIC, "every value was NaN or infinite");
    return QDBG_OK;
}

qdbg_status qdbg_observer_range(qdbg_observer *o, uint32_t channel,
                                const qdbg_range_options *options, const qdbg_quant_spec *spec,
                                float *min, float *max)
{
    static const qdbg_range_options defaults = QDBG_RANGE_OPTIONS_INIT;
    if (!o)
        return QDBG_E_INVALID;
    qdbg__clear_error(o->ctx);
    const qdbg_range_options *use = options ? options : &defaults;
    qdbg_status status = check_question(o->ctx, use, spec, min, max);
    if (status == QDBG_OK)
        status = check_seen(o, channel, use->method);
    if (status != QDBG_OK)
        return status;
    qdbg__span span;
    qdbg__range_work *work = qdbg__alloc(o->ctx, 1, sizeof *work);
    if (!work)
        return o->ctx->error_status;
    status = qdbg__observer_choose(o, work, channel, use, spec, &span);
    qdbg__free(o->ctx, work, 1, sizeof *work);
    if (status == QDBG_OK)
        give(span, min, max);
    return status;
}

static qdbg_status choose_of_values(qdbg_ctx *ctx, const float *data, size_t n,
                                    const qdbg_range_options *options, const qdbg_quant_spec *spec,
                                    qdbg__span *span)
{
    qdbg__range_work *work = qdbg__alloc(ctx, 1, sizeof *work);
    if (!work)
        return ctx->error_status;
    *span = qdbg__range_of_values(qdbg__kernels_of(ctx), work, data, n, options, spec);
    qdbg__free(ctx, work, 1, sizeof *work);
    if (span->min > span->max)
        return qdbg__fail(ctx, QDBG_E_NUMERIC, "every value is NaN or infinite");
    if (options->method != QDBG_RANGE_CROSS_ENTROPY)
        return QDBG_OK;
    qdbg_observer o; /* keeps the row if it is finite */
    qdbg__observer_init(&o, ctx, QDBG_OBSERVE_ROWS, 1, 1);
    qdbg_status status = qdbg__observer_prepare(&o, 1, n);
    if (status == QDBG_OK)
        status = qdbg__observer_add(&o, data, 1, 1, n);
    if (status == QDBG_OK)
        status = qdbg__observer_choose(&o, NULL, 0, options, spec, span);
    qdbg__observer_free(&o);
    return status;
}

qdbg_status qdbg_range_of_values(qdbg_ctx *ctx, const float *data, uint64_t n,
                                 const qdbg_range_options *options, const qdbg_quant_spec *spec,
                                 float *min, float *max)
{
    static const qdbg_range_options defaults = QDBG_RANGE_OPTIONS_INIT;
    if (!ctx)
        return QDBG_E_INVALID;
    qdbg__clear_error(ctx);
    const qdbg_range_options *use = options ? options : &defaults;
    qdbg_status status = check_question(ctx, use, spec, min, max);
    if (status != QDBG_OK)
        return status;
    if (!data || n == 0 || n > SIZE_MAX / sizeof *data)
        return qdbg__fail(ctx, QDBG_E_INVALID, "there are no values: data is NULL or n is 0");
    qdbg__span span;
    status = choose_of_values(ctx, data, n, use, spec, &span);
    if (status == QDBG_OK)
        give(span, min, max);
    return status;
}
