/* Which values are scaled together, and by whom. */
#include <string.h>

#include "equalize.h"

/* ---- union of values ---- */

static uint32_t root_of(const qdbg__joints *j, uint32_t value, int64_t *offset)
{
    *offset = 0;
    while (j->parent[value] != value) {
        *offset += j->offset[value];
        value = j->parent[value];
    }
    return value;
}

qdbg__joint *qdbg__joints_of(const qdbg__joints *j, uint32_t value)
{
    int64_t offset;
    uint32_t joint = j->joint[root_of(j, value, &offset)];
    return joint == QDBG_NONE ? NULL : &j->at[joint];
}

size_t qdbg__joints_channels(const qdbg__joints *j, uint32_t value)
{
    size_t channels = qdbg__channels_of(j->model->graph, value), repeat = j->repeat[value];
    return channels <= INT32_MAX && channels % repeat == 0 ? channels / repeat : 0; /* sums fit */
}

qdbg__port qdbg__joints_port(const qdbg__joints *j, uint32_t value)
{
    int64_t offset;
    uint32_t joint = j->joint[root_of(j, value, &offset)];
    qdbg__port p = {NULL, 0, j->repeat[value], qdbg__joints_channels(j, value)};
    if (joint == QDBG_NONE)
        return p;
    p.joint = &j->at[joint];
    p.first = (size_t)(offset - p.joint->low);
    return p;
}

qdbg_status qdbg__joints_hold(qdbg__joints *j, uint32_t value, int32_t reason, uint32_t node,
                              bool is_whole)
{
    qdbg_status status = qdbg__reserve(j->model->ctx, &j->obstacles, &j->obstacles_capacity,
                                       j->n_obstacles + 1, sizeof *j->obstacles);
    if (status == QDBG_OK)
        j->obstacles[j->n_obstacles++] = (qdbg__obstacle){value, reason, node, is_whole};
    return status;
}

qdbg_status qdbg__joints_unite(qdbg__joints *j, uint32_t whole, uint32_t part, int64_t first,
                               uint32_t node)
{
    int64_t at, other;
    uint32_t a = root_of(j, whole, &at), b = root_of(j, part, &other);
    int64_t gap = at + first - other; /* from the first channel of a to that of b */
    if (a == b && gap != 0)           /* a channel would be two */
        return qdbg__joints_hold(j, whole, QDBG_EQUALIZE_SHAPE, node, true);
    if (a == b)
        return QDBG_OK;
    uint32_t low = a < b ? a : b, high = a < b ? b : a;
    j->parent[high] = low;
    j->offset[high] = a < b ? gap : -gap;
    j->bends[low] = j->bends[low] || j->bends[high];
    return QDBG_OK;
}

void qdbg__joints_bend(qdbg__joints *j, uint32_t value)
{
    int64_t offset;
    j->bends[root_of(j, value, &offset)] = true;
}

/* ---- the list ---- */

static qdbg_status open_joint(qdbg__joints *j, size_t layer, uint32_t root)
{
    qdbg_status status =
        qdbg__reserve(j->model->ctx, &j->at, &j->capacity, j->n + 1, sizeof *j->at);
    if (status != QDBG_OK)
        return status;
    j->at[j->n] = (qdbg__joint){
        .root = root, .first_producer = (uint32_t)layer, .value = QDBG_NONE, .node = QDBG_NONE};
    j->joint[root] = (uint32_t)j->n++;
    return QDBG_OK;
}

static qdbg_status count_ends(qdbg__joints *j)
{
    for (size_t i = 0; i < j->n_layers; i++) {
        int64_t offset;
        uint32_t root = root_of(j, j->layers[i].output, &offset);
        qdbg_status status = j->joint[root] == QDBG_NONE ? open_joint(j, i, root) : QDBG_OK;
        if (status != QDBG_OK)
            return status;
        j->at[j->joint[root]].n_producers++;
    }
    for (size_t i = 0; i < j->n_layers; i++) {
        qdbg__joint *x = qdbg__joints_of(j, j->layers[i].input);
        if (!x || x->n_consumers++ > 0)
            continue;
        x->first_consumer = (uint32_t)i;
        x->value = j->layers[i].input;
    }
    return QDBG_OK;
}

/* Joints without a consumer are no joints. */
static void drop_open_ends(qdbg__joints *j)
{
    size_t kept = 0;
    for (size_t i = 0; i < j->n; i++) {
        j->joint[j->at[i].root] = j->at[i].n_consumers > 0 ? (uint32_t)kept : QDBG_NONE;
        if (j->at[i].n_consumers > 0)
            j->at[kept++] = j->at[i];
    }
    j->n = kept;
}

static void leave(qdbg__joint *x, int32_t reason, uint32_t node)
{
    if (x->outcome == 0)
        x->node = node;
    if (x->outcome == 0)
        x->outcome = reason;
}

#define MOST_CHANNELS (1 << 20)

/* From the first channel of any value to the last of any. */
static void measure(qdbg__joints *j)
{
    for (uint32_t v = 0; v < j->model->graph->n_values; v++) {
        int64_t at;
        uint32_t joint = j->joint[root_of(j, v, &at)];
        if (joint == QDBG_NONE)
            continue;
        qdbg__joint *x = &j->at[joint];
        int64_t n = (int64_t)qdbg__joints_channels(j, v);
        int64_t low = at < x->low ? at : x->low, high = x->low + (int64_t)x->channels;
        high = at + n > high ? at + n : high;
        if (n == 0 || high - low > MOST_CHANNELS) {
            leave(x, QDBG_EQUALIZE_SHAPE, QDBG_NONE);
            continue;
        }
        x->low = low;
        x->channels = (size_t)(high - low);
    }
    for (size_t i = 0; i < j->n; i++)
        if (j->at[i].outcome != 0)
            j->at[i].channels = j->layers[j->at[i].first_producer].outs;
}

static qdbg_status open_channels(qdbg__joints *j)
{
    qdbg_ctx *ctx = j->model->ctx;
    for (size_t i = 0; i < j->n; i++) {
        qdbg__joint *x = &j->at[i];
        x->factor = qdbg__alloc(ctx, x->channels, sizeof *x->factor);
        x->states = x->factor ? qdbg__alloc(ctx, x->channels, sizeof *x->states) : NULL;
        if (!x->states)
            return ctx->error_status;
        for (size_t c = 0; c < x->channels; c++)
            x->factor[c] = 1;
    }
    return QDBG_OK;
}

static void mark(const qdbg__port *p, uint8_t state)
{
    for (size_t c = 0; p->joint && p->joint->outcome == 0 && c < p->n; c++)
        p->joint->states[p->first + c] |= state;
}

static void mark_channels(qdbg__joints *j)
{
    for (size_t i = 0; i < j->n_layers; i++) {
        qdbg__port in = qdbg__joints_port(j, j->layers[i].input);
        qdbg__port out = qdbg__joints_port(j, j->layers[i].output);
        mark(&in, QDBG__CHANNEL_READ);
        mark(&out, QDBG__CHANNEL_MADE);
    }
    for (size_t i = 0; i < j->n_obstacles; i++) {
        qdbg__port p = qdbg__joints_port(j, j->obstacles[i].value);
        mark(&p, QDBG__CHANNEL_HELD);
    }
}

bool qdbg__joint_is_free(const qdbg__joint *x, size_t channel)
{
    return x->states[channel] == (QDBG__CHANNEL_MADE | QDBG__CHANNEL_READ);
}

static bool has_free(const qdbg__joint *x)
{
    for (size_t c = 0; c < x->channels; c++)
        if (qdbg__joint_is_free(x, c))
            return true;
    return false;
}

/* A joint is left where no channel of it is free; its reason is what is first in the way. */
static void heed_obstacles(qdbg__joints *j)
{
    for (size_t i = 0; i < j->n_obstacles; i++) {
        const qdbg__obstacle *o = &j->obstacles[i];
        qdbg__joint *x = qdbg__joints_of(j, o->value);
        if (x && o->is_whole)
            leave(x, o->reason, o->node);
    }
    mark_channels(j);
    for (size_t i = 0; i < j->n_obstacles; i++) {
        const qdbg__obstacle *o = &j->obstacles[i];
        qdbg__joint *x = qdbg__joints_of(j, o->value);
        if (!x || x->outcome != 0)
            continue;
        if (!has_free(x))
            leave(x, o->reason, o->node);
        else if (x->node == QDBG_NONE)
            x->node = o->node;
    }
    for (size_t i = 0; i < j->n; i++)
        if (j->at[i].outcome == 0 && !has_free(&j->at[i]))
            leave(&j->at[i], QDBG_EQUALIZE_SHAPE, QDBG_NONE);
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

static qdbg_status list_joints(qdbg__joints *j)
{
    qdbg_status status = count_ends(j);
    if (status != QDBG_OK)
        return status;
    drop_open_ends(j);
    measure(j);
    status = open_channels(j);
    if (status != QDBG_OK)
        return status;
    heed_obstacles(j);
    describe(j);
    return QDBG_OK;
}

static qdbg_status find(qdbg__joints *j)
{
    const qdbg_graph *g = j->model->graph;
    qdbg_ctx *ctx = j->model->ctx;
    size_t n = g->n_values;
    qdbg_status status = QDBG_OK;
    j->parent = qdbg__alloc(ctx, n, sizeof *j->parent);
    j->offset = j->parent ? qdbg__alloc(ctx, n, sizeof *j->offset) : NULL;
    j->repeat = j->offset ? qdbg__alloc(ctx, n, sizeof *j->repeat) : NULL;
    j->joint = j->repeat ? qdbg__alloc(ctx, n, sizeof *j->joint) : NULL;
    j->bends = j->joint ? qdbg__alloc(ctx, n, sizeof *j->bends) : NULL;
    if (!j->bends)
        return ctx->error_status;
    for (uint32_t v = 0; v < n && status == QDBG_OK; v++) {
        j->parent[v] = v;
        j->joint[v] = QDBG_NONE;
        j->repeat[v] = 1;
        if (g->values[v].is_input || g->values[v].is_output)
            status = qdbg__joints_hold(j, v, QDBG_EQUALIZE_OUTPUT, QDBG_NONE, false);
    }
    for (uint32_t i = 0; i < g->n_nodes && status == QDBG_OK; i++)
        status = qdbg__joints_take_node(j, i);
    return status == QDBG_OK ? list_joints(j) : status;
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
        qdbg__free(ctx, j->at[i].states, j->at[i].channels, 1);
    }
    qdbg__free(ctx, j->at, j->capacity, sizeof *j->at);
    qdbg__free(ctx, j->obstacles, j->obstacles_capacity, sizeof *j->obstacles);
    qdbg__free(ctx, j->riders, j->riders_capacity, sizeof *j->riders);
    qdbg__free(ctx, j->layers, j->layers_capacity, sizeof *j->layers);
    qdbg__free(ctx, j->bends, n, sizeof *j->bends);
    qdbg__free(ctx, j->joint, n, sizeof *j->joint);
    qdbg__free(ctx, j->repeat, n, sizeof *j->repeat);
    qdbg__free(ctx, j->offset, n, sizeof *j->offset);
    qdbg__free(ctx, j->parent, n, sizeof *j->parent);
    *j = (qdbg__joints){0};
}
