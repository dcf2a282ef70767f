/* Which values are scaled together, and by whom. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "equalize.h"

/* ---- union of values ---- */

uint32_t qdbg__joints_root(const qdbg__joints *j, uint32_t value)
{
    while (j->parent[value] != value)
        value = j->parent[value];
    return value;
}

qdbg__joint *qdbg__joints_of(const qdbg__joints *j, uint32_t value)
{
    uint32_t joint = j->joint[qdbg__joints_root(j, value)];
    return joint == QDBG_NONE ? NULL : &j->at[joint];
}

static void block(qdbg__joints *j, uint32_t value, int32_t reason, uint32_t node)
{
    uint32_t root = qdbg__joints_root(j, value);
    if (j->reason[root] != 0)
        return;
    j->reason[root] = reason;
    j->culprit[root] = node;
}

static void unite(qdbg__joints *j, uint32_t a, uint32_t b)
{
    a = qdbg__joints_root(j, a);
    b = qdbg__joints_root(j, b);
    if (a == b)
        return;
    uint32_t low = a < b ? a : b, high = a < b ? b : a;
    j->parent[high] = low;
    j->bends[low] = j->bends[low] || j->bends[high];
    if (j->reason[low] == 0) {
        j->reason[low] = j->reason[high];
        j->culprit[low] = j->culprit[high];
    }
}

/* Every value that the node touches stays as it is. */
static void block_all(qdbg__joints *j, uint32_t node, int32_t reason)
{
    const qdbg__node *n = &j->model->graph->nodes[node];
    for (uint32_t i = 0; i < n->n_in; i++)
        if (n->in[i] != QDBG_NONE && !j->model->graph->values[n->in[i]].is_param)
            block(j, n->in[i], reason, node);
    for (uint32_t i = 0; i < n->n_out; i++)
        if (n->out[i] != QDBG_NONE)
            block(j, n->out[i], reason, node);
}

/* ---- what each operator is to the joint ---- */

static qdbg_status add_rider(qdbg__joints *j, uint32_t param, uint32_t value, int32_t kind)
{
    qdbg_status status = qdbg__reserve(j->model->ctx, &j->riders, &j->riders_capacity,
                                       j->n_riders + 1, sizeof *j->riders);
    if (status == QDBG_OK)
        j->riders[j->n_riders++] = (qdbg__rider){param, value, kind};
    return status;
}

static qdbg_status add_layer(qdbg__joints *j, const qdbg__layer *l)
{
    const qdbg_graph *g = j->model->graph;
    qdbg_status status = qdbg__reserve(j->model->ctx, &j->layers, &j->layers_capacity,
                                       j->n_layers + 1, sizeof *j->layers);
    if (status != QDBG_OK)
        return status;
    j->layers[j->n_layers++] = *l;
    uint32_t rank = g->values[l->output].rank;
    bool matrix = qdbg__node_is(&g->nodes[l->node], "MatMul");
    if (!l->own_weight || (l->bias != QDBG_NONE && !l->own_bias)) {
        block(j, l->input, QDBG_EQUALIZE_SHARED, l->node);
        block(j, l->output, QDBG_EQUALIZE_SHARED, l->node);
    }
    if (qdbg__channels_of(g, l->output) != l->outs || (matrix && rank != 2))
        block(j, l->output, QDBG_EQUALIZE_SHAPE, l->node);
    if (qdbg__channels_of(g, l->input) != l->ins || (matrix && rank != 2))
        block(j, l->input, QDBG_EQUALIZE_SHAPE, l->node);
    return QDBG_OK;
}

/* One multiply and add that multiplies by 1. */
static qdbg_status join_norm(qdbg__joints *j, uint32_t node)
{
    qdbg_model *m = j->model;
    const qdbg__node *n = &m->graph->nodes[node];
    size_t channels = qdbg__channels_of(m->graph, n->in[0]), count;
    unite(j, n->in[0], n->out[0]);
    if (!qdbg__norm_is_constant(m->graph, n, channels)) {
        block_all(j, node, QDBG_EQUALIZE_NORM);
        return QDBG_OK;
    }
    float *gamma = NULL, *mean = NULL, *var = NULL;
    double epsilon = (double)qdbg__attr_float(n, "epsilon", 1e-5f);
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
    if (status != QDBG_OK)
        return status;
    if (!same) {
        block_all(j, node, QDBG_EQUALIZE_NORM);
        return QDBG_OK;
    }
    return add_rider(j, n->in[QDBG__BN_BETA], n->out[0], QDBG__RIDER_SHIFT);
}

static qdbg_status join_add(qdbg__joints *j, uint32_t node)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = &g->nodes[node];
    for (uint32_t i = 0; i < n->n_in; i++) {
        uint32_t v = n->in[i], y = n->out[0];
        const qdbg__value *x = &g->values[v];
        size_t channels = qdbg__channels_of(g, y);
        if (x->is_param && qdbg__own_param(g, n, i) &&
            qdbg__is_channel_param(g, v, g->values[y].rank, channels)) {
            qdbg_status status = add_rider(j, v, y, QDBG__RIDER_SHIFT);
            if (status != QDBG_OK)
                return status;
        } else if (x->is_param) {
            block(j, y, QDBG_EQUALIZE_SHARED, node);
        } else if (x->rank != g->values[y].rank || qdbg__channels_of(g, v) != channels) {
            block(j, y, QDBG_EQUALIZE_SHAPE, node);
            block(j, v, QDBG_EQUALIZE_SHAPE, node);
        } else {
            unite(j, v, y);
        }
    }
    return QDBG_OK;
}

/* A bound by channel rides along; one number must be the same whatever the factor. */
static qdbg_status join_bound(qdbg__joints *j, uint32_t node, uint32_t input, const char *name)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = &g->nodes[node];
    float bound = qdbg__attr_float(n, name, 0), *data = NULL;
    if (input < n->n_in && n->in[input] != QDBG_NONE) {
        const qdbg__value *v = &g->values[n->in[input]];
        size_t channels = qdbg__channels_of(g, n->in[0]);
        if (qdbg__own_param(g, n, input) && channels > 0 &&
            qdbg__is_channel_param(g, n->in[input], g->values[n->in[0]].rank, channels))
            return add_rider(j, n->in[input], n->out[0],
                             input == 1 ? QDBG__RIDER_MIN : QDBG__RIDER_MAX);
        if (!v->is_param || v->dtype != QDBG_F32 || v->bytes != sizeof(float)) {
            block_all(j, node, QDBG_EQUALIZE_CLIP);
            return QDBG_OK;
        }
        data = qdbg__alloc(j->model->ctx, 1, sizeof *data);
        qdbg_status status = data ? j->model->backend->get(j->model, n->in[input], data, 1)
                                  : j->model->ctx->error_status;
        bound = data ? *data : 0;
        qdbg__free(j->model->ctx, data, 1, sizeof *data);
        if (status != QDBG_OK)
            return status;
    }
    if (bound != 0 && fabsf(bound) < FLT_MAX)
        block_all(j, node, QDBG_EQUALIZE_CLIP);
    return QDBG_OK;
}

static qdbg_status join_clip(qdbg__joints *j, uint32_t node)
{
    const qdbg__node *n = &j->model->graph->nodes[node];
    unite(j, n->in[0], n->out[0]);
    j->bends[qdbg__joints_root(j, n->in[0])] = true;
    qdbg_status status = join_bound(j, node, 1, "min");
    return status == QDBG_OK ? join_bound(j, node, 2, "max") : status;
}

/* Zeros only, and none as new channels. */
static bool pad_keeps_factors(const qdbg_graph *g, const qdbg__node *n)
{
    size_t in = qdbg__channels_of(g, n->in[0]), out = qdbg__channels_of(g, n->out[0]);
    if (in == 0 || in != out || qdbg__attr_float(n, "value", 0) != 0)
        return false;
    if (strcmp(qdbg__attr_string(n, "mode", "constant"), "constant") != 0)
        return true;
    if (n->n_in < 3 || n->in[2] == QDBG_NONE)
        return true;
    const qdbg__value *v = &g->values[n->in[2]];
    float zero = 1;
    if (!v->is_param || v->dtype != QDBG_F32 || v->bytes != sizeof zero)
        return false;
    memcpy(&zero, v->data, sizeof zero);
    return zero == 0;
}

static bool keeps_factors(const qdbg_graph *g, const qdbg__node *n)
{
    static const char *const types[] = {"Relu",        "LeakyRelu",         "PRelu",
                                        "Identity",    "Dropout",           "MaxPool",
                                        "AveragePool", "GlobalAveragePool", "GlobalMaxPool"};
    if (qdbg__node_is(n, "Pad"))
        return pad_keeps_factors(g, n);
    if (qdbg__node_is(n, "Flatten")) { /* each channel becomes a row of its positions */
        size_t in = qdbg__channels_of(g, n->in[0]), out = qdbg__channels_of(g, n->out[0]);
        return qdbg__attr_int(n, "axis", 1) == 1 && in > 0 && out > 0 && out % in == 0;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (qdbg__node_is(n, types[i]))
            return qdbg__channels_of(g, n->in[0]) == qdbg__channels_of(g, n->out[0]);
    return false;
}

static bool is_unary_bend(const qdbg__node *n)
{
    return qdbg__node_is(n, "Relu") || qdbg__node_is(n, "LeakyRelu") || qdbg__node_is(n, "PRelu");
}

static qdbg_status join(qdbg__joints *j, uint32_t node)
{
    const qdbg_graph *g = j->model->graph;
    const qdbg__node *n = &g->nodes[node];
    qdbg__layer layer;
    if (qdbg__layer_read(g, node, &layer))
        return add_layer(j, &layer);
    bool unary = n->n_in > 0 && n->in[0] != QDBG_NONE && n->n_out > 0 && n->out[0] != QDBG_NONE &&
                 !g->values[n->in[0]].is_param;
    for (uint32_t i = 1; i < n->n_out; i++)
        unary = unary && n->out[i] == QDBG_NONE;
    if (unary && qdbg__node_is(n, "BatchNormalization"))
        return join_norm(j, node);
    if (unary && qdbg__node_is(n, "Clip"))
        return join_clip(j, node);
    if (unary && (qdbg__node_is(n, "Add") || qdbg__node_is(n, "Sum")))
        return join_add(j, node);
    bool slope = qdbg__node_is(n, "PRelu") &&
                 (n->n_in < 2 || n->in[1] == QDBG_NONE || !g->values[n->in[1]].is_param);
    if (!unary || slope || !keeps_factors(g, n)) {
        block_all(j, node, QDBG_EQUALIZE_OPERATOR);
        return QDBG_OK;
    }
    unite(j, n->in[0], n->out[0]);
    if (is_unary_bend(n))
        j->bends[qdbg__joints_root(j, n->in[0])] = true;
    return QDBG_OK;
}

/* ---- the list ---- */

static qdbg_status open_joint(qdbg__joints *j, size_t layer, uint32_t root)
{
    const qdbg__layer *l = &j->layers[layer];
    qdbg_ctx *ctx = j->model->ctx;
    qdbg_status status = qdbg__reserve(ctx, &j->at, &j->capacity, j->n + 1, sizeof *j->at);
    if (status != QDBG_OK)
        return status;
    qdbg__joint *x = &j->at[j->n];
    *x = (qdbg__joint){.root = root,
                       .first_producer = (uint32_t)layer,
                       .n_producers = 1,
                       .channels = l->outs,
                       .value = QDBG_NONE,
                       .outcome = j->reason[root],
                       .node = j->culprit[root]};
    x->factor = qdbg__alloc(ctx, x->channels, sizeof *x->factor);
    if (!x->factor)
        return ctx->error_status;
    for (size_t c = 0; c < x->channels; c++)
        x->factor[c] = 1;
    j->joint[root] = (uint32_t)j->n++;
    return QDBG_OK;
}

static void count_ends(qdbg__joints *j)
{
    for (size_t i = 0; i < j->n_layers; i++) {
        qdbg__joint *x = qdbg__joints_of(j, j->layers[i].input);
        if (!x)
            continue;
        if (x->n_consumers++ == 0) {
            x->first_consumer = (uint32_t)i;
            x->value = j->layers[i].input;
        }
        if (j->layers[i].ins % x->channels != 0 && x->outcome == 0)
            x->outcome = QDBG_EQUALIZE_SHAPE;
    }
}

/* Numbers behind Flatten are one for each position, not for each channel. */
static void check_riders(qdbg__joints *j)
{
    for (size_t i = 0; i < j->n_riders; i++) {
        qdbg__joint *x = qdbg__joints_of(j, j->riders[i].root);
        size_t n = j->model->graph->values[j->riders[i].param].bytes / sizeof(float);
        if (x && x->channels != n && x->outcome == 0)
            x->outcome = QDBG_EQUALIZE_SHAPE;
    }
}

/* Joints without a consumer are no joints. */
static void drop_open_ends(qdbg__joints *j)
{
    size_t kept = 0;
    for (size_t i = 0; i < j->n; i++) {
        if (j->at[i].n_consumers == 0) {
            j->joint[j->at[i].root] = QDBG_NONE;
            qdbg__free(j->model->ctx, j->at[i].factor, j->at[i].channels, sizeof(double));
            continue;
        }
        j->joint[j->at[i].root] = (uint32_t)kept;
        j->at[kept++] = j->at[i];
    }
    j->n = kept;
}

static qdbg_status list_joints(qdbg__joints *j)
{
    for (size_t i = 0; i < j->n_riders; i++)
        j->riders[i].root = qdbg__joints_root(j, j->riders[i].root);
    for (size_t i = 0; i < j->n_layers; i++) {
        uint32_t root = qdbg__joints_root(j, j->layers[i].output);
        qdbg_status status = QDBG_OK;
        if (j->joint[root] == QDBG_NONE)
            status = open_joint(j, i, root);
        else {
            qdbg__joint *x = &j->at[j->joint[root]];
            x->n_producers++;
            if (j->layers[i].outs != x->channels && x->outcome == 0)
                x->outcome = QDBG_EQUALIZE_SHAPE;
        }
        if (status != QDBG_OK)
            return status;
    }
    count_ends(j);
    check_riders(j);
    drop_open_ends(j);
    return QDBG_OK;
}

static void describe(qdbg__joints *j)
{
    for (size_t i = 0; i < j->n; i++) {
        qdbg__joint *x = &j->at[i];
        x->row = (qdbg_equalize_row)QDBG_EQUALIZE_ROW_INIT;
        x->row.value = x->value;
        x->row.producer = j->layers[x->first_producer].node;
        x->row.consumer = j->layers[x->first_consumer].node;
        x->row.n_producers = x->n_producers;
        x->row.n_consumers = x->n_consumers;
        x->row.n_channels = (uint32_t)x->channels;
        x->row.smallest = x->row.largest = 1;
    }
}

static qdbg_status find(qdbg__joints *j)
{
    const qdbg_graph *g = j->model->graph;
    qdbg_ctx *ctx = j->model->ctx;
    size_t n = g->n_values;
    j->parent = qdbg__alloc(ctx, n, sizeof *j->parent);
    j->reason = j->parent ? qdbg__alloc(ctx, n, sizeof *j->reason) : NULL;
    j->culprit = j->reason ? qdbg__alloc(ctx, n, sizeof *j->culprit) : NULL;
    j->joint = j->culprit ? qdbg__alloc(ctx, n, sizeof *j->joint) : NULL;
    j->bends = j->joint ? qdbg__alloc(ctx, n, sizeof *j->bends) : NULL;
    if (!j->bends)
        return ctx->error_status;
    for (uint32_t v = 0; v < n; v++) {
        j->parent[v] = v;
        j->culprit[v] = j->joint[v] = QDBG_NONE;
        if (g->values[v].is_input || g->values[v].is_output)
            block(j, v, QDBG_EQUALIZE_OUTPUT, QDBG_NONE);
    }
    qdbg_status status = QDBG_OK;
    for (uint32_t i = 0; i < g->n_nodes && status == QDBG_OK; i++)
        status = join(j, i);
    if (status == QDBG_OK)
        status = list_joints(j);
    if (status == QDBG_OK)
        describe(j);
    return status;
}

qdbg_status qdbg__joints_find(qdbg_model *m, qdbg__joints *out)
{
    *out = (qdbg__joints){.model = m};
    qdbg_status status = find(out);
    if (status != QDBG_OK)
        qdbg__joints_free(out);
    return status;
}

void qdbg__joints_free(qdbg__joints *j)
{
    if (!j->model)
        return;
    qdbg_ctx *ctx = j->model->ctx;
    size_t n = j->model->graph->n_values;
    for (size_t i = 0; i < j->n; i++) {
        qdbg__free(ctx, j->at[i].factor, j->at[i].channels, sizeof(double));
        qdbg__free(ctx, j->at[i].peak, j->at[i].channels, sizeof(double));
    }
    qdbg__free(ctx, j->at, j->capacity, sizeof *j->at);
    qdbg__free(ctx, j->riders, j->riders_capacity, sizeof *j->riders);
    qdbg__free(ctx, j->layers, j->layers_capacity, sizeof *j->layers);
    qdbg__free(ctx, j->bends, n, sizeof *j->bends);
    qdbg__free(ctx, j->joint, n, sizeof *j->joint);
    qdbg__free(ctx, j->culprit, n, sizeof *j->culprit);
    qdbg__free(ctx, j->reason, n, sizeof *j->reason);
    qdbg__free(ctx, j->parent, n, sizeof *j->parent);
    *j = (qdbg__joints){0};
}
