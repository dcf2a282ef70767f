/* One row for each quantizer: its numbers, and why it harms. */
#include <math.h>

#include "../base/sort.h"
#include "walk.h"

/* From here on the largest channel is said to rule the scale of all. */
#define SPREAD_BAD 8.0
/* A quantizer with this share of all output noise is worth a word even when it is no culprit. */
#define SHARE_NOTABLE 0.1

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* How far the channels of a weight are apart. */
typedef struct spread {
    double largest, median, ratio; /* of |w|; ratio NaN where no channel is non-zero */
    uint32_t channel;              /* that has the largest */
} spread;

static qdbg_status measure_spread(qdbg__chart *c, const qdbg__quantizer *q, spread *out)
{
    float *ends = qdbg__alloc(c->ctx, q->n_channels, sizeof *ends);
    if (!ends)
        return c->ctx->error_status;
    uint32_t n = 0;
    *out = (spread){0, 0, (double)NAN, 0};
    for (uint32_t i = 0; i < q->n_channels; i++) {
        float end = fmaxf(-q->channel_observed[i].min, q->channel_observed[i].max);
        if (!(end > 0))
            continue;
        if ((double)end > out->largest) {
            out->largest = (double)end;
            out->channel = i;
        }
        ends[n++] = end;
    }
    if (n > 0) {
        qdbg__sort(ends, n, sizeof *ends, ascending);
        out->median =
            n % 2 ? (double)ends[n / 2] : ((double)ends[n / 2 - 1] + (double)ends[n / 2]) / 2;
        out->ratio = out->largest / out->median;
    }
    qdbg__free(c->ctx, ends, q->n_channels, sizeof *ends);
    return QDBG_OK;
}

/* SQNR of the weight itself. */
static qdbg_status local_sqnr(qdbg__chart *c, size_t i, double *db)
{
    const qdbg__place *place = &c->sim->quantizers[i].place;
    uint64_t count = c->model->graph->values[place->value].bytes / sizeof(float);
    const float *quantized;
    qdbg_status status = qdbg__sim_quantized_weight(c->sim, i, &quantized);
    if (status != QDBG_OK)
        return status;
    float *data = qdbg__alloc(c->ctx, count, sizeof *data);
    if (!data)
        return c->ctx->error_status;
    status = c->model->backend->get(c->model, place->value, data, count);
    if (status == QDBG_OK) {
        qdbg__error e = {0};
        qdbg__kernels_of(c->ctx)->error(data, quantized, count, &e);
        *db = qdbg__sqnr_db(e.sum_aa, e.sum_ee);
    }
    qdbg__free(c->ctx, data, count, sizeof *data);
    return status;
}

static void describe_grid(const qdbg__quantizer *q, qdbg_finding *f)
{
    f->bits = q->spec.bits;
    f->n_channels = q->n_grids;
    for (uint32_t i = 0; i < q->n_grids; i++) {
        const qdbg_encoding *e = &q->encodings[i];
        if (i == 0 || e->scale > f->scale) {
            f->scale = e->scale;
            f->zero_point = e->zero_point;
        }
        f->min = i == 0 || e->min < f->min ? e->min : f->min;
        f->max = i == 0 || e->max > f->max ? e->max : f->max;
    }
}

/* One channel rules the scale of all. */
static void explain_spread(qdbg__text *t, const qdbg__quantizer *q, const spread *s, bool dead)
{
    qdbg__text_addf(t, "channel %u %ssets the scale of all %u: its largest weight is ", s->channel,
                    dead ? "is dead, and " : "", q->n_channels);
    qdbg__text_digits(t, s->largest, 4);
    qdbg__text_add(t, ", the median channel's ");
    qdbg__text_digits(t, s->median, 4);
    if (dead)
        qdbg__text_add(t, "; its batch-normalization has next to no variance: fold with "
                          "qdbg_fold_run() and QDBG_FOLD_NEUTRALIZE, or quantize it per channel");
    else
        qdbg__text_add(t, "; quantize it per channel, or equalize the channels' ranges first: "
                          "qdbg_equalize_run()");
}

static void explain_weight(qdbg__text *t, const qdbg__quantizer *q, const qdbg_finding *f)
{
    qdbg__text_addf(t, "rounding to %u bits leaves the weight at ", q->spec.bits);
    qdbg__text_fixed(t, f->local_sqnr_db, 1);
    qdbg__text_add(t, " dB; use more bits");
    if (q->spec.granularity == QDBG_PER_TENSOR)
        qdbg__text_add(t, " or a scale for each channel");
    qdbg__text_add(t, ", or round it with regard to the layer's output: qdbg_adaround_run()");
}

static void explain_activation(qdbg__text *t, const qdbg__quantizer *q, const qdbg_finding *f)
{
    qdbg__text_add(t, "values from ");
    qdbg__text_digits(t, (double)q->observed.min, 4);
    qdbg__text_add(t, " to ");
    qdbg__text_digits(t, (double)q->observed.max, 4);
    qdbg__text_add(t, " are rounded to steps of ");
    qdbg__text_digits(t, (double)f->scale, 3);
    qdbg__text_add(t, "; try a narrower range or more bits");
    if (q->observed.n_nan + q->observed.n_inf > 0)
        qdbg__text_add(t, "; some values were NaN or infinite");
}

static void explain_bias(qdbg__text *t, const qdbg_finding *f)
{
    qdbg__text_add(t, "it is rounded to steps of ");
    qdbg__text_digits(t, (double)f->scale, 3);
    qdbg__text_add(t, ", the scale of the input times that of the weight; make these two finer, or "
                      "leave the bias in float32");
}

static qdbg_status explain(qdbg__chart *c, const qdbg__quantizer *q, const spread *s,
                           qdbg_finding *f)
{
    bool ruled = q->spec.granularity == QDBG_PER_TENSOR && s->ratio >= SPREAD_BAD;
    qdbg__text t = qdbg__text_make(c->ctx);
    bool notable =
        f->culprit || (f->noise_share >= SHARE_NOTABLE && !qdbg__within(c, c->quantized.score));
    if (notable && q->place.kind == QDBG_WEIGHT && ruled)
        explain_spread(&t, q, s, qdbg__is_dead(c, f->order, s->channel));
    else if (notable && q->place.kind == QDBG_WEIGHT)
        explain_weight(&t, q, f);
    else if (notable && q->place.kind == QDBG_BIAS)
        explain_bias(&t, f);
    else if (notable)
        explain_activation(&t, q, f);
    f->reason = qdbg__text_take(&t);
    return f->reason ? QDBG_OK : c->ctx->error_status;
}

static qdbg_status set_names(qdbg__chart *c, const qdbg__quantizer *q, qdbg_finding *f)
{
    const qdbg_graph *g = c->model->graph;
    const qdbg__node *node = q->place.node == QDBG_NONE ? NULL : &g->nodes[q->place.node];
    f->name = qdbg__strdup(c->ctx, g->values[q->place.value].name);
    f->node = f->name ? qdbg__strdup(c->ctx, node ? node->name : "") : NULL;
    f->op_type = f->node ? qdbg__strdup(c->ctx, node ? node->op_type : "") : NULL;
    return f->op_type ? QDBG_OK : c->ctx->error_status;
}

static qdbg_status take_finding(qdbg__chart *c, size_t i, const qdbg_sensitivity_row *row,
                                qdbg_finding *f)
{
    const qdbg__quantizer *q = &c->sim->quantizers[i];
    spread s = {0, 0, (double)NAN, 0};
    f->kind = q->place.kind;
    f->order = (uint32_t)i;
    f->score_alone = f->drop_alone = f->output_sqnr_db = f->noise_share = (double)NAN;
    f->local_sqnr_db = f->channel_spread = (double)NAN;
    describe_grid(q, f);
    qdbg_status status = set_names(c, q, f);
    if (status == QDBG_OK && q->place.kind == QDBG_WEIGHT) {
        status = measure_spread(c, q, &s);
        f->channel_spread = s.ratio;
    }
    if (status == QDBG_OK && q->place.kind != QDBG_ACTIVATION && q->n_grids > 0)
        status = local_sqnr(c, i, &f->local_sqnr_db);
    if (status != QDBG_OK)
        return status;
    if (row) {
        f->score_alone = row->score;
        f->drop_alone = c->float_score - row->score;
        f->output_sqnr_db = row->sqnr_db;
        f->noise_share = row->noise_share;
        f->culprit = !qdbg__within(c, row->score);
    }
    return explain(c, q, &s, f);
}

qdbg_status qdbg__take_findings(qdbg__chart *c, const qdbg_sensitivity *sweep)
{
    qdbg_diagnosis *d = c->diagnosis;
    size_t n = sweep ? sweep->n : c->sim->n;
    qdbg_status status = qdbg__diagnosis_reserve_findings(d, n);
    for (size_t i = 0; i < n && status == QDBG_OK; i++) {
        const qdbg_sensitivity_row *row = sweep ? &sweep->rows[i] : NULL;
        status = take_finding(c, row ? row->quantizer : i, row, &d->findings[i]);
    }
    return status;
}
