/* One BatchNormalization: where it can go, and the numbers. */
#include <math.h>
#include <string.h>

#include "fold.h"

enum { GAMMA = QDBG__BN_GAMMA, BETA = QDBG__BN_BETA, MEAN = QDBG__BN_MEAN, VAR = QDBG__BN_VAR };

/* ---- where ---- */

static size_t channels_of(const qdbg_graph *g, const qdbg__node *bn)
{
    if (bn->n_in < 5 || bn->in[0] == QDBG_NONE || bn->in[GAMMA] == QDBG_NONE)
        return 0;
    return g->values[bn->in[GAMMA]].bytes / sizeof(float);
}

/* MatMul may compute over more axes than its channels are. */
static bool takes_folding(const qdbg_graph *g, const qdbg__layer *l)
{
    return l->own_weight && !qdbg__node_is(&g->nodes[l->node], "MatMul") &&
           (l->bias == QDBG_NONE || l->own_bias);
}

static bool plan_backward(const qdbg_graph *g, uint32_t bn, qdbg__fold_site *s)
{
    uint32_t producer = g->values[g->nodes[bn].in[0]].producer;
    return producer != QDBG_NONE && qdbg__layer_read(g, producer, &s->layer) &&
           s->layer.norm == bn && takes_folding(g, &s->layer);
}

/* The shift goes to a bias of the layer's own, or to the mean of a BatchNormalization behind it. */
static bool plan_forward(const qdbg_graph *g, uint32_t bn, size_t channels, qdbg__fold_site *s)
{
    const qdbg__node *n = &g->nodes[bn];
    const qdbg__value *y = &g->values[n->out[0]];
    if (y->n_consumers != 1 || y->is_output)
        return false;
    return qdbg__layer_read(g, y->consumers[0], &s->layer) && s->layer.input == n->out[0] &&
           s->layer.ins == channels && takes_folding(g, &s->layer);
}

void qdbg__fold_plan(const qdbg_graph *g, uint32_t bn, uint32_t flags, qdbg__fold_site *s)
{
    const qdbg__node *n = &g->nodes[bn];
    *s = (qdbg__fold_site){.bn = bn, .row = QDBG_FOLD_ROW_INIT};
    s->row.node = bn;
    s->row.layer = QDBG_NONE;
    s->channels = channels_of(g, n);
    s->row.n_channels = (uint32_t)s->channels;
    s->row.outcome = QDBG_FOLD_SHARED;
    if (n->n_out < 1 || n->out[0] == QDBG_NONE || !qdbg__norm_is_constant(g, n, s->channels)) {
        s->channels = 0;
        return;
    }
    s->row.outcome = QDBG_FOLD_BACKWARD;
    s->has_layer = plan_backward(g, bn, s);
    if (!s->has_layer && !(flags & QDBG_FOLD_NO_FORWARD)) {
        s->row.outcome = QDBG_FOLD_FORWARD;
        s->has_layer = plan_forward(g, bn, s->channels, s);
    }
    if (s->has_layer)
        s->row.layer = s->layer.node;
    else
        s->row.outcome =
            flags & QDBG_FOLD_NO_STANDALONE ? QDBG_FOLD_NO_LAYER : QDBG_FOLD_STANDALONE;
}

void qdbg__fold_site_free(qdbg_ctx *ctx, qdbg__fold_site *s)
{
    qdbg__free(ctx, s->mean, s->channels, sizeof *s->mean);
    qdbg__free(ctx, s->deviation, s->channels, sizeof *s->deviation);
    s->mean = s->deviation = NULL;
}

/* ---- numbers ---- */

typedef struct numbers {
    float *bn[5]; /* [channels] each, by input number; 0 unused */
    float *weight, *bias;
    double *scale, *shift; /* [channels] what the normalization multiplies by and adds */
    size_t n_weights, n_bias;
} numbers;

static qdbg_status load(qdbg_model *m, const qdbg__fold_site *s, numbers *x)
{
    const qdbg__node *bn = &m->graph->nodes[s->bn];
    qdbg_status status = QDBG_OK;
    size_t n;
    if (s->has_layer)
        status = qdbg__model_fetch(m, s->layer.weight, &x->weight, &x->n_weights);
    if (status == QDBG_OK && s->has_layer && s->layer.bias != QDBG_NONE)
        status = qdbg__model_fetch(m, s->layer.bias, &x->bias, &x->n_bias);
    for (uint32_t i = GAMMA; i <= VAR && status == QDBG_OK; i++)
        status = qdbg__model_fetch(m, bn->in[i], &x->bn[i], &n);
    if (status != QDBG_OK)
        return status;
    x->scale = qdbg__alloc(m->ctx, s->channels, sizeof *x->scale);
    x->shift = x->scale ? qdbg__alloc(m->ctx, s->channels, sizeof *x->shift) : NULL;
    return x->shift ? QDBG_OK : m->ctx->error_status;
}

static void drop(qdbg_model *m, const qdbg__fold_site *s, numbers *x)
{
    for (uint32_t i = GAMMA; i <= VAR; i++)
        qdbg__free(m->ctx, x->bn[i], s->channels, sizeof(float));
    qdbg__free(m->ctx, x->weight, x->n_weights, sizeof(float));
    qdbg__free(m->ctx, x->bias, x->n_bias, sizeof(float));
    qdbg__free(m->ctx, x->scale, s->channels, sizeof *x->scale);
    qdbg__free(m->ctx, x->shift, s->channels, sizeof *x->shift);
}

static float epsilon_of(const qdbg_model *m, const qdbg__fold_site *s)
{
    return qdbg__attr_float(&m->graph->nodes[s->bn], "epsilon", 1e-5f);
}

static qdbg_status work_out_scales(qdbg_model *m, const qdbg__fold_site *s, numbers *x)
{
    const char *name = m->graph->nodes[s->bn].name;
    for (size_t c = 0; c < s->channels; c++) {
        double var = (double)x->bn[VAR][c] + (double)epsilon_of(m, s);
        if (!(var > 0))
            return qdbg__fail_at(m->ctx, QDBG_E_NUMERIC, name, NULL,
                                 "'%s', channel %zu: variance + epsilon is not positive", name, c);
        x->scale[c] = (double)x->bn[GAMMA][c] / sqrt(var);
        x->shift[c] = (double)x->bn[BETA][c] - (double)x->bn[MEAN][c] * x->scale[c];
    }
    return QDBG_OK;
}

static qdbg_status keep_stats(qdbg_model *m, qdbg__fold_site *s, const numbers *x)
{
    s->mean = qdbg__alloc(m->ctx, s->channels, sizeof *s->mean);
    s->deviation = s->mean ? qdbg__alloc(m->ctx, s->channels, sizeof *s->deviation) : NULL;
    if (!s->deviation)
        return m->ctx->error_status;
    for (size_t c = 0; c < s->channels; c++) {
        double var = fmax((double)x->bn[VAR][c], 0);
        s->mean[c] = x->bn[BETA][c];
        s->deviation[c] = (float)(fabs(x->scale[c]) * sqrt(var));
    }
    return QDBG_OK;
}

/* Multiply what belongs to a channel: of the output (backward) or of the input. */
static void scale_weights(const qdbg__fold_site *s, numbers *x)
{
    bool backward = s->row.outcome == QDBG_FOLD_BACKWARD;
    for (size_t i = 0; i < x->n_weights; i++) {
        size_t c = backward ? qdbg__layer_out(&s->layer, i) : qdbg__layer_in(&s->layer, i);
        x->weight[i] *= (float)x->scale[c];
    }
    for (size_t c = 0; backward && c < x->n_bias; c++)
        x->bias[c] = (float)((double)x->bias[c] * x->scale[c]);
}

/* ---- dead channels ---- */

static bool is_dead(const numbers *x, size_t c, double threshold, float epsilon)
{
    return (double)x->bn[VAR][c] <= threshold * (double)epsilon;
}

static bool is_constant(const qdbg__fold_seen *seen, size_t c, double *value)
{
    if (!seen->channels)
        return !seen->asked;
    const qdbg__range *r = &seen->channels[c];
    if (!(r->min <= r->max) || r->n_nan + r->n_inf > 0 ||
        r->max - r->min > QDBG__DEAD_SPREAD * seen->largest)
        return false;
    *value = ((double)r->min + (double)r->max) / 2;
    return true;
}

/* The channel's number is the shift, whatever comes in: the scale of 0 goes to the weights. */
static void neutralize(numbers *x, size_t c, double value)
{
    x->scale[c] = 0;
    x->shift[c] = value;
}

/* Largest multiplier that folding makes of dead channels, over that of the others. */
static double dead_ratio(const qdbg__fold_site *s, const numbers *x, double threshold,
                         float epsilon)
{
    bool backward = s->row.outcome == QDBG_FOLD_BACKWARD;
    double dead = 0, alive = 0;
    for (size_t i = 0; i < (s->has_layer ? x->n_weights : s->channels); i++) {
        size_t c = !s->has_layer ? i
                   : backward    ? qdbg__layer_out(&s->layer, i)
                                 : qdbg__layer_in(&s->layer, i);
        double size = fabs(s->has_layer ? (double)x->weight[i] * x->scale[c] : x->scale[c]);
        if (is_dead(x, c, threshold, epsilon))
            dead = fmax(dead, size);
        else
            alive = fmax(alive, size);
    }
    return alive > 0 ? dead / alive : (double)INFINITY;
}

/* Count dead channels and neutralise them where that is asked for. Before weights are scaled. */
static void care_for_dead(qdbg__fold_site *s, numbers *x, double threshold, float epsilon,
                          uint32_t flags, const qdbg__fold_seen *seen)
{
    for (size_t c = 0; c < s->channels; c++) {
        double value = (double)x->bn[BETA][c];
        if (!is_dead(x, c, threshold, epsilon))
            continue;
        s->row.n_dead++;
        if (!(flags & QDBG_FOLD_NEUTRALIZE) || !is_constant(seen, c, &value))
            continue;
        neutralize(x, c, value);
        s->row.n_neutralized++;
    }
}

/* ---- forward ---- */

static bool any_number(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (x[i] != 0)
            return true;
    return false;
}

/* What the shift of the inputs adds to each output; false where it cannot be had. */
static bool add_shift(qdbg_model *m, const qdbg__fold_site *s, numbers *x, double *added)
{
    bool any = any_number(x->shift, s->channels);
    for (size_t i = 0; any && i < x->n_weights; i++)
        added[qdbg__layer_out(&s->layer, i)] +=
            (double)x->weight[i] * x->shift[qdbg__layer_in(&s->layer, i)];
    if (!any)
        return true;
    return !qdbg__layer_has_borders(m->graph, &s->layer);
}

/* Gemm multiplies the product by alpha and the bias by beta. */
static double bias_factor(const qdbg_graph *g, const qdbg__layer *l)
{
    const qdbg__node *n = &g->nodes[l->node];
    if (!qdbg__node_is(n, "Gemm"))
        return 1;
    return (double)qdbg__attr_float(n, "alpha", 1) / (double)qdbg__attr_float(n, "beta", 1);
}

/* The mean that a BatchNormalization behind takes off goes down by what is added. */
static qdbg_status shift_next_mean(qdbg_model *m, const qdbg__fold_site *s, const double *added,
                                   qdbg__journal *journal)
{
    const qdbg__node *layer = &m->graph->nodes[s->layer.node];
    uint32_t mean = m->graph->nodes[s->layer.norm].in[MEAN];
    double alpha = qdbg__node_is(layer, "Gemm") ? (double)qdbg__attr_float(layer, "alpha", 1) : 1;
    float *data;
    size_t n;
    qdbg_status status = qdbg__model_fetch(m, mean, &data, &n);
    if (status != QDBG_OK)
        return status;
    for (size_t o = 0; o < n; o++)
        data[o] = (float)((double)data[o] - alpha * added[o]);
    status = qdbg__journal_set(m, journal, mean, data);
    qdbg__free(m->ctx, data, n, sizeof *data);
    return status;
}

/* Put the shift into what takes it, or tell in the row why it cannot be. */
static qdbg_status fold_forward(qdbg_model *m, qdbg__fold_site *s, numbers *x,
                                qdbg__journal *journal)
{
    double factor = bias_factor(m->graph, &s->layer);
    double *added = qdbg__alloc(m->ctx, s->layer.outs, sizeof *added);
    qdbg_status status = added ? QDBG_OK : m->ctx->error_status;
    if (status == QDBG_OK && !add_shift(m, s, x, added))
        s->row.outcome = QDBG_FOLD_PADDED;
    else if (status == QDBG_OK && x->bias && isfinite(factor))
        for (size_t o = 0; o < s->layer.outs; o++)
            x->bias[o] = (float)((double)x->bias[o] + factor * added[o]);
    else if (status == QDBG_OK && !x->bias && s->layer.norm != QDBG_NONE)
        status = shift_next_mean(m, s, added, journal);
    else if (status == QDBG_OK && any_number(added, s->layer.outs))
        s->row.outcome = QDBG_FOLD_NO_LAYER;
    qdbg__free(m->ctx, added, s->layer.outs, sizeof *added);
    return status;
}

/* ---- storing ---- */

/* What BatchNormalization is left with: the identity and a shift, or a scale and a shift. */
static void rest_of_norm(const qdbg__fold_site *s, numbers *x, float epsilon)
{
    for (size_t c = 0; c < s->channels; c++) {
        bool alone = s->row.outcome == QDBG_FOLD_STANDALONE;
        x->bn[GAMMA][c] = alone ? (float)x->scale[c] : 1;
        x->bn[BETA][c] = s->row.outcome == QDBG_FOLD_FORWARD ? 0 : (float)x->shift[c];
        x->bn[MEAN][c] = 0;
        x->bn[VAR][c] = 1.0f - epsilon;
    }
}

static qdbg_status store(qdbg_model *m, const qdbg__fold_site *s, const numbers *x,
                         qdbg__journal *journal)
{
    const qdbg__node *bn = &m->graph->nodes[s->bn];
    qdbg_status status = QDBG_OK;
    if (s->has_layer)
        status = qdbg__journal_set(m, journal, s->layer.weight, x->weight);
    if (status == QDBG_OK && x->bias)
        status = qdbg__journal_set(m, journal, s->layer.bias, x->bias);
    for (uint32_t i = GAMMA; i <= VAR && status == QDBG_OK; i++)
        status = qdbg__journal_set(m, journal, bn->in[i], x->bn[i]);
    return status;
}

static qdbg_status fold_numbers(qdbg_model *m, qdbg__fold_site *s, numbers *x, double threshold,
                                uint32_t flags, const qdbg__fold_seen *seen, qdbg__journal *journal)
{
    float epsilon = epsilon_of(m, s);
    qdbg_status status = QDBG_OK;
    s->row.dead_ratio = dead_ratio(s, x, threshold, epsilon);
    care_for_dead(s, x, threshold, epsilon, flags, seen);
    if (s->row.n_dead == 0)
        s->row.dead_ratio = 0;
    if (s->row.outcome == QDBG_FOLD_FORWARD)
        status = fold_forward(m, s, x, journal);
    if (status != QDBG_OK)
        return status;
    if (s->row.outcome > QDBG_FOLD_STANDALONE) {
        s->row.layer = QDBG_NONE;
        s->row.n_neutralized = 0;
        return QDBG_OK;
    }
    scale_weights(s, x);
    rest_of_norm(s, x, epsilon);
    return store(m, s, x, journal);
}

qdbg_status qdbg__fold_do(qdbg_model *m, qdbg__fold_site *s, double threshold, uint32_t flags,
                          const qdbg__fold_seen *seen, qdbg__journal *journal)
{
    numbers x = {0};
    size_t before = journal->n;
    if (s->channels == 0 ||
        (s->row.outcome != QDBG_FOLD_BACKWARD && s->row.outcome != QDBG_FOLD_FORWARD &&
         s->row.outcome != QDBG_FOLD_STANDALONE))
        return QDBG_OK;
    qdbg_status status = load(m, s, &x);
    if (status == QDBG_OK)
        status = work_out_scales(m, s, &x);
    if (status == QDBG_OK)
        status = keep_stats(m, s, &x);
    if (status == QDBG_OK)
        status = fold_numbers(m, s, &x, threshold, flags, seen, journal);
    if (status != QDBG_OK)
        qdbg__journal_undo(m, journal, before);
    drop(m, s, &x);
    return status;
}
