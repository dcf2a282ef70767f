#include "encode.h"

#include <math.h>
#include <string.h>

#include "../quant/encoding.h"

const qdbg__value *qdbg__sim_value(const qdbg_sim *sim, const qdbg__quantizer *q)
{
    return &sim->model->graph->values[q->place.value];
}

size_t qdbg__sim_weight_count(const qdbg_sim *sim, const qdbg__quantizer *q)
{
    return qdbg__sim_value(sim, q)->bytes / sizeof(float);
}

bool qdbg__is_weight(const qdbg__quantizer *q)
{
    return q->place.kind == QDBG_WEIGHT;
}

bool qdbg__is_bias(const qdbg__quantizer *q)
{
    return q->place.kind == QDBG_BIAS;
}

bool qdbg__is_parameter(const qdbg__quantizer *q)
{
    return q->place.kind != QDBG_ACTIVATION;
}

int32_t qdbg__channel_axis(const qdbg__quantizer *q)
{
    return q->spec.granularity == QDBG_PER_BLOCK ? q->place.axis : q->spec.axis;
}

static uint32_t axis_index(uint32_t rank, int32_t axis)
{
    return (uint32_t)(axis < 0 ? axis + (int32_t)rank : axis);
}

qdbg__cut qdbg__cut_of(uint32_t rank, const int64_t *dims, const qdbg_quant_spec *spec)
{
    qdbg__cut cut = {1, 1, 1, 0, 1};
    uint32_t axis = spec->granularity == QDBG_PER_TENSOR ? rank : axis_index(rank, spec->axis);
    for (uint32_t i = 0; i < rank; i++) {
        size_t *part = i < axis ? &cut.outer : i == axis ? &cut.length : &cut.inner;
        *part *= (size_t)dims[i];
    }
    if (spec->granularity == QDBG_PER_CHANNEL && axis < rank)
        cut.n = (uint32_t)cut.length;
    if (spec->granularity == QDBG_PER_BLOCK && axis < rank) {
        cut.block = spec->block_size;
        cut.n = (uint32_t)(cut.outer * ((cut.length + cut.block - 1) / cut.block) * cut.inner);
    }
    return cut;
}

/* ---- memory ---- */

void qdbg__encodings_free(qdbg_ctx *ctx, qdbg__encodings *made)
{
    qdbg__free(ctx, made->at, made->n, sizeof *made->at);
    qdbg__free(ctx, made->grids, made->n, sizeof *made->grids);
    *made = (qdbg__encodings){NULL, NULL, 0};
}

qdbg_status qdbg__encodings_make_room(qdbg_ctx *ctx, uint32_t n, qdbg__encodings *out)
{
    out->n = n;
    out->at = qdbg__alloc(ctx, n, sizeof *out->at);
    out->grids = out->at ? qdbg__alloc(ctx, n, sizeof *out->grids) : NULL;
    if (out->grids)
        return QDBG_OK;
    qdbg__encodings_free(ctx, out);
    return ctx->error_status;
}

void qdbg__sim_adopt_encodings(qdbg_sim *sim, size_t i, qdbg__encodings *made)
{
    qdbg__quantizer *q = &sim->quantizers[i];
    q->quantized_valid = false;
    if (q->n_grids == made->n && made->n > 0) { /* what points to them goes on doing so */
        memcpy(q->encodings, made->at, made->n * sizeof *made->at);
        memcpy(q->grids, made->grids, made->n * sizeof *made->grids);
        qdbg__encodings_free(sim->ctx, made);
    } else {
        qdbg__encodings old = {q->encodings, q->grids, q->n_grids};
        qdbg__encodings_free(sim->ctx, &old);
        q->encodings = made->at;
        q->grids = made->grids;
        q->n_grids = made->n;
        *made = (qdbg__encodings){NULL, NULL, 0};
    }
    uint32_t block = q->spec.granularity == QDBG_PER_BLOCK ? q->spec.block_size : 0;
    q->fq = (qdbg__fakequant){q->grids, q->n_grids, q->spec.axis, block};
    qdbg__sim_derive_biases(sim, i);
}

/* ---- frozen ---- */

static bool same_spec(const qdbg_quant_spec *a, const qdbg_quant_spec *b)
{
    return a->bits == b->bits && a->symmetry == b->symmetry && a->is_signed == b->is_signed &&
           a->granularity == b->granularity && a->axis == b->axis && a->rounding == b->rounding &&
           a->flags == b->flags && a->block_size == b->block_size &&
           a->block_scale_bits == b->block_scale_bits;
}

/* Does quantizer `q`, which is to have `n` grids, keep frozen ones? */
static bool is_frozen(const qdbg__quantizer *q, uint32_t n)
{
    return q->frozen.encodings && !q->custom && q->frozen.n == n &&
           same_spec(&q->frozen.spec, &q->spec);
}

void qdbg__frozen_free(qdbg_ctx *ctx, qdbg__frozen *frozen)
{
    qdbg__free(ctx, frozen->encodings, frozen->n, sizeof *frozen->encodings);
    *frozen = (qdbg__frozen){0};
}

static void swap_frozen(qdbg__frozen *a, qdbg__frozen *b)
{
    qdbg__frozen c = *a;
    *a = *b;
    *b = c;
}

qdbg_status qdbg__sim_swap_frozen(qdbg_sim *sim, size_t i, qdbg__frozen *frozen)
{
    qdbg__quantizer *q = &sim->quantizers[i];
    swap_frozen(&q->frozen, frozen);
    qdbg_status status = qdbg__sim_encode(sim, i);
    if (status != QDBG_OK)
        swap_frozen(&q->frozen, frozen);
    return status;
}

void qdbg__sim_put_frozen_back(qdbg_sim *sim, size_t i, qdbg__frozen *frozen)
{
    swap_frozen(&sim->quantizers[i].frozen, frozen);
    sim->model_version = sim->model->version - 1;
}

/* ---- make ---- */

qdbg_encoding qdbg__sim_encoding_of(const qdbg__quantizer *q, qdbg__span span)
{
    if (span.min > span.max) /* no element at all */
        span = (qdbg__span){0, 0};
    return qdbg__encoding_of_range(&q->spec, span.min, span.max);
}

/* Minimum and maximum of whole tensors and channels are known without a look at the elements. */
static bool needs_elements(const qdbg__quantizer *q)
{
    return q->range.method != QDBG_RANGE_MIN_MAX || q->spec.granularity == QDBG_PER_BLOCK;
}

static qdbg_status make_from_elements(qdbg_sim *sim, const qdbg__quantizer *q, const qdbg__cut *cut,
                                      const float *data, qdbg__encodings *out)
{
    float *own = NULL;
    qdbg_status status = data ? QDBG_OK : qdbg__sim_fetch_weight(sim, q, &own);
    if (status == QDBG_OK)
        status = qdbg__sim_weight_encodings(sim, q, data ? data : own, cut, out->at);
    qdbg__free(sim->ctx, own, qdbg__sim_weight_count(sim, q), sizeof *own);
    return status;
}

/* Blocks of one channel follow each other `inner` encodings apart. */
static void share_scales(const qdbg__quantizer *q, const qdbg__cut *cut, qdbg_encoding *at)
{
    if (q->spec.granularity != QDBG_PER_BLOCK || q->spec.block_scale_bits == 0 || cut->n == 0)
        return;
    size_t blocks = cut->n / (cut->outer * cut->inner);
    for (size_t o = 0; o < cut->outer; o++)
        for (size_t i = 0; i < cut->inner; i++)
            qdbg__low_power_scales(at + o * blocks * cut->inner + i, blocks, cut->inner,
                                   q->spec.block_scale_bits);
}

static qdbg_status make_weight(qdbg_sim *sim, const qdbg__quantizer *q, const float *data,
                               qdbg__encodings *out)
{
    const qdbg__value *v = qdbg__sim_value(sim, q);
    qdbg__cut cut = qdbg__cut_of(v->rank, v->dims, &q->spec);
    bool per_channel = q->spec.granularity == QDBG_PER_CHANNEL;
    qdbg_status status = qdbg__encodings_make_room(sim->ctx, cut.n, out);
    if (status != QDBG_OK)
        return status;
    if (is_frozen(q, cut.n)) {
        memcpy(out->at, q->frozen.encodings, cut.n * sizeof *out->at);
        return QDBG_OK;
    }
    if (!q->custom && needs_elements(q))
        status = make_from_elements(sim, q, &cut, data, out);
    for (uint32_t c = 0; c < cut.n && (q->custom || !needs_elements(q)); c++) {
        const qdbg__range *r = per_channel ? &q->channel_observed[c] : &q->observed;
        qdbg__span span = {r->min, r->max};
        out->at[c] =
            qdbg__sim_encoding_of(q, q->custom ? (qdbg__span){q->custom_min, q->custom_max} : span);
    }
    if (status == QDBG_OK)
        share_scales(q, &cut, out->at);
    else
        qdbg__encodings_free(sim->ctx, out);
    return status;
}

qdbg_status qdbg__sim_given_range(qdbg_sim *sim, const qdbg__quantizer *q, bool *found,
                                  qdbg__span *span)
{
    *found = q->custom || q->place.fixed == QDBG_RULE_RANGE;
    *span = q->custom ? (qdbg__span){q->custom_min, q->custom_max}
                      : (qdbg__span){q->place.fixed_min, q->place.fixed_max};
    if (*found || q->range.method != QDBG_RANGE_BATCH_NORM)
        return QDBG_OK;
    qdbg_status status = qdbg__sim_batch_norm_range(
        sim, q->place.value, qdbg__range_defaults(&q->range).sigmas, found, span);
    if (status == QDBG_OK && *found)
        qdbg__sim_fix_min(q, span);
    return status;
}

void qdbg__sim_fix_min(const qdbg__quantizer *q, qdbg__span *span)
{
    if (q->place.fixed != QDBG_RULE_MIN)
        return;
    span->min = q->place.fixed_min;
    span->max = fmaxf(span->max, span->min);
}

bool qdbg__sim_observed_enough(const qdbg__quantizer *q, const qdbg_observer *o)
{
    bool per_channel = q->spec.granularity == QDBG_PER_CHANNEL;
    return o->ranges && (per_channel || o->n_channels == 1) &&
           o->axis == q->spec.axis * per_channel &&
           !(qdbg__range_needs(q->range.method) & ~o->collect);
}

static qdbg_status choose(const qdbg__quantizer *q, const qdbg_observer *o, qdbg__range_work *work,
                          uint32_t channel, qdbg__span *span)
{
    qdbg_status status = qdbg__observer_choose(o, work, channel, &q->range, &q->spec, span);
    if (status == QDBG_OK)
        qdbg__sim_fix_min(q, span);
    return status;
}

/* By channels, of which there are as many as were observed. */
static qdbg_status make_channels(qdbg_sim *sim, const qdbg__quantizer *q, const qdbg_observer *o,
                                 qdbg__encodings *out)
{
    bool given, searches = qdbg__range_needs(q->range.method) & QDBG_OBSERVE_HISTOGRAM;
    qdbg__span range = {1, 0};
    qdbg__range_work *work = NULL;
    qdbg_status status = qdbg__sim_given_range(sim, q, &given, &range);
    if (status != QDBG_OK || !o->ranges || !(given || qdbg__sim_observed_enough(q, o)))
        return status;
    status = qdbg__encodings_make_room(sim->ctx, o->n_channels, out);
    if (status == QDBG_OK && searches && !given) {
        work = qdbg__alloc(sim->ctx, 1, sizeof *work);
        status = work ? QDBG_OK : sim->ctx->error_status;
    }
    for (uint32_t c = 0; c < out->n && status == QDBG_OK; c++) {
        qdbg__span span = range;
        if (!given && o->ranges[c].min <= o->ranges[c].max)
            status = choose(q, o, work, c, &span);
        out->at[c] = qdbg__sim_encoding_of(q, span);
    }
    qdbg__free(sim->ctx, work, 1, sizeof *work);
    if (status != QDBG_OK)
        qdbg__encodings_free(sim->ctx, out);
    return status;
}

static qdbg_status make_activation(qdbg_sim *sim, size_t i, const qdbg_observer *observers,
                                   qdbg__encodings *out)
{
    const qdbg__quantizer *q = &sim->quantizers[i];
    if (q->spec.granularity == QDBG_PER_CHANNEL)
        return make_channels(sim, q, observers ? &observers[i] : &q->observer, out);
    bool known;
    qdbg__span span;
    qdbg_status status = qdbg__sim_shared_range(sim, i, observers, &known, &span);
    if (status == QDBG_OK && known)
        status = qdbg__encodings_make_room(sim->ctx, 1, out);
    if (status == QDBG_OK && known)
        out->at[0] = qdbg__sim_encoding_of(q, span);
    return status;
}

qdbg_status qdbg__sim_make_encodings(qdbg_sim *sim, size_t i, const qdbg_observer *observers,
                                     const float *data, qdbg__encodings *out)
{
    const qdbg__quantizer *q = &sim->quantizers[i];
    qdbg__encodings made = {NULL, NULL, 0};
    qdbg_status status = QDBG_OK;
    if (q->spec.bits != QDBG_BITS_BYPASS && qdbg__is_weight(q) && (q->custom || q->seen))
        status = make_weight(sim, q, data, &made);
    else if (q->spec.bits != QDBG_BITS_BYPASS && !qdbg__is_parameter(q))
        status = make_activation(sim, i, observers, &made);
    if (status != QDBG_OK)
        return status;
    for (uint32_t c = 0; c < made.n; c++)
        made.grids[c] = qdbg__grid_of(&made.at[c], q->spec.rounding);
    *out = made;
    return QDBG_OK;
}

static qdbg_status encode_with(qdbg_sim *sim, size_t i, const float *data)
{
    qdbg__encodings made;
    sim->quantizers[i].quantized_valid = false;
    if (qdbg__is_bias(&sim->quantizers[i]))
        return QDBG_OK; /* it follows others */
    qdbg_status status = qdbg__sim_make_encodings(sim, i, NULL, data, &made);
    if (status == QDBG_OK)
        qdbg__sim_adopt_encodings(sim, i, &made);
    return status;
}

qdbg_status qdbg__sim_encode(qdbg_sim *sim, size_t i)
{
    return sim->quantizers[i].place.shared ? qdbg__sim_encode_group(sim, i)
                                           : encode_with(sim, i, NULL);
}

/* ---- weights ---- */

static qdbg_status observe_weight(qdbg_sim *sim, size_t i, const float *data)
{
    qdbg__quantizer *q = &sim->quantizers[i];
    const qdbg__value *v = qdbg__sim_value(sim, q);
    qdbg_quant_spec spec = {.granularity = QDBG_PER_CHANNEL, .axis = qdbg__channel_axis(q)};
    qdbg__cut cut = qdbg__cut_of(v->rank, v->dims, &spec);
    if (cut.n != q->n_channels) {
        qdbg__range *fresh = qdbg__alloc(sim->ctx, cut.n, sizeof *fresh);
        if (!fresh)
            return sim->ctx->error_status;
        qdbg__free(sim->ctx, q->channel_observed, q->n_channels, sizeof *fresh);
        q->channel_observed = fresh;
        q->n_channels = cut.n;
    }
    for (uint32_t c = 0; c < cut.n; c++)
        qdbg__range_init(&q->channel_observed[c]);
    qdbg__kernels_of(sim->ctx)->range_channels(data, cut.outer, cut.n, cut.inner,
                                               q->channel_observed);
    qdbg__range_init(&q->observed);
    for (uint32_t c = 0; c < cut.n; c++)
        qdbg__range_merge(&q->observed, &q->channel_observed[c]);
    if (q->observed.n_nan + q->observed.n_inf > 0)
        return qdbg__fail_at(sim->ctx, QDBG_E_NUMERIC, NULL, v->name,
                             "%s '%s' holds %llu NaN and %llu infinite elements",
                             qdbg__is_bias(q) ? "bias" : "weight", v->name,
                             (unsigned long long)q->observed.n_nan,
                             (unsigned long long)q->observed.n_inf);
    q->seen = true;
    return encode_with(sim, i, data);
}

qdbg_status qdbg__sim_fetch_weight(qdbg_sim *sim, const qdbg__quantizer *q, float **data)
{
    size_t count = qdbg__sim_weight_count(sim, q);
    float *fresh = qdbg__alloc(sim->ctx, count, sizeof *fresh);
    if (!fresh)
        return sim->ctx->error_status;
    qdbg_status status = sim->model->backend->get(sim->model, q->place.value, fresh, count);
    if (status == QDBG_OK)
        *data = fresh;
    else
        qdbg__free(sim->ctx, fresh, count, sizeof *fresh);
    return status;
}

qdbg_status qdbg__sim_refresh_weight(qdbg_sim *sim, size_t i)
{
    const qdbg__quantizer *q = &sim->quantizers[i];
    float *data;
    qdbg_status status = qdbg__sim_fetch_weight(sim, q, &data);
    if (status != QDBG_OK)
        return status;
    status = observe_weight(sim, i, data);
    qdbg__free(sim->ctx, data, qdbg__sim_weight_count(sim, q), sizeof *data);
    return status;
}

qdbg_status qdbg__sim_refresh(qdbg_sim *sim)
{
    if (sim->model_version == sim->model->version)
        return QDBG_OK;
    for (size_t i = 0; i < sim->n; i++) {
        qdbg_status status =
            qdbg__is_parameter(&sim->quantizers[i]) ? qdbg__sim_refresh_weight(sim, i) : QDBG_OK;
        if (status != QDBG_OK)
            return status;
    }
    sim->model_version = sim->model->version;
    return QDBG_OK;
}

qdbg_status qdbg__sim_quantized_weight(qdbg_sim *sim, size_t i, const float **data)
{
    qdbg__quantizer *q = &sim->quantizers[i];
    const qdbg__value *v = qdbg__sim_value(sim, q);
    size_t count = qdbg__sim_weight_count(sim, q);
    if (!q->quantized) {
        q->quantized = qdbg__alloc(sim->ctx, count, sizeof *q->quantized);
        if (!q->quantized)
            return sim->ctx->error_status;
    }
    if (!q->quantized_valid) {
        qdbg_status status =
            sim->model->backend->get(sim->model, q->place.value, q->quantized, count);
        if (status != QDBG_OK)
            return status;
        qdbg__fakequant_apply(qdbg__kernels_of(sim->ctx), &q->fq, v->rank, v->dims, q->quantized,
                              q->quantized);
        q->quantized_valid = true;
    }
    *data = q->quantized;
    return QDBG_OK;
}
