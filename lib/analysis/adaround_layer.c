/* One layer: its grids, its problem, its solution, and whether that is any better. */
#include "adaround_layer.h"

#include <math.h>
#include <string.h>

#include "adaround_solve.h"

/* A layer at work; arrays in the order [groups, rows, depth]. */
typedef struct work {
    qdbg_sim *sim;
    qdbg_ctx *ctx;
    const qdbg_adaround_options *o;
    qdbg__ada_layer *layer;
    const qdbg__quantizer *quantizer;
    const float *matrix;
    const qdbg__gram *fit, *held;
    size_t n, outputs;
    qdbg__rounding p;
    qdbg__step *steps;      /* [n] */
    qdbg_encoding *grids;   /* [n_grids] those being worked with */
    uint32_t *grid_of;      /* [outputs] grid of a row */
    bool by_row;            /* every row is on one grid */
    bool own_grids;         /* ... and no two rows share one */
    double *b;              /* [n] or NULL */
    double *nearest, *e;    /* [n] errors of weights */
    double *delta;          /* [outputs] change of the bias, in units of the product */
    double *losses, *least; /* [outputs] */
} work;

static bool frees_bias(const work *w)
{
    return w->layer->site.value != QDBG_NONE && !(w->o->flags & QDBG_ADAROUND_KEEP_BIAS);
}

/* ---- grids ---- */

static uint32_t grid_index(const work *w, size_t element)
{
    const qdbg__value *v = &w->sim->model->graph->values[w->layer->linear.weight];
    const qdbg_quant_spec *spec = &w->quantizer->spec;
    size_t inner = 1;
    if (w->quantizer->n_grids == 1)
        return 0;
    uint32_t axis = (uint32_t)(spec->axis < 0 ? spec->axis + (int32_t)v->rank : spec->axis);
    for (uint32_t i = axis + 1; i < v->rank; i++)
        inner *= (size_t)v->dims[i];
    size_t length = (size_t)v->dims[axis], at = element / inner % length;
    if (spec->granularity != QDBG_PER_BLOCK)
        return (uint32_t)at;
    size_t blocks = (length + spec->block_size - 1) / spec->block_size;
    size_t outer = element / inner / length;
    return (uint32_t)((outer * blocks + at / spec->block_size) * inner + element % inner);
}

/* May scales be changed at will? */
static bool has_free_scales(const work *w)
{
    return w->by_row && w->quantizer->spec.flags == 0 && w->quantizer->spec.block_scale_bits == 0;
}

static void find_grids(work *w)
{
    const qdbg__linear *l = &w->layer->linear;
    w->by_row = true;
    for (size_t o = 0; o < w->outputs; o++) {
        w->grid_of[o] = grid_index(w, qdbg__linear_weight(l, o / l->rows, o % l->rows, 0));
        for (size_t k = 1; k < l->depth && w->by_row; k++)
            w->by_row =
                grid_index(w, qdbg__linear_weight(l, o / l->rows, o % l->rows, k)) == w->grid_of[o];
    }
    w->own_grids = w->by_row && w->quantizer->n_grids == w->outputs;
}

static void lay_steps(work *w)
{
    const qdbg__linear *l = &w->layer->linear;
    for (size_t i = 0; i < w->n; i++) {
        size_t o = i / l->depth,
               at = qdbg__linear_weight(l, o / l->rows, o % l->rows, i % l->depth);
        const qdbg_encoding *e = &w->grids[w->by_row ? w->grid_of[o] : grid_index(w, at)];
        w->steps[i] = (qdbg__step){e->scale, e->qmin - e->zero_point, e->qmax - e->zero_point};
    }
}

static int32_t nearest_on(const qdbg__step *s, float x)
{
    return (int32_t)qdbg__clamp(rint((double)x / (double)s->scale), s->low, s->high);
}

static void round_nearest(work *w)
{
    for (size_t i = 0; i < w->n; i++)
        w->p.q[i] = nearest_on(&w->steps[i], w->matrix[i]);
}

static float rounded_value(const work *w, size_t i)
{
    return (float)w->p.q[i] * w->steps[i].scale;
}

static void find_errors(const work *w, double *e)
{
    for (size_t i = 0; i < w->n; i++)
        e[i] = (double)rounded_value(w, i) - (double)w->matrix[i];
}

/* ---- set up ---- */

static void *take(work *w, bool *good, size_t n, size_t size)
{
    void *p = *good ? qdbg__alloc(w->ctx, n, size) : NULL;
    *good = p != NULL;
    return p;
}

static qdbg_status set_up(work *w)
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

static void tear_down(work *w)
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
}

/* The quadratic form: central moments where a bias takes the mean, else raw ones. */
static void lay_form(work *w)
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

static bool has_signal(const work *w)
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

/* ---- ranges: sequential MSE ---- */

static void sum_by_grid(const work *w, const double *of_rows, double *of_grids)
{
    for (uint32_t g = 0; g < w->quantizer->n_grids; g++)
        of_grids[g] = 0;
    for (size_t o = 0; o < w->outputs; o++)
        of_grids[w->grid_of[o]] += of_rows[o];
}

static void set_scale(qdbg_encoding *e, float scale)
{
    e->scale = scale;
    e->min = (float)(e->qmin - e->zero_point) * scale;
    e->max = (float)(e->qmax - e->zero_point) * scale;
}

/* Both ends drawn in alike: the zero point stays. */
static void take_candidate(const work *w, double part)
{
    for (uint32_t g = 0; g < w->quantizer->n_grids; g++) {
        w->grids[g] = w->quantizer->encodings[g];
        float scale = (float)((double)w->grids[g].scale * part);
        if (isnormal(scale))
            set_scale(&w->grids[g], scale);
    }
}

/* `best` receives the best encodings: [n_grids]; `sums` is room for 2 n_grids numbers. */
static qdbg_status try_candidates(work *w, qdbg_encoding *best, double *sums)
{
    uint32_t n = w->o->range_candidates, n_grids = w->quantizer->n_grids;
    double *least = sums + n_grids;
    for (uint32_t k = n; k > 0; k--) {
        if (k < n)
            take_candidate(w, (double)k / (double)n);
        lay_steps(w);
        round_nearest(w);
        qdbg_status status = qdbg__rounding_losses(w->ctx, &w->p, w->losses);
        if (status != QDBG_OK)
            return status;
        sum_by_grid(w, w->losses, sums);
        for (uint32_t g = 0; g < n_grids; g++)
            if (k == n || sums[g] < least[g]) {
                least[g] = sums[g];
                best[g] = w->grids[g];
            }
    }
    return QDBG_OK;
}

static qdbg_status search_ranges(work *w)
{
    uint32_t n_grids = w->quantizer->n_grids;
    if (w->o->range_candidates == 0 || !has_free_scales(w))
        return QDBG_OK;
    qdbg_encoding *best = qdbg__alloc(w->ctx, n_grids, sizeof *best);
    double *sums = best ? qdbg__alloc(w->ctx, 2 * (size_t)n_grids, sizeof *sums) : NULL;
    qdbg_status status = sums ? try_candidates(w, best, sums) : w->ctx->error_status;
    if (status == QDBG_OK) {
        memcpy(w->grids, best, n_grids * sizeof *best);
        lay_steps(w);
        round_nearest(w);
    }
    qdbg__free(w->ctx, sums, 2 * (size_t)n_grids, sizeof *sums);
    qdbg__free(w->ctx, best, n_grids, sizeof *best);
    return status;
}

/* ---- solving ---- */

static qdbg_status solve(work *w)
{
    uint32_t bits = w->quantizer->spec.bits;
    qdbg__relax_options r = {w->o->iterations, w->o->learning_rate, w->o->regularizer};
    if (w->o->solver == QDBG_ADAROUND_NEAREST)
        return QDBG_OK;
    if (w->o->solver == QDBG_ADAROUND_SEQUENTIAL) {
        qdbg_status status = qdbg__rounding_factor(w->ctx, &w->p);
        return status == QDBG_OK ? qdbg__solve_sequential(w->ctx, &w->p) : status;
    }
    if (r.iterations == 0)
        r.iterations = bits >= 8 ? 10000 : 15000;
    if (r.learning_rate == 0)
        r.learning_rate = 0.001;
    if (r.regularizer == 0)
        r.regularizer = 0.01;
    qdbg_status status = qdbg__solve_relaxed(w->ctx, &w->p, &r);
    if (status == QDBG_OK && !(w->o->flags & QDBG_ADAROUND_NO_POLISH))
        status = qdbg__solve_single(w->ctx, &w->p, true);
    return status;
}

#define MAX_REFITS 10

/* Rows that a refit did not help go back to `before`. */
static bool keep_better(work *w, const int32_t *q, const qdbg_encoding *grids)
{
    size_t d = w->p.depth;
    bool better = false;
    for (size_t o = 0; o < w->outputs; o++) {
        if (w->losses[o] < w->least[o] * (1 - 1e-6)) {
            better = true;
            continue;
        }
        memcpy(w->p.q + o * d, q + o * d, d * sizeof *q);
        w->grids[w->grid_of[o]] = grids[w->grid_of[o]];
    }
    lay_steps(w);
    return better;
}

static void adopt_scales(work *w, const double *scales)
{
    for (size_t o = 0; o < w->outputs; o++) {
        qdbg_encoding *e = &w->grids[w->grid_of[o]];
        float scale = (float)scales[o];
        if (!(scale >= 0.5f * e->scale && scale <= 2 * e->scale) || !isnormal(scale))
            continue;
        set_scale(e, scale);
    }
    lay_steps(w);
}

static qdbg_status refit_once(work *w, int32_t *q, qdbg_encoding *grids, bool *better)
{
    memcpy(q, w->p.q, w->n * sizeof *q);
    memcpy(grids, w->grids, w->quantizer->n_grids * sizeof *grids);
    qdbg_status status = qdbg__rounding_losses(w->ctx, &w->p, w->least);
    if (status == QDBG_OK)
        status = qdbg__refit_scales(w->ctx, &w->p, w->losses);
    if (status != QDBG_OK)
        return status;
    adopt_scales(w, w->losses);
    status = qdbg__solve_single(w->ctx, &w->p, w->o->solver == QDBG_ADAROUND_RELAXED);
    if (status == QDBG_OK)
        status = qdbg__rounding_losses(w->ctx, &w->p, w->losses);
    if (status == QDBG_OK)
        *better = keep_better(w, q, grids);
    return status;
}

static qdbg_status refit(work *w)
{
    bool better = true;
    if (!(w->o->flags & QDBG_ADAROUND_REFIT_SCALE) || !w->own_grids || !has_free_scales(w) ||
        w->o->solver == QDBG_ADAROUND_NEAREST)
        return QDBG_OK;
    int32_t *q = qdbg__alloc(w->ctx, w->n, sizeof *q);
    qdbg_encoding *grids = q ? qdbg__alloc(w->ctx, w->quantizer->n_grids, sizeof *grids) : NULL;
    qdbg_status status = grids ? QDBG_OK : w->ctx->error_status;
    for (int i = 0; i < MAX_REFITS && better && status == QDBG_OK; i++)
        status = refit_once(w, q, grids, &better);
    qdbg__free(w->ctx, grids, w->quantizer->n_grids, sizeof *grids);
    qdbg__free(w->ctx, q, w->n, sizeof *q);
    return status;
}

/* ---- judging ---- */

static qdbg_status judge(work *w, const double *e, const double *delta, double *fitted,
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

/* What the simulation makes of the weights now. */
static qdbg_status find_nearest(work *w)
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
        w->p.q[i] = nearest_on(&w->steps[i], q);
    }
    return QDBG_OK;
}

static void count_moved(work *w)
{
    for (size_t i = 0; i < w->n; i++)
        w->layer->row.n_moved += w->p.q[i] != nearest_on(&w->steps[i], w->matrix[i]);
}

/* ---- results ---- */

/* Change of the shift of a BatchNormalization for one of its input. */
static qdbg_status norm_factors(work *w, double *factors)
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

static qdbg_status correct_bias(work *w)
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

static qdbg_status keep_result(work *w)
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

static qdbg_status round_layer(work *w)
{
    qdbg_adaround_row *row = &w->layer->row;
    memcpy(w->grids, w->quantizer->encodings, w->quantizer->n_grids * sizeof *w->grids);
    find_grids(w);
    lay_steps(w);
    lay_form(w);
    qdbg_status status = find_nearest(w);
    if (status == QDBG_OK)
        status = judge(w, w->nearest, NULL, &row->loss_nearest, &row->held_nearest);
    if (status == QDBG_OK)
        status = search_ranges(w);
    if (status == QDBG_OK)
        status = solve(w);
    if (status == QDBG_OK)
        status = refit(w);
    if (status != QDBG_OK)
        return status;
    find_errors(w, w->e);
    if (frees_bias(w))
        qdbg__gram_best_bias(w->fit, w->e, w->delta);
    status = judge(w, w->e, w->delta, &row->loss, &row->held_loss);
    if (status != QDBG_OK)
        return status;
    bool better =
        w->held->n > 0 ? row->held_loss <= row->held_nearest : row->loss <= row->loss_nearest;
    if (better || (w->o->flags & QDBG_ADAROUND_NO_REVERT))
        return keep_result(w);
    row->outcome = QDBG_ADAROUND_REVERTED;
    row->loss = row->loss_nearest;
    row->held_loss = row->held_nearest;
    return QDBG_OK;
}

qdbg_status qdbg__ada_round(qdbg_sim *sim, const qdbg_adaround_options *o, qdbg__ada_layer *layer,
                            const float *matrix, const qdbg__gram *fit, const qdbg__gram *held)
{
    work w = {.sim = sim,
              .ctx = sim->ctx,
              .o = o,
              .layer = layer,
              .quantizer = &sim->quantizers[layer->row.quantizer],
              .matrix = matrix,
              .fit = fit,
              .held = held,
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
