/* Products of columns, cut into tiles of fixed size: each is summed by one thread in a fixed order,
 * so that the thread count does not show. */
#include "adaround_gram_sum.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#define TILE 128
#define ROW_TILE 64

size_t qdbg__gram_scratch(const qdbg__linear *l, size_t n)
{
    size_t depth = l->depth < TILE ? l->depth : TILE,
           rows = l->rows < ROW_TILE ? l->rows : ROW_TILE;
    size_t square = depth * depth, rectangle = rows * (n + l->depth);
    return square > rectangle ? square : rectangle;
}

static size_t tiles(size_t n, size_t tile)
{
    return (n + tile - 1) / tile;
}

typedef struct sum {
    qdbg__gatherer *t;
    float *seen, *other; /* [groups, n, depth]: x^, and x - x^ or NULL */
    size_t n;            /* columns in the buffers */
    size_t pairs, bands; /* tiles of one group's h and b */
} sum;

/* ---- columns made ready ---- */

static bool finite_column(const sum *s, size_t column)
{
    size_t depth = s->t->linear.depth;
    for (size_t g = 0; g < s->t->linear.groups; g++) {
        const float *x = s->seen + (g * s->n + column) * depth, *y = NULL;
        float all = 0; /* stays 0 but for NaN and infinity */
        if (s->other)
            y = s->other + (g * s->n + column) * depth;
        for (size_t k = 0; k < depth; k++)
            all += x[k] * 0.0f + (y ? y[k] * 0.0f : 0.0f);
        if (all != 0 || isnan(all))
            return false;
    }
    return true;
}

static void prepare_column(const sum *s, size_t column)
{
    const qdbg__gatherer *t = s->t;
    size_t depth = t->linear.depth;
    bool good = t->spoilt[column] == 0;
    for (size_t g = 0; g < t->linear.groups; g++) {
        size_t at = (g * s->n + column) * depth;
        for (size_t k = 0; k < depth; k++) {
            if (s->other)
                s->other[at + k] = good ? s->other[at + k] - s->seen[at + k] : 0.0f;
            s->seen[at + k] = good ? s->seen[at + k] - t->shift[g * depth + k] : 0.0f;
        }
    }
}

static qdbg_status check_run(void *arg, uint64_t slot, uint32_t worker)
{
    const sum *s = arg;
    size_t per_run = s->t->per_run;
    (void)worker;
    for (size_t c = slot * per_run; c < (slot + 1) * per_run; c++)
        if (s->t->spoilt[c] == 0 && !finite_column(s, c))
            s->t->spoilt[c] = 2;
    return QDBG_OK;
}

static qdbg_status prepare_run(void *arg, uint64_t slot, uint32_t worker)
{
    const sum *s = arg;
    size_t per_run = s->t->per_run;
    (void)worker;
    for (size_t c = slot * per_run; c < (slot + 1) * per_run; c++)
        prepare_column(s, c);
    return QDBG_OK;
}

static void count(qdbg__gram *m, const uint8_t *spoilt, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        m->n += spoilt[i] == 0;
        m->n_nonfinite += spoilt[i] == 2;
    }
}

/* Any shift will do that is near the mean: that of the first columns. */
static void choose_shift(const sum *s, size_t n_fit)
{
    qdbg__gatherer *t = s->t;
    size_t depth = t->linear.depth;
    for (size_t i = 0; i < t->linear.groups * depth; i++) {
        const float *x = s->seen + (i / depth * s->n) * depth + i % depth;
        double total = 0;
        size_t n = 0;
        for (size_t c = 0; c < n_fit; c++)
            if (t->spoilt[c] == 0) {
                total += (double)x[c * depth];
                n++;
            }
        t->shift[i] = n > 0 ? (float)(total / (double)n) : 0.0f;
        t->shifted = t->shifted || n > 0;
    }
}

/* ---- columns kept ---- */

/* Before they are made ready. Held-out columns lie at the end. */
static qdbg_status keep_columns(const sum *s, size_t n_fit, size_t n_held)
{
    qdbg__gatherer *t = s->t;
    qdbg__sample_batch b = {.linear = &t->linear,
                            .weight = t->weight,
                            .x = s->seen,
                            .plain = t->x[0],
                            .stride = s->n,
                            .n = n_fit,
                            .spoilt = t->spoilt,
                            .scratch = t->scratch,
                            .n_scratch = t->n_scratch};
    qdbg_status status = qdbg__samples_take(&t->samples, &t->samples.fit, &b);
    b.first = s->n - n_held;
    b.n = n_held;
    return status == QDBG_OK ? qdbg__samples_take(&t->samples, &t->samples.held, &b) : status;
}

/* ---- products ---- */

/* One part of the buffers: the columns that are fitted to, or those held out. */
typedef struct part {
    qdbg__gram *gram;
    size_t first, n;
} part;

static void add_square(const sum *s, const part *p, size_t g, size_t i, size_t j, float *tile)
{
    size_t d = s->t->linear.depth;
    const float *x = s->seen + (g * s->n + p->first) * d;
    size_t ni = d - i < TILE ? d - i : TILE, nj = d - j < TILE ? d - j : TILE;
    double *h = p->gram->h + g * d * d;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)ni, (int)nj, (int)p->n, 1.0f, x + i,
                (int)d, x + j, (int)d, 0.0f, tile, (int)nj);
    for (size_t a = 0; a < ni; a++)
        for (size_t b = 0; b < nj; b++)
            h[(i + a) * d + j + b] += (double)tile[a * nj + b];
    double *mu = p->gram->mu + g * d;
    for (size_t c = 0; c < p->n && i == j; c++)
        for (size_t a = 0; a < ni; a++)
            mu[i + a] += (double)x[c * d + i + a];
}

/* r of some output channels, its sums, and its products with x^. */
static void add_band(const sum *s, const part *p, size_t g, size_t row, float *scratch)
{
    size_t d = s->t->linear.depth, rows = s->t->linear.rows;
    size_t at = (g * s->n + p->first) * d, nr = rows - row < ROW_TILE ? rows - row : ROW_TILE;
    const float *w = s->t->weight + (g * rows + row) * d;
    float *r = scratch, *product = scratch + nr * p->n;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)p->n, (int)nr, (int)d, 1.0f,
                s->other + at, (int)d, w, (int)d, 0.0f, r, (int)nr);
    double *mean = p->gram->r_mean + g * rows + row, *var = p->gram->r_var + g * rows + row;
    for (size_t c = 0; c < p->n; c++)
        for (size_t a = 0; a < nr; a++) {
            mean[a] += (double)r[c * nr + a];
            var[a] += (double)r[c * nr + a] * (double)r[c * nr + a];
        }
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)nr, (int)d, (int)p->n, 1.0f, r,
                (int)nr, s->seen + at, (int)d, 0.0f, product, (int)d);
    double *b = p->gram->b + (g * rows + row) * d;
    for (size_t i = 0; i < nr * d; i++)
        b[i] += (double)product[i];
}

/* Tile number `pair` of the lower triangle, row by row. */
static void find_pair(size_t pair, size_t *i, size_t *j)
{
    size_t row = 0;
    while (pair > row) {
        pair -= row + 1;
        row++;
    }
    *i = row * TILE;
    *j = pair * TILE;
}

static qdbg_status add_tile(void *arg, uint64_t item, uint32_t worker)
{
    const sum *s = arg;
    qdbg__gatherer *t = s->t;
    size_t group = item / (s->pairs + s->bands), k = item % (s->pairs + s->bands), i, j;
    size_t n_held = (size_t)t->n_held * t->per_run;
    part parts[2] = {{&t->fit, 0, (size_t)t->n_fit * t->per_run},
                     {&t->held, s->n - n_held, n_held}};
    float *scratch = t->scratch + worker * t->n_scratch;
    for (int p = 0; p < 2; p++) {
        if (parts[p].n == 0)
            continue;
        if (k >= s->pairs) {
            add_band(s, &parts[p], group, (k - s->pairs) * ROW_TILE, scratch);
            continue;
        }
        find_pair(k, &i, &j);
        add_square(s, &parts[p], group, i, j, scratch);
    }
    return qdbg__cancel_wanted(t->ctx) ? QDBG_E_CANCELLED : QDBG_OK;
}

qdbg_status qdbg__gram_sum(qdbg__gatherer *t)
{
    sum s = {.t = t, .n = (size_t)QDBG__GRAM_RUNS * t->per_run};
    size_t side = tiles(t->linear.depth, TILE), n_fit = (size_t)t->n_fit * t->per_run;
    s.seen = t->x[1] ? t->x[1] : t->x[0];
    s.other = t->x[1] ? t->x[0] : NULL;
    s.pairs = side * (side + 1) / 2;
    s.bands = s.other ? tiles(t->linear.rows, ROW_TILE) : 0;
    qdbg_status status = qdbg__parallel_for(t->ctx, QDBG__GRAM_RUNS, check_run, &s);
    if (status != QDBG_OK)
        return status;
    count(&t->fit, t->spoilt, n_fit);
    count(&t->held, t->spoilt + s.n - (size_t)t->n_held * t->per_run,
          (size_t)t->n_held * t->per_run);
    if (t->samples.ctx)
        status = keep_columns(&s, n_fit, (size_t)t->n_held * t->per_run);
    if (status != QDBG_OK)
        return status;
    if (!t->shifted)
        choose_shift(&s, n_fit);
    status = qdbg__parallel_for(t->ctx, QDBG__GRAM_RUNS, prepare_run, &s);
    if (status == QDBG_OK)
        status = qdbg__parallel_for(t->ctx, t->linear.groups * (s.pairs + s.bands), add_tile, &s);
    if (status == QDBG_E_CANCELLED) {
        qdbg_cancel_clear(t->ctx); /* answered, even if it was withdrawn meanwhile */
        return qdbg__fail(t->ctx, QDBG_E_CANCELLED, "cancelled");
    }
    return status;
}

/* ---- the loss ---- */

#define LOSS_ROWS 16

typedef struct loss_job {
    const qdbg__gram *gram;
    const double *e, *delta;
    size_t blocks;   /* of a group's rows */
    double *of;      /* [groups * blocks] */
    double *scratch; /* [threads, LOSS_ROWS * depth] */
} loss_job;

static double row_loss(const loss_job *j, size_t o, const double *eh)
{
    const qdbg__gram *m = j->gram;
    const double *e = j->e + o * m->depth, *mu = m->mu + o / m->rows * m->depth;
    double square = 0, mixed = 0, mean = j->delta ? j->delta[o] : 0;
    for (size_t k = 0; k < m->depth; k++) {
        square += e[k] * eh[k];
        mixed += m->b ? e[k] * m->b[o * m->depth + k] : 0;
        mean += e[k] * mu[k];
    }
    if (m->b) {
        square += m->r_var[o] - 2 * mixed;
        mean -= m->r_mean[o];
    }
    return fmax(square, 0) + mean * mean;
}

static qdbg_status add_loss(void *arg, uint64_t item, uint32_t worker)
{
    const loss_job *j = arg;
    const qdbg__gram *m = j->gram;
    size_t d = m->depth, g = item / j->blocks, row = item % j->blocks * LOSS_ROWS;
    size_t n = m->rows - row < LOSS_ROWS ? m->rows - row : LOSS_ROWS, o = g * m->rows + row;
    double *eh = j->scratch + worker * LOSS_ROWS * d;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)d, (int)d, 1.0,
                j->e + o * d, (int)d, m->h + g * d * d, (int)d, 0.0, eh, (int)d);
    for (size_t i = 0; i < n; i++)
        j->of[item] += row_loss(j, o + i, eh + i * d);
    return QDBG_OK;
}

qdbg_status qdbg__gram_loss(qdbg_ctx *ctx, const qdbg__gram *gram, const double *e,
                            const double *delta, double *loss)
{
    loss_job j = {gram, e, delta, tiles(gram->rows, LOSS_ROWS), NULL, NULL};
    size_t n = gram->groups * j.blocks, scratch = ctx->n_threads * LOSS_ROWS * gram->depth;
    if (gram->n == 0) {
        *loss = 0;
        return QDBG_OK;
    }
    j.of = qdbg__alloc(ctx, n, sizeof *j.of);
    j.scratch = j.of ? qdbg__alloc(ctx, scratch, sizeof *j.scratch) : NULL;
    qdbg_status status = j.scratch ? qdbg__parallel_for(ctx, n, add_loss, &j) : ctx->error_status;
    for (size_t i = 1; i < n && status == QDBG_OK; i++)
        j.of[0] += j.of[i];
    if (status == QDBG_OK)
        *loss = j.of[0];
    qdbg__free(ctx, j.scratch, scratch, sizeof *j.scratch);
    qdbg__free(ctx, j.of, n, sizeof *j.of);
    return status;
}
