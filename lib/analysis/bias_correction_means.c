/* Means of layers' inputs: measured, or from statistics. */
#include <math.h>
#include <string.h>

#include "bias_correction.h"

/* ---- measured ---- */

/* Runs have slots of their own, which are added up in order: the same sums for any thread count. */
#define MAX_RUNS 32

typedef struct gathering {
    qdbg_bias_correction *b;
    const qdbg__variant *variant;
    const uint8_t *wanted; /* [n] layers */
    uint8_t *wanted_values;
    double *const *columns;
    bool *has;
    double *slots;       /* [MAX_RUNS * n_slot] */
    double *counts;      /* [MAX_RUNS * n] positions in a run; 0: not seen */
    size_t *first;       /* [n] where a layer's sums begin in a slot */
    double *n_positions; /* [n] so far */
    size_t n_slot;
} gathering;

static qdbg_status take(void *user, uint32_t worker, uint32_t variant, uint64_t run, uint32_t value,
                        const qdbg_view *view)
{
    gathering *g = user;
    qdbg_bias_correction *b = g->b;
    (void)worker;
    (void)variant;
    for (size_t i = 0; i < b->n; i++) {
        qdbg__taps taps;
        if (!g->wanted[i] || b->layers[i].layer.input != value ||
            !qdbg__taps_read(b->sim->model->graph, &b->layers[i].layer, view, &taps))
            continue;
        qdbg__taps_sum(&taps, &b->layers[i].layer, view, g->slots + run * g->n_slot + g->first[i]);
        g->counts[run * b->n + i] = (double)taps.positions;
    }
    return QDBG_OK;
}

static qdbg_status take_stretch(void *user, const qdbg__stretch *s)
{
    gathering *g = user;
    qdbg_bias_correction *b = g->b;
    qdbg_model *m = b->sim->model;
    qdbg__model_job job = {.inputs = s->inputs,
                           .n_runs = s->n_runs,
                           .variants = g->variant,
                           .n_variants = 1,
                           .observe = take,
                           .observe_values = g->wanted_values,
                           .observe_user = g};
    memset(g->counts, 0, MAX_RUNS * b->n * sizeof *g->counts);
    qdbg_status status = m->backend->run(m, &job);
    for (uint64_t run = 0; run < s->n_runs && status == QDBG_OK; run++)
        for (size_t i = 0; i < b->n; i++) {
            const double *slot = g->slots + run * g->n_slot + g->first[i];
            if (!g->wanted[i] || g->counts[run * b->n + i] == 0)
                continue;
            g->n_positions[i] += g->counts[run * b->n + i];
            for (size_t k = 0; k < b->layers[i].n_column; k++)
                g->columns[i][k] += slot[k];
        }
    return status;
}

static qdbg_status begin_gathering(gathering *g)
{
    qdbg_bias_correction *b = g->b;
    qdbg_ctx *ctx = b->sim->ctx;
    g->wanted_values = qdbg__alloc(ctx, b->sim->model->graph->n_values, 1);
    g->first = g->wanted_values ? qdbg__alloc(ctx, b->n, sizeof *g->first) : NULL;
    g->n_positions = g->first ? qdbg__alloc(ctx, b->n, sizeof *g->n_positions) : NULL;
    g->counts = g->n_positions ? qdbg__alloc(ctx, MAX_RUNS * b->n, sizeof *g->counts) : NULL;
    if (!g->counts)
        return ctx->error_status;
    for (size_t i = 0; i < b->n; i++) {
        if (!g->wanted[i])
            continue;
        g->wanted_values[b->layers[i].layer.input] = 1;
        g->first[i] = g->n_slot;
        g->n_slot += b->layers[i].n_column;
        memset(g->columns[i], 0, b->layers[i].n_column * sizeof(double));
    }
    g->slots = qdbg__alloc(ctx, MAX_RUNS * g->n_slot, sizeof *g->slots);
    return g->slots ? QDBG_OK : ctx->error_status;
}

static void finish_columns(gathering *g)
{
    for (size_t i = 0; i < g->b->n; i++) {
        if (!g->wanted[i])
            continue;
        g->has[i] = g->n_positions[i] > 0;
        for (size_t k = 0; k < g->b->layers[i].n_column && g->has[i]; k++) {
            g->columns[i][k] /= g->n_positions[i];
            g->has[i] = isfinite(g->columns[i][k]);
        }
    }
}

qdbg_status qdbg__bias_columns(qdbg_bias_correction *b, const qdbg__variant *variant,
                               const uint8_t *wanted, double *const *columns, bool *has)
{
    gathering g = {.b = b, .variant = variant, .wanted = wanted, .columns = columns, .has = has};
    qdbg_ctx *ctx = b->sim->ctx;
    qdbg_status status = begin_gathering(&g);
    if (status == QDBG_OK)
        status = qdbg__dataset_walk(b->sim->model, b->data, "bias correction", MAX_RUNS,
                                    take_stretch, &g, NULL);
    if (status == QDBG_OK)
        finish_columns(&g);
    qdbg__free(ctx, g.slots, MAX_RUNS * g.n_slot, sizeof *g.slots);
    qdbg__free(ctx, g.counts, MAX_RUNS * b->n, sizeof *g.counts);
    qdbg__free(ctx, g.n_positions, b->n, sizeof *g.n_positions);
    qdbg__free(ctx, g.first, b->n, sizeof *g.first);
    qdbg__free(ctx, g.wanted_values, b->sim->model->graph->n_values, 1);
    return status;
}

/* ---- from statistics ---- */

static double phi(double x)
{
    return exp(-x * x / 2) * 0.39894228040143267794; /* 1 / sqrt(2 pi) */
}

static double upper_tail(double x)
{
    return erfc(x * 0.70710678118654752440) / 2;
}

double qdbg_clipped_normal_mean(double mean, double deviation, double low, double high)
{
    double s = fabs(deviation);
    if (!(s > 0))
        return fmin(fmax(mean, low), high);
    double a = (low - mean) / s, b = (high - mean) / s;
    double above = upper_tail(b), below = 1 - upper_tail(a);
    double ends = (above > 0 ? high * above : 0) + (below > 0 ? low * below : 0);
    return ends + mean * (upper_tail(a) - above) - s * (phi(b) - phi(a));
}

/* What lies between a normalization and a layer: one clip, and what keeps means. */
typedef struct source {
    uint32_t value; /* the normalization's output */
    uint32_t clip;  /* node that clips, or QDBG_NONE */
} source;

static bool keeps_mean(const qdbg__node *n)
{
    return qdbg__node_is(n, "Identity") || qdbg__node_is(n, "Dropout") ||
           qdbg__node_is(n, "Flatten") || qdbg__node_is(n, "GlobalAveragePool");
}

static source find_source(const qdbg_graph *g, uint32_t value)
{
    source s = {value, QDBG_NONE};
    for (uint32_t p; (p = g->values[s.value].producer) != QDBG_NONE;) {
        const qdbg__node *n = &g->nodes[p];
        bool clips = qdbg__node_is(n, "Relu") || qdbg__node_is(n, "Clip");
        if (n->n_in < 1 || n->in[0] == QDBG_NONE || (!clips && !keeps_mean(n)) ||
            (clips && s.clip != QDBG_NONE))
            break;
        if (clips)
            s.clip = p;
        s.value = n->in[0];
    }
    return s;
}

/* Bound of a Clip for each channel; filled with `fallback` where there is none. */
static qdbg_status read_bound(qdbg_model *m, const qdbg__node *n, uint32_t input, const char *name,
                              float fallback, float *bound, size_t channels)
{
    float value = qdbg__attr_float(n, name, fallback);
    if (input < n->n_in && n->in[input] != QDBG_NONE) {
        const qdbg__value *v = &m->graph->values[n->in[input]];
        if (v->is_param && v->bytes == channels * sizeof(float))
            return m->backend->get(m, n->in[input], bound, channels);
        if (v->is_param && v->bytes == sizeof value) {
            qdbg_status status = m->backend->get(m, n->in[input], &value, 1);
            if (status != QDBG_OK)
                return status;
        }
    }
    for (size_t c = 0; c < channels; c++)
        bound[c] = value;
    return QDBG_OK;
}

static qdbg_status read_bounds(qdbg_model *m, uint32_t clip, float *low, float *high, size_t n)
{
    const qdbg__node *node = clip == QDBG_NONE ? NULL : &m->graph->nodes[clip];
    for (size_t c = 0; c < n; c++) {
        low[c] = node && qdbg__node_is(node, "Relu") ? 0 : -INFINITY;
        high[c] = INFINITY;
    }
    if (!node || !qdbg__node_is(node, "Clip"))
        return QDBG_OK;
    qdbg_status status = read_bound(m, node, 1, "min", -INFINITY, low, n);
    return status == QDBG_OK ? read_bound(m, node, 2, "max", INFINITY, high, n) : status;
}

/* What a normalization that is not folded tells of its output. */
static qdbg_status read_norm(qdbg_model *m, uint32_t value, size_t channels, float *mean,
                             float *deviation, bool *found)
{
    uint32_t p = m->graph->values[value].producer;
    const qdbg__node *n = p == QDBG_NONE ? NULL : &m->graph->nodes[p];
    float *gamma = NULL, *var = NULL;
    size_t count, n_gamma = 0, n_var = 0;
    *found = false;
    if (!n || !qdbg__norm_is_constant(m->graph, n, channels))
        return QDBG_OK;
    qdbg_status status = qdbg__model_fetch(m, n->in[QDBG__BN_GAMMA], &gamma, &n_gamma);
    if (status == QDBG_OK)
        status = qdbg__model_fetch(m, n->in[QDBG__BN_VAR], &var, &n_var);
    if (status == QDBG_OK)
        status = m->backend->get(m, n->in[QDBG__BN_BETA], mean, channels);
    double epsilon = (double)qdbg__attr_float(n, "epsilon", 1e-5f);
    bool folded = true;
    for (count = 0; count < channels && status == QDBG_OK; count++) {
        double v = fmax((double)var[count], 0);
        deviation[count] = (float)(fabs((double)gamma[count]) * sqrt(v / (v + epsilon)));
        folded = folded && gamma[count] == 1 && fabs(v + epsilon - 1) < 1e-5;
    }
    *found = status == QDBG_OK && !folded;
    qdbg__free(m->ctx, gamma, n_gamma, sizeof *gamma);
    qdbg__free(m->ctx, var, n_var, sizeof *var);
    return status;
}

static const qdbg_channel_stats *given_stats(const qdbg_bias_options *o, uint32_t value, size_t n)
{
    for (uint32_t i = 0; i < o->n_stats; i++)
        if (o->stats[i].value == value && o->stats[i].n == n)
            return &o->stats[i];
    return NULL;
}

/* E[x] of each input channel stands for all of its taps, less where they fall on padding. */
static void spread(const qdbg_graph *g, qdbg__bias_layer *l, const double *expected)
{
    const qdbg__value *v = &g->values[l->layer.input];
    qdbg_view shape = QDBG_VIEW_INIT;
    qdbg__taps taps;
    shape.dtype = QDBG_F32;
    shape.rank = v->rank == QDBG_RANK_UNKNOWN ? 0 : v->rank;
    memcpy(shape.dims, v->dims, sizeof v->dims);
    if (shape.rank > 0)
        shape.dims[0] = 1;
    bool known = qdbg__taps_read(g, &l->layer, &shape, &taps) && !taps.is_matrix;
    for (size_t c = 0; c < l->layer.ins; c++)
        for (size_t k = 0; k < l->layer.taps; k++)
            l->column[c * l->layer.taps + k] =
                expected[c] * (known ? qdbg__taps_share(&taps, k) : 1);
    l->has_column = true;
}

static qdbg_status expect(qdbg_bias_correction *b, qdbg__bias_layer *l)
{
    qdbg_model *m = b->sim->model;
    size_t n = l->layer.ins;
    source s = find_source(m->graph, l->layer.input);
    float *buffer = qdbg__alloc(m->ctx, 4 * n, sizeof *buffer);
    double *expected = buffer ? qdbg__alloc(m->ctx, n, sizeof *expected) : NULL;
    float *mean = buffer, *deviation = buffer + n, *low = buffer + 2 * n, *high = buffer + 3 * n;
    const qdbg_channel_stats *given = given_stats(&b->options, s.value, n);
    bool found = given != NULL;
    qdbg_status status = expected ? QDBG_OK : m->ctx->error_status;
    if (status == QDBG_OK && given) {
        memcpy(mean, given->mean, n * sizeof *mean);
        memcpy(deviation, given->deviation, n * sizeof *deviation);
    } else if (status == QDBG_OK) {
        status = read_norm(m, s.value, n, mean, deviation, &found);
    }
    if (status == QDBG_OK)
        status = read_bounds(m, s.clip, low, high, n);
    for (size_t c = 0; c < n && status == QDBG_OK && found; c++)
        expected[c] = qdbg_clipped_normal_mean((double)mean[c], (double)deviation[c],
                                               (double)low[c], (double)high[c]);
    if (status == QDBG_OK && found)
        spread(m->graph, l, expected);
    qdbg__free(m->ctx, expected, n, sizeof *expected);
    qdbg__free(m->ctx, buffer, 4 * n, sizeof *buffer);
    return status;
}

qdbg_status qdbg__bias_analytical(qdbg_bias_correction *b)
{
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < b->n && status == QDBG_OK; i++) {
        if (b->layers[i].row.outcome != QDBG_BIAS_DONE)
            continue;
        b->layers[i].has_column = false; /* not what data told */
        status = expect(b, &b->layers[i]);
        if (!b->layers[i].has_column)
            b->layers[i].row.outcome = QDBG_BIAS_NO_STATS;
    }
    return status;
}
