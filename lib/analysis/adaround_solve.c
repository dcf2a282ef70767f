/* Cholesky, sequential rounding, single changes, branch and bound. All in double. Rows are worked
 * on in blocks of fixed size, each by one thread. */
#include "adaround_tabu.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "../base/sort.h"

#define MAX_SWEEPS 100
#define MAX_VISITS 200000
/* A change must help by more than rounding noise, or sweeps might not end. */
#define LEAST_GAIN 1e-12

/* ---- blocks ---- */

typedef struct blocks {
    const qdbg__rounding *p;
    qdbg_ctx *ctx;
    qdbg__block_fn fn;
    const void *arg;
    size_t per_group, scratch;
    double *all_scratch;
} blocks;

static qdbg_status run_block(void *arg, uint64_t item, uint32_t worker)
{
    const blocks *b = arg;
    size_t row = item % b->per_group * QDBG__BLOCK_ROWS, left = b->p->rows - row;
    qdbg__block block = {.p = b->p,
                         .arg = b->arg,
                         .group = item / b->per_group,
                         .row = row,
                         .n = left < QDBG__BLOCK_ROWS ? left : QDBG__BLOCK_ROWS,
                         .scratch = b->all_scratch + worker * b->scratch};
    block.at = block.group * b->p->rows + row;
    b->fn(&block);
    return qdbg__cancel_wanted(b->ctx) ? QDBG_E_CANCELLED : QDBG_OK;
}

static qdbg_status told(qdbg_ctx *ctx, qdbg_status status)
{
    if (status != QDBG_E_CANCELLED)
        return status;
    qdbg_cancel_clear(ctx); /* answered, even if it was withdrawn meanwhile */
    return qdbg__fail(ctx, QDBG_E_CANCELLED, "cancelled");
}

qdbg_status qdbg__for_blocks(qdbg_ctx *ctx, const qdbg__rounding *p, qdbg__block_fn fn,
                             const void *arg, size_t scratch)
{
    blocks b = {p,       ctx, fn, arg, (p->rows + QDBG__BLOCK_ROWS - 1) / QDBG__BLOCK_ROWS,
                scratch, NULL};
    b.all_scratch = qdbg__alloc(ctx, scratch * ctx->n_threads, sizeof *b.all_scratch);
    if (!b.all_scratch)
        return ctx->error_status;
    qdbg_status status = qdbg__parallel_for(ctx, p->groups * b.per_group, run_block, &b);
    qdbg__free(ctx, b.all_scratch, scratch * ctx->n_threads, sizeof *b.all_scratch);
    return told(ctx, status);
}

/* ---- the ridge and the factor ---- */

void qdbg__rounding_damp(qdbg__rounding *p, double damping)
{
    size_t d = p->depth;
    for (size_t g = 0; g < p->groups; g++) {
        double *h = p->h + g * d * d, trace = 0;
        for (size_t i = 0; i < d; i++)
            trace += h[i * d + i];
        bool live = trace > 0 && isfinite(trace);
        p->ridge[g] = live ? damping * trace / (double)d : 1;
        if (!live)
            memset(h, 0, d * d * sizeof *h);
        for (size_t i = 0; i < d; i++)
            h[i * d + i] += p->ridge[g];
    }
}

typedef struct weighed {
    double weight;
    uint32_t index;
} weighed;

static int by_weight(const void *a, const void *b)
{
    const weighed *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight < y->weight ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

#define PANEL 64

/* Lower Cholesky factor in place, panel by panel. h is positive definite by its ridge; a pivot that
 * rounding has eaten is replaced by a small one. */
static void factorize(double *a, size_t d, double least)
{
    for (size_t k = 0; k < d; k += PANEL) {
        size_t n = d - k < PANEL ? d - k : PANEL, below = d - k - n;
        double *block = a + k * d + k;
        for (size_t j = 0; j < n; j++) {
            double *row = block + j * d;
            for (size_t i = 0; i < j; i++)
                row[j] -= row[i] * row[i];
            row[j] = sqrt(row[j] > least ? row[j] : least);
            for (size_t r = j + 1; r < n; r++) {
                double *lower = block + r * d;
                for (size_t i = 0; i < j; i++)
                    lower[j] -= lower[i] * row[i];
                lower[j] /= row[j];
            }
        }
        if (below == 0)
            return;
        double *rest = block + n * d;
        cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)below,
                    (int)n, 1.0, block, (int)d, rest, (int)d);
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)below, (int)n, -1.0, rest, (int)d,
                    1.0, rest + n, (int)d);
    }
}

typedef struct factor_job {
    qdbg__rounding *p;
    qdbg_ctx *ctx;
    weighed *sorted; /* [threads, depth] */
} factor_job;

static qdbg_status factor_group(void *arg, uint64_t g, uint32_t worker)
{
    const factor_job *j = arg;
    size_t d = j->p->depth;
    const double *h = j->p->h + g * d * d;
    double *f = j->p->factor + g * d * d;
    uint32_t *order = j->p->order + g * d;
    weighed *sorted = j->sorted + worker * d;
    for (uint32_t i = 0; i < d; i++)
        sorted[i] = (weighed){h[i * d + i], i};
    qdbg__sort(sorted, d, sizeof *sorted, by_weight);
    for (size_t i = 0; i < d; i++)
        order[i] = sorted[i].index;
    for (size_t i = 0; i < d; i++)
        for (size_t k = 0; k < d; k++)
            f[i * d + k] = h[order[i] * d + order[k]];
    factorize(f, d, j->p->ridge[g] * 1e-6);
    return qdbg__cancel_wanted(j->ctx) ? QDBG_E_CANCELLED : QDBG_OK;
}

qdbg_status qdbg__rounding_factor(qdbg_ctx *ctx, qdbg__rounding *p)
{
    factor_job j = {p, ctx, NULL};
    j.sorted = qdbg__alloc(ctx, (size_t)ctx->n_threads * p->depth, sizeof *j.sorted);
    if (!j.sorted)
        return ctx->error_status;
    qdbg_status status = qdbg__parallel_for(ctx, p->groups, factor_group, &j);
    qdbg__free(ctx, j.sorted, (size_t)ctx->n_threads * p->depth, sizeof *j.sorted);
    return told(ctx, status);
}

/* ---- sequential ---- */

/* A row whose weights are all zero stays so: its grid has no use for compensation. */
static bool is_blank(const float *w, size_t d)
{
    for (size_t k = 0; k < d; k++)
        if (w[k] != 0)
            return false;
    return true;
}

static int32_t nearest(const qdbg__step *s, double x)
{
    return (int32_t)qdbg__clamp(rint(x / (double)s->scale), s->low, s->high);
}

/* What each row would best be if any number would do, w + b H^-1, in the factor's order. */
static void find_targets(const qdbg__block *b, double *target)
{
    const qdbg__rounding *p = b->p;
    size_t d = p->depth;
    const uint32_t *order = p->order + b->group * d;
    const double *f = p->factor + b->group * d * d;
    for (size_t r = 0; r < b->n; r++)
        for (size_t k = 0; k < d; k++)
            target[r * d + k] = p->b ? p->b[(b->at + r) * d + order[k]] : 0;
    if (p->b) {
        cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)b->n,
                    (int)d, 1.0, f, (int)d, target, (int)d);
        cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, (int)b->n,
                    (int)d, 1.0, f, (int)d, target, (int)d);
    }
    for (size_t r = 0; r < b->n; r++)
        for (size_t k = 0; k < d; k++)
            target[r * d + k] += (double)p->w[(b->at + r) * d + order[k]];
}

/* With H = L L^T the loss is the sum over k of (sum over i >= k of L_ik e_i)^2: from the last index
 * to the first, each weight can answer for what those behind it have done. `carry` holds the sums
 * so far. */
static void round_in_order(const qdbg__block *b, const double *target, double *carry)
{
    const qdbg__rounding *p = b->p;
    size_t d = p->depth;
    const uint32_t *order = p->order + b->group * d;
    const double *f = p->factor + b->group * d * d;
    memset(carry, 0, b->n * d * sizeof *carry);
    for (size_t k = d; k-- > 0;) {
        const double *line = f + k * d;
        for (size_t r = 0; r < b->n; r++) {
            size_t at = (b->at + r) * d + order[k];
            double *sums = carry + r * d, t = target[r * d + k];
            p->q[at] = nearest(&p->steps[at], t - sums[k] / line[k]);
            double e = (double)p->q[at] * (double)p->steps[at].scale - t;
            for (size_t i = 0; i < k; i++)
                sums[i] += e * line[i];
        }
    }
}

/* ---- exact ---- */

typedef struct search {
    const double *f, *target;
    const qdbg__step *steps; /* of the row */
    const uint32_t *order;
    size_t d;
    uint32_t visits;
    double best;
    double e[QDBG__EXACT_DEPTH];
    int32_t q[QDBG__EXACT_DEPTH], found[QDBG__EXACT_DEPTH];
} search;

/* Weights behind k are chosen and cost `cost`; try those of k, nearest to its centre first (the
 * order of Schnorr and Euchner). */
static void descend(search *s, size_t k, double cost)
{
    const qdbg__step *step = &s->steps[s->order[k]];
    const double *line = s->f + k;
    double sum = 0, pivot = line[k * s->d], scale = (double)step->scale;
    for (size_t i = k + 1; i < s->d; i++)
        sum += line[i * s->d] * s->e[i];
    double centre = (s->target[k] - sum / pivot) / scale;
    int64_t q = nearest(step, centre * scale), up = q + 1, down = q - 1;
    while (s->visits < MAX_VISITS) {
        s->visits++;
        s->e[k] = (double)q * scale - s->target[k];
        double miss = pivot * s->e[k] + sum, total = cost + miss * miss;
        if (total >= s->best)
            return;
        s->q[k] = (int32_t)q;
        if (k > 0) {
            descend(s, k - 1, total);
        } else {
            s->best = total;
            memcpy(s->found, s->q, sizeof s->found);
        }
        bool can_up = up <= step->high, can_down = down >= step->low;
        if (!can_up && !can_down)
            return;
        bool go_up = can_up && (!can_down || (double)up - centre <= centre - (double)down);
        q = go_up ? up++ : down--;
    }
}

static void search_rows(const qdbg__block *b, const double *target)
{
    const qdbg__rounding *p = b->p;
    size_t d = p->depth;
    for (size_t r = 0; r < b->n; r++) {
        search s = {.f = p->factor + b->group * d * d,
                    .target = target + r * d,
                    .steps = p->steps + (b->at + r) * d,
                    .order = p->order + b->group * d,
                    .d = d,
                    .best = (double)INFINITY};
        descend(&s, d - 1, 0);
        for (size_t k = 0; k < d; k++)
            p->q[(b->at + r) * d + s.order[k]] = s.found[k];
    }
}

/* ---- single changes ---- */

static double value_of(const qdbg__rounding *p, size_t at)
{
    return (double)p->q[at] * (double)p->steps[at].scale;
}

/* g = e H - b for each row of a block: half the loss's gradient. */
static void find_gradients(const qdbg__block *b, double *e, double *g)
{
    const qdbg__rounding *p = b->p;
    size_t d = p->depth, start = b->at * d;
    for (size_t i = 0; i < b->n * d; i++)
        e[i] = value_of(p, start + i) - (double)p->w[start + i];
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)b->n, (int)d, (int)d, 1.0, e,
                (int)d, p->h + b->group * d * d, (int)d, 0.0, g, (int)d);
    for (size_t i = 0; i < b->n * d && p->b; i++)
        g[i] -= p->b[start + i];
}

static int32_t best_single(const qdbg__rounding *p, size_t at, double g, double h, bool neighbours)
{
    const qdbg__step *s = &p->steps[at];
    double scale = (double)s->scale, low = s->low, high = s->high;
    if (neighbours) {
        double x = (double)p->w[at] / scale;
        low = qdbg__clamp(floor(x), low, high);
        high = qdbg__clamp(ceil(x), low, high);
    }
    return (int32_t)qdbg__clamp(rint((double)p->q[at] - g / h / scale), low, high);
}

static bool sweep(const qdbg__block *b, size_t row, double *g, bool neighbours)
{
    const qdbg__rounding *p = b->p;
    size_t d = p->depth;
    const double *h = p->h + b->group * d * d;
    bool changed = false;
    for (size_t k = 0; k < d; k++) {
        size_t at = (b->at + row) * d + k;
        double diagonal = h[k * d + k];
        int32_t q = best_single(p, at, g[k], diagonal, neighbours);
        double step = ((double)q - (double)p->q[at]) * (double)p->steps[at].scale;
        double gain = -(2 * g[k] + step * diagonal) * step;
        if (q == p->q[at] || !(gain > LEAST_GAIN * diagonal * step * step))
            continue;
        p->q[at] = q;
        changed = true;
        for (size_t i = 0; i < d; i++)
            g[i] += step * h[k * d + i];
    }
    return changed;
}

static void change_single(const qdbg__block *b, double *scratch, bool neighbours)
{
    size_t d = b->p->depth;
    double *g = scratch + b->n * d;
    find_gradients(b, scratch, g);
    for (size_t r = 0; r < b->n; r++)
        for (int n = 0; n < MAX_SWEEPS && sweep(b, r, g + r * d, neighbours); n++)
            ;
}

static void single_block(const qdbg__block *b)
{
    change_single(b, b->scratch, *(const bool *)b->arg);
}

qdbg_status qdbg__solve_single(qdbg_ctx *ctx, qdbg__rounding *p, bool neighbours)
{
    return qdbg__for_blocks(ctx, p, single_block, &neighbours,
                            2 * QDBG__BLOCK_ROWS * (size_t)p->depth);
}

static void blank_rows(const qdbg__block *b)
{
    size_t d = b->p->depth;
    for (size_t r = 0; r < b->n; r++)
        if (is_blank(b->p->w + (b->at + r) * d, d))
            memset(b->p->q + (b->at + r) * d, 0, d * sizeof *b->p->q);
}

/* Single changes first, for they are quick, and again where the search has been elsewhere. */
static void improve(const qdbg__block *b)
{
    size_t d = b->p->depth;
    double *g = b->scratch + b->n * d, *room = b->scratch + 2 * QDBG__BLOCK_ROWS * d;
    change_single(b, b->scratch, false);
    for (size_t r = 0; r < b->n; r++) {
        size_t at = (b->at + r) * d;
        qdbg__tabu_row(b->p->steps + at, b->p->h + b->group * d * d, d, b->p->q + at, g + r * d,
                       room);
    }
    change_single(b, b->scratch, false);
}

static void sequential_block(const qdbg__block *b)
{
    double *target = b->scratch, *carry = target + b->n * b->p->depth;
    find_targets(b, target);
    if (b->p->depth <= QDBG__EXACT_DEPTH) {
        search_rows(b, target);
    } else {
        round_in_order(b, target, carry);
        improve(b);
    }
    blank_rows(b);
}

qdbg_status qdbg__solve_sequential(qdbg_ctx *ctx, qdbg__rounding *p)
{
    return qdbg__for_blocks(ctx, p, sequential_block, NULL,
                            2 * QDBG__BLOCK_ROWS * (size_t)p->depth + qdbg__tabu_scratch(p->depth));
}

/* ---- losses and scales ---- */

static void block_losses(const qdbg__block *b)
{
    const qdbg__rounding *p = b->p;
    size_t d = p->depth;
    double *e = b->scratch, *g = e + b->n * d, *losses = *(double *const *)b->arg;
    find_gradients(b, e, g);
    for (size_t r = 0; r < b->n; r++) {
        losses[b->at + r] = 0;
        for (size_t k = 0; k < d; k++) /* e H e - 2 e b */
            losses[b->at + r] +=
                e[r * d + k] * (g[r * d + k] - (p->b ? p->b[(b->at + r) * d + k] : 0));
    }
}

qdbg_status qdbg__rounding_losses(qdbg_ctx *ctx, const qdbg__rounding *p, double *losses)
{
    return qdbg__for_blocks(ctx, p, block_losses, &losses, 2 * QDBG__BLOCK_ROWS * (size_t)p->depth);
}

/* With u = q H, the loss over the scale s is s^2 q.u - 2 s (w.u + q.b) + c. */
static void block_scales(const qdbg__block *b)
{
    const qdbg__rounding *p = b->p;
    size_t d = p->depth, start = b->at * d;
    double *q = b->scratch, *u = q + b->n * d, *scales = *(double *const *)b->arg;
    for (size_t i = 0; i < b->n * d; i++)
        q[i] = (double)p->q[start + i];
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)b->n, (int)d, (int)d, 1.0, q,
                (int)d, p->h + b->group * d * d, (int)d, 0.0, u, (int)d);
    for (size_t r = 0; r < b->n; r++) {
        double square = 0, mixed = 0;
        for (size_t i = r * d; i < (r + 1) * d; i++) {
            square += q[i] * u[i];
            mixed += (double)p->w[start + i] * u[i] + (p->b ? q[i] * p->b[start + i] : 0);
        }
        scales[b->at + r] = square > 0 ? mixed / square : 0;
    }
}

qdbg_status qdbg__refit_scales(qdbg_ctx *ctx, const qdbg__rounding *p, double *scales)
{
    return qdbg__for_blocks(ctx, p, block_scales, &scales, 2 * QDBG__BLOCK_ROWS * (size_t)p->depth);
}
