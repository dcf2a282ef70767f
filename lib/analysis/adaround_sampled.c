/* "Up or Down?", equations 21 to 25: the relaxation of section 3.2 on mini-batches of columns, for
 * the loss behind the activation. Blocks of rows go their ways alone, but for the columns of a
 * step, which are the same for all of them. */
#include "adaround_sampled.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "adaround_soft.h"

#define LANES QDBG__BLOCK_ROWS
#define STRETCH 1024      /* columns at once where all are looked at */
#define REPORTS 20        /* of progress in a layer */
#define BIAS_RATE 0.1f    /* of a step of the bias where it sees but a part of the columns */
#define LEAST_SLOPE 0.05f /* of the activation, as far as the bias is concerned */
#define BIAS_TRIALS 12

/* ---- behind the activation ---- */

/* A block's channels, padded to LANES with channels that are always zero. */
typedef struct bend {
    float gain[LANES], offset[LANES], slope[LANES], low[LANES], high[LANES], delta[LANES];
} bend;

static void read_bend(const qdbg__activation *f, const qdbg__block *b, const double *delta, bend *x)
{
    memset(x, 0, sizeof *x);
    for (size_t i = 0; i < b->n; i++) {
        size_t o = b->at + i;
        x->gain[i] = f->gain[o];
        x->offset[i] = f->offset[o];
        x->slope[i] = f->slope[o];
        x->low[i] = f->low[o];
        x->high[i] = f->high[o];
        x->delta[i] = delta ? (float)delta[o] : 0;
    }
}

/* Products z and their targets y, [LANES] each, of one column: the error behind the activation, and
 * its derivative by z. */
static inline void bend_column(const bend *restrict x, const float *restrict z,
                               const float *restrict y, float *restrict error,
                               float *restrict slope)
{
    for (size_t i = 0; i < LANES; i++) {
        float is = x->gain[i] * (z[i] + x->delta[i]) + x->offset[i];
        float should = x->gain[i] * y[i] + x->offset[i];
        float s = is < 0 ? x->slope[i] : 1.0f;
        float at = is * s, goal = should < 0 ? should * x->slope[i] : should;
        s = at > x->low[i] && at < x->high[i] ? s : 0.0f;
        at = at < x->low[i] ? x->low[i] : at > x->high[i] ? x->high[i] : at;
        goal = goal < x->low[i] ? x->low[i] : goal > x->high[i] ? x->high[i] : goal;
        error[i] = at - goal;
        slope[i] = s * x->gain[i];
    }
}

/* ---- products ---- */

/* Columns first .. first + n - 1 of a set, and what a block makes of them. */
typedef struct stretch {
    const qdbg__samples *s;
    const qdbg__sample_set *set;
    const qdbg__block *b;
    size_t first, n;
} stretch;

static const float *columns(const stretch *t)
{
    return t->set->x + t->first * t->s->across + t->b->group * t->b->p->depth;
}

static const float *targets(const stretch *t, size_t column, float *room)
{
    memcpy(room, t->set->y + (t->first + column) * t->s->outputs + t->b->at,
           t->b->n * sizeof *room);
    return room;
}

/* z [n, LANES] of weights w [b->n, depth]; lanes without a row are left alone. */
static void multiply(const stretch *t, const float *w, float *z)
{
    int d = (int)t->b->p->depth;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)t->n, (int)t->b->n, d, 1.0f,
                columns(t), (int)t->s->across, w, d, 0.0f, z, LANES);
}

/* ---- steps ---- */

typedef struct steps {
    qdbg_ctx *ctx;
    const qdbg__sampled *s;
    double *delta;     /* [groups, rows] or NULL */
    float *kept;       /* [QDBG__SOFT_KEPT, n] blocks one after the other */
    size_t batch;      /* columns of a step */
    uint32_t from, to; /* steps at hand */
    uint64_t seed;
} steps;

static const qdbg__relax_options *relax_options(const steps *j)
{
    return &j->s->options;
}

/* The columns lie in random order: each round goes through them stretch by stretch, beginning a
 * little later or earlier. */
static size_t first_column(const steps *j, uint32_t it)
{
    size_t n = j->s->samples->fit.n, per_round = n / j->batch, left = n - per_round * j->batch;
    return qdbg__sample_key(j->seed, it / per_round) % (left + 1) + it % per_round * j->batch;
}

/* Newton's step for the bias of each channel. */
static void step_bias(const steps *j, const stretch *t, bend *x, const float *z)
{
    float up[LANES] = {0}, down[LANES] = {0}, error[LANES], slope[LANES], y[LANES] = {0};
    float rate = j->batch == j->s->samples->fit.n ? 1 : BIAS_RATE;
    for (size_t c = 0; c < t->n; c++) {
        bend_column(x, z + c * LANES, targets(t, c, y), error, slope);
        for (size_t i = 0; i < LANES; i++) {
            up[i] += error[i] * slope[i];
            down[i] += slope[i] * slope[i];
        }
    }
    for (size_t i = 0; i < t->b->n; i++) {
        float least = LEAST_SLOPE * (float)t->n * x->gain[i] * x->gain[i];
        float step = up[i] / (down[i] > least ? down[i] : least);
        x->delta[i] -= isfinite(step) ? rate * step : 0;
    }
}

/* 2 / n times errors times slopes, [n, LANES], in the place of z. */
static void pull(const stretch *t, const bend *x, float *z)
{
    float error[LANES], slope[LANES], y[LANES] = {0}, factor = 2.0f / (float)t->n;
    for (size_t c = 0; c < t->n; c++) {
        float *at = z + c * LANES;
        bend_column(x, at, targets(t, c, y), error, slope);
        for (size_t i = 0; i < LANES; i++)
            at[i] = factor * error[i] * slope[i];
    }
}

static void step_once(const steps *j, const qdbg__block *b, const qdbg__soft *x, bend *f,
                      float *room, uint32_t it)
{
    size_t n = b->n * b->p->depth;
    float *w = room, *gradient = w + n, *z = gradient + n;
    stretch t = {.s = j->s->samples, .set = &j->s->samples->fit, .b = b, .n = j->batch};
    t.first = first_column(j, it);
    qdbg__soft_weights(x);
    for (size_t i = 0; i < n; i++)
        w[i] = x->w[i] + x->e[i];
    multiply(&t, w, z);
    if (j->delta)
        step_bias(j, &t, f, z);
    pull(&t, f, z);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)b->n, (int)b->p->depth, (int)t.n,
                1.0f, z, LANES, columns(&t), (int)j->s->samples->across, 0.0f, gradient,
                (int)b->p->depth);
    for (size_t i = 0; i < n; i++)
        gradient[i] *= x->g[i];
    qdbg__soft_step(x, gradient, it);
}

static void step_block(const qdbg__block *b)
{
    const steps *j = b->arg;
    size_t n = b->n * b->p->depth;
    float *room = (float *)(void *)b->scratch, *z = room + (QDBG__SOFT_ROOM + 2) * n;
    qdbg__soft x;
    bend f;
    qdbg__soft_open(&x, b, relax_options(j), j->kept + QDBG__SOFT_KEPT * b->at * b->p->depth, room);
    read_bend(j->s->f, b, j->delta, &f);
    memset(z, 0, j->batch * LANES * sizeof *z);
    if (j->from == 0)
        qdbg__soft_start(&x);
    for (uint32_t it = j->from; it < j->to; it++) {
        step_once(j, b, &x, &f, room + QDBG__SOFT_ROOM * n, it);
        if (it % 16 == 0 && qdbg__cancel_wanted(j->ctx))
            return;
    }
    for (size_t i = 0; i < b->n && j->delta; i++)
        j->delta[b->at + i] = (double)f.delta[i];
    if (j->to == relax_options(j)->iterations)
        qdbg__soft_decide(&x, b);
}

qdbg_status qdbg__solve_sampled(qdbg_ctx *ctx, qdbg__rounding *p, const qdbg__sampled *s,
                                double *delta)
{
    size_t n = (size_t)p->groups * p->rows * p->depth * QDBG__SOFT_KEPT;
    size_t rows = p->rows < LANES ? p->rows : LANES;
    uint32_t iterations = s->options.iterations;
    steps j = {.ctx = ctx, .s = s, .delta = s->frees_bias ? delta : NULL, .seed = ctx->seed};
    j.batch = s->batch < s->samples->fit.n ? s->batch : s->samples->fit.n;
    if (j.batch == 0)
        return QDBG_OK;
    size_t scratch = (QDBG__SOFT_ROOM + 2) * rows * p->depth + j.batch * LANES;
    j.kept = qdbg__alloc(ctx, n, sizeof *j.kept);
    qdbg_status status = j.kept ? QDBG_OK : ctx->error_status;
    for (uint32_t i = 0; i < REPORTS && status == QDBG_OK; i++) {
        j.from = j.to;
        j.to = (uint32_t)((uint64_t)iterations * (i + 1) / REPORTS);
        if (j.to > j.from)
            status = qdbg__for_blocks(ctx, p, step_block, &j, scratch / 2 + 1);
        if (status == QDBG_OK)
            status = qdbg__progress(ctx, "adaround: steps", j.to, iterations);
    }
    qdbg__free(ctx, j.kept, n, sizeof *j.kept);
    return status;
}

/* ---- all columns ---- */

typedef struct look {
    const qdbg__sampled *s;
    const qdbg__sample_set *set;
    const double *e;
    double *delta;  /* [groups, rows] or NULL */
    double *losses; /* [groups, rows] */
    bool moves;     /* look for the best delta */
} look;

typedef struct sums {
    double loss[LANES], up[LANES], down[LANES];
} sums;

/* Sums over all columns, in double. */
static void sum_all(const look *l, const qdbg__block *b, const bend *f, const float *w, float *z,
                    sums *out)
{
    stretch t = {.s = l->s->samples, .set = l->set, .b = b};
    float error[LANES], slope[LANES], y[LANES] = {0};
    memset(out, 0, sizeof *out);
    for (t.first = 0; t.first < l->set->n; t.first += STRETCH) {
        size_t left = l->set->n - t.first;
        t.n = left < STRETCH ? left : STRETCH;
        multiply(&t, w, z);
        for (size_t c = 0; c < t.n; c++) {
            bend_column(f, z + c * LANES, targets(&t, c, y), error, slope);
            for (size_t i = 0; i < LANES; i++) {
                out->loss[i] += (double)error[i] * (double)error[i];
                out->up[i] += (double)error[i] * (double)slope[i];
                out->down[i] += (double)slope[i] * (double)slope[i];
            }
        }
    }
}

/* Newton's method for each channel, a quarter of the step where it overshoots. */
static void look_for_bias(const look *l, const qdbg__block *b, bend *f, const float *w, float *z)
{
    sums at;
    double best[LANES], loss[LANES], step[LANES];
    for (int trial = 0; trial < BIAS_TRIALS; trial++) {
        sum_all(l, b, f, w, z, &at);
        for (size_t i = 0; i < b->n; i++) {
            double gain = (double)f->gain[i];
            double least = (double)LEAST_SLOPE * (double)l->set->n * gain * gain;
            if (trial == 0 || at.loss[i] < loss[i]) {
                best[i] = (double)f->delta[i];
                loss[i] = at.loss[i];
                step[i] = -at.up[i] / fmax(at.down[i], least);
            } else {
                step[i] *= 0.25;
            }
            f->delta[i] = (float)(isfinite(step[i]) ? best[i] + step[i] : best[i]);
        }
    }
    for (size_t i = 0; i < b->n; i++)
        l->delta[b->at + i] = best[i];
}

static void look_block(const qdbg__block *b)
{
    const look *l = b->arg;
    size_t n = b->n * b->p->depth;
    float *w = (float *)(void *)b->scratch, *z = w + n;
    bend f;
    sums at;
    for (size_t i = 0; i < n; i++)
        w[i] = (float)((double)b->p->w[b->at * b->p->depth + i] + l->e[b->at * b->p->depth + i]);
    memset(z, 0, STRETCH * LANES * sizeof *z);
    read_bend(l->s->f, b, l->delta, &f);
    if (l->moves) {
        look_for_bias(l, b, &f, w, z);
        return;
    }
    sum_all(l, b, &f, w, z, &at);
    memcpy(l->losses + b->at, at.loss, b->n * sizeof *l->losses);
}

static qdbg_status look_at_all(qdbg_ctx *ctx, const qdbg__rounding *p, const look *l)
{
    size_t scratch = (size_t)LANES * p->depth + STRETCH * LANES;
    return qdbg__for_blocks(ctx, p, look_block, l, scratch / 2 + 1);
}

qdbg_status qdbg__sampled_bias(qdbg_ctx *ctx, const qdbg__rounding *p, const qdbg__sampled *s,
                               const double *e, double *delta)
{
    look l = {.s = s, .set = &s->samples->fit, .e = e, .delta = delta, .moves = true};
    return l.set->n > 0 ? look_at_all(ctx, p, &l) : QDBG_OK;
}

qdbg_status qdbg__sampled_loss(qdbg_ctx *ctx, const qdbg__rounding *p, const qdbg__sampled *s,
                               const qdbg__sample_set *set, const double *e, const double *delta,
                               double *loss)
{
    size_t outputs = (size_t)p->groups * p->rows;
    look l = {.s = s, .set = set, .e = e, .delta = (double *)(uintptr_t)delta};
    *loss = 0;
    if (set->n == 0)
        return QDBG_OK;
    l.losses = qdbg__alloc(ctx, outputs, sizeof *l.losses);
    qdbg_status status = l.losses ? look_at_all(ctx, p, &l) : ctx->error_status;
    for (size_t o = 0; o < outputs && status == QDBG_OK; o++)
        *loss += l.losses[o];
    *loss /= (double)set->n;
    qdbg__free(ctx, l.losses, outputs, sizeof *l.losses);
    return status;
}
