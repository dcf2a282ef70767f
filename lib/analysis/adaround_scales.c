/* Grids of a layer's weights, and better scales for them. */
#include <math.h>
#include <string.h>

#include "adaround_work.h"

#define MAX_REFITS 10

/* ---- grids ---- */

uint32_t qdbg__ada_grid_index(const qdbg__ada_work *w, size_t element)
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

void qdbg__ada_find_grids(qdbg__ada_work *w)
{
    const qdbg__linear *l = &w->layer->linear;
    w->by_row = true;
    for (size_t o = 0; o < w->outputs; o++) {
        w->grid_of[o] =
            qdbg__ada_grid_index(w, qdbg__linear_weight(l, o / l->rows, o % l->rows, 0));
        for (size_t k = 1; k < l->depth && w->by_row; k++)
            w->by_row = qdbg__ada_grid_index(w, qdbg__linear_weight(l, o / l->rows, o % l->rows,
                                                                    k)) == w->grid_of[o];
    }
    w->own_grids = w->by_row && w->quantizer->n_grids == w->outputs;
}

void qdbg__ada_lay_steps(qdbg__ada_work *w)
{
    const qdbg__linear *l = &w->layer->linear;
    for (size_t i = 0; i < w->n; i++) {
        size_t o = i / l->depth,
               at = qdbg__linear_weight(l, o / l->rows, o % l->rows, i % l->depth);
        const qdbg_encoding *e = &w->grids[w->by_row ? w->grid_of[o] : qdbg__ada_grid_index(w, at)];
        w->steps[i] = (qdbg__step){e->scale, e->qmin - e->zero_point, e->qmax - e->zero_point};
    }
}

void qdbg__ada_round_nearest(qdbg__ada_work *w)
{
    for (size_t i = 0; i < w->n; i++)
        w->p.q[i] = qdbg__ada_nearest_on(&w->steps[i], w->matrix[i]);
}

/* ---- ranges: sequential MSE ---- */

static void sum_by_grid(const qdbg__ada_work *w, const double *of_rows, double *of_grids)
{
    for (uint32_t g = 0; g < w->quantizer->n_grids; g++)
        of_grids[g] = 0;
    for (size_t o = 0; o < w->outputs; o++)
        of_grids[w->grid_of[o]] += of_rows[o];
}

void qdbg__ada_set_scale(qdbg_encoding *e, float scale)
{
    e->scale = scale;
    e->min = (float)(e->qmin - e->zero_point) * scale;
    e->max = (float)(e->qmax - e->zero_point) * scale;
}

static bool is_power_of_two(const qdbg__ada_work *w)
{
    return (w->quantizer->spec.flags & QDBG_SPEC_POWER_OF_TWO) != 0;
}

/* May the scales be changed one by one? */
static bool has_free_scales(const qdbg__ada_work *w)
{
    return w->quantizer->spec.block_scale_bits == 0;
}

double qdbg__ada_allowed(const qdbg__ada_work *w, double factor)
{
    return is_power_of_two(w) ? exp2(rint(log2(factor))) : factor;
}

/* Both ends drawn in alike: the zero point stays. */
static void take_candidate(const qdbg__ada_work *w, double part)
{
    for (uint32_t g = 0; g < w->quantizer->n_grids; g++) {
        w->grids[g] = w->quantizer->encodings[g];
        float scale = (float)((double)w->grids[g].scale * part);
        if (isnormal(scale))
            qdbg__ada_set_scale(&w->grids[g], scale);
    }
}

/* `best` receives the best encodings: [n_grids]; `sums` is room for 2 n_grids numbers. */
static qdbg_status try_candidates(qdbg__ada_work *w, qdbg_encoding *best, double *sums)
{
    uint32_t n = w->o->range_candidates, n_grids = w->quantizer->n_grids;
    double *least = sums + n_grids, last = 0;
    for (uint32_t k = n; k > 0; k--) {
        double part = qdbg__ada_allowed(w, (double)k / (double)n);
        if (part == last)
            continue;
        last = part;
        if (k < n)
            take_candidate(w, part);
        qdbg__ada_lay_steps(w);
        qdbg__ada_round_nearest(w);
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

static qdbg_status search_by_row(qdbg__ada_work *w)
{
    uint32_t n_grids = w->quantizer->n_grids;
    qdbg_encoding *best = qdbg__alloc(w->ctx, n_grids, sizeof *best);
    double *sums = best ? qdbg__alloc(w->ctx, 2 * (size_t)n_grids, sizeof *sums) : NULL;
    qdbg_status status = sums ? try_candidates(w, best, sums) : w->ctx->error_status;
    if (status == QDBG_OK)
        memcpy(w->grids, best, n_grids * sizeof *best);
    qdbg__free(w->ctx, sums, 2 * (size_t)n_grids, sizeof *sums);
    qdbg__free(w->ctx, best, n_grids, sizeof *best);
    return status;
}

qdbg_status qdbg__ada_search_ranges(qdbg__ada_work *w)
{
    uint32_t n = w->o->range_candidates;
    if (n == 0)
        return QDBG_OK;
    if (!has_free_scales(w)) {
        w->layer->row.scales |= QDBG_ADAROUND_SCALES_LEFT;
        return QDBG_OK;
    }
    w->layer->row.scales |= QDBG_ADAROUND_SCALES_SEARCHED;
    qdbg_status status = w->by_row ? search_by_row(w) : qdbg__ada_search_by_grid(w, n);
    if (status == QDBG_OK) {
        qdbg__ada_lay_steps(w);
        qdbg__ada_round_nearest(w);
    }
    return status;
}

/* ---- refit ---- */

float qdbg__ada_refitted(const qdbg__ada_work *w, const qdbg_encoding *e, double scale)
{
    double factor = scale / (double)e->scale;
    if (!(factor >= 0.5 && factor <= 2))
        return e->scale;
    float fitted = (float)((double)e->scale * qdbg__ada_allowed(w, factor));
    return isnormal(fitted) ? fitted : e->scale;
}

/* Rows that a refit did not help go back to `before`. */
static bool keep_better(qdbg__ada_work *w, const int32_t *q, const qdbg_encoding *grids)
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
    qdbg__ada_lay_steps(w);
    return better;
}

static void adopt_scales(qdbg__ada_work *w, const double *scales)
{
    for (size_t o = 0; o < w->outputs; o++) {
        qdbg_encoding *e = &w->grids[w->grid_of[o]];
        float scale = qdbg__ada_refitted(w, e, scales[o]);
        qdbg__ada_set_scale(e, scale);
    }
    qdbg__ada_lay_steps(w);
}

static qdbg_status refit_once(qdbg__ada_work *w, int32_t *q, qdbg_encoding *grids, bool *better)
{
    memcpy(q, w->p.q, w->n * sizeof *q);
    memcpy(grids, w->grids, w->quantizer->n_grids * sizeof *grids);
    qdbg_status status = qdbg__rounding_losses(w->ctx, &w->p, w->least);
    if (status == QDBG_OK)
        status = qdbg__refit_scales(w->ctx, &w->p, w->losses);
    if (status != QDBG_OK)
        return status;
    adopt_scales(w, w->losses);
    status = qdbg__solve_single(w->ctx, &w->p, w->o->solver != QDBG_ADAROUND_SEQUENTIAL);
    if (status == QDBG_OK)
        status = qdbg__rounding_losses(w->ctx, &w->p, w->losses);
    if (status == QDBG_OK)
        *better = keep_better(w, q, grids);
    return status;
}

static qdbg_status refit_by_row(qdbg__ada_work *w)
{
    bool better = true;
    int32_t *q = qdbg__alloc(w->ctx, w->n, sizeof *q);
    qdbg_encoding *grids = q ? qdbg__alloc(w->ctx, w->quantizer->n_grids, sizeof *grids) : NULL;
    qdbg_status status = grids ? QDBG_OK : w->ctx->error_status;
    for (int i = 0; i < MAX_REFITS && better && status == QDBG_OK; i++)
        status = refit_once(w, q, grids, &better);
    qdbg__free(w->ctx, grids, w->quantizer->n_grids, sizeof *grids);
    qdbg__free(w->ctx, q, w->n, sizeof *q);
    return status;
}

/* Both steps of a round only ever make the loss less. */
static qdbg_status refit_by_grid(qdbg__ada_work *w)
{
    bool better = true;
    qdbg_status status = QDBG_OK;
    for (int i = 0; i < MAX_REFITS && better && status == QDBG_OK; i++) {
        status = qdbg__ada_refit_grids(w, &better);
        qdbg__ada_lay_steps(w);
        if (status == QDBG_OK && better)
            status = qdbg__solve_single(w->ctx, &w->p, w->o->solver != QDBG_ADAROUND_SEQUENTIAL);
    }
    return status;
}

qdbg_status qdbg__ada_refit(qdbg__ada_work *w)
{
    if (!(w->o->flags & QDBG_ADAROUND_REFIT_SCALE))
        return QDBG_OK;
    bool by_form = w->o->solver != QDBG_ADAROUND_NEAREST && !qdbg__ada_bends(w);
    if (!by_form || !has_free_scales(w)) {
        w->layer->row.scales |= QDBG_ADAROUND_SCALES_LEFT;
        return QDBG_OK;
    }
    w->layer->row.scales |= QDBG_ADAROUND_SCALES_REFITTED;
    return w->own_grids ? refit_by_row(w) : refit_by_grid(w);
}
