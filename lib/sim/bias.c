/* Biases: int32 on the grid of the accumulator, whose scale is that of the input times that of the
 * weight. */
#include <float.h>
#include <math.h>

#include "encode.h"

#define SCALE_MAX (FLT_MAX / 0x1p31f) /* the grid's ends stay finite */

static qdbg_encoding encoding_of(double scale)
{
    qdbg_encoding e = QDBG_ENCODING_INIT;
    e.qmin = INT32_MIN;
    e.qmax = INT32_MAX;
    e.scale = (float)fmin(fmax(scale, (double)FLT_MIN), (double)SCALE_MAX);
    e.min = (float)e.qmin * e.scale;
    e.max = (float)e.qmax * e.scale;
    return e;
}

/* Grids of the weight that the bias has grids for, or 0. */
static uint32_t weight_grids(const qdbg_sim *sim, const qdbg__quantizer *bias,
                             const qdbg__quantizer *weight)
{
    const qdbg_quant_spec *s = &weight->spec;
    int32_t axis = s->axis < 0 ? s->axis + (int32_t)qdbg__sim_value(sim, weight)->rank : s->axis;
    if (weight->n_grids <= 1 && s->granularity != QDBG_PER_BLOCK)
        return weight->n_grids;
    if (s->granularity != QDBG_PER_CHANNEL || axis != weight->place.axis ||
        bias->n_room % weight->n_grids != 0)
        return 0;
    return weight->n_grids;
}

static void derive(qdbg_sim *sim, qdbg__quantizer *q)
{
    const qdbg__quantizer *x = &sim->quantizers[q->place.from_input];
    const qdbg__quantizer *w = &sim->quantizers[q->place.from_weight];
    uint32_t n = weight_grids(sim, q, w);
    q->quantized_valid = false;
    q->n_grids = 0;
    if (x->n_grids != 1 || x->spec.granularity != QDBG_PER_TENSOR || n == 0)
        return;
    q->n_grids = n == 1 ? 1 : q->n_room; /* groups of a ConvTranspose have the same scales */
    for (uint32_t c = 0; c < q->n_grids; c++) {
        double scale = (double)x->encodings[0].scale * (double)w->encodings[c % n].scale;
        q->encodings[c] = encoding_of(scale * q->place.factor);
        q->grids[c] = qdbg__grid_of(&q->encodings[c], q->spec.rounding);
    }
    q->spec.granularity = q->n_grids == 1 ? QDBG_PER_TENSOR : QDBG_PER_CHANNEL;
    q->fq = (qdbg__fakequant){q->grids, q->n_grids, q->spec.axis, 0};
}

void qdbg__sim_derive_biases(qdbg_sim *sim, size_t i)
{
    uint32_t k = sim->quantizers[i].biases;
    while (k != QDBG_NONE) {
        qdbg__quantizer *q = &sim->quantizers[k];
        derive(sim, q);
        k = q->place.from_input == i ? q->next_by_input : q->next_by_weight;
    }
}

/* Its sources are to know it. */
static void enlist(qdbg_sim *sim, size_t i)
{
    qdbg__quantizer *q = &sim->quantizers[i];
    uint32_t *by_input = &sim->quantizers[q->place.from_input].biases;
    uint32_t *by_weight = &sim->quantizers[q->place.from_weight].biases;
    q->next_by_input = *by_input;
    q->next_by_weight = *by_weight;
    *by_input = *by_weight = (uint32_t)i;
}

qdbg_status qdbg__sim_prepare_bias(qdbg_sim *sim, size_t i)
{
    qdbg__quantizer *q = &sim->quantizers[i];
    uint32_t n = (uint32_t)qdbg__sim_weight_count(sim, q);
    q->spec.bits = 32;
    q->spec.granularity = QDBG_PER_TENSOR;
    if (q->spec.rounding == QDBG_ROUND_NEAREST_UP) /* "on the grid" is too far from zero here */
        q->spec.rounding = QDBG_ROUND_NEAREST_EVEN;
    q->range = (qdbg_range_options)QDBG_RANGE_OPTIONS_INIT;
    q->encodings = qdbg__alloc(sim->ctx, n, sizeof *q->encodings);
    q->grids = q->encodings ? qdbg__alloc(sim->ctx, n, sizeof *q->grids) : NULL;
    if (q->grids) {
        q->n_room = n;
        enlist(sim, i);
        return QDBG_OK;
    }
    qdbg__free(sim->ctx, q->encodings, n, sizeof *q->encodings);
    q->encodings = NULL;
    return sim->ctx->error_status;
}

qdbg_status qdbg__sim_refuse_bias(qdbg_sim *sim, const qdbg__quantizer *q)
{
    const char *name = qdbg__sim_value(sim, q)->name;
    if (!qdbg__is_bias(q))
        return QDBG_OK;
    return qdbg__fail_at(sim->ctx, QDBG_E_UNSUPPORTED, NULL, name,
                         "bias '%s': its encoding follows from those of the operator's input and "
                         "weight",
                         name);
}
