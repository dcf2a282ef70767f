#include "fold.h"

#include <math.h>
#include <string.h>

/* Parameters of BatchNormalization, by input number. */
enum { GAMMA = 1, BETA = 2, MEAN = 3, VAR = 4 };

/* A layer and the batch-normalization behind it. */
typedef struct pair {
    const qdbg__node *layer, *bn;
    uint32_t channels;
    float epsilon;
    float *bn_params[5]; /* [channels] each, by input number; 0 unused */
    float *bias;         /* [channels] or NULL */
    float *weight;
    size_t weight_count;
} pair;

/* ---- which pairs ---- */

/* A float32 parameter that only this use reads. */
static bool own_param(const qdbg_graph *g, const qdbg__node *node, uint32_t input)
{
    if (input >= node->n_in || node->in[input] == QDBG_NONE)
        return false;
    const qdbg__value *v = &g->values[node->in[input]];
    return v->is_param && v->dtype == QDBG_F32 && v->n_consumers == 1 && !v->is_output;
}

static uint32_t output_channels(const qdbg_graph *g, const qdbg__node *layer)
{
    const qdbg__value *w = &g->values[layer->in[1]];
    if (w->rank < 2)
        return 0;
    if (qdbg__node_is(layer, "Conv"))
        return (uint32_t)w->dims[0];
    if (qdbg__node_is(layer, "ConvTranspose")) {
        int64_t group = qdbg__attr_int(layer, "group", 1);
        return group > 0 && w->dims[0] % group == 0 ? (uint32_t)(w->dims[1] * group) : 0;
    }
    return (uint32_t)w->dims[qdbg__attr_int(layer, "transB", 0) ? 0 : 1];
}

/* Gemm's bias may be a scalar or a row and is scaled by beta; the channel form is what exporters
 * write and what can be scaled channel by channel. */
static bool bias_foldable(const qdbg_graph *g, const qdbg__node *layer, uint32_t channels)
{
    if (layer->n_in < 3 || layer->in[2] == QDBG_NONE)
        return true;
    const qdbg__value *b = &g->values[layer->in[2]];
    return own_param(g, layer, 2) && b->bytes == channels * sizeof(float) && b->rank > 0 &&
           b->dims[b->rank - 1] == (int64_t)channels;
}

static bool is_layer(const qdbg__node *n)
{
    return qdbg__node_is(n, "Conv") || qdbg__node_is(n, "ConvTranspose") ||
           qdbg__node_is(n, "Gemm");
}

/* The layer that `bn` can be folded into, or NULL. */
static const qdbg__node *layer_before(const qdbg_graph *g, const qdbg__node *bn)
{
    if (!qdbg__node_is(bn, "BatchNormalization") || bn->n_in < 5 || bn->in[0] == QDBG_NONE)
        return NULL;
    if (qdbg__attr_int(bn, "training_mode", 0) != 0)
        return NULL;
    const qdbg__value *x = &g->values[bn->in[0]];
    if (x->producer == QDBG_NONE || x->n_consumers != 1 || x->is_output)
        return NULL;
    const qdbg__node *layer = &g->nodes[x->producer];
    if (!is_layer(layer) || !own_param(g, layer, 1))
        return NULL;
    uint32_t channels = output_channels(g, layer);
    for (uint32_t i = GAMMA; i <= VAR; i++)
        if (!own_param(g, bn, i) || g->values[bn->in[i]].bytes != channels * sizeof(float))
            return NULL;
    return channels > 0 && bias_foldable(g, layer, channels) ? layer : NULL;
}

/* ---- one pair ---- */

static qdbg_status fetch(qdbg_model *m, uint32_t value, float **data)
{
    uint64_t count = m->graph->values[value].bytes / sizeof(float);
    float *fresh = qdbg__alloc(m->ctx, count, sizeof *fresh);
    if (!fresh)
        return m->ctx->error_status;
    *data = fresh; /* freed by the caller also after a failure */
    qdbg_status status = m->backend->get(m, value, fresh, count);
    for (uint64_t i = 0; i < count && status == QDBG_OK; i++)
        if (!isfinite(fresh[i]))
            status = qdbg__fail_at(m->ctx, QDBG_E_NUMERIC, NULL, m->graph->values[value].name,
                                   "parameter '%s', element %llu is not finite",
                                   m->graph->values[value].name, (unsigned long long)i);
    return status;
}

static void drop(qdbg_model *m, pair *p)
{
    for (uint32_t i = GAMMA; i <= VAR; i++)
        qdbg__free(m->ctx, p->bn_params[i], p->channels, sizeof(float));
    qdbg__free(m->ctx, p->bias, p->channels, sizeof(float));
    qdbg__free(m->ctx, p->weight, p->weight_count, sizeof(float));
}

static qdbg_status load(qdbg_model *m, pair *p)
{
    qdbg_status status = fetch(m, p->layer->in[1], &p->weight);
    if (status == QDBG_OK && p->layer->n_in > 2 && p->layer->in[2] != QDBG_NONE)
        status = fetch(m, p->layer->in[2], &p->bias);
    for (uint32_t i = GAMMA; i <= VAR && status == QDBG_OK; i++)
        status = fetch(m, p->bn->in[i], &p->bn_params[i]);
    return status;
}

/* Channel of the layer's output that weight element `i` belongs to. */
typedef struct channel_map {
    size_t inner;     /* elements that follow each other in one channel */
    size_t channels;  /* in the cycle of the weight's axis */
    size_t group_in;  /* ConvTranspose: input channels a group; 0 elsewhere */
    size_t out_group; /* ConvTranspose: output channels a group */
} channel_map;

static channel_map map_channels(const qdbg_graph *g, const qdbg__node *layer)
{
    const qdbg__value *w = &g->values[layer->in[1]];
    channel_map map = {1, 1, 0, 0};
    if (qdbg__node_is(layer, "Gemm")) {
        bool trans = qdbg__attr_int(layer, "transB", 0) != 0;
        map.channels = (size_t)w->dims[trans ? 0 : 1];
        map.inner = trans ? (size_t)w->dims[1] : 1;
        return map;
    }
    uint32_t axis = qdbg__node_is(layer, "Conv") ? 0 : 1;
    for (uint32_t i = axis + 1; i < w->rank; i++)
        map.inner *= (size_t)w->dims[i];
    map.channels = (size_t)w->dims[axis];
    if (axis == 1) {
        map.group_in = (size_t)w->dims[0] / (size_t)qdbg__attr_int(layer, "group", 1);
        map.out_group = map.channels;
    }
    return map;
}

static size_t channel_of(const channel_map *map, size_t i)
{
    size_t row = i / map->inner;
    size_t channel = row % map->channels;
    if (map->group_in == 0)
        return channel;
    return row / map->channels / map->group_in * map->out_group + channel;
}

/* The new parameters, in double up to the last step. */
static qdbg_status fold_numbers(qdbg_model *m, pair *p)
{
    channel_map map = map_channels(m->graph, p->layer);
    float **bn = p->bn_params;
    for (uint32_t c = 0; c < p->channels; c++) {
        double var = (double)bn[VAR][c] + (double)p->epsilon;
        if (!(var > 0))
            return qdbg__fail_at(m->ctx, QDBG_E_NUMERIC, p->bn->name, NULL,
                                 "'%s', channel %u: variance + epsilon is not positive",
                                 p->bn->name, c);
        double s = (double)bn[GAMMA][c] / sqrt(var);
        bn[BETA][c] = (float)((double)bn[BETA][c] - (double)bn[MEAN][c] * s);
        bn[GAMMA][c] = (float)s; /* used below, then 1 */
        if (p->bias)
            p->bias[c] = (float)((double)p->bias[c] * s);
        bn[MEAN][c] = 0;
        bn[VAR][c] = 1.0f - p->epsilon;
    }
    for (size_t i = 0; i < p->weight_count; i++)
        p->weight[i] *= bn[GAMMA][channel_of(&map, i)];
    for (uint32_t c = 0; c < p->channels; c++)
        bn[GAMMA][c] = 1;
    return QDBG_OK;
}

/* What a pair changes: weight, bias where there is one, and the four of batch-normalization. */
static uint32_t list_changes(const pair *p, uint32_t *values, const float **data)
{
    uint32_t n = 0;
    values[n] = p->layer->in[1];
    data[n++] = p->weight;
    if (p->bias) {
        values[n] = p->layer->in[2];
        data[n++] = p->bias;
    }
    for (uint32_t i = GAMMA; i <= VAR; i++) {
        values[n] = p->bn->in[i];
        data[n++] = p->bn_params[i];
    }
    return n;
}

/* Set all or none: after a failure those already set go back. */
static qdbg_status store(qdbg_model *m, const pair *p, qdbg__journal *journal)
{
    uint32_t values[6];
    const float *data[6];
    uint32_t n = list_changes(p, values, data);
    size_t before = journal->n;
    qdbg_status status = QDBG_OK;
    for (uint32_t i = 0; i < n && status == QDBG_OK; i++) {
        status = qdbg__journal_note(m, journal, values[i]);
        if (status == QDBG_OK)
            status = m->backend->set(m, values[i], data[i],
                                     m->graph->values[values[i]].bytes / sizeof(float));
        m->version++;
    }
    if (status != QDBG_OK)
        qdbg__journal_undo(m, journal, before);
    return status;
}

static qdbg_status fold_pair(qdbg_model *m, const qdbg__node *layer, const qdbg__node *bn,
                             qdbg__journal *journal)
{
    const qdbg__value *w = &m->graph->values[layer->in[1]];
    pair p = {.layer = layer,
              .bn = bn,
              .channels = output_channels(m->graph, layer),
              .epsilon = qdbg__attr_float(bn, "epsilon", 1e-5f),
              .weight_count = w->bytes / sizeof(float)};
    qdbg_status status = load(m, &p);
    if (status == QDBG_OK)
        status = fold_numbers(m, &p);
    if (status == QDBG_OK)
        status = store(m, &p, journal);
    drop(m, &p);
    return status;
}

/* ---- all ---- */

qdbg_status qdbg__fold_batch_norms(qdbg_model *m, uint32_t *n_folded, qdbg__journal *journal)
{
    uint32_t n = 0;
    for (size_t i = 0; i < m->graph->n_nodes; i++) {
        const qdbg__node *bn = &m->graph->nodes[i], *layer = layer_before(m->graph, bn);
        qdbg_status status = layer ? fold_pair(m, layer, bn, journal) : QDBG_OK;
        if (status != QDBG_OK)
            return status;
        n += layer != NULL;
    }
    if (n_folded)
        *n_folded = n;
    return QDBG_OK;
}

qdbg_status qdbg_fold_batch_norms(qdbg_model *m, uint32_t *n_folded)
{
    if (!m)
        return QDBG_E_INVALID;
    qdbg__clear_error(m->ctx);
    qdbg__journal journal = {0};
    qdbg_status status = qdbg__fold_batch_norms(m, n_folded, &journal);
    qdbg__journal_free(m, &journal);
    return status;
}
