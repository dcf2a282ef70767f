/* Quantizers: created, described, changed. */
#include "encode.h"

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

bool qdbg__sim_is_bypassed(const qdbg_sim *sim, size_t i)
{
    const qdbg__quantizer *q = &sim->quantizers[i];
    return qdbg__is_bias(q) ? q->n_grids == 0 : q->spec.bits == QDBG_BITS_BYPASS;
}

/* ---- create and destroy ---- */

#define COLLECTIONS \
    (QDBG_OBSERVE_MOMENTS | QDBG_OBSERVE_HISTOGRAM | QDBG_OBSERVE_ROWS | QDBG_OBSERVE_AVERAGE)

static const qdbg_range_options *range_of(const qdbg_sim_options *o, int32_t kind)
{
    static const qdbg_range_options by_default = QDBG_RANGE_OPTIONS_INIT;
    const qdbg_range_options *range = kind == QDBG_WEIGHT ? o->weight_range : o->activation_range;
    return range ? range : &by_default;
}

static qdbg_status check_options(qdbg_ctx *ctx, const qdbg_sim_options *o)
{
    if (o->struct_size != sizeof *o)
        return qdbg__fail(ctx, QDBG_E_INVALID, "simulation options: struct_size is wrong");
    qdbg_quant_spec spec = QDBG_QUANT_SPEC_INIT;
    spec.granularity = o->weight_granularity;
    spec.rounding = o->rounding;
    spec.bits = o->weight_bits ? o->weight_bits : 8;
    if (spec.granularity == QDBG_PER_BLOCK)
        return qdbg__fail(ctx, QDBG_E_INVALID, "weight granularity: set blocks with a spec");
    qdbg_status status = qdbg__spec_check(ctx, &spec, "weights");
    spec.bits = o->activation_bits ? o->activation_bits : 8;
    if (status == QDBG_OK)
        status = qdbg__spec_check(ctx, &spec, "activations");
    if (status == QDBG_OK)
        status = qdbg__range_check(ctx, range_of(o, QDBG_WEIGHT), "weights");
    if (status == QDBG_OK)
        status = qdbg__range_check(ctx, range_of(o, QDBG_ACTIVATION), "activations");
    if (status == QDBG_OK && (o->collect & ~COLLECTIONS))
        status = qdbg__fail(ctx, QDBG_E_INVALID, "simulation options: collect is unknown");
    return status;
}

static void set_up(qdbg_ctx *ctx, qdbg__quantizer *q, const qdbg__place *place,
                   const qdbg_sim_options *o)
{
    bool weight = place->kind == QDBG_WEIGHT;
    uint32_t bits = weight ? o->weight_bits : o->activation_bits;
    q->place = *place;
    q->biases = QDBG_NONE;
    q->enabled = true;
    q->spec = (qdbg_quant_spec)QDBG_QUANT_SPEC_INIT;
    q->spec.bits = bits ? bits : 8;
    q->spec.symmetry = place->symmetry;
    q->spec.is_signed = place->is_signed;
    q->spec.rounding = o->rounding;
    if (o->rounding == QDBG_ROUND_NEAREST_EVEN && o->rules)
        q->spec.rounding = o->rules->defaults.rounding;
    q->spec.axis = place->axis;
    q->range = *range_of(o, place->kind);
    qdbg__observer_init(&q->observer, ctx, 0, 0, 1);
    if (weight && !place->one_channel &&
        (place->per_channel || o->weight_granularity == QDBG_PER_CHANNEL))
        q->spec.granularity = QDBG_PER_CHANNEL;
}

static qdbg_status prepare_biases(qdbg_sim *sim)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < sim->n && status == QDBG_OK; i++)
        if (qdbg__is_bias(&sim->quantizers[i]))
            status = qdbg__sim_prepare_bias(sim, i);
    return status;
}

static qdbg_status encode_activations(qdbg_sim *sim)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < sim->n && status == QDBG_OK; i++) {
        const qdbg__place *place = &sim->quantizers[i].place;
        bool first = place->kind == QDBG_ACTIVATION && place->group == i;
        if (first)
            status = qdbg__sim_encode(sim, i);
    }
    return status;
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
    status = qdbg__place_quantizers(model->graph, o.rules, &places);
    if (status != QDBG_OK)
        return status;
    qdbg_sim *sim = qdbg__alloc(ctx, 1, sizeof *sim);
    status = sim ? QDBG_OK : ctx->error_status;
    if (sim) {
        sim->ctx = ctx;
        sim->model = model;
        sim->collect = o.collect;
        sim->model_version = model->version - 1; /* weights are not read yet */
        sim->quantizers = qdbg__alloc(ctx, places.n, sizeof *sim->quantizers);
        sim->n = sim->quantizers ? places.n : 0;
        status = sim->quantizers ? QDBG_OK : ctx->error_status;
        for (size_t i = 0; i < sim->n; i++)
            set_up(ctx, &sim->quantizers[i], &places.at[i], &o);
        sim->absent = places.absent;
        places.absent = NULL;
    }
    qdbg__places_free(ctx, &places);
    if (status == QDBG_OK)
        status = prepare_biases(sim);
    for (size_t i = 0; status == QDBG_OK && i < sim->n; i++)
        status = qdbg__sim_check_method(sim, &sim->quantizers[i], &sim->quantizers[i].spec,
                                        &sim->quantizers[i].range);
    if (status == QDBG_OK)
        status = qdbg__sim_refresh(sim);
    if (status == QDBG_OK) /* ranges without data */
        status = encode_activations(sim);
    if (status != QDBG_OK) {
        qdbg_sim_destroy(sim);
        return status;
    }
    if (o.rules)
        qdbg__rules_warn(o.rules, model->graph);
    *out = sim;
    return QDBG_OK;
}

void qdbg_sim_destroy(qdbg_sim *sim)
{
    if (!sim)
        return;
    for (size_t i = 0; i < sim->n; i++) {
        qdbg__quantizer *q = &sim->quantizers[i];
        qdbg__encodings made = {q->encodings, q->grids, q->n_room ? q->n_room : q->n_grids};
        qdbg__encodings_free(sim->ctx, &made);
        qdbg__observer_free(&q->observer);
        qdbg__frozen_free(sim->ctx, &q->frozen);
        qdbg__free(sim->ctx, q->channel_observed, q->n_channels, sizeof *q->channel_observed);
        if (qdbg__is_parameter(q))
            qdbg__free(sim->ctx, q->quantized, qdbg__sim_weight_count(sim, q),
                       sizeof *q->quantized);
    }
    qdbg__free(sim->ctx, sim->quantizers, sim->n, sizeof *sim->quantizers);
    qdbg__free(sim->ctx, sim->absent, sim->model->graph->n_values, sizeof *sim->absent);
    qdbg__strfree(sim->ctx, sim->absence_text);
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
    info->name = qdbg__sim_value(sim, q)->name;
    info->op_type = q->place.node == QDBG_NONE ? "" : g->nodes[q->place.node].op_type;
    info->enabled = q->enabled;
    info->n_encodings = q->n_grids;
    info->spec = q->spec;
    info->range = q->range;
    bool any = q->seen && q->observed.min <= q->observed.max;
    info->observed_min = any ? q->observed.min : 0;
    info->observed_max = any ? q->observed.max : 0;
    info->n_nonfinite = q->seen ? q->observed.n_nan + q->observed.n_inf : 0;
    info->group = q->place.group;
    info->has_fixed_range = q->place.fixed;
    info->from_input = qdbg__is_bias(q) ? q->place.from_input : QDBG_NONE;
    info->from_weight = qdbg__is_bias(q) ? q->place.from_weight : QDBG_NONE;
    return QDBG_OK;
}

uint32_t qdbg_sim_find_quantizer(const qdbg_sim *sim, const char *name)
{
    if (!sim || !name)
        return QDBG_NONE;
    uint32_t value = qdbg_graph_find_value(sim->model->graph, name);
    return value == QDBG_NONE ? QDBG_NONE : qdbg__sim_quantizer_on(sim, value);
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
    const char *name = qdbg__sim_value(sim, q)->name;
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
    if (kind < 0 || kind > QDBG_BIAS)
        return qdbg__fail(sim->ctx, QDBG_E_INVALID, "kind %d is unknown", kind);
    for (size_t i = 0; i < sim->n; i++)
        if (kind == 0 || sim->quantizers[i].place.kind == kind)
            sim->quantizers[i].enabled = enabled != 0;
    return QDBG_OK;
}

static qdbg_status check_spec(qdbg_sim *sim, const qdbg__quantizer *q, const qdbg_quant_spec *spec)
{
    const qdbg__value *v = qdbg__sim_value(sim, q);
    qdbg_status status = qdbg__sim_refuse_bias(sim, q);
    if (status == QDBG_OK)
        status = qdbg__spec_check(sim->ctx, spec, v->name);
    if (status == QDBG_OK)
        status = qdbg__sim_check_method(sim, q, spec, &q->range);
    if (status != QDBG_OK || spec->granularity == QDBG_PER_TENSOR)
        return status;
    if (!qdbg__is_weight(q) && spec->granularity == QDBG_PER_BLOCK)
        return qdbg__fail_at(sim->ctx, QDBG_E_UNSUPPORTED, NULL, v->name,
                             "activation '%s' cannot be quantized in blocks", v->name);
    if (q->place.shared)
        return qdbg__fail_at(sim->ctx, QDBG_E_UNSUPPORTED, NULL, v->name,
                             "activation '%s' shares its encoding: it has one for all channels",
                             v->name);
    int64_t rank = v->rank == QDBG_RANK_UNKNOWN ? QDBG_MAX_RANK : v->rank;
    if (spec->axis < -rank || spec->axis >= rank)
        return qdbg__fail_at(sim->ctx, QDBG_E_INVALID, NULL, v->name, "'%s' has no axis %d",
                             v->name, spec->axis);
    bool is_batch = spec->axis == 0 || (v->rank != QDBG_RANK_UNKNOWN && spec->axis == -rank);
    if (!qdbg__is_weight(q) && is_batch)
        return qdbg__fail_at(sim->ctx, QDBG_E_UNSUPPORTED, NULL, v->name,
                             "activation '%s': axis %d holds the samples of a batch", v->name,
                             spec->axis);
    return QDBG_OK;
}

/* For calls that make encodings: what is known of the weights must be of today. */
static qdbg_status pick_fresh(qdbg_sim *sim, uint32_t index, qdbg__quantizer **q)
{
    qdbg_status status = pick(sim, index, q);
    return status == QDBG_OK ? qdbg__sim_refresh(sim) : status;
}

/* What is given to one quantizer is given to all that share its encoding. */
static void put_spec(qdbg_sim *sim, const qdbg__quantizer *q, const qdbg_quant_spec *spec)
{
    for (uint32_t i = q->place.group; i != QDBG_NONE; i = sim->quantizers[i].place.next)
        sim->quantizers[i].spec = *spec;
}

static void put_range(qdbg_sim *sim, const qdbg__quantizer *q, bool custom, float min, float max)
{
    for (uint32_t i = q->place.group; i != QDBG_NONE; i = sim->quantizers[i].place.next) {
        qdbg__quantizer *other = &sim->quantizers[i];
        other->custom = custom;
        other->custom_min = min;
        other->custom_max = max;
    }
}

qdbg_status qdbg_sim_set_spec(qdbg_sim *sim, uint32_t index, const qdbg_quant_spec *spec)
{
    qdbg__quantizer *q = NULL;
    qdbg_status status = pick_fresh(sim, index, &q);
    if (status == QDBG_OK)
        status = check_spec(sim, q, spec);
    if (status != QDBG_OK)
        return status;
    qdbg_quant_spec before = q->spec, after = *spec;
    int32_t channels = qdbg__channel_axis(q);
    if (after.granularity == QDBG_PER_TENSOR)
        after.axis = channels; /* the channels that are reported stay the same */
    put_spec(sim, q, &after);
    bool reread = qdbg__is_weight(q) && qdbg__channel_axis(q) != channels;
    status = reread ? qdbg__sim_refresh_weight(sim, index) : qdbg__sim_encode(sim, index);
    if (status != QDBG_OK) {
        put_spec(sim, q, &before); /* encodings were not replaced ... */
        if (reread)                /* ... but maybe what was observed of the channels */
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
    qdbg_status status = pick_fresh(sim, index, &q);
    if (status == QDBG_OK)
        status = qdbg__sim_refuse_bias(sim, q);
    if (status != QDBG_OK)
        return status;
    const char *name = qdbg__sim_value(sim, q)->name;
    if (!isfinite(min) || !isfinite(max))
        return qdbg__fail_at(sim->ctx, QDBG_E_NUMERIC, NULL, name,
                             "quantizer '%s': the range is not finite", name);
    if (min > max)
        return qdbg__fail_at(sim->ctx, QDBG_E_INVALID, NULL, name,
                             "quantizer '%s': the range is upside down", name);
    bool was_custom = q->custom;
    float was_min = q->custom_min, was_max = q->custom_max;
    put_range(sim, q, true, min, max);
    status = qdbg__sim_encode(sim, index);
    if (status != QDBG_OK)
        put_range(sim, q, was_custom, was_min, was_max);
    return status;
}

qdbg_status qdbg_sim_clear_range(qdbg_sim *sim, uint32_t index)
{
    qdbg__quantizer *q = NULL;
    qdbg_status status = pick_fresh(sim, index, &q);
    if (status != QDBG_OK)
        return status;
    bool before = q->custom;
    float min = q->custom_min, max = q->custom_max;
    put_range(sim, q, false, min, max);
    status = qdbg__sim_encode(sim, index);
    if (status != QDBG_OK)
        put_range(sim, q, before, min, max);
    return status;
}
