/* Scales one grid at a time, for layers whose grids do not follow their rows: blocks, channels of
 * the input, one scale for all. With g = e H - b a change of e by d changes the loss by
 * d (2 g + d H)^T. */
#include <cblas.h>
#include <string.h>

#include "adaround_work.h"

/* Elements of the matrix sorted by grid, and what stands now. */
typedef struct cells {
    qdbg__ada_work *w;
    size_t *first;     /* [n_grids + 1] */
    uint32_t *element; /* [n] */
    double *g, *e;     /* [n] */
    double *d, *best;  /* [n] changes of the grid at hand */
} cells;

static void *take(const cells *c, bool *good, size_t n, size_t size)
{
    void *p = *good ? qdbg__alloc(c->w->ctx, n, size) : NULL;
    *good = p != NULL;
    return p;
}

static void sort_elements(cells *c)
{
    const qdbg__ada_work *w = c->w;
    const qdbg__linear *l = &w->layer->linear;
    uint32_t n_grids = w->quantizer->n_grids;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < w->n; i++) {
            size_t o = i / l->depth, at;
            at = qdbg__linear_weight(l, o / l->rows, o % l->rows, i % l->depth);
            uint32_t grid = qdbg__ada_grid_index(w, at);
            if (pass == 0)
                c->first[grid + 1]++;
            else
                c->element[c->first[grid]++] = (uint32_t)i;
        }
        for (uint32_t g = 0; g < n_grids && pass == 0; g++)
            c->first[g + 1] += c->first[g];
    }
    for (uint32_t g = n_grids; g > 0; g--) /* they have moved on by one */
        c->first[g] = c->first[g - 1];
    c->first[0] = 0;
}

static qdbg_status open_cells(cells *c, qdbg__ada_work *w)
{
    bool good = w->n <= UINT32_MAX;
    *c = (cells){.w = w};
    if (!good)
        return qdbg__fail(w->ctx, QDBG_E_LIMIT, "a layer has more than 2^32 weights");
    c->first = take(c, &good, (size_t)w->quantizer->n_grids + 1, sizeof *c->first);
    c->element = take(c, &good, w->n, sizeof *c->element);
    c->g = take(c, &good, w->n, sizeof *c->g);
    c->e = take(c, &good, w->n, sizeof *c->e);
    c->d = take(c, &good, w->n, sizeof *c->d);
    c->best = take(c, &good, w->n, sizeof *c->best);
    if (!good)
        return w->ctx->error_status;
    sort_elements(c);
    return QDBG_OK;
}

static void close_cells(cells *c)
{
    qdbg_ctx *ctx = c->w->ctx;
    qdbg__free(ctx, c->first, (size_t)c->w->quantizer->n_grids + 1, sizeof *c->first);
    qdbg__free(ctx, c->element, c->w->n, sizeof *c->element);
    qdbg__free(ctx, c->g, c->w->n, sizeof *c->g);
    qdbg__free(ctx, c->e, c->w->n, sizeof *c->e);
    qdbg__free(ctx, c->d, c->w->n, sizeof *c->d);
    qdbg__free(ctx, c->best, c->w->n, sizeof *c->best);
}

static void find_gradient(const cells *c)
{
    const qdbg__rounding *p = &c->w->p;
    int rows = (int)p->rows, d = (int)p->depth;
    for (size_t i = 0; i < c->w->n; i++)
        c->e[i] = (double)((float)p->q[i] * p->steps[i].scale) - (double)p->w[i];
    for (size_t g = 0; g < p->groups; g++) {
        size_t at = g * p->rows * p->depth;
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, d, d, 1.0, c->e + at, d,
                    p->h + g * p->depth * p->depth, d, 0.0, c->g + at, d);
    }
    for (size_t i = 0; i < c->w->n && p->b; i++)
        c->g[i] -= p->b[i];
}

/* Elements of a grid in one row end where this says. */
static size_t row_end(const cells *c, size_t from, size_t end)
{
    size_t depth = c->w->p.depth, row = c->element[from] / depth;
    while (from < end && c->element[from] / depth == row)
        from++;
    return from;
}

static const double *line_of(const cells *c, size_t element)
{
    const qdbg__rounding *p = &c->w->p;
    size_t group = element / p->depth / p->rows;
    return p->h + (group * p->depth + element % p->depth) * p->depth;
}

/* By how much changes d, indexed as elements are, would change the loss. */
static double price(const cells *c, const double *d, size_t first, size_t end)
{
    size_t depth = c->w->p.depth;
    double total = 0;
    for (size_t from = first, to; from < end; from = to) {
        to = row_end(c, from, end);
        for (size_t i = from; i < to; i++) {
            const double *line = line_of(c, c->element[i]);
            double sum = 2 * c->g[c->element[i]];
            if (d[i] == 0)
                continue;
            for (size_t k = from; k < to; k++)
                sum += d[k] * line[c->element[k] % depth];
            total += d[i] * sum;
        }
    }
    return total;
}

static void commit(const cells *c, const double *d, size_t first, size_t end)
{
    size_t depth = c->w->p.depth;
    for (size_t i = first; i < end; i++) {
        size_t at = c->element[i];
        const double *line = line_of(c, at);
        double *g = c->g + at / depth * depth;
        c->e[at] += d[i];
        for (size_t k = 0; k < depth && d[i] != 0; k++)
            g[k] += d[i] * line[k];
    }
}

static bool stop(const cells *c)
{
    return qdbg__cancel_wanted(c->w->ctx);
}

static qdbg_status told(const cells *c, bool stopped)
{
    if (!stopped)
        return QDBG_OK;
    qdbg_cancel_clear(c->w->ctx); /* answered, even if it was withdrawn meanwhile */
    return qdbg__fail(c->w->ctx, QDBG_E_CANCELLED, "cancelled");
}

/* ---- ranges ---- */

static void round_on(const cells *c, uint32_t grid, float scale)
{
    const qdbg__ada_work *w = c->w;
    for (size_t i = c->first[grid]; i < c->first[grid + 1]; i++) {
        size_t at = c->element[i];
        qdbg__step s = {scale, w->steps[at].low, w->steps[at].high};
        float value = (float)qdbg__ada_nearest_on(&s, w->matrix[at]) * scale;
        c->d[i] = (double)value - (double)w->matrix[at] - c->e[at];
    }
}

static void search_grid(const cells *c, uint32_t grid, uint32_t n)
{
    qdbg_encoding *e = &c->w->grids[grid];
    float found = e->scale;
    double least = 0, last = 1;
    size_t first = c->first[grid], end = c->first[grid + 1];
    for (uint32_t k = n - 1; k > 0; k--) {
        double part = qdbg__ada_allowed(c->w, (double)k / (double)n);
        float scale = (float)((double)e->scale * part);
        if (part == last || !isnormal(scale))
            continue;
        last = part;
        round_on(c, grid, scale);
        double change = price(c, c->d, first, end);
        if (!(change < least))
            continue;
        least = change;
        found = scale;
        memcpy(c->best + first, c->d + first, (end - first) * sizeof *c->d);
    }
    if (found == e->scale)
        return;
    qdbg__ada_set_scale(e, found);
    commit(c, c->best, first, end);
}

qdbg_status qdbg__ada_search_by_grid(qdbg__ada_work *w, uint32_t candidates)
{
    cells c;
    bool stopped = false;
    qdbg_status status = open_cells(&c, w);
    if (status == QDBG_OK) {
        qdbg__ada_round_nearest(w);
        find_gradient(&c);
    }
    for (uint32_t g = 0; g < w->quantizer->n_grids && status == QDBG_OK && !stopped; g++) {
        search_grid(&c, g, candidates);
        stopped = stop(&c);
    }
    close_cells(&c);
    return status == QDBG_OK ? told(&c, stopped) : status;
}

/* ---- refit ---- */

/* The loss over the scale s of a grid with integers q is a parabola: g q^T + (s - s0) q H q^T is
 * zero at its lowest point. */
static bool refit_grid(const cells *c, uint32_t grid)
{
    qdbg__ada_work *w = c->w;
    qdbg_encoding *e = &w->grids[grid];
    size_t first = c->first[grid], end = c->first[grid + 1];
    double slope = 0;
    for (size_t i = first; i < end; i++) {
        c->d[i] = (double)w->p.q[c->element[i]];
        slope += 2 * c->d[i] * c->g[c->element[i]];
    }
    double curve = price(c, c->d, first, end) - slope;
    float scale = e->scale;
    if (curve > 0)
        scale = qdbg__ada_refitted(w, e, (double)scale - slope / curve / 2);
    if (scale == e->scale)
        return false;
    for (size_t i = first; i < end; i++) {
        size_t at = c->element[i];
        c->d[i] = (double)((float)w->p.q[at] * scale) - (double)w->matrix[at] - c->e[at];
    }
    if (!(price(c, c->d, first, end) < -1e-9 * curve * (double)e->scale * (double)e->scale))
        return false;
    qdbg__ada_set_scale(e, scale);
    commit(c, c->d, first, end);
    return true;
}

qdbg_status qdbg__ada_refit_grids(qdbg__ada_work *w, bool *better)
{
    cells c;
    bool stopped = false;
    qdbg_status status = open_cells(&c, w);
    *better = false;
    if (status == QDBG_OK)
        find_gradient(&c);
    for (uint32_t g = 0; g < w->quantizer->n_grids && status == QDBG_OK && !stopped; g++) {
        *better = refit_grid(&c, g) || *better;
        stopped = stop(&c);
    }
    close_cells(&c);
    return status == QDBG_OK ? told(&c, stopped) : status;
}
