/* One layer: its grids, its problem, its solution, and whether that is any better. */
#include "adaround_layer.h"

#include <math.h>
#include <string.h>

#include "adaround_work.h"

static bool frees_bias(const qdbg__ada_work *w)
{
    return w->layer->site.value != QDBG_NONE && !(w->o->flags & QDBG_ADAROUND_KEEP_BIAS);
}

static float rounded_value(const qdbg__ada_work *w, size_t i)
{
    return (float)w->p.q[i] * w->steps[i].scale;
}

static void find_errors(const qdbg__ada_work *w, double *e)
{
    for (size_t i = 0; i < w->n; i++)
        e[i] = (double)rounded_value(w, i) - (double)w->matrix[i];
}

/* ---- set up ---- */

static void *take(qdbg__ada_work *w, bool *good, size_t n, size_t size)
{
    void *p = *good ? qdbg__alloc(w->ctx, n, size) : NULL;
    *good = p != NULL;
    return p;
}

static qdbg_status set_up(qdbg__ada_work *w)
{
    const qdbg__linear *l = &w->layer->linear;
    size_t squares = (size_t)l->groups * l->depth * l->depth;
    bool good = true, solves = w->o->solver == QDBG_ADAROUND_SEQUENTIAL;
    w->p =
        (qdbg__rounding){.groups = l->groups, .rows = l->rows, .depth = l->depth, .w = w->matrix};
    w->steps = take(w, &good, w->n, sizeof *w->steps);
    w->grids = take(w, &good, w->quantizer->n_grids, sizeof *w->grids);
    w->grid_of = take(w, &good, w->outputs, sizeof *w->grid_of);
    w->nearest = take(w, &good, w->n, sizeof(double));
    w->e = take(w, &good, w->n, sizeof(double));
    w->delta = take(w, &good, w->outputs, sizeof(double));
    w->losses = take(w, &good, w->outputs, sizeof(double));
    w->least = take(w, &good, w->outputs, sizeof(double));
    w->p.q = take(w, &good, w->n, sizeof(int32_t));
    w->p.h = take(w, &good, squares, sizeof(double));
    w->p.ridge = take(w, &good, l->groups, sizeof(double));
    if (w->fit->b)
        w->b = take(w, &good, w->n, sizeof(double));
    if (solves) {
        w->p.factor = take(w, &good, squares, sizeof(double));
        w->p.order = take(w, &good, (size_t)l->groups * l->depth, sizeof(uint32_t));
    }
    w->p.steps = w->steps;
    w->p.b = w->b;
    return good ? QDBG_OK : w->ctx->error_status;
}

static void tear_down(qdbg__ada_work *w)
{
    const qdbg__linear *l = &w->layer->linear;
    size_t squares = (size_t)l->groups * l->depth * l->depth;
    qdbg__free(w->ctx, w->steps, w->n, sizeof *w->steps);
    qdbg__free(w->ctx, w->grids, w->quantizer->n_grids, sizeof *w->grids);
    qdbg__free(w->ctx, w->grid_of, w->outputs, sizeof *w->grid_of);
    qdbg__free(w->ctx, w->nearest, w->n, sizeof(double));
    qdbg__free(w->ctx, w->e, w->n, sizeof(double));
    qdbg__free(w->ctx, w->delta, w->outputs, sizeof(double));
    qdbg__free(w->ctx, w->losses, w->outputs, sizeof(double));
    qdbg__free(w->ctx, w->least, w->outputs, sizeof(double));
    qdbg__free(w->ctx, w->p.q, w->n, sizeof(int32_t));
    qdbg__free(w->ctx, w->p.h, squares, sizeof(double));
    qdbg__free(w->ctx, w->p.ridge, l->groups, sizeof(double));
    qdbg__free(w->ctx, w->b, w->n, sizeof(double));
    qdbg__free(w->ctx, w->p.factor, squares, sizeof(double));
    qdbg__free(w->ctx, w->p.order, (size_t)l->groups * l->depth, sizeof(uint32_t));
    qdbg__activation_free(w->ctx, &w->f);
}

/* The quadratic form: central moments where a bias takes the mean, else raw ones. */
static void lay_form(qdbg__ada_work *w)
{
    size_t d = w->p.depth, rows = w->p.rows;
    const qdbg__gram *m = w->fit;
    bool raw = !frees_bias(w);
    for (size_t i = 0; i < w->p.groups * d * d; i++) {
        const double *mu = m->mu + i / (d * d) * d;
        w->p.h[i] = m->h[i] + (raw ? mu[i / d % d] * mu[i % d] : 0);
    }
    for (size_t i = 0; i < w->n && w->b; i++) {
        size_t o = i / d;
        w->b[i] = m->b[i] + (raw ? m->r_mean[o] * m->mu[o / rows * d + i % d] : 0);
    }
    qdbg__rounding_damp(&w->p, w->o->damping > 0 ? w->o->damping : 0.01);
}

static bool has_signal(const qdbg__ada_work *w)
{
    const qdbg__gram *m = w->fit;
    size_t d = m->depth;
    for (size_t i = 0; i < m->groups * d; i++)
        if (m->mu[i] != 0 || m->h[(i / d * d + i % d) * d + i % d] != 0)
            return true;
    for (size_t o = 0; o < w->outputs && m->b; o++)
        if (m->r_mean[o] != 0 || m->r_var[o] != 0)
            return true;
    return false;
}

/* ---- solving ---- */

static qdbg__relax_options relax_options(const qdbg__ada_work *w)
{
    qdbg__relax_options r = {w->o->iterations, w->o->learning_rate, w->o->regularizer};
    if (r.iterations == 0)
        r.iterations = w->quantizer->spec.bits >= 8 ? 10000 : 15000;
    if (r.learning_rate == 0)
        r.learning_rate = 0.001;
    if (r.regularizer == 0)
        r.regularizer = 0.01;
    return r;
}

static qdbg_status solve(qdbg__ada_work *w)
{
    qdbg__relax_options r = relax_options(w);
    qdbg_status status = QDBG_OK;
    switch (w->o->solver) {
    case QDBG_ADAROUND_NEAREST:
        return QDBG_OK;
    case QDBG_ADAROUND_SEQUENTIAL:
        status = qdbg__rounding_factor(w->ctx, &w->p);
        return status == QDBG_OK ? qdbg__solve_sequential(w->ctx, &w->p) : status;
    case QDBG_ADAROUND_RELAXED:
        status = qdbg__solve_relaxed(w->ctx, &w->p, &r);
        break;
    default:
        status = qdbg__solve_sampled(w->ctx, &w->p, &w->sampled, w->delta);
    }
    if (status == QDBG_OK && !(w->o->flags & QDBG_ADAROUND_NO_POLISH) && !qdbg__ada_bends(w))
        status = qdbg__solve_single(w->ctx, &w->p, true);
    return status;
}

/* What the sampled form needs beside the problem. */
static qdbg_status set_up_sampled(qdbg__ada_work *w)
{
    if (!qdbg__ada_keeps(w->o))
        return QDBG_OK;
    w->sampled = (qdbg__sampled){.samples = w->samples,
                                 .f = &w->f,
                                 .options = relax_options(w),
                                 .batch = w->o->batch ? w->o->batch : 512,
                                 .frees_bias = frees_bias(w)};
    w->layer->row.n_kept = w->samples->fit.n;
    w->layer->row.n_held_kept = w->samples->held.n;
    qdbg_status status = qdbg__activation_read(w->sim->model, &w->layer->linear, &w->f);
    w->layer->row.activation = w->f.node;
    return status;
}

/* ---- judging ---- */

static qdbg_status judge(qdbg__ada_work *w, const double *e, const double *delta, double *fitted,
                         double *held)
{
    double alpha2 = w->layer->linear.alpha * w->layer->linear.alpha;
    qdbg_status status = qdbg__gram_loss(w->ctx, w->fit, e, delta, fitted);
    *fitted *= alpha2;
    if (status == QDBG_OK && w->held->n > 0)
        status = qdbg__gram_loss(w->ctx, w->held, e, delta, held);
    *held *= alpha2;
    return status;
}

static qdbg_status judge_sampled(qdbg__ada_work *w, const double *e, const double *delta,
                                 double *fitted, double *held)
{
    const qdbg__samples *s = w->samples;
    if (!qdbg__ada_keeps(w->o))
        return QDBG_OK;
    qdbg_status status = qdbg__sampled_loss(w->ctx, &w->p, &w->sampled, &s->fit, e, delta, fitted);
    if (status == QDBG_OK)
        status = qdbg__sampled_loss(w->ctx, &w->p, &w->sampled, &s->held, e, delta, held);
    return status;
}

/* What the simulation makes of the weights now. */
static qdbg_status find_nearest(qdbg__ada_work *w)
{
    const float *quantized;
    qdbg_status status = qdbg__sim_quantized_weight(w->sim, w->layer->row.quantizer, &quantized);
    if (status != QDBG_OK)
        return status;
    const qdbg__linear *l = &w->layer->linear;
    for (size_t i = 0; i < w->n; i++) {
        size_t o = i / l->depth;
        float q = quantized[qdbg__linear_weight(l, o / l->rows, o % l->rows, i % l->depth)];
        w->nearest[i] = (double)q - (double)w->matrix[i];
        w->p.q[i] = qdbg__ada_nearest_on(&w->steps[i], q);
    }
    return QDBG_OK;
}

static void count_moved(qdbg__ada_work *w)
{
    for (size_t i = 0; i < w->n; i++)
        w->layer->row.n_moved += w->p.q[i] != qdbg__ada_nearest_on(&w->steps[i], w->matrix[i]);
}

/* ---- results ---- */

/* Change of the shift of a BatchNormalization for one of its input. */
static qdbg_status norm_factors(qdbg__ada_work *w, double *factors)
{
    qdbg_model *m = w->sim->model;
    const qdbg__node *norm = &m->graph->nodes[w->layer->site.norm];
    double epsilon = (double)qdbg__attr_float(norm, "epsilon", 1e-5f);
    size_t n = w->outputs;
    float *both = qdbg__alloc(w->ctx, 2 * n, sizeof *both);
    if (!both)
        return w->ctx->error_status;
    qdbg_status status = m->backend->get(m, norm->in[1], both, n);
    if (status == QDBG_OK)
        status = m->backend->get(m, norm->in[4], both + n, n);
    for (size_t i = 0; i < n; i++)
        factors[i] = (double)both[i] / sqrt((double)both[n + i] + epsilon);
    qdbg__free(w->ctx, both, 2 * n, sizeof *both);
    return status;
}

static qdbg_status correct_bias(qdbg__ada_work *w)
{
    qdbg__ada_layer *layer = w->layer;
    qdbg_model *m = w->sim->model;
    double *factors = w->losses; /* free by now */
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < w->outputs; i++)
        factors[i] = layer->site.factor;
    if (layer->site.norm != QDBG_NONE)
        status = norm_factors(w, factors);
    layer->n_bias = w->outputs;
    layer->bias = status == QDBG_OK ? qdbg__alloc(w->ctx, w->outputs, sizeof(float)) : NULL;
    if (!layer->bias)
        return w->ctx->error_status;
    status = m->backend->get(m, layer->site.value, layer->bias, w->outputs);
    for (size_t i = 0; i < w->outputs; i++) {
        double change = layer->linear.alpha * w->delta[i] * factors[i];
        if (isfinite(change))
            layer->bias[i] = (float)((double)layer->bias[i] + change);
        layer->row.bias_change =
            fmax(layer->row.bias_change, fabs(layer->linear.alpha * w->delta[i]));
    }
    layer->row.bias = layer->site.value;
    return status;
}

static qdbg_status keep_result(qdbg__ada_work *w)
{
    qdbg__ada_layer *layer = w->layer;
    uint32_t n_grids = w->quantizer->n_grids;
    bool nearest = w->o->solver == QDBG_ADAROUND_NEAREST;
    layer->set_weight = !nearest;
    layer->rounded = qdbg__alloc(w->ctx, w->n, sizeof(float));
    if (!layer->rounded)
        return w->ctx->error_status;
    for (size_t i = 0; i < w->n; i++) {
        const qdbg__linear *l = &layer->linear;
        size_t o = i / l->depth,
               at = qdbg__linear_weight(l, o / l->rows, o % l->rows, i % l->depth);
        layer->rounded[at] = rounded_value(w, i);
    }
    if (!nearest || w->o->range_candidates > 0) {
        layer->frozen.encodings = qdbg__alloc(w->ctx, n_grids, sizeof *w->grids);
        if (!layer->frozen.encodings)
            return w->ctx->error_status;
        layer->frozen.n = n_grids;
        layer->frozen.spec = w->quantizer->spec;
        memcpy(layer->frozen.encodings, w->grids, n_grids * sizeof *w->grids);
    }
    count_moved(w);
    return frees_bias(w) ? correct_bias(w) : QDBG_OK;
}

static qdbg_status find_bias(qdbg__ada_work *w)
{
    find_errors(w, w->e);
    if (!frees_bias(w))
        return QDBG_OK;
    if (qdbg__ada_bends(w))
        return qdbg__sampled_bias(w->ctx, &w->p, &w->sampled, w->e, w->delta);
    qdbg__gram_best_bias(w->fit, w->e, w->delta);
    return QDBG_OK;
}

/* No worse than nearest rounding where it counts: on what was held out, if anything was. */
static bool is_better(const qdbg__ada_work *w)
{
    const qdbg_adaround_row *row = &w->layer->row;
    if (w->o->solver == QDBG_ADAROUND_SAMPLED)
        return row->n_held_kept > 0 ? row->act_held_loss <= row->act_held_nearest
                                    : row->act_loss <= row->act_nearest;
    return w->held->n > 0 ? row->held_loss <= row->held_nearest : row->loss <= row->loss_nearest;
}

void qdbg__ada_row_revert(qdbg_adaround_row *row)
{
    row->outcome = QDBG_ADAROUND_REVERTED;
    row->bias = QDBG_NONE;
    row->bias_change = 0;
    row->n_moved = 0;
    row->loss = row->loss_nearest;
    row->held_loss = row->held_nearest;
    row->act_loss = row->act_nearest;
    row->act_held_loss = row->act_held_nearest;
}

static qdbg_status round_layer(qdbg__ada_work *w)
{
    qdbg_adaround_row *row = &w->layer->row;
    memcpy(w->grids, w->quantizer->encodings, w->quantizer->n_grids * sizeof *w->grids);
    qdbg__ada_find_grids(w);
    qdbg__ada_lay_steps(w);
    lay_form(w);
    qdbg_status status = set_up_sampled(w);
    if (status == QDBG_OK)
        status = find_nearest(w);
    if (status == QDBG_OK)
        status = judge(w, w->nearest, NULL, &row->loss_nearest, &row->held_nearest);
    if (status == QDBG_OK)
        status = judge_sampled(w, w->nearest, NULL, &row->act_nearest, &row->act_held_nearest);
    if (status == QDBG_OK)
        status = qdbg__ada_search_ranges(w);
    if (status == QDBG_OK)
        status = solve(w);
    if (status == QDBG_OK)
        status = qdbg__ada_refit(w);
    if (status == QDBG_OK)
        status = find_bias(w);
    if (status == QDBG_OK)
        status = judge(w, w->e, w->delta, &row->loss, &row->held_loss);
    if (status == QDBG_OK)
        status = judge_sampled(w, w->e, w->delta, &row->act_loss, &row->act_held_loss);
    if (status != QDBG_OK)
        return status;
    if (is_better(w) || (w->o->flags & QDBG_ADAROUND_NO_REVERT))
        return keep_result(w);
    qdbg__ada_row_revert(row);
    return QDBG_OK;
}

qdbg_status qdbg__ada_round(qdbg_sim *sim, const qdbg_adaround_options *o, qdbg__ada_layer *layer,
                            const float *matrix, const qdbg__gatherer *t)
{
    const qdbg__gram *fit = &t->fit, *held = &t->held;
    qdbg__ada_work w = {.sim = sim,
                        .ctx = sim->ctx,
                        .o = o,
                        .layer = layer,
                        .quantizer = &sim->quantizers[layer->row.quantizer],
                        .matrix = matrix,
                        .fit = fit,
                        .held = held,
                        .samples = &t->samples,
                        .f = {.node = QDBG_NONE},
                        .n = layer->n_weights,
                        .outputs = (size_t)layer->linear.groups * layer->linear.rows};
    qdbg_adaround_row *row = &layer->row;
    row->n_positions = fit->n;
    row->n_held_out = held->n;
    row->n_nonfinite = fit->n_nonfinite + held->n_nonfinite;
    row->outcome = fit->n == 0       ? QDBG_ADAROUND_NO_DATA
                   : !has_signal(&w) ? QDBG_ADAROUND_NO_SIGNAL
                                     : QDBG_ADAROUND_DONE;
    if (row->outcome != QDBG_ADAROUND_DONE)
        return QDBG_OK;
    qdbg_status status = set_up(&w);
    if (status == QDBG_OK)
        status = round_layer(&w);
    tear_down(&w);
    return status;
}

void qdbg__ada_layer_free(qdbg_ctx *ctx, qdbg__ada_layer *layer)
{
    qdbg__free(ctx, layer->rounded, layer->n_weights, sizeof(float));
    qdbg__free(ctx, layer->bias, layer->n_bias, sizeof(float));
    qdbg__frozen_free(ctx, &layer->frozen);
    layer->rounded = layer->bias = NULL;
}
