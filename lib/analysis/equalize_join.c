/* What each operator is to the values that it reads and writes: does it keep factors by channel,
 * and which channels of its output are which of its input? */
#include <float.h>
#include <math.h>
#include <string.h>

#include "equalize.h"

static const qdbg__node *node_at(const qdbg__joints *j, uint32_t node)
{
    return &j->model->graph->nodes[node];
}

/* No channel of a value that the node touches changes. */
static qdbg_status hold_all(qdbg__joints *j, uint32_t node, int32_t reason)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = node_at(j, node);
    qdbg_status status = QDBG_OK;
    for (uint32_t i = 0; i < n->n_in && status == QDBG_OK; i++)
        if (n->in[i] != QDBG_NONE && !g->values[n->in[i]].is_param)
            status = qdbg__joints_hold(j, n->in[i], reason, node, false);
    for (uint32_t i = 0; i < n->n_out && status == QDBG_OK; i++)
        if (n->out[i] != QDBG_NONE)
            status = qdbg__joints_hold(j, n->out[i], reason, node, false);
    return status;
}

/* Output channel i is input channel i. */
static qdbg_status pass(qdbg__joints *j, uint32_t node)
{
    const qdbg__node *n = node_at(j, node);
    j->repeat[n->out[0]] = j->repeat[n->in[0]];
    size_t in = qdbg__channels_of(j->model->graph, n->in[0]);
    if (in == 0 || in != qdbg__channels_of(j->model->graph, n->out[0]))
        return hold_all(j, node, QDBG_EQUALIZE_SHAPE);
    return qdbg__joints_unite(j, n->in[0], n->out[0], 0, node);
}

static qdbg_status add_rider(qdbg__joints *j, uint32_t param, uint32_t value, int32_t kind)
{
    qdbg_status status = qdbg__reserve(j->model->ctx, &j->riders, &j->riders_capacity,
                                       j->n_riders + 1, sizeof *j->riders);
    if (status == QDBG_OK)
        j->riders[j->n_riders++] = (qdbg__rider){param, value, kind};
    return status;
}

/* ---- layers ---- */

static qdbg_status take_layer(qdbg__joints *j, const qdbg__layer *l)
{
    const qdbg_graph *g = j->model->graph;
    qdbg_status status = qdbg__reserve(j->model->ctx, &j->layers, &j->layers_capacity,
                                       j->n_layers + 1, sizeof *j->layers);
    if (status != QDBG_OK)
        return status;
    j->layers[j->n_layers++] = *l;
    uint32_t rank = g->values[l->output].rank;
    bool odd = qdbg__node_is(&g->nodes[l->node], "MatMul") && rank != 2;
    if (!l->own_weight || (l->bias != QDBG_NONE && !l->own_bias))
        status = hold_all(j, l->node, QDBG_EQUALIZE_SHARED);
    if (status == QDBG_OK && (odd || qdbg__channels_of(g, l->output) != l->outs))
        status = qdbg__joints_hold(j, l->output, QDBG_EQUALIZE_SHAPE, l->node, true);
    if (status == QDBG_OK && (odd || qdbg__channels_of(g, l->input) != l->ins))
        status = qdbg__joints_hold(j, l->input, QDBG_EQUALIZE_SHAPE, l->node, true);
    return status;
}

/* ---- numbers of their own ---- */

qdbg_status qdbg__norm_is_folded(qdbg_model *m, const qdbg__node *n, size_t channels, bool *folded)
{
    float *gamma = NULL, *mean = NULL, *var = NULL;
    double epsilon = (double)qdbg__attr_float(n, "epsilon", 1e-5f);
    size_t count;
    bool same = true;
    qdbg_status status = qdbg__model_fetch(m, n->in[QDBG__BN_GAMMA], &gamma, &count);
    if (status == QDBG_OK)
        status = qdbg__model_fetch(m, n->in[QDBG__BN_MEAN], &mean, &count);
    if (status == QDBG_OK)
        status = qdbg__model_fetch(m, n->in[QDBG__BN_VAR], &var, &count);
    for (size_t c = 0; c < channels && status == QDBG_OK; c++)
        same = same && mean[c] == 0 &&
               fabs((double)gamma[c] / sqrt((double)var[c] + epsilon) - 1) < 1e-5;
    qdbg__free(m->ctx, gamma, channels, sizeof *gamma);
    qdbg__free(m->ctx, mean, channels, sizeof *mean);
    qdbg__free(m->ctx, var, channels, sizeof *var);
    *folded = same;
    return status;
}

static qdbg_status take_norm(qdbg__joints *j, uint32_t node)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = node_at(j, node);
    size_t channels = qdbg__channels_of(g, n->in[0]);
    bool folded = false;
    qdbg_status status = QDBG_OK;
    if (qdbg__norm_is_constant(g, n, channels))
        status = qdbg__norm_is_folded(j->model, n, channels, &folded);
    if (status == QDBG_OK && !folded)
        status = hold_all(j, node, QDBG_EQUALIZE_NORM);
    if (status == QDBG_OK)
        status = pass(j, node);
    return status == QDBG_OK && folded
               ? add_rider(j, n->in[QDBG__BN_BETA], n->out[0], QDBG__RIDER_SHIFT)
               : status;
}

/* Sums: constants by channel ride along, values are scaled together. */
static qdbg_status take_addend(qdbg__joints *j, uint32_t node, uint32_t input)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = node_at(j, node);
    uint32_t v = n->in[input], y = n->out[0];
    size_t channels = qdbg__channels_of(g, y);
    uint32_t rank = g->values[y].rank;
    if (v == QDBG_NONE)
        return QDBG_OK;
    if (g->values[v].is_param) {
        if (!qdbg__own_param(g, n, input))
            return qdbg__joints_hold(j, y, QDBG_EQUALIZE_SHARED, node, false);
        if (!qdbg__is_channel_param(g, v, rank, channels))
            return qdbg__joints_hold(j, y, QDBG_EQUALIZE_SHAPE, node, false);
        return add_rider(j, v, y, QDBG__RIDER_SHIFT);
    }
    if (channels == 0 || g->values[v].rank != rank || qdbg__channels_of(g, v) != channels ||
        j->repeat[v] != j->repeat[y])
        return hold_all(j, node, QDBG_EQUALIZE_SHAPE);
    return qdbg__joints_unite(j, y, v, 0, node);
}

static qdbg_status take_sum(qdbg__joints *j, uint32_t node)
{
    const qdbg__node *n = node_at(j, node);
    qdbg_status status = QDBG_OK;
    for (uint32_t i = 0; i < n->n_in; i++)
        if (n->in[i] != QDBG_NONE && !j->model->graph->values[n->in[i]].is_param)
            j->repeat[n->out[0]] = j->repeat[n->in[i]];
    for (uint32_t i = 0; i < n->n_in && status == QDBG_OK; i++)
        status = take_addend(j, node, i);
    return status;
}

/* Constants multiply what is scaled as they do what is not; they need not be by channel. */
static bool is_constant_product(const qdbg_graph *g, const qdbg__node *n)
{
    bool mul = qdbg__node_is(n, "Mul");
    if (n->n_in != 2 || (!mul && !qdbg__node_is(n, "Div")) || n->in[0] == QDBG_NONE ||
        n->in[1] == QDBG_NONE)
        return false;
    return g->values[n->in[1]].is_param != g->values[n->in[0]].is_param &&
           (mul || g->values[n->in[1]].is_param);
}

static qdbg_status take_product(qdbg__joints *j, uint32_t node)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = node_at(j, node);
    uint32_t v = g->values[n->in[0]].is_param ? n->in[1] : n->in[0], y = n->out[0];
    size_t channels = qdbg__channels_of(g, v);
    j->repeat[y] = j->repeat[v];
    if (channels == 0 || channels != qdbg__channels_of(g, y) ||
        g->values[v].rank != g->values[y].rank)
        return hold_all(j, node, QDBG_EQUALIZE_SHAPE);
    return qdbg__joints_unite(j, v, y, 0, node);
}

qdbg_status qdbg__clip_bound(qdbg_model *m, const qdbg__node *n, uint32_t input, float *bound)
{
    *bound = qdbg__attr_float(n, input == 1 ? "min" : "max", INFINITY);
    if (input >= n->n_in || n->in[input] == QDBG_NONE)
        return QDBG_OK;
    const qdbg__value *v = &m->graph->values[n->in[input]];
    *bound = (float)NAN;
    if (!v->is_param || v->dtype != QDBG_F32 || v->bytes != sizeof(float))
        return QDBG_OK;
    float *data = qdbg__alloc(m->ctx, 1, sizeof *data);
    qdbg_status status = data ? m->backend->get(m, n->in[input], data, 1) : m->ctx->error_status;
    if (status == QDBG_OK)
        *bound = *data;
    qdbg__free(m->ctx, data, 1, sizeof *data);
    return status;
}

/* A bound by channel rides along; one number must be the same whatever the factor. */
static qdbg_status take_bound(qdbg__joints *j, uint32_t node, uint32_t input)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = node_at(j, node);
    size_t channels = qdbg__channels_of(g, n->in[0]);
    float bound;
    if (qdbg__own_param(g, n, input) && channels > 0 &&
        qdbg__is_channel_param(g, n->in[input], g->values[n->in[0]].rank, channels))
        return add_rider(j, n->in[input], n->out[0],
                         input == 1 ? QDBG__RIDER_MIN : QDBG__RIDER_MAX);
    qdbg_status status = qdbg__clip_bound(j->model, n, input, &bound);
    if (status == QDBG_OK && bound != 0 && !(fabsf(bound) >= FLT_MAX))
        status = hold_all(j, node, QDBG_EQUALIZE_CLIP);
    return status;
}

static qdbg_status take_clip(qdbg__joints *j, uint32_t node)
{
    qdbg_status status = pass(j, node);
    qdbg__joints_bend(j, node_at(j, node)->in[0]);
    if (status == QDBG_OK)
        status = take_bound(j, node, 1);
    return status == QDBG_OK ? take_bound(j, node, 2) : status;
}

/* ---- channels at other places ---- */

/* Elements of a sample; 0: not known. */
static size_t sample_size(const qdbg__value *v)
{
    size_t n = 1;
    for (uint32_t i = 1; i < v->rank; i++) {
        if (v->dims[i] <= 0 || n > SIZE_MAX / (size_t)v->dims[i])
            return 0;
        n *= (size_t)v->dims[i];
    }
    return n;
}

/* Do samples stay samples? An unknown number of them may have been inferred as 1, or become another
 * unknown number. */
static bool keeps_samples(const qdbg__node *n, const qdbg__value *x, const qdbg__value *y)
{
    if (x->rank < 2 || y->rank < 2 || x->rank == QDBG_RANK_UNKNOWN || y->rank == QDBG_RANK_UNKNOWN)
        return false;
    if (x->dims[0] > 0 && y->dims[0] > 0)
        return x->dims[0] == y->dims[0];
    if (x->dims[0] > 1 || y->dims[0] > 1)
        return false;
    if (sample_size(x) > 0 && sample_size(y) > 0)
        return sample_size(x) == sample_size(y);
    return !qdbg__node_is(n, "Reshape");
}

/* The elements stay in order, so each input channel becomes as many output channels: Flatten, and
 * back. */
static qdbg_status take_reshape(qdbg__joints *j, uint32_t node)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = node_at(j, node);
    uint32_t x = n->in[0], y = n->out[0];
    size_t in = qdbg__channels_of(g, x), out = qdbg__channels_of(g, y);
    if (in == 0 || out == 0 || out > SIZE_MAX / j->repeat[x] || out * j->repeat[x] % in != 0 ||
        !keeps_samples(n, &g->values[x], &g->values[y]) ||
        (qdbg__node_is(n, "Flatten") && qdbg__attr_int(n, "axis", 1) != 1))
        return hold_all(j, node, QDBG_EQUALIZE_SHAPE);
    j->repeat[y] = out * j->repeat[x] / in;
    return qdbg__joints_unite(j, x, y, 0, node);
}

/* Parts of the output along the channels. */
static qdbg_status take_concat(qdbg__joints *j, uint32_t node)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = node_at(j, node);
    uint32_t y = n->out[0];
    bool by_channel = qdbg__axis_of(g, y, qdbg__attr_int(n, "axis", 1)) == 1;
    int64_t at = 0;
    qdbg_status status = QDBG_OK;
    if (n->in[0] != QDBG_NONE)
        j->repeat[y] = j->repeat[n->in[0]];
    for (uint32_t i = 0; i < n->n_in; i++) {
        uint32_t v = n->in[i];
        if (v == QDBG_NONE || g->values[v].is_param)
            return hold_all(j, node, QDBG_EQUALIZE_OPERATOR);
        size_t channels = qdbg__joints_channels(j, v);
        if (channels == 0 || j->repeat[v] != j->repeat[y] ||
            qdbg__channels_of(g, v) % j->repeat[v] != 0 ||
            (!by_channel && channels != qdbg__joints_channels(j, y)))
            return hold_all(j, node, QDBG_EQUALIZE_SHAPE);
        at += by_channel ? (int64_t)channels : 0;
    }
    if (by_channel && at != (int64_t)qdbg__joints_channels(j, y))
        return hold_all(j, node, QDBG_EQUALIZE_SHAPE);
    at = 0;
    for (uint32_t i = 0; i < n->n_in && status == QDBG_OK; i++) {
        status = qdbg__joints_unite(j, y, n->in[i], at, node);
        at += by_channel ? (int64_t)qdbg__joints_channels(j, n->in[i]) : 0;
    }
    return status;
}

/* An output that is `n` channels of the input from `first` on; they are counted in its own. */
static qdbg_status take_part(qdbg__joints *j, uint32_t node, uint32_t y, size_t first)
{
    const qdbg_graph *g = j->model->graph;
    uint32_t x = node_at(j, node)->in[0];
    size_t repeat = j->repeat[x], in = qdbg__channels_of(g, x), out = qdbg__channels_of(g, y);
    j->repeat[y] = repeat;
    if (out == 0 || first % repeat != 0 || out % repeat != 0 || first > in || out > in - first)
        return hold_all(j, node, QDBG_EQUALIZE_SHAPE);
    return qdbg__joints_unite(j, x, y, (int64_t)(first / repeat), node);
}

static qdbg_status take_split(qdbg__joints *j, uint32_t node)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = node_at(j, node);
    bool by_channel = qdbg__axis_of(g, n->in[0], qdbg__attr_int(n, "axis", 0)) == 1;
    size_t at = 0;
    qdbg_status status = QDBG_OK;
    for (uint32_t i = 0; i < n->n_out && status == QDBG_OK; i++) {
        if (n->out[i] == QDBG_NONE) /* its length may not be known */
            return hold_all(j, node, QDBG_EQUALIZE_OPERATOR);
        status = take_part(j, node, n->out[i], at);
        at += by_channel ? qdbg__channels_of(g, n->out[i]) : 0;
    }
    return status;
}

static qdbg_status take_slice(qdbg__joints *j, uint32_t node)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = node_at(j, node);
    int64_t starts[QDBG__MOST_INTS], axes[QDBG__MOST_INTS], steps[QDBG__MOST_INTS], first = 0;
    int32_t n_starts = qdbg__read_ints(g, n, "starts", 1, starts);
    int32_t n_axes = qdbg__read_ints(g, n, "axes", 3, axes),
            n_steps = qdbg__read_ints(g, n, "steps", 4, steps);
    if (n_starts < 0 || n_axes == -2 || n_steps == -2 || (n_axes >= 0 && n_axes != n_starts) ||
        (n_steps >= 0 && n_steps != n_starts))
        return hold_all(j, node, QDBG_EQUALIZE_OPERATOR);
    for (int32_t i = 0; i < n_starts; i++) {
        int64_t axis = qdbg__axis_of(g, n->in[0], n_axes < 0 ? i : axes[i]);
        if (axis != 1)
            continue;
        if (n_steps >= 0 && steps[i] != 1)
            return hold_all(j, node, QDBG_EQUALIZE_OPERATOR);
        int64_t channels = (int64_t)qdbg__channels_of(g, n->in[0]);
        first = starts[i] < -channels ? 0 : starts[i] < 0 ? starts[i] + channels : starts[i];
    }
    return take_part(j, node, n->out[0], (size_t)first);
}

/* ---- the rest ---- */

/* One value in, one out. */
static bool is_unary(const qdbg_graph *g, const qdbg__node *n)
{
    if (n->n_in < 1 || n->in[0] == QDBG_NONE || g->values[n->in[0]].is_param)
        return false;
    for (uint32_t i = 1; i < n->n_in; i++)
        if (n->in[i] != QDBG_NONE && !g->values[n->in[i]].is_param)
            return false;
    return true;
}

static qdbg_status take_unary(qdbg__joints *j, uint32_t node)
{
    static const char *const reshapes[] = {"Flatten", "Reshape", "Squeeze", "Unsqueeze", NULL};
    static const char *const bends[] = {"Relu", "LeakyRelu", "PRelu", "Abs", NULL};
    const qdbg__node *n = node_at(j, node);
    if (qdbg__node_is(n, "BatchNormalization"))
        return take_norm(j, node);
    if (qdbg__node_is(n, "Clip"))
        return take_clip(j, node);
    if (qdbg__node_is(n, "Slice"))
        return take_slice(j, node);
    if (qdbg__node_is_in(n, reshapes))
        return take_reshape(j, node);
    if (!qdbg__keeps_factors(j->model->graph, n))
        return hold_all(j, node, QDBG_EQUALIZE_OPERATOR);
    if (qdbg__node_is_in(n, bends))
        qdbg__joints_bend(j, n->in[0]);
    return pass(j, node);
}

qdbg_status qdbg__joints_take_node(qdbg__joints *j, uint32_t node)
{
    static const char *const sums[] = {"Add", "Sum", "Sub", NULL};
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = node_at(j, node);
    qdbg__layer layer;
    if (qdbg__layer_read(g, node, &layer))
        return take_layer(j, &layer);
    if (qdbg__node_is(n, "Split") && is_unary(g, n))
        return take_split(j, node);
    bool single = n->n_out > 0 && n->out[0] != QDBG_NONE && n->n_in > 0;
    for (uint32_t i = 1; i < n->n_out; i++)
        single = single && n->out[i] == QDBG_NONE;
    if (single && qdbg__node_is(n, "Concat"))
        return take_concat(j, node);
    if (single && qdbg__node_is_in(n, sums))
        return take_sum(j, node);
    if (single && is_constant_product(g, n))
        return take_product(j, node);
    if (single && is_unary(g, n))
        return take_unary(j, node);
    return hold_all(j, node, QDBG_EQUALIZE_OPERATOR);
}
