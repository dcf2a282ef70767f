/* Columns taken and kept until there are enough to multiply; see adaround_gram_sum.c for the sums.
 */
#include "adaround_gram.h"

#include <math.h>
#include <string.h>

#include "adaround_gram_sum.h"

static size_t n_columns(const qdbg__gatherer *t)
{
    return (size_t)QDBG__GRAM_RUNS * t->per_run;
}

static size_t width(const qdbg__gram *m)
{
    return (size_t)m->groups * m->depth;
}

static size_t n_weights(const qdbg__gram *m)
{
    return width(m) * m->rows;
}

static uint32_t columns_of_run(const qdbg__gram_options *o, const qdbg__columns *c)
{
    int64_t batch = c->shape.rank > 0 && c->shape.dims[0] > 0 ? c->shape.dims[0] : 1;
    int64_t most = (int64_t)o->positions * batch;
    int64_t n = c->n < most ? c->n : most;
    return n > 1 << 20 ? 1 << 20 : (uint32_t)n;
}

/* ---- memory ---- */

static void gram_free(qdbg_ctx *ctx, qdbg__gram *m)
{
    size_t outputs = (size_t)m->groups * m->rows;
    qdbg__free(ctx, m->h, width(m) * m->depth, sizeof *m->h);
    qdbg__free(ctx, m->mu, width(m), sizeof *m->mu);
    qdbg__free(ctx, m->b, n_weights(m), sizeof *m->b);
    qdbg__free(ctx, m->r_mean, outputs, sizeof *m->r_mean);
    qdbg__free(ctx, m->r_var, outputs, sizeof *m->r_var);
    *m = (qdbg__gram){0};
}

static bool gram_alloc(qdbg_ctx *ctx, const qdbg__linear *l, bool paired, qdbg__gram *m)
{
    size_t outputs = (size_t)l->groups * l->rows;
    m->groups = l->groups;
    m->rows = l->rows;
    m->depth = l->depth;
    m->h = qdbg__alloc(ctx, width(m) * m->depth, sizeof *m->h);
    m->mu = m->h ? qdbg__alloc(ctx, width(m), sizeof *m->mu) : NULL;
    if (!m->mu || !paired)
        return m->mu != NULL;
    m->b = qdbg__alloc(ctx, n_weights(m), sizeof *m->b);
    m->r_mean = m->b ? qdbg__alloc(ctx, outputs, sizeof *m->r_mean) : NULL;
    m->r_var = m->r_mean ? qdbg__alloc(ctx, outputs, sizeof *m->r_var) : NULL;
    return m->r_var != NULL;
}

/* Columns that may be kept, and how many there will be. */
static size_t columns_to_keep(const qdbg__gram_options *o, const qdbg__linear *l,
                              const qdbg__columns *c, size_t *expected)
{
    uint64_t most = o->keep_bytes / qdbg__sample_bytes(l), come = o->runs * columns_of_run(o, c);
    most = most < 1 ? 1 : most > 1 << 22 ? 1 << 22 : most;
    *expected = (size_t)(come < most ? come : most);
    return (size_t)most;
}

uint64_t qdbg__gatherer_bytes(const qdbg_graph *g, const qdbg__linear *l,
                              const qdbg__gram_options *options, const qdbg__columns *columns)
{
    uint64_t across = (uint64_t)l->groups * l->depth, variants = options->paired ? 2 : 1;
    uint64_t parts = options->holdout > 1 ? 2 : 1, of_part = across * l->depth * 8;
    uint64_t n = (uint64_t)QDBG__GRAM_RUNS * columns_of_run(options, columns);
    size_t kept = 0;
    if (options->paired)
        of_part += across * l->rows * 8;
    if (options->keep_bytes > 0)
        columns_to_keep(options, l, columns, &kept);
    return kept * qdbg__sample_bytes(l) + variants * n * across * sizeof(float) + parts * of_part +
           qdbg__gram_scratch(l, n) * sizeof(float) * g->ctx->n_threads;
}

qdbg_status qdbg__gatherer_init(qdbg__gatherer *t, const qdbg_graph *g, const qdbg__linear *l,
                                const qdbg__gram_options *options, const qdbg__columns *columns,
                                const float *weight)
{
    qdbg_ctx *ctx = g->ctx;
    *t = (qdbg__gatherer){.ctx = ctx,
                          .graph = g,
                          .linear = *l,
                          .options = *options,
                          .weight = weight,
                          .columns = *columns,
                          .per_run = columns_of_run(options, columns),
                          .n_taps = (size_t)columns->taps};
    size_t across = (size_t)l->groups * l->depth, n = n_columns(t);
    t->n_scratch = qdbg__gram_scratch(l, n);
    t->x[0] = qdbg__alloc(ctx, n * across, sizeof(float));
    if (t->x[0] && options->paired)
        t->x[1] = qdbg__alloc(ctx, n * across, sizeof(float));
    if (!t->x[0] || (options->paired && !t->x[1]))
        return ctx->error_status;
    t->spoilt = qdbg__alloc(ctx, n, 1);
    t->offsets =
        t->spoilt ? qdbg__alloc(ctx, t->n_taps * ctx->n_threads, sizeof *t->offsets) : NULL;
    t->shift = t->offsets ? qdbg__alloc(ctx, across, sizeof *t->shift) : NULL;
    t->scratch = t->shift ? qdbg__alloc(ctx, t->n_scratch * ctx->n_threads, sizeof(float)) : NULL;
    if (!t->scratch || !gram_alloc(ctx, l, options->paired, &t->fit) ||
        (options->holdout > 1 && !gram_alloc(ctx, l, options->paired, &t->held)))
        return ctx->error_status;
    memset(t->spoilt, 1, n);
    if (options->keep_bytes == 0)
        return QDBG_OK;
    size_t expected, limit = columns_to_keep(options, l, columns, &expected);
    return qdbg__samples_init(&t->samples, ctx, l, expected, limit, options->holdout);
}

void qdbg__gatherer_free(qdbg__gatherer *t)
{
    if (!t->ctx)
        return;
    size_t across = (size_t)t->linear.groups * t->linear.depth, n = n_columns(t);
    qdbg__free(t->ctx, t->x[0], n * across, sizeof(float));
    qdbg__free(t->ctx, t->x[1], n * across, sizeof(float));
    qdbg__free(t->ctx, t->spoilt, n, 1);
    qdbg__free(t->ctx, t->offsets, t->n_taps * t->ctx->n_threads, sizeof *t->offsets);
    qdbg__free(t->ctx, t->shift, across, sizeof *t->shift);
    qdbg__free(t->ctx, t->scratch, t->n_scratch * t->ctx->n_threads, sizeof(float));
    gram_free(t->ctx, &t->fit);
    gram_free(t->ctx, &t->held);
    qdbg__samples_free(&t->samples);
    *t = (qdbg__gatherer){0};
}

/* ---- taking ---- */

qdbg_status qdbg__gatherer_begin(qdbg__gatherer *t, const qdbg_view *input, uint32_t n)
{
    uint32_t held = t->options.holdout, fit_slot = t->n_fit, held_slot = t->n_held;
    if (!qdbg__shape_equal(input->rank, input->dims, t->columns.shape.rank,
                           t->columns.shape.dims)) {
        qdbg_status status = qdbg__columns_plan(t->graph, &t->linear, input, &t->columns);
        if (status != QDBG_OK)
            return status;
    }
    memset(t->shown, 0, sizeof t->shown);
    for (uint32_t i = 0; i < n; i++) {
        bool out = held > 1 && (t->n_runs + i) % held == held - 1;
        t->slot[i] = out ? QDBG__GRAM_RUNS - 1 - held_slot++ : fit_slot++;
    }
    return QDBG_OK;
}

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

qdbg_status qdbg__gatherer_show(qdbg__gatherer *t, uint32_t worker, uint32_t variant, uint64_t run,
                                const qdbg_view *input)
{
    const qdbg__columns *c = &t->columns;
    size_t slot = t->slot[run], depth = t->linear.depth, group_stride = n_columns(t) * depth;
    uint64_t start = mix(t->ctx->seed ^ mix(t->linear.weight)) ^ mix(t->n_runs + run);
    uint64_t total = (uint64_t)c->n, n = total < t->per_run ? total : t->per_run;
    if (input->dtype != QDBG_F32)
        return QDBG_E_TYPE;
    if (!t->x[variant])
        return QDBG_OK;
    for (uint64_t k = 0; k < n; k++) { /* one of each of n equal stretches */
        uint64_t low = k * total / n, high = (k + 1) * total / n, at = slot * t->per_run + k;
        uint64_t position = low + mix(start + k) % (high - low);
        qdbg__columns_take(c, &t->linear, input->data, (int64_t)position,
                           t->offsets + worker * t->n_taps, t->x[variant] + at * depth,
                           group_stride);
        if (variant == 0)
            t->spoilt[at] = 0;
    }
    t->shown[variant][run] = 1;
    return QDBG_OK;
}

/* A run that the rounded network did not show is the float32 network's. */
static void fill_unshown(qdbg__gatherer *t, uint32_t n)
{
    size_t depth = t->linear.depth, group_stride = n_columns(t) * depth;
    size_t count = t->per_run * depth;
    for (uint32_t i = 0; i < n && t->x[1]; i++) {
        size_t at = t->slot[i] * count;
        for (uint32_t g = 0; g < t->linear.groups && !t->shown[1][i]; g++)
            memcpy(t->x[1] + g * group_stride + at, t->x[0] + g * group_stride + at,
                   count * sizeof(float));
    }
}

static qdbg_status flush(qdbg__gatherer *t)
{
    qdbg_status status = qdbg__gram_sum(t);
    memset(t->spoilt, 1, n_columns(t));
    t->n_fit = t->n_held = 0;
    return status;
}

qdbg_status qdbg__gatherer_end(qdbg__gatherer *t, uint32_t n)
{
    fill_unshown(t, n);
    for (uint32_t i = 0; i < n; i++) {
        bool held = t->options.holdout > 1 &&
                    (t->n_runs + i) % t->options.holdout == t->options.holdout - 1;
        *(held ? &t->n_held : &t->n_fit) += 1;
    }
    t->n_runs += n;
    return t->n_fit + t->n_held == QDBG__GRAM_RUNS ? flush(t) : QDBG_OK;
}

/* ---- from sums to central moments ---- */

static void finish_rows(qdbg__gram *m, const double *mean)
{
    size_t d = m->depth;
    double n = (double)m->n;
    for (size_t o = 0; o < (size_t)m->groups * m->rows && m->b; o++) {
        const double *x = mean + o / m->rows * d;
        m->r_mean[o] /= n;
        m->r_var[o] = fmax(m->r_var[o] / n - m->r_mean[o] * m->r_mean[o], 0);
        for (size_t k = 0; k < d; k++)
            m->b[o * d + k] = m->b[o * d + k] / n - m->r_mean[o] * x[k];
    }
}

static void finish_gram(qdbg__gram *m, const float *shift)
{
    size_t d = m->depth;
    double n = (double)m->n;
    if (m->n == 0)
        return;
    for (size_t i = 0; i < width(m); i++)
        m->mu[i] /= n;
    for (size_t g = 0; g < m->groups; g++) {
        double *h = m->h + g * d * d, *x = m->mu + g * d;
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j <= i; j++)
                h[i * d + j] = h[j * d + i] = h[i * d + j] / n - x[i] * x[j];
        for (size_t i = 0; i < d; i++) /* rounding may leave it below zero */
            h[i * d + i] = fmax(h[i * d + i], 0);
    }
    finish_rows(m, m->mu);
    for (size_t i = 0; i < width(m); i++)
        m->mu[i] += (double)shift[i];
}

qdbg_status qdbg__gatherer_finish(qdbg__gatherer *t)
{
    qdbg_status status = t->n_fit + t->n_held > 0 ? flush(t) : QDBG_OK;
    if (status != QDBG_OK)
        return status;
    finish_gram(&t->fit, t->shift);
    finish_gram(&t->held, t->shift);
    return t->samples.ctx ? qdbg__samples_finish(&t->samples) : QDBG_OK;
}

void qdbg__gram_best_bias(const qdbg__gram *m, const double *e, double *delta)
{
    for (size_t o = 0; o < (size_t)m->groups * m->rows; o++) {
        const double *mu = m->mu + o / m->rows * m->depth;
        delta[o] = m->r_mean ? m->r_mean[o] : 0;
        for (size_t k = 0; k < m->depth; k++)
            delta[o] -= e[o * m->depth + k] * mu[k];
    }
}
