/* Quantizers: created, described, changed. */
#include "sim.h"

#include <math.h>
#include <string.h>

#include "../quant/encoding.h"

void qdbg_sim_options_init(qdbg_sim_options *options)
{
    if (options)
        *options = (qdbg_sim_options)QDBG_SIM_OPTIONS_INIT;
}

void qdbg_quantizer_info_init(qdbg_quantizer_info *info)
{
    if (info)
        *info = (qdbg_quantizer_info)QDBG_QUANTIZER_INFO_INIT;
}

static const qdbg__value *value_of(const qdbg_sim *sim, const qdbg__quantizer *q)
{
    return &sim->model->graph->values[q->place.value];
}

static size_t weight_count(const qdbg_sim *sim, const qdbg__quantizer *q)
{
    return value_of(sim, q)->bytes / sizeof(float);
}

static bool is_weight(const qdbg__quantizer *q)
{
    return q->place.kind == QDBG_WEIGHT;
}

bool qdbg__sim_is_bypassed(const qdbg_sim *sim, size_t i)
{
    return sim->quantizers[i].spec.bits == QDBG_BITS_BYPASS;
}

/* ---- encodings from ranges ---- */

static void drop_encodings(qdbg_sim *sim, qdbg__quantizer *q)
{
    qdbg__free(sim->ctx, q->encodings, q->n_grids, sizeof *q->encodings);
    qdbg__free(sim->ctx, q->grids, q->n_grids, sizeof *q->grids);
    q->encodings = NULL;
    q->grids = NULL;
    q->n_grids = 0;
}

static qdbg_status resize_encodings(qdbg_sim *sim, qdbg__quantizer *q, uint32_t n)
{
    if (q->n_grids == n)
        return QDBG_OK;
    qdbg_encoding *encodings = qdbg__alloc(sim->ctx, n, sizeof *encodings);
    qdbg__grid *grids = encodings ? qdbg__alloc(sim->ctx, n, sizeof *grids) : NULL;
    if (!grids) {
        qdbg__free(sim->ctx, encodings, n, sizeof *encodings);
        return sim->ctx->error_status;
    }
    drop_encodings(sim, q);
    q->encodings = encodings;
    q->grids = grids;
    q->n_grids = n;
    return QDBG_OK;
}

static qdbg_status encode(qdbg_sim *sim, qdbg__quantizer *q)
{
    q->quantized_valid = false;
    if (q->spec.bits == QDBG_BITS_BYPASS || (!q->custom && !q->seen)) {
        drop_encodings(sim, q);
        return QDBG_OK;
    }
    bool per_channel = is_weight(q) && q->spec.granularity == QDBG_PER_CHANNEL;
    qdbg_status status = resize_encodings(sim, q, per_channel ? q->n_channels : 1);
    if (status != QDBG_OK)
        return status;
    for (uint32_t c = 0; c < q->n_grids; c++) {
        const qdbg__range *r = per_channel ? &q->channel_observed[c] : &q->observed;
        float min = q->custom ? q->custom_min : r->min, max = q->custom ? q->custom_max : r->max;
        if (min > max) /* no element at all */
            min = max = 0;
        q->encodings[c] = qdbg__encoding_of_range(&q->spec, min, max);
        q->grids[c] = qdbg__grid_of(&q->encodings[c], q->spec.rounding);
    }
    q->fq = (qdbg__fakequant){q->grids, q->n_grids, q->spec.axis};
    return QDBG_OK;
}

qdbg_status qdbg__sim_encode(qdbg_sim *sim, size_t i)
{
    return encode(sim, &sim->quantizers[i]);
}

/* ---- weights ---- */

static uint32_t axis_index(const qdbg__value *v, int32_t axis)
{
    return (uint32_t)(axis < 0 ? axis + (int32_t)v->rank : axis);
}

static void observe_channels(const qdbg__kernels *kernels, const qdbg__value *v, uint32_t axis,
                             const float *data, qdbg__range *ranges)
{
    size_t channels = (size_t)v->dims[axis], inner = 1, count = v->bytes / sizeof(float);
    for (uint32_t i = axis + 1; i < v->rank; i++)
        inner *= (size_t)v->dims[i];
    for (size_t c = 0; c < channels; c++)
        qdbg__range_init(&ranges[c]);
    for (size_t at = 0, c = 0; at < count; at += inner, c = c + 1 == channels ? 0 : c + 1)
        kernels->range(data + at, inner, &ranges[c]);
}

static qdbg_status observe_weight(qdbg_sim *sim, qdbg__quantizer *q, const float *data)
{
    const qdbg__value *v = value_of(sim, q);
    uint32_t axis = axis_index(v, q->spec.axis);
    uint32_t n = v->rank > 0 ? (uint32_t)v->dims[axis] : 1;
    if (n != q->n_channels) {
        qdbg__range *fresh = qdbg__alloc(sim->ctx, n, sizeof *fresh);
        if (!fresh)
            return sim->ctx->error_status;
        qdbg__free(sim->ctx, q->channel_observed, q->n_channels, sizeof *fresh);
        q->channel_observed = fresh;
        q->n_channels = n;
    }
    observe_channels(qdbg__kernels_of(sim->ctx), v, axis, data, q->channel_observed);
    qdbg__range_init(&q->observed);
    for (uint32_t c = 0; c < n; c++)
        qdbg__range_merge(&q->observed, &q->channel_observed[c]);
    if (q->observed.n_nan + q->observed.n_inf > 0)
        return qdbg__fail_at(sim->ctx, QDBG_E_NUMERIC, NULL, v->name,
                             "weight '%s' holds %llu NaN and %llu infinite elements", v->name,
                             (unsigned long long)q->observed.n_nan,
                             (unsigned long long)q->observed.n_inf);
    q->seen = true;
    return encode(sim, q);
}

static qdbg_status refresh_weight(qdbg_sim *sim, qdbg__quantizer *q)
{
    size_t count = weight_count(sim, q);
    float *data = qdbg__alloc(sim->ctx, count, sizeof *data);
    if (!data)
        return sim->ctx->error_status;
    qdbg_status status = sim->model->backend->get(sim->model, q->place.value, data, count);
    if (status == QDBG_OK)
        status = observe_weight(sim, q, data);
    qdbg__free(sim->ctx, data, count, sizeof *data);
    return status;
}

qdbg_status qdbg__sim_refresh(qdbg_sim *sim)
{
    if (sim->model_version == sim->model->version)
        return QDBG_OK;
    for (size_t i = 0; i < sim->n; i++) {
        qdbg__quantizer *q = &sim->quantizers[i];
        qdbg_status status = is_weight(q) ? refresh_weight(sim, q) : QDBG_OK;
        if (status != QDBG_OK)
            return status;
    }
    sim->model_version = sim->model->version;
    return QDBG_OK;
}

qdbg_status qdbg__sim_quantized_weight(qdbg_sim *sim, size_t i, const float **data)
{
    qdbg__quantizer *q = &sim->quantizers[i];
    const qdbg__value *v = value_of(sim, q);
    size_t count = weight_count(sim, q);
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

/* ---- create and destroy ---- */

static qdbg_status check_options(qdbg_ctx *ctx, const qdbg_sim_options *o)
{
    if (o->struct_size != sizeof *o)
        return qdbg__fail(ctx, QDBG_E_INVALID, "simulation options: struct_size is wrong");
    qdbg_quant_spec spec = QDBG_QUANT_SPEC_INIT;
    spec.granularity = o->weight_granularity;
    spec.rounding = o->rounding;
    spec.bits = o->weight_bits ? o->weight_bits : 8;
    qdbg_status status = qdbg__spec_check(ctx, &spec, "weights");
    spec.bits = o->activation_bits ? o->activation_bits : 8;
    return status == QDBG_OK ? qdbg__spec_check(ctx, &spec, "activations") : status;
}

static void set_up(qdbg__quantizer *q, const qdbg__place *place, const qdbg_sim_options *o)
{
    bool weight = place->kind == QDBG_WEIGHT;
    uint32_t bits = weight ? o->weight_bits : o->activation_bits;
    q->place = *place;
    q->enabled = true;
    q->spec = (qdbg_quant_spec)QDBG_QUANT_SPEC_INIT;
    q->spec.bits = bits ? bits : 8;
    q->spec.rounding = o->rounding;
    q->spec.axis = place->axis;
    if (!weight)
        return;
    q->spec.symmetry = QDBG_SYMMETRIC;
    q->spec.is_signed = QDBG_SIGNED;
    q->spec.granularity = o->weight_granularity;
}

qdbg_status qdbg_sim_create(qdbg_model *model, const qdbg_sim_options *options, qdbg_sim **out)
{
    if (!model)
        return QDBG_E_INVALID;
    qdbg_ctx *ctx = model->ctx;
    qdbg__clear_error(ctx);
    qdbg_sim_options o = QDBG_SIM_OPTIONS_INIT;
    if (options)
        o = *options;
    if (!out)
        return qdbg__fail(ctx, QDBG_E_INVALID, "out is NULL");
    qdbg_status status = check_options(ctx, &o);
    if (status != QDBG_OK)
        return status;
    qdbg__places places;
    status = qdbg__place_quantizers(model->graph, &places);
    if (status != QDBG_OK)
        return status;
    qdbg_sim *sim = qdbg__alloc(ctx, 1, sizeof *sim);
    status = sim ? QDBG_OK : ctx->error_status;
    if (sim) {
        sim->ctx = ctx;
        sim->model = model;
        sim->model_version = model->version - 1; /* weights are not read yet */
        sim->quantizers = qdbg__alloc(ctx, places.n, sizeof *sim->quantizers);
        sim->n = sim->quantizers ? places.n : 0;
        status = sim->quantizers ? QDBG_OK : ctx->error_status;
        for (size_t i = 0; i < sim->n; i++)
            set_up(&sim->quantizers[i], &places.at[i], &o);
    }
    qdbg__places_free(ctx, &places);
    if (status == QDBG_OK)
        status = qdbg__sim_refresh(sim);
    if (status != QDBG_OK) {
        qdbg_sim_destroy(sim);
        return status;
    }
    *out = sim;
    return QDBG_OK;
}

void qdbg_sim_destroy(qdbg_sim *sim)
{
    if (!sim)
        return;
    for (size_t i = 0; i < sim->n; i++) {
        qdbg__quantizer *q = &sim->quantizers[i];
        drop_encodings(sim, q);
        qdbg__free(sim->ctx, q->channel_observed, q->n_channels, sizeof *q->channel_observed);
        if (is_weight(q))
            qdbg__free(sim->ctx, q->quantized, weight_count(sim, q), sizeof *q->quantized);
    }
    qdbg__free(sim->ctx, sim->quantizers, sim->n, sizeof *sim->quantizers);
    qdbg__free(sim->ctx, sim, 1, sizeof *sim);
}

/* ---- describe ---- */

qdbg_model *qdbg_sim_model(const qdbg_sim *sim)
{
    return sim ? sim->model : NULL;
}

uint32_t qdbg_sim_quantizer_count(const qdbg_sim *sim)
{
    return sim ? (uint32_t)sim->n : 0;
}

qdbg_status qdbg_sim_quantizer(const qdbg_sim *sim, uint32_t index, qdbg_quantizer_info *info)
{
    if (!sim || !info || info->struct_size != sizeof *info)
        return QDBG_E_INVALID;
    if (index >= sim->n)
        return QDBG_E_NOT_FOUND;
    const qdbg__quantizer *q = &sim->quantizers[index];
    const qdbg_graph *g = sim->model->graph;
    info->kind = q->place.kind;
    info->value = q->place.value;
    info->node = q->place.node;
    info->name = value_of(sim, q)->name;
    info->op_type = q->place.node == QDBG_NONE ? "" : g->nodes[q->place.node].op_type;
    info->enabled = q->enabled;
    info->n_encodings = q->n_grids;
    info->spec = q->spec;
    bool any = q->seen && q->observed.min <= q->observed.max;
    info->observed_min = any ? q->observed.min : 0;
    info->observed_max = any ? q->observed.max : 0;
    info->n_nonfinite = q->seen ? q->observed.n_nan + q->observed.n_inf : 0;
    return QDBG_OK;
}

uint32_t qdbg_sim_find_quantizer(const qdbg_sim *sim, const char *name)
{
    if (!sim || !name)
        return QDBG_NONE;
    uint32_t value = qdbg_graph_find_value(sim->model->graph, name);
    for (uint32_t i = 0; value != QDBG_NONE && i < sim->n; i++)
        if (sim->quantizers[i].place.value == value)
            return i;
    return QDBG_NONE;
}

/* ---- change ---- */

/* Every changing call begins so. */
static qdbg_status pick(qdbg_sim *sim, uint32_t index, qdbg__quantizer **q)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    if (index >= sim->n)
        return qdbg__fail(sim->ctx, QDBG_E_NOT_FOUND, "there is no quantizer %u, only %zu", index,
                          sim->n);
    *q = &sim->quantizers[index];
    return QDBG_OK;
}

qdbg_status qdbg_sim_encoding(qdbg_sim *sim, uint32_t index, uint32_t channel,
                              qdbg_encoding *encoding)
{
    qdbg__quantizer *q = NULL;
    qdbg_status status = pick(sim, index, &q);
    if (status == QDBG_OK)
        status = qdbg__sim_refresh(sim);
    if (status != QDBG_OK)
        return status;
    if (!encoding || encoding->struct_size != sizeof *encoding)
        return qdbg__fail(sim->ctx, QDBG_E_INVALID, "encoding is NULL or its struct_size is wrong");
    const char *name = value_of(sim, q)->name;
    if (q->n_grids == 0)
        return qdbg__fail_at(sim->ctx, QDBG_E_STATE, NULL, name,
                             "quantizer '%s' has no encoding: it is bypassed or not calibrated",
                             name);
    if (channel >= q->n_grids)
        return qdbg__fail_at(sim->ctx, QDBG_E_NOT_FOUND, NULL, name,
                             "quantizer '%s' has no channel %u", name, channel);
    *encoding = q->encodings[channel];
    return QDBG_OK;
}

qdbg_status qdbg_sim_set_enabled(qdbg_sim *sim, uint32_t index, int32_t enabled)
{
    qdbg__quantizer *q = NULL;
    qdbg_status status = pick(sim, index, &q);
    if (status == QDBG_OK)
        q->enabled = enabled != 0;
    return status;
}

qdbg_status qdbg_sim_set_all_enabled(qdbg_sim *sim, int32_t kind, int32_t enabled)
{
    if (!sim)
        return QDBG_E_INVALID;
    qdbg__clear_error(sim->ctx);
    if (kind != 0 && kind != QDBG_WEIGHT && kind != QDBG_ACTIVATION)
        return qdbg__fail(sim->ctx, QDBG_E_INVALID, "kind %d is unknown", kind);
    for (size_t i = 0; i < sim->n; i++)
        if (kind == 0 || sim->quantizers[i].place.kind == kind)
            sim->quantizers[i].enabled = enabled != 0;
    return QDBG_OK;
}

static qdbg_status check_spec(qdbg_sim *sim, const qdbg__quantizer *q, const qdbg_quant_spec *spec)
{
    const qdbg__value *v = value_of(sim, q);
    qdbg_status status = qdbg__spec_check(sim->ctx, spec, v->name);
    if (status != QDBG_OK || spec->granularity == QDBG_PER_TENSOR)
        return status;
    if (!is_weight(q))
        return qdbg__fail_at(sim->ctx, QDBG_E_UNSUPPORTED, NULL, v->name,
                             "activation '%s' cannot be quantized per channel", v->name);
    int64_t rank = v->rank;
    if (spec->axis < -rank || spec->axis >= rank)
        return qdbg__fail_at(sim->ctx, QDBG_E_INVALID, NULL, v->name, "weight '%s' has no axis %d",
                             v->name, spec->axis);
    return QDBG_OK;
}

qdbg_status qdbg_sim_set_spec(qdbg_sim *sim, uint32_t index, const qdbg_quant_spec *spec)
{
    qdbg__quantizer *q = NULL;
    qdbg_status status = pick(sim, index, &q);
    if (status == QDBG_OK)
        status = check_spec(sim, q, spec);
    if (status != QDBG_OK)
        return status;
    qdbg_quant_spec before = q->spec;
    q->spec = *spec;
    if (q->spec.granularity == QDBG_PER_TENSOR)
        q->spec.axis = before.axis; /* the channels that are reported stay the output channels */
    bool reread = is_weight(q) && q->spec.axis != before.axis;
    status = reread ? refresh_weight(sim, q) : encode(sim, q);
    if (status != QDBG_OK) {
        q->spec = before; /* encodings were not replaced ... */
        if (reread)       /* ... but maybe what was observed of the channels */
            sim->model_version = sim->model->version - 1;
    }
    return status;
}

qdbg_status qdbg_sim_set_bits(qdbg_sim *sim, uint32_t index, uint32_t bits)
{
    qdbg__quantizer *q = NULL;
    qdbg_status status = pick(sim, index, &q);
    if (status != QDBG_OK)
        return status;
    qdbg_quant_spec spec = q->spec;
    spec.bits = bits;
    return qdbg_sim_set_spec(sim, index, &spec);
}

qdbg_status qdbg_sim_set_range(qdbg_sim *sim, uint32_t index, float min, float max)
{
    qdbg__quantizer *q = NULL;
    qdbg_status status = pick(sim, index, &q);
    if (status != QDBG_OK)
        return status;
    const char *name = value_of(sim, q)->name;
    if (!isfinite(min) || !isfinite(max))
        return qdbg__fail_at(sim->ctx, QDBG_E_NUMERIC, NULL, name,
                             "quantizer '%s': the range is not finite", name);
    if (min > max)
        return qdbg__fail_at(sim->ctx, QDBG_E_INVALID, NULL, name,
                             "quantizer '%s': the range is upside down", name);
    qdbg__quantizer before = *q;
    q->custom = true;
    q->custom_min = min;
    q->custom_max = max;
    status = encode(sim, q);
    if (status != QDBG_OK)
        *q = before;
    return status;
}

qdbg_status qdbg_sim_clear_range(qdbg_sim *sim, uint32_t index)
{
    qdbg__quantizer *q = NULL;
    qdbg_status status = pick(sim, index, &q);
    if (status != QDBG_OK)
        return status;
    bool before = q->custom;
    q->custom = false;
    status = encode(sim, q);
    if (status != QDBG_OK)
        q->custom = before;
    return status;
}
