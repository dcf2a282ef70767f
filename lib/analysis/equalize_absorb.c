/* High biases go to the next layer. */
#include <math.h>

#include "equalize.h"

void qdbg_absorb_options_init(qdbg_absorb_options *options)
{
    if (options)
        *options = (qdbg_absorb_options)QDBG_ABSORB_OPTIONS_INIT;
}

/* ---- where ---- */

/* Normalizations that are asked for it are folded (check_norm): their scale is 1. */
static uint32_t bias_site(const qdbg_graph *g, const qdbg__layer *l, double *unit)
{
    bool by_norm;
    return qdbg__layer_bias_site(g, l, unit, &by_norm);
}

/* Does the operator make f(x - c) = f(x) - c where x >= c >= 0, once upper bounds go along? */
static bool passes_shift(const qdbg__node *n)
{
    static const char *const types[] = {
        "Relu",          "LeakyRelu", "PRelu",     "Clip",    "MaxPool",  "GlobalAveragePool",
        "GlobalMaxPool", "Flatten",   "Reshape",   "Squeeze", "Identity", "Dropout",
        "ReduceMean",    "ReduceMax", "Unsqueeze", "Concat",  "Slice",    "Split",
        "Transpose",
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (qdbg__node_is(n, types[i]))
            return true;
    return false;
}

/* Zeros at the border would not be shifted. */
static bool averages_padding(const qdbg__node *n)
{
    const int64_t *pads;
    uint32_t n_pads = qdbg__attr_ints(n, "pads", &pads);
    bool padded = qdbg__attr_string(n, "auto_pad", "NOTSET")[0] == 'S';
    for (uint32_t i = 0; i < n_pads; i++)
        padded = padded || pads[i] != 0;
    return padded && qdbg__attr_int(n, "count_include_pad", 0) != 0;
}

static void leave(qdbg__joint *x, int32_t outcome, uint32_t node)
{
    if (x->outcome != QDBG_EQUALIZE_DONE)
        return;
    x->outcome = outcome;
    x->node = node;
}

/* Upper bounds by channel go along; zero does not, which positive numbers are clipped to. */
static qdbg_status check_clip(const qdbg__joints *j, qdbg__joint *x, uint32_t node)
{
    float bound;
    qdbg_status status = qdbg__clip_bound(j->model, &j->model->graph->nodes[node], 2, &bound);
    if (status == QDBG_OK && bound == 0)
        leave(x, QDBG_EQUALIZE_CLIP, node);
    return status;
}

/* The producer's own normalization comes before what is looked at. */
static qdbg_status check_node(const qdbg__joints *j, qdbg__joint *x, uint32_t node)
{
    const qdbg__node *n = &j->model->graph->nodes[node];
    const qdbg__layer *l = &j->layers[x->first_producer];
    bool average = qdbg__node_is(n, "AveragePool");
    if (node == l->node || node == l->norm)
        return QDBG_OK;
    if (qdbg__node_is(n, "Pad") || (average && averages_padding(n)))
        leave(x, QDBG_EQUALIZE_PADDED, node);
    else if (!average && !passes_shift(n))
        leave(x, QDBG_EQUALIZE_OPERATOR, node);
    return qdbg__node_is(n, "Clip") ? check_clip(j, x, node) : QDBG_OK;
}

/* The shift of a normalization takes what is added only where its scale is 1. */
static qdbg_status check_norm(const qdbg__joints *j, qdbg__joint *x, const qdbg__layer *l)
{
    const qdbg_graph *g = j->model->graph;
    double unit;
    bool by_norm, folded = true;
    qdbg_status status = QDBG_OK;
    qdbg__layer_bias_site(g, l, &unit, &by_norm);
    if (by_norm)
        status = qdbg__norm_is_folded(j->model, &g->nodes[l->norm], l->outs, &folded);
    if (status == QDBG_OK && !folded)
        leave(x, QDBG_EQUALIZE_NORM, l->norm);
    return status;
}

static qdbg_status check_joint(const qdbg__joints *j, qdbg__joint *x)
{
    const qdbg_graph *g = j->model->graph;
    double unit;
    qdbg_status status = QDBG_OK;
    if (x->n_producers != 1)
        leave(x, QDBG_EQUALIZE_SHARED, j->layers[x->first_producer].node);
    for (size_t i = 0; i < j->n_layers && status == QDBG_OK; i++) {
        const qdbg__layer *l = &j->layers[i];
        bool reads = qdbg__joints_of(j, l->input) == x;
        if (!reads && qdbg__joints_of(j, l->output) != x)
            continue;
        if (bias_site(g, l, &unit) == QDBG_NONE)
            leave(x, QDBG_EQUALIZE_SHARED, l->node);
        if (reads && qdbg__layer_has_borders(g, l))
            leave(x, QDBG_EQUALIZE_PADDED, l->node);
        status = check_norm(j, x, l);
    }
    for (uint32_t i = 0; i < g->n_nodes && status == QDBG_OK; i++) {
        const qdbg__node *n = &g->nodes[i];
        if (n->n_out > 0 && n->out[0] != QDBG_NONE && qdbg__joints_of(j, n->out[0]) == x)
            status = check_node(j, x, i);
    }
    if (!j->bends[x->root]) /* nothing is clamped: nothing is gained */
        leave(x, QDBG_EQUALIZE_LOW, QDBG_NONE);
    return status;
}

/* ---- how much ---- */

static const qdbg_channel_stats *stats_of(const qdbg__joints *j, const qdbg_absorb_options *o,
                                          const qdbg__joint *x)
{
    const qdbg__layer *l = &j->layers[x->first_producer];
    for (uint32_t i = 0; i < o->n_stats; i++)
        if (o->stats[i].value == l->result && o->stats[i].n == l->outs)
            return &o->stats[i];
    return NULL;
}

/* Not above an upper bound by channel; nothing where a lower one is above zero. */
static qdbg_status heed_bounds(const qdbg__joints *j, const qdbg__joint *x)
{
    qdbg_model *m = j->model;
    qdbg_status status = QDBG_OK;
    for (size_t i = 0; i < j->n_riders && status == QDBG_OK; i++) {
        const qdbg__rider *r = &j->riders[i];
        float *data = NULL;
        qdbg__port port = qdbg__joints_port(j, r->value);
        if (r->kind == QDBG__RIDER_SHIFT || port.joint != x)
            continue;
        size_t n = port.n * port.repeat;
        data = qdbg__alloc(m->ctx, n, sizeof *data);
        status = data ? m->backend->get(m, r->param, data, n) : m->ctx->error_status;
        for (size_t k = 0; k < n && status == QDBG_OK; k++) {
            double *shift = &x->factor[qdbg__port_channel(&port, k)];
            if (r->kind == QDBG__RIDER_MAX)
                *shift = fmax(0, fmin(*shift, (double)data[k]));
            else if (data[k] > 0)
                *shift = 0;
        }
        qdbg__free(m->ctx, data, n, sizeof *data);
    }
    return status;
}

static qdbg_status choose(const qdbg__joints *j, const qdbg_absorb_options *o, qdbg__joint *x)
{
    const qdbg_channel_stats *stats = stats_of(j, o, x);
    double deviations = o->deviations > 0 ? o->deviations : 3;
    if (!stats && !x->peak) {
        leave(x, QDBG_EQUALIZE_NO_DATA, QDBG_NONE);
        return QDBG_OK;
    }
    qdbg__port port = qdbg__joints_port(j, j->layers[x->first_producer].result);
    for (size_t c = 0; c < port.n; c++) {
        size_t at = port.first + c;
        double low =
            stats ? (double)stats->mean[c] - deviations * (double)stats->deviation[c] : x->peak[at];
        x->factor[at] = qdbg__joint_is_free(x, at) && isfinite(low) ? fmax(0, low) : 0;
    }
    qdbg_status status = heed_bounds(j, x);
    x->row.smallest = x->row.largest = x->factor[0];
    for (size_t c = 0; c < x->channels; c++) {
        x->row.n_scaled += x->factor[c] > 0;
        x->row.smallest = fmin(x->row.smallest, x->factor[c]);
        x->row.largest = fmax(x->row.largest, x->factor[c]);
    }
    if (x->row.n_scaled == 0)
        leave(x, QDBG_EQUALIZE_LOW, QDBG_NONE);
    return status;
}

/* ---- doing it ---- */

/* Add what[c] * unit to element c. */
static qdbg_status add(qdbg_equalize *e, uint32_t param, const double *what, double unit, size_t n)
{
    qdbg_model *m = e->model;
    float *data;
    size_t count;
    qdbg_status status = qdbg__model_fetch(m, param, &data, &count);
    if (status != QDBG_OK)
        return status;
    for (size_t c = 0; c < n && c < count; c++)
        data[c] = (float)((double)data[c] + what[c] * unit);
    status = qdbg__journal_set(m, &e->journal, param, data);
    qdbg__free(m->ctx, data, count, sizeof *data);
    return status;
}

/* b2 += sum W2 c */
static qdbg_status pass_on(qdbg_equalize *e, const qdbg__layer *l, const qdbg__joint *x)
{
    qdbg_model *m = e->model;
    qdbg__port in = qdbg__joints_port(&e->joints, l->input);
    const qdbg__node *node = &m->graph->nodes[l->node];
    double unit, alpha = 1;
    float *weight;
    size_t n;
    if (qdbg__node_is(node, "Gemm"))
        alpha = (double)qdbg__attr_float(node, "alpha", 1);
    qdbg_status status = qdbg__model_fetch(m, l->weight, &weight, &n);
    if (status != QDBG_OK)
        return status;
    double *added = qdbg__alloc(m->ctx, l->outs, sizeof *added);
    status = added ? QDBG_OK : m->ctx->error_status;
    for (size_t i = 0; i < n && added; i++)
        added[qdbg__layer_out(l, i)] +=
            alpha * (double)weight[i] * x->factor[qdbg__port_channel(&in, qdbg__layer_in(l, i))];
    uint32_t site = bias_site(m->graph, l, &unit);
    if (status == QDBG_OK)
        status = add(e, site, added, unit, l->outs);
    qdbg__free(m->ctx, added, l->outs, sizeof *added);
    qdbg__free(m->ctx, weight, n, sizeof *weight);
    return status;
}

/* Take the shifts off numbers that are one for each channel of `value`. */
static qdbg_status take_off(qdbg_equalize *e, uint32_t value, uint32_t param, double unit)
{
    qdbg_ctx *ctx = e->model->ctx;
    qdbg__port port = qdbg__joints_port(&e->joints, value);
    size_t n = port.n * port.repeat;
    double *minus = qdbg__alloc(ctx, n, sizeof *minus);
    if (!minus)
        return ctx->error_status;
    for (size_t i = 0; i < n; i++)
        minus[i] = -port.joint->factor[qdbg__port_channel(&port, i)];
    qdbg_status status = add(e, param, minus, unit, n);
    qdbg__free(ctx, minus, n, sizeof *minus);
    return status;
}

static qdbg_status lower(qdbg_equalize *e, const qdbg__joint *x)
{
    const qdbg__joints *j = &e->joints;
    const qdbg__layer *l = &j->layers[x->first_producer];
    double unit;
    uint32_t site = bias_site(e->model->graph, l, &unit);
    qdbg_status status = take_off(e, l->output, site, unit);
    for (size_t i = 0; i < j->n_riders && status == QDBG_OK; i++)
        if (j->riders[i].kind == QDBG__RIDER_MAX && qdbg__joints_of(j, j->riders[i].value) == x)
            status = take_off(e, j->riders[i].value, j->riders[i].param, 1);
    return status;
}

static qdbg_status absorb_joint(qdbg_equalize *e, qdbg__joint *x)
{
    qdbg_status status = lower(e, x);
    for (size_t i = 0; i < e->joints.n_layers && status == QDBG_OK; i++)
        if (qdbg__joints_of(&e->joints, e->joints.layers[i].input) == x)
            status = pass_on(e, &e->joints.layers[i], x);
    x->outcome = QDBG_EQUALIZE_ABSORBED;
    return status;
}

static qdbg_status absorb(qdbg_equalize *e, const qdbg_absorb_options *o)
{
    qdbg__joints *j = &e->joints;
    qdbg_status status = qdbg__joints_find(e->model, j);
    if (status == QDBG_OK && e->guard.sim)
        status = qdbg__guard_score(&e->guard, "absorb: score", &e->guard.before);
    for (size_t i = 0; i < j->n && status == QDBG_OK; i++) {
        for (size_t c = 0; c < j->at[i].channels; c++)
            j->at[i].factor[c] = 0;
        j->at[i].row.smallest = j->at[i].row.largest = 0;
        status = check_joint(j, &j->at[i]);
    }
    if (status == QDBG_OK && o->calibration)
        status = qdbg__joints_observe(j, o->calibration, true);
    for (size_t i = 0; i < j->n && status == QDBG_OK; i++) {
        if (j->at[i].outcome == QDBG_EQUALIZE_DONE)
            status = choose(j, o, &j->at[i]);
        if (status == QDBG_OK && j->at[i].outcome == QDBG_EQUALIZE_DONE)
            status = absorb_joint(e, &j->at[i]);
    }
    return status == QDBG_OK ? qdbg__equalize_judge(e, "absorb: score") : status;
}

static qdbg_status check(qdbg_model *m, const qdbg_absorb_options *o, const qdbg__guard *g)
{
    if (o->struct_size != sizeof *o || !(o->deviations >= 0) || (o->n_stats > 0 && !o->stats))
        return qdbg__fail(m->ctx, QDBG_E_INVALID,
                          "absorb options: struct_size, deviations or stats is wrong");
    for (uint32_t i = 0; i < o->n_stats; i++)
        if (o->stats[i].struct_size != sizeof *o->stats || !o->stats[i].mean ||
            !o->stats[i].deviation)
            return qdbg__fail(m->ctx, QDBG_E_INVALID, "absorb options: stats %u is wrong", i);
    qdbg_status status = o->calibration ? qdbg__dataset_check(m->ctx, o->calibration) : QDBG_OK;
    return status == QDBG_OK ? qdbg__guard_check(m, g) : status;
}

qdbg_status qdbg_absorb_biases(qdbg_model *m, const qdbg_absorb_options *options,
                               qdbg_equalize **result)
{
    if (!m)
        return QDBG_E_INVALID;
    qdbg__clear_error(m->ctx);
    qdbg_absorb_options o = QDBG_ABSORB_OPTIONS_INIT;
    if (options)
        o = *options;
    if (!result)
        return qdbg__fail(m->ctx, QDBG_E_INVALID, "result is NULL");
    qdbg__guard g = {.sim = o.guard_sim,
                     .calibration = o.calibration,
                     .dataset = o.guard_dataset,
                     .metric = o.guard_metric,
                     .moves_function = true,
                     .moves_ranges = true};
    qdbg_status status = check(m, &o, &g);
    if (status != QDBG_OK)
        return status;
    qdbg_equalize *e = qdbg__alloc(m->ctx, 1, sizeof *e);
    if (!e)
        return m->ctx->error_status;
    e->model = m;
    e->guard = g;
    e->is_absorption = true;
    status = absorb(e, &o);
    if (status != QDBG_OK) {
        qdbg__journal_undo(m, &e->journal, 0);
        qdbg_equalize_destroy(e);
        return status;
    }
    *result = e;
    return QDBG_OK;
}
